//! A private key as it stands in a `SealingKey`: encrypted under a data key of its own, which key services wrap.
//!
//! ```text
//! ciphertext      = base64 of nonce (12 bytes) || AES-256-GCM(private key as PKCS#8 DER) || tag (16 bytes)
//! associated data = "bulla sealing key 2", then each of these behind its length (u32, big-endian):
//!                   algorithm, fingerprint, notBefore (seconds since 1970, decimal), certificate (PEM; empty if it has none)
//! ```
//!
//! They are the texts that stand in the object. So the private key of one object does not open in another, one whose public half was
//! exchanged does not open at all, and an old key cannot be put before a newer one. The state is not bound: it changes without a key
//! service. The data key is used once: a key that is wrapped anew gets another.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{DataKey, KeyError, KeyErrorKind, KeyId, SecretBytes, WrappedKey};
use bulla_kms::groups::{self, Services, UnwrapError, WrapError};
use bulla_kms::{Registry, gcm, shamir};
use bulla_kube::api::sealing_key::{KeyGroup, WrappedDataKey, WrappedPrivateKey};

use super::recipients::{Recipients, fields, from_fields};

/// What a ciphertext is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// The algorithm, as in the object.
    pub algorithm: &'a str,
    /// The public key's fingerprint, as in the object.
    pub fingerprint: &'a str,
    /// From when it is sealed to: seconds since 1970.
    pub not_before: i64,
    /// The certificate, as in the object; empty if it has none.
    pub certificate: &'a str,
}

/// How many recipients an object may name: each costs a request, whether it opens or not.
const MOST_RECIPIENTS: usize = 64;

/// Why a private key could not be wrapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A key service did not.
    #[error("{}", with_keys(.0, .0.keys.iter()))]
    Wrap(#[from] WrapError),
    /// The cipher did not.
    #[error("cannot encrypt the private key: {0}")]
    Cipher(#[from] gcm::SealError),
    /// There are no random numbers for a data key.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// Why a private key could not be unwrapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No key service opened the data key. Says which were tried.
    #[error("{}", with_keys(.0, .0.groups.iter().flatten()))]
    Unwrap(#[from] UnwrapError),
    /// It names more recipients than any operator would.
    #[error("it names {0} recipients, and {MOST_RECIPIENTS} are the most that are asked")]
    TooMany(usize),
    /// The ciphertext is no base64, or the cipher refused it.
    #[error("the private key does not open with its data key: it belongs to another object, or was changed")]
    Ciphertext,
    /// What was opened is no key, or another one than the object says.
    #[error("what was unwrapped is not the key that the object names: {0}")]
    NotTheKey(String),
}

/// Which keys may be asked to unwrap. An object names them, and whoever may write objects must not choose which server gets a
/// token, or which file is read.
#[derive(Clone, Copy, Debug)]
pub enum Trusted<'a> {
    /// Those that the operator named.
    Only(&'a [KeyId]),
    /// All: a person runs a command and sees what it does.
    All,
}

/// Encrypts a private key (PKCS#8 DER) for `recipients`.
///
/// # Errors
/// [`SealError`]; a key that some recipient could not open is never returned.
pub async fn seal(
    services: &Services,
    recipients: &Recipients,
    bound: Bound<'_>,
    private: &SecretBytes,
) -> Result<WrappedPrivateKey, SealError> {
    let key = DataKey::generate()?;
    let ciphertext = STANDARD.encode(gcm::seal(key.expose(), &bound.associated_data(), private)?);
    let wrapped = groups::wrap_data_key(services, &key, &recipients.groups, recipients.threshold).await?;
    let entry = |(id, wrapped): (&KeyId, WrappedKey)| WrappedDataKey {
        kind: id.kind().to_owned(),
        id: fields(id),
        wrapped: wrapped.as_str().to_owned(),
    };
    let key_groups = recipients
        .groups
        .iter()
        .zip(wrapped)
        .map(|(ids, wrapped)| KeyGroup { keys: ids.iter().zip(wrapped).map(entry).collect() })
        .collect();
    let threshold = recipients.threshold.filter(|_| recipients.groups.len() > 1);
    Ok(WrappedPrivateKey { key_groups, threshold: threshold.and_then(|n| u32::try_from(n).ok()), ciphertext })
}

/// Decrypts a private key with the first key services that answer.
///
/// # Errors
/// [`OpenError`].
pub async fn open(
    services: &Services,
    wrapped: &WrappedPrivateKey,
    bound: Bound<'_>,
    trusted: Trusted<'_>,
) -> Result<SecretBytes, OpenError> {
    let named: usize = wrapped.key_groups.iter().map(|group| group.keys.len().max(1)).sum();
    if named > MOST_RECIPIENTS {
        return Err(OpenError::TooMany(named));
    }
    let mut refused: Vec<Vec<KeyError>> = Vec::new();
    let mut groups = Vec::new();
    for group in &wrapped.key_groups {
        let (mut asked, mut errors) = (Vec::new(), Vec::new());
        for entry in &group.keys {
            match identify(entry, trusted) {
                Ok(id) => asked.push((id, WrappedKey::new(entry.wrapped.clone()))),
                Err(error) => errors.push(error),
            }
        }
        groups.push(asked);
        refused.push(errors);
    }
    let key = groups::unwrap_data_key(services, &groups, threshold(wrapped), &[]).await.map_err(|mut error| {
        error.groups.resize(refused.len(), Vec::new());
        for (group, refused) in error.groups.iter_mut().zip(refused) {
            group.extend(refused);
        }
        error
    })?;
    decrypt(&key, wrapped, bound)
}

/// Asks every recipient on its own to unwrap. The answer has one entry for each, in the object's order: the recipient, and why it
/// does not open the key if it does not.
///
/// With several groups each group's share is tried with the others': that all recipients of a group have the same share, and that
/// every share belongs to the same key.
pub async fn check_each(
    registry: &Registry,
    wrapped: &WrappedPrivateKey,
    bound: Bound<'_>,
    trusted: Trusted<'_>,
) -> Vec<(String, Result<(), KeyError>)> {
    let mut results = Vec::new();
    let mut parts: Vec<Option<SecretBytes>> = Vec::new();
    let several = wrapped.key_groups.len() > 1;
    for group in &wrapped.key_groups {
        let mut part: Option<SecretBytes> = None;
        for entry in &group.keys {
            let id = identify(entry, trusted);
            let name = id.as_ref().map_or_else(|_| entry.kind.clone(), |id| format!("{} {id}", id.kind()));
            let result = match id {
                Ok(id) => unwrap_one(registry, &id, entry, &mut part, several).await,
                Err(error) => Err(error),
            };
            let result = match (&part, result, several) {
                // One group: what was unwrapped is the data key itself, and must open the ciphertext.
                (Some(part), Ok(id), false) => DataKey::from_bytes(part.clone())
                    .ok()
                    .and_then(|key| decrypt(&key, wrapped, bound).ok())
                    .map(|_| ())
                    .ok_or_else(|| wrong(&id, "its data key does not open the private key")),
                (_, result, _) => result.map(|_| ()),
            };
            results.push((name, result));
        }
        parts.push(part);
    }
    if several && let Err(what) = check_shares(&parts, wrapped, bound) {
        let unknown = KeyId::Shares { set: "groups".to_owned() };
        results.push(("the groups together".to_owned(), Err(wrong(&unknown, what))));
    }
    results
}

impl Bound<'_> {
    fn associated_data(&self) -> Vec<u8> {
        let mut data = b"bulla sealing key 2".to_vec();
        for text in [self.algorithm, self.fingerprint, &self.not_before.to_string(), self.certificate] {
            // The longest is a certificate, of some thousand bytes.
            data.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            data.extend_from_slice(text.as_bytes());
        }
        data
    }
}

/// The recipients that an object names, as they would be configured.
pub fn recipients(wrapped: &WrappedPrivateKey) -> Recipients {
    let id = |entry: &WrappedDataKey| from_fields(&entry.kind, &entry.id);
    Recipients {
        groups: wrapped.key_groups.iter().map(|group| group.keys.iter().filter_map(id).collect()).collect(),
        threshold: threshold(wrapped).filter(|_| wrapped.key_groups.len() > 1),
    }
}

fn threshold(wrapped: &WrappedPrivateKey) -> Option<usize> {
    wrapped.threshold.and_then(|threshold| usize::try_from(threshold).ok())
}

fn identify(entry: &WrappedDataKey, trusted: Trusted<'_>) -> Result<KeyId, KeyError> {
    let Some(id) = from_fields(&entry.kind, &entry.id) else {
        let unknown = KeyId::Shares { set: entry.kind.clone() };
        return Err(KeyError::new(KeyErrorKind::BadConfig, &unknown, "a recipient of an unknown kind"));
    };
    match trusted {
        Trusted::Only(allowed) if !allowed.contains(&id) => {
            let what = "this controller was not told to use this key service";
            Err(KeyError::new(KeyErrorKind::Denied, &id, what)
                .with_hint("name it with --key-service, or with --old-key-service to open and not to wrap"))
        }
        _ => Ok(id),
    }
}

/// Unwraps with one service, not from a cache, and compares with what others of the group gave.
async fn unwrap_one(
    registry: &Registry,
    id: &KeyId,
    entry: &WrappedDataKey,
    part: &mut Option<SecretBytes>,
    several: bool,
) -> Result<KeyId, KeyError> {
    let unwrapped = registry.open(id)?.unwrap(&WrappedKey::new(entry.wrapped.clone())).await?;
    if unwrapped.len() != DataKey::LEN + usize::from(several) {
        return Err(wrong(id, "what it unwrapped has the wrong length"));
    }
    match part {
        Some(part) if *part != unwrapped => Err(wrong(id, "it unwrapped something else than the others of its group")),
        Some(_) => Ok(id.clone()),
        None => {
            *part = Some(unwrapped);
            Ok(id.clone())
        }
    }
}

/// Whether every share lies on the one polynomial that gives the data key.
fn check_shares(
    parts: &[Option<SecretBytes>],
    wrapped: &WrappedPrivateKey,
    bound: Bound<'_>,
) -> Result<(), &'static str> {
    let parts: Vec<&SecretBytes> = parts.iter().flatten().collect();
    let needed = threshold(wrapped).unwrap_or(wrapped.key_groups.len()).max(2);
    if parts.len() < needed {
        return Err("too few groups opened to try the private key");
    }
    // The first `needed`, then each further one with the first `needed - 1`: together they try every share.
    let (first, rest) = parts.split_at(needed);
    let with_each =
        rest.iter().map(|one| first[..needed - 1].iter().chain([one]).copied().cloned().collect::<Vec<_>>());
    for shares in [first.iter().copied().cloned().collect()].into_iter().chain(with_each) {
        let key = shamir::combine(&shares).ok().and_then(|key| DataKey::from_bytes(key).ok());
        if key.and_then(|key| decrypt(&key, wrapped, bound).ok()).is_none() {
            return Err("the groups' shares do not make the data key");
        }
    }
    Ok(())
}

fn decrypt(key: &DataKey, wrapped: &WrappedPrivateKey, bound: Bound<'_>) -> Result<SecretBytes, OpenError> {
    let sealed = STANDARD.decode(&wrapped.ciphertext).map_err(|_| OpenError::Ciphertext)?;
    gcm::open(key.expose(), &bound.associated_data(), &sealed).map_err(|_| OpenError::Ciphertext)
}

fn wrong(id: &KeyId, what: &str) -> KeyError {
    KeyError::new(KeyErrorKind::BadCiphertext, id, what)
}

/// The error and what each key said, on one line.
fn with_keys<'a>(error: &dyn std::fmt::Display, keys: impl Iterator<Item = &'a KeyError>) -> String {
    let said: Vec<String> = keys.map(ToString::to_string).collect();
    if said.is_empty() { error.to_string() } else { format!("{error}; tried: {}", said.join("; ")) }
}

#[cfg(test)]
mod tests;
