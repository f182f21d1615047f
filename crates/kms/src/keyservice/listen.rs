//! Where the key service waits for its clients.

use std::io;
use std::path::PathBuf;

use bulla_core::socket::{self, SocketFile};
use tokio::net::{TcpListener, UnixListener};

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Listen {
    /// `HOST:PORT`; `:PORT` for all addresses of the machine.
    Tcp(String),
    /// A socket's path; made with mode 0600, removed at the end. One that a server left behind is replaced.
    Unix(PathBuf),
}

pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

pub(super) async fn listen(listen: &Listen) -> io::Result<Listener> {
    let name =
        |what: String, error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {what}: {error}"));
    match listen {
        Listen::Tcp(address) => {
            let bound = match address.strip_prefix(':') {
                // As Go has it: both families, or the one that there is.
                Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
                    Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                        TcpListener::bind(format!("0.0.0.0:{port}")).await
                    }
                    bound => bound,
                },
                None => TcpListener::bind(address).await,
            };
            bound.map(Listener::Tcp).map_err(|error| name(format!("tcp://{address}"), error))
        }
        Listen::Unix(path) => {
            let bound = socket::listen(path)
                .and_then(|(socket, file)| Ok(Listener::Unix(UnixListener::from_std(socket)?, file)));
            bound.map_err(|error| name(format!("unix://{}", path.display()), error))
        }
    }
}
