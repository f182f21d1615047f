//! Trees and texts compared with those of the real sops.
#![allow(clippy::unwrap_used, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a test's own files")]

mod sops;
mod yaml;
