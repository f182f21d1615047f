//! Mounting, in a process that does nothing else.
//!
//! A volume takes root: it is mounted into the kubelet's folders and its files get the pod's owner. What serves the kubelet, talks to
//! providers and the API server and holds tokens needs none of that. So these are two processes, [split] at the start; one asks
//! the other over a [socket pair](protocol).
//!
//! Plaintext never goes over it. The half that mounts gives the root folder of a new file system; the other half writes the files; then
//! the first gives them to their owner and mounts the whole.

mod client;
mod memory;
mod mounts;
pub mod protocol;
mod server;
mod sockets;
pub mod split;
mod target;

pub use client::{Found, MountError, Mounter, Unattached};
pub use server::{Rules, serve};
