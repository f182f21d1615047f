//! Go's `fmt.Sprintf`: verbs, flags and widths, and what prints where they are wrong.

use crate::error::Limit;
use crate::limits::Meter;
use crate::printer::{Flags, Printer, Verb};
use crate::text::{Text, decode};
use crate::value::Value;

/// Larger widths, precisions and argument numbers are refused.
const LARGEST: i64 = 1_000_000;

/// Formats `values`.
pub(crate) fn format(format: &[u8], values: &[Value], meter: &mut Meter) -> Result<Text, Limit> {
    let mut out = meter.buf();
    let mut printer = Printer::new(&mut out, meter);
    let last_close = format.iter().rposition(|&byte| byte == b']');
    Directives { format, at: 0, values, next: 0, reordered: false, good: true, last_close }.run(&mut printer)?;
    meter.text(out)
}

/// The state of one call: the format and which value is next.
struct Directives<'a> {
    format: &'a [u8],
    at: usize,
    values: &'a [Value],
    next: usize,
    /// Whether a value was asked for by its number.
    reordered: bool,
    /// Whether the last such number was good.
    good: bool,
    /// Where the last `]` is: behind it none is searched for, which a format of open brackets would make the square of its length.
    last_close: Option<usize>,
}

impl Directives<'_> {
    fn run(&mut self, printer: &mut Printer<'_>) -> Result<(), Limit> {
        loop {
            let rest = &self.format[self.at..];
            let plain = rest.iter().position(|&byte| byte == b'%').unwrap_or(rest.len());
            printer.out.push(&rest[..plain]);
            self.at += plain;
            if self.at >= self.format.len() {
                break;
            }
            self.at += 1;
            printer.meter.steps(1)?;
            if !self.directive(printer)? {
                break;
            }
        }
        if !self.reordered && self.next < self.values.len() {
            self.extra(printer)?;
        }
        Ok(())
    }

    /// After a `%`; false at the end of the format.
    fn directive(&mut self, printer: &mut Printer<'_>) -> Result<bool, Limit> {
        printer.flags = Flags::default();
        self.good = true;
        while let Some(byte) = self.peek() {
            let flags = &mut printer.flags;
            match byte {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                _ => break,
            }
            self.at += 1;
        }
        let mut after_index = self.index();
        if self.peek() == Some(b'*') {
            self.at += 1;
            match self.star() {
                Some(width) => {
                    printer.flags.width = usize::try_from(width.unsigned_abs()).ok();
                    if width < 0 {
                        printer.flags.minus = true;
                        printer.flags.zero = false;
                    }
                }
                None => printer.out.push(b"%!(BADWIDTH)"),
            }
            after_index = false;
        } else {
            printer.flags.width = self.digits();
            if after_index && printer.flags.width.is_some() {
                self.good = false;
            }
        }
        if self.at + 1 < self.format.len() && self.peek() == Some(b'.') {
            self.at += 1;
            if after_index {
                self.good = false;
            }
            after_index = self.index();
            if self.peek() == Some(b'*') {
                self.at += 1;
                let precision = self.star().and_then(|precision| usize::try_from(precision).ok());
                if precision.is_none() {
                    printer.out.push(b"%!(BADPREC)");
                }
                printer.flags.precision = precision;
                after_index = false;
            } else {
                printer.flags.precision = Some(self.digits().unwrap_or(0));
            }
        }
        if !after_index {
            self.index();
        }
        if self.at >= self.format.len() {
            printer.out.push(b"%!(NOVERB)");
            return Ok(false);
        }
        let (verb, len) = decode(&self.format[self.at..]);
        self.at += len;
        if verb == '%' {
            printer.out.push_byte(b'%');
        } else if !self.good {
            printer.bad(verb, b"(BADINDEX)");
        } else if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            if verb == 'v' || verb == 'w' {
                let flags = &mut printer.flags;
                (flags.sharp_v, flags.sharp) = (flags.sharp, false);
                (flags.plus_v, flags.plus) = (flags.plus, false);
            }
            printer.arg(value, Verb(verb))?;
        } else {
            printer.bad(verb, b"(MISSING)");
        }
        Ok(true)
    }

    fn extra(&self, printer: &mut Printer<'_>) -> Result<(), Limit> {
        printer.flags = Flags::default();
        printer.out.push(b"%!(EXTRA ");
        for (index, value) in self.values[self.next..].iter().enumerate() {
            if index > 0 {
                printer.out.push(b", ");
            }
            if !value.is_nil() {
                printer.out.push(value.type_name().as_bytes());
                printer.out.push_byte(b'=');
            }
            printer.arg(value, Verb('v'))?;
        }
        printer.out.push_byte(b')');
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    /// A number; one that is too large takes the rest of the format with it.
    fn digits(&mut self) -> Option<usize> {
        let mut number = None;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            if number.unwrap_or(0) > LARGEST {
                self.at = self.format.len();
                return None;
            }
            number = Some(number.unwrap_or(0) * 10 + i64::from(digit - b'0'));
            self.at += 1;
        }
        number.and_then(|number| usize::try_from(number).ok())
    }

    /// A width or precision from the values.
    fn star(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        value.as_integer().filter(|number| (-LARGEST..=LARGEST).contains(number))
    }

    /// `[3]`: the number of the next value. Whether there was one.
    fn index(&mut self) -> bool {
        if self.peek() != Some(b'[') {
            return false;
        }
        self.reordered = true;
        let rest = &self.format[self.at..];
        let has_close = rest.len() >= 3 && self.last_close.is_some_and(|last| last > self.at);
        let close = || rest.iter().position(|&byte| byte == b']');
        let Some(close) = has_close.then(close).flatten() else {
            self.good = false;
            self.at += 1;
            return false;
        };
        let number = std::str::from_utf8(&rest[1..close]).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let number = number.and_then(|text| text.parse::<usize>().ok()).filter(|&number| number <= 1_000_000);
        self.at += close + 1;
        match number {
            Some(number) if number >= 1 && number <= self.values.len() => {
                self.next = number - 1;
                true
            }
            number => {
                self.good = false;
                number.is_some()
            }
        }
    }
}
