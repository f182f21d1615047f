//! Identities: the private halves, one on a line.
//!
//! Grammar of an identity file: lines end in LF or CRLF; empty lines and lines that begin with `#` mean nothing; each
//! other line is an identity (`AGE-SECRET-KEY-1…`, `AGE-SECRET-KEY-PQ-1…`, `AGE-PLUGIN-NAME-1…`). In the variable
//! `SOPS_AGE_KEY` several may stand on a line, with blanks between.

use std::sync::OnceLock;

use age::DecryptError;
use age_core::format::{FileKey, Stanza};

use super::recipient::Recipient;
use super::{hybrid, plugin};

/// One identity, with its recipient once that was asked for.
pub(super) enum Identity {
    /// `AGE-SECRET-KEY-1…`
    X25519(age::x25519::Identity, OnceLock<age::x25519::Recipient>),
    /// `AGE-SECRET-KEY-PQ-1…`
    Hybrid(hybrid::Identity, OnceLock<Box<hybrid::Recipient>>),
    /// `AGE-PLUGIN-NAME-1…`
    Plugin(plugin::Identity),
}

impl Identity {
    fn parse(text: &str) -> Result<Self, String> {
        let kind = text.to_ascii_uppercase();
        if kind.starts_with("AGE-PLUGIN-") {
            plugin::Identity::parse(text).map(Self::Plugin)
        } else if kind.starts_with("AGE-SECRET-KEY-PQ-1") {
            hybrid::Identity::parse(text).map(|key| Self::Hybrid(key, OnceLock::new())).map_err(str::to_owned)
        } else if kind.starts_with("AGE-SECRET-KEY-1") {
            text.parse().map(|key| Self::X25519(key, OnceLock::new())).map_err(|what: &str| match what {
                "invalid Bech32 encoding" => "it is not valid Bech32 (a letter is wrong or missing)".to_owned(),
                what => what.to_owned(),
            })
        } else if kind.starts_with("AGE1") || kind.starts_with("SSH-") {
            Err("it is a recipient (a public key), not an identity".to_owned())
        } else if kind.starts_with("-----BEGIN") {
            Err("it is the beginning of another kind of key; name the file of an SSH private key in \
                 SOPS_AGE_SSH_PRIVATE_KEY_FILE"
                .to_owned())
        } else {
            // Its text is not repeated: it may be a damaged key.
            Err("it is no identity that age knows (AGE-SECRET-KEY-1…, AGE-SECRET-KEY-PQ-1…, AGE-PLUGIN-…)".to_owned())
        }
    }

    /// Whether it is the private half of this recipient. Nothing is known of plugins'.
    pub(super) fn belongs_to(&self, recipient: &Recipient) -> bool {
        match (self, recipient) {
            (Self::X25519(identity, public), Recipient::X25519(recipient)) => {
                public.get_or_init(|| identity.to_public()) == recipient
            }
            (Self::Hybrid(identity, public), Recipient::Hybrid(recipient)) => {
                *public.get_or_init(|| Box::new(identity.recipient())) == *recipient
            }
            _ => false,
        }
    }

    /// It, if it is a plugin's.
    pub(super) fn plugin(&self) -> Option<&plugin::Identity> {
        match self {
            Self::Plugin(identity) => Some(identity),
            _ => None,
        }
    }

    /// Tries the stanzas of a file in this process; `None` if none fits, or it is a plugin's.
    pub(super) fn unwrap_native(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        match self {
            Self::X25519(identity, _) => age::Identity::unwrap_stanzas(identity, stanzas),
            Self::Hybrid(identity, _) => age::Identity::unwrap_stanzas(identity, stanzas),
            Self::Plugin(_) => None,
        }
    }
}

/// Parses an identity file.
///
/// # Errors
/// The number of the first malformed line and what is wrong with it, without its text.
pub(super) fn parse_lines(text: &str) -> Result<Vec<Identity>, String> {
    parse(text, std::iter::once)
}

/// Parses what stands in `SOPS_AGE_KEY`: as in a file, and several on a line.
///
/// # Errors
/// As [`parse_lines`].
pub(super) fn parse_words(text: &str) -> Result<Vec<Identity>, String> {
    parse(text, str::split_whitespace)
}

fn parse<'a, I>(text: &'a str, split: impl Fn(&'a str) -> I) -> Result<Vec<Identity>, String>
where
    I: Iterator<Item = &'a str>,
{
    // sops takes an indented or trailing blank for a part of the key, and fails; nobody needs that.
    let lines = text.lines().map(str::trim).zip(1_usize..);
    let lines = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
    lines
        .flat_map(|(line, number)| split(line).map(move |word| (word, number)))
        .map(|(word, number)| Identity::parse(word).map_err(|what| format!("line {number}: {what}")))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

    fn problem(text: &str) -> String {
        parse_lines(text).err().unwrap()
    }

    #[test]
    fn comments_blank_lines_and_line_ends_of_any_kind_are_passed_over() {
        let text = format!("# created: today\r\n\r\n{ONE}\r\n  # indented\n\t{ONE} \n{ONE}");
        assert_eq!(parse_lines(&text).unwrap().len(), 3);
        assert!(parse_lines("").unwrap().is_empty());
    }

    #[test]
    fn several_on_a_line_are_only_for_the_variable() {
        let text = format!("{ONE} {ONE}\n{ONE}");
        assert_eq!(parse_words(&text).unwrap().len(), 3);
        assert!(problem(&text).starts_with("line 1: "));
    }

    #[test]
    fn a_malformed_line_is_named_by_its_number_and_never_repeated() {
        let damaged = ONE.replace("4EGAEX", "4EGAEQ");
        for (line, reason) in [
            (damaged.as_str(), "Bech32"),
            ("AGE-SECRET-KEY-PQ-1QQQQ", "Bech32"),
            ("AGE-PLUGIN-X-1QQQQ", "Bech32"),
            ("age1ysxuaeqlk7xd8uqsh8lsnfwt9jzzjlqf49ruhpjrrj5yatlcuf7qke4pqe", "recipient"),
            ("ssh-ed25519 AAAA", "recipient"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "SOPS_AGE_SSH_PRIVATE_KEY_FILE"),
            ("hunter2", "no identity"),
        ] {
            let what = problem(&format!("# c\n{ONE}\n{line}\n"));
            assert!(what.starts_with("line 3: "), "{what}");
            assert!(what.contains(reason), "{what}");
            assert!(!what.contains("QQQ") && !what.contains("4EGAE") && !what.contains("hunter2"), "{what}");
        }
    }

    #[test]
    fn an_identity_knows_its_recipient() {
        let identity = &parse_lines(ONE).unwrap()[0];
        let Identity::X25519(key, _) = identity else { panic!() };
        let mine = Recipient::parse(&key.to_public().to_string()).unwrap();
        let other = Recipient::parse("age1ysxuaeqlk7xd8uqsh8lsnfwt9jzzjlqf49ruhpjrrj5yatlcuf7qke4pqe").unwrap();
        assert!(identity.belongs_to(&mine));
        assert!(!identity.belongs_to(&other));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse_lines(&text);
            let _ = parse_words(&text);
            let _ = Recipient::parse(&text);
        }
    }
}
