//! What stands around the place of a change: columns, documents' ends, blocks of text that must not take in more.

use super::chars::{break_at, is_blank};
use super::literal::literal_may_end;
use super::render::word;
use super::style::{Form, INNER_ANCHOR, TAGGED, form};
use super::text::{after_break, column, ends_with_break, line_end, line_start, skip_blanks};
use crate::model::Node;
use crate::{Document, Error, ErrorKind, Kind, NodeId};

/// The entries of a map or the items of a list, without comments.
pub(super) fn entries(document: &Document, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    document.children(id).filter(|&child| document.kind(child) != Kind::Comment)
}

/// Checks that the node is no copy of what stands elsewhere.
pub(super) fn check_own(document: &Document, id: NodeId) -> Result<(), Error> {
    if document.node(id).is_virtual {
        let problem = "what an alias repeats cannot be changed below it; change the alias, or what it repeats";
        return Err(ErrorKind::Path(problem.into()).into());
    }
    Ok(())
}

pub(super) const MERGED: &str = "the key '<<' must have a map, or a list of maps";

/// Whether a node stands under a plain `<<`, which wants maps.
pub(super) fn is_merged(document: &Document, node: &Node) -> bool {
    let rest = &document.text().expose()[node.entry.start as usize..];
    let key = node.key.as_ref().map(|key| document.bytes(key));
    key == Some(b"<<") && !rest.starts_with(b"\"") && !rest.starts_with(b"'")
}

/// The column of a block collection's entries.
pub(super) fn first_column(document: &Document, id: NodeId) -> usize {
    let text = document.text().expose();
    let first = entries(document, id).next().map(|first| document.node(first).entry.start);
    column(text, first.unwrap_or(document.node(id).span.start) as usize)
}

/// Where the first entry of a node's parent starts.
pub(super) fn parent_start(document: &Document, node: &Node) -> usize {
    let parent = NodeId(node.parent);
    entries(document, parent).next().map_or(0, |first| document.node(first).entry.start as usize)
}

/// How many spaces a value needs that takes the place of a list or a block which stands no further in than its key.
pub(super) fn indentless(document: &Document, node: &Node) -> usize {
    let text = document.text().expose();
    let outer = column(text, parent_start(document, node));
    let start = node.span.start as usize;
    let own_line = skip_blanks(text, line_start(text, start)) == start;
    if own_line { (outer + 1).saturating_sub(column(text, start)) } else { 0 }
}

/// How much further in than its parent a nested block stands here; 4 if there is none near the beginning.
pub(super) fn step(document: &Document) -> usize {
    const NEAR: usize = 64;
    let text = document.text().expose();
    let nodes = document.nodes.iter().take(NEAR);
    nodes
        .filter(|node| node.kind == Kind::Map && form(node.style) == Form::Block && !node.is_alias && !node.is_virtual)
        .find_map(|node| {
            let parent = &document.nodes[node.parent as usize];
            let outer = column(text, parent.span.start as usize);
            let inner = column(text, node.span.start as usize);
            (parent.kind == Kind::Map && inner > outer).then_some(inner - outer)
        })
        .unwrap_or(4)
}

/// Where the `{` or `[` of a flow collection stands.
pub(super) fn open_bracket(document: &Document, id: NodeId) -> usize {
    let node = document.node(id);
    let mut rest = document.source(id);
    for flag in [TAGGED, INNER_ANCHOR] {
        if node.style & flag != 0 {
            rest = word(rest).1;
        }
    }
    node.span.end as usize - rest.len()
}

/// Where the document ends that has nothing but empty lines and comments from `at`, the begin of a line, on.
pub(super) fn document_end(text: &[u8], at: usize) -> usize {
    let mut line = at;
    while line < text.len() {
        if is_marker(text, line) || text[line] == b'%' {
            return line;
        }
        let end = line_end(text, line);
        let next = after_break(text, end);
        if next == end {
            return text.len();
        }
        line = next;
    }
    text.len()
}

/// What must stand between a flow collection's entry and a comma: a space, if the entry ends with a `:` and no value.
pub(super) fn gap_behind(document: &Document, id: NodeId) -> &'static [u8] {
    let end = document.node(id).entry.end;
    let last = document.subtree(id).next_back().map(|last| document.node(last));
    let gap = last.is_some_and(|node| form(node.style) == Form::GapValue && node.span.end == end)
        && document.text().expose()[..end as usize].ends_with(b":");
    if gap { b" " } else { b"" }
}

/// The literal or folded block that a node ends with.
pub(super) fn last_block(document: &Document, id: NodeId) -> Option<&Node> {
    let last = document.subtree(id).rev().map(|last| document.node(last));
    let mut last = last.filter(|node| !node.is_virtual && node.kind != Kind::Comment);
    last.next().filter(|node| node.kind == Kind::Scalar && matches!(form(node.style), Form::Literal | Form::Folded))
}

/// Whether a node ends, at the very end of the text, with a block to which a further line break would belong.
pub(super) fn ends_in_open_block(document: &Document, id: NodeId) -> bool {
    let text = document.text().expose();
    let last = document.subtree(id).next_back().map(|last| document.node(last));
    if last.is_some_and(|node| form(node.style) == Form::GapColon && node.span.end as usize == text.len()) {
        // A key that is a block itself, and has no value.
        return true;
    }
    last_block(document, id).is_some_and(|block| {
        let end = block.span.end as usize;
        let keeps = block_header(document, block).contains(&b'+');
        let rest = &text[end..];
        (end == text.len() && wants_break(document, block))
            || (keeps
                && !ends_with_break(text)
                && rest.iter().all(|&byte| is_blank(byte) || byte == b'\n' || byte == b'\r'))
    })
}

/// Whether the line break behind a block is part of its value.
pub(super) fn wants_break(document: &Document, block: &Node) -> bool {
    let header = block_header(document, block);
    header.len() < block.span.range().len() && !header.contains(&b'-')
}

fn block_header<'d>(document: &'d Document, block: &Node) -> &'d [u8] {
    let source = &document.text().expose()[block.span.range()];
    &source[..line_end(source, 0)]
}

/// Whether the text that `rest` begins may follow a block without becoming part of it.
pub(super) fn block_may_meet(document: &Document, block: &Node, rest: &[u8]) -> bool {
    let text = document.text().expose();
    let header = block_header(document, block);
    let source = &text[block.span.range()];
    let given = header.iter().find(|byte| byte.is_ascii_digit()).map(|digit| usize::from(digit - b'0'));
    let indent = match given {
        Some(given) => column(text, parent_start(document, block)) + given,
        None => block_lines(source).map(|line| skip_blanks(line, 0)).min().unwrap_or(1).max(1),
    };
    let mut lines = Vec::from(*b"\n");
    lines.extend_from_slice(&rest[..first_lines(rest)]);
    literal_may_end(&lines, 0, indent, false, header.contains(&b'+'))
}

/// The lines of a block, of which the first is its header, that are not empty.
fn block_lines(source: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = source.split(|&byte| byte == b'\n' || byte == b'\r').skip(1);
    lines.filter(|line| skip_blanks(line, 0) < line.len())
}

/// The length of the empty lines that a text begins with, and the line behind them.
pub(super) fn first_lines(text: &[u8]) -> usize {
    let mut end = 0;
    while end < text.len() {
        let stop = line_end(text, end);
        let blank = skip_blanks(text, end) >= stop;
        end = after_break(text, stop);
        if !blank || end == stop {
            break;
        }
    }
    end
}

/// Where the line break begins that ends the line before `line`.
pub(super) fn before_break(text: &[u8], line: usize) -> usize {
    let before = &text[..line];
    let length = [&b"\r\n"[..], "\u{85}".as_bytes(), "\u{2028}".as_bytes(), "\u{2029}".as_bytes()]
        .iter()
        .find(|mark| before.ends_with(mark))
        .map_or(1, |mark| mark.len());
    line - length.min(line)
}

/// Whether the line that begins here is a `---` or `...`.
pub(super) fn is_marker(text: &[u8], line: usize) -> bool {
    let rest = &text[line..];
    (rest.starts_with(b"---") || rest.starts_with(b"..."))
        && rest.get(3).is_none_or(|&byte| is_blank(byte) || break_at(rest, 3) > 0)
}

/// Whether a document begins with `---`.
pub(super) fn is_marked(document: &Document, root: NodeId) -> bool {
    let text = document.text().expose();
    let start = document.node(root).entry.start as usize;
    let mut line = line_start(text, start);
    loop {
        if text[line..].starts_with(b"---") && is_marker(text, line) {
            return true;
        }
        let stop = line_end(text, line);
        let blank = skip_blanks(text, line);
        let is_comment = blank >= stop || text[blank] == b'#' || line <= start && start <= stop;
        if line == 0 || !is_comment {
            return false;
        }
        line = line_start(text, before_break(text, line));
    }
}
