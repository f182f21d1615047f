//! A file, or standard output: one thread writes what comes, in as few calls as it can.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use tokio::sync::oneshot;

use super::DeviceConfig;
use crate::logical::{Error, Result};

/// How many records may wait.
const WAITING: usize = 4096;
/// How many are written in one call.
const GROUP: usize = 256;

pub struct Sink {
    lines: mpsc::SyncSender<(Vec<u8>, oneshot::Sender<bool>)>,
    reopen: Arc<AtomicBool>,
}

impl Sink {
    pub fn open(config: &DeviceConfig) -> Result<Self> {
        let fail = |what: String| Error::bad_request(format!("audit device {}: {what}", config.path));
        let option = |name: &str| config.options.get(name).filter(|value| !value.is_empty());
        let path =
            option("file_path").or_else(|| option("path")).ok_or_else(|| fail("file_path is missing".to_owned()))?;
        let number = |name: &str| {
            option(name).map(|text| text.parse::<u64>().map_err(|_| fail(format!("{name} is a number")))).transpose()
        };
        let mut target: Box<dyn Target> = if path == "stdout" {
            Box::new(io::stdout())
        } else {
            let mode = option("mode").map_or(Ok(0o600), |text| u32::from_str_radix(text, 8));
            let mode = mode
                .ok()
                .filter(|mode| *mode <= 0o777)
                .ok_or_else(|| fail("mode is permission bits in octal".to_owned()))?;
            let file = LogFile {
                path: PathBuf::from(path),
                // 0 leaves the mode of a file that is there.
                mode: if mode == 0 { 0o600 } else { mode },
                rotate: number("rotate_bytes")?.filter(|bytes| *bytes > 0),
                keep: number("rotate_keep")?.unwrap_or(5).max(1),
                file: None,
                torn: false,
            };
            Box::new(file)
        };
        target.ready().map_err(|error| fail(format!("{path} cannot be written: {error}")))?;
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let reopen = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&reopen);
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || write_all(target.as_mut(), &waiting, &asked))
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self { lines, reopen })
    }

    /// Hands a record over; the answer says whether it is written. `None`: too many wait.
    pub fn write(&self, line: Vec<u8>) -> Option<oneshot::Receiver<bool>> {
        let (answer, answered) = oneshot::channel();
        self.lines.try_send((line, answer)).ok().map(|()| answered)
    }

    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }
}

fn write_all(target: &mut dyn Target, lines: &mpsc::Receiver<(Vec<u8>, oneshot::Sender<bool>)>, reopen: &AtomicBool) {
    while let Ok((mut text, answer)) = lines.recv() {
        let mut answers = vec![answer];
        while answers.len() < GROUP
            && let Ok((line, answer)) = lines.try_recv()
        {
            text.extend_from_slice(&line);
            answers.push(answer);
        }
        if reopen.swap(false, Ordering::Relaxed) {
            target.forget();
        }
        let written = target.ready().and_then(|()| target.put(&text));
        if let Err(error) = &written {
            tracing::error!(%error, "an audit record could not be written");
            target.forget();
        }
        for answer in answers {
            let _ = answer.send(written.is_ok());
        }
    }
}

/// What is written to.
trait Target: Send {
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

struct LogFile {
    path: PathBuf,
    mode: u32,
    rotate: Option<u64>,
    keep: u64,
    file: Option<File>,
    /// The file ends in the middle of a record: the disk was full, or the machine stopped.
    torn: bool,
}

impl Target for LogFile {
    /// Opens the file. One that was deleted or moved away is noticed, and made anew; one that is too long is moved away.
    fn ready(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            let ours = file.metadata()?;
            let there = std::fs::metadata(&self.path).ok();
            let same = there.is_some_and(|there| there.ino() == ours.ino() && there.dev() == ours.dev());
            if same && self.rotate.is_some_and(|bytes| ours.len() >= bytes && ours.is_file()) {
                self.rotate()?;
                self.file = None;
            } else if !same {
                tracing::warn!(path = %self.path.display(), "the audit file was moved or deleted; a new one is made");
                self.file = None;
            }
        }
        if self.file.is_none() {
            self.torn = is_torn(&self.path);
            self.file = Some(File::options().append(true).create(true).mode(self.mode).open(&self.path)?);
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
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        let rename = |from: &Path, to: &Path| match std::fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        };
        for number in (1..self.keep).rev() {
            rename(&name(number), &name(number + 1))?;
        }
        rename(&self.path, &name(1))
    }
}
