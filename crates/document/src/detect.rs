//! Which syntax a text is written in, by its name and by its content.
//!
//! A wrong guess is worse than none: of a text that is taken for dotenv, INI, TOML or YAML, only the values are encrypted, and
//! what was taken for a key stays readable. So the content alone decides only where all of it fits:
//!
//! - **with sops' metadata** (`"sops": {…}`, `sops:`, `sops_mac=`, `[sops]`): the syntax in which it reads;
//! - **JSON**: an object;
//! - **dotenv**: nothing but comments and `NAME=value` with names of `A-Z`, `0-9` and `_`, of any letters if the file is called
//!   `.env.local`, `app.env.prod` or the like; no value that starts with `=` (padding of base64 and base32), and at least one that is
//!   not empty; no `#!`, no `` ` `` and no `$(`, which are a shell's;
//! - **TOML, INI**: starts with a `[section]`, and nothing but sections and entries with names of letters, digits, `_`, `-` and `.`;
//!   TOML if it reads as that;
//! - **YAML**: nothing but maps whose keys at the root are such names, or start with `---` or a `%` directive and be maps.
//!
//! Without metadata, the content is asked only if the name has no ending, or one that says nothing (`.enc`, `.prod`): a `.pem`, `.sh` or
//! `.py` is what it says.

use bulla_core::SecretBytes;

use crate::{Document, Kind, NodeId, Syntax, dotenv};

/// Endings that say nothing about the syntax; what stands before them may.
const WRAPPERS: [&str; 14] = [
    ".enc",
    ".encrypted",
    ".sops",
    ".dec",
    ".decrypted",
    ".secret",
    ".secrets",
    ".plain",
    ".bak",
    ".orig",
    ".example",
    ".sample",
    ".dist",
    ".tmp",
];

/// The syntax that a file name's ending stands for in sops: `.yaml`, `.yml`, `.json`, `.env`, `.ini`; and `.toml`.
/// `None` for any other, which sops takes as binary.
pub fn syntax_of_name(name: &str) -> Option<Syntax> {
    let endings = [
        (".yaml", Syntax::Yaml),
        (".yml", Syntax::Yaml),
        (".json", Syntax::Json),
        (".env", Syntax::Dotenv),
        (".ini", Syntax::Ini),
        (".toml", Syntax::Toml),
    ];
    endings.into_iter().find_map(|(ending, syntax)| name.ends_with(ending).then_some(syntax))
}

/// The syntax of a text: that of its name, else the one its content suggests, for names that tell nothing (`.env.prod`, no ending).
/// `None` for what looks like none of them: binary. See the module for the rules.
pub fn detect(name: &str, text: &[u8]) -> Option<Syntax> {
    if let Some(syntax) = syntax_of_name(name) {
        return Some(syntax);
    }
    if memchr::memchr(0, text).is_some() {
        return None;
    }
    if let Some(syntax) = with_metadata(text) {
        return Some(syntax);
    }
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let bare = without_wrappers(name);
    let hint = syntax_of_name(bare).or_else(|| is_dotenv_name(name).then_some(Syntax::Dotenv));
    match hint {
        Some(Syntax::Dotenv) => looks_like_dotenv(text, Names::AnyLetters).then_some(Syntax::Dotenv),
        Some(syntax) => Document::parse(syntax, SecretBytes::from(text)).is_ok().then_some(syntax),
        None if !bare.strip_prefix('.').unwrap_or(bare).contains('.') => by_content(text),
        None => None,
    }
}

/// The syntax in which sops' metadata can be read.
fn with_metadata(text: &[u8]) -> Option<Syntax> {
    memchr::memmem::find(text, b"sops")?;
    memchr::memmem::find(text, b"mac")?;
    let starts_line = |line: &[u8]| memchr::memmem::find_iter(text, line).any(|at| at == 0 || text[at - 1] == b'\n');
    let is_json = text.trim_ascii_start().starts_with(b"{");
    // TOML before INI, which reads most of TOML.
    let candidates = [
        (Syntax::Json, is_json),
        (Syntax::Yaml, !is_json && (starts_line(b"sops:") || starts_line(b"\"sops\":"))),
        (Syntax::Dotenv, starts_line(b"sops_mac=")),
        (Syntax::Toml, starts_line(b"[sops]")),
        (Syntax::Ini, starts_line(b"[sops]")),
    ];
    candidates.into_iter().find_map(|(syntax, is_likely)| (is_likely && has_metadata(syntax, text)).then_some(syntax))
}

fn has_metadata(syntax: Syntax, text: &[u8]) -> bool {
    let Ok(document) = Document::parse(syntax, SecretBytes::from(text)) else { return false };
    let Some(&root) = document.roots().first() else { return false };
    let child = |map: NodeId, key: &str| document.child(map, &crate::Step::Key(key.to_owned()));
    match syntax {
        Syntax::Dotenv => child(root, "sops_mac").is_some() && child(root, "sops_lastmodified").is_some(),
        _ => child(root, "sops")
            .is_some_and(|sops| child(sops, "mac").is_some() && child(sops, "lastmodified").is_some()),
    }
}

fn by_content(text: &[u8]) -> Option<Syntax> {
    let parses = |syntax| Document::parse(syntax, SecretBytes::from(text)).is_ok();
    let first = text.trim_ascii_start().first()?;
    if *first == b'{' {
        return parses(Syntax::Json).then_some(Syntax::Json);
    }
    if looks_like_dotenv(text, Names::Capitals) {
        return Some(Syntax::Dotenv);
    }
    if let Some(syntax) = looks_like_sections(text) {
        return Some(syntax);
    }
    looks_like_yaml(text).then_some(Syntax::Yaml)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Capitals,
    AnyLetters,
}

fn looks_like_dotenv(text: &[u8], names: Names) -> bool {
    if text.starts_with(b"#!") {
        return false;
    }
    let is_name = |name: &str| {
        let letter = |byte: &u8| match names {
            Names::Capitals => byte.is_ascii_uppercase(),
            Names::AnyLetters => byte.is_ascii_alphabetic(),
        };
        name.bytes().next().is_some_and(|first| letter(&first) || first == b'_')
            && name.bytes().all(|byte| letter(&byte) || byte.is_ascii_digit() || byte == b'_')
    };
    let Ok(document) = Document::parse(Syntax::Dotenv, SecretBytes::from(text)) else { return false };
    let mut has_value = false;
    for id in document.children(document.roots()[0]).filter(|&id| document.kind(id) == Kind::Scalar) {
        let source = document.source(id);
        let key = document.key(id).unwrap_or_default();
        let name = dotenv::variable_name(key);
        let is_plain = key.trim_start_matches('\u{feff}') == name || key.starts_with("export ");
        let is_shell = source.contains(&b'`') || memchr::memmem::find(source, b"$(").is_some();
        if !is_plain || !is_name(name) || source.starts_with(b"=") || is_shell {
            return false;
        }
        has_value |= !source.trim_ascii().is_empty();
    }
    has_value || (names == Names::AnyLetters && text.trim_ascii().is_empty())
}

/// TOML or INI.
fn looks_like_sections(text: &[u8]) -> Option<Syntax> {
    let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && !matches!(line[0], b'#' | b';'))?;
    let name = first.strip_prefix(b"[")?.split(|&byte| byte == b']').next()?;
    if !is_plain_name(name.trim_ascii().strip_prefix(b"[").unwrap_or(name)) {
        return None;
    }
    [Syntax::Toml, Syntax::Ini].into_iter().find(|&syntax| {
        let Ok(document) = Document::parse(syntax, SecretBytes::from(text)) else { return false };
        let keys = || document.subtree(document.roots()[0]).filter_map(|id| document.key(id));
        // `name = value`, not `if x == y:`.
        let has_values = document.subtree(document.roots()[0]).any(|id| document.kind(id) == Kind::Scalar);
        has_values && keys().all(|key| is_plain_name(key.as_bytes()))
    })
}

fn looks_like_yaml(text: &[u8]) -> bool {
    let first = text.split(|&byte| byte == b'\n').find(|line| !line.trim_ascii().is_empty() && line[0] != b'#');
    let Some(first) = first.map(<[u8]>::trim_ascii_end) else { return false };
    let key = memchr::memchr(b':', first).map(|colon| (&first[..colon], &first[colon + 1..]));
    let is_entry = key.is_some_and(|(key, rest)| {
        is_plain_name(key) && (rest.is_empty() || rest.starts_with(b" ") || rest.starts_with(b"\t"))
    });
    if !is_entry && first != b"---" && !first.starts_with(b"%YAML") {
        return false;
    }
    let Ok(document) = Document::parse(Syntax::Yaml, SecretBytes::from(text)) else { return false };
    let roots = document.roots();
    !roots.is_empty()
        && roots.iter().all(|&root| {
            let mut children = document.children(root).filter(|&id| document.kind(id) != Kind::Comment).peekable();
            document.kind(root) == Kind::Map
                && children.peek().is_some()
                && children.all(|id| document.key(id).is_some_and(|key| is_plain_name(key.as_bytes())))
        })
}

fn is_plain_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/'))
}

/// `.env.prod`, `app.env.local`, `env`, `env.prod`.
fn is_dotenv_name(name: &str) -> bool {
    name == "env" || name.starts_with(".env.") || name.starts_with("env.") || name.contains(".env.")
}

fn without_wrappers(mut name: &str) -> &str {
    while let Some(bare) = WRAPPERS.iter().find_map(|wrapper| name.strip_suffix(wrapper)) {
        name = bare;
    }
    name
}

#[cfg(test)]
mod tests;
