//! Manifests: the Kubernetes objects of a text, one or many, YAML or JSON.
//!
//! Read strictly, because what is sealed must be what everybody else reads: a key that stands twice, a key that is no string, a text
//! that unfolds into millions of nodes are errors; `yes` without quotes is no string, as for Kubernetes.

use std::collections::HashSet;

use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, Limits, NodeId, Syntax, Value};

use crate::error::Failure;
use crate::exit::Code;
use crate::stream;

/// A Secret has at most 1 MiB; a thousand of them fit.
const LIMITS: Limits = Limits { bytes: 1 << 30, depth: 100, nodes: 2_000_000 };

/// One document of a text.
pub(crate) struct Part {
    /// The document with its tree.
    pub(crate) document: Document,
    /// What it says, merge keys resolved; nothing for a document without content.
    pub(crate) object: Option<Value>,
}

impl Part {
    /// The root.
    pub(crate) fn root(&self) -> Option<NodeId> {
        self.document.roots().first().copied()
    }
}

/// Reads all documents of a text. Put together, their texts are the text again.
///
/// # Errors
/// [`Code::CouldNotReadInput`], with the line.
pub(crate) fn read(name: &str, text: &SecretBytes) -> Result<Vec<Part>, Failure> {
    let bytes = text.expose();
    if bytes.trim_ascii_start().starts_with(b"{")
        && let Some(pieces) = json_pieces(bytes)
    {
        return pieces.into_iter().map(|piece| part(name, Syntax::Json, piece)).collect();
    }
    stream::documents(bytes).into_iter().map(|piece| part(name, Syntax::Yaml, piece)).collect()
}

/// What an object is: its `apiVersion` and `kind`.
pub(crate) fn kind(object: &Value) -> (&str, &str) {
    (text(object, "apiVersion").unwrap_or_default(), text(object, "kind").unwrap_or_default())
}

/// A string field.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    match object.get(field)? {
        Value::Str(bytes) => str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// An object, or the items of a `List`.
pub(crate) fn items(object: &Value) -> Vec<&Value> {
    match (kind(object), object.get("items")) {
        (("v1", "List" | "SecretList") | (_, "SealedSecretList"), Some(Value::Seq(items))) => items.iter().collect(),
        _ => vec![object],
    }
}

/// A message about an input.
pub(crate) fn unreadable(name: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new(Code::CouldNotReadInput, format!("{name}: {what}"))
}

/// The JSON texts that stand one behind the other; nothing if it is no JSON.
fn json_pieces(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<serde::de::IgnoredAny>();
    let mut pieces = Vec::new();
    let mut start = 0;
    while let Some(value) = values.next() {
        value.ok()?;
        pieces.push(&bytes[start..values.byte_offset()]);
        start = values.byte_offset();
    }
    // What is left is white space.
    if let Some(last) = pieces.last_mut() {
        let begin = start - last.len();
        *last = &bytes[begin..];
    }
    Some(pieces)
}

fn part(name: &str, syntax: Syntax, text: &[u8]) -> Result<Part, Failure> {
    let document =
        Document::parse_within(syntax, SecretBytes::from(text), &LIMITS).map_err(|error| unreadable(name, error))?;
    let Some(&root) = document.roots().first() else { return Ok(Part { document, object: None }) };
    let object = as_kubernetes(&document, root).map_err(|what| unreadable(name, what))?;
    let object = resolve_merges(object).map_err(|what| unreadable(name, what))?;
    if is_ours(&object) {
        check_keys(name, &document, root)?;
    }
    let is_empty = matches!(&object, Value::Null) || matches!(&object, Value::Map(entries) if entries.is_empty());
    Ok(Part { document, object: (!is_empty).then_some(object) })
}

/// Whether an object is one that is read here, or says not what it is. What others have in them is their business.
fn is_ours(object: &Value) -> bool {
    matches!(kind(object).1, "" | "Secret" | "SecretList" | "List" | "SealedSecret" | "SealedSecretList")
}

/// The tree as Kubernetes reads it. It reads YAML 1.1, where `yes`, `on` and `n` without quotes are truth values.
fn as_kubernetes(document: &Document, node: NodeId) -> Result<Value, String> {
    let entries = || document.children(node).filter(|&child| document.kind(child) != Kind::Comment);
    Ok(match document.kind(node) {
        Kind::Map => {
            let entry = |child| {
                let key = document.key(child).unwrap_or_default().to_owned();
                Ok((key, as_kubernetes(document, child)?))
            };
            Value::Map(entries().map(entry).collect::<Result<_, String>>()?)
        }
        Kind::Seq => Value::Seq(entries().map(|child| as_kubernetes(document, child)).collect::<Result<_, _>>()?),
        Kind::Scalar | Kind::Comment => {
            let value = Value::from(document.scalar(node));
            if let (Value::Time(_), false) = (&value, document.is_alias(node)) {
                // Kubernetes knows no times: it is the text that stands there.
                return Ok(Value::Time(String::from_utf8_lossy(document.source(node)).into_owned()));
            }
            let Value::Str(text) = &value else { return Ok(value) };
            match (document.syntax(), truth(text)) {
                (Syntax::Yaml, Some(truth)) if document.source(node) == text.as_slice() => Value::Bool(truth),
                (Syntax::Yaml, Some(_)) if document.is_alias(node) => {
                    let text = String::from_utf8_lossy(text);
                    return Err(format!("line {}: an alias of {text:?}; write it out", document.line(node)));
                }
                _ => value,
            }
        }
    })
}

/// What YAML 1.1 takes for a truth value and YAML 1.2 does not.
fn truth(text: &[u8]) -> Option<bool> {
    match text {
        b"y" | b"Y" | b"yes" | b"Yes" | b"YES" | b"on" | b"On" | b"ON" => Some(true),
        b"n" | b"N" | b"no" | b"No" | b"NO" | b"off" | b"Off" | b"OFF" => Some(false),
        _ => None,
    }
}

/// That every key is a string: the API server makes of others what it likes. That none stands twice, the parser sees to.
fn check_keys(name: &str, document: &Document, root: NodeId) -> Result<(), Failure> {
    let is_yaml = document.syntax() == Syntax::Yaml;
    let is_truth =
        |node| document.key(node).is_some_and(|key| truth(key.as_bytes()).is_some()) && document.has_plain_key(node);
    let wrong = |&node: &NodeId| document.has_non_string_key(node) || is_yaml && is_truth(node);
    match document.subtree(root).find(wrong) {
        None => Ok(()),
        Some(node) => {
            let (line, key) = (document.line(node), document.key(node).unwrap_or_default());
            Err(unreadable(name, format!("line {line}: the key {key:?} is not a string; put it in quotes")))
        }
    }
}

/// YAML's merge key: `<<: *defaults` brings entries that the map does not have itself.
fn resolve_merges(value: Value) -> Result<Value, &'static str> {
    match value {
        Value::Map(entries) => {
            let mut own = Vec::with_capacity(entries.len());
            let mut merged = Vec::new();
            for (key, value) in entries {
                let value = resolve_merges(value)?;
                match (key.as_str(), value) {
                    ("<<", Value::Map(entries)) => merged.push(entries),
                    ("<<", Value::Seq(items)) => {
                        for item in items {
                            let Value::Map(entries) = item else { return Err("a merge key (<<) takes maps only") };
                            merged.push(entries);
                        }
                    }
                    ("<<", _) => return Err("a merge key (<<) takes maps only"),
                    (_, value) => own.push((key, value)),
                }
            }
            if !merged.is_empty() {
                let mut known: HashSet<String> = own.iter().map(|(key, _)| key.clone()).collect();
                for (key, value) in merged.into_iter().flatten() {
                    if known.insert(key.clone()) {
                        own.push((key, value));
                    }
                }
            }
            Ok(Value::Map(own))
        }
        Value::Seq(items) => {
            Ok(Value::Seq(items.into_iter().map(|item| resolve_merges(item)).collect::<Result<_, _>>()?))
        }
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn objects(text: &str) -> Result<Vec<Option<Value>>, String> {
        let parts = read("in", &SecretBytes::from(text.as_bytes())).map_err(|failure| failure.message)?;
        let together: Vec<u8> = parts.iter().flat_map(|part| part.document.text().expose().to_vec()).collect();
        assert_eq!(together, text.as_bytes());
        Ok(parts.into_iter().map(|part| part.object).collect())
    }

    #[test]
    fn documents_of_both_kinds_are_told_apart() {
        assert_eq!(objects("{\"a\": 1}\n{\"b\": 2}\n").unwrap().len(), 2);
        assert_eq!(objects("# c\n---\na: 1\n---\n{b: 2}\n").unwrap().len(), 2);
        assert_eq!(objects("{a: 1}\n").unwrap().len(), 1, "flow style is YAML");
        assert!(objects("").unwrap().iter().all(Option::is_none));
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_in_both() {
        for text in
            ["{\"a\": {\"b\": 1, \"b\": 2}}", "a:\n  b: 1\n  b: 2\n", "a: 1\n---\nx: {b: 1, b: 2}\n", "a: 1\na: 1\n"]
        {
            assert!(objects(text).is_err(), "{text}");
        }
        assert!(objects("a:\n  1: x\n").unwrap_err().contains("not a string"));
    }

    #[test]
    fn what_kubernetes_takes_for_a_truth_value_is_one() {
        let object =
            objects("a: yes\nb: \"yes\"\nc: Off\nd: 'n'\ne: yes sir\nf: !!str on\n").unwrap().remove(0).unwrap();
        let text = |field| text(&object, field);
        assert_eq!((object.get("a"), object.get("c")), (Some(&Value::Bool(true)), Some(&Value::Bool(false))));
        assert_eq!((text("b"), text("d"), text("e"), text("f")), (Some("yes"), Some("n"), Some("yes sir"), Some("on")));
        assert!(objects("{\"a\": \"yes\"}").unwrap().remove(0).unwrap().get("a") != Some(&Value::Bool(true)));
        for key in ["data: {n: eA==}\n", "on: x\n", "kind: Secret\ndata:\n  y: eA==\n"] {
            assert!(objects(key).unwrap_err().contains("not a string"), "{key}");
        }
        assert!(objects("data: {\"n\": eA==}\n").is_ok());
        assert!(objects("a: &a yes\nb: *a\n").unwrap_err().contains("write it out"));
        assert!(objects("kind: Workflow\non: x\n1: y\n").is_ok(), "no object of ours");
    }

    #[test]
    fn merge_keys_bring_what_is_not_there() {
        let object = objects("a: &a {x: \"1\", z: \"2\"}\nb:\n  <<: *a\n  z: \"3\"\n").unwrap().remove(0).unwrap();
        let b = object.get("b").unwrap();
        assert_eq!((text(b, "x"), text(b, "z")), (Some("1"), Some("3")));
        assert!(objects("b:\n  <<: x\n").is_err());
    }

    #[test]
    fn aliases_that_unfold_without_end_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let item = format!("*a{}", n - 1);
            bomb += &format!("a{n}: &a{n} [{}]\n", [item.as_str(); 10].join(", "));
        }
        assert!(objects(&bomb).is_err());
    }
}
