//! Where records go, and how it is known that they are there.
//!
//! A record is handed over, and an answer comes back; whoever waits for it waits as long as he likes. What waits here is bounded. A sink that does not
//! keep up, or whose far side is away, is *passed over*: nobody waits for it until it has caught up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use tokio::sync::oneshot;

use super::options::{Form, Place, Plan};
use super::sinks::Sinks;
use crate::logical::{Error, Result};

#[cfg(test)]
pub use file::Target;

mod backlog;
mod file;
mod http;
mod link;
mod socket;
mod stream;
mod syslog;

/// How many records may wait.
const WAITING: usize = 4096;
/// How many bytes of them.
const WAITING_BYTES: usize = 64 << 20;
/// With no more than this waiting a sink keeps up.
const CAUGHT_UP: usize = 128 << 10;

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is where it should be, as far as one can know.
    Yes,
    /// It is not.
    No,
    /// Nor will be the next one, and that was said already.
    Away,
}

/// A record, and who waits for it.
struct Job {
    line: Vec<u8>,
    answer: oneshot::Sender<Written>,
}

/// What a sink and whoever waits for it know of each other.
pub struct State {
    /// As messages name it.
    pub device: String,
    passed_over: AtomicBool,
    /// Bytes that wait.
    waiting: AtomicUsize,
    reopen: AtomicBool,
    sinks: Arc<Sinks>,
}

pub struct Sink {
    state: Arc<State>,
    way: Way,
}

/// What a thread does until nobody brings records any more.
type Work = Box<dyn FnOnce(&mpsc::Receiver<Job>, &State) + Send>;

enum Way {
    Thread(mpsc::SyncSender<Job>),
    /// The same, for what does not come alone.
    File(mpsc::SyncSender<Job>, Arc<file::Shared>),
    Http(http::Http),
}

impl Sink {
    /// Opens what `plan` says. Whether a far side is there shows later.
    pub fn open(plan: Plan, device: &str, sinks: &Arc<Sinks>) -> Result<(Form, Self)> {
        let state = Arc::new(State::new(device, Arc::clone(sinks)));
        let fail = |what: &dyn std::fmt::Display| Error::bad_request(format!("audit device {device}: {what}"));
        let mut shared_file = None;
        let work: Work = match plan.place {
            Place::Stdout => {
                let target = stream::Stream::stdout();
                let shared = file::Shared::new(target.map_err(|error| fail(&format!("standard output: {error}")))?);
                Box::new(move |jobs, state| shared.write_all(jobs, state))
            }
            Place::File(file) => {
                let target = file::LogFile::open(file).map_err(|error| fail(&error))?;
                let shared = Arc::new(file::Shared::new(target));
                shared_file = Some(Arc::clone(&shared));
                Box::new(move |jobs, state| shared.write_all(jobs, state))
            }
            Place::Syslog(syslog) => {
                let mut transport = syslog::Syslogd::new(syslog);
                Box::new(move |jobs, state| link::serve(&mut transport, jobs, state))
            }
            Place::Socket(socket) => {
                let mut transport = socket::of(socket);
                Box::new(move |jobs, state| link::serve(transport.as_mut(), jobs, state))
            }
            Place::Http(http) => {
                let way = http::Http::new(http, &state).map_err(|error| fail(&error))?;
                return Ok((plan.form, Self { state, way: Way::Http(way) }));
            }
        };
        let (jobs, waiting) = mpsc::sync_channel(WAITING);
        let (shared, at_work) = (Arc::clone(&state), sinks.begin());
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                let _at_work = at_work;
                work(&waiting, &shared);
            })
            .map_err(|error| fail(&error))?;
        let way = match shared_file {
            Some(file) => Way::File(jobs, file),
            None => Way::Thread(jobs),
        };
        Ok((plan.form, Self { state, way }))
    }

    /// Writes a record here and now, if nothing waits before it and where it goes keeps nobody waiting. `None`: it has to be handed over.
    ///
    /// A disk that hangs keeps this thread, and no other for longer than a second: who comes next finds somebody at it.
    pub fn write_at_once(&self, line: &[u8]) -> Option<Written> {
        let Way::File(_, file) = &self.way else { return None };
        let is_quiet = self.state.waiting.load(Ordering::Relaxed) == 0 && !self.state.is_passed_over();
        if is_quiet { file.write_at_once(line, &self.state) } else { None }
    }

    /// Whether several records may come as one: they are lines of a file.
    pub const fn takes_several(&self) -> bool {
        matches!(self.way, Way::File(..))
    }

    /// Hands a record over; the answer says whether it is written. `None`: too many wait.
    pub fn write(&self, line: Vec<u8>) -> Option<oneshot::Receiver<Written>> {
        let size = line.len();
        if self.state.waiting.fetch_add(size, Ordering::Relaxed) + size > WAITING_BYTES.max(size) {
            self.state.waiting.fetch_sub(size, Ordering::Relaxed);
            self.state.sinks.lose(records(&line));
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let count = records(&line);
        let job = Job { line, answer };
        let taken = match &self.way {
            Way::Thread(jobs) | Way::File(jobs, _) => jobs.try_send(job).is_ok(),
            Way::Http(http) => http.send(job),
        };
        if !taken {
            self.state.sinks.lose(count);
            self.state.waiting.fetch_sub(size, Ordering::Relaxed);
        }
        taken.then_some(answered)
    }

    /// Lets go of files and connections, and opens them again with the next record.
    pub fn reopen(&self) {
        self.state.reopen.store(true, Ordering::Relaxed);
        if let Way::Http(http) = &self.way {
            http.reopen(&self.state);
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// One that writes to a target of a test.
    #[cfg(test)]
    pub fn of(target: impl Target + 'static) -> Self {
        let state = State::new("t/", Arc::default());
        let (state, shared) = (Arc::new(state), Arc::new(file::Shared::new(target)));
        let (jobs, waiting) = mpsc::sync_channel(WAITING);
        let (theirs, its) = (Arc::clone(&shared), Arc::clone(&state));
        std::thread::spawn(move || theirs.write_all(&waiting, &its));
        Self { state, way: Way::File(jobs, shared) }
    }

    /// Is at the file, as long as what comes back is kept.
    #[cfg(test)]
    pub fn hold(&self) -> impl Drop + '_ {
        let Way::File(_, file) = &self.way else { panic!("no file") };
        file.hold()
    }
}

/// How many records there are in `text`: each ends a line.
fn records(text: &[u8]) -> u64 {
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    u64::try_from(lines).unwrap_or(u64::MAX).max(1)
}

impl State {
    fn new(device: &str, sinks: Arc<Sinks>) -> Self {
        Self {
            device: device.to_owned(),
            passed_over: AtomicBool::default(),
            waiting: AtomicUsize::default(),
            reopen: AtomicBool::default(),
            sinks,
        }
    }

    /// Whether nobody waits for it.
    pub fn is_passed_over(&self) -> bool {
        self.passed_over.load(Ordering::Relaxed)
    }

    /// Nobody waits for it from now on.
    pub fn pass_over(&self, why: &dyn std::fmt::Display) {
        if !self.passed_over.swap(true, Ordering::Relaxed) {
            tracing::error!(device = self.device, %why, "the audit device is passed over");
        }
    }

    /// So many bytes do not wait any more.
    fn done(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Something was written. Once it has caught up, it is waited for again.
    fn works(&self) {
        if self.is_passed_over()
            && self.waiting.load(Ordering::Relaxed) <= CAUGHT_UP
            && self.passed_over.swap(false, Ordering::Relaxed)
        {
            tracing::info!(device = self.device, "the audit device works again");
        }
    }

    /// Whether it was asked to open anew, and has not done so.
    fn is_to_be_reopened(&self) -> bool {
        self.reopen.load(Ordering::Relaxed)
    }

    /// Whether it was asked to open anew, once.
    fn is_to_reopen(&self) -> bool {
        self.reopen.swap(false, Ordering::Relaxed)
    }
}
