//! How many volumes are fetched at a time.
//!
//! Answers are in memory until they are written, and as large as people make them. So a provider gives so many at a time, and no namespace
//! has all of its turns: one whose far side is slow waits for itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of one provider.
const ALL: usize = 32;
/// Of one provider, for one namespace.
const NAMESPACE: usize = 8;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Whose, Arc<Semaphore>>>);

/// A provider's name, and a namespace or none for all.
type Whose = (String, Option<String>);

/// A turn, over when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    permits: Vec<(Whose, OwnedSemaphorePermit)>,
}

impl Turns {
    /// Waits for a turn.
    pub(super) async fn take(&self, provider: &str, namespace: &str) -> Turn<'_> {
        let mut turn = Turn { turns: self, permits: Vec::with_capacity(2) };
        // The namespace's first: who waits for one of those keeps none of the provider's from others.
        let whose = [(Some(namespace.to_owned()), NAMESPACE), (None, ALL)];
        for (namespace, most) in whose {
            let whose = (provider.to_owned(), namespace);
            let new = || Arc::new(Semaphore::new(most));
            let semaphore = Arc::clone(self.lock().entry(whose.clone()).or_insert_with(new));
            // It is never closed.
            if let Ok(permit) = semaphore.acquire_owned().await {
                turn.permits.push((whose, permit));
            }
        }
        turn
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Whose, Arc<Semaphore>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.turns.lock();
        for (whose, permit) in self.permits.drain(..) {
            drop(permit);
            // Nobody has one and nobody waits: those keep it too.
            if turns.get(&whose).is_some_and(|semaphore| Arc::strong_count(semaphore) == 1) {
                turns.remove(&whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_namespace_that_waits_for_itself_keeps_no_other_waiting() {
        let turns = Turns::default();
        let mut held = Vec::new();
        for _ in 0..NAMESPACE {
            held.push(turns.take("vault", "slow").await);
        }
        let soon = Duration::from_millis(20);
        assert!(timeout(soon, turns.take("vault", "slow")).await.is_err());
        for (provider, namespace) in [("vault", "other"), ("sealed", "slow")] {
            held.push(timeout(soon, turns.take(provider, namespace)).await.unwrap());
        }
        for n in 0..ALL - NAMESPACE - 1 {
            held.push(turns.take("vault", &n.to_string()).await);
        }
        assert!(timeout(soon, turns.take("vault", "another")).await.is_err(), "they are all taken");
        held.remove(0);
        held.push(timeout(soon, turns.take("vault", "another")).await.unwrap());
        drop(held);
        // One that gave up while it waited, the last to do so, may leave an entry for the next to take up.
        drop((turns.take("vault", "slow").await, turns.take("vault", "another").await));
        assert!(turns.lock().is_empty(), "{turns:?}");
    }
}
