//! The IVs of a file's values, kept while it is edited so that unchanged values keep their ciphertext.
//!
//! A value is known again by a digest of its associated data, type and plaintext; no plaintext is kept. The digest is keyed with a
//! random seed, so that it tells nothing outside of this process. Equal values in one list have the same digest and
//! several IVs, which are given out in the order they were put in.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use sha2::{Digest as _, Sha256};

use super::cipher::{Iv, ValueType};

/// The IVs of a file's values, so that encrypting unchanged values again gives the same ciphertext.
#[derive(Default)]
pub struct Stash {
    seeded: Sha256,
    /// The first and the last IV of a value, as indexes.
    chains: HashMap<Digest, (u32, u32), BuildHasherDefault<DigestHasher>>,
    /// Each IV and the index of the next of an equal value; its own index if there is none.
    ivs: Vec<(Iv, u32)>,
}

/// What a value is known by.
pub(super) type Digest = [u8; 16];

impl Stash {
    /// An empty one with a random seed.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut seed = [0; 64];
        getrandom::fill(&mut seed)?;
        Ok(Self { seeded: Sha256::new_with_prefix(seed), ..Self::default() })
    }

    /// Keeps the IV of a value.
    pub(super) fn put(&mut self, associated: &[u8], value_type: ValueType, plain: &[u8], iv: &Iv) {
        // A document has fewer values than it has bytes.
        let Ok(index) = u32::try_from(self.ivs.len()) else { return };
        self.ivs.push((*iv, index));
        let digest = self.digest(associated, value_type, plain);
        let chain = self.chains.entry(digest).or_insert((index, index));
        self.ivs[chain.1 as usize].1 = index;
        chain.1 = index;
    }

    fn digest(&self, associated: &[u8], value_type: ValueType, plain: &[u8]) -> Digest {
        let mut sha = self.seeded.clone();
        sha.update((associated.len() as u64).to_le_bytes());
        sha.update(associated);
        sha.update([value_type as u8]);
        sha.update(plain);
        sha.finalize().first_chunk().copied().unwrap_or_default()
    }
}

/// Gives a stash's IVs out, each once.
pub(super) struct Draw<'s> {
    stash: Option<&'s Stash>,
    /// Of values with several IVs, the next; past the last, none.
    next: HashMap<Digest, Option<u32>, BuildHasherDefault<DigestHasher>>,
}

impl<'s> Draw<'s> {
    pub(super) fn new(stash: Option<&'s Stash>) -> Self {
        Self { stash, next: HashMap::default() }
    }

    /// The IV that this value had.
    pub(super) fn take(&mut self, associated: &[u8], value_type: ValueType, plain: &[u8]) -> Option<Iv> {
        let stash = self.stash?;
        let digest = stash.digest(associated, value_type, plain);
        let &(first, _) = stash.chains.get(&digest)?;
        let index = match self.next.get(&digest) {
            Some(next) => (*next)?,
            None => first,
        };
        let (iv, following) = stash.ivs[index as usize];
        self.next.insert(digest, (following != index).then_some(following));
        Some(iv)
    }
}

/// Digests are uniform already; the constant length that is hashed with them changes nothing.
#[derive(Default)]
pub(super) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for (i, byte) in bytes.iter().take(8).enumerate() {
            self.0 ^= u64::from(*byte) << (8 * i);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_value_gets_its_iv_back_and_no_other_value_does() {
        let mut stash = Stash::new().unwrap();
        stash.put(b"a:", ValueType::Str, b"x", &[1; 32]);
        let mut draw = Draw::new(Some(&stash));
        assert_eq!(draw.take(b"b:", ValueType::Str, b"x"), None);
        assert_eq!(draw.take(b"a:", ValueType::Int, b"x"), None);
        assert_eq!(draw.take(b"a:", ValueType::Str, b"y"), None);
        assert_eq!(draw.take(b"a:", ValueType::Str, b"x"), Some([1; 32]));
    }

    #[test]
    fn equal_values_of_a_list_keep_their_ivs_in_order_and_none_is_given_out_twice() {
        let mut stash = Stash::new().unwrap();
        for iv in 1..4 {
            stash.put(b"l:", ValueType::Str, b"x", &[iv; 32]);
        }
        let mut draw = Draw::new(Some(&stash));
        let ivs: Vec<_> = (0..5).map(|_| draw.take(b"l:", ValueType::Str, b"x").map(|iv| iv[0])).collect();
        assert_eq!(ivs, [Some(1), Some(2), Some(3), None, None]);
    }
}
