//! sprig's functions on words: cases, initials, abbreviations, wrapping.

use super::strings::copy;
use super::{Args, Function, Param};
use crate::error::Failure;
use crate::limits::Meter;
use crate::text::{Buf, chars, decode};
use crate::unicode::{is_digit, is_letter, is_lower, is_number, is_punct, is_space, is_title, is_upper};
use crate::unicode::{to_lower, to_title, to_upper};
use crate::value::Value;

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Int, Text};
    let f = Function::plain;
    all.extend([
        f("title", &[Text], title),
        f("untitle", &[Text], |meter, args| {
            let mut start = true;
            each_char(meter, args.text(0), |c| {
                if is_space(c) {
                    start = true;
                } else if start {
                    start = false;
                    return to_lower(c);
                }
                c
            })
        }),
        f("swapcase", &[Text], swap_case),
        f("nospace", &[Text], no_space),
        f("initials", &[Text], initials),
        f("snakecase", &[Text], |meter, args| lower_case(meter, args.text(0), '_')),
        f("kebabcase", &[Text], |meter, args| lower_case(meter, args.text(0), '-')),
        f("camelcase", &[Text], camel_case),
        f("abbrev", &[Int, Text], |meter, args| {
            let width = args.int(0);
            if width < 4 { copy(meter, args.text(1)) } else { abbreviate(meter, args.text(1), 0, width) }
        }),
        f("abbrevboth", &[Int, Int, Text], |meter, args| {
            let (left, right) = (args.int(0), args.int(1));
            if right < 4 || left > 0 && right < 7 {
                copy(meter, args.text(2))
            } else {
                abbreviate(meter, args.text(2), left, right)
            }
        }),
        f("wrap", &[Int, Text], |meter, args| wrap(meter, args.text(1), args.int(0), b"\n", LongWords::Stay)),
        f("wrapWith", &[Int, Text, Text], |meter, args| {
            let separator = if args.text(1).is_empty() { b"\n" } else { args.text(1) };
            wrap(meter, args.text(2), args.int(0), separator, LongWords::Break)
        }),
    ]);
}

fn each_char(meter: &mut Meter, text: &[u8], mut map: impl FnMut(char) -> char) -> Result<Value, Failure> {
    let mut out = meter.buf();
    for (_, c, _) in chars(text) {
        out.push_char(map(c));
    }
    Ok(meter.text(out)?.into())
}

fn title(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let mut before = ' ';
    each_char(meter, args.text(0), |c| {
        let separator = if before.is_ascii() {
            !(before.is_ascii_alphanumeric() || before == '_')
        } else {
            !is_letter(before) && !is_digit(before) && is_space(before)
        };
        before = c;
        if separator { to_title(c) } else { c }
    })
}

fn swap_case(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let mut after_space = true;
    each_char(meter, args.text(0), |c| {
        if is_upper(c) || is_title(c) {
            after_space = false;
            to_lower(c)
        } else if is_lower(c) {
            let start = std::mem::replace(&mut after_space, false);
            if start { to_title(c) } else { to_upper(c) }
        } else {
            after_space = is_space(c);
            c
        }
    })
}

/// sprig takes each byte for a character here, so that other than ASCII is changed.
fn no_space(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let text = args.text(0);
    if !text.iter().any(|&byte| is_space(char::from(byte))) {
        return copy(meter, text);
    }
    let mut out = meter.buf();
    for c in text.iter().map(|&byte| char::from(byte)).filter(|&c| !is_space(c)) {
        out.push_char(c);
    }
    Ok(meter.text(out)?.into())
}

/// By bytes, as [`no_space`].
fn initials(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let mut out = meter.buf();
    let mut gap = true;
    for c in args.text(0).iter().map(|&byte| char::from(byte)) {
        if is_space(c) {
            gap = true;
        } else if gap {
            out.push_char(c);
            gap = false;
        }
    }
    Ok(meter.text(out)?.into())
}

/// `...` at the right, and where `offset` asks for it at the left.
fn abbreviate(meter: &mut Meter, text: &[u8], offset: i64, width: i64) -> Result<Value, Failure> {
    const DOTS: &[u8] = b"...";
    let size = i64::try_from(text.len()).unwrap_or(i64::MAX);
    if text.is_empty() || size <= width {
        return copy(meter, text);
    }
    let offset = offset.min(size);
    let offset = if size - offset < width - 3 { size - (width - 3) } else { offset };
    let part = |from: i64, to: i64| {
        let (from, to) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
        text.get(from..to)
    };
    let bounds = "slice bounds out of range";
    let mut out = meter.buf();
    if offset <= 4 {
        out.push(part(0, width - 3).ok_or(bounds)?);
        out.push(DOTS);
    } else if width < 7 {
        // An error in the library, which sprig takes for an empty text.
    } else if offset.saturating_add(width).saturating_sub(3) < size {
        // The rest is abbreviated in its turn.
        out.push(DOTS);
        out.push(part(offset, offset + width - 6).ok_or(bounds)?);
        out.push(DOTS);
    } else {
        out.push(DOTS);
        out.push(part(size - (width - 3), size).ok_or(bounds)?);
    }
    Ok(meter.text(out)?.into())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LongWords {
    Stay,
    Break,
}

fn wrap(meter: &mut Meter, text: &[u8], width: i64, line_end: &[u8], long: LongWords) -> Result<Value, Failure> {
    let width = usize::try_from(width).unwrap_or(1).max(1);
    let mut out = meter.buf();
    let mut at = 0;
    while text.len() - at > width {
        if text[at] == b' ' {
            at += 1;
            continue;
        }
        meter.steps(1 + (width as u64).min(text.len() as u64) / 64)?;
        let space = text[at..=at + width].iter().rposition(|&byte| byte == b' ');
        let (end, next) = match (space, long) {
            (Some(space), _) => (at + space, at + space + 1),
            (None, LongWords::Break) => (at + width, at + width),
            (None, LongWords::Stay) => {
                let Some(space) = text[at + width..].iter().position(|&byte| byte == b' ') else { break };
                (at + width + space, at + width + space + 1)
            }
        };
        out.push(&text[at..end]);
        out.push(line_end);
        at = next;
    }
    out.push(&text[at..]);
    Ok(meter.text(out)?.into())
}

fn is_connector(c: char) -> bool {
    c == '-' || c == '_' || is_space(c)
}

/// `some_words` to `SomeWords`.
fn camel_case(meter: &mut Meter, args: &Args<'_>) -> Result<Value, Failure> {
    let mut out = meter.buf();
    let mut rest = chars(args.text(0)).map(|(_, c, _)| c);
    // Connectors at the start stay.
    let mut last = None;
    let mut current = loop {
        let Some(c) = rest.next() else {
            // Where there is nothing else, the library writes the last one twice.
            if let Some(c) = last {
                out.push_char(c);
            }
            return Ok(meter.text(out)?.into());
        };
        if !is_connector(c) {
            break c;
        }
        out.push_char(c);
        last = Some(c);
    };
    let mut after_upper = is_upper(current);
    current = to_upper(current);
    for c in rest {
        let before = current;
        current = c;
        if is_connector(current) && is_connector(before) {
            out.push_char(before);
        } else if is_connector(before) {
            after_upper = is_upper(current);
            current = to_upper(current);
        } else {
            if after_upper {
                if is_upper(current) {
                    current = to_lower(current);
                } else {
                    after_upper = false;
                }
            }
            out.push_char(before);
        }
    }
    out.push_char(current);
    Ok(meter.text(out)?.into())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Nothing,
    Number,
    Upper,
    Letters,
    Connector,
    Punct,
    Other,
}

/// `FirstName` to `first_name`, by the rules of the `xstrings` library: a word is put out when it is known what follows it.
fn lower_case(meter: &mut Meter, text: &[u8], connector: char) -> Result<Value, Failure> {
    let mut out = meter.buf();
    let mut rest = text;
    let mut take = move || {
        let (kind, len) = next_word(rest);
        let (word, after) = rest.split_at(len);
        rest = after;
        (kind, word, after.is_empty())
    };
    let apart = |kind: Word| !matches!(kind, Word::Nothing | Word::Punct | Word::Connector);
    let (mut kind, mut word, mut last) = take();
    while !last {
        meter.steps(1)?;
        if kind != Word::Connector {
            push_lower(&mut out, kind, word, connector);
        }
        let (before, before_word) = (kind, word);
        (kind, word, last) = take();
        match before {
            Word::Number => {
                while matches!(kind, Word::Letters | Word::Number) {
                    push_lower(&mut out, kind, word, connector);
                    (kind, word, last) = take();
                }
                if apart(kind) {
                    out.push_char(connector);
                }
            }
            Word::Connector => push_lower(&mut out, before, before_word, connector),
            Word::Punct => {}
            _ if kind != Word::Number => {
                if !matches!(kind, Word::Connector | Word::Punct) {
                    out.push_char(connector);
                }
            }
            _ if last => {}
            _ => {
                let number = word;
                (kind, word, last) = take();
                if kind == Word::Letters {
                    out.push_char(connector);
                    push_lower(&mut out, Word::Number, number, connector);
                    while matches!(kind, Word::Letters | Word::Number) {
                        push_lower(&mut out, kind, word, connector);
                        (kind, word, last) = take();
                    }
                    if apart(kind) {
                        out.push_char(connector);
                    }
                } else {
                    push_lower(&mut out, Word::Number, number, connector);
                    if !matches!(kind, Word::Connector | Word::Punct) {
                        out.push_char(connector);
                    }
                }
            }
        }
    }
    push_lower(&mut out, kind, word, connector);
    Ok(meter.text(out)?.into())
}

fn push_lower(out: &mut Buf, kind: Word, word: &[u8], connector: char) {
    for (_, c, _) in chars(word) {
        match kind {
            Word::Upper => out.push_char(to_lower(c)),
            Word::Connector if is_connector(c) => out.push_char(connector),
            _ => out.push_char(c),
        }
    }
}

/// A letter, but of the scripts that have no cases and no spaces between words.
fn is_alphabet(c: char) -> bool {
    let cjk = matches!(c, '\u{3400}'..='\u{4d85}' | '\u{4e00}'..='\u{9fcc}' | '\u{20000}'..='\u{2b81d}');
    is_letter(c) && !cjk
}

/// What the first word is, and its length.
fn next_word(text: &[u8]) -> (Word, usize) {
    let (first, mut len) = decode(text);
    if len == 0 {
        return (Word::Nothing, 0);
    }
    let run = |mut len: usize, belongs: fn(char) -> bool| {
        while len < text.len() {
            let (c, size) = decode(&text[len..]);
            if !belongs(c) {
                break;
            }
            len += size;
        }
        len
    };
    let letters: fn(char) -> bool = |c| is_alphabet(c) && !is_upper(c);
    let other: fn(char) -> bool = |c| !(is_connector(c) || is_alphabet(c) || is_number(c) || is_punct(c));
    if is_connector(first) {
        (Word::Connector, run(len, is_connector))
    } else if is_punct(first) {
        (Word::Punct, run(len, is_punct))
    } else if is_upper(first) {
        let (second, _) = decode(&text[len..]);
        if len < text.len() && is_upper(second) {
            let start = len;
            len = run(len, is_upper);
            let (after, size) = decode(&text[len..]);
            // Of "HTTPStatus" the S belongs to the next word.
            if size > 0 && is_alphabet(after) && len > start {
                let last = chars(&text[..len]).last().map_or(len, |(at, ..)| at);
                len = last;
            }
        } else {
            len = run(len, letters);
        }
        (Word::Upper, len)
    } else if is_alphabet(first) {
        (Word::Letters, run(len, letters))
    } else if is_number(first) {
        (Word::Number, run(len, is_number))
    } else {
        (Word::Other, run(len, other))
    }
}
