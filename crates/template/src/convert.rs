//! Between types, by the rules of the `cast` library that sprig uses: what cannot be converted is 0.

use crate::literal::{parse_float, parse_int};
use crate::value::Value;

/// To an integer. A string may have a prefix (`0x`, `0` for octal), and a fraction of zeros.
pub(crate) fn to_int64(value: &Value) -> i64 {
    match value {
        Value::Float(float) => truncate(*float),
        Value::Bool(value) => i64::from(*value),
        Value::Text(text) | Value::Number(text) => {
            text.as_str().and_then(|text| parse_int(trim_zero_fraction(text), 0)).unwrap_or(0)
        }
        value => value.as_integer().unwrap_or(0),
    }
}

/// To a float.
#[expect(clippy::cast_precision_loss, reason = "as Go converts")]
pub(crate) fn to_float64(value: &Value) -> f64 {
    match value {
        Value::Float(float) => *float,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Text(text) | Value::Number(text) => text.as_str().and_then(parse_float).unwrap_or(0.0),
        Value::Uint64(number) => *number as f64,
        value => value.as_integer().unwrap_or(0) as f64,
    }
}

/// Towards zero. What does not fit is, as amd64 has it, the smallest integer.
#[expect(clippy::cast_possible_truncation, reason = "checked")]
fn truncate(float: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&float) { float as i64 } else { i64::MIN }
}

/// `5.00` is `5`.
fn trim_zero_fraction(text: &str) -> &str {
    let rest = text.trim_end_matches('0');
    match rest.strip_suffix('.') {
        Some(whole) if rest.len() < text.len() => whole,
        _ => text,
    }
}
