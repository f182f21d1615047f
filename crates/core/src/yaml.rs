//! YAML as Go's library writes it (`gopkg.in/yaml.v2`, and what is made of it): sorted keys, lists at their key's column, quotes where a reader would
//! take a text for something else. Vault's command line prints it, and templates can.

use crate::json::Value;

/// Where a long line is broken.
const WIDTH: usize = 80;

/// Appends a value, with a newline at its end.
pub fn write(value: &Value, out: &mut String) {
    block(value, 0, out);
}

/// A value on a line of its own.
fn block(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Array(values) if values.is_empty() => out.push_str("[]\n"),
        Value::Array(values) => list(values, depth, out),
        Value::Object(object) if object.is_empty() => out.push_str("{}\n"),
        Value::Object(object) => {
            for (number, (key, value)) in object.iter().enumerate() {
                entry(key, value, number, depth, out);
            }
        }
        scalar => {
            self::scalar(scalar, depth, out);
            out.push('\n');
        }
    }
}

fn list(values: &[Value], depth: usize, out: &mut String) {
    for (number, value) in values.iter().enumerate() {
        if number > 0 {
            indent(depth, out);
        }
        out.push_str("- ");
        block(value, depth + 1, out);
    }
}

/// `key: value`. The first entry's place in the line is its caller's.
fn entry(key: &str, value: &Value, number: usize, depth: usize, out: &mut String) {
    if number > 0 {
        indent(depth, out);
    }
    string(key, depth, out);
    out.push(':');
    match value {
        Value::Array(values) if !values.is_empty() => {
            out.push('\n');
            indent(depth, out);
            list(values, depth, out);
        }
        Value::Object(object) if !object.is_empty() => {
            out.push('\n');
            indent(depth + 1, out);
            block(value, depth + 1, out);
        }
        _ => {
            out.push(' ');
            block(value, depth + 1, out);
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(digits) => out.push_str(digits),
        Value::String(text) => string(text, depth, out),
        _ => out.push_str("null"),
    }
}

fn string(text: &str, depth: usize, out: &mut String) {
    let is_odd =
        |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}');
    if text.chars().any(is_odd) || means_something_else(text) {
        double(text, out);
    } else if text.contains('\n') {
        literal(text, depth, out);
    } else if is_plain(text) {
        folded(text, depth, out);
    } else {
        out.push('\'');
        folded(&text.replace('\'', "''"), depth, out);
        out.push('\'');
    }
}

/// Text that a reader would take for null, a truth, a number or a date.
fn means_something_else(text: &str) -> bool {
    const WORDS: &[&str] =
        &["", "~", "null", "true", "false", "y", "n", "yes", "no", "on", "off", ".nan", ".inf", "-.inf", "+.inf", "<<"];
    let lower = text.to_ascii_lowercase();
    if WORDS.contains(&lower.as_str()) {
        return true;
    }
    let number = lower.trim_start_matches(['-', '+']);
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let digits = number.replace('_', "");
    let based = |prefix: &str, radix: u32| {
        digits.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    // With a sign, a dot or an exponent, or in base 60.
    let is_number = digits.parse::<f64>().is_ok() && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let is_sexagesimal =
        digits.contains(':') && digits.split(':').all(|part| !part.is_empty() && part.parse::<f64>().is_ok());
    is_number || based("0x", 16) || based("0o", 8) || based("0b", 2) || is_sexagesimal || is_date(text)
}

fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits =
        |range: std::ops::Range<usize>| bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    let is_day =
        digits(0..4) && bytes.get(4) == Some(&b'-') && digits(5..7) && bytes.get(7) == Some(&b'-') && digits(8..10);
    is_day && (bytes.len() == 10 || matches!(bytes.get(10), Some(b'T' | b't' | b' ')))
}

fn is_plain(text: &str) -> bool {
    let first_is_good = match text.as_bytes() {
        [b'-' | b'?' | b':', rest @ ..] => rest.first().is_some_and(|next| *next != b' '),
        [first, ..] => !b",[]{}#&*!|>'\"%@` ".contains(first),
        [] => false,
    };
    first_is_good
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.starts_with("---")
        && !text.starts_with("...")
}

/// Text whose lines are broken at spaces once they are long.
fn folded(text: &str, depth: usize, out: &mut String) {
    let line_start = out.rfind('\n').map_or(0, |at| at + 1);
    let mut column = out.get(line_start..).map_or(0, |line| line.chars().count());
    let mut characters = text.chars().peekable();
    let mut before = ' ';
    while let Some(c) = characters.next() {
        let is_break =
            c == ' ' && column > WIDTH && before != ' ' && characters.peek().is_some_and(|next| *next != ' ');
        if is_break {
            out.push('\n');
            indent(depth, out);
            column = depth * 2;
        } else {
            out.push(c);
            column += 1;
        }
        before = c;
    }
}

fn literal(text: &str, depth: usize, out: &mut String) {
    let depth = depth.max(1);
    let body = text.trim_end_matches('\n');
    out.push('|');
    if text.starts_with([' ', '\n']) {
        out.push('2');
    }
    match text.len() - body.len() {
        0 => out.push('-'),
        1 if !body.is_empty() => {}
        _ => out.push('+'),
    }
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(depth, out);
            out.push_str(line);
        }
    }
}

fn double(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{85}' => out.push_str("\\N"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            '\u{feff}' => out.push_str("\\uFEFF"),
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
