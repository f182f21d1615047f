//! The half that mounts, on a thread of the test's with mounts of its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulla_node::mounter::protocol::{FailureKind, Reply, Request, Shape, receive, send};
use bulla_node::mounter::{Rules, serve};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tempfile::TempDir;

/// The user of the other half.
pub(crate) const USER: u32 = 65532;

/// The driver's name.
pub(crate) const DRIVER: &str = "secrets-store.csi.k8s.io";

/// The half that mounts, on a thread with mounts of its own, and the test's end of its socket. What it sees at a path is seen through
/// `/proc/self/task`, by the descriptors that it gives out, or by [`look`](Half::look).
pub(crate) struct Half {
    pub(crate) folder: Arc<TempDir>,
    pub(crate) socket: OwnedFd,
    thread: i32,
    mounts: fs::File,
}

impl Half {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// `before` is run where the mounts are, on the kubelet's folder.
    pub(crate) fn with(before: impl FnOnce(&Path) + Send + 'static) -> Self {
        Self::on(Arc::new(TempDir::new().unwrap()), before)
    }

    /// Another one on the same node.
    pub(crate) fn beside(&self) -> Self {
        Self::on(Arc::clone(&self.folder), |_| {})
    }

    fn on(folder: Arc<TempDir>, before: impl FnOnce(&Path) + Send + 'static) -> Self {
        fs::create_dir_all(folder.path().join("pods")).unwrap();
        let path = folder.path().to_owned();
        let (socket, thread) = run(&folder, move || {
            // Threads have mounts of their own once they ask for it.
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            before(&path);
        });
        let mounts = fs::File::open(format!("/proc/self/task/{thread}/ns/mnt")).unwrap();
        Self { folder, socket, thread, mounts }
    }

    /// The next process in its place: the mounts are there, and nothing else that it knew. The one before ends with its socket.
    pub(crate) fn again(&mut self) {
        let mounts = self.mounts.try_clone().unwrap();
        (self.socket, self.thread) = run(&self.folder, move || {
            // Who shares its root and working folder with others cannot go elsewhere.
            unshare(CloneFlags::CLONE_FS).unwrap();
            setns(mounts, CloneFlags::CLONE_NEWNS).unwrap();
        });
    }

    pub(crate) fn ask(&self, request: &Request) -> (Reply, Option<OwnedFd>) {
        // Whoever asks by it as the other half does left it so that it does not.
        rustix::io::ioctl_fionbio(&self.socket, false).unwrap();
        send(self.socket.as_fd(), request, None).unwrap();
        receive(&self.socket).unwrap().unwrap()
    }

    #[track_caller]
    pub(crate) fn done(&self, request: &Request) {
        assert_eq!(self.ask(request).0, Reply::Done);
    }

    #[track_caller]
    pub(crate) fn fails(&self, request: &Request) -> (FailureKind, String) {
        match self.ask(request) {
            (Reply::Failed { kind, message }, None) => (kind, message),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// A path as the half that mounts sees it.
    pub(crate) fn look(&self, path: impl AsRef<Path>) -> PathBuf {
        let root = format!("/proc/self/task/{}/root", self.thread);
        Path::new(&root).join(self.folder.path().strip_prefix("/").unwrap()).join(path)
    }

    /// What the kubelet makes: all but the last folder.
    pub(crate) fn volume(&self, pod: &str) -> String {
        let volume = format!("{pod}/volumes/kubernetes.io~csi/secrets");
        fs::create_dir_all(self.look("pods").join(&volume)).unwrap();
        format!("{volume}/mount")
    }

    pub(crate) fn create(&self, shape: Shape) -> (u64, OwnedFd) {
        match self.ask(&Request::Create(shape)) {
            (Reply::Created { id, .. }, Some(root)) => (id, root),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn mounts(&self) -> String {
        fs::read_to_string(format!("/proc/self/task/{}/mountinfo", self.thread)).unwrap()
    }
}

/// Serves on a thread that goes where `enter` leads; gives the other end of its socket, and its number.
fn run(folder: &TempDir, enter: impl FnOnce() + Send + 'static) -> (OwnedFd, i32) {
    let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let path = folder.path().to_owned();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        enter();
        tell.send(nix::unistd::gettid().as_raw()).unwrap();
        let rules = Rules {
            driver: DRIVER.to_owned(),
            pods: path.join("pods"),
            providers: vec![path.join("none"), path.join("providers")],
            sockets: BTreeMap::from([("csi".to_owned(), path.join("plugin/csi.sock"))]),
            most_bytes: 64 << 20,
            most_files: 10_000,
            user: USER,
        };
        serve(&theirs, rules).unwrap();
    });
    (socket, told.recv().unwrap())
}
