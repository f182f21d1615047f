//! Keys that are wrapped for other recipients than before.

use bulla_kube::api::SealingKey;
use kube::ResourceExt;

use super::envelope::{self, OpenError, Trusted};
use super::keeper::KeepError;
use super::object::{ObjectError, bound, unwrap};
use super::recipients::Recipients;
use super::store::Store;
use bulla_kms::groups::Services;

/// Whether a key is wrapped for others than `recipients`.
pub fn needed(key: &SealingKey, recipients: &Recipients) -> bool {
    envelope::recipients(&key.spec.wrapped) != *recipients
}

/// The same key under a new data key, wrapped for `recipients`. It was opened again before it is given out.
///
/// # Errors
/// [`ObjectError`].
pub async fn wrapped_for(
    services: &Services,
    key: &SealingKey,
    recipients: &Recipients,
    trusted: Trusted<'_>,
) -> Result<SealingKey, ObjectError> {
    let pair = unwrap(services, key, trusted).await?;
    let mut new = key.clone();
    let private = pair.private.to_pkcs8()?;
    new.spec.wrapped = envelope::seal(services, recipients, bound(&key.spec), &private).await?;
    Ok(new)
}

/// Wraps a key of the cluster anew and puts it in the place of the version that was read.
///
/// # Errors
/// [`KeepError`]; the object is as it was.
pub async fn rewrap(
    store: &Store,
    services: &Services,
    key: &SealingKey,
    recipients: &Recipients,
    trusted: Trusted<'_>,
) -> Result<SealingKey, KeepError> {
    let in_words = |error: ObjectError| KeepError::Key(format!("{}: {error}", key.name_any()));
    let new = wrapped_for(services, key, recipients, trusted).await.map_err(in_words)?;
    // What took its place must not be less than what was there.
    let ids: Vec<_> = recipients.keys().cloned().collect();
    match unwrap(services, &new, Trusted::Only(&ids)).await {
        Ok(_) => {}
        // Some recipients are public keys: to wrap for them needs no private half, and none may be here.
        Err(ObjectError::Open(OpenError::Unwrap(error))) => {
            tracing::warn!(name = key.name_any(), %error, "wrapped for recipients that cannot be asked from here");
        }
        Err(error) => return Err(in_words(error)),
    }
    Ok(store.replace(&new).await?)
}
