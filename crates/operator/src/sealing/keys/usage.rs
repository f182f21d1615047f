//! How many values are sealed to which key, as far as SealedSecrets remember it: for whoever wants to retire one.

use std::collections::BTreeMap;

use kube::api::{Api, ListParams};
use kube::{Client, Resource};

use bulla_kube::api::SealedSecret;

/// Objects a request brings.
const PAGE: u32 = 500;

/// The counts of a whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// By the key's fingerprint.
    pub by_key: BTreeMap<String, i64>,
    /// Values whose key is not known: no controller has opened them, or it could not say.
    pub unknown: i64,
}

/// Counts, page by page. A look that a person asks for: a controller has a watch.
///
/// # Errors
/// What the API server answered.
pub async fn count(client: &Client) -> kube::Result<Count> {
    let api: Api<SealedSecret> = Api::all(client.clone());
    let mut params = ListParams::default().limit(PAGE);
    let mut count = Count::default();
    loop {
        let page = api.list(&params).await?;
        page.items.iter().for_each(|sealed| count.add(sealed));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(count),
        }
    }
}

impl Count {
    fn add(&mut self, sealed: &SealedSecret) {
        let status = sealed.status.as_ref();
        // What is said of an older generation may not hold for this one.
        let is_current = status.is_some_and(|status| status.observed_generation == sealed.meta().generation);
        for item in sealed.spec.encrypted_data.keys() {
            match status.filter(|_| is_current).and_then(|status| status.sealed_with.get(item)) {
                Some(key) => *self.by_key.entry(key.clone()).or_default() += 1,
                None => self.unknown += 1,
            }
        }
        self.unknown += i64::from(sealed.spec.data.is_some());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn values_count_for_the_key_that_their_status_names() {
        let sealed = |observed: i64, with: serde_json::Value| -> SealedSecret {
            serde_json::from_value(json!({
                "apiVersion": "bitnami.com/v1alpha1",
                "kind": "SealedSecret",
                "metadata": {"name": "a", "generation": 2},
                "spec": {"encryptedData": {"x": "AgA", "y": "AgB"}},
                "status": {"observedGeneration": observed, "sealedWith": with},
            }))
            .unwrap()
        };
        let mut count = Count::default();
        count.add(&sealed(2, json!({"x": "one", "y": "two"})));
        count.add(&sealed(2, json!({"x": "one"})));
        count.add(&sealed(1, json!({"x": "one", "y": "one"})));
        assert_eq!(count.by_key, BTreeMap::from([("one".to_owned(), 2), ("two".to_owned(), 1)]));
        assert_eq!(count.unknown, 3);
    }
}
