//! The requests about keys: one place that knows where key objects are and how they are changed.

use bulla_format::sealed::{Algorithm as SealedAlgorithm, Certificate, PrivateKey, RsaSize, self_signed};
use bulla_kube::api::SealingKey;
use bulla_kube::api::sealing_key::KeyState;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::object::KeyPair;
use super::secret::{KEY_LABEL, is_key};

/// Who changed a field, as the API server remembers it.
pub const FIELD_MANAGER: &str = "bulla-sealing-keys";

/// The key objects of one installation.
#[derive(Clone)]
pub struct Store {
    /// The controller's namespace.
    pub namespace: String,
    /// What names of new keys begin with; a Secret of exactly this name is a key as well.
    pub prefix: String,
    /// `SealingKey`s.
    pub keys: Api<SealingKey>,
    /// Plain key Secrets.
    pub secrets: Api<Secret>,
    /// The public part of people's shares.
    pub config: Api<ConfigMap>,
}

/// The objects at one moment. Plain ones have private keys in them, so nothing of it is shown.
#[derive(Clone, Default)]
pub struct Found {
    /// Wrapped keys.
    pub wrapped: Vec<SealingKey>,
    /// Plain ones.
    pub plain: Vec<Secret>,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Found({} wrapped, {} plain)", self.wrapped.len(), self.plain.len())
    }
}

/// What a new key is made like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// The algorithm.
    pub algorithm: SealedAlgorithm,
    /// The size of an RSA key (`--key-size`).
    pub size: RsaSize,
    /// The certificate's common name (`--my-cn`).
    pub common_name: String,
    /// How long the certificate is good for (`--key-ttl`).
    pub ttl: jiff::SignedDuration,
}

impl Store {
    /// The keys in `namespace`.
    pub fn new(client: &Client, namespace: &str, prefix: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            prefix: prefix.to_owned(),
            keys: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            config: Api::namespaced(client.clone(), namespace),
        }
    }

    /// All key objects, from the server and not from a cache.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn list(&self) -> kube::Result<Found> {
        let labelled = ListParams::default().labels(KEY_LABEL);
        let everything = ListParams::default();
        let (wrapped, labelled, named) = futures_util::try_join!(
            self.keys.list(&everything),
            self.secrets.list(&labelled),
            self.secrets.get_opt(&self.prefix),
        )?;
        let mut plain = labelled.items;
        let is_listed = |one: &Secret| plain.iter().any(|other| other.metadata.name == one.metadata.name);
        let named = named.filter(|secret| is_key(secret, &self.prefix) && !is_listed(secret));
        plain.extend(named);
        Ok(Found { wrapped: wrapped.items, plain })
    }

    /// Makes an object of this name. `Ok(None)` if there is one already: another replica was first.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn create(&self, name: &str, mut key: SealingKey) -> kube::Result<Option<SealingKey>> {
        key.metadata.name = Some(name.to_owned());
        unless_taken(self.keys.create(&post(), &key).await)
    }

    /// Makes a plain Secret of this name; as [`create`](Self::create).
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn create_plain(&self, name: &str, mut secret: Secret) -> kube::Result<Option<Secret>> {
        secret.metadata.name = Some(name.to_owned());
        let created = unless_taken(self.secrets.create(&post(), &secret).await);
        super::secret::wipe(&mut secret);
        created
    }

    /// Puts an object in the place of the version that was read.
    ///
    /// # Errors
    /// What the API server answered; a conflict if the object was changed since.
    pub async fn replace(&self, key: &SealingKey) -> kube::Result<SealingKey> {
        self.keys.replace(&key.name_any(), &post(), key).await
    }

    /// Changes what a key may be used for.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn set_state(&self, name: &str, state: KeyState) -> kube::Result<SealingKey> {
        self.keys.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": {"state": state}}))).await
    }

    /// Changes what a plain key may be used for: its label.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn set_plain_state(&self, name: &str, state: KeyState) -> kube::Result<Secret> {
        let label = match state {
            KeyState::Active => "active",
            KeyState::Retired => "retired",
            KeyState::Compromised => "compromised",
        };
        let patch = json!({"metadata": {"labels": {KEY_LABEL: label}}});
        self.secrets.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Sets or (with `None`) removes an annotation of a `SealingKey`.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn annotate(&self, name: &str, annotation: &str, value: Option<&str>) -> kube::Result<()> {
        let patch = json!({"metadata": {"annotations": {annotation: value}}});
        self.keys.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    /// The same for a plain key.
    ///
    /// # Errors
    /// What the API server answered.
    pub async fn annotate_plain(&self, name: &str, annotation: &str, value: Option<&str>) -> kube::Result<()> {
        let patch = json!({"metadata": {"annotations": {annotation: value}}});
        self.secrets.patch_metadata(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    /// Deletes a plain key Secret, if it is the very version that was read.
    ///
    /// # Errors
    /// What the API server answered; a conflict if it was changed or made anew since.
    pub async fn delete_plain(&self, secret: &Secret) -> kube::Result<()> {
        let preconditions = Preconditions { uid: secret.uid(), resource_version: secret.resource_version() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        self.secrets.delete(&secret.name_any(), &params).await.map(drop)
    }
}

impl NewKey {
    /// Makes a key pair that is good from `now`. RSA takes seconds: not on the threads that wait for others.
    ///
    /// # Errors
    /// In words.
    pub async fn generate(&self, now: Timestamp) -> Result<KeyPair, String> {
        let new = self.clone();
        let generated = tokio::task::spawn_blocking(move || new.generate_now(now)).await;
        generated.map_err(|error| error.to_string())?
    }

    fn generate_now(&self, now: Timestamp) -> Result<KeyPair, String> {
        let in_words = |error: bulla_format::sealed::KeyError| error.to_string();
        let private = match self.algorithm {
            SealedAlgorithm::Rsa => PrivateKey::generate_rsa(self.size),
            SealedAlgorithm::Hybrid => PrivateKey::generate(SealedAlgorithm::Hybrid),
        }
        .map_err(in_words)?;
        let certificate = match self.algorithm {
            SealedAlgorithm::Rsa => Some(self.certificate(&private, now)?),
            SealedAlgorithm::Hybrid => None,
        };
        let not_before = Timestamp::from_second(now.as_second()).map_err(|error| error.to_string())?;
        Ok(KeyPair { private, certificate, not_before, state: KeyState::Active })
    }

    fn certificate(&self, private: &PrivateKey, now: Timestamp) -> Result<Certificate, String> {
        let until = now.checked_add(self.ttl).map_err(|_| "the key's time to live ends too late".to_owned())?;
        self_signed(private, &self.common_name, now, until).map_err(|error| error.to_string())
    }
}

impl Default for NewKey {
    /// As sealed-secrets' flags: RSA of 4096 bits, ten years, no common name.
    fn default() -> Self {
        Self {
            algorithm: SealedAlgorithm::Rsa,
            size: RsaSize::Bits4096,
            common_name: String::new(),
            ttl: jiff::SignedDuration::from_hours(10 * 365 * 24),
        }
    }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn unless_taken<K>(result: kube::Result<K>) -> kube::Result<Option<K>> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
        Err(error) => Err(error),
    }
}
