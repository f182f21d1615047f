//! Entries of arrays and inline tables, put in and taken out with their commas.

use std::ops::Range;

use super::Form;
use crate::patch::EntryChange;
use crate::sink::Sink;
use crate::{Document, Kind, NodeId, Patch};

/// Turns the entries that were added and removed into splices. What comes out is the exact inverse of what goes in: see
/// [`json`](crate::json), whose rules these are, with TOML's commas behind the last entry and comments between entries added.
pub(super) fn settle(patch: &mut Patch<'_>) {
    let mut changes = std::mem::take(&mut patch.entries);
    changes.sort_by_key(|(container, _)| *container);
    for group in changes.chunk_by(|(a, _), (b, _)| a == b) {
        settle_one(patch, group);
    }
}

/// The `=` of the entries of an inline table with the white space around it.
pub(super) fn delimiter(document: &Document, table: NodeId) -> Vec<u8> {
    let text = document.text.expose();
    let last = document.children(table).filter(|&child| document.kind(child) != Kind::Comment).last();
    let before = last.map(|id| document.node(id)).map(|node| &text[node.entry.range().start..node.span.range().start]);
    let Some(before) = before else { return b" = ".to_vec() };
    let Some(at) = before.iter().rposition(|&byte| byte == b'=') else { return b" = ".to_vec() };
    let start = before[..at].iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |end| end + 1);
    before[start..].to_vec()
}

/// An entry in the text.
struct Entry {
    range: Range<usize>,
    /// The end of the comma behind it, if there is one.
    comma: Option<usize>,
    /// The end of what belongs to its line: comma and comment.
    trail: usize,
    stays: bool,
}

impl Entry {
    /// The end of the entry and its comma.
    fn end(&self) -> usize {
        self.comma.unwrap_or(self.range.end)
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
    let entries = entries(document, container, &removed);
    let Some(last) = entries.iter().rposition(|entry| entry.stays) else {
        return settle_empty(patch, container, &entries, &added);
    };
    remove_runs(patch, &entries);
    let separator = separator(document, container, &entries);
    let has_comma = entries.last().is_some_and(|last| last.comma.is_some());
    let end = &entries[last];
    for body in added {
        let start = patch.buffer.len();
        let (at, before, after): (usize, &[u8], &[u8]) =
            if has_comma { (end.trail, &separator[1..], b",") } else { (end.range.end, &separator, b"") };
        patch.buffer.put(before);
        patch.copy_in_buffer(body);
        patch.buffer.put(after);
        patch.splice(at..at, start);
    }
}

/// Takes out the entries that do not stay, between others that do.
fn remove_runs(patch: &mut Patch<'_>, entries: &[Entry]) {
    let text = patch.document.text.expose();
    let mut previous: Option<&Entry> = None;
    let mut at = 0;
    for run in entries.chunk_by(|a, b| a.stays == b.stays) {
        let last = &run[run.len() - 1];
        at += run.len();
        if run[0].stays {
            previous = Some(last);
            continue;
        }
        if at < entries.len() {
            for entry in run {
                patch.replace(with_lead(text, entry), b"");
            }
        } else if let Some(previous) = previous {
            let between = &text[previous.range.end..run[0].range.start];
            let has_comment = between.contains(&b'#');
            let keeps_comma = last.comma.is_some() || has_comment;
            let is_below = text[previous.range.end..last.range.start].contains(&b'\n');
            // The comment of a line goes with the last entry on it.
            let end = if is_below { last.comma.map_or(last.range.end, |_| last.trail) } else { last.end() };
            let start = match memchr::memrchr(b'\n', between) {
                // Something would come to stand behind the comment.
                Some(line) if has_comment && !is_line_end(&text[end..]) => previous.range.end + line + 1,
                _ if keeps_comma => previous.trail,
                _ => previous.range.end,
            };
            patch.replace(start..end, b"");
        }
    }
}

/// Whether nothing more stands on the line.
fn is_line_end(rest: &[u8]) -> bool {
    let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
    rest.get(blank) == Some(&b'\n')
}

/// An entry with what goes along when others follow: its comma and comment; its line if it has one, else the space behind.
fn with_lead(text: &[u8], entry: &Entry) -> Range<usize> {
    let is_blank = |byte: &&u8| matches!(**byte, b' ' | b'\t');
    let before = text[..entry.range.start].iter().rev().take_while(is_blank).count();
    let start = entry.range.start - before;
    let end = entry.trail + text[entry.trail..].iter().take_while(is_blank).count();
    let line_end = if text[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
    let is_line = text[..start].ends_with(b"\n") && text.get(line_end - 1) == Some(&b'\n');
    if is_line {
        start..line_end
    } else if is_line_end(&text[end..]) {
        start..end
    } else {
        entry.range.start..end
    }
}

fn settle_empty(patch: &mut Patch<'_>, container: NodeId, entries: &[Entry], added: &[Range<usize>]) {
    let document = patch.document;
    let span = document.node(container).span.range();
    let inside = span.start + 1..span.end - 1;
    let separator = separator(document, container, entries);
    let is_table = Form::of(document.node(container).style) == Form::InlineTable;
    let start = patch.buffer.len();
    let joined = |patch: &mut Patch<'_>| {
        for (at, body) in added.iter().enumerate() {
            patch.buffer.put(if at > 0 { &separator } else { b"" });
            patch.copy_in_buffer(body.clone());
        }
    };
    let Some((first, last)) = entries.first().zip(entries.last()) else {
        let pad: &[u8] = if is_table && inside.is_empty() { b" " } else { b"" };
        patch.buffer.put(pad);
        joined(patch);
        patch.buffer.put(pad);
        return patch.splice(inside.start..inside.start, start);
    };
    if !added.is_empty() {
        joined(patch);
        patch.splice(first.range.start..last.range.end, start);
    } else if first.range.start == inside.start {
        patch.splice(first.range.start..last.end(), start);
    } else {
        patch.splice(inside, start);
    }
}

/// A comma and the white space that stands before the last entry.
fn separator(document: &Document, container: NodeId, entries: &[Entry]) -> Vec<u8> {
    let text = document.text.expose();
    let Some(last) = entries.last() else { return b", ".to_vec() };
    let start = match entries.len().checked_sub(2).map(|at| &entries[at]) {
        Some(previous) => previous.end(),
        None => document.node(container).span.range().start + 1,
    };
    let space = &text[start..last.range.start];
    // A comment before the entry is its own.
    let space = match space.iter().rposition(|&byte| byte == b'#') {
        None => space,
        Some(at) => {
            let end = memchr::memchr(b'\n', &space[at..]).map_or(space.len(), |len| at + len);
            let end = if space[..end].ends_with(b"\r") { end - 1 } else { end };
            &space[end..]
        }
    };
    if entries.len() == 1 && !space.contains(&b'\n') { b", ".to_vec() } else { [b",", space].concat() }
}

fn entries(document: &Document, container: NodeId, removed: &[NodeId]) -> Vec<Entry> {
    let text = document.text.expose();
    let end = document.node(container).span.range().end - 1;
    let leaves = leaves(document, container);
    leaves
        .into_iter()
        .map(|id| {
            let range = document.node(id).entry.range();
            let comma = comma(&text[..end], range.end);
            let trail = comment_end(&text[..end], comma.unwrap_or(range.end));
            Entry { range, comma, trail, stays: removed.binary_search(&id).is_err() }
        })
        .collect()
}

/// The entries in the order of the text: those that dotted keys make inside an inline table stand below it.
fn leaves(document: &Document, container: NodeId) -> Vec<NodeId> {
    let mut leaves = Vec::new();
    let subtree = document.node(container).end;
    let mut at = container.0 + 1;
    while at < subtree {
        let id = NodeId(at);
        let node = document.node(id);
        if Form::of(node.style) == Form::Dotted && node.kind == Kind::Map {
            at += 1;
            continue;
        }
        if node.kind != Kind::Comment {
            leaves.push(id);
        }
        at = node.end;
    }
    leaves.sort_by_key(|&id| document.node(id).entry.start);
    leaves
}

/// The end of the comma that follows, with nothing but white space and comments before it.
fn comma(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match text.get(at)? {
            b',' => return Some(at + 1),
            b'#' => at += memchr::memchr(b'\n', &text[at..])?,
            byte if byte.is_ascii_whitespace() => at += 1,
            _ => return None,
        }
    }
}

/// The end of the comment that follows on the same line, else the place itself.
fn comment_end(text: &[u8], at: usize) -> usize {
    let blank = text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let sign = at + blank;
    if text.get(sign) != Some(&b'#') {
        return at;
    }
    let end = memchr::memchr(b'\n', &text[sign..]).map_or(text.len(), |len| sign + len);
    if text[..end].ends_with(b"\r") { end - 1 } else { end }
}
