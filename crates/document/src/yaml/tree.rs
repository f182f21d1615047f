//! From events to nodes.
//!
//! Nodes are made in the order of the text, without comments and without what aliases repeat; [`finish`](super::finish) adds both
//! where there are any. Comments are noted by the node and the place they belong to, after yaml.v3's rules for
//! moving them between a value, its key and the key before.

use std::collections::{HashMap, HashSet};

use zeroize::Zeroizing;

use super::chars::line_at;
use super::events::{Comments, Event, EventKind, Gap, Layout, Parser};
use super::finish::check_ratio;
use super::resolve::{Resolved, resolve};
use super::scan::{Piece, ScalarStyle};
use super::style::{CUSTOM_TAG, Form, INNER_ANCHOR, TAGGED};
use super::tag::Tag;
use crate::model::{Node, NodeValue, Span, Text};
use crate::{Error, ErrorKind, Kind, Limits};

/// The depth that yaml.v3 gives up at.
const DEEPEST: usize = 10_000;

const TOO_LARGE: &str = "a whole number above 9223372036854775807 has no type in sops; quote it to keep it as text";

/// Where a comment stands, seen from the node it belongs to. Of a document's root the key is the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    KeyHead,
    KeyLine,
    Head,
    Line,
    Foot,
    KeyFoot,
    /// yaml.v3 loses it. It is kept at its document's end, so that no comment stays behind unencrypted.
    Lost,
}

pub(super) struct Note {
    pub(super) node: u32,
    pub(super) place: Place,
    pub(super) span: Span,
}

/// What a whole text makes.
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) notes: Vec<Note>,
    /// The aliases of collections, with what they repeat; in the order of the nodes.
    pub(super) aliases: Vec<(u32, u32)>,
    /// Whether there is any alias: of a value, of a collection or as a key.
    pub(super) has_aliases: bool,
    /// Whether one of them is a key.
    pub(super) has_alias_as_key: bool,
    /// Each document's root, and where in the text the document starts.
    pub(super) roots: Vec<(u32, u32)>,
    pub(super) seen_comments: Vec<Span>,
}

pub(super) fn build(text: &[u8], limits: &Limits) -> Result<Tree, Error> {
    let mut parser = Parser::new(text)?;
    let mut builder = Builder {
        text,
        depth: limits.depth.min(DEEPEST),
        limits,
        tree: Tree {
            nodes: Vec::new(),
            notes: Vec::new(),
            aliases: Vec::new(),
            has_aliases: false,
            has_alias_as_key: false,
            roots: Vec::new(),
            seen_comments: Vec::new(),
        },
        anchors: HashMap::new(),
        stack: Vec::new(),
        document: (0, Vec::new()),
        repeated: 0,
    };
    loop {
        let event = parser.next()?;
        if matches!(event.kind, EventKind::StreamEnd) {
            break;
        }
        builder.event(event)?;
    }
    builder.tree.seen_comments = std::mem::take(&mut parser.scanner.seen_comments);
    Ok(builder.tree)
}

struct Builder<'t> {
    text: &'t [u8],
    limits: &'t Limits,
    depth: usize,
    tree: Tree,
    anchors: HashMap<&'t [u8], Target>,
    stack: Vec<Frame>,
    /// The current document's start and head comment.
    document: (u32, Vec<Span>),
    /// How many nodes the aliases so far will make, at the least.
    repeated: u64,
}

/// What an anchor marks.
enum Target {
    Node(u32),
    /// A key, which is no node.
    Key(Box<NodeValue>),
}

struct Frame {
    node: u32,
    kind: Kind,
    block: bool,
    key: Option<Key>,
    /// The node of the entry before, and its key's foot among the notes.
    last: Option<(u32, usize, usize)>,
    /// How many entries there are.
    entries: usize,
}

struct Key {
    text: Text,
    is_string: bool,
    is_merge: bool,
    lead: u32,
    comments: Option<Box<Comments>>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event) -> Result<(), Error> {
        self.tree.has_aliases |= matches!(event.kind, EventKind::Alias(_));
        match event.kind {
            EventKind::StreamEnd => Ok(()),
            EventKind::DocumentStart => {
                let head = event.comments.as_ref().map(|comments| lines(&comments.head)).unwrap_or_default();
                self.document = (event.lead, head);
                Ok(())
            }
            EventKind::DocumentEnd => {
                if let (Some(comments), Some(&(root, _))) = (&event.comments, self.tree.roots.last()) {
                    let foot = lines(&comments.foot);
                    self.note(root, Place::KeyFoot, &foot);
                }
                Ok(())
            }
            EventKind::SeqEnd | EventKind::MapEnd => self.close(&event),
            _ if self.stack.last().is_some_and(|frame| frame.kind == Kind::Map && frame.key.is_none()) => {
                self.key(event)
            }
            _ => self.value(event),
        }
    }

    fn key(&mut self, mut event: Event) -> Result<(), Error> {
        let line = event.line;
        let tag = event.tag.map(|(tag, _)| tag);
        if tag == Some(Tag::Binary) {
            return Err(Error::at(line, ErrorKind::NonStringKey("that is marked !!binary".into())));
        }
        // A key that is no string keeps its text as its name.
        let (name, value, is_merge) = match event.kind {
            EventKind::Scalar(style, text) => {
                let resolved = self.resolve(tag, style, &text, line)?;
                let is_merge = resolved == Resolved::Merge;
                let is_text = is_merge || resolved == Resolved::Str;
                let name = if is_text { None } else { Some(clone_text(&text)) };
                (name, typed(resolved, text), is_merge)
            }
            EventKind::Empty(_) => {
                let text = Text::Source(event.span);
                let resolved = self.resolve(tag, ScalarStyle::Plain, &text, line)?;
                (Some(clone_text(&text)), typed(resolved, text), false)
            }
            EventKind::Alias(name) => {
                self.tree.has_alias_as_key = true;
                (Some(Text::Source(name)), self.alias_of_key(name, line)?, false)
            }
            _ => return Err(Error::at(line, ErrorKind::NonStringKey("that is a map or a list".into()))),
        };
        if let Some(anchor) = event.anchor {
            self.anchors.insert(&self.text[anchor.range()], Target::Key(Box::new(clone_value(&value))));
        }
        let (text, is_string) = match value {
            NodeValue::Str(text) => (text, true),
            _ => (name.unwrap_or(Text::Source(event.span)), false),
        };
        // Behind a dedent the comment is the foot of the entry before.
        if let Some(frame) = self.stack.last()
            && frame.block
            && frame.last.is_some()
            && let Some(comments) = &mut event.comments
            && !comments.foot.is_empty()
        {
            let foot = lines(&std::mem::take(&mut comments.foot));
            self.set_last_foot(&foot);
        }
        if let Some(frame) = self.stack.last_mut() {
            frame.key = Some(Key { text, is_string, is_merge, lead: event.lead, comments: event.comments });
        }
        Ok(())
    }

    fn value(&mut self, event: Event) -> Result<(), Error> {
        let line = event.line;
        let index = self.tree.nodes.len();
        if index >= self.limits.nodes {
            let line = self.line_at(event.lead);
            return Err(Error::at(line, ErrorKind::Limit("the text has too many values".into())));
        }
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let tag = event.tag.map(|(tag, _)| tag);
        let (span, mut style) = with_properties(&event);
        let mut is_alias = false;
        let mut open = None;
        let (kind, value) = match event.kind {
            EventKind::Scalar(written, text) => {
                style |= Form::from(written).style();
                let resolved = self.resolve(tag, written, &text, line)?;
                if resolved == Resolved::Unsigned {
                    return Err(Error::at(line, ErrorKind::Unrepresentable(TOO_LARGE.into())));
                }
                (Kind::Scalar, typed(resolved, text))
            }
            EventKind::Empty(gap) => {
                let text = Text::Source(event.span);
                let resolved = self.resolve(tag, ScalarStyle::Plain, &text, line)?;
                style |= match gap {
                    _ if style & (TAGGED | INNER_ANCHOR) != 0 => Form::Plain,
                    Gap::Value => Form::GapValue,
                    Gap::Colon => Form::GapColon,
                    Gap::Document => Form::GapDocument,
                }
                .style();
                (Kind::Scalar, typed(resolved, text))
            }
            EventKind::Alias(name) => {
                is_alias = true;
                self.alias(index, name, line)?
            }
            EventKind::SeqStart(layout) => {
                open = Some(layout);
                (Kind::Seq, NodeValue::None)
            }
            EventKind::MapStart(layout) => {
                open = Some(layout);
                (Kind::Map, NodeValue::None)
            }
            _ => return Ok(()),
        };
        if let Some(layout) = open {
            style |= match layout {
                Layout::Block => Form::Block,
                Layout::Flow => Form::Flow,
                Layout::Pair => Form::Pair,
            }
            .style();
        }
        if let Some(anchor) = event.anchor {
            self.anchors.insert(&self.text[anchor.range()], Target::Node(index));
        }
        let node = Node {
            kind,
            style,
            is_virtual: false,
            is_alias,
            non_string_key: false,
            parent: self.stack.last().map_or(index, |frame| frame.node),
            end: index + 1,
            span,
            entry: Span { start: event.lead, end: event.span.end },
            key: None,
            value,
        };
        self.place(index, node, line)?;
        let comments = event.comments.as_deref();
        if let Some(comments) = comments {
            self.note(index, Place::Head, &lines(&comments.head));
        }
        if let Some(layout) = open {
            return self.open(index, kind, layout, line);
        }
        let (line_comment, foot) =
            comments.map(|comments| (lines(&comments.line), lines(&comments.foot))).unwrap_or_default();
        self.note(index, Place::Line, &line_comment);
        self.complete(index, &foot)
    }

    /// Puts a node where it belongs: under the pending key, among the items, or as a document's root.
    fn place(&mut self, index: u32, mut node: Node, line: u32) -> Result<(), Error> {
        let Some(frame) = self.stack.last_mut() else {
            let (start, head) = std::mem::take(&mut self.document);
            self.tree.roots.push((index, start));
            self.note(index, Place::KeyHead, &head);
            let is_null = matches!(node.value, NodeValue::Null) && !node.is_alias;
            if is_null {
                // A document of nothing, or of null, is a map without entries.
                node.kind = Kind::Map;
                node.style = Form::GapDocument.style();
                node.value = NodeValue::None;
            } else if node.kind != Kind::Map || node.is_alias {
                let what = match node.kind {
                    Kind::Seq => "the document is a list; it must be a map (put the list under a key)",
                    _ => "the document is a single value; it must be a map",
                };
                return Err(Error::at(line, ErrorKind::Root(what.into())));
            }
            self.tree.nodes.push(node);
            return Ok(());
        };
        frame.entries += 1;
        if let Some(key) = &mut frame.key {
            node.non_string_key = !key.is_string;
            node.entry.start = key.lead;
            node.key = Some(std::mem::replace(&mut key.text, Text::Source(Span::default())));
            if let Some(comments) = &key.comments {
                let (head, line) = (lines(&comments.head), lines(&comments.line));
                self.note(index, Place::KeyHead, &head);
                self.note(index, Place::KeyLine, &line);
            }
        }
        self.tree.nodes.push(node);
        Ok(())
    }

    fn open(&mut self, index: u32, kind: Kind, layout: Layout, line: u32) -> Result<(), Error> {
        if self.stack.len() >= self.depth {
            return Err(Error::at(line, ErrorKind::Limit(format!("nested more than {} levels deep", self.depth))));
        }
        self.stack.push(Frame { node: index, kind, block: layout == Layout::Block, key: None, last: None, entries: 0 });
        Ok(())
    }

    fn close(&mut self, event: &Event) -> Result<(), Error> {
        // What the start of a collection said of these is replaced by what its end says.
        let (line_comment, mut foot) = event
            .comments
            .as_deref()
            .map(|comments| (lines(&comments.line), lines(&comments.foot)))
            .unwrap_or_default();
        if let Some(frame) = self.stack.last()
            && frame.kind == Kind::Map
            && frame.block
            && frame.last.is_some()
            && !foot.is_empty()
        {
            self.set_last_foot(&std::mem::take(&mut foot));
        }
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        self.note(frame.node, Place::Line, &line_comment);
        let end = u32::try_from(self.tree.nodes.len()).unwrap_or(u32::MAX);
        if let Some(node) = self.tree.nodes.get_mut(frame.node as usize) {
            node.end = end;
            node.span.end = event.span.end;
            node.entry.end = event.span.end;
        }
        if frame.kind == Kind::Map {
            self.check_keys(&frame)?;
        }
        self.complete(frame.node, &foot)
    }

    /// A value is whole: its foot comment becomes its key's, unless that has one.
    fn complete(&mut self, index: u32, foot: &[Span]) -> Result<(), Error> {
        let Some(frame) = self.stack.last_mut() else {
            let nothing = self.tree.nodes[index as usize].style == Form::GapDocument.style();
            self.note(index, if nothing { Place::Lost } else { Place::Foot }, foot);
            return Ok(());
        };
        let Some(key) = frame.key.take() else {
            self.note(index, Place::Foot, foot);
            return Ok(());
        };
        let mut key_foot = key.comments.map(|comments| lines(&comments.foot)).unwrap_or_default();
        if key_foot.is_empty() {
            key_foot.extend_from_slice(foot);
        } else {
            self.note(index, Place::Foot, foot);
        }
        let start = self.tree.notes.len();
        self.note(index, Place::KeyFoot, &key_foot);
        let end = self.tree.notes.len();
        if let Some(frame) = self.stack.last_mut() {
            frame.last = Some((index, start, end));
        }
        if key.is_merge && !self.is_mergeable(index) {
            let line = self.line_at(self.tree.nodes[index as usize].entry.start);
            return Err(Error::at(line, ErrorKind::Syntax("'<<' must have a map, or a list of maps".into())));
        }
        Ok(())
    }

    /// Gives the entry before another foot. The one it had is lost, as it is in yaml.v3.
    fn set_last_foot(&mut self, foot: &[Span]) {
        let Some((node, from, to)) = self.stack.last().and_then(|frame| frame.last) else { return };
        for note in &mut self.tree.notes[from..to] {
            note.place = Place::Lost;
        }
        let start = self.tree.notes.len();
        self.note(node, Place::KeyFoot, foot);
        let end = self.tree.notes.len();
        if let Some(frame) = self.stack.last_mut() {
            frame.last = Some((node, start, end));
        }
    }

    fn note(&mut self, node: u32, place: Place, spans: &[Span]) {
        self.tree.notes.extend(spans.iter().map(|&span| Note { node, place, span }));
    }

    fn is_mergeable(&self, index: u32) -> bool {
        let node = &self.tree.nodes[index as usize];
        match node.kind {
            Kind::Map => true,
            Kind::Seq if !node.is_alias => {
                let mut next = index + 1;
                while next < node.end {
                    let item = &self.tree.nodes[next as usize];
                    if item.kind != Kind::Map {
                        return false;
                    }
                    next = item.end;
                }
                true
            }
            _ => false,
        }
    }

    /// No key may stand in a map twice.
    fn check_keys(&self, frame: &Frame) -> Result<(), Error> {
        const FEW: usize = 12;
        if frame.entries < 2 {
            return Ok(());
        }
        let nodes = &self.tree.nodes;
        let end = nodes[frame.node as usize].end;
        let mut few: Vec<&[u8]> = Vec::new();
        let mut many = HashSet::with_capacity(if frame.entries > FEW { frame.entries } else { 0 });
        let mut next = frame.node + 1;
        while next < end {
            let node = &nodes[next as usize];
            next = node.end;
            let Some(key) = &node.key else { continue };
            let key = self.bytes(key);
            let seen = if frame.entries > FEW { !many.insert(key) } else { few.contains(&key) };
            if seen {
                let line = self.line_at(node.entry.start);
                return Err(Error::at(line, ErrorKind::DuplicateKey(String::from_utf8_lossy(key).into_owned())));
            }
            if frame.entries <= FEW {
                few.push(key);
            }
        }
        Ok(())
    }

    fn resolve(&self, tag: Option<Tag>, style: ScalarStyle, text: &Text, line: u32) -> Result<Resolved, Error> {
        resolve(tag, style, self.bytes(text))
            .map_err(|problem| Error::at(line, ErrorKind::Unrepresentable(problem.into())))
    }

    fn alias(&mut self, index: u32, name: Span, line: u32) -> Result<(Kind, NodeValue), Error> {
        match self.target(name, line)? {
            Target::Key(value) => Ok((Kind::Scalar, clone_value(value))),
            &Target::Node(target) => {
                if self.stack.iter().any(|frame| frame.node == target) {
                    return Err(Error::at(line, ErrorKind::Syntax("an alias stands within what it repeats".into())));
                }
                let node = &self.tree.nodes[target as usize];
                let (kind, value) = (node.kind, clone_value(&node.value));
                // The exact check comes when they are made; this one stops before a large text is read for nothing.
                self.repeated += u64::from(node.end - target);
                check_ratio(2 * u64::from(index) + self.repeated, self.repeated)?;
                // What an alias repeats may be one itself only by way of its contents.
                if kind != Kind::Scalar {
                    self.tree.aliases.push((index, target));
                }
                Ok((kind, value))
            }
        }
    }

    fn alias_of_key(&self, name: Span, line: u32) -> Result<NodeValue, Error> {
        match self.target(name, line)? {
            Target::Key(value) => Ok(clone_value(value)),
            &Target::Node(target) => {
                let node = &self.tree.nodes[target as usize];
                if node.kind != Kind::Scalar {
                    return Err(Error::at(line, ErrorKind::NonStringKey("that is an alias of a map or a list".into())));
                }
                Ok(clone_value(&node.value))
            }
        }
    }

    fn target(&self, name: Span, line: u32) -> Result<&Target, Error> {
        let name = &self.text[name.range()];
        self.anchors.get(name).ok_or_else(|| {
            let problem = format!("no anchor for the alias *{}", String::from_utf8_lossy(name));
            Error::at(line, ErrorKind::Syntax(problem))
        })
    }

    fn line_at(&self, pos: u32) -> u32 {
        line_at(self.text, pos as usize)
    }

    fn bytes<'a>(&'a self, text: &'a Text) -> &'a [u8] {
        match text {
            Text::Source(span) => &self.text[span.range()],
            Text::Owned(bytes) => bytes,
        }
    }
}

/// What a change of the value replaces, from its tag on, and what the style says of its properties.
fn with_properties(event: &Event) -> (Span, u8) {
    let (mut span, mut style) = (event.span, 0);
    if let Some((tag, at)) = event.tag
        && tag != Tag::None
    {
        span.start = at.start;
        style |= TAGGED;
        if tag == Tag::Other {
            style |= CUSTOM_TAG;
        }
        if event.anchor.is_some_and(|anchor| anchor.start > at.start) {
            style |= INNER_ANCHOR;
        }
    }
    // Where an anchor touches the value, both are one.
    if style == 0
        && let Some(anchor) = event.anchor
        && anchor.end == span.start
        && span.start < span.end
    {
        span.start = anchor.start - 1;
        style |= INNER_ANCHOR;
    }
    (span, style)
}

/// The value of a text whose type is known.
fn typed(resolved: Resolved, text: Text) -> NodeValue {
    match resolved {
        // Of values, the unsigned were refused before.
        Resolved::Null | Resolved::Unsigned => NodeValue::Null,
        Resolved::Bool(value) => NodeValue::Bool(value),
        Resolved::Int(value) => NodeValue::Int(value),
        Resolved::Float(value) => NodeValue::Float(value),
        Resolved::Time(value) => NodeValue::Time(value.into_boxed_str()),
        Resolved::Bytes(bytes) => NodeValue::Str(Text::Owned(Zeroizing::new(bytes.into_boxed_slice()))),
        Resolved::Str | Resolved::Merge => NodeValue::Str(text),
    }
}

/// The lines of a comment, each without its `#`.
fn lines(pieces: &[Piece]) -> Vec<Span> {
    pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Line(span) => Some(Span { start: span.start + 1, end: span.end }),
            Piece::Joint => None,
        })
        .collect()
}

pub(super) fn clone_text(text: &Text) -> Text {
    match text {
        Text::Source(span) => Text::Source(*span),
        Text::Owned(bytes) => Text::Owned(Zeroizing::new(bytes.to_vec().into_boxed_slice())),
    }
}

pub(super) fn clone_value(value: &NodeValue) -> NodeValue {
    match value {
        NodeValue::None => NodeValue::None,
        NodeValue::Null => NodeValue::Null,
        NodeValue::Bool(value) => NodeValue::Bool(*value),
        NodeValue::Int(value) => NodeValue::Int(*value),
        NodeValue::Float(value) => NodeValue::Float(*value),
        NodeValue::Str(text) => NodeValue::Str(clone_text(text)),
        NodeValue::Time(text) => NodeValue::Time(text.clone()),
    }
}
