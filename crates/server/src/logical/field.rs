//! Declared fields, and how what a client sent becomes their type.
//!
//! Clients send numbers as text and text as numbers; what the peer takes is taken here.

use std::collections::BTreeMap;

use super::duration::parse_seconds;
use crate::json::{Object, Value};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Text in lower case.
    LowerText,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false.
    Bool,
    /// Seconds, also as a duration; not less than none.
    Seconds,
    /// The same, which can be less than none.
    SignedSeconds,
    /// An object of anything.
    Map,
    /// An object of texts.
    TextMap,
    /// A list of texts, also separated by commas.
    Texts,
    /// A list of whole numbers, also separated by commas.
    Ints,
    /// A list of anything.
    List,
}

/// A field of a path.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it means, for help and `OpenAPI`.
    pub about: &'static str,
}

impl Field {
    /// A field.
    pub const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, about }
    }

    /// Whether `value` can be read as this field's kind.
    pub(super) fn check(&self, value: &Value) -> Result<(), String> {
        let result = match self.kind {
            Kind::Text | Kind::LowerText => text(value).map(drop),
            Kind::Int => int(value).map(drop),
            Kind::Float => float(value).map(drop),
            Kind::Bool => boolean(value).map(drop),
            Kind::Seconds => seconds(value).and_then(|seconds| match seconds {
                0.. => Ok(()),
                negative => Err(format!("cannot provide negative value '{negative}'")),
            }),
            Kind::SignedSeconds => seconds(value).map(drop),
            Kind::Map => map(value).map(drop),
            // Looked at by whoever asks for it.
            Kind::List => Ok(()),
            Kind::TextMap => text_map(value).map(drop),
            Kind::Texts => texts(value).map(drop),
            Kind::Ints => ints(value).map(drop),
        };
        result.map_err(|error| format!("error converting input for field {:?}: {error}", self.name))
    }
}

/// What the peer's language calls the type of a value; clients may look for it in errors.
pub fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null | Value::Raw(_) => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "json.Number",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn unexpected(expected: &str, value: &Value) -> String {
    format!("'' expected type '{expected}', got unconvertible type '{}'", go_type(value))
}

pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(digits) => Ok(digits.to_string()),
        Value::Bool(value) => Ok(if *value { "1" } else { "0" }.to_owned()),
        Value::Null => Ok(String::new()),
        other => Err(unexpected("string", other)),
    }
}

pub(super) fn int(value: &Value) -> Result<i64, String> {
    match value {
        Value::Number(digits) => digits.parse().map_err(|_| no_int()),
        Value::String(text) if text.is_empty() => Ok(0),
        Value::String(text) => parse_int(text),
        Value::Bool(value) => Ok(i64::from(*value)),
        Value::Null => Ok(0),
        other => Err(unexpected("int", other)),
    }
}

pub(super) fn float(value: &Value) -> Result<f64, String> {
    let bad = |_| "'' cannot parse value as 'float64': strconv.ParseFloat: invalid syntax".to_owned();
    match value {
        Value::Number(digits) => digits.parse().map_err(bad),
        Value::String(text) if text.is_empty() => Ok(0.0),
        // The peer takes what is no number, too: nothing that a limit can be compared with.
        Value::String(text) => text.parse().map_err(bad).and_then(|number: f64| {
            if number.is_finite() {
                Ok(number)
            } else {
                Err("'' cannot parse value as 'float64': it is no number".to_owned())
            }
        }),
        Value::Bool(value) => Ok(f64::from(u8::from(*value))),
        Value::Null => Ok(0.0),
        other => Err(unexpected("float64", other)),
    }
}

fn no_int() -> String {
    "'' cannot parse value as 'int': strconv.ParseInt: invalid syntax".to_owned()
}

/// A whole number as the peer's language writes it: `0x10`, `0b11`, `010` (which is 8), `1_000`.
fn parse_int(text: &str) -> Result<i64, String> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', ..] => ("-", &text[1..]),
        [b'+', ..] => ("", &text[1..]),
        _ => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let groups: Vec<&str> = digits.split('_').collect();
    if groups.iter().any(|group| group.is_empty() || group.starts_with(['+', '-'])) {
        return Err(no_int());
    }
    i64::from_str_radix(&format!("{sign}{}", groups.concat()), base).map_err(|_| no_int())
}

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err("'' cannot parse value as 'bool': strconv.ParseBool: invalid syntax".to_owned()),
        },
        Value::Number(digits) if matches!(digits.as_ref(), "0" | "1") => Ok(digits.as_ref() == "1"),
        Value::Number(_) => Err("'' cannot parse value as 'bool': strconv.ParseBool: invalid syntax".to_owned()),
        Value::Null => Ok(false),
        other => Err(unexpected("bool", other)),
    }
}

pub(super) fn seconds(value: &Value) -> Result<i64, String> {
    let seconds = match value {
        Value::Number(text) => parse_seconds(text)?,
        Value::String(text) => parse_seconds(text)?,
        Value::Null => 0,
        _ => return Err("could not parse duration from input".to_owned()),
    };
    Ok(seconds)
}

pub(super) fn map(value: &Value) -> Result<Object, String> {
    match value {
        Value::Object(object) => Ok(object.clone()),
        Value::Null => Ok(Object::new()),
        other => Err(unexpected("map[string]interface {}", other)),
    }
}

/// An object of texts, or a list of `key=value`, or the text of either.
pub(super) fn text_map(value: &Value) -> Result<BTreeMap<String, String>, String> {
    match value {
        Value::Object(object) => object.iter().map(|(key, value)| Ok((key.clone(), text(value)?))).collect(),
        Value::Array(values) => values.iter().map(|value| pair(&text(value)?)).collect(),
        Value::String(joined) if joined.trim().is_empty() => Ok(BTreeMap::new()),
        Value::String(joined) => match crate::json::parse(joined.as_bytes()) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => text_map(&value),
            _ => joined.split(',').map(pair).collect(),
        },
        Value::Null => Ok(BTreeMap::new()),
        other => Err(unexpected("map[string]string", other)),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a pair has no =")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Of a list every text that has something in it, without the space around it.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    let all = match value {
        Value::Array(values) => items(values, text)?,
        Value::Null => Vec::new(),
        Value::Object(_) | Value::Raw(_) => return Err(unexpected("[]string", value)),
        other => text(other)?.split(',').map(str::to_owned).collect(),
    };
    Ok(all.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned).collect())
}

pub(super) fn ints(value: &Value) -> Result<Vec<i64>, String> {
    match value {
        Value::Array(values) => items(values, int),
        Value::Null => Ok(Vec::new()),
        Value::Object(_) | Value::Raw(_) => Err(unexpected("[]int", value)),
        other => {
            let text = text(other)?;
            let texts: Vec<&str> = text.split(',').map(str::trim).filter(|text| !text.is_empty()).collect();
            items(&texts, |text| parse_int(text))
        }
    }
}

/// Each of a list; what is wrong with those that cannot be read, with their places.
fn items<V, T>(values: &[V], read: impl Fn(&V) -> Result<T, String>) -> Result<Vec<T>, String> {
    let (mut read_ones, mut wrong) = (Vec::with_capacity(values.len()), Vec::new());
    for (at, value) in values.iter().enumerate() {
        match read(value) {
            Ok(one) => read_ones.push(one),
            Err(error) => wrong.push(error.replacen("''", &format!("'[{at}]'"), 1)),
        }
    }
    if wrong.is_empty() {
        Ok(read_ones)
    } else {
        wrong.truncate(WRONG_SHOWN);
        Err(format!("decoding failed due to the following error(s):\n\n{}", wrong.join("\n")))
    }
}

/// So many that cannot be read are named.
const WRONG_SHOWN: usize = 20;
