//! Where bytes are kept: keys are paths, values are opaque.
//!
//! The trait is what every backend has in common, and no more: an embedded file, a database server, memory. What is above encrypts; a
//! backend never sees plaintext and need not keep anything secret. One process at a time uses a backend. One that several machines can
//! reach takes a lock when it is opened, and a commit under a lost lock is [`StorageError::Fenced`].
//!
//! Writes come as a [`Batch`]: all of it is there, or nothing. A batch may carry conditions, which is how reading, deciding and writing
//! become one step without locks (see the barrier's transactions).

use std::time::Duration;

use async_trait::async_trait;

mod embedded;
mod memory;
pub mod migrate;
pub mod postgres;
pub mod restore;
pub mod snapshot;

pub use embedded::Embedded;
pub use memory::Memory;
pub use postgres::Postgres;

/// The longest value, in bytes: the peer's limit for one entry, and what encryption adds.
pub const MAX_VALUE: usize = (1 << 20) + 4096;
/// After so many bytes of values a step of [`Scan`] ends.
pub const SCAN_BYTES: usize = 4 << 20;
/// After so many bytes of values a step of [`Frozen`] ends.
pub const FROZEN_BYTES: usize = 1 << 20;
/// How many entries a step of [`Frozen`] has at most.
const FROZEN_ENTRIES: usize = 1024;
/// The longest key, in bytes.
pub const MAX_KEY: usize = 32 << 10;

/// A place for bytes.
#[async_trait]
pub trait Storage: Send + Sync {
    /// The backend's name, as `storage_type` of the seal's status has it.
    fn kind(&self) -> &'static str;

    /// The value of `key`.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError>;

    /// The names directly below `prefix`, which is empty or ends with `/`; those of folders end with `/`. Sorted by bytes, those after
    /// `after` alone, at most `limit` of them (0: all).
    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StorageError>;

    /// Does all of `batch`, or nothing. When it comes back, what was written survives the end of the process and of power.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] if a condition does not hold.
    async fn commit(&self, batch: Batch) -> Result<(), StorageError>;

    /// All entries as they are now, to be gone through while others write. Has all that was answered before, and of what is written later nothing.
    ///
    /// # Errors
    /// [`StorageError::Backend`]: the backend fails, or has nothing like that.
    async fn freeze(&self) -> Result<Box<dyn Frozen>, StorageError> {
        Err(StorageError::backend("read")(format!("a storage of the kind {} has no snapshots", self.kind())))
    }

    /// Whether it takes no more writes before the next start.
    fn has_failed(&self) -> bool {
        false
    }

    /// Waits until it can do nothing more for this process, and says why: another server took over. Most never can be lost.
    async fn lost(&self) -> StorageError {
        std::future::pending().await
    }
}

/// A key and its value.
pub type Entry = (String, Vec<u8>);

/// Storage whose entries can be gone through, whatever they are called.
#[async_trait]
pub trait Scan: Storage {
    /// Entries in the order of their keys, from the first that is not before `from`: at most `limit`, and none behind [`SCAN_BYTES`] of values. Fewer
    /// do not mean that it is the end; none do.
    async fn scan(&self, from: &str, limit: usize) -> Result<Vec<Entry>, StorageError>;
}

/// All entries of a storage as they were at one moment. Nobody waits for whoever has one; what was overwritten since is kept for as long, so it is not
/// kept for longer than needed.
#[async_trait]
pub trait Frozen: Send {
    /// The next entries, in the order of their keys; none at the end. None come behind [`FROZEN_BYTES`] of values.
    async fn next(&mut self) -> Result<Vec<Entry>, StorageError>;
}

/// What is written together, and what must hold for it.
#[derive(Clone, Default)]
pub struct Batch {
    /// Keys, and the value each must have (`None`: not be there).
    pub conditions: Vec<(String, Option<Vec<u8>>)>,
    /// Keys, and the value each gets (`None`: it is deleted).
    pub writes: Vec<(String, Option<Vec<u8>>)>,
}

impl Batch {
    fn checked(&self) -> Result<(), StorageError> {
        for (key, value) in &self.writes {
            if key.len() > MAX_KEY {
                return Err(StorageError::TooLarge { what: "key", limit: MAX_KEY });
            }
            if value.as_ref().is_some_and(|value| value.len() > MAX_VALUE) {
                return Err(StorageError::TooLarge { what: "value", limit: MAX_VALUE });
            }
        }
        Ok(())
    }
}

/// Why storage did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Somebody else wrote meanwhile: read again, decide again.
    #[error("the entry was changed meanwhile")]
    Conflict,
    /// Another process took over.
    #[error("another server writes to this storage now")]
    Fenced,
    /// The backend failed on the way, and what it has cannot be looked at: all was written, or nothing.
    #[error("the storage does not say whether it was written: {0}")]
    Unknown(String),
    /// Longer than an entry may be.
    #[error("the {what} is longer than the limit of {limit} bytes")]
    TooLarge {
        /// What is too long.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The backend failed.
    #[error("cannot {action} the storage: {reason}")]
    Backend {
        /// `open`, `read` or `write`.
        action: &'static str,
        /// What it said.
        reason: String,
    },
}

/// Commits a batch that writes, and looks where the answer leaves open whether it was done.
///
/// # Errors
/// [`StorageError::Unknown`] if that cannot be found out; any other: nothing was written.
pub async fn commit_surely(storage: &dyn Storage, batch: Batch) -> Result<(), StorageError> {
    let proof = batch.writes.iter().find(|(_, value)| value.is_some()).cloned();
    let Err(error) = storage.commit(batch).await else { return Ok(()) };
    let proof = proof.filter(|_| matches!(error, StorageError::Backend { .. }));
    let Some((key, value)) = proof else { return Err(error) };
    let look = async {
        for _ in 0..LOOKS {
            match storage.get(&key).await {
                Ok(found) => return Some(found == value),
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        None
    };
    match tokio::time::timeout(LOOK_TIME, look).await {
        Ok(Some(true)) => Ok(()),
        Ok(Some(false)) => Err(error),
        Ok(None) | Err(_) => Err(StorageError::Unknown(error.to_string())),
    }
}

/// How often, and how long apart, it is looked whether something was written, and how long in all.
const LOOKS: usize = 5;
const LOOK_AGAIN: Duration = Duration::from_millis(200);
const LOOK_TIME: Duration = Duration::from_secs(10);

impl StorageError {
    pub(crate) fn backend(action: &'static str) -> impl Fn(String) -> Self {
        move |reason| Self::Backend { action, reason }
    }
}

/// The name below `prefix` that `key` has: itself, or its folder with the slash.
fn child<'k>(prefix: &str, key: &'k str) -> Option<&'k str> {
    let rest = key.strip_prefix(prefix)?;
    Some(rest.find('/').map_or(rest, |slash| &rest[..=slash]))
}

/// Where listing goes on behind the name `child` below `prefix`: past all of a folder.
fn behind(prefix: &str, child: &str) -> String {
    match child.strip_suffix('/') {
        // The character after the slash.
        Some(folder) => format!("{prefix}{folder}0"),
        None => format!("{prefix}{child}\0"),
    }
}

#[cfg(test)]
mod tests;
