//! Signed JSON Web Tokens (RFC 7515, 7517, 7518, 7519), as far as logins need them: read, verified by public keys, looked into.
//!
//! What is signed is believed after [`Keys::verify`] alone. There are public keys and no others, and each verifies the algorithms of its kind: a
//! token that is not signed (`none`), or "signed" with a public key as if it were a shared secret (`HS256`), is none that can be read.

mod claims;
mod fetch;
mod key;
mod remote;
mod token;

pub use claims::{Claims, Expected, Leeways, Times};
pub use fetch::{Fetch, Limits, address, is_open, printable};
pub use key::{Key, Keys};
pub use remote::{Remote, Source};
pub use token::{Algorithm, Jws};

/// Why a token is not believed. The texts are the peer's, and say nothing of keys or networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read, or nobody known signed it.
    #[error("error verifying token signature: {0}")]
    Signature(&'static str),
    /// It is signed in a way that is not wanted.
    #[error("invalid algorithm (alg) header parameter: token signed with unexpected algorithm")]
    Algorithm,
    /// What it says is not what is expected.
    #[error("{0}")]
    Claim(&'static str),
    /// It was not looked at: too many logins wait for keys.
    #[error("too many logins wait for keys; try again")]
    Busy,
}
