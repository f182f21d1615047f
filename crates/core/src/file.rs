//! Files that are read with a limit, and replaced whole or not at all.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::SecretBytes;

mod lock;
mod replace;

pub use lock::FileLock;
pub use replace::{Fresh, NewMode, replace, replace_as};

/// A file operation that failed: what, on which path, why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done: `read`, `replace`, `lock`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is larger than the caller can take.
    #[error("{} is larger than the limit of {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A key file that group or others may read.
    #[error("{} holds a key and can be read by others (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl FileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Reads a whole file into secret memory. `-` is not special here.
///
/// # Errors
/// [`FileError::TooLarge`] past `limit` bytes, [`FileError::Io`] for the rest.
pub fn read(path: &Path, limit: u64) -> Result<SecretBytes, FileError> {
    let file = File::open(path).map_err(FileError::io("read", path))?;
    let size = file.metadata().map_err(FileError::io("read", path))?.len();
    read_from(file, path, size, limit)
}

/// Reads a key file: like [`read`], and refuses one that group or others may read.
///
/// The mode of pipes and devices is not looked at: `<(command)` of a shell is a way to hand over a key.
///
/// # Errors
/// [`FileError::Exposed`] for its mode, the rest as [`read`].
pub fn read_key(path: &Path, limit: u64) -> Result<SecretBytes, FileError> {
    let file = File::open(path).map_err(FileError::io("read", path))?;
    let metadata = file.metadata().map_err(FileError::io("read", path))?;
    if let Some(mode) = exposed_mode(&metadata) {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    read_from(file, path, metadata.len(), limit)
}

/// The mode of a regular file that group or others may read or write; `None` for any other file.
pub fn exposed_mode(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.permissions().mode() & 0o7777;
    (metadata.is_file() && mode & 0o077 != 0).then_some(mode)
}

/// Reads all of `source` into secret memory; `name` stands for it in errors, `expected` is a guess at its size.
///
/// # Errors
/// [`FileError::TooLarge`] past `limit` bytes, [`FileError::Io`] for the rest.
pub fn read_from(mut source: impl Read, name: &Path, expected: u64, limit: u64) -> Result<SecretBytes, FileError> {
    const CHUNK: usize = 64 * 1024;
    let too_large = || FileError::TooLarge { path: name.to_owned(), limit };
    if expected > limit {
        return Err(too_large());
    }
    // One byte more than expected, so that the end shows without growing.
    let capacity = usize::try_from(expected.saturating_add(1)).map_err(|_| too_large())?;
    let mut bytes = SecretBytes::zeroed(capacity);
    let mut filled = 0;
    loop {
        if filled == bytes.len() {
            bytes.resize(filled + CHUNK);
        }
        match source.read(&mut bytes.expose_mut()[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::io("read", name)(error)),
        }
        if filled as u64 > limit {
            return Err(too_large());
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
