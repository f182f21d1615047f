//! The text of single values: plain, in quotes, and those that are no strings.

use super::chars::{is_printable, makeup};
use crate::Scalar;
use crate::sink::Sink;

/// Whether the text may be written without quotes. That it is read as a string again is another question.
pub(super) fn plain_fits(text: &str, flow: bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    let second = bytes.get(1).copied().unwrap_or(b' ');
    let starts = match first {
        b' ' | b'\t' | b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!' | b'|' | b'>' | b'\'' | b'"'
        | b'%' | b'@' | b'`' => false,
        b'-' => !matches!(second, b' ' | b'\t'),
        b'?' | b':' => !flow && !matches!(second, b' ' | b'\t'),
        _ => true,
    };
    if !starts || matches!(last, b' ' | b'\t' | b':') {
        return false;
    }
    let makeup = makeup(bytes);
    if makeup.control || (makeup.flow && flow) {
        return false;
    }
    // Within a word nothing means anything.
    let parts =
        makeup.blank && bytes.windows(2).any(|pair| matches!(pair, [b':', b' ' | b'\t'] | [b' ' | b'\t', b'#']));
    !parts && (!makeup.wide || text.chars().all(|c| is_printable(c) && !is_break(c) && c != '\u{FEFF}'))
}

pub(super) fn single_fits(text: &str) -> bool {
    text.chars().all(|c| is_printable(c) && !is_break(c) && c != '\u{FEFF}')
}

/// Line breaks of YAML 1.1.
pub(super) const fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

pub(super) fn put_single(text: &str, out: &mut impl Sink) {
    out.put(b"'");
    for (place, part) in text.split('\'').enumerate() {
        if place > 0 {
            out.put(b"''");
        }
        out.put(part.as_bytes());
    }
    out.put(b"'");
}

/// Writes a string in double quotes, on one line.
pub(super) fn put_double(text: &str, out: &mut impl Sink) {
    out.put(b"\"");
    let mut from = 0;
    for (at, c) in text.char_indices() {
        let escape = match c {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\t' => "\\t",
            '\r' => "\\r",
            '\0' => "\\0",
            '\u{7}' => "\\a",
            '\u{8}' => "\\b",
            '\u{B}' => "\\v",
            '\u{C}' => "\\f",
            '\u{1B}' => "\\e",
            '\u{85}' => "\\N",
            '\u{2028}' => "\\L",
            '\u{2029}' => "\\P",
            '\u{FEFF}' => "\\uFEFF",
            c if is_printable(c) => continue,
            _ => "",
        };
        out.put(&text.as_bytes()[from..at]);
        from = at + c.len_utf8();
        if escape.is_empty() {
            let code = u32::from(c);
            out.put(if code < 0x100 { format!("\\x{code:02x}") } else { format!("\\u{code:04x}") }.as_bytes());
        } else {
            out.put(escape.as_bytes());
        }
    }
    out.put(&text.as_bytes()[from..]);
    out.put(b"\"");
}

/// Writes bytes that are no text.
pub(super) fn put_binary(bytes: &[u8], out: &mut impl Sink) {
    use base64::Engine as _;
    let encoded = zeroize::Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(bytes));
    put_words(out, &[b"!!binary"]);
    out.put(encoded.as_bytes());
}

/// Writes anything but a string, plain.
pub(super) fn put_typed(value: &Scalar<'_>, out: &mut impl Sink) {
    match value {
        Scalar::Bool(true) => out.put(b"true"),
        Scalar::Bool(false) => out.put(b"false"),
        Scalar::Int(value) => {
            let mut digits = zeroize::Zeroizing::new([0; 20]);
            out.put(decimal(*value, &mut digits));
        }
        Scalar::Float(value) if value.is_nan() => out.put(b".nan"),
        Scalar::Float(value) if value.is_infinite() => out.put(if *value > 0.0 { b".inf" } else { b"-.inf" }),
        // The shortest form that reads as the same float, with a point or an exponent.
        Scalar::Float(value) => out.put(zeroize::Zeroizing::new(format!("{value:?}")).as_bytes()),
        Scalar::Time(text) => out.put(text.as_bytes()),
        Scalar::Null | Scalar::Str(_) => out.put(b"null"),
    }
}

fn decimal(value: i64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

pub(super) const fn core_tag(value: &Scalar<'_>) -> &'static [u8] {
    match value {
        Scalar::Null => b"!!null",
        Scalar::Bool(_) => b"!!bool",
        Scalar::Int(_) => b"!!int",
        Scalar::Float(_) => b"!!float",
        Scalar::Str(_) => b"!!str",
        Scalar::Time(_) => b"!!timestamp",
    }
}

pub(super) fn put_words(out: &mut impl Sink, words: &[&[u8]]) {
    for word in words {
        out.put(word);
        out.put(b" ");
    }
}

pub(super) fn put_spaces(out: &mut impl Sink, count: usize) {
    const SPACES: &[u8] = &[b' '; 64];
    let mut left = count;
    while left > 0 {
        let step = left.min(SPACES.len());
        out.put(&SPACES[..step]);
        left -= step;
    }
}
