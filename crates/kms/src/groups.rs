//! A data key wrapped for groups of keys: one group directly, several by Shamir shares.
//!
//! **Which services.** Each key is tried with this process' own service first, then with the remote ones as they were
//! named, until one succeeds. (So does sops.)
//!
//! **Which keys.** Keys that can do without a person come first: those of all groups at the same time, started in the
//! order that was asked for, until enough groups are open. The rest is not waited for. Only then are those tried that
//! may ask someone, one after the other in that order: no passphrase is asked for while another key can open the file.
//!
//! **Which groups.** All at once, until the threshold is met.

use std::sync::Arc;

use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService};

use crate::keyservice::Client;
use crate::{Options, Registry};

mod unwrap;
mod wrap;

pub use unwrap::unwrap_data_key;
pub use wrap::wrap_data_key;

/// Where wrapping and unwrapping is done: this process, remote key services, or both. The local service is tried first.
#[derive(Clone)]
pub struct Services {
    /// Remote key services (`--keyservice`).
    pub remote: Vec<Client>,
    /// The services of this process (`--enable-local-keyservice`).
    pub local: Option<Registry>,
}

/// Why a data key could not be wrapped: what was asked cannot be, or what each key answered.
#[derive(Debug, thiserror::Error)]
#[error("the data key could not be wrapped{}", reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}")))]
pub struct WrapError {
    /// The failures of every key that no service wrapped for.
    pub keys: Vec<KeyError>,
    /// What was wrong with the groups or the threshold, if that was it.
    pub reason: Option<String>,
}

/// Why a data key could not be unwrapped: for each group what each of its keys answered.
#[derive(Debug, thiserror::Error)]
#[error("the data key could not be unwrapped: {needed} of {} groups needed, {opened} opened", groups.len())]
pub struct UnwrapError {
    /// How many groups had to open.
    pub needed: usize,
    /// How many did.
    pub opened: usize,
    /// The failures, group by group; empty for a group that opened.
    pub groups: Vec<Vec<KeyError>>,
    /// What was wrong although enough groups opened (shares that do not fit together), or could never have.
    pub reason: Option<String>,
}

impl Services {
    /// The services that may hold `id`, in the order to try; and why some cannot.
    fn open(&self, id: &KeyId) -> (Vec<Arc<dyn KeyService>>, Vec<KeyError>) {
        let mut services = Vec::new();
        let mut errors = Vec::new();
        match self.local.as_ref().map(|registry| registry.open_cached(id)) {
            Some(Ok(service)) => services.push(service),
            Some(Err(error)) => errors.push(error),
            None => {}
        }
        services.extend(self.remote.iter().map(|client| client.open_cached(id)));
        if services.is_empty() && errors.is_empty() {
            let error = KeyError::new(KeyErrorKind::BadConfig, id, "there is no key service to ask");
            errors.push(error.with_hint("enable the local key service, or name one with --keyservice"));
        }
        (services, errors)
    }

    /// How many keys to try at the same time.
    fn concurrency(&self) -> usize {
        let own = self.local.as_ref().map(|registry| registry.options().concurrency);
        own.unwrap_or_else(|| Options::default().concurrency).max(1)
    }
}

#[cfg(test)]
mod tests;
