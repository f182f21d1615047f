//! One encrypted value: `ENC[AES256_GCM,data:B64,iv:B64,tag:B64,type:T]`.
//!
//! ```text
//! value = "ENC[AES256_GCM,data:" base64 ",iv:" base64 ",tag:" base64 ",type:" type "]" *rest
//! type  = "str" / "int" / "float" / "bool" / "time" / "bytes" / "comment"
//! ```
//! Base64 is the standard alphabet with padding. AES-256-GCM with the raw data key; the tag has 16 bytes, the IV 32 (so that the
//! first counter block is a GHASH of it). Files from before 1.0 have IVs of 12 bytes; others are refused. What follows the last `]`
//! of the line is ignored, because sops' own pattern ignores it.
//!
//! The associated data is the path: each key and a `:`, list indexes left out, a lone `:` at the top. It is ambiguous (the key `a:b` is
//! the path `a`, `b`), and the type is not bound at all: see [`super::mac`].
//!
//! Source: <https://github.com/getsops/sops/blob/v3.13.3/aes/cipher.go>.

use aes_gcm::aead::array::ArraySize;
use aes_gcm::aead::consts::{U12, U16, U32};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes256;
use aes_gcm::{AeadInOut, AesGcm, KeyInit, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use bulla_core::{DataKey, SecretBytes};

/// The length of the IVs that are written.
pub(super) const IV_LEN: usize = 32;
/// An IV as it is written.
pub(super) type Iv = [u8; IV_LEN];

const PREFIX: &[u8] = b"ENC[AES256_GCM,data:";

/// Strict, unlike Go's decoder: no second text stands for the same bytes.
const BASE64: GeneralPurpose = base64::engine::general_purpose::STANDARD;

/// The type that stands in an encrypted value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueType {
    Str,
    Int,
    Float,
    Bool,
    Time,
    Bytes,
    Comment,
}

impl ValueType {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Str => "str",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Time => "time",
            Self::Bytes => "bytes",
            Self::Comment => "comment",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Str, Self::Int, Self::Float, Self::Bool, Self::Time, Self::Bytes, Self::Comment]
            .into_iter()
            .find(|value_type| value_type.name().as_bytes() == name)
    }
}

/// An encrypted value, taken apart; not decrypted yet.
#[derive(Debug)]
pub(super) struct Sealed<'a> {
    data: &'a [u8],
    iv: [u8; IV_LEN],
    iv_len: usize,
    tag: [u8; 16],
    /// Its type, which nothing but bulla's own MAC binds.
    pub(super) value_type: ValueType,
}

/// Whether a text claims to be an encrypted value.
pub(super) fn looks_sealed(text: &[u8]) -> bool {
    text.starts_with(PREFIX)
}

/// Whether a text is an encrypted comment; what sops makes of a comment in a list.
pub(super) fn is_sealed_comment(text: &[u8]) -> bool {
    looks_sealed(text) && Sealed::parse(text).is_ok_and(|sealed| sealed.value_type == ValueType::Comment)
}

impl<'a> Sealed<'a> {
    /// Takes an `ENC[…]` text apart.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, &'static str> {
        const FORM: &str = "it is not of the form ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]";
        let text = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let rest = text.strip_prefix(PREFIX).ok_or(FORM)?;
        let (data, rest) = split_at_field(rest, b",iv:").ok_or(FORM)?;
        let (iv_text, rest) = split_at_field(rest, b",tag:").ok_or(FORM)?;
        let (tag_text, rest) = split_at_field(rest, b",type:").ok_or(FORM)?;
        let type_len = rest.iter().rposition(|&byte| byte == b']').ok_or(FORM)?;
        let value_type = ValueType::from_name(&rest[..type_len]).ok_or("its type is not known")?;

        // An IV of more than 32 bytes does not fit, which is an error as well.
        let mut iv = [0; IV_LEN];
        let iv_len = BASE64.decode_slice(iv_text, &mut iv).map_err(|_| "its IV is not base64 of 12, 16 or 32 bytes")?;
        let mut tag = [0; 16];
        let tag_len = BASE64.decode_slice(tag_text, &mut tag).map_err(|_| "its tag is not base64 of 16 bytes")?;
        if tag_len != tag.len() {
            return Err("its tag is not base64 of 16 bytes");
        }
        Ok(Self { data, iv, iv_len, tag, value_type })
    }

    /// The IV, if it is of the length that is written.
    pub(super) fn iv(&self) -> Option<&Iv> {
        (self.iv_len == IV_LEN).then_some(&self.iv)
    }
}

/// A data key, ready to encrypt and decrypt values.
pub(super) struct Cipher {
    aes: Aes256,
    gcm: AesGcm<Aes256, U32>,
    /// Ciphertext before it is base64.
    scratch: Vec<u8>,
    /// Random bytes taken from the system some at a time.
    random: Box<[u8; 4096]>,
    random_left: usize,
}

impl Cipher {
    pub(super) fn new(key: &DataKey) -> Self {
        let aes = Aes256::new(key.expose().into());
        Self { gcm: aes.clone().into(), aes, scratch: Vec::new(), random: Box::new([0; 4096]), random_left: 0 }
    }

    /// Another with the same key, for use while this one is borrowed.
    pub(super) fn clone_for_sealing(&self) -> Self {
        let (aes, gcm) = (self.aes.clone(), self.gcm.clone());
        Self { aes, gcm, scratch: Vec::new(), random: Box::new([0; 4096]), random_left: 0 }
    }

    /// A fresh IV.
    pub(super) fn fresh_iv(&mut self) -> Result<Iv, getrandom::Error> {
        if self.random_left < IV_LEN {
            getrandom::fill(&mut self.random[..])?;
            self.random_left = self.random.len();
        }
        self.random_left -= IV_LEN;
        let mut iv = [0; IV_LEN];
        iv.copy_from_slice(&self.random[self.random_left..self.random_left + IV_LEN]);
        Ok(iv)
    }

    /// Appends the encrypted form of `plain` to `out`.
    pub(super) fn seal(
        &mut self,
        plain: &[u8],
        value_type: ValueType,
        associated: &[u8],
        iv: &Iv,
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        self.scratch.clear();
        self.scratch.resize(plain.len(), 0);
        let buffer = InOutBuf::new(plain, &mut self.scratch).map_err(|_| TOO_LONG)?;
        let tag = self.gcm.encrypt_inout_detached(iv.into(), associated, buffer).map_err(|_| TOO_LONG)?;
        out.extend_from_slice(PREFIX);
        push_base64(out, &self.scratch);
        push_trailer(out, iv, &tag, value_type);
        Ok(())
    }

    /// Encrypts `plain` where it stands and appends the encrypted form to `out`. For values of many megabytes.
    pub(super) fn seal_in_place(
        &self,
        plain: &mut [u8],
        value_type: ValueType,
        associated: &[u8],
        iv: &Iv,
        out: &mut SecretBytes,
    ) -> Result<(), &'static str> {
        let tag = self.gcm.encrypt_inout_detached(iv.into(), associated, (&mut *plain).into()).map_err(|_| TOO_LONG)?;
        out.extend_from_slice(PREFIX);
        let start = out.len();
        let len = base64::encoded_len(plain.len(), true).ok_or(TOO_LONG)?;
        out.resize(start + len);
        BASE64.encode_slice(&*plain, &mut out.expose_mut()[start..]).map_err(|_| TOO_LONG)?;
        let mut trailer = Vec::with_capacity(128);
        push_trailer(&mut trailer, iv, &tag, value_type);
        out.extend_from_slice(&trailer);
        Ok(())
    }

    /// Decrypts into `plain`, whose contents are replaced.
    ///
    /// # Errors
    /// What is wrong with the value, as the end of a sentence. `plain` holds nothing of use then.
    pub(super) fn open(
        &self,
        sealed: &Sealed<'_>,
        associated: &[u8],
        plain: &mut SecretBytes,
    ) -> Result<(), &'static str> {
        plain.resize(base64::decoded_len_estimate(sealed.data.len()));
        let len = BASE64.decode_slice(sealed.data, plain.expose_mut()).map_err(|_| "its data is not base64")?;
        plain.truncate(len);
        let buffer = plain.expose_mut();
        match sealed.iv_len {
            32 => open_with(&self.gcm, sealed, associated, buffer),
            12 => open_with(&AesGcm::<_, U12>::from(self.aes.clone()), sealed, associated, buffer),
            16 => open_with(&AesGcm::<_, U16>::from(self.aes.clone()), sealed, associated, buffer),
            _ => Err("its IV has neither 12, 16 nor 32 bytes"),
        }
    }
}

const TOO_LONG: &str = "it is too long";

fn open_with<N: ArraySize>(
    gcm: &AesGcm<Aes256, N>,
    sealed: &Sealed<'_>,
    associated: &[u8],
    buffer: &mut [u8],
) -> Result<(), &'static str> {
    let iv: &Nonce<N> = sealed.iv[..sealed.iv_len].try_into().map_err(|_| "its IV has a wrong length")?;
    let tag: &Tag = (&sealed.tag).into();
    gcm.decrypt_inout_detached(iv, associated, buffer.into(), tag)
        .map_err(|_| "it was changed, moved here from elsewhere, or encrypted with another data key")
}

/// `text` before and after the first `field`. Base64 has no comma, so the first is the only one that can be right.
fn split_at_field<'a>(text: &'a [u8], field: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let comma = text.iter().position(|&byte| byte == b',')?;
    let rest = text[comma..].strip_prefix(field)?;
    // sops asks for at least one character in each field.
    (comma > 0).then_some((&text[..comma], rest))
}

fn push_trailer(out: &mut Vec<u8>, iv: &Iv, tag: &[u8], value_type: ValueType) {
    out.extend_from_slice(b",iv:");
    push_base64(out, iv);
    out.extend_from_slice(b",tag:");
    push_base64(out, tag);
    out.extend_from_slice(b",type:");
    out.extend_from_slice(value_type.name().as_bytes());
    out.push(b']');
}

fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let len = base64::encoded_len(bytes.len(), true).unwrap_or_default();
    out.resize(start + len, 0);
    // The room is exactly what the encoder asks for, so it always fits.
    let written = BASE64.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key(byte: u8) -> DataKey {
        DataKey::from_bytes(SecretBytes::from([byte; 32].as_slice())).unwrap()
    }

    fn seal(plain: &[u8], associated: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Cipher::new(&key(7)).seal(plain, ValueType::Str, associated, &[9; 32], &mut out).unwrap();
        out
    }

    fn open(text: &[u8], associated: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut plain = SecretBytes::new();
        Cipher::new(&key(7)).open(&Sealed::parse(text)?, associated, &mut plain)?;
        Ok(plain.expose().to_vec())
    }

    #[test]
    fn what_is_sealed_opens_at_its_own_place_only() {
        let text = seal(b"secret", b"a:b:");
        assert_eq!(open(&text, b"a:b:").unwrap(), b"secret");
        assert!(open(&text, b"a:c:").unwrap_err().contains("moved"));
    }

    #[test]
    fn both_ways_to_seal_give_the_same_text() {
        let mut plain = *b"some binary \x00\xff";
        let mut out = SecretBytes::new();
        let text = seal(&plain, b"data:");
        Cipher::new(&key(7)).seal_in_place(&mut plain, ValueType::Str, b"data:", &[9; 32], &mut out).unwrap();
        assert_eq!(out.expose(), text);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let text = seal(b"secret", b"a:");
        for position in 0..text.len() {
            let mut damaged = text.clone();
            damaged[position] ^= 1;
            // The type is not authenticated by the cipher (the MACs are there for that); a damaged one is unknown here.
            assert!(open(&damaged, b"a:").is_err(), "byte {position} flipped passes");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let text = seal(b"secret", b"a:");
        for len in 0..text.len() {
            assert!(open(&text[..len], b"a:").is_err());
        }
    }

    #[test]
    fn junk_after_the_bracket_is_ignored_as_sops_does() {
        let mut text = seal(b"secret", b"a:");
        text.extend_from_slice(b" junk\n]more");
        assert_eq!(open(&text, b"a:").unwrap(), b"secret");
    }

    // Made with Go's cipher.NewGCMWithNonceSize: key 32 × 7, IV n × 9, associated data "a:".
    #[test]
    fn ivs_of_12_16_and_32_bytes_open_and_others_say_so() {
        for text in [
            "ENC[AES256_GCM,data:VODn5tuE,iv:CQkJCQkJCQkJCQkJ,tag:rM/9ciyXKsm5qEBQeK4e/A==,type:str]",
            "ENC[AES256_GCM,data:se/uRwoC,iv:CQkJCQkJCQkJCQkJCQkJCQ==,tag:xRgutOnwfTBbUYC2uWBjaQ==,type:str]",
            "ENC[AES256_GCM,data:9LWEq8ut,iv:CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=,tag:Node2Xy4JAs24WQNwbNNWw==,type:str]",
        ] {
            assert_eq!(open(text.as_bytes(), b"a:").unwrap(), b"secret");
        }
        let text = "ENC[AES256_GCM,data:fNQq0FbX,iv:CQkJCQkJCQkJCQkJCQ==,tag:HJ0SF6fkCHpDkCWc3J8ANg==,type:str]";
        assert!(open(text.as_bytes(), b"a:").unwrap_err().contains("IV"));
    }

    #[test]
    fn fresh_ivs_never_repeat() {
        let mut cipher = Cipher::new(&key(1));
        let ivs: std::collections::HashSet<Iv> = (0..1000).map(|_| cipher.fresh_iv().unwrap()).collect();
        assert_eq!(ivs.len(), 1000);
    }

    #[test]
    fn an_unknown_type_is_an_error() {
        let text = String::from_utf8(seal(b"x", b"a:")).unwrap().replace("type:str", "type:map");
        assert_eq!(open(text.as_bytes(), b"a:").unwrap_err(), "its type is not known");
    }
}
