//! SealedSecrets: the ring of keys, the controller that opens values, the HTTP API of `kubeseal`.

pub mod access;
pub mod controller;
pub mod delivery;
pub mod http;
pub mod keys;
pub mod metrics;
pub mod open;
pub mod rate;
pub mod ring;
pub mod rotate;
pub mod status;
pub(crate) mod tokens;
pub mod write;
