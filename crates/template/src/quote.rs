//! Go's `strconv.Quote`: `%q`.

use crate::text::{Buf, chars};
use crate::unicode::is_print;

/// Which characters stay as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Printable,
    Ascii,
}

/// Appends a string in double quotes.
pub(crate) fn string(bytes: &[u8], keep: Keep, out: &mut Buf) {
    out.push_byte(b'"');
    for (_, c, raw) in chars(bytes) {
        if c == char::REPLACEMENT_CHARACTER && raw.len() == 1 {
            push_hex(out, b"\\x", u32::from(raw[0]), 2);
        } else {
            escaped(c, '"', keep, out);
        }
    }
    out.push_byte(b'"');
}

/// Appends a character in single quotes.
pub(crate) fn character(c: char, keep: Keep, out: &mut Buf) {
    out.push_byte(b'\'');
    escaped(c, '\'', keep, out);
    out.push_byte(b'\'');
}

fn escaped(c: char, quote: char, keep: Keep, out: &mut Buf) {
    if c == quote || c == '\\' {
        out.push_byte(b'\\');
        out.push_char(c);
        return;
    }
    if is_print(c) && (c.is_ascii() || keep == Keep::Printable) {
        out.push_char(c);
        return;
    }
    let short: &[u8] = match c {
        '\x07' => b"\\a",
        '\x08' => b"\\b",
        '\x0c' => b"\\f",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        '\x0b' => b"\\v",
        _ => {
            let code = u32::from(c);
            match code {
                0..0x20 | 0x7f => push_hex(out, b"\\x", code, 2),
                0x80..0x1_0000 => push_hex(out, b"\\u", code, 4),
                _ => push_hex(out, b"\\U", code, 8),
            }
            return;
        }
    };
    out.push(short);
}

fn push_hex(out: &mut Buf, prefix: &[u8], code: u32, digits: usize) {
    out.push(prefix);
    out.push(format!("{code:0digits$x}").as_bytes());
}
