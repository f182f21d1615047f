//! Files that templates read, with `file`.

use std::fs::{self, File};
use std::path::Path;

use bulla_core::SecretBytes;
use bulla_core::file::read_from;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// The largest file.
const LONGEST: u64 = 8 << 20;

/// Reads a file. With a sandbox it is opened from there, and no link leads out of it, whenever it was put there.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read(path: &Path, sandbox: Option<&Path>) -> Result<SecretBytes, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    // A pipe that nobody writes to would be waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = match sandbox {
        None => openat(CWD, path, flags, Mode::empty()).map_err(|error| failed(&error))?,
        Some(sandbox) => {
            let whole = |path: &Path| fs::canonicalize(path).map_err(|error| failed(&error));
            let (whole_sandbox, whole_path) = (whole(sandbox)?, whole(path)?);
            let below =
                whole_path.strip_prefix(&whole_sandbox).map_err(|_| failed(&"it is outside of sandbox_path"))?;
            let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = openat(CWD, &whole_sandbox, folder, Mode::empty()).map_err(|error| failed(&error))?;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            openat2(root, below, flags, Mode::empty(), resolve).map_err(|error| failed(&error))?
        }
    };
    let file = File::from(opened);
    let there = file.metadata().map_err(|error| failed(&error))?;
    if !there.is_file() {
        return Err(failed(&"it is no regular file"));
    }
    read_from(file, path, there.len(), LONGEST).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use bulla_core::file::{Fresh, NewMode, replace_as};

    use super::*;

    #[test]
    fn a_file_is_read_where_it_may_be_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, outside) = (folder.path().join("in"), folder.path().join("out"));
        fs::create_dir(&inside).unwrap();
        let fresh = || Fresh { mode: NewMode::Exactly(0o600), user: None, group: None };
        replace_as(&inside.join("a"), b"1", fresh()).unwrap();
        replace_as(&outside, b"2", fresh()).unwrap();
        symlink(&outside, inside.join("leads-out")).unwrap();
        symlink("a", inside.join("link")).unwrap();
        let pipe = inside.join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let text = |path: &Path, sandbox| read(path, sandbox).map(|bytes| bytes.expose().to_vec());
        for path in ["a", "link"] {
            assert_eq!(text(&inside.join(path), Some(&inside)).unwrap(), b"1", "{path}");
        }
        assert_eq!(text(&outside, None).unwrap(), b"2");
        for path in [&outside, &inside.join("leads-out"), &inside.join("../out"), &inside.join("b"), &pipe, &inside] {
            assert!(text(path, Some(&inside)).is_err(), "{}", path.display());
        }
        assert!(text(&pipe, None).is_err());
    }
}
