//! Dotenv: `NAME=value` lines and comments.
//!
//! # What a text stands for
//! Where sops can read a text, it stands for what sops sees in it, byte for byte, because sops' MAC and the data that
//! binds a value to its name depend on it:
//! ```text
//! file    = line *( LF line )
//! line    = nothing | "#" comment | key "=" value
//! key     = everything up to the first "=", spaces and `export ` included
//! value   = everything up to the line's end, a CR included; `\n` (two characters) stands for a line end
//! ```
//! So the value of `A="x"` is `"x"` with its quotes, and the key of `export A=x` is `export A`. What a program is
//! meant to get is told by [`unquote`] and [`variable_name`]; sops itself passes quotes through when it starts a
//! program (`exec-env`), so whoever stands in for sops must as well.
//!
//! sops refuses a text with any other line. This reads two kinds of them:
//! - white space alone (the blank lines of a text with CRLF line ends) is blank;
//! - a value that opens a quote and closes it on a later line, with nothing but white space or a comment behind,
//!   is one value of several lines. It is taken as such only if a line of it is one that sops refuses; were
//!   it not so, the same text would stand for two trees. A text that has both such a value and a quote that nothing closes
//!   is refused, because encrypting one value could then change where another ends.
//!
//! A value of several lines is given out so that sops, which writes line ends as `\n`, makes of it a value in
//! double quotes that dotenv readers take for the same: `"a`, line end, `b"` is written `"a\nb"`. A value in single quotes, where
//! `\n` would be two characters, is given out in double quotes with `\`, `"` and `$` escaped. The source as it was comes
//! back by [`Patch::set_source`](crate::Patch::set_source).
//!
//! A key may stand there twice, as in sops; the first is the one that is found. A NUL byte is refused: no
//! environment can hold one.

mod edit;
mod meaning;

use bulla_core::SecretBytes;
use zeroize::Zeroizing;

use crate::model::{Node, NodeValue, Span, Text};
use crate::{Document, Error, ErrorKind, Kind, Limits, NodeId, Syntax};

pub(crate) use edit::{emit, insert, remove, render_scalar, restores, set_value};
pub use meaning::{unquote, variable_name};

/// The style of a value that stands on several lines.
const MULTILINE: u8 = 1;

pub(crate) fn parse(text: SecretBytes, limits: &Limits) -> Result<Document, Error> {
    let mut parser = Parser { text: text.expose(), nodes: Vec::new(), limits, multiline: None, unclosed: None };
    match parser.document() {
        Ok(()) => {
            let nodes = parser.nodes;
            Ok(Document::new(Syntax::Dotenv, text, nodes, vec![NodeId(0)]))
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
    /// Where a value of several lines was seen.
    multiline: Option<usize>,
    /// Where a value that opens a quote was seen that nothing closes.
    unclosed: Option<usize>,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        if let Some(nul) = memchr::memchr(0, self.text) {
            return Err((nul, ErrorKind::Syntax("a NUL byte, which no environment variable can hold".into())));
        }
        self.push(Kind::Map, None, NodeValue::None, Span::new(0, self.text.len()), Span::new(0, self.text.len()))?;
        let mut at = 0;
        while at < self.text.len() {
            at = self.line(at)?;
        }
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes[0].end = count;
        if let (Some(_), Some(unclosed)) = (self.multiline, self.unclosed) {
            let message = "a value opens a quote that nothing closes, in a text where other quotes span lines";
            return Err((unclosed, ErrorKind::Syntax(message.into())));
        }
        Ok(())
    }

    /// Reads the line that starts at `start`, and those that belong to it; gives the start of the next.
    fn line(&mut self, start: usize) -> Result<usize, Fault> {
        let end = line_end(self.text, start);
        let line = &self.text[start..end];
        let next = (end + 1).min(self.text.len());
        if line.first() == Some(&b'#') {
            let text = Span::new(start + 1, end);
            let value = NodeValue::Str(Text::Source(text));
            self.push(Kind::Comment, None, value, text, Span::new(start, next))?;
            return Ok(next);
        }
        let Some(equals) = memchr::memchr(b'=', line) else {
            if is_blank(line) {
                return Ok(next);
            }
            let message = "expected NAME=value, or a comment with its # at the start of the line";
            return Err((start, ErrorKind::Syntax(message.into())));
        };
        if std::str::from_utf8(&line[..equals]).is_err() {
            return Err((start, ErrorKind::InvalidUtf8));
        }
        let key = Text::Source(Span::new(start, start + equals));
        let value = start + equals + 1;
        let (end, style) = match last_line_of_quoted(self.text, value, end) {
            Quoted::Lines(last) => {
                self.multiline = self.multiline.or(Some(value));
                (last, MULTILINE)
            }
            Quoted::Unclosed => {
                self.unclosed = self.unclosed.or(Some(value));
                (end, 0)
            }
            Quoted::No => (end, 0),
        };
        let next = (end + 1).min(self.text.len());
        let decoded = if style == MULTILINE {
            Text::Owned(Zeroizing::new(meaning::on_one_line(&self.text[value..end]).as_slice().into()))
        } else {
            decode(self.text, Span::new(value, end))
        };
        let id =
            self.push(Kind::Scalar, Some(key), NodeValue::Str(decoded), Span::new(value, end), Span::new(start, next))?;
        self.nodes[id].style = style;
        Ok(next)
    }

    fn push(
        &mut self,
        kind: Kind,
        key: Option<Text>,
        value: NodeValue,
        span: Span,
        entry: Span,
    ) -> Result<usize, Fault> {
        let id = self.nodes.len();
        if id >= self.limits.nodes.min(u32::MAX as usize) {
            let message = format!("more than {} values", self.limits.nodes);
            return Err((entry.range().start, ErrorKind::Limit(message)));
        }
        self.nodes.push(Node {
            kind,
            style: 0,
            is_virtual: false,
            is_alias: false,
            non_string_key: false,
            parent: 0,
            end: u32::try_from(id + 1).unwrap_or(u32::MAX),
            span,
            entry,
            key,
            value,
        });
        Ok(id)
    }
}

/// How the quotes of a value end.
enum Quoted {
    /// It does not start with one, or it is closed on the same line.
    No,
    /// On a later line, whose end this is.
    Lines(usize),
    /// Nowhere, or not so that the value could end there.
    Unclosed,
}

/// Looks for the end of the value at `value`, whose first line ends at `end`.
fn last_line_of_quoted(text: &[u8], value: usize, end: usize) -> Quoted {
    let opening = value + text[value..end].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let Some(&quote @ (b'"' | b'\'')) = text[..end].get(opening) else { return Quoted::No };
    let Some(closing) = closing_quote(text, opening + 1, quote) else { return Quoted::Unclosed };
    if closing < end {
        return Quoted::No;
    }
    let last = line_end(text, closing);
    let mut lines = text[end + 1..last].split(|&byte| byte == b'\n');
    let sops_refuses = |line: &[u8]| !line.is_empty() && line[0] != b'#' && !line.contains(&b'=');
    if meaning::ends_value(&text[closing + 1..last]) && lines.any(sops_refuses) {
        Quoted::Lines(last)
    } else {
        Quoted::Unclosed
    }
}

/// The end of the line that `at` is in, without its line feed.
fn line_end(text: &[u8], at: usize) -> usize {
    memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |len| at + len)
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

/// The place of the quote that closes a value. In double quotes a backslash takes the next character along.
fn closing_quote(text: &[u8], start: usize, quote: u8) -> Option<usize> {
    if quote == b'\'' {
        return memchr::memchr(quote, &text[start..]).map(|len| start + len);
    }
    let mut at = start;
    loop {
        at += memchr::memchr2(quote, b'\\', text.get(at..)?)?;
        if text[at] == quote {
            return Some(at);
        }
        at += 2;
    }
}

/// A value as sops reads it: `\n` is a line end.
fn decode(text: &[u8], span: Span) -> Text {
    let source = &text[span.range()];
    let escapes = memchr::memmem::find_iter(source, b"\\n").count();
    if escapes == 0 {
        return Text::Source(span);
    }
    let mut decoded = Zeroizing::new(Vec::with_capacity(source.len() - escapes));
    let mut copied = 0;
    for at in memchr::memmem::find_iter(source, b"\\n") {
        decoded.extend_from_slice(&source[copied..at]);
        decoded.push(b'\n');
        copied = at + 2;
    }
    decoded.extend_from_slice(&source[copied..]);
    Text::Owned(Zeroizing::new(std::mem::take(&mut *decoded).into_boxed_slice()))
}

#[cfg(test)]
mod tests;
