//! What every listener has, whatever is spoken on it: TLS whose certificates are read again when they change, connections that somebody must
//! read from.

mod certificates;
mod patient;
mod tls;

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

pub use certificates::{Certificates, LOOK};
pub use patient::Patient;
pub use tls::load as load_tls;

/// What becomes of the connections of a listener.
#[derive(Clone)]
pub enum Security {
    /// As they are.
    Plain,
    /// TLS, with the configuration that is current when somebody connects.
    Tls(watch::Receiver<Arc<ServerConfig>>),
}
