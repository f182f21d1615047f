//! What every listener of HTTP has: how many connections it takes and what each may cost, TLS whose certificates are read again when they
//! change, room for all bodies together, an end that finishes what was asked.

mod again;
mod certificates;
mod patient;
mod places;
mod room;
mod serve;
mod tls;

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

pub use certificates::{Certificates, FileState, LOOK};
pub use places::Places;
pub use room::{Full, Reading, Room, Taken, Unread};
pub use serve::{Accept, Bounds, serve};

/// What becomes of the connections of a listener.
#[derive(Clone)]
pub enum Security {
    /// As they are.
    Plain,
    /// TLS, with the configuration that is current when somebody connects.
    Tls(watch::Receiver<Arc<ServerConfig>>),
}
