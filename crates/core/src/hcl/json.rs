//! The same in JSON: an object is a body; a list of objects is several of them; an object below a block's name has the next key.

use super::{Body, Error, Item, MAX_DEPTH, Value};
use crate::json;

pub fn parse(text: &str) -> Result<Body, Error> {
    let bad = |what: String| Error { line: 1, column: 1, what };
    let object = json::parse_strict(text.as_bytes()).map_err(|error| bad(error.to_string()))?;
    body(&object, 0).ok_or_else(|| bad("nested too deeply".to_owned()))
}

/// A key with objects below it is given both as a block (`a { b { … } }`) and so that whoever asks for `a "b" { … }` finds it.
fn body(object: &json::Object, depth: usize) -> Option<Body> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut items = Vec::new();
    for (key, one) in object {
        let blocks = match one {
            json::Value::Array(many) if many.iter().all(|one| one.as_object().is_some()) && !many.is_empty() => {
                many.iter().filter_map(json::Value::as_object).collect()
            }
            json::Value::Object(block) => vec![block],
            other => {
                let value = value(other, depth + 1)?;
                items.push(Item { keys: vec![key.clone()], value, line: 0 });
                continue;
            }
        };
        for block in blocks {
            let labelled = !block.is_empty() && block.values().all(is_block);
            if labelled {
                for (label, inner) in block {
                    for inner in each(inner) {
                        let value = Value::Body(body(inner, depth + 1)?);
                        items.push(Item { keys: vec![key.clone(), label.clone()], value, line: 0 });
                    }
                }
            } else {
                items.push(Item { keys: vec![key.clone()], value: Value::Body(body(block, depth + 1)?), line: 0 });
            }
        }
    }
    Some(Body { items })
}

fn is_block(value: &json::Value) -> bool {
    match value {
        json::Value::Object(_) => true,
        json::Value::Array(many) => !many.is_empty() && many.iter().all(|one| one.as_object().is_some()),
        _ => false,
    }
}

fn each(value: &json::Value) -> Vec<&json::Object> {
    match value {
        json::Value::Object(one) => vec![one],
        json::Value::Array(many) => many.iter().filter_map(json::Value::as_object).collect(),
        _ => Vec::new(),
    }
}

fn value(value: &json::Value, depth: usize) -> Option<Value> {
    Some(match value {
        json::Value::String(text) => Value::String(text.clone()),
        json::Value::Number(digits) => Value::Number(digits.to_string()),
        json::Value::Bool(value) => Value::Bool(*value),
        json::Value::Null | json::Value::Raw(_) => Value::String(String::new()),
        json::Value::Array(many) => {
            if depth > MAX_DEPTH {
                return None;
            }
            Value::List(many.iter().map(|one| self::value(one, depth + 1)).collect::<Option<_>>()?)
        }
        json::Value::Object(object) => Value::Body(body(object, depth)?),
    })
}
