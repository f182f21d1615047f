//! SIGINT, SIGTERM and SIGHUP: what was begun is finished, what was left behind is removed, then the process ends.
//!
//! A thread of its own waits for the signals. It ends the process with status 128 and the signal's number, after every
//! [`finish_first`] guard is gone, so that no replacement is cut in two and no temporary file stays.

use std::sync::{Mutex, Once, PoisonError, RwLock, RwLockReadGuard};

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Code;

static UNFINISHED: RwLock<()> = RwLock::new(());
static STARTED: Once = Once::new();
static HELD: Mutex<Held> = Mutex::new(Held::No);

/// Whether signals are held back.
enum Held {
    /// No: they end the process.
    No,
    /// Yes, and this came meanwhile.
    Yes(Option<Signal>),
}

/// A signal that asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGHUP: the terminal is gone.
    Hangup,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// The exit status: 128 and the signal's number.
    pub(crate) const fn code(self) -> Code {
        Code::Child(match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
        })
    }
}

/// While the guard lives a signal does not end the process. For steps that are short and must not be cut in two.
pub(crate) fn finish_first() -> RwLockReadGuard<'static, ()> {
    start();
    UNFINISHED.read().unwrap_or_else(PoisonError::into_inner)
}

/// Signals are kept for [`Hold::take`] instead of ending the process, until the guard is dropped. For a command that waits
/// for a person and cleans up after itself. One at a time.
pub(crate) fn hold() -> Hold {
    start();
    *held() = Held::Yes(None);
    Hold(())
}

/// In force while it lives; see [`hold`].
pub(crate) struct Hold(());

impl Hold {
    /// The signal that came since it was last asked, if one did.
    #[expect(clippy::unused_self, reason = "only meaningful while signals are held")]
    pub(crate) fn take(&self) -> Option<Signal> {
        match &mut *held() {
            Held::Yes(signal) => signal.take(),
            Held::No => None,
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        *held() = Held::No;
    }
}

fn held() -> std::sync::MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread, once. Failing to (no threads left) leaves the system's default: the process ends at once.
fn start() {
    STARTED.call_once(|| {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || wait(&ready));
        if thread.is_ok() {
            // Without the wait a signal could come before it is listened for. An error: the thread gave up.
            let _ = is_ready.recv();
        }
    });
}

fn wait(ready: &std::sync::mpsc::Sender<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    runtime.block_on(async {
        let (Ok(mut hangup), Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::hangup()), signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return;
        };
        // The other end waits for just this.
        let _ = ready.send(());
        loop {
            received(tokio::select! {
                _ = hangup.recv() => Signal::Hangup,
                _ = interrupt.recv() => Signal::Interrupt,
                _ = terminate.recv() => Signal::Terminate,
            });
        }
    });
}

fn received(signal: Signal) {
    if let Held::Yes(held) = &mut *held() {
        *held = Some(signal);
        return;
    }
    let _all = UNFINISHED.write().unwrap_or_else(PoisonError::into_inner);
    std::process::exit(i32::from(signal.code().number()));
}
