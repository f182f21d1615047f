//! What is written to without knowing its end: standard output, a pipe.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::PATIENCE;
use super::file::Target;

/// Standard output, or another stream of bytes. Nothing of it waits in this process: what is not written is known not to be.
pub struct Stream {
    file: File,
    /// It ends in the middle of a record. Whoever writes to the same has this.
    torn: Arc<Mutex<bool>>,
}

/// Whether standard output ends in the middle of a record: whichever device left it so, before the server was sealed or after.
static STDOUT: LazyLock<Arc<Mutex<bool>>> = LazyLock::new(Arc::default);

impl Stream {
    /// Standard output.
    ///
    /// # Errors
    /// The system's: it is closed.
    pub fn stdout() -> io::Result<Self> {
        Ok(Self { file: io::stdout().as_fd().try_clone_to_owned()?.into(), torn: Arc::clone(&STDOUT) })
    }
}

impl Target for Stream {
    fn ready(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        let mut torn = self.torn.lock().unwrap_or_else(PoisonError::into_inner);
        write_whole(&mut self.file, &mut torn, text)
    }
}

/// Writes all of `text`, in a line of its own. `torn` says whether there is half a record at the end, before and afterwards.
///
/// Whoever shares the stream may have made it one that waits for nobody: it is waited for here.
pub fn write_whole(file: &mut File, torn: &mut bool, text: &[u8]) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    if *torn {
        write_all(file, b"\n", end).map_err(|(error, _)| error)?;
        *torn = false;
    }
    write_all(file, text, end).map_err(|(error, written)| {
        // What was written may also have ended with one of its records.
        *torn = written > 0 && text.get(written - 1) != Some(&b'\n');
        error
    })
}

/// # Errors
/// The system's, and how much it took before.
fn write_all(file: &mut File, text: &[u8], end: Instant) -> Result<(), (io::Error, usize)> {
    let mut written = 0;
    while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err((io::ErrorKind::WriteZero.into(), written)),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(file, end).map_err(|error| (error, written))?;
            }
            Err(error) => return Err((error, written)),
        }
    }
    Ok(())
}

/// Waits until it takes something again.
fn wait(file: &File, end: Instant) -> io::Result<()> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    let step = Timespec::try_from(left.min(Duration::from_millis(500))).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&step)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    /// A pipe that takes what fits, and what is in it.
    fn pipe() -> (File, Stream) {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
        rustix::pipe::fcntl_setpipe_size(&write, 4096).unwrap();
        (read.into(), Stream { file: write.into(), torn: Arc::default() })
    }

    fn read(from: &mut File) -> String {
        let mut bytes = vec![0; 1 << 20];
        let count = match from.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            count => count.unwrap(),
        };
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn one_that_waits_for_nobody_is_waited_for() {
        let (mut from, mut stream) = pipe();
        let record = format!("{}\n", "x".repeat(100_000));
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            while text.len() < 100_001 {
                std::thread::sleep(Duration::from_millis(1));
                text += &read(&mut from);
            }
            text
        });
        stream.put(record.as_bytes()).unwrap();
        assert!(reader.join().unwrap() == record && !*stream.torn.lock().unwrap());
    }

    #[test]
    fn half_a_record_is_an_error_and_the_next_has_a_line_of_its_own() {
        let (mut from, mut stream) = pipe();
        let begun = Instant::now();
        let error = stream.put(format!("{}\n", "x".repeat(5000)).as_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE * 2);
        let half = read(&mut from);
        assert_eq!(half, "x".repeat(4096));
        stream.put(b"whole\n").unwrap();
        stream.put(b"next\n").unwrap();
        assert_eq!(read(&mut from), "\nwhole\nnext\n");
    }

    #[test]
    fn one_that_nobody_reads_any_more_is_an_error_each_time() {
        let (from, mut stream) = pipe();
        drop(from);
        for _ in 0..2 {
            assert_eq!(stream.put(b"record\n").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }

    #[test]
    fn what_is_written_before_an_end_of_a_record_tears_none() {
        let (mut from, mut stream) = pipe();
        // Exactly as much as fits, and a second record of the same call.
        let text = format!("{}\nsecond\n", "x".repeat(4095));
        assert!(stream.put(text.as_bytes()).is_err() && !*stream.torn.lock().unwrap());
        assert_eq!(read(&mut from).len(), 4096);
        stream.put(b"third\n").unwrap();
        assert_eq!(read(&mut from), "third\n");
    }

    #[test]
    fn all_who_write_to_standard_output_know_how_it_ends() {
        let (one, other) = (Stream::stdout().unwrap(), Stream::stdout().unwrap());
        assert!(Arc::ptr_eq(&one.torn, &other.torn));
    }
}
