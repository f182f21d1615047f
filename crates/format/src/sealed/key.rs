//! Public and private keys of both algorithms.
//!
//! Files are PEM: `RSA PRIVATE KEY` (PKCS#1, as sealed-secrets writes `tls.key`) and `PRIVATE KEY` (PKCS#8) for private keys;
//! a certificate, or for hybrid keys `PUBLIC KEY` (`SubjectPublicKeyInfo`), for public ones. Hybrid keys have the object identifier of
//! draft-connolly-cfrg-xwing-kem, `1.3.6.1.4.1.62253.25722`, without parameters; the private key is the 32-byte seed itself.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bulla_core::SecretBytes;
use pkcs8::der::{Decode, Encode};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use pkcs8::{ObjectIdentifier, PrivateKeyInfo};
use sha2::{Digest, Sha256};

use super::rsa::{RsaPrivate, RsaPublic, RsaSize};
use super::{KeyError, pem};

const RSA_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const XWING_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.62253.25722");

/// How values are sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSA-OAEP and AES-256-GCM, as sealed-secrets does. The default: every controller opens it.
    #[default]
    Rsa,
    /// X25519 and ML-KEM-768 together. Only bulla opens it.
    Hybrid,
}

impl Algorithm {
    /// The name on the command line and in resources.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-4096",
            Self::Hybrid => "x25519-mlkem768",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Rsa, Self::Hybrid]
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or_else(|| format!("{text:?} is no algorithm: rsa-4096 or x25519-mlkem768"))
    }
}

/// SHA-256 of a public key's `SubjectPublicKeyInfo` in DER. Says which key it is; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What a hybrid value carries: the first 16 bytes.
    pub(super) fn key_id(&self) -> &[u8] {
        &self.0[..16]
    }

    fn of(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a fingerprint is 64 hexadecimal digits";
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(WRONG);
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| WRONG)?;
        }
        Ok(Self(bytes))
    }
}

/// A key that anyone may seal to.
#[derive(Clone)]
pub struct PublicKey {
    pub(super) inner: Public,
    spki: Vec<u8>,
}

#[derive(Clone)]
pub(super) enum Public {
    Rsa(RsaPublic),
    Hybrid(Box<bulla_hybrid::PublicKey>),
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo` in DER.
    ///
    /// # Errors
    /// [`KeyError::Kind`], [`KeyError::Rsa`], [`KeyError::Hybrid`].
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let info =
            SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyError::Kind("an unknown algorithm".to_owned()))?;
        let inner = match info.algorithm.oid {
            RSA_OID => Public::Rsa(RsaPublic::from_spki(der, info.subject_public_key.raw_bytes())?),
            XWING_OID => {
                let key = bulla_hybrid::PublicKey::from_bytes(info.subject_public_key.raw_bytes());
                let key = Self::hybrid(key.map_err(|_| KeyError::Hybrid)?)?;
                // Values carry the fingerprint, which is that of these bytes: spelled otherwise, no key would be found for them.
                return if key.spki == der { Ok(key) } else { Err(KeyError::Hybrid) };
            }
            other => return Err(KeyError::Kind(kind(other))),
        };
        Ok(Self { inner, spki: der.to_vec() })
    }

    /// Reads a hybrid key from PEM, `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyError::NotACertificate`] for an RSA key: those come as certificates, which end. Others as [`from_spki`](Self::from_spki).
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let Some(block) = pem::blocks(text).find(|block| block.label == "PUBLIC KEY") else {
            return Err(if pem::blocks(text).any(|block| block.label == "RSA PUBLIC KEY") {
                KeyError::NotACertificate
            } else {
                KeyError::Missing("public key")
            });
        };
        let key = Self::from_spki(block.bytes.expose())?;
        if key.algorithm() == Algorithm::Rsa { Err(KeyError::NotACertificate) } else { Ok(key) }
    }

    /// PEM, `PUBLIC KEY`.
    pub fn to_pem(&self) -> String {
        String::from_utf8_lossy(pem::encode("PUBLIC KEY", &self.spki).expose()).into_owned()
    }

    /// The `SubjectPublicKeyInfo` in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// How values are sealed to it.
    pub const fn algorithm(&self) -> Algorithm {
        match self.inner {
            Public::Rsa(_) => Algorithm::Rsa,
            Public::Hybrid(_) => Algorithm::Hybrid,
        }
    }

    /// The size of an RSA key in bits; `None` for a hybrid key.
    pub fn rsa_bits(&self) -> Option<usize> {
        let Public::Rsa(key) = &self.inner else { return None };
        // The modulus has no zero bytes in front, and a key's first bit is set.
        key.modulus().first().map(|first| key.modulus().len() * 8 - first.leading_zeros() as usize)
    }

    /// Which key it is.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.spki)
    }

    /// The fingerprint as sealed-secrets prints it: `SHA256:` and base64 over the SSH form (RFC 4253) of an RSA key.
    pub fn ssh_fingerprint(&self) -> Option<String> {
        let Public::Rsa(key) = &self.inner else { return None };
        let mut wire = Vec::with_capacity(key.modulus().len() + 32);
        // An mpint has a zero byte in front where its first bit would say negative.
        for field in [b"ssh-rsa".as_slice(), key.exponent(), key.modulus()] {
            let padded = field.first().is_some_and(|byte| *byte >= 0x80);
            wire.extend_from_slice(&u32::try_from(field.len() + usize::from(padded)).ok()?.to_be_bytes());
            wire.extend_from_slice(if padded { &[0] } else { &[] });
            wire.extend_from_slice(field);
        }
        Some(format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(Sha256::digest(wire))))
    }

    fn hybrid(key: bulla_hybrid::PublicKey) -> Result<Self, KeyError> {
        let bytes = key.to_bytes();
        let info = SubjectPublicKeyInfoRef {
            algorithm: AlgorithmIdentifierRef { oid: XWING_OID, parameters: None },
            subject_public_key: pkcs8::der::asn1::BitStringRef::from_bytes(&bytes).map_err(|_| KeyError::Hybrid)?,
        };
        let spki = info.to_der().map_err(|_| KeyError::Hybrid)?;
        Ok(Self { inner: Public::Hybrid(Box::new(key)), spki })
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm(), self.fingerprint())
    }
}

/// A key that opens what was sealed to its public key.
#[derive(Clone)]
pub struct PrivateKey {
    pub(super) inner: Private,
    public: PublicKey,
    fingerprint: Fingerprint,
}

#[derive(Clone)]
pub(super) enum Private {
    Rsa(RsaPrivate),
    Hybrid(bulla_hybrid::PrivateKey),
}

impl PrivateKey {
    /// A fresh key. RSA keys have 4096 bits: some seconds of work.
    ///
    /// # Errors
    /// [`KeyError::Make`].
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::Rsa => Self::generate_rsa(RsaSize::Bits4096),
            Algorithm::Hybrid => Self::hybrid(bulla_hybrid::PrivateKey::generate().map_err(|_| KeyError::Make)?),
        }
    }

    /// A fresh RSA key of another size, as sealed-secrets' `--key-size` asks for.
    ///
    /// # Errors
    /// [`KeyError::Make`].
    pub fn generate_rsa(size: RsaSize) -> Result<Self, KeyError> {
        Self::rsa(RsaPrivate::generate(size)?)
    }

    /// Every private key in PEM text, in order: PKCS#1 and PKCS#8. Blocks of other kinds are skipped.
    ///
    /// # Errors
    /// [`KeyError::Missing`] when there is none; [`KeyError::Encrypted`], [`KeyError::Kind`], or what is wrong with a key.
    pub fn from_pem(text: &[u8]) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        for block in pem::blocks(text) {
            match block.label {
                "RSA PRIVATE KEY" if block.has_headers => return Err(KeyError::Encrypted),
                "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
                "RSA PRIVATE KEY" => keys.push(Self::rsa(RsaPrivate::from_pkcs1(block.bytes.expose())?)?),
                "PRIVATE KEY" => keys.push(Self::from_pkcs8(block.bytes.expose())?),
                "EC PRIVATE KEY" => return Err(KeyError::Kind("elliptic curves".to_owned())),
                _ => {}
            }
        }
        if keys.is_empty() { Err(KeyError::Missing("private key")) } else { Ok(keys) }
    }

    /// Reads PKCS#8 in DER.
    ///
    /// # Errors
    /// [`KeyError::Kind`], [`KeyError::Rsa`], [`KeyError::Hybrid`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfo::from_der(der).map_err(|_| KeyError::Kind("an unknown algorithm".to_owned()))?;
        match info.algorithm.oid {
            RSA_OID => Self::rsa(RsaPrivate::from_pkcs1(info.private_key)?),
            XWING_OID => {
                Self::hybrid(bulla_hybrid::PrivateKey::from_bytes(info.private_key).map_err(|_| KeyError::Hybrid)?)
            }
            other => Err(KeyError::Kind(kind(other))),
        }
    }

    /// PKCS#8 in DER, for wrapping.
    pub fn to_pkcs8(&self) -> Result<SecretBytes, KeyError> {
        match &self.inner {
            Private::Rsa(key) => key.to_pkcs8(),
            Private::Hybrid(key) => pkcs8(XWING_OID, key.seed().expose()),
        }
    }

    /// PEM: PKCS#1 for RSA, which old controllers and `kubeseal --recovery-private-key` read; PKCS#8 for hybrid keys.
    pub fn to_pem(&self) -> Result<SecretBytes, KeyError> {
        let der = self.to_pkcs8()?;
        Ok(match &self.inner {
            Private::Rsa(_) => {
                let info = PrivateKeyInfo::from_der(der.expose()).map_err(|_| KeyError::Rsa)?;
                pem::encode("RSA PRIVATE KEY", info.private_key)
            }
            Private::Hybrid(_) => pem::encode("PRIVATE KEY", der.expose()),
        })
    }

    /// The public key that belongs to it.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// How values are sealed to it.
    pub const fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// Which key it is: its public key's fingerprint.
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    fn rsa(key: RsaPrivate) -> Result<Self, KeyError> {
        Ok(Self::from_parts(PublicKey::from_spki(&key.spki()?)?, Private::Rsa(key)))
    }

    fn hybrid(key: bulla_hybrid::PrivateKey) -> Result<Self, KeyError> {
        Ok(Self::from_parts(PublicKey::hybrid(key.public_key())?, Private::Hybrid(key)))
    }

    fn from_parts(public: PublicKey, inner: Private) -> Self {
        let fingerprint = public.fingerprint();
        Self { inner, public, fingerprint }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({} {})", self.algorithm(), self.fingerprint)
    }
}

/// A key's bytes as PKCS#8.
pub(super) fn rsa_pkcs8(pkcs1: &[u8]) -> Result<SecretBytes, KeyError> {
    pkcs8(RSA_OID, pkcs1)
}

fn pkcs8(oid: ObjectIdentifier, key: &[u8]) -> Result<SecretBytes, KeyError> {
    // RSA's algorithm has parameters, that are null; the hybrid's has none.
    let parameters = (oid == RSA_OID).then_some(pkcs8::der::AnyRef::NULL);
    let info = PrivateKeyInfo::new(AlgorithmIdentifierRef { oid, parameters }, key);
    let too_long = |_| KeyError::Rsa;
    let mut out =
        SecretBytes::zeroed(usize::try_from(info.encoded_len().map_err(too_long)?).map_err(|_| KeyError::Rsa)?);
    info.encode_to_slice(out.expose_mut()).map_err(too_long)?;
    Ok(out)
}

/// What a person calls an algorithm.
fn kind(oid: ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.2.840.10045.2.1" => "elliptic curves".to_owned(),
        "1.3.101.112" => "Ed25519".to_owned(),
        other => format!("the algorithm {other}"),
    }
}
