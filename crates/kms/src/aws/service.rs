//! One key of AWS KMS as a key service.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kms::primitives::Blob;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService, SecretBytes, WrappedKey};

use super::clients::{self, Account};
use super::error;
use crate::failure::Failure;
use crate::registry::Context;

/// A key of AWS KMS. Its client is made when it is first used.
pub(super) struct KmsKey {
    id: KeyId,
    account: Account,
    context: Arc<Context>,
}

impl KmsKey {
    /// The key `id`, which is an [`KeyId::AwsKms`], in `region`.
    pub(super) fn new(id: &KeyId, region: String, context: &Arc<Context>) -> Self {
        let (role, profile) = match id {
            KeyId::AwsKms { role, profile, .. } => (role.clone(), profile.clone()),
            _ => (None, None),
        };
        Self { id: id.clone(), account: Account { region, role, profile }, context: Arc::clone(context) }
    }

    fn arn(&self) -> &str {
        match &self.id {
            KeyId::AwsKms { arn, .. } => arn,
            _ => "",
        }
    }

    fn encryption_context(&self) -> Option<HashMap<String, String>> {
        let bound: &BTreeMap<String, String> = match &self.id {
            KeyId::AwsKms { context, .. } => context,
            _ => return None,
        };
        (!bound.is_empty()).then(|| bound.clone().into_iter().collect())
    }

    /// `work` within the time that one operation may take, its failure told as this key's.
    async fn timed<T>(&self, doing: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, KeyError> {
        let limit = self.context.options.timeout;
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result.map_err(|failure| failure.of(&self.id)),
            Err(_) => Err(error::too_slow(doing, &self.account, limit).of(&self.id)),
        }
    }

    async fn encrypt(&self, plaintext: &SecretBytes) -> Result<WrappedKey, Failure> {
        let client = clients::client(&self.account, &self.context).await?;
        let answer = client
            .encrypt()
            .key_id(self.arn())
            .plaintext(Blob::new(plaintext.expose()))
            .set_encryption_context(self.encryption_context())
            .send()
            .await
            .map_err(|error| error::failure("Encrypt", &error, &self.account))?;
        let blob = answer.ciphertext_blob.ok_or_else(|| error::empty("Encrypt"))?;
        Ok(WrappedKey::new(STANDARD.encode(blob.as_ref())))
    }

    async fn decrypt(&self, blob: Vec<u8>) -> Result<SecretBytes, Failure> {
        let client = clients::client(&self.account, &self.context).await?;
        let answer = client
            .decrypt()
            .key_id(self.arn())
            .ciphertext_blob(Blob::new(blob))
            .set_encryption_context(self.encryption_context())
            .send()
            .await
            .map_err(|error| error::failure("Decrypt", &error, &self.account))?;
        let plaintext = answer.plaintext.ok_or_else(|| error::empty("Decrypt"))?;
        Ok(SecretBytes::from(plaintext.into_inner()))
    }
}

#[async_trait]
impl KeyService for KmsKey {
    fn id(&self) -> &KeyId {
        &self.id
    }

    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        self.timed("Encrypt", Box::pin(self.encrypt(plaintext))).await
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
        let blob = STANDARD.decode(wrapped.as_str().trim()).map_err(|error| {
            let what = format!("the wrapped data key is not base64: {error}");
            KeyError::new(KeyErrorKind::BadCiphertext, &self.id, what)
        })?;
        self.timed("Decrypt", Box::pin(self.decrypt(blob))).await
    }
}
