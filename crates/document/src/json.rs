//! JSON (RFC 8259), in order, with the byte span of every value.
//!
//! The tree is sops': an object at the root, numbers that fit 64 bits are [`Int`](crate::Scalar::Int) (sops does so since
//! 3.13.2; before, every number was a float), all others [`Float`](crate::Scalar::Float), even where that rounds:
//! [`restores`] then answers `false` and the digits are kept by whoever encrypts them. `-0` is the whole number 0.
//!
//! Where sops is lax, this is strict, because a secret would silently be lost or changed:
//! - the same key twice in one object: sops keeps both, every other reader of the file keeps one of them;
//! - anything after the root object, or an object that the end of the file cuts off: sops drops or accepts it;
//! - invalid UTF-8: sops stores U+FFFD in its place, so that the decrypted value is another one.
//!
//! Half of a surrogate pair (`"\ud800"`) has no UTF-8 form: it reads as U+FFFD as in Go, and the source is kept.
//! A byte order mark is an error, as in sops.

mod edit;
mod emit;
mod string;

use std::collections::HashSet;

use bulla_core::SecretBytes;

use crate::model::{Node, NodeValue, Span, Text};
use crate::{Document, Error, ErrorKind, Kind, Limits, NodeId, Syntax};

pub(crate) use edit::{insert, push, remove, render_scalar, restores, set_value, settle};
pub(crate) use emit::emit;

/// Objects up to this size are searched for duplicates by comparing all pairs: cheaper than hashing.
const PAIRWISE: usize = 8;

pub(crate) fn parse(text: SecretBytes, limits: &Limits) -> Result<Document, Error> {
    let mut parser = Parser { text: text.expose(), at: 0, nodes: Vec::new(), open: Vec::new(), limits };
    match parser.document() {
        Ok(()) => {
            let nodes = parser.nodes;
            Ok(Document::new(Syntax::Json, text, nodes, vec![NodeId(0)]))
        }
        Err((at, kind)) => Err(Error::in_text(text.expose(), at, kind)),
    }
}

/// What is wrong, and at which byte.
type Fault = (usize, ErrorKind);

struct Parser<'t> {
    text: &'t [u8],
    at: usize,
    nodes: Vec<Node>,
    /// The objects and arrays that are not closed yet, outermost first. A stack of our own, so that depth costs no
    /// stack of the thread.
    open: Vec<u32>,
    limits: &'t Limits,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        if self.text.starts_with(b"\xef\xbb\xbf") {
            return Err(self.fault("a byte order mark before the JSON; save the file as UTF-8 without it"));
        }
        if let Err(invalid) = std::str::from_utf8(self.text) {
            return Err((invalid.valid_up_to(), ErrorKind::InvalidUtf8));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => {}
            None => return Err(self.fault("the text is empty where a JSON object must be")),
            Some(b'[') => {
                return Err((self.at, ErrorKind::Root("the root is a list; wrap it: {\"data\": […]}".into())));
            }
            Some(_) => {
                let start = self.at;
                self.value(None, start)?;
                let message = "the root is a single value; wrap it: {\"data\": …}";
                return Err((start, ErrorKind::Root(message.into())));
            }
        }
        self.value(None, self.at)?;
        while let Some(&container) = self.open.last() {
            self.entry(container)?;
        }
        self.skip_space();
        if self.at < self.text.len() {
            return Err(self.fault("there is more text after the end of the JSON object"));
        }
        Ok(())
    }

    /// The next entry of the innermost open object or array, or its end.
    fn entry(&mut self, container: u32) -> Result<(), Fault> {
        let is_map = self.nodes[container as usize].kind == Kind::Map;
        let close = if is_map { b'}' } else { b']' };
        let is_empty = self.nodes.len() == container as usize + 1;
        self.skip_space();
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                return self.close(container);
            }
            Some(b',') if !is_empty => {
                self.at += 1;
                self.skip_space();
            }
            Some(_) if is_empty => {}
            None => return Err(self.fault("the text ends inside an object or a list")),
            Some(_) if is_map => return Err(self.fault("expected `,` or `}`")),
            Some(_) => return Err(self.fault("expected `,` or `]`")),
        }
        let start = self.at;
        let key = if is_map {
            if self.peek() != Some(b'"') {
                return Err(self.fault("expected a key in double quotes"));
            }
            let key = self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.fault("expected `:` after the key"));
            }
            self.at += 1;
            self.skip_space();
            Some(key)
        } else {
            None
        };
        self.value(key, start)
    }

    /// A value that starts here. Of an object or array, only its opening.
    fn value(&mut self, key: Option<Text>, entry: usize) -> Result<(), Fault> {
        let start = self.at;
        let (kind, value) = match self.peek() {
            Some(b'{') => (Kind::Map, NodeValue::None),
            Some(b'[') => (Kind::Seq, NodeValue::None),
            Some(b'"') => (Kind::Scalar, NodeValue::Str(self.string()?)),
            Some(b'-' | b'0'..=b'9') => (Kind::Scalar, self.number()?),
            _ => (Kind::Scalar, self.word()?),
        };
        if self.nodes.len() >= self.limits.nodes {
            return Err((start, ErrorKind::Limit(format!("more than {} values", self.limits.nodes))));
        }
        let id = u32::try_from(self.nodes.len()).map_err(|_| (start, ErrorKind::Limit("too many values".into())))?;
        if kind != Kind::Scalar {
            self.at += 1;
            if self.open.len() >= self.limits.depth {
                return Err((start, ErrorKind::Limit(format!("nested deeper than {} levels", self.limits.depth))));
            }
        }
        self.nodes.push(Node {
            kind,
            style: 0,
            is_virtual: false,
            is_alias: false,
            non_string_key: false,
            parent: self.open.last().copied().unwrap_or(id),
            end: id + 1,
            span: Span::new(start, self.at),
            entry: Span::new(entry, self.at),
            key,
            value,
        });
        if kind != Kind::Scalar {
            self.open.push(id);
        }
        Ok(())
    }

    /// The end of an object or array, which has just been read.
    fn close(&mut self, container: u32) -> Result<(), Fault> {
        self.open.pop();
        let end = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let at = Span::new(self.at, self.at).end;
        let node = &mut self.nodes[container as usize];
        node.end = end;
        node.span.end = at;
        node.entry.end = at;
        if node.kind == Kind::Map { self.reject_duplicates(container) } else { Ok(()) }
    }

    fn reject_duplicates(&self, map: u32) -> Result<(), Fault> {
        let end = self.nodes[map as usize].end;
        let mut next = map + 1;
        let children = std::iter::from_fn(|| {
            let node = (next < end).then(|| &self.nodes[next as usize])?;
            next = node.end;
            Some((self.key_bytes(node), node.entry.start))
        });
        let mut few: Vec<&[u8]> = Vec::new();
        let mut many: HashSet<&[u8]> = HashSet::new();
        for (key, start) in children {
            let is_new = if few.len() < PAIRWISE {
                let is_new = !few.contains(&key);
                few.push(key);
                is_new
            } else {
                if many.is_empty() {
                    many.extend(&few);
                }
                many.insert(key)
            };
            if !is_new {
                let key = String::from_utf8_lossy(key).into_owned();
                return Err((start as usize, ErrorKind::DuplicateKey(key)));
            }
        }
        Ok(())
    }

    fn key_bytes<'a>(&'a self, node: &'a Node) -> &'a [u8] {
        match &node.key {
            None => &[],
            Some(Text::Source(span)) => &self.text[span.range()],
            Some(Text::Owned(bytes)) => bytes,
        }
    }

    /// The string whose opening quote is here.
    fn string(&mut self) -> Result<Text, Fault> {
        let (text, end) = string::read(self.text, self.at).map_err(|(at, message)| (at, syntax(message)))?;
        self.at = end;
        Ok(text)
    }

    fn number(&mut self) -> Result<NodeValue, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let is_zero = self.peek() == Some(b'0');
        if self.digits()? > 1 && is_zero {
            return Err((start, syntax("a number cannot start with 0")));
        }
        let mut is_whole = true;
        if self.peek() == Some(b'.') {
            is_whole = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            is_whole = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        // Only ASCII was taken.
        let number = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        if is_whole && let Ok(value) = number.parse() {
            return Ok(NodeValue::Int(value));
        }
        match number.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(NodeValue::Float(value)),
            _ => Err((start, syntax("a number too large for 64 bits"))),
        }
    }

    /// How many digits stand here, at least one.
    fn digits(&mut self) -> Result<usize, Fault> {
        let count = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { Err(self.fault("expected a digit")) } else { Ok(count) }
    }

    fn word(&mut self) -> Result<NodeValue, Fault> {
        let rest = &self.text[self.at..];
        for (word, value) in
            [("null", NodeValue::Null), ("true", NodeValue::Bool(true)), ("false", NodeValue::Bool(false))]
        {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.fault(if rest.is_empty() { "the text ends where a value must be" } else { "expected a value" }))
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fault(&self, message: &str) -> Fault {
        (self.at, syntax(message))
    }
}

fn syntax(message: &str) -> ErrorKind {
    ErrorKind::Syntax(message.into())
}

#[cfg(test)]
mod tests;
