//! Literal blocks: which texts may be one, where one may stand, and how it is written.

use super::chars::{break_at, is_printable};
use super::text::{after_break, line_end, skip_blanks};
use super::write::{is_break, put_spaces};
use crate::sink::Sink;

/// The indentation of a literal block with a header of nothing but `|`, `|-` or `|+`.
pub(super) fn literal_indent(source: &[u8]) -> Option<usize> {
    let rest = source.strip_prefix(b"|")?;
    let rest = rest.strip_prefix(b"-").or_else(|| rest.strip_prefix(b"+")).unwrap_or(rest);
    let start = after_break(rest, 0);
    let lines = &rest[start..];
    let indent = lines.iter().take_while(|&&byte| byte == b' ').count();
    (start > 0 && indent > 0 && break_at(lines, indent) == 0).then_some(indent)
}

/// What becomes of the line breaks at a literal block's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chomp {
    Strip,
    Clip,
    Keep,
}

/// How a literal block of this text must end; `None` if it can be none.
pub(super) fn literal_chomp(text: &str) -> Option<Chomp> {
    let body = text.trim_end_matches('\n');
    let breaks = text.len() - body.len();
    let printable = |c: char| c == '\n' || (is_printable(c) && !is_break(c) && c != '\u{FEFF}');
    // Blanks at a line's end are lost from sight, and easily from the text.
    let ends_blank = |line: &str| line.ends_with([' ', '\t']);
    if body.is_empty()
        || body.starts_with([' ', '\t', '\n'])
        || !body.chars().all(printable)
        || body.split('\n').any(ends_blank)
    {
        return None;
    }
    Some(match breaks {
        0 => Chomp::Strip,
        1 => Chomp::Clip,
        _ => Chomp::Keep,
    })
}

/// Whether a literal block of this indentation may end at `end` without taking in what follows.
pub(super) fn literal_may_end(text: &[u8], end: usize, indent: usize, needs_break: bool, keeps: bool) -> bool {
    if end >= text.len() {
        return !needs_break;
    }
    let mut next = after_break(text, end);
    if next == end {
        return false;
    }
    let mut first = true;
    while next < text.len() {
        let start = next + text[next..].iter().take_while(|&&byte| byte == b' ').count();
        let stop = line_end(text, start);
        if skip_blanks(text, start) < stop {
            return start - next < indent;
        }
        // An empty line: with more on it than indentation, it would be a line of the block.
        if start < stop || start - next > indent || (keeps && first && (stop < text.len() || start > next)) {
            return false;
        }
        first = false;
        let after = after_break(text, stop);
        if after == stop {
            return true;
        }
        next = after;
    }
    true
}

/// Writes a literal block from its `|` on, without the break of its last line. The text must be fit for it.
pub(super) fn put_literal(text: &str, indent: usize, newline: &[u8], out: &mut impl Sink) {
    let chomp = literal_chomp(text);
    out.put(match chomp {
        Some(Chomp::Clip) => b"|",
        Some(Chomp::Keep) => b"|+",
        _ => b"|-",
    });
    let body = if chomp == Some(Chomp::Strip) { text } else { text.strip_suffix('\n').unwrap_or(text) };
    for line in body.split('\n') {
        out.put(newline);
        if !line.is_empty() {
            put_spaces(out, indent);
            out.put(line.as_bytes());
        }
    }
}

/// Whether the text may be a literal block, whatever follows it, and whether a line break must, and no empty line.
pub(super) fn literal_needs(text: &str) -> Option<(bool, bool)> {
    literal_chomp(text).map(|chomp| (chomp != Chomp::Strip, chomp == Chomp::Keep))
}
