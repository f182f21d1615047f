//! The process: what its controllers share, in the order it is started and stopped.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use kube::{Client, Config};
use tokio::task::JoinSet;

use super::client::{self, ClientOptions};
use super::controller::Controller;
use super::driver::{Driver, DriverOptions, Handle};
use super::events::Events;
use super::gate::Gate;
use super::health::Health;
use super::http::{self, Probes};
use super::leader::Leader;
use super::lease::Timing;
use super::membership::Membership;
use super::metrics::Metrics;
use super::shards::{Members, Shards, fixed};
use super::stop::{Stop, Stopper};
use super::watch::Namespaces;

/// How the process is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace of Leases, and of the controllers' own objects.
    pub namespace: String,
    /// The name of the group of replicas.
    pub group: String,
    /// This replica's name: its pod's.
    pub replica: String,
    /// Where controllers look.
    pub namespaces: Namespaces,
    /// Whether replicas share the work.
    pub sharing: Sharing,
    /// How long Leases last.
    pub timing: Timing,
    /// How many objects are worked on at once.
    pub workers: usize,
    /// How long work on one object may take.
    pub reconcile_timeout: Duration,
    /// How long work that was begun may go on once the process is asked to stop.
    pub stop_timeout: Duration,
    /// Where the API and probes are served; none if empty.
    pub listen: String,
    /// Where metrics and probes are served; none if empty.
    pub listen_metrics: String,
    /// How the API server is spoken to.
    pub client: ClientOptions,
}

/// Whether replicas share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each replica works on its share, by Leases.
    ByLease,
    /// There is one replica, and no Lease is needed.
    Alone,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            group: "bulla-operator".to_owned(),
            replica: "bulla-operator".to_owned(),
            namespaces: Namespaces::All,
            sharing: Sharing::ByLease,
            timing: Timing::default(),
            workers: 32,
            reconcile_timeout: Duration::from_mins(2),
            stop_timeout: Duration::from_secs(20),
            listen: ":8080".to_owned(),
            listen_metrics: ":8081".to_owned(),
            client: ClientOptions::default(),
        }
    }
}

/// Why the process could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration for the API server is of no use.
    #[error("cannot make a client for the API server: {0}")]
    Client(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        error: std::io::Error,
    },
}

/// A process under construction: controllers and routes are added, then it runs.
pub struct Operator {
    options: Options,
    client: Client,
    identity: String,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    gate: Arc<Gate>,
    shards: Shards,
    membership: Option<Membership>,
    router: Router,
    stopper: Stopper,
    stop: Stop,
    /// What does the work; it ends by itself after the stop.
    working: JoinSet<()>,
    /// What serves; it is stopped last.
    serving: JoinSet<()>,
    /// What tells events; it goes with the process.
    telling: JoinSet<()>,
}

impl Operator {
    /// A process that speaks to the API server of `config`.
    ///
    /// # Errors
    /// [`StartError::Client`].
    pub fn new(config: Config, options: Options) -> Result<Self, StartError> {
        bulla_core::memory::keep_little();
        let client =
            client::client(config, options.client).map_err(|error| StartError::Client(client::describe(&error)))?;
        let mut random = [0; 8];
        // Without randomness the time still tells this process from the pod's last one.
        let _ = getrandom::fill(&mut random);
        let now = jiff::Timestamp::now().as_millisecond();
        let identity = format!("{}_{now:x}{:016x}", options.replica, u64::from_le_bytes(random));
        let (stopper, stop) = Stopper::new();
        let membership = (options.sharing == Sharing::ByLease).then(|| {
            let Options { namespace, group, replica, timing, .. } = &options;
            Membership::new(client.clone(), namespace, group, replica, &identity, *timing)
        });
        let shards = membership.as_ref().map_or_else(|| fixed(Members::alone(&options.replica)), Membership::shards);
        let gate = Arc::<Gate>::default();
        let health = Arc::new(Health::new(gate.clone()));
        health.until(stop.clone());
        Ok(Self {
            options,
            client,
            identity,
            health,
            metrics: Arc::default(),
            gate,
            shards,
            membership,
            router: Router::new(),
            stopper,
            stop,
            working: JoinSet::new(),
            serving: JoinSet::new(),
            telling: JoinSet::new(),
        })
    }

    /// The client that all share.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The options it was made with.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The metrics that are served.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// What probes ask.
    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// Which objects are this replica's.
    pub fn shards(&self) -> Shards {
        self.shards.clone()
    }

    /// Closed while the API server cannot be reached.
    pub fn gate(&self) -> Arc<Gate> {
        self.gate.clone()
    }

    /// Set when the process is to end.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Tells events as `controller`.
    pub fn events(&mut self, controller: &str) -> Events {
        let (events, telling) = Events::new(self.client.clone(), controller, &self.options.replica);
        self.telling.spawn(telling);
        events
    }

    /// Adds a controller.
    pub fn add<C: Controller>(&mut self, controller: Arc<C>) -> Arc<dyn Handle> {
        self.add_when(controller, std::future::ready(()))
    }

    /// Adds a controller that begins to watch once `ready` is.
    pub fn add_when<C: Controller>(
        &mut self,
        controller: Arc<C>,
        ready: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<dyn Handle> {
        let options = DriverOptions {
            namespaces: self.options.namespaces.clone(),
            workers: self.options.workers,
            timeout: self.options.reconcile_timeout,
            grace: self.options.timing.grace(),
        };
        let driver = Driver::new(
            controller,
            self.client.clone(),
            self.gate.clone(),
            self.shards.clone(),
            self.metrics.clone(),
            options,
        );
        let driver = Arc::new(driver);
        self.health.add(driver.clone());
        let (running, stop) = (driver.clone(), self.stop.clone());
        self.working.spawn(async move {
            tokio::select! {
                () = ready => running.run(stop.clone()).await,
                () = stop.wait() => {}
            }
        });
        driver
    }

    /// Adds a task that one replica alone does, under the Lease `name`. It is dropped when the Lease is lost or the process ends.
    pub fn add_leader<F>(&mut self, name: &str, work: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Options { namespace, timing, .. } = &self.options;
        let leader = Leader::new(self.client.clone(), namespace, name, &self.identity, *timing);
        self.working.spawn(leader.run(self.stop.clone(), work));
    }

    /// Adds a task that runs beside the controllers, and is dropped when the process ends.
    pub fn add_task(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.working.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.wait() => {}
            }
        });
    }

    /// Adds a task that finishes by itself once the process is to end, like a server.
    pub fn add_service(&mut self, service: impl Future<Output = ()> + Send + 'static) {
        self.working.spawn(service);
    }

    /// Adds routes to what is served beside the probes.
    pub fn add_routes(&mut self, router: Router) {
        self.router = std::mem::take(&mut self.router).merge(router);
    }

    /// Runs until `signal`. Then: it is not ready; no more work is taken; what was begun is finished; Leases are given up, so that
    /// others take over at once; what was asked over HTTP is answered.
    ///
    /// # Errors
    /// [`StartError::Listen`].
    pub async fn run(mut self, signal: impl Future<Output = ()>) -> Result<(), StartError> {
        let probes = Probes { health: self.health.clone(), metrics: self.metrics.clone() };
        let (serving_stopper, serving_stop) = Stopper::new();
        let api = self.router.merge(http::probes(probes.clone()));
        for (address, router) in
            [(self.options.listen.clone(), api), (self.options.listen_metrics.clone(), http::metrics(probes))]
        {
            if address.is_empty() {
                continue;
            }
            let listener =
                http::listen(&address).await.map_err(|error| StartError::Listen { address: address.clone(), error })?;
            tracing::info!(address = ?http::address(&listener), "listening");
            let stop = serving_stop.clone();
            self.serving.spawn(async move {
                if let Err(error) = http::serve(listener, router, stop).await {
                    tracing::error!(%error, "an HTTP server ended");
                }
            });
        }
        let (health, metrics, mut shards) = (self.health.clone(), self.metrics.clone(), self.shards.clone());
        let watchdog = tokio::spawn(async move {
            let count = async {
                loop {
                    metrics.set_members(shards.borrow_and_update().count());
                    if shards.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            };
            tokio::select! {
                () = health.watchdog(&metrics) => {}
                () = count => {}
            }
        });
        let (drained_stopper, drained) = Stopper::new();
        // The membership outlives the work: what is still being finished is still ours.
        let (membership_stopper, membership_stop) = Stopper::new();
        let membership = self.membership.take().map(|membership| {
            let gate = self.gate.clone();
            tokio::spawn(
                async move { membership.run(&gate, membership_stop, async move { drained.wait().await }).await },
            )
        });

        signal.await;
        tracing::info!("stopping: no more work is taken, what was begun is finished");
        self.stopper.set();
        let finish = async { while self.working.join_next().await.is_some() {} };
        if tokio::time::timeout(self.options.stop_timeout, finish).await.is_err() {
            tracing::warn!("work that was begun did not finish in time; another replica does it again");
            self.working.abort_all();
        }
        membership_stopper.set();
        drained_stopper.set();
        if let Some(membership) = membership {
            // A Lease that cannot be removed runs out by itself.
            let _ = tokio::time::timeout(Duration::from_secs(5), membership).await;
        }
        serving_stopper.set();
        let finish = async { while self.serving.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(5), finish).await;
        self.telling.abort_all();
        watchdog.abort();
        tracing::info!("stopped");
        Ok(())
    }
}
