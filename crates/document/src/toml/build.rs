//! From the parser's events to the tree: which table a line belongs to, what is defined twice.

use std::borrow::Cow;
use std::ops::Range;

use toml_parser::decoder::Encoding;
use toml_parser::parser::{EventReceiver, ValidateWhitespace, parse_document};
use toml_parser::{ErrorSink, Expected, ParseError, Raw, Source, Span as Place};
use zeroize::Zeroizing;

use super::scalar::{self, Decoded};
use super::tree::{Item, Tree};
use super::{Fault, Form, line_end, line_start, start_of};
use crate::model::{Node, NodeValue, Span, Text};
use crate::{ErrorKind, Kind, Limits};

/// How deep brackets may nest, whatever the limits say: the parser calls itself for each. `toml_edit` allows 80.
const BRACKETS: usize = 128;

/// The root's item.
const ROOT: u32 = 0;

/// The nodes of a text.
pub(super) fn nodes(text: &str, limits: &Limits) -> Result<Vec<Node>, Fault> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    // The root's own lines: none yet.
    let start = start_of(text.as_bytes());
    let root = Item::new(Kind::Map, Form::Table as u8, 0..text.len(), start..start);
    let mut builder = Builder {
        text,
        tree: Tree::new(root, limits),
        limits,
        table: ROOT,
        header: None,
        path: Vec::new(),
        key: None,
        open: Vec::new(),
        comments: Vec::new(),
        on_line: None,
        fault: None,
    };
    let mut error: Option<ParseError> = None;
    parse_document(&tokens, &mut ValidateWhitespace::new(&mut builder, source), &mut error);
    drop(tokens);
    let error = error.map(|error| fault_of(&error));
    if let Some(fault) = [error, builder.fault.take()].into_iter().flatten().min_by_key(|(at, _)| *at) {
        return Err(fault);
    }
    for comment in std::mem::take(&mut builder.comments) {
        builder.tree.add(ROOT, comment)?;
    }
    builder.tree.into_nodes()
}

struct Builder<'t> {
    text: &'t str,
    tree: Tree<'t>,
    limits: &'t Limits,
    /// The table that lines belong to.
    table: u32,
    /// The header that is being read.
    header: Option<Header>,
    /// The parts of the key that is being read.
    path: Vec<Part<'t>>,
    /// The key whose value comes next.
    key: Option<Key<'t>>,
    /// The arrays and inline tables that are not closed yet.
    open: Vec<u32>,
    /// Comments that head what comes next.
    comments: Vec<Item>,
    /// The entry or table on the line that is being read.
    on_line: Option<u32>,
    fault: Option<Fault>,
}

#[derive(Clone, Copy)]
enum Header {
    Table,
    Array,
}

struct Part<'t> {
    name: Cow<'t, str>,
    text: Text,
    place: Range<usize>,
}

struct Key<'t> {
    table: u32,
    part: Part<'t>,
    /// Where the entry starts, with the first part of its key.
    start: usize,
}

impl<'t> Builder<'t> {
    /// Goes on as long as nothing is wrong.
    fn attempt(&mut self, step: impl FnOnce(&mut Self) -> Result<(), Fault>) {
        if self.fault.is_none()
            && let Err(fault) = step(self)
        {
            self.fault = Some(fault);
        }
    }

    fn raw(&self, place: Place, encoding: Option<Encoding>) -> Raw<'t> {
        Raw::new_unchecked(&self.text[place.start()..place.end()], encoding, place)
    }

    /// Goes to the table that the parts of a header lead to, and makes those that are not there.
    fn super_table(&mut self, path: Vec<Part<'t>>) -> Result<u32, Fault> {
        let mut table = ROOT;
        for part in path {
            table = match self.tree.child(table, part.name.clone()) {
                None => self.add_table(table, part, Form::Implicit)?,
                Some(child) => match self.tree.item(child).form() {
                    Form::Table | Form::Implicit | Form::Dotted => child,
                    Form::ArrayOfTables => self.tree.last_child(child).unwrap_or(child),
                    _ => return Err(duplicate(&part)),
                },
            };
        }
        Ok(table)
    }

    /// Goes to the table that the parts of a dotted key lead to.
    fn dotted_table(&mut self, mut table: u32, path: Vec<Part<'t>>) -> Result<u32, Fault> {
        for part in path {
            table = match self.tree.child(table, part.name.clone()) {
                None => self.add_table(table, part, Form::Dotted)?,
                Some(child) => match self.tree.item(child).form() {
                    Form::Implicit | Form::Dotted => {
                        self.tree.item(child).style = Form::Dotted as u8;
                        child
                    }
                    _ => return Err(duplicate(&part)),
                },
            };
        }
        Ok(table)
    }

    fn add_table(&mut self, parent: u32, part: Part<'t>, form: Form) -> Result<u32, Fault> {
        let start = part.place.start;
        self.add_part(parent, part, Item::new(Kind::Map, form as u8, start..start, start..start))
    }

    fn add_part(&mut self, parent: u32, part: Part<'t>, mut item: Item) -> Result<u32, Fault> {
        item.key = Some(part.text);
        self.tree.add_entry(parent, part.name, item)
    }

    fn open_header(&mut self, header: Header) {
        self.header = Some(header);
        self.path.clear();
    }

    /// A header has been read; `end` is where.
    fn close_header(&mut self, end: usize) -> Result<(), Fault> {
        let mut path = std::mem::take(&mut self.path);
        let (Some(header), Some(part)) = (self.header.take(), path.pop()) else { return Ok(()) };
        let text = self.text.as_bytes();
        let lines = line_start(text, part.place.start)..line_end(text, end);
        let parent = self.super_table(path)?;
        let existing = self.tree.child(parent, part.name.clone());
        let form = existing.map(|id| self.tree.item(id).form());
        self.table = match (header, existing, form) {
            (Header::Table, None, _) => {
                let item = Item::new(Kind::Map, Form::Table as u8, lines.clone(), lines);
                self.add_part(parent, part, item)?
            }
            (Header::Table, Some(id), Some(Form::Implicit)) => {
                let item = self.tree.item(id);
                item.style = Form::Table as u8;
                item.span = lines.clone();
                item.entry = lines;
                id
            }
            (Header::Array, existing, None | Some(Form::ArrayOfTables)) => {
                let list = if let Some(list) = existing {
                    list
                } else {
                    let at = part.place.start;
                    let item = Item::new(Kind::Seq, Form::ArrayOfTables as u8, at..at, at..at);
                    self.add_part(parent, part, item)?
                };
                self.tree.add(list, Item::new(Kind::Map, Form::Table as u8, lines.clone(), lines))?
            }
            _ => return Err(duplicate(&part)),
        };
        self.head(self.table)?;
        self.on_line = Some(self.table);
        Ok(())
    }

    /// Puts the comments that wait before what they head.
    fn head(&mut self, id: u32) -> Result<(), Fault> {
        for comment in std::mem::take(&mut self.comments) {
            self.tree.add_before(id, comment)?;
        }
        Ok(())
    }

    fn close_key(&mut self) -> Result<(), Fault> {
        let mut path = std::mem::take(&mut self.path);
        let Some(part) = path.pop() else { return Ok(()) };
        let start = path.first().map_or(part.place.start, |first| first.place.start);
        let table = self.open.last().copied().unwrap_or(self.table);
        let table = self.dotted_table(table, path)?;
        if self.tree.child(table, part.name.clone()).is_some() {
            return Err(duplicate(&part));
        }
        self.key = Some(Key { table, part, start });
        Ok(())
    }

    /// Adds a value that starts at `place`; of an array or inline table, only its bracket.
    fn value(&mut self, kind: Kind, style: u8, value: NodeValue, place: Place) -> Result<u32, Fault> {
        let span = place.start()..place.end();
        let array = self.open.last().copied().filter(|&id| self.tree.item(id).form() == Form::Array);
        let mut item = Item::new(kind, style, span.clone(), span.clone());
        item.value = value;
        if let Some(array) = array {
            return self.tree.add(array, item);
        }
        let Some(Key { table, part, start }) = self.key.take() else {
            return Err((span.start, ErrorKind::Syntax("a value without a key".into())));
        };
        item.entry.start = start;
        let id = self.add_part(table, part, item)?;
        if self.open.is_empty() {
            self.head(id)?;
        }
        Ok(id)
    }

    /// A value has been read to its end. On a line of its own, it has the whole line.
    fn finish_value(&mut self, id: u32) {
        if !self.open.is_empty() {
            return;
        }
        let text = self.text.as_bytes();
        let item = self.tree.item(id);
        item.entry = line_start(text, item.entry.start)..line_end(text, item.span.end);
        let lines = item.entry.clone();
        let table = self.tree.item(self.table);
        if table.entry.start == table.entry.end {
            // The root, which has no header.
            table.entry.start = lines.start;
        }
        table.entry.end = lines.end;
        self.on_line = Some(id);
    }

    fn open_collection(&mut self, kind: Kind, form: Form, place: Place) -> Result<(), Fault> {
        let most = self.limits.depth.min(BRACKETS);
        if self.open.len() >= most {
            let message = format!("brackets nested deeper than {most} levels");
            return Err((place.start(), ErrorKind::Limit(message)));
        }
        let id = self.value(kind, form as u8, NodeValue::None, place)?;
        self.open.push(id);
        Ok(())
    }

    fn close_collection(&mut self, place: Place) {
        let Some(id) = self.open.pop() else { return };
        let item = self.tree.item(id);
        item.span.end = place.end();
        item.entry.end = place.end();
        self.finish_value(id);
    }

    fn read_scalar(&mut self, place: Place, encoding: Option<Encoding>) -> Result<(), Fault> {
        let (style, decoded) =
            scalar::decode(self.raw(place, encoding)).map_err(|error| fault_of_scalar(place, error))?;
        let value = match decoded {
            Decoded::Bool(value) => NodeValue::Bool(value),
            Decoded::Int(value) => NodeValue::Int(value),
            Decoded::Float(value) => NodeValue::Float(value),
            Decoded::Time(text) => NodeValue::Time(text.into()),
            Decoded::Str(text) => NodeValue::Str(self.text_of(text)),
        };
        let id = self.value(Kind::Scalar, style as u8, value, place)?;
        self.finish_value(id);
        Ok(())
    }

    /// A stretch of the source, if it is one.
    fn text_of(&self, text: scalar::Built<'t>) -> Text {
        match text {
            scalar::Built::Source(part) => {
                let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
                Text::Source(Span::new(start, start + part.len()))
            }
            scalar::Built::Copied(bytes) => Text::Owned(Zeroizing::new(bytes.as_slice().into())),
        }
    }

    fn read_comment(&mut self, place: Place) -> Result<(), Fault> {
        let text = self.text.as_bytes();
        let end = if text[..place.end()].ends_with(b"\r") { place.end() - 1 } else { place.end() };
        let start = line_start(text, place.start());
        let is_alone = text[start..place.start()].iter().all(u8::is_ascii_whitespace);
        let entry = if is_alone { start..line_end(text, end) } else { place.start()..end };
        let contents = place.start() + 1..end;
        let mut item = Item::new(Kind::Comment, Form::Scalar as u8, contents.clone(), entry);
        item.value = NodeValue::Str(Text::Source(Span::new(contents.start, contents.end)));
        if let Some(&collection) = self.open.last() {
            let last = self.tree.last_child(collection).filter(|&last| {
                let item = self.tree.item(last);
                item.kind != Kind::Comment && !text[item.entry.end..place.start()].contains(&b'\n')
            });
            match last {
                Some(last) => self.tree.add_before(last, item)?,
                None => drop(self.tree.add(collection, item)?),
            }
        } else if let Some(entry) = self.on_line {
            self.tree.add_before(entry, item)?;
        } else {
            self.comments.push(item);
        }
        Ok(())
    }
}

impl EventReceiver for Builder<'_> {
    fn std_table_open(&mut self, _place: Place, _error: &mut dyn ErrorSink) {
        self.open_header(Header::Table);
    }

    fn std_table_close(&mut self, place: Place, _error: &mut dyn ErrorSink) {
        self.attempt(|builder| builder.close_header(place.end()));
    }

    fn array_table_open(&mut self, _place: Place, _error: &mut dyn ErrorSink) {
        self.open_header(Header::Array);
    }

    fn array_table_close(&mut self, place: Place, _error: &mut dyn ErrorSink) {
        self.attempt(|builder| builder.close_header(place.end()));
    }

    fn inline_table_open(&mut self, place: Place, _error: &mut dyn ErrorSink) -> bool {
        self.attempt(|builder| builder.open_collection(Kind::Map, Form::InlineTable, place));
        self.fault.is_none()
    }

    fn inline_table_close(&mut self, place: Place, _error: &mut dyn ErrorSink) {
        self.close_collection(place);
    }

    fn array_open(&mut self, place: Place, _error: &mut dyn ErrorSink) -> bool {
        self.attempt(|builder| builder.open_collection(Kind::Seq, Form::Array, place));
        self.fault.is_none()
    }

    fn array_close(&mut self, place: Place, _error: &mut dyn ErrorSink) {
        self.close_collection(place);
    }

    fn simple_key(&mut self, place: Place, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        let name = scalar::decode_key(self.raw(place, encoding), error);
        let (name, text) = match name {
            scalar::Built::Source(part) => (Cow::Borrowed(part), self.text_of(scalar::Built::Source(part))),
            scalar::Built::Copied(bytes) => {
                let name = String::from_utf8_lossy(&bytes).into_owned();
                (Cow::Owned(name), self.text_of(scalar::Built::Copied(bytes)))
            }
        };
        self.path.push(Part { name, text, place: place.start()..place.end() });
    }

    fn key_val_sep(&mut self, _place: Place, _error: &mut dyn ErrorSink) {
        self.attempt(Self::close_key);
    }

    fn scalar(&mut self, place: Place, encoding: Option<Encoding>, _error: &mut dyn ErrorSink) {
        self.attempt(|builder| builder.read_scalar(place, encoding));
    }

    fn comment(&mut self, place: Place, _error: &mut dyn ErrorSink) {
        self.attempt(|builder| builder.read_comment(place));
    }

    fn newline(&mut self, _place: Place, _error: &mut dyn ErrorSink) {
        if self.open.is_empty() {
            self.on_line = None;
        }
    }
}

fn duplicate(part: &Part<'_>) -> Fault {
    (part.place.start, ErrorKind::DuplicateKey(part.name.clone().into_owned()))
}

fn fault_of_scalar(place: Place, error: scalar::Error) -> Fault {
    match error {
        scalar::Error::Parse(error) => fault_of(&error),
        scalar::Error::Range(message) => (place.start(), ErrorKind::Syntax(message.into())),
    }
}

/// The parser's error in words. It names what it expects, never what stands there.
fn fault_of(error: &ParseError) -> Fault {
    let mut message = error.description().to_owned();
    let expected = error.expected().unwrap_or_default();
    for (at, expected) in expected.iter().enumerate() {
        message.push_str(if at == 0 { ", expected " } else { " or " });
        match expected {
            Expected::Literal("\n") => message.push_str("a line end"),
            Expected::Literal(literal) => message.extend(["`", literal, "`"]),
            Expected::Description(description) => message.push_str(description),
            _ => message.push_str("something else"),
        }
    }
    let place = error.unexpected().or(error.context()).unwrap_or_default();
    (place.start(), ErrorKind::Syntax(message))
}
