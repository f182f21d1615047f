//! sprig's functions on times. The local zone is UTC, as in the containers in which templates are run.

use super::{Args, Function, Param};
use crate::duration;
use crate::error::Failure;
use crate::limits::Meter;
use crate::time::Time;
use crate::time_format;
use crate::time_parse;
use crate::value::Value;

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Any, Text, Time as Moment};
    let f = Function::plain;
    all.extend([
        f("now", &[], |_, _| Ok(Value::Time(Time::now()))),
        f("date", &[Text, Any], |meter, args| write(meter, args.text(0), moment(args.value(1)), b"Local")),
        f("date_in_zone", &[Text, Any, Text], in_zone),
        f("dateInZone", &[Text, Any, Text], in_zone),
        f("htmlDate", &[Any], |meter, args| write(meter, b"2006-01-02", moment(args.value(0)), b"Local")),
        f("htmlDateInZone", &[Any, Text], |meter, args| {
            write(meter, b"2006-01-02", moment(args.value(0)), args.text(1))
        }),
        f("dateModify", &[Text, Moment], modify_or_same),
        f("date_modify", &[Text, Moment], modify_or_same),
        f("mustDateModify", &[Text, Moment], modify),
        f("must_date_modify", &[Text, Moment], modify),
        f("toDate", &[Text, Text], |meter, args| Ok(Value::Time(read(meter, args)?.unwrap_or_default()))),
        f("mustToDate", &[Text, Text], |meter, args| {
            read(meter, args)?.map(Value::Time).ok_or_else(|| "the text does not match the layout".into())
        }),
        f("unixEpoch", &[Moment], |_, args| Ok(Value::text(args.time(0).seconds.to_string()))),
        f("ago", &[Any], |_, args| {
            let since = Time::now().since(moment(args.value(0)));
            Ok(Value::text(duration::format(duration::round_to_seconds(since))))
        }),
        f("duration", &[Any], |_, args| {
            let seconds = match args.value(0) {
                Value::Int64(seconds) => *seconds,
                Value::Text(text) => parse_seconds(text.as_str().unwrap_or_default()),
                _ => 0,
            };
            Ok(Value::text(duration::format(seconds.wrapping_mul(duration::SECOND))))
        }),
        f("durationRound", &[Any], |_, args| {
            let nanos = match args.value(0) {
                Value::Int64(nanos) => *nanos,
                Value::Text(text) => text.as_str().and_then(duration::parse).unwrap_or(0),
                Value::Time(time) => Time::now().since(*time),
                _ => 0,
            };
            Ok(Value::text(rounded(nanos.unsigned_abs())))
        }),
    ]);
}

/// Go gives the nearest number where one is too large, even before it finds that it is none.
fn parse_seconds(text: &str) -> i64 {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text.strip_prefix('+').unwrap_or(text)), |rest| (true, rest));
    let mut magnitude: u64 = 0;
    for byte in digits.bytes() {
        if !byte.is_ascii_digit() {
            return 0;
        }
        let Some(more) = magnitude.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(byte - b'0'))) else {
            return if negative { i64::MIN } else { i64::MAX };
        };
        magnitude = more;
    }
    if negative { 0i64.saturating_sub_unsigned(magnitude) } else { 0i64.saturating_add_unsigned(magnitude) }
}

/// A time, or seconds since 1970; now for all else.
fn moment(value: &Value) -> Time {
    match value {
        Value::Time(time) => *time,
        Value::Int(seconds) | Value::Int64(seconds) => Time::unix(*seconds),
        _ => Time::now(),
    }
}

fn in_zone(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    write(meter, args.text(0), moment(args.value(1)), args.text(2))
}

/// In a zone that is not known it is UTC.
fn write(meter: &mut Meter, layout: &[u8], time: Time, zone: &[u8]) -> Result<Value, Failure> {
    let zone = std::str::from_utf8(zone).unwrap_or_default();
    let time = time.in_zone(zone).or_else(|| time.in_zone("UTC")).unwrap_or(time);
    let mut out = meter.buf();
    time_format::write_layout(time, layout, &mut out);
    Ok(meter.text(out)?.into())
}

fn read(meter: &mut Meter, args: &Args<'_>) -> Result<Option<Time>, Failure> {
    meter.steps((args.text(0).len() + args.text(1).len()) as u64)?;
    Ok(args.utf8(1).ok().and_then(|text| time_parse::parse(args.text(0), text)))
}

fn modify(_: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let duration = args.utf8(0).ok().and_then(duration::parse).ok_or("time: invalid duration")?;
    Ok(Value::Time(args.time(1).add(duration)))
}

fn modify_or_same(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    modify(meter, args).or_else(|_| Ok(args.value(1).clone()))
}

/// In the largest unit of which there is more than one.
fn rounded(nanos: u64) -> String {
    let hour = duration::HOUR.unsigned_abs();
    let units = [
        (hour * 24 * 365, "y"),
        (hour * 24 * 30, "mo"),
        (hour * 24, "d"),
        (hour, "h"),
        (duration::MINUTE.unsigned_abs(), "m"),
        (duration::SECOND.unsigned_abs(), "s"),
    ];
    let found = units.into_iter().find(|(unit, _)| nanos > *unit);
    found.map_or_else(|| "0s".to_owned(), |(unit, name)| format!("{}{name}", nanos / unit))
}
