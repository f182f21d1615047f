//! The public part of people's shares, in a ConfigMap beside the keys.

use std::collections::BTreeMap;

use bulla_kms::shares::{Set, ShareError};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;

use super::store::Store;

/// The ConfigMap.
pub const NAME: &str = "bulla-sealing-shares";
const FIELD: &str = "set.json";

/// Why the set cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// The API server refused.
    #[error("the ConfigMap {NAME}: {0}")]
    Api(#[from] kube::Error),
    /// It is not what was written.
    #[error("the ConfigMap {NAME} is malformed: {0}")]
    Malformed(String),
    /// There is one already.
    #[error("there are shares already (ConfigMap {NAME}): keys that are wrapped for them would be lost with it")]
    Exists,
}

impl From<ShareError> for SetError {
    fn from(error: ShareError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// The set of shares, if there is one.
///
/// # Errors
/// [`SetError`].
pub async fn load(store: &Store) -> Result<Option<Set>, SetError> {
    store.config.get_opt(NAME).await?.as_ref().map(read).transpose()
}

/// The set in an object.
///
/// # Errors
/// [`SetError::Malformed`].
pub fn read(map: &ConfigMap) -> Result<Set, SetError> {
    let text = map.data.as_ref().and_then(|data| data.get(FIELD));
    let text = text.ok_or_else(|| SetError::Malformed(format!("it has no {FIELD}")))?;
    let set: Set = serde_json::from_str(text).map_err(|error| SetError::Malformed(error.to_string()))?;
    Ok(set.checked()?)
}

/// Keeps a new set; the shares themselves are nobody's here.
///
/// # Errors
/// [`SetError`].
pub async fn save(store: &Store, set: &Set) -> Result<(), SetError> {
    match store.config.create(&Default::default(), &config_map(set)?).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Err(SetError::Exists),
        Err(error) => Err(error.into()),
    }
}

/// The set as an object.
///
/// # Errors
/// [`SetError::Malformed`].
pub fn config_map(set: &Set) -> Result<ConfigMap, SetError> {
    let text = serde_json::to_string_pretty(set).map_err(|error| SetError::Malformed(error.to_string()))?;
    Ok(ConfigMap {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([(FIELD.to_owned(), text)])),
        ..ConfigMap::default()
    })
}
