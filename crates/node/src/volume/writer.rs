//! Files that change all at once, as the kubelet's own volumes do it.
//!
//! ```text
//! password -> ..data/password
//! ..data -> ..2026_11_25_12_30_00.8f3a
//! ..2026_11_25_12_30_00.8f3a/password
//! ```
//! A new version is a new folder; `..data` is replaced by one rename. Who reads through `..data`, or opens all files of one folder, has all
//! of one version. In two steps, because the files get their owner in between, from the process that may do that: [`prepare`] writes the
//! folder, [`Prepared::commit`] shows it.
//!
//! All of it is relative to a descriptor of the volume's root and follows no link, so it makes no difference where that is mounted.

use std::os::fd::OwnedFd;

use bulla_core::SecretBytes;
use jiff::Timestamp;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, fchmod, mkdirat, openat, readlinkat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::content::Content;
use super::record::{LARGEST, NAME, Record, digest, parse};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";
const RECORD_NEW: &str = "..bulla_tmp";

/// What could not be written. Paths are shown, contents never.
#[derive(Debug, thiserror::Error)]
#[error("writing {what} of a volume: {error}")]
pub struct VolumeError {
    what: String,
    error: Errno,
}

impl VolumeError {
    /// Whether there was no room.
    pub fn is_full(&self) -> bool {
        self.error == Errno::NOSPC
    }
}

/// A version that is written and not shown yet.
#[derive(Debug)]
#[must_use = "it is shown by `commit`"]
pub struct Prepared {
    record: Record,
    tops: Vec<String>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Readers see the new version.
    Changed,
    /// The files were as they should be.
    Unchanged,
}

/// What is remembered of a volume; nothing if nobody has written anything to it.
///
/// # Errors
/// If it cannot be read.
pub fn record(root: &OwnedFd) -> Result<Option<Record>, VolumeError> {
    if let Some(record) = own_record(root)? {
        return Ok(Some(record));
    }
    let failed = |error| VolumeError { what: "the files of an earlier driver".to_owned(), error };
    let is_bare = entries(root).map_err(failed)?.next().is_none();
    Ok((!is_bare).then(Record::of_another))
}

fn own_record(root: &OwnedFd) -> Result<Option<Record>, VolumeError> {
    let failed = |error| VolumeError { what: NAME.to_owned(), error };
    let file = match openat(root, NAME, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let file = std::fs::File::from(file);
    let read = bulla_core::file::read_from(&file, NAME.as_ref(), 0, LARGEST as u64);
    let Ok(bytes) = read else { return Ok(None) };
    let Some(record) = parse(&bytes) else { return Ok(None) };
    let is_shown = match readlinkat(root, DATA, Vec::new()) {
        Ok(link) => link.to_bytes() == record.folder.as_bytes(),
        // What a provider of old wrote itself.
        Err(_) => record.folder.is_empty(),
    };
    if is_shown && !record.is_unfinished {
        return Ok(Some(record));
    }
    // Who answers that nothing has changed since would leave it so.
    let (folder, digest, versions) = (String::new(), String::new(), Vec::new());
    Ok(Some(Record { folder, digest, versions, is_unfinished: true, ..record }))
}

/// Whether a volume of which this is remembered has this content.
pub fn is_current(record: &Record, content: &Content) -> bool {
    !record.folder.is_empty() && record.digest == digest(content)
}

/// Writes a new version beside the one that is shown. The folder that it is in may be given to an owner then.
///
/// # Errors
/// [`VolumeError`]; what was written is removed, what is shown stays as it was.
pub fn prepare(root: &OwnedFd, content: &Content, record: Record) -> Result<Prepared, VolumeError> {
    let folder = name().map_err(|_| VolumeError { what: "the name of a version".to_owned(), error: Errno::IO })?;
    let tops = content.tops().map(str::to_owned).collect();
    let record = Record { folder, digest: digest(content), ..record };
    let prepared = Prepared { record, tops };
    let written = write_all(root, prepared.folder(), content);
    if let Err(error) = written {
        // What is left of it is removed with the next version that succeeds.
        let _ = remove(root, prepared.folder());
        return Err(error);
    }
    Ok(prepared)
}

impl Prepared {
    /// The folder in the volume's root that its files are in.
    pub fn folder(&self) -> &str {
        &self.record.folder
    }

    /// Shows it in the place of the version before, and removes that.
    ///
    /// # Errors
    /// [`VolumeError`]. What is shown is all of the old version or all of the new one; [`record`] says that it is unfinished.
    pub fn commit(self, root: &OwnedFd) -> Result<Record, VolumeError> {
        self.commit_by(root, || Ok(()))
    }

    /// The same; `step` is run before each change, and ends it with an error as a crash would.
    pub(super) fn commit_by(
        mut self,
        root: &OwnedFd,
        mut step: impl FnMut() -> rustix::io::Result<()>,
    ) -> Result<Record, VolumeError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| VolumeError { what: what.clone(), error }
        };
        let mut step = |what: &str| step().map_err(failed(what));
        // Where nothing was shown before, a volume without a record is one that was never filled.
        if readlinkat(root, DATA, Vec::new()).is_ok() {
            step(NAME)?;
            self.record.is_unfinished = true;
            write_record(root, &self.record)?;
        }
        step(DATA_NEW)?;
        unlink(root, DATA_NEW).map_err(failed(DATA_NEW))?;
        symlinkat(self.folder(), root, DATA_NEW).map_err(failed(DATA_NEW))?;
        step(DATA)?;
        renameat(root, DATA_NEW, root, DATA).map_err(failed(DATA))?;
        for top in &self.tops {
            let link = format!("{DATA}/{top}");
            step(top)?;
            match symlinkat(&link, root, top) {
                Err(Errno::EXIST) => {
                    // As it was, or a file that a provider of old wrote itself.
                    if readlinkat(root, top, Vec::new()).is_ok_and(|old| old.to_bytes() == link.as_bytes()) {
                        continue;
                    }
                    remove(root, top).map_err(failed(top))?;
                    symlinkat(&link, root, top).map_err(failed(top))?;
                }
                result => result.map_err(failed(top))?,
            }
        }
        let old = "old files";
        for entry in entries(root).map_err(failed(old))? {
            let (entry, _) = entry.map_err(failed(old))?;
            let is_ours = matches!(entry.as_str(), DATA | NAME) || entry == self.folder() || self.tops.contains(&entry);
            if !is_ours {
                step(old)?;
                remove(root, &entry).map_err(failed(old))?;
            }
        }
        step(NAME)?;
        self.record.is_unfinished = false;
        write_record(root, &self.record)?;
        Ok(self.record)
    }
}

fn write_all(root: &OwnedFd, folder: &str, content: &Content) -> Result<(), VolumeError> {
    let failed = |path: &str| {
        let what = path.to_owned();
        move |error| VolumeError { what, error }
    };
    make_folder(root, folder).map_err(failed("a version"))?;
    let version = open_folder(root, folder).map_err(failed("a version"))?;
    for (path, file) in content.files() {
        let failed = failed(path);
        for (end, _) in path.match_indices('/') {
            match make_folder(&version, &path[..end]) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        write_file(&version, path, file.mode, file.contents.expose()).map_err(failed)?;
    }
    Ok(())
}

/// Who runs this may have any mask; folders can be entered by all, files say themselves who may read them.
fn make_folder(root: &OwnedFd, path: &str) -> rustix::io::Result<()> {
    mkdirat(root, path, Mode::from_raw_mode(0o755))?;
    let folder = open_folder(root, path)?;
    // What the parent gave on, its group's bit, stays.
    let given = statat(root, path, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o2000;
    fchmod(&folder, Mode::from_raw_mode(0o755 | given))
}

fn write_file(folder: &OwnedFd, path: &str, mode: u32, contents: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, path, flags, Mode::from_raw_mode(0o600))?;
    let mut rest = contents;
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, rest))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    fchmod(&file, Mode::from_raw_mode(mode))
}

/// Remembers something else of a volume whose files stay.
///
/// # Errors
/// [`VolumeError`]; what was remembered stays.
pub fn remember(root: &OwnedFd, record: &Record) -> Result<(), VolumeError> {
    write_record(root, record)
}

fn write_record(root: &OwnedFd, record: &Record) -> Result<(), VolumeError> {
    let failed = |error| VolumeError { what: NAME.to_owned(), error };
    let bytes = SecretBytes::from(serde_json::to_vec(record).map_err(|_| failed(Errno::INVAL))?);
    unlink(root, RECORD_NEW).map_err(failed)?;
    write_file(root, RECORD_NEW, 0o600, bytes.expose()).map_err(failed)?;
    renameat(root, RECORD_NEW, root, NAME).map_err(failed)
}

/// `..2026_11_25_12_30_00.` and eight digits of chance.
fn name() -> Result<String, getrandom::Error> {
    let mut chance = [0; 4];
    getrandom::fill(&mut chance)?;
    let time = Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S").to_string();
    Ok(format!("..{time}.{:08x}", u32::from_le_bytes(chance)))
}

/// Removes a file, a link, or a folder with all that is in it.
fn remove(folder: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(Errno::NOENT) => return Ok(()),
        result => return result,
    }
    let below = open_folder(folder, name)?;
    for entry in entries(&below)? {
        let (entry, kind) = entry?;
        if kind == FileType::Directory {
            remove(&below, &entry)?;
        } else {
            unlinkat(&below, &entry, AtFlags::empty())?;
        }
    }
    unlinkat(folder, name, AtFlags::REMOVEDIR)
}

fn unlink(folder: &OwnedFd, name: &str) -> rustix::io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn open_folder(folder: &OwnedFd, path: &str) -> rustix::io::Result<OwnedFd> {
    openat(folder, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

type Entry = rustix::io::Result<(String, FileType)>;

fn entries(folder: &OwnedFd) -> rustix::io::Result<impl Iterator<Item = Entry> + use<>> {
    let entries = Dir::read_from(folder)?.filter_map(|entry| match entry {
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
        Ok(entry) => Some(match entry.file_name().to_str() {
            Ok(name) => Ok((name.to_owned(), entry.file_type())),
            Err(_) => Err(Errno::ILSEQ),
        }),
        Err(error) => Some(Err(error)),
    });
    Ok(entries)
}
