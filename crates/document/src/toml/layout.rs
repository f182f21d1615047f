//! How a text is laid out, so that what is added looks like what stands there.

use super::{Form, line_start, start_of};
use crate::{Document, Kind, NodeId};

/// The line end of the text: that of its first line.
pub(super) fn newline(text: &[u8]) -> &'static [u8] {
    match memchr::memchr(b'\n', text) {
        Some(at) if text[..at].ends_with(b"\r") => b"\r\n",
        _ => b"\n",
    }
}

/// The `=` and the white space around it, as in this table, or anywhere.
pub(super) fn delimiter(document: &Document, table: NodeId) -> Vec<u8> {
    let text = document.text.expose();
    let has_key = |id: &NodeId| has_own_line(document, *id) && document.kind(*id) != Kind::Map;
    let model = document.children(table).filter(has_key).last();
    let model = model.or_else(|| document.subtree(document.roots[0]).find(has_key));
    let Some(node) = model.map(|id| document.node(id)) else { return b" = ".to_vec() };
    let before = &text[node.entry.range().start..node.span.range().start];
    let Some(at) = before.iter().rposition(|&byte| byte == b'=') else { return b" = ".to_vec() };
    // Aligned columns are not continued: one space stands for any number.
    let space = |is_there| if is_there { " " } else { "" };
    format!("{}={}", space(before[..at].ends_with(b" ")), space(before[at..].ends_with(b" "))).into_bytes()
}

/// The indentation of the last entry of this table.
pub(super) fn indentation(document: &Document, table: NodeId) -> Vec<u8> {
    let text = document.text.expose();
    let last = document.children(table).filter(|&id| has_own_line(document, id)).last();
    let Some(node) = last.map(|id| document.node(id)) else { return Vec::new() };
    let entry = &text[node.entry.range()];
    entry.iter().copied().take_while(|byte| matches!(byte, b' ' | b'\t')).collect()
}

/// Whether the node is an entry on lines of its own: no table with a header, no comment, not between brackets.
pub(super) fn has_own_line(document: &Document, id: NodeId) -> bool {
    let Some(parent) = document.parent(id) else { return false };
    let is_value = matches!(Form::of(document.node(id).style), Form::Scalar | Form::InlineTable | Form::Array);
    is_value && document.kind(id) != Kind::Comment && !is_between_brackets(document, parent)
}

/// Whether the entries of this map or list stand between brackets. Dotted keys may make tables in there too.
pub(super) fn is_between_brackets(document: &Document, mut id: NodeId) -> bool {
    loop {
        match Form::of(document.node(id).style) {
            Form::InlineTable | Form::Array => return true,
            Form::Dotted => {}
            _ => return false,
        }
        match document.parent(id) {
            Some(parent) => id = parent,
            None => return false,
        }
    }
}

/// Where new lines of a table go: behind its last.
pub(super) fn end_of_lines(document: &Document, table: NodeId) -> usize {
    let text = document.text.expose();
    document.node(table).entry.range().end.max(start_of(text))
}

/// Where new lines of a table that dotted keys make go: behind the last of them.
pub(super) fn end_of_dotted(document: &Document, table: NodeId) -> usize {
    let last = document.node(table).end;
    let mut end = 0;
    let mut at = table.0 + 1;
    while at < last {
        let id = NodeId(at);
        let node = document.node(id);
        if has_own_line(document, id) {
            end = end.max(node.entry.range().end);
        }
        // Tables with headers below it have lines elsewhere.
        at = if Form::of(node.style) == Form::Dotted { at + 1 } else { node.end };
    }
    end
}

/// Where new tables below this one go: behind all there are.
pub(super) fn end_of_subtree(document: &Document, id: NodeId) -> usize {
    let ends = document
        .subtree(id)
        .filter(|&id| document.kind(id) != Kind::Comment)
        .map(|id| document.node(id).entry.range().end);
    ends.max().unwrap_or_default()
}

/// Whether a comment has its line for itself.
pub(super) fn is_comment_alone(document: &Document, id: NodeId) -> bool {
    let text = document.text.expose();
    let start = document.node(id).entry.range().start;
    line_start(text, start) == start
}
