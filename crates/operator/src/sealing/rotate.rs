//! What the HTTP API does to a SealedSecret that it is given: whether it opens, and the same values sealed to the newest key.
//!
//! Neither renders a template, nor says anything of a value but whether it opens: the peer's `verify` and `rotate` executed templates
//! that the caller chose over values that the caller may not read (its issues 2019 and 2049). A value is sealed anew for exactly the
//! place it was opened for, which the object's own metadata say; annotations in the template count for nothing (CVE-2026-22728).

use std::collections::BTreeMap;

use bulla_format::sealed::{Algorithm, Fingerprint, SealedValue, seal_value};
use bulla_kube::api::SealedSecret;
use jiff::Timestamp;

use super::open::{OldData, Patience, Wanted, binding, hints, open_items};
use super::ring::Keys;

/// Why a SealedSecret was not sealed anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RotateError {
    /// Some value does not open here.
    #[error("the values do not all open here: {0}")]
    DoesNotOpen(String),
    /// There is no key to seal to.
    #[error("there is no key of the algorithm {0} to seal to")]
    NoKey(Algorithm),
    /// A value could not be sealed.
    #[error("a value could not be sealed")]
    Seal,
    /// It has more values than there is time for.
    #[error("sealing anew takes longer than is given to one object; make several of it")]
    TooLong,
    /// It has the deprecated form.
    #[error("the deprecated spec.data cannot be sealed anew: seal the Secret again, into spec.encryptedData")]
    OldData,
}

/// Whether every value of `sealed` opens here. The first that does not is the last that is tried.
///
/// # Errors
/// What does not open, and why; for the log, not for the caller.
pub fn verify(sealed: &SealedSecret, keys: &Keys, old_data: OldData, patience: &Patience) -> Result<(), String> {
    let opening = if sealed.spec.data.as_ref().is_some_and(|data| !data.is_empty()) {
        if old_data == OldData::Refused {
            return Err("the deprecated spec.data is not accepted".to_owned());
        }
        let text = sealed.spec.data.as_deref().unwrap_or_default();
        let value = SealedValue::parse(text).map_err(|error| error.to_string())?;
        return keys.opening().open(&value, &binding(sealed), None).map(drop).map_err(|error| error.to_string());
    } else {
        open_items(sealed, keys, Wanted::Whether, patience, |_, _| {})
    };
    if opening.problems.is_empty() { Ok(()) } else { Err(opening.problems.join("; ")) }
}

/// `sealed` with its values sealed to the newest key of their algorithm. All else is as it was; there is no status.
///
/// # Errors
/// [`RotateError`].
pub fn rotate(
    sealed: &SealedSecret,
    keys: &Keys,
    now: Timestamp,
    patience: &Patience,
) -> Result<SealedSecret, RotateError> {
    if sealed.spec.data.as_ref().is_some_and(|data| !data.is_empty()) {
        return Err(RotateError::OldData);
    }
    let (place, hints) = (binding(sealed), hints(sealed));
    let mut encrypted_data = BTreeMap::new();
    let mut last: Option<Fingerprint> = None;
    for (item, text) in &sealed.spec.encrypted_data {
        if patience.is_over() {
            return Err(RotateError::TooLong);
        }
        let place = place.with_item(item);
        let wrong = |error: bulla_format::sealed::OpenError| RotateError::DoesNotOpen(format!("{item}: {error}"));
        let value = SealedValue::parse(text).map_err(wrong)?;
        let hint = hints.get(item.as_str()).or(last.as_ref());
        let opened = keys.opening().open(&value, &place, hint).map_err(wrong)?;
        last = Some(opened.key);
        let algorithm = if value.is_hybrid() { Algorithm::Hybrid } else { Algorithm::Rsa };
        let newest = keys.current(algorithm, now).ok_or(RotateError::NoKey(algorithm))?;
        // What is sealed to the newest key already stays as it is: no difference in Git.
        let text = if *newest.fingerprint() == opened.key {
            text.clone()
        } else {
            let public = newest.private.public_key();
            seal_value(public, &place, opened.plaintext.expose()).map_err(|_| RotateError::Seal)?
        };
        encrypted_data.insert(item.clone(), text);
    }
    let mut rotated = sealed.clone();
    rotated.spec.encrypted_data = encrypted_data;
    rotated.status = None;
    rotated.metadata.managed_fields = None;
    Ok(rotated)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bulla_format::sealed::{Binding, CLUSTER_WIDE, OpenError, PrivateKey, Scope};
    use serde_json::json;

    use super::*;
    use crate::sealing::ring::Key;
    use bulla_kube::api::sealing_key::KeyState;

    fn key(seconds: i64) -> Arc<Key> {
        let not_before = Timestamp::from_second(seconds).unwrap();
        let private = PrivateKey::generate_rsa(bulla_format::sealed::RsaSize::Bits2048).unwrap();
        Arc::new(Key { private, certificate: None, not_before, state: KeyState::Active })
    }

    fn sealed(key: &Key, template: &serde_json::Value) -> SealedSecret {
        let place = Binding::new(Scope::Strict, "n", "a", "x");
        let text = seal_value(key.private.public_key(), &place, b"value").unwrap();
        serde_json::from_value(json!({
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {"name": "a", "namespace": "n"},
            "spec": {"encryptedData": {"x": text}, "template": template},
        }))
        .unwrap()
    }

    #[test]
    fn values_move_to_the_newest_key_and_stay_there() {
        let (patience, _waiting) = Patience::new();
        let (old, new) = (key(1), key(2));
        let keys = Keys::new(vec![old.clone(), new.clone()], 0);
        let now = Timestamp::from_second(3).unwrap();
        let rotated = rotate(&sealed(&old, &json!({})), &keys, now, &patience).unwrap();
        assert!(verify(&rotated, &Keys::new(vec![new], 0), OldData::Refused, &patience).is_ok());
        assert_eq!(rotate(&rotated, &keys, now, &patience).unwrap(), rotated);
    }

    #[test]
    fn cve_2026_22728_a_template_does_not_widen_the_scope() {
        let (patience, _waiting) = Patience::new();
        let (old, new) = (key(1), key(2));
        let keys = Keys::new(vec![old.clone(), new], 0);
        let template = json!({"metadata": {"annotations": {CLUSTER_WIDE: "true"}}});
        let rotated = rotate(&sealed(&old, &template), &keys, Timestamp::from_second(3).unwrap(), &patience).unwrap();
        let value = SealedValue::parse(&rotated.spec.encrypted_data["x"]).unwrap();
        let open =
            |scope, namespace, name| keys.opening().open(&value, &Binding::new(scope, namespace, name, "x"), None);
        assert!(open(Scope::Strict, "n", "a").is_ok());
        for error in
            [open(Scope::ClusterWide, "n", "a"), open(Scope::NamespaceWide, "n", "a"), open(Scope::Strict, "n", "b")]
        {
            assert_eq!(error.unwrap_err(), OpenError::NoKey);
        }
        assert!(rotated.metadata.annotations.is_none());
    }

    #[test]
    fn a_template_is_not_rendered() {
        let (patience, _waiting) = Patience::new();
        let only = key(1);
        // It would fail, and tell whether the value begins with v, if it were.
        let template = json!({"data": {"y": "{{ if hasPrefix \"v\" .x }}{{ fail \"yes\" }}{{ end }}"}});
        let keys = Keys::new(vec![only.clone()], 0);
        assert_eq!(verify(&sealed(&only, &template), &keys, OldData::Refused, &patience), Ok(()));
        let rotated = rotate(&sealed(&only, &template), &keys, Timestamp::from_second(3).unwrap(), &patience).unwrap();
        assert!(rotated.spec.template.data["y"].contains("fail") && rotated.spec.encrypted_data.len() == 1);
    }

    #[test]
    fn nobody_waits_for_values_without_end() {
        let only = key(1);
        let keys = Keys::new(vec![only.clone()], 0);
        let (patience, waiting) = Patience::new();
        drop(waiting);
        let rotated = rotate(&sealed(&only, &json!({})), &keys, Timestamp::from_second(3).unwrap(), &patience);
        assert_eq!(rotated, Err(RotateError::TooLong));
        assert!(verify(&sealed(&only, &json!({})), &keys, OldData::Refused, &patience).is_err());
    }
}
