//! sprig's functions on strings: trimming, parts, padding, quoting, splitting and joining.

use std::collections::BTreeMap;

use super::{Args, Function, Param};
use crate::error::{Failure, Limit};
use crate::limits::Meter;
use crate::print;
use crate::quote::{self, Keep};
use crate::text::{Buf, Text, chars, decode, find};
use crate::unicode::{is_space, to_lower, to_upper};
use crate::value::{Elem, Map, Value};

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Any, Int, Text};
    let f = Function::plain;
    all.extend([
        f("hello", &[], |_, _| Ok("Hello!".into())),
        f("trim", &[Text], |meter, args| copy(meter, trim(args.text(0), is_space))),
        f("trimAll", &[Text, Text], trim_all),
        f("trimall", &[Text, Text], trim_all),
        f("trimSuffix", &[Text, Text], |meter, args| {
            let text = args.text(1);
            copy(meter, text.strip_suffix(args.text(0)).unwrap_or(text))
        }),
        f("trimPrefix", &[Text, Text], |meter, args| {
            let text = args.text(1);
            copy(meter, text.strip_prefix(args.text(0)).unwrap_or(text))
        }),
        f("upper", &[Text], |meter, args| map_chars(meter, args.text(0), to_upper)),
        f("lower", &[Text], |meter, args| map_chars(meter, args.text(0), to_lower)),
        f("trunc", &[Int, Text], |meter, args| copy(meter, trunc(args.int(0), args.text(1)))),
        f("substr", &[Int, Int, Text], substr),
        f("repeat", &[Int, Text], repeat),
        f("contains", &[Text, Text], |meter, args| {
            pay_for_search(meter, args.text(1), args.text(0))?;
            Ok(find(args.text(1), args.text(0)).is_some().into())
        }),
        f("hasPrefix", &[Text, Text], |_, args| Ok(args.text(1).starts_with(args.text(0)).into())),
        f("hasSuffix", &[Text, Text], |_, args| Ok(args.text(1).ends_with(args.text(0)).into())),
        f("replace", &[Text, Text, Text], |meter, args| {
            replace(meter, args.text(2), args.text(0), args.text(1)).map(Value::Text)
        }),
        f("plural", &[Text, Text, Int], |_, args| Ok(Value::Text(args.shared_text(usize::from(args.int(2) != 1))))),
        f("indent", &[Int, Text], |meter, args| indent(meter, args, b"")),
        f("nindent", &[Int, Text], |meter, args| indent(meter, args, b"\n")),
        f("quote", &[], |meter, args| {
            each(meter, args, |text, out| {
                quote::string(text, Keep::Printable, out);
            })
        })
        .with_rest(Any),
        f("squote", &[], |meter, args| {
            each(meter, args, |text, out| {
                out.push_byte(b'\'');
                out.push(text);
                out.push_byte(b'\'');
            })
        })
        .with_rest(Any),
        f("cat", &[], |meter, args| each(meter, args, |text, out| out.push(text))).with_rest(Any),
        f("toString", &[Any], |meter, args| Ok(strval(args.value(0), meter)?.into())),
        f("toStrings", &[Any], |meter, args| {
            let items = strings(args.value(0), meter)?.into_iter().map(Value::Text).collect();
            Ok(Value::typed_list(Elem::Text, items))
        }),
        f("join", &[Text, Any], |meter, args| {
            let mut out = meter.buf();
            for (index, item) in strings(args.value(1), meter)?.iter().enumerate() {
                if index > 0 {
                    out.push(args.text(0));
                }
                out.push(item.expose());
            }
            Ok(meter.text(out)?.into())
        }),
        f("split", &[Text, Text], |meter, args| {
            let parts = split(meter, args.text(1), args.text(0), None)?;
            numbered(meter, parts)
        }),
        f("splitn", &[Text, Int, Text], |meter, args| {
            let parts = split(meter, args.text(2), args.text(0), Some(args.int(1)))?;
            numbered(meter, parts)
        }),
        f("splitList", &[Text, Text], |meter, args| {
            let parts = split(meter, args.text(1), args.text(0), None)?;
            Ok(Value::typed_list(Elem::Text, parts.into_iter().map(Value::Text).collect()))
        }),
        f("sortAlpha", &[Any], |meter, args| {
            if args.value(0).is_nil() {
                return Ok(Value::typed_list(Elem::Text, vec!["<nil>".into()]));
            }
            let mut items = strings(args.value(0), meter)?;
            // Texts that begin alike are read, and the same one may be in the list a thousand times.
            let bytes: u64 = items.iter().map(|item| item.len() as u64).sum();
            let rounds = u64::from(items.len().max(1).ilog2());
            meter.steps((items.len() as u64 + bytes / 64).saturating_mul(rounds))?;
            items.sort();
            Ok(Value::typed_list(Elem::Text, items.into_iter().map(Value::Text).collect()))
        }),
    ]);
}

/// A value's text, as sprig's `toString` has it.
pub(super) fn strval(value: &Value, meter: &mut Meter) -> Result<Text, Limit> {
    print::text(value, meter)
}

/// The texts of a list's items; of anything else the one text.
pub(super) fn strings(value: &Value, meter: &mut Meter) -> Result<Vec<Text>, Limit> {
    match value {
        Value::List(list) => {
            meter.items(list.items.len())?;
            list.items.iter().filter(|item| !item.is_nil()).map(|item| strval(item, meter)).collect()
        }
        value if value.is_nil() => Ok(Vec::new()),
        value => Ok(vec![strval(value, meter)?]),
    }
}

pub(super) fn copy(meter: &mut Meter, text: &[u8]) -> Result<Value, Failure> {
    meter.memory(text.len())?;
    Ok(Value::text(text))
}

/// Without the characters at both ends for which `unwanted` holds.
fn trim(text: &[u8], unwanted: impl Fn(char) -> bool) -> &[u8] {
    let kept = |c: char, raw: &[u8]| !unwanted(c) || c == char::REPLACEMENT_CHARACTER && raw.len() == 1;
    let Some(start) = chars(text).find(|(_, c, raw)| kept(*c, raw)).map(|(at, ..)| at) else { return &[] };
    let mut end = text.len();
    while end > start {
        // The last character starts in the last four bytes.
        let at = (end.saturating_sub(4)..end).find(|&at| decode(&text[at..end]).1 == end - at).unwrap_or(end - 1);
        let (c, _) = decode(&text[at..end]);
        if kept(c, &text[at..end]) {
            break;
        }
        end = at;
    }
    &text[start..end]
}

fn trim_all(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    meter.memory(args.text(0).len().saturating_mul(size_of::<char>()))?;
    let mut cut = Vec::with_capacity(args.text(0).len());
    cut.extend(chars(args.text(0)).map(|(_, c, _)| c));
    meter.steps((args.text(1).len() as u64).saturating_mul(cut.len() as u64) / 16)?;
    copy(meter, trim(args.text(1), |c| cut.contains(&c)))
}

pub(super) fn map_chars(meter: &mut Meter, text: &[u8], map: fn(char) -> char) -> Result<Value, Failure> {
    let mut out = meter.buf();
    for (_, c, _) in chars(text) {
        out.push_char(map(c));
    }
    Ok(meter.text(out)?.into())
}

fn trunc(count: i64, text: &[u8]) -> &[u8] {
    let bytes = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 && bytes < text.len() {
        &text[text.len() - bytes..]
    } else if count >= 0 && bytes < text.len() {
        &text[..bytes]
    } else {
        text
    }
}

fn substr(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let text = args.text(2);
    let (start, end) = (args.int(0), args.int(1));
    let end_inside = usize::try_from(end).ok().filter(|&end| end <= text.len());
    let part = match usize::try_from(start) {
        Err(_) => end_inside.and_then(|end| text.get(..end)),
        Ok(start) => text.get(start..end_inside.unwrap_or(text.len())),
    };
    copy(meter, part.ok_or("slice bounds out of range")?)
}

fn repeat(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let count = usize::try_from(args.int(0)).map_err(|_| "strings: negative Repeat count")?;
    let text = args.text(1);
    if count == 0 || text.is_empty() {
        return Ok("".into());
    }
    meter.memory(text.len().saturating_mul(count))?;
    Ok(Value::text(text.repeat(count)))
}

/// A search costs no more than the text times what is searched for.
pub(super) fn pay_for_search(meter: &mut Meter, text: &[u8], needle: &[u8]) -> Result<(), Limit> {
    meter.steps((text.len() as u64).saturating_mul(1 + needle.len() as u64) / 64)
}

pub(super) fn replace(meter: &mut Meter, text: &[u8], old: &[u8], new: &[u8]) -> Result<Text, Failure> {
    pay_for_search(meter, text, old)?;
    let mut out = meter.buf();
    if old.is_empty() {
        for (_, _, raw) in chars(text) {
            out.push(new);
            out.push(raw);
        }
        out.push(new);
        return Ok(meter.text(out)?);
    }
    let mut rest = text;
    while let Some(at) = find(rest, old) {
        out.push(&rest[..at]);
        out.push(new);
        rest = &rest[at + old.len()..];
        if out.is_full() {
            break;
        }
    }
    out.push(rest);
    Ok(meter.text(out)?)
}

fn indent(meter: &mut Meter, args: &Args<'_>, before: &[u8]) -> Result<Value, Failure> {
    let spaces = usize::try_from(args.int(0)).map_err(|_| "strings: negative Repeat count")?;
    let text = args.text(1);
    let lines = 1 + text.iter().filter(|&&byte| byte == b'\n').count();
    meter.has_memory(spaces.saturating_mul(lines).saturating_add(text.len()))?;
    let mut out = meter.buf();
    out.push(before);
    out.fill(b' ', spaces);
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        if index > 0 {
            out.push_byte(b'\n');
            out.fill(b' ', spaces);
        }
        out.push(line);
    }
    Ok(meter.text(out)?.into())
}

/// The texts of those arguments that are not `nil`, with spaces between.
fn each(meter: &mut Meter, args: &Args<'_>, write: fn(&[u8], &mut Buf)) -> Result<Value, Failure> {
    let mut out = meter.buf();
    let mut first = true;
    for value in args.all().iter().filter(|value| !value.is_nil()) {
        if !first {
            out.push_byte(b' ');
        }
        first = false;
        write(strval(value, meter)?.expose(), &mut out);
    }
    Ok(meter.text(out)?.into())
}

/// At most `count` parts; none or a negative count are all of them.
pub(super) fn split(
    meter: &mut Meter,
    text: &[u8],
    separator: &[u8],
    count: Option<i64>,
) -> Result<Vec<Text>, Failure> {
    let most = match count {
        Some(0) => return Ok(Vec::new()),
        Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    pay_for_search(meter, text, separator)?;
    meter.memory(text.len())?;
    let mut parts = Vec::new();
    let mut rest = text;
    while parts.len() + 1 < most {
        let end = if separator.is_empty() {
            let len = decode(rest).1;
            if len < rest.len() { Some(len) } else { None }
        } else {
            find(rest, separator)
        };
        let Some(end) = end else { break };
        meter.items(2)?;
        parts.push(Text::from(&rest[..end]));
        rest = &rest[end + separator.len()..];
    }
    if !(separator.is_empty() && rest.is_empty()) {
        parts.push(Text::from(rest));
    }
    Ok(parts)
}

/// `map[_0:… _1:…]`
fn numbered(meter: &mut Meter, parts: Vec<Text>) -> Result<Value, Failure> {
    meter.entries(parts.len())?;
    let entries: BTreeMap<_, _> = parts
        .into_iter()
        .enumerate()
        .map(|(index, part)| (Text::from(format!("_{index}")), Value::Text(part)))
        .collect();
    Ok(Value::Map(Map::new(Elem::Text, entries)))
}
