//! SealedSecrets: the ring of keys, the controller that opens values, the HTTP API of `kubeseal`.

pub mod access;
pub mod http;
pub mod keys;
pub mod place;
pub mod ring;
