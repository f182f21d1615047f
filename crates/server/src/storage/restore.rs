//! Puts a snapshot in the place of a storage that no server uses.
//!
//! A file is made anew beside the old one, compared with the snapshot to the last byte, and then gets the old one's name in one step. So whatever ends
//! the process, and whenever, the name leads to the old storage or to the new one, each whole. The old one is kept under another name. A process that was
//! killed may leave a file `….restoring-…`, which nothing reads. Nothing of a database is written over: it has to be empty, see [`migrate`].

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::Embedded;
use super::migrate::{self, MigrateError, Summary};
use super::snapshot::SnapshotFile;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What is there now.
    pub summary: Summary,
    /// Where the storage is that was there before.
    pub kept: Option<PathBuf>,
}

/// Why it was not done. The storage is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// What is there is in use, or cannot be opened.
    #[error("the storage that is there: {0}")]
    InUse(super::StorageError),
    /// The new one was not made.
    #[error(transparent)]
    Copy(#[from] MigrateError),
    /// The new one did not get its name.
    #[error("cannot put the new storage in its place: {0}")]
    Replace(#[source] std::io::Error),
}

/// Puts a snapshot in the place of the embedded storage at `path`, if there is one. `tell` hears how many entries it is at.
///
/// # Errors
/// [`RestoreError`].
pub async fn embedded(
    path: &Path,
    snapshot: &SnapshotFile,
    tell: &(dyn Fn(u64) + Send + Sync),
) -> Result<Restored, RestoreError> {
    // Held to the end: no server begins to use what is about to be another.
    let old = if path.exists() { Some(Embedded::open_existing(path).map_err(RestoreError::InUse)?) } else { None };
    let new = Unplaced(beside(path, &format!("restoring-{}", random()?)));
    let storage = Embedded::open(&new.0).map_err(MigrateError::Destination)?;
    let summary = migrate::run(snapshot, &storage, None, tell).await?;
    // Closed, it is as a server leaves it that was stopped.
    drop(storage);
    let kept = if old.is_some() {
        let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        exchange(&new.0, path, &beside(path, &format!("before-{time}-{}", random()?))).map(Some)
    } else {
        place(&new.0, path, RenameFlags::NOREPLACE).map(|()| None)
    };
    drop(old);
    Ok(Restored { summary, kept: kept.map_err(RestoreError::Replace)? })
}

/// Gives `path` the contents of `new`, and what it had the name `kept`.
fn exchange(new: &Path, path: &Path, kept: &Path) -> std::io::Result<PathBuf> {
    if std::fs::hard_link(path, kept).is_ok() {
        return place(new, path, RenameFlags::empty()).map(|()| kept.to_owned());
    }
    // Not every file system has links.
    place(new, path, RenameFlags::EXCHANGE)?;
    place(new, kept, RenameFlags::NOREPLACE).map(|()| kept.to_owned())
}

fn place(from: &Path, to: &Path, flags: RenameFlags) -> std::io::Result<()> {
    if flags.is_empty() {
        std::fs::rename(from, to)?;
    } else {
        renameat_with(CWD, from, CWD, to, flags)?;
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{what}"));
    name.into()
}

fn random() -> Result<String, RestoreError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| RestoreError::Replace(std::io::Error::other(error.to_string())))?;
    Ok(crate::core::hex(&random))
}

/// A file that has not its name yet: it goes with whoever makes it.
struct Unplaced(PathBuf);

impl Drop for Unplaced {
    fn drop(&mut self) {
        // It is gone once it has its name.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
