//! A snapshot in a file, as a storage that is read: what `server migrate` copies from.
//!
//! It is gone through once when it is opened, and nothing of it is used unless all of it is right. Where its pieces are is kept, with a hash of each.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::read::{Next, Piece};
use super::{About, Reader, SnapshotError, Summary};
use crate::storage::{Batch, Entry, SCAN_BYTES, Scan, Storage, StorageError};

/// A snapshot that is whole.
pub struct SnapshotFile(Arc<Opened>);

struct Opened {
    file: File,
    about: About,
    summary: Summary,
    /// The first key of each piece, in order.
    pieces: Vec<(String, Piece)>,
    /// The piece that was read last: who goes through all of it asks for the next entries of the same.
    current: Mutex<Option<(usize, Arc<Vec<Entry>>)>>,
}

impl SnapshotFile {
    /// Opens the file at `path`, and reads all of it.
    ///
    /// # Errors
    /// If it is not there, or is not a snapshot that is whole.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        Self::of(File::open(path).map_err(SnapshotError::Read)?)
    }

    /// The same of a file that is open.
    ///
    /// # Errors
    /// If it is not a snapshot that is whole.
    pub fn of(mut file: File) -> Result<Self, SnapshotError> {
        // A folder, or a pipe, cannot be read twice.
        file.seek(SeekFrom::Start(0)).map_err(SnapshotError::Read)?;
        let mut reader = Reader::begin(BufReader::with_capacity(BUFFER, &file))?;
        let about = reader.about().clone();
        let mut pieces = Vec::new();
        let summary = loop {
            match reader.read()? {
                Next::Entries(entries) => {
                    if let Some(((first, _), piece)) = entries.first().zip(reader.piece()) {
                        pieces.push((first.clone(), piece.clone()));
                    }
                }
                Next::End(summary) => break summary,
            }
        };
        Ok(Self(Arc::new(Opened { file, about, summary, pieces, current: Mutex::default() })))
    }

    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.0.about
    }

    /// What it has.
    pub fn summary(&self) -> &Summary {
        &self.0.summary
    }
}

impl Opened {
    fn scan(&self, from: &str, limit: usize) -> Result<Vec<Entry>, SnapshotError> {
        // The last piece that begins at `from` or before it; then those behind it.
        let first = self.pieces.partition_point(|(first, _)| first.as_str() <= from).saturating_sub(1);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for at in first..self.pieces.len() {
            let piece = self.piece(at)?;
            let begin = piece.partition_point(|(key, _)| key.as_str() < from);
            for (key, value) in piece.iter().skip(begin) {
                if found.len() == limit || bytes >= SCAN_BYTES {
                    return Ok(found);
                }
                bytes += value.len();
                found.push((key.clone(), value.clone()));
            }
        }
        Ok(found)
    }

    fn piece(&self, at: usize) -> Result<Arc<Vec<Entry>>, SnapshotError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, piece)) = current.as_ref().filter(|(one, _)| *one == at) {
            return Ok(Arc::clone(piece));
        }
        let Some((_, piece)) = self.pieces.get(at) else { return Ok(Arc::default()) };
        let mut file = &self.file;
        file.seek(SeekFrom::Start(piece.position())).map_err(SnapshotError::Read)?;
        let entries = Arc::new(piece.read(BufReader::with_capacity(BUFFER, file))?);
        *current = Some((at, Arc::clone(&entries)));
        Ok(entries)
    }
}

#[async_trait]
impl Storage for SnapshotFile {
    fn kind(&self) -> &'static str {
        "snapshot"
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.scan(key, 1).await?.pop().filter(|(found, _)| found == key).map(|(_, value)| value))
    }

    async fn list(&self, _prefix: &str, _after: &str, _limit: usize) -> Result<Vec<String>, StorageError> {
        Err(StorageError::backend("list")("a snapshot is gone through, and not listed".to_owned()))
    }

    async fn commit(&self, _batch: Batch) -> Result<(), StorageError> {
        Err(StorageError::backend("write")("a snapshot is not written to".to_owned()))
    }
}

#[async_trait]
impl Scan for SnapshotFile {
    async fn scan(&self, from: &str, limit: usize) -> Result<Vec<Entry>, StorageError> {
        let (opened, from) = (Arc::clone(&self.0), from.to_owned());
        let fail = StorageError::backend("read");
        let read = tokio::task::spawn_blocking(move || opened.scan(&from, limit)).await;
        read.map_err(|error| fail(error.to_string()))?.map_err(|error| fail(error.to_string()))
    }
}

/// How much is read from the file at once.
const BUFFER: usize = 256 << 10;
