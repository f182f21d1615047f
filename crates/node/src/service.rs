//! The process that serves: what it is made of, in the order it starts and stops.
//!
//! It is asked by the kubelet from when the kubelet finds its socket: so that comes last, and goes first. What the kubelet has begun to
//! ask is finished; what is mounted stays mounted, and the next process finds it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bulla_kube::gate::Gate;
use bulla_kube::stop::Stop;
use bulla_kube::{Operator, StartError};
use bulla_store::sealed::Authority;
use futures_util::{Stream, TryStreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::{Connected, Router};

use crate::cluster::{NodePods, Statuses, WatchedClasses};
use crate::csi::{IdentityService, NodeService};
use crate::metrics::Metrics;
use crate::mounter::{MountError, Mounter};
use crate::proto::csi::identity_server::IdentityServer;
use crate::proto::csi::node_server::NodeServer;
use crate::proto::registration::registration_server::RegistrationServer;
use crate::provider::Registry;
use crate::publish::{Publisher, Settings};
use crate::registration::{Readable, RegistrationService};
use crate::sync::Synced;

/// The names of the sockets, as [`Rules`](crate::mounter::Rules) have them.
pub const CSI_SOCKET: &str = "csi";
/// The kubelet's plugin watcher finds this one.
pub const REGISTRATION_SOCKET: &str = "registration";

/// How long the kubelet's calls may go on once the process is asked to stop: less than a pod's grace of 30 s.
const GRACE: Duration = Duration::from_secs(20);
/// How often it is looked which volumes' providers want to be asked again. A lease of half a minute is renewed in time.
const EXPECTED: Duration = Duration::from_secs(3);
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

/// Why it could not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The other half.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A socket.
    #[error("cannot serve at the {0} socket: {1}")]
    Socket(&'static str, std::io::Error),
    /// What is beside: metrics, probes.
    #[error(transparent)]
    Start(#[from] StartError),
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
    ));
    let found = mounter.list().await?;
    tracing::info!(volumes = found.len(), driver = options.driver, "volumes that are mounted are taken over");

    let follower = publisher.clone();
    operator.add_task(async move { classes.follow(changed, &follower).await });
    for provider in built_in {
        let publisher = publisher.clone();
        operator.add_task(async move { provider.follow(&publisher).await });
    }
    let asking = publisher.clone();
    operator.add_task(async move { crate::cluster::follow_pods(asked, &asking).await });
    let follower = publisher.clone();
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
    operator.add_task(async move { statuses.run().await });

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
    let serving = [
        serve_at(&mounter, CSI_SOCKET, driver, stop.clone(), |stream| stream).await?,
        serve_at(&mounter, REGISTRATION_SOCKET, registration, stop.clone(), Readable::new).await?,
    ];
    let health = operator.health();
    operator.add_task(crate::registration::tell(registered, health));
    let leaving = mounter.clone();
    let left = tokio::spawn(async move {
        stop.wait().await;
        // The kubelet asks no more from here on. Who cannot take it away is ending in any case.
        let _ = leaving.unlisten(REGISTRATION_SOCKET).await;
    });
    operator.run(signal).await?;
    let _ = left.await;
    let finished = async {
        for server in serving {
            let _ = server.await;
        }
    };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!("calls of the kubelet were not finished in time; it makes them again");
    }
    mounter.unlisten(CSI_SOCKET).await?;
    Ok(())
}

/// Serves at a socket, until the stop and the end of what was asked before; `read` is how its connections are read.
async fn serve_at<S>(
    mounter: &Mounter,
    name: &'static str,
    router: Router,
    stop: Stop,
    read: fn(UnixStream) -> S,
) -> Result<JoinHandle<()>, ServeError>
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let socket = std::os::unix::net::UnixListener::from(mounter.listen(name).await?);
    let listener = UnixListener::from_std(socket).map_err(|error| ServeError::Socket(name, error))?;
    Ok(tokio::spawn(async move {
        let stopped = async move { stop.wait().await };
        if let Err(error) = router.serve_with_incoming_shutdown(connections(listener).map_ok(read), stopped).await {
            tracing::error!(socket = name, %error, "a socket is served no longer");
        }
    }))
}

/// The connections that come. One that cannot be accepted is its caller's loss.
fn connections(listener: UnixListener) -> impl Stream<Item = std::io::Result<UnixStream>> {
    futures_util::stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(stream), listener)),
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}
