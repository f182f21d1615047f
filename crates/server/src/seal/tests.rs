//! Each seal opens what it wrapped, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use bulla_core::KeyId;
use bulla_kms::{Options, Registry};

use super::*;

#[tokio::test]
async fn shares_give_the_root_key_and_wrong_ones_do_not() {
    let (root, unseal) = (DataKey::generate().unwrap(), DataKey::generate().unwrap());
    let wrapped = shamir::wrap(&unseal, &root).unwrap();
    for (shares, threshold) in [(1, 1), (3, 2), (5, 5)] {
        let parts = shamir::split(&unseal, Shares { shares, threshold }).unwrap();
        assert!(parts.iter().all(|part| shamir::is_share(part, threshold)));
        let key = shamir::combine(&parts[shares - threshold..]).unwrap();
        assert!(shamir::unwrap(&key, &wrapped).unwrap() == root);
    }
    let other = DataKey::generate().unwrap();
    assert!(matches!(shamir::unwrap(&other, &wrapped), Err(SealError::WrongKey(_))));
}

#[tokio::test]
async fn a_static_key_opens_what_it_and_its_predecessor_wrapped() {
    let (root, old, new) = (DataKey::generate().unwrap(), DataKey::generate().unwrap(), DataKey::generate().unwrap());
    let first = fixed::Fixed::new("one".to_owned(), old.clone());
    let wrapped = first.wrap(&root).await.unwrap();
    let changed = fixed::Fixed::new("two".to_owned(), new.clone()).with_previous("one".to_owned(), old);
    assert!(changed.unwrap(&wrapped).await.unwrap() == root);
    let alone = fixed::Fixed::new("two".to_owned(), new);
    assert!(alone.unwrap(&wrapped).await.unwrap_err().to_string().contains("\"one\""));
}

#[test]
fn a_static_key_is_read_raw_in_hex_and_in_base64() {
    let raw = [0xabu8; 32];
    let forms = ["ab".repeat(32) + "\n", STANDARD.encode(raw), "AB".repeat(32)];
    assert!(fixed::read_key(&SecretBytes::from(raw.as_slice())).unwrap().expose() == &raw);
    for form in forms {
        assert!(fixed::read_key(&SecretBytes::from(form.as_bytes())).unwrap().expose() == &raw, "{form}");
    }
    for bad in ["", "short", "zz"] {
        assert!(fixed::read_key(&SecretBytes::from(bad.repeat(32).as_bytes())).is_err());
    }
}

#[tokio::test]
async fn a_key_service_is_a_seal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    bulla_kms::create_local_key(&path).unwrap();
    let registry = Registry::new(Arc::new(BTreeMap::new()), Options::default());
    let seal = service::Service::new(registry.open(&KeyId::Local { path }).unwrap());
    let root = DataKey::generate().unwrap();
    let wrapped = seal.wrap(&root).await.unwrap();
    assert!(seal.unwrap(&wrapped).await.unwrap() == root);
    assert!(matches!(seal.unwrap("rubbish").await, Err(SealError::Service(_))));
}
