//! The custom resources, as Rust types: what the API server is told to accept and what controllers read are one definition.

pub mod sealed_secret;
pub mod sealing_key;
pub mod secret_provider_class;
pub mod secret_provider_class_pod_status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde::{Deserialize, Deserializer};

pub use sealed_secret::{SealedSecret, SealedSecretSpec, SealedSecretStatus};
pub use sealing_key::{SealingKey, SealingKeySpec, SealingKeyStatus};
pub use secret_provider_class::{SecretProviderClass, SecretProviderClassSpec};
pub use secret_provider_class_pod_status::SecretProviderClassPodStatus;

/// Every definition to install, in the order to install them.
pub fn custom_resources() -> Vec<CustomResourceDefinition> {
    vec![
        SealedSecret::crd(),
        SealingKey::crd(),
        secret_provider_class::definition(),
        secret_provider_class_pod_status::definition(),
    ]
}

/// `null` is what Go writes for an empty map or structure: it reads as the default.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests;
