//! What the node service learns from the API server and tells it: classes, the pods of this node, what is mounted.
//!
//! Everything is watched, nothing asked for when a pod waits: a class from when the first pod of the node uses it, the node's own pods
//! always. A service that has just started, or whose API server is away, waits a moment for what it needs and then says so.

mod classes;
mod pods;
mod statuses;
pub mod trust;

pub use classes::WatchedClasses;
pub use pods::{NodePods, follow as follow_pods};
pub use statuses::Statuses;
