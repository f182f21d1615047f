//! Values that are replaced by whole trees: in block style where that has a place, else on one line.

use super::around::{MERGED, check_own, first_column, indentless, is_merged, parent_start, step};
use super::chars::{break_at, is_blank};
use super::emit::{BlockWriter, may_stand, put_flow};
use super::render::{check_key_ends, check_short_key, word};
use super::style::{Form, INNER_ANCHOR, TAGGED, form};
use super::text::{column, line_start, newline, skip_blanks};
use super::write::put_spaces;
use crate::model::Node;
use crate::sink::Sink;
use crate::{Document, Error, ErrorKind, Kind, NodeId, Patch, Value};

/// See [`Patch::set_value`].
pub(crate) fn set_value(patch: &mut Patch<'_>, id: NodeId, value: &Value) -> Result<(), Error> {
    let document = patch.document;
    check(document, id, value)?;
    let node = document.node(id);
    match (form(node.style), value) {
        (Form::GapDocument, Value::Map(entries)) => super::insert(patch, id, entries),
        _ if takes_block(document, id, value) => {
            write_block(patch, id, value);
            Ok(())
        }
        _ => write_inline(patch, id, value),
    }
}

fn check(document: &Document, id: NodeId, value: &Value) -> Result<(), Error> {
    check_own(document, id)?;
    let node = document.node(id);
    if node.kind == Kind::Comment {
        return Err(ErrorKind::Unrepresentable("a comment must be one line of printable text".into()).into());
    }
    let is_map = matches!(value, Value::Map(_));
    let Some(parent) = document.parent(id).map(|parent| document.node(parent)) else {
        return if is_map { Ok(()) } else { Err(ErrorKind::Root("a document must be a map".into()).into()) };
    };
    let is_mergeable = match value {
        Value::Seq(items) => items.iter().all(|item| matches!(item, Value::Map(_))),
        _ => is_map,
    };
    let in_merged_list = parent.kind == Kind::Seq && is_merged(document, parent);
    if (!is_mergeable && is_merged(document, node)) || (!is_map && in_merged_list) {
        return Err(ErrorKind::Unrepresentable(MERGED.into()).into());
    }
    Ok(())
}

/// Whether the value has entries, and its place room for a block of lines.
fn takes_block(document: &Document, id: NodeId, value: &Value) -> bool {
    let node = document.node(id);
    let text = document.text().expose();
    let has_entries = match value {
        Value::Map(entries) => !entries.is_empty(),
        Value::Seq(items) => !items.is_empty(),
        _ => false,
    };
    let line_rest = skip_blanks(text, node.span.end as usize);
    let ends_line = line_rest >= text.len() || break_at(text, line_rest) > 0;
    // Behind an anchor or a tag no list or map can begin on the same line.
    let anchored = document.parent(id).is_some_and(|parent| document.kind(parent) == Kind::Seq)
        && !is_own_block(document, node)
        && text
            .get(node.entry.start as usize + 1..node.span.start as usize)
            .is_none_or(|between| !between.iter().all(|&byte| is_blank(byte)));
    has_entries
        && ends_line
        && !anchored
        && !in_flow(document, id)
        && !node.is_alias
        && node.style & INNER_ANCHOR == 0
        && !matches!(form(node.style), Form::Flow | Form::GapColon)
}

fn write_inline(patch: &mut Patch<'_>, id: NodeId, value: &Value) -> Result<(), Error> {
    let document = patch.document;
    let text = document.text().expose();
    let node = document.node(id);
    let range = node.span.range();
    let key = &text[node.entry.start as usize..range.start];
    let in_flow = in_flow(document, id);
    let from = patch.buffer.len();
    match form(node.style) {
        _ if node.is_alias => {}
        Form::GapValue => patch.buffer.put(b" "),
        Form::GapColon if in_flow => {
            check_short_key(key)?;
            patch.buffer.put(b": ");
        }
        Form::GapColon => {
            check_key_ends(key, range.end == text.len())?;
            patch.buffer.put(newline(text));
            put_spaces(&mut patch.buffer, column(text, parent_start(document, node)));
            patch.buffer.put(b": ");
        }
        Form::Block | Form::Literal | Form::Folded if !in_flow && document.parent(id).is_some() => {
            put_spaces(&mut patch.buffer, indentless(document, node));
        }
        _ => {}
    }
    if node.style & INNER_ANCHOR != 0 && !node.is_alias {
        let anchor = word(word(document.source(id)).1).0;
        patch.buffer.put(anchor);
        patch.buffer.put(b" ");
    }
    put_flow(value, &mut patch.buffer);
    // A comment may touch a bracket, but nothing plain.
    if text.get(range.end) == Some(&b'#') {
        patch.buffer.put(b" ");
    }
    patch.splice(range, from);
    Ok(())
}

fn write_block(patch: &mut Patch<'_>, id: NodeId, value: &Value) {
    let document = patch.document;
    let text = document.text().expose();
    let node = document.node(id);
    let mut range = node.span.range();
    let is_root = document.parent(id).is_none();
    let indent = if is_root { first_column(document, id) } else { column(text, parent_start(document, node)) };
    let start = column(text, range.start);
    let begins_line = skip_blanks(text, line_start(text, range.start)) == range.start;
    let literals = range.end < text.len() && may_stand(value, indent, text, range.end);
    let from = patch.buffer.len();
    let out = &mut patch.buffer;
    let mut writer =
        BlockWriter { out, newline: newline(text), step: step(document), literals, ended_in_literal: false };
    if is_root {
        if !begins_line {
            writer.line(0);
        }
        writer.whole(value, if begins_line { start } else { 0 });
    } else if is_own_block(document, node) {
        // It keeps its place, unless that is no further in than its key.
        let pad = if start > indent { 0 } else { writer.step };
        put_spaces(writer.out, pad);
        writer.whole(value, start + pad);
    } else if node.key.is_none() {
        let gap = form(node.style) == Form::GapValue;
        if gap {
            writer.out.put(b" ");
        }
        writer.whole(value, if gap { indent + 2 } else { start });
    } else {
        // Behind its key it moves to the next line.
        let blanks = text[..range.start].iter().rev().take_while(|&&byte| is_blank(byte)).count();
        range.start -= blanks;
        writer.value(value, indent);
    }
    patch.splice(range, from);
}

/// Whether the node is a map or list in block style that has lines of its own.
fn is_own_block(document: &Document, node: &Node) -> bool {
    let text = document.text().expose();
    let start = node.span.start as usize;
    form(node.style) == Form::Block && node.style & TAGGED == 0 && skip_blanks(text, line_start(text, start)) == start
}

fn in_flow(document: &Document, id: NodeId) -> bool {
    let parent = document.parent(id).map(|parent| document.node(parent));
    parent.is_some_and(|parent| matches!(form(parent.style), Form::Flow | Form::Pair))
}
