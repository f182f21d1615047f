//! The functions of the language itself.

use std::fmt::Write as _;

use crate::compare;
use crate::error::Failure;
use crate::functions::{Args, Function, Param, Special};
use crate::limits::Meter;
use crate::print;
use crate::printf;
use crate::text::{Buf, chars};
use crate::unicode::is_print;
use crate::value::{Elem, List, Value};

pub(crate) fn functions() -> Vec<Function> {
    use Param::{Any, Text};
    let f = Function::plain;
    let unreachable: fn(&mut Meter, &Args<'_>) -> Result<Value, Failure> = |_, _| Ok(Value::Nil);
    vec![
        f("and", &[Any], unreachable).with_rest(Any).special(Special::And),
        f("or", &[Any], unreachable).with_rest(Any).special(Special::Or),
        f("not", &[Any], |_, args| Ok(Value::Bool(!args.value(0).truth()))),
        f("len", &[Any], |_, args| length(args.value(0))),
        f("index", &[Any], |_, args| index(args)).with_rest(Any),
        f("slice", &[Any], slice).with_rest(Any),
        f("call", &[Any], |_, args| {
            Err(match args.value(0) {
                Value::Nil => "call of nil".into(),
                value => format!("non-function of type {}", value.type_name()).into(),
            })
        })
        .with_rest(Any),
        f("print", &[], |meter, args| Ok(print::all(args.all(), meter)?.into())).with_rest(Any),
        f("println", &[], |meter, args| Ok(print::line(args.all(), meter)?.into())).with_rest(Any),
        f("printf", &[Text], |meter, args| Ok(printf::format(args.text(0), args.from(1), meter)?.into()))
            .with_rest(Any),
        f("html", &[], |meter, args| escape(meter, args, html)).with_rest(Any),
        f("js", &[], |meter, args| escape(meter, args, js)).with_rest(Any),
        f("urlquery", &[], |meter, args| escape(meter, args, urlquery)).with_rest(Any),
        f("eq", &[Any], |meter, args| {
            if args.from(1).is_empty() {
                return Err("missing argument for comparison".into());
            }
            for other in args.from(1) {
                meter.steps(1)?;
                if compare::equal(args.value(0), other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        })
        .with_rest(Any),
        f("ne", &[Any, Any], |_, args| Ok(Value::Bool(!compare::equal(args.value(0), args.value(1))?))),
        f("lt", &[Any, Any], |_, args| Ok(Value::Bool(compare::less(args.value(0), args.value(1))?))),
        f("le", &[Any, Any], |_, args| Ok(Value::Bool(less_or_equal(args.value(0), args.value(1))?))),
        f("gt", &[Any, Any], |_, args| Ok(Value::Bool(!less_or_equal(args.value(0), args.value(1))?))),
        f("ge", &[Any, Any], |_, args| Ok(Value::Bool(!compare::less(args.value(0), args.value(1))?))),
    ]
}

fn less_or_equal(a: &Value, b: &Value) -> Result<bool, Failure> {
    Ok(compare::less(a, b)? || compare::equal(a, b)?)
}

fn length(value: &Value) -> Result<Value, Failure> {
    let len = match value {
        Value::Text(text) | Value::Number(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.len(),
        Value::Missing | Value::Nil => return Err("len of nil pointer".into()),
        other => return Err(format!("len of type {}", other.type_name()).into()),
    };
    Ok(Value::Int(i64::try_from(len).unwrap_or(i64::MAX)))
}

fn index(args: &Args<'_>) -> Result<Value, Failure> {
    let mut item = args.value(0).clone();
    if item.is_nil() {
        return Err("index of untyped nil".into());
    }
    for index in args.from(1) {
        item = match &item {
            Value::Missing | Value::Nil => return Err("index of nil pointer".into()),
            Value::List(list) => {
                let place = place(index, list.items.len())?;
                list.items.get(place).cloned().ok_or("index out of range")?
            }
            Value::Text(text) => {
                let place = place(index, text.len())?;
                Value::Uint8(*text.expose().get(place).ok_or("index out of range")?)
            }
            Value::Map(map) => match index {
                Value::Text(key) => map.get(key.expose()).unwrap_or_else(|| match map.elem() {
                    Elem::Text => Value::text(""),
                    _ => Value::Nil,
                }),
                Value::Missing | Value::Nil => return Err("value is nil; should be of type string".into()),
                other => return Err(format!("value has type {}; should be string", other.type_name()).into()),
            },
            other => return Err(format!("can't index item of type {}", other.type_name()).into()),
        };
    }
    Ok(item)
}

/// An index up to and with `end`.
fn place(index: &Value, end: usize) -> Result<usize, Failure> {
    if index.is_nil() {
        return Err("cannot index slice/array with nil".into());
    }
    let Some(number) = index.as_integer() else {
        return Err(format!("cannot index slice/array with type {}", index.type_name()).into());
    };
    let place = usize::try_from(number).ok().filter(|&place| place <= end);
    place.ok_or_else(|| format!("index out of range: {number}").into())
}

fn slice(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let indexes = args.from(1);
    let len = match args.value(0) {
        Value::Missing | Value::Nil => return Err("slice of untyped nil".into()),
        Value::Text(_) if indexes.len() == 3 => return Err("cannot 3-index slice a string".into()),
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        other => return Err(format!("can't slice item of type {}", other.type_name()).into()),
    };
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()).into());
    }
    let mut places = [0, len, len];
    for (slot, index) in places.iter_mut().zip(indexes) {
        *slot = place(index, len)?;
    }
    let [start, end, capacity] = places;
    if start > end || end > capacity {
        return Err("invalid slice index".into());
    }
    part(meter, args.value(0), start, end)
}

/// A part of a string or list.
pub(crate) fn part(meter: &mut Meter, of: &Value, start: usize, end: usize) -> Result<Value, Failure> {
    match of {
        Value::Text(text) => {
            meter.memory(end - start)?;
            Ok(Value::text(&text.expose()[start..end]))
        }
        Value::List(list) => {
            meter.items(end - start)?;
            let List { elem, nil, items } = &**list;
            if *nil {
                return Ok(Value::nil_list(*elem));
            }
            Ok(Value::typed_list(*elem, items[start..end].to_vec()))
        }
        other => Err(format!("can't slice item of type {}", other.type_name()).into()),
    }
}

type Escape = fn(&[u8], &mut Buf);

/// The arguments, printed and escaped.
fn escape(meter: &mut Meter, args: &Args<'_>, escape: Escape) -> Result<Value, Failure> {
    let no_value = Value::text("<no value>");
    let values: Vec<Value> =
        args.all().iter().map(|value| if value.is_nil() { no_value.clone() } else { value.clone() }).collect();
    let text = print::all(&values, meter)?;
    let mut out = meter.buf();
    escape(text.expose(), &mut out);
    Ok(meter.text(out)?.into())
}

fn html(text: &[u8], out: &mut Buf) {
    for &byte in text {
        match byte {
            0 => out.push("\u{fffd}".as_bytes()),
            b'"' => out.push(b"&#34;"),
            b'\'' => out.push(b"&#39;"),
            b'&' => out.push(b"&amp;"),
            b'<' => out.push(b"&lt;"),
            b'>' => out.push(b"&gt;"),
            byte => out.push_byte(byte),
        }
    }
}

fn js(text: &[u8], out: &mut Buf) {
    for (_, c, raw) in chars(text) {
        match c {
            '\\' => out.push(br"\\"),
            '\'' => out.push(br"\'"),
            '"' => out.push(br#"\""#),
            '<' | '>' | '&' | '=' | '\0'..' ' => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c if c.is_ascii() || is_print(c) => out.push(raw),
            c => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
        }
    }
}

fn urlquery(text: &[u8], out: &mut Buf) {
    for &byte in text {
        match byte {
            b' ' => out.push_byte(b'+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => out.push_byte(byte),
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}
