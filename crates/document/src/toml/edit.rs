//! Changes of a TOML text in its own layout.

use bulla_core::SecretBytes;

use super::emit::{Lines, is_table, push_key, write_inline, write_inline_entry};
use super::layout::{self, delimiter, end_of_lines, end_of_subtree, has_own_line, indentation, newline};
use super::scalar::{self, Style};
use super::{Form, collection};
use crate::patch::EntryChange;
use crate::sink::{Comparison, Sink};
use crate::{Document, EmitOptions, Error, ErrorKind, Kind, NodeId, Patch, Scalar, Value, lines};

pub(crate) fn restores(document: &Document, id: NodeId) -> bool {
    let node = document.node(id);
    let style = Style::of(node.style);
    match node.kind {
        Kind::Comment => true,
        Kind::Map | Kind::Seq => false,
        Kind::Scalar if style == Style::Local => false,
        Kind::Scalar => {
            let mut rendered = Comparison::with(document.source(id));
            scalar::write(&document.scalar(id), style, &mut rendered).is_ok() && rendered.is_equal()
        }
    }
}

pub(crate) fn render_scalar(
    document: &Document,
    id: NodeId,
    value: &Scalar<'_>,
    out: &mut SecretBytes,
) -> Result<(), Error> {
    let node = document.node(id);
    match (node.kind, value.as_str()) {
        (Kind::Comment, Some(text)) if !text.contains(|c: char| c.is_ascii_control() && c != '\t') => {
            out.put(text.as_bytes());
            Ok(())
        }
        (Kind::Comment, _) => Err(unrepresentable("a TOML comment is one line of text")),
        _ => Ok(scalar::write(value, Style::of(node.style), out)?),
    }
}

pub(crate) fn set_value(patch: &mut Patch<'_>, id: NodeId, value: &Value) -> Result<(), Error> {
    let document = patch.document;
    let node = document.node(id);
    let Some(parent) = document.parent(id) else {
        let text = super::emit(std::slice::from_ref(value), EmitOptions::default())?;
        patch.replace(node.span.range(), text.expose());
        return Ok(());
    };
    if matches!(Form::of(node.style), Form::Scalar | Form::InlineTable | Form::Array) {
        let start = patch.buffer.len();
        write_inline(value, &mut patch.buffer)?;
        patch.splice(node.span.range(), start);
        return Ok(());
    }
    let Some(key) = document.key(id) else {
        return Err(unrepresentable("an element of an array of tables can be changed by its entries, or removed"));
    };
    remove(patch, id)?;
    insert(patch, parent, &[(key.to_owned(), value.clone())])
}

pub(crate) fn insert(patch: &mut Patch<'_>, map: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
    let start = patch.buffer.len();
    let inserted = match Form::of(patch.document.node(map).style) {
        Form::InlineTable => insert_inline(patch, map, entries),
        Form::Dotted if layout::is_between_brackets(patch.document, map) => {
            Err(unrepresentable("nothing can be added to a table that dotted keys make inside an inline table"))
        }
        Form::Dotted => insert_dotted(patch, map, entries),
        Form::Implicit => insert_header(patch, map, entries),
        _ => insert_lines(patch, map, entries),
    };
    if inserted.is_err() {
        patch.buffer.truncate(start);
    }
    inserted
}

pub(crate) fn push(patch: &mut Patch<'_>, list: NodeId, value: &Value) -> Result<(), Error> {
    let document = patch.document;
    let start = patch.buffer.len();
    if Form::of(document.node(list).style) == Form::ArrayOfTables {
        let Value::Map(entries) = value else {
            return Err(unrepresentable("an array of tables holds tables only"));
        };
        let mut block = SecretBytes::new();
        lines_of(document, list).as_lines().table(b"[[", &mut path_of(document, list), b"]]", entries, &mut block)?;
        add_block(patch, end_of_subtree(document, list), &block);
        return Ok(());
    }
    write_inline(value, &mut patch.buffer)?;
    patch.entries.push((list, EntryChange::Add(start..patch.buffer.len())));
    Ok(())
}

pub(crate) fn remove(patch: &mut Patch<'_>, id: NodeId) -> Result<(), Error> {
    let document = patch.document;
    let Some(parent) = document.parent(id) else {
        return Err(ErrorKind::Path("the root cannot be removed".into()).into());
    };
    let text = document.text.expose();
    let node = document.node(id);
    if node.kind == Kind::Comment {
        let entry = node.entry.range();
        if layout::is_comment_alone(document, id) {
            patch.lines.push(entry);
        } else {
            let blank = text[..entry.start].iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            patch.replace(entry.start - blank..entry.end, b"");
        }
        return Ok(());
    }
    if Form::of(document.node(parent).style).is_inline() && Form::of(node.style) != Form::Dotted {
        patch.entries.push((parent, EntryChange::Remove(id)));
        return Ok(());
    }
    if layout::is_between_brackets(document, parent) {
        return Err(unrepresentable("what dotted keys make inside an inline table cannot be removed in parts"));
    }
    for id in document.subtree(id) {
        let node = document.node(id);
        let mut entry = node.entry.range();
        let form = Form::of(node.style);
        if has_own_line(document, id) || (node.kind == Kind::Comment && layout::is_comment_alone(document, id)) {
            patch.lines.push(entry);
        } else if form == Form::Table {
            // The blank line before a header goes with it: the one that an insertion puts there.
            let before = &text[..entry.start];
            if before.ends_with(b"\n\n") {
                entry.start -= 1;
            } else if before.ends_with(b"\n\r\n") {
                entry.start -= 2;
            }
            patch.lines.push(entry);
        }
    }
    Ok(())
}

/// Does what can be done only when all changes are known. New tables go behind new lines of the last table.
pub(crate) fn settle(patch: &mut Patch<'_>) {
    collection::settle(patch);
    let newline = newline(patch.document.text.expose());
    for (at, range) in std::mem::take(&mut patch.sections) {
        let start = patch.buffer.len();
        patch.copy_in_buffer(range);
        lines::insert(patch, at, start, newline);
    }
    lines::settle(patch);
}

fn insert_inline(patch: &mut Patch<'_>, map: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
    let delimiter = collection::delimiter(patch.document, map);
    for (key, value) in entries {
        let start = patch.buffer.len();
        write_inline_entry(key, &delimiter, value, &mut patch.buffer)?;
        patch.entries.push((map, EntryChange::Add(start..patch.buffer.len())));
    }
    Ok(())
}

/// Adds lines behind the last of a table; to the root also tables, at the end of the text.
fn insert_lines(patch: &mut Patch<'_>, table: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
    let document = patch.document;
    let layout = lines_of(document, table);
    let lines = layout.as_lines();
    let indent = indentation(document, table);
    let is_root = document.parent(table).is_none();
    let start = patch.buffer.len();
    for (key, value) in entries.iter().filter(|(_, value)| !is_root || !is_table(value)) {
        patch.buffer.put(&indent);
        lines.entry(b"", key, value, &mut patch.buffer)?;
    }
    lines::insert(patch, end_of_lines(document, table), start, lines.newline);
    if is_root {
        let mut block = SecretBytes::new();
        lines.tables(entries, &mut Vec::new(), &mut block)?;
        add_block(patch, document.text.len(), &block);
    }
    Ok(())
}

/// Adds lines with dotted keys behind the last line of a table that such keys make.
fn insert_dotted(patch: &mut Patch<'_>, table: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
    let document = patch.document;
    let end = layout::end_of_dotted(document, table);
    let mut base = table;
    let mut keys = Vec::new();
    while Form::of(document.node(base).style) == Form::Dotted {
        keys.push(document.key(base).unwrap_or_default());
        let Some(parent) = document.parent(base) else { break };
        base = parent;
    }
    let mut prefix = Vec::new();
    keys.iter().rev().for_each(|key| push_key(&mut prefix, key));
    prefix.push(b'.');
    let owned = lines_of(document, table);
    let indent = indentation(document, base);
    let start = patch.buffer.len();
    for (key, value) in entries {
        patch.buffer.put(&indent);
        owned.as_lines().entry(&prefix, key, value, &mut patch.buffer)?;
    }
    lines::insert(patch, end, start, owned.newline);
    Ok(())
}

/// Adds lines to a table that has no header yet, below one.
fn insert_header(patch: &mut Patch<'_>, table: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
    let document = patch.document;
    let owned = lines_of(document, table);
    let mut block = SecretBytes::new();
    for part in [b"[", &path_of(document, table)[..], b"]", owned.newline] {
        block.put(part);
    }
    for (key, value) in entries {
        owned.as_lines().entry(b"", key, value, &mut block)?;
    }
    add_block(patch, end_of_subtree(document, table), &block);
    Ok(())
}

/// Adds tables, separated by a blank line from what is before them.
fn add_block(patch: &mut Patch<'_>, at: usize, block: &SecretBytes) {
    if block.is_empty() {
        return;
    }
    let text = patch.document.text.expose();
    let start = patch.buffer.len();
    if at > super::start_of(text) {
        patch.buffer.put(newline(text));
    }
    patch.buffer.put(block.expose());
    let range = start..patch.buffer.len();
    patch.sections.push((at, range));
}

/// The keys from the root to a table, as they stand in a header.
fn path_of(document: &Document, id: NodeId) -> Vec<u8> {
    let mut keys = Vec::new();
    let mut at = Some(id);
    while let Some(id) = at {
        // Elements of arrays of tables have none: the last is meant.
        keys.extend(document.key(id));
        at = document.parent(id);
    }
    let mut path = Vec::new();
    keys.iter().rev().for_each(|key| push_key(&mut path, key));
    path
}

struct OwnedLines {
    newline: &'static [u8],
    delimiter: Vec<u8>,
}

impl OwnedLines {
    fn as_lines(&self) -> Lines<'_> {
        Lines { newline: self.newline, delimiter: &self.delimiter }
    }
}

fn lines_of(document: &Document, table: NodeId) -> OwnedLines {
    OwnedLines { newline: newline(document.text.expose()), delimiter: delimiter(document, table) }
}

fn unrepresentable(message: &str) -> Error {
    ErrorKind::Unrepresentable(message.into()).into()
}
