//! Any key service: a cloud's, Vault's transit engine, a key in a file.

use std::sync::Arc;

use async_trait::async_trait;
use bulla_core::{DataKey, KeyService, WrappedKey};

use super::{AutoSeal, SealError};

/// A key service as a seal.
pub struct Service(Arc<dyn KeyService>);

impl Service {
    /// The seal whose key is `service`'s.
    pub const fn new(service: Arc<dyn KeyService>) -> Self {
        Self(service)
    }
}

#[async_trait]
impl AutoSeal for Service {
    fn kind(&self) -> &'static str {
        // As the peer calls them.
        match self.0.id().kind() {
            "kms" => "awskms",
            "gcp_kms" => "gcpckms",
            "azure_kv" => "azurekeyvault",
            "hc_vault" => "transit",
            other => other,
        }
    }

    fn name(&self) -> String {
        format!("{} {}", self.0.id().kind(), self.0.id())
    }

    async fn wrap(&self, root_key: &DataKey) -> Result<String, SealError> {
        Ok(self.0.wrap(root_key.as_secret()).await?.as_str().to_owned())
    }

    async fn unwrap(&self, wrapped: &str) -> Result<DataKey, SealError> {
        let plain = self.0.unwrap(&WrappedKey::new(wrapped)).await?;
        DataKey::from_bytes(plain).map_err(|_| SealError::WrongKey(self.name()))
    }
}
