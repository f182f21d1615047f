//! Entries and items that go. What is removed takes its line's comment with it; comments above it stay.

use super::around::{
    before_break, block_may_meet, check_own, entries, gap_behind, indentless, is_marked, last_block, wants_break,
};
use super::chars::is_blank;
use super::style::{Form, TAGGED, form};
use super::text::{after_break, line_end, line_start, skip_blanks};
use super::write::put_spaces;
use crate::sink::Sink;
use crate::{Error, ErrorKind, Kind, NodeId, Patch};

/// See [`Patch::remove`].
pub(crate) fn remove(patch: &mut Patch<'_>, id: NodeId) -> Result<(), Error> {
    let document = patch.document;
    check_own(document, id)?;
    let node = document.node(id);
    let Some(parent) = document.parent(id) else {
        return Err(ErrorKind::Path("a whole document cannot be removed".into()).into());
    };
    if node.kind == Kind::Comment {
        // Its `#` stays, with nothing behind it.
        patch.replace(node.span.range(), b"");
        return Ok(());
    }
    let siblings = siblings(patch, id, parent);
    match form(document.node(parent).style) {
        Form::Pair => {
            let problem = "a list's 'key: value' without braces must have its entry";
            Err(ErrorKind::Unrepresentable(problem.into()).into())
        }
        Form::Flow => {
            remove_from_flow(patch, id, parent, &siblings);
            Ok(())
        }
        _ => remove_from_block(patch, id, parent, &siblings),
    }
}

/// Looks at the entries around one. Removals in document order look at each entry once.
fn siblings(patch: &mut Patch<'_>, id: NodeId, parent: NodeId) -> Siblings {
    let document = patch.document;
    let mut siblings = Siblings::default();
    let mut next = parent.0 + 1;
    if let Some(&(last, stays_before)) = patch.last_removed.get(&parent)
        && last < id
    {
        next = document.node(last).end;
        siblings = Siblings { previous: Some(last), stays_before, after: None };
    }
    let end = document.node(parent).end;
    while next < end {
        let sibling = NodeId(next);
        next = document.node(sibling).end;
        if document.kind(sibling) == Kind::Comment {
            continue;
        }
        let stays = !patch.is_removed(sibling);
        if sibling < id {
            siblings.previous = Some(sibling);
            siblings.stays_before |= stays;
        } else if sibling > id && stays {
            siblings.after = Some(sibling);
            break;
        }
    }
    patch.last_removed.insert(parent, (id, siblings.stays_before));
    siblings
}

/// The entries around one.
#[derive(Default)]
struct Siblings {
    /// The one before, removed or not.
    previous: Option<NodeId>,
    /// Whether any of those before stays.
    stays_before: bool,
    /// The first behind it that stays.
    after: Option<NodeId>,
}

/// Each entry takes the comma before it along, the first the one behind it; the ranges of several never cross.
fn remove_from_flow(patch: &mut Patch<'_>, id: NodeId, parent: NodeId, siblings: &Siblings) {
    let document = patch.document;
    let text = document.text().expose();
    let entry = document.node(id).entry.range();
    if let Some(previous) = siblings.previous.filter(|_| siblings.stays_before) {
        let from = document.node(previous).entry.end as usize;
        if text[from..entry.start].contains(&b'#') {
            // The comments between them stay.
            if let Some(comma) = comma(text, from) {
                patch.replace(comma..comma + 1, b"");
            }
            patch.replace(entry, b"");
            return;
        }
        let blank = text.get(entry.end).is_none_or(|&byte| is_blank(byte));
        let gap = if blank { b"" } else { gap_behind(document, previous) };
        patch.replace(from..entry.end, gap);
        return;
    }
    if let Some(after) = siblings.after {
        let to = document.node(after).entry.start as usize;
        if !text[entry.end..to].contains(&b'#') {
            patch.replace(entry.start..to, b"");
            return;
        }
        patch.replace(entry, b"");
        // The commas of those between, which are gone, go as well.
        for gone in (id.0..after.0).map(NodeId).filter(|&gone| document.parent(gone) == Some(parent)) {
            if let Some(comma) = comma(text, document.node(gone).entry.end as usize)
                && !patch.splices.iter().any(|splice| splice.range.contains(&comma))
            {
                patch.replace(comma..comma + 1, b"");
            }
        }
        return;
    }
    // Nothing stays: all goes at once, whatever went before.
    let all = entries(document, parent).map(|entry| document.node(entry).entry.range());
    let (start, end) =
        all.fold((entry.start, entry.end), |(start, end), range| (start.min(range.start), end.max(range.end)));
    let end = comma(text, end).filter(|&comma| !text[end..comma].contains(&b'#')).map_or(end, |comma| comma + 1);
    patch.splices.retain(|splice| splice.range.end < start || splice.range.start > end);
    patch.replace(start..end, b"");
}

/// The comma that follows an entry, if nothing but blanks, breaks and comments stand before it.
fn comma(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at < text.len() {
        match text[at] {
            b',' => return Some(at),
            b'#' => at = line_end(text, at),
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            _ => return None,
        }
    }
    None
}

fn remove_from_block(patch: &mut Patch<'_>, id: NodeId, parent: NodeId, siblings: &Siblings) -> Result<(), Error> {
    let document = patch.document;
    let text = document.text().expose();
    let entry = document.node(id).entry.range();
    let line = line_start(text, entry.start);
    let mut own_line = skip_blanks(text, line) == entry.start;
    if !siblings.stays_before && siblings.previous.is_some() {
        // Where the first shared its line with what holds it (`- a: 1`), this one has come to that line.
        let first = entries(document, parent).next().map_or(0, |first| document.node(first).entry.start as usize);
        own_line &= skip_blanks(text, line_start(text, first)) == first;
    }
    let stop = line_end(text, entry.end);
    let after = after_break(text, stop);
    if !siblings.stays_before && siblings.after.is_none() {
        // A document that begins with `---` is a map without entries when nothing stands in it.
        let node = document.node(parent);
        let is_root = document.parent(parent).is_none();
        if !(is_root && own_line && node.style & TAGGED == 0 && is_marked(document, parent)) {
            let start = patch.buffer.len();
            if !is_root && node.kind == Kind::Seq {
                put_spaces(&mut patch.buffer, indentless(document, node));
            }
            patch.buffer.put(if node.kind == Kind::Map { b"{}" } else { b"[]" });
            patch.splice(entry, start);
            return Ok(());
        }
    }
    if own_line {
        let block = siblings.previous.and_then(|previous| last_block(document, previous));
        let break_before = before_break(text, line);
        let joins = block.is_some_and(|block| block.span.end as usize == break_before && wants_break(document, block));
        if after == stop && line > 0 && !joins {
            // The text's last line has no break; neither has the one before it, when it is the last. Two changes, since that
            // break may be gone already.
            patch.replace(break_before..line, b"");
            patch.replace(line..stop, b"");
            return Ok(());
        }
        if let Some(block) = block
            && !block_may_meet(document, block, &text[after..])
        {
            let problem = "the comment below the entry would become part of the text above it; move it first";
            return Err(ErrorKind::Unrepresentable(problem.into()).into());
        }
        patch.replace(line..after, b"");
        return Ok(());
    }
    // `- a: 1`, of which the next entry takes the place.
    let next = siblings.after.map(|after| document.node(after).entry.start as usize);
    let is_space = |byte: &u8| is_blank(*byte) || matches!(byte, b'\n' | b'\r');
    match next {
        Some(next) if text[entry.end..next].iter().all(is_space) => patch.replace(entry.start..next, b""),
        _ => patch.replace(entry.start..stop, b""),
    }
    Ok(())
}
