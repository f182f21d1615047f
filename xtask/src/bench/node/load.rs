//! What the kubelet asks, and what the driver asks of the provider.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bulla_node::proto::csi::node_client::NodeClient;
use bulla_node::proto::csi::volume_capability::{AccessType, MountVolume};
use bulla_node::proto::csi::{
    NodeGetInfoRequest, NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
};
use bulla_node::proto::provider::MountRequest;
use bulla_node::proto::provider::csi_driver_provider_client::CsiDriverProviderClient;
use futures_util::{StreamExt, TryStreamExt, stream};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::world::{CLASS, TEAM, Volume, World};

/// How often the kubelet asks before a volume that does not go ends the benchmark, and how long it waits in between.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// How long calls took, in milliseconds.
pub struct Latency {
    /// Half of them.
    pub p50: f64,
    /// All but one in a hundred.
    pub p99: f64,
    /// The middle one, or the mean, from when it is asked for, where many are under way together.
    pub together: f64,
}

impl Latency {
    /// Of calls that took so many seconds.
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let at = |part: usize| seconds.get(seconds.len() * part / 100).copied().unwrap_or_default() * 1e3;
        Self { p50: at(50), p99: at(99), together: at(50) }
    }
}

/// Asks the driver as the kubelet does.
pub struct Kubelet<'a> {
    pub world: &'a World,
    client: NodeClient<Channel>,
}

impl<'a> Kubelet<'a> {
    /// Over the driver's socket.
    pub async fn connect(world: &'a World) -> Result<Self> {
        Self::connect_to(world, &world.socket).await
    }

    /// Over this one.
    pub async fn connect_to(world: &'a World, socket: &Path) -> Result<Self> {
        Ok(Self { world, client: NodeClient::new(channel(socket).await?) })
    }

    /// What a call takes that does nothing.
    pub async fn call(&self, times: usize) -> Result<Latency> {
        timed(&self.world.volumes[..times], 1, |_| {
            let mut client = self.client.clone();
            async move { client.node_get_info(NodeGetInfoRequest {}).await.map(drop).context("a call") }
        })
        .await
    }

    /// Mounts the volumes, so many at once.
    pub async fn publish(&self, volumes: &[Volume], at_once: usize) -> Result<Latency> {
        timed(volumes, at_once, |volume| {
            let mut client = self.client.clone();
            let request = publish(volume);
            async move { client.node_publish_volume(request).await.map(drop).context("publish") }
        })
        .await
    }

    /// Unmounts them.
    pub async fn unpublish(&self, volumes: &[Volume], at_once: usize) -> Result<Latency> {
        timed(volumes, at_once, |volume| {
            let mut client = self.client.clone();
            let target_path = volume.target.display().to_string();
            let request = NodeUnpublishVolumeRequest { volume_id: volume.uid.clone(), target_path };
            async move {
                // As the kubelet does when a volume is busy; the peer's are now and then.
                for _ in 1..TRIES {
                    if client.node_unpublish_volume(request.clone()).await.is_ok() {
                        return Ok(());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                client.node_unpublish_volume(request).await.map(drop).context("unpublish")
            }
        })
        .await
    }
}

/// What the provider alone takes for the same volumes, one at a time and a hundred together.
pub async fn provider(world: &World, times: usize) -> Result<Latency> {
    let client = CsiDriverProviderClient::new(channel(&world.providers.join("test.sock")).await?);
    let parameters = World::parameters();
    let ask = |volume: &Volume| {
        let mut client = client.clone();
        let mut attributes = parameters.clone();
        for (key, value) in context(volume) {
            attributes[key] = value.into();
        }
        let request = MountRequest {
            attributes: attributes.to_string(),
            secrets: "{}".to_owned(),
            target_path: volume.target.display().to_string(),
            permission: "420".to_owned(),
            current_object_version: Vec::new(),
        };
        async move { client.mount(request).await.map(drop).context("the provider") }
    };
    let volumes = &world.volumes[..times];
    timed(volumes, 1, ask).await?;
    let one = timed(volumes, 1, ask).await?;
    let many = timed(volumes, 100, ask).await?;
    Ok(Latency { together: many.p50, ..one })
}

async fn timed<F: Future<Output = Result<()>>>(
    volumes: &[Volume],
    at_once: usize,
    call: impl Fn(&Volume) -> F,
) -> Result<Latency> {
    let calls = stream::iter(volumes).map(|volume| {
        let call = call(volume);
        async move {
            let begun = Instant::now();
            call.await?;
            anyhow::Ok(begun.elapsed().as_secs_f64())
        }
    });
    Ok(Latency::of(calls.buffer_unordered(at_once).try_collect().await?))
}

fn publish(volume: &Volume) -> NodePublishVolumeRequest {
    let mut volume_context = context(volume);
    volume_context.insert("secretProviderClass".to_owned(), CLASS.to_owned());
    volume_context.insert("csi.storage.k8s.io/ephemeral".to_owned(), "true".to_owned());
    NodePublishVolumeRequest {
        volume_id: volume.uid.clone(),
        target_path: volume.target.display().to_string(),
        volume_capability: Some(VolumeCapability {
            access_mode: None,
            access_type: Some(AccessType::Mount(MountVolume::default())),
        }),
        readonly: true,
        volume_context,
        ..NodePublishVolumeRequest::default()
    }
}

/// What the kubelet adds about the pod.
fn context(volume: &Volume) -> BTreeMap<String, String> {
    let about = [
        ("pod.name", &*volume.pod),
        ("pod.namespace", TEAM),
        ("pod.uid", &*volume.uid),
        ("serviceAccount.name", "default"),
    ];
    about.into_iter().map(|(key, value)| (format!("csi.storage.k8s.io/{key}"), value.to_owned())).collect()
}

/// A connection to a driver or a provider.
pub async fn channel(socket: &Path) -> Result<Channel> {
    let socket: PathBuf = socket.to_owned();
    let connect = service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    // The authority that both protocols ask for.
    Ok(Endpoint::from_static("http://localhost").connect_with_connector(connect).await?)
}
