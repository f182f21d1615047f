//! A file in memory that only the program gets: a sealed memfd, handed over as an open descriptor.
//!
//! Its path is `/proc/self/fd/N`, which each process resolves in its own table. So the program needs no right to look into
//! bulla, whose `/proc` entries are closed (it is not dumpable).

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, fchown};
use std::path::PathBuf;

use bulla_core::SecretBytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

use crate::error::Failure;
use crate::exec::user::User;

/// Scripts take small numbers for their own (`exec 9>lock`), and would close ours.
const OUT_OF_THE_WAY: i32 = 64;

/// The memfd. It is passed on to programs started while it is open: made last, closed at once after the start.
pub(crate) struct Memfd(File);

impl Memfd {
    /// A file of `contents` that can never change again, readable by the user that will run the program alone.
    ///
    /// # Errors
    /// If the system has none to give, or not enough memory.
    pub(crate) fn sealed(contents: &SecretBytes, user: Option<&User>) -> Result<Self, Failure> {
        Self::make(contents, user)
            .map(Self)
            .map_err(|error| Failure::generic(format!("cannot make a file in memory: {error}")))
    }

    /// The path under which the program that inherits it finds it.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    fn make(contents: &SecretBytes, user: Option<&User>) -> std::io::Result<File> {
        let mut file = File::from(memfd_create(c"bulla", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC)?);
        file.write_all(contents.expose())?;
        file.set_permissions(Permissions::from_mode(0o400))?;
        if let Some(user) = user {
            fchown(&file, Some(user.uid().as_raw()), Some(user.gid().as_raw()))?;
        }
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let handed_over = fcntl_dupfd_cloexec(&file, OUT_OF_THE_WAY).map_or(file, File::from);
        // The descriptor's number is what the program is told.
        fcntl_setfd(&handed_over, FdFlags::empty())?;
        Ok(handed_over)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::Seek;

    use super::*;

    #[test]
    fn a_sealed_file_reads_as_written_and_cannot_change() {
        let memfd = Memfd::sealed(&SecretBytes::from(&b"s3cret"[..]), None).unwrap();
        assert_eq!(std::fs::read(memfd.path()).unwrap(), b"s3cret");
        let mut file = memfd.0;
        file.rewind().unwrap();
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(0).is_err());
        assert!(file.set_len(100).is_err());
    }
}
