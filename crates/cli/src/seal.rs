//! Sealing: Secrets become `SealedSecrets`, which only the cluster's controller opens.
//!
//! The steps that `bulla seal` and `kubeseal` are made of. The ciphertext is `bulla_format::sealed`'s; here are manifests, flags,
//! files and the cluster.

pub(crate) mod args;
pub(crate) mod certificate;
pub(crate) mod cluster;
mod coerce;
mod layout;
pub(crate) mod manifest;
pub(crate) mod merge;
mod object;
pub(crate) mod private_keys;
pub(crate) mod raw;
pub(crate) mod recover;
pub(crate) mod rotate;
mod secret;
mod write;

pub(crate) use coerce::strings as coerce_strings;
pub(crate) use layout::keep as keep_layout;
pub(crate) use object::SealedObject;
pub(crate) use secret::Secret;
pub(crate) use write::{Format, write};
