//! Passing signals on to the program.
//!
//! The program stays in our process group, so that job control and pipelines work as without us. A key pressed at the
//! terminal (Ctrl-C, Ctrl-\), its hang-up and its resizing then reach the program from the kernel already: passed on,
//! they would come twice, and a second Ctrl-C makes many programs drop what they were saving. What another process sent came
//! to us alone, and is passed on. Who sent a signal stands in its `siginfo`.
//!
//! A signal that was ignored when we were started (`nohup`) stays ignored, by us and by the program.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};

/// The signals that are passed on.
const PASSED_ON: [Signal; 7] =
    [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::WINCH];

/// Those by which programs are ended.
const ENDING: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::QUIT];

/// Catches signals, to pass them on to a program once there is one.
pub(crate) struct Forwarder {
    target: Arc<Mutex<Target>>,
    asked_to_end: Arc<AtomicBool>,
    handle: Handle,
    thread: JoinHandle<()>,
}

enum Target {
    /// Not started: these wait for it, whoever sent them.
    Coming(Vec<Signal>),
    /// Running, and not waited for yet, so that its number is its own.
    Running(Pid),
    /// Gone.
    Gone,
}

impl Forwarder {
    /// Begins to catch signals.
    ///
    /// # Errors
    /// If the system refuses a handler or a thread.
    pub(crate) fn install() -> io::Result<Self> {
        let ignored = ignored_signals(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
        let caught = PASSED_ON.map(Signal::as_raw).into_iter().filter(|number| ignored & (1 << (number - 1)) == 0);
        let mut signals = SignalsInfo::<WithOrigin>::new(caught)?;
        let handle = signals.handle();
        let target = Arc::new(Mutex::new(Target::Coming(Vec::new())));
        let asked_to_end = Arc::<AtomicBool>::default();
        let (theirs, asked) = (Arc::clone(&target), Arc::clone(&asked_to_end));
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            for origin in &mut signals {
                if ENDING.iter().any(|signal| signal.as_raw() == origin.signal) {
                    asked.store(true, Ordering::SeqCst);
                }
                receive(&mut lock(&theirs), &origin);
            }
        })?;
        Ok(Self { target, asked_to_end, handle, thread })
    }

    /// The program runs: it gets what has come so far, and what comes.
    pub(crate) fn forward_to(&self, program: Pid) {
        let mut target = lock(&self.target);
        if let Target::Coming(waiting) = std::mem::replace(&mut *target, Target::Running(program)) {
            for signal in waiting {
                pass_on(program, signal);
            }
        }
    }

    /// The program has ended and another one is to come, which gets what comes until then. Called before the ended one is waited for.
    pub(crate) fn pause(&self) {
        *lock(&self.target) = Target::Coming(Vec::new());
    }

    /// Whether a signal has come by which programs are ended.
    pub(crate) fn is_asked_to_end(&self) -> bool {
        self.asked_to_end.load(Ordering::SeqCst)
    }

    /// The program has ended; called before it is waited for, after which its number may be another's.
    pub(crate) fn stop(self) {
        *lock(&self.target) = Target::Gone;
        self.handle.close();
        let _ = self.thread.join();
    }
}

fn receive(target: &mut Target, origin: &Origin) {
    let Some(signal) = Signal::from_named_raw(origin.signal) else { return };
    match target {
        Target::Coming(waiting) => waiting.push(signal),
        Target::Running(program) if !matches!(origin.cause, Cause::Kernel) => pass_on(*program, signal),
        Target::Running(_) | Target::Gone => {}
    }
}

fn pass_on(program: Pid, signal: Signal) {
    if let Err(error) = kill_process(program, signal) {
        tracing::warn!(%error, ?signal, "the program could not be given a signal");
    }
}

/// The set of ignored signals, bit N-1 for signal N, of a `/proc/PID/status`.
fn ignored_signals(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

fn lock(target: &Mutex<Target>) -> MutexGuard<'_, Target> {
    target.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignored_signals_are_read_from_the_status() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\nSigCgt:\t0000000000004000\n";
        assert_eq!(ignored_signals(status) & (1 << (Signal::HUP.as_raw() - 1)), 1);
        assert_eq!(ignored_signals(""), 0);
    }
}
