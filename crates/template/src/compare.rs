//! Go's comparisons: `eq`, `lt` and their like for templates, and `reflect.DeepEqual`.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::error::{Failure, Limit};
use crate::limits::Meter;
use crate::value::Value;

/// How many bytes are held against others in a step.
const BYTES_A_STEP: u64 = 64;

#[derive(PartialEq, Eq, Clone, Copy)]
enum Basic {
    Bool,
    Int,
    Uint,
    Float,
    Text,
    Other,
}

fn basic(value: &Value) -> Basic {
    match value {
        Value::Bool(_) => Basic::Bool,
        Value::Int(_) | Value::Int64(_) => Basic::Int,
        Value::Uint8(_) | Value::Uint64(_) => Basic::Uint,
        Value::Float(_) => Basic::Float,
        Value::Text(_) | Value::Number(_) => Basic::Text,
        _ => Basic::Other,
    }
}

/// Whether two values are equal.
///
/// # Errors
/// When their types cannot be compared.
#[expect(clippy::float_cmp, reason = "as Go does it")]
pub(crate) fn equal(a: &Value, b: &Value) -> Result<bool, Failure> {
    if basic(a) != basic(b) {
        if let Some(order) = integers(a, b) {
            return Ok(order == Ordering::Equal);
        }
        if a.is_nil() || b.is_nil() {
            return Ok(false);
        }
        return Err(incompatible(a, b));
    }
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a) | Value::Number(a), Value::Text(b) | Value::Number(b)) => a == b,
        _ if basic(a) != Basic::Other => integers(a, b) == Some(Ordering::Equal),
        _ if is_nil(a) || is_nil(b) => {
            if !a.is_nil() && !b.is_nil() && a.kind_name() != b.kind_name() {
                return Err(incompatible(a, b));
            }
            is_nil(a) == is_nil(b)
        }
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Version(a), Value::Version(b)) => Arc::ptr_eq(a, b),
        (Value::Certificate(a), Value::Certificate(b)) => a.fields() == b.fields(),
        _ if a.kind_name() != b.kind_name() || matches!(b, Value::List(_) | Value::Map(_)) => {
            return Err(format!("non-comparable types {} and {}", a.type_name(), b.type_name()).into());
        }
        _ => false,
    })
}

fn is_nil(value: &Value) -> bool {
    match value {
        Value::List(list) => list.nil,
        Value::Map(map) => map.is_nil(),
        value => value.is_nil(),
    }
}

/// Whether `a` is less than `b`.
///
/// # Errors
/// When their types have no order.
pub(crate) fn less(a: &Value, b: &Value) -> Result<bool, Failure> {
    let unordered = |value: &Value| matches!(basic(value), Basic::Other);
    if unordered(a) || unordered(b) {
        return Err("invalid type for comparison".into());
    }
    if let Some(order) = integers(a, b) {
        return Ok(order == Ordering::Less);
    }
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Text(a) | Value::Number(a), Value::Text(b) | Value::Number(b)) => Ok(a < b),
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".into()),
        _ => Err(incompatible(a, b)),
    }
}

fn incompatible(a: &Value, b: &Value) -> Failure {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name()).into()
}

/// Integers of any types, by their values.
fn integers(a: &Value, b: &Value) -> Option<Ordering> {
    let wide = |value: &Value| match value {
        Value::Int(value) | Value::Int64(value) => Some(i128::from(*value)),
        Value::Uint8(value) => Some(i128::from(*value)),
        Value::Uint64(value) => Some(i128::from(*value)),
        _ => None,
    };
    Some(wide(a)?.cmp(&wide(b)?))
}

/// Go's `reflect.DeepEqual`: types count, too.
pub(crate) fn deep(a: &Value, b: &Value, meter: &mut Meter) -> Result<bool, Limit> {
    deep_at(a, b, meter, 0)
}

fn deep_at(a: &Value, b: &Value, meter: &mut Meter, depth: usize) -> Result<bool, Limit> {
    meter.steps(1)?;
    if depth > meter.depth() {
        return Err(Limit::Depth);
    }
    if a.type_name() != b.type_name() {
        return Ok(false);
    }
    Ok(match (a, b) {
        (Value::Missing | Value::Nil, Value::Missing | Value::Nil) => true,
        (Value::Text(a), Value::Text(b)) => {
            meter.steps(a.len() as u64 / BYTES_A_STEP)?;
            a == b
        }
        (Value::List(a), Value::List(b)) => {
            if a.nil != b.nil || a.items.len() != b.items.len() {
                return Ok(false);
            }
            for (a, b) in a.items.iter().zip(&b.items) {
                if !deep_at(a, b, meter, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Map(a), Value::Map(b)) => {
            if a.is_same(b) {
                return Ok(true);
            }
            if a.is_nil() != b.is_nil() || a.len() != b.len() {
                return Ok(false);
            }
            let (a, b) = (a.entries(), b.entries());
            for ((key, value), (other_key, other)) in a.iter().zip(b.iter()) {
                meter.steps(key.len() as u64 / BYTES_A_STEP)?;
                if key != other_key || !deep_at(value, other, meter, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Version(a), Value::Version(b)) => {
            meter.steps(a.original.len() as u64 / BYTES_A_STEP)?;
            a == b
        }
        (a, b) => {
            meter.steps(a.text_len() as u64 / BYTES_A_STEP)?;
            equal(a, b).unwrap_or(false)
        }
    })
}
