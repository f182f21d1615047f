//! The certificate that node services believe: they watch the ConfigMap in which replicas name theirs.

use std::sync::Arc;

use bulla_store::sealed::protocol::CONFIG_MAP;
use kube::Client;
use rustls::ServerConfig;
use tokio::sync::watch;

use crate::tls::{self, Purpose};

/// Keeps a certificate of this replica named and in use, for ever.
pub async fn keep(client: Client, namespace: &str, replica: &str, current: watch::Sender<Option<Arc<ServerConfig>>>) {
    // Its names are not looked at.
    let names = vec!["bulla-sealing".to_owned()];
    let purpose = Purpose { callers: "node services", config_map: CONFIG_MAP, names };
    tls::keep(client, namespace, replica, purpose, || std::future::ready(Ok(())), current).await;
}
