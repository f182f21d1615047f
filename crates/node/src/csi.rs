//! What the kubelet speaks with a driver: CSI's Identity and Node services, of which this one does what it says it can.
//!
//! It has no controller and stages nothing; volumes are ephemeral and belong to one pod.

mod identity;
mod node;

use std::path::Path;

use tonic::Status;

use crate::mounter::MountError;
use crate::mounter::protocol::FailureKind;
use crate::provider::ErrorKind;
use crate::publish::PublishError;

pub use identity::IdentityService;
pub use node::{NodeService, StatsError, Users, usage};

/// The code that the kubelet gets for a failure.
///
/// `Unavailable`, `DeadlineExceeded` and their like tell it that the volume may be half there; nothing ever is, so they are not used for
/// anything that is known to have failed.
fn status(error: &PublishError) -> Status {
    let text = error.to_string();
    match error {
        PublishError::Class(_) | PublishError::UnknownProvider { .. } => Status::failed_precondition(text),
        PublishError::Provider(error) => match error.kind {
            ErrorKind::Invalid => Status::invalid_argument(text),
            ErrorKind::Denied => Status::permission_denied(text),
            ErrorKind::NotFound => Status::not_found(text),
            ErrorKind::Unavailable | ErrorKind::Failed => Status::internal(text),
        },
        PublishError::Mount(MountError::Failed { kind: FailureKind::Refused, .. }) => Status::invalid_argument(text),
        PublishError::Write(error) if error.is_full() => Status::resource_exhausted(text),
        PublishError::Full(_) => Status::resource_exhausted(text),
        PublishError::Mount(_) | PublishError::Write(_) => Status::internal(text),
    }
}

/// The place below the folder of all pods.
fn below<'a>(pods: &Path, path: &'a str) -> Result<&'a str, Status> {
    let refuse = || Status::invalid_argument(format!("target path {path:?} is not below {}", pods.display()));
    Path::new(path).strip_prefix(pods).ok().and_then(Path::to_str).ok_or_else(refuse)
}
