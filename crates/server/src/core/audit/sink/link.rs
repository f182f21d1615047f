//! A connection to a far side that comes and goes: one thread sends what comes, and connects again.
//!
//! What came while the far side was away is sent when it is back, before anything new; and so is what was sent shortly before a connection broke, as
//! nobody knows how much of it arrived: some records arrive twice then, to the byte, and none is missing. A record counts as written once it was
//! sent and the connection showed no sign of its end after that.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::backlog::Backlog;
use super::{Job, State, Written};

/// How soon it is tried again to connect, and how soon at last.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long what is left at the end is tried to be sent.
const LAST: Duration = Duration::from_secs(4);
/// How often it is looked whether a connection lives, while something that was sent on it may be lost.
const LOOK: Duration = Duration::from_millis(250);

/// How bytes get to a far side. Nothing here takes longer than the device's options allow.
pub trait Transport: Send {
    /// As messages name it.
    fn name(&self) -> String;
    /// Connects.
    fn connect(&mut self) -> io::Result<()>;
    /// Whether there is no sign of the connection's end.
    fn check(&mut self) -> io::Result<()>;
    /// Sends one record, whole.
    fn send(&mut self, line: &[u8]) -> io::Result<()>;
    /// Forgets the connection.
    fn close(&mut self);
    /// How long after it was sent a record may turn out to be lost.
    fn doubt(&self) -> Duration;
}

/// Sends what comes until nobody is there to bring any more.
pub fn serve(transport: &mut dyn Transport, jobs: &Receiver<Job>, state: &State) {
    let mut link =
        Link { transport, backlog: Backlog::default(), connected: false, next: Instant::now(), pause: PAUSE };
    // So that a far side which is not there is heard of before the first record.
    link.attempt(state);
    loop {
        let job = match link.patience() {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(time) => jobs.recv_timeout(time),
        };
        match job {
            Ok(Job { line, answer }) => {
                state.done(line.len());
                link.backlog.push(line);
                let due = link.connected || Instant::now() >= link.next;
                let _ = answer.send(if due { link.attempt(state) } else { Written::Away });
            }
            Err(RecvTimeoutError::Timeout) => drop(link.attempt(state)),
            Err(RecvTimeoutError::Disconnected) => return link.finish(state),
        }
    }
}

struct Link<'t> {
    transport: &'t mut dyn Transport,
    backlog: Backlog,
    connected: bool,
    /// When it is tried again to connect.
    next: Instant,
    pause: Duration,
}

impl Link<'_> {
    /// How long nothing has to be done if no record comes.
    fn patience(&self) -> Option<Duration> {
        match (self.connected, self.backlog.is_empty()) {
            (false, _) => Some(self.next.saturating_duration_since(Instant::now())),
            (true, false) => Some(LOOK),
            (true, true) => None,
        }
    }

    /// Sends what is to be sent.
    fn attempt(&mut self, state: &State) -> Written {
        if state.is_to_reopen() {
            self.disconnect();
        }
        match self.flush() {
            Ok(last) => {
                self.pause = PAUSE;
                self.backlog.settle(self.transport.doubt());
                let lost = self.backlog.take_lost();
                if lost > 0 {
                    state.sinks.lose(lost);
                    tracing::error!(
                        device = state.device,
                        lost,
                        "more audit records came while it was away than are kept"
                    );
                }
                state.works();
                last
            }
            Err(error) => {
                self.next = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                state.pass_over(&format!("{}: {error}", self.transport.name()));
                Written::Away
            }
        }
    }

    /// Sends what is left, now that nothing comes any more, as long as an end may take.
    fn finish(&mut self, state: &State) {
        let end = Instant::now() + LAST;
        while self.backlog.next().is_some() && Instant::now() < end {
            std::thread::sleep(self.next.min(end).saturating_duration_since(Instant::now()));
            self.attempt(state);
        }
        let lost = self.backlog.take_unsent();
        if lost > 0 {
            state.sinks.lose(lost);
            tracing::error!(device = state.device, lost, "audit records are lost: the device was away to the end");
        }
    }

    /// Sends all, on a new connection if the one that there was is dead. What became of the last record.
    fn flush(&mut self) -> io::Result<Written> {
        let fresh = !self.connected;
        match self.flush_once() {
            // One that does not take anything takes nothing on another connection either.
            Err(error) if !fresh && !matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                self.flush_once()
            }
            result => result,
        }
    }

    fn flush_once(&mut self) -> io::Result<Written> {
        if !self.connected {
            self.transport.connect()?;
            self.connected = true;
        }
        let result = self.send_all();
        if result.is_err() {
            self.disconnect();
        }
        result
    }

    fn send_all(&mut self) -> io::Result<Written> {
        let mut last = Written::Yes;
        self.transport.check()?;
        while let Some(line) = self.backlog.next() {
            match self.transport.send(line) {
                Ok(()) => {
                    self.backlog.sent();
                    last = Written::Yes;
                }
                Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                    let (name, bytes) = (self.transport.name(), line.len());
                    tracing::error!(name, bytes, "an audit record is longer than a datagram can be, and is not sent");
                    self.backlog.skip();
                    last = Written::No;
                }
                Err(error) => return Err(error),
            }
        }
        self.transport.check()?;
        Ok(last)
    }

    fn disconnect(&mut self) {
        self.transport.close();
        self.connected = false;
        self.backlog.disconnected();
    }
}
