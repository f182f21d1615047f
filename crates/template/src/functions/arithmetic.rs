//! consul-template's arithmetic: on integers, signed or not, and floats; what is computed with the second argument comes last, for pipes.

use super::{Function, Param};
use crate::error::Failure;
use crate::value::Value;

pub(super) fn add(all: &mut Vec<Function>) {
    for (name, operation) in [
        ("add", Operation::Add),
        ("subtract", Operation::Subtract),
        ("multiply", Operation::Multiply),
        ("divide", Operation::Divide),
        ("modulo", Operation::Modulo),
        ("minimum", Operation::Minimum),
        ("maximum", Operation::Maximum),
    ] {
        all.push(Function::new(name, &[Param::Any, Param::Any], move |_, args| {
            compute(operation, args.value(1), args.value(0))
        }));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Minimum,
    Maximum,
}

enum Number {
    Int(i64),
    Uint(u64),
    Float(f64),
}

fn number(value: &Value) -> Result<Number, Failure> {
    Ok(match value {
        Value::Int(number) | Value::Int64(number) => Number::Int(*number),
        Value::Uint8(number) => Number::Uint(u64::from(*number)),
        Value::Uint64(number) => Number::Uint(*number),
        Value::Float(number) => Number::Float(*number),
        other => return Err(format!("unknown type {}", other.type_name()).into()),
    })
}

/// Two integers give one, unsigned if both are; with a float it is a float. What does not fit wraps, as in Go.
fn compute(operation: Operation, a: &Value, b: &Value) -> Result<Value, Failure> {
    #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
    let float = |number: &Number| match number {
        Number::Int(number) => *number as f64,
        Number::Uint(number) => *number as f64,
        Number::Float(number) => *number,
    };
    match (number(a)?, number(b)?) {
        (Number::Uint(a), Number::Uint(b)) => unsigned(operation, a, b),
        (Number::Int(a), Number::Int(b)) => signed(operation, a, b),
        (Number::Int(a), Number::Uint(b)) => signed(operation, a, b.cast_signed()),
        (Number::Uint(a), Number::Int(b)) => signed(operation, a.cast_signed(), b),
        (a, b) => floating(operation, float(&a), float(&b)),
    }
}

const BY_ZERO: &str = "integer divide by zero";

fn signed(operation: Operation, a: i64, b: i64) -> Result<Value, Failure> {
    Ok(Value::Int64(match operation {
        Operation::Add => a.wrapping_add(b),
        Operation::Subtract => a.wrapping_sub(b),
        Operation::Multiply => a.wrapping_mul(b),
        Operation::Divide | Operation::Modulo if b == 0 => return Err(BY_ZERO.into()),
        Operation::Divide => a.wrapping_div(b),
        Operation::Modulo => a.wrapping_rem(b),
        Operation::Minimum => a.min(b),
        Operation::Maximum => a.max(b),
    }))
}

fn unsigned(operation: Operation, a: u64, b: u64) -> Result<Value, Failure> {
    Ok(Value::Uint64(match operation {
        Operation::Add => a.wrapping_add(b),
        Operation::Subtract => a.wrapping_sub(b),
        Operation::Multiply => a.wrapping_mul(b),
        Operation::Divide | Operation::Modulo if b == 0 => return Err(BY_ZERO.into()),
        Operation::Divide => a / b,
        Operation::Modulo => a % b,
        Operation::Minimum => a.min(b),
        Operation::Maximum => a.max(b),
    }))
}

fn floating(operation: Operation, a: f64, b: f64) -> Result<Value, Failure> {
    Ok(Value::Float(match operation {
        Operation::Add => a + b,
        Operation::Subtract => a - b,
        Operation::Multiply => a * b,
        Operation::Divide => a / b,
        Operation::Modulo => return Err("only integers have a remainder".into()),
        Operation::Minimum => a.min(b),
        Operation::Maximum => a.max(b),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::{Functions, Limits, Options, Template, Value};

    fn run(text: &str) -> Result<String, String> {
        let options = Options { functions: Functions::consul_template(), ..Options::default() };
        let template = Template::parse("t", text, &options).map_err(|error| error.to_string())?;
        let out = template.execute(&Value::Nil, &Limits::default()).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out.expose().to_vec()).unwrap())
    }

    #[test]
    fn the_last_argument_is_computed_with_the_first() {
        for (text, result) in [
            ("{{ add 1 2 }}", "3"),
            ("{{ 10 | subtract 3 }}", "7"),
            ("{{ multiply 2.5 2 }}", "5"),
            ("{{ 7 | divide 2 }}", "3"),
            ("{{ 7 | modulo 4 }}", "3"),
            ("{{ minimum 1 2 }}{{ maximum 1 2 }}", "12"),
            ("{{ printf \"%T\" (add 1 2) }}", "int64"),
        ] {
            assert_eq!(run(text).unwrap(), result, "{text}");
        }
        for text in ["{{ divide 0 1 }}", "{{ modulo 0 1 }}", "{{ add \"1\" 1 }}", "{{ modulo 1.5 2.5 }}"] {
            assert!(run(text).is_err(), "{text}");
        }
    }
}
