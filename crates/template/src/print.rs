//! Values as Go's `fmt` prints them by default: `map[a:1]`, `[a b]`, `<nil>`.

use crate::error::Limit;
use crate::limits::Meter;
use crate::printer::{Printer, Verb};
use crate::text::{Buf, Text};
use crate::value::Value;

/// What an action prints: a missing value is `<no value>`.
pub(crate) fn value(value: &Value, out: &mut Buf, meter: &mut Meter) -> Result<(), Limit> {
    match value {
        Value::Missing | Value::Nil => {
            out.push(b"<no value>");
            Ok(())
        }
        Value::Text(text) | Value::Number(text) => {
            meter.steps(text.len() as u64 / 64)?;
            out.push(text.expose());
            Ok(())
        }
        value => Printer::new(out, meter).arg(value, Verb('v')),
    }
}

/// Go's `fmt.Sprint(value)`.
pub(crate) fn text(value: &Value, meter: &mut Meter) -> Result<Text, Limit> {
    if let Value::Text(text) = value {
        return Ok(text.clone());
    }
    let mut out = meter.buf();
    Printer::new(&mut out, meter).arg(value, Verb('v'))?;
    meter.text(out)
}

/// Go's `fmt.Sprint(values…)`: spaces between those that are no strings.
pub(crate) fn all(values: &[Value], meter: &mut Meter) -> Result<Text, Limit> {
    let mut out = meter.buf();
    let mut after_text = true;
    for (index, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if index > 0 && !is_text && !after_text {
            out.push_byte(b' ');
        }
        Printer::new(&mut out, meter).arg(value, Verb('v'))?;
        after_text = is_text;
    }
    meter.text(out)
}

/// Go's `fmt.Sprintln(values…)`.
pub(crate) fn line(values: &[Value], meter: &mut Meter) -> Result<Text, Limit> {
    let mut out = meter.buf();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push_byte(b' ');
        }
        Printer::new(&mut out, meter).arg(value, Verb('v'))?;
    }
    out.push_byte(b'\n');
    meter.text(out)
}
