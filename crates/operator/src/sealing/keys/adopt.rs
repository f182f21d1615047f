//! Taking over an existing installation: its plain key Secrets become `SealingKey`s, and only once every recipient has shown that it
//! opens them may the plain ones be deleted.
//!
//! Deleting does not undo that a key was plain: backups of etcd, and its files until they are compacted, still have it. And who
//! could write Secrets could put one in. So a key that was taken over opens what was sealed to it, and nothing new is sealed to it: it is
//! `Retired`, and the controller makes a key that never was plain.

use std::fmt;

use bulla_kms::Registry;
use bulla_kms::groups::Services;
use bulla_kube::api::SealingKey;
use bulla_kube::api::sealing_key::KeyState;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::envelope::{Trusted, check_each};
use super::index::stricter;
use super::keeper::KeepError;
use super::object::{KeyPair, bound, unwrap};
use super::recipients::Recipients;
use super::secret;
use super::store::{Found, Store};

/// What becomes of the plain Secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// They stay.
    Keep,
    /// They are deleted, each once every recipient opened its wrapped form.
    Delete,
}

/// What came of one plain Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The Secret.
    pub secret: String,
    /// The key, if it could be read.
    pub fingerprint: Option<String>,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done with a plain Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Wrapped, every recipient opens it, and the Secret is still there.
    Wrapped,
    /// The same, and the Secret is gone.
    Deleted,
    /// Wrapped, and these recipients did not open it. The Secret is still there.
    Unproven(Vec<String>),
    /// Not wrapped; the Secret is as it was.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrapped => f.write_str("wrapped; the plain Secret is still there"),
            Self::Deleted => f.write_str("wrapped; the plain Secret was deleted"),
            Self::Unproven(recipients) => {
                write!(
                    f,
                    "wrapped, but not every recipient opens it, so the plain Secret stays: {}",
                    recipients.join("; ")
                )
            }
            Self::Failed(reason) => write!(f, "not wrapped: {reason}"),
        }
    }
}

/// Wraps every plain key of `found` for `recipients`.
///
/// # Errors
/// [`KeepError::Api`] if the API server refuses. What is wrong with one Secret is in its outcome, and the others are done.
pub async fn adopt(
    store: &Store,
    registry: &Registry,
    recipients: &Recipients,
    trusted: Trusted<'_>,
    found: &Found,
    plain: Plain,
) -> Result<Vec<Adopted>, KeepError> {
    let mut report = Vec::new();
    for secret in &found.plain {
        let name = secret.name_any();
        let pair = match secret::read(secret) {
            Ok(pair) => pair,
            Err(reason) => {
                report.push(Adopted { secret: name, fingerprint: None, outcome: Outcome::Failed(reason) });
                continue;
            }
        };
        let fingerprint = Some(pair.private.fingerprint().to_string());
        let outcome = one(store, registry, recipients, trusted, found, secret, &pair, plain).await?;
        report.push(Adopted { secret: name, fingerprint, outcome });
    }
    Ok(report)
}

#[expect(clippy::too_many_arguments, reason = "the loop's body, apart so that it reads")]
async fn one(
    store: &Store,
    registry: &Registry,
    recipients: &Recipients,
    trusted: Trusted<'_>,
    found: &Found,
    secret: &Secret,
    pair: &KeyPair,
    plain: Plain,
) -> Result<Outcome, KeepError> {
    let services = Services { remote: Vec::new(), local: Some(registry.clone()) };
    let fingerprint = pair.private.fingerprint().to_string();
    let there = found.wrapped.iter().find(|key| key.spec.fingerprint == fingerprint).cloned();
    // A key that was blacklisted as a Secret must not come back to life with it gone.
    let state = stricter(pair.state, KeyState::Retired);
    let key = match there {
        Some(key) => key,
        None => match (KeyPair { state, ..pair.clone() }).wrap(&services, recipients).await {
            Ok(key) => match create(store, &secret.name_any(), key).await? {
                Some(key) => key,
                None => {
                    return Ok(Outcome::Failed(
                        "a SealingKey of its name is there already, with another key".to_owned(),
                    ));
                }
            },
            Err(error) => return Ok(Outcome::Failed(error.to_string())),
        },
    };
    // What counts is what the server has now.
    let key = store.keys.get(&key.name_any()).await?;
    let each = check_each(registry, &key.spec.wrapped, bound(&key.spec), trusted).await;
    let unproven: Vec<String> =
        each.into_iter().filter_map(|(name, result)| Some(format!("{name} ({})", result.err()?))).collect();
    let same = match unwrap(&services, &key, trusted).await {
        Ok(wrapped) => wrapped.private.fingerprint() == pair.private.fingerprint(),
        Err(error) => return Ok(Outcome::Unproven(vec![error.to_string()])),
    };
    if !unproven.is_empty() || !same {
        return Ok(Outcome::Unproven(unproven));
    }
    if key.spec.state != stricter(key.spec.state, state) {
        store.set_state(&key.name_any(), state).await?;
    }
    if plain == Plain::Keep {
        return Ok(Outcome::Wrapped);
    }
    store.delete_plain(secret).await?;
    Ok(Outcome::Deleted)
}

/// Under the Secret's name, which people know.
async fn create(store: &Store, name: &str, key: SealingKey) -> Result<Option<SealingKey>, KeepError> {
    Ok(store.create(name, key).await?)
}
