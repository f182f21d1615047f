//! A file gets new contents whole or not at all.

use std::ffi::{CStr, CString};
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::FileError;

/// Replaces `path` by `contents`: a temporary file in the same folder, `fsync`, `rename`, `fsync` of the folder.
///
/// Whoever reads `path` meanwhile, or after a crash, finds the old contents or the new, nothing between. A symbolic link
/// is followed and stays, also one that leads to no file yet. The file's owner, mode, access control list and `user.`
/// attributes stay; where its owner cannot be kept it is not replaced. Other hard links keep the old contents. A new file
/// gets `new_mode` less the umask.
///
/// The temporary file has no name until it is complete where the file system can do that, so that what kills the process
/// leaves no plaintext behind; elsewhere it has mode 0600, and is removed when anything fails.
///
/// # Errors
/// [`FileError::Io`]; the file is then as it was, unless it was the last `fsync` of the folder that failed: then the
/// new contents are in place but may not outlive a power cut.
pub fn replace(path: &Path, contents: &[u8], new_mode: u32) -> Result<(), FileError> {
    try_replace(path, contents, new_mode).map_err(FileError::io("replace", path))
}

/// What a file is like that takes another one's place, whatever that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Its mode.
    pub mode: NewMode,
    /// Its owner; ourselves if not given.
    pub user: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
}

/// The mode of a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewMode {
    /// This.
    Exactly(u32),
    /// This less the umask.
    LessUmask(u32),
}

/// Replaces `path` by a new file, as [`replace`] does, but keeps nothing of what is there: not the mode, not the owner, not a symbolic link, which
/// could lead whoever writes a secret where another one wants it. A folder, a pipe or a device is not replaced, nor a link that leads to one of the latter
/// two (`/dev/stdout`).
///
/// # Errors
/// As [`replace`].
pub fn replace_as(path: &Path, contents: &[u8], fresh: Fresh) -> Result<(), FileError> {
    try_replace_as(path, contents, fresh).map_err(FileError::io("replace", path))
}

fn try_replace_as(path: &Path, contents: &[u8], fresh: Fresh) -> io::Result<()> {
    let mut replacement = Replacement::try_begin(path, fresh)?;
    replacement.temporary.file().write_all(contents)?;
    replacement.try_finish()
}

/// A new file that takes another one's place as with [`replace_as`], written piece by piece. Dropped before it is [finished](Self::finish), it leaves
/// everything as it was.
pub struct Replacement {
    temporary: Temporary,
    folder: File,
    path: PathBuf,
    fresh: Fresh,
}

impl Replacement {
    /// Begins a file for `path`.
    ///
    /// # Errors
    /// As [`replace_as`].
    pub fn begin(path: &Path, fresh: Fresh) -> Result<Self, FileError> {
        Self::try_begin(path, fresh).map_err(FileError::io("replace", path))
    }

    /// Adds to it.
    ///
    /// # Errors
    /// As [`replace_as`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.temporary.file().write_all(bytes).map_err(FileError::io("replace", &self.path))
    }

    /// Puts it in its place.
    ///
    /// # Errors
    /// As [`replace_as`].
    pub fn finish(self) -> Result<(), FileError> {
        let path = self.path.clone();
        self.try_finish().map_err(FileError::io("replace", &path))
    }

    fn try_begin(path: &Path, fresh: Fresh) -> io::Result<Self> {
        let folder = File::open(parent(path))?;
        check_replaceable(path)?;
        let mode = match fresh.mode {
            NewMode::LessUmask(mode) => mode,
            NewMode::Exactly(_) => 0o600,
        };
        Ok(Self { temporary: Temporary::create(parent(path), mode)?, folder, path: path.to_owned(), fresh })
    }

    fn try_finish(mut self) -> io::Result<()> {
        let (file, fresh) = (self.temporary.file(), self.fresh);
        if fresh.user.is_some() || fresh.group.is_some() {
            fchown(&*file, fresh.user, fresh.group)?;
        }
        // After the owner: a change of that resets parts of it.
        if let NewMode::Exactly(mode) = fresh.mode {
            file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
        }
        file.sync_all()?;
        self.temporary.persist(parent(&self.path), &self.path)?;
        sync_folder(&self.folder)
    }
}

/// Whether what is at `path`, if anything, is something that [`replace_as`] replaces. What takes the place of `/dev/null` is missed by the whole machine.
///
/// # Errors
/// Why it is not.
pub fn check_replaceable(path: &Path) -> io::Result<()> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    if there.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    let end = if there.is_symlink() { fs::metadata(path).ok() } else { Some(there) };
    let is_special = |kind: fs::FileType| kind.is_fifo() || kind.is_char_device() || kind.is_block_device();
    match end {
        Some(end) if is_special(end.file_type()) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe or a device"))
        }
        _ => Ok(()),
    }
}

/// Some file systems have no such thing for folders.
fn sync_folder(folder: &File) -> io::Result<()> {
    match folder.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

fn try_replace(path: &Path, contents: &[u8], new_mode: u32) -> io::Result<()> {
    let target = follow(path)?;
    let folder = parent(&target);
    let folder_handle = File::open(folder)?;
    let old = open_old(&target)?;
    let mut temporary = Temporary::create(folder, if old.is_some() { 0o600 } else { new_mode })?;
    let file = temporary.file();
    file.write_all(contents)?;
    if let Some(old) = &old {
        keep_attributes(old, file)?;
    }
    file.sync_all()?;
    temporary.persist(folder, &target)?;
    sync_folder(&folder_handle)
}

/// Where `path` leads when its last part is a link, there or not.
fn follow(path: &Path) -> io::Result<PathBuf> {
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = parent(&path).join(next),
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(path);
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::LOOP.into())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The file to be replaced, if there is one and it may be written.
fn open_old(target: &Path) -> io::Result<Option<File>> {
    match fs::metadata(target) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    // A rename gets round a file's own permissions. Opening it for writing asks the system; not to wait, should it have
    // become a pipe just now.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let old = File::options().write(true).custom_flags(nonblocking).open(target)?;
    // What the system does not say to root.
    if old.metadata()?.permissions().mode() & 0o222 == 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the file is read-only"));
    }
    Ok(Some(old))
}

/// A file that is not in its place yet.
enum Temporary {
    /// Without a name: gone with the process.
    Unnamed(File),
    /// For file systems that cannot do without; removed on drop.
    Named(NamedTempFile),
}

impl Temporary {
    fn create(folder: &Path, mode: u32) -> io::Result<Self> {
        // Its name is given through /proc.
        if Path::new("/proc/self/fd").is_dir() {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            match rustix::fs::openat(CWD, folder, flags, Mode::from_raw_mode(mode)) {
                Ok(file) => return Ok(Self::Unnamed(file.into())),
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        names().permissions(Permissions::from_mode(mode)).tempfile_in(folder).map(Self::Named)
    }

    fn file(&mut self) -> &mut File {
        match self {
            Self::Unnamed(file) => file,
            Self::Named(file) => file.as_file_mut(),
        }
    }

    fn persist(self, folder: &Path, target: &Path) -> io::Result<()> {
        let path = match self {
            // A link cannot replace a file, so it takes a rename as well.
            Self::Unnamed(file) => {
                let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
                let link = |path: &Path| {
                    rustix::fs::linkat(CWD, unnamed.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(Into::into)
                };
                names().make_in(folder, link)?.into_temp_path()
            }
            Self::Named(file) => file.into_temp_path(),
        };
        path.persist(target).map_err(|error| error.error)
    }
}

fn names() -> tempfile::Builder<'static, 'static> {
    let mut names = tempfile::Builder::new();
    names.prefix(".bulla-");
    names
}

/// Gives `new` the owner, the access and the attributes of `old`. The mode comes last: a change of owner resets parts of it.
fn keep_attributes(old: &File, new: &File) -> io::Result<()> {
    let (was, is) = (old.metadata()?, new.metadata()?);
    if (is.uid(), is.gid()) != (was.uid(), was.gid()) {
        fchown(new, Some(was.uid()), Some(was.gid())).map_err(|error| {
            let what = format!("its owner {}:{} cannot be kept: {error}", was.uid(), was.gid());
            io::Error::new(error.kind(), what)
        })?;
    }
    keep_extended_attributes(old, new)?;
    new.set_permissions(Permissions::from_mode(was.permissions().mode() & 0o7777))
}

const ACL: &CStr = c"system.posix_acl_access";

fn keep_extended_attributes(old: &File, new: &File) -> io::Result<()> {
    let kept = attribute_names(old)?;
    // What the folder's default list grants must not be added to a file that had no list.
    if !kept.iter().any(|name| name.as_c_str() == ACL)
        && attribute_names(new)?.iter().any(|name| name.as_c_str() == ACL)
    {
        rustix::fs::fremovexattr(new, ACL)?;
    }
    let mut value = vec![0; ATTRIBUTE_MAX];
    for name in kept {
        let len = rustix::fs::fgetxattr(old, name.as_c_str(), value.as_mut_slice())?;
        let result = rustix::fs::fsetxattr(new, name.as_c_str(), &value[..len], XattrFlags::empty());
        // A label is the security module's to give; it may keep that to itself.
        if !name.to_bytes().starts_with(b"security.") {
            result?;
        }
    }
    Ok(())
}

/// The kernel's limits for one attribute's value, and for a list of names.
const ATTRIBUTE_MAX: usize = 65536;

/// The attributes of `file` that belong to it, not to its contents as signatures and capabilities do.
fn attribute_names(file: &File) -> io::Result<Vec<CString>> {
    let mut list = vec![0; ATTRIBUTE_MAX];
    let len = match rustix::fs::flistxattr(file, list.as_mut_slice()) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    let names = list[..len].split_inclusive(|byte| *byte == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    let belongs = |name: &&CStr| {
        *name == ACL
            || name.to_bytes().starts_with(b"user.")
            || matches!(name.to_bytes(), b"security.selinux" | b"security.SMACK64")
    };
    Ok(names.filter(belongs).map(CStr::to_owned).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_fresh_file_has_nothing_of_the_one_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("x"), folder.path().join("elsewhere"));
        let fresh = |mode| Fresh { mode, user: None, group: None };
        replace_as(&path, b"one", fresh(NewMode::Exactly(0o604))).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"one".to_vec(), 0o604));
        replace_as(&path, b"two", fresh(NewMode::LessUmask(0o400))).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"two".to_vec(), 0o400));
        fs::remove_file(&path).unwrap();
        symlink(&elsewhere, &path).unwrap();
        replace_as(&path, b"three", fresh(NewMode::Exactly(0o600))).unwrap();
        assert!(!fs::symlink_metadata(&path).unwrap().is_symlink() && !elsewhere.exists());
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        symlink("/dev/null", &link).unwrap();
        for other in [folder.path(), &pipe, &link, Path::new("/dev/null")] {
            assert!(replace_as(other, b"four", fresh(NewMode::Exactly(0o600))).is_err(), "{}", other.display());
        }
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_replacement_that_is_not_finished_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let fresh = Fresh { mode: NewMode::Exactly(0o600), user: None, group: None };
        replace_as(&path, b"old", fresh).unwrap();
        let mut begun = Replacement::begin(&path, fresh).unwrap();
        begun.write(b"ne").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(begun);
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(folder.path()).unwrap().count()), (b"old".to_vec(), 1));
        let mut begun = Replacement::begin(&path, fresh).unwrap();
        begun.write(b"ne").unwrap();
        begun.write(b"w").unwrap();
        begun.finish().unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
    }
}
