//! Values of a `SealedSecret`: encrypted to a cluster's public key, opened by its controller alone.
//!
//! Source: <https://github.com/bitnami-labs/sealed-secrets> and what its programs do. A value is base64 of one of two forms.
//!
//! **RSA**, which every sealed-secrets controller opens:
//!
//! ```text
//! length (u16, big-endian) || RSA-OAEP(session key) || AES-256-GCM(value) || tag (16 bytes)
//! ```
//!
//! The session key is 32 fresh bytes; OAEP and its MGF1 use SHA-256, with a [label](Scope::label) that says where the value may be
//! used; GCM's nonce is 12 zero bytes, since no session key is used twice, and there is no associated data. Neither the item's
//! name nor the template is bound, and no key is named: whoever opens the value tries keys ([`KeyRing`]).
//!
//! **Hybrid**, `x25519-mlkem768`, which stays secret if one of X25519 and ML-KEM-768 falls:
//!
//! ```text
//! FF B1 || version (1 byte) || key id (16 bytes) || enc (1120 bytes) || ciphertext || tag (16 bytes)
//! ```
//!
//! by [HPKE over X-Wing](bulla_hybrid). `FF B1` is 65457 as an RSA length, which no RSA value has, so that older controllers
//! refuse it. The key id is the start of the key's [`Fingerprint`]. The associated data is a [`Binding`]: scope, namespace, name,
//! item, template and the annotations that decide on delivery.
//!
//! Pure and synchronous. Plaintext and private keys stand in locked memory ([`SecretBytes`](bulla_core::SecretBytes)), except that
//! an RSA key in use is in the cryptographic library's own, which wipes it when it is freed.

mod binding;
mod certificate;
mod diagnose;
mod error;
mod key;
mod pem;
mod ring;
mod rsa;
mod scope;
mod self_signed;
#[cfg(test)]
mod tests;
mod value;

pub use binding::{Binding, Template, TemplateHash};
pub use certificate::Certificate;
pub use diagnose::{Candidates, Diagnosis, SealedFor, diagnose};
pub use error::{KeyError, Malformed, OpenError, SealError};
pub use key::{Algorithm, Fingerprint, PrivateKey, PublicKey};
pub use ring::{KeyRing, Opened, RingKey};
pub use rsa::RsaSize;
pub use scope::{CLUSTER_WIDE, NAMESPACE_WIDE, Scope};
pub use self_signed::self_signed;
pub use value::{MAX_PLAINTEXT, SealedValue, open_value, seal_value};
