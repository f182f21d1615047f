//! Files that are read with a limit, and replaced whole or not at all.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::SecretBytes;
use crate::env::{Env, ProcessEnv};

mod lock;
mod pid;
mod replace;

pub use lock::FileLock;
pub use pid::PidFile;
pub use replace::{Fresh, NewMode, Replacement, check_replaceable, replace, replace_as};

/// A file operation that failed: what, on which path, why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done: `read`, `replace`, `lock`, …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file is larger than the caller can take.
    #[error("{} is larger than the limit of {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A key file that group or others may read.
    #[error("{} holds a key and can be read by others (mode {mode:04o}); run: chmod 600 {} (in a volume of Kubernetes: defaultMode: 0400, and fsGroup for a pod that is not root)", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl FileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// Reads a whole file into secret memory. `-` is not special here.
///
/// # Errors
/// [`FileError::TooLarge`] past `limit` bytes, [`FileError::Io`] for the rest.
pub fn read(path: &Path, limit: u64) -> Result<SecretBytes, FileError> {
    let file = File::open(path).map_err(FileError::io("read", path))?;
    let size = file.metadata().map_err(FileError::io("read", path))?.len();
    read_from(file, path, size, limit)
}

/// Reads a regular file, as [`read`] does. A pipe that nobody writes to would be waited for, and a device may have no end: both are refused.
///
/// # Errors
/// As [`read`].
pub fn read_regular(path: &Path, limit: u64) -> Result<SecretBytes, FileError> {
    let fail = FileError::io("read", path);
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let regular = opened.and_then(|file| {
        let there = file.metadata()?;
        if !there.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok((file, there.len()))
    });
    let (file, size) = regular.map_err(fail)?;
    read_from(file, path, size, limit)
}

/// Reads a key file: like [`read`], and refuses one that group or others may read.
///
/// One that belongs to root, and that a process of another user reads as a member of its group, is what root gave to that group: so do
/// administrators of servers, with the group that the process runs as, and so does Kubernetes with the volumes of a pod that has an `fsGroup` (mode 0440),
/// which is another group of the process. It may be read by the group. Outside of Kubernetes other groups are those of people, and do not count.
///
/// The mode of pipes and devices is not looked at: `<(command)` of a shell is a way to hand over a key.
///
/// # Errors
/// [`FileError::Exposed`] for its mode, the rest as [`read`].
pub fn read_key(path: &Path, limit: u64) -> Result<SecretBytes, FileError> {
    let file = File::open(path).map_err(FileError::io("read", path))?;
    let metadata = file.metadata().map_err(FileError::io("read", path))?;
    if let Some(mode) = exposed_mode(&metadata) {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    read_from(file, path, metadata.len(), limit)
}

/// The mode of a regular file that group or others may read or write, unless root gave it to the group of this process ([`read_key`]); `None` for any
/// other file.
pub fn exposed_mode(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.permissions().mode() & 0o7777;
    let is_given = || {
        let groups = groups(&ProcessEnv);
        let user = rustix::process::geteuid().as_raw();
        is_given_to_group(mode, (metadata.uid(), metadata.gid()), user, &groups)
    };
    (metadata.is_file() && mode & 0o077 != 0 && !is_given()).then_some(mode)
}

/// The groups of this process to which a key is given: its own, and in Kubernetes, where nobody else is in them, all.
fn groups(env: &dyn Env) -> Vec<u32> {
    let mut groups = vec![rustix::process::getegid()];
    if env.var("KUBERNETES_SERVICE_HOST").is_some() {
        groups.extend(rustix::process::getgroups().unwrap_or_default());
    }
    groups.into_iter().map(rustix::process::Gid::as_raw).collect()
}

/// Whether a file of `owner`'s, user and group, is root's, and for its group to read alone, of which the process is.
fn is_given_to_group(mode: u32, owner: (u32, u32), user: u32, groups: &[u32]) -> bool {
    owner.0 == 0 && user != 0 && mode & 0o7037 == 0 && groups.contains(&owner.1)
}

/// Reads all of `source` into secret memory; `name` stands for it in errors, `expected` is a guess at its size.
///
/// # Errors
/// [`FileError::TooLarge`] past `limit` bytes, [`FileError::Io`] for the rest.
pub fn read_from(mut source: impl Read, name: &Path, expected: u64, limit: u64) -> Result<SecretBytes, FileError> {
    const CHUNK: usize = 64 * 1024;
    let too_large = || FileError::TooLarge { path: name.to_owned(), limit };
    if expected > limit {
        return Err(too_large());
    }
    // One byte more than expected, so that the end shows without growing.
    let capacity = usize::try_from(expected.saturating_add(1)).map_err(|_| too_large())?;
    let mut bytes = SecretBytes::zeroed(capacity);
    let mut filled = 0;
    loop {
        if filled == bytes.len() {
            bytes.resize(filled + CHUNK);
        }
        match source.read(&mut bytes.expose_mut()[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::io("read", name)(error)),
        }
        if filled as u64 > limit {
            return Err(too_large());
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_nobody_writes_to_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, text) = (folder.path().join("pipe"), folder.path().join("text"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        replace(&text, b"x", 0o600).unwrap();
        assert_eq!(read_regular(&text, 1).unwrap().expose(), b"x");
        assert!(matches!(read_regular(&text, 0), Err(FileError::TooLarge { .. })));
        for path in [pipe.as_path(), folder.path(), Path::new("/dev/zero")] {
            let error = read_regular(path, 1 << 20).unwrap_err().to_string();
            assert!(error.contains("it is no regular file"), "{error}");
        }
    }

    #[test]
    fn outside_of_kubernetes_a_key_is_given_to_the_group_that_the_process_runs_as_alone() {
        use std::collections::{BTreeMap, BTreeSet};

        let own = rustix::process::getegid().as_raw();
        let all = rustix::process::getgroups().unwrap().into_iter().map(rustix::process::Gid::as_raw);
        let all: BTreeSet<u32> = all.chain([own]).collect();
        assert_eq!(groups(&BTreeMap::new()), [own]);
        let pod = BTreeMap::from([("KUBERNETES_SERVICE_HOST".to_owned(), "10.0.0.1".to_owned())]);
        assert_eq!(groups(&pod).into_iter().collect::<BTreeSet<_>>(), all);
    }

    #[test]
    fn what_root_gives_to_a_group_of_the_process_is_for_it() {
        let groups = [100, 2000];
        for mode in [0o440, 0o640, 0o040] {
            assert!(is_given_to_group(mode, (0, 2000), 65532, &groups), "{mode:o}");
            // Its own file, which it should not have let others read; somebody else's; a group that it is not in; and root, who needs no group.
            assert!(!is_given_to_group(mode, (65532, 2000), 65532, &groups));
            assert!(!is_given_to_group(mode, (1000, 2000), 65532, &groups));
            assert!(!is_given_to_group(mode, (0, 3000), 65532, &groups));
            assert!(!is_given_to_group(mode, (0, 2000), 0, &groups));
        }
        for mode in [0o444, 0o460, 0o450, 0o441, 0o442, 0o2440, 0o4440] {
            assert!(!is_given_to_group(mode, (0, 2000), 65532, &groups), "{mode:o}");
        }
    }
}
