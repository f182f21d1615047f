//! A named key as it is stored: its settings, and all its versions.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::encoding;

/// Bytes that are wiped when dropped, not shown by `Debug`, and base64 in storage.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, to be worked on in place.
    pub fn expose_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// `len` random bytes.
    pub fn random(len: usize) -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new(vec![0; len]);
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Zeroizing<Vec<u8>>> for Secret {
    fn from(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Zeroizing::new(encoding::encode(&self.0)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Secret;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
                encoding::decode(text).map_err(|_| E::custom("no base64"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyType {
    #[serde(rename = "aes256-gcm96")]
    Aes256,
    #[serde(rename = "aes128-gcm96")]
    Aes128,
    #[serde(rename = "chacha20-poly1305")]
    ChaCha,
    #[serde(rename = "xchacha20-poly1305")]
    XChaCha,
    #[serde(rename = "ecdsa-p256")]
    P256,
    #[serde(rename = "ecdsa-p384")]
    P384,
    #[serde(rename = "ecdsa-p521")]
    P521,
    #[serde(rename = "ed25519")]
    Ed25519,
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    #[serde(rename = "rsa-4096")]
    Rsa4096,
    #[serde(rename = "hmac")]
    Hmac,
}

/// Each with its name, and its number in the peer's backups.
const TYPES: [(KeyType, &str, u64); 12] = [
    (KeyType::Aes256, "aes256-gcm96", 0),
    (KeyType::P256, "ecdsa-p256", 1),
    (KeyType::Ed25519, "ed25519", 2),
    (KeyType::Rsa2048, "rsa-2048", 3),
    (KeyType::Rsa4096, "rsa-4096", 4),
    (KeyType::ChaCha, "chacha20-poly1305", 5),
    (KeyType::P384, "ecdsa-p384", 6),
    (KeyType::P521, "ecdsa-p521", 7),
    (KeyType::Aes128, "aes128-gcm96", 8),
    (KeyType::Rsa3072, "rsa-3072", 9),
    (KeyType::Hmac, "hmac", 10),
    (KeyType::XChaCha, "xchacha20-poly1305", 11),
];

impl KeyType {
    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        TYPES.iter().find(|(_, one, _)| *one == name).map(|(kind, ..)| *kind)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        TYPES.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// The type with this number in the peer's backups.
    pub fn by_number(number: u64) -> Option<Self> {
        TYPES.iter().find(|(.., one)| *one == number).map(|(kind, ..)| *kind)
    }

    /// Its number in the peer's backups.
    pub fn number(self) -> u64 {
        TYPES.iter().find(|(kind, ..)| *kind == self).map_or(0, |(.., number)| *number)
    }

    /// Whether one key both encrypts and decrypts, with associated data.
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::Aes256 | Self::Aes128 | Self::ChaCha | Self::XChaCha)
    }

    /// Whether it is an RSA key.
    pub const fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }

    /// Whether it is an ECDSA key.
    pub const fn is_ecdsa(self) -> bool {
        matches!(self, Self::P256 | Self::P384 | Self::P521)
    }

    /// Whether it encrypts and decrypts.
    pub const fn encrypts(self) -> bool {
        self.is_aead() || self.is_rsa()
    }

    /// Whether it signs.
    pub const fn signs(self) -> bool {
        self.is_rsa() || self.is_ecdsa() || matches!(self, Self::Ed25519)
    }

    /// Whether a key can be derived from it for each context.
    pub const fn derives(self) -> bool {
        self.is_aead() || matches!(self, Self::Ed25519)
    }

    /// How long a symmetric key is, in bytes.
    pub const fn key_len(self) -> usize {
        if matches!(self, Self::Aes128) { 16 } else { 32 }
    }
}

/// How short and how long keys of HMACs may be, in bytes.
pub const HMAC_KEY: std::ops::RangeInclusive<usize> = 32..=512;

/// A named key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "settings, each of which a client turns on by its name")]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: KeyType,
    /// How long the key of an HMAC is, in bytes; else 0.
    pub key_size: usize,
    /// Whether each use needs a context, for which a key is derived.
    pub derived: bool,
    /// Whether the same plaintext in the same context gives the same ciphertext.
    pub convergent: bool,
    /// Whether its keys can be read.
    pub exportable: bool,
    /// Whether all of it can be read, to be restored elsewhere.
    pub allow_backup: bool,
    /// Whether it can be deleted.
    pub deletable: bool,
    /// Whether it is out of use.
    pub soft_deleted: bool,
    /// Whether it came from outside.
    pub imported: bool,
    /// Whether, if it came from outside, it can be rotated here.
    pub allow_rotation: bool,
    /// The newest version.
    pub latest: u64,
    /// The oldest that is kept; 0: all are.
    pub min_available: u64,
    /// The oldest that decrypts and verifies.
    pub min_decryption: u64,
    /// The oldest that encrypts and signs; 0: the newest unless a request says another.
    pub min_encryption: u64,
    /// After how many seconds the newest version is followed by another; 0: never.
    pub auto_rotate: i64,
    /// When it was last read as a backup, in nanoseconds since 1970, and its newest version then.
    pub backed_up: Option<(i64, u64)>,
    /// When it was restored, and its newest version then.
    pub restored: Option<(i64, u64)>,
    /// Its versions.
    pub versions: BTreeMap<u64, Version>,
}

/// A version of a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Version {
    /// The key: of ciphers and HMACs as it is; of Ed25519 the seed with the public key; of ECDSA the scalar; of RSA PKCS #8. Empty: there is
    /// the public key alone.
    pub key: Secret,
    /// The public key: of Ed25519 32 bytes; of ECDSA the point, uncompressed; of RSA a `SubjectPublicKeyInfo`.
    pub public: Secret,
    /// The key of HMACs.
    pub hmac: Secret,
    /// When it was made, in nanoseconds since 1970.
    pub created: i64,
}

impl Policy {
    /// One without a version.
    pub fn new(name: &str, kind: KeyType) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            key_size: 0,
            derived: false,
            convergent: false,
            exportable: false,
            allow_backup: false,
            deletable: false,
            soft_deleted: false,
            imported: false,
            allow_rotation: false,
            latest: 0,
            min_available: 0,
            min_decryption: 1,
            min_encryption: 0,
            auto_rotate: 0,
            backed_up: None,
            restored: None,
            versions: BTreeMap::new(),
        }
    }

    /// Adds a version.
    pub fn add(&mut self, version: Version) {
        self.latest += 1;
        self.versions.insert(self.latest, version);
    }

    /// The nanosecond at which the newest version is to be followed by another, if it is.
    pub fn due(&self) -> Option<i64> {
        let newest = self.versions.get(&self.latest)?;
        let rotates = self.auto_rotate > 0 && !self.soft_deleted && (!self.imported || self.allow_rotation);
        rotates.then(|| newest.created.saturating_add(self.auto_rotate.saturating_mul(1_000_000_000)))
    }
}
