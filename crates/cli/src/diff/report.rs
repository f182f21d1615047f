//! Differences as people and as programs read them. Values are left out unless they were asked for.

use std::fmt::Write;

use bulla_document::{Scalar, Step, Value};
use serde_json::json;

use super::{Diff, Entry};
use crate::git::tree::show;

/// Whether values are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// They are not: only what changed, and of which type it is.
    Hidden,
    /// They are.
    Shown,
}

/// For people: a line each, `+` for what came, `-` for what went, `~` for what changed, `!` for what changed its type.
pub(crate) fn text(diff: &Diff, old: &str, new: &str, values: Values) -> String {
    let mut out = format!("--- {old}\n+++ {new}\n");
    for entry in &diff.entries {
        let document = if entry.document > 0 { format!("document {}: ", entry.document + 1) } else { String::new() };
        let sign = sign(entry);
        let change = match (&entry.old, &entry.new) {
            (None, Some(value)) | (Some(value), None) => told(value, values),
            (Some(_), Some(new)) if sign == '~' && values == Values::Hidden => type_name(new).to_owned(),
            (Some(old), Some(new)) => format!("{} -> {}", told(old, values), told(new, values)),
            (None, None) => String::new(),
        };
        let _ = writeln!(out, "{sign} {document}{}: {change}", show(&entry.path));
    }
    match diff.now_encrypted {
        Some(true) => out.push_str("! the file is encrypted now\n"),
        Some(false) => out.push_str("! the file is NOT encrypted any more\n"),
        None => {}
    }
    for key in &diff.added_keys {
        let _ = writeln!(out, "+ can be opened by {} {key}", key.kind());
    }
    for key in &diff.removed_keys {
        let _ = writeln!(out, "- can be opened by {} {key}", key.kind());
    }
    if diff.rotated {
        out.push_str("~ the data key was rotated\n");
    } else if !diff.removed_keys.is_empty() && diff.now_encrypted.is_none() {
        out.push_str("! the data key was NOT rotated: who was removed can still open the file\n");
    }
    if diff.rules_changed {
        out.push_str("~ the rules of what is encrypted changed\n");
    }
    out
}

/// For programs.
pub(crate) fn json(diff: &Diff, old: &str, new: &str, values: Values) -> serde_json::Value {
    let changes: Vec<_> = diff
        .entries
        .iter()
        .map(|entry| {
            let kind = match sign(entry) {
                '+' => "added",
                '-' => "removed",
                '!' => "type-changed",
                _ => "changed",
            };
            let steps: Vec<_> = entry
                .path
                .iter()
                .map(|step| match step {
                    Step::Key(key) => json!(key),
                    Step::Index(index) => json!(index),
                })
                .collect();
            let mut change = json!({
                "change": kind,
                "document": entry.document,
                "path": steps,
                "old_type": entry.old.as_ref().map(type_name),
                "new_type": entry.new.as_ref().map(type_name),
            });
            if values == Values::Shown {
                change["old"] = entry.old.as_ref().map_or(serde_json::Value::Null, value_json);
                change["new"] = entry.new.as_ref().map_or(serde_json::Value::Null, value_json);
            }
            change
        })
        .collect();
    let keys = |keys: &[bulla_core::KeyId]| -> Vec<_> {
        keys.iter().map(|key| json!({"kind": key.kind(), "key": key.to_string()})).collect()
    };
    json!({
        "old": old,
        "new": new,
        "changes": changes,
        "keys_added": keys(&diff.added_keys),
        "keys_removed": keys(&diff.removed_keys),
        "data_key_rotated": diff.rotated,
        "rules_changed": diff.rules_changed,
        "now_encrypted": diff.now_encrypted,
    })
}

fn sign(entry: &Entry) -> char {
    match (&entry.old, &entry.new) {
        (None, _) => '+',
        (_, None) => '-',
        (Some(old), Some(new)) if type_name(old) != type_name(new) => '!',
        _ => '~',
    }
}

fn told(value: &Value, values: Values) -> String {
    match values {
        Values::Hidden => type_name(value).to_owned(),
        Values::Shown => value_json(value).to_string(),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Float(_) => "float",
        Value::Str(_) => "str",
        Value::Time(_) => "time",
        Value::Seq(_) => "list",
        Value::Map(_) => "map",
    }
}

fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Seq(items) => items.iter().map(value_json).collect(),
        Value::Map(entries) => {
            serde_json::Value::Object(entries.iter().map(|(key, value)| (key.clone(), value_json(value))).collect())
        }
        scalar => match scalar.as_scalar() {
            Some(Scalar::Bool(value)) => json!(value),
            Some(Scalar::Int(value)) => json!(value),
            Some(Scalar::Float(value)) => json!(value),
            Some(Scalar::Str(bytes)) => match std::str::from_utf8(&bytes) {
                Ok(text) => json!(text),
                Err(_) => json!(format!("({} bytes that are not text)", bytes.len())),
            },
            Some(Scalar::Time(text)) => json!(text),
            Some(Scalar::Null) | None => serde_json::Value::Null,
        },
    }
}
