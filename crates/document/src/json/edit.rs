//! Changes of a JSON text in its own layout.

use std::ops::Range;

use bulla_core::SecretBytes;

use super::emit::{Style, write_scalar};
use super::string::Escapes;
use crate::model::{Node, NodeValue, Text};
use crate::patch::EntryChange;
use crate::sink::Comparison;
use crate::{Document, Error, ErrorKind, NodeId, Patch, Scalar, Value};

pub(crate) fn restores(document: &Document, id: NodeId) -> bool {
    match &document.node(id).value {
        NodeValue::None | NodeValue::Time(_) => false,
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Str(Text::Source(_)) => true,
        NodeValue::Int(_) | NodeValue::Float(_) | NodeValue::Str(Text::Owned(_)) => {
            let mut rendered = Comparison::with(document.source(id));
            write_scalar(&document.scalar(id), Escapes::Minimal, &mut rendered).is_ok() && rendered.is_equal()
        }
    }
}

pub(crate) fn render_scalar(
    _document: &Document,
    _id: NodeId,
    value: &Scalar<'_>,
    out: &mut SecretBytes,
) -> Result<(), Error> {
    write_scalar(value, Escapes::Minimal, out)
}

pub(crate) fn set_value(patch: &mut Patch<'_>, id: NodeId, value: &Value) -> Result<(), Error> {
    let document = patch.document;
    let mut layout = match document.parent(id) {
        Some(parent) => Layout::of(document, parent),
        None if matches!(value, Value::Map(_)) => Layout::of(document, id).outer(),
        None => return Err(ErrorKind::Root("the root of a JSON file must be an object".into()).into()),
    };
    let start = patch.buffer.len();
    layout.style.write(value, &mut layout.indent, &mut patch.buffer)?;
    patch.splice(document.node(id).span.range(), start);
    Ok(())
}

pub(crate) fn insert(patch: &mut Patch<'_>, map: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
    let mut layout = Layout::of(patch.document, map);
    for (key, value) in entries {
        let start = patch.buffer.len();
        layout.style.entry(key, value, &mut layout.indent, &mut patch.buffer)?;
        patch.entries.push((map, EntryChange::Add(start..patch.buffer.len())));
    }
    Ok(())
}

pub(crate) fn push(patch: &mut Patch<'_>, list: NodeId, value: &Value) -> Result<(), Error> {
    let mut layout = Layout::of(patch.document, list);
    let start = patch.buffer.len();
    layout.style.write(value, &mut layout.indent, &mut patch.buffer)?;
    patch.entries.push((list, EntryChange::Add(start..patch.buffer.len())));
    Ok(())
}

pub(crate) fn remove(patch: &mut Patch<'_>, id: NodeId) -> Result<(), Error> {
    let Some(parent) = patch.document.parent(id) else {
        return Err(ErrorKind::Path("the root cannot be removed".into()).into());
    };
    patch.entries.push((parent, EntryChange::Remove(id)));
    Ok(())
}

/// Turns the entries that were added and removed into splices. Done last, when it is known which entries stay:
/// the commas depend on it.
///
/// What comes out is the exact inverse of what goes in. An entry added to others takes the separator with it that stands
/// before it. In an object with nothing in it, `{}` becomes `{`, line, entry, line, `}`, and a removal of every entry
/// takes all lines away; where there was white space inside, the entry stands right behind the `{`, which tells
/// a removal to leave the white space.
pub(crate) fn settle(patch: &mut Patch<'_>) {
    let mut changes = std::mem::take(&mut patch.entries);
    changes.sort_by_key(|(container, _)| *container);
    for group in changes.chunk_by(|(a, _), (b, _)| a == b) {
        settle_one(patch, group);
    }
}

fn settle_one(patch: &mut Patch<'_>, group: &[(NodeId, EntryChange)]) {
    let document = patch.document;
    let container = group[0].0;
    let mut removed: Vec<NodeId> = Vec::new();
    let mut added = Vec::new();
    for (_, change) in group {
        match change {
            EntryChange::Remove(id) => removed.push(*id),
            EntryChange::Add(range) => added.push(range.clone()),
        }
    }
    removed.sort_unstable();
    let entries: Vec<(Range<usize>, bool)> = document
        .children(container)
        .map(|child| (document.node(child).entry.range(), removed.binary_search(&child).is_err()))
        .collect();
    let layout = Layout::of(document, container);
    match entries.iter().rposition(|(_, stays)| *stays) {
        Some(last) => {
            let end = entries[last].0.end;
            for body in added {
                let start = patch.buffer.len();
                patch.buffer.extend_from_slice(&layout.separator);
                patch.copy_in_buffer(body);
                patch.splice(end..end, start);
            }
        }
        None => return settle_empty(patch, container, &entries, &layout, added),
    }
    let mut kept_end = None;
    let mut at = 0;
    for run in entries.chunk_by(|a, b| a.1 == b.1) {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        at += run.len();
        if first.1 {
            kept_end = Some(last.0.end);
            continue;
        }
        // The separator before the run goes with it; before the first entry there is none, so the one behind goes.
        match (kept_end, entries.get(at)) {
            (Some(start), _) => patch.replace(start..last.0.end, b""),
            (None, Some((next, _))) => patch.replace(first.0.start..next.start, b""),
            (None, None) => {}
        }
    }
}

/// The changes of an object or array of which no old entry stays.
fn settle_empty(
    patch: &mut Patch<'_>,
    container: NodeId,
    entries: &[(Range<usize>, bool)],
    layout: &Layout,
    added: Vec<Range<usize>>,
) {
    let span = patch.document.node(container).span.range();
    let inside = span.start + 1..span.end - 1;
    let start = patch.buffer.len();
    match (entries.first(), entries.last()) {
        (Some((first, _)), Some((last, _))) if !added.is_empty() => {
            // The new entries take the place of the old.
            for (at, body) in added.into_iter().enumerate() {
                if at > 0 {
                    patch.buffer.extend_from_slice(&layout.separator);
                }
                patch.copy_in_buffer(body);
            }
            patch.splice(first.start..last.end, start);
        }
        (Some((first, _)), Some((last, _))) if first.start == inside.start => {
            patch.splice(first.start..last.end, start);
        }
        (Some(_), _) => patch.splice(inside, start),
        (None, _) => {
            let is_tight = inside.is_empty();
            for (at, body) in added.into_iter().enumerate() {
                if at > 0 {
                    patch.buffer.extend_from_slice(&layout.separator);
                } else if is_tight {
                    patch.buffer.extend_from_slice(layout.line());
                }
                patch.copy_in_buffer(body);
            }
            if is_tight {
                patch.buffer.extend_from_slice(&layout.closing);
            }
            patch.splice(inside.start..inside.start, start);
        }
    }
}

/// How the entries of one object or array are laid out, learned from those that stand there, or around it.
struct Layout {
    /// From the end of an entry to the start of the next: white space and a comma.
    separator: Vec<u8>,
    /// What stands before the closing bracket.
    closing: Vec<u8>,
    /// The indentation of the entries.
    indent: Vec<u8>,
    /// How what is below an entry is written.
    style: Style,
}

impl Layout {
    fn of(document: &Document, container: NodeId) -> Self {
        let text = document.text.expose();
        let node = document.node(container);
        let inside = node.span.start as usize + 1..(node.span.end as usize).saturating_sub(1);
        let mut previous = None;
        let mut last = None;
        for child in document.children(container) {
            previous = last.replace(document.node(child)).map(|node: &Node| node.entry.range().end);
        }
        let Some(last) = last else { return Self::of_empty(document, container) };
        let separator = match previous {
            Some(end) => text[end..last.entry.range().start].to_vec(),
            None => match &text[inside.start..last.entry.range().start] {
                b"" if colon(text, last).ends_with(b" ") => b", ".to_vec(),
                lead => [b",", lead].concat(),
            },
        };
        let newline = newline_in(&separator);
        let indent = newline.as_ref().map_or_else(Vec::new, |_| indentation(&separator));
        let comma = if newline.is_some() { b",".to_vec() } else { separator.clone() };
        let colon = colon(text, last);
        Self {
            closing: text[last.span.range().end..inside.end].to_vec(),
            style: Style { unit: unit(document, newline.is_some()), newline, comma, colon, escapes: Escapes::Minimal },
            separator,
            indent,
        }
    }

    /// With nothing inside to learn from: as around it; of a root, as sops writes it.
    fn of_empty(document: &Document, container: NodeId) -> Self {
        let (newline, outer, colon) = match document.parent(container) {
            None => (Some(b"\n".to_vec()), Vec::new(), b": ".to_vec()),
            Some(parent) => {
                let around = Self::of(document, parent);
                (around.style.newline, around.indent, around.style.colon)
            }
        };
        let unit = unit(document, newline.is_some());
        let line = newline.clone().unwrap_or_default();
        let indent = if newline.is_some() { [&outer[..], &unit].concat() } else { Vec::new() };
        let space: &[u8] = if newline.is_none() && colon.ends_with(b" ") { b" " } else { b"" };
        let separator = [b",", space, &line, &indent].concat();
        let comma = if newline.is_some() { b",".to_vec() } else { separator.clone() };
        Self {
            closing: [line, outer].concat(),
            style: Style { newline, comma, colon, unit, escapes: Escapes::Minimal },
            separator,
            indent,
        }
    }

    /// The layout that an object or array with these entries stands in itself.
    fn outer(mut self) -> Self {
        self.indent = indentation(&self.closing);
        self
    }

    /// What stands before the first entry of an object or array that had none.
    fn line(&self) -> &[u8] {
        if self.style.newline.is_some() { &self.separator[1..] } else { b"" }
    }
}

/// The line end in a stretch of white space, if there is one.
fn newline_in(space: &[u8]) -> Option<Vec<u8>> {
    let at = space.iter().position(|&byte| byte == b'\n')?;
    Some(if at > 0 && space[at - 1] == b'\r' { b"\r\n".to_vec() } else { b"\n".to_vec() })
}

/// The white space that the last line in `space` starts with.
fn indentation(space: &[u8]) -> Vec<u8> {
    let start = space.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    space[start..].iter().copied().take_while(|byte| matches!(byte, b' ' | b'\t')).collect()
}

/// From the end of a key to its value; of a list item, from the first key of the document.
fn colon(text: &[u8], node: &Node) -> Vec<u8> {
    if node.key.is_none() {
        return b": ".to_vec();
    }
    let end = node.span.range().start;
    let start = text[..end].iter().rposition(|&byte| byte == b'"').map_or(end, |at| at + 1);
    let colon = &text[start..end];
    if colon.contains(&b'\n') { b": ".to_vec() } else { colon.to_vec() }
}

/// One level's indentation: that of the root's entries; a tab, as sops has it, where they have no lines of their own.
fn unit(document: &Document, has_lines: bool) -> Vec<u8> {
    let root = NodeId(0);
    let first = document.children(root).next().filter(|_| has_lines);
    let lead = first.map(|child| {
        let start = document.node(root).span.range().start + 1;
        &document.text.expose()[start..document.node(child).entry.range().start]
    });
    match lead {
        Some(lead) if lead.contains(&b'\n') => indentation(lead),
        _ => b"\t".to_vec(),
    }
}
