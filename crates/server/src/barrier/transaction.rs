//! Reading, deciding and writing as one step, across views.
//!
//! A transaction remembers what it read, and its commit goes through if all of that is still so: else it is a conflict
//! ([`BarrierError::is_conflict`]), and the caller reads and decides again. Each record has its own nonce, so that records are equal exactly
//! when nobody wrote. What was listed is not remembered.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::view::{decode, encode};
use super::{Barrier, BarrierError, Plain, View};
use crate::storage::Batch;

/// How often a step is tried again before its conflict is reported: more means that something is wrong.
const ATTEMPTS: usize = 1000;

/// What was read and is to be written.
pub struct Transaction {
    barrier: Arc<Barrier>,
    read: BTreeMap<String, Option<Vec<u8>>>,
    written: BTreeMap<String, Option<Plain>>,
}

impl Transaction {
    pub(super) fn new(barrier: Arc<Barrier>) -> Self {
        Self { barrier, read: BTreeMap::new(), written: BTreeMap::new() }
    }

    /// The entry at `key` of `view`, as it is or as this transaction would leave it.
    pub async fn get(&mut self, view: &View, key: &str) -> Result<Option<Plain>, BarrierError> {
        let path = view.path(key)?;
        if let Some(written) = self.written.get(&path) {
            return Ok(written.clone());
        }
        let record = if let Some(record) = self.read.get(&path) {
            record.clone()
        } else {
            let record = self.barrier.storage.get(&path).await?;
            self.read.insert(path.clone(), record.clone());
            record
        };
        record.map(|record| self.barrier.decrypt(&path, record)).transpose()
    }

    /// The entry at `key` of `view`, read as JSON of a `T`.
    pub async fn read<T: DeserializeOwned>(&mut self, view: &View, key: &str) -> Result<Option<T>, BarrierError> {
        let Some(plain) = self.get(view, key).await? else { return Ok(None) };
        decode(key, &plain).map(Some)
    }

    /// Will write the entry at `key` of `view`.
    pub fn put(&mut self, view: &View, key: &str, value: &[u8]) -> Result<(), BarrierError> {
        self.written.insert(view.path(key)?, Some(Plain::new(value.to_vec())));
        Ok(())
    }

    /// Will write `value` as JSON.
    pub fn write<T: Serialize>(&mut self, view: &View, key: &str, value: &T) -> Result<(), BarrierError> {
        self.written.insert(view.path(key)?, Some(encode(key, value)?));
        Ok(())
    }

    /// Will delete the entry at `key` of `view`.
    pub fn delete(&mut self, view: &View, key: &str) -> Result<(), BarrierError> {
        self.written.insert(view.path(key)?, None);
        Ok(())
    }

    /// Writes all, or nothing.
    ///
    /// # Errors
    /// A conflict if something that was read has changed.
    pub async fn commit(self) -> Result<(), BarrierError> {
        let storage = Arc::clone(&self.barrier.storage);
        match self.batch()? {
            Some(batch) => Ok(storage.commit(batch).await?),
            None => Ok(()),
        }
    }

    /// What is to be committed; `None` if nothing is.
    fn batch(self) -> Result<Option<Batch>, BarrierError> {
        if self.written.is_empty() {
            return Ok(None);
        }
        let mut writes = Vec::with_capacity(self.written.len());
        for (path, value) in self.written {
            let record = value.map(|value| self.barrier.encrypt(&path, &value)).transpose()?;
            writes.push((path, record));
        }
        Ok(Some(Batch { conditions: self.read.into_iter().collect(), writes }))
    }

    /// Commits. `Ok(false)` is a conflict, to be tried again; `attempt` counts.
    ///
    /// # Errors
    /// Anything else, and a conflict that does not end.
    pub async fn try_commit(self, attempt: &mut usize) -> Result<bool, BarrierError> {
        *attempt += 1;
        match self.commit().await {
            Ok(()) => Ok(true),
            Err(error) if error.is_conflict() && *attempt < ATTEMPTS => {
                tokio::task::yield_now().await;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
