//! The keys of the barrier: one a term, and one that names are hidden with.
//!
//! ```text
//! keyring = version (1 byte, 2) || name key (32) || count (4) || count × (term (4) || key (32) || begun (8, Unix seconds) || records (8))
//!           || kept (1: 0 or 1) || shares (1) || threshold (1)
//! ```
//!
//! Numbers are big endian. Encrypted by the root key (`bulla_kms::gcm`, associated data `bulla keyring 1`).
//!
//! How the key that people hold is shared stands in the seal's record too, which anybody can write who writes the storage. Here it is believed: how many
//! people have to agree, and that there is no such key yet. Version 1 ends before `kept`.

use bulla_core::{DataKey, SecretBytes};
use bulla_kms::gcm;

use super::BarrierError;
use crate::seal::Shares;

const VERSION: u8 = 2;
/// The version before, without shares.
const WITHOUT_SHARES: u8 = 1;
const ASSOCIATED_DATA: &[u8] = b"bulla keyring 1";
const KEY: usize = DataKey::LEN;
const TERM: usize = 4 + KEY + 8 + 8;
const SHARES: usize = 3;

/// Keys by term. Wiped when dropped.
#[derive(Clone)]
pub struct Keyring {
    root_key: DataKey,
    name_key: DataKey,
    /// Not empty; ascending, the last is the newest.
    terms: Vec<Term>,
    /// How the key that people hold is shared; `None` if nobody has said yet.
    shares: Option<Shares>,
}

#[derive(Clone)]
struct Term {
    number: u32,
    key: DataKey,
    begun: i64,
    encryptions: u64,
}

/// What everybody may know of the newest term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its number, from 1.
    pub term: u32,
    /// When it began, in Unix seconds.
    pub begun: i64,
    /// How many records it has, about.
    pub encryptions: u64,
}

impl Keyring {
    /// One term, fresh keys.
    pub fn generate(root_key: DataKey) -> Result<Self, BarrierError> {
        Ok(Self { root_key, name_key: DataKey::generate()?, terms: vec![Term::generate(1)?], shares: None })
    }

    /// Reads what [`seal`](Self::seal) made.
    pub fn open(record: &[u8], root_key: DataKey) -> Result<Self, BarrierError> {
        let plain = gcm::open(root_key.expose(), ASSOCIATED_DATA, record)
            .map_err(|_| BarrierError::Keyring("the root key is not the one, or the keyring was changed"))?;
        Self::read(plain.expose(), root_key).ok_or(BarrierError::Keyring("it is damaged"))
    }

    fn read(plain: &[u8], root_key: DataKey) -> Option<Self> {
        let (version, mut rest) = plain.split_first()?;
        if ![VERSION, WITHOUT_SHARES].contains(version) {
            return None;
        }
        let name_key = take_key(&mut rest)?;
        let count = u32::from_be_bytes(take(&mut rest)?);
        let mut terms: Vec<Term> = Vec::new();
        for _ in 0..count {
            let term = Term {
                number: u32::from_be_bytes(take(&mut rest)?),
                key: take_key(&mut rest)?,
                begun: i64::from_be_bytes(take(&mut rest)?),
                encryptions: u64::from_be_bytes(take(&mut rest)?),
            };
            if terms.last().is_some_and(|last| last.number >= term.number) {
                return None;
            }
            terms.push(term);
        }
        let shares = match (*version, take(&mut rest)) {
            (WITHOUT_SHARES, None) | (VERSION, Some([0, 0, 0])) => None,
            (VERSION, Some([1, shares, threshold])) => {
                Some(Shares { shares: usize::from(shares), threshold: usize::from(threshold) })
            }
            _ => return None,
        };
        (rest.is_empty() && !terms.is_empty()).then_some(Self { root_key, name_key, terms, shares })
    }

    /// Encrypted by the root key.
    pub fn seal(&self) -> Result<Vec<u8>, BarrierError> {
        let mut plain = SecretBytes::with_capacity(1 + KEY + 4 + self.terms.len() * TERM + SHARES);
        plain.extend_from_slice(&[VERSION]);
        plain.extend_from_slice(self.name_key.expose());
        plain.extend_from_slice(&u32::try_from(self.terms.len()).unwrap_or(u32::MAX).to_be_bytes());
        for term in &self.terms {
            plain.extend_from_slice(&term.number.to_be_bytes());
            plain.extend_from_slice(term.key.expose());
            plain.extend_from_slice(&term.begun.to_be_bytes());
            plain.extend_from_slice(&term.encryptions.to_be_bytes());
        }
        plain.extend_from_slice(&written(self.shares)?);
        gcm::seal(self.root_key.expose(), ASSOCIATED_DATA, &plain)
            .map_err(|_| BarrierError::Keyring("it cannot be encrypted"))
    }

    /// The same with a new term.
    pub fn rotated(&self) -> Result<Self, BarrierError> {
        let mut rotated = self.clone();
        rotated.terms.push(Term::generate(self.newest().0 + 1)?);
        Ok(rotated)
    }

    /// The same for another root key.
    #[must_use]
    pub fn under(&self, root_key: DataKey) -> Self {
        Self { root_key, name_key: self.name_key.clone(), terms: self.terms.clone(), shares: self.shares }
    }

    /// The same with this said of how the key that people hold is shared.
    #[must_use]
    pub fn with_shares(&self, shares: Shares) -> Self {
        Self { shares: Some(shares), ..self.clone() }
    }

    /// How the key that people hold is shared; `None` if nobody has said yet.
    pub const fn shares(&self) -> Option<Shares> {
        self.shares
    }

    /// The same with `more` records in the newest term.
    #[must_use]
    pub fn with_encryptions(&self, more: u64) -> Self {
        let mut counted = self.clone();
        if let Some(newest) = counted.terms.last_mut() {
            newest.encryptions += more;
        }
        counted
    }

    /// The newest term's number and key.
    pub fn newest(&self) -> (u32, &DataKey) {
        let newest = self.newest_term();
        (newest.number, &newest.key)
    }

    /// The key of a term.
    pub fn key(&self, term: u32) -> Option<&DataKey> {
        let newest = self.newest_term();
        if newest.number == term {
            return Some(&newest.key);
        }
        self.terms.iter().find(|one| one.number == term).map(|one| &one.key)
    }

    /// The newest term.
    pub fn status(&self) -> KeyStatus {
        let newest = self.newest_term();
        KeyStatus { term: newest.number, begun: newest.begun, encryptions: newest.encryptions }
    }

    /// The key that names are hidden with.
    pub fn name_key(&self) -> &DataKey {
        &self.name_key
    }

    /// The key that it is kept under.
    pub fn root_key(&self) -> &DataKey {
        &self.root_key
    }

    fn newest_term(&self) -> &Term {
        let Some(newest) = self.terms.last() else { unreachable!("the constructors let no empty keyring in") };
        newest
    }
}

impl Term {
    fn generate(number: u32) -> Result<Self, BarrierError> {
        let begun = jiff::Timestamp::now().as_second();
        Ok(Self { number, key: DataKey::generate()?, begun, encryptions: 0 })
    }
}

/// How `shares` are written.
fn written(shares: Option<Shares>) -> Result<[u8; SHARES], BarrierError> {
    let Some(Shares { shares, threshold }) = shares else { return Ok([0; SHARES]) };
    let byte = |number: usize| u8::try_from(number).map_err(|_| BarrierError::Keyring("it has too many shares"));
    Ok([1, byte(shares)?, byte(threshold)?])
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*first)
}

fn take_key(rest: &mut &[u8]) -> Option<DataKey> {
    let (key, tail) = rest.split_at_checked(KEY)?;
    *rest = tail;
    DataKey::from_bytes(SecretBytes::from(key)).ok()
}
