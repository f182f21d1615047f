//! What is to be done, and in which order.
//!
//! - **Lanes.** Objects that were never synced come first, then changed ones, then retries and periodic work. Of every sixteen
//!   one is taken from the other end, so that a flood of new objects does not starve the rest.
//! - **Once.** An object is in the queue once, in the best lane that it was put in.
//! - **One at a time.** An object that is being worked on is not given out again; put in meanwhile, it comes after.
//! - **Retries without end.** A failed object waits, longer each time (see [`Backoff`]), and never gives up. A change ends the
//!   wait at once.
//!
//! Nothing here knows Kubernetes. All operations are O(log n) or better.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::key::ObjectKey;

/// How urgent work is. Earlier lanes go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Never synced: somebody waits for it.
    First,
    /// Changed since.
    Changed,
    /// Failed before, or due by the clock.
    Later,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::First, Self::Changed, Self::Later];

    /// The lane's name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Changed => "changed",
            Self::Later => "later",
        }
    }
}

/// One of this many is taken from the least urgent lane that has something.
const FAIRNESS: u32 = 16;

/// The queue of one controller.
pub struct Queue {
    inner: Mutex<Inner>,
    ready: Notify,
    backoff: Backoff,
}

struct Inner {
    items: HashMap<ObjectKey, Item>,
    /// What is ready, by lane. Entries whose ticket is not the item's any more are skipped.
    lanes: [VecDeque<(ObjectKey, u64)>; 3],
    /// What waits, the soonest on top; stale entries are skipped likewise.
    waiting: BinaryHeap<Reverse<(Instant, u64, ObjectKey)>>,
    tickets: u64,
    taken: u32,
    ready: usize,
    running: usize,
    last_progress: Instant,
}

struct Item {
    state: State,
    failures: u32,
}

#[derive(Clone, Copy)]
enum State {
    Ready { lane: Lane, ticket: u64 },
    Waiting { lane: Lane, ticket: u64 },
    Running { again: Option<Lane> },
}

/// Work that was taken from the queue.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// On what.
    pub key: ObjectKey,
    /// From which lane.
    pub lane: Lane,
    /// How often it has failed since it last changed.
    pub failures: u32,
}

/// What the queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready, by lane.
    pub ready: [usize; 3],
    /// Waiting for its time.
    pub waiting: usize,
    /// Being worked on.
    pub running: usize,
}

impl Queue {
    /// An empty queue whose failures wait as `backoff` says.
    pub fn new(backoff: Backoff) -> Self {
        let inner = Inner {
            items: HashMap::new(),
            lanes: Default::default(),
            waiting: BinaryHeap::new(),
            tickets: 0,
            taken: 0,
            ready: 0,
            running: 0,
            last_progress: Instant::now(),
        };
        Self { inner: Mutex::new(inner), ready: Notify::new(), backoff }
    }

    /// Puts an object in because it is new or has changed: it is ready at once, and its earlier failures are forgotten.
    pub fn add(&self, key: &ObjectKey, lane: Lane) {
        let mut inner = self.lock();
        let state = match inner.items.get_mut(key) {
            Some(item) => {
                item.failures = 0;
                Some(item.state)
            }
            None => None,
        };
        match state {
            Some(State::Running { again }) => {
                let best = again.map_or(lane, |again| again.min(lane));
                inner.set(key, State::Running { again: Some(best) });
            }
            Some(State::Ready { lane: current, .. }) if current <= lane => {}
            Some(State::Ready { .. }) => {
                inner.ready -= 1;
                inner.make_ready(key, lane);
            }
            Some(State::Waiting { .. }) | None => inner.make_ready(key, lane),
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// Puts an object in unless it is there in any way: for work that is known to be outstanding, without a change.
    pub fn add_if_absent(&self, key: &ObjectKey, lane: Lane) {
        let mut inner = self.lock();
        if !inner.items.contains_key(key) {
            inner.make_ready(key, lane);
            drop(inner);
            self.ready.notify_one();
        }
    }

    /// Puts an object in after some time, unless it is there already.
    pub fn add_after(&self, key: &ObjectKey, lane: Lane, delay: Duration) {
        let mut inner = self.lock();
        if !inner.items.contains_key(key) {
            inner.make_wait(key, lane, Instant::now() + delay);
            drop(inner);
            self.ready.notify_one();
        }
    }

    /// Takes an object out. Work that was begun on it goes on, and is not repeated.
    pub fn remove(&self, key: &ObjectKey) {
        let mut inner = self.lock();
        match inner.items.get(key).map(|item| item.state) {
            Some(State::Running { .. }) => inner.set(key, State::Running { again: None }),
            Some(State::Ready { .. }) => {
                inner.ready -= 1;
                inner.items.remove(key);
            }
            Some(State::Waiting { .. }) => {
                inner.items.remove(key);
            }
            None => {}
        }
    }

    /// Makes everything that waits ready: what made it fail is gone.
    pub fn wake_all(&self) {
        let mut inner = self.lock();
        let waiting = std::mem::take(&mut inner.waiting);
        for Reverse((_, ticket, key)) in waiting.into_sorted_vec().into_iter().rev() {
            if let Some(State::Waiting { lane, ticket: current }) = inner.items.get(&key).map(|item| item.state)
                && current == ticket
            {
                inner.make_ready(&key, lane);
            }
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// The next object to work on, as soon as there is one. Each must be given back by [`done`](Self::done) or
    /// [`failed`](Self::failed).
    pub async fn take(&self) -> Taken {
        loop {
            let notified = self.ready.notified();
            let next = {
                let mut inner = self.lock();
                inner.wake_due(Instant::now());
                if let Some(taken) = inner.pop() {
                    if inner.ready > 0 {
                        // One notification wakes one worker: it wakes the next.
                        self.ready.notify_one();
                    }
                    return taken;
                }
                inner.waiting.peek().map(|Reverse((at, _, _))| *at)
            };
            match next {
                Some(at) => {
                    tokio::select! {
                        () = notified => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => notified.await,
            }
        }
    }

    /// Gives an object back whose work is done; `again` is when it is to be looked at once more without a change.
    pub fn done(&self, key: &ObjectKey, again: Option<Duration>) {
        self.give_back(key, |inner, _| {
            if let Some(delay) = again {
                inner.make_wait(key, Lane::Later, Instant::now() + delay);
            }
        });
    }

    /// Gives an object back whose work failed. Gives the time until the next try.
    pub fn failed(&self, key: &ObjectKey) -> Duration {
        let mut delay = Duration::ZERO;
        self.give_back(key, |inner, failures| {
            let failures = failures.saturating_add(1);
            delay = self.backoff.after(failures);
            inner.make_wait(key, Lane::Later, Instant::now() + delay);
            if let Some(item) = inner.items.get_mut(key) {
                item.failures = failures;
            }
        });
        delay
    }

    /// Gives an object back that could not be worked on for a reason that is not its own; it keeps its place.
    pub fn put_back(&self, key: &ObjectKey, lane: Lane) {
        self.give_back(key, |inner, failures| {
            inner.make_ready(key, lane);
            if let Some(item) = inner.items.get_mut(key) {
                item.failures = failures;
            }
        });
    }

    fn give_back(&self, key: &ObjectKey, otherwise: impl FnOnce(&mut Inner, u32)) {
        let mut inner = self.lock();
        inner.last_progress = Instant::now();
        let Some(Item { state: State::Running { again }, failures }) = inner.items.remove(key) else { return };
        inner.running -= 1;
        match again {
            Some(lane) => inner.make_ready(key, lane),
            None => otherwise(&mut inner, failures),
        }
        drop(inner);
        self.ready.notify_one();
    }

    /// Whether the object is being worked on.
    pub fn is_running(&self, key: &ObjectKey) -> bool {
        matches!(self.lock().items.get(key), Some(Item { state: State::Running { .. }, .. }))
    }

    /// What it holds.
    pub fn depth(&self) -> Depth {
        let inner = self.lock();
        let mut depth = Depth { running: inner.running, ..Depth::default() };
        for item in inner.items.values() {
            match item.state {
                State::Ready { lane, .. } => depth.ready[lane as usize] += 1,
                State::Waiting { .. } => depth.waiting += 1,
                State::Running { .. } => {}
            }
        }
        depth
    }

    /// For how long there has been work and none of it was finished; zero when there is nothing to do.
    pub fn stalled_for(&self) -> Duration {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.wake_due(now);
        if inner.ready == 0 && inner.running == 0 {
            inner.last_progress = now;
        }
        now - inner.last_progress
    }

    /// Says that for a reason outside the queue there could be no progress until now.
    pub fn excuse(&self) {
        self.lock().last_progress = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn set(&mut self, key: &ObjectKey, state: State) {
        match self.items.get_mut(key) {
            Some(item) => item.state = state,
            None => {
                self.items.insert(key.clone(), Item { state, failures: 0 });
            }
        }
    }

    fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    fn make_ready(&mut self, key: &ObjectKey, lane: Lane) {
        if self.ready == 0 && self.running == 0 {
            self.last_progress = Instant::now();
        }
        let ticket = self.ticket();
        self.set(key, State::Ready { lane, ticket });
        self.lanes[lane as usize].push_back((key.clone(), ticket));
        self.ready += 1;
    }

    fn make_wait(&mut self, key: &ObjectKey, lane: Lane, at: Instant) {
        let ticket = self.ticket();
        self.set(key, State::Waiting { lane, ticket });
        self.waiting.push(Reverse((at, ticket, key.clone())));
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some(Reverse((at, _, _))) = self.waiting.peek()
            && *at <= now
        {
            let Some(Reverse((_, ticket, key))) = self.waiting.pop() else { return };
            if let Some(State::Waiting { lane, ticket: current }) = self.items.get(&key).map(|item| item.state)
                && current == ticket
            {
                self.make_ready(&key, lane);
            }
        }
    }

    fn pop(&mut self) -> Option<Taken> {
        if self.ready == 0 {
            return None;
        }
        self.taken = self.taken.wrapping_add(1);
        let mut order = Lane::ALL;
        if self.taken.is_multiple_of(FAIRNESS) {
            order.reverse();
        }
        for lane in order {
            while let Some((key, ticket)) = self.lanes[lane as usize].pop_front() {
                if let Some(item) = self.items.get_mut(&key)
                    && let State::Ready { ticket: current, .. } = item.state
                    && current == ticket
                {
                    item.state = State::Running { again: None };
                    let failures = item.failures;
                    self.ready -= 1;
                    self.running += 1;
                    return Some(Taken { key, lane, failures });
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
