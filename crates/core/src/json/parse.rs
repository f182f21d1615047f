//! Text to values.

use super::{MAX_DEPTH, Object, Value};

/// Why a text is no JSON. Says where, and nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Error {
    what: &'static str,
    at: usize,
    limit: bool,
}

impl Error {
    const fn new(what: &'static str, at: usize) -> Self {
        Self { what, at, limit: false }
    }

    /// Whether it may be JSON, and is more of it than a request may have.
    pub const fn is_limit(&self) -> bool {
        self.limit
    }
}

/// How much of anything a text may have. What is read takes many times the memory of its text: a list of zeros, two bytes each, thirty times.
#[derive(Clone, Copy)]
struct Limits {
    /// Levels below the outermost value.
    depth: usize,
    /// Entries of a list or an object.
    entries: usize,
    /// Values in all.
    values: usize,
    /// Bytes of a string.
    string: usize,
}

const OF_REQUESTS: Limits =
    Limits { depth: MAX_DEPTH, entries: super::MAX_ENTRIES, values: super::MAX_VALUES, string: super::MAX_STRING };
/// For whatever was made of a request: its fields in an answer, that in a wrapped one.
const OF_OTHERS: Limits = Limits { depth: MAX_DEPTH + 32, entries: usize::MAX, values: usize::MAX, string: usize::MAX };

/// What becomes of two entries of an object with one key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Duplicates {
    /// The later counts, as the peer has it.
    LastWins,
    /// They are an error.
    Refused,
}

/// Reads one value; space around it is fine.
///
/// # Errors
/// [`Error`] for anything that is not exactly one JSON value (RFC 8259), or nested much deeper than [`MAX_DEPTH`].
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    parse_with(text, OF_OTHERS, Duplicates::LastWins)
}

fn parse_with(text: &[u8], limits: Limits, duplicates: Duplicates) -> Result<Value, Error> {
    let mut parser = Parser { text, at: 0, values: 0, limits, duplicates };
    parser.space();
    let value = parser.value(0)?;
    parser.space();
    if parser.at == text.len() { Ok(value) } else { Err(parser.error("text after the value")) }
}

fn object_of(value: Value) -> Result<Object, Error> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(Error::new("not an object", 0)),
    }
}

/// Reads one object that a client sent: nested no deeper than [`MAX_DEPTH`], with at most [`MAX_ENTRIES`](super::MAX_ENTRIES) entries in each list and object,
/// [`MAX_VALUES`](super::MAX_VALUES) values, and strings of [`MAX_STRING`](super::MAX_STRING) bytes.
///
/// # Errors
/// [`Error`], also for any other kind of value; one that [is a limit](Error::is_limit) for more than that.
pub fn parse_request(text: &[u8]) -> Result<Object, Error> {
    object_of(parse_with(text, OF_REQUESTS, Duplicates::LastWins)?)
}

/// Reads one object that people write to be heeded: of two entries with one key nobody knows which was meant.
///
/// # Errors
/// [`Error`], also for any other kind of value, and for a key that is there twice.
pub fn parse_strict(text: &[u8]) -> Result<Object, Error> {
    object_of(parse_with(text, OF_REQUESTS, Duplicates::Refused)?)
}

/// Reads one object.
///
/// # Errors
/// [`Error`], also for any other kind of value.
pub fn parse_object(text: &[u8]) -> Result<Object, Error> {
    object_of(parse(text)?)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    /// How many there were.
    values: usize,
    limits: Limits,
    duplicates: Duplicates,
}

impl Parser<'_> {
    fn error(&self, what: &'static str) -> Error {
        Error::new(what, self.at)
    }

    fn limit(&self, what: &'static str) -> Error {
        Error { limit: true, ..self.error(what) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        if depth > self.limits.depth {
            return Err(self.error("nested too deeply"));
        }
        self.values += 1;
        if self.values > self.limits.values {
            return Err(self.limit("too many values"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.error("invalid character looking for beginning of value")),
            None => Err(self.error("unexpected end of JSON input")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Error> {
        if self.text[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.error("invalid literal"))
        }
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.error("a digit is missing in a number")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Value, Error> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.error("a number begins with 0"));
        }
        let digits = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        Ok(Value::Number(digits.into()))
    }

    fn array(&mut self, depth: usize) -> Result<Value, Error> {
        self.at += 1;
        let mut values = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Value::Array(values));
        }
        loop {
            self.space();
            if values.len() == self.limits.entries {
                return Err(self.limit("too many entries in a list"));
            }
            values.push(self.value(depth + 1)?);
            self.space();
            if self.take(b']') {
                return Ok(Value::Array(values));
            }
            if !self.take(b',') {
                return Err(self.error("expected a comma or the end of a list"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Error> {
        self.at += 1;
        let mut object = Object::new();
        self.space();
        if self.take(b'}') {
            return Ok(Value::Object(object));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a key"));
            }
            let key = self.string()?;
            self.space();
            if !self.take(b':') {
                return Err(self.error("expected a colon"));
            }
            self.space();
            let value = self.value(depth + 1)?;
            if object.insert(key, value).is_some() && self.duplicates == Duplicates::Refused {
                return Err(self.error("an object has a key twice"));
            }
            if object.len() > self.limits.entries {
                return Err(self.limit("too many entries in an object"));
            }
            self.space();
            if self.take(b'}') {
                return Ok(Value::Object(object));
            }
            if !self.take(b',') {
                return Err(self.error("expected a comma or the end of an object"));
            }
        }
    }

    fn string(&mut self) -> Result<String, Error> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while let Some(byte) = self.peek() {
                if byte == b'"' || byte == b'\\' || byte < 0x20 {
                    break;
                }
                self.at += 1;
            }
            let part = std::str::from_utf8(&self.text[start..self.at]);
            out.push_str(part.map_err(|_| Error::new("a string is not UTF-8", start))?);
            if out.len() > self.limits.string {
                return Err(self.limit("a string is too long"));
            }
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return Err(self.error("a control character in a string")),
                None => return Err(self.error("unexpected end of JSON input")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let byte = self.peek().ok_or_else(|| self.error("unexpected end of JSON input"))?;
        self.at += 1;
        Ok(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.error("an unknown escape in a string")),
        })
    }

    /// Half of a surrogate pair becomes U+FFFD, as the peer has it.
    fn unicode(&mut self) -> Result<char, Error> {
        let first = self.hex()?;
        if !(0xd800..0xdc00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let back = self.at;
        if self.take(b'\\') && self.take(b'u') {
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let point = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        self.at = back;
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            value = value * 16 + digit.ok_or_else(|| self.error("four hex digits are needed after \\u"))?;
            self.at += 1;
        }
        Ok(value)
    }
}
