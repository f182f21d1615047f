//! JSON merge patch (RFC 7396), and the names of a value.

use crate::json::{Object, Value};

/// Changes `value` as `patch` says: `null` deletes, objects go deeper, all else replaces.
pub fn merge(value: &mut Value, patch: &Object) {
    if !matches!(value, Value::Object(_)) {
        *value = Value::Object(Object::new());
    }
    let Value::Object(object) = value else { return };
    for (key, change) in patch {
        match change {
            Value::Null => drop(object.remove(key)),
            Value::Object(inner) => merge(object.entry(key.clone()).or_default(), inner),
            other => drop(object.insert(key.clone(), other.clone())),
        }
    }
}

/// Objects with `null` for whatever is not an object, or deeper than `depth` (0: no end).
pub fn names(value: &Value, depth: usize) -> Value {
    match value {
        Value::Object(object) => {
            Value::Object(object.iter().map(|(key, inner)| (key.clone(), below(inner, depth))).collect())
        }
        _ => Value::Null,
    }
}

fn below(value: &Value, depth: usize) -> Value {
    match value {
        Value::Object(object) if depth != 1 && !object.is_empty() => names(value, depth.saturating_sub(1)),
        _ => Value::Null,
    }
}
