//! The process that serves: what it is made of, in the order it starts and stops.
//!
//! It is asked by the kubelet from when the kubelet finds its socket: so that comes last, and goes first. What the kubelet has begun to
//! ask is finished; what is mounted stays mounted, and the next process finds it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bulla_core::memory::{Rest, give_back};
use bulla_kube::Operator;
use bulla_kube::gate::Gate;
use bulla_store::sealed::Authority;
use tokio::net::UnixListener;
use tonic::transport::Server;

use crate::cluster::{NodePods, Statuses, WatchedClasses};
use crate::csi::{IdentityService, NodeService};
use crate::metrics::Metrics;
use crate::mounter::Mounter;
use crate::proto::csi::identity_server::IdentityServer;
use crate::proto::csi::node_server::NodeServer;
use crate::proto::registration::registration_server::RegistrationServer;
use crate::provider::Registry;
use crate::publish::{Publisher, Settings};
use crate::registration::{Readable, RegistrationService};
pub use crate::serving::ServeError;
use crate::serving::{Place, finish, serve_at};
use crate::sync::Synced;

/// The names of the sockets, as [`Rules`](crate::mounter::Rules) have them.
pub const CSI_SOCKET: &str = "csi";
/// The kubelet's plugin watcher finds this one.
pub const REGISTRATION_SOCKET: &str = "registration";

/// How often it is looked which volumes' providers want to be asked again. A lease of half a minute is renewed in time.
const EXPECTED: Duration = Duration::from_secs(3);
/// After how long without anything to fetch memory is given back.
const REST: Duration = Duration::from_secs(5);
/// The largest request of the kubelet: a class of nothing but attributes, tokens and secrets, with room to spare.
const LONGEST_REQUEST: usize = 4 << 20;

/// What the service is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The driver's name.
    pub driver: String,
    /// This node's name.
    pub node: String,
    /// The folder of all pods, as the kubelet names it.
    pub pods: PathBuf,
    /// Where the kubelet finds the driver's socket, on the node.
    pub endpoint: String,
    /// How volumes are made.
    pub settings: Settings,
}

/// Serves until `signal`. With `secrets` files become Secrets where their class says so: it writes them.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    mut operator: Operator,
    mounter: Mounter,
    providers: Registry,
    options: Options,
    secrets: Option<Authority>,
    signal: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let client = operator.client();
    let gate: Arc<Gate> = operator.gate();
    let metrics = Metrics::default();
    operator.metrics().register(|registry| metrics.register(registry));
    let events = operator.events("bulla-node");
    let syncing = operator.events("bulla-node");
    let (classes, changed) = WatchedClasses::new(client.clone(), Arc::clone(&gate));
    let classes = Arc::new(classes);
    let (pods, asked) = NodePods::new(client.clone(), &options.node, gate);
    let pods = Arc::new(pods);
    let statuses = Arc::new(Statuses::new(client, &options.node, events, metrics.clone()));
    let built_in = providers.built_in();
    let publisher = Arc::new(Publisher::new(
        mounter.clone(),
        classes.clone(),
        Arc::new(providers),
        Arc::new(Synced::new(statuses.clone(), secrets, syncing, metrics.clone())),
        options.settings.clone(),
        metrics.clone(),
    ));
    let volumes = mounter.count().await?;
    tracing::info!(volumes, driver = options.driver, "volumes that are mounted are taken over");

    let follower = publisher.clone();
    operator.add_task(async move { classes.follow(changed, &follower).await });
    for provider in built_in {
        let publisher = publisher.clone();
        operator.add_task(async move { provider.follow(&publisher).await });
    }
    let asking = publisher.clone();
    operator.add_task(async move { crate::cluster::follow_pods(asked, &asking).await });
    let follower = publisher.clone();
    operator.add_task(rest(publisher.clone()));
    operator.add_task(async move {
        loop {
            tokio::time::sleep(EXPECTED).await;
            for target in follower.expected() {
                let follower = follower.clone();
                // Side by side: a far side that is slow must not keep the others'.
                tokio::spawn(async move { follower.refresh(&target).await });
            }
        }
    });
    let watcher = pods.clone();
    operator.add_task(async move { watcher.run().await });
    let telling = statuses.clone();
    operator.add_task(async move { telling.run().await });

    let node = NodeService {
        node: options.node.clone(),
        pods: options.pods.clone(),
        publisher,
        mounter: mounter.clone(),
        users: pods,
        metrics,
    };
    let identity = IdentityService::new(&options.driver, Arc::new(AtomicBool::new(true)));
    let driver = Server::builder()
        .add_service(IdentityServer::new(identity))
        .add_service(NodeServer::new(node).max_decoding_message_size(LONGEST_REQUEST));
    let registration = RegistrationService::new(&options.driver, &options.endpoint);
    let registered = registration.state();
    let registration = Server::builder().add_service(RegistrationServer::new(registration));

    let stop = operator.stop();
    let place = |name| OfMounter { mounter: mounter.clone(), name };
    let serving = [
        serve_at(place(CSI_SOCKET), driver, stop.clone(), |stream| stream).await?,
        serve_at(place(REGISTRATION_SOCKET), registration, stop.clone(), Readable::new).await?,
    ];
    let health = operator.health();
    operator.add_task(crate::registration::tell(registered, health));
    let leaving = mounter.clone();
    let left = tokio::spawn(async move {
        stop.wait().await;
        // The kubelet asks no more from here on. Who cannot take it away is ending in any case.
        let _ = leaving.unlisten(REGISTRATION_SOCKET).await;
    });
    let signal = async {
        tokio::select! {
            () = signal => {}
            () = mounter.gone() => tracing::error!("the process that mounts does not answer any more: this one ends"),
        }
    };
    operator.run(signal).await?;
    let _ = left.await;
    finish(serving).await;
    statuses.flush().await;
    mounter.unlisten(CSI_SOCKET).await?;
    Ok(())
}

/// Gives back the memory that fetching has needed, once nothing was fetched for a while; and what the start needed.
async fn rest(publisher: Arc<Publisher>) {
    let mut rest = Rest::default();
    loop {
        tokio::time::sleep(REST).await;
        if rest.is_due(publisher.fetched()) {
            let _ = tokio::task::spawn_blocking(give_back).await;
        }
    }
}

/// The path of a socket that the other half has the right to make.
struct OfMounter {
    mounter: Mounter,
    name: &'static str,
}

impl Place for OfMounter {
    fn name(&self) -> &str {
        self.name
    }

    async fn listen(&mut self) -> Result<UnixListener, ServeError> {
        let socket = std::os::unix::net::UnixListener::from(self.mounter.listen(self.name).await?);
        UnixListener::from_std(socket).map_err(|error| ServeError::Socket(self.name.to_owned(), error))
    }

    async fn is_lost(&mut self) -> Result<bool, ServeError> {
        Ok(self.mounter.is_lost(self.name).await?)
    }
}
