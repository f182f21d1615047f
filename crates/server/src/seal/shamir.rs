//! An unseal key that people hold shares of.
//!
//! The shares are Vault's: see `bulla_kms::shamir`. One share of one is the key itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{DataKey, SecretBytes};
use bulla_kms::shamir;
use zeroize::Zeroizing;

use super::{SealError, Shares, unwrap_by, wrap_by};

/// The seal's name, and its kind.
pub const NAME: &str = "shamir";

/// Divides `key` as `shares` says.
pub fn split(key: &DataKey, shares: Shares) -> Result<Vec<SecretBytes>, SealError> {
    if shares == (Shares { shares: 1, threshold: 1 }) {
        return Ok(vec![key.as_secret().clone()]);
    }
    Ok(shamir::split(key.as_secret(), shares.shares, shares.threshold)?)
}

/// Puts a key together from as many shares as are needed. Wrong shares give a wrong key: what it is for tells.
pub fn combine(given: &[SecretBytes]) -> Result<DataKey, SealError> {
    let wrong = |_| SealError::WrongKey(NAME.to_owned());
    if let [only] = given {
        return DataKey::from_bytes(only.clone()).map_err(wrong);
    }
    DataKey::from_bytes(shamir::combine(given)?).map_err(wrong)
}

/// Wraps the root key by the unseal key.
pub fn wrap(unseal_key: &DataKey, root_key: &DataKey) -> Result<String, SealError> {
    wrap_by(unseal_key, NAME, root_key)
}

/// Unwraps the root key.
pub fn unwrap(unseal_key: &DataKey, wrapped: &str) -> Result<DataKey, SealError> {
    unwrap_by(unseal_key, NAME, wrapped)
}

/// Whether a share can be one: the length of a share of a key, or of the key itself where one share is enough.
pub fn is_share(share: &SecretBytes, threshold: usize) -> bool {
    share.len() == if threshold == 1 { DataKey::LEN } else { DataKey::LEN + 1 }
}

/// Reads a share, in hex or base64. `None`: it is neither.
pub fn parse_share(text: &str) -> Option<SecretBytes> {
    let text = text.trim();
    let digits: Option<Zeroizing<Vec<u8>>> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<Vec<u8>>>()
        .map(Zeroizing::new);
    if let Some(digits) = digits.filter(|digits| digits.len() % 2 == 0) {
        let bytes = Zeroizing::new(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>());
        // 44 letters of base64 can look like hex, and are 22 bytes then: no length that a share has.
        if bytes.len() >= DataKey::LEN {
            return Some(SecretBytes::from(bytes.as_slice()));
        }
    }
    STANDARD.decode(text).ok().map(SecretBytes::from)
}
