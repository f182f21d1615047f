//! Secrets of mounted files, in the operator: its flags, its routes, the care for those that nobody mounts.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bulla_kube::Operator;
use bulla_operator::sync::Sync;
use bulla_operator::sync::expiry::{Expiry, PATIENCE};
use clap::Args;

use super::nodes::NodesArgs;
use crate::args::duration;
use crate::error::Failure;

/// Flags of the sync.
#[derive(Args, Debug)]
#[command(next_help_heading = "Secrets of mounted files")]
pub(super) struct SyncArgs {
    /// The namespaces whose Secrets are looked after (default: all)
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',')]
    sync_namespaces: Vec<String>,

    /// How long nobody has mounted a class with bulla.dev/secret-lifetime: pods, when its Secrets are deleted (default: 10m)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    sync_patience: Option<Duration>,
}

/// Adds the care. Answers what node services may ask. The Secret `own_key`, namespace and name, is not theirs to write.
///
/// # Errors
/// If no node service may.
pub(super) fn add(
    operator: &mut Operator,
    args: &SyncArgs,
    nodes: &NodesArgs,
    own_key: (String, String),
) -> Result<Router, Failure> {
    if nodes.accounts().is_empty() {
        return Err(Failure::generic("no node service may have Secrets written")
            .with_hint("name the node services' accounts with --node-service-accounts"));
    }
    let namespaces: Vec<String> = args.sync_namespaces.iter().filter(|name| !name.is_empty()).cloned().collect();
    let expiry = Expiry::new(operator.client(), namespaces).patient_for(args.sync_patience.unwrap_or(PATIENCE));
    let expiry = Arc::new(expiry);
    operator.add_leader("bulla-sync", move || {
        let expiry = expiry.clone();
        async move { expiry.run().await }
    });
    Ok(Arc::new(Sync::new(operator.client(), nodes.accounts().iter().cloned(), own_key)).routes())
}
