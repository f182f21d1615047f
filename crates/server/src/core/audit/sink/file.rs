//! A file, or standard output: one thread writes what comes, in as few calls as it can. A record that comes alone, for a file on a disk of this machine,
//! is written by whoever brings it: waking a thread, and being woken by it, would take several times as long.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Duration;

use tokio::runtime::Handle;

use super::super::options;
use super::stream::write_whole;
use super::{Job, State, Written};

/// How many are written in one call.
const GROUP: usize = 256;
/// How often it is looked whether somebody hangs.
const LOOK: Duration = Duration::from_secs(1);

/// A target, for one at a time.
pub struct Shared {
    target: Mutex<Box<dyn Target>>,
    /// Where those run who bring records.
    runtime: Option<Handle>,
}

impl Shared {
    pub fn new(target: impl Target + 'static) -> Self {
        Self { target: Mutex::new(Box::new(target)), runtime: Handle::try_current().ok() }
    }

    /// Writes what comes until nobody is there to send any more.
    pub fn write_all(&self, jobs: &mpsc::Receiver<Job>, state: &State) {
        while let Some(Job { line: mut text, answer }) = self.next(jobs) {
            let mut answers = vec![answer];
            while answers.len() < GROUP
                && let Ok(Job { line, answer }) = jobs.try_recv()
            {
                text.extend_from_slice(&line);
                answers.push(answer);
            }
            let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
            let written = write(target.as_mut(), &text, state);
            drop(target);
            state.done(text.len());
            if written == Written::Yes {
                state.works();
            } else {
                state.sinks.lose(super::records(&text));
            }
            for answer in answers {
                let _ = answer.send(written);
            }
        }
    }

    /// The next record. `None`: nobody is there to send any more.
    ///
    /// Whoever writes at once may hang there, on the thread by which the runtime hears of everything. A thread of it that sleeps does not notice; one that is woken
    /// takes that over.
    fn next(&self, jobs: &mpsc::Receiver<Job>) -> Option<Job> {
        loop {
            match jobs.recv_timeout(LOOK) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    if let (Err(TryLockError::WouldBlock), Some(runtime)) = (self.target.try_lock(), &self.runtime) {
                        drop(runtime.spawn(async {}));
                    }
                }
            }
        }
    }

    #[cfg(test)]
    pub fn hold(&self) -> std::sync::MutexGuard<'_, Box<dyn Target>> {
        self.target.lock().unwrap()
    }

    /// Writes a record, unless somebody is at it, or it could take long.
    pub fn write_at_once(&self, text: &[u8], state: &State) -> Option<Written> {
        let mut target = self.target.try_lock().ok()?;
        // What is to be opened, or moved away, is the thread's.
        let written = (target.is_prompt() && !state.is_to_be_reopened()).then(|| put(target.as_mut(), text, state))?;
        if written != Written::Yes {
            state.sinks.lose(super::records(text));
        }
        Some(written)
    }
}

fn write(target: &mut dyn Target, text: &[u8], state: &State) -> Written {
    if state.is_to_reopen() {
        target.forget();
    }
    match target.ready() {
        Ok(()) => put(target, text, state),
        Err(error) => failed(target, &error, state),
    }
}

fn put(target: &mut dyn Target, text: &[u8], state: &State) -> Written {
    match target.put(text) {
        Ok(()) => Written::Yes,
        Err(error) => failed(target, &error, state),
    }
}

fn failed(target: &mut dyn Target, error: &io::Error, state: &State) -> Written {
    tracing::error!(device = state.device, %error, "an audit record could not be written");
    target.forget();
    Written::No
}

/// What is written to.
pub trait Target: Send {
    /// Makes it ready for the next record.
    fn ready(&mut self) -> io::Result<()>;
    /// Writes all of `text`.
    fn put(&mut self, text: &[u8]) -> io::Result<()>;
    /// Starts anew with the next record.
    fn forget(&mut self) {}
    /// Whether it is ready, and takes what it is given, or says that it cannot, without waiting for anybody.
    fn is_prompt(&self) -> bool {
        false
    }
}

/// A file that is opened when it is needed.
pub struct LogFile {
    plan: options::LogFile,
    file: Option<Opened>,
    /// The file ends in the middle of a record: the disk was full, or the machine stopped.
    torn: bool,
    /// It is too long and could not be moved away, which was said.
    stays: bool,
}

/// A file that is open.
struct Opened {
    file: File,
    /// Its device and number there.
    identity: (u64, u64),
    /// It is on a disk of this machine.
    local: bool,
}

impl LogFile {
    /// A file that can be written.
    ///
    /// # Errors
    /// Which one, and why it cannot be.
    pub fn open(plan: options::LogFile) -> Result<Self, String> {
        let mut file = Self { plan, file: None, torn: false, stays: false };
        let ready = file.ready();
        ready.map_err(|error| format!("{} cannot be written: {error}", file.plan.path.display()))?;
        Ok(file)
    }
}

impl Target for LogFile {
    /// Opens the file. One that was deleted or moved away is noticed, and made anew; one that is too long is moved away.
    fn ready(&mut self) -> io::Result<()> {
        match self.file.as_ref().map(|file| self.found(file)) {
            Some(Found::Long) => match self.rotate() {
                Ok(()) => (self.file, self.stays) = (None, false),
                // Records are worth more than the limit.
                Err(error) if !self.stays => {
                    self.stays = true;
                    tracing::error!(path = %self.plan.path.display(), %error, "the audit file cannot be moved away, and grows on");
                }
                Err(_) => {}
            },
            Some(Found::Gone) => {
                tracing::warn!(path = %self.plan.path.display(), "the audit file was moved or deleted; a new one is made");
                self.file = None;
            }
            Some(Found::Right) | None => {}
        }
        if self.file.is_none() {
            // Of what is no file, a pipe, nobody can see the end.
            self.torn = is_torn(&self.plan.path).unwrap_or(self.torn);
            let file = File::options().append(true).create(true).mode(self.plan.mode).open(&self.plan.path)?;
            let about = file.metadata()?;
            let local = is_local(&file, &about);
            self.file = Some(Opened { file, identity: identity(&about), local });
        }
        Ok(())
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(Opened { file, .. }) => write_whole(file, &mut self.torn, text),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn forget(&mut self) {
        self.file = None;
    }

    fn is_prompt(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.local && matches!(self.found(file), Found::Right))
    }
}

/// What is at a log file's path.
enum Found {
    /// The file that is written to.
    Right,
    /// It, and it is too long.
    Long,
    /// Another, or none.
    Gone,
}

/// What tells a file from all others that there are now.
fn identity(about: &Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

/// Whether a file is a plain one of a file system that is not somebody else's: no pipe, no terminal, nothing over a network.
fn is_local(file: &File, about: &Metadata) -> bool {
    // linux/magic.h and the file systems' own: ext, XFS, Btrfs, tmpfs, overlayfs, F2FS, ZFS.
    const LOCAL: [u64; 7] = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630, 0xF2F5_2010, 0x2FC1_2FC1];
    about.is_file()
        && rustix::fs::fstatfs(file)
            .is_ok_and(|about| u64::try_from(about.f_type).is_ok_and(|kind| LOCAL.contains(&kind)))
}

/// Whether a file has something, and does not end with the end of a line. `None`: it is no file.
fn is_torn(path: &Path) -> Option<bool> {
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    match std::fs::metadata(path) {
        Ok(about) if !about.is_file() => None,
        Ok(_) => Some(last().is_ok_and(|last| last != b'\n')),
        Err(_) => Some(false),
    }
}

impl LogFile {
    fn found(&self, opened: &Opened) -> Found {
        let there = std::fs::metadata(&self.plan.path).ok().filter(|there| identity(there) == opened.identity);
        let Some(there) = there else { return Found::Gone };
        let is_long = self.plan.rotate.is_some_and(|bytes| there.len() >= bytes && there.is_file());
        if is_long { Found::Long } else { Found::Right }
    }

    /// `audit.log` becomes `audit.log.1`, that `audit.log.2`, and so on.
    fn rotate(&self) -> io::Result<()> {
        let name = |number: u64| {
            let mut name = self.plan.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        let rename = |from: &Path, to: &Path| match std::fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
        for number in (1..self.plan.keep).rev() {
            rename(&name(number), &name(number + 1))?;
        }
        rename(&self.plan.path, &name(1))
    }
}
