//! Names that say nothing: each segment of a path is encrypted, the same way each time, so that an entry is found again and a folder lists.
//!
//! ```text
//! tag  = HMAC-SHA-256(k1, parent || 0 || segment)[..16]      parent: the hidden path above, with its slash
//! name = base64url(tag || AES-256-CTR(k2, iv = tag, segment))
//! k1, k2 = HMAC-SHA-256(name key, "bulla names mac 1"), HMAC-SHA-256(name key, "bulla names cipher 1")
//! ```
//!
//! That is SIV (RFC 5297) with HMAC in CMAC's place: whoever has the storage sees which names under one parent are equal, how long they are and
//! how many, and cannot make or move one without it being noticed. The name key is never rotated: names have to stay.

use aws_lc_rs::cipher::{AES_256, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bulla_core::DataKey;
use subtle::ConstantTimeEq;

use super::BarrierError;
use crate::storage::{MAX_KEY, StorageError};

const TAG: usize = 16;

/// Hides names and shows them.
pub struct Names {
    mac: hmac::Key,
    cipher: EncryptingKey,
}

impl Names {
    /// # Errors
    /// If the system has no memory for it.
    pub fn new(name_key: &DataKey) -> Result<Self, BarrierError> {
        let derive = |purpose: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, name_key.expose()), purpose);
        let cipher =
            UnboundCipherKey::new(&AES_256, derive(b"bulla names cipher 1").as_ref()).and_then(EncryptingKey::ctr);
        Ok(Self {
            mac: hmac::Key::new(hmac::HMAC_SHA256, derive(b"bulla names mac 1").as_ref()),
            cipher: cipher.map_err(|_| FAILED)?,
        })
    }

    /// Appends the hidden form of `path` to `hidden`, which is what it stands below. A slash at the end stays.
    ///
    /// # Errors
    /// [`StorageError::TooLarge`] as soon as the form is longer than a key may be: each segment costs a hash of all above it, so that a path of
    /// many would cost its square.
    pub fn hide(&self, hidden: &mut String, path: &str) -> Result<(), BarrierError> {
        if path.len() > MAX_KEY {
            return Err(too_long());
        }
        let mut segments = path.split('/').peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            if last && segment.is_empty() {
                break;
            }
            let tag = self.tag(hidden, segment);
            let mut bytes = tag.to_vec();
            bytes.extend_from_slice(segment.as_bytes());
            self.crypt(&tag, &mut bytes[TAG..])?;
            URL_SAFE_NO_PAD.encode_string(&bytes, hidden);
            if !last {
                hidden.push('/');
            }
            if hidden.len() > MAX_KEY {
                return Err(too_long());
            }
        }
        Ok(())
    }

    /// The segment whose hidden form below `parent` is `name`.
    pub fn show(&self, parent: &str, name: &str) -> Result<String, BarrierError> {
        let damaged = || BarrierError::Damaged { path: format!("{parent}{name}"), what: "its name is not one of ours" };
        let mut bytes = URL_SAFE_NO_PAD.decode(name).map_err(|_| damaged())?;
        let tag = *bytes.first_chunk::<TAG>().ok_or_else(damaged)?;
        self.crypt(&tag, &mut bytes[TAG..])?;
        let segment = String::from_utf8(bytes.split_off(TAG)).map_err(|_| damaged())?;
        if bool::from(self.tag(parent, &segment).ct_eq(&tag)) { Ok(segment) } else { Err(damaged()) }
    }

    fn tag(&self, parent: &str, segment: &str) -> [u8; TAG] {
        let mut context = hmac::Context::with_key(&self.mac);
        context.update(parent.as_bytes());
        context.update(&[0]);
        context.update(segment.as_bytes());
        let mut tag = [0; TAG];
        tag.copy_from_slice(&context.sign().as_ref()[..TAG]);
        tag
    }

    /// Encrypts or decrypts: in counter mode they are the same.
    fn crypt(&self, tag: &[u8; TAG], bytes: &mut [u8]) -> Result<(), BarrierError> {
        let context = EncryptionContext::Iv128(FixedLength::from(*tag));
        let _: DecryptionContext = self.cipher.less_safe_encrypt(bytes, context).map_err(|_| FAILED)?;
        Ok(())
    }
}

const FAILED: BarrierError = BarrierError::Keyring("names cannot be encrypted");

const fn too_long() -> BarrierError {
    BarrierError::Storage(StorageError::TooLarge { what: "key", limit: MAX_KEY })
}
