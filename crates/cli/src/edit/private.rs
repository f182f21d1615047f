//! A folder for the plaintext while it is edited: in memory, for this user alone, wiped at the end.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bulla_core::Env;
use rustix::fs::{FsWord, statfs};
use tempfile::TempDir;

use crate::error::Failure;
use crate::exit::Code;

/// File systems that live in memory: tmpfs and ramfs (`linux/magic.h`).
const IN_MEMORY: [FsWord; 2] = [0x0102_1994, 0x8584_58f6];

/// Whether plaintext may be put on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDisk {
    /// No: fail where there is no memory file system.
    Refused,
    /// Yes, if it must be.
    Allowed,
}

/// A folder of mode 0700. What is in it is overwritten and removed on drop, an editor's own leavings included.
pub(crate) struct PrivateFolder {
    folder: TempDir,
    /// Whether it is in memory.
    pub(crate) in_memory: bool,
}

impl PrivateFolder {
    /// Makes one: in `$XDG_RUNTIME_DIR` or `/dev/shm` if they are in memory, else in the folder for temporary files if that
    /// is, or if a disk will do.
    ///
    /// # Errors
    /// [`Code::CouldNotWriteOutput`] if there is no place for it.
    pub(crate) fn make(env: &dyn Env, on_disk: OnDisk) -> Result<Self, Failure> {
        let temporary = env.path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
        let places = [env.path("XDG_RUNTIME_DIR"), Some(PathBuf::from("/dev/shm")), Some(temporary.clone())];
        for place in places.into_iter().flatten().filter(|place| is_in_memory(place)) {
            if let Ok(folder) = make_in(&place) {
                return Ok(Self { folder, in_memory: true });
            }
        }
        let failure = |what: String| Failure::new(Code::CouldNotWriteOutput, what);
        match on_disk {
            OnDisk::Refused => Err(failure(
                "no memory file system was found for the plaintext: neither $XDG_RUNTIME_DIR, /dev/shm nor $TMPDIR is one"
                    .to_owned(),
            )
            .with_hint("mount a tmpfs and point TMPDIR to it, or accept plaintext on disk with --insecure-temp-dir")),
            OnDisk::Allowed => {
                let folder = make_in(&temporary).map_err(|error| {
                    failure(format!("cannot make a temporary folder in {}: {error}", temporary.display()))
                })?;
                Ok(Self { folder, in_memory: false })
            }
        }
    }

    /// Writes a file of mode 0600 into the folder.
    ///
    /// # Errors
    /// What the system answered.
    pub(crate) fn write(&self, name: &Path, contents: &[u8]) -> io::Result<PathBuf> {
        let path = self.folder.path().join(name);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(contents)?;
        Ok(path)
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // Nothing can be done about a failure here; `TempDir` removes what is left.
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            let _ = overwrite(&entry.path());
        }
    }
}

fn make_in(place: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("bulla-edit-").permissions(Permissions::from_mode(0o700)).tempdir_in(place)
}

fn is_in_memory(place: &Path) -> bool {
    statfs(place).is_ok_and(|stat| IN_MEMORY.contains(&stat.f_type))
}

/// Overwrites a file with zeros. On a disk this may leave older blocks; in memory it does not.
fn overwrite(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.nlink() > 1 {
        return Ok(());
    }
    let mut file = File::options().write(true).open(path)?;
    let zeros = [0; 4096];
    let mut left = metadata.len();
    while left > 0 {
        let chunk = usize::try_from(left).unwrap_or(zeros.len()).min(zeros.len());
        file.write_all(&zeros[..chunk])?;
        left -= chunk as u64;
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_folder_is_private_in_memory_and_gone_afterwards() {
        let env = BTreeMap::<String, String>::new();
        let folder = PrivateFolder::make(&env, OnDisk::Refused).unwrap();
        let path = folder.write(Path::new("secrets.yaml"), b"a: 1\n").unwrap();
        assert!(folder.in_memory);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let parent = path.parent().unwrap().to_owned();
        assert_eq!(fs::metadata(&parent).unwrap().permissions().mode() & 0o777, 0o700);
        File::create(parent.join(".secrets.yaml.swp")).unwrap();
        drop(folder);
        assert!(!parent.exists());
    }

    #[test]
    fn zeros_replace_the_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        File::create(&path).unwrap().write_all(&[7; 5000]).unwrap();
        overwrite(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), vec![0; 5000]);
    }
}
