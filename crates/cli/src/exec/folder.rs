//! A private folder for a name that a program is given: of a pipe, or of a link to a memfd. It never holds data.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::Failure;
use crate::exec::user::User;

/// The folder; removed with all names in it on drop.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// Makes the folder: in `XDG_RUNTIME_DIR` if it is ours, else where temporary files go.
    ///
    /// For another user it can be passed through but not changed or listed: were it that user's own, a link in
    /// the place of the pipe would have this process, which is root, write where the link leads.
    ///
    /// # Errors
    /// If no folder can be made.
    pub(crate) fn create(user: Option<&User>) -> Result<Self, Failure> {
        let (base, mode) = match user {
            Some(_) => (std::env::temp_dir(), 0o711),
            None => (runtime_folder().unwrap_or_else(std::env::temp_dir), 0o700),
        };
        let failed = |error| Failure::generic(format!("cannot make a private folder in {}: {error}", base.display()));
        let folder = tempfile::Builder::new()
            .prefix("bulla-")
            .permissions(Permissions::from_mode(mode))
            .tempdir_in(&base)
            .map_err(failed)?;
        // The process' umask may have taken bits away that the other user needs.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves the folder in place, for a program that outlives this one.
    pub(crate) fn keep(self) {
        let _ = self.0.keep();
    }
}

/// `XDG_RUNTIME_DIR`, if it is as the specification wants it: ours alone.
fn runtime_folder() -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    let metadata = std::fs::symlink_metadata(&path).ok()?;
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    (path.is_absolute() && metadata.is_dir() && ours && metadata.mode() & 0o777 == 0o700).then_some(path)
}
