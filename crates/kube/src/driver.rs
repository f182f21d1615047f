//! Runs one controller: watches, decides what is due, works it off.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::{Backoff, jittered};
use super::controller::{Controller, Due, Failure, FailureKind, Job};
use super::gate::Gate;
use super::key::ObjectKey;
use super::metrics::Metrics;
use super::queue::{Lane, Queue, Taken};
use super::shards::Shards;
use super::stop::Stop;
use super::store::Store;
use super::watch::{Namespaces, Seen, metadata, objects};

/// What runs a controller.
pub struct Driver<C: Controller> {
    controller: Arc<C>,
    client: Client,
    store: Mutex<Store<C>>,
    queue: Queue,
    gate: Arc<Gate>,
    shards: Shards,
    metrics: Arc<Metrics>,
    options: DriverOptions,
    /// Lists that are not complete for the first time: of objects, and of Secrets.
    incomplete: AtomicUsize,
    incomplete_secrets: watch::Sender<usize>,
    /// Objects that were read or worked on since memory was given back.
    since_rest: AtomicUsize,
}

/// After how many objects it is worth giving memory back.
const WORTH_A_REST: usize = 200;
/// How often it is looked whether there is nothing to do.
const REST: Duration = Duration::from_secs(5);

/// How a controller is run.
#[derive(Clone, Debug)]
pub struct DriverOptions {
    /// Where it looks.
    pub namespaces: Namespaces,
    /// How many objects are worked on at once.
    pub workers: usize,
    /// How long work on one object may take.
    pub timeout: Duration,
    /// How long work may go on when this replica may not work any more.
    pub grace: Duration,
}

/// What a controller, or what stands beside it, may ask of its driver.
pub trait Handle: Send + Sync {
    /// Tries everything that failed once more, now, and asks of every object anew whether something is due: a cause is gone.
    fn reconsider(&self);
    /// Whether the first lists are complete.
    fn has_synced(&self) -> bool;
    /// For how long there was work and no progress.
    fn stalled_for(&self) -> Duration;
    /// Brings the gauges up to date.
    fn measure(&self);
    /// The controller's name.
    fn name(&self) -> &'static str;
}

impl<C: Controller> Driver<C> {
    /// A driver that has seen nothing yet.
    pub fn new(
        controller: Arc<C>,
        client: Client,
        gate: Arc<Gate>,
        shards: Shards,
        metrics: Arc<Metrics>,
        options: DriverOptions,
    ) -> Self {
        let scopes = options.namespaces.scopes().len();
        let of_secrets = if controller.secrets().is_some() { scopes } else { 0 };
        Self {
            controller,
            client,
            store: Mutex::default(),
            queue: Queue::new(Backoff::OBJECT),
            gate,
            shards,
            metrics,
            options,
            incomplete: AtomicUsize::new(scopes),
            incomplete_secrets: watch::Sender::new(of_secrets),
            since_rest: AtomicUsize::new(0),
        }
    }

    /// Runs until `stop`; then finishes what was begun.
    pub async fn run(self: Arc<Self>, stop: Stop) {
        let mut watches: FuturesUnordered<_> = FuturesUnordered::new();
        for scope in self.options.namespaces.scopes() {
            let (objects, secrets) = (self.clone(), self.clone());
            let other = scope.clone();
            watches.push(tokio::spawn(async move {
                objects.may_judge().await;
                objects.watch_objects(scope).await;
            }));
            if self.controller.secrets().is_some() {
                watches.push(tokio::spawn(async move { secrets.watch_secrets(other).await }));
            }
        }
        let sharing = tokio::spawn(self.clone().follow_members());
        let resting = tokio::spawn(self.clone().rest());
        let workers: Vec<_> =
            (0..self.options.workers.max(1)).map(|_| tokio::spawn(self.clone().work(stop.clone()))).collect();
        tokio::select! {
            () = stop.wait() => {}
            // A watch has no end but a panic; then the process is of no use.
            Some(_) = watches.next() => tracing::error!(controller = self.controller.name(), "a watch ended; no more work is taken"),
        }
        for watch in &watches {
            watch.abort();
        }
        for worker in workers {
            // A panic was told of where it happened.
            let _ = worker.await;
        }
        sharing.abort();
        resting.abort();
    }

    /// Gives back, when there is nothing to do, the memory that a lot of work has needed.
    async fn rest(self: Arc<Self>) {
        loop {
            tokio::time::sleep(REST).await;
            let depth = self.queue.depth();
            let is_idle = depth.running == 0 && depth.ready.iter().all(|ready| *ready == 0);
            if is_idle && self.since_rest.load(Ordering::Relaxed) >= WORTH_A_REST {
                self.since_rest.store(0, Ordering::Relaxed);
                let _ = tokio::task::spawn_blocking(bulla_core::memory::give_back).await;
            }
        }
    }

    /// Waits until it can be judged what is due: Secrets are known, and so is our share. Then no object need be kept to be judged
    /// later, nor fetched again.
    async fn may_judge(&self) {
        // An error is the end of whoever would tell.
        let _ = self.incomplete_secrets.subscribe().wait_for(|lists| *lists == 0).await;
        let _ = self.shards.clone().wait_for(|members| members.may_work()).await;
    }

    async fn watch_objects(&self, scope: Option<String>) {
        let (mut round, mut first) = (0, true);
        let selectors = self.controller.selectors();
        objects::<C::Object>(self.client.clone(), scope.clone(), selectors, &self.gate, |event| match event {
            Seen::Begin => round = self.store().begin(),
            Seen::Object(object) => {
                let key = self.store().see(&self.controller, object, round);
                self.since_rest.fetch_add(1, Ordering::Relaxed);
                self.look_at(&key);
            }
            Seen::Unreadable(metadata, reason) => {
                self.controller.unreadable(&metadata, &reason);
                self.lost(&ObjectKey::of(&metadata));
            }
            Seen::Gone(metadata) => self.lost(&ObjectKey::of(&metadata)),
            Seen::Complete => {
                let gone = self.store().complete(scope.as_deref(), round);
                for key in gone {
                    self.queue.remove(&key);
                    self.controller.gone(&key);
                }
                self.store().shrink();
                if std::mem::take(&mut first) && self.incomplete.fetch_sub(1, Ordering::AcqRel) == 1 {
                    let (objects, secrets, _) = self.store().size();
                    tracing::info!(
                        controller = self.controller.name(),
                        objects,
                        secrets,
                        "the first lists are complete"
                    );
                }
            }
        })
        .await;
    }

    async fn watch_secrets(&self, scope: Option<String>) {
        let (mut round, mut first) = (0, true);
        let selectors = self.controller.secrets().unwrap_or_default();
        metadata::<Secret>(self.client.clone(), scope.clone(), selectors, &self.gate, |event| match event {
            Seen::Begin => round = self.store().begin(),
            Seen::Object(metadata) => {
                let owner = self.store().see_secret(&self.controller, &metadata, round);
                self.look_at(&owner);
            }
            Seen::Gone(metadata) => {
                let owner = self.store().forget_secret(&metadata);
                if let Some(owner) = owner {
                    self.look_at(&owner);
                }
            }
            // Metadata can always be read.
            Seen::Unreadable(..) => {}
            Seen::Complete => {
                let owners = self.store().complete_secrets(scope.as_deref(), round);
                if std::mem::take(&mut first) {
                    self.incomplete_secrets.send_modify(|lists| *lists -= 1);
                }
                for owner in owners {
                    self.look_at(&owner);
                }
            }
        })
        .await;
    }

    fn lost(&self, key: &ObjectKey) {
        if self.store().forget(key) {
            self.queue.remove(key);
            self.controller.gone(key);
        }
    }

    /// Puts an object into the queue if something is due and it is ours.
    fn look_at(&self, key: &ObjectKey) {
        // Whoever works on it looks at it when it is done, knowing what was done.
        if self.queue.is_running(key) {
            return;
        }
        let owned = self.shards.borrow().own(key);
        let mut store = self.store();
        let due = if owned { store.due(&self.controller, key) } else { Due::Nothing };
        match due {
            Due::Nothing => {
                store.drop_waiting(key);
                if !owned {
                    store.remember(key, None);
                    self.queue.remove(key);
                }
            }
            Due::Retry => self.queue.add_if_absent(key, Lane::Later),
            Due::After(delay) => self.queue.add_after(key, Lane::Changed, delay),
            due => {
                let Some(lane) = due.lane() else { return };
                self.queue.add(key, lane);
            }
        }
    }

    fn look_at_all(&self) {
        let keys = self.store().keys();
        for key in keys {
            self.look_at(&key);
        }
    }

    async fn follow_members(self: Arc<Self>) {
        let mut shards = self.shards.clone();
        while shards.changed().await.is_ok() {
            self.look_at_all();
        }
    }

    /// One worker.
    async fn work(self: Arc<Self>, stop: Stop) {
        loop {
            let taken = async {
                self.gate.pass().await;
                self.queue.take().await
            };
            let taken = tokio::select! {
                biased;
                () = stop.wait() => return,
                taken = taken => taken,
            };
            // A panic in a controller must not lose the object, nor the worker.
            let this = self.clone();
            let (key, lane) = (taken.key.clone(), taken.lane);
            if let Err(error) = tokio::spawn(async move { this.work_on(taken).await }).await {
                tracing::error!(controller = self.controller.name(), object = %key, %error, lane = lane.name(), "work on an object panicked");
                self.metrics.failed(self.controller.name(), lane);
                self.queue.failed(&key);
            }
        }
    }

    async fn work_on(&self, taken: Taken) {
        let Taken { key, lane, failures } = taken;
        self.since_rest.fetch_add(1, Ordering::Relaxed);
        if !self.shards.borrow().own(&key) || !self.store().knows(&key) {
            self.queue.done(&key, None);
            return;
        }
        let started = Instant::now();
        let result = tokio::select! {
            result = tokio::time::timeout(self.options.timeout, self.reconcile(&key, failures)) => result,
            () = self.cut_off(&key) => {
                // Another replica does it now, or we do when we are back.
                self.queue.put_back(&key, lane);
                return;
            }
        };
        let name = self.controller.name();
        match result {
            Ok(Ok(None)) => {
                self.gate.reached();
                self.queue.done(&key, None);
            }
            Ok(Ok(Some(done))) => {
                self.gate.reached();
                let mut store = self.store();
                if let Some(secret) = done.secret {
                    store.wrote_secret(&key, secret);
                }
                store.remember(&key, done.memo);
                drop(store);
                self.metrics.succeeded(name, lane, started.elapsed());
                self.queue.done(&key, done.again.map(jittered));
            }
            Ok(Err(failure)) => self.failed(&key, lane, failure),
            Err(_) => {
                let seconds = self.options.timeout.as_secs();
                self.failed(&key, lane, Failure::object(format!("it took longer than {seconds} s")));
            }
        }
        self.look_at(&key);
    }

    fn failed(&self, key: &ObjectKey, lane: Lane, failure: Failure<C::Memo>) {
        let Failure { reason, kind, memo } = failure;
        let controller = self.controller.name();
        if memo.is_some() {
            self.store().remember(key, memo);
        }
        match kind {
            FailureKind::Unreachable => {
                self.gate.unreachable(&reason);
                self.queue.put_back(key, lane);
            }
            FailureKind::Conflict => {
                tracing::debug!(controller, object = %key, reason, "somebody else was faster");
                self.metrics.failed(controller, lane);
                self.queue.failed(key);
            }
            FailureKind::Object => {
                self.gate.reached();
                self.metrics.failed(controller, lane);
                let again = self.queue.failed(key);
                tracing::warn!(controller, object = %key, reason, ?again, "an object could not be reconciled");
            }
        }
    }

    /// Does the work, on the object as it is kept or else as the server has it. `None`: it is gone.
    async fn reconcile(
        &self,
        key: &ObjectKey,
        failures: u32,
    ) -> Result<Option<super::controller::Done<C::Memo>>, Failure<C::Memo>> {
        let kept = self.store().take(key);
        let object = if let Some(object) = kept {
            object
        } else {
            let api: Api<C::Object> = Api::namespaced(self.client.clone(), key.namespace());
            match api.get_opt(key.name()).await? {
                Some(object) => Arc::new(object),
                None => return Ok(None),
            }
        };
        let secret = self.store().secret(key).cloned();
        self.controller.reconcile(Job { key: key.clone(), object, secret, failures }).await.map(Some)
    }

    /// Waits until this replica may not work on the object any more, and then for as long as work may still go on.
    async fn cut_off(&self, key: &ObjectKey) {
        let mut shards = self.shards.clone();
        loop {
            let may = shards.borrow_and_update().may_work();
            if !may {
                tokio::time::sleep(self.options.grace).await;
                tracing::warn!(object = %key, "work on an object was cut off: this replica's lease runs out");
                return;
            }
            if shards.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn is_synced(&self) -> bool {
        self.incomplete.load(Ordering::Acquire) == 0
    }

    fn store(&self) -> MutexGuard<'_, Store<C>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Controller> Handle for Driver<C> {
    fn reconsider(&self) {
        self.queue.wake_all();
        self.look_at_all();
    }

    fn has_synced(&self) -> bool {
        self.is_synced()
    }

    fn stalled_for(&self) -> Duration {
        // While the server is gone there can be no progress.
        if !self.gate.is_open() {
            self.queue.excuse();
        }
        self.queue.stalled_for()
    }

    fn measure(&self) {
        let (objects, secrets, waiting) = self.store().size();
        self.metrics.measure(self.controller.name(), self.queue.depth(), objects, secrets, waiting);
    }

    fn name(&self) -> &'static str {
        self.controller.name()
    }
}
