//! Go's strings: bytes that are UTF-8 most of the time. Shared, never changed, wiped when the last owner goes.

use std::fmt;
use std::sync::Arc;

use bulla_core::memory::wipe_slice;

/// A string. Cloning it shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Arc<Wiped>);

/// Bytes that are wiped when they are dropped, with the room after them. A fill, where `zeroize` writes byte by byte.
#[derive(Default, PartialEq, Eq)]
struct Wiped(Vec<u8>);

impl Drop for Wiped {
    fn drop(&mut self) {
        if self.0.len() < self.0.capacity() {
            self.0.resize(self.0.capacity(), 0);
        }
        wipe_slice(&mut self.0);
    }
}

impl Text {
    /// The bytes. They may be secret.
    pub fn expose(&self) -> &[u8] {
        &self.0.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// The text, where it is UTF-8.
    pub(crate) fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.expose()).ok()
    }
}

/// By bytes, as Go orders strings.
impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.expose().cmp(other.expose())
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Empty.
impl Default for Text {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

/// Takes the bytes over.
impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Wiped(bytes)))
    }
}

/// Copies.
impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }
}

/// Copies.
impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

/// Takes the string over.
impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

/// So that maps are searched by bytes.
impl std::borrow::Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        self.expose()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.len())
    }
}

/// A growing text with an end: what is past `max` is dropped and remembered. What it leaves behind as it grows is wiped.
pub(crate) struct Buf {
    bytes: Wiped,
    max: usize,
    full: bool,
}

impl Buf {
    pub fn new(max: usize) -> Self {
        Self { bytes: Wiped::default(), max, full: false }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if bytes.len() > self.max - self.bytes.0.len() {
            self.full = true;
            return;
        }
        self.reserve(bytes.len());
        self.bytes.0.extend_from_slice(bytes);
    }

    pub fn push_byte(&mut self, byte: u8) {
        self.push(&[byte]);
    }

    pub fn push_char(&mut self, c: char) {
        self.push(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Appends `count` times `byte`.
    pub fn fill(&mut self, byte: u8, count: usize) {
        if count > self.max - self.bytes.0.len() {
            self.full = true;
            return;
        }
        self.reserve(count);
        let len = self.bytes.0.len() + count;
        self.bytes.0.resize(len, byte);
    }

    /// Room for more, without leaving a copy where the bytes were.
    fn reserve(&mut self, more: usize) {
        let old = &self.bytes.0;
        let wanted = old.len() + more;
        if wanted > old.capacity() {
            let mut larger = Vec::with_capacity(wanted.max(old.capacity() * 2).max(64));
            larger.extend_from_slice(old);
            self.bytes = Wiped(larger);
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    pub fn len(&self) -> usize {
        self.bytes.0.len()
    }

    /// Whether something did not fit.
    pub fn is_full(&self) -> bool {
        self.full
    }

    pub fn into_text(mut self) -> Text {
        Text::from(std::mem::take(&mut self.bytes.0))
    }
}

impl fmt::Write for Buf {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes());
        Ok(())
    }
}

/// The first character and its length. A byte that starts none is U+FFFD of length 1, as in Go; nothing is U+FFFD of length 0.
pub(crate) fn decode(bytes: &[u8]) -> (char, usize) {
    let Some(&first) = bytes.first() else { return (char::REPLACEMENT_CHARACTER, 0) };
    if first < 0x80 {
        return (char::from(first), 1);
    }
    let len = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    let decoded = bytes.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
    decoded.and_then(|text| text.chars().next()).map_or((char::REPLACEMENT_CHARACTER, 1), |c| (c, len))
}

/// The characters with their places and bytes.
pub(crate) fn chars(bytes: &[u8]) -> impl Iterator<Item = (usize, char, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (c, len) = decode(&bytes[at..]);
        let start = at;
        at += len;
        (len > 0).then(|| (start, c, &bytes[start..at]))
    })
}

/// Where `needle`, which is not empty, first is in `bytes`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_decoded_as_go_does_it() {
        let found: Vec<_> =
            chars(b"a\xff\xc3\xa9\xe2\x82x\xed\xa0\x80").map(|(at, c, bytes)| (at, c, bytes.len())).collect();
        let bad = char::REPLACEMENT_CHARACTER;
        assert_eq!(
            found,
            [
                (0, 'a', 1),
                (1, bad, 1),
                (2, 'é', 2),
                (4, bad, 1),
                (5, bad, 1),
                (6, 'x', 1),
                (7, bad, 1),
                (8, bad, 1),
                (9, bad, 1)
            ]
        );
    }

    #[test]
    fn a_buffer_ends_at_its_limit() {
        let mut buf = Buf::new(10);
        buf.push(b"12345");
        buf.fill(b'x', 5);
        assert!(!buf.is_full());
        buf.push_byte(b'y');
        assert!(buf.is_full());
        assert_eq!(buf.bytes(), b"12345xxxxx");
    }
}
