//! A sealed value's text, parsed and made.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bulla_core::SecretBytes;
use bulla_hybrid::ENC_LEN;

use super::key::{Private, Public};
use super::rsa::{MAX_MODULUS, TAG_LEN, Tried};
use super::{Binding, Malformed, OpenError, PrivateKey, PublicKey, SealError};

/// Bytes that a value can have: as many as a whole Secret.
pub const MAX_PLAINTEXT: usize = 1 << 20;

/// What the associated data of the hybrid algorithm is under.
const INFO: &[u8] = b"bulla.dev/sealed/v1 x25519-mlkem768";
const MARK: [u8; 2] = [0xff, 0xb1];
const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 16;
/// Mark, version, key id, encapsulated key, tag.
const HYBRID_OVERHEAD: usize = 2 + 1 + KEY_ID_LEN + ENC_LEN + TAG_LEN;
const MAX_BYTES: usize = MAX_PLAINTEXT + 2 + MAX_MODULUS + HYBRID_OVERHEAD;
/// Characters that a value can have, with room for line breaks.
const MAX_TEXT: usize = MAX_BYTES / 3 * 4 + MAX_BYTES / 16;

/// As Go's decoder: bits behind the last byte may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Encrypts `plain` for the place `binding`, to be opened with `key`'s private key. The text is base64.
///
/// # Errors
/// [`SealError::TooLong`] past [`MAX_PLAINTEXT`] bytes.
pub fn seal_value(key: &PublicKey, binding: &Binding<'_>, plain: &[u8]) -> Result<String, SealError> {
    if plain.len() > MAX_PLAINTEXT {
        return Err(SealError::TooLong(plain.len()));
    }
    let bytes = match &key.inner {
        Public::Rsa(rsa) => rsa.seal(&binding.label(), plain)?,
        Public::Hybrid(hybrid) => {
            let mut body = SecretBytes::from(plain);
            let (enc, tag) = hybrid
                .seal_in_place(INFO, &binding.associated_data(), body.expose_mut())
                .map_err(|_| SealError::Failed)?;
            let fingerprint = key.fingerprint();
            [&MARK[..], &[VERSION], fingerprint.key_id(), &enc, body.expose(), &tag].concat()
        }
    };
    Ok(BASE64.encode(bytes))
}

/// Decrypts `text` with one key. For several, parse once and search in a [`KeyRing`](super::KeyRing).
///
/// # Errors
/// See [`OpenError`].
pub fn open_value(key: &PrivateKey, binding: &Binding<'_>, text: &str) -> Result<SecretBytes, OpenError> {
    let value = SealedValue::parse(text)?;
    value.may_be_for(key)?;
    value.open(key, binding)
}

/// A value as its parts, not yet opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedValue(Parts);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Parts {
    /// The wrapped session key's length, and all behind the prefix.
    Rsa { modulus_len: usize, bytes: Vec<u8> },
    /// All behind the version.
    Hybrid { bytes: Vec<u8> },
}

impl SealedValue {
    /// Parses base64 text. Line breaks in it are skipped, as Go does.
    ///
    /// # Errors
    /// [`OpenError::Malformed`], [`OpenError::UnknownVersion`].
    pub fn parse(text: &str) -> Result<Self, OpenError> {
        if text.len() > MAX_TEXT {
            return Err(Malformed::TooLong(text.len()).into());
        }
        let decoded = if text.contains(['\r', '\n']) {
            BASE64.decode(text.replace(['\r', '\n'], ""))
        } else {
            BASE64.decode(text)
        };
        Self::from_bytes(decoded.map_err(|_| Malformed::Base64)?)
    }

    /// Parses what the base64 says.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_bytes(mut bytes: Vec<u8>) -> Result<Self, OpenError> {
        let len = bytes.len();
        let too_short = Err(Malformed::TooShort(len).into());
        let Some(prefix) = bytes.first_chunk::<2>().copied() else { return too_short };
        if prefix == MARK {
            return match bytes.get(2).copied() {
                None => too_short,
                Some(VERSION) if len < HYBRID_OVERHEAD => too_short,
                Some(VERSION) => {
                    bytes.drain(..3);
                    Ok(Self(Parts::Hybrid { bytes }))
                }
                Some(version) => Err(OpenError::UnknownVersion(version)),
            };
        }
        let modulus_len = usize::from(u16::from_be_bytes(prefix));
        // From 512 bits, which no key of today has but old values may, to the longest that can be read.
        if !(64..=MAX_MODULUS).contains(&modulus_len) {
            return Err(Malformed::RsaLength(u16::from_be_bytes(prefix)).into());
        }
        if len < 2 + modulus_len + TAG_LEN {
            return too_short;
        }
        bytes.drain(..2);
        Ok(Self(Parts::Rsa { modulus_len, bytes }))
    }

    /// Whether trying `key` makes sense, which costs next to nothing to find out.
    ///
    /// A hybrid value names its key. An RSA value fits a key whose modulus has its length and is greater than the wrapped key as a
    /// number.
    ///
    /// # Errors
    /// [`OpenError::NoKey`], [`OpenError::UnknownKey`]: why not.
    pub fn may_be_for(&self, key: &PrivateKey) -> Result<(), OpenError> {
        match (&self.0, &key.public_key().inner) {
            (Parts::Rsa { modulus_len, bytes }, Public::Rsa(rsa)) => {
                let fits = *modulus_len == rsa.modulus().len() && bytes[..*modulus_len] < *rsa.modulus();
                fits.then_some(()).ok_or(OpenError::NoKey)
            }
            (Parts::Rsa { .. }, Public::Hybrid(_)) => Err(OpenError::NoKey),
            (Parts::Hybrid { bytes }, _) if bytes[..KEY_ID_LEN] == *key.fingerprint().key_id() => Ok(()),
            (Parts::Hybrid { .. }, _) => Err(self.no_key()),
        }
    }

    /// Decrypts with `key`, which [may be](Self::may_be_for) the right one.
    ///
    /// # Errors
    /// [`OpenError::NoKey`], [`OpenError::Corrupt`], [`OpenError::NotBoundHere`], [`OpenError::UnknownKey`].
    pub fn open(&self, key: &PrivateKey, binding: &Binding<'_>) -> Result<SecretBytes, OpenError> {
        self.may_be_for(key)?;
        match (&self.0, &key.inner) {
            (Parts::Rsa { modulus_len, bytes }, Private::Rsa(rsa)) => {
                let (wrapped, body) = bytes.split_at(*modulus_len);
                match rsa.open(&binding.label(), wrapped, body) {
                    Tried::Opened(plain) => Ok(plain),
                    Tried::NotThis => Err(OpenError::NoKey),
                    Tried::Corrupt => Err(OpenError::Corrupt { key: *key.fingerprint() }),
                }
            }
            (Parts::Hybrid { bytes }, Private::Hybrid(hybrid)) => {
                let (enc, rest) = bytes[KEY_ID_LEN..].split_at(ENC_LEN);
                let (body, tag) = rest.split_at(rest.len() - TAG_LEN);
                let mut plain = SecretBytes::from(body);
                hybrid.open_in_place(INFO, &binding.associated_data(), enc, plain.expose_mut(), tag).map_err(
                    |error| match error {
                        bulla_hybrid::Error::Open => OpenError::NotBoundHere { key: *key.fingerprint() },
                        _ => OpenError::Corrupt { key: *key.fingerprint() },
                    },
                )?;
                Ok(plain)
            }
            _ => Err(self.no_key()),
        }
    }

    /// Whether it is a hybrid value.
    pub const fn is_hybrid(&self) -> bool {
        matches!(self.0, Parts::Hybrid { .. })
    }

    /// That no key is the right one.
    pub(super) fn no_key(&self) -> OpenError {
        match &self.0 {
            Parts::Rsa { .. } => OpenError::NoKey,
            Parts::Hybrid { bytes } => {
                OpenError::UnknownKey { key_id: bytes[..KEY_ID_LEN].iter().map(|byte| format!("{byte:02x}")).collect() }
            }
        }
    }
}
