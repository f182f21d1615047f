//! The node service: secrets as files in memory, for the one pod that may have them.

pub mod class;
pub mod csi;
pub mod mounter;
pub mod pod;
pub mod proto;
pub mod provider;
pub mod publish;
pub mod registration;
pub mod volume;
