//! Which type a scalar has: yaml.v3's mix of YAML 1.1 and 1.2.
//!
//! Plain `0x1F`, `0o17`, `017`, `0b11` and `1_000` are whole numbers, `yes` and `on` are strings, `12:30:45` is a string,
//! `2001-01-01` is a time stamp at midnight UTC, `08` is the float 8 and `1e400` is a string.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::scan::ScalarStyle;
use super::tag::Tag;
use super::time;

/// A scalar's type, and its value unless that is the text itself.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Resolved {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// The text as it is.
    Str,
    /// The bytes that a `!!binary` text encodes.
    Bytes(Vec<u8>),
    /// In the form of RFC 3339, with what nanoseconds there are.
    Time(String),
    /// `<<`, which is the string of that name, but not as a key.
    Merge,
    /// A whole number that fits 64 bits without a sign only. sops has no type for it.
    Unsigned,
}

/// Finds the type of a scalar with a tag or without.
///
/// # Errors
/// What the tag asks for and the text is not.
pub(super) fn resolve(tag: Option<Tag>, style: ScalarStyle, text: &[u8]) -> Result<Resolved, &'static str> {
    let tag = match tag {
        None | Some(Tag::None) if style != ScalarStyle::Plain => return Ok(Resolved::Str),
        None | Some(Tag::None) => return Ok(plain(text)),
        Some(tag) => tag,
    };
    if tag == Tag::Str || tag == Tag::Other {
        return Ok(Resolved::Str);
    }
    if tag == Tag::Merge {
        return Ok(if text == b"<<" { Resolved::Merge } else { Resolved::Str });
    }
    if tag == Tag::Binary {
        return base64(text).map(Resolved::Bytes).ok_or("a !!binary value must be base64");
    }
    match (tag, untagged(text, tag == Tag::Timestamp)) {
        (Tag::Null, Resolved::Null) => Ok(Resolved::Null),
        (Tag::Int, Resolved::Unsigned) => Ok(Resolved::Unsigned),
        (Tag::Bool, value @ Resolved::Bool(_))
        | (Tag::Int, value @ Resolved::Int(_))
        | (Tag::Float, value @ Resolved::Float(_))
        | (Tag::Timestamp, value @ Resolved::Time(_)) => Ok(value),
        #[allow(clippy::cast_precision_loss, reason = "as in Go: the nearest float")]
        (Tag::Float, Resolved::Int(value)) => Ok(Resolved::Float(value as f64)),
        (Tag::Null, _) => Err("a !!null value must be null"),
        (Tag::Bool, _) => Err("a !!bool value must be true or false"),
        (Tag::Int, _) => Err("an !!int value must be a whole number"),
        (Tag::Float, _) => Err("a !!float value must be a number"),
        _ => Err("a !!timestamp value must be a time stamp"),
    }
}

/// Whether a plain scalar of this text is a string, and one that YAML 1.1's other readers take as a string, too (`yes`,
/// `12:30:45` are none).
pub(super) fn is_safe_string(text: &[u8]) -> bool {
    match text.first() {
        // No type but a string starts otherwise; most values end the question here.
        Some(b'+' | b'-' | b'0'..=b'9' | b'.' | b'~' | b'<' | b'=') | None => {
            plain(text) == Resolved::Str && !is_base_60(text) && text != b"="
        }
        Some(b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O') => {
            !is_old_bool(text) && plain(text) == Resolved::Str
        }
        Some(_) => true,
    }
}

fn plain(text: &[u8]) -> Resolved {
    if text == b"<<" { Resolved::Merge } else { untagged(text, true) }
}

fn untagged(text: &[u8], timestamps: bool) -> Resolved {
    let Some(&first) = text.first() else { return Resolved::Null };
    match first {
        b'+' | b'-' | b'0'..=b'9' | b'.' => {}
        b't' | b'T' | b'f' | b'F' | b'n' | b'N' | b'~' => return word(text),
        _ => return Resolved::Str,
    }
    let Ok(text) = std::str::from_utf8(text) else { return Resolved::Str };
    if let Some(value) = special_float(text) {
        return Resolved::Float(value);
    }
    if first == b'.' {
        return dotted_float(text).map_or(Resolved::Str, Resolved::Float);
    }
    if timestamps && let Some(time) = time::parse(text) {
        return Resolved::Time(time);
    }
    number(&text.replace('_', ""))
}

fn word(text: &[u8]) -> Resolved {
    match text {
        b"true" | b"True" | b"TRUE" => Resolved::Bool(true),
        b"false" | b"False" | b"FALSE" => Resolved::Bool(false),
        b"~" | b"null" | b"Null" | b"NULL" => Resolved::Null,
        _ => Resolved::Str,
    }
}

fn special_float(text: &str) -> Option<f64> {
    Some(match text {
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => f64::INFINITY,
        "-.inf" | "-.Inf" | "-.INF" => f64::NEG_INFINITY,
        _ => return None,
    })
}

/// A number of which the underscores are gone.
fn number(text: &str) -> Resolved {
    if let Some(value) = go_integer(text) {
        return value;
    }
    if is_decimal_float(text) {
        return finite(text).map_or(Resolved::Str, Resolved::Float);
    }
    // Go's parser, asked for these bases, takes a sign behind the prefix, but no second one.
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (digits, radix) = match (rest.strip_prefix("0b"), rest.strip_prefix("0o")) {
        (Some(digits), _) => (digits, 2),
        (_, Some(digits)) => (digits, 8),
        _ => return Resolved::Str,
    };
    let parsed = match digits.as_bytes().first() {
        Some(b'-') if !negative => radix_digits(true, &digits[1..], radix),
        Some(b'+') if !negative => radix_digits(false, &digits[1..], radix),
        _ => return Resolved::Str,
    };
    parsed.filter(|value| *value != Resolved::Unsigned).unwrap_or(Resolved::Str)
}

/// Go's integers of base 0: with a prefix, or octal behind a `0`. `None` if it is no integer, or none of 64 bits.
fn go_integer(text: &str) -> Option<Resolved> {
    let (negative, signed, digits) = match text.as_bytes().first()? {
        b'-' => (true, true, &text[1..]),
        b'+' => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let lower = |at: usize| digits.as_bytes().get(at).map(u8::to_ascii_lowercase);
    let (radix, digits) = match (digits.as_bytes().first()?, lower(1)) {
        (b'0', Some(b'b')) if digits.len() >= 3 => (2, &digits[2..]),
        (b'0', Some(b'o')) if digits.len() >= 3 => (8, &digits[2..]),
        (b'0', Some(b'x')) if digits.len() >= 3 => (16, &digits[2..]),
        (b'0', None) => return Some(Resolved::Int(0)),
        (b'0', _) => (8, &digits[1..]),
        _ => (10, digits),
    };
    radix_digits(negative, digits, radix).filter(|value| *value != Resolved::Unsigned || !signed)
}

/// `None` if these are no digits, or too many.
fn radix_digits(negative: bool, digits: &str, radix: u32) -> Option<Resolved> {
    if digits.is_empty() || !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    match i64::try_from(if negative { -value } else { value }) {
        Ok(value) => Some(Resolved::Int(value)),
        Err(_) if negative => None,
        Err(_) => Some(Resolved::Unsigned),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_decimal_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(text);
    let mut rest = &text[whole..];
    if let Some(after) = rest.strip_prefix('.') {
        let fraction = digits(after);
        if whole == 0 && fraction == 0 {
            return false;
        }
        rest = &after[fraction..];
    } else if whole == 0 {
        return false;
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exponent) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
    }
}

/// A float that starts with its point, which Go reads with underscores between digits.
fn dotted_float(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    for (place, _) in bytes.iter().enumerate().filter(|&(_, &byte)| byte == b'_') {
        let digit = |place: usize| bytes.get(place).is_some_and(u8::is_ascii_digit);
        if !digit(place.wrapping_sub(1)) || !digit(place + 1) {
            return None;
        }
    }
    let plain = text.replace('_', "");
    if is_decimal_float(&plain) { finite(&plain) } else { None }
}

/// Go has no number for what is too large.
fn finite(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

/// `[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?`: YAML 1.1's numbers of base 60.
fn is_base_60(text: &[u8]) -> bool {
    if !text.contains(&b':') {
        return false;
    }
    let text = text.strip_prefix(b"+").or_else(|| text.strip_prefix(b"-")).unwrap_or(text);
    let mut parts = text.split(|&byte| byte == b':');
    let first = parts.next().is_some_and(|part| {
        part.first().is_some_and(u8::is_ascii_digit) && part.iter().all(|byte| byte.is_ascii_digit() || *byte == b'_')
    });
    let mut parts = parts.peekable();
    let mut rest = true;
    while let Some(mut part) = parts.next() {
        if parts.peek().is_none()
            && let Some(point) = part.iter().position(|&byte| byte == b'.')
        {
            rest &= part[point + 1..].iter().all(|byte| byte.is_ascii_digit() || *byte == b'_');
            part = &part[..point];
        }
        rest &= matches!(part, [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    }
    first && rest
}

/// What YAML 1.1 takes as a boolean and yaml.v3 does not.
fn is_old_bool(text: &[u8]) -> bool {
    matches!(
        text,
        b"y" | b"Y"
            | b"yes"
            | b"Yes"
            | b"YES"
            | b"on"
            | b"On"
            | b"ON"
            | b"n"
            | b"N"
            | b"no"
            | b"No"
            | b"NO"
            | b"off"
            | b"Off"
            | b"OFF"
    )
}

/// Go's standard base64: padded, line breaks anywhere, what bits are over ignored.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    const ENGINE: GeneralPurpose =
        GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    ENGINE.decode(digits).ok()
}
