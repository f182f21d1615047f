//! The certificates of listeners, read again when their files are others: who issues them need not know this process.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::tls;

/// How often it is looked.
pub const LOOK: Duration = Duration::from_secs(10);

/// All of them.
#[derive(Default)]
pub struct Certificates(Vec<One>);

struct One {
    certificate: PathBuf,
    key: PathBuf,
    tell: watch::Sender<Arc<ServerConfig>>,
    /// What the files were when they were last used; `None` if they could not be looked at.
    seen: Option<[FileState; 2]>,
    /// What they were when they could not be used, which was said.
    said: Option<[FileState; 2]>,
}

/// A file's device, number and length, when it was written, and when anything of it changed, who may read it too. Kubernetes replaces the folder that the names lead to: then it has another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState(u64, u64, u64, (i64, i64), (i64, i64));

impl FileState {
    /// What the file at a path is now; nothing if it cannot be looked at.
    pub fn of(path: &Path) -> Option<Self> {
        let of = std::fs::metadata(path).ok()?;
        Some(Self(of.dev(), of.ino(), of.size(), (of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec())))
    }
}

impl Certificates {
    /// Reads a certificate and its key. What comes back is always the newest that could be used.
    ///
    /// # Errors
    /// Why they cannot be used.
    pub fn add(&mut self, certificate: &Path, key: &Path) -> Result<watch::Receiver<Arc<ServerConfig>>, String> {
        // Looked at first: what is written in between is read again.
        let seen = seen(certificate, key);
        let (tell, current) = watch::channel(tls::load(certificate, key)?);
        self.0.push(One { certificate: certificate.to_owned(), key: key.to_owned(), tell, seen, said: None });
        Ok(current)
    }

    /// Reads those again whose files are others.
    pub fn look(&mut self) {
        for one in &mut self.0 {
            let now = seen(&one.certificate, &one.key);
            if now.is_some() && now != one.seen {
                one.read(now);
            }
        }
    }

    /// Reads all of them again.
    pub fn read(&mut self) {
        for one in &mut self.0 {
            let now = seen(&one.certificate, &one.key);
            one.read(now);
        }
    }
}

impl One {
    fn read(&mut self, now: Option<[FileState; 2]>) {
        match tls::load(&self.certificate, &self.key) {
            Ok(config) => {
                tracing::info!(certificate = %self.certificate.display(), "the certificate was read again");
                drop(self.tell.send(config));
                (self.seen, self.said) = (now, None);
            }
            // It is tried again: whoever writes them does so one after the other, and what stands in the way may pass.
            Err(error) => {
                if self.said != now || now.is_none() {
                    tracing::error!(error, "the certificate was not read again; the one before it stays");
                }
                self.said = now;
            }
        }
    }
}

fn seen(certificate: &Path, key: &Path) -> Option<[FileState; 2]> {
    Some([FileState::of(certificate)?, FileState::of(key)?])
}
