//! JSON as Go's `MarshalIndent` writes it: two spaces, `<`, `>` and `&` escaped.

use bulla_core::json::Value;

use super::{Node, Shown};

pub(super) fn write(shown: &Shown<'_>, depth: usize, out: &mut String) {
    node(&shown.node(), depth, out);
}

fn node(node_: &Node<'_>, depth: usize, out: &mut String) {
    match node_ {
        Node::Scalar(value) => scalar(value, out),
        Node::Array(values) => {
            let mut items = values.iter();
            surround('[', ']', values.len(), depth, out, |out| {
                if let Some(value) = items.next() {
                    node(&Node::of(value), depth + 1, out);
                }
            });
        }
        Node::Object(object) => {
            let mut items = object.iter();
            surround('{', '}', object.len(), depth, out, |out| {
                if let Some((key, value)) = items.next() {
                    string(key, out);
                    out.push_str(": ");
                    node(&Node::of(value), depth + 1, out);
                }
            });
        }
        Node::Fields(fields) => {
            let mut items = fields.iter();
            surround('{', '}', fields.len(), depth, out, |out| {
                if let Some((key, value)) = items.next() {
                    string(key, out);
                    out.push_str(": ");
                    write(value, depth + 1, out);
                }
            });
        }
    }
}

fn surround(open: char, close: char, len: usize, depth: usize, out: &mut String, mut item: impl FnMut(&mut String)) {
    out.push(open);
    for number in 0..len {
        out.push_str(if number == 0 { "\n" } else { ",\n" });
        indent(depth + 1, out);
        item(out);
    }
    if len > 0 {
        out.push('\n');
        indent(depth, out);
    }
    out.push(close);
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn scalar(value: &Value, out: &mut String) {
    match value {
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(digits) => out.push_str(digits),
        Value::String(text) => string(text, out),
        _ => out.push_str("null"),
    }
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// One line of JSON for a shell: what `-output-curl-string` sends.
pub(crate) fn compact(value: &Value) -> String {
    String::from_utf8_lossy(&value.to_vec()).into_owned()
}
