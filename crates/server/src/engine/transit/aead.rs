//! Ciphers with associated data, set up once.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20::cipher::consts::U10;
use chacha20::cipher::generic_array::GenericArray;
use zeroize::Zeroizing;

use super::policy::{KeyType, Secret};

/// How many bytes sealing adds, beside the nonce.
pub const TAG: usize = 16;

/// A cipher with its key.
pub enum Aead {
    /// With a nonce of 12 bytes.
    Short(LessSafeKey),
    /// XChaCha20-Poly1305, with a nonce of 24 bytes: a key for each nonce.
    Long(Secret),
}

fn cipher(algorithm: &'static Algorithm, key: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new)
}

impl Aead {
    /// Sets a cipher up; `None` if the key has not its length.
    pub fn new(kind: KeyType, key: &[u8]) -> Option<Self> {
        Some(match kind {
            KeyType::Aes128 => Self::Short(cipher(&AES_128_GCM, key)?),
            KeyType::Aes256 => Self::Short(cipher(&AES_256_GCM, key)?),
            KeyType::ChaCha => Self::Short(cipher(&CHACHA20_POLY1305, key)?),
            KeyType::XChaCha if key.len() == 32 => Self::Long(Secret::from(key)),
            _ => return None,
        })
    }

    /// How long its nonces are, in bytes.
    pub const fn nonce_len(&self) -> usize {
        match self {
            Self::Short(_) => 12,
            Self::Long(_) => 24,
        }
    }

    fn with<T>(&self, nonce: &[u8], use_it: impl FnOnce(&LessSafeKey, Nonce) -> Option<T>) -> Option<T> {
        match self {
            Self::Short(key) => use_it(key, Nonce::try_assume_unique_for_key(nonce).ok()?),
            Self::Long(key) => {
                // draft-irtf-cfrg-xchacha, section 2.3.
                let (first, last) = nonce.split_at_checked(16)?;
                let mut derived =
                    chacha20::hchacha::<U10>(GenericArray::from_slice(key.expose()), GenericArray::from_slice(first));
                let inner = Zeroizing::new(<[u8; 32]>::from(derived));
                zeroize::Zeroize::zeroize(derived.as_mut_slice());
                let mut short = [0; 12];
                short.get_mut(4..)?.copy_from_slice(last);
                use_it(&cipher(&CHACHA20_POLY1305, inner.as_ref())?, Nonce::assume_unique_for_key(short))
            }
        }
    }

    /// Seals `message`, a nonce with the plaintext behind it, where it is.
    pub fn seal(&self, message: &mut Vec<u8>, aad: &[u8]) -> Option<()> {
        let (nonce, plain) = message.split_at_mut_checked(self.nonce_len())?;
        let tag = self.with(nonce, |key, nonce| key.seal_in_place_separate_tag(nonce, Aad::from(aad), plain).ok())?;
        message.extend_from_slice(tag.as_ref());
        Some(())
    }

    /// Opens what [`seal`](Self::seal) made, where it is; `None` if it is not authentic.
    pub fn open<'m>(&self, message: &'m mut [u8], aad: &[u8]) -> Option<&'m [u8]> {
        let (nonce, sealed) = message.split_at_mut_checked(self.nonce_len())?;
        self.with(nonce, |key, nonce| key.open_in_place(nonce, Aad::from(aad), sealed).ok().map(|plain| &*plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xchacha_seals_as_its_draft_says() {
        // draft-irtf-cfrg-xchacha, appendix A.3.1.
        let key: Vec<u8> = (0x80..0xa0).collect();
        let nonce: Vec<u8> = (0x40..0x58).collect();
        let aad = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let aead = Aead::new(KeyType::XChaCha, &key).unwrap();
        let mut message = [&nonce, &plain[..]].concat();
        aead.seal(&mut message, &aad).unwrap();
        assert_eq!(crate::core::hex(&message[24..40]), "bd6d179d3e83d43b9576579493c0e939");
        assert_eq!(crate::core::hex(&message[message.len() - TAG..]), "c0875924c1c7987947deafd8780acf49");
        assert_eq!(aead.open(&mut message.clone(), &aad).unwrap(), plain);
        assert!(aead.open(&mut message.clone(), b"").is_none());
        message[30] ^= 1;
        assert!(aead.open(&mut message, &aad).is_none());
        assert!(aead.open(&mut [0; 20], b"").is_none());
    }
}
