//! Values printed by one verb of Go's `fmt`, with its flags; a verb that a type has not prints `%!verb(type=value)`.

use zeroize::Zeroizing;

use crate::error::Limit;
use crate::float;
use crate::limits::Meter;
use crate::quote::{self, Keep};
use crate::text::{Buf, Text, chars};
use crate::unicode::is_print;
use crate::value::{List, Map, Value};

/// A verb's letter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verb(pub char);

#[derive(Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "fmt's flags")]
pub(crate) struct Flags {
    pub width: Option<usize>,
    pub precision: Option<usize>,
    pub minus: bool,
    pub plus: bool,
    pub sharp: bool,
    pub space: bool,
    pub zero: bool,
    /// `%#v`
    pub sharp_v: bool,
    /// `%+v`
    pub plus_v: bool,
}

/// Prints values into a buffer.
pub(crate) struct Printer<'a> {
    pub out: &'a mut Buf,
    pub meter: &'a mut Meter,
    pub flags: Flags,
    depth: usize,
}

impl<'a> Printer<'a> {
    pub fn new(out: &'a mut Buf, meter: &'a mut Meter) -> Self {
        Self { out, meter, flags: Flags::default(), depth: 0 }
    }

    /// One argument.
    pub fn arg(&mut self, value: &Value, verb: Verb) -> Result<(), Limit> {
        match verb.0 {
            'T' => {
                // Of `nil` as of any other type.
                let name = self.truncated(value.type_name().as_bytes());
                self.padded(name);
                Ok(())
            }
            'w' => self.bad_verb(value, verb),
            _ => self.value(value, verb),
        }
    }

    fn value(&mut self, value: &Value, verb: Verb) -> Result<(), Limit> {
        self.meter.steps(1)?;
        match value {
            Value::Missing | Value::Nil => match verb.0 {
                _ if self.depth > 0 && self.flags.sharp_v => self.out.push(b"interface {}(nil)"),
                _ if self.depth > 0 => self.out.push(b"<nil>"),
                'v' => self.padded(b"<nil>"),
                verb => self.bad(verb, b"(<nil>)"),
            },
            Value::Bool(value) => match verb.0 {
                't' | 'v' => self.padded(if *value { b"true" } else { b"false" }),
                _ => return self.bad_verb(&Value::Bool(*value), verb),
            },
            Value::Int(number) | Value::Int64(number) => {
                return self.integer(value, number.unsigned_abs(), *number < 0, number.cast_unsigned(), verb);
            }
            Value::Uint8(number) => return self.unsigned(value, u64::from(*number), verb),
            Value::Uint64(number) => return self.unsigned(value, *number, verb),
            Value::Float(number) => return self.float(value, *number, verb),
            Value::Text(text) | Value::Number(text) => return self.text(value, text.expose(), verb),
            Value::List(list) => return self.nested(|printer| printer.list(list, value.type_name(), verb)),
            Value::Map(map) => return self.nested(|printer| printer.map(map, value.type_name(), verb)),
            Value::Time(time) => return self.stringer(value, &time.to_string(), verb),
            Value::Version(version) => return self.stringer(value, &version.to_string(), verb),
            Value::Certificate(certificate) => {
                self.out.push_byte(b'{');
                for (index, (name, field)) in certificate.fields().into_iter().enumerate() {
                    if index > 0 {
                        self.out.push_byte(b' ');
                    }
                    if self.flags.plus_v || self.flags.sharp_v {
                        self.out.push(name.as_bytes());
                        self.out.push_byte(b':');
                    }
                    self.text(&Value::Text(field.clone()), field.expose(), verb)?;
                }
                self.out.push_byte(b'}');
            }
        }
        Ok(())
    }

    fn nested(&mut self, print: impl FnOnce(&mut Self) -> Result<(), Limit>) -> Result<(), Limit> {
        self.depth += 1;
        if self.depth > self.meter.depth() {
            return Err(Limit::Depth);
        }
        print(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn list(&mut self, list: &List, type_name: &str, verb: Verb) -> Result<(), Limit> {
        let (open, between, close): (_, &[u8], _) = if self.flags.sharp_v {
            self.out.push(type_name.as_bytes());
            if list.nil {
                self.out.push(b"(nil)");
                return Ok(());
            }
            (b'{', b", ", b'}')
        } else {
            (b'[', b" ", b']')
        };
        self.out.push_byte(open);
        for (index, item) in list.items.iter().enumerate() {
            if index > 0 {
                self.out.push(between);
            }
            self.value(item, verb)?;
        }
        self.out.push_byte(close);
        Ok(())
    }

    fn map(&mut self, map: &Map, type_name: &str, verb: Verb) -> Result<(), Limit> {
        let (between, close): (&[u8], _) = if self.flags.sharp_v {
            self.out.push(type_name.as_bytes());
            if map.is_nil() {
                self.out.push(b"(nil)");
                return Ok(());
            }
            self.out.push_byte(b'{');
            (b", ", b'}')
        } else {
            self.out.push(b"map[");
            (b" ", b']')
        };
        for (index, (key, item)) in map.entries().iter().enumerate() {
            if index > 0 {
                self.out.push(between);
            }
            self.text(&Value::Nil, key.expose(), verb)?;
            self.out.push_byte(b':');
            self.value(item, verb)?;
        }
        self.out.push_byte(close);
        Ok(())
    }

    /// A value that knows its own text.
    fn stringer(&mut self, value: &Value, text: &str, verb: Verb) -> Result<(), Limit> {
        match verb.0 {
            'v' | 's' | 'x' | 'X' | 'q' => self.text(value, text.as_bytes(), verb),
            _ => self.bad_verb(value, verb),
        }
    }

    fn text(&mut self, value: &Value, text: &[u8], verb: Verb) -> Result<(), Limit> {
        self.meter.steps(1 + text.len() as u64 / 64)?;
        match verb.0 {
            'v' if self.flags.sharp_v => self.quoted(text),
            'v' | 's' => {
                let text = self.truncated(text);
                self.padded(text);
            }
            'x' => self.hex(text, b"0123456789abcdefx"),
            'X' => self.hex(text, b"0123456789ABCDEFX"),
            'q' => self.quoted(text),
            _ if value.is_nil() => return self.bad_verb(&Value::Text(Text::from(text)), verb),
            _ => return self.bad_verb(value, verb),
        }
        Ok(())
    }

    fn quoted(&mut self, text: &[u8]) {
        let text = self.truncated(text);
        let mut quoted = Buf::new(text.len() * 10 + 2);
        if self.flags.sharp && can_backquote(text) {
            quoted.push_byte(b'`');
            quoted.push(text);
            quoted.push_byte(b'`');
        } else {
            quote::string(text, if self.flags.plus { Keep::Ascii } else { Keep::Printable }, &mut quoted);
        }
        self.padded(quoted.bytes());
    }

    fn truncated<'b>(&self, text: &'b [u8]) -> &'b [u8] {
        let Some(precision) = self.flags.precision else { return text };
        chars(text).nth(precision).map_or(text, |(end, _, _)| &text[..end])
    }

    fn hex(&mut self, text: &[u8], digits: &[u8; 17]) {
        let text = &text[..self.flags.precision.unwrap_or(text.len()).min(text.len())];
        let mut width = 2 * text.len();
        if text.is_empty() {
            self.out.fill(self.pad_byte(), self.flags.width.unwrap_or(0));
            return;
        }
        let (space, sharp) = (self.flags.space, self.flags.sharp);
        if space {
            width = if sharp { width * 2 } else { width } + text.len() - 1;
        } else if sharp {
            width += 2;
        }
        let padding = self.flags.width.unwrap_or(0).saturating_sub(width);
        if !self.flags.minus {
            self.out.fill(self.pad_byte(), padding);
        }
        for (index, byte) in text.iter().enumerate() {
            if space && index > 0 {
                self.out.push_byte(b' ');
            }
            if sharp && (space || index == 0) {
                self.out.push(&[b'0', digits[16]]);
            }
            self.out.push(&[digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
        if self.flags.minus {
            self.out.fill(self.pad_byte(), padding);
        }
    }

    fn unsigned(&mut self, value: &Value, number: u64, verb: Verb) -> Result<(), Limit> {
        if verb.0 == 'v' && self.flags.sharp_v {
            self.flags.sharp = true;
            let printed = self.integer(value, number, false, number, Verb('x'));
            self.flags.sharp = false;
            return printed;
        }
        self.integer(value, number, false, number, verb)
    }

    /// `raw` is the number's bits, for the verbs that take it as a character.
    fn integer(&mut self, value: &Value, magnitude: u64, negative: bool, raw: u64, verb: Verb) -> Result<(), Limit> {
        let c = u32::try_from(raw).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
        let digits = Zeroizing::new(match verb.0 {
            'v' | 'd' => format!("{magnitude}"),
            'b' => format!("{magnitude:b}"),
            'o' | 'O' => format!("{magnitude:o}"),
            'x' => format!("{magnitude:x}"),
            'X' => format!("{magnitude:X}"),
            'c' => {
                self.padded(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            'q' => {
                let mut quoted = Buf::new(16);
                let keep = if self.flags.plus { Keep::Ascii } else { Keep::Printable };
                quote::character(c, keep, &mut quoted);
                self.padded(quoted.bytes());
                return Ok(());
            }
            'U' => {
                let precision = self.flags.precision.unwrap_or(4).max(4);
                let shown = if self.flags.sharp && u32::try_from(raw).is_ok_and(|raw| raw <= 0x10_ffff) && is_print(c) {
                    format!(" '{c}'")
                } else {
                    String::new()
                };
                self.without_zero(format!("U+{raw:0precision$X}{shown}").as_bytes());
                return Ok(());
            }
            _ => return self.bad_verb(value, verb),
        });
        let flags = self.flags;
        if flags.precision == Some(0) && magnitude == 0 {
            self.without_zero(b"");
            return Ok(());
        }
        let signed = negative || flags.plus || flags.space;
        let least = match (flags.precision, flags.width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if flags.zero && !flags.minus => width - usize::from(signed && width > 0),
            _ => 0,
        };
        let mut text = Zeroizing::new(String::new());
        text.push_str(if negative {
            "-"
        } else if flags.plus {
            "+"
        } else if flags.space {
            " "
        } else {
            ""
        });
        if verb.0 == 'O' {
            text.push_str("0o");
        }
        let zeros = least.saturating_sub(digits.len());
        if flags.sharp {
            match verb.0 {
                'b' => text.push_str("0b"),
                'o' | 'O' if zeros == 0 && !digits.starts_with('0') => text.push('0'),
                'x' => text.push_str("0x"),
                'X' => text.push_str("0X"),
                _ => {}
            }
        }
        if zeros > 0 {
            self.meter.memory(zeros)?;
        }
        text.extend(std::iter::repeat_n('0', zeros));
        text.push_str(&digits);
        self.without_zero(text.as_bytes());
        Ok(())
    }

    fn float(&mut self, value: &Value, number: f64, verb: Verb) -> Result<(), Limit> {
        let (format, default) = match verb.0 {
            'v' => ('g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => (verb.0, None),
            'f' | 'e' | 'E' => (verb.0, Some(6)),
            'F' => ('f', Some(6)),
            _ => return self.bad_verb(value, verb),
        };
        let precision = self.flags.precision.or(default);
        if let Some(precision) = precision {
            self.meter.memory(precision)?;
        }
        // Digits past those of the shortest form are computed one by one.
        let whole = if format == 'f' && number.abs() > 1e17 { 300 } else { 0 };
        let digits = precision.map_or(0, |precision| precision.min(2000) as u64 + whole);
        self.meter.steps(digits.saturating_sub(17))?;
        // Rust has no more digits than this, and none are left of any float.
        let text = float::format(number, format, precision.map(|precision| precision.min(2000)));
        let (sign, mut digits) = match text.as_bytes()[0] {
            b'-' => ('-', text[1..].to_owned()),
            b'+' => ('+', text[1..].to_owned()),
            _ => ('+', text),
        };
        if let Some(precision) = precision.filter(|&precision| precision > 2000 && number.is_finite())
            && matches!(format, 'f' | 'e' | 'E')
        {
            let end = digits.find(['e', 'E']).unwrap_or(digits.len());
            digits.insert_str(end, &"0".repeat(precision - 2000));
        }
        let shown_sign = match sign {
            '+' if self.flags.plus => "+",
            '+' if self.flags.space => " ",
            '+' => "",
            _ => "-",
        };
        if !number.is_finite() {
            // The sign of an infinity is always shown.
            let sign = if number.is_nan() || shown_sign == " " {
                shown_sign
            } else if sign == '-' {
                "-"
            } else {
                "+"
            };
            self.without_zero(format!("{sign}{digits}").as_bytes());
            return Ok(());
        }
        if self.flags.sharp && format != 'b' {
            digits = sharpened(&digits, format, precision);
        }
        let width = self.flags.width.unwrap_or(0);
        if !shown_sign.is_empty() && self.flags.zero && !self.flags.minus && width > digits.len() + 1 {
            self.out.push(shown_sign.as_bytes());
            self.out.fill(b'0', width - digits.len() - 1);
            self.out.push(digits.as_bytes());
            return Ok(());
        }
        self.padded(format!("{shown_sign}{digits}").as_bytes());
        Ok(())
    }

    /// `%!verb(type=value)`
    fn bad_verb(&mut self, value: &Value, verb: Verb) -> Result<(), Limit> {
        if value.is_nil() {
            self.bad(verb.0, b"(<nil>)");
            return Ok(());
        }
        self.bad(verb.0, b"(");
        self.out.push(value.type_name().as_bytes());
        self.out.push_byte(b'=');
        self.nested(|printer| printer.value(value, Verb('v')))?;
        self.out.push_byte(b')');
        Ok(())
    }

    pub fn bad(&mut self, verb: char, message: &[u8]) {
        self.out.push(b"%!");
        self.out.push_char(verb);
        self.out.push(message);
    }

    fn pad_byte(&self) -> u8 {
        if self.flags.zero && !self.flags.minus { b'0' } else { b' ' }
    }

    fn without_zero(&mut self, text: &[u8]) {
        let zero = std::mem::replace(&mut self.flags.zero, false);
        self.padded(text);
        self.flags.zero = zero;
    }

    fn padded(&mut self, text: &[u8]) {
        let width = self.flags.width.unwrap_or(0);
        let padding = if width == 0 { 0 } else { width.saturating_sub(chars(text).count()) };
        if !self.flags.minus {
            self.out.fill(self.pad_byte(), padding);
        }
        self.out.push(text);
        if self.flags.minus {
            self.out.fill(b' ', padding);
        }
    }
}

/// `%#g` and its like: with a point, and the zeros after it.
fn sharpened(digits: &str, format: char, precision: Option<usize>) -> String {
    let exponents: &[char] = if matches!(format, 'x' | 'X') { &['p', 'P'] } else { &['e', 'E', 'p', 'P'] };
    let (number, tail) = digits.split_at(digits.find(exponents).unwrap_or(digits.len()));
    let mut wanted = match format {
        'g' | 'G' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let significant = number.trim_start_matches(['0', '.']).chars().filter(|&c| c != '.').count();
    wanted = wanted.saturating_sub(significant);
    let mut out = number.to_owned();
    if !number.contains('.') {
        if number == "0" {
            wanted = wanted.saturating_sub(1);
        }
        out.push('.');
    }
    out.extend(std::iter::repeat_n('0', wanted));
    out.push_str(tail);
    out
}

/// Whether a string can stand in back quotes.
fn can_backquote(text: &[u8]) -> bool {
    chars(text).all(|(_, c, raw)| {
        let bad = c == char::REPLACEMENT_CHARACTER && raw.len() == 1;
        !bad && c != '\u{feff}' && c != '`' && c != '\x7f' && (c >= ' ' || c == '\t')
    })
}
