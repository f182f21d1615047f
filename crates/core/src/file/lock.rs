//! One process at a time edits a file.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::FileError;

/// Holds an exclusive lock on a file while it is read, changed and replaced, so that two processes editing the same file
/// follow each other.
///
/// The lock (`flock`) is on the file itself, and needs no second file beside it. [`replace`](super::replace) puts another
/// file in its place, so a waiter that gets the lock of a file no longer there starts again with the one that is.
/// It follows that a lock covers one replacement: take it, read, [`replace`](super::replace), drop it.
#[derive(Debug)]
pub struct FileLock(#[expect(dead_code, reason = "held for its lock, which closing releases")] File);

impl FileLock {
    /// Waits for the lock on `path`, which must exist.
    ///
    /// # Errors
    /// [`FileError::Io`] if it cannot be opened or locked.
    pub fn acquire(path: &Path) -> Result<Self, FileError> {
        let fail = || FileError::io("lock", path);
        loop {
            let file = File::open(path).map_err(fail())?;
            file.lock().map_err(fail())?;
            if is_in_place(&file, path)? {
                return Ok(Self(file));
            }
        }
    }

    /// Takes the lock on `path` if nobody holds it; `None` if somebody does.
    ///
    /// # Errors
    /// [`FileError::Io`] if it cannot be opened or locked.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, FileError> {
        let fail = || FileError::io("lock", path);
        loop {
            let file = File::open(path).map_err(fail())?;
            match file.try_lock() {
                Ok(()) if is_in_place(&file, path)? => return Ok(Some(Self(file))),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(fail()(error)),
            }
        }
    }
}

/// Whether `path` still leads to `file`.
fn is_in_place(file: &File, path: &Path) -> Result<bool, FileError> {
    let locked = file.metadata().map_err(FileError::io("lock", path))?;
    let current = fs::metadata(path).map_err(FileError::io("lock", path))?;
    Ok((locked.dev(), locked.ino()) == (current.dev(), current.ino()))
}
