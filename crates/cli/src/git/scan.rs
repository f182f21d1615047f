//! What must not be in a repository in the plain: found by its form, in one file's contents.
//!
//! - [`kubernetes`]: manifests of `kind: Secret`;
//! - [`dotenv`]: `.env` files;
//! - [`keys`]: private keys, wherever they stand.
//!
//! Findings name places and keys, never values. A line with `bulla:allow` in a comment, on it or above it, is passed over.

mod dotenv;
mod keys;
mod kubernetes;

use std::fmt;

/// What some editors put before the first character of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// The mark of a line that may stay as it is.
const ALLOW: &[u8] = b"bulla:allow";

/// Something that must not stay in the plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The line, from 1.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) what: What,
}

/// Kinds of findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A value of a Kubernetes Secret.
    Manifest {
        /// Where in the Secret: `data.password`.
        field: String,
    },
    /// A variable of a `.env` file.
    Variable {
        /// Its name.
        name: String,
    },
    /// A private key.
    PrivateKey {
        /// Its kind: `RSA PRIVATE KEY`.
        kind: String,
    },
    /// An age identity.
    AgeIdentity,
    /// An encrypted file between conflict markers.
    Conflict,
    /// A value in an encrypted file that should be encrypted and is not.
    LeftPlain {
        /// Where in the file: `stringData.password`.
        path: String,
    },
    /// A whole file that a creation rule wants encrypted.
    Unencrypted {
        /// The configuration and the rule: `.sops.yaml, rule 1`.
        rule: String,
    },
}

impl What {
    /// The kind's name in JSON.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Manifest { .. } => "secret-manifest",
            Self::Variable { .. } => "dotenv",
            Self::PrivateKey { .. } => "private-key",
            Self::AgeIdentity => "age-identity",
            Self::Conflict => "conflict",
            Self::LeftPlain { .. } => "left-plain",
            Self::Unencrypted { .. } => "rule",
        }
    }

    /// Whether encrypting the file is what to do about it; a key file has no business in a repository at all.
    pub(crate) fn can_be_encrypted(&self) -> bool {
        !matches!(self, Self::AgeIdentity | Self::Conflict | Self::LeftPlain { .. })
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest { field } => write!(f, "a Kubernetes Secret with a plain value under {field}"),
            Self::Variable { name } => write!(f, "the variable {name} has a plain value"),
            Self::PrivateKey { kind } => write!(f, "a {} in the plain", kind.to_lowercase()),
            Self::AgeIdentity => f.write_str("an age identity (AGE-SECRET-KEY-…): it opens everything encrypted to it"),
            Self::Conflict => f.write_str("a merge conflict that is not resolved; run: bulla edit FILE"),
            Self::LeftPlain { path } => write!(
                f,
                "{path} is plain in an encrypted file; take it out again, and put it in with: bulla edit FILE"
            ),
            Self::Unencrypted { rule } => write!(f, "{rule} wants this file encrypted, and it is not"),
        }
    }
}

/// Looks through the contents of the file called `path`. Of an encrypted file the plain parts are plain on purpose; private keys
/// are looked for all the same.
pub(crate) fn scan(path: &str, contents: &[u8], state: State) -> Vec<Finding> {
    let decoded = utf_16(contents);
    let contents = decoded.as_ref().map_or(contents, |text| text.as_bytes());
    let mut findings = keys::scan(contents);
    if state == State::Plain {
        let found = kubernetes::scan(path, contents);
        let found = if found.is_empty() { dotenv::scan(path, contents) } else { found };
        findings.extend(found);
    }
    let allowed = Allowed::of(contents);
    findings.retain(|finding| !allowed.contains(finding.line));
    findings.sort_by_key(|finding| finding.line);
    findings
}

/// The text of a file that says in its first two bytes that it is UTF-16, as a Windows shell writes files.
fn utf_16(contents: &[u8]) -> Option<zeroize::Zeroizing<String>> {
    let unit = match contents {
        [0xff, 0xfe, ..] => |pair: &[u8; 2]| u16::from_le_bytes(*pair),
        [0xfe, 0xff, ..] => |pair: &[u8; 2]| u16::from_be_bytes(*pair),
        _ => return None,
    };
    let units: zeroize::Zeroizing<Vec<u16>> =
        zeroize::Zeroizing::new(contents[2..].as_chunks().0.iter().map(unit).collect());
    Some(zeroize::Zeroizing::new(String::from_utf16_lossy(&units)))
}

/// Whether a file is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is: what is plain in it is so on purpose.
    Encrypted,
    /// It is not.
    Plain,
}

/// The lines that may stay as they are.
struct Allowed(Vec<usize>);

impl Allowed {
    fn of(contents: &[u8]) -> Self {
        if !contains(contents, ALLOW) {
            return Self(Vec::new());
        }
        let lines = contents.split(|&byte| byte == b'\n').enumerate();
        Self(lines.filter(|(_, line)| contains(line, ALLOW)).map(|(index, _)| index + 1).collect())
    }

    fn contains(&self, line: usize) -> bool {
        self.0.contains(&line) || (line > 1 && self.0.contains(&(line - 1)))
    }
}

/// Whether a value only stands for one that is put in later, or for none at all.
fn is_placeholder(value: &str) -> bool {
    const WORDS: [&str; 12] = [
        "changeme",
        "change-me",
        "change_me",
        "changeit",
        "placeholder",
        "redacted",
        "example",
        "dummy",
        "todo",
        "none",
        "null",
        "replaceme",
    ];
    let value = value.trim();
    let wrapped = |start: &str, end: &str| value.starts_with(start) && value.ends_with(end);
    value.is_empty()
        || value.starts_with("ENC[")
        || value.contains("{{")
        || wrapped("${", "}")
        || wrapped("$(", ")")
        || wrapped("<", ">")
        || wrapped("%", "%")
        || value.bytes().all(|byte| byte == b'*' || byte == b'x' || byte == b'X' || byte == b'.')
        || WORDS.contains(&value.to_ascii_lowercase().as_str())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    let Some((first, rest)) = part.split_first() else { return true };
    let mut text = text;
    while let Some(at) = text.iter().position(|byte| byte == first) {
        text = &text[at + 1..];
        if text.starts_with(rest) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_says_so_is_only_a_placeholder() {
        for value in
            ["", "${PASSWORD}", "<your password>", "{{ .Values.x }}", "changeme", "ENC[AES256_GCM,data:]", "****"]
        {
            assert!(is_placeholder(value), "{value}");
        }
        for value in ["hunter2", "a${b}c", "x1", "password"] {
            assert!(!is_placeholder(value), "{value}");
        }
    }

    #[test]
    fn an_allowed_line_is_passed_over_with_the_one_below_it() {
        let text = b"# bulla:allow\nA_PASSWORD=hunter2\nB_PASSWORD=hunter2\nC_PASSWORD=hunter2 # bulla:allow\n";
        let lines: Vec<usize> = scan(".env", text, State::Plain).into_iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [3]);
    }

    #[test]
    fn a_file_of_utf_16_is_read_as_one() {
        let text = "A_PASSWORD=hunter2\r\n";
        let little: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        assert_eq!(scan(".env", &little, State::Plain).len(), 1);
        assert_eq!(scan(".env", &big, State::Plain).len(), 1);
        assert_eq!(scan(".env", b"\xff\xfe", State::Plain), []);
    }

    #[test]
    fn parts_are_found_wherever_they_stand() {
        assert!(contains(b"aab", b"ab"));
        assert!(contains(b"ab", b"ab"));
        assert!(!contains(b"a", b"ab"));
        assert!(!contains(b"ba", b"ab"));
    }
}
