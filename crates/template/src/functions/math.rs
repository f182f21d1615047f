//! sprig's arithmetic: on integers, on floats by way of exact decimals, and lists of integers.

mod decimal;

use std::fmt::Write as _;

use decimal::Decimal;

use super::{Args, Function, Param};
use crate::convert::{to_float64, to_int64};
use crate::error::{Failure, Limit};
use crate::limits::Meter;
use crate::literal::parse_int;
use crate::print;
use crate::value::{Elem, Value};

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Any, Float, Int, Text};
    let f = Function::plain;
    all.extend([
        f("atoi", &[Text], |_, args| {
            Ok(Value::Int(args.utf8(0).ok().and_then(|text| parse_int(text, 10)).unwrap_or(0)))
        }),
        f("int", &[Any], |_, args| Ok(Value::Int(to_int64(args.value(0))))),
        f("int64", &[Any], |_, args| Ok(Value::Int64(to_int64(args.value(0))))),
        f("float64", &[Any], |_, args| Ok(Value::Float(to_float64(args.value(0))))),
        f("toDecimal", &[Any], |meter, args| {
            let text = print::text(args.value(0), meter)?;
            Ok(Value::Int64(text.as_str().and_then(|text| parse_int(text, 8)).unwrap_or(0)))
        }),
        f("add1", &[Any], |_, args| Ok(Value::Int64(to_int64(args.value(0)).wrapping_add(1)))),
        f("add", &[], |_, args| Ok(fold(0, args.all(), i64::wrapping_add))).with_rest(Any),
        f("sub", &[Any, Any], |_, args| Ok(fold(to_int64(args.value(0)), args.from(1), i64::wrapping_sub))),
        f("mul", &[Any], |_, args| Ok(fold(to_int64(args.value(0)), args.from(1), i64::wrapping_mul))).with_rest(Any),
        f("div", &[Any, Any], |_, args| divide(args, i64::wrapping_div)),
        f("mod", &[Any, Any], |_, args| divide(args, i64::wrapping_rem)),
        f("max", &[Any], |_, args| Ok(fold(to_int64(args.value(0)), args.from(1), i64::max))).with_rest(Any),
        f("biggest", &[Any], |_, args| Ok(fold(to_int64(args.value(0)), args.from(1), i64::max))).with_rest(Any),
        f("min", &[Any], |_, args| Ok(fold(to_int64(args.value(0)), args.from(1), i64::min))).with_rest(Any),
        f("maxf", &[Any], |_, args| Ok(extreme(args, |a, b| a > b))).with_rest(Any),
        f("minf", &[Any], |_, args| Ok(extreme(args, |a, b| a < b))).with_rest(Any),
        f("floor", &[Any], |_, args| Ok(Value::Float(to_float64(args.value(0)).floor()))),
        f("ceil", &[Any], |_, args| Ok(Value::Float(to_float64(args.value(0)).ceil()))),
        f("round", &[Any, Int], |_, args| Ok(Value::Float(round(args)))).with_rest(Float),
        f("add1f", &[Any], |meter, args| exact(meter, &[args.value(0).clone(), Value::Int(1)], |a, b| Ok(a.add(b)))),
        f("addf", &[], |meter, args| {
            let mut values = vec![Value::Int(0)];
            values.extend_from_slice(args.all());
            exact(meter, &values, |a, b| Ok(a.add(b)))
        })
        .with_rest(Any),
        f("subf", &[Any], |meter, args| exact(meter, args.all(), |a, b| Ok(a.sub(b)))).with_rest(Any),
        f("mulf", &[Any], |meter, args| exact(meter, args.all(), |a, b| Ok(a.mul(b)))).with_rest(Any),
        f("divf", &[Any], |meter, args| {
            exact(meter, args.all(), |a, b| a.div(b).ok_or_else(|| "decimal division by 0".into()))
        })
        .with_rest(Any),
        f("until", &[Int], |meter, args| {
            let count = args.int(0);
            integers(sequence(meter, 0, count, if count < 0 { -1 } else { 1 })?)
        }),
        f("untilStep", &[Int, Int, Int], |meter, args| {
            integers(sequence(meter, args.int(0), args.int(1), args.int(2))?)
        }),
        f("seq", &[], seq).with_rest(Int),
    ]);
}

fn fold(start: i64, values: &[Value], operation: fn(i64, i64) -> i64) -> Value {
    Value::Int64(values.iter().map(to_int64).fold(start, operation))
}

fn divide(args: &Args<'_>, operation: fn(i64, i64) -> i64) -> Result<Value, Failure> {
    let divisor = to_int64(args.value(1));
    if divisor == 0 {
        return Err("integer divide by zero".into());
    }
    Ok(Value::Int64(operation(to_int64(args.value(0)), divisor)))
}

/// The first of the values that comes before all others; no number where one is none.
fn extreme(args: &Args<'_>, before: fn(f64, f64) -> bool) -> Value {
    let mut best = to_float64(args.value(0));
    for value in args.from(1).iter().map(to_float64) {
        let infinite = [best, value].into_iter().find(|x| x.is_infinite() && before(*x, -*x));
        best = match infinite {
            Some(infinite) => infinite,
            None if best.is_nan() || value.is_nan() => f64::NAN,
            None if best == 0.0 && value == 0.0 => {
                // Of the two zeros the one with the sign that comes first.
                if before(1.0f64.copysign(value), 1.0f64.copysign(best)) { value } else { best }
            }
            None if before(value, best) => value,
            None => best,
        };
    }
    Value::Float(best)
}

fn round(args: &Args<'_>) -> f64 {
    let round_on = args.from(2).first().map_or(0.5, to_float64);
    let value = to_float64(args.value(0));
    let power: f64 = format!("1e{}", args.int(1)).parse().unwrap_or(f64::NAN);
    let digit = power * value;
    let rounded = if digit.fract() >= round_on { digit.ceil() } else { digit.floor() };
    rounded / power
}

/// Computes with exact decimals, from left to right.
fn exact(
    meter: &mut Meter,
    values: &[Value],
    operation: impl Fn(&Decimal, &Decimal) -> Result<Decimal, Failure>,
) -> Result<Value, Failure> {
    let decimal = |value: &Value| Decimal::from_float(to_float64(value)).ok_or("not a finite number");
    let Some((first, rest)) = values.split_first() else { return Ok(Value::Float(0.0)) };
    let mut result = decimal(first)?;
    for value in rest {
        result = operation(&result, &decimal(value)?)?;
        // The digits grow with each multiplication, and the work with their square.
        let digits = result.digits();
        meter.memory(digits)?;
        meter.steps((digits * digits / 1000) as u64)?;
    }
    Ok(Value::Float(result.to_float()))
}

/// From `start` up to but without `stop`; empty where the step leads away from it.
fn sequence(meter: &mut Meter, start: i64, stop: i64, step: i64) -> Result<Vec<i64>, Limit> {
    if (stop < start) != (step < 0) || step == 0 {
        return Ok(Vec::new());
    }
    let distance = stop.abs_diff(start);
    let count = distance.div_ceil(step.unsigned_abs());
    meter.items(usize::try_from(count).unwrap_or(usize::MAX))?;
    let mut numbers = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let mut number = start;
    for _ in 0..count {
        numbers.push(number);
        number = number.wrapping_add(step);
    }
    Ok(numbers)
}

#[expect(clippy::unnecessary_wraps, reason = "as the functions return it")]
fn integers(numbers: Vec<i64>) -> Result<Value, Failure> {
    Ok(Value::typed_list(Elem::Int, numbers.into_iter().map(Value::Int).collect()))
}

/// Like the program of the same name: `seq LAST`, `seq FIRST LAST`, `seq FIRST STEP LAST`.
fn seq(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let towards = |start: i64, end: i64| if end < start { -1 } else { 1 };
    let (start, step, end) = match args.all().len() {
        1 => (1, towards(1, args.int(0)), args.int(0)),
        2 => (args.int(0), towards(args.int(0), args.int(1)), args.int(1)),
        3 => {
            let (start, step, end) = (args.int(0), args.int(1), args.int(2));
            if end < start && step > 0 {
                return Ok("".into());
            }
            (start, step, end)
        }
        _ => return Ok("".into()),
    };
    let numbers = sequence(meter, start, end.wrapping_add(towards(start, end)), step)?;
    let mut out = meter.buf();
    for (index, number) in numbers.iter().enumerate() {
        if index > 0 {
            out.push_byte(b' ');
        }
        let _ = write!(out, "{number}");
    }
    Ok(meter.text(out)?.into())
}
