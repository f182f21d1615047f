//! Entries and items that come: to the end of their collection, in block style at the indentation that is there, or on one
//! line in a flow collection. Entries of a document's own map come behind everything else in the document.

use super::around::{
    MERGED, check_own, document_end, ends_in_open_block, entries, first_column, first_lines, gap_behind, is_merged,
    open_bracket, step,
};
use super::emit::{BlockWriter, INDENT, may_stand, put_flow, put_flow_entry};
use super::style::{Form, form};
use super::text::{after_break, column, ends_with_break, line_end, line_start, newline, skip_blanks};
use super::write::put_spaces;
use crate::sink::Sink;
use crate::{Error, ErrorKind, NodeId, Patch, Value};

/// See [`Patch::insert`].
pub(crate) fn insert(patch: &mut Patch<'_>, map: NodeId, entries: &[(String, Value)]) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    add(patch, map, &Added::Entries(entries))
}

/// See [`Patch::push`].
pub(crate) fn push(patch: &mut Patch<'_>, list: NodeId, value: &Value) -> Result<(), Error> {
    let is_map = matches!(value, Value::Map(_));
    if !is_map && is_merged(patch.document, patch.document.node(list)) {
        return Err(ErrorKind::Unrepresentable(MERGED.into()).into());
    }
    add(patch, list, &Added::Item(value))
}

/// What is added to a collection.
enum Added<'a> {
    Entries(&'a [(String, Value)]),
    Item(&'a Value),
}

impl Added<'_> {
    fn last(&self) -> Option<&Value> {
        match self {
            Self::Entries(entries) => entries.last().map(|(_, value)| value),
            Self::Item(item) => Some(item),
        }
    }

    fn write_block<S: Sink>(&self, writer: &mut BlockWriter<'_, S>, indent: usize) {
        match self {
            Self::Entries(entries) => writer.map(entries, indent),
            Self::Item(item) => {
                writer.out.put(b"- ");
                writer.item(item, indent);
            }
        }
    }

    fn write_flow(&self, separator: &[u8], out: &mut impl Sink) {
        match self {
            Self::Entries(entries) => {
                for (place, (key, value)) in entries.iter().enumerate() {
                    if place > 0 {
                        out.put(separator);
                    }
                    put_flow_entry(key, value, out);
                }
            }
            Self::Item(item) => put_flow(item, out),
        }
    }
}

fn add(patch: &mut Patch<'_>, id: NodeId, added: &Added<'_>) -> Result<(), Error> {
    let document = patch.document;
    check_own(document, id)?;
    if document.node(id).is_alias {
        let problem = "nothing can be added below an alias; add it to what the alias repeats";
        return Err(ErrorKind::Path(problem.into()).into());
    }
    match form(document.node(id).style) {
        Form::Flow => {
            add_to_flow(patch, id, added);
            Ok(())
        }
        Form::Pair => {
            let problem = "a list's 'key: value' without braces takes no second entry";
            Err(ErrorKind::Unrepresentable(problem.into()).into())
        }
        Form::GapDocument => {
            add_to_nothing(patch, id, added);
            Ok(())
        }
        _ => add_to_block(patch, id, added),
    }
}

fn add_to_flow(patch: &mut Patch<'_>, id: NodeId, added: &Added<'_>) {
    let document = patch.document;
    let text = document.text().expose();
    let from = patch.buffer.len();
    let Some(last) = entries(document, id).filter(|&entry| !patch.is_removed(entry)).last() else {
        added.write_flow(b", ", &mut patch.buffer);
        let at = open_bracket(document, id) + 1;
        patch.splice(at..at, from);
        return;
    };
    // Where each entry has its line, so has the new one.
    let entry = document.node(last).entry.range();
    let line = line_start(text, entry.start);
    let own_line = skip_blanks(text, line) == entry.start && line > document.node(id).span.start as usize;
    let ends_line = matches!(text.get(entry.end), Some(b'\r' | b'\n' | b','));
    let separator: &[u8] =
        if own_line && ends_line { &[b",", newline(text), &text[line..entry.start]].concat() } else { b", " };
    patch.buffer.put(gap_behind(document, last));
    patch.buffer.put(separator);
    added.write_flow(separator, &mut patch.buffer);
    patch.splice(entry.end..entry.end, from);
}

/// Adds entries or an item on the line behind the collection's last.
fn add_to_block(patch: &mut Patch<'_>, id: NodeId, added: &Added<'_>) -> Result<(), Error> {
    let document = patch.document;
    let text = document.text().expose();
    let is_root = document.parent(id).is_none();
    let indent = first_column(document, id);
    if entries(document, id).all(|entry| patch.is_removed(entry)) {
        replace_empty(patch, id, indent, added);
        return Ok(());
    }
    let end = document.node(id).span.end as usize;
    let mut at = after_break(text, line_end(text, end));
    if is_root {
        at = document_end(text, at);
    }
    let step = if is_root { INDENT } else { step(document) };
    if at == text.len() && ends_in_open_block(document, id) {
        // A line break behind it would become part of its value, so the new lines go before the last entry. In a list
        // that would be another order.
        let last = entries(document, id).last().map_or(0, |last| document.node(last).entry.start as usize);
        let line = line_start(text, last);
        if skip_blanks(text, line) != last || matches!(added, Added::Item(_)) {
            let problem =
                "the text must end with a line break before something can be added behind its last block of text";
            return Err(ErrorKind::Unrepresentable(problem.into()).into());
        }
        at = line;
    }
    write_lines(patch, at, indent, step, added);
    Ok(())
}

/// Takes the place of the `{}` or `[]` that the last of a collection's entries left when it was removed.
fn replace_empty(patch: &mut Patch<'_>, id: NodeId, indent: usize, added: &Added<'_>) {
    let document = patch.document;
    let range = entries(document, id).map(|entry| document.node(entry).entry.range());
    let Some(range) = range.max_by_key(|range| patch.splices.iter().position(|splice| splice.range == *range)) else {
        return;
    };
    let had = patch.splices.len();
    patch.splices.retain(|splice| splice.range != range);
    if patch.splices.len() == had {
        // A document behind `---`, of which nothing was left.
        let at = document_end(document.text().expose(), range.end);
        write_lines(patch, at, indent, INDENT, added);
        return;
    }
    let from = patch.buffer.len();
    let newline = newline(document.text().expose());
    let mut writer =
        BlockWriter { out: &mut patch.buffer, newline, step: INDENT, literals: false, ended_in_literal: false };
    added.write_block(&mut writer, indent);
    patch.splice(range, from);
}

/// Writes lines at a place that begins a line, or ends a text without a last line break.
fn write_lines(patch: &mut Patch<'_>, at: usize, indent: usize, step: usize, added: &Added<'_>) {
    let text = patch.document.text().expose();
    let newline = newline(text);
    let unended = at == text.len() && at > 0 && !ends_with_break(text);
    let mut literals = !unended;
    let from = patch.buffer.len();
    loop {
        patch.buffer.truncate(from);
        if unended {
            patch.buffer.put(newline);
        }
        put_spaces(&mut patch.buffer, indent);
        let mut writer = BlockWriter { out: &mut patch.buffer, newline, step, literals, ended_in_literal: false };
        added.write_block(&mut writer, indent);
        let in_literal = writer.ended_in_literal;
        // The block must not take in what follows it: the break that is written is its last.
        let fits = !in_literal || added.last().is_none_or(|last| follows_well(last, indent, text, at));
        if !fits {
            literals = false;
            continue;
        }
        if !unended {
            patch.buffer.put(newline);
        }
        patch.splice(at..at, from);
        return;
    }
}

/// Whether a literal block at the end of `value` may be followed by the text from `at`, where a line begins.
fn follows_well(value: &Value, indent: usize, text: &[u8], at: usize) -> bool {
    let mut rest = Vec::from(*b"\n");
    rest.extend_from_slice(&text[at..at + first_lines(&text[at..])]);
    may_stand(value, indent, &rest, 0)
}

/// Adds entries to a document that has none, not even braces.
fn add_to_nothing(patch: &mut Patch<'_>, root: NodeId, added: &Added<'_>) {
    let document = patch.document;
    let text = document.text().expose();
    let range = document.node(root).span.range();
    if range.is_empty() {
        let at = after_break(text, line_end(text, range.end));
        write_lines(patch, document_end(text, at), 0, INDENT, added);
        return;
    }
    // `--- ~`
    let from = patch.buffer.len();
    let mut indent = column(text, range.start);
    if skip_blanks(text, line_start(text, range.start)) != range.start {
        patch.buffer.put(newline(text));
        indent = 0;
    }
    let newline = newline(text);
    let mut writer =
        BlockWriter { out: &mut patch.buffer, newline, step: INDENT, literals: false, ended_in_literal: false };
    added.write_block(&mut writer, indent);
    patch.splice(range, from);
}
