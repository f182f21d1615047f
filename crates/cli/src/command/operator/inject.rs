//! The webhook that gives pods their environment, in the operator: its flags, its port, its certificates.

use std::sync::Arc;

use bulla_kube::{Operator, Options};
use bulla_operator::inject::Settings;
use bulla_operator::inject::authority::{Authority, CONFIG_MAP};
use bulla_operator::inject::http::Webhook;
use bulla_operator::tls::{self, Purpose};
use clap::Args;
use serde_json::Value;
use tokio::sync::watch;

use crate::error::Failure;

/// Flags of the webhook.
#[derive(Args, Debug)]
#[command(next_help_heading = "Injecting")]
pub(super) struct InjectArgs {
    /// The image that installs bulla in pods: this program's own
    #[arg(long, value_name = "IMAGE")]
    inject_image: Option<String>,

    /// When nodes fetch it
    #[arg(long, value_name = "POLICY", default_value = "IfNotPresent")]
    inject_pull_policy: String,

    /// The CSI driver of the volumes
    #[arg(long, value_name = "NAME", default_value = "secrets-store.csi.k8s.io")]
    inject_driver: String,

    /// The resources of the container that installs it, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = resources)]
    inject_resources: Value,

    /// The name of the `MutatingWebhookConfiguration`, whose `caBundle` is kept up to date
    #[arg(long, value_name = "NAME", default_value = "bulla-inject")]
    inject_configuration: String,

    /// The Service by which API servers reach the webhook, in the operator's namespace
    #[arg(long, value_name = "NAME", default_value = "bulla-inject")]
    inject_service: String,

    /// Where API servers ask, over TLS
    #[arg(long, value_name = "ADDRESS", default_value = ":9443")]
    listen_inject_addr: String,
}

impl InjectArgs {
    /// The image; what can be known without a cluster.
    ///
    /// # Errors
    /// None is named.
    pub(super) fn image(&self) -> Result<&str, Failure> {
        self.inject_image.as_deref().filter(|image| !image.is_empty()).ok_or_else(|| {
            Failure::generic("no image is named that installs bulla in pods")
                .with_hint("give this program's own with --inject-image")
        })
    }
}

/// Adds the webhook and the care for its certificates.
///
/// # Errors
/// If no image is named.
pub(super) fn add(operator: &mut Operator, args: &InjectArgs) -> Result<(), Failure> {
    let Options { namespace, replica, .. } = operator.options().clone();
    let settings = Settings {
        image: args.image()?.to_owned(),
        pull_policy: args.inject_pull_policy.clone(),
        driver: args.inject_driver.clone(),
        resources: args.inject_resources.clone(),
        excluded: vec!["kube-system".to_owned(), namespace.clone()],
    };
    let webhook = Arc::new(Webhook::new(settings));
    operator.metrics().register(|registry| webhook.register(registry));
    let (client, stop, health) = (operator.client(), operator.stop(), operator.health());
    let authority = Authority::new(client.clone(), &namespace, &args.inject_configuration);
    let (current, certificate) = watch::channel(None);
    let names = vec![format!("{}.{namespace}.svc", args.inject_service)];
    let purpose = Purpose { callers: "API servers", config_map: CONFIG_MAP, names };
    let telling = authority.clone();
    operator.add_task(async move {
        let told = || {
            let telling = telling.clone();
            async move { telling.tell().await }
        };
        tls::keep(client, &namespace, &replica, purpose, told, current).await;
    });
    operator.add_task(async move { authority.keep().await });

    // The Service leads to replicas that can answer.
    let mut served = certificate.clone();
    operator.add_task(async move {
        health.set_not_ready("inject", Some("API servers do not know its certificate yet".to_owned()));
        // The sender lives as long as the process.
        let _ = served.wait_for(Option::is_some).await;
        health.set_not_ready("inject", None);
        std::future::pending::<()>().await;
    });

    let address = args.listen_inject_addr.clone();
    let routes = webhook.routes();
    operator.add_service(async move {
        let served = async {
            let listener = bulla_kube::http::listen(&address).await?;
            tracing::info!(address = ?bulla_kube::http::address(&listener), "listening for API servers");
            bulla_kube::http::serve_tls(listener, routes, stop, certificate).await
        };
        if let Err(error) = served.await {
            tracing::error!(address, %error, "pods get no variables");
        }
    });
    Ok(())
}

fn resources(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    value.is_object().then_some(value).ok_or_else(|| "must be an object: {\"limits\": {…}}".to_owned())
}
