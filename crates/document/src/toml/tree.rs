//! The tree while it is built: tables are still added to when others have been read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::{Fault, Form};
use crate::model::{Node, NodeValue, Span, Text};
use crate::{ErrorKind, Kind, Limits};

/// No item.
const NONE: u32 = u32::MAX;

/// A node to be, linked to its siblings.
pub(super) struct Item {
    pub(super) kind: Kind,
    /// A [`Form`] or a [`Style`](super::scalar::Style).
    pub(super) style: u8,
    pub(super) key: Option<Text>,
    pub(super) value: NodeValue,
    pub(super) span: Range<usize>,
    pub(super) entry: Range<usize>,
    parent: u32,
    first: u32,
    last: u32,
    previous: u32,
    next: u32,
}

impl Item {
    pub(super) fn new(kind: Kind, style: u8, span: Range<usize>, entry: Range<usize>) -> Self {
        Self {
            kind,
            style,
            key: None,
            value: NodeValue::None,
            span,
            entry,
            parent: NONE,
            first: NONE,
            last: NONE,
            previous: NONE,
            next: NONE,
        }
    }

    pub(super) fn form(&self) -> Form {
        Form::of(self.style)
    }
}

pub(super) struct Tree<'t> {
    items: Vec<Item>,
    keys: HashMap<(u32, Cow<'t, str>), u32>,
    limits: &'t Limits,
}

impl<'t> Tree<'t> {
    /// A tree with a root, which is item 0.
    pub(super) fn new(root: Item, limits: &'t Limits) -> Self {
        Self { items: vec![root], keys: HashMap::new(), limits }
    }

    pub(super) fn item(&mut self, id: u32) -> &mut Item {
        &mut self.items[id as usize]
    }

    /// The entry of `table` under `key`.
    pub(super) fn child(&self, table: u32, key: Cow<'t, str>) -> Option<u32> {
        self.keys.get(&(table, key)).copied()
    }

    pub(super) fn last_child(&self, parent: u32) -> Option<u32> {
        let last = self.items[parent as usize].last;
        (last != NONE).then_some(last)
    }

    /// Adds an entry to a table, under a key that it does not have.
    pub(super) fn add_entry(&mut self, table: u32, key: Cow<'t, str>, item: Item) -> Result<u32, Fault> {
        let id = self.add(table, item)?;
        self.keys.insert((table, key), id);
        Ok(id)
    }

    /// Adds a child at the end.
    pub(super) fn add(&mut self, parent: u32, mut item: Item) -> Result<u32, Fault> {
        let previous = self.items[parent as usize].last;
        item.parent = parent;
        item.previous = previous;
        let id = self.push(item)?;
        match self.items.get_mut(previous as usize) {
            Some(previous) => previous.next = id,
            None => self.items[parent as usize].first = id,
        }
        self.items[parent as usize].last = id;
        Ok(id)
    }

    /// Adds a sibling before an item that is not the root.
    pub(super) fn add_before(&mut self, next: u32, mut item: Item) -> Result<(), Fault> {
        let Item { parent, previous, .. } = self.items[next as usize];
        item.parent = parent;
        item.previous = previous;
        item.next = next;
        let id = self.push(item)?;
        self.items[next as usize].previous = id;
        match self.items.get_mut(previous as usize) {
            Some(previous) => previous.next = id,
            None => self.items[parent as usize].first = id,
        }
        Ok(())
    }

    fn push(&mut self, item: Item) -> Result<u32, Fault> {
        let id = self.items.len();
        if id >= self.limits.nodes.min(NONE as usize) {
            let message = format!("more than {} values", self.limits.nodes);
            return Err((item.entry.start, ErrorKind::Limit(message)));
        }
        self.items.push(item);
        Ok(u32::try_from(id).unwrap_or(NONE))
    }

    /// The nodes in the order of the tree.
    pub(super) fn into_nodes(mut self) -> Result<Vec<Node>, Fault> {
        let mut nodes: Vec<Node> = Vec::with_capacity(self.items.len());
        // The nodes that are still open, outermost first.
        let mut open: Vec<u32> = Vec::new();
        let mut at = 0;
        loop {
            let id = u32::try_from(nodes.len()).unwrap_or(NONE);
            let parent = open.last().copied().unwrap_or(id);
            let item = &mut self.items[at as usize];
            if open.len() > self.limits.depth {
                let message = format!("nested deeper than {} levels", self.limits.depth);
                return Err((item.span.start, ErrorKind::Limit(message)));
            }
            nodes.push(Node {
                kind: item.kind,
                style: item.style,
                is_virtual: false,
                is_alias: false,
                non_string_key: false,
                parent,
                end: id + 1,
                span: Span::new(item.span.start, item.span.end),
                entry: Span::new(item.entry.start, item.entry.end),
                key: item.key.take(),
                value: std::mem::replace(&mut item.value, NodeValue::None),
            });
            if item.first != NONE {
                open.push(id);
                at = item.first;
                continue;
            }
            // The next sibling, of the item or of the innermost parent that has one.
            while self.items[at as usize].next == NONE {
                let Some(parent) = open.pop() else { return Ok(nodes) };
                nodes[parent as usize].end = u32::try_from(nodes.len()).unwrap_or(NONE);
                at = self.items[at as usize].parent;
            }
            at = self.items[at as usize].next;
        }
    }
}
