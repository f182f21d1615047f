//! Comments, and which tokens they belong to.
//!
//! yaml.v3 tells three kinds apart: a *line* comment ends a token's line; a *head* comment stands above the token that
//! it belongs to; a *foot* comment stands below it, before an empty line or a dedent. The rules look at columns, at empty
//! lines and at how far the scanner is; the tests compare them with yaml.v3's over many texts.

use super::super::chars::{break_at, is_blank};
use super::{Mark, Scanner, TokenKind};
use crate::model::Span;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum CommentKind {
    Head,
    Line,
    Foot,
}

/// A piece of a comment's text: the bytes of one line, or what joins lines. Two joints in a row are an empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Piece {
    /// One line, `#` included.
    Line(Span),
    Joint,
}

/// A comment of one or more lines. Places are indexes of characters, as in [`Mark`].
pub(in super::super) struct Comment {
    pub(in super::super) kind: CommentKind,
    pub(in super::super) text: Vec<Piece>,
    /// It belongs to the first token that does not stand before this place.
    pub(in super::super) token: u32,
    /// Where the search that found it began.
    pub(super) scan: u32,
    /// Where it starts; its column counts from 1 (from 0 for a line comment).
    pub(super) start: Mark,
    pub(super) end: u32,
}

/// How far the scanner looks for the next comment.
const LOOKAHEAD: u32 = 512;

impl Scanner<'_> {
    /// Takes the comment that ends the current line, if there is one, for the token at `token`.
    pub(super) fn scan_line_comment(&mut self, token: u32) {
        if self.newlines > 0 {
            return;
        }
        let rest = &self.text[self.at.pos as usize..];
        let blanks = rest.iter().take(LOOKAHEAD as usize).take_while(|&&byte| is_blank(byte)).count();
        if blanks >= LOOKAHEAD as usize || rest.get(blanks) != Some(&b'#') {
            return;
        }
        self.skip_blanks(blanks);
        let start = self.at;
        let line = self.read_comment();
        self.comments.push_back(Comment {
            kind: CommentKind::Line,
            text: vec![Piece::Line(line)],
            token,
            scan: 0,
            start,
            end: 0,
        });
    }

    /// Takes the comments from the current `#` on, each line of them.
    ///
    /// Written along yaml.v3's own walk: `peek` runs ahead over blanks and breaks (CRLF is two breaks to it), `line` and
    /// `column` are what it believes them to be.
    pub(super) fn scan_comments(&mut self, scan_start: Mark) {
        let count = self.queue.len();
        let Some(mut of) = self.queue.back() else { return };
        if of.kind == TokenKind::FlowEntry && count > 1 {
            of = &self.queue[count - 2];
        }
        let after_value = of.kind == TokenKind::Value;
        let next_indent = self.indent.max(0);
        let first_column = self.at.column;
        let mut walk = Walk {
            scan: scan_start.index,
            token: of.start.index,
            start: Mark::default(),
            line: self.at.line,
            column: i64::from(self.at.column),
            text: Vec::new(),
        };
        let mut recent_empty = false;
        let mut first_empty = self.newlines <= 1;
        // The line that a foot of what stands before must start on.
        let mut foot_line = None;
        if scan_start.line > 0 {
            foot_line = Some(self.at.line + 1 - self.newlines);
            if self.newlines == 0 && first_column > 1 {
                foot_line = Some(self.at.line + 2);
            }
        }
        let mut peek = 0;
        while peek < LOOKAHEAD {
            walk.column += 1;
            let pos = (self.at.pos + peek) as usize;
            let byte = self.text.get(pos).copied().unwrap_or(0);
            if is_blank(byte) {
                peek += 1;
                continue;
            }
            let close = self.flow > 0 && matches!(byte, b']' | b'}');
            let is_break = break_at(self.text, pos) > 0;
            if close || is_break || byte == 0 {
                if close || !recent_empty {
                    let dedented = i64::from(walk.start.column) - 1 < next_indent;
                    let at_foot = Some(walk.start.line) == foot_line && !after_value;
                    if close || (first_empty && (at_foot || dedented)) {
                        if dedented && !walk.text.is_empty() {
                            walk.token = walk.start.index;
                        }
                        self.push_foot(&mut walk, peek);
                    } else if !walk.text.is_empty() && byte != 0 {
                        walk.text.push(Piece::Joint);
                    }
                }
                if !is_break {
                    break;
                }
                first_empty = false;
                recent_empty = true;
                walk.column = 0;
                walk.line += 1;
                peek += 1;
                continue;
            }
            // Another indentation: below what stands before, not above what comes.
            if walk.column - 1 < next_indent && walk.column != i64::from(walk.start.column) {
                self.push_foot(&mut walk, peek);
            }
            if byte != b'#' {
                break;
            }
            if walk.text.is_empty() {
                walk.start = Mark {
                    pos: self.at.pos + peek,
                    index: self.at.index + peek,
                    line: walk.line,
                    column: u32::try_from(walk.column).unwrap_or(u32::MAX),
                };
            } else {
                walk.text.push(Piece::Joint);
            }
            recent_empty = false;
            let hash = self.at.pos + peek;
            while self.at.pos < hash {
                if !self.skip_break() {
                    self.skip_char();
                }
            }
            let line = self.read_comment();
            walk.text.push(Piece::Line(line));
            // The walk goes on behind the break's first byte.
            peek = 1;
            walk.column = 0;
            walk.line = self.at.line;
        }
        if !walk.text.is_empty() {
            self.comments.push_back(Comment {
                kind: CommentKind::Head,
                text: walk.text,
                token: walk.start.index,
                scan: walk.scan,
                start: walk.start,
                end: (self.at.index + peek).saturating_sub(1),
            });
        }
    }

    /// What was gathered belongs below what stands before.
    fn push_foot(&mut self, walk: &mut Walk, peek: u32) {
        if walk.text.is_empty() {
            return;
        }
        let end = self.at.index + peek;
        self.comments.push_back(Comment {
            kind: CommentKind::Foot,
            text: std::mem::take(&mut walk.text),
            token: walk.token,
            scan: walk.scan,
            start: walk.start,
            end,
        });
        walk.scan = end;
        walk.token = end;
    }

    /// Moves from `#` to the line's end.
    fn read_comment(&mut self) -> Span {
        let start = self.at.pos;
        while !self.is_break_or_end(0) {
            self.skip_run();
        }
        let line = Span { start, end: self.at.pos };
        self.seen_comments.push(line);
        line
    }
}

struct Walk {
    scan: u32,
    token: u32,
    start: Mark,
    line: u32,
    column: i64,
    text: Vec<Piece>,
}
