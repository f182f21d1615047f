//! `provider`: what is built into the node service, for another driver that stays.

use std::path::PathBuf;

use bulla_kube::{Operator, Options as ProcessOptions, Sharing};
use bulla_node::provider::served;
use bulla_node::volume::Limits;
use clap::Args;

use super::node::providers::{BuiltIn, ProviderArgs};
use super::node::stopped;
use crate::app::App;
use crate::args::ApiArgs;
use crate::error::Failure;
use crate::exit::Code;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla provider --vault-address https://vault.example.com:8200
  bulla provider --sealing-operator https://bulla-sealing-nodes.bulla.svc:8443

It runs on each node beside the Secrets Store CSI driver, as a provider's DaemonSet does (the chart has it): SecretProviderClasses say
`provider: vault` or `provider: sealed`. With bulla's own node service nothing of this is needed, both are built into that one.

Every flag may be given as a variable, BULLA_PROVIDER_ and its name (BULLA_PROVIDER_FOLDER=…), and in the settings file, a YAML mapping
with the flags' names. A flag goes before its variable, that before the file.

--metrics-addr has /metrics, /healthz and /readyz. SIGTERM: what the driver asked for is finished.";

/// Arguments of `provider`.
#[derive(Args, Debug)]
pub(crate) struct ServedArgs {
    /// Read settings from this file: YAML, the flags' names and their values
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,

    #[command(flatten)]
    api: ApiArgs,

    /// The folder in which the driver looks for providers: a socket is made there for each, NAME.sock
    #[arg(long, value_name = "FOLDER", default_value = "/etc/kubernetes/secrets-store-csi-providers")]
    folder: PathBuf,

    /// The most that a volume's files may have together, in bytes; a driver takes answers of 4 MiB unless it is told otherwise
    #[arg(long, value_name = "BYTES", default_value = "3145728", value_parser = clap::value_parser!(u32).range(1024..=1 << 30))]
    max_volume_size: u32,

    /// Where metrics and probes are served
    #[arg(long, value_name = "ADDRESS", default_value = ":8096")]
    metrics_addr: String,

    #[command(flatten)]
    providers: ProviderArgs,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// No provider, no cluster, a socket or a port that cannot be served.
pub(crate) fn run(app: &App, args: &ServedArgs) -> Result<Code, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::generic(format!("cannot start the asynchronous runtime: {error}")))?;
    runtime.block_on(serve(app, args))?;
    Ok(Code::Success)
}

async fn serve(app: &App, args: &ServedArgs) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::generic(error.to_string());
    let stopped = stopped()?;
    let process = ProcessOptions {
        group: "bulla-provider".to_owned(),
        sharing: Sharing::Alone,
        listen: String::new(),
        listen_metrics: args.metrics_addr.clone(),
        ..ProcessOptions::default()
    };
    let mut operator = Operator::new(args.api.config().await?, process).map_err(|error| failed(&error))?;
    let limits = Limits { bytes: args.max_volume_size as usize, ..Limits::default() };
    let BuiltIn { named, .. } = args.providers.built_in(app, &mut operator, limits, None)?;
    if named.is_empty() {
        return Err(Failure::generic("there is no provider to serve")
            .with_hint("name a Vault server (--vault-address) or the sealing operator (--sealing-operator)"));
    }
    let names: Vec<&str> = named.keys().map(String::as_str).collect();
    tracing::info!(providers = names.join(", "), folder = %args.folder.display(), "providers are served");
    served::serve(operator, args.folder.clone(), named, stopped).await.map_err(|error| failed(&error))
}
