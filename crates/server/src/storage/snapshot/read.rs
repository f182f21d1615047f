//! Reads a snapshot, whoever wrote it: no more of it is in memory than a piece, and nothing is taken that is not as a writer writes it.

use std::io::Read;

use aws_lc_rs::digest;

use super::gzip::{Blocks, Place};
use super::tally::Tally;
use super::{About, END, META, PIECE, SEALED, SMALL, SUMS, SnapshotError, Summary, VERSION, tar};
use crate::json::{self, Object, Value};
use crate::storage::{Entry, MAX_KEY, MAX_VALUE};

/// Reads the bytes of a snapshot.
pub struct Reader<R> {
    stream: Blocks<R>,
    about: About,
    tally: Tally,
    piece: Option<Piece>,
}

/// Where a piece of entries is, so that it can be read again.
#[derive(Clone)]
pub(super) struct Piece {
    place: Place,
    length: usize,
    digest: digest::Digest,
}

impl Piece {
    /// How many bytes of the file are before it.
    pub(super) fn position(&self) -> u64 {
        self.place.position
    }

    /// Its entries, read again by whoever is at its position.
    pub(super) fn read(&self, inner: impl Read) -> Result<Vec<Entry>, SnapshotError> {
        let mut piece = vec![0; self.length];
        Blocks::resume(inner, self.place).fill(&mut piece)?;
        let is_same = digest::digest(&digest::SHA256, &piece).as_ref() == self.digest.as_ref();
        let entries = is_same.then(|| split(&piece)).flatten();
        entries.ok_or(SnapshotError::Damaged("it was changed while it was read"))
    }
}

/// What comes next.
pub enum Next {
    /// Entries.
    Entries(Vec<Entry>),
    /// The end: it is whole.
    End(Summary),
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    ///
    /// # Errors
    /// If it is none of ours.
    pub fn begin(inner: R) -> Result<Self, SnapshotError> {
        let mut stream = Blocks::begin(inner)?;
        let header = sector(&mut stream)?;
        let other = "its archive is another one; snapshots of other servers cannot be read";
        let length = tar::length(&header, META).ok_or(SnapshotError::Foreign(other))?;
        let text = contents(&mut stream, length, SMALL)?;
        let meta = parse(&text)?;
        match number(&meta, "version") {
            Some(VERSION) => {}
            Some(version) => return Err(SnapshotError::Version(version)),
            None => return Err(SnapshotError::Damaged("it does not say its version")),
        }
        let word = |name: &str| meta.get(name).and_then(Value::as_str).map(str::to_owned);
        let about = (|| {
            Some(About {
                server: word("server")?,
                storage: word("storage")?,
                time: word("time")?,
                cluster_id: word("cluster_id")?,
            })
        })();
        let about = about.ok_or(SnapshotError::Damaged("it does not say what it is of"))?;
        Ok(Self { stream, about, tally: Tally::new(&text), piece: None })
    }

    /// What it says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Reads on.
    ///
    /// # Errors
    /// If it is not as it was written. What came before is not to be trusted then.
    pub fn read(&mut self) -> Result<Next, SnapshotError> {
        let header = sector(&mut self.stream)?;
        if let Some(length) = tar::length(&header, END) {
            return self.end(length).map(Next::End);
        }
        let length = tar::length(&header, &self.tally.piece_name());
        let length = length.ok_or(SnapshotError::Damaged("a file of its archive is not the one that comes next"))?;
        let place = self.stream.place();
        let piece = contents(&mut self.stream, length, PIECE)?;
        self.piece = Some(Piece { place, length, digest: digest::digest(&digest::SHA256, &piece) });
        self.tally.add_piece(&piece);
        let entries = self.entries_of(&piece).ok_or(SnapshotError::Damaged("an entry is none"))?;
        Ok(Next::Entries(entries))
    }

    /// Where the piece is whose entries came last.
    pub(super) fn piece(&self) -> Option<&Piece> {
        self.piece.as_ref()
    }

    /// The entries of a piece, which are behind all before.
    fn entries_of(&mut self, piece: &[u8]) -> Option<Vec<Entry>> {
        let entries = split(piece)?;
        for (key, value) in &entries {
            self.tally.count(key, value)?;
        }
        Some(entries)
    }

    fn end(&mut self, length: usize) -> Result<Summary, SnapshotError> {
        let end = contents(&mut self.stream, length, SMALL)?;
        let mut small = |name: &str| {
            let header = sector(&mut self.stream)?;
            let length = tar::length(&header, name);
            let length =
                length.ok_or(SnapshotError::Damaged("a file of its archive is not the one that comes next"))?;
            contents(&mut self.stream, length, SMALL)
        };
        let (found, sealed) = (small(SUMS)?, small(SEALED)?);
        for _ in 0..2 {
            if sector(&mut self.stream)? != [0; tar::SECTOR] {
                return Err(SnapshotError::Damaged("its archive goes on behind its end"));
            }
        }
        self.stream.end()?;
        if found != self.tally.sums(&end).as_bytes() {
            return Err(SnapshotError::Damaged("what it has is not what its SHA256SUMS say"));
        }
        let end = parse(&end)?;
        let (entries, bytes) = (self.tally.entries, self.tally.bytes);
        if (number(&end, "entries"), number(&end, "bytes")) != (Some(entries), Some(bytes)) {
            return Err(SnapshotError::Damaged("it has not as many entries as it says"));
        }
        Ok(Summary { entries, bytes, sums: found, sealed })
    }
}

/// The records of a piece, of which there is one at least.
fn split(mut piece: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while !piece.is_empty() {
        let (key, rest) = piece.split_first_chunk()?;
        let (value, rest) = rest.split_first_chunk()?;
        let length = |bytes: &[u8; 4], most: usize| {
            usize::try_from(u32::from_be_bytes(*bytes)).ok().filter(|length| *length <= most)
        };
        let (key, value) = (length(key, MAX_KEY)?, length(value, MAX_VALUE)?);
        let (key, rest) = rest.split_at_checked(key)?;
        let (value, rest) = rest.split_at_checked(value)?;
        entries.push((std::str::from_utf8(key).ok()?.to_owned(), value.to_vec()));
        piece = rest;
    }
    (!entries.is_empty()).then_some(entries)
}

fn sector<R: Read>(stream: &mut Blocks<R>) -> Result<[u8; tar::SECTOR], SnapshotError> {
    let mut sector = [0; tar::SECTOR];
    stream.fill(&mut sector)?;
    Ok(sector)
}

fn contents<R: Read>(stream: &mut Blocks<R>, length: usize, most: usize) -> Result<Vec<u8>, SnapshotError> {
    if length > most {
        return Err(SnapshotError::Damaged("a file of its archive is too long"));
    }
    let mut contents = vec![0; length];
    stream.fill(&mut contents)?;
    let mut padding = [0; tar::SECTOR];
    let padding = &mut padding[..tar::padding(length)];
    stream.fill(padding)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(SnapshotError::Damaged("something is between the files of its archive"));
    }
    Ok(contents)
}

fn parse(text: &[u8]) -> Result<Object, SnapshotError> {
    json::parse_object(text).map_err(|_| SnapshotError::Damaged("a file of its archive is no JSON"))
}

fn number(object: &Object, name: &str) -> Option<u64> {
    match object.get(name)? {
        Value::Number(digits) => digits.parse().ok(),
        _ => None,
    }
}
