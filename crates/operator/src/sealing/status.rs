//! What a SealedSecret's status says after a reconciliation, and the smallest patch that makes it so.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};

use bulla_kube::api::SealedSecretStatus;
use bulla_kube::api::sealed_secret::{SYNCED, Written};
use bulla_kube::conditions::{self, Said};

/// What came of a reconciliation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The generation that was reconciled.
    pub generation: Option<i64>,
    /// One word: `Unsealed` if it worked.
    pub reason: &'static str,
    /// What is wrong; empty if nothing is.
    pub message: String,
    /// The Secret as it was written, if it was.
    pub written: Option<Written>,
    /// The keys of the values that opened, by item.
    pub sealed_with: BTreeMap<String, String>,
    /// What the object was, if that is to be remembered.
    pub versions: Option<Vec<String>>,
}

/// The longest message, in bytes: statuses are read by people.
const LONGEST: usize = 4096;

/// The merge patch of the status, without the times if those are all there is: `None` if nothing is to be said.
pub fn patch(old: Option<&SealedSecretStatus>, outcome: &Outcome, now: &Time) -> Option<Value> {
    let none = SealedSecretStatus::default();
    let old = old.unwrap_or(&none);
    let mut patch = Map::new();
    let mut conditions = old.conditions.clone();
    let mut message = outcome.message.clone();
    if message.len() > LONGEST {
        message.truncate((0..=LONGEST).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0));
    }
    let status = if outcome.message.is_empty() { "True" } else { "False" };
    let said = Said { kind: SYNCED, status, reason: outcome.reason, message: &message, generation: outcome.generation };
    if conditions::set(&mut conditions, &said, now) {
        // The columns show the first.
        conditions.sort_by_key(|condition| condition.type_ != SYNCED);
        patch.insert("conditions".to_owned(), json!(conditions));
    }
    if old.observed_generation != outcome.generation {
        patch.insert("observedGeneration".to_owned(), json!(outcome.generation));
    }
    if old.written != outcome.written && outcome.written.is_some() {
        patch.insert("written".to_owned(), json!(outcome.written));
    }
    if let Some(versions) = outcome.versions.as_ref().filter(|versions| **versions != old.versions) {
        patch.insert("versions".to_owned(), json!(versions));
    }
    if old.sealed_with != outcome.sealed_with {
        let mut keys: Map<String, Value> = old.sealed_with.keys().map(|item| (item.clone(), Value::Null)).collect();
        keys.extend(outcome.sealed_with.iter().map(|(item, key)| (item.clone(), json!(key))));
        patch.insert("sealedWith".to_owned(), Value::Object(keys));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Time {
        Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)
    }

    fn outcome() -> Outcome {
        Outcome {
            generation: Some(2),
            reason: "Unsealed",
            message: String::new(),
            written: Some(Written { generation: 2, uid: "u".to_owned(), ..Written::default() }),
            sealed_with: [("a".to_owned(), "k".to_owned())].into(),
            versions: Some(vec!["v".to_owned()]),
        }
    }

    #[test]
    fn what_is_said_already_is_not_said_again() {
        let first = patch(None, &outcome(), &now()).unwrap();
        let status: SealedSecretStatus = serde_json::from_value(first).unwrap();
        assert_eq!(status.conditions[0].status, "True");
        assert_eq!(patch(Some(&status), &outcome(), &now()), None);
    }

    #[test]
    fn a_key_that_is_gone_is_taken_out() {
        let status: SealedSecretStatus = serde_json::from_value(patch(None, &outcome(), &now()).unwrap()).unwrap();
        let changed = Outcome { sealed_with: [("b".to_owned(), "k".to_owned())].into(), ..outcome() };
        assert_eq!(patch(Some(&status), &changed, &now()).unwrap(), json!({"sealedWith": {"a": null, "b": "k"}}));
    }

    #[test]
    fn a_failure_keeps_what_was_written_before() {
        let status: SealedSecretStatus = serde_json::from_value(patch(None, &outcome(), &now()).unwrap()).unwrap();
        let failed = Outcome { message: "no key".to_owned(), reason: "ErrUnsealFailed", written: None, ..outcome() };
        let patch = patch(Some(&status), &failed, &now()).unwrap();
        assert_eq!(patch["conditions"][0]["status"], "False");
        assert!(patch.get("written").is_none());
    }
}
