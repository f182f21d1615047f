//! Which API server a service speaks to.

use clap::Args;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::error::Failure;

/// The way to the API server.
#[derive(Args, Debug)]
pub(crate) struct ApiArgs {
    /// The kubeconfig file (default: the pod's service account, then KUBECONFIG, then ~/.kube/config)
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,

    /// The kubeconfig's context
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

impl ApiArgs {
    /// The file that was named.
    pub(crate) fn kubeconfig(&self) -> Option<std::path::PathBuf> {
        self.kubeconfig.clone()
    }

    /// The context that was named.
    pub(crate) fn context(&self) -> Option<String> {
        self.context.clone()
    }

    /// The client's configuration.
    ///
    /// # Errors
    /// None is found, or it is of no use.
    pub(crate) async fn config(&self) -> Result<Config, Failure> {
        let failed = |error: String| {
            Failure::generic(format!("cannot find the cluster: {error}")).with_hint(
                "run it in a pod with a service account, or name a kubeconfig with --kubeconfig or KUBECONFIG",
            )
        };
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| failed(error.to_string()))?;
                Config::from_custom_kubeconfig(file, &options).await.map_err(|error| failed(error.to_string()))
            }
            None if self.context.is_some() => {
                Config::from_kubeconfig(&options).await.map_err(|error| failed(error.to_string()))
            }
            None => Config::infer().await.map_err(|error| failed(error.to_string())),
        }
    }
}
