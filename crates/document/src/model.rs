//! The tree over a text.

use std::ops::Range;

use bulla_core::SecretBytes;

use crate::lookup::Lookup;
use crate::{Error, ErrorKind, Patch, Scalar, Value};

/// A syntax that documents are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Syntax {
    /// YAML as `go.yaml.in/yaml/v3` reads it.
    Yaml,
    /// JSON (RFC 8259).
    Json,
    /// `NAME=value` lines.
    Dotenv,
    /// INI with sections.
    Ini,
    /// TOML 1.1.
    Toml,
}

/// A node of a [`Document`]; meaningless in any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) u32);

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A map (an object, a table, a section); its children have keys, or are comments.
    Map,
    /// A list; its children are items, or comments.
    Seq,
    /// A single value.
    Scalar,
    /// A comment, standing among the entries as sops orders it: before the entry it heads or ends the line of.
    Comment,
}

/// One step from a node to a child.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Into a map.
    Key(String),
    /// Into a list, from 0, comments not counted.
    Index(usize),
}

/// What a parser may take in before it gives up with an error.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The text's length in bytes (at most `u32::MAX`).
    pub bytes: usize,
    /// How deep collections nest.
    pub depth: usize,
    /// How many nodes there may be, those that aliases repeat included.
    pub nodes: usize,
}

impl Default for Limits {
    /// 1 GiB of text, 1 000 levels, 20 million nodes.
    fn default() -> Self {
        Self { bytes: 1 << 30, depth: 1_000, nodes: 20_000_000 }
    }
}

/// A stretch of the text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// Places in a text, which [`Document::parse_within`] has checked to be shorter than 4 GiB.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let narrow = |place| u32::try_from(place).unwrap_or(u32::MAX);
        Self { start: narrow(start), end: narrow(end) }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Decoded text: a stretch of the source where it stands there as it is, else a copy. The copy is plaintext: the
/// vector is wiped on drop.
pub(crate) enum Text {
    Source(Span),
    Owned(zeroize::Zeroizing<Box<[u8]>>),
}

/// One node. Nodes stand in one vector in the order of the tree (parents before children, entries in document order).
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// How the value is written, in the syntax' own numbering.
    pub(crate) style: u8,
    /// Whether the node only repeats, under an alias, what stands elsewhere in the text. The alias' own node is not
    /// virtual: its `span` is the alias. What is below it is.
    pub(crate) is_virtual: bool,
    /// Whether the node is written as an alias (YAML's `*name`).
    pub(crate) is_alias: bool,
    /// Whether the key is anything but a string (YAML's `1: x`).
    pub(crate) non_string_key: bool,
    /// The parent's index; a root is its own parent.
    pub(crate) parent: u32,
    /// The index after the last descendant's.
    pub(crate) end: u32,
    /// What a change of the value replaces; of a comment, the text after `#`.
    pub(crate) span: Span,
    /// What removing the entry takes out: key, separator, value, up to and with the line's end where it has lines
    /// of its own.
    pub(crate) entry: Span,
    /// The key, in a map.
    pub(crate) key: Option<Text>,
    /// The decoded value of a scalar whose type is given by `scalar`; of a comment, its text.
    pub(crate) value: NodeValue,
}

/// A scalar's decoded value.
pub(crate) enum NodeValue {
    /// Of maps and lists.
    None,
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Text),
    Time(Box<str>),
}

/// A parsed text.
///
/// YAML may hold several documents; each is a root. Every other syntax has one root. Every root is a map, unless the text
/// is empty.
pub struct Document {
    pub(crate) syntax: Syntax,
    pub(crate) text: SecretBytes,
    pub(crate) nodes: Vec<Node>,
    pub(crate) roots: Vec<NodeId>,
    pub(crate) lookup: Lookup,
    pub(crate) has_aliases: bool,
    pub(crate) has_alias_as_key: bool,
}

impl Document {
    /// Reads `text` as `syntax`, within the default [`Limits`].
    ///
    /// # Errors
    /// [`Error`] says what is wrong on which line; the text is dropped (wiped).
    pub fn parse(syntax: Syntax, text: SecretBytes) -> Result<Self, Error> {
        Self::parse_within(syntax, text, &Limits::default())
    }

    /// Reads `text` as `syntax`, within `limits`.
    ///
    /// # Errors
    /// [`Error`] says what is wrong on which line; the text is dropped (wiped).
    pub fn parse_within(syntax: Syntax, text: SecretBytes, limits: &Limits) -> Result<Self, Error> {
        let most = limits.bytes.min(u32::MAX as usize);
        if text.len() > most {
            let message = format!("the text is {} bytes long, more than {most}", text.len());
            return Err(ErrorKind::Limit(message).into());
        }
        match syntax {
            Syntax::Yaml => crate::yaml::parse(text, limits),
            Syntax::Json => crate::json::parse(text, limits),
            Syntax::Dotenv => crate::dotenv::parse(text, limits),
            Syntax::Ini => crate::ini::parse(text, limits),
            Syntax::Toml => crate::toml::parse(text, limits),
        }
    }

    pub(crate) fn new(syntax: Syntax, text: SecretBytes, nodes: Vec<Node>, roots: Vec<NodeId>) -> Self {
        Self { syntax, text, nodes, roots, lookup: Lookup::default(), has_aliases: false, has_alias_as_key: false }
    }

    /// Starts a change of this document.
    pub fn patch(&self) -> Patch<'_> {
        Patch::new(self)
    }

    /// The syntax it is written in.
    pub const fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// The whole text.
    pub const fn text(&self) -> &SecretBytes {
        &self.text
    }

    /// Gives the text back.
    pub fn into_text(self) -> SecretBytes {
        self.text
    }

    /// The roots: one a document.
    pub fn roots(&self) -> &[NodeId] {
        &self.roots
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node at all.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// What the node is.
    pub fn kind(&self, id: NodeId) -> Kind {
        self.node(id).kind
    }

    /// The node's key in the map it stands in; `None` in a list, for comments and for roots.
    pub fn key(&self, id: NodeId) -> Option<&str> {
        let key = self.node(id).key.as_ref()?;
        // Keys are checked to be UTF-8 when they are read.
        Some(std::str::from_utf8(self.bytes(key)).unwrap_or_default())
    }

    /// Whether the node's key is anything but a string, which sops refuses.
    pub fn has_non_string_key(&self, id: NodeId) -> bool {
        self.node(id).non_string_key
    }

    /// Whether the node's key is written without quotes, tag, anchor or alias: a reader of another version of the syntax may then
    /// take it for another type.
    pub fn has_plain_key(&self, id: NodeId) -> bool {
        let entry = &self.text.expose()[self.node(id).entry.range()];
        self.key(id).is_some_and(|key| !key.is_empty() && entry.trim_ascii_start().starts_with(key.as_bytes()))
    }

    /// The value of a scalar. A map or a list answers [`Scalar::Null`], a comment its text.
    pub fn scalar(&self, id: NodeId) -> Scalar<'_> {
        match &self.node(id).value {
            NodeValue::None | NodeValue::Null => Scalar::Null,
            NodeValue::Bool(value) => Scalar::Bool(*value),
            NodeValue::Int(value) => Scalar::Int(*value),
            NodeValue::Float(value) => Scalar::Float(*value),
            NodeValue::Str(text) => Scalar::Str(self.bytes(text).into()),
            NodeValue::Time(text) => Scalar::Time(text.as_ref().into()),
        }
    }

    /// The text that a change of the node's value replaces.
    pub fn source(&self, id: NodeId) -> &[u8] {
        &self.text.expose()[self.node(id).span.range()]
    }

    /// The tag that a value, a map or a list is marked with, as it is written, where it is none that gives a value its type
    /// (`!Ref`, `!!set`): YAML's alone has any.
    pub fn custom_tag(&self, id: NodeId) -> Option<&[u8]> {
        if self.syntax == Syntax::Yaml { crate::yaml::custom_tag(self, id) } else { None }
    }

    /// The parent; `None` for a root.
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        let parent = self.node(id).parent;
        (parent != id.0).then_some(NodeId(parent))
    }

    /// The children in order, comments included.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let end = self.node(id).end;
        let mut next = id.0 + 1;
        std::iter::from_fn(move || {
            let child = (next < end).then_some(NodeId(next))?;
            next = self.node(child).end;
            Some(child)
        })
    }

    /// The node and all below it, parents before children, in document order.
    pub fn subtree(&self, id: NodeId) -> impl DoubleEndedIterator<Item = NodeId> + ExactSizeIterator + use<> {
        (id.0..self.node(id).end).map(NodeId)
    }

    /// Whether the node is written as an alias (`*name`) of another.
    pub fn is_alias(&self, id: NodeId) -> bool {
        self.node(id).is_alias
    }

    /// Whether an alias stands anywhere in the text, as a value or as a key: what a part of it stands for may then depend on
    /// another part.
    pub const fn has_aliases(&self) -> bool {
        self.has_aliases
    }

    /// Whether an alias stands as a key.
    pub const fn has_alias_as_key(&self) -> bool {
        self.has_alias_as_key
    }

    /// Whether the node only repeats, below an alias, what stands elsewhere in the text. It cannot be changed in place;
    /// the alias above it can.
    pub fn is_virtual(&self, id: NodeId) -> bool {
        self.node(id).is_virtual
    }

    /// The line the node's value starts on, from 1. Counts from the start of the text: for messages, not for loops.
    pub fn line(&self, id: NodeId) -> usize {
        let start = self.node(id).span.start as usize;
        1 + memchr::memchr_iter(b'\n', &self.text.expose()[..start]).count()
    }

    /// The child of a map under `key`, or of a list at an index. Where a map has the key twice, the first.
    ///
    /// Asked often of large maps, it builds an index of all keys once.
    pub fn child(&self, id: NodeId, step: &Step) -> Option<NodeId> {
        match (self.kind(id), step) {
            (Kind::Map, Step::Key(key)) => self.lookup.child(self, id, key),
            (Kind::Seq, Step::Index(index)) => {
                self.children(id).filter(|&child| self.kind(child) != Kind::Comment).nth(*index)
            }
            _ => None,
        }
    }

    /// The node that `path` leads to from `root`.
    pub fn find(&self, root: NodeId, path: &[Step]) -> Option<NodeId> {
        path.iter().try_fold(root, |id, step| self.child(id, step))
    }

    /// A copy of the tree below `id`, comments left out.
    pub fn to_value(&self, id: NodeId) -> Value {
        let entries = || self.children(id).filter(|&child| self.kind(child) != Kind::Comment);
        match self.kind(id) {
            Kind::Map => {
                Value::Map(entries().map(|c| (self.key(c).unwrap_or_default().to_owned(), self.to_value(c))).collect())
            }
            Kind::Seq => Value::Seq(entries().map(|child| self.to_value(child)).collect()),
            Kind::Scalar | Kind::Comment => Value::from(self.scalar(id)),
        }
    }

    /// Whether the node's source comes back by itself when its value is replaced by a string of ciphertext
    /// (`patch.set_scalar(id, "ENC[…]")`), the result is read, and the old value is set in its place.
    ///
    /// `false` for `0x1F`, `"\u0041"`, a folded block, an alias: what writes ciphertext keeps such sources apart and restores
    /// them with [`Patch::set_source`].
    pub fn restores(&self, id: NodeId) -> bool {
        let node = self.node(id);
        if node.is_alias {
            return false;
        }
        match self.syntax {
            Syntax::Yaml => crate::yaml::restores(self, id),
            Syntax::Json => crate::json::restores(self, id),
            Syntax::Dotenv => crate::dotenv::restores(self, id),
            Syntax::Ini => crate::ini::restores(self, id),
            Syntax::Toml => crate::toml::restores(self, id),
        }
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(crate) fn bytes<'a>(&'a self, text: &'a Text) -> &'a [u8] {
        match text {
            Text::Source(span) => &self.text.expose()[span.range()],
            Text::Owned(bytes) => bytes,
        }
    }
}
