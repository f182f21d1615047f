//! Stops all work while the API server cannot be reached, so that an outage costs one request now and then instead of a try
//! (and its cryptography) per object, and lets all of it go on the moment the server is back.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::backoff::Backoff;

/// Open while the API server answers.
pub struct Gate {
    state: Mutex<State>,
    opened: Notify,
}

#[derive(Clone, Copy)]
struct State {
    failures: u32,
    /// When the next one may try.
    next: Option<Instant>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { state: Mutex::new(State { failures: 0, next: None }), opened: Notify::new() }
    }
}

impl Gate {
    /// Waits until the server may be asked. While it is gone, one caller at a time is let through, further and further apart.
    pub async fn pass(&self) {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            let next = {
                let mut state = self.lock();
                match state.next {
                    None => return,
                    Some(next) if next <= Instant::now() => {
                        // Whoever comes next waits for what becomes of this one.
                        state.next = Some(Instant::now() + Backoff::CONNECTION.limit);
                        return;
                    }
                    Some(next) => next,
                }
            };
            tokio::select! {
                () = opened => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Says that the server answered.
    pub fn reached(&self) {
        let mut state = self.lock();
        if state.next.is_some() {
            tracing::info!("the API server answers again");
            *state = State { failures: 0, next: None };
            drop(state);
            self.opened.notify_waiters();
        }
    }

    /// Says that the server did not answer, or asked to be left alone.
    pub fn unreachable(&self, reason: &str) {
        let mut state = self.lock();
        // Many requests fail together at the start of an outage: that counts once.
        if state.failures == 0 || state.next.is_some_and(|next| next > Instant::now()) {
            if state.failures == 0 {
                tracing::warn!(reason, "the API server cannot be reached; work waits for it");
            }
            state.failures = state.failures.saturating_add(1).min(16);
            state.next = Some(Instant::now() + Backoff::CONNECTION.after(state.failures));
        }
    }

    /// Waits until somebody had an answer, if the server is gone.
    pub async fn opened(&self) {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            if self.is_open() {
                return;
            }
            opened.await;
        }
    }

    /// Whether the server answered when it was last asked.
    pub fn is_open(&self) -> bool {
        self.lock().next.is_none()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    async fn passes(gate: &Gate) -> bool {
        tokio::time::timeout(Duration::from_millis(1), gate.pass()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn during_an_outage_one_at_a_time_tries() {
        let gate = Gate::default();
        assert!(passes(&gate).await);
        gate.unreachable("gone");
        assert!(!passes(&gate).await && !gate.is_open());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(passes(&gate).await);
        assert!(!passes(&gate).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_lets_everyone_through_at_once() {
        let gate = Arc::new(Gate::default());
        gate.unreachable("gone");
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                let gate = gate.clone();
                tokio::spawn(async move { gate.pass().await })
            })
            .collect();
        tokio::task::yield_now().await;
        let before = Instant::now();
        gate.reached();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_an_answer_without_asking_is_told_of_it() {
        let gate = Arc::new(Gate::default());
        gate.opened().await;
        gate.unreachable("gone");
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.opened().await }
        });
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!waiting.is_finished());
        gate.reached();
        waiting.await.unwrap();
    }
}
