//! Changes of an INI text in its own layout.

use bulla_core::SecretBytes;

use super::emit::{entries_of, key_source, unrepresentable, write_header, write_scalar, write_value};
use super::read::{Style, line_end};
use super::{HEADER_COMMENT, trimmed};
use crate::model::Text;
use crate::sink::{Comparison, Sink};
use crate::{Document, EmitOptions, Error, ErrorKind, Kind, NodeId, Patch, Scalar, Value, lines};

pub(crate) fn restores(document: &Document, id: NodeId) -> bool {
    let node = document.node(id);
    match node.kind {
        // Quotes stay around the ciphertext, so they are there for the value again.
        Kind::Scalar => Style::of(node.style) != Style::Odd,
        // Blank lines and indentation between its lines are not part of a comment.
        Kind::Comment => {
            let mut rendered = Comparison::with(document.source(id));
            let text = document.scalar(id);
            write_comment(text.as_bytes().unwrap_or_default(), &mut rendered);
            rendered.is_equal()
        }
        Kind::Map | Kind::Seq => false,
    }
}

pub(crate) fn render_scalar(
    document: &Document,
    id: NodeId,
    value: &Scalar<'_>,
    out: &mut SecretBytes,
) -> Result<(), Error> {
    let node = document.node(id);
    let text = document.text.expose();
    match node.kind {
        Kind::Comment => match value.as_bytes() {
            Some(comment) => {
                if node.style == HEADER_COMMENT && comment.contains(&b']') {
                    out.put(newline(text));
                    out.put(b"; ");
                }
                write_comment(comment, out);
                Ok(())
            }
            None => Err(unrepresentable("a comment is text")),
        },
        Kind::Scalar => {
            let end = node.span.range().end;
            write_scalar(value, Some(Style::of(node.style)), &text[end..line_end(text, end)], out)
        }
        Kind::Map | Kind::Seq => Err(unrepresentable("a section cannot be a single value")),
    }
}

pub(crate) fn set_value(patch: &mut Patch<'_>, id: NodeId, value: &Value) -> Result<(), Error> {
    let document = patch.document;
    let (Kind::Map, Value::Map(entries)) = (document.kind(id), value) else {
        return Err(unrepresentable("INI has sections of single values, and nothing else"));
    };
    if document.parent(id).is_none() {
        let text = super::emit(std::slice::from_ref(value), EmitOptions::default())?;
        patch.replace(document.node(id).span.range(), text.expose());
        return Ok(());
    }
    let body = document.node(id).span.range();
    if body.is_empty() {
        return insert(patch, id, entries);
    }
    let layout = Layout::of(document, id);
    let start = patch.buffer.len();
    layout.write(entries, &mut patch.buffer)?;
    if !document.text.expose()[body.clone()].ends_with(b"\n") && patch.buffer.len() > start {
        patch.buffer.truncate(patch.buffer.len() - layout.newline.len());
    }
    patch.splice(body, start);
    Ok(())
}

pub(crate) fn insert(patch: &mut Patch<'_>, map: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
    let document = patch.document;
    let start = patch.buffer.len();
    if let Err(error) = write_inserted(document, map, entries, &mut patch.buffer) {
        patch.buffer.truncate(start);
        return Err(error);
    }
    let newline = newline(document.text.expose());
    if document.parent(map).is_some() {
        lines::insert(patch, document.node(map).entry.range().end, start, newline);
    } else {
        // After what may yet be added to the last section.
        let end = patch.buffer.len();
        patch.sections.push((end_of_entries(document), start..end));
    }
    Ok(())
}

/// Puts new sections in. Done last: see [`insert`].
pub(crate) fn settle(patch: &mut Patch<'_>) {
    let newline = newline(patch.document.text.expose());
    for (at, range) in std::mem::take(&mut patch.sections) {
        let start = patch.buffer.len();
        patch.copy_in_buffer(range);
        lines::insert(patch, at, start, newline);
    }
    lines::settle(patch);
}

pub(crate) fn remove(patch: &mut Patch<'_>, id: NodeId) -> Result<(), Error> {
    let document = patch.document;
    let Some(parent) = document.parent(id) else {
        return Err(ErrorKind::Path("the root cannot be removed".into()).into());
    };
    let text = document.text.expose();
    let mut entry = document.node(id).entry.range();
    let before = &text[..entry.start];
    if document.kind(id) == Kind::Comment && !before.is_empty() && !before.ends_with(b"\n") {
        // At the end of a line that stays.
        let blank = before.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        patch.replace(entry.start - blank..entry.end, b"");
        return Ok(());
    }
    if document.kind(id) == Kind::Map && document.parent(parent).is_none() {
        // A section goes with the blank line before it: the one that `insert` puts there.
        let blank: &[u8] = if before.ends_with(b"\n\r\n") { b"\r\n" } else { b"\n" };
        if before.ends_with(b"\n\n") || before.ends_with(b"\n\r\n") {
            entry.start -= blank.len();
        }
    }
    patch.lines.push(entry);
    Ok(())
}

fn write_inserted(
    document: &Document,
    map: NodeId,
    entries: &[(String, Value)],
    out: &mut SecretBytes,
) -> Result<(), Error> {
    if document.parent(map).is_some() {
        return Layout::of(document, map).write(entries, out);
    }
    let mut is_first = end_of_entries(document) == start_of(document.text.expose());
    let layout = Layout::of(document, map);
    for (name, section) in entries {
        let entries = entries_of(name, section)?;
        if !is_first {
            out.put(layout.newline);
        }
        is_first = false;
        write_header(name, layout.newline, out)?;
        layout.write(entries, out)?;
    }
    Ok(())
}

/// Where the last entry of the last section ends.
fn end_of_entries(document: &Document) -> usize {
    let root = document.roots[0];
    let sections = document.children(root).filter(|&child| document.kind(child) == Kind::Map);
    sections.last().map_or(0, |section| document.node(section).entry.range().end)
}

/// Where the text starts, behind a byte order mark.
fn start_of(text: &[u8]) -> usize {
    if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

/// How entries are written: as the last one of the section is, or any.
struct Layout<'d> {
    indent: &'d [u8],
    delimiter: Vec<u8>,
    newline: &'d [u8],
}

impl<'d> Layout<'d> {
    fn of(document: &'d Document, map: NodeId) -> Self {
        let text = document.text.expose();
        let is_scalar = |id: &NodeId| document.kind(*id) == Kind::Scalar;
        let model = document.children(map).filter(is_scalar).last();
        let model = model.or_else(|| document.subtree(document.roots[0]).find(is_scalar));
        let Some(node) = model.map(|id| document.node(id)) else {
            return Self { indent: b"", delimiter: b" = ".to_vec(), newline: newline(text) };
        };
        let entry = node.entry.range().start;
        let indent = text[entry..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let before = match &node.key {
            Some(Text::Source(span)) => &text[span.range().end..node.span.range().start],
            _ => &text[entry..node.span.range().start],
        };
        let at = before.iter().position(|byte| matches!(byte, b'=' | b':')).unwrap_or_default();
        let mut delimiter = Vec::new();
        if before[..at].ends_with(b" ") {
            delimiter.push(b' ');
        }
        delimiter.push(before.get(at).copied().unwrap_or(b'='));
        if before[at..].ends_with(b" ") {
            delimiter.push(b' ');
        }
        Self { indent: &text[entry..entry + indent], delimiter, newline: newline(text) }
    }

    fn write(&self, entries: &[(String, Value)], out: &mut SecretBytes) -> Result<(), Error> {
        for (key, value) in entries {
            out.put(self.indent);
            out.put(&key_source(key)?);
            out.put(&self.delimiter);
            write_value(key, value, None, b"\n", out)?;
            out.put(self.newline);
        }
        Ok(())
    }
}

/// The line end of the text: that of its first line.
fn newline(text: &[u8]) -> &'static [u8] {
    match memchr::memchr(b'\n', text) {
        Some(at) if text[..at].ends_with(b"\r") => b"\r\n",
        // What is added behind a CR at the end must come out with its own CR.
        _ if text.ends_with(b"\r") => b"\r\n",
        _ => b"\n",
    }
}

/// Each line but the first gets a comment sign if it has none. Lines end as they do in the comment.
fn write_comment(text: &[u8], out: &mut impl Sink) {
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        if at > 0 {
            out.put(b"\n");
            if !matches!(trimmed(line).first(), Some(b'#' | b';')) {
                out.put(b"; ");
            }
        }
        out.put(line);
    }
}
