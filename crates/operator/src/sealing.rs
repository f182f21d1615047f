//! SealedSecrets: the ring of keys, the controller that opens values, the HTTP API of `kubeseal`.

pub mod keys;
pub mod ring;
