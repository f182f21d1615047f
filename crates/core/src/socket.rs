//! Sockets with a path, for other processes of this machine.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// How many callers may wait.
const WAITING: i32 = 1024;

/// Listens at a path, with mode 0600: the owner alone connects. What a process left behind that is gone is replaced. The socket does not
/// block.
///
/// # Errors
/// If another process listens there, if there is a file that is no socket, or if the system refuses it.
pub fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Of two that start at the same time one would take the other's new socket for a stale one.
    let turn = File::open(folder)?;
    turn.lock()?;
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            if !is_dead(path)? {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process is listening there"));
            }
            fs::remove_file(path)?;
        }
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    bind(path)
}

/// The same in place of whatever is at the path, a process that listens there included: nobody finds that one any more.
///
/// # Errors
/// If the system refuses it.
pub fn take(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => bind(path),
    }
}

/// Connects to a path. The socket does not block.
///
/// # Errors
/// The system's.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = stream()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The same, to a socket in a folder where somebody else may write: a link, which could lead to any other socket, is refused.
///
/// # Errors
/// The system's; `ELOOP` for a link.
pub fn connect_to_itself(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
        FileType::Symlink => Err(Errno::LOOP.into()),
        // What was looked at, whatever is at the path by now.
        _ => connect(Path::new(&format!("/proc/self/fd/{}", found.as_raw_fd()))),
    }
}

fn bind(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let address = SocketAddrUnix::new(path)?;
    let socket = stream()?;
    // Linux gives the file the socket's mode, so there is no moment at which others may connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &address)?;
    let file = SocketFile::new(path)?;
    rustix::net::listen(&socket, WAITING)?;
    Ok((socket.into(), file))
}

/// Whether nobody listens at the path of a socket any more.
fn is_dead(path: &Path) -> io::Result<bool> {
    match connect(path).map_err(|error| (Errno::from_io_error(&error), error)) {
        Ok(_) | Err((Some(Errno::AGAIN), _)) => Ok(false),
        Err((Some(Errno::CONNREFUSED), _)) => Ok(true),
        Err((_, error)) => Err(error),
    }
}

fn stream() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// The path of a socket, removed on drop if it is still the one that was made.
///
/// It has to go before the socket is closed: after that another file may get its number.
#[derive(Debug)]
pub struct SocketFile {
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether who looks for it finds nobody: it is gone, or in its place is what a process left behind that is.
    ///
    /// # Errors
    /// If that cannot be seen.
    pub fn is_lost(&self) -> io::Result<bool> {
        match inode(&self.path) {
            Ok(inode) if inode == self.inode => Ok(false),
            Ok(_) => is_dead(&self.path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_a_socket_is_refused_where_the_socket_itself_is_asked_for() {
        let folder = tempfile::TempDir::new().unwrap();
        let [path, link, gone] = ["s.sock", "link.sock", "gone.sock"].map(|name| folder.path().join(name));
        let _listening = listen(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(connect_to_itself(&path).is_ok() && connect(&link).is_ok());
        let refused = connect_to_itself(&link).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(Errno::LOOP));
        assert_eq!(connect_to_itself(&gone).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_path_is_taken_from_the_dead_alone_unless_it_is_asked_for() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("s.sock");
        let (socket, file) = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(connect(&path).is_ok() && !file.is_lost().unwrap());
        let (other, of_other) = take(&path).unwrap();
        assert!(!file.is_lost().unwrap(), "somebody is there");
        drop((file, socket));
        assert!(path.exists() && !of_other.is_lost().unwrap());
        std::mem::forget(of_other);
        drop(other);
        let (_socket, file) = listen(&path).unwrap();
        let moved = folder.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        assert!(file.is_lost().unwrap());
        File::create(&path).unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(file);
        assert!(path.exists(), "it is another's");
    }
}
