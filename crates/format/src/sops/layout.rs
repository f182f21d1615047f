//! How values were written, where that does not come back by itself: `0x1F`, `1.0`, `"\u00e9"`, folded blocks, aliases.
//!
//! The record stands encrypted in the file's metadata. Each source is found again by a digest of the value's place, type and
//! plaintext, so that a value that was changed since (by any program) is simply not in it and is written in the plain form.
//! ```text
//! layout = u8(1) *( record )
//! record = "s" digest source     a value
//!        / "a" digest source     an alias (`*name`) that stands for the value or tree at a place
//!        / "w" digest source     the whole text; the digest is the first 16 bytes of bulla's MAC of all its leaves, keys left out
//! digest = the first 16 bytes of SHA-256( u32(document) path type string(plaintext) ); of an alias, without the last two
//! path   = *( "k" string(key) / "l" )   of a value, "l" for a list, whatever the index; of an alias, string(path)
//! source = length(LEB128) bytes
//! string = u64(length) bytes; numbers are little-endian
//! ```
//! Indexes are left out because items move: a value that does is found by itself. Types, and paths of aliases, are as for the MAC
//! ([`super::mac`]). The associated data is `bulla:layout`; that of values ends with a colon, so none
//! can be put in its place.

use std::collections::HashMap;
use std::ops::Range;

use bulla_core::SecretBytes;
use sha2::{Digest as _, Sha256};

use super::mac::Leaf;
use super::place::{Component, Place};

/// The associated data of the encrypted record.
pub(super) const ASSOCIATED: &[u8] = b"bulla:layout";

const VERSION: u8 = 1;

type Digest = [u8; 16];

/// Collects how values are written.
#[derive(Default)]
pub(super) struct Recorder {
    record: SecretBytes,
}

impl Recorder {
    /// Keeps the source of a value.
    pub(super) fn value(&mut self, document: u32, place: &Place, leaf: Leaf, plain: &[u8], source: &[u8]) {
        self.push(b's', &value_digest(document, place, leaf, plain), source);
    }

    /// Keeps the source of a comment; `associated` is what it was encrypted with.
    pub(super) fn comment(&mut self, document: u32, associated: &[u8], text: &[u8], source: &[u8]) {
        self.push(b's', &comment_digest(document, associated, text), source);
    }

    /// Keeps an alias.
    pub(super) fn alias(&mut self, document: u32, place: &Place, source: &[u8]) {
        self.push(b'a', &place_digest(document, place), source);
    }

    /// Keeps the whole text, whose leaves hash to `said`: for the rare ones that do not come back piece by piece.
    pub(super) fn whole(&mut self, said: &[u8; 64], text: &[u8]) {
        self.push(b'w', &first_half_of(said), text);
    }

    /// The record; `None` if there is nothing in it.
    pub(super) fn finish(self) -> Option<SecretBytes> {
        (!self.record.is_empty()).then_some(self.record)
    }

    fn push(&mut self, kind: u8, digest: &Digest, source: &[u8]) {
        self.start();
        self.record.extend_from_slice(&[kind]);
        self.record.extend_from_slice(digest);
        let mut len = source.len();
        while len >= 0x80 {
            self.record.extend_from_slice(&[low_bits(len) | 0x80]);
            len >>= 7;
        }
        self.record.extend_from_slice(&[low_bits(len)]);
        self.record.extend_from_slice(source);
    }

    fn start(&mut self) {
        if self.record.is_empty() {
            self.record.extend_from_slice(&[VERSION]);
        }
    }
}

/// How values were written.
#[derive(Default)]
pub(super) struct Layout {
    record: SecretBytes,
    /// Several where a key stands there several times with equal values, in their order.
    values: HashMap<Digest, Vec<Range<usize>>>,
    aliases: HashMap<Digest, Range<usize>>,
    whole: Option<(Digest, Range<usize>)>,
}

/// How many sources of equal values were given out already.
#[derive(Default)]
pub(super) struct Given(HashMap<Digest, usize>);

impl Layout {
    /// Reads a record. What is not understood (a later version's) is as if it were not there: it can only cost the original spelling.
    pub(super) fn parse(record: SecretBytes) -> Self {
        let mut layout = Self { record, ..Self::default() };
        let bytes = layout.record.expose();
        if bytes.first() != Some(&VERSION) {
            return layout;
        }
        let mut at = 1;
        while let Some((kind, digest, source)) = next_record(bytes, &mut at) {
            match kind {
                b's' => layout.values.entry(digest).or_default().push(source),
                b'a' => drop(layout.aliases.insert(digest, source)),
                b'w' => layout.whole = Some((digest, source)),
                _ => {}
            }
        }
        layout
    }

    /// How this value was written.
    pub(super) fn value(
        &self,
        given: &mut Given,
        document: u32,
        place: &Place,
        leaf: Leaf,
        plain: &[u8],
    ) -> Option<&[u8]> {
        if self.values.is_empty() {
            return None;
        }
        self.next_source(given, value_digest(document, place, leaf, plain))
    }

    /// How this comment was written.
    pub(super) fn comment(&self, given: &mut Given, document: u32, associated: &[u8], text: &[u8]) -> Option<&[u8]> {
        if self.values.is_empty() {
            return None;
        }
        self.next_source(given, comment_digest(document, associated, text))
    }

    fn next_source(&self, given: &mut Given, digest: Digest) -> Option<&[u8]> {
        match self.values.get(&digest)?.as_slice() {
            [only] => self.source(Some(only)),
            several => {
                let next = given.0.entry(digest).or_default();
                *next += 1;
                self.source(several.get(*next - 1))
            }
        }
    }

    /// The alias that stood here.
    pub(super) fn alias(&self, document: u32, place: &Place) -> Option<&[u8]> {
        if self.aliases.is_empty() {
            return None;
        }
        self.source(self.aliases.get(&place_digest(document, place)))
    }

    /// The whole text, if it is that of a file whose leaves hash to `said`.
    pub(super) fn whole(&self, said: &[u8; 64]) -> Option<&[u8]> {
        let (digest, source) = self.whole.as_ref()?;
        (*digest == first_half_of(said)).then(|| self.source(Some(source))).flatten()
    }

    /// Whether there is anything in it that depends on what is around it.
    pub(super) fn depends_on_surroundings(&self) -> bool {
        let bytes = self.record.expose();
        let depends = |source: &Range<usize>| !bytes.get(source.clone()).is_some_and(is_context_free);
        self.whole.is_some() || !self.aliases.is_empty() || self.values.values().flatten().any(depends)
    }

    fn source(&self, range: Option<&Range<usize>>) -> Option<&[u8]> {
        self.record.expose().get(range?.clone())
    }
}

/// Whether a source means the same wherever it stands: a bare number or word, or one line in double quotes. Others (blocks, aliases) depend
/// on what is around them, and are read again after they were put back.
pub(super) fn is_context_free(source: &[u8]) -> bool {
    let bare = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-' | b'_');
    let quoted = source.len() >= 2 && source.starts_with(b"\"") && source.ends_with(b"\"");
    source.iter().all(bare) || (quoted && !source.iter().any(|byte| matches!(byte, b'\n' | b'\r')))
}

fn low_bits(number: usize) -> u8 {
    (number & 0x7f).to_le_bytes()[0]
}

fn next_record(bytes: &[u8], at: &mut usize) -> Option<(u8, Digest, Range<usize>)> {
    let kind = *bytes.get(*at)?;
    *at += 1;
    let digest: Digest = bytes.get(*at..*at + 16)?.try_into().ok()?;
    *at += 16;
    let mut len = 0usize;
    for shift in (0..).step_by(7).take(5) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        len |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            let source = *at..at.checked_add(len)?;
            *at = source.end;
            return (source.end <= bytes.len()).then_some((kind, digest, source));
        }
    }
    None
}

fn value_digest(document: u32, place: &Place, leaf: Leaf, plain: &[u8]) -> Digest {
    let mut sha = Sha256::new_with_prefix(document.to_le_bytes());
    for component in place.components() {
        match component {
            Component::Index(_) => sha.update(b"l"),
            Component::Key(key) => {
                sha.update(b"k");
                string(&mut sha, key);
            }
        }
    }
    sha.update([leaf as u8]);
    string(&mut sha, plain);
    half(sha)
}

fn comment_digest(document: u32, associated: &[u8], text: &[u8]) -> Digest {
    let mut sha = Sha256::new_with_prefix(document.to_le_bytes());
    string(&mut sha, associated);
    sha.update(b"c");
    string(&mut sha, text);
    half(sha)
}

fn place_digest(document: u32, place: &Place) -> Digest {
    let mut sha = Sha256::new_with_prefix(document.to_le_bytes());
    string(&mut sha, place.bound());
    half(sha)
}

fn string(sha: &mut Sha256, bytes: &[u8]) {
    sha.update((bytes.len() as u64).to_le_bytes());
    sha.update(bytes);
}

fn half(sha: Sha256) -> Digest {
    first_half_of(&sha.finalize())
}

fn first_half_of(digest: &[u8]) -> Digest {
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn at(key: &str) -> Place {
        let mut place = Place::default();
        place.enter_key(key);
        place
    }

    #[test]
    fn sources_are_found_by_place_type_and_value() {
        let long = vec![b'x'; 300];
        let mut recorder = Recorder::default();
        recorder.value(0, &at("a"), Leaf::Int, b"31", b"0x1F");
        recorder.value(1, &at("a"), Leaf::Str, b"y", &long);
        recorder.alias(0, &at("b"), b"*name");
        let layout = Layout::parse(recorder.finish().unwrap());
        let value = |document, place: &Place, leaf, plain: &[u8]| {
            layout.value(&mut Given::default(), document, place, leaf, plain).map(<[u8]>::to_vec)
        };
        assert_eq!(value(0, &at("a"), Leaf::Int, b"31"), Some(b"0x1F".to_vec()));
        assert_eq!(value(1, &at("a"), Leaf::Str, b"y"), Some(long));
        assert_eq!(layout.alias(0, &at("b")), Some(b"*name".as_slice()));
        assert_eq!(value(0, &at("a"), Leaf::Str, b"31"), None, "another type");
        assert_eq!(value(1, &at("a"), Leaf::Int, b"31"), None, "another document");
        assert_eq!(value(0, &at("b"), Leaf::Int, b"31"), None, "another place");
        assert_eq!(value(0, &at("a"), Leaf::Int, b"32"), None, "another value");
    }

    #[test]
    fn equal_values_under_one_key_get_their_sources_in_order() {
        let mut recorder = Recorder::default();
        recorder.value(0, &at("a"), Leaf::Int, b"31", b"0x1F");
        recorder.value(0, &at("a"), Leaf::Int, b"31", b"0o37");
        let layout = Layout::parse(recorder.finish().unwrap());
        let mut given = Given::default();
        let mut next = || layout.value(&mut given, 0, &at("a"), Leaf::Int, b"31");
        assert_eq!((next(), next(), next()), (Some(b"0x1F".as_slice()), Some(b"0o37".as_slice()), None));
    }

    #[test]
    fn nothing_to_keep_is_no_record() {
        assert!(Recorder::default().finish().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut record = vec![VERSION];
            record.extend(bytes);
            let _ = Layout::parse(SecretBytes::from(record));
        }
    }
}
