//! Whole trees, written as block style (as sops writes: four spaces, lists further in than their key) or on one line.

use bulla_core::SecretBytes;

use super::literal::{literal_may_end, literal_needs, put_literal};
use super::resolve::is_safe_string;
use super::scan::LONGEST_KEY;
use super::write::{plain_fits, put_binary, put_double, put_single, put_spaces, put_typed, single_fits};
use crate::sink::Sink;
use crate::{EmitOptions, Scalar, Value};

/// How far sops writes each level further in.
pub(super) const INDENT: usize = 4;

/// See [`emit`](crate::emit).
pub(crate) fn emit(values: &[Value], options: EmitOptions) -> SecretBytes {
    let mut out = SecretBytes::new();
    let step = options.indent.map_or(INDENT, |indent| usize::from(indent.max(1)));
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            out.extend_from_slice(b"---\n");
        }
        let mut block = BlockWriter { out: &mut out, newline: b"\n", step, literals: true, ended_in_literal: false };
        block.document(value);
        out.extend_from_slice(b"\n");
    }
    out
}

/// Writes trees in block style. Nothing it writes ends with a line break.
pub(super) struct BlockWriter<'a, S> {
    pub(super) out: &'a mut S,
    pub(super) newline: &'a [u8],
    pub(super) step: usize,
    /// Whether strings of several lines may be literal blocks.
    pub(super) literals: bool,
    /// Whether what was written last is a literal block, which may take in what follows.
    pub(super) ended_in_literal: bool,
}

impl<S: Sink> BlockWriter<'_, S> {
    fn document(&mut self, value: &Value) {
        match value {
            Value::Map(entries) if !entries.is_empty() => self.map(entries, 0),
            Value::Seq(items) if !items.is_empty() => self.seq(items, 0),
            _ => self.inline(value, 0),
        }
    }

    /// A map or list with entries, which begins where the writer stands: in this column.
    pub(super) fn whole(&mut self, value: &Value, column: usize) {
        match value {
            Value::Map(entries) => self.map(entries, column),
            Value::Seq(items) => self.seq(items, column),
            _ => {}
        }
    }

    /// The entries of a map, the first where the writer stands, the others on lines of their own.
    pub(super) fn map(&mut self, entries: &[(String, Value)], indent: usize) {
        for (place, (key, value)) in entries.iter().enumerate() {
            if place > 0 {
                self.line(indent);
            }
            self.entry(key, value, indent);
        }
    }

    pub(super) fn entry(&mut self, key: &str, value: &Value, indent: usize) {
        self.ended_in_literal = false;
        if put_key(key, false, self.out) {
            self.out.put(b":");
        } else {
            self.line(indent);
            self.out.put(b":");
        }
        self.value(value, indent);
    }

    /// What stands behind a key's `:`.
    pub(super) fn value(&mut self, value: &Value, indent: usize) {
        let inner = self.inner(indent);
        match value {
            Value::Map(entries) if !entries.is_empty() => {
                self.line(inner);
                self.map(entries, inner);
            }
            Value::Seq(items) if !items.is_empty() => {
                self.line(inner);
                self.seq(items, inner);
            }
            _ => {
                self.out.put(b" ");
                self.inline(value, inner);
            }
        }
    }

    pub(super) fn seq(&mut self, items: &[Value], indent: usize) {
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                self.line(indent);
            }
            self.out.put(b"- ");
            self.item(item, indent);
        }
    }

    /// What stands behind a `- `.
    pub(super) fn item(&mut self, item: &Value, indent: usize) {
        self.ended_in_literal = false;
        match item {
            Value::Map(entries) if !entries.is_empty() => self.map(entries, indent + 2),
            Value::Seq(items) if !items.is_empty() => self.seq(items, indent + 2),
            _ => self.inline(item, indent + 2),
        }
    }

    /// A value that begins on the line: a single one, or an empty collection.
    fn inline(&mut self, value: &Value, literal_indent: usize) {
        self.ended_in_literal = false;
        match value {
            Value::Map(_) => self.out.put(b"{}"),
            Value::Seq(_) => self.out.put(b"[]"),
            Value::Str(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if self.literals && text.contains('\n') && literal_needs(text).is_some() => {
                    put_literal(text, literal_indent, self.newline, self.out);
                    self.ended_in_literal = true;
                }
                Ok(text) => put_string(text, self.out),
                Err(_) => put_binary(bytes, self.out),
            },
            _ => put_typed(&value.as_scalar().unwrap_or(Scalar::Null), self.out),
        }
    }

    pub(super) fn line(&mut self, indent: usize) {
        self.out.put(self.newline);
        put_spaces(self.out, indent);
    }

    /// The next level's indentation: a multiple of the step, as yaml.v3 has it.
    fn inner(&self, indent: usize) -> usize {
        (indent + self.step) / self.step * self.step
    }
}

/// Whether what was written, if it ends in a literal block, may stand before `end` in the text.
pub(super) fn may_stand(value: &Value, indent: usize, text: &[u8], end: usize) -> bool {
    match last_string(value) {
        // The block is further in than `indent`; what follows must not be, by one column and more.
        Some(string) => literal_needs(string)
            .is_none_or(|(needs_break, keeps)| literal_may_end(text, end, indent + 1, needs_break, keeps)),
        None => true,
    }
}

/// The string of several lines that a tree ends with.
fn last_string(value: &Value) -> Option<&str> {
    match value {
        Value::Map(entries) => last_string(&entries.last()?.1),
        Value::Seq(items) => last_string(items.last()?),
        Value::Str(bytes) => std::str::from_utf8(bytes).ok().filter(|text| text.contains('\n')),
        _ => None,
    }
}

/// A tree on one line, as JSON writes it.
pub(super) fn put_flow(value: &Value, out: &mut impl Sink) {
    match value {
        Value::Map(entries) => {
            out.put(b"{");
            for (place, (key, value)) in entries.iter().enumerate() {
                if place > 0 {
                    out.put(b", ");
                }
                put_flow_entry(key, value, out);
            }
            out.put(b"}");
        }
        Value::Seq(items) => {
            out.put(b"[");
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.put(b", ");
                }
                put_flow(item, out);
            }
            out.put(b"]");
        }
        Value::Str(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => put_double(text, out),
            Err(_) => put_binary(bytes, out),
        },
        _ => put_typed(&value.as_scalar().unwrap_or(Scalar::Null), out),
    }
}

pub(super) fn put_flow_entry(key: &str, value: &Value, out: &mut impl Sink) {
    put_key(key, true, out);
    out.put(b": ");
    put_flow(value, out);
}

/// Writes a key. `false` if it is a long one, whose `:` must stand on a line of its own in block style.
fn put_key(key: &str, flow: bool, out: &mut impl Sink) -> bool {
    // Escapes take up to ten characters, quotes two.
    let short = key.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { 2 } else { 10 }).sum::<usize>() + 2
        <= LONGEST_KEY as usize;
    if !short {
        out.put(b"? ");
    }
    if flow {
        put_double(key, out);
        if !short {
            out.put(b" ");
        }
    } else {
        put_string(key, out);
    }
    short
}

/// Plain where it can be, in double quotes what would be no string without, in single quotes what is no plain text.
fn put_string(text: &str, out: &mut impl Sink) {
    let is_marker = text.starts_with("---") || text.starts_with("...");
    if !is_safe_string(text.as_bytes()) || !single_fits(text) || text.contains('\t') {
        put_double(text, out);
    } else if plain_fits(text, false) && !is_marker {
        out.put(text.as_bytes());
    } else {
        put_single(text, out);
    }
}
