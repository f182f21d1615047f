//! The half that mounts: it has the right to, and nothing else. No credentials, no network, one request at a time.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use bulla_core::socket;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, StatxFlags, Uid, chownat, fstatfs, openat, statx, unlinkat,
};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};

use super::memory::{self, Made};
use super::mounts;
use super::protocol::{FailureKind, Owner, Reply, Request, Shape, Wait, receive_in, send};
use super::sockets::Sockets;
use super::target::{self, Target};

/// How many file systems may be made and not attached.
const MOST_UNATTACHED: usize = 1024;
/// How many mounts lie on each other at one place at most: others' mistakes are cleaned up too.
const MOST_STACKED: usize = 16;
/// How deep folders in a volume go.
const DEEPEST: usize = 16;
/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: u64 = 0x0102_1994;
/// The kubelet's note beside each volume of a CSI driver, and how much of it is read.
const NOTE: &str = "vol_data.json";
const LONGEST_NOTE: u64 = 16 << 10;

/// What the half that mounts may do.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The driver's name: what another one mounted is not touched.
    pub driver: String,
    /// The folder in which the kubelet has the pods' own folders.
    pub pods: PathBuf,
    /// Where providers have their sockets; the first that has one is taken.
    pub providers: Vec<PathBuf>,
    /// The paths of the sockets that are served, by name.
    pub sockets: BTreeMap<String, PathBuf>,
    /// The most that one file system may hold, in bytes.
    pub most_bytes: u64,
    /// The most files that one may have.
    pub most_files: u64,
    /// The user that the other half runs as.
    pub user: u32,
}

/// What was not done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    kind: FailureKind,
    message: String,
}

impl Failure {
    pub(super) const fn refused(message: String) -> Self {
        Self { kind: FailureKind::Refused, message }
    }

    pub(super) fn of(error: Errno, doing: &str) -> Self {
        let kind = match error {
            Errno::NOENT => FailureKind::NotFound,
            // A link where a folder should be, or a way out of the pods' folder.
            Errno::LOOP | Errno::XDEV | Errno::NOTDIR => FailureKind::Refused,
            _ => FailureKind::System,
        };
        Self { kind, message: format!("{doing}: {error}") }
    }

    pub(super) fn io(error: &io::Error, doing: &str) -> Self {
        match Errno::from_io_error(error) {
            Some(errno) => Self::of(errno, doing),
            None => Self { kind: FailureKind::System, message: format!("{doing}: {error}") },
        }
    }
}

/// Serves until the other half is gone.
///
/// # Errors
/// If the pods' folder cannot be opened, or the socket fails.
pub fn serve(socket: &OwnedFd, rules: Rules) -> io::Result<()> {
    let pods = openat(rustix::fs::CWD, &rules.pods, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", rules.pods.display())))?;
    let sockets = Sockets::new(rules.sockets.clone());
    // What the start needed is not needed any more, and this process does little.
    bulla_core::memory::keep_little();
    bulla_core::memory::give_back();
    let mut mounter = Mounter { rules, pods, sockets, made: BTreeMap::new(), next: 1 };
    let mut bytes = Vec::new();
    while let Some((request, _)) = receive_in::<Request>(socket, &mut bytes, Wait::Blocking)? {
        let (reply, descriptor) = match mounter.answer(request) {
            Ok(answer) => answer,
            Err(Failure { kind, message }) => (Reply::Failed { kind, message }, None),
        };
        send(socket, &reply, descriptor.as_ref().map(AsFd::as_fd))?;
    }
    Ok(())
}

struct Mounter {
    rules: Rules,
    pods: OwnedFd,
    sockets: Sockets,
    made: BTreeMap<u64, Made>,
    next: u64,
}

type Answer = (Reply, Option<OwnedFd>);

impl Mounter {
    fn answer(&mut self, request: Request) -> Result<Answer, Failure> {
        match request {
            Request::Create(shape) => self.create(&shape),
            Request::Attach { id, target, folder, owner } => {
                let target = Target::parse(&target)?;
                self.attach(id, &target, folder.as_deref(), owner).map(|()| (Reply::Done, None))
            }
            Request::Discard { id } => {
                self.made.remove(&id);
                Ok((Reply::Done, None))
            }
            Request::Open { target } => self.open(&target),
            Request::OpenOrCreate { target, shape } => match self.open(&target) {
                Err(Failure { kind: FailureKind::NotFound, .. }) => self.create(&shape),
                opened => opened,
            },
            Request::OpenOrMount { target, shape } => match self.open(&target) {
                Err(Failure { kind: FailureKind::NotFound, .. }) => self.mount(&target, &shape),
                opened => opened,
            },
            Request::Own { target, folder, owner } => {
                let root = self.mounted(&Target::parse(&target)?)?;
                own(&root, &folder, owner).map(|()| (Reply::Done, None))
            }
            Request::Detach { target } => self.detach(&Target::parse(&target)?).map(|()| (Reply::Done, None)),
            Request::Count => {
                let places = mounts::ours(&self.rules.pods)
                    .map_err(|error| Failure { kind: FailureKind::System, message: error.to_string() })?;
                Ok((Reply::Counted(places.len()), None))
            }
            Request::Listen { name } => Ok((Reply::Listening, Some(self.sockets.listen(&name)?))),
            Request::IsLost { name } => Ok((Reply::Lost(self.sockets.is_lost(&name)?), None)),
            Request::Unlisten { name } => self.sockets.unlisten(&name).map(|()| (Reply::Done, None)),
            Request::Connect { provider } => Ok((Reply::Connected, Some(self.connect(&provider)?))),
        }
    }

    fn open(&self, target: &str) -> Result<Answer, Failure> {
        let root = self.mounted(&Target::parse(target)?)?;
        Ok((Reply::Opened, Some(memory::root(&root)?)))
    }

    fn create(&mut self, shape: &Shape) -> Result<Answer, Failure> {
        let is_allowed = (1..=self.rules.most_bytes).contains(&shape.bytes)
            && (1..=self.rules.most_files).contains(&shape.files)
            && self.made.len() < MOST_UNATTACHED;
        if !is_allowed {
            return Err(Failure::refused(format!(
                "a file system of {} bytes and {} files, beside {} others, is more than is allowed",
                shape.bytes,
                shape.files,
                self.made.len()
            )));
        }
        let made = memory::make(shape, self.rules.user)?;
        let root = memory::root(&made.mount)?;
        let (id, noswap) = (self.next, made.noswap);
        self.next += 1;
        self.made.insert(id, made);
        Ok((Reply::Created { id, noswap }, Some(root)))
    }

    /// Makes one and mounts it; where something else is mounted, it waits for that to go.
    fn mount(&mut self, target: &str, shape: &Shape) -> Result<Answer, Failure> {
        let id = self.next;
        let created = self.create(shape)?;
        let noswap = self.made.get(&id).is_some_and(|made| made.noswap);
        match self.attach(id, &Target::parse(target)?, None, Owner::default()) {
            Ok(()) => Ok((Reply::Mounted { noswap }, created.1)),
            Err(Failure { kind: FailureKind::Busy, .. }) => Ok(created),
            Err(failure) => {
                self.made.remove(&id);
                Err(failure)
            }
        }
    }

    fn attach(&mut self, id: u64, target: &Target, folder: Option<&str>, owner: Owner) -> Result<(), Failure> {
        let Some(made) = self.made.get(&id) else {
            return Err(Failure::refused(format!("there is no file system {id} to mount")));
        };
        if let Some(folder) = folder {
            own(&made.mount, folder, owner)?;
        }
        let place = target.make(&self.pods)?;
        if is_mounted(&place, &target.parent(&self.pods)?)? {
            let message = format!("something is mounted at {}", target.path().display());
            return Err(Failure { kind: FailureKind::Busy, message });
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&made.mount, "", &place, "", flags)
            .map_err(|error| Failure::of(error, &format!("mounting {}", target.path().display())))?;
        self.made.remove(&id);
        Ok(())
    }

    /// The root of the file system in memory that is mounted at a place.
    ///
    /// One that an earlier driver of the same name mounted belongs to root: then it is given to the other half first.
    fn mounted(&self, target: &Target) -> Result<OwnedFd, Failure> {
        let place = target.open(&self.pods)?;
        let not_ours =
            |why: &str| Failure { kind: FailureKind::NotFound, message: format!("{}: {why}", target.path().display()) };
        let parent = target.parent(&self.pods)?;
        if !is_mounted(&place, &parent)? {
            return Err(not_ours("nothing is mounted there"));
        }
        if !is_in_memory(&place)? {
            return Err(not_ours("what is mounted there is no file system in memory"));
        }
        match owner_of(&place)? {
            user if user == self.rules.user => {}
            0 if self.is_of_driver(&parent) => {
                give(&memory::root(&place)?, Some(Uid::from_raw(self.rules.user)), None, true, DEEPEST)?;
            }
            _ => return Err(not_ours("it is somebody else's")),
        }
        Ok(place)
    }

    /// Whether the kubelet noted that the volume is of this driver, in the file that it keeps beside each. Nobody but root writes there.
    fn is_of_driver(&self, parent: &OwnedFd) -> bool {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Noted {
            driver_name: String,
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let read = openat(parent, NOTE, flags, Mode::empty()).map_err(io::Error::from).and_then(|file| {
            let mut text = Vec::new();
            std::fs::File::from(file).take(LONGEST_NOTE).read_to_end(&mut text).map(|_| text)
        });
        let noted = read.ok().and_then(|text| serde_json::from_slice::<Noted>(&text).ok());
        noted.is_some_and(|noted| noted.driver_name == self.rules.driver)
    }

    fn detach(&self, target: &Target) -> Result<(), Failure> {
        let parent = match target.parent(&self.pods) {
            Err(Failure { kind: FailureKind::NotFound, .. }) => return Ok(()),
            parent => parent?,
        };
        for _ in 0..MOST_STACKED {
            let place = match target.open(&self.pods) {
                Err(Failure { kind: FailureKind::NotFound, .. }) => return Ok(()),
                place => place?,
            };
            if !is_mounted(&place, &parent)? {
                drop(place);
                return remove(&parent, target);
            }
            if !is_in_memory(&place)? {
                let path = target.path().display();
                return Err(Failure::refused(format!("{path}: what is mounted there is no file system in memory")));
            }
            if owner_of(&place)? != self.rules.user && !self.is_of_driver(&parent) {
                let path = target.path().display();
                return Err(Failure::refused(format!("{path}: what is mounted there is another driver's")));
            }
            // By the descriptor: what was looked at is what goes.
            unmount(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&place)), UnmountFlags::DETACH)
                .map_err(|error| Failure::of(error, &format!("unmounting {}", target.path().display())))?;
        }
        let message = format!("{}: mounts lie on mounts without an end", target.path().display());
        Err(Failure { kind: FailureKind::System, message })
    }

    fn connect(&self, provider: &str) -> Result<OwnedFd, Failure> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if !(1..=30).contains(&provider.len()) || !provider.bytes().all(is_name) {
            return Err(Failure::refused(format!("{provider:?} is no provider's name")));
        }
        let mut last = io::Error::from(Errno::NOENT);
        for folder in &self.rules.providers {
            // Not blocking: a provider that does not accept must hold up nobody else. No link: only root reaches other sockets of the node.
            match socket::connect_to_itself(&folder.join(format!("{provider}.sock"))) {
                Ok(socket) => return Ok(socket),
                // A socket whose server is gone says more than a folder without one.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => last = error,
            }
        }
        Err(Failure::io(&last, &format!("connecting to the provider {provider}")))
    }
}

/// Whether a folder is the root of a mount on top of its parent's.
fn is_mounted(place: &OwnedFd, parent: &OwnedFd) -> Result<bool, Failure> {
    let mount = |folder: &OwnedFd| {
        statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
            .map(|found| found.stx_mnt_id)
            .map_err(|error| Failure::of(error, "looking for a mount"))
    };
    Ok(mount(place)? != mount(parent)?)
}

/// Whose the root of what is mounted is.
fn owner_of(place: &OwnedFd) -> Result<u32, Failure> {
    let found = statx(place, "", AtFlags::EMPTY_PATH, StatxFlags::UID);
    Ok(found.map_err(|error| Failure::of(error, "looking at a mounted volume"))?.stx_uid)
}

fn is_in_memory(place: &OwnedFd) -> Result<bool, Failure> {
    let found = fstatfs(place).map_err(|error| Failure::of(error, "looking at what is mounted"))?;
    Ok(u64::try_from(found.f_type) == Ok(TMPFS))
}

/// Removes the bare folder of a place, and what a provider left in it when nothing was mounted.
fn remove(parent: &OwnedFd, target: &Target) -> Result<(), Failure> {
    let failed = |error| Failure::of(error, &format!("removing {}", target.path().display()));
    match unlinkat(parent, "mount", AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY) => {}
        Err(error) => return Err(failed(error)),
    }
    let folder = openat(parent, "mount", folder_flags(), Mode::empty()).map_err(failed)?;
    empty(&folder, DEEPEST).map_err(failed)?;
    unlinkat(parent, "mount", AtFlags::REMOVEDIR).map_err(failed)
}

fn empty(folder: &OwnedFd, depth: usize) -> rustix::io::Result<()> {
    for entry in entries(folder)? {
        let (name, kind) = entry?;
        if kind == FileType::Directory {
            let below = openat(folder, &name, folder_flags(), Mode::empty())?;
            empty(&below, depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?)?;
            unlinkat(folder, &name, AtFlags::REMOVEDIR)?;
        } else {
            unlinkat(folder, &name, AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Gives all files of a folder of a file system to their owner. Folders stay with the half that writes them; their group is the owner's.
fn own(root: &OwnedFd, folder: &str, owner: Owner) -> Result<(), Failure> {
    if folder.is_empty() || folder.contains('/') || folder == "." || folder == ".." {
        return Err(Failure::refused(format!("{folder:?} is no folder of a volume")));
    }
    let opened = target::open(root, Path::new(folder))
        .and_then(|folder| openat(&folder, ".", folder_flags(), Mode::empty()))
        .map_err(|error| Failure::of(error, &format!("opening {folder}")))?;
    give(&opened, owner.user.map(Uid::from_raw), owner.group.map(Gid::from_raw), false, DEEPEST)
}

fn give(
    folder: &OwnedFd,
    user: Option<Uid>,
    group: Option<Gid>,
    folders_too: bool,
    depth: usize,
) -> Result<(), Failure> {
    let failed = |error| Failure::of(error, "giving a volume's files to their owner");
    for entry in entries(folder).map_err(failed)? {
        let (name, kind) = entry.map_err(failed)?;
        if kind == FileType::Directory {
            let below = openat(folder, &name, folder_flags(), Mode::empty()).map_err(failed)?;
            give(&below, user, group, folders_too, depth.checked_sub(1).ok_or_else(|| failed(Errno::NAMETOOLONG))?)?;
        } else {
            chownat(folder, &name, user, group, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
    }
    let user = user.filter(|_| folders_too);
    if user.is_some() || group.is_some() {
        chownat(folder, "", user, group, AtFlags::EMPTY_PATH).map_err(failed)?;
    }
    Ok(())
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn entries(
    folder: &OwnedFd,
) -> rustix::io::Result<impl Iterator<Item = rustix::io::Result<(std::ffi::CString, FileType)>> + use<>> {
    let entries = Dir::read_from(folder)?.filter_map(|entry| match entry {
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
        entry => Some(entry.map(|entry| (entry.file_name().to_owned(), entry.file_type()))),
    });
    Ok(entries)
}
