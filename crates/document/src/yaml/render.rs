//! Single values, written in the place of others.
//!
//! A value keeps the form of the one it replaces where it can: a plain one stays plain if it is read as a string again,
//! quotes stay what they are, a literal block stays a literal block of the same indentation. Numbers and the like are always
//! written plain, since quotes would make strings of them. YAML's own tags go with the value that they marked; a tag of
//! the user's stays on strings, and marks nothing else, because it would make a string of it.

use bulla_core::SecretBytes;

use super::chars::{is_name, is_printable};
use super::literal::{Chomp, literal_chomp, literal_indent, literal_may_end, put_literal};
use super::resolve::is_safe_string;
use super::scan::LONGEST_KEY;
use super::style::{CUSTOM_TAG, Form, INNER_ANCHOR, TAGGED, form};
use super::text::{column, line_end, line_start, newline, skip_blanks};
use super::write::{
    core_tag, is_break, plain_fits, put_binary, put_double, put_single, put_spaces, put_typed, put_words, single_fits,
};
use crate::model::Node;
use crate::sink::{Comparison, Sink};
use crate::{Document, Error, ErrorKind, Kind, NodeId, Scalar};

/// See [`Document::restores`].
pub(crate) fn restores(document: &Document, id: NodeId) -> bool {
    let node = document.node(id);
    let source = document.source(id);
    if node.kind == Kind::Comment {
        return true;
    }
    if node.kind != Kind::Scalar || node.is_alias {
        return false;
    }
    let site = Site::of(document, node);
    let Some(after) = site.with_ciphertext() else { return false };
    let mut written = Comparison::with(source);
    after.write(&document.scalar(id), &mut written).is_ok() && written.is_equal()
}

/// See [`Document::custom_tag`].
pub(crate) fn custom_tag(document: &Document, id: NodeId) -> Option<&[u8]> {
    let node = document.node(id);
    let is_tagged = node.kind != Kind::Comment && !node.is_alias && node.style & CUSTOM_TAG != 0;
    is_tagged.then(|| word(document.source(id)).0)
}

/// See [`Patch::set_scalar`](crate::Patch::set_scalar).
pub(crate) fn render_scalar(
    document: &Document,
    id: NodeId,
    value: &Scalar<'_>,
    out: &mut SecretBytes,
) -> Result<(), Error> {
    let node = document.node(id);
    if node.is_virtual {
        return Err(ErrorKind::Path("what an alias repeats cannot be changed there; change the alias".into()).into());
    }
    if node.kind == Kind::Comment {
        return comment(value, out);
    }
    if id == NodeId(node.parent) {
        return Err(ErrorKind::Root("a document must be a map".into()).into());
    }
    Site::of(document, node).write(value, out)
}

fn comment(value: &Scalar<'_>, out: &mut SecretBytes) -> Result<(), Error> {
    match value.as_str() {
        Some(text) if text.chars().all(|c| is_printable(c) && !is_break(c)) => {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
        _ => Err(ErrorKind::Unrepresentable("a comment must be one line of printable text".into()).into()),
    }
}

/// The place that a value is written to.
struct Site<'d> {
    text: &'d [u8],
    form: Form,
    flow: bool,
    /// The tag that stands there, if it is the user's own.
    tag: Option<&'d [u8]>,
    /// The anchor that stands behind the tag, with its `&`.
    anchor: Option<&'d [u8]>,
    /// A block's place, for what must be further in. Counted only when it is asked for.
    block: Block,
    /// How many spaces bring the value further in than its parent, where a list or a block may stand and it may not.
    pad: usize,
    /// The entry up to the value.
    key: &'d [u8],
    /// Where the value that is replaced ends.
    end: usize,
}

#[derive(Clone, Copy)]
enum Block {
    /// The parent's first entry is here.
    Entry(usize),
    /// The value is a literal block of this indentation.
    Literal(usize),
}

impl<'d> Site<'d> {
    fn of(document: &'d Document, node: &Node) -> Self {
        let text = document.text().expose();
        let source = &text[node.span.range()];
        let parent = &document.nodes[node.parent as usize];
        let mut written = form(node.style);
        if node.is_alias || node.kind != Kind::Scalar {
            written = Form::Plain;
        }
        let mut site = Self {
            text,
            form: written,
            flow: matches!(form(parent.style), Form::Flow | Form::Pair),
            tag: None,
            anchor: None,
            block: Block::Entry(parent.span.start as usize),
            pad: 0,
            key: text.get(node.entry.start as usize..node.span.start as usize).unwrap_or_default(),
            end: node.span.end as usize,
        };
        let mut value = source;
        if node.style & TAGGED != 0 && !node.is_alias {
            let (tag, rest) = word(source);
            value = rest;
            if node.style & INNER_ANCHOR != 0 {
                let (anchor, rest) = word(rest);
                site.anchor = Some(anchor);
                value = rest;
            }
            if node.style & CUSTOM_TAG != 0 {
                site.tag = Some(tag);
            } else if site.anchor.is_some() {
                // One of YAML's own stays before the anchor, so that both stay within the value's place.
                site.tag = Some(b"!!");
            }
        }
        if node.style & (TAGGED | INNER_ANCHOR) == INNER_ANCHOR && !node.is_alias {
            let name = source.iter().skip(1).take_while(|&&byte| is_name(byte)).count();
            site.anchor = Some(&source[..=name]);
            site.tag = Some(b"!!");
            value = &source[1 + name..];
        }
        if written == Form::Literal {
            match literal_indent(value) {
                Some(indent) => site.block = Block::Literal(indent),
                None => site.form = Form::Plain,
            }
        }
        if site.is_block(node) {
            let start = node.span.start as usize;
            let line = line_start(text, start);
            if skip_blanks(text, line) == start {
                site.pad = (column(text, parent.span.start as usize) + 1).saturating_sub(column(text, start));
                if site.pad > 0 && node.kind == Kind::Scalar && !matches!(site.block, Block::Literal(_)) {
                    // A block it must stay, for nothing else may stand where it stands.
                    site.form = Form::Literal;
                }
            }
        }
        site
    }

    /// Whether the node is a block in a block collection.
    fn is_block(&self, node: &Node) -> bool {
        !self.flow && !node.is_alias && matches!(form(node.style), Form::Block | Form::Literal | Form::Folded)
    }

    /// The site as it is once ciphertext was written to it; `None` if its place is then another.
    fn with_ciphertext(&self) -> Option<Self> {
        let form = match self.form {
            Form::Single | Form::Double => self.form,
            Form::Literal => self.literal_fits(b"x").then_some(Form::Literal)?,
            Form::Plain | Form::Folded if self.flow => Form::Double,
            Form::Plain | Form::Folded => Form::Plain,
            _ => return None,
        };
        Some(Self { form, ..*self })
    }

    fn write(&self, value: &Scalar<'_>, out: &mut impl Sink) -> Result<(), Error> {
        match self.form {
            Form::GapValue => out.put(b" "),
            Form::GapColon if self.flow => {
                check_short_key(self.key)?;
                out.put(b": ");
            }
            Form::GapColon => {
                check_key_ends(self.key, self.end == self.text.len())?;
                out.put(newline(self.text));
                put_spaces(out, self.entry_column());
                out.put(b": ");
            }
            _ => {}
        }
        let is_string = value.as_bytes().is_some();
        let stays_block = self.form == Form::Literal && value.as_bytes().is_some_and(|bytes| self.literal_fits(bytes));
        if !stays_block {
            put_spaces(out, self.pad);
        }
        match (self.tag, self.anchor) {
            (Some(b"!!"), Some(anchor)) => {
                put_words(out, &[core_tag(value), anchor]);
            }
            (Some(tag), anchor) if is_string => {
                put_words(out, &[tag]);
                if let Some(anchor) = anchor {
                    put_words(out, &[anchor]);
                }
            }
            (_, Some(anchor)) => put_words(out, &[anchor]),
            _ => {}
        }
        let Some(bytes) = value.as_bytes() else {
            put_typed(value, out);
            if self.is_touched() {
                out.put(b" ");
            }
            return Ok(());
        };
        match std::str::from_utf8(bytes) {
            Ok(text) if stays_block => self.write_literal(text, out),
            Ok(text) => self.write_string(text, out),
            Err(_) if self.tag.is_some() => {
                let problem = "bytes that are no text cannot stand under a tag";
                return Err(ErrorKind::Unrepresentable(problem.into()).into());
            }
            Err(_) => put_binary(bytes, out),
        }
        Ok(())
    }

    /// Whether a comment follows without a space: it may touch a quote, but nothing plain.
    fn is_touched(&self) -> bool {
        self.text.get(self.end) == Some(&b'#')
    }

    fn write_string(&self, text: &str, out: &mut impl Sink) {
        let tagged = self.tag.is_some_and(|tag| tag != b"!!");
        let is_string = || tagged || is_safe_string(text.as_bytes());
        match self.form {
            Form::Single if single_fits(text) => put_single(text, out),
            Form::Single | Form::Double | Form::Literal => put_double(text, out),
            _ if !self.is_touched() && plain_fits(text, self.flow) && is_string() => out.put(text.as_bytes()),
            _ if text.contains('\n') && self.literal_fits(text.as_bytes()) => self.write_literal(text, out),
            _ => put_double(text, out),
        }
    }

    fn write_literal(&self, text: &str, out: &mut impl Sink) {
        put_literal(text, self.literal_column(), newline(self.text), out);
    }

    fn literal_fits(&self, text: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(text) else { return false };
        !self.flow
            && literal_chomp(text).is_some_and(|chomp| {
                let needs_break = !matches!(chomp, Chomp::Strip);
                literal_may_end(self.text, self.end, self.literal_column(), needs_break, chomp == Chomp::Keep)
            })
    }

    fn literal_column(&self) -> usize {
        match self.block {
            Block::Literal(indent) => indent,
            Block::Entry(_) => self.entry_column() + 2,
        }
    }

    fn entry_column(&self) -> usize {
        match self.block {
            Block::Entry(start) => column(self.text, start),
            Block::Literal(indent) => indent,
        }
    }
}

/// Checks that a key without a `:` may have one.
pub(super) fn check_short_key(key: &[u8]) -> Result<(), Error> {
    let long = key.len() > LONGEST_KEY as usize || key.contains(&b'\n') || key.contains(&b'\r');
    if long && !key.starts_with(b"?") {
        let problem = "a key of several lines, or of more than 1024 characters, can have no value here";
        return Err(ErrorKind::Unrepresentable(problem.into()).into());
    }
    Ok(())
}

/// Checks that a line break may follow a key behind `?` that has no value: at the text's end, no block may be that key.
pub(super) fn check_key_ends(key: &[u8], at_end: bool) -> Result<(), Error> {
    if at_end && (key.contains(&b'|') || key.contains(&b'>')) {
        let problem = "the text must end with a line break before its last key can have a value";
        return Err(ErrorKind::Unrepresentable(problem.into()).into());
    }
    Ok(())
}

/// The first word, and what follows the blanks, breaks and comments behind it.
pub(super) fn word(source: &[u8]) -> (&[u8], &[u8]) {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let end = source.iter().position(is_space).unwrap_or(source.len());
    let mut next = end;
    while let Some(byte) = source.get(next) {
        match byte {
            b'#' => next = line_end(source, next),
            byte if is_space(byte) => next += 1,
            _ => break,
        }
    }
    (&source[..end], &source[next..])
}
