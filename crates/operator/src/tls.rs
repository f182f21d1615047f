//! The certificate of this replica: made by itself, kept in memory, vouched for by the API server.
//!
//! Each replica makes one for a day and puts it into a ConfigMap, an entry a replica, before it serves with it; after a third of that time it
//! makes another. Whoever is to believe it learns it from there. So whoever may write this one ConfigMap could stand in for the operator:
//! nobody but the operator needs to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bulla_kube::backoff::{Backoff, jittered};
use bulla_kube::client::describe;
use bulla_store::sealed::protocol::{entry, is_good};
use jiff::tz::Offset;
use jiff::{Span, Timestamp};
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
/// How long after one was named it is used: until then those who are to believe it have heard of it.
const HEARD: Duration = Duration::from_secs(2);

/// What a replica serves with; `None` before the first is named.
pub type Current = watch::Receiver<Option<Arc<ServerConfig>>>;

/// What certificates are for.
#[derive(Clone, Debug)]
pub struct Purpose {
    /// Who asks, for messages.
    pub callers: &'static str,
    /// The ConfigMap in which they are named.
    pub config_map: &'static str,
    /// The names in them.
    pub names: Vec<String>,
}

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
    #[error("naming the certificate in ConfigMap {0}: {1}")]
    Name(&'static str, String),
    /// Those who are to believe it were not told.
    #[error("{0}")]
    Tell(String),
}

/// Keeps a certificate of this replica named and in use, for ever. `told` brings what is in the ConfigMap to those who do not read it.
pub async fn keep<F>(
    client: Client,
    namespace: &str,
    replica: &str,
    purpose: Purpose,
    told: impl Fn() -> F,
    current: watch::Sender<Option<Arc<ServerConfig>>>,
) where
    F: Future<Output = Result<(), String>>,
{
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let mut failures = 0;
    loop {
        let renewed = async {
            let config = renew(&api, replica, &purpose).await?;
            told().await.map_err(CertificateError::Tell)?;
            Ok::<_, CertificateError>(config)
        };
        match renewed.await {
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
                tracing::warn!(%error, callers = purpose.callers, "this replica cannot be asked; it tries again");
                tokio::time::sleep(Backoff::CONNECTION.after(failures)).await;
            }
        }
    }
}

/// The certificates in a ConfigMap that have not run out, as PEM, always in the same order.
///
/// # Errors
/// The server's.
pub async fn named(client: &Client, namespace: &str, config_map: &str) -> kube::Result<String> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let data = api.get_opt(config_map).await?.and_then(|map| map.data).unwrap_or_default();
    let now = Timestamp::now().as_second();
    Ok(data.into_iter().filter(|(entry, _)| is_good(entry, now)).map(|(_, pem)| pem).collect())
}

async fn renew(api: &Api<ConfigMap>, replica: &str, purpose: &Purpose) -> Result<ServerConfig, CertificateError> {
    let now = Timestamp::now();
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(purpose.names.clone())?;
    // Nodes look at neither, API servers at both. It is believed for as long as it stands in the ConfigMap; this is the most that can become of one
    // that is left somewhere.
    let today = Offset::UTC.to_datetime(now).date();
    let midnight = |days| {
        let day = today.checked_add(Span::new().days(days)).unwrap_or(today);
        rcgen::date_time_ymd(i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (midnight(-1), midnight(3));
    let certificate = params.self_signed(&key)?;
    let until = now.as_second() + LIFE.as_secs().cast_signed();
    name(api, replica, purpose.config_map, until, &certificate.pem(), now.as_second())
        .await
        .map_err(|error| CertificateError::Name(purpose.config_map, describe(&error)))?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], key)?;
    Ok(config)
}

/// Puts the certificate beside those of other replicas, and takes away what has run out.
async fn name(
    api: &Api<ConfigMap>,
    replica: &str,
    config_map: &str,
    until: i64,
    pem: &str,
    now: i64,
) -> kube::Result<()> {
    let mut data = BTreeMap::from([(entry(replica, until), json!(pem))]);
    if let Some(there) = api.get_opt(config_map).await? {
        let old = there.data.unwrap_or_default().into_keys();
        data.extend(old.filter(|key| !is_good(key, now)).map(|key| (key, json!(null))));
    } else {
        let mut new = ConfigMap::default();
        new.metadata.name = Some(config_map.to_owned());
        match api.create(&PostParams::default(), &new).await {
            // Another replica was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            created => drop(created?),
        }
    }
    // One request for one's own entry: those of others stay as they are.
    api.patch(config_map, &PatchParams::default(), &Patch::Merge(json!({"data": data}))).await?;
    Ok(())
}
