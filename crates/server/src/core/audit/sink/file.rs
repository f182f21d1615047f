//! A file, or standard output: one thread writes what comes, in as few calls as it can.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::super::options;
use super::{Job, State, Written};

/// How many are written in one call.
const GROUP: usize = 256;

/// Writes what comes until nobody is there to send any more.
pub fn write_all(target: &mut dyn Target, jobs: &mpsc::Receiver<Job>, state: &State) {
    while let Ok(Job { line: mut text, answer }) = jobs.recv() {
        let mut answers = vec![answer];
        while answers.len() < GROUP
            && let Ok(Job { line, answer }) = jobs.try_recv()
        {
            text.extend_from_slice(&line);
            answers.push(answer);
        }
        if state.is_to_reopen() {
            target.forget();
        }
        let written = target.ready().and_then(|()| target.put(&text));
        state.done(text.len());
        let written = match written {
            Ok(()) => {
                state.works();
                Written::Yes
            }
            Err(error) => {
                tracing::error!(device = state.device, %error, "an audit record could not be written");
                target.forget();
                Written::No
            }
        };
        for answer in answers {
            let _ = answer.send(written);
        }
    }
}

/// What is written to.
pub trait Target: Send {
    /// Makes it ready for the next record.
    fn ready(&mut self) -> io::Result<()>;
    /// Writes all of `text`.
    fn put(&mut self, text: &[u8]) -> io::Result<()>;
    /// Starts anew with the next record.
    fn forget(&mut self) {}
}

impl Target for io::Stdout {
    fn ready(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        self.write_all(text)?;
        self.flush()
    }
}

/// A file that is opened when it is needed.
pub struct LogFile {
    plan: options::LogFile,
    file: Option<File>,
    /// The file ends in the middle of a record: the disk was full, or the machine stopped.
    torn: bool,
}

impl LogFile {
    /// A file that can be written.
    ///
    /// # Errors
    /// Which one, and why it cannot be.
    pub fn open(plan: options::LogFile) -> Result<Self, String> {
        let mut file = Self { plan, file: None, torn: false };
        let ready = file.ready();
        ready.map_err(|error| format!("{} cannot be written: {error}", file.plan.path.display()))?;
        Ok(file)
    }
}

impl Target for LogFile {
    /// Opens the file. One that was deleted or moved away is noticed, and made anew; one that is too long is moved away.
    fn ready(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            let ours = file.metadata()?;
            let there = std::fs::metadata(&self.plan.path).ok();
            let same = there.is_some_and(|there| there.ino() == ours.ino() && there.dev() == ours.dev());
            if same && self.plan.rotate.is_some_and(|bytes| ours.len() >= bytes && ours.is_file()) {
                self.rotate()?;
                self.file = None;
            } else if !same {
                tracing::warn!(path = %self.plan.path.display(), "the audit file was moved or deleted; a new one is made");
                self.file = None;
            }
        }
        if self.file.is_none() {
            self.torn = is_torn(&self.plan.path);
            self.file = Some(File::options().append(true).create(true).mode(self.plan.mode).open(&self.plan.path)?);
        }
        Ok(())
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => {
                if std::mem::take(&mut self.torn) {
                    file.write_all(b"\n")?;
                }
                file.write_all(text)
            }
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn forget(&mut self) {
        self.file = None;
    }
}

/// Whether a file has something, and does not end with the end of a line.
fn is_torn(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    let is_file = std::fs::metadata(path).is_ok_and(|about| about.is_file());
    is_file && last().is_ok_and(|last| last != b'\n')
}

impl LogFile {
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
