//! One process at a time edits a file.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use super::FileError;

/// Holds an exclusive lock on a file while it is read, changed and replaced, so that two processes editing the same file
/// follow each other.
///
/// The lock (`flock`) is on the file itself, and needs no second file beside it. [`replace`](super::replace) puts another
/// file in its place, so a waiter that gets the lock of a file no longer there starts again with the one that is.
/// It follows that a lock covers one replacement: take it, read, [`replace`](super::replace), drop it.
///
/// Where the file system has no locks there are none, and the file can be changed all the same.
#[derive(Debug)]
pub struct FileLock(
    #[cfg_attr(not(test), expect(dead_code, reason = "held for its lock, which closing releases"))] File,
);

impl FileLock {
    /// Waits for the lock on `path`, which must exist.
    ///
    /// # Errors
    /// [`FileError::Io`] if it cannot be opened or locked.
    pub fn acquire(path: &Path) -> Result<Self, FileError> {
        let fail = || FileError::io("lock", path);
        loop {
            let file = open(path).map_err(fail())?;
            if let Err(error) = file.lock()
                && !is_without_locks(&error)
            {
                return Err(fail()(error));
            }
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
            let file = open(path).map_err(fail())?;
            match file.try_lock() {
                Ok(()) if is_in_place(&file, path)? => return Ok(Some(Self(file))),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) if is_without_locks(&error) => return Ok(Some(Self(file))),
                Err(TryLockError::Error(error)) => return Err(fail()(error)),
            }
        }
    }
}

/// Opens a file to lock it: for writing if that is allowed, because NFS and its like lock nothing else exclusively.
fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path).or_else(|_| File::open(path))
}

/// Whether the file system cannot lock, or not what is open for reading only.
fn is_without_locks(error: &io::Error) -> bool {
    let unable = [Errno::OPNOTSUPP, Errno::NOSYS, Errno::NOLCK, Errno::BADF];
    error.raw_os_error().is_some_and(|code| unable.iter().any(|errno| errno.raw_os_error() == code))
}

/// Whether `path` still leads to `file`.
fn is_in_place(file: &File, path: &Path) -> Result<bool, FileError> {
    let locked = file.metadata().map_err(FileError::io("lock", path))?;
    let current = fs::metadata(path).map_err(FileError::io("lock", path))?;
    Ok((locked.dev(), locked.ino()) == (current.dev(), current.ino()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustix::fs::{OFlags, fcntl_getfl};

    use super::*;

    #[test]
    fn a_file_is_opened_for_writing_to_be_locked_as_nfs_asks() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lock = FileLock::acquire(file.path()).unwrap();
        assert!(fcntl_getfl(&lock.0).unwrap().contains(OFlags::RDWR));
        drop(lock);
        let lock = FileLock::try_acquire(file.path()).unwrap().unwrap();
        assert!(fcntl_getfl(&lock.0).unwrap().contains(OFlags::RDWR));
    }

    #[test]
    fn a_file_system_without_locks_is_told_from_a_lock_that_fails() {
        assert!(is_without_locks(&Errno::NOLCK.into()));
        assert!(is_without_locks(&Errno::NOSYS.into()));
        assert!(!is_without_locks(&Errno::INTR.into()));
        assert!(!is_without_locks(&io::Error::other("x")));
    }
}
