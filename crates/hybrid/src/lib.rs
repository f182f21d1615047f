//! Sealing to a public key that stays secret unless both X25519 and ML-KEM-768 are broken.
//!
//! One suite, fixed: HPKE (RFC 9180) in base mode over X-Wing, HKDF-SHA256, `ChaCha20Poly1305`. It is what age's
//! `mlkem768x25519` recipients use, and the hybrid algorithm of sealed Secrets. `info` says what the ciphertext is for and
//! `associated` what it is bound to; both must be the same to open it.
//!
//! Pure and synchronous; randomness comes from the system.

mod xwing;

use bulla_core::SecretBytes;
use hpke::aead::{AeadTag, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::{Deserializable, HpkeError, Kem, OpModeR, OpModeS, Serializable};
use rand_core::OsRng;

use xwing::{EncappedKey, XWing};

/// Bytes of a private key: the seed that all else follows from.
pub const PRIVATE_LEN: usize = 32;
/// Bytes of a public key.
pub const PUBLIC_LEN: usize = 1216;
/// Bytes of the encapsulated key that goes with each ciphertext.
pub const ENC_LEN: usize = 1120;
/// Bytes by which a ciphertext is longer than its plaintext.
pub const TAG_LEN: usize = 16;

/// Why something is not a key, or does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no key of this kind: a wrong length, or numbers out of range.
    #[error("not a valid key")]
    Key,
    /// The encapsulated key or the ciphertext cannot be of this kind: a wrong length, a useless point.
    #[error("malformed ciphertext")]
    Malformed,
    /// Sealed to another key, for another purpose or with other associated data; or damaged. The cipher cannot tell these apart.
    #[error("does not open")]
    Open,
    /// The system has no randomness to give, or the key is one that nothing can be sealed to.
    #[error("cannot seal to this key")]
    Seal,
}

/// A key that anyone may seal to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(xwing::PublicKey);

impl PublicKey {
    /// Reads the [`PUBLIC_LEN`] bytes of a key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        xwing::PublicKey::from_bytes(bytes).map(Self).map_err(|_| Error::Key)
    }

    /// The key's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes().to_vec()
    }

    /// Encrypts `buffer` where it stands. The answer is the encapsulated key, [`ENC_LEN`] bytes, and the tag.
    pub fn seal_in_place(
        &self,
        info: &[u8],
        associated: &[u8],
        buffer: &mut [u8],
    ) -> Result<(Vec<u8>, [u8; TAG_LEN]), Error> {
        let (enc, tag) = hpke::single_shot_seal_in_place_detached::<ChaCha20Poly1305, HkdfSha256, XWing, _>(
            &OpModeS::Base,
            &self.0,
            info,
            buffer,
            associated,
            &mut OsRng,
        )
        .map_err(|_| Error::Seal)?;
        let mut tag_bytes = [0; TAG_LEN];
        tag.write_exact(&mut tag_bytes);
        Ok((enc.to_bytes().to_vec(), tag_bytes))
    }
}

/// A key that opens what was sealed to its public key. Kept as its seed, in locked memory.
///
/// The ML-KEM key is expanded again for each use (some 50 µs): the seed is the one secret to keep.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(xwing::PrivateKey);

impl PrivateKey {
    /// A fresh key.
    pub fn generate() -> Result<Self, Error> {
        let seed = SecretBytes::random(PRIVATE_LEN).map_err(|_| Error::Seal)?;
        Ok(Self(xwing::PrivateKey::from_seed(seed)))
    }

    /// Reads the [`PRIVATE_LEN`] bytes of a seed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        xwing::PrivateKey::from_bytes(bytes).map(Self).map_err(|_| Error::Key)
    }

    /// The seed.
    pub fn seed(&self) -> &SecretBytes {
        self.0.seed()
    }

    /// The public key that belongs to it.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(XWing::sk_to_pk(&self.0))
    }

    /// Decrypts `buffer` where it stands.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::Open`]; `buffer` holds nothing of use then.
    pub fn open_in_place(
        &self,
        info: &[u8],
        associated: &[u8],
        enc: &[u8],
        buffer: &mut [u8],
        tag: &[u8],
    ) -> Result<(), Error> {
        let enc = EncappedKey::from_bytes(enc).map_err(|_| Error::Malformed)?;
        let tag = AeadTag::<ChaCha20Poly1305>::from_bytes(tag).map_err(|_| Error::Malformed)?;
        hpke::single_shot_open_in_place_detached::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.0,
            &enc,
            info,
            buffer,
            associated,
            &tag,
        )
        .map_err(|error| match error {
            // X-Wing rejects implicitly: that the key is another is found out here.
            HpkeError::OpenError => Error::Open,
            _ => Error::Malformed,
        })
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sealed(key: &PrivateKey) -> (Vec<u8>, Vec<u8>, [u8; TAG_LEN]) {
        let mut buffer = b"a secret".to_vec();
        let (enc, tag) = key.public_key().seal_in_place(b"info", b"place", &mut buffer).unwrap();
        assert_eq!(enc.len(), ENC_LEN);
        (enc, buffer, tag)
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_purpose_and_place_only() {
        let key = PrivateKey::generate().unwrap();
        let other = PrivateKey::generate().unwrap();
        let (enc, body, tag) = sealed(&key);
        let open = |key: &PrivateKey, info: &[u8], place: &[u8]| {
            let mut buffer = body.clone();
            key.open_in_place(info, place, &enc, &mut buffer, &tag).map(|()| buffer)
        };
        assert_eq!(open(&key, b"info", b"place").unwrap(), b"a secret");
        assert_eq!(open(&other, b"info", b"place"), Err(Error::Open));
        assert_eq!(open(&key, b"other", b"place"), Err(Error::Open));
        assert_eq!(open(&key, b"info", b"other"), Err(Error::Open));
    }

    #[test]
    fn pieces_of_a_wrong_length_are_malformed() {
        let key = PrivateKey::generate().unwrap();
        let (enc, mut body, tag) = sealed(&key);
        for (enc, tag) in [(&enc[1..], &tag[..]), (&[][..], &tag[..]), (&enc[..], &tag[1..])] {
            assert_eq!(key.open_in_place(b"info", b"place", enc, &mut body, tag), Err(Error::Malformed));
        }
    }

    #[test]
    fn keys_go_through_their_bytes() {
        let key = PrivateKey::generate().unwrap();
        assert!(PrivateKey::from_bytes(key.seed().expose()).unwrap() == key);
        let public = key.public_key();
        assert_eq!(public.to_bytes().len(), PUBLIC_LEN);
        assert_eq!(PublicKey::from_bytes(&public.to_bytes()).unwrap(), public);
        assert_eq!(format!("{key:?}"), "PrivateKey");
    }
}
