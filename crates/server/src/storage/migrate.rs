//! Copies one storage to another: what `operator migrate` does.
//!
//! Entries go over as they are, encrypted; no key is needed. What was written is read back, and at the end all of both is hashed and compared.
//! While it goes on the destination has an entry [`MARKER`], which is written with each step and says how far it got: a server does not open such a
//! storage, and a migration that was killed goes on where it was.

use std::cmp::Ordering;
use std::collections::VecDeque;

use aws_lc_rs::digest;

use super::{Batch, Entry, Scan, Storage, StorageError, commit_surely};

/// What an unfinished destination has.
pub const MARKER: &str = "core/migration";
/// How many entries a step copies.
const STEP: usize = 256;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many entries there are.
    pub entries: u64,
    /// How many of them were copied now.
    pub copied: u64,
    /// How many bytes keys and values have.
    pub bytes: u64,
    /// SHA-256 over all of them, in hex.
    pub digest: String,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The source failed.
    #[error("the source: {0}")]
    Source(StorageError),
    /// The destination failed. What is there is good as far as it goes.
    #[error("the destination: {0}")]
    Destination(StorageError),
    /// The source is itself the destination of a migration that has not ended.
    #[error("the source is the destination of a migration that has not ended: not everything is there")]
    SourceUnfinished,
    /// The source has nothing.
    #[error("the source is empty")]
    SourceEmpty,
    /// The destination has entries.
    #[error("the destination is not empty")]
    NotEmpty {
        /// Where the migration that began there can go on.
        unfinished: Option<String>,
    },
    /// What the destination has is not the beginning of this source.
    #[error("the destination is not what this migration has copied so far: the entry {} {what}", .key.escape_debug())]
    Another {
        /// The entry.
        key: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// What was read back is not what was written.
    #[error("what the destination has is not what the source has")]
    Mismatch,
}

/// Refuses a storage that is not all there.
///
/// # Errors
/// [`StorageError::Backend`] if a migration to it has not ended.
pub async fn check_complete(storage: &dyn Storage) -> Result<(), StorageError> {
    match storage.get(MARKER).await? {
        None => Ok(()),
        Some(_) => Err(StorageError::backend("open")(
            "a migration to it has not ended: not everything is there. Go on with it, or empty the storage".to_owned(),
        )),
    }
}

/// Copies all of `source`; with `start`, from this key on, after a look at what is there before it. `tell` hears how many entries it is at.
pub async fn run(
    source: &dyn Scan,
    destination: &dyn Scan,
    start: Option<&str>,
    tell: &(dyn Fn(u64) + Send + Sync),
) -> Result<Summary, MigrateError> {
    if source.get(MARKER).await.map_err(MigrateError::Source)?.is_some() {
        return Err(MigrateError::SourceUnfinished);
    }
    if source.scan("", 1).await.map_err(MigrateError::Source)?.is_empty() {
        return Err(MigrateError::SourceEmpty);
    }
    let before = match start {
        Some(start) => compare(source, destination, start).await?,
        None => empty(destination).await?,
    };
    let mut copied = 0;
    let mut from = start.unwrap_or_default().to_owned();
    loop {
        let entries = source.scan(&from, STEP).await.map_err(MigrateError::Source)?;
        let Some((last, _)) = entries.last() else { break };
        from = next(last);
        copied += entries.len() as u64;
        copy(destination, entries).await?;
        tell(before + copied);
    }
    let (theirs, ours) = (summary(source).await.map_err(MigrateError::Source)?, summary(destination).await);
    if theirs != ours.map_err(MigrateError::Destination)? {
        return Err(MigrateError::Mismatch);
    }
    let end = Batch { conditions: Vec::new(), writes: vec![(MARKER.to_owned(), None)] };
    destination.commit(end).await.map_err(MigrateError::Destination)?;
    check_complete(destination).await.map_err(MigrateError::Destination)?;
    Ok(Summary { copied, ..theirs })
}

/// Writes entries, and how far it is, and reads them back.
async fn copy(destination: &dyn Scan, entries: Vec<Entry>) -> Result<(), MigrateError> {
    let fail = MigrateError::Destination;
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else { return Ok(()) };
    let (mut from, last) = (first.clone(), last.clone());
    let mut writes: Vec<_> = entries.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    writes.push((MARKER.to_owned(), Some(last.clone().into_bytes())));
    // A storage with other limits refuses here, and says which.
    commit_surely(destination, Batch { conditions: Vec::new(), writes }).await.map_err(fail)?;
    let mut expected = entries.into_iter();
    while from <= last {
        let found = destination.scan(&from, STEP).await.map_err(fail)?;
        let Some((end, _)) = found.last() else { break };
        from = next(end);
        for entry in found.into_iter().filter(|(key, _)| *key <= last && key != MARKER) {
            if expected.next() != Some(entry) {
                return Err(MigrateError::Mismatch);
            }
        }
    }
    if expected.next().is_none() { Ok(()) } else { Err(MigrateError::Mismatch) }
}

async fn empty(destination: &dyn Scan) -> Result<u64, MigrateError> {
    let fail = MigrateError::Destination;
    if destination.scan("", 1).await.map_err(fail)?.is_empty() {
        return Ok(0);
    }
    let marker = destination.get(MARKER).await.map_err(fail)?;
    Err(MigrateError::NotEmpty { unfinished: marker.and_then(|last| String::from_utf8(last).ok()) })
}

/// Whether the destination has nothing but entries of the source, and all of those before `start`. Gives how many those are.
async fn compare(source: &dyn Scan, destination: &dyn Scan, start: &str) -> Result<u64, MigrateError> {
    let another = |key: String, what| Err(MigrateError::Another { key, what });
    if destination.get(MARKER).await.map_err(MigrateError::Destination)?.is_none() {
        return another(MARKER.to_owned(), "is not there: no migration to it has begun, or it has ended");
    }
    let (mut theirs, mut ours) = (Walk::new(source), Walk::new(destination));
    let mut before = 0;
    let (mut wanted, mut found) = (theirs.next().await.map_err(MigrateError::Source)?, None);
    let mut is_behind = true;
    loop {
        if std::mem::take(&mut is_behind) {
            found = ours.next().await.map_err(MigrateError::Destination)?;
        }
        let order = match (&wanted, &found) {
            (None, None) => return Ok(before),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((wanted, _)), Some((found, _))) => wanted.cmp(found),
        };
        match (order, wanted.take(), &found) {
            (Ordering::Less, Some((key, _)), _) if key.as_str() < start => return another(key, "is missing"),
            (Ordering::Equal, Some((key, value)), Some((_, theirs))) if value != *theirs => {
                return another(key, "has another value");
            }
            (Ordering::Equal, Some((key, _)), _) => {
                before += u64::from(key.as_str() < start);
                is_behind = true;
            }
            (Ordering::Greater, _, Some((key, _))) => return another(key.clone(), "is not in the source"),
            _ => {}
        }
        wanted = theirs.next().await.map_err(MigrateError::Source)?;
    }
}

/// All entries of a storage but the marker.
struct Walk<'s> {
    storage: &'s dyn Scan,
    from: String,
    page: VecDeque<Entry>,
}

impl<'s> Walk<'s> {
    fn new(storage: &'s dyn Scan) -> Self {
        Self { storage, from: String::new(), page: VecDeque::new() }
    }

    async fn next(&mut self) -> Result<Option<Entry>, StorageError> {
        loop {
            if self.page.is_empty() {
                self.page = self.storage.scan(&self.from, STEP).await?.into();
                match self.page.back() {
                    Some((last, _)) => self.from = next(last),
                    None => return Ok(None),
                }
            }
            if let Some(entry) = self.page.pop_front().filter(|(key, _)| key != MARKER) {
                return Ok(Some(entry));
            }
        }
    }
}

async fn summary(storage: &dyn Scan) -> Result<Summary, StorageError> {
    let mut walk = Walk::new(storage);
    let mut hash = digest::Context::new(&digest::SHA256);
    let mut summary = Summary::default();
    while let Some((key, value)) = walk.next().await? {
        for part in [key.as_bytes(), &value] {
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
            summary.bytes += part.len() as u64;
        }
        summary.entries += 1;
    }
    summary.digest = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(summary)
}

/// The first key that can stand behind `key`.
fn next(key: &str) -> String {
    format!("{key}\0")
}

#[cfg(test)]
mod tests;
