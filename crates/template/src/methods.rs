//! Methods and fields of the values that are neither maps nor lists: times, versions, certificates.

use crate::functions::{Args, Function, Param, Version};
use crate::limits::Meter;
use crate::text::Text;
use crate::time::Time;
use crate::time_format::{self, DAYS, MONTHS};
use crate::value::Value;

/// A method: a function whose first argument, not among its parameters, is the receiver.
pub(crate) struct Method {
    pub function: Function,
}

/// The method or field of a value by its name.
pub(crate) fn find(receiver: &Value, name: &str) -> Option<Method> {
    let function = match receiver {
        Value::Time(_) => time(name)?,
        Value::Version(_) => version(name)?,
        Value::Certificate(certificate) => {
            let (_, field) = certificate.fields().into_iter().find(|(field, _)| *field == name)?;
            let field: Text = field.clone();
            Function::new("", &[], move |_: &mut Meter, _: &Args<'_>| Ok(Value::Text(field.clone())))
        }
        _ => return None,
    };
    Some(Method { function })
}

fn time(name: &str) -> Option<Function> {
    fn get(name: &'static str, value: fn(Time) -> Value) -> Function {
        Function::new(name, &[], move |_, args| Ok(value(args.time(0))))
    }
    fn with(name: &'static str, value: fn(Time, Time) -> Value) -> Function {
        Function::new(name, &[Param::Time], move |_, args| Ok(value(args.time(0), args.time(1))))
    }
    Some(match name {
        "Format" => Function::new("Format", &[Param::Text], |meter, args| {
            let mut out = meter.buf();
            time_format::write_layout(args.time(0), args.text(1), &mut out);
            Ok(meter.text(out)?.into())
        }),
        "String" => get("String", |time| Value::text(time.to_string())),
        "Unix" => get("Unix", |time| Value::Int64(time.seconds)),
        "UnixMilli" => get("UnixMilli", |time| {
            Value::Int64(time.seconds.wrapping_mul(1000).wrapping_add(i64::from(time.nanos / 1_000_000)))
        }),
        "UnixNano" => get("UnixNano", |time| {
            Value::Int64(time.seconds.wrapping_mul(1_000_000_000).wrapping_add(i64::from(time.nanos)))
        }),
        "Year" => get("Year", |time| Value::Int(time.civil().year)),
        "Month" => get("Month", |time| Value::text(MONTHS[usize::from(time.civil().month - 1).min(11)])),
        "Day" => get("Day", |time| Value::Int(time.civil().day.into())),
        "Weekday" => get("Weekday", |time| Value::text(DAYS[usize::from(time.civil().weekday).min(6)])),
        "YearDay" => get("YearDay", |time| Value::Int(time.civil().year_day.into())),
        "Hour" => get("Hour", |time| Value::Int(time.civil().hour.into())),
        "Minute" => get("Minute", |time| Value::Int(time.civil().minute.into())),
        "Second" => get("Second", |time| Value::Int(time.civil().second.into())),
        "Nanosecond" => get("Nanosecond", |time| Value::Int(time.nanos.into())),
        "IsZero" => get("IsZero", |time| Value::Bool(time.is_zero())),
        "UTC" => get("UTC", |time| Value::Time(time.in_zone("UTC").unwrap_or(time))),
        "Local" => get("Local", |time| Value::Time(time.in_zone("Local").unwrap_or(time))),
        "Before" => with("Before", |a, b| Value::Bool(a.since(b) < 0)),
        "After" => with("After", |a, b| Value::Bool(a.since(b) > 0)),
        "Equal" => with("Equal", |a, b| Value::Bool(a.since(b) == 0)),
        _ => return None,
    })
}

fn version(name: &str) -> Option<Function> {
    fn get(name: &'static str, value: fn(&Version) -> Value) -> Function {
        Function::new(name, &[], move |_, args| match args.value(0) {
            Value::Version(version) => Ok(value(version)),
            _ => Ok(Value::Nil),
        })
    }
    fn with(name: &'static str, value: fn(std::cmp::Ordering) -> Value) -> Function {
        Function::new(name, &[Param::Version], move |_, args| match (args.value(0), args.value(1)) {
            (Value::Version(a), Value::Version(b)) => Ok(value(a.compare(b))),
            _ => Ok(Value::Nil),
        })
    }
    Some(match name {
        "Major" => get("Major", |version| Value::Uint64(version.major)),
        "Minor" => get("Minor", |version| Value::Uint64(version.minor)),
        "Patch" => get("Patch", |version| Value::Uint64(version.patch)),
        "Prerelease" => get("Prerelease", |version| Value::text(version.pre.as_str())),
        "Metadata" => get("Metadata", |version| Value::text(version.metadata.as_str())),
        "Original" => get("Original", |version| Value::text(version.original.as_str())),
        "String" => get("String", |version| Value::text(version.to_string())),
        "Compare" => with("Compare", |order| Value::Int(order as i64)),
        "Equal" => with("Equal", |order| Value::Bool(order.is_eq())),
        "LessThan" => with("LessThan", |order| Value::Bool(order.is_lt())),
        "GreaterThan" => with("GreaterThan", |order| Value::Bool(order.is_gt())),
        "LessThanEqual" => with("LessThanEqual", |order| Value::Bool(order.is_le())),
        "GreaterThanEqual" => with("GreaterThanEqual", |order| Value::Bool(order.is_ge())),
        _ => return None,
    })
}
