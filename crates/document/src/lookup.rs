//! Finding children by key in maps of any size.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{Document, Kind, NodeId};

/// Looks along a map's children at first; once as many were looked at as the document has nodes, in an index of
/// all keys. One `set` in a large file so costs one walk along one map, and a look at every key of a map stays linear.
#[derive(Default)]
pub(crate) struct Lookup {
    looked_at: AtomicUsize,
    index: OnceLock<Index>,
}

/// Every node with a key, sorted by parent and hash, those with equal hashes in document order.
struct Index {
    hasher: RandomState,
    entries: Vec<(u32, u64, u32)>,
}

impl Lookup {
    pub(crate) fn child(&self, document: &Document, map: NodeId, key: &str) -> Option<NodeId> {
        if self.looked_at.load(Ordering::Relaxed) > document.len() {
            return self.index.get_or_init(|| Index::of(document)).child(document, map, key);
        }
        let mut count = 0;
        let found = document.children(map).find(|&child| {
            count += 1;
            has_key(document, child, key)
        });
        self.looked_at.fetch_add(count, Ordering::Relaxed);
        found
    }
}

impl Index {
    fn of(document: &Document) -> Self {
        let hasher = RandomState::new();
        let mut entries: Vec<_> = (0..)
            .zip(&document.nodes)
            .filter_map(|(id, node)| {
                let key = document.bytes(node.key.as_ref()?);
                Some((node.parent, hasher.hash_one(key), id))
            })
            .collect();
        entries.sort_unstable();
        Self { hasher, entries }
    }

    fn child(&self, document: &Document, map: NodeId, key: &str) -> Option<NodeId> {
        let hash = self.hasher.hash_one(key.as_bytes());
        let start = self.entries.partition_point(|&(parent, other, _)| (parent, other) < (map.0, hash));
        self.entries[start..]
            .iter()
            .take_while(|&&(parent, other, _)| (parent, other) == (map.0, hash))
            .map(|&(_, _, id)| NodeId(id))
            .find(|&child| has_key(document, child, key))
    }
}

fn has_key(document: &Document, child: NodeId, key: &str) -> bool {
    document.kind(child) != Kind::Comment && document.key(child) == Some(key)
}
