//! RSA-OAEP with AES-256-GCM: sealed-secrets' hybrid encryption.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{
    KeyPair, KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use bulla_core::SecretBytes;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use zeroize::Zeroizing;

use super::key::rsa_pkcs8;
use super::{KeyError, SealError};

/// Bytes of AES-GCM's tag.
pub(super) const TAG_LEN: usize = 16;
/// Bytes of the session key.
const SESSION_LEN: usize = 32;
/// Bytes of the longest RSA key's modulus.
pub(super) const MAX_MODULUS: usize = 1024;

/// Sizes that RSA keys are made in. Those of 2048 to 8192 bits are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RsaSize {
    /// The least that is safe.
    Bits2048,
    /// Between.
    Bits3072,
    /// sealed-secrets' default.
    #[default]
    Bits4096,
    /// Eight times slower to open than 4096.
    Bits8192,
}

/// An RSA public key.
#[derive(Clone)]
pub(super) struct RsaPublic {
    key: Arc<OaepPublicEncryptingKey>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaPublic {
    /// From a `SubjectPublicKeyInfo` and the `RSAPublicKey` in it, both DER.
    pub(super) fn from_spki(spki: &[u8], rsa: &[u8]) -> Result<Self, KeyError> {
        let key = PublicEncryptingKey::from_der(spki).map_err(|_| KeyError::Rsa)?;
        let key = OaepPublicEncryptingKey::new(key).map_err(|_| KeyError::Rsa)?;
        let (_, numbers) = RSAPublicKey::from_der(rsa).map_err(|_| KeyError::Rsa)?;
        let (modulus, exponent) = (positive(numbers.modulus), positive(numbers.exponent));
        if modulus.len() != key.key_size_bytes() {
            return Err(KeyError::Rsa);
        }
        Ok(Self { key: Arc::new(key), modulus, exponent })
    }

    /// Big-endian, without leading zeros.
    pub(super) fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// Big-endian, without leading zeros.
    pub(super) fn exponent(&self) -> &[u8] {
        &self.exponent
    }

    /// The value's bytes: length, wrapped session key, ciphertext, tag.
    pub(super) fn seal(&self, label: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut session = Zeroizing::new([0; SESSION_LEN]);
        getrandom::fill(session.as_mut()).map_err(|_| SealError::Failed)?;

        let modulus_len = self.modulus.len();
        // Room for all, so that no plaintext is left behind where the buffer stood before it grew.
        let mut out = Vec::with_capacity(2 + modulus_len + plain.len() + TAG_LEN);
        out.extend_from_slice(&u16::try_from(modulus_len).map_err(|_| SealError::Failed)?.to_be_bytes());
        out.resize(2 + modulus_len, 0);
        let wrapped = self
            .key
            .encrypt(&OAEP_SHA256_MGF1SHA256, session.as_ref(), &mut out[2..], Some(label))
            .map_err(|_| SealError::Failed)?;
        if wrapped.len() != modulus_len {
            return Err(SealError::Failed);
        }

        let body = out.len();
        out.extend_from_slice(plain);
        let sealed = gcm(&session)
            .and_then(|key| key.seal_in_place_separate_tag(zero_nonce(), Aad::empty(), &mut out[body..]).ok());
        let Some(tag) = sealed else {
            zeroize::Zeroize::zeroize(&mut out);
            return Err(SealError::Failed);
        };
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }
}

/// An RSA private key, in the cryptographic library's memory, which it wipes.
#[derive(Clone)]
pub(super) struct RsaPrivate {
    key: Arc<OaepPrivateDecryptingKey>,
    exportable: PrivateDecryptingKey,
}

/// What came of trying to open a value with a key.
pub(super) enum Tried {
    Opened(SecretBytes),
    /// Another key or another label.
    NotThis,
    /// The key and the label are right, the rest is damaged.
    Corrupt,
}

impl RsaPrivate {
    pub(super) fn generate(size: RsaSize) -> Result<Self, KeyError> {
        let size = match size {
            RsaSize::Bits2048 => KeySize::Rsa2048,
            RsaSize::Bits3072 => KeySize::Rsa3072,
            RsaSize::Bits4096 => KeySize::Rsa4096,
            RsaSize::Bits8192 => KeySize::Rsa8192,
        };
        Self::new(PrivateDecryptingKey::generate(size).map_err(|_| KeyError::Make)?)
    }

    pub(super) fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let pkcs8 = rsa_pkcs8(der)?;
        Self::new(PrivateDecryptingKey::from_pkcs8(pkcs8.expose()).map_err(|_| KeyError::Rsa)?)
    }

    fn new(exportable: PrivateDecryptingKey) -> Result<Self, KeyError> {
        let key = OaepPrivateDecryptingKey::new(exportable.clone()).map_err(|_| KeyError::Rsa)?;
        Ok(Self { key: Arc::new(key), exportable })
    }

    pub(super) fn to_pkcs8(&self) -> Result<SecretBytes, KeyError> {
        let der: Pkcs8V1Der<'_> = self.exportable.as_der().map_err(|_| KeyError::Rsa)?;
        Ok(SecretBytes::from(der.as_ref()))
    }

    pub(super) fn spki(&self) -> Result<Vec<u8>, KeyError> {
        let der = self.exportable.public_key().as_der().map_err(|_| KeyError::Rsa)?;
        Ok(der.as_ref().to_vec())
    }

    /// The key for signing its own certificate.
    pub(super) fn signing(&self) -> Result<KeyPair, KeyError> {
        KeyPair::from_pkcs8(self.to_pkcs8()?.expose()).map_err(|_| KeyError::Rsa)
    }

    /// One private operation. `wrapped` has the modulus' length.
    pub(super) fn open(&self, label: &[u8], wrapped: &[u8], body: &[u8]) -> Tried {
        let mut buffer = Zeroizing::new([0; MAX_MODULUS]);
        let session: &[u8] = match self.key.decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut buffer[..], Some(label)) {
            Ok(session) => session,
            Err(_) => return Tried::NotThis,
        };
        let Some(key) = <&[u8; SESSION_LEN]>::try_from(session).ok().and_then(gcm) else { return Tried::Corrupt };
        let mut plain = SecretBytes::from(body);
        let Ok(len) = key.open_in_place(zero_nonce(), Aad::empty(), plain.expose_mut()).map(|plain| plain.len()) else {
            return Tried::Corrupt;
        };
        plain.truncate(len);
        Tried::Opened(plain)
    }
}

fn gcm(session: &[u8; SESSION_LEN]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, session).ok().map(LessSafeKey::new)
}

/// Each session key encrypts one value, so its nonce may be any; the format says zeros.
fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// A DER integer's bytes without the zero that keeps it positive.
fn positive(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}
