//! consul-template's functions that need nothing from outside: texts, lists, maps, what is parsed and what is written.
//!
//! Where sprig has the same function it is sprig's, under consul-template's name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aws_lc_rs::hmac;
use bulla_core::{json as plain, yaml};
use zeroize::Zeroize;

use super::strings::{copy, split as parts};
use super::{Args, Function, Functions, Param};
use crate::error::{Failure, Limit};
use crate::float;
use crate::json::{self, Style};
use crate::limits::Meter;
use crate::literal::{parse_float, parse_int, parse_uint};
use crate::text::{Text as Bytes, find};
use crate::time::Time;
use crate::time_format;
use crate::unicode::{is_digit, is_letter, is_space, to_title};
use crate::value::{Elem, Map, Value};

/// What is not there, and why.
pub(super) const LEFT_OUT: &[(&str, &str)] = &[
    ("executeTemplate", "it is not supported; the action template does the same"),
    ("md5sum", "it is not supported; there is sha256Hex"),
    ("parseYAML", "it is not supported; there is parseJSON"),
    ("plugin", "templates cannot start programs"),
    ("scratch", "it is not supported; variables and sprig_dict do the same"),
    ("sockaddr", "templates cannot look at the machine's network"),
    ("spew_dump", "it is not supported; there is printf \"%#v\""),
    ("spew_printf", "it is not supported; there is printf \"%#v\""),
    ("spew_sdump", "it is not supported; there is printf \"%#v\""),
    ("spew_sprintf", "it is not supported; there is printf \"%#v\""),
    ("toTOML", "it is not supported; there are toJSON and toYAML"),
];

/// consul-template's names of sprig's functions.
const SAME: &[(&str, &str)] = &[
    ("join", "join"),
    ("mergeMap", "mustMerge"),
    ("mergeMapWithOverride", "mustMergeOverwrite"),
    ("regexMatch", "mustRegexMatch"),
    ("replaceAll", "replace"),
    ("sha256Hex", "sha256sum"),
    ("toJSON", "mustToJson"),
    ("toJSONPretty", "mustToPrettyJson"),
    ("toLower", "lower"),
    ("toUnescapedJSON", "mustToRawJson"),
    ("toUpper", "upper"),
    ("trim", "trimAll"),
    ("trimPrefix", "trimPrefix"),
    ("trimSpace", "trim"),
    ("trimSuffix", "trimSuffix"),
];

pub(super) fn add(all: &mut Vec<Function>, sprig: &Functions) {
    use Param::{Any, Int, List, Map as Dict, Text};
    let f = Function::plain;
    all.extend(SAME.iter().filter_map(|(name, of)| sprig.renamed(of, name)));
    if let Some(replace) = sprig.renamed("mustRegexReplaceAll", "regexReplaceAll") {
        // sprig has what is replaced with last.
        let run = replace.run;
        all.push(Function::new("regexReplaceAll", &[Text, Text, Text], move |meter, args| {
            let [expression, with, text] = [0, 1, 2].map(|index| args.value(index).clone());
            run(meter, &Args(&[expression, text, with]))
        }));
    }
    all.extend([
        f("contains", &[Any, Any], |meter, args| Ok(is_in(args.value(1), args.value(0), meter)?.into())),
        f("in", &[Any, Any], |meter, args| Ok(is_in(args.value(0), args.value(1), meter)?.into())),
        f("containsAll", &[List, Any], |meter, args| Ok((count(args, meter)? == len(args)).into())),
        f("containsAny", &[List, Any], |meter, args| Ok((count(args, meter)? > 0).into())),
        f("containsNone", &[List, Any], |meter, args| Ok((count(args, meter)? == 0).into())),
        f("containsNotAll", &[List, Any], |meter, args| Ok((count(args, meter)? < len(args)).into())),
        f("explodeMap", &[Dict], explode),
        f("hmacSHA256Hex", &[Text, Text], |meter, args| {
            meter.steps(20 + (args.text(0).len() + args.text(1).len()) as u64 / 16)?;
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, args.text(1)), args.text(0));
            let mut out = meter.buf();
            for byte in tag.as_ref() {
                let _ = write!(out, "{byte:02x}");
            }
            Ok(meter.text(out)?.into())
        }),
        f("indent", &[Int, Text], indent),
        f("loop", &[Any], numbers).with_rest(Any),
        f("parseBool", &[Text], |_, args| match args.text(0) {
            b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Ok(true.into()),
            b"" | b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Ok(false.into()),
            _ => Err("the text is neither true nor false".into()),
        }),
        f("parseFloat", &[Text], |_, args| parsed(args, 0.0, parse_float).map(Value::Float)),
        f("parseInt", &[Text], |_, args| parsed(args, 0, |text| parse_int(text, 10)).map(Value::Int64)),
        f("parseUint", &[Text], |_, args| parsed(args, 0, |text| parse_uint(text, 10)).map(Value::Uint64)),
        f("parseJSON", &[Text], |meter, args| {
            if args.text(0).is_empty() { Ok(Value::map([])) } else { json::decode_value(args.text(0), meter) }
        }),
        f("split", &[Text, Text], |meter, args| {
            Ok(Value::texts(if trimmed(args.text(1)).is_empty() {
                Vec::new()
            } else {
                parts(meter, trimmed(args.text(1)), args.text(0), None)?
            }))
        }),
        f("splitToMap", &[Text, Text, Text], split_to_map),
        f("timestamp", &[], timestamp).with_rest(Text),
        f("toTitle", &[Text], title),
        f("toUnescapedJSONPretty", &[Any], |meter, args| {
            json::encode(args.value(0), Style::RawPretty, meter).map(Value::Text)
        }),
        f("toYAML", &[Any], to_yaml),
    ]);
}

fn trimmed(text: &[u8]) -> &[u8] {
    // Go's spaces are all of Unicode's; around what is split they are these.
    text.trim_ascii()
}

fn parsed<T>(args: &Args<'_>, empty: T, parse: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
    match args.utf8(0)? {
        "" => Ok(empty),
        text => parse(text).ok_or_else(|| "the text is no such number".into()),
    }
}

/// Whether a list has a value, or a text a part.
fn is_in(list: &Value, value: &Value, meter: &mut Meter) -> Result<bool, Limit> {
    match (list, value) {
        (Value::List(list), _) => {
            meter.steps(1 + list.items.len() as u64)?;
            Ok(list.items.iter().any(|item| is_same(item, value)))
        }
        (Value::Text(text), Value::Text(part)) => {
            super::strings::pay_for_search(meter, text.expose(), part.expose())?;
            Ok(find(text.expose(), part.expose()).is_some())
        }
        _ => Ok(false),
    }
}

#[expect(clippy::float_cmp, reason = "as Go compares")]
fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(a) | Value::Int64(a), Value::Int(b) | Value::Int64(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) | (Value::Number(a), Value::Number(b)) => a == b,
        _ => false,
    }
}

fn len(args: &Args<'_>) -> usize {
    if let Value::List(list) = args.value(0) { list.items.len() } else { 0 }
}

/// How many of the first list's items are in the second.
fn count(args: &Args<'_>, meter: &mut Meter) -> Result<usize, Failure> {
    let mut found = 0;
    for item in &args.list(0, "look for")?.items {
        found += usize::from(is_in(args.value(1), item, meter)?);
    }
    Ok(found)
}

/// `a/b: 1` becomes `a: {b: 1}`.
fn explode(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let root = Map::new(Elem::Any, BTreeMap::new());
    for (path, value) in args.map(0).entries().iter() {
        let mut at = root.clone();
        let mut rest = path.expose();
        while let Some(slash) = rest.iter().position(|&byte| byte == b'/') {
            let (key, below) = (&rest[..slash], &rest[slash + 1..]);
            at = match at.get(key) {
                Some(Value::Map(map)) => map,
                Some(_) => return Err("a key is a map, and has a value".into()),
                None => {
                    meter.entries(1)?;
                    let map = Map::new(Elem::Any, BTreeMap::new());
                    at.set(Bytes::from(key), Value::Map(map.clone()), meter)?;
                    map
                }
            };
            rest = below;
        }
        if !rest.is_empty() {
            at.set(Bytes::from(rest), value.clone(), meter)?;
        }
    }
    Ok(Value::Map(root))
}

/// Unlike sprig's, lines with nothing in them stay so.
fn indent(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let spaces = usize::try_from(args.int(0)).map_err(|_| "indent value must be a positive integer")?;
    let lines = 1 + args.text(1).iter().filter(|&&byte| byte == b'\n').count();
    meter.has_memory(spaces.saturating_mul(lines).saturating_add(args.text(1).len()))?;
    let mut out = meter.buf();
    for line in args.text(1).split_inclusive(|&byte| byte == b'\n') {
        if line != b"\n" {
            out.fill(b' ', spaces);
        }
        out.push(line);
    }
    Ok(meter.text(out)?.into())
}

/// The numbers from the first, or 0, up to before the last.
fn numbers(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let number = |value: &Value| match value {
        Value::Text(text) => text.as_str().and_then(|text| parse_int(text, 10)).ok_or("loop: not a number"),
        value => value.as_integer().ok_or("loop: not a number"),
    };
    let (start, end) = match args.all() {
        [end] => (0, number(end)?),
        [start, end] => (number(start)?, number(end)?),
        _ => return Err("loop: expected 1 or 2 arguments".into()),
    };
    meter.items(usize::try_from(end.saturating_sub(start)).unwrap_or(0))?;
    Ok(Value::list((start..end).map(Value::Int64).collect()))
}

fn split_to_map(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let text = trimmed(args.text(2));
    let mut entries = BTreeMap::new();
    if !text.is_empty() {
        for pair in parts(meter, text, args.text(0), None)? {
            if let Some(at) = find(pair.expose(), args.text(1)) {
                meter.entries(1)?;
                let (key, value) = (&pair.expose()[..at], &pair.expose()[at + args.text(1).len()..]);
                entries.insert(Bytes::from(key), Value::text(value));
            }
        }
    }
    Ok(Value::Map(Map::new(Elem::Text, entries)))
}

fn timestamp(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let now = Time::now();
    let layout = match args.all() {
        [] => &b"2006-01-02T15:04:05Z07:00"[..],
        [_] if args.text(0) == b"unix" => return Ok(Value::text(now.seconds.to_string())),
        [_] => args.text(0),
        _ => return Err("wrong number of arguments, expected 0 or 1".into()),
    };
    let mut out = meter.buf();
    time_format::write_layout(now, layout, &mut out);
    Ok(meter.text(out)?.into())
}

/// The first letter of each word becomes a capital one; an apostrophe or a dot between letters ends no word.
fn title(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let mut before = [' '; 2];
    let mut out = meter.buf();
    for (_, c, _) in crate::text::chars(args.text(0)) {
        let is_word = |c: char| is_letter(c) || is_digit(c) || c == '_';
        let joins = matches!(before[1], '\'' | '\u{2019}' | '.' | ':') && is_word(before[0]);
        let is_start = !is_word(before[1]) && !joins || is_space(before[1]);
        out.push_char(if is_start { to_title(c) } else { c });
        before = [before[1], c];
    }
    Ok(meter.text(out)?.into())
}

fn to_yaml(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let mut value = plain_value(args.value(0), meter, 0)?;
    let mut budget = 64;
    weigh(&value, 1, &mut budget);
    meter.has_memory(budget)?;
    // With room for all of it, so that it leaves no copy behind as it grows.
    let mut out = String::with_capacity(budget);
    yaml::write(&value, &mut out);
    wipe(&mut value);
    let text = Bytes::from(out);
    copy(meter, text.expose().trim_ascii())
}

/// What the text of a value takes at most: a character becomes ten at most, at each depth there are two spaces more.
fn weigh(value: &plain::Value, depth: usize, sum: &mut usize) {
    let line = |len: usize| len.saturating_mul(4).saturating_add(2 * depth + 16);
    match value {
        plain::Value::Array(values) => values.iter().for_each(|value| weigh(value, depth + 1, sum)),
        plain::Value::Object(object) => {
            for (key, value) in object {
                *sum = sum.saturating_add(line(key.len()));
                weigh(value, depth + 1, sum);
            }
        }
        plain::Value::String(text) => {
            let lines = 1 + text.matches(['\n', ' ']).count();
            *sum = sum.saturating_add(line(text.len())).saturating_add(lines.saturating_mul(2 * depth));
        }
        plain::Value::Number(digits) => *sum = sum.saturating_add(line(digits.len())),
        _ => *sum = sum.saturating_add(line(8)),
    }
}

/// The value as what YAML is written from. It is wiped after that.
fn plain_value(value: &Value, meter: &mut Meter, depth: usize) -> Result<plain::Value, Failure> {
    if depth > meter.depth() {
        return Err(Limit::Depth.into());
    }
    let string = |text: &Bytes| String::from_utf8_lossy(text.expose()).into_owned();
    meter.memory(value.text_len())?;
    Ok(match value {
        Value::Missing | Value::Nil => plain::Value::Null,
        Value::Bool(value) => plain::Value::Bool(*value),
        Value::Text(text) => plain::Value::String(string(text)),
        // The library makes a number of it: one that is no integer of 64 bits is a float.
        Value::Number(digits) => match digits.as_str().and_then(|digits| parse_int(digits, 10)) {
            Some(integer) => integer.into(),
            None => float_of(digits.as_str().and_then(parse_float).unwrap_or(f64::NAN)),
        },
        Value::Float(number) => float_of(*number),
        Value::List(list) => plain::Value::Array(
            list.items.iter().map(|item| plain_value(item, meter, depth + 1)).collect::<Result<_, _>>()?,
        ),
        Value::Map(map) => {
            let entries = map.entries();
            meter.entries(entries.len())?;
            let entry = |(key, value): (&Bytes, &Value)| Ok((string(key), plain_value(value, meter, depth + 1)?));
            plain::Value::Object(entries.iter().map(entry).collect::<Result<_, Failure>>()?)
        }
        // Numbers, times and the like, as JSON has them.
        other => match json::encode(other, Style::Raw, meter)? {
            text if text.expose().first() == Some(&b'"') => {
                plain::Value::String(string(&text).trim_matches('"').to_owned())
            }
            text => plain::Value::Number(string(&text).into()),
        },
    })
}

/// A float as YAML has it.
fn float_of(number: f64) -> plain::Value {
    let text = if number.is_nan() {
        ".nan".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { ".inf" } else { "-.inf" }.to_owned()
    } else {
        float::format(number, 'g', None)
    };
    plain::Value::Number(text.into())
}

fn wipe(value: &mut plain::Value) {
    match value {
        plain::Value::String(text) => text.zeroize(),
        plain::Value::Array(values) => values.iter_mut().for_each(wipe),
        plain::Value::Object(object) => object.values_mut().for_each(wipe),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
