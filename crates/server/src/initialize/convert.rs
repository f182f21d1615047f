//! Values made what is wanted, as generously as the peer does it: a text of digits is a number, a number is a text.

use crate::json::{Object, Value};

/// What a value is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `string`.
    Text,
    /// `int`.
    Int,
    /// `float64`.
    Float,
    /// `bool`.
    Bool,
    /// `[]string`.
    Texts,
    /// `map`.
    Map,
    /// `any`: as it is.
    Any,
}

impl Kind {
    /// By the peer's names.
    ///
    /// # Errors
    /// Which there are.
    pub fn parse(name: &str) -> Result<Self, String> {
        Ok(match name {
            "string" => Self::Text,
            "int" => Self::Int,
            "float64" => Self::Float,
            "bool" => Self::Bool,
            "[]string" => Self::Texts,
            "map" | "map[string]any" | "map[string]interface{}" => Self::Map,
            "any" | "interface{}" => Self::Any,
            other => {
                return Err(format!(
                    "eval_type {other:?} is not known; \"string\", \"int\", \"float64\", \"bool\", \"[]string\", \"map\" and \"any\" are"
                ));
            }
        })
    }
}

/// A value of a kind.
pub(super) fn to(value: Value, kind: Kind) -> Result<Value, String> {
    Ok(match kind {
        Kind::Any => value,
        Kind::Text => text(&value)?.into(),
        Kind::Bool => is_on(&value)?.into(),
        Kind::Map => map(value)?.into(),
        Kind::Int => number(&value, |text| text.parse::<i64>().ok().map(|number| number.to_string()))?,
        Kind::Float => number(&value, |text| {
            // What is no number of JSON is none here.
            text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number.to_string())
        })?,
        Kind::Texts => Value::Array(match value {
            Value::Array(many) => many.iter().map(|one| text(one).map(Value::from)).collect::<Result<_, _>>()?,
            Value::String(text) if text.is_empty() => Vec::new(),
            one => vec![text(&one)?.into()],
        }),
    })
}

/// A value as text.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(digits) => Ok(digits.to_string()),
        Value::Bool(value) => Ok(if *value { "1" } else { "0" }.to_owned()),
        Value::Null => Ok(String::new()),
        other => Err(wrong(other, "a text")),
    }
}

/// A value as true or false.
pub(super) fn is_on(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Number(digits) => Ok(digits.parse::<f64>().is_ok_and(|number| number != 0.0)),
        Value::String(text) => match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(wrong(value, "true or false")),
        },
        other => Err(wrong(other, "true or false")),
    }
}

/// A value as an object.
pub(super) fn map(value: Value) -> Result<Object, String> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(wrong(&other, "an object")),
    }
}

fn number(value: &Value, read: impl Fn(&str) -> Option<String>) -> Result<Value, String> {
    let digits = match value {
        Value::Bool(value) => Some(u8::from(*value).to_string()),
        Value::String(text) if text.is_empty() => Some("0".to_owned()),
        Value::String(text) => read(text.trim()),
        Value::Number(digits) => read(digits),
        _ => None,
    };
    digits.map(|digits| Value::Number(digits.into())).ok_or_else(|| wrong(value, "a number of that kind"))
}

/// The value may be a secret.
fn wrong(value: &Value, wanted: &str) -> String {
    format!("a value that is a {} cannot be made {wanted}", value.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_and_numbers_texts_where_they_can_be() {
        let number = |digits: &str| Value::Number(digits.into());
        for (value, kind, expected) in [
            ("5".into(), "int", Some(number("5"))),
            ("".into(), "int", Some(number("0"))),
            ("5x".into(), "int", None),
            ("1.5".into(), "float64", Some(number("1.5"))),
            ("inf".into(), "float64", None),
            (number("12345678901234567890"), "string", Some("12345678901234567890".into())),
            (true.into(), "string", Some("1".into())),
            ("True".into(), "bool", Some(true.into())),
            ("yes".into(), "bool", None),
            ("a".into(), "[]string", Some(Value::Array(vec!["a".into()]))),
            (Value::Array(vec![number("1")]), "[]string", Some(Value::Array(vec!["1".into()]))),
            ("a".into(), "map", None),
            (Value::Array(Vec::new()), "any", Some(Value::Array(Vec::new()))),
        ] {
            let made = to(value, Kind::parse(kind).unwrap());
            assert!(made.ok() == expected, "{kind} {:?}", expected.map(|value| value.to_vec()));
        }
        assert!(Kind::parse("int64").is_err());
        assert!(!to("secret".into(), Kind::Map).unwrap_err().contains("secret"));
    }
}
