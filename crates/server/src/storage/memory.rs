//! Storage that is gone with the process: for `-dev` and for tests.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use async_trait::async_trait;

use super::{
    Batch, Entry, FROZEN_BYTES, FROZEN_ENTRIES, Frozen, SCAN_BYTES, Scan, Storage, StorageError, behind, child,
};

/// Entries in memory.
#[derive(Default)]
pub struct Memory(RwLock<BTreeMap<String, Vec<u8>>>);

#[async_trait]
impl Storage for Memory {
    fn kind(&self) -> &'static str {
        "inmem"
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StorageError> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = Vec::new();
        let mut from = if after.is_empty() { prefix.to_owned() } else { behind(prefix, after) };
        while limit == 0 || names.len() < limit {
            let mut range = entries.range::<str, _>((Bound::Included(from.as_str()), Bound::Unbounded));
            let Some(name) = range.next().and_then(|(key, _)| child(prefix, key)) else { break };
            from = behind(prefix, name);
            if !name.is_empty() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    async fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        batch.checked()?;
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if batch.conditions.iter().any(|(key, expected)| entries.get(key) != expected.as_ref()) {
            return Err(StorageError::Conflict);
        }
        for (key, value) in batch.writes {
            match value {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        Ok(())
    }

    async fn freeze(&self) -> Result<Box<dyn Frozen>, StorageError> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Ok(Box::new(Copied(entries.clone().into_iter())))
    }
}

/// All entries, copied.
struct Copied(btree_map::IntoIter<String, Vec<u8>>);

#[async_trait]
impl Frozen for Copied {
    async fn next(&mut self) -> Result<Vec<Entry>, StorageError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while bytes < FROZEN_BYTES
            && entries.len() < FROZEN_ENTRIES
            && let Some((key, value)) = self.0.next()
        {
            bytes += value.len();
            entries.push((key, value));
        }
        Ok(entries)
    }
}

#[async_trait]
impl Scan for Memory {
    async fn scan(&self, from: &str, limit: usize) -> Result<Vec<Entry>, StorageError> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let range = entries.range::<str, _>((Bound::Included(from), Bound::Unbounded));
        let mut bytes = 0;
        let fits = |(_, value): &(&String, &Vec<u8>)| {
            let before = bytes;
            bytes += value.len();
            before < SCAN_BYTES
        };
        Ok(range.take(limit).take_while(fits).map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}
