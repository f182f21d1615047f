//! The certificate of this replica: made by itself, kept in memory, vouched for by the API server.
//!
//! Each replica makes one for a day and puts it into a ConfigMap, an entry a replica, before it serves with it; after a third of that time it
//! makes another. Node services watch the ConfigMap and believe what is in it. So whoever may write this one ConfigMap could stand in for the operator:
//! nobody but the operator needs to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bulla_kube::backoff::{Backoff, jittered};
use bulla_kube::client::describe;
use bulla_store::sealed::protocol::{CONFIG_MAP, entry, is_good};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::sync::watch;

/// How long a certificate is good.
const LIFE: Duration = Duration::from_hours(24);
/// When another one is made.
const RENEWAL: Duration = Duration::from_hours(8);
/// How long after one was named it is used: until then nodes have heard of it.
const HEARD: Duration = Duration::from_secs(2);

/// What a replica serves with; `None` before the first is named.
pub type Current = watch::Receiver<Option<Arc<ServerConfig>>>;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// It cannot be made.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// It cannot be served with.
    #[error("setting up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// It cannot be named.
    #[error("naming the certificate in ConfigMap {CONFIG_MAP}: {0}")]
    Name(String),
}

/// Keeps a certificate of this replica named and in use, for ever.
pub async fn keep(client: Client, namespace: &str, replica: &str, current: watch::Sender<Option<Arc<ServerConfig>>>) {
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let mut failures = 0;
    loop {
        match renew(&api, replica).await {
            Ok(config) => {
                failures = 0;
                if current.borrow().is_some() {
                    tokio::time::sleep(HEARD).await;
                }
                current.send_replace(Some(Arc::new(config)));
                tokio::time::sleep(jittered(RENEWAL)).await;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "nodes cannot ask this replica to open for pods; it tries again");
                tokio::time::sleep(Backoff::CONNECTION.after(failures)).await;
            }
        }
    }
}

async fn renew(api: &Api<ConfigMap>, replica: &str) -> Result<ServerConfig, CertificateError> {
    let now = Timestamp::now();
    let key = KeyPair::generate()?;
    // Its own times and names are not looked at: it is believed for as long as it stands in the ConfigMap.
    let certificate = CertificateParams::new(vec!["bulla-sealing".to_owned()])?.self_signed(&key)?;
    let until = now.as_second() + LIFE.as_secs().cast_signed();
    name(api, replica, until, &certificate.pem(), now.as_second())
        .await
        .map_err(|error| CertificateError::Name(describe(&error)))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], key)?;
    Ok(config)
}

/// Puts the certificate beside those of other replicas, and takes away what has run out.
async fn name(api: &Api<ConfigMap>, replica: &str, until: i64, pem: &str, now: i64) -> kube::Result<()> {
    let mut data = BTreeMap::from([(entry(replica, until), json!(pem))]);
    if let Some(there) = api.get_opt(CONFIG_MAP).await? {
        let old = there.data.unwrap_or_default().into_keys();
        data.extend(old.filter(|key| !is_good(key, now)).map(|key| (key, json!(null))));
    } else {
        let mut new = ConfigMap::default();
        new.metadata.name = Some(CONFIG_MAP.to_owned());
        match api.create(&PostParams::default(), &new).await {
            // Another replica was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            created => drop(created?),
        }
    }
    // One request for one's own entry: those of others stay as they are.
    api.patch(CONFIG_MAP, &PatchParams::default(), &Patch::Merge(json!({"data": data}))).await?;
    Ok(())
}
