//! A copy of this program in a folder: what other containers of the pod start theirs with.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::Failure;
use crate::exit::Code;

/// What the copy is called.
const NAME: &str = "bulla";
/// Anybody may run it, nobody change it.
const MODE: u32 = 0o555;

/// Copies the running program to `folder/bulla`: whole or not at all, in the place of what was there.
///
/// # Errors
/// [`Code::CouldNotWriteOutput`], with the reason.
pub(crate) fn install(folder: &Path) -> Result<(), Failure> {
    let to = folder.join(NAME);
    copy(folder, &to).map_err(|error| {
        let failure =
            Failure::new(Code::CouldNotWriteOutput, format!("cannot copy this program to {}: {error}", to.display()));
        if error.kind() == io::ErrorKind::NotFound {
            return failure.with_hint("the folder must be there: a volume that both containers mount");
        }
        failure
    })
}

fn copy(folder: &Path, to: &Path) -> io::Result<()> {
    let mut from = File::open("/proc/self/exe")?;
    let mut new = NamedTempFile::new_in(folder)?;
    io::copy(&mut from, new.as_file_mut())?;
    new.as_file().set_permissions(Permissions::from_mode(MODE))?;
    new.as_file().sync_all()?;
    new.persist(to)?;
    Ok(())
}
