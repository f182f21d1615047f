//! What can be wrong with values, keys and certificates. Each case is one that a caller or a person acts on differently.

use super::Fingerprint;

/// Why a value was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The text is not a sealed value at all.
    #[error("it is not a sealed value: {0}")]
    Malformed(#[from] Malformed),
    /// A hybrid value of a version that this program does not know.
    #[error("it is sealed with version {0} of the hybrid algorithm, which this program does not know")]
    UnknownVersion(u8),
    /// An RSA value that no key at hand opens: sealed to another key, or for another scope, namespace or name.
    ///
    /// RSA-OAEP cannot tell these apart. [`diagnose`](super::diagnose) tries to.
    #[error("no key at hand opens it here: it was sealed to another key, or for another scope, namespace or name")]
    NoKey,
    /// A hybrid value whose key is not at hand.
    #[error("it is sealed to the key {key_id}, which is not at hand")]
    UnknownKey {
        /// The value's key id, in hexadecimal.
        key_id: String,
    },
    /// The key is right, and for an RSA value the place too: the ciphertext was damaged.
    #[error("it is sealed to the key {key}, but its contents are damaged")]
    Corrupt {
        /// The key that it is sealed to.
        key: Fingerprint,
    },
    /// The key of a hybrid value is at hand, and does not open it: damaged, or bound to another scope, namespace, name, item or
    /// template. The cipher cannot tell these apart.
    #[error(
        "it is sealed to the key {key}, but does not open here: it is bound to another scope, namespace, name, item or template, or damaged"
    )]
    NotBoundHere {
        /// The key that it is sealed to.
        key: Fingerprint,
    },
}

/// Why a text is not a sealed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// More than any item of a Secret can need.
    #[error("it has {0} characters, more than a value can have")]
    TooLong(usize),
    /// Not base64.
    #[error("it is not base64")]
    Base64,
    /// It ends before its parts do.
    #[error("it is cut short: {0} bytes")]
    TooShort(usize),
    /// The RSA part's length is no RSA key's size.
    #[error("it begins with the length {0}, which is no RSA key's size in bytes")]
    RsaLength(u16),
}

/// Why a value was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// More than a Secret can hold.
    #[error("the value has {0} bytes; a Secret holds at most 1 MiB")]
    TooLong(usize),
    /// The cipher or the system's random source failed.
    #[error("the value could not be encrypted: the key cannot be used, or the system has no randomness")]
    Failed,
}

/// Why something is not a key or a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file has no block of a kind that is wanted.
    #[error("there is no {0} in it (a PEM block)")]
    Missing(&'static str),
    /// A bare RSA public key where a certificate is wanted: nothing says until when it may be used.
    #[error("it is a bare public key, not a certificate")]
    NotACertificate,
    /// A private key that a password protects.
    #[error("the private key is encrypted with a password; decrypt it first")]
    Encrypted,
    /// The certificate cannot be parsed.
    #[error("the certificate is malformed")]
    Certificate,
    /// A key of another kind.
    #[error("it is a key for {0}; sealing takes RSA, or {hybrid} by name", hybrid = super::Algorithm::Hybrid)]
    Kind(String),
    /// An RSA key that cannot be used: malformed, inconsistent, or not between 2048 and 8192 bits.
    #[error("the RSA key cannot be used: malformed, or not between 2048 and 8192 bits")]
    Rsa,
    /// A hybrid key that cannot be used.
    #[error("the hybrid key is malformed")]
    Hybrid,
    /// The certificate's time is over.
    #[error("the certificate expired on {0}")]
    Expired(jiff::Timestamp),
    /// A key or certificate could not be made.
    #[error(
        "a key could not be made: the system has no randomness, or a name or date cannot be put into a certificate"
    )]
    Make,
}
