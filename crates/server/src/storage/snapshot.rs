//! Snapshots: all entries of a storage, as they were at one moment, in one file that can be moved, kept, looked at and restored.
//!
//! Entries are as the storage has them: values are encrypted by the barrier, and nothing here has a key for them. So a snapshot is as secret as the
//! storage: names of paths and values are hidden, how many there are and how long they are is not.
//!
//! # Format
//! An archive as clients of the peer expect it, who look for `SHA256SUMS.sealed` as its last file before they call a snapshot whole:
//!
//! ```text
//! snapshot = gzip(tar)
//! gzip     = 1f 8b 08 00, 00 00 00 00, 00 ff || stored blocks || CRC-32 (4) || length modulo 2³² (4)      RFC 1952, RFC 1951 3.2.4; little endian
//! block    = 00, or 01 for the last || length (2) || length with its bits turned (2) || bytes
//! tar      = file "meta.json" || files "entries-0000000000", "entries-0000000001", … || file "end.json" || file "SHA256SUMS"
//!            || file "SHA256SUMS.sealed" || 1024 zeros
//! file     = header (512, POSIX ustar: name, mode 0600, owner 0, time 0) || contents || zeros up to a multiple of 512
//! ```
//!
//! What is encrypted cannot be compressed, so no block is: `gzip` and `tar` read it all the same. One that was compressed anew is not read here.
//!
//! - `meta.json`: an object: `version` (1), `server` (the version of the server), `storage` (the kind of the storage), `time` (RFC 3339, in UTC),
//!   `cluster_id`.
//! - `entries-…`: records `length of the key (4, big endian) || length of the value (4) || key, in UTF-8 || value`, in ascending order of their keys, each
//!   key once. A record is in one file, and a file has at most [`PIECE`] bytes.
//! - `end.json`: `entries` and `bytes`: how many records there are, and how many bytes their keys and values have.
//! - `SHA256SUMS`: three lines `SHA-256 in hex, two spaces, name, line feed` of `meta.json`, of `entries` (the contents of all those files, one after the
//!   other), of `end.json`. By these anybody finds damage.
//! - `SHA256SUMS.sealed`: HMAC-SHA-256 of `SHA256SUMS`, 32 bytes. Its key is HMAC-SHA-256 of `bulla snapshot 1` by the key that the cluster hides names
//!   with. By this whoever has the root key finds that somebody else made or changed the snapshot: entries left out, or of different moments.
//!
//! A reader takes nothing else: every header, length and padding has to be as a writer writes it, nothing may be behind the end.

use aws_lc_rs::hmac;

mod file;
mod gzip;
mod read;
mod tally;
mod tar;
mod write;

pub use file::SnapshotFile;
pub use read::{Next, Reader};
pub use write::Writer;

use super::StorageError;

/// The version of the format.
pub const VERSION: u64 = 1;
/// The most bytes of a piece of entries.
pub const PIECE: usize = 4 << 20;

const META: &str = "meta.json";
const END: &str = "end.json";
const SUMS: &str = "SHA256SUMS";
const SEALED: &str = "SHA256SUMS.sealed";
/// How long the small files may be.
const SMALL: usize = 4096;

/// What a snapshot says of itself at its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The version of the server that made it.
    pub server: String,
    /// The kind of its storage.
    pub storage: String,
    /// When.
    pub time: String,
    /// Of which cluster it says that it is; nobody vouches for that but the key.
    pub cluster_id: String,
}

/// What a whole snapshot has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many entries.
    pub entries: u64,
    /// How many bytes their keys and values have.
    pub bytes: u64,
    /// What is hashed by the cluster's key.
    sums: Vec<u8>,
    /// The hash that was found.
    sealed: Vec<u8>,
}

impl Summary {
    /// Whether whoever has `key` made it.
    pub fn is_by(&self, key: &hmac::Key) -> bool {
        hmac::verify(key, &self.sums, &self.sealed).is_ok()
    }

    /// SHA-256 of all entries, in hex.
    pub fn digest(&self) -> &str {
        let line = self.sums.split(|byte| *byte == b'\n').nth(1).and_then(|line| line.get(..64));
        line.and_then(|digest| std::str::from_utf8(digest).ok()).unwrap_or_default()
    }
}

/// Why a snapshot is not made, or not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// It cannot be read.
    #[error("the snapshot cannot be read: {0}")]
    Read(#[source] std::io::Error),
    /// It ends too early.
    #[error("the snapshot is cut off: it ends before its end")]
    Truncated,
    /// It is something else.
    #[error("this is not a snapshot of this server: {0}")]
    Foreign(&'static str),
    /// It was made by a later version.
    #[error("the snapshot has version {0} of the format, and this server reads {VERSION}")]
    Version(u64),
    /// It was changed, by accident or not.
    #[error("the snapshot is damaged: {0}")]
    Damaged(&'static str),
    /// The storage that it is made of failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<std::io::Error> for SnapshotError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Read(error) }
    }
}

/// The key by which a cluster's snapshots are known, of the one that it hides names with.
pub fn key(name_key: &bulla_core::DataKey) -> hmac::Key {
    let from = hmac::Key::new(hmac::HMAC_SHA256, name_key.expose());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&from, b"bulla snapshot 1").as_ref())
}

#[cfg(test)]
mod tests;
