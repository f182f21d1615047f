//! The protocols, from `proto/`. Their messages hold tokens of pods and contents of files: those have a `Debug` without them.

#[rustfmt::skip]
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated; `cargo xtask generate --check` keeps it as its generator writes it"
)]
pub mod csi;
#[rustfmt::skip]
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated; `cargo xtask generate --check` keeps it as its generator writes it"
)]
pub mod provider;
#[rustfmt::skip]
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated; `cargo xtask generate --check` keeps it as its generator writes it"
)]
pub mod registration;

use std::fmt;

impl fmt::Debug for csi::NodePublishVolumeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("NodePublishVolumeRequest");
        shown.field("volume_id", &self.volume_id).field("target_path", &self.target_path).finish_non_exhaustive()
    }
}

impl fmt::Debug for provider::MountRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MountRequest").field("target_path", &self.target_path).finish_non_exhaustive()
    }
}

impl fmt::Debug for provider::File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("mode", &self.mode).finish_non_exhaustive()
    }
}
