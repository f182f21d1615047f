//! Builds the decrypted tree below one node of an encrypted document.

use bulla_document::{Document, Kind, NodeId, Value};

use super::pass::Found;

/// Takes what a pass finds, and keeps what is below one node.
pub(super) struct Collector<'d> {
    document: &'d Document,
    root: NodeId,
    last: NodeId,
    /// The collections that are not finished, outermost first.
    open: Vec<(NodeId, Value)>,
    done: Value,
}

impl<'d> Collector<'d> {
    pub(super) fn new(document: &'d Document, root: NodeId) -> Self {
        let last = document.subtree(root).next_back().unwrap_or(root);
        Self { document, root, last, open: Vec::new(), done: Value::Null }
    }

    /// Takes the next node.
    pub(super) fn take(&mut self, id: NodeId, found: &Found<'_>) {
        if id < self.root || id > self.last {
            return;
        }
        let empty = || match self.document.kind(id) {
            Kind::Map => Value::Map(Vec::new()),
            _ => Value::Seq(Vec::new()),
        };
        match found {
            Found::Collection => {
                self.close_to(id);
                self.open.push((id, empty()));
            }
            Found::Value(value) if self.document.kind(id) == Kind::Scalar => {
                self.add(id, Value::from(value.scalar.clone()));
            }
            Found::Value(_) => self.add(id, empty()),
            Found::Comment { .. } | Found::CommentItem { .. } => {}
        }
    }

    /// The tree; null if nothing was found there.
    pub(super) fn finish(mut self) -> Value {
        while let Some((id, value)) = self.open.pop() {
            self.attach(id, value);
        }
        self.done
    }

    fn add(&mut self, id: NodeId, value: Value) {
        self.close_to(id);
        self.attach(id, value);
    }

    /// Finishes the collections that `id` is not in.
    fn close_to(&mut self, id: NodeId) {
        let parent = self.document.parent(id);
        while self.open.last().is_some_and(|(open, _)| Some(*open) != parent) {
            if let Some((id, value)) = self.open.pop() {
                self.attach(id, value);
            }
        }
    }

    fn attach(&mut self, id: NodeId, value: Value) {
        match self.open.last_mut() {
            Some((_, Value::Map(entries))) => {
                entries.push((self.document.key(id).unwrap_or_default().to_owned(), value));
            }
            Some((_, Value::Seq(items))) => items.push(value),
            _ => self.done = value,
        }
    }
}
