//! One pass over a document, in document order, that knows of each node where it stands and whether the rules have it encrypted.
//!
//! Nothing is looked up twice: what the keys and comments above a node said is kept with its parent, so the cost is one match a
//! key. The pass does not recurse; a document may be as deep as its parser takes.

use bulla_document::{Document, Error as DocumentError, ErrorKind, Kind, NodeId};

use super::Error;
use super::place::{Mark, Place};
use super::rules::{Matched, Selector};

/// A pass over a document.
pub(super) struct Walk<'d, 'r> {
    document: &'d Document,
    selector: &'r Selector,
    /// Entries of roots that are passed over with all below: the metadata. In document order.
    skip: &'r [NodeId],
    roots: std::iter::Enumerate<std::slice::Iter<'d, NodeId>>,
    nodes: Box<dyn Iterator<Item = NodeId> + 'd>,
    stack: Vec<Frame>,
    document_index: u32,
    place: Place,
}

/// A map or a list that the pass is in.
struct Frame {
    id: NodeId,
    kind: Kind,
    mark: Mark,
    next_index: u64,
    matched: Matched,
}

/// One node of the pass.
#[derive(Clone, Copy)]
pub(super) struct Visit {
    pub(super) id: NodeId,
    pub(super) kind: Kind,
    /// The index of the YAML document it is in.
    pub(super) document: u32,
    /// Whether the rules have it encrypted. Of maps and lists, whether a value right in their place would be.
    pub(super) encrypted: bool,
    /// What the rules know here, for trees that are put in this place.
    pub(super) matched: Matched,
    /// Whether it is a root.
    pub(super) is_root: bool,
}

impl<'d, 'r> Walk<'d, 'r> {
    pub(super) fn new(document: &'d Document, selector: &'r Selector, skip: &'r [NodeId]) -> Self {
        Self {
            document,
            selector,
            skip,
            roots: document.roots().iter().enumerate(),
            nodes: Box::new(std::iter::empty()),
            stack: Vec::new(),
            document_index: 0,
            place: Place::default(),
        }
    }

    /// Where the last visited node stands; of a comment, where the map or list does that it is in.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The next node.
    ///
    /// # Errors
    /// [`ErrorKind::NonStringKey`] at a key that sops has no form for.
    pub(super) fn next(&mut self) -> Result<Option<Visit>, Error> {
        loop {
            let Some(id) = self.nodes.next() else {
                let Some((index, &root)) = self.roots.next() else { return Ok(None) };
                self.document_index = u32::try_from(index).unwrap_or(u32::MAX);
                self.stack.clear();
                self.place = Place::default();
                self.nodes = Box::new(self.document.subtree(root));
                continue;
            };
            let visit = match self.document.parent(id) {
                None => self.enter_root(id),
                Some(parent) => {
                    while self.stack.last().is_some_and(|frame| frame.id != parent) {
                        self.stack.pop();
                    }
                    if self.stack.len() == 1 && self.skip.first() == Some(&id) {
                        self.skip = &self.skip[1..];
                        self.skip_below(id);
                        // What comes before the metadata does not stand before what comes after it: when sops writes the
                        // file the metadata is the last entry.
                        continue;
                    }
                    self.enter(id)?
                }
            };
            return Ok(Some(visit));
        }
    }

    /// Passes over all that is below the node that was visited last.
    pub(super) fn skip_below(&mut self, id: NodeId) {
        let below = self.document.subtree(id).len() - 1;
        if below > 0 {
            self.nodes.nth(below - 1);
        }
    }

    /// Says that the item visited last is a comment in truth, so that it has no index.
    pub(super) fn uncount(&mut self, id: NodeId) {
        let parent = self.document.parent(id);
        if let Some(frame) = self.stack.iter_mut().rev().find(|frame| Some(frame.id) == parent) {
            frame.next_index = frame.next_index.saturating_sub(1);
        }
    }

    fn enter_root(&mut self, id: NodeId) -> Visit {
        let kind = self.document.kind(id);
        let matched = Matched::default();
        self.stack.push(Frame { id, kind, mark: self.place.mark(), next_index: 0, matched });
        self.visit(id, kind, matched, true)
    }

    fn enter(&mut self, id: NodeId) -> Result<Visit, Error> {
        let kind = self.document.kind(id);
        // The parent of every node that is not a root is in the stack.
        let Some(frame) = self.stack.last_mut() else { return Ok(self.enter_root(id)) };
        self.place.leave_to(frame.mark);
        let before = frame.matched;

        if kind == Kind::Comment {
            let scalar = self.document.scalar(id);
            let text = scalar.as_bytes().unwrap_or_default();
            frame.matched = self.selector.after_comment(before, text);
            let encrypted = self.selector.encrypts_comment(before, text);
            return Ok(Visit { encrypted, ..self.visit(id, kind, before, false) });
        }

        frame.matched = before.after_entry();
        let mut matched = before;
        if frame.kind == Kind::Map {
            let key = self.document.key(id).unwrap_or_default();
            if self.document.has_non_string_key(id) {
                let line = u32::try_from(self.document.line(id)).ok();
                let kind = ErrorKind::NonStringKey(key.to_owned());
                return Err(DocumentError { kind, line }.into());
            }
            matched = self.selector.at_key(before, key);
            self.place.enter_key(key);
        } else {
            self.place.enter_index(frame.next_index);
            frame.next_index += 1;
        }
        if kind != Kind::Scalar {
            self.stack.push(Frame { id, kind, mark: self.place.mark(), next_index: 0, matched: matched.below() });
        }
        Ok(self.visit(id, kind, matched, false))
    }

    fn visit(&self, id: NodeId, kind: Kind, matched: Matched, is_root: bool) -> Visit {
        Visit { id, kind, document: self.document_index, encrypted: self.selector.encrypts(matched), matched, is_root }
    }
}

/// Whether a map or a list has no entry, comments not counted.
pub(super) fn is_empty(document: &Document, id: NodeId) -> bool {
    document.children(id).all(|child| document.kind(child) == Kind::Comment)
}
