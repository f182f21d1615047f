//! sprig's regular expressions, in Go's syntax and with Go's results. They take time linear in the text.

use std::time::Instant;

use bulla_core::go_regex::{Regex, compile_bounded};

use super::lists::both;
use super::{Args, Function, Param};
use crate::error::{Failure, Limit};
use crate::limits::Meter;
use crate::text::{Buf, Text, decode};
use crate::unicode::{is_digit, is_letter};
use crate::value::{Elem, Value};

/// The sizes of compiled expressions, in bytes: the smallest that is enough says what a search can cost.
const SIZES: [usize; 5] = [1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20];

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Int, Text};
    all.push(Function::new("regexMatch", &[Text, Text], |meter, args| match expression(meter, args, 1) {
        Ok(regex) => Ok(regex.is_match(args.text(1)).into()),
        Err(Failure::Message(_)) => Ok(false.into()),
        Err(limit) => Err(limit),
    }));
    all.push(Function::new("mustRegexMatch", &[Text, Text], |meter, args| {
        Ok(expression(meter, args, 1)?.is_match(args.text(1)).into())
    }));
    both(all, ["regexFind", "mustRegexFind"], &[Text, Text], None, |meter, args| {
        let found = expression(meter, args, 1)?.find(args.text(1)).map_or(&[][..], |found| found.as_bytes());
        meter.memory(found.len())?;
        Ok(Value::text(found))
    });
    both(all, ["regexFindAll", "mustRegexFindAll"], &[Text, Text, Int], None, |meter, args| {
        let regex = expression(meter, args, 1)?;
        let mut found = Vec::new();
        let text = args.text(1);
        let most = count(args.int(2));
        let mut matches = Matches::new(&regex, text);
        while found.len() < most
            && let Some(one) = matches.next(meter)?
        {
            meter.items(2)?;
            meter.memory(one.len())?;
            found.push(Value::text(one.as_bytes()));
        }
        Ok(if found.is_empty() { Value::nil_list(Elem::Text) } else { Value::typed_list(Elem::Text, found) })
    });
    both(all, ["regexSplit", "mustRegexSplit"], &[Text, Text, Int], None, split);
    both(all, ["regexReplaceAll", "mustRegexReplaceAll"], &[Text, Text, Text], None, |meter, args| {
        let with = args.text(2);
        let names = with.iter().filter(|&&byte| byte == b'$').count() as u64;
        // Each name is looked for among the groups, and may stand for nothing: the length of the result says nothing of the work.
        let price = |regex: &Regex| 1 + with.len() as u64 / 16 + names * (1 + regex.captures_len() as u64 / 16);
        replace(meter, args, price, |regex, captures, out| expand(regex, with, captures, out))
    });
    both(all, ["regexReplaceAllLiteral", "mustRegexReplaceAllLiteral"], &[Text, Text, Text], None, |meter, args| {
        replace(meter, args, |_| 1, |_, _, out| out.push(args.text(2)))
    });
    all.push(Function::new("regexQuoteMeta", &[Text], |meter, args| {
        let mut out = meter.buf();
        for &byte in args.text(0) {
            if br"\.+*?()|[]{}^$".contains(&byte) {
                out.push_byte(b'\\');
            }
            out.push_byte(byte);
        }
        Ok(meter.text(out)?.into())
    }));
}

/// The expression of a call, to be run over the text at `text`.
fn expression(meter: &mut Meter, args: &Args<'_>, text: usize) -> Result<Regex, Failure> {
    let expression = args.utf8(0)?;
    meter.steps(100 + expression.len() as u64)?;
    let length = args.text(text).len() as u64;
    for size in SIZES {
        // A class can be three bytes and take 100 µs: the size of the expression says little of the time.
        let start = Instant::now();
        let compiled = compile_bounded(expression, size);
        meter.took(start)?;
        if let Ok(regex) = compiled {
            // In the worst case each byte of the text is held against each state, of which one takes some 40 bytes.
            meter.steps(length.saturating_mul(size as u64 / 1024))?;
            return Ok(regex);
        }
    }
    // What is wrong is part of the expression, which may be a secret.
    Err("the regular expression has an error or is too large".into())
}

/// The matches in a text, each paid for by its time: all together can take the square of the text's length.
struct Matches<'r, 't> {
    found: regex::bytes::Matches<'r, 't>,
    text: &'t [u8],
}

impl<'r, 't> Matches<'r, 't> {
    fn new(regex: &'r Regex, text: &'t [u8]) -> Self {
        Self { found: regex.find_iter(text), text }
    }

    fn next(&mut self, meter: &mut Meter) -> Result<Option<regex::bytes::Match<'t>>, Limit> {
        loop {
            let start = Instant::now();
            let found = self.found.next();
            meter.took(start)?;
            if found.is_none_or(|found| stands(self.text, &found)) {
                return Ok(found);
            }
        }
    }
}

/// Whether a match stands: one of nothing does not within a character.
fn stands(text: &[u8], found: &regex::bytes::Match<'_>) -> bool {
    let at = found.start();
    let within = |start: usize| start + decode(&text[start..]).1 > at;
    !found.is_empty() || !(at.saturating_sub(3)..at).any(within)
}

fn count(limit: i64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn split(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let regex = expression(meter, args, 1)?;
    let text = args.text(1);
    let most = count(args.int(2));
    if most == 0 {
        return Ok(Value::nil_list(Elem::Text));
    }
    if text.is_empty() && !args.text(0).is_empty() {
        return Ok(Value::typed_list(Elem::Text, vec!["".into()]));
    }
    let mut parts = Vec::new();
    let (mut start, mut end) = (0, 0);
    let mut matches = Matches::new(&regex, text);
    while parts.len() < most - 1
        && let Some(found) = matches.next(meter)?
    {
        end = found.start();
        if found.end() != 0 {
            meter.items(2)?;
            meter.memory(end - start)?;
            parts.push(Value::text(&text[start..end]));
        }
        start = found.end();
    }
    if end != text.len() {
        meter.memory(text.len() - start)?;
        parts.push(Value::text(&text[start..]));
    }
    Ok(Value::typed_list(Elem::Text, parts))
}

type Captures<'t> = regex::bytes::Captures<'t>;

/// `price` is what writing one replacement costs, in steps.
fn replace(
    meter: &mut Meter,
    args: &Args<'_>,
    price: impl Fn(&Regex) -> u64,
    write: impl Fn(&Regex, &Captures<'_>, &mut Buf),
) -> Result<Value, Failure> {
    let regex = expression(meter, args, 1)?;
    let text = args.text(1);
    let price = price(&regex);
    let mut out = meter.buf();
    let mut last = 0;
    let mut all = regex.captures_iter(text);
    loop {
        let start = Instant::now();
        let next = all.next();
        meter.took(start)?;
        let Some(captures) = next else { break };
        let Some(found) = captures.get(0).filter(|found| stands(text, found)) else { continue };
        meter.steps(price)?;
        out.push(&text[last..found.start()]);
        write(&regex, &captures, &mut out);
        last = found.end();
        if out.is_full() {
            return Err(Limit::Memory.into());
        }
    }
    out.push(&text[last..]);
    let text: Text = meter.text(out)?;
    Ok(text.into())
}

/// `$1`, `${1}`, `$name`: groups. A `$` before anything else stands for itself.
fn expand(regex: &Regex, template: &[u8], captures: &Captures<'_>, out: &mut Buf) {
    let mut rest = template;
    while let Some(at) = rest.iter().position(|&byte| byte == b'$') {
        out.push(&rest[..at]);
        rest = &rest[at + 1..];
        if rest.first() == Some(&b'$') {
            out.push_byte(b'$');
            rest = &rest[1..];
            continue;
        }
        let braced = rest.first() == Some(&b'{');
        let inner = if braced { &rest[1..] } else { rest };
        let mut len = 0;
        loop {
            let (c, size) = decode(&inner[len..]);
            if size == 0 || !(c == '_' || is_letter(c) || is_digit(c)) {
                break;
            }
            len += size;
        }
        if len == 0 || braced && inner.get(len) != Some(&b'}') {
            out.push_byte(b'$');
            continue;
        }
        let name = std::str::from_utf8(&inner[..len]).unwrap_or_default();
        let group = if name.bytes().all(|byte| byte.is_ascii_digit()) {
            name.parse().ok().and_then(|number| captures.get(number))
        } else {
            let number = regex.capture_names().position(|group| group == Some(name));
            number.and_then(|number| captures.get(number))
        };
        if let Some(group) = group {
            out.push(group.as_bytes());
        }
        rest = &inner[len + usize::from(braced)..];
    }
    out.push(rest);
}
