//! A part of the barrier's paths: what one mount, or one part of the core, sees as its whole storage.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Barrier, BarrierError, Plain, Transaction};
use crate::storage::Batch;

/// The entries below a prefix.
#[derive(Clone)]
pub struct View {
    barrier: Arc<Barrier>,
    prefix: Arc<str>,
    naming: Naming,
}

/// How keys look in storage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// As they are: for keys that are hashes or numbers, in whose order they are listed.
    Plain,
    /// Encrypted, segment by segment.
    Hidden,
}

impl View {
    /// The entries below `prefix`, which ends with `/`, under names as they are given. For keys that say nothing by themselves.
    pub fn plain(barrier: &Arc<Barrier>, prefix: impl Into<Arc<str>>) -> Self {
        Self { barrier: Arc::clone(barrier), prefix: prefix.into(), naming: Naming::Plain }
    }

    /// The entries below `prefix`, which ends with `/`, under encrypted names. Listing costs all of a folder.
    pub fn hidden(barrier: &Arc<Barrier>, prefix: impl Into<Arc<str>>) -> Self {
        Self { barrier: Arc::clone(barrier), prefix: prefix.into(), naming: Naming::Hidden }
    }

    /// The entries below `folder`, which ends with `/`, named as here.
    pub fn below(&self, folder: &str) -> Result<Self, BarrierError> {
        Ok(Self { barrier: Arc::clone(&self.barrier), prefix: self.path(folder)?.into(), naming: self.naming })
    }

    /// The barrier.
    pub fn barrier(&self) -> &Arc<Barrier> {
        &self.barrier
    }

    /// A transaction, which can span views.
    pub fn begin(&self) -> Transaction {
        Transaction::new(Arc::clone(&self.barrier))
    }

    /// Where `key` is in storage.
    pub(super) fn path(&self, key: &str) -> Result<String, BarrierError> {
        let mut path = String::with_capacity(self.prefix.len() + key.len() * 2 + 24);
        path.push_str(&self.prefix);
        match self.naming {
            Naming::Plain => path.push_str(key),
            Naming::Hidden => self.barrier.names.hide(&mut path, key)?,
        }
        Ok(path)
    }

    /// The entry at `key`.
    pub async fn get(&self, key: &str) -> Result<Option<Plain>, BarrierError> {
        let path = self.path(key)?;
        let Some(record) = self.barrier.storage.get(&path).await? else { return Ok(None) };
        self.barrier.decrypt(&path, record).map(Some)
    }

    /// The entry at `key`, read as JSON of a `T`.
    pub async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, BarrierError> {
        let Some(plain) = self.get(key).await? else { return Ok(None) };
        decode(&self.path(key)?, &plain).map(Some)
    }

    /// Writes the entry at `key`.
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<(), BarrierError> {
        let path = self.path(key)?;
        let record = self.barrier.encrypt(&path, value)?;
        self.barrier.storage.commit(Batch { conditions: Vec::new(), writes: vec![(path, Some(record))] }).await?;
        Ok(())
    }

    /// What writes the entry at `key` as part of somebody's batch; without a value it deletes it.
    pub fn to_write(&self, key: &str, value: Option<&[u8]>) -> Result<(String, Option<Vec<u8>>), BarrierError> {
        let path = self.path(key)?;
        let record = value.map(|value| self.barrier.encrypt(&path, value)).transpose()?;
        Ok((path, record))
    }

    /// Writes `value` as JSON.
    pub async fn write<T: Serialize + Sync>(&self, key: &str, value: &T) -> Result<(), BarrierError> {
        self.put(key, &encode(key, value)?).await
    }

    /// Deletes the entry at `key`; that it is not there is no error.
    pub async fn delete(&self, key: &str) -> Result<(), BarrierError> {
        let path = self.path(key)?;
        self.barrier.storage.commit(Batch { conditions: Vec::new(), writes: vec![(path, None)] }).await?;
        Ok(())
    }

    /// The names directly below `folder`, which is empty or ends with `/`: sorted, folders with a slash at their end, those after `after`
    /// alone, at most `limit` (0: all).
    pub async fn list(&self, folder: &str, after: &str, limit: usize) -> Result<Vec<String>, BarrierError> {
        let path = self.path(folder)?;
        if self.naming == Naming::Plain {
            return Ok(self.barrier.storage.list(&path, after, limit).await?);
        }
        let hidden = self.barrier.storage.list(&path, "", 0).await?;
        let mut names = Vec::with_capacity(hidden.len());
        for name in hidden {
            let (segment, slash) = name.strip_suffix('/').map_or((name.as_str(), ""), |segment| (segment, "/"));
            let shown = self.barrier.names.show(&path, segment)? + slash;
            if shown.as_str() > after {
                names.push(shown);
            }
        }
        names.sort_unstable();
        if limit > 0 {
            names.truncate(limit);
        }
        Ok(names)
    }

    /// All names below `folder`, those in folders too: of each folder its entries, then its folders'.
    pub async fn scan(&self, folder: &str) -> Result<Vec<String>, BarrierError> {
        let mut names = Vec::new();
        let mut folders = VecDeque::from([String::new()]);
        while let Some(inner) = folders.pop_front() {
            for name in self.list(&format!("{folder}{inner}"), "", 0).await? {
                let path = format!("{inner}{name}");
                if name.ends_with('/') { folders.push_back(path) } else { names.push(path) }
            }
        }
        Ok(names)
    }

    /// Deletes everything below `folder`, some at a time: what was deleted stays deleted when it ends early.
    pub async fn delete_all(&self, folder: &str) -> Result<(), BarrierError> {
        const AT_ONCE: usize = 256;
        // Names need not be shown to be deleted.
        let raw = Self { barrier: Arc::clone(&self.barrier), prefix: self.path(folder)?.into(), naming: Naming::Plain };
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let mut after = String::new();
            loop {
                let names = raw.list(&folder, &after, AT_ONCE).await?;
                let Some(last) = names.last() else { break };
                after.clone_from(last);
                let mut writes = Vec::new();
                for name in names {
                    let path = format!("{folder}{name}");
                    if name.ends_with('/') { folders.push(path) } else { writes.push((raw.path(&path)?, None)) }
                }
                self.barrier.storage.commit(Batch { conditions: Vec::new(), writes }).await?;
            }
        }
        Ok(())
    }
}

pub(super) fn decode<T: DeserializeOwned>(path: &str, plain: &[u8]) -> Result<T, BarrierError> {
    // The error's own text can quote the contents.
    serde_json::from_slice(plain).map_err(|error| BarrierError::Format {
        path: path.to_owned(),
        reason: format!("no entry of this kind (line {}, column {})", error.line(), error.column()),
    })
}

pub(super) fn encode<T: Serialize>(key: &str, value: &T) -> Result<Plain, BarrierError> {
    serde_json::to_vec(value)
        .map(Plain::new)
        .map_err(|_| BarrierError::Format { path: key.to_owned(), reason: "it cannot be written".to_owned() })
}
