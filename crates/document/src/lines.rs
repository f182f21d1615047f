//! Taking whole lines out of a text and adding them at its end, so that one undoes the other.

use std::ops::Range;

use crate::{Patch, Syntax};

/// Turns the lines that were taken out into splices. A text that does not end in a line end has it before its last
/// line instead: where the last line goes, the line end before it goes too.
pub(crate) fn settle(patch: &mut Patch<'_>) {
    let mut lines = std::mem::take(&mut patch.lines);
    lines.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(lines.len());
    for range in lines {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    let text = patch.document.text.expose();
    if let Some(last) = merged.last_mut()
        && last.end == text.len()
        && last.start < last.end
        && text[last.end - 1] != b'\n'
        && text[..last.start].ends_with(b"\n")
    {
        // A dotenv line that ends in a CR has it in its value.
        let has_cr = patch.document.syntax != Syntax::Dotenv && text[..last.start].ends_with(b"\r\n");
        last.start -= if has_cr { 2 } else { 1 };
    }
    for range in merged {
        patch.replace(range, b"");
    }
}

/// Puts lines, written to the buffer from `start` on and each with its line end, at the start of the line at `at`. At the end
/// of a text that does not end in a line end, they come to end in none either.
pub(crate) fn insert(patch: &mut Patch<'_>, at: usize, start: usize, newline: &[u8]) {
    let text = patch.document.text.expose();
    if patch.buffer.len() == start {
        return;
    }
    if at == text.len() && at > 0 && !text.ends_with(b"\n") {
        let lines = start..patch.buffer.len() - newline.len();
        patch.buffer.truncate(lines.end);
        let start = patch.buffer.len();
        patch.buffer.extend_from_slice(newline);
        patch.copy_in_buffer(lines);
        patch.splice(at..at, start);
    } else {
        patch.splice(at..at, start);
    }
}

/// Puts lines at the end of the text: see [`insert`].
pub(crate) fn append(patch: &mut Patch<'_>, start: usize, newline: &[u8]) {
    insert(patch, patch.document.text.len(), start, newline);
}
