//! The keys of the cluster: private halves that are never plain in it.
//!
//! A `SealingKey` holds a private key [wrapped](envelope) by the key services that the operator [named](recipients): any one of them
//! opens it, or as many groups as a threshold says. The [ring](cluster) watches these objects (and the plain key Secrets of an older
//! installation), unwraps into locked memory and gives out snapshots. One replica, the leader, [keeps](keeper) them: makes the
//! first key, renews, wraps anew. Where people hold shares of the wrapping key, the ring waits until they [unseal] it.
//! [Backup](backup), restore and [take-over](adopt) are what `bulla sealing-keys` runs.

pub mod adopt;
pub mod backup;
pub mod cluster;
pub mod envelope;
pub mod http;
pub mod index;
pub mod keeper;
pub mod metrics;
pub mod object;
pub mod policy;
pub mod recipients;
pub mod requests;
pub mod rewrap;
pub mod secret;
pub mod shares;
pub mod store;
pub mod unseal;
pub mod usage;
mod watches;
