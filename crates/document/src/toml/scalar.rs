//! Single values of TOML: from the text, and into it.

use bulla_core::SecretBytes;
use toml_datetime::Datetime;
use toml_parser::decoder::{ScalarKind, StringBuilder};
use toml_parser::{ErrorSink, ParseError, Raw};
use zeroize::Zeroizing;

use crate::sink::Sink;
use crate::{ErrorKind, Scalar};

/// How a single value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Style {
    /// Not in quotes.
    Bare = 0,
    /// `"…"`
    Basic = 1,
    /// `'…'`
    Literal = 2,
    /// `"""…"""`
    Lines = 3,
    /// `'''…'''`
    LiteralLines = 4,
    /// A date or time that is given out as a string.
    Local = 5,
}

impl Style {
    pub(super) fn of(style: u8) -> Self {
        match style {
            1 => Self::Basic,
            2 => Self::Literal,
            3 => Self::Lines,
            4 => Self::LiteralLines,
            5 => Self::Local,
            _ => Self::Bare,
        }
    }
}

pub(super) enum Decoded<'t> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Built<'t>),
    /// RFC 3339, as Go prints it.
    Time(String),
}

pub(super) enum Error {
    Parse(ParseError),
    Range(&'static str),
}

/// Decodes a value.
pub(super) fn decode(raw: Raw<'_>) -> Result<(Style, Decoded<'_>), Error> {
    let mut built = Built::Source("");
    let mut error: Option<ParseError> = None;
    let mut builder = Builder { built: &mut built, room: raw.len() };
    let kind = raw.decode_scalar(&mut builder, &mut error);
    if let Some(error) = error {
        return Err(Error::Parse(error));
    }
    let text = match &built {
        Built::Source(text) => text,
        Built::Copied(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
    };
    let decoded = match kind {
        ScalarKind::Boolean(value) => Decoded::Bool(value),
        ScalarKind::Integer(radix) => match i64::from_str_radix(text, radix.value()) {
            Ok(value) => Decoded::Int(value),
            Err(_) => return Err(Error::Range("a whole number too large for 64 bits")),
        },
        ScalarKind::Float => match text.parse::<f64>() {
            Ok(value) if value.is_infinite() && !text.ends_with("inf") => {
                return Err(Error::Range("a number too large for 64 bits"));
            }
            Ok(value) => Decoded::Float(value),
            Err(_) => return Err(Error::Range("a number that cannot be read")),
        },
        ScalarKind::DateTime => {
            let Ok(time) = text.parse::<Datetime>() else {
                return Err(Error::Range("a date or time that does not exist"));
            };
            return Ok(match rfc3339(text, &time) {
                Some(text) => (Style::Bare, Decoded::Time(text)),
                None => (Style::Local, Decoded::Str(Built::Source(raw.as_str()))),
            });
        }
        ScalarKind::String => {
            let quotes = raw.as_bytes();
            let style = match (quotes[0], quotes.get(1) == Some(&quotes[0]) && quotes.len() >= 6) {
                (b'"', false) => Style::Basic,
                (b'"', true) => Style::Lines,
                (_, false) => Style::Literal,
                (_, true) => Style::LiteralLines,
            };
            return Ok((style, Decoded::Str(built)));
        }
    };
    Ok((Style::Bare, decoded))
}

/// Decodes one part of a key.
pub(super) fn decode_key<'t>(raw: Raw<'t>, error: &mut dyn ErrorSink) -> Built<'t> {
    let mut built = Built::Source("");
    raw.decode_key(&mut Builder { built: &mut built, room: raw.len() }, error);
    built
}

/// Decoded text.
pub(super) enum Built<'t> {
    /// A stretch of the source (the empty one is not of it, but has no bytes either).
    Source(&'t str),
    Copied(Zeroizing<Vec<u8>>),
}

/// Puts text together in a place that is large enough from the start.
struct Builder<'b, 't> {
    built: &'b mut Built<'t>,
    room: usize,
}

impl Builder<'_, '_> {
    fn copy(&mut self, append: &[u8]) {
        match self.built {
            Built::Copied(bytes) => bytes.extend_from_slice(append),
            Built::Source(text) => {
                let mut bytes = Zeroizing::new(Vec::with_capacity(self.room));
                bytes.extend_from_slice(text.as_bytes());
                bytes.extend_from_slice(append);
                *self.built = Built::Copied(bytes);
            }
        }
    }
}

impl<'t> StringBuilder<'t> for Builder<'_, 't> {
    fn clear(&mut self) {
        *self.built = Built::Source("");
    }

    fn push_str(&mut self, append: &'t str) -> bool {
        match self.built {
            Built::Source(text) if text.is_empty() => *text = append,
            _ => self.copy(append.as_bytes()),
        }
        true
    }

    fn push_char(&mut self, append: char) -> bool {
        self.copy(append.encode_utf8(&mut [0; 4]).as_bytes());
        true
    }
}

/// A date-time with an offset as Go's `time.RFC3339Nano` prints it; `None` if it has no offset, or says more than that form can.
fn rfc3339(text: &str, time: &Datetime) -> Option<String> {
    let (date, clock, offset) = (time.date?, time.time?, time.offset?);
    let second = clock.second.unwrap_or(0);
    let digits = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    if second > 59 || digits > 9 {
        return None;
    }
    let mut out =
        format!("{:04}-{:02}-{:02}T{:02}:{:02}:{second:02}", date.year, date.month, date.day, clock.hour, clock.minute);
    let fraction = format!("{:09}", clock.nanosecond.unwrap_or(0));
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    match offset {
        toml_datetime::Offset::Z | toml_datetime::Offset::Custom { minutes: 0 } => out.push('Z'),
        toml_datetime::Offset::Custom { minutes } => {
            let sign = if minutes < 0 { '-' } else { '+' };
            out.extend([format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)]);
        }
    }
    Some(out)
}

/// Appends a value: a string in its `style` if it can be, else in `"…"`.
pub(super) fn write(value: &Scalar<'_>, style: Style, out: &mut impl Sink) -> Result<(), ErrorKind> {
    match value {
        Scalar::Null => return Err(ErrorKind::Unrepresentable("TOML has no null".into())),
        Scalar::Bool(value) => out.put(if *value { b"true" } else { b"false" }),
        Scalar::Int(value) => out.put(value.to_string().as_bytes()),
        // Rust's form with a point or an exponent, and its `NaN`, are the only ones that differ from TOML's.
        Scalar::Float(value) if value.is_nan() => out.put(b"nan"),
        Scalar::Float(value) => out.put(format!("{value:?}").as_bytes()),
        Scalar::Time(text) => {
            let is_time = text.parse::<Datetime>().is_ok_and(|time| time.offset.is_some());
            if !is_time {
                return Err(ErrorKind::Unrepresentable("not a time stamp as TOML has them".into()));
            }
            out.put(text.as_bytes());
        }
        Scalar::Str(bytes) => {
            let text = std::str::from_utf8(bytes)
                .map_err(|_| ErrorKind::Unrepresentable("TOML has no form for bytes that are not UTF-8".into()))?;
            write_string(text, style, out);
        }
    }
    Ok(())
}

fn write_string(text: &str, style: Style, out: &mut impl Sink) {
    let is_control = |c: char| c.is_ascii_control() && c != '\t';
    let lines = |out: &mut _, quotes: &[u8]| {
        Sink::put(out, quotes);
        // A line end right behind the quotes is not part of the string. It is like the first in it, whatever the others of the
        // text are, which may be in values that are encrypted.
        if let Some((line, _)) = text.split_once('\n') {
            Sink::put(out, if line.ends_with('\r') { b"\r\n" } else { b"\n" });
        }
    };
    match style {
        Style::Literal if !text.contains(|c| is_control(c) || c == '\'') => {
            for part in ["'", text, "'"] {
                out.put(part.as_bytes());
            }
        }
        Style::LiteralLines
            if !text.lines().any(|line| line.contains(is_control))
                && !text.contains("'''")
                && !text.ends_with(['\'', '\r']) =>
        {
            lines(out, b"'''");
            out.put(text.as_bytes());
            out.put(b"'''");
        }
        Style::Lines | Style::LiteralLines => {
            lines(out, b"\"\"\"");
            write_escaped(text, Quotes::Three, out);
            out.put(b"\"\"\"");
        }
        Style::Bare | Style::Basic | Style::Literal | Style::Local => {
            out.put(b"\"");
            write_escaped(text, Quotes::One, out);
            out.put(b"\"");
        }
    }
}

/// The quotes around a string.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    One,
    /// Line ends stand between them as they are.
    Three,
}

/// Appends the inside of `"…"` or `"""…"""`.
fn write_escaped(text: &str, around: Quotes, out: &mut impl Sink) {
    let bytes = text.as_bytes();
    let mut written = 0;
    // How many quotes stand before this place as they are.
    let mut quotes = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let unicode;
        let with: &[u8] = match (byte, around) {
            (b'"', Quotes::Three) if quotes < 2 && at + 1 < bytes.len() => {
                quotes += 1;
                continue;
            }
            (b'\n', Quotes::Three) => {
                quotes = 0;
                continue;
            }
            (b'\r', Quotes::Three) if bytes.get(at + 1) == Some(&b'\n') => {
                quotes = 0;
                continue;
            }
            (b'"', _) => b"\\\"",
            (b'\\', _) => b"\\\\",
            (0x08, _) => b"\\b",
            (b'\n', _) => b"\\n",
            (0x0c, _) => b"\\f",
            (b'\r', _) => b"\\r",
            (0..0x20 | 0x7f, _) if byte != b'\t' => {
                unicode = format!("\\u{byte:04X}");
                unicode.as_bytes()
            }
            _ => {
                quotes = 0;
                continue;
            }
        };
        quotes = 0;
        out.put(&bytes[written..at]);
        out.put(with);
        written = at + 1;
    }
    out.put(&bytes[written..]);
}

/// Appends a key: bare where it can be.
pub(super) fn write_key(key: &str, out: &mut SecretBytes) {
    if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        out.put(key.as_bytes());
    } else {
        write_string(key, Style::Basic, out);
    }
}
