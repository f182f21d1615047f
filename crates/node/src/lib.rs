//! The node service: secrets as files in memory, for the one pod that may have them.

pub mod class;
pub mod cluster;
pub mod csi;
pub mod metrics;
pub mod mounter;
pub mod pod;
pub mod proto;
pub mod provider;
pub mod publish;
pub mod registration;
pub mod service;
mod serving;
pub mod sync;
pub mod volume;
