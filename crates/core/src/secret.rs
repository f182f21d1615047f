//! Values that must not leak by accident.
//!
//! None of these types has `Display` or `Serialize`, their `Debug` shows a length at most, they are compared in constant
//! time and wiped on drop. `expose()` is the one way to the contents, so that a search for the word finds every use.

use std::fmt;

use subtle::ConstantTimeEq;

use crate::memory::Region;

/// Secret bytes of any length, in memory pages of their own (see [`Region`]).
///
/// For keys, and for whole files of plaintext. Not for each of a hundred thousand small values: those are slices of one.
pub struct SecretBytes(Region);

impl SecretBytes {
    /// No bytes.
    pub const fn new() -> Self {
        Self(Region::empty())
    }

    /// `len` zero bytes, to be filled through [`expose_mut`](Self::expose_mut).
    pub fn zeroed(len: usize) -> Self {
        Self(Region::zeroed(len))
    }

    /// No bytes, with room for `capacity`.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut region = Region::empty();
        region.reserve(capacity);
        Self(region)
    }

    /// `len` bytes from the system's random source.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn random(len: usize) -> Result<Self, getrandom::Error> {
        let mut bytes = Self::zeroed(len);
        getrandom::fill(bytes.expose_mut())?;
        Ok(bytes)
    }

    /// Appends a copy of `bytes`.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Shortens to `len` bytes, wiping the rest.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Grows with zeros, or shortens, to exactly `len` bytes.
    pub fn resize(&mut self, len: usize) {
        self.0.resize(len);
    }

    /// The contents, for writing.
    pub fn expose_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }

    /// The contents.
    pub const fn expose(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// How many bytes there are. Not treated as secret.
    pub const fn len(&self) -> usize {
        self.expose().len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for SecretBytes {
    fn default() -> Self {
        Self::new()
    }
}

/// Copies; the original is the caller's to wipe.
impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        let mut secret = Self::new();
        secret.extend_from_slice(bytes);
        secret
    }
}

/// Copies, then wipes the vector.
impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(zeroize::Zeroizing::new(bytes).as_slice())
    }
}

impl Clone for SecretBytes {
    fn clone(&self) -> Self {
        Self::from(self.expose())
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SecretBytes {}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.len())
    }
}

/// So that text can be appended with `write!`.
impl fmt::Write for SecretBytes {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.extend_from_slice(s.as_bytes());
        Ok(())
    }
}

/// Secret UTF-8 text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretString(SecretBytes);

impl SecretString {
    /// Takes bytes that are UTF-8.
    ///
    /// # Errors
    /// The bytes back, if they are not.
    pub fn from_utf8(bytes: SecretBytes) -> Result<Self, SecretBytes> {
        if std::str::from_utf8(bytes.expose()).is_ok() { Ok(Self(bytes)) } else { Err(bytes) }
    }

    /// The text.
    pub fn expose(&self) -> &str {
        // Checked on the way in and never changed since; the check costs little beside what is done with a secret.
        std::str::from_utf8(self.0.expose()).unwrap_or_default()
    }

    /// The text's bytes.
    pub fn into_bytes(self) -> SecretBytes {
        self.0
    }
}

/// Copies; the original is the caller's to wipe.
impl From<&str> for SecretString {
    fn from(text: &str) -> Self {
        Self(SecretBytes::from(text.as_bytes()))
    }
}

/// Copies, then wipes the string.
impl From<String> for SecretString {
    fn from(text: String) -> Self {
        Self(SecretBytes::from(text.into_bytes()))
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretString({} bytes)", self.0.len())
    }
}

/// The 32-byte key that encrypts the values of one file, itself wrapped by key-encryption keys.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey(SecretBytes);

impl DataKey {
    /// A data key's length in bytes.
    pub const LEN: usize = 32;

    /// A fresh random key.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        SecretBytes::random(Self::LEN).map(Self)
    }

    /// Takes bytes as a key.
    ///
    /// # Errors
    /// The bytes back, if there are not exactly 32.
    pub fn from_bytes(bytes: SecretBytes) -> Result<Self, SecretBytes> {
        if bytes.len() == Self::LEN { Ok(Self(bytes)) } else { Err(bytes) }
    }

    /// The 32 bytes.
    pub fn expose(&self) -> &[u8; 32] {
        // A made-up key in its place would be worse than the end of the program.
        let Ok(bytes) = self.0.expose().try_into() else { unreachable!("the constructors let only 32 bytes in") };
        bytes
    }

    /// The 32 bytes as a value to wrap.
    pub fn as_secret(&self) -> &SecretBytes {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}
