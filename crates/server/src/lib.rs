//! Vault's HTTP API.
#[macro_use]
pub mod json;
pub mod barrier;
pub mod seal;
pub mod storage;
