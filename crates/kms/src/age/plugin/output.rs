//! What a plugin says, waited for no longer than it may take.

use std::io::{self, Read};
use std::process::ChildStdout;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A plugin's output. Past the deadline, reading fails with [`io::ErrorKind::TimedOut`].
///
/// To stop the plugin is not enough: a program that it started (the `sleep` of a shell script) holds the pipe open, and
/// whoever reads would wait for the end of that.
pub(super) struct Output {
    pipe: ChildStdout,
    until: Option<Instant>,
}

impl Output {
    /// The output behind `pipe`, to be read within `deadline` from now if there is one.
    pub(super) fn new(pipe: ChildStdout, deadline: Option<Duration>) -> Self {
        Self { pipe, until: deadline.and_then(|deadline| Instant::now().checked_add(deadline)) }
    }
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(until) = self.until {
            let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).ok();
            match poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], left.as_ref()) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.pipe.read(buffer)
    }
}
