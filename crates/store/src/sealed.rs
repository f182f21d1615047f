//! Values of SealedSecrets that are for volumes: opened by whoever has the sealing keys, for one pod at a time.
//!
//! The node that mounts a volume has no key. It sends the token of the pod that it mounts for, and its own; the
//! [authority](Authority), the operator, asks the API server whose they are, whether that pod runs on that node and may have the object, and
//! answers with this object's values. So a node that is taken over gets what its own pods get, and no more.

mod authority;
mod pinned;
pub mod protocol;

pub use authority::{Authority, Object, OpenError, Trusted, trusted};
