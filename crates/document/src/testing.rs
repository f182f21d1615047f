//! What every syntax must keep, as properties that each one's tests run on texts of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use bulla_core::SecretBytes;
use proptest::prelude::*;
use zeroize::Zeroizing;

use crate::{Document, Kind, NodeId, Scalar, Syntax, Value};

/// What stands in place of an encrypted value.
pub(crate) const CIPHERTEXT: &str =
    "ENC[AES256_GCM,data:p673w==,iv:YY=aavn/+AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,tag:UQ==,type:str]";

pub(crate) fn parse(syntax: Syntax, text: &[u8]) -> Document {
    match Document::parse(syntax, SecretBytes::from(text)) {
        Ok(document) => document,
        Err(error) => panic!("{error}, in:\n{}", String::from_utf8_lossy(text)),
    }
}

pub(crate) fn tree(syntax: Syntax, text: &[u8]) -> Value {
    let document = parse(syntax, text);
    document.to_value(document.roots()[0])
}

pub(crate) fn error(syntax: Syntax, text: &[u8]) -> String {
    match Document::parse(syntax, SecretBytes::from(text)) {
        Ok(_) => panic!("no error in:\n{}", String::from_utf8_lossy(text)),
        Err(error) => error.to_string(),
    }
}

/// A tree as text, values included, to compare and to read in a failing test.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}f"),
        Value::Str(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Value::Time(text) => format!("@{text}"),
        Value::Seq(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key:?}: {}", show(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// Any bytes, at best a text of the syntax: no panic, spans inside the text, values and keys readable.
pub(crate) fn check_any_bytes(syntax: Syntax, text: &[u8]) {
    let Ok(document) = Document::parse(syntax, SecretBytes::from(text)) else { return };
    for id in (0..document.len()).map(|id| NodeId(u32::try_from(id).unwrap())) {
        let node = document.node(id);
        assert!(node.span.start <= node.span.end && node.span.end as usize <= text.len());
        assert!(node.entry.start <= node.entry.end && node.entry.end as usize <= text.len());
        assert!(node.end > id.0 && node.parent <= id.0);
        let _ = (document.source(id), document.scalar(id), document.key(id), document.line(id));
        if let Some(parent) = document.parent(id) {
            assert!(document.children(parent).any(|child| child == id));
        }
    }
    check_restores(syntax, text);
}

/// Encrypts every value of the text and decrypts it again: where `restores` says so by the values alone, elsewhere with
/// the source kept apart. The bytes come back.
pub(crate) fn check_restores(syntax: Syntax, text: &[u8]) {
    let plain = parse(syntax, text);
    let mut patch = plain.patch();
    let mut secrets = Vec::new();
    for (at, id) in plain.subtree(plain.roots()[0]).enumerate() {
        let is_secret = match plain.kind(id) {
            Kind::Scalar => plain.scalar(id) != Scalar::Null,
            Kind::Comment => true,
            Kind::Map | Kind::Seq => false,
        };
        if is_secret {
            patch.set_scalar(id, &Scalar::str(CIPHERTEXT)).unwrap();
            secrets.push((at, id));
        }
    }
    let encrypted = patch.finish();
    let encrypted = parse(syntax, encrypted.expose());
    assert_eq!(encrypted.len(), plain.len(), "encryption changed the tree: {:?}", text_of(encrypted.text()));
    let ids: Vec<_> = encrypted.subtree(encrypted.roots()[0]).collect();
    let mut patch = encrypted.patch();
    for (at, id) in secrets {
        assert_eq!(encrypted.scalar(ids[at]).as_str(), Some(CIPHERTEXT), "in {:?}", text_of(encrypted.text()));
        if plain.restores(id) {
            patch.set_scalar(ids[at], &plain.scalar(id)).unwrap();
        } else {
            patch.set_source(ids[at], plain.source(id));
        }
    }
    assert_eq!(text_of(&patch.finish()), String::from_utf8_lossy(text));
}

/// Adds entries to the map at `path` of the text and takes them out again: the bytes come back, and in between the tree is
/// the intended one.
pub(crate) fn check_insert(syntax: Syntax, text: &[u8], map: NodeId, entries: &[(String, Value)]) {
    let before = parse(syntax, text);
    let mut patch = before.patch();
    patch.insert(map, entries).unwrap();
    let with = patch.finish();
    let with = parse(syntax, with.expose());
    let mut expected = before.to_value(map);
    if let Value::Map(old) = &mut expected {
        old.extend(entries.iter().cloned());
    }
    let shown = text_of(with.text());
    assert_eq!(show(&with.to_value(map)), show(&expected), "in {shown:?} from {:?}", String::from_utf8_lossy(text));
    let mut patch = with.patch();
    for (key, _) in entries {
        patch.remove(with.child(map, &crate::Step::Key(key.clone())).unwrap()).unwrap();
    }
    assert_eq!(text_of(&patch.finish()), String::from_utf8_lossy(text), "by way of {shown:?}");
}

pub(crate) fn text_of(text: &SecretBytes) -> String {
    String::from_utf8_lossy(text.expose()).into_owned()
}

/// Strings with all that needs care: quotes, escapes, line ends, comment signs, non-ASCII.
pub(crate) fn strings() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9]{1,8}",
        2 => r#"[a-z "'\\#;=:,\[\]{}$`\n\t\r-]{0,12}"#,
        1 => any::<String>().prop_map(|text| text.replace('\0', "")),
    ]
}

pub(crate) fn text(text: String) -> Value {
    Value::Str(Zeroizing::new(text.into_bytes()))
}

/// Trees with a map at the root, of every type.
pub(crate) fn trees() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        2 => any::<i64>().prop_map(Value::Int),
        1 => any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(Value::Float),
        4 => strings().prop_map(text),
    ];
    let value = leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Seq), maps(inner).prop_map(Value::Map)]
    });
    maps(value).prop_map(Value::Map)
}

/// Entries with keys that differ.
pub(crate) fn maps(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Vec<(String, Value)>> {
    prop::collection::vec((strings(), value), 0..6).prop_map(|mut entries| {
        let mut seen = std::collections::HashSet::new();
        entries.retain(|(key, _)| seen.insert(key.clone()));
        entries
    })
}

/// Bytes put together from pieces that mean something in the syntax, so that random texts get far.
pub(crate) fn pieces(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}
