//! Where node services ask the operator's doors, over TLS.

use axum::Router;
use bulla_kube::{Operator, Options};
use bulla_operator::sealing::delivery::tls;
use clap::Args;
use tokio::sync::watch;

/// Who asks, and where.
#[derive(Args, Debug)]
#[command(next_help_heading = "Node services")]
pub(super) struct NodesArgs {
    /// Work for node services with these service accounts: open SealedSecrets for volumes (bulla.dev/deliver: volume), write Secrets of mounted files
    #[arg(long, value_name = "NAMESPACE/NAME", value_delimiter = ',', value_parser = account)]
    node_service_accounts: Vec<(String, String)>,

    /// Where they ask, over TLS
    #[arg(long, value_name = "ADDRESS", default_value = ":8443")]
    listen_nodes_addr: String,
}

impl NodesArgs {
    /// The service accounts: namespaces and names.
    pub(super) fn accounts(&self) -> &[(String, String)] {
        &self.node_service_accounts
    }
}

/// Serves what they ask, with a certificate that they believe.
pub(super) fn serve(operator: &mut Operator, args: &NodesArgs, routes: Router) {
    let (client, stop) = (operator.client(), operator.stop());
    let Options { namespace, replica, .. } = operator.options().clone();
    let (current, certificate) = watch::channel(None);
    operator.add_task(async move { tls::keep(client, &namespace, &replica, current).await });
    let address = args.listen_nodes_addr.clone();
    operator.add_service(async move {
        let served = async {
            let listener = bulla_kube::http::listen(&address).await?;
            tracing::info!(address = ?bulla_kube::http::address(&listener), "listening for node services");
            bulla_kube::http::serve_tls(listener, routes, stop, certificate).await
        };
        if let Err(error) = served.await {
            tracing::error!(address, %error, "node services are not served");
        }
    });
}

/// A service account with its namespace.
fn account(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let (namespace, name) = parts.ok_or_else(|| "must be NAMESPACE/NAME".to_owned())?;
    Ok((namespace.to_owned(), name.to_owned()))
}
