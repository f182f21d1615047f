//! The least that a driver does: it asks the provider, mounts, and writes what it is given. No link, no owner, no record, no second process,
//! nobody told. What it takes is what nobody who is asked by the kubelet gets under.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use bulla_node::proto::csi::node_server::{Node, NodeServer};
use bulla_node::proto::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
    NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeStageVolumeRequest, NodeStageVolumeResponse,
    NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
};
use bulla_node::proto::provider::MountRequest;
use bulla_node::proto::provider::csi_driver_provider_client::CsiDriverProviderClient;
use futures_util::stream;
use nix::mount::umount;
use tokio::net::UnixListener;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use super::floor;
use super::load::{Kubelet, Latency, channel};
use super::world::World;

/// How long it takes to mount the first `count` volumes, so many at once.
pub async fn measure(world: &World, count: usize, at_once: usize) -> Result<Latency> {
    let socket = world.folder.join("least.sock");
    let _ = fs::remove_file(&socket);
    let (providers, place) = (world.providers.join("test.sock"), socket.clone());
    // It ends with this program; its mounts are its own.
    thread::spawn(move || {
        let served = serve(&providers, &place);
        eprintln!("bench: the least driver ended: {:?}", served.err());
    });
    crate::cluster::wait_for("the least driver", || socket.exists())?;
    let kubelet = Kubelet::connect_to(world, &socket).await?;
    let volumes = &world.volumes[..count];
    kubelet.publish(&volumes[..20.min(count)], 1).await?;
    kubelet.unpublish(&volumes[..20.min(count)], 1).await?;
    let took = kubelet.publish(volumes, at_once).await?;
    kubelet.unpublish(volumes, at_once).await?;
    Ok(took)
}

fn serve(providers: &Path, socket: &Path) -> Result<()> {
    floor::own_mounts()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let least = Least(CsiDriverProviderClient::new(channel(providers).await?), World::parameters().to_string());
        let listener = UnixListener::bind(socket)?;
        let incoming = stream::unfold(listener, |listener| async move {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        Server::builder().add_service(NodeServer::new(least)).serve_with_incoming(incoming).await.context("serving")
    })
}

struct Least(CsiDriverProviderClient<Channel>, String);

impl Least {
    async fn mount(&self, request: NodePublishVolumeRequest) -> Result<()> {
        let target = PathBuf::from(&request.target_path);
        let ask = MountRequest {
            attributes: self.1.clone(),
            secrets: "{}".to_owned(),
            target_path: request.target_path,
            permission: "420".to_owned(),
            current_object_version: Vec::new(),
        };
        let answer = self.0.clone().mount(ask).await?.into_inner();
        floor::in_memory(&target)?;
        for file in answer.files {
            File::create(target.join(&file.path))?.write_all(&file.contents)?;
        }
        Ok(())
    }
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

fn unimplemented<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("nobody asks for it here"))
}

#[tonic::async_trait]
impl Node for Least {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        self.mount(request.into_inner()).await.map_err(internal)?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let target = request.into_inner().target_path;
        umount(target.as_str()).map_err(internal)?;
        fs::remove_dir(&target).map_err(internal)?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_stage_volume(
        &self,
        _: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        unimplemented()
    }

    async fn node_unstage_volume(
        &self,
        _: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        unimplemented()
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        unimplemented()
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        unimplemented()
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        unimplemented()
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        unimplemented()
    }
}
