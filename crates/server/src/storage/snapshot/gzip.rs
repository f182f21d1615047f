//! gzip whose blocks are all stored: what is encrypted cannot be compressed.

use std::io::{self, Read};

use super::SnapshotError;

/// What a stream begins with: deflate, no time, no name, of an unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The most bytes of a block.
const BLOCK: usize = 0xffff;
const CRC: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        // It is below 256.
        #[expect(clippy::cast_possible_truncation, reason = "it is below 256")]
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 { 0xedb8_8320 ^ (rest >> 1) } else { rest >> 1 };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

/// The checksum and the length of a stream.
#[derive(Clone, Copy)]
struct Check {
    crc: u32,
    length: u32,
}

impl Check {
    const fn new() -> Self {
        Self { crc: !0, length: 0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.crc = CRC[usize::from(self.crc.to_le_bytes()[0] ^ byte)] ^ (self.crc >> 8);
        }
        // Modulo 2³², as it is meant.
        self.length = self.length.wrapping_add(u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or_default());
    }

    fn bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&(!self.crc).to_le_bytes());
        bytes[4..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }
}

/// Writes a stream.
pub struct Stored(Check);

impl Stored {
    /// Begins one.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&HEAD);
        Self(Check::new())
    }

    /// Writes bytes, in blocks of their own.
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.0.update(bytes);
        for block in bytes.chunks(BLOCK) {
            head(0, block.len(), out);
            out.extend_from_slice(block);
        }
    }

    /// Ends it.
    pub fn end(self, out: &mut Vec<u8>) {
        head(1, 0, out);
        out.extend_from_slice(&self.0.bytes());
    }
}

fn head(last: u8, length: usize, out: &mut Vec<u8>) {
    let length = u16::try_from(length).unwrap_or(u16::MAX);
    out.push(last);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
}

/// Reads a stream. At its end it has checked it, and that nothing is behind it.
pub struct Blocks<R> {
    inner: R,
    check: Check,
    place: Place,
    is_over: bool,
}

/// Where in a stream somebody reads.
#[derive(Clone, Copy, Default)]
pub struct Place {
    /// How many bytes of the file are before it.
    pub position: u64,
    /// How many bytes of the block are left there.
    left: usize,
}

impl<R: Read> Blocks<R> {
    /// Goes on in the middle, where `inner` is. The end of it cannot be reached.
    pub fn resume(inner: R, place: Place) -> Self {
        Self { inner, check: Check::new(), place, is_over: false }
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Of what begins as one.
    pub fn begin(mut inner: R) -> Result<Self, SnapshotError> {
        let mut found = [0; HEAD.len()];
        inner.read_exact(&mut found)?;
        match found {
            HEAD => Ok(Self::resume(inner, Place { position: HEAD.len() as u64, left: 0 })),
            [0x1f, 0x8b, ..] => Err(SnapshotError::Foreign("it is compressed in another way")),
            _ => Err(SnapshotError::Foreign("it does not begin as one")),
        }
    }

    /// Reads all of `bytes`.
    pub fn fill(&mut self, mut bytes: &mut [u8]) -> Result<(), SnapshotError> {
        while !bytes.is_empty() {
            if self.place.left == 0 && !self.next_block()? {
                return Err(SnapshotError::Truncated);
            }
            let length = bytes.len().min(self.place.left);
            let (now, rest) = bytes.split_at_mut(length);
            self.inner.read_exact(now)?;
            self.check.update(now);
            self.place.left -= length;
            self.place.position += length as u64;
            bytes = rest;
        }
        Ok(())
    }

    /// Looks that this is the end, and that everything was right.
    pub fn end(&mut self) -> Result<(), SnapshotError> {
        if self.place.left != 0 || self.next_block()? {
            return Err(SnapshotError::Damaged("it goes on behind its end"));
        }
        let mut found = [0; 8];
        self.inner.read_exact(&mut found)?;
        if found != self.check.bytes() {
            return Err(SnapshotError::Damaged("its checksum is another"));
        }
        let mut more = [0];
        loop {
            match self.inner.read(&mut more) {
                Ok(0) => return Ok(()),
                Ok(_) => return Err(SnapshotError::Damaged("something is behind its end")),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Goes to the next block that has something; `false`: there is none.
    fn next_block(&mut self) -> Result<bool, SnapshotError> {
        if self.is_over {
            return Ok(false);
        }
        let mut head = [0; 5];
        self.inner.read_exact(&mut head)?;
        self.place.position += head.len() as u64;
        let [kind, low, high, not_low, not_high] = head;
        if kind > 1 {
            return Err(SnapshotError::Foreign("it is compressed in another way"));
        }
        self.place.left = usize::from(u16::from_le_bytes([low, high]));
        if u16::from_le_bytes([!not_low, !not_high]) != u16::from_le_bytes([low, high]) {
            return Err(SnapshotError::Damaged("a block has no length"));
        }
        self.is_over = kind == 1;
        // A writer has none of nothing but the last, and nothing in that.
        if self.is_over != (self.place.left == 0) {
            return Err(SnapshotError::Damaged("a block is not as one is written"));
        }
        Ok(self.place.left > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        let mut check = Check::new();
        check.update(b"1234");
        check.update(b"56789");
        assert_eq!((!check.crc, check.length), (0xcbf4_3926, 9));
    }
}
