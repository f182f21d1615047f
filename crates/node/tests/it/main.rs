//! The node service as a process sees it: mounts in a namespace of the test's own. They need root, as the service does.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "tests make their files by the shortest way")]

mod half;
mod hostile;
mod mounter;
mod publish;
mod vault;
mod vault_volumes;
