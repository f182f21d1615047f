//! What audit devices are still at, and what of it was lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// All devices of a server, from its start to its end.
pub struct Sinks {
    at_work: watch::Sender<usize>,
    lost: AtomicU64,
}

/// Somebody who has records that are not written yet; dropped when there are none.
pub struct AtWork(Arc<Sinks>);

impl Default for Sinks {
    fn default() -> Self {
        Self { at_work: watch::Sender::new(0), lost: AtomicU64::new(0) }
    }
}

impl Sinks {
    /// Somebody takes records.
    pub fn begin(self: &Arc<Self>) -> AtWork {
        self.at_work.send_modify(|count| *count += 1);
        AtWork(Arc::clone(self))
    }

    /// A device does not have so many records that it was given.
    pub fn lose(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
    }

    /// How many were lost since the server started, each device by itself.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until nobody has any more. How many still do when `patience` is over.
    pub async fn finished(&self, patience: Duration) -> usize {
        let mut at_work = self.at_work.subscribe();
        let _ = tokio::time::timeout(patience, at_work.wait_for(|count| *count == 0)).await;
        *self.at_work.borrow()
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.send_modify(|count| *count -= 1);
    }
}
