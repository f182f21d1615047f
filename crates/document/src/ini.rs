//! INI: sections of `name = value` lines, as `gopkg.in/ini.v1` reads it, which is what sops uses.
//!
//! ```text
//! file    = [BOM] *( blank | comment | section | entry )
//! comment = ("#" | ";") text LF
//! section = "[" name "]" [comment]              name: up to the last "]" of the line
//! entry   = key ("=" | ":") value               key: bare, "quoted", `quoted` or """quoted"""; "-" counts up: #1, #2
//! value   = `raw` | """raw"""                   may go on over lines
//!         | bare "\" LF bare ...                continued, lines joined without white space
//!         | ['|"] bare ['|"] [comment]          a # or ; starts a comment anywhere, in quotes too
//! ```
//! White space around all of these is dropped. [`read`] has the details.
//!
//! The tree is sops': a map of sections, each a map of strings. Entries before the first section are in the section
//! `DEFAULT`, which is always there. A section may come twice and stays two. A comment belongs to the section or entry below
//! it, and stands as that section's first child, or behind that entry: sops' rules about comments depend on this order. All
//! comment lines above an entry are one comment.
//!
//! Where this differs from sops:
//! - The same key twice in one section is an error. sops keeps the last value, and the first would stay in the encrypted
//!   file in plain.
//! - A value that the end of the file cuts off (a backslash, or `"""` without its end) is an error: what is added below
//!   would become a part of it.
//! - Comments behind the last entry of the file are kept, as children of the root (whose path sops does not use). sops drops them.
//!   New sections are put above them, so that they stay what they are.
//! - A comment at the end of an entry's line is a comment of its own. sops joins it to the lines above the entry; when it
//!   decrypts a file of ours that has both, the one at the end of the line is lost.
//! - A comment behind a section's header cannot hold a ciphertext, because the name ends at the last `]` of the line. It is written
//!   on a line of its own below the header then, and an empty comment behind the header says that it belongs there.
//! - A comment behind a closing `` ` `` or `"""` is kept. sops drops it.

mod edit;
mod emit;
mod read;

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use bulla_core::SecretBytes;
use zeroize::Zeroizing;

use crate::model::{Node, NodeValue, Span, Text};
use crate::{Document, Error, ErrorKind, Kind, Limits, NodeId, Syntax};

pub(crate) use edit::{insert, remove, render_scalar, restores, set_value, settle};
pub(crate) use emit::emit;
use read::{Contents, line_end, trim, trim_end, trim_start};

/// The section of the entries before the first section.
const DEFAULT: &str = "DEFAULT";

/// The style of a comment behind a section's header.
const HEADER_COMMENT: u8 = 1;

pub(crate) fn parse(text: SecretBytes, limits: &Limits) -> Result<Document, Error> {
    let mut parser = Parser {
        text: text.expose(),
        nodes: Vec::new(),
        limits,
        section: 1,
        comments: None,
        keys: HashSet::new(),
        counter: 0,
    };
    match parser.document() {
        Ok(()) => {
            let nodes = parser.nodes;
            Ok(Document::new(Syntax::Ini, text, nodes, vec![NodeId(0)]))
        }
        Err((at, kind)) => Err(Error::in_text(text.expose(), at, kind)),
    }
}

/// What is wrong, and at which byte.
type Fault = (usize, ErrorKind);

struct Parser<'t> {
    text: &'t [u8],
    nodes: Vec<Node>,
    limits: &'t Limits,
    /// The section that is being read.
    section: usize,
    /// Comment lines that wait for what they belong to.
    comments: Option<Comments>,
    /// The keys of the section.
    keys: HashSet<Cow<'t, [u8]>>,
    /// How many keys of the section were `-`.
    counter: usize,
}

/// Comment lines with nothing but blank lines between them.
struct Comments {
    /// Where the first line starts, its indentation included.
    start: usize,
    /// From the first comment sign to the end of the last comment, its white space excluded.
    text: Range<usize>,
    lines: usize,
}

impl<'t> Parser<'t> {
    fn document(&mut self) -> Result<(), Fault> {
        let start = if self.text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        if self.text.starts_with(b"\xfe\xff") || self.text.starts_with(b"\xff\xfe") {
            return Err((0, ErrorKind::InvalidUtf8));
        }
        let all = 0..self.text.len();
        self.push(0, Kind::Map, None, NodeValue::None, all.clone(), all)?;
        let name = Text::Owned(Zeroizing::new(DEFAULT.as_bytes().into()));
        self.push(0, Kind::Map, Some(name), NodeValue::None, start..start, start..start)?;
        let mut at = start;
        while at < self.text.len() {
            at = self.line(at)?;
        }
        self.nodes[self.section].end = self.count();
        if let Some(comments) = self.comments.take() {
            self.comment_lines(0, comments)?;
        }
        self.nodes[0].end = self.count();
        Ok(())
    }

    /// Reads what starts on the line at `start`; gives the start of the line after it.
    fn line(&mut self, start: usize) -> Result<usize, Fault> {
        let end = line_end(self.text, start);
        let line = trim_start(self.text, start..end);
        match self.text[line.clone()].first() {
            None => Ok(end),
            Some(b'#' | b';') => {
                let text = trim_end(self.text, line);
                match &mut self.comments {
                    Some(comments) => {
                        comments.text.end = text.end;
                        comments.lines += 1;
                    }
                    None => self.comments = Some(Comments { start, text, lines: 1 }),
                }
                Ok(end)
            }
            Some(b'[') => self.section(start, line),
            Some(_) => self.entry(start, line),
        }
    }

    fn section(&mut self, start: usize, line: Range<usize>) -> Result<usize, Fault> {
        let Some(close) = memchr::memrchr(b']', &self.text[line.clone()]) else {
            return Err((start, syntax("a section whose `[` is not closed")));
        };
        let close = line.start + close;
        let name = line.start + 1..close;
        if name.is_empty() {
            return Err((start, syntax("a section without a name")));
        }
        self.utf8(&name)?;
        let comments = self.comments.take();
        let entry = comments.as_ref().map_or(start, |comments| comments.start)..line.end;
        self.nodes[self.section].end = self.count();
        self.keys.clear();
        self.counter = 0;
        let key = Text::Source(Span::new(name.start, name.end));
        self.section = self.push(0, Kind::Map, Some(key), NodeValue::None, line.end..line.end, entry)?;
        if let Some(comments) = comments {
            self.comment_lines(self.section, comments)?;
        }
        let rest = close + 1..line.end;
        match memchr::memchr2(b'#', b';', &self.text[rest.clone()]) {
            Some(sign) => self.header_comment(trim_end(self.text, rest.start + sign..rest.end), line.end),
            None => Ok(line.end),
        }
    }

    /// A comment behind a header whose line ends at `end`. If it is empty, a comment right below it is meant.
    fn header_comment(&mut self, comment: Range<usize>, end: usize) -> Result<usize, Fault> {
        // White space behind the sign stays there when a text comes below it.
        let start = self.comment_text(&(comment.start..end)).start;
        let next = line_end(self.text, end);
        let below = trim(self.text, end..next);
        let has_below = matches!(self.text[below.clone()].first(), Some(b'#' | b';'));
        let (text, next) = if start >= comment.end && has_below {
            (self.comment_text(&below), next)
        } else {
            (start..comment.end.max(start), end)
        };
        let value = NodeValue::Str(Text::Source(Span::new(text.start, text.end)));
        let id = self.push(self.section, Kind::Comment, None, value, start..text.end, comment.start..text.end)?;
        self.nodes[id].style = HEADER_COMMENT;
        let header = &mut self.nodes[self.section];
        header.span = Span::new(next, next);
        header.entry.end = header.span.end;
        Ok(next)
    }

    fn entry(&mut self, start: usize, line: Range<usize>) -> Result<usize, Fault> {
        let (key, value) = read::key(self.text, line).map_err(|message| (start, syntax(message)))?;
        self.utf8(&key)?;
        let text: &'t [u8] = self.text;
        let (key, name) = if &text[key.clone()] == b"-" {
            self.counter += 1;
            let name = format!("#{}", self.counter).into_bytes();
            (Text::Owned(Zeroizing::new(name.as_slice().into())), Cow::Owned(name))
        } else {
            (Text::Source(Span::new(key.start, key.end)), Cow::Borrowed(&text[key]))
        };
        if !self.keys.insert(name.clone()) {
            return Err((start, ErrorKind::DuplicateKey(String::from_utf8_lossy(&name).into_owned())));
        }
        let value = read::value(self.text, value).map_err(|message| (start, syntax(message)))?;
        let decoded = match value.contents {
            Contents::Source(range) => Text::Source(Span::new(range.start, range.end)),
            Contents::Joined(bytes) => Text::Owned(Zeroizing::new(bytes.as_slice().into())),
        };
        let comments = self.comments.take();
        let section = self.section;
        let end = value.next;
        let id = self.push(section, Kind::Scalar, Some(key), NodeValue::Str(decoded), value.span, start..end)?;
        self.nodes[id].style = value.style as u8;
        let body = &mut self.nodes[section];
        if section == 1 && body.span.start == body.span.end {
            // The section without a header starts with its first entry.
            let start = comments.as_ref().map_or(start, |comments| comments.start);
            body.span = Span::new(start, end);
            body.entry = body.span;
        }
        body.span.end = Span::new(0, end).end;
        body.entry.end = body.span.end;
        if let Some(comments) = comments {
            self.comment_lines(section, comments)?;
        }
        if let Some(comment) = value.comment {
            self.comment(section, comment.clone(), comment, 1)?;
        }
        Ok(value.next)
    }

    /// Lines of comments, which are one comment.
    fn comment_lines(&mut self, parent: usize, comments: Comments) -> Result<(), Fault> {
        let entry = comments.start..line_end(self.text, comments.text.end);
        self.comment(parent, entry, comments.text, comments.lines)
    }

    /// A comment as a child of `parent`.
    fn comment(
        &mut self,
        parent: usize,
        entry: Range<usize>,
        comment: Range<usize>,
        lines: usize,
    ) -> Result<(), Fault> {
        let text = self.comment_text(&comment);
        let value = if lines == 1 {
            Text::Source(Span::new(text.start, text.end))
        } else {
            Text::Owned(Zeroizing::new(self.joined(&text).as_slice().into()))
        };
        self.push(parent, Kind::Comment, None, NodeValue::Str(value), text, entry)?;
        Ok(())
    }

    /// A comment without its first sign and the spaces and signs like it that follow.
    fn comment_text(&self, comment: &Range<usize>) -> Range<usize> {
        let bytes = &self.text[comment.clone()];
        let is_sign = |byte: &&u8| **byte == bytes[0] || **byte == b' ';
        comment.start + bytes.iter().take_while(is_sign).count()..comment.end
    }

    /// The lines of a comment without indentation and blank lines.
    fn joined(&self, text: &Range<usize>) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
        let mut at = text.start;
        while at < text.end {
            let end = line_end(self.text, at).min(text.end);
            let line = if at == text.start { at..end } else { trim_start(self.text, at..end) };
            out.extend_from_slice(&self.text[line]);
            at = end;
        }
        out
    }

    fn utf8(&self, range: &Range<usize>) -> Result<(), Fault> {
        match std::str::from_utf8(&self.text[range.clone()]) {
            Ok(_) => Ok(()),
            Err(_) => Err((range.start, ErrorKind::InvalidUtf8)),
        }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    fn push(
        &mut self,
        parent: usize,
        kind: Kind,
        key: Option<Text>,
        value: NodeValue,
        span: Range<usize>,
        entry: Range<usize>,
    ) -> Result<usize, Fault> {
        let id = self.nodes.len();
        if id >= self.limits.nodes.min(u32::MAX as usize) {
            return Err((entry.start, ErrorKind::Limit(format!("more than {} values", self.limits.nodes))));
        }
        self.nodes.push(Node {
            kind,
            style: 0,
            is_virtual: false,
            is_alias: false,
            non_string_key: false,
            parent: u32::try_from(parent).unwrap_or(u32::MAX),
            end: self.count() + 1,
            span: Span::new(span.start, span.end),
            entry: Span::new(entry.start, entry.end),
            key,
            value,
        });
        Ok(id)
    }
}

fn syntax(message: &str) -> ErrorKind {
    ErrorKind::Syntax(message.into())
}

/// The white space of a stretch of text taken off at both ends.
fn trimmed(text: &[u8]) -> &[u8] {
    &text[trim(text, 0..text.len())]
}

#[cfg(test)]
mod tests;
