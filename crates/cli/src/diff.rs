//! What changed between two versions of a file, by key.

mod report;

use std::collections::{HashMap, HashSet};

use bulla_core::{DataKey, KeyId, SecretBytes};
use bulla_document::{Document, Step, Value};
use bulla_format::sops::{FileKind, Metadata};

use crate::git::{metadata, tree};

pub(crate) use report::{Values, json, text};

/// A version of a file, decrypted if it was encrypted.
pub(crate) struct Version {
    /// Its type.
    pub(crate) kind: FileKind,
    /// Its plaintext.
    pub(crate) text: SecretBytes,
    /// How it is encrypted; `None` for a plain file.
    pub(crate) encrypted: Option<(Metadata, DataKey)>,
}

/// What changed.
pub(crate) struct Diff {
    /// Values, in the order of the new version; what is gone comes where its map ends.
    pub(crate) entries: Vec<Entry>,
    /// Keys that can open the new version and could not open the old.
    pub(crate) added_keys: Vec<KeyId>,
    /// Keys that could open the old version and cannot open the new.
    pub(crate) removed_keys: Vec<KeyId>,
    /// Whether the data key is another.
    pub(crate) rotated: bool,
    /// Whether the file came to be encrypted (`Some(true)`) or plain.
    pub(crate) now_encrypted: Option<bool>,
    /// Whether the rules of what is encrypted changed.
    pub(crate) rules_changed: bool,
}

impl Diff {
    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.added_keys.is_empty()
            && self.removed_keys.is_empty()
            && !self.rotated
            && self.now_encrypted.is_none()
            && !self.rules_changed
    }
}

/// A changed value.
pub(crate) struct Entry {
    /// Which YAML document, from 0.
    pub(crate) document: usize,
    /// Where in it.
    pub(crate) path: Vec<Step>,
    /// Before; `None` if it was not there.
    pub(crate) old: Option<Value>,
    /// After; `None` if it is gone.
    pub(crate) new: Option<Value>,
}

/// Compares two versions; `None` stands for a file that is not there.
///
/// # Errors
/// If a version cannot be read as what it is.
pub(crate) fn compare(old: Option<&Version>, new: Option<&Version>) -> Result<Diff, bulla_document::Error> {
    let (old_trees, new_trees) = (trees(old)?, trees(new)?);
    let mut entries = Vec::new();
    for document in 0..old_trees.len().max(new_trees.len()) {
        let mut walk = Walk { document, path: Vec::new(), entries: &mut entries };
        walk.compare(old_trees.get(document), new_trees.get(document));
    }
    let encrypted = |version: Option<&'_ Version>| version.and_then(|version| version.encrypted.clone());
    let (old_file, new_file) = (encrypted(old), encrypted(new));
    let keys = |file: &Option<(Metadata, DataKey)>| {
        file.as_ref().map(|(metadata, _)| metadata::ids(metadata).concat()).unwrap_or_default()
    };
    let (old_keys, new_keys) = (keys(&old_file), keys(&new_file));
    let without = |keys: &[KeyId], others: &[KeyId]| {
        let others: HashSet<&KeyId> = others.iter().collect();
        keys.iter().filter(|key| !others.contains(key)).cloned().collect::<Vec<_>>()
    };
    let both = old_file.as_ref().zip(new_file.as_ref());
    Ok(Diff {
        entries,
        added_keys: without(&new_keys, &old_keys),
        // A file that is gone is opened by nobody; that needs no telling.
        removed_keys: if new.is_some() { without(&old_keys, &new_keys) } else { Vec::new() },
        rotated: both.is_some_and(|(old, new)| old.1 != new.1),
        now_encrypted: match (old, new) {
            (Some(old), Some(new)) if old.encrypted.is_some() != new.encrypted.is_some() => {
                Some(new.encrypted.is_some())
            }
            _ => None,
        },
        rules_changed: both.is_some_and(|(old, new)| old.0.rules != new.0.rules),
    })
}

fn trees(version: Option<&Version>) -> Result<Vec<Value>, bulla_document::Error> {
    let Some(version) = version else { return Ok(Vec::new()) };
    match version.kind {
        FileKind::Text(syntax) => {
            let document = Document::parse(syntax, version.text.clone())?;
            Ok(document.roots().iter().map(|root| document.to_value(*root)).collect())
        }
        FileKind::Binary => Ok(vec![Value::Str(zeroize::Zeroizing::new(version.text.expose().to_vec()))]),
    }
}

struct Walk<'e> {
    document: usize,
    path: Vec<Step>,
    entries: &'e mut Vec<Entry>,
}

impl Walk<'_> {
    fn compare(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (Some(old), Some(new)) if tree::same(old, new) => {}
            (None, None) => {}
            (Some(Value::Map(old)), Some(Value::Map(new))) => self.maps(old, new),
            (Some(Value::Seq(old)), Some(Value::Seq(new))) => {
                for index in 0..old.len().max(new.len()) {
                    self.below(Step::Index(index), old.get(index), new.get(index));
                }
            }
            // What came or went as a whole is told value by value.
            (None, Some(Value::Map(new))) if !new.is_empty() => self.maps(&[], new),
            (Some(Value::Map(old)), None) if !old.is_empty() => self.maps(old, &[]),
            (None, Some(Value::Seq(new))) if !new.is_empty() => {
                for (index, item) in new.iter().enumerate() {
                    self.below(Step::Index(index), None, Some(item));
                }
            }
            (Some(Value::Seq(old)), None) if !old.is_empty() => {
                for (index, item) in old.iter().enumerate() {
                    self.below(Step::Index(index), Some(item), None);
                }
            }
            _ => self.entries.push(Entry {
                document: self.document,
                path: self.path.clone(),
                old: old.cloned(),
                new: new.cloned(),
            }),
        }
    }

    fn maps(&mut self, old: &[(String, Value)], new: &[(String, Value)]) {
        let before: HashMap<&str, &Value> = old.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let after: HashSet<&str> = new.iter().map(|(key, _)| key.as_str()).collect();
        for (key, value) in new {
            self.below(Step::Key(key.clone()), before.get(key.as_str()).copied(), Some(value));
        }
        for (key, value) in old.iter().filter(|(key, _)| !after.contains(key.as_str())) {
            self.below(Step::Key(key.clone()), Some(value), None);
        }
    }

    fn below(&mut self, step: Step, old: Option<&Value>, new: Option<&Value>) {
        self.path.push(step);
        self.compare(old, new);
        self.path.pop();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn changes(old: &Value, new: &Value) -> Vec<String> {
        let mut entries = Vec::new();
        Walk { document: 0, path: Vec::new(), entries: &mut entries }.compare(Some(old), Some(new));
        entries
            .iter()
            .map(|entry| {
                let sign = match (&entry.old, &entry.new) {
                    (None, _) => '+',
                    (_, None) => '-',
                    _ => '~',
                };
                format!("{sign}{}", tree::show(&entry.path))
            })
            .collect()
    }

    fn map(entries: &[(&str, Value)]) -> Value {
        Value::Map(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    }

    #[test]
    fn each_changed_value_is_told_once_under_its_path() {
        let old =
            map(&[("a", Value::Int(1)), ("b", map(&[("c", Value::Int(2))])), ("l", Value::Seq(vec![Value::Int(1)]))]);
        let new = map(&[
            ("a", Value::str("1")),
            ("n", map(&[("x", Value::Null), ("y", Value::Bool(true))])),
            ("l", Value::Seq(vec![Value::Int(1), Value::Int(2)])),
        ]);
        assert_eq!(changes(&old, &new), ["~a", "+n.x", "+n.y", "+l[1]", "-b.c"]);
        assert_eq!(changes(&old, &old), Vec::<String>::new());
    }
}
