//! The data key from the first keys that answer.

use std::sync::Arc;

use bulla_core::{DataKey, KeyError, KeyErrorKind, KeyId, KeyService, Operation, SecretBytes, WrappedKey};
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use tokio::sync::Semaphore;

use super::{Services, UnwrapError};
use crate::shamir;

/// Unwraps a data key with the first keys that answer. Keys are tried at the same time within
/// [`Options::concurrency`](crate::Options), kinds named in `order` first (as in `--decryption-order`: `age`, `pgp`, …).
///
/// # Errors
/// [`UnwrapError`] with what each key answered.
pub async fn unwrap_data_key(
    services: &Services,
    groups: &[Vec<(KeyId, WrappedKey)>],
    threshold: Option<usize>,
    order: &[String],
) -> Result<DataKey, UnwrapError> {
    let open = |(id, wrapped): &(KeyId, WrappedKey)| {
        let (services, errors) = services.open(id);
        Candidate { id: id.clone(), wrapped: wrapped.clone(), services, errors }
    };
    let groups = groups.iter().map(|group| group.iter().map(open).collect()).collect();
    unwrap(groups, threshold, order, services.concurrency()).await
}

/// A key that may open a group: the services still to be tried, and what the others said.
pub(super) struct Candidate {
    pub(super) id: KeyId,
    pub(super) wrapped: WrappedKey,
    pub(super) services: Vec<Arc<dyn KeyService>>,
    pub(super) errors: Vec<KeyError>,
}

type Group = Vec<Candidate>;

pub(super) async fn unwrap(
    mut groups: Vec<Group>,
    threshold: Option<usize>,
    order: &[String],
    concurrency: usize,
) -> Result<DataKey, UnwrapError> {
    let count = groups.len();
    // sops never splits a key so that one share is enough; nor could one be checked.
    let needed = match (count, threshold) {
        (0 | 1, _) => 1,
        (_, None | Some(0)) => count,
        (_, Some(threshold)) => threshold.max(2),
    };
    if needed > count {
        let reason = match count {
            0 => "the file names no keys".to_owned(),
            _ => format!("{needed} groups are needed and there are only {count}"),
        };
        return Err(UnwrapError { needed, opened: 0, groups: vec![Vec::new(); count], reason: Some(reason) });
    }
    for group in &mut groups {
        group.sort_by_key(|key| order.iter().position(|kind| kind == key.id.kind()).unwrap_or(order.len()));
    }
    let length = if count == 1 { DataKey::LEN } else { DataKey::LEN + 1 };

    let mut opened = Opened { needed, parts: Vec::new() };
    let mut closed = opened.without_asking(groups, length, concurrency).await;
    for (index, group) in closed.iter_mut().enumerate() {
        if opened.is_enough() {
            break;
        }
        if let Some(group) = group
            && let Some(part) = ask(group, length).await
        {
            opened.parts.push((index, part));
        }
    }
    opened.finish(closed)
}

/// What came of the groups so far.
struct Opened {
    needed: usize,
    parts: Vec<(usize, SecretBytes)>,
}

impl Opened {
    fn is_enough(&self) -> bool {
        self.parts.len() >= self.needed
    }

    /// Tries all groups at once with the keys that ask no one. Gives back the groups, without those that opened.
    async fn without_asking(&mut self, groups: Vec<Group>, length: usize, concurrency: usize) -> Vec<Option<Group>> {
        let bound = Semaphore::new(concurrency);
        let mut closed: Vec<Option<Group>> = groups.iter().map(|_| None).collect();
        let bound = &bound;
        let attempt = |(index, group)| async move { (index, quietly(group, length, concurrency, bound).await) };
        let mut attempts: FuturesUnordered<_> = groups.into_iter().enumerate().map(attempt).collect();
        while let Some((index, result)) = attempts.next().await {
            match result {
                Ok(part) => self.parts.push((index, part)),
                Err(group) => closed[index] = Some(group),
            }
            if self.is_enough() {
                break;
            }
        }
        closed
    }

    fn finish(mut self, closed: Vec<Option<Group>>) -> Result<DataKey, UnwrapError> {
        let (needed, opened) = (self.needed, self.parts.len());
        let result = if opened < needed { Err(None) } else { self.combine().map_err(Some) };
        result.map_err(|reason| {
            let errors = |group: Option<Group>| group.into_iter().flatten().flat_map(|key| key.errors).collect();
            UnwrapError { needed, opened, groups: closed.into_iter().map(errors).collect(), reason }
        })
    }

    fn combine(&mut self) -> Result<DataKey, String> {
        self.parts.sort_by_key(|(index, _)| *index);
        let mut parts: Vec<_> = std::mem::take(&mut self.parts).into_iter().map(|(_, part)| part).collect();
        let key = match parts.pop() {
            Some(key) if parts.is_empty() => key,
            last => {
                parts.extend(last);
                shamir::combine(&parts).map_err(|error| error.to_string())?
            }
        };
        DataKey::from_bytes(key).map_err(|_| "the data key does not have 32 bytes".to_owned())
    }
}

/// Tries the keys of a group at the same time, but for those that may ask a person. The first success drops the others.
/// If there is none, the group comes back with what is left to try.
async fn quietly(group: Group, length: usize, concurrency: usize, bound: &Semaphore) -> Result<SecretBytes, Group> {
    let attempt = |(index, mut key): (usize, Candidate)| async move {
        // Closed it never is.
        let _permit = bound.acquire().await;
        let mut asking = Vec::new();
        for service in std::mem::take(&mut key.services) {
            if service.may_ask(Operation::Unwrap).await {
                asking.push(service);
            } else if let Some(part) = key.try_with(&*service, length).await {
                return Ok(part);
            }
        }
        key.services = asking;
        Err((index, key))
    };
    let mut attempts = stream::iter(group.into_iter().enumerate()).map(attempt).buffer_unordered(concurrency);
    let mut closed = Vec::new();
    while let Some(result) = attempts.next().await {
        match result {
            Ok(part) => return Ok(part),
            Err(key) => closed.push(key),
        }
    }
    closed.sort_by_key(|(index, _)| *index);
    Err(closed.into_iter().map(|(_, key)| key).collect())
}

/// Tries what is left of a group one after the other.
async fn ask(group: &mut Group, length: usize) -> Option<SecretBytes> {
    for key in group {
        for service in std::mem::take(&mut key.services) {
            if let Some(part) = key.try_with(&*service, length).await {
                return Some(part);
            }
        }
    }
    None
}

impl Candidate {
    async fn try_with(&mut self, service: &dyn KeyService, length: usize) -> Option<SecretBytes> {
        match service.unwrap(&self.wrapped).await {
            Ok(part) if part.len() == length => return Some(part),
            Ok(part) => {
                let what = format!("unwrapped to {} bytes instead of {length}", part.len());
                self.errors.push(KeyError::new(KeyErrorKind::BadCiphertext, &self.id, what));
            }
            Err(error) => self.errors.push(error),
        }
        None
    }
}
