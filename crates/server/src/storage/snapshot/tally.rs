//! What whoever writes a snapshot counts, and whoever reads one counts again.

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};

use super::{END, META};
use crate::core::hex;

/// What came so far.
pub struct Tally {
    meta: Digest,
    hash: Context,
    pieces: u64,
    last: Option<String>,
    /// How many entries.
    pub entries: u64,
    /// How many bytes their keys and values have.
    pub bytes: u64,
}

impl Tally {
    /// Nothing but the file that it begins with.
    pub fn new(meta: &[u8]) -> Self {
        Self { meta: digest(&SHA256, meta), hash: Context::new(&SHA256), pieces: 0, last: None, entries: 0, bytes: 0 }
    }

    /// The name of the piece that comes next.
    pub fn piece_name(&self) -> String {
        format!("entries-{:010}", self.pieces)
    }

    /// Adds a piece. Its entries are counted one by one.
    pub fn add_piece(&mut self, piece: &[u8]) {
        self.hash.update(piece);
        self.pieces += 1;
    }

    /// Counts an entry, unless it does not come behind the last.
    pub fn count(&mut self, key: &str, value: &[u8]) -> Option<()> {
        if self.last.as_deref().is_some_and(|last| last >= key) {
            return None;
        }
        self.entries += 1;
        self.bytes += (key.len() + value.len()) as u64;
        self.last = Some(key.to_owned());
        Some(())
    }

    /// The lines of `SHA256SUMS`, of all that came and the file it ends with.
    pub fn sums(&self, end: &[u8]) -> String {
        let line = |digest: Digest, name: &str| format!("{}  {name}\n", hex(digest.as_ref()));
        let (entries, end) = (self.hash.clone().finish(), digest(&SHA256, end));
        [line(self.meta, META), line(entries, "entries"), line(end, END)].concat()
    }
}
