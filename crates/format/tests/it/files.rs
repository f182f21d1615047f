//! Files to work on, without any peer.

use bulla_core::{DataKey, KeyId, SecretBytes, WrappedKey};
use bulla_document::{Document, Step, Syntax, Value};
use bulla_format::sops::{EncryptedFile, Error, FileKind, MacCheck, MasterKey, Metadata, encrypt};

pub const DATE: &str = "2026-01-02T03:04:05Z";
pub const LATER: &str = "2026-02-03T04:05:06Z";

pub const JSON: FileKind = FileKind::Text(Syntax::Json);
pub const YAML: FileKind = FileKind::Text(Syntax::Yaml);
pub const DOTENV: FileKind = FileKind::Text(Syntax::Dotenv);

pub fn key() -> DataKey {
    DataKey::from_bytes(SecretBytes::from([42; 32].as_slice())).unwrap()
}

pub fn local(path: &str) -> MasterKey {
    MasterKey {
        id: KeyId::Local { path: path.into() },
        wrapped: WrappedKey::new("wrapped"),
        created_at: DATE.to_owned(),
        unknown: Vec::new(),
    }
}

pub fn metadata() -> Metadata {
    Metadata {
        groups: vec![vec![local("/key")]],
        last_modified: DATE.to_owned(),
        version: "3.13.3".to_owned(),
        ..Metadata::default()
    }
}

pub fn seal(kind: FileKind, text: &str) -> String {
    seal_with(kind, text, metadata())
}

pub fn seal_with(kind: FileKind, text: &str, metadata: Metadata) -> String {
    let sealed = encrypt(kind, SecretBytes::from(text.as_bytes()), metadata, &key(), None).unwrap();
    String::from_utf8(sealed.expose().to_vec()).unwrap()
}

pub fn parse(kind: FileKind, text: &str) -> EncryptedFile {
    EncryptedFile::parse(kind, SecretBytes::from(text.as_bytes())).unwrap()
}

/// Parses and decrypts with both MACs demanded.
pub fn open(kind: FileKind, text: &str) -> String {
    try_open(kind, text, MacCheck::Strict).unwrap()
}

pub fn try_open(kind: FileKind, text: &str, check: MacCheck) -> Result<String, Error> {
    let file = EncryptedFile::parse(kind, SecretBytes::from(text.as_bytes()))?;
    let plain = file.decrypt(&key(), check)?;
    Ok(String::from_utf8_lossy(plain.text.expose()).into_owned())
}

pub fn tree(kind: FileKind, text: &str) -> Vec<Value> {
    let FileKind::Text(syntax) = kind else { return vec![Value::str(text)] };
    let document = Document::parse(syntax, SecretBytes::from(text.as_bytes())).unwrap();
    document.roots().iter().map(|&root| document.to_value(root)).collect()
}

/// `a.b.0` as a path.
pub fn path(text: &str) -> Vec<Step> {
    text.split('.').map(|part| part.parse().map_or_else(|_| Step::Key(part.to_owned()), Step::Index)).collect()
}

/// Sets a value; the file must be whole before and after.
pub fn set(kind: FileKind, text: &str, at: &str, value: &Value) -> Option<String> {
    let changed = parse(kind, text).set(&key(), &path(at), value, MacCheck::Check, LATER).unwrap()?;
    Some(String::from_utf8(changed.expose().to_vec()).unwrap())
}

pub fn unset(kind: FileKind, text: &str, at: &str) -> String {
    let changed = parse(kind, text).unset(&key(), &path(at), MacCheck::Check, LATER).unwrap();
    String::from_utf8(changed.expose().to_vec()).unwrap()
}

/// The lines that are in one text and not in the other, each way; a key's name stands for its line.
pub fn changed_lines(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
    let name = |line: &&str| line.split(['=', ':']).next().unwrap_or_default().trim().trim_matches('"').to_owned();
    let missing = |from: &str, other: &str| {
        let other: Vec<_> = other.lines().collect();
        from.lines().filter(|line| !other.contains(line)).map(|line| name(&line)).collect()
    };
    (missing(before, after), missing(after, before))
}
