//! Ciphertext formats: how encrypted values, their keys and their integrity stand in a file.
//!
//! Pure and synchronous: bytes in, bytes out. Data keys come unwrapped from the caller (see `bulla-kms`); this crate never
//! reads a file, a variable or a socket. One module a format.

pub mod sealed;
pub mod sops;
