//! JSON as Go's `encoding/json` reads and writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::error::{Failure, Limit};
use crate::float;
use crate::limits::Meter;
use crate::literal::parse_float;
use crate::text::{self, Buf, Text, chars};
use crate::value::{Elem, Map, Value};

/// How JSON is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `<`, `>` and `&` escaped.
    Compact,
    /// In lines, indented by two spaces.
    Pretty,
    /// Nothing escaped for HTML.
    Raw,
    /// In lines, nothing escaped for HTML.
    RawPretty,
}

impl Style {
    fn is_in_lines(self) -> bool {
        matches!(self, Self::Pretty | Self::RawPretty)
    }

    fn is_raw(self) -> bool {
        matches!(self, Self::Raw | Self::RawPretty)
    }
}

/// Writes a value.
///
/// # Errors
/// An infinity or no number, which JSON has not; a limit.
pub(crate) fn encode(value: &Value, style: Style, meter: &mut Meter) -> Result<Text, Failure> {
    let mut out = meter.buf();
    Encoder { out: &mut out, style, meter, depth: 0 }.value(value)?;
    Ok(meter.text(out)?)
}

struct Encoder<'a> {
    out: &'a mut Buf,
    style: Style,
    meter: &'a mut Meter,
    depth: usize,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value) -> Result<(), Failure> {
        self.meter.steps(1)?;
        match value {
            Value::Missing | Value::Nil => self.out.push(b"null"),
            Value::Bool(value) => self.out.push(if *value { b"true" } else { b"false" }),
            Value::Int(number) | Value::Int64(number) => self.display(number),
            Value::Uint8(number) => self.display(number),
            Value::Uint64(number) => self.display(number),
            Value::Float(number) => self.float(*number)?,
            Value::Text(text) => self.string(text.expose())?,
            Value::Number(digits) => self.out.push(digits.expose()),
            Value::List(list) if list.nil => self.out.push(b"null"),
            Value::List(list) => {
                self.nest(b'[')?;
                for (index, item) in list.items.iter().enumerate() {
                    self.between(index);
                    self.value(item)?;
                }
                self.close(b']', list.items.is_empty());
            }
            Value::Map(map) if map.is_nil() => self.out.push(b"null"),
            Value::Map(map) => {
                self.nest(b'{')?;
                for (index, (key, item)) in map.entries().iter().enumerate() {
                    self.between(index);
                    self.string(key.expose())?;
                    self.out.push(if self.style.is_in_lines() { b": " } else { b":" });
                    self.value(item)?;
                }
                self.close(b'}', map.is_empty());
            }
            Value::Time(time) => self.string(time.rfc3339().as_bytes())?,
            Value::Version(version) => self.string(version.to_string().as_bytes())?,
            Value::Certificate(certificate) => {
                self.nest(b'{')?;
                for (index, (name, field)) in certificate.fields().into_iter().enumerate() {
                    self.between(index);
                    self.string(name.as_bytes())?;
                    self.out.push(if self.style.is_in_lines() { b": " } else { b":" });
                    self.string(field.expose())?;
                }
                self.close(b'}', false);
            }
        }
        Ok(())
    }

    fn nest(&mut self, open: u8) -> Result<(), Limit> {
        self.out.push_byte(open);
        self.depth += 1;
        if self.depth > self.meter.depth() { Err(Limit::Depth) } else { Ok(()) }
    }

    fn between(&mut self, index: usize) {
        if index > 0 {
            self.out.push_byte(b',');
        }
        self.new_line();
    }

    fn close(&mut self, close: u8, empty: bool) {
        self.depth -= 1;
        if !empty {
            self.new_line();
        }
        self.out.push_byte(close);
    }

    fn new_line(&mut self) {
        if self.style.is_in_lines() {
            self.out.push_byte(b'\n');
            self.out.fill(b' ', 2 * self.depth);
        }
    }

    fn float(&mut self, number: f64) -> Result<(), Failure> {
        if !number.is_finite() {
            return Err("json: unsupported value: not a finite number".into());
        }
        let magnitude = number.abs();
        if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
            let text = float::format(number, 'e', None);
            // e-09 is e-9.
            match text.split_once("e-0") {
                Some((mantissa, digit)) => self.out.push(format!("{mantissa}e-{digit}").as_bytes()),
                None => self.out.push(text.as_bytes()),
            }
        } else {
            self.out.push(float::format(number, 'f', None).as_bytes());
        }
        Ok(())
    }

    fn display(&mut self, shown: impl std::fmt::Display) {
        let _ = write!(self.out, "{shown}");
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), Limit> {
        // A list may have one string a thousand times, far more than there is room for.
        self.meter.steps(bytes.len() as u64 / 16)?;
        if self.out.is_full() {
            return Err(Limit::Memory);
        }
        self.out.push_byte(b'"');
        for (_, c, raw) in chars(bytes) {
            match c {
                '"' => self.out.push(b"\\\""),
                '\\' => self.out.push(b"\\\\"),
                '\x08' => self.out.push(b"\\b"),
                '\x0c' => self.out.push(b"\\f"),
                '\n' => self.out.push(b"\\n"),
                '\r' => self.out.push(b"\\r"),
                '\t' => self.out.push(b"\\t"),
                '<' | '>' | '&' if self.style.is_raw() => self.out.push(raw),
                '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    self.display(format_args!("\\u{:04x}", u32::from(c)));
                }
                char::REPLACEMENT_CHARACTER if raw.len() == 1 => self.out.push(b"\\ufffd"),
                _ => self.out.push(raw),
            }
        }
        self.out.push_byte(b'"');
        Ok(())
    }
}

/// Reads a value: numbers are floats, lists and maps are of `interface {}`.
///
/// # Errors
/// A fault in the text, with its place; a limit.
pub(crate) fn decode_value(text: &[u8], meter: &mut Meter) -> Result<Value, Failure> {
    decode(text, Numbers::Floats, meter)
}

/// The same with numbers as they are written.
///
/// # Errors
/// As [`decode_value`].
pub(crate) fn decode_exact(text: &[u8], meter: &mut Meter) -> Result<Value, Failure> {
    decode(text, Numbers::Digits, meter)
}

/// What numbers become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    Floats,
    Digits,
}

fn decode(text: &[u8], numbers: Numbers, meter: &mut Meter) -> Result<Value, Failure> {
    meter.steps(text.len() as u64 / 8)?;
    let mut decoder = Decoder { text, at: 0, numbers, meter, depth: 0 };
    let value = decoder.value()?;
    decoder.space();
    if decoder.at < text.len() {
        return Err(decoder.fault());
    }
    Ok(value)
}

struct Decoder<'a> {
    text: &'a [u8],
    at: usize,
    numbers: Numbers,
    meter: &'a mut Meter,
    depth: usize,
}

impl Decoder<'_> {
    fn value(&mut self) -> Result<Value, Failure> {
        self.meter.items(1)?;
        self.space();
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Value::Text(self.string()?)),
            Some(b't') => self.word(b"true", Value::Bool(true)),
            Some(b'f') => self.word(b"false", Value::Bool(false)),
            Some(b'n') => self.word(b"null", Value::Nil),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.fault()),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, Failure>) -> Result<Value, Failure> {
        self.at += 1;
        self.depth += 1;
        if self.depth > self.meter.depth() {
            return Err(Limit::Depth.into());
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, Failure> {
        self.meter.entries(0)?;
        let mut entries = BTreeMap::new();
        self.space();
        if self.take(b'}') {
            return Ok(Value::Map(Map::new(Elem::Any, entries)));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.fault());
            }
            let key = self.string()?;
            self.space();
            self.expect(b':')?;
            let value = self.value()?;
            entries.insert(key, value);
            self.space();
            if self.take(b'}') {
                return Ok(Value::Map(Map::new(Elem::Any, entries)));
            }
            self.expect(b',')?;
        }
    }

    fn array(&mut self) -> Result<Value, Failure> {
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Value::list(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            if self.take(b']') {
                return Ok(Value::list(items));
            }
            self.expect(b',')?;
        }
    }

    fn string(&mut self) -> Result<Text, Failure> {
        self.at += 1;
        let mut out = self.meter.buf();
        loop {
            let (c, len) = text::decode(&self.text[self.at..]);
            if len == 0 || c < ' ' {
                return Err(self.fault());
            }
            self.at += len;
            match c {
                '"' => return Ok(self.meter.text(out)?),
                '\\' => {
                    let c = self.escape()?;
                    out.push_char(c);
                }
                // Also where the bytes are no character.
                c => out.push_char(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Failure> {
        let byte = self.peek().ok_or_else(|| self.fault())?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex()?;
                if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with(b"\\u") {
                    let back = self.at;
                    self.at += 2;
                    let second = self.hex()?;
                    if (0xdc00..0xe000).contains(&second) {
                        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = back;
                }
                char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(self.fault()),
        })
    }

    fn hex(&mut self) -> Result<u32, Failure> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(|| self.fault())?;
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value, Failure> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            if !self.take(b'+') {
                self.take(b'-');
            }
            self.digits()?;
        }
        if self.numbers == Numbers::Digits {
            self.meter.memory(self.at - start)?;
            return Ok(Value::Number(Text::from(&self.text[start..self.at])));
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        parse_float(text).map(Value::Float).ok_or_else(|| "json: a number is too large".into())
    }

    fn digits(&mut self) -> Result<(), Failure> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.fault()) } else { Ok(()) }
    }

    fn word(&mut self, word: &[u8], value: Value) -> Result<Value, Failure> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.fault());
        }
        self.at += word.len();
        Ok(value)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Failure> {
        if self.take(byte) { Ok(()) } else { Err(self.fault()) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fault(&self) -> Failure {
        if self.at >= self.text.len() {
            return "unexpected end of JSON input".into();
        }
        format!("the text is not JSON at byte {}", self.at).into()
    }
}
