//! A key that is set up: each version is read and made ready once, when it is first needed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use aws_lc_rs::{hkdf, hmac};
use zeroize::Zeroizing;

use super::aead::{Aead, TAG};
use super::asymmetric::{Curve, Der, Ecdsa, Odd, read_signature};
use super::encoding::{decode, decode_behind, decode_url, encode, encode_to, encode_url};
use super::hash::Hash;
use super::policy::{KeyType, Policy, Secret, Version};
use super::rsa::{Padding, Rsa};

/// Why something was not done. The texts are the peer's; nothing in them is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// What was asked is not right.
    User(Cow<'static, str>),
    /// The peer blames itself.
    Internal(Cow<'static, str>),
}

impl Failure {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Self::User(text) | Self::Internal(text) => text,
        }
    }
}

fn user(text: &'static str) -> Failure {
    Failure::User(Cow::Borrowed(text))
}

type Done<T> = Result<T, Failure>;

const TOO_OLD: &str = "ciphertext or signature version is disallowed by policy (too old)";
const NO_CONTEXT: &str = "missing 'context' for key derivation; the key was created using a derived key, which means additional, per-request information must be included in order to perform operations with the key";
const NO_VERSION: &str = "no such key version";
/// What the peer says of a key that is out of use.
pub const SOFT_DELETED: &str = "refusing to use soft-deleted key";

/// A version that is set up.
enum Ready {
    /// Encrypts.
    Aead(Aead),
    /// Gives a key for each context.
    Derived(hkdf::Prk),
    /// Signs.
    Ed25519(Option<Ed25519KeyPair>),
    /// Signs.
    Ecdsa(Ecdsa),
    /// Encrypts and signs.
    Rsa(Box<Rsa>),
    /// Has nothing but its bytes.
    Bytes,
}

#[derive(Default)]
struct Slot {
    ready: OnceLock<Option<Ready>>,
    hmac: OnceLock<hmac::Key>,
}

/// A key.
pub struct Key {
    /// As it is stored.
    pub policy: Policy,
    /// When its newest version is to be followed by another, in nanoseconds since 1970.
    pub due: Option<i64>,
    slots: BTreeMap<u64, Slot>,
}

/// What is asked of a signature.
#[derive(Clone, Copy)]
pub struct Signing {
    /// The hash; `None`: what is given is signed as it is.
    pub hash: Option<Hash>,
    /// Whether what is given is a hash already.
    pub prehashed: bool,
    /// Whether it is written as JWS has it.
    pub jws: bool,
    /// How RSA pads it.
    pub padding: Padding,
}

/// A signature, and the public key if it was derived.
pub struct Signed {
    /// The signature.
    pub signature: String,
    /// The public key.
    pub public: Option<String>,
    /// By which version.
    pub version: u64,
}

/// How many bytes HKDF is to give.
struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

impl Key {
    /// One that is not set up yet.
    pub fn new(policy: Policy) -> Self {
        let slots = policy.versions.keys().map(|number| (*number, Slot::default())).collect();
        Self { due: policy.due(), policy, slots }
    }

    /// A version that may be used at all. The one place where `min_decryption_version` cannot be passed by.
    pub fn version(&self, number: u64) -> Done<&Version> {
        if number < self.policy.min_decryption {
            return Err(user(NO_VERSION));
        }
        self.policy.versions.get(&number).ok_or_else(|| user(NO_VERSION))
    }

    /// Versions that may be used.
    pub fn versions(&self) -> impl Iterator<Item = (u64, &Version)> {
        self.policy.versions.range(self.policy.min_decryption..).map(|(number, version)| (*number, version))
    }

    fn ready(&self, number: u64) -> Done<&Ready> {
        let version = self.version(number)?;
        let slot = self.slots.get(&number).ok_or_else(|| user(NO_VERSION))?;
        let ready = slot.ready.get_or_init(|| self.set_up(version));
        ready.as_ref().ok_or(Failure::Internal(Cow::Borrowed("the stored key cannot be read")))
    }

    fn set_up(&self, version: &Version) -> Option<Ready> {
        let (kind, key) = (self.policy.kind, version.key.expose());
        if self.policy.derived {
            let salt = hkdf::Salt::none(hkdf::HKDF_SHA256);
            return (kind.derives() && !key.is_empty()).then(|| Ready::Derived(salt.extract(key)));
        }
        Some(match kind {
            kind if kind.is_aead() => Ready::Aead(Aead::new(kind, key)?),
            KeyType::Ed25519 if key.is_empty() => Ready::Ed25519(None),
            KeyType::Ed25519 => Ready::Ed25519(Some(Ed25519KeyPair::from_seed_unchecked(key.get(..32)?).ok()?)),
            KeyType::Hmac => Ready::Bytes,
            kind => match Curve::of(kind) {
                Some(curve) => Ready::Ecdsa(Ecdsa::new(curve, version)?),
                None => Ready::Rsa(Box::new(Rsa::new(version)?)),
            },
        })
    }

    fn in_use(&self) -> Done<()> {
        if self.policy.soft_deleted { Err(user(SOFT_DELETED)) } else { Ok(()) }
    }

    /// The cipher for a context, and the keys that make nonces if encryption is convergent.
    fn derive(&self, prk: &hkdf::Prk, context: &[u8]) -> Done<(Aead, Secret)> {
        let (kind, len) = (self.policy.kind, self.policy.kind.key_len());
        let bytes = expand(prk, context, len + if self.policy.convergent { 64 } else { 0 })?;
        let (key, nonces) = bytes.expose().split_at_checked(len).unwrap_or_default();
        let aead = Aead::new(kind, key).ok_or(Failure::Internal(Cow::Borrowed("could not derive key")))?;
        Ok((aead, Secret::from(nonces)))
    }

    /// The version that encrypts or signs for a request; 0 asks for the newest.
    fn newest_or(&self, asked: i64, what: &'static str) -> Done<u64> {
        let fail = |reason| Err(Failure::User(Cow::Owned(format!("requested version for {what} is {reason}"))));
        match u64::try_from(asked) {
            Err(_) => fail("negative"),
            Ok(0) => Ok(self.policy.latest),
            Ok(asked) if asked > self.policy.latest => fail("higher than the latest key version"),
            Ok(asked) if asked < self.policy.min_encryption => fail("less than the minimum encryption key version"),
            Ok(asked) => Ok(asked),
        }
    }

    /// Encrypts base64 text. `aad` is base64 too; empty: there is none.
    pub fn encrypt(&self, version: i64, context: &[u8], plaintext: &str, aad: &str) -> Done<(String, u64)> {
        self.in_use()?;
        let kind = self.policy.kind;
        if !kind.encrypts() {
            let text = format!("message encryption not supported for key type {}", kind.name());
            return Err(Failure::User(text.into()));
        }
        let number = self.newest_or(version, "encryption")?;
        let decoded = |room| decode_behind(room, plaintext).map_err(|error| Failure::User(error.into()));
        let sealed = match self.ready(number)? {
            Ready::Aead(aead) => {
                let mut message = decoded(aead.nonce_len())?;
                fill_nonce(aead, &mut message)?;
                seal(aead, message, aad)?
            }
            Ready::Derived(prk) => {
                if context.is_empty() {
                    return Err(user(NO_CONTEXT));
                }
                let (aead, nonces) = self.derive(prk, context)?;
                let mut message = decoded(aead.nonce_len())?;
                if self.policy.convergent {
                    let (nonce, plain) = message.expose_mut().split_at_mut(aead.nonce_len());
                    let sum = convergent(&nonces, plain, associated(aad)?.expose());
                    nonce.iter_mut().zip(sum.as_ref()).for_each(|(to, from)| *to = *from);
                } else {
                    fill_nonce(&aead, &mut message)?;
                }
                seal(&aead, message, aad)?
            }
            Ready::Rsa(rsa) => {
                let plain = decoded(0)?;
                if plain.expose().len() > rsa.most() {
                    return Err(Failure::Internal(Cow::Borrowed(
                        "failed to RSA encrypt the plaintext: crypto/rsa: message too long for RSA key size",
                    )));
                }
                let sealed = rsa.encrypt(plain.expose());
                Secret::from(Zeroizing::new(sealed.ok_or_else(|| Failure::Internal("failed to encrypt".into()))?))
            }
            _ => return Err(Failure::Internal(Cow::Borrowed("unsupported key type"))),
        };
        let mut text = prefix(number, sealed.expose().len());
        encode_to(sealed.expose(), &mut text);
        Ok((text, number))
    }

    /// Decrypts to base64 text.
    pub fn decrypt(&self, context: &[u8], ciphertext: &str, aad: &str) -> Done<Zeroizing<String>> {
        self.in_use()?;
        let kind = self.policy.kind;
        if !kind.encrypts() {
            let text = format!("message decryption not supported for key type {}", kind.name());
            return Err(Failure::User(text.into()));
        }
        let (number, body) = self.split(ciphertext, "ciphertext")?;
        // The first keys of the peer counted from 0.
        let number = self.not_too_old(if number == 0 { 1 } else { number })?;
        let mut sealed = decode(body).map_err(|_| user("invalid ciphertext: could not decode base64"))?;
        let plain = match self.ready(number)? {
            Ready::Aead(aead) => open(aead, kind, &mut sealed, aad)?,
            Ready::Derived(prk) => {
                if context.is_empty() {
                    return Err(user(NO_CONTEXT));
                }
                let (aead, _) = self.derive(prk, context)?;
                return Ok(Zeroizing::new(encode(open(&aead, kind, &mut sealed, aad)?)));
            }
            Ready::Rsa(rsa) => {
                if !rsa.is_private() {
                    return Err(Failure::Internal(Cow::Borrowed(
                        "cannot decrypt ciphertext, key version does not have a private counterpart",
                    )));
                }
                let plain = rsa.decrypt(sealed.expose()).ok_or(Failure::Internal(Cow::Borrowed(
                    "failed to RSA decrypt the ciphertext: crypto/rsa: decryption error",
                )))?;
                return Ok(Zeroizing::new(encode(plain.expose())));
            }
            _ => return Err(Failure::Internal(Cow::Borrowed("unsupported key type"))),
        };
        Ok(Zeroizing::new(encode(plain)))
    }

    /// The version of `vault:vN:BODY`, and the body.
    fn split<'t>(&self, text: &'t str, what: &'static str) -> Done<(i64, &'t str)> {
        let fail = |reason| Failure::User(Cow::Owned(format!("invalid {what}: {reason}")));
        let rest = text.strip_prefix("vault:v").ok_or_else(|| fail("no prefix"))?;
        let (number, body) = rest.split_once(':').ok_or_else(|| fail("wrong number of fields"))?;
        let number = number.parse::<i64>().map_err(|_| fail("version number could not be decoded"))?;
        if u64::try_from(number).is_ok_and(|number| number > self.policy.latest) {
            return Err(fail("version is too new"));
        }
        Ok((number, body))
    }

    fn not_too_old(&self, number: i64) -> Done<u64> {
        let number = u64::try_from(number).ok().filter(|number| *number >= self.policy.min_decryption);
        number.ok_or_else(|| user(TOO_OLD))
    }

    /// Signs.
    pub fn sign(&self, version: i64, context: &[u8], input: &[u8], how: Signing) -> Done<Signed> {
        self.in_use()?;
        let number = self.newest_or(version, "signing")?;
        let hashed = how.hashed(self.policy.kind, input);
        let input = hashed.as_deref().unwrap_or(input);
        let mut public = None;
        let missing = || user("requested version for signing does not contain a private part");
        let internal = |text: &'static str| Failure::Internal(Cow::Borrowed(text));
        let signature = match self.ready(number)? {
            Ready::Ed25519(pair) => pair.as_ref().ok_or_else(missing)?.sign(input).as_ref().to_vec(),
            Ready::Derived(prk) => {
                let pair = derive_ed25519(prk, context)?;
                public = Some(encode(pair.public_key().as_ref()));
                pair.sign(input).as_ref().to_vec()
            }
            Ready::Ecdsa(_) if self.version(number)?.key.is_empty() => return Err(missing()),
            Ready::Ecdsa(pair) => {
                if input.is_empty() {
                    return Err(internal("ecdsa: hash cannot be empty"));
                }
                let signature = pair.sign(input).map_err(internal)?;
                if how.jws { pair.to_jws(&signature).ok_or_else(|| internal("no signature"))? } else { signature }
            }
            Ready::Rsa(rsa) if !rsa.is_private() => return Err(missing()),
            Ready::Rsa(rsa) => {
                how.check_salt(rsa)?;
                if how.hash.is_some_and(|hash| hash.len() != input.len()) {
                    return Err(internal(match how.padding {
                        Padding::Pss(_) => "crypto/rsa: input must be hashed with given hash",
                        Padding::Pkcs1 => "crypto/rsa: input must be hashed message",
                    }));
                }
                if !Rsa::signs(how.hash, how.padding) {
                    return Err(internal(
                        "RSA keys sign here with sha2-256, sha2-384 and sha2-512, and PSS with a salt as long as the hash (salt_length=hash)",
                    ));
                }
                rsa.sign(how.hash, input, how.padding).ok_or_else(|| internal("the signature failed"))?
            }
            _ => return Err(internal("unsupported key type")),
        };
        let mut text = prefix(number, signature.len());
        if how.jws {
            text.push_str(&encode_url(&signature));
        } else {
            encode_to(&signature, &mut text);
        }
        Ok(Signed { signature: text, public, version: number })
    }

    /// Whether `signature` is one of `input`.
    pub fn verify(&self, context: &[u8], input: &[u8], signature: &str, how: Signing) -> Done<bool> {
        self.in_use()?;
        let (number, body) = self.split(signature, "signature")?;
        let number = self.not_too_old(number)?;
        let bad = || user("invalid base64 signature value");
        let bytes = if how.jws {
            decode_url(body).ok_or_else(bad)?
        } else {
            decode(body).map_err(|_| bad())?.expose().to_vec()
        };
        let hashed = how.hashed(self.policy.kind, input);
        let input = hashed.as_deref().unwrap_or(input);
        let ed25519 = |public: &[u8]| UnparsedPublicKey::new(&signature::ED25519, public).verify(input, &bytes).is_ok();
        Ok(match self.ready(number)? {
            Ready::Ed25519(_) => ed25519(self.version(number)?.public.expose()),
            Ready::Derived(prk) => ed25519(derive_ed25519(prk, context)?.public_key().as_ref()),
            Ready::Ecdsa(pair) if how.jws => {
                let (r, s) = bytes.split_at(bytes.len() / 2);
                pair.verify(input, r, s)
            }
            Ready::Ecdsa(pair) => match read_signature(&bytes) {
                None => return Err(user("supplied signature is invalid")),
                Some(Err(Odd::More)) => return Err(user("supplied signature contains extra data")),
                Some(Err(Odd::Negative)) => false,
                Some(Ok((r, s))) => pair.verify(input, r, s),
            },
            Ready::Rsa(rsa) => {
                how.check_salt(rsa)?;
                rsa.verify(how.hash, input, how.padding, &bytes)
            }
            _ => return Err(Failure::Internal(Cow::Borrowed("unsupported key type"))),
        })
    }

    /// The HMAC of `input`, and the version whose key made it.
    pub fn hmac(&self, version: i64, hash: Hash, input: &[u8]) -> Done<String> {
        let number = self.hmac_version(version)?;
        let sum = self.hmac_sum(number, hash, input)?;
        let mut text = prefix(number, sum.len());
        encode_to(&sum, &mut text);
        Ok(text)
    }

    /// The version whose key makes HMACs for a request.
    pub fn hmac_version(&self, version: i64) -> Done<u64> {
        let latest = self.policy.latest;
        let number = match u64::try_from(version) {
            Ok(0) => latest,
            Ok(number) if number == latest => number,
            Ok(number) if number >= self.policy.min_encryption => number,
            _ if self.policy.min_encryption > 0 => {
                return Err(user("cannot generate HMAC: version is too old (disallowed by policy)"));
            }
            _ => return Err(user("key version does not exist (cannot be negative)")),
        };
        if number > latest {
            let text = format!("key version does not exist; latest key version is {latest}");
            return Err(Failure::User(text.into()));
        }
        self.in_use()?;
        self.hmac_key(number).map(|_| number)
    }

    /// The HMAC with the key of a version.
    fn hmac_sum(&self, number: u64, hash: Hash, input: &[u8]) -> Done<Vec<u8>> {
        self.in_use()?;
        let key = self.hmac_key(number)?;
        if hash == Hash::Sha256
            && let Some(slot) = self.slots.get(&number)
        {
            let key = slot.hmac.get_or_init(|| hmac::Key::new(hmac::HMAC_SHA256, key));
            return Ok(hmac::sign(key, input).as_ref().to_vec());
        }
        Ok(hash.hmac(key, input))
    }

    fn hmac_key(&self, number: u64) -> Done<&[u8]> {
        let version = self.version(number)?;
        let key = if self.policy.kind == KeyType::Hmac { &version.key } else { &version.hmac };
        if key.is_empty() {
            return Err(user("no HMAC key exists for that key version"));
        }
        Ok(key.expose())
    }

    /// Whether `sum` (`vault:vN:…`) is the HMAC of `input`.
    pub fn verify_hmac(&self, hash: Hash, input: &[u8], sum: &str) -> Done<bool> {
        let fail = |text: &'static str| Err(user(text));
        let Some(rest) = sum.strip_prefix("vault:v") else { return fail("invalid HMAC to verify: no prefix") };
        let Some((number, body)) = rest.split_once(':') else { return fail("invalid HMAC: wrong number of fields") };
        let Ok(number) = number.parse::<i64>() else {
            return fail("invalid HMAC: version number could not be decoded");
        };
        let sum = decode(body)
            .map_err(|error| Failure::User(format!("unable to decode verification HMAC as base64: {error}").into()))?;
        if u64::try_from(number).is_ok_and(|number| number > self.policy.latest) {
            return fail("invalid HMAC: version is too new");
        }
        let Ok(number) = self.not_too_old(number) else {
            return fail("cannot verify HMAC: version is too old (disallowed by policy)");
        };
        let expected = self.hmac_sum(number, hash, input)?;
        Ok(subtle::ConstantTimeEq::ct_eq(expected.as_slice(), sum.expose()).into())
    }

    /// The public key of a derived key of Ed25519 for a context.
    pub fn derived_public(&self, number: u64, context: &[u8]) -> Done<String> {
        match self.ready(number)? {
            Ready::Derived(prk) if self.policy.kind == KeyType::Ed25519 => {
                Ok(encode(derive_ed25519(prk, context)?.public_key().as_ref()))
            }
            _ => Err(user(NO_VERSION)),
        }
    }

    /// The private key of a version of ECDSA in the forms of RFC 5915 and PKCS #8.
    pub fn ecdsa_ders(&self, number: u64) -> Option<(Der, Der)> {
        match self.ready(number) {
            Ok(Ready::Ecdsa(pair)) => pair.private_ders(),
            _ => None,
        }
    }
}

impl Signing {
    fn hashed(self, kind: KeyType, input: &[u8]) -> Option<Vec<u8>> {
        // Ed25519 hashes by itself.
        if self.prehashed || kind == KeyType::Ed25519 { None } else { self.hash.map(|hash| hash.of(input)) }
    }

    fn check_salt(self, rsa: &Rsa) -> Done<()> {
        use super::rsa::Salt;
        if let (Padding::Pss(Salt::Bytes(bytes)), Some(hash)) = (self.padding, self.hash)
            && bytes > rsa.len.saturating_sub(2 + hash.len())
        {
            return Err(user_owned(format!("requested salt length {bytes} is invalid")));
        }
        Ok(())
    }
}

fn user_owned(text: String) -> Failure {
    Failure::User(Cow::Owned(text))
}

/// `vault:vN:`, with room for so many bytes in base64.
fn prefix(number: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(28 + bytes.div_ceil(3) * 4);
    text.push_str("vault:v");
    text.push_str(&number.to_string());
    text.push(':');
    text
}

/// What the nonce of a convergent ciphertext is cut from: with associated data also of that, under a key of its own. The peer takes the same nonce
/// for the same plaintext with other data, which in GCM and Poly1305 gives away the key that makes tags. The nonce is read from the ciphertext,
/// so that both open both.
fn convergent(keys: &Secret, plain: &[u8], aad: &[u8]) -> hmac::Tag {
    let (usual, own) = keys.expose().split_at_checked(32).unwrap_or_default();
    if aad.is_empty() {
        return hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, usual), plain);
    }
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, own));
    context.update(&(aad.len() as u64).to_be_bytes());
    context.update(aad);
    context.update(plain);
    context.sign()
}

fn fill_nonce(aead: &Aead, message: &mut Secret) -> Done<()> {
    let nonce = message.expose_mut().get_mut(..aead.nonce_len()).unwrap_or_default();
    getrandom::fill(nonce).map_err(|_| Failure::Internal(Cow::Borrowed("the system has no randomness to give")))
}

fn associated(aad: &str) -> Done<Secret> {
    decode(aad).map_err(|error| {
        let text = format!("unable to get associated_data/additional_data from factory[0]: {error}");
        Failure::Internal(text.into())
    })
}

fn seal(aead: &Aead, mut message: Secret, aad: &str) -> Done<Secret> {
    let aad = associated(aad)?;
    aead.seal(message.expose_mut(), aad.expose()).ok_or(Failure::Internal(Cow::Borrowed("the cipher failed")))?;
    Ok(message)
}

fn open<'m>(aead: &Aead, kind: KeyType, sealed: &'m mut Secret, aad: &str) -> Done<&'m [u8]> {
    let aad = associated(aad)?;
    if sealed.expose().len() < aead.nonce_len() {
        return Err(user("invalid ciphertext length"));
    }
    let failed = match kind {
        KeyType::Aes128 | KeyType::Aes256 => "cipher: message authentication failed",
        _ => "chacha20poly1305: message authentication failed",
    };
    let long_enough = sealed.expose().len() >= aead.nonce_len() + TAG;
    long_enough.then(|| aead.open(sealed.expose_mut(), aad.expose())).flatten().ok_or_else(|| user(failed))
}

fn expand(prk: &hkdf::Prk, context: &[u8], len: usize) -> Done<Secret> {
    let failed = |_| Failure::Internal(Cow::Borrowed("could not derive key"));
    let mut bytes = Zeroizing::new(vec![0; len]);
    prk.expand(&[context], Len(len)).map_err(failed)?.fill(&mut bytes).map_err(failed)?;
    Ok(Secret::from(bytes))
}

fn derive_ed25519(prk: &hkdf::Prk, context: &[u8]) -> Done<Ed25519KeyPair> {
    if context.is_empty() {
        return Err(Failure::Internal(format!("error deriving key: {NO_CONTEXT}").into()));
    }
    let seed = expand(prk, context, 32)?;
    Ed25519KeyPair::from_seed_unchecked(seed.expose())
        .map_err(|_| Failure::Internal(Cow::Borrowed("error deriving key")))
}

#[cfg(test)]
mod tests;
