//! Short secrets under a 32-byte key: AES-256-GCM with a random nonce in front.
//!
//! The form is `nonce (12 bytes) || ciphertext || tag (16 bytes)`. Random nonces are safe for some 2³² texts a key
//! (NIST SP 800-38D, 8.3); what is encrypted here is counted in keys and key renewals.

use aes_gcm::aead::{AeadInOut, Nonce, Tag};
use aes_gcm::{Aes256Gcm, KeyInit};
use bulla_core::SecretBytes;

const NONCE: usize = 12;
const TAG: usize = 16;

/// How much longer a ciphertext is than its plaintext, in bytes.
pub const OVERHEAD: usize = NONCE + TAG;

/// Why a text could not be sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The system has no randomness to give.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The text is longer than AES-GCM takes (64 GiB).
    #[error("the text is too long to encrypt")]
    TooLong,
}

/// Why a text could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no room for a nonce and a tag.
    #[error("the ciphertext is too short")]
    TooShort,
    /// It was made with another key or associated data, or changed since.
    #[error("the ciphertext was not made with this key for this purpose, or was changed since")]
    Tag,
}

/// Encrypts `plaintext`; `associated_data` has to be given again to open it.
///
/// # Errors
/// [`SealError`].
pub fn seal(key: &[u8; 32], associated_data: &[u8], plaintext: &SecretBytes) -> Result<Vec<u8>, SealError> {
    let mut sealed = SecretBytes::with_capacity(plaintext.len() + OVERHEAD);
    sealed.resize(NONCE);
    getrandom::fill(sealed.expose_mut())?;
    sealed.extend_from_slice(plaintext.expose());
    let (nonce, text) = sealed.expose_mut().split_at_mut(NONCE);
    let nonce = Nonce::<Aes256Gcm>::try_from(&*nonce).map_err(|_| SealError::TooLong)?;
    let tag = Aes256Gcm::new(key.into())
        .encrypt_inout_detached(&nonce, associated_data, text.into())
        .map_err(|_| SealError::TooLong)?;
    sealed.extend_from_slice(&tag);
    // Ciphertext from here on.
    Ok(sealed.expose().to_vec())
}

/// Decrypts what [`seal`] made. Nothing of the plaintext is given out before its tag is proven.
///
/// # Errors
/// [`OpenError`].
pub fn open(key: &[u8; 32], associated_data: &[u8], sealed: &[u8]) -> Result<SecretBytes, OpenError> {
    let (nonce, rest) = sealed.split_at_checked(NONCE).ok_or(OpenError::TooShort)?;
    let (text, tag) =
        rest.len().checked_sub(TAG).and_then(|at| rest.split_at_checked(at)).ok_or(OpenError::TooShort)?;
    let mut plaintext = SecretBytes::from(text);
    let nonce = Nonce::<Aes256Gcm>::try_from(nonce).map_err(|_| OpenError::TooShort)?;
    let tag = Tag::<Aes256Gcm>::try_from(tag).map_err(|_| OpenError::TooShort)?;
    Aes256Gcm::new(key.into())
        .decrypt_inout_detached(&nonce, associated_data, plaintext.expose_mut().into(), &tag)
        .map_err(|_| OpenError::Tag)?;
    Ok(plaintext)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_associated_data_alone() {
        let (key, other) = ([1; 32], [2; 32]);
        let secret = SecretBytes::from(b"secret".as_slice());
        let sealed = seal(&key, b"purpose", &secret).unwrap();
        assert_eq!(sealed.len(), secret.len() + OVERHEAD);
        assert_ne!(sealed, seal(&key, b"purpose", &secret).unwrap(), "each has its own nonce");
        assert_eq!(open(&key, b"purpose", &sealed), Ok(secret));
        assert_eq!(open(&other, b"purpose", &sealed), Err(OpenError::Tag));
        assert_eq!(open(&key, b"other", &sealed), Err(OpenError::Tag));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(open(&key, b"purpose", &changed), Err(OpenError::Tag));
            assert!(open(&key, b"purpose", &sealed[..at]).is_err());
        }
    }
}
