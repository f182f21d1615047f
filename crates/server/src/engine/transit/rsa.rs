//! RSA: OAEP, PKCS #1 v1.5 and PSS (RFC 8017).
//!
//! Private operations are the library's, constant in time. It signs with SHA-2 alone, and PSS with a salt as long as the hash. What it does not
//! verify (other hashes, other salts) is verified here: that takes public numbers alone.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rsa::{
    KeyPair, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
    PublicEncryptingKey,
};
use aws_lc_rs::signature::{self, RsaSignatureEncoding};
use num_bigint::BigUint;
use zeroize::Zeroizing;

use super::encoding::der_read;
use super::hash::Hash;
use super::policy::{Secret, Version};

/// How a signature is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// PKCS #1 v1.5.
    Pkcs1,
    /// PSS, with a salt.
    Pss(Salt),
}

/// How long the salt of a PSS signature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Salt {
    /// Any length when it is verified; as the hash when it is made.
    Any,
    /// As the hash.
    Hash,
    /// So many bytes.
    Bytes(usize),
}

/// An RSA key, or its public half.
pub struct Rsa {
    sign: Option<KeyPair>,
    decrypt: Option<OaepPrivateDecryptingKey>,
    encrypt: OaepPublicEncryptingKey,
    modulus: BigUint,
    exponent: BigUint,
    /// Bytes of the modulus.
    pub len: usize,
}

impl Rsa {
    /// Sets up what is stored.
    pub fn new(version: &Version) -> Option<Self> {
        let (key, public) = (version.key.expose(), version.public.expose());
        let private = !key.is_empty();
        let sign = if private { Some(KeyPair::from_pkcs8(key).ok()?) } else { None };
        let decrypt = if private {
            Some(OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(key).ok()?).ok()?)
        } else {
            None
        };
        let encrypt = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public).ok()?).ok()?;
        let (inner, _) = der_read(0x30, public)?;
        let (_, bits) = der_read(0x30, inner)?;
        let (inner, _) = der_read(0x30, der_read(0x03, bits)?.0.get(1..)?)?;
        let (modulus, rest) = der_read(0x02, inner)?;
        let (exponent, _) = der_read(0x02, rest)?;
        Some(Self {
            sign,
            decrypt,
            len: encrypt.key_size_bytes(),
            encrypt,
            modulus: BigUint::from_bytes_be(modulus),
            exponent: BigUint::from_bytes_be(exponent),
        })
    }

    /// How many bytes can be encrypted at most.
    pub fn most(&self) -> usize {
        self.encrypt.max_plaintext_size(&OAEP_SHA256_MGF1SHA256)
    }

    /// Encrypts with OAEP of SHA-256.
    pub fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0; self.encrypt.ciphertext_size()];
        let len = self.encrypt.encrypt(&OAEP_SHA256_MGF1SHA256, plain, &mut out, None).ok()?.len();
        out.truncate(len);
        Some(out)
    }

    /// Whether there is a private key.
    pub const fn is_private(&self) -> bool {
        self.sign.is_some()
    }

    /// Decrypts what [`encrypt`](Self::encrypt) made.
    pub fn decrypt(&self, sealed: &[u8]) -> Option<Secret> {
        let key = self.decrypt.as_ref()?;
        let mut out = Zeroizing::new(vec![0; key.min_output_size()]);
        let len = key.decrypt(&OAEP_SHA256_MGF1SHA256, sealed, &mut out, None).ok()?.len();
        out.truncate(len);
        Some(Secret::from(out))
    }

    /// Signs a hash. `None` if this cannot be signed: see [`signs`](Self::signs).
    pub fn sign(&self, hash: Option<Hash>, sum: &[u8], padding: Padding) -> Option<Vec<u8>> {
        let (algorithm, pkcs1, pss) = encodings(hash?)?;
        let digest = Digest::import_less_safe(sum, algorithm).ok()?;
        let encoding = match padding {
            Padding::Pkcs1 => pkcs1,
            Padding::Pss(_) => pss,
        };
        let mut out = vec![0; self.len];
        self.sign.as_ref()?.sign_digest(encoding, &digest, &mut out).ok()?;
        Some(out)
    }

    /// Whether signatures of `hash` (`None`: what is given, as it is) with `padding` are made here.
    pub fn signs(hash: Option<Hash>, padding: Padding) -> bool {
        let Some(hash) = hash else { return false };
        let salted = match padding {
            Padding::Pss(Salt::Bytes(bytes)) => bytes == hash.len(),
            Padding::Pss(Salt::Any | Salt::Hash) | Padding::Pkcs1 => true,
        };
        salted && encodings(hash).is_some()
    }

    /// Whether `signature` is one of the hash `sum`.
    pub fn verify(&self, hash: Option<Hash>, sum: &[u8], padding: Padding, signature: &[u8]) -> bool {
        let number = BigUint::from_bytes_be(signature);
        if signature.len() != self.len || number >= self.modulus || hash.is_some_and(|hash| sum.len() != hash.len()) {
            return false;
        }
        let opened = number.modpow(&self.exponent, &self.modulus).to_bytes_be();
        let mut message = vec![0; self.len.saturating_sub(opened.len())];
        message.extend_from_slice(&opened);
        match (padding, hash) {
            (Padding::Pkcs1, hash) => is_pkcs1(&message, hash.map_or(&[], Hash::info), sum),
            (Padding::Pss(salt), Some(hash)) => is_pss(&message, hash, sum, salt),
            (Padding::Pss(_), None) => false,
        }
    }
}

type Encodings = (&'static digest::Algorithm, &'static RsaSignatureEncoding, &'static RsaSignatureEncoding);

const fn encodings(hash: Hash) -> Option<Encodings> {
    match hash {
        Hash::Sha256 => Some((&digest::SHA256, &signature::RSA_PKCS1_SHA256, &signature::RSA_PSS_SHA256)),
        Hash::Sha384 => Some((&digest::SHA384, &signature::RSA_PKCS1_SHA384, &signature::RSA_PSS_SHA384)),
        Hash::Sha512 => Some((&digest::SHA512, &signature::RSA_PKCS1_SHA512, &signature::RSA_PSS_SHA512)),
        _ => None,
    }
}

/// RFC 8017, section 9.2.
fn is_pkcs1(message: &[u8], info: &[u8], sum: &[u8]) -> bool {
    let Some(fill) = message.len().checked_sub(info.len() + sum.len() + 3).filter(|fill| *fill >= 8) else {
        return false;
    };
    let mut expected = vec![0, 1];
    expected.resize(2 + fill, 0xff);
    expected.push(0);
    expected.extend_from_slice(info);
    expected.extend_from_slice(sum);
    expected == message
}

/// RFC 8017, section 9.1.2; a modulus has a whole number of bytes here.
fn is_pss(message: &[u8], hash: Hash, sum: &[u8], salt: Salt) -> bool {
    let Some((&0xbc, body)) = message.split_last() else { return false };
    let Some(at) = body.len().checked_sub(hash.len()) else { return false };
    let (masked, inner) = body.split_at(at);
    if masked.first().is_none_or(|byte| byte & 0x80 != 0) {
        return false;
    }
    let mut block: Vec<u8> = masked.iter().zip(mask(hash, inner, masked.len())).map(|(a, b)| a ^ b).collect();
    if let Some(first) = block.first_mut() {
        *first &= 0x7f;
    }
    let zeros = block.iter().take_while(|byte| **byte == 0).count();
    let Some((&1, salted)) = block.get(zeros..).and_then(<[u8]>::split_first) else { return false };
    let long_enough = match salt {
        Salt::Any => true,
        Salt::Hash => salted.len() == hash.len(),
        Salt::Bytes(bytes) => salted.len() == bytes,
    };
    long_enough && hash.of(&[&[0; 8], sum, salted].concat()) == inner
}

/// MGF1 (RFC 8017, appendix B.2.1).
fn mask(hash: Hash, seed: &[u8], len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + hash.len());
    for counter in 0_u32.. {
        if out.len() >= len {
            break;
        }
        out.extend_from_slice(&hash.of(&[seed, &counter.to_be_bytes()].concat()));
    }
    out.truncate(len);
    out
}
