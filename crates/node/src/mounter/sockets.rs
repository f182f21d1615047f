//! The sockets that are served. The kubelet finds them by their paths, and so does the next process of this service.
//!
//! Two processes may be there for a while: the old one has not ended when the new one listens already, or it is started once more and
//! ends at once. Whoever took a path last has it: nobody removes another's, and whose path is gone, or leads to nobody, makes it again.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use bulla_core::socket::{self, SocketFile};

use super::server::Failure;

pub(super) struct Sockets {
    paths: BTreeMap<String, PathBuf>,
    held: BTreeMap<String, Held>,
}

/// The path of one that listens. It goes first.
struct Held {
    file: SocketFile,
    _socket: UnixListener,
}

impl Sockets {
    pub(super) const fn new(paths: BTreeMap<String, PathBuf>) -> Self {
        Self { paths, held: BTreeMap::new() }
    }

    /// One that listens at a name's path, in place of what was there.
    pub(super) fn listen(&mut self, name: &str) -> Result<OwnedFd, Failure> {
        let path = self.path(name)?;
        let folder = path.parent().unwrap_or_else(|| Path::new("/"));
        // The kubelet's folders are there; this service's own in them may not be.
        let made = DirBuilder::new().mode(0o750).create(folder);
        let made = made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) });
        let taken =
            made.and_then(|()| socket::take(path)).and_then(|(socket, file)| Ok((socket.try_clone()?, socket, file)));
        let (socket, kept, file) =
            taken.map_err(|error| Failure::io(&error, &format!("listening at {}", path.display())))?;
        self.held.insert(name.to_owned(), Held { file, _socket: kept });
        Ok(socket.into())
    }

    /// Whether nobody is found at the path of one that listens.
    pub(super) fn is_lost(&self, name: &str) -> Result<bool, Failure> {
        let path = self.path(name)?;
        let is_lost = self.held.get(name).map_or(Ok(true), |held| held.file.is_lost());
        is_lost.map_err(|error| Failure::io(&error, &format!("looking at {}", path.display())))
    }

    /// Nobody finds it any more; who found it before is refused once the other half lets it go, too.
    pub(super) fn unlisten(&mut self, name: &str) -> Result<(), Failure> {
        self.path(name)?;
        self.held.remove(name);
        Ok(())
    }

    fn path(&self, name: &str) -> Result<&Path, Failure> {
        let path = self.paths.get(name).map(PathBuf::as_path);
        path.ok_or_else(|| Failure::refused(format!("{name:?} is no socket of this service")))
    }
}
