//! Writes a snapshot, piece by piece: no more of it is in memory than the piece at hand.

use aws_lc_rs::hmac;

use super::gzip::Stored;
use super::tally::Tally;
use super::{About, END, META, PIECE, SEALED, SUMS, SnapshotError, VERSION, tar};
use crate::json::object_to_vec;
use crate::storage::{Entry, StorageError};

/// Makes the bytes of a snapshot.
pub struct Writer {
    stream: Stored,
    tally: Tally,
}

impl Writer {
    /// Begins one. What is to be sent is behind what `out` has.
    pub fn begin(about: &About, out: &mut Vec<u8>) -> Self {
        let meta = object_to_vec(&object! {
            "version": VERSION,
            "server": about.server.as_str(),
            "storage": about.storage.as_str(),
            "time": about.time.as_str(),
            "cluster_id": about.cluster_id.as_str(),
        });
        let mut stream = Stored::begin(out);
        add(&mut stream, META, &meta, out);
        Self { stream, tally: Tally::new(&meta) }
    }

    /// How many entries were added.
    pub fn entries(&self) -> u64 {
        self.tally.entries
    }

    /// Adds entries, which come in the order of their keys.
    ///
    /// # Errors
    /// [`SnapshotError::Storage`] if they do not, or are longer than entries can be.
    pub fn add(&mut self, entries: &[Entry], out: &mut Vec<u8>) -> Result<(), SnapshotError> {
        let fail = |reason: &str| SnapshotError::from(StorageError::backend("read")(reason.to_owned()));
        let mut piece = Vec::new();
        for (key, value) in entries {
            self.tally.count(key, value).ok_or_else(|| fail("its entries are not in order"))?;
            let too_long = |_| fail("an entry is too long");
            piece.extend_from_slice(&u32::try_from(key.len()).map_err(too_long)?.to_be_bytes());
            piece.extend_from_slice(&u32::try_from(value.len()).map_err(too_long)?.to_be_bytes());
            piece.extend_from_slice(key.as_bytes());
            piece.extend_from_slice(value);
            // There is room for one more of any length.
            if piece.len() >= PIECE / 4 {
                self.add_piece(&piece, out);
                piece.clear();
            }
        }
        if !piece.is_empty() {
            self.add_piece(&piece, out);
        }
        Ok(())
    }

    /// Ends it. What it is known by is of `key`.
    pub fn end(mut self, key: &hmac::Key, out: &mut Vec<u8>) {
        let end = object_to_vec(&object! { "entries": self.tally.entries, "bytes": self.tally.bytes });
        let sums = self.tally.sums(&end);
        let sealed = hmac::sign(key, sums.as_bytes());
        add(&mut self.stream, END, &end, out);
        add(&mut self.stream, SUMS, sums.as_bytes(), out);
        add(&mut self.stream, SEALED, sealed.as_ref(), out);
        self.stream.write(&tar::END, out);
        self.stream.end(out);
    }

    fn add_piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        add(&mut self.stream, &self.tally.piece_name(), piece, out);
        self.tally.add_piece(piece);
    }
}

fn add(stream: &mut Stored, name: &str, contents: &[u8], out: &mut Vec<u8>) {
    stream.write(&tar::header(name, contents.len()), out);
    stream.write(contents, out);
    stream.write(&[0; tar::SECTOR][..tar::padding(contents.len())], out);
}
