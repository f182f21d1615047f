//! A named pipe that gives its contents, whole, to each reader that opens it.
//!
//! A pipe keeps nothing on disk, and its pages are never swapped. Two things make a plain `mkfifo` a trap: a reader that opens
//! it twice would hang (the writer is gone) or share one stream with the first; a program that never opens it would
//! have the writer hang. So as soon as a reader has opened the pipe, a fresh one takes its place under the name, and the
//! next reader gets that; and at the end the writer is let go by opening its pipe.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bulla_core::SecretBytes;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::error::Failure;
use crate::exec::user::User;

/// How long readers that are still at it when the program has ended are served.
const GRACE: Duration = Duration::from_secs(2);

/// A pipe that is being served.
pub(crate) struct Fifo {
    path: PathBuf,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    contents: SecretBytes,
    owner: Option<(u32, u32)>,
    over: AtomicBool,
    writing: AtomicUsize,
}

impl Fifo {
    /// Makes the pipe at `path`, in a folder that no one else can change, and serves it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn serve(path: &Path, contents: SecretBytes, user: Option<&User>) -> Result<Self, Failure> {
        let failed = |error| Failure::generic(format!("cannot make the pipe {}: {error}", path.display()));
        let owner = user.map(|user| (user.uid().as_raw(), user.gid().as_raw()));
        make(path, owner).map_err(failed)?;
        let shared = Arc::new(Shared { contents, owner, over: AtomicBool::new(false), writing: AtomicUsize::new(0) });
        let (theirs, their_path) = (Arc::clone(&shared), path.to_owned());
        let server = std::thread::Builder::new()
            .name("fifo".into())
            .spawn(move || serve(&their_path, &theirs))
            .map_err(failed)?;
        Ok(Self { path: path.to_owned(), shared, server })
    }

    /// Ends the service. Readers in the middle of it are served on, for a moment.
    pub(crate) fn stop(self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // The server waits in `open` for a reader; this is one. Held until the server has ended, for it may be on its
        // way into `open`.
        let reader = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&self.path);
        if reader.is_ok() {
            let _ = self.server.join();
        }
        let since = Instant::now();
        while self.shared.writing.load(Ordering::SeqCst) > 0 && since.elapsed() < GRACE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn serve(path: &Path, shared: &Arc<Shared>) {
    while !shared.over.load(Ordering::SeqCst) {
        // Waits for a reader. The name is in a folder of ours; that it is a pipe is checked all the same, because the
        // next step writes a secret to it.
        let opened = OpenOptions::new().write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path);
        let Ok(pipe) = opened else { break };
        let is_pipe = pipe.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo());
        if shared.over.load(Ordering::SeqCst) || !is_pipe {
            break;
        }
        let next = path.with_file_name(".next");
        let replaced = make(&next, shared.owner).and_then(|()| std::fs::rename(&next, path));
        shared.writing.fetch_add(1, Ordering::SeqCst);
        let theirs = Arc::clone(shared);
        let writer = std::thread::Builder::new().name("fifo-writer".into()).spawn(move || write(pipe, &theirs));
        if writer.is_err() {
            shared.writing.fetch_sub(1, Ordering::SeqCst);
        }
        if let Err(error) = replaced {
            tracing::warn!(%error, "the pipe cannot be read a second time");
            break;
        }
    }
}

fn write(mut pipe: File, shared: &Shared) {
    // A reader that closes early is its own affair.
    if let Err(error) = pipe.write_all(shared.contents.expose()) {
        tracing::debug!(%error, "a reader closed the pipe early");
    }
    drop(pipe);
    shared.writing.fetch_sub(1, Ordering::SeqCst);
}

fn make(path: &Path, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    match owner {
        Some((uid, gid)) => chown(path, Some(uid), Some(gid)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn served(contents: &[u8]) -> (tempfile::TempDir, PathBuf, Fifo) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let fifo = Fifo::serve(&path, SecretBytes::from(contents), None).unwrap();
        (folder, path, fifo)
    }

    #[test]
    fn each_reader_gets_the_whole_contents_once() {
        let (_folder, path, fifo) = served(b"s3cret");
        for _ in 0..50 {
            assert_eq!(std::fs::read(&path).unwrap(), b"s3cret");
        }
        fifo.stop();
    }

    #[test]
    fn contents_larger_than_a_pipe_arrive_whole() {
        let large: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let (_folder, path, fifo) = served(&large);
        assert!(std::fs::read(&path).unwrap() == large);
        fifo.stop();
    }

    #[test]
    fn nothing_hangs_when_no_one_ever_opens_it() {
        let (_folder, _path, fifo) = served(b"s3cret");
        let since = Instant::now();
        fifo.stop();
        assert!(since.elapsed() < GRACE);
    }

    #[test]
    fn a_reader_that_closes_at_once_or_never_reads_hinders_no_other() {
        let (_folder, path, fifo) = served(&vec![7; 1_000_000]);
        drop(File::open(&path).unwrap());
        let lazy = File::open(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap().len(), 1_000_000);
        let since = Instant::now();
        fifo.stop();
        assert!(since.elapsed() < GRACE * 2, "the lazy reader is waited for, but not for ever");
        drop(lazy);
    }
}
