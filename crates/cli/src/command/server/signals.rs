//! What a server is told from outside.

use std::future::Future;

use bulla_server::core::Core;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that it knows.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes them from now on.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until it is to end.
    pub(super) async fn end(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for the next of them.
    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::End,
            _ = self.terminate.recv() => Told::End,
            _ = self.hang_up.recv() => Told::Reread,
        }
    }

    /// What comes of `doing`, which is not left half done: if the server is to end meanwhile, `core` is told, so that nothing waits for what is far away.
    pub(super) async fn told_while<T>(&mut self, core: &Core, doing: impl Future<Output = T>) -> T {
        tokio::pin!(doing);
        loop {
            tokio::select! {
                done = doing.as_mut() => return done,
                () = self.end() => core.begin_to_stop(),
            }
        }
    }
}

/// What the server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// To end.
    End,
    /// To read again, and open anew, what may have changed.
    Reread,
}
