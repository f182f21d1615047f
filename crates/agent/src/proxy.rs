//! Requests of others, passed on to the server; with the agent's token, where that is wanted.
//!
//! What a connection costs is bounded as at the server: how many there are, how long a request's head may take, how large a body is.

mod forward;
mod path;
mod redact;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bulla_listen::{Patient, Security};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

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
    Unix(UnixListener),
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
                Socket::Unix(bind_unix(path, *mode).await.map_err(|error| failed(&error))?)
            }
        };
        Ok(Self { socket, security, config })
    }

    /// The address that it has.
    pub(crate) fn address(&self) -> String {
        match (&self.socket, &self.config.place) {
            (Socket::Tcp(socket), _) => {
                socket.local_addr().map_or_else(|_| String::new(), |address| address.to_string())
            }
            (Socket::Unix(_), Place::Unix(path, _)) => path.display().to_string(),
            (Socket::Unix(_), Place::Tcp(..)) => String::new(),
        }
    }

    /// Serves until `stop` says so, then finishes what was asked.
    pub(crate) async fn serve(self, forward: Arc<Forward>, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await.map_err(std::io::Error::other)?;
                Ok::<_, std::io::Error>((place, self.accept().await?))
            };
            let accepted = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = next => accepted,
            };
            match accepted {
                Ok((place, stream)) => {
                    let (forward, security, stop) = (Arc::clone(&forward), self.security.clone(), stop.clone());
                    connections.spawn(async move {
                        let _place = place;
                        match (stream, security) {
                            (Accepted::Unix(stream), _) => answer_all(stream, forward, stop).await,
                            (Accepted::Tcp(stream), Security::Plain) => answer_all(stream, forward, stop).await,
                            (Accepted::Tcp(stream), Security::Tls(current)) => {
                                let acceptor = TlsAcceptor::from(Arc::clone(&current.borrow()));
                                if let Ok(Ok(stream)) =
                                    tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await
                                {
                                    answer_all(stream, forward, stop).await;
                                }
                            }
                        }
                    });
                }
                // The caller's, or no more file descriptors.
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
        if let Place::Unix(path, _) = &self.config.place {
            let _ = std::fs::remove_file(path);
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }

    async fn accept(&self) -> std::io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, _): (_, SocketAddr) = socket.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream))
            }
            Socket::Unix(socket) => socket.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

enum Accepted {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

async fn bind_unix(path: &Path, mode: Option<u32>) -> std::io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket());
    if is_socket {
        match tokio::net::UnixStream::connect(path).await {
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

/// Answers the requests of one connection.
async fn answer_all(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    forward: Arc<Forward>,
    mut stop: watch::Receiver<bool>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let forward = Arc::clone(&forward);
        async move { Ok::<_, Infallible>(forward.answer(request).await) }
    });
    let connection = http.serve_connection(TokioIo::new(Patient::new(stream, WRITE_TIME)), service);
    tokio::pin!(connection);
    // An error is the caller's: it went away, was too slow, or does not speak HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

#[cfg(test)]
mod tests;
