//! One pass over an encrypted document that decrypts every value.

use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, NodeId, Scalar};

use super::Error;
use super::cipher::{Cipher, Sealed, ValueType, looks_sealed};
use super::mac::{Leaf, Macs};
use super::place::Place;
use super::plain::{self, Plain};
use super::rules::Selector;
use super::walk::{Visit, Walk, is_empty};

/// What is passed over.
pub(super) struct Pass<'f> {
    pub(super) document: &'f Document,
    pub(super) selector: &'f Selector,
    /// The metadata's entries.
    pub(super) skip: &'f [NodeId],
    pub(super) cipher: &'f Cipher,
    /// A tree in it that is plaintext still.
    pub(super) fresh: Option<NodeId>,
}

/// What was found at a node.
pub(super) enum Found<'a> {
    /// A map or a list that has entries; they come next.
    Collection,
    /// A value, an empty map or an empty list.
    Value(Value<'a>),
    /// An encrypted comment, decrypted.
    Comment {
        /// Its text.
        text: &'a [u8],
        /// What it was encrypted from.
        sealed: &'a Sealed<'a>,
        /// The associated data it was encrypted with.
        associated: &'a [u8],
    },
    /// What sops makes of a comment in a list: an item of its own. Belongs to no MAC and has no index.
    CommentItem {
        /// Its text.
        text: &'a [u8],
    },
}

/// A value, decrypted.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    /// The value; null for empty maps and lists.
    pub(super) scalar: &'a Scalar<'a>,
    pub(super) leaf: Leaf,
    /// The plaintext that the MACs cover.
    pub(super) plain: &'a [u8],
    /// What it was decrypted from; `None` if it stands there as it is.
    pub(super) sealed: Option<&'a Sealed<'a>>,
    /// Whether it is plaintext that the rules want encrypted.
    pub(super) is_fresh: bool,
}

impl Pass<'_> {
    /// Calls `on` for each node in document order.
    ///
    /// # Errors
    /// [`Error::Value`] for the first value that does not decrypt, and what `on` answers.
    pub(super) fn run(&self, on: impl FnMut(&Visit, &Place, Found<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.run_taking(None, &mut None, on)
    }

    /// As [`run`](Self::run), and puts the plaintext of the string at `wanted` into `taken` without a copy.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(super) fn run_taking(
        &self,
        wanted: Option<NodeId>,
        taken: &mut Option<SecretBytes>,
        mut on: impl FnMut(&Visit, &Place, Found<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let document = self.document;
        let mut walk = Walk::new(document, self.selector, self.skip);
        let mut plain = SecretBytes::new();
        let mut scratch = SecretBytes::new();
        let mut previous = Vec::new();
        let fresh = self.fresh.map(|id| document.subtree(id).next_back().map_or(id..=id, |last| id..=last));
        while let Some(visit) = walk.next()? {
            let id = visit.id;
            if visit.kind == Kind::Comment {
                let scalar = document.scalar(id);
                let text = scalar.as_bytes().unwrap_or_default();
                if visit.encrypted && looks_sealed(text) && !document.is_virtual(id) {
                    // What does not decrypt was never encrypted: older versions left comments alone.
                    let Ok(sealed) = Sealed::parse(text) else { continue };
                    let here = walk.place().associated();
                    if let Some(associated) = self.open_comment(&sealed, here, &previous, &mut plain) {
                        on(&visit, walk.place(), Found::Comment { text: plain.expose(), sealed: &sealed, associated })?;
                    }
                }
                continue;
            }
            previous.clear();
            previous.extend_from_slice(walk.place().associated());

            if visit.kind != Kind::Scalar {
                let found = match empty_leaf(document, &visit) {
                    Some(leaf) => {
                        Found::Value(Value { scalar: &Scalar::Null, leaf, plain: b"", sealed: None, is_fresh: false })
                    }
                    None => Found::Collection,
                };
                on(&visit, walk.place(), found)?;
                continue;
            }

            let scalar = document.scalar(id);
            let is_fresh = fresh.as_ref().is_some_and(|fresh| fresh.contains(&id));
            let as_it_is = !visit.encrypted || is_fresh || is_never_encrypted(&scalar);
            if as_it_is {
                let bytes = plain::of(&scalar, &mut scratch).map_or(b"".as_slice(), |(bytes, _)| bytes);
                let is_fresh = is_fresh && visit.encrypted && !is_never_encrypted(&scalar);
                let leaf = Leaf::of(&scalar);
                let value = Value { scalar: &scalar, leaf, plain: bytes, sealed: None, is_fresh };
                on(&visit, walk.place(), Found::Value(value))?;
                if wanted == Some(id) && leaf == Leaf::Str {
                    *taken = Some(SecretBytes::from(bytes));
                }
                continue;
            }

            let fault = |reason| Error::Value { path: walk.place().to_string(), reason };
            let text = scalar.as_bytes().ok_or(NOT_ENCRYPTED).map_err(fault)?;
            let sealed = Sealed::parse(text).map_err(fault)?;
            self.cipher.open(&sealed, walk.place().associated(), &mut plain).map_err(fault)?;
            let is_string = matches!(sealed.value_type, ValueType::Str | ValueType::Bytes);
            match plain::parse(sealed.value_type, plain.expose()).map_err(fault)? {
                Plain::Comment(text) => {
                    walk.uncount(id);
                    on(&visit, walk.place(), Found::CommentItem { text })?;
                }
                Plain::Value(scalar) => {
                    // Not what was decrypted but what it stands for, written again: `007` is 7.
                    let bytes = plain::of(&scalar, &mut scratch).map_or(b"".as_slice(), |(bytes, _)| bytes);
                    let leaf = Leaf::of(&scalar);
                    let value = Value { scalar: &scalar, leaf, plain: bytes, sealed: Some(&sealed), is_fresh: false };
                    on(&visit, walk.place(), Found::Value(value))?;
                }
            }
            if wanted == Some(id) && is_string {
                *taken = Some(std::mem::take(&mut plain));
            }
        }
        Ok(())
    }

    /// Decrypts a comment, and gives the associated data that it was encrypted with.
    ///
    /// That is the place of the map or list it stands in. To which one a comment at the end of several belongs depends on what
    /// follows it, and the metadata was not there yet when it was encrypted; so all that the entry before it stands in are tried too.
    fn open_comment<'a>(
        &self,
        sealed: &Sealed<'_>,
        here: &'a [u8],
        previous: &'a [u8],
        plain: &mut SecretBytes,
    ) -> Option<&'a [u8]> {
        let colons = previous.iter().enumerate().rev().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
        let around = colons.map(|at| &previous[..=at]).chain([b":".as_slice()]);
        std::iter::once(here).chain(around).take(MAX_TRIES).find(|associated| {
            sealed.value_type == ValueType::Comment && self.cipher.open(sealed, associated, plain).is_ok()
        })
    }
}

/// How many places a comment is tried at, so that a file full of comments that do not decrypt costs no more than it should.
const MAX_TRIES: usize = 16;

const NOT_ENCRYPTED: &str = "it should be encrypted and is not";

/// What is written as it is whatever the rules say.
pub(super) fn is_never_encrypted(scalar: &Scalar<'_>) -> bool {
    match scalar {
        Scalar::Null => true,
        Scalar::Str(bytes) => bytes.is_empty(),
        _ => false,
    }
}

/// What an empty map or list is for the MAC. A root is the file itself.
pub(super) fn empty_leaf(document: &Document, visit: &Visit) -> Option<Leaf> {
    if visit.is_root || !is_empty(document, visit.id) {
        return None;
    }
    match visit.kind {
        Kind::Map => Some(Leaf::EmptyMap),
        Kind::Seq => Some(Leaf::EmptyList),
        Kind::Scalar | Kind::Comment => None,
    }
}

/// Feeds the MACs with every leaf of a plaintext document.
pub(super) fn hash_plain(document: &Document, selector: &Selector, macs: &mut Macs) -> Result<(), Error> {
    let mut walk = Walk::new(document, selector, &[]);
    let mut scratch = SecretBytes::new();
    while let Some(visit) = walk.next()? {
        if visit.kind == Kind::Scalar {
            let scalar = document.scalar(visit.id);
            let bytes = plain::of(&scalar, &mut scratch).map_or(b"".as_slice(), |(bytes, _)| bytes);
            macs.leaf(
                visit.document,
                walk.place(),
                Leaf::of(&scalar),
                bytes,
                visit.encrypted && scalar != Scalar::Null,
            );
        } else if let Some(leaf) = empty_leaf(document, &visit) {
            macs.leaf(visit.document, walk.place(), leaf, b"", false);
        }
    }
    Ok(())
}
