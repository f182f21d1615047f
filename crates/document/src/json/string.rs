//! JSON strings: from the text, and into it.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::model::{Span, Text};
use crate::sink::{Length, Sink};

/// U+FFFD, in place of half a surrogate pair.
const REPLACEMENT: &str = "\u{fffd}";

/// How many bytes are looked at together for whether any needs an escape.
const BLOCK: usize = 64;

/// Which characters are written as escapes though JSON does not ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escapes {
    /// None.
    Minimal,
    /// Those that Go's encoder escapes, so that JSON is safe inside HTML: `<`, `>`, `&`, U+2028 and U+2029.
    Html,
}

/// Reads the string whose opening quote stands at `at`; gives its text and the place after the closing quote. The text
/// must be UTF-8.
pub(super) fn read(text: &[u8], at: usize) -> Result<(Text, usize), (usize, &'static str)> {
    let start = at + 1;
    let end = plain(text, start)?;
    if text[end] == b'"' {
        return Ok((Text::Source(Span::new(start, end)), end + 1));
    }
    // Measured first, so that the copy is made once, in a place of the right size.
    let mut length = Length(0);
    let after = decode(text, start, end, &mut length)?;
    let mut decoded = Zeroizing::new(Vec::with_capacity(length.0));
    decode(text, start, end, &mut decoded)?;
    Ok((Text::Owned(Zeroizing::new(std::mem::take(&mut *decoded).into_boxed_slice())), after))
}

/// Decodes the string from `start`; `end` is its first escape. Gives the place after the closing quote.
fn decode(text: &[u8], start: usize, end: usize, out: &mut impl Sink) -> Result<usize, (usize, &'static str)> {
    out.put(&text[start..end]);
    let mut at = end;
    while text[at] == b'\\' {
        at = escape(text, at, out)?;
        let end = plain(text, at)?;
        out.put(&text[at..end]);
        at = end;
    }
    Ok(at + 1)
}

/// Appends `bytes` as a JSON string, quotes included; `None` if they are not UTF-8.
pub(crate) fn write_string(bytes: &[u8], escapes: Escapes, out: &mut impl Sink) -> Option<()> {
    std::str::from_utf8(bytes).ok()?;
    out.put(b"\"");
    let mut written = 0;
    let mut at = 0;
    for block in bytes.chunks(BLOCK) {
        if contains(block, |byte| may_need_escape(byte, escapes)) {
            written = write_block(bytes, at..at + block.len(), written, escapes, out);
        }
        at += block.len();
    }
    out.put(&bytes[written..]);
    out.put(b"\"");
    Some(())
}

/// Appends `bytes` from `written` up to the last escape that starts in `block`; gives the place after it.
fn write_block(bytes: &[u8], block: Range<usize>, mut written: usize, escapes: Escapes, out: &mut impl Sink) -> usize {
    for at in block {
        let unicode: [u8; 6];
        let (len, with): (usize, &[u8]) = match bytes[at] {
            b'"' => (1, b"\\\""),
            b'\\' => (1, b"\\\\"),
            b'\n' => (1, b"\\n"),
            b'\r' => (1, b"\\r"),
            b'\t' => (1, b"\\t"),
            0x08 => (1, b"\\b"),
            0x0c => (1, b"\\f"),
            byte if byte < 0x20 || (escapes == Escapes::Html && matches!(byte, b'<' | b'>' | b'&')) => {
                unicode = unicode_escape(byte);
                (1, &unicode)
            }
            0xe2 if escapes == Escapes::Html && bytes[at..].starts_with("\u{2028}".as_bytes()) => (3, b"\\u2028"),
            0xe2 if escapes == Escapes::Html && bytes[at..].starts_with("\u{2029}".as_bytes()) => (3, b"\\u2029"),
            _ => continue,
        };
        out.put(&bytes[written..at]);
        out.put(with);
        written = at + len;
    }
    written
}

fn may_need_escape(byte: u8, escapes: Escapes) -> bool {
    let html = escapes == Escapes::Html;
    byte < 0x20 || byte == b'"' || byte == b'\\' || (html && matches!(byte, b'<' | b'>' | b'&' | 0xe2))
}

/// Whether any byte is meant. Written so that the compiler looks at many bytes at once.
fn contains(bytes: &[u8], meant: impl Fn(u8) -> bool) -> bool {
    bytes.iter().map(|&byte| u8::from(meant(byte))).fold(0, |found, byte| found | byte) != 0
}

fn unicode_escape(byte: u8) -> [u8; 6] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    [b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// The place of the next quote or backslash.
fn plain(text: &[u8], start: usize) -> Result<usize, (usize, &'static str)> {
    let Some(len) = memchr::memchr2(b'"', b'\\', &text[start..]) else {
        return Err((start, "a string without its closing quote"));
    };
    let stretch = &text[start..start + len];
    if contains(stretch, |byte| byte < 0x20) {
        let control = stretch.iter().take_while(|&&byte| byte >= 0x20).count();
        return Err((start + control, "a control character in a string (a line break? write it as \\n)"));
    }
    Ok(start + len)
}

/// Decodes the escape whose backslash stands at `at`; gives the place after it.
fn escape(text: &[u8], at: usize, out: &mut impl Sink) -> Result<usize, (usize, &'static str)> {
    let byte = match text.get(at + 1) {
        Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return unicode(text, at, out),
        _ => return Err((at, "an unknown escape in a string")),
    };
    out.put(&[byte]);
    Ok(at + 2)
}

fn unicode(text: &[u8], at: usize, out: &mut impl Sink) -> Result<usize, (usize, &'static str)> {
    let first = unit(text, at).ok_or((at, "an escape \\u without its four hexadecimal digits"))?;
    let mut end = at + 6;
    let mut character = char::from_u32(first);
    if (0xd800..0xdc00).contains(&first)
        && let Some(second @ 0xdc00..0xe000) = unit(text, end)
    {
        character = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        end += 6;
    }
    match character {
        Some(character) => out.put(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.put(REPLACEMENT.as_bytes()),
    }
    Ok(end)
}

/// The 16 bits of the `\uHHHH` at `at`, if one stands there.
fn unit(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}
