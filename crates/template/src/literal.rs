//! Go's literals: numbers, characters and strings.

use crate::ast::Number;
use crate::text::{Text, decode};

/// A number as `text/template` reads it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn number(text: &str) -> Result<Number, String> {
    if text.ends_with('i') && !text.starts_with("0x") {
        return Err(format!("complex numbers are not supported: {text:?}"));
    }
    let mut number = Number { int: parse_int(text, 0), uint: None, float: None, is_float: false };
    number.uint = parse_uint(text, 0);
    if number.int == Some(0) {
        // "-0" is an unsigned number, too.
        number.uint = Some(0);
    }
    #[expect(clippy::cast_precision_loss, reason = "as Go promotes")]
    if let Some(int) = number.int {
        number.float = Some(int as f64);
    } else if let Some(uint) = number.uint {
        number.float = Some(uint as f64);
    } else if let Some(float) = parse_float(text) {
        if !text.contains(['.', 'e', 'E', 'p', 'P']) {
            return Err(format!("integer overflow: {text:?}"));
        }
        number.float = Some(float);
        number.int = integral(float);
        number.uint = number.int.and_then(|int| u64::try_from(int).ok());
    } else {
        return Err(format!("illegal number syntax: {text:?}"));
    }
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let hex_int = hex && text.len() > 2 && !text.contains(['p', 'P']);
    number.is_float = !hex_int && text.contains(['.', 'e', 'E', 'p', 'P']);
    Ok(number)
}

/// A float that is an integer.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "compared afterwards, to the bit"
)]
fn integral(float: f64) -> Option<i64> {
    let int = float as i64;
    (int as f64 == float && float.abs() < 9.3e18).then_some(int)
}

/// Go's `strconv.ParseInt(text, base, 64)`; `base` 0 takes it from a prefix and allows `_`.
pub(crate) fn parse_int(text: &str, base: u32) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_uint(digits, base)?;
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Go's `strconv.ParseUint(text, base, 64)`.
pub(crate) fn parse_uint(text: &str, base: u32) -> Option<u64> {
    if base != 0 {
        return digits(text, base);
    }
    let lower = text.to_ascii_lowercase();
    let (base, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let prefixed = base != 10;
    if !underscores_stand_between_digits(rest, prefixed) {
        return None;
    }
    digits(&rest.replace('_', ""), base)
}

fn digits(text: &str, base: u32) -> Option<u64> {
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    u64::from_str_radix(text, base).ok()
}

/// `_` may only separate digits, or a prefix and a digit.
fn underscores_stand_between_digits(text: &str, prefixed: bool) -> bool {
    let mut before = prefixed;
    let mut pending = false;
    for byte in text.bytes() {
        if byte == b'_' {
            if !before {
                return false;
            }
            (before, pending) = (false, true);
        } else {
            (before, pending) = (byte.is_ascii_alphanumeric(), false);
        }
    }
    !pending
}

/// Go's `strconv.ParseFloat(text, 64)`: also `inf`, `nan`, hexadecimal floats; what is too large is refused.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    let negative = text.starts_with('-');
    let lower = unsigned.to_ascii_lowercase();
    let magnitude = match lower.as_str() {
        "inf" | "infinity" => f64::INFINITY,
        "nan" => f64::NAN,
        hex if hex.starts_with("0x") => hex_float(&hex[2..])?,
        decimal => {
            let plain = decimal.bytes().all(|byte| byte.is_ascii_digit() || b".e+-_".contains(&byte));
            let apart = |parts: &str| {
                parts.split(['.', 'e', '+', '-']).all(|part| underscores_stand_between_digits(part, false))
            };
            if !plain || !apart(decimal) || !decimal.bytes().any(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let value: f64 = decimal.replace('_', "").parse().ok()?;
            if value.is_infinite() {
                return None;
            }
            value
        }
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// `1.8p3`: hexadecimal digits, a binary exponent. Exact while the digits fit 64 bits.
fn hex_float(text: &str) -> Option<f64> {
    if !text.split(['.', 'p', '+', '-']).enumerate().all(|(i, part)| underscores_stand_between_digits(part, i == 0)) {
        return None;
    }
    let text = text.replace('_', "");
    let (mantissa, exponent) = text.split_once('p')?;
    let mut exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = format!("{whole}{fraction}");
    let value = u64::from_str_radix(&digits, 16).ok()?;
    exponent = exponent.checked_sub(4 * i32::try_from(fraction.len()).ok()?)?;
    #[expect(clippy::cast_precision_loss, reason = "more than 53 bits are rounded")]
    let value = value as f64 * 2f64.powi(exponent);
    value.is_finite().then_some(value)
}

/// The character in single quotes.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn character(quoted: &str) -> Result<char, String> {
    let inner = quoted.as_bytes().get(1..).unwrap_or_default();
    let malformed = || format!("malformed character constant: {quoted}");
    let (unit, len) = unit(inner, b'\'').ok_or("invalid syntax")?;
    if &inner[len..] != b"'" {
        return Err(malformed());
    }
    match unit {
        Unit::Char(c) => Ok(c),
        Unit::Byte(byte) => Ok(char::from(byte)),
    }
}

/// The contents of a string in quotes or back quotes.
pub(crate) fn string(quoted: &str) -> Option<Text> {
    let bytes = quoted.as_bytes();
    let inner = bytes.get(1..bytes.len().checked_sub(1)?)?;
    if bytes[0] == b'`' {
        let plain: Vec<u8> = inner.iter().copied().filter(|&byte| byte != b'\r').collect();
        return Some(Text::from(plain));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (unit, len) = unit(rest, b'"')?;
        match unit {
            Unit::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Unit::Byte(byte) => out.push(byte),
        }
        rest = &rest[len..];
    }
    Some(Text::from(out))
}

enum Unit {
    Char(char),
    /// From `\x` or an octal escape.
    Byte(u8),
}

/// The first character or escape, and its length.
fn unit(text: &[u8], quote: u8) -> Option<(Unit, usize)> {
    let first = *text.first()?;
    if first == quote {
        return None;
    }
    if first != b'\\' {
        let (c, len) = decode(text);
        return Some((Unit::Char(c), len));
    }
    let code = |len: usize, base: u32| {
        let digits = std::str::from_utf8(text.get(2..2 + len)?).ok()?;
        u32::from_str_radix(digits, base).ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let c = match *text.get(1)? {
        b'a' => '\x07',
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'v' => '\x0b',
        b'\\' => '\\',
        byte if byte == quote => char::from(quote),
        b'x' => return Some((Unit::Byte(u8::try_from(code(2, 16)?).ok()?), 4)),
        b'u' => return Some((Unit::Char(char::from_u32(code(4, 16)?)?), 6)),
        b'U' => return Some((Unit::Char(char::from_u32(code(8, 16)?)?), 10)),
        b'0'..=b'7' => {
            let digits = std::str::from_utf8(text.get(1..4)?).ok()?;
            if !digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte)) {
                return None;
            }
            return Some((Unit::Byte(u8::try_from(u32::from_str_radix(digits, 8).ok()?).ok()?), 4));
        }
        _ => return None,
    };
    Some((Unit::Char(c), 2))
}
