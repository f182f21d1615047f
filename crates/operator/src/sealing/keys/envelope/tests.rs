//! Who opens a wrapped private key, and what does not.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bulla_kms::Options;

use super::*;

const RSA: Bound<'_> = Bound { algorithm: "rsa-4096", fingerprint: "aa", not_before: 1, certificate: "c" };

fn registry() -> Registry {
    Registry::new(Arc::new(BTreeMap::new()), Options::default())
}

fn services() -> Services {
    Services { remote: Vec::new(), local: Some(registry()) }
}

fn local(folder: &Path, name: &str) -> KeyId {
    let path = folder.join(name);
    bulla_kms::create_local_key(&path).unwrap();
    KeyId::Local { path }
}

fn one_group(keys: Vec<KeyId>) -> Recipients {
    Recipients { groups: vec![keys], threshold: None }
}

fn private() -> SecretBytes {
    SecretBytes::from(b"a private key".as_slice())
}

fn forget(id: &KeyId) {
    let KeyId::Local { path } = id else { unreachable!() };
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn any_one_of_several_recipients_opens_so_losing_one_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let keys = vec![local(folder.path(), "a"), local(folder.path(), "b")];
    let wrapped = seal(&services(), &one_group(keys.clone()), RSA, &private()).await.unwrap();
    assert_eq!(recipients(&wrapped), one_group(keys.clone()));
    forget(&keys[0]);
    assert_eq!(open(&services(), &wrapped, RSA, Trusted::All).await.unwrap(), private());
    forget(&keys[1]);
    let error = open(&services(), &wrapped, RSA, Trusted::All).await.unwrap_err().to_string();
    assert!(keys.iter().all(|key| error.contains(&key.to_string())), "{error}");
}

#[tokio::test]
async fn a_ciphertext_opens_for_its_object_s_public_part_alone() {
    let folder = tempfile::tempdir().unwrap();
    let to = one_group(vec![local(folder.path(), "a")]);
    let other = Bound { fingerprint: "bb", ..RSA };
    let wrapped = seal(&services(), &to, RSA, &private()).await.unwrap();
    let second = seal(&services(), &to, other, &private()).await.unwrap();
    let fails = async |wrapped: &WrappedPrivateKey, bound| {
        matches!(open(&services(), wrapped, bound, Trusted::All).await, Err(OpenError::Ciphertext))
    };
    // Whole objects exchanged, ciphertexts exchanged, another algorithm claimed, text moved between the two names.
    assert!(fails(&second, RSA).await && fails(&wrapped, other).await);
    assert!(fails(&WrappedPrivateKey { ciphertext: second.ciphertext.clone(), ..wrapped.clone() }, RSA).await);
    assert!(fails(&wrapped, Bound { algorithm: "x25519-mlkem768", ..RSA }).await);
    assert!(fails(&wrapped, Bound { algorithm: "rsa-4096a", fingerprint: "a", ..RSA }).await);
    // An old key that is to look new, by its date or by its certificate.
    assert!(fails(&wrapped, Bound { not_before: 2, ..RSA }).await);
    assert!(fails(&wrapped, Bound { certificate: "d", ..RSA }).await);
    let mut bytes = STANDARD.decode(&wrapped.ciphertext).unwrap();
    bytes[20] ^= 1;
    assert!(fails(&WrappedPrivateKey { ciphertext: STANDARD.encode(bytes), ..wrapped.clone() }, RSA).await);
    assert!(fails(&WrappedPrivateKey { ciphertext: "?".to_owned(), ..wrapped }, RSA).await);
}

#[tokio::test]
async fn a_key_service_that_was_not_named_is_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let keys = vec![local(folder.path(), "a"), local(folder.path(), "b")];
    let wrapped = seal(&services(), &one_group(keys.clone()), RSA, &private()).await.unwrap();
    let opened = open(&services(), &wrapped, RSA, Trusted::Only(&keys[1..])).await;
    assert_eq!(opened.unwrap(), private());
    let error = open(&services(), &wrapped, RSA, Trusted::Only(&[])).await.unwrap_err().to_string();
    assert!(error.contains("was not told to use"), "{error}");
}

#[tokio::test]
async fn with_groups_as_many_open_as_the_threshold_says() {
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<_> = ["a", "b", "c"].map(|name| local(folder.path(), name)).into();
    let to = Recipients { groups: keys.iter().map(|key| vec![key.clone()]).collect(), threshold: Some(2) };
    let wrapped = seal(&services(), &to, RSA, &private()).await.unwrap();
    assert_eq!((recipients(&wrapped), wrapped.threshold), (to, Some(2)));
    forget(&keys[0]);
    assert_eq!(open(&services(), &wrapped, RSA, Trusted::All).await.unwrap(), private());
    forget(&keys[1]);
    assert!(open(&services(), &wrapped, RSA, Trusted::All).await.is_err());
}

#[tokio::test]
async fn every_recipient_is_checked_on_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<_> = ["a", "b", "c"].map(|name| local(folder.path(), name)).into();
    let answers = async |wrapped: &WrappedPrivateKey| -> Vec<bool> {
        check_each(&registry(), wrapped, RSA, Trusted::All).await.iter().map(|(_, result)| result.is_ok()).collect()
    };
    let flat = seal(&services(), &one_group(keys.clone()), RSA, &private()).await.unwrap();
    let grouped = Recipients { groups: vec![vec![keys[0].clone()], keys[1..].to_vec()], threshold: Some(2) };
    let grouped = seal(&services(), &grouped, RSA, &private()).await.unwrap();
    assert_eq!(answers(&flat).await, [true; 3]);
    assert_eq!(answers(&grouped).await, [true; 3]);

    // A recipient that opens, but to another data key.
    let other = seal(&services(), &one_group(vec![keys[1].clone()]), RSA, &private()).await.unwrap();
    let mut mixed = flat.clone();
    mixed.key_groups[0].keys[1] = other.key_groups[0].keys[0].clone();
    assert_eq!(answers(&mixed).await, [true, false, true]);
    // A group whose share is of another key.
    let again = Recipients { groups: vec![vec![keys[0].clone()], keys[1..].to_vec()], threshold: Some(2) };
    let again = seal(&services(), &again, RSA, &private()).await.unwrap();
    let mut mixed = grouped.clone();
    mixed.key_groups[0] = again.key_groups[0].clone();
    assert_eq!(answers(&mixed).await, [true, true, true, false]);

    forget(&keys[2]);
    assert_eq!(answers(&flat).await, [true, true, false]);
    assert_eq!(answers(&grouped).await, [true, true, false]);
}

#[tokio::test]
async fn nothing_is_wrapped_if_one_recipient_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let keys = vec![local(folder.path(), "a"), KeyId::Local { path: folder.path().join("none") }];
    let error = seal(&services(), &one_group(keys), RSA, &private()).await.unwrap_err().to_string();
    assert!(error.contains("none"), "{error}");
}

#[tokio::test]
async fn a_malformed_object_is_an_error() {
    let entry = |kind: &str| WrappedDataKey { kind: kind.to_owned(), id: BTreeMap::new(), wrapped: "x".to_owned() };
    for keys in [vec![], vec![entry("local"), entry("nonsense")]] {
        let wrapped =
            WrappedPrivateKey { key_groups: vec![KeyGroup { keys }], threshold: None, ciphertext: String::new() };
        assert!(open(&services(), &wrapped, RSA, Trusted::All).await.is_err());
    }
    let wrapped = WrappedPrivateKey { key_groups: vec![], threshold: Some(9), ciphertext: String::new() };
    assert!(open(&services(), &wrapped, RSA, Trusted::All).await.is_err());
}

#[tokio::test]
async fn an_object_that_names_recipients_without_end_is_not_asked_about() {
    let folder = tempfile::tempdir().unwrap();
    let to = one_group(vec![local(folder.path(), "a")]);
    let mut wrapped = seal(&services(), &to, RSA, &private()).await.unwrap();
    let entry = wrapped.key_groups[0].keys[0].clone();
    wrapped.key_groups[0].keys = vec![entry; MOST_RECIPIENTS];
    assert!(open(&services(), &wrapped, RSA, Trusted::All).await.is_ok());
    wrapped.key_groups.push(KeyGroup::default());
    let error = open(&services(), &wrapped, RSA, Trusted::All).await.unwrap_err();
    assert!(matches!(error, OpenError::TooMany(65)), "{error}");
}
