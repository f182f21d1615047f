//! A file that gives the keys back when the cluster is gone.
//!
//! It is a `List` of `SealingKey`s (and the public part of people's shares), so `kubectl apply` reads it as well. The private keys in it are
//! wrapped: for the recipients that they have in the cluster, or for others that are named. What sealed-secrets' users have
//! (`kubectl get secret -l … -o yaml`) is a `List` too, of plain Secrets; it is restored by wrapping them.

use bulla_core::SecretBytes;
use bulla_kms::groups::Services;
use bulla_kube::api::SealingKey;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::envelope::Trusted;
use super::object::{KeyPair, ObjectError, public_part, unwrap};
use super::recipients::Recipients;
use super::requests::{RENEW, REWRAP};
use super::rewrap::wrapped_for;
use super::secret;
use super::shares::{self, SetError};
use super::store::Store;

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The API server refused.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// A key could not be unwrapped or wrapped.
    #[error("{name}: {error}")]
    Key {
        /// The object.
        name: String,
        /// Why.
        error: String,
    },
    /// The keys are plain, and nothing was said of how to wrap them.
    #[error("the keys {0} are plain Secrets: a backup of them as they are would be a file of private keys")]
    Plain(String),
    /// The shares' public part.
    #[error(transparent)]
    Shares(#[from] SetError),
    /// There are no keys.
    #[error("there are no sealing keys in the namespace {0}")]
    NoKeys(String),
    /// The text is no backup.
    #[error("this is no backup of sealing keys: {0}")]
    Malformed(String),
}

/// In which form the private keys stand in a backup.
#[derive(Clone, Copy)]
pub enum Form<'a> {
    /// Wrapped as they are in the cluster: nothing is unwrapped, no key service is asked.
    AsIs,
    /// Wrapped for these recipients.
    For(&'a Services, &'a Recipients),
    /// Plain, as sealed-secrets' own backups. Whoever has the file opens every SealedSecret.
    DangerPlaintext(&'a Services),
}

/// A backup's text, and which keys are in it.
pub struct Backup {
    /// JSON.
    pub text: SecretBytes,
    /// The objects' names.
    pub names: Vec<String>,
}

/// Reads all keys and makes a backup of them.
///
/// # Errors
/// [`BackupError`]; a backup without some of the keys is none.
pub async fn backup(store: &Store, form: Form<'_>) -> Result<Backup, BackupError> {
    let found = store.list().await?;
    let mut items = Vec::new();
    let mut names = Vec::new();
    for key in &found.wrapped {
        let name = key.name_any();
        let failed = |error: ObjectError| BackupError::Key { name: name.clone(), error: error.to_string() };
        items.push(match form {
            Form::AsIs => to_value(&clean(key.clone()))?,
            Form::For(services, to) => {
                to_value(&clean(wrapped_for(services, key, to, Trusted::All).await.map_err(failed)?))?
            }
            Form::DangerPlaintext(services) => {
                plain_value(&name, &unwrap(services, key, Trusted::All).await.map_err(failed)?)?
            }
        });
        names.push(name);
    }
    let mut left_plain = Vec::new();
    for plain in &found.plain {
        let name = plain.name_any();
        let failed = |error: String| BackupError::Key { name: name.clone(), error };
        let pair = secret::read(plain).map_err(failed)?;
        let is_wrapped_too =
            found.wrapped.iter().any(|key| key.spec.fingerprint == pair.private.fingerprint().to_string());
        if is_wrapped_too {
            continue;
        }
        items.push(match form {
            Form::AsIs => {
                left_plain.push(name);
                continue;
            }
            Form::For(services, to) => {
                let mut key = pair.wrap(services, to).await.map_err(|error| failed(error.to_string()))?;
                key.metadata.name = Some(name.clone());
                to_value(&key)?
            }
            Form::DangerPlaintext(_) => plain_value(&name, &pair)?,
        });
        names.push(name);
    }
    if !left_plain.is_empty() {
        return Err(BackupError::Plain(left_plain.join(", ")));
    }
    if names.is_empty() {
        return Err(BackupError::NoKeys(store.namespace.clone()));
    }
    if let (Form::AsIs, Some(set)) = (form, shares::load(store).await?) {
        items.push(to_value(&shares::config_map(&set)?)?);
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let text = serde_json::to_vec_pretty(&list).map_err(|error| BackupError::Malformed(error.to_string()))?;
    Ok(Backup { text: SecretBytes::from(text), names })
}

/// What a backup has in it.
pub enum Item {
    /// A wrapped key.
    Wrapped(Box<SealingKey>),
    /// A plain key.
    Plain(Box<Secret>),
    /// The public part of people's shares.
    Shares(Box<ConfigMap>),
}

/// A plain key would show itself.
impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wrapped(key) => write!(f, "SealingKey {}", key.name_any()),
            Self::Plain(secret) => write!(f, "Secret {}", secret.name_any()),
            Self::Shares(map) => write!(f, "ConfigMap {}", map.name_any()),
        }
    }
}

/// Reads a backup: a `List`, or one object.
///
/// # Errors
/// [`BackupError::Malformed`]; nothing secret is in it.
pub fn parse(value: Value) -> Result<Vec<Item>, BackupError> {
    let malformed = |what: String| BackupError::Malformed(what);
    let items = match value {
        Value::Object(mut object) => match object.remove("items") {
            Some(Value::Array(items)) => items,
            Some(_) => return Err(malformed("its items are no list".to_owned())),
            None => vec![Value::Object(object)],
        },
        _ => return Err(malformed("it is neither a List nor an object".to_owned())),
    };
    let item = |(at, value): (usize, Value)| {
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        // The parser's own message could quote a private key.
        let wrong = move |_| BackupError::Malformed(format!("object {} is malformed", at + 1));
        match kind.as_str() {
            "SealingKey" => Ok(Item::Wrapped(Box::new(serde_json::from_value(value).map_err(wrong)?))),
            "Secret" => Ok(Item::Plain(Box::new(serde_json::from_value(value).map_err(wrong)?))),
            "ConfigMap" => Ok(Item::Shares(Box::new(serde_json::from_value(value).map_err(wrong)?))),
            kind => Err(BackupError::Malformed(format!("object {} is a {kind:?}", at + 1))),
        }
    };
    items.into_iter().enumerate().map(item).collect()
}

/// What came of one object of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Its name.
    pub name: String,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done with an object of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the cluster now.
    Created,
    /// It was there already.
    Present,
    /// It is not in the cluster, for this reason.
    Failed(String),
}

/// How plain keys of a backup are kept.
#[derive(Clone, Copy)]
pub enum Keep<'a> {
    /// Not at all: the backup should have none.
    Refuse,
    /// Wrapped for these recipients.
    Wrapped(&'a Services, &'a Recipients),
    /// As plain Secrets.
    Plain,
}

/// Puts the keys of a backup into the cluster. What is there already stays as it is.
///
/// # Errors
/// [`BackupError::Api`]. What is wrong with one object is in its outcome, and the others are done.
pub async fn restore(store: &Store, items: Vec<Item>, keep: Keep<'_>) -> Result<Vec<Restored>, BackupError> {
    let found = store.list().await?;
    let mut known: Vec<String> = found.wrapped.iter().map(|key| key.spec.fingerprint.clone()).collect();
    let plain_known = found.plain.iter().filter_map(|plain| secret::read(plain).ok());
    known.extend(plain_known.map(|pair| pair.private.fingerprint().to_string()));
    let mut report = Vec::new();
    for item in items {
        let (name, outcome) = match item {
            Item::Shares(map) => (map.name_any(), restore_shares(store, &map).await?),
            Item::Wrapped(key) => (key.name_any(), restore_wrapped(store, *key, &mut known).await?),
            Item::Plain(plain) => (plain.name_any(), restore_plain(store, *plain, keep, &mut known).await?),
        };
        report.push(Restored { name, outcome });
    }
    Ok(report)
}

async fn restore_wrapped(store: &Store, key: SealingKey, known: &mut Vec<String>) -> Result<Outcome, BackupError> {
    if let Err(error) = public_part(&key.spec) {
        return Ok(Outcome::Failed(error.to_string()));
    }
    let (name, fingerprint) = (key.name_any(), key.spec.fingerprint.clone());
    if known.contains(&fingerprint) {
        return Ok(Outcome::Present);
    }
    let created = store.create(&name, clean(key)).await?;
    Ok(taken(created.is_some(), fingerprint, known))
}

async fn restore_plain(
    store: &Store,
    mut plain: Secret,
    keep: Keep<'_>,
    known: &mut Vec<String>,
) -> Result<Outcome, BackupError> {
    let name = plain.name_any();
    let pair = secret::read(&plain);
    secret::wipe(&mut plain);
    let pair = match pair {
        Ok(pair) => pair,
        Err(reason) => return Ok(Outcome::Failed(reason)),
    };
    let fingerprint = pair.private.fingerprint().to_string();
    if known.contains(&fingerprint) {
        return Ok(Outcome::Present);
    }
    let created = match keep {
        Keep::Refuse => {
            return Ok(Outcome::Failed("it is a plain key; say whom to wrap it for, with --key-service".to_owned()));
        }
        Keep::Plain => match secret::write(&pair) {
            Ok(secret) => store.create_plain(&name, secret).await?.is_some(),
            Err(reason) => return Ok(Outcome::Failed(reason)),
        },
        Keep::Wrapped(services, to) => match pair.wrap(services, to).await {
            Ok(key) => store.create(&name, key).await?.is_some(),
            Err(error) => return Ok(Outcome::Failed(error.to_string())),
        },
    };
    Ok(taken(created, fingerprint, known))
}

fn taken(created: bool, fingerprint: String, known: &mut Vec<String>) -> Outcome {
    if created {
        known.push(fingerprint);
        Outcome::Created
    } else {
        Outcome::Failed("another object of this name is there".to_owned())
    }
}

async fn restore_shares(store: &Store, map: &ConfigMap) -> Result<Outcome, BackupError> {
    let set = match shares::read(map) {
        Ok(set) => set,
        Err(error) => return Ok(Outcome::Failed(error.to_string())),
    };
    match shares::load(store).await {
        Ok(Some(there)) if there == set => Ok(Outcome::Present),
        Ok(Some(_)) => Ok(Outcome::Failed("there are other shares already".to_owned())),
        Ok(None) => {
            shares::save(store, &set).await?;
            Ok(Outcome::Created)
        }
        Err(error) => Err(error.into()),
    }
}

/// The object without what belongs to the cluster that it is in, and without what was asked of its leader.
fn clean(mut key: SealingKey) -> SealingKey {
    let old = std::mem::take(&mut key.metadata);
    key.metadata.name = old.name;
    key.metadata.labels = old.labels;
    key.metadata.annotations = old.annotations.map(|mut annotations| {
        annotations.retain(|name, _| name != RENEW && name != REWRAP && !name.starts_with("kubectl.kubernetes.io/"));
        annotations
    });
    key.status = None;
    key
}

fn plain_value(name: &str, pair: &KeyPair) -> Result<Value, BackupError> {
    let mut secret = secret::write(pair).map_err(|error| BackupError::Key { name: name.to_owned(), error })?;
    secret.metadata.name = Some(name.to_owned());
    let value = to_value(&secret);
    secret::wipe(&mut secret);
    value
}

fn to_value<T: serde::Serialize>(object: &T) -> Result<Value, BackupError> {
    serde_json::to_value(object).map_err(|error| BackupError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_list_and_a_single_object_are_read() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
        let list = json!({"kind": "List", "items": [secret, {"kind": "ConfigMap", "metadata": {"name": "b"}}]});
        assert!(matches!(parse(list).unwrap().as_slice(), [Item::Plain(_), Item::Shares(_)]));
        assert!(matches!(parse(secret).unwrap().as_slice(), [Item::Plain(_)]));
    }

    #[test]
    fn a_plain_key_is_not_shown() {
        let secret =
            json!({"kind": "Secret", "metadata": {"name": "a"}, "data": {"tls.key": STANDARD.encode("hunter2")}});
        let items = parse(secret).unwrap();
        assert_eq!(format!("{items:?}"), "[Secret a]");
        let Some(Item::Plain(plain)) = items.into_iter().next() else { panic!() };
        let found = super::super::store::Found { wrapped: Vec::new(), plain: vec![*plain] };
        assert_eq!(format!("{found:?}"), "Found(0 wrapped, 1 plain)");
    }

    #[test]
    fn what_is_no_backup_is_refused_without_showing_it() {
        let private = "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVk";
        for value in [
            json!([]),
            json!("x"),
            json!({"items": 1}),
            json!({"kind": "Pod"}),
            json!({"kind": "Secret", "data": private}),
            json!({"kind": "Secret", "data": {"tls.key": [private]}}),
            json!({"kind": "SealingKey", "spec": {"fingerprint": private}}),
        ] {
            let error = parse(value).unwrap_err().to_string();
            assert!(!error.contains(private), "{error}");
        }
    }
}
