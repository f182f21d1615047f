//! What a `SecretProviderClass` says, as far as mounting needs it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulla_kube::api::secret_provider_class::SecretObject;
use sha2::{Digest, Sha256};

/// A class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    /// Who has the contents.
    pub provider: String,
    /// What the provider is told.
    pub parameters: BTreeMap<String, String>,
    /// How often the contents are fetched anew; `None`: as the service says.
    pub interval: Option<Duration>,
    /// What the annotation [`REFRESH`](bulla_kube::api::secret_provider_class::REFRESH) says.
    pub refresh: String,
    /// Secrets that are made of the files.
    pub secrets: Vec<SecretObject>,
}

/// Why a class cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassError {
    /// There is none of that name.
    #[error("SecretProviderClass {0} does not exist")]
    Missing(String),
    /// It is malformed.
    #[error("SecretProviderClass {0}: {1}")]
    Malformed(String, String),
    /// It cannot be read now.
    #[error("SecretProviderClass {0} cannot be read: {1}")]
    Unreadable(String, String),
}

/// Whoever knows the classes.
#[async_trait]
pub trait Classes: Send + Sync {
    /// The class of this name in a namespace, as it is now.
    async fn class(&self, namespace: &str, name: &str) -> Result<Arc<Versioned>, ClassError>;
}

/// A class and its version, which is asked for with each volume and taken once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    class: Class,
    version: String,
}

impl Versioned {
    /// A digest of all that contents depend on: another one, and they are fetched anew.
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl From<Class> for Versioned {
    fn from(class: Class) -> Self {
        Self { version: class.digest(), class }
    }
}

impl Deref for Versioned {
    type Target = Class;

    fn deref(&self) -> &Class {
        &self.class
    }
}

impl Class {
    fn digest(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        add(&self.provider);
        add(&self.refresh);
        for (key, value) in &self.parameters {
            add(key);
            add(value);
        }
        // Which files become which Secrets; a class without any has the version that it always had.
        for object in &self.secrets {
            add(object.secret_name.as_deref().unwrap_or_default());
            add(object.type_.as_deref().unwrap_or_default());
            for (key, value) in object.labels.iter().chain(&object.annotations) {
                add(key);
                add(value);
            }
            for entry in &object.data {
                add(entry.object_name.as_deref().unwrap_or_default());
                add(entry.key.as_deref().unwrap_or_default());
            }
        }
        hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_wants_another_secret_is_another_one() {
        let one = Class { provider: "vault".to_owned(), ..Class::default() };
        let object = SecretObject { secret_name: Some("db".to_owned()), ..SecretObject::default() };
        let with = Class { secrets: vec![object.clone()], ..one.clone() };
        assert_ne!(one.digest(), with.digest());
        let labelled = SecretObject { labels: [("a".to_owned(), "b".to_owned())].into(), ..object };
        assert_ne!(with.digest(), Class { secrets: vec![labelled], ..one }.digest());
    }

    #[test]
    fn contents_depend_on_provider_parameters_and_the_wish_for_new_ones() {
        let class = |provider: &str, parameters: &[(&str, &str)], refresh: &str| Class {
            provider: provider.to_owned(),
            parameters: parameters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            interval: None,
            refresh: refresh.to_owned(),
            secrets: Vec::new(),
        };
        let one = class("vault", &[("a", "bc")], "");
        assert_eq!(one.digest(), Class { interval: Some(Duration::from_secs(9)), ..one.clone() }.digest());
        for other in
            [class("aws", &[("a", "bc")], ""), class("vault", &[("ab", "c")], ""), class("vault", &[("a", "bc")], "1")]
        {
            assert_ne!(one.digest(), other.digest());
        }
    }
}
