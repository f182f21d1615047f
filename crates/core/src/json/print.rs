//! Values to text.

use super::{Object, Value};

pub fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(digits) => out.extend_from_slice(digits.as_bytes()),
        Value::String(text) => string(text, out),
        Value::Array(values) => {
            out.push(b'[');
            for (i, one) in values.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                self::value(one, out);
            }
            out.push(b']');
        }
        Value::Object(entries) => object(entries, out),
        Value::Raw(text) => out.extend_from_slice(text),
    }
}

pub fn object(object: &Object, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (key, one)) in object.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(key, out);
        out.push(b':');
        value(one, out);
    }
    out.push(b'}');
}

/// As short as JSON allows: nothing is escaped that need not be.
pub fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
