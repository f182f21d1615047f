//! Where the key service waits for its clients.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
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
            let bound = bind_unix(path).and_then(|(socket, file)| {
                let socket = StdUnixListener::from(socket);
                Ok(Listener::Unix(UnixListener::from_std(socket)?, file))
            });
            bound.map_err(|error| name(format!("unix://{}", path.display()), error))
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<(OwnedFd, SocketFile)> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let address = SocketAddrUnix::new(path)?;
    // Of two that start at the same time one would take the other's new socket for a stale one.
    let turn = File::open(folder)?;
    turn.lock()?;
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => match connect(&address) {
            Err(Errno::CONNREFUSED) => fs::remove_file(path)?,
            Ok(()) | Err(Errno::AGAIN) => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process is listening there"));
            }
            Err(error) => return Err(error.into()),
        },
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = stream_socket()?;
    // Linux gives the file the socket's mode, so there is no moment at which others may connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    let file = SocketFile::new(path)?;
    rustix::net::listen(&socket, 128)?;
    Ok((socket, file))
}

fn connect(address: &SocketAddrUnix) -> rustix::io::Result<()> {
    rustix::net::connect(stream_socket()?, address)
}

fn stream_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// The file of a socket, removed on drop if it is still the one that was made.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        // The way to it stays the same when the process changes its folder.
        let path = std::path::absolute(path)?;
        let inode = inode(&path)?;
        Ok(Self { path, inode })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
