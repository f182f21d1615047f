//! One data key for every key of every group.

use std::sync::Arc;

use bulla_core::{DataKey, KeyError, KeyErrorKind, KeyId, KeyService, SecretBytes, WrappedKey};
use futures_util::stream::{self, StreamExt};

use super::{Services, WrapError};
use crate::shamir;

/// Wraps `key` for every key of every group: the answer has the shape of `groups`. With more than one group each group gets a
/// Shamir share; `threshold` of them (all, if `None`) give the key back.
///
/// # Errors
/// The failure of every key that could not wrap; a data key that some recipient cannot open is never returned.
pub async fn wrap_data_key(
    services: &Services,
    key: &DataKey,
    groups: &[Vec<KeyId>],
    threshold: Option<usize>,
) -> Result<Vec<Vec<WrappedKey>>, WrapError> {
    let groups = groups.iter().map(|group| group.iter().map(|id| services.open(id)).collect()).collect();
    wrap(key, groups, threshold, services.concurrency()).await
}

/// A key's services in the order to try, and the errors of those that there are not.
type Recipient = (Vec<Arc<dyn KeyService>>, Vec<KeyError>);

pub(super) async fn wrap(
    key: &DataKey,
    groups: Vec<Vec<Recipient>>,
    threshold: Option<usize>,
    concurrency: usize,
) -> Result<Vec<Vec<WrappedKey>>, WrapError> {
    let impossible = |reason: String| WrapError { keys: Vec::new(), reason: Some(reason) };
    if groups.is_empty() || groups.iter().any(Vec::is_empty) {
        let what = if groups.len() < 2 { "there are no keys to wrap it for" } else { "a key group has no keys" };
        return Err(impossible(what.to_owned()));
    }
    let parts = match groups.len() {
        1 => vec![key.as_secret().clone()],
        count => shamir::split(key.as_secret(), count, threshold.filter(|needed| *needed > 0).unwrap_or(count))
            .map_err(|error| impossible(error.to_string()))?,
    };
    let shape: Vec<usize> = groups.iter().map(Vec::len).collect();
    let jobs = groups.into_iter().zip(&parts).flat_map(|(group, part)| group.into_iter().map(move |one| (one, part)));
    let results: Vec<_> = stream::iter(jobs)
        .map(|((services, errors), part)| wrap_one(services, errors, part))
        .buffered(concurrency)
        .collect()
        .await;

    let mut wrapped = Vec::with_capacity(results.len());
    let mut failed = Vec::new();
    for result in results {
        match result {
            Ok(one) => wrapped.push(one),
            Err(errors) => failed.extend(errors),
        }
    }
    if !failed.is_empty() {
        return Err(WrapError { keys: failed, reason: None });
    }
    let mut wrapped = wrapped.into_iter();
    Ok(shape.into_iter().map(|len| wrapped.by_ref().take(len).collect()).collect())
}

/// The first service that can does it.
async fn wrap_one(
    services: Vec<Arc<dyn KeyService>>,
    mut errors: Vec<KeyError>,
    part: &SecretBytes,
) -> Result<WrappedKey, Vec<KeyError>> {
    for service in services {
        match service.wrap(part).await {
            // What it was asked to keep would be lost with the plaintext.
            Ok(wrapped) if wrapped.as_str().trim().is_empty() => {
                errors.push(KeyError::new(
                    KeyErrorKind::Other,
                    service.id(),
                    "the wrapped key that came back is empty",
                ));
            }
            Ok(wrapped) => return Ok(wrapped),
            Err(error) => errors.push(error),
        }
    }
    Err(errors)
}
