//! How the kubelet learns of this driver: it finds a socket in its folder of plugins, and asks what is behind it.
//!
//! Peers run a sidecar for this. Here the same process answers; the socket is made once the driver can be asked, and taken away when it
//! stops, so that the kubelet never calls one that is gone.

mod authority;

use std::sync::Arc;

use bulla_kube::health::Health;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::proto::registration::registration_server::Registration;
use crate::proto::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};

pub(crate) use authority::Readable;

/// What became of the registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Registered {
    /// The kubelet did not say yet.
    #[default]
    Waiting,
    /// It took the driver.
    Yes,
    /// It did not, for this reason.
    No(String),
}

/// The Registration service.
#[derive(Debug)]
pub struct RegistrationService {
    name: String,
    endpoint: String,
    state: watch::Sender<Registered>,
}

impl RegistrationService {
    /// Of the driver `name`, whose socket is at `endpoint` on the node.
    pub fn new(name: &str, endpoint: &str) -> Self {
        Self { name: name.to_owned(), endpoint: endpoint.to_owned(), state: watch::Sender::default() }
    }

    /// What became of it, now and later.
    pub fn state(&self) -> watch::Receiver<Registered> {
        self.state.subscribe()
    }
}

/// Says what became of the registration to whoever asks whether the service is ready, for ever.
pub(crate) async fn tell(mut state: watch::Receiver<Registered>, health: Arc<Health>) {
    loop {
        let reason = match &*state.borrow_and_update() {
            Registered::Waiting => Some("the kubelet has not registered the driver yet".to_owned()),
            Registered::Yes => None,
            Registered::No(error) => Some(format!("the kubelet refused the driver: {error}")),
        };
        health.set_not_ready("registration", reason);
        if state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[tonic::async_trait]
impl Registration for RegistrationService {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        status: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = status.into_inner();
        let state = if status.plugin_registered {
            tracing::info!(driver = self.name, "the kubelet registered the driver");
            Registered::Yes
        } else {
            tracing::error!(driver = self.name, error = status.error, "the kubelet refused the driver");
            Registered::No(status.error)
        };
        self.state.send_replace(state);
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
