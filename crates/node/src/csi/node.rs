//! Mounting and unmounting, as the kubelet asks for it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use rustix::fs::StatVfs;
use tonic::{Request, Response, Status};

use super::{below, status};
use crate::metrics::Metrics;
use crate::mounter::protocol::{FailureKind, Owner};
use crate::mounter::{MountError, Mounter};
use crate::pod::{Pod, Volume};
use crate::proto::csi::node_server::Node;
use crate::proto::csi::node_service_capability::{Rpc, Type as Kind, rpc};
use crate::proto::csi::volume_capability::AccessType;
use crate::proto::csi::volume_usage::Unit;
use crate::proto::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
    NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeServiceCapability, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest,
    NodeUnstageVolumeResponse, VolumeUsage,
};
use crate::publish::{Publisher, Request as Publish};

/// Knows which user a pod runs as.
#[async_trait]
pub trait Users: Send + Sync {
    /// The user of the pod's containers, if all have the same one.
    async fn user(&self, pod: &Pod) -> Option<u32>;
}

/// The Node service.
pub struct NodeService {
    /// This node's name.
    pub node: String,
    /// The folder of all pods, as the kubelet names it.
    pub pods: PathBuf,
    /// Makes the volumes.
    pub publisher: Arc<Publisher>,
    /// For what is mounted.
    pub mounter: Mounter,
    /// Whose files they are.
    pub users: Arc<dyn Users>,
    /// How long things take.
    pub metrics: Metrics,
}

fn given<'a>(value: &'a str, name: &str) -> Result<&'a str, Status> {
    if value.is_empty() { Err(Status::invalid_argument(format!("{name} is missing"))) } else { Ok(value) }
}

#[tonic::async_trait]
impl Node for NodeService {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let (begun, request) = (Instant::now(), request.into_inner());
        given(&request.volume_id, "volume_id")?;
        let path = given(&request.target_path, "target_path")?;
        let capability = request
            .volume_capability
            .and_then(|capability| capability.access_type)
            .ok_or_else(|| Status::invalid_argument("volume_capability is missing"))?;
        let AccessType::Mount(mount) = capability else {
            return Err(Status::invalid_argument("files can be mounted, block devices not"));
        };
        // Containers could write into it otherwise, and lose what they wrote.
        if !request.readonly {
            return Err(Status::invalid_argument("the volume has to be read-only: add readOnly: true to it"));
        }
        let target = below(&self.pods, path)?.to_owned();
        let group = match mount.volume_mount_group.as_str() {
            "" => None,
            group => Some(group.parse().map_err(|_| Status::invalid_argument("volume_mount_group is no number"))?),
        };
        let path = path.to_owned();
        let volume = Volume::read(request.volume_context, request.secrets)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let user = self.users.user(&volume.pod).await;
        let publish = Publish { target, path, volume, owner: Owner { user, group } };
        // The kubelet may give up waiting; what was begun is finished, and found done when it asks again.
        let publisher = Arc::clone(&self.publisher);
        let done = tokio::spawn(async move { publisher.publish(publish).await }).await;
        let done = done.map_err(|_| Status::internal("mounting ended before it was done"))?;
        self.metrics.observe(done.is_ok(), begun.elapsed().as_secs_f64());
        done.map_err(|error| status(&error))?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        given(&request.volume_id, "volume_id")?;
        let target = below(&self.pods, given(&request.target_path, "target_path")?)?.to_owned();
        let publisher = Arc::clone(&self.publisher);
        let done = tokio::spawn(async move { publisher.unpublish(&target).await }).await;
        done.map_err(|_| Status::internal("unmounting ended before it was done"))?.map_err(|error| status(&error))?;
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        given(&request.volume_id, "volume_id")?;
        let path = given(&request.volume_path, "volume_path")?;
        // Where no volume can be there is none.
        let not_mounted = |_| Status::not_found("no volume is mounted there");
        match usage(&self.mounter, below(&self.pods, path).map_err(not_mounted)?).await {
            Ok(usage) => Ok(Response::new(NodeGetVolumeStatsResponse { usage: usage.into() })),
            Err(StatsError::NotMounted | StatsError::Mount(MountError::Failed { kind: FailureKind::Refused, .. })) => {
                Err(Status::not_found("no volume is mounted there"))
            }
            Err(StatsError::Mount(error)) => Err(status(&error.into())),
        }
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        let capability =
            |kind: rpc::Type| NodeServiceCapability { r#type: Some(Kind::Rpc(Rpc { r#type: kind.into() })) };
        let capabilities = [rpc::Type::GetVolumeStats, rpc::Type::VolumeMountGroup].map(capability).into();
        Ok(Response::new(NodeGetCapabilitiesResponse { capabilities }))
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse { node_id: self.node.clone() }))
    }

    async fn node_stage_volume(
        &self,
        _: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        Err(Status::unimplemented("nothing is staged"))
    }

    async fn node_unstage_volume(
        &self,
        _: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        Err(Status::unimplemented("nothing is staged"))
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Err(Status::unimplemented("volumes have the size that the service gives them"))
    }
}

/// Why there is no usage to tell.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatsError {
    /// Nothing is mounted there.
    #[error("no volume is mounted there")]
    NotMounted,
    /// It cannot be looked at.
    #[error(transparent)]
    Mount(#[from] MountError),
}

/// What a volume takes: bytes, and files.
///
/// # Errors
/// [`StatsError`].
pub async fn usage(mounter: &Mounter, target: &str) -> Result<[VolumeUsage; 2], StatsError> {
    let root = mounter.open(target).await?.ok_or(StatsError::NotMounted)?;
    let StatVfs { f_frsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_favail, .. } =
        rustix::fs::fstatvfs(&root).map_err(|error| MountError::Gone(error.into()))?;
    let size = |count: u64, each: u64| i64::try_from(count.saturating_mul(each)).unwrap_or(i64::MAX);
    let one = |unit: Unit, available, total, free, each| VolumeUsage {
        available: size(available, each),
        total: size(total, each),
        used: size(total.saturating_sub(free), each),
        unit: unit.into(),
    };
    Ok([one(Unit::Bytes, f_bavail, f_blocks, f_bfree, f_frsize), one(Unit::Inodes, f_favail, f_files, f_ffree, 1)])
}
