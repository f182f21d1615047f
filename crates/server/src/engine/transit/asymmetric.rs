//! Key pairs: made, read, and set up once for signing, verifying, encrypting and decrypting.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::encoding::{AsBigEndian, AsDer, EcPrivateKeyBin, EcPrivateKeyRfc5915Der, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, Ed25519KeyPair, KeyPair as _,
    ParsedPublicKey,
};
use zeroize::Zeroizing;

use super::encoding::{der_integer, der_read, der_write, without_zeros};
use super::policy::{KeyType, Secret, Version};

/// A private key in DER.
pub type Der = Zeroizing<Vec<u8>>;

/// A curve of ECDSA.
#[derive(Clone, Copy)]
pub struct Curve {
    signing: &'static EcdsaSigningAlgorithm,
    verifying: &'static EcdsaVerificationAlgorithm,
    digest: &'static digest::Algorithm,
    /// Bytes of a number of the curve.
    pub len: usize,
    /// Its object identifier, in DER.
    oid: &'static [u8],
    /// As the peer names it.
    pub name: &'static str,
}

const P256: Curve = Curve {
    signing: &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
    verifying: &signature::ECDSA_P256_SHA256_ASN1,
    digest: &digest::SHA256,
    len: 32,
    oid: &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
    name: "P-256",
};
const P384: Curve = Curve {
    signing: &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
    verifying: &signature::ECDSA_P384_SHA384_ASN1,
    digest: &digest::SHA384,
    len: 48,
    oid: &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
    name: "P-384",
};
const P521: Curve = Curve {
    signing: &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
    verifying: &signature::ECDSA_P521_SHA512_ASN1,
    digest: &digest::SHA512,
    len: 66,
    oid: &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23],
    name: "P-521",
};

impl Curve {
    /// The curve of a type of key.
    pub const fn of(kind: KeyType) -> Option<Self> {
        match kind {
            KeyType::P256 => Some(P256),
            KeyType::P384 => Some(P384),
            KeyType::P521 => Some(P521),
            _ => None,
        }
    }

    /// A hash of any kind as the number that is signed (FIPS 186-5, section 6.4.1), in the length that the library wants: what is too long is
    /// cut at its end, what is too short gets zeros before it. `None` if it is longer than that can say.
    fn digest(self, hash: &[u8]) -> Option<Digest> {
        let most = self.digest.output_len();
        // Only of P-521 a number is longer than its hash.
        if hash.len() > most && self.len > most {
            return None;
        }
        let hash = hash.get(..most).unwrap_or(hash);
        let mut padded = [0; digest::MAX_OUTPUT_LEN];
        let padded = padded.get_mut(..most)?;
        padded.get_mut(most - hash.len()..)?.copy_from_slice(hash);
        Digest::import_less_safe(padded, self.digest).ok()
    }

    /// The public key as a `SubjectPublicKeyInfo`.
    pub fn public_info(self, point: &[u8]) -> Vec<u8> {
        // id-ecPublicKey.
        let algorithm = [&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01], self.oid].concat();
        info(&algorithm, point)
    }
}

/// A `SubjectPublicKeyInfo` (RFC 5280) of an algorithm, in DER, and a key.
fn info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let mut inner = Vec::new();
    der_write(0x30, algorithm, &mut inner);
    der_write(0x03, &[&[0], key].concat(), &mut inner);
    let mut out = Vec::new();
    der_write(0x30, &inner, &mut out);
    out
}

/// The public key of Ed25519 as a `SubjectPublicKeyInfo` (RFC 8410).
pub fn ed25519_public_info(public: &[u8]) -> Vec<u8> {
    info(&[0x06, 0x03, 0x2b, 0x65, 0x70], public)
}

/// The private key of Ed25519 as PKCS #8 (RFC 8410), from its seed.
pub fn ed25519_pkcs8(seed: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::new());
    der_write(0x04, seed, &mut key);
    let mut inner = Zeroizing::new(vec![0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70]);
    der_write(0x04, &key, &mut inner);
    let mut out = Zeroizing::new(Vec::new());
    der_write(0x30, &inner, &mut out);
    out
}

/// A key pair of ECDSA, or its public half.
pub struct Ecdsa {
    curve: Curve,
    pair: Option<EcdsaKeyPair>,
    public: ParsedPublicKey,
}

impl Ecdsa {
    /// Sets up what is stored.
    pub fn new(curve: Curve, version: &Version) -> Option<Self> {
        let (key, public) = (version.key.expose(), version.public.expose());
        let pair = if key.is_empty() {
            None
        } else {
            Some(EcdsaKeyPair::from_private_key_and_public_key(curve.signing, key, public).ok()?)
        };
        Some(Self { curve, pair, public: ParsedPublicKey::new(curve.verifying, public).ok()? })
    }

    /// A new pair.
    pub fn generate(curve: Curve) -> Option<Version> {
        Self::stored(&EcdsaKeyPair::generate(curve.signing).ok()?)
    }

    /// From the scalar and the point's numbers, big-endian.
    pub fn from_numbers(curve: Curve, scalar: Option<&[u8]>, x: &[u8], y: &[u8]) -> Option<Version> {
        let fixed = |number: &[u8]| -> Option<Zeroizing<Vec<u8>>> {
            let number = without_zeros(number);
            let mut out = Zeroizing::new(vec![0; curve.len.checked_sub(number.len())?]);
            out.extend_from_slice(number);
            Some(out)
        };
        let (x, y) = (fixed(x)?, fixed(y)?);
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        let version = Version {
            key: match scalar {
                Some(scalar) => Secret::from(fixed(scalar)?),
                None => Secret::default(),
            },
            public: Secret::from(&point[..]),
            ..Version::default()
        };
        Self::new(curve, &version).map(|_| version)
    }

    /// From PKCS #8.
    pub fn from_pkcs8(curve: Curve, pkcs8: &[u8]) -> Option<Version> {
        Self::stored(&EcdsaKeyPair::from_pkcs8(curve.signing, pkcs8).ok()?)
    }

    /// The public half alone, from a `SubjectPublicKeyInfo`.
    pub fn from_public_info(curve: Curve, info: &[u8]) -> Option<Version> {
        let (inner, _) = der_read(0x30, info)?;
        let (algorithm, key) = der_read(0x30, inner)?;
        let (bits, _) = der_read(0x03, key)?;
        if !algorithm.ends_with(curve.oid) {
            return None;
        }
        let public = Secret::from(bits.get(1..)?);
        // Uncompressed: what is stored and shown is its two numbers.
        if public.expose().first() != Some(&4) || public.expose().len() != 1 + 2 * curve.len {
            return None;
        }
        let version = Version { public, ..Version::default() };
        Self::new(curve, &version).map(|_| version)
    }

    fn stored(pair: &EcdsaKeyPair) -> Option<Version> {
        let scalar: EcPrivateKeyBin<'_> = pair.private_key().as_be_bytes().ok()?;
        Some(Version {
            key: Secret::from(scalar.as_ref()),
            public: Secret::from(pair.public_key().as_ref()),
            ..Version::default()
        })
    }

    /// Signs a hash: `r` and `s` in ASN.1. `Err` if there is no private key.
    pub fn sign(&self, hash: &[u8]) -> Result<Vec<u8>, &'static str> {
        let pair = self.pair.as_ref().ok_or("there is no private key")?;
        let digest = self.curve.digest(hash).ok_or("a hash for this key has at most 64 bytes")?;
        Ok(pair.sign_digest(&digest).map_err(|_| "the signature failed")?.as_ref().to_vec())
    }

    /// Whether `r` and `s`, big-endian, are a signature of a hash.
    pub fn verify(&self, hash: &[u8], r: &[u8], s: &[u8]) -> bool {
        let (r, s) = (without_zeros(r), without_zeros(s));
        if r.len() > self.curve.len || s.len() > self.curve.len || r.is_empty() || s.is_empty() {
            return false;
        }
        let Some(digest) = self.curve.digest(hash) else { return false };
        let mut inner = Vec::new();
        der_integer(r, &mut inner);
        der_integer(s, &mut inner);
        let mut signature = Vec::new();
        der_write(0x30, &inner, &mut signature);
        self.public.verify_digest_sig(&digest, &signature).is_ok()
    }

    /// An ASN.1 signature as JWS has it: the two numbers in full length.
    pub fn to_jws(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let (r, s) = read_signature(signature)?.ok()?;
        let mut fixed = vec![0; 2 * self.curve.len];
        let (first, last) = fixed.split_at_mut_checked(self.curve.len)?;
        for (to, number) in [(first, r), (last, s)] {
            let number = without_zeros(number);
            to.get_mut(self.curve.len.checked_sub(number.len())?..)?.copy_from_slice(number);
        }
        Some(fixed)
    }

    /// The private key in the forms of RFC 5915 and PKCS #8.
    pub fn private_ders(&self) -> Option<(Der, Der)> {
        let pair = self.pair.as_ref()?;
        let own: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der().ok()?;
        let pkcs8 = pair.to_pkcs8v1().ok()?;
        Some((Zeroizing::new(own.as_ref().to_vec()), Zeroizing::new(pkcs8.as_ref().to_vec())))
    }
}

/// The two numbers of a signature, big-endian.
pub type Numbers<'s> = (&'s [u8], &'s [u8]);

/// Reads an ASN.1 signature. `None` if it cannot be read.
pub fn read_signature(signature: &[u8]) -> Option<Result<Numbers<'_>, Odd>> {
    let (inner, rest) = der_read(0x30, signature)?;
    let (r, inner) = der_read(0x02, inner)?;
    let (s, inner) = der_read(0x02, inner)?;
    let minimal = |number: &[u8]| match number {
        [] => false,
        [0, next, ..] => next & 0x80 != 0,
        [0xff, next, ..] => next & 0x80 == 0,
        _ => true,
    };
    if !inner.is_empty() || !minimal(r) || !minimal(s) {
        return None;
    }
    if !rest.is_empty() {
        return Some(Err(Odd::More));
    }
    let negative = |number: &[u8]| number.first().is_some_and(|byte| byte & 0x80 != 0);
    Some(if negative(r) || negative(s) { Err(Odd::Negative) } else { Ok((r, s)) })
}

/// What is wrong with a signature that can be read.
#[derive(Debug, PartialEq, Eq)]
pub enum Odd {
    /// Something follows it.
    More,
    /// A number is negative.
    Negative,
}

/// A new pair of Ed25519.
pub fn ed25519_generate() -> Result<Version, getrandom::Error> {
    let seed = Secret::random(32)?;
    Ok(ed25519_from_seed(seed.expose()).unwrap_or_default())
}

/// A pair from its seed of 32 bytes.
pub fn ed25519_from_seed(seed: &[u8]) -> Option<Version> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    let mut key = Secret::from(seed);
    key.expose_mut().extend_from_slice(pair.public_key().as_ref());
    Some(Version { key, public: Secret::from(pair.public_key().as_ref()), ..Version::default() })
}

/// A pair from PKCS #8.
pub fn ed25519_from_pkcs8(pkcs8: &[u8]) -> Option<Version> {
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).ok()?;
    let seed = pair.seed().ok()?;
    ed25519_from_seed(seed.as_be_bytes().ok()?.as_ref())
}

/// How many bits the keys of a type have, and how they are made.
const fn rsa_size(kind: KeyType) -> Option<(usize, rsa::KeySize)> {
    match kind {
        KeyType::Rsa2048 => Some((2048, rsa::KeySize::Rsa2048)),
        KeyType::Rsa3072 => Some((3072, rsa::KeySize::Rsa3072)),
        KeyType::Rsa4096 => Some((4096, rsa::KeySize::Rsa4096)),
        _ => None,
    }
}

/// A new RSA key. Takes seconds.
pub fn rsa_generate(kind: KeyType) -> Option<Version> {
    rsa_stored(kind, &rsa::KeyPair::generate(rsa_size(kind)?.1).ok()?)
}

/// An RSA key from PKCS #8.
pub fn rsa_from_pkcs8(kind: KeyType, pkcs8: &[u8]) -> Option<Version> {
    rsa_stored(kind, &rsa::KeyPair::from_pkcs8(pkcs8).ok()?)
}

/// An RSA key from its numbers, in the order of PKCS #1: n, e, d, p, q, dp, dq, qinv.
pub fn rsa_from_numbers(kind: KeyType, numbers: &[Secret; 8]) -> Option<Version> {
    let mut inner = Zeroizing::new(Vec::with_capacity(4096));
    der_integer(&[0], &mut inner);
    for number in numbers {
        der_integer(number.expose(), &mut inner);
    }
    let mut der = Zeroizing::new(Vec::with_capacity(4096));
    der_write(0x30, &inner, &mut der);
    rsa_stored(kind, &rsa::KeyPair::from_der(&der).ok()?)
}

/// The public half of an RSA key, from a `SubjectPublicKeyInfo`.
pub fn rsa_from_public_info(kind: KeyType, info: &[u8]) -> Option<Version> {
    let key = rsa::PublicEncryptingKey::from_der(info).ok()?;
    (key.key_size_bits() == rsa_size(kind)?.0).then(|| Version { public: Secret::from(info), ..Version::default() })
}

fn rsa_stored(kind: KeyType, pair: &rsa::KeyPair) -> Option<Version> {
    if pair.public_modulus_len() * 8 != rsa_size(kind)?.0 {
        return None;
    }
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().ok()?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
    Some(Version { key: Secret::from(pkcs8.as_ref()), public: Secret::from(public.as_ref()), ..Version::default() })
}

/// PKCS #1 of an RSA key in PKCS #8.
pub fn rsa_pkcs1(pkcs8: &[u8]) -> Option<&[u8]> {
    let (inner, _) = der_read(0x30, pkcs8)?;
    let (_, inner) = der_read(0x02, inner)?;
    let (_, inner) = der_read(0x30, inner)?;
    Some(der_read(0x04, inner)?.0)
}

/// The numbers of an RSA key in PKCS #8: n, e, d, p, q, dp, dq, qinv.
pub fn rsa_numbers(pkcs8: &[u8]) -> Option<[&[u8]; 8]> {
    let (inner, _) = der_read(0x30, rsa_pkcs1(pkcs8)?)?;
    let (_, mut rest) = der_read(0x02, inner)?;
    let mut numbers = [&[][..]; 8];
    for number in &mut numbers {
        (*number, rest) = der_read(0x02, rest)?;
    }
    Some(numbers)
}
