//! One fetch for all who want the same as the same identity.
//!
//! Who comes while another fetches waits for that answer, and who comes a moment later gets it too. When the far side is down, who asks for the
//! first time may have the answer that it gave last, if that is not too old.
//!
//! Whether two may have one answer is for whoever fetches to say, with each answer ([`Fetched`]); the key has to name all that the answer
//! depends on, the identity first of all. An answer that is for one alone is never kept, nor waited for again. When the far side
//! says no, what it said before is forgotten at once: an identity that was not allowed gets nothing from here.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::store::{StoreError, StoreErrorKind};

/// For how long answers are kept, and how much of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How long an answer is given to others.
    pub fresh: Duration,
    /// How long after it was fetched it is given when the far side is down.
    pub last_known: Duration,
    /// All answers together, in bytes.
    pub bytes: usize,
    /// How many answers.
    pub answers: usize,
}

/// How long a key whose answer was for one alone is not waited for.
const ALONE: Duration = Duration::from_mins(10);

/// What was fetched.
#[derive(Debug)]
pub enum Fetched<V> {
    /// For all who have the key.
    ForAll(V),
    /// For whoever fetched.
    ForOne(V),
}

/// Whether an old answer is better than none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfDown {
    /// It is: there is nothing yet.
    LastKnown,
    /// It is not.
    Fail,
}

/// Where an answer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the far side, just now or a moment ago.
    FarSide,
    /// It is what the far side said before this happened.
    LastKnown(StoreError),
}

/// Answers by what they depend on.
pub struct Shared<K, V> {
    bounds: Bounds,
    size: fn(&V) -> usize,
    slots: Mutex<HashMap<K, Arc<Slot<V>>>>,
}

/// One key.
struct Slot<V> {
    used: Mutex<Instant>,
    state: AsyncMutex<State<V>>,
}

struct State<V> {
    kept: Option<(Instant, Arc<V>)>,
    failed: Option<(Instant, StoreError)>,
    alone: Option<Instant>,
}

impl<K: Hash + Eq + Clone, V> Shared<K, V> {
    /// Nothing is kept yet. `size` says how large an answer is, in bytes.
    pub fn new(bounds: Bounds, size: fn(&V) -> usize) -> Self {
        Self { bounds, size, slots: Mutex::default() }
    }

    /// The answer for a key: one that is there, one that another is fetching, or what `fetch` gives. Nothing of `fetch` is done
    /// unless it is needed.
    ///
    /// # Errors
    /// What `fetch` failed with, here or where it was waited for.
    pub async fn get(
        &self,
        key: &K,
        if_down: IfDown,
        fetch: impl Future<Output = Result<Fetched<V>, StoreError>>,
    ) -> Result<(Arc<V>, Origin), StoreError> {
        let begun = Instant::now();
        let slot = self.slot(key, begun);
        let mut state = slot.state.lock().await;
        let now = Instant::now();
        if state.alone.is_some_and(|until| now < until) {
            drop(state);
            let (Fetched::ForAll(value) | Fetched::ForOne(value)) = fetch.await?;
            return Ok((Arc::new(value), Origin::FarSide));
        }
        if let Some((at, value)) = &state.kept
            && (*at > begun || now.duration_since(*at) < self.bounds.fresh)
        {
            return Ok((Arc::clone(value), Origin::FarSide));
        }
        // What was waited for.
        let failed = state.failed.as_ref().filter(|(at, _)| *at > begun).map(|(_, error)| error.clone());
        let failed = match failed {
            Some(error) => error,
            None => match fetch.await {
                Ok(Fetched::ForAll(value)) => {
                    let value = Arc::new(value);
                    state.failed = None;
                    state.kept = Some((Instant::now(), Arc::clone(&value)));
                    drop(state);
                    self.sweep();
                    return Ok((value, Origin::FarSide));
                }
                Ok(Fetched::ForOne(value)) => {
                    *state = State { kept: None, failed: None, alone: Some(Instant::now() + ALONE) };
                    return Ok((Arc::new(value), Origin::FarSide));
                }
                Err(error) => {
                    state.failed = Some((Instant::now(), error.clone()));
                    error
                }
            },
        };
        if failed.kind != StoreErrorKind::Unavailable {
            // It was asked, and said no.
            state.kept = None;
            return Err(failed);
        }
        match &state.kept {
            // What is only busy will say soon whether this may still be had.
            Some((at, value))
                if if_down == IfDown::LastKnown
                    && failed.retry_after.is_none()
                    && at.elapsed() < self.bounds.last_known =>
            {
                Ok((Arc::clone(value), Origin::LastKnown(failed)))
            }
            _ => Err(failed),
        }
    }

    /// Forgets what is too old, and the oldest of what is too much. To be called from time to time: what is forgotten is wiped.
    pub fn sweep(&self) {
        let longest = self.bounds.fresh.max(self.bounds.last_known);
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = Vec::new();
        slots.retain(|key, slot| {
            // Who waits for it, or fetches, has it too.
            let Ok(mut state) = slot.state.try_lock() else { return true };
            if state.kept.as_ref().is_some_and(|(at, _)| at.elapsed() >= longest) {
                state.kept = None;
            }
            match &state.kept {
                Some((at, value)) => {
                    kept.push((*at, key.clone(), (self.size)(value)));
                    true
                }
                None => state.alone.is_some_and(|until| Instant::now() < until) || Arc::strong_count(slot) > 1,
            }
        });
        kept.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        let (mut bytes, mut answers) = (0_usize, 0_usize);
        for (_, key, size) in kept {
            (bytes, answers) = (bytes.saturating_add(size), answers + 1);
            if bytes > self.bounds.bytes || answers > self.bounds.answers {
                slots.remove(&key);
            }
        }
        // Marks and keys without an answer are small, and still bounded.
        while slots.len() > 4 * self.bounds.answers.max(1) {
            let used = |slot: &Slot<V>| *slot.used.lock().unwrap_or_else(PoisonError::into_inner);
            let oldest = slots.iter().min_by_key(|(_, slot)| used(slot)).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            slots.remove(&oldest);
        }
    }

    fn slot(&self, key: &K, now: Instant) -> Arc<Slot<V>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let state = State { kept: None, failed: None, alone: None };
            Arc::new(Slot { used: Mutex::new(now), state: AsyncMutex::new(state) })
        };
        let slot = Arc::clone(slots.entry(key.clone()).or_insert_with(new));
        *slot.used.lock().unwrap_or_else(PoisonError::into_inner) = now;
        slot
    }
}

#[cfg(test)]
mod tests;
