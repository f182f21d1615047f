//! The certificates that API servers believe of the webhook: kept in its configuration (`caBundle`), by the operator itself.
//!
//! Each replica makes its own and names it in a ConfigMap ([`crate::tls`]); all that are named there and have not run out are put together into the
//! bundle, by whichever replica sees that they are not. Somebody who takes the bundle away, as some tools do that apply manifests again and again, has it
//! back in some seconds.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_kube::client::describe;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::tls;

/// The ConfigMap in which replicas name their certificates.
pub const CONFIG_MAP: &str = "bulla-inject-authority";
/// How often the configuration is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How often it is tried again when somebody else changes it meanwhile.
const TRIES: u32 = 5;
/// How long until all API servers have seen a change.
const SEEN: Duration = Duration::from_secs(2);

/// The configuration of the webhook.
#[derive(Clone)]
pub struct Authority {
    client: Client,
    namespace: String,
    configuration: String,
}

impl Authority {
    /// Of the configuration of this name; certificates are named in `namespace`.
    pub fn new(client: Client, namespace: &str, configuration: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), configuration: configuration.to_owned() }
    }

    /// Brings the bundle up to date, for a new certificate: once it has been seen everywhere.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn tell(&self) -> Result<(), String> {
        for _ in 0..TRIES {
            match self.put().await {
                Ok(is_new) => {
                    if is_new {
                        tokio::time::sleep(SEEN).await;
                    }
                    return Ok(());
                }
                // Another replica did it, or somebody changed the configuration.
                Err(kube::Error::Api(status)) if matches!(status.code, 409 | 422) => {}
                Err(error) => return Err(self.failed(&describe(&error))),
            }
        }
        Err(self.failed("it changes all the time"))
    }

    /// Keeps it up to date, for ever.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(error) = self.tell().await {
                tracing::warn!(error, "the webhook's configuration cannot be kept up to date");
            }
        }
    }

    /// Answers whether something was to be changed.
    async fn put(&self) -> kube::Result<bool> {
        let bundle = tls::named(&self.client, &self.namespace, CONFIG_MAP).await?;
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let there = api.get(&self.configuration).await?;
        let stale = |bytes: Option<&[u8]>| bytes.unwrap_or_default() != bundle.as_bytes();
        let webhooks = there.webhooks.iter().flatten().enumerate();
        let stale = webhooks
            .filter(|(_, webhook)| stale(webhook.client_config.ca_bundle.as_ref().map(|bytes| bytes.0.as_slice())));
        let mut steps: Vec<Value> = stale
            .map(|(place, _)| json!({"op": "add", "path": format!("/webhooks/{place}/clientConfig/caBundle"), "value": STANDARD.encode(&bundle)}))
            .collect();
        if steps.is_empty() || bundle.is_empty() {
            return Ok(false);
        }
        steps.insert(
            0,
            json!({"op": "test", "path": "/metadata/resourceVersion", "value": there.metadata.resource_version}),
        );
        let patch = serde_json::from_value(Value::Array(steps)).map_err(kube::Error::SerdeError)?;
        api.patch_metadata(&self.configuration, &PatchParams::default(), &Patch::<()>::Json(patch)).await?;
        Ok(true)
    }

    fn failed(&self, why: &str) -> String {
        format!("telling API servers by MutatingWebhookConfiguration {}: {why}", self.configuration)
    }
}
