//! Requests of others, passed on to the server; with the agent's token, where that is wanted.
//!
//! What a connection costs is bounded as at the server: how many there are, how long a request's head may take, how large a body is.

mod forward;
mod path;
mod redact;

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bulla_listen::{Accept, Bounds, Places, Security, serve};
use hyper::body::Incoming;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;

use crate::config::{ListenerConfig, Place};

pub(crate) use forward::Forward;

/// How long until a request's head is there.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a client may take nothing of an answer.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;
/// How many connections a listener has at once.
const CONNECTIONS: usize = 1024;

/// A listener that is bound.
pub(crate) struct Listener {
    socket: Socket,
    security: Security,
    pub(crate) config: ListenerConfig,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixPlace),
}

impl Listener {
    /// Takes its place. A socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    /// If the place is taken, or is none.
    pub(crate) async fn bind(config: ListenerConfig, security: Security) -> Result<Self, String> {
        let failed =
            |place: &dyn std::fmt::Display, error: &dyn std::fmt::Display| format!("cannot listen on {place}: {error}");
        let socket = match &config.place {
            Place::Tcp(address, _) => {
                Socket::Tcp(TcpListener::bind(address).await.map_err(|error| failed(address, &error))?)
            }
            Place::Unix(path, mode) => {
                let failed = |error: &dyn std::fmt::Display| failed(&path.display(), error);
                let socket = bind_unix(path, *mode).await.map_err(|error| failed(&error))?;
                Socket::Unix(UnixPlace(socket, path.clone()))
            }
        };
        Ok(Self { socket, security, config })
    }

    /// The address that it has.
    pub(crate) fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().map_or_else(|_| String::new(), |address| address.to_string()),
            Socket::Unix(UnixPlace(_, path)) => path.display().to_string(),
        }
    }

    /// Serves until `stop` says so, then finishes what was asked.
    pub(crate) async fn serve(self, forward: Arc<Forward>, stop: watch::Receiver<bool>) {
        let places = Places::new(CONNECTIONS);
        let bounds = Bounds { head: HEAD_TIME, write: WRITE_TIME, handshake: HANDSHAKE_TIME, buffer: None, places };
        match self.socket {
            Socket::Tcp(socket) => {
                let answer = move |request, _| pass_on(Arc::clone(&forward), request);
                serve(socket, self.security, bounds, stop, answer).await;
            }
            Socket::Unix(socket) => {
                let answer = move |request, ()| pass_on(Arc::clone(&forward), request);
                serve(socket, Security::Plain, bounds, stop, answer).await;
            }
        }
    }
}

async fn pass_on(forward: Arc<Forward>, request: http::Request<Incoming>) -> forward::Answer {
    forward.answer(request).await
}

/// A socket with a path, which goes with it.
struct UnixPlace(UnixListener, PathBuf);

impl Accept for UnixPlace {
    type Stream = UnixStream;
    type Peer = ();

    async fn accept(&self) -> std::io::Result<(UnixStream, ())> {
        self.0.accept().await.map(|(stream, _)| (stream, ()))
    }

    fn close(self) {
        let _ = std::fs::remove_file(&self.1);
    }
}

async fn bind_unix(path: &Path, mode: Option<u32>) -> std::io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket());
    if is_socket {
        match UnixStream::connect(path).await {
            // Nobody listens on it any more. One that cannot be reached for another reason may be in use.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            Err(error) => return Err(error),
            Ok(_) => return Err(std::io::ErrorKind::AddrInUse.into()),
        }
    }
    let Some(mode) = mode else { return UnixListener::bind(path) };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // What the socket itself has, its file has from the beginning: there is no time in which others could connect.
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    rustix::net::listen(&socket, BACKLOG)?;
    UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))
}

#[cfg(test)]
mod tests;
