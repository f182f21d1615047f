//! Whatever the storage does while a key is replaced, some shares that people have open the server afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bulla_core::DataKey;

use super::*;
use crate::core::faulty::{FAULTS, Fault, Faulty, server};
use crate::core::{Attempt, Init};
use crate::json::{Object, Value};
use crate::seal::fixed::Fixed;
use crate::seal::{AutoSeal, Shares};
use crate::storage::{Batch, Memory, Storage};

/// The shares of an answer, or of an error that has some.
fn shares_of(result: Result<Option<Made>>) -> Vec<SecretBytes> {
    match result {
        Ok(made) => made.map(|made| made.shares).unwrap_or_default(),
        Err(error) => {
            let keys = error.data.as_ref().and_then(|data: &Object| data.get("keys_base64"));
            let Some(Value::Array(keys)) = keys else { return Vec::new() };
            keys.iter().filter_map(Value::as_str).filter_map(shamir::parse_share).collect()
        }
    }
}

/// Replaces a key with the shares that people have, as far as it goes. The new shares, if anybody has seen them.
async fn replace(core: &Core, place: Place, wanted: NewKey, old: &[SecretBytes]) -> Vec<SecretBytes> {
    core.begin_rekey(place, wanted).await.unwrap();
    let nonce = core.rekey_status(place).await.unwrap().begun.unwrap().nonce;
    assert!(core.give_rekey_share(place, old[0].clone(), &nonce).await.unwrap().is_none());
    let result = core.give_rekey_share(place, old[2].clone(), &nonce).await;
    let verification = result.as_ref().ok().and_then(|made| made.as_ref()?.verification_nonce.clone());
    let new = shares_of(result);
    if let Some(nonce) = verification {
        for share in &new[..2] {
            let _ = core.give_new_share(place, share.clone(), &nonce).await;
        }
    }
    new
}

async fn opens(memory: &Arc<Memory>, shares: &[SecretBytes]) -> bool {
    let core = server(Arc::clone(memory) as Arc<dyn Storage>, Vec::new());
    for share in shares.iter().take(2) {
        if core.unseal(share.clone()).await.is_err() {
            return false;
        }
    }
    !core.is_sealed()
}

const THREE: Shares = Shares { shares: 3, threshold: 2 };

#[tokio::test]
async fn of_the_old_shares_and_the_new_ones_some_open_whatever_fails() {
    for (fault, verify) in FAULTS.iter().flat_map(|fault| [(*fault, false), (*fault, true)]) {
        for after in 0.. {
            let memory = Arc::new(Memory::default());
            let storage = Faulty::new(&memory, fault, after);
            let core = server(Arc::clone(&storage) as Arc<dyn Storage>, Vec::new());
            let old = core.initialize(Init { shares: THREE }).await.unwrap().shares;
            for share in &old[..2] {
                core.unseal(share.clone()).await.unwrap();
            }
            storage.armed.store(true, Ordering::SeqCst);
            let new = replace(&core, Place::Rekey(Which::Unseal), NewKey { shares: THREE, verify }, &old).await;
            let (by_old, by_new) = (opens(&memory, &old).await, opens(&memory, &new).await);
            assert!(by_old ^ by_new, "{fault:?} {verify} {after}: old {by_old}, new {by_new}");
            if fault == Fault::Silent || !storage.was() {
                assert!(by_new, "{fault:?} {verify} {after}: what was written counts");
            }
            if !storage.was() {
                break;
            }
            assert!(after < 20);
        }
    }
}

/// Whether recovery shares make a root token.
async fn makes_root(memory: &Arc<Memory>, seal: &DataKey, shares: &[SecretBytes]) -> bool {
    let seals: Vec<Arc<dyn AutoSeal>> = vec![Arc::new(Fixed::new("1".to_owned(), seal.clone()))];
    let core = server(Arc::clone(memory) as Arc<dyn Storage>, seals);
    assert!(core.unseal_by_itself().await.unwrap(), "the seal opens");
    let nonce = core.begin_root(None).await.unwrap().nonce.unwrap();
    let mut made = false;
    for share in shares.iter().take(2) {
        match core.give_root_share(share.clone(), &nonce).await {
            Ok(status) => made = status.encoded_token.is_some(),
            Err(_) => return false,
        }
    }
    made
}

#[tokio::test]
async fn where_a_seal_opens_it_goes_on_to_and_some_recovery_shares_are_good() {
    let seal = DataKey::generate().unwrap();
    for (fault, which) in FAULTS.iter().flat_map(|fault| [(*fault, Which::Unseal), (*fault, Which::Recovery)]) {
        for after in 0.. {
            let memory = Arc::new(Memory::default());
            let storage = Faulty::new(&memory, fault, after);
            let seals: Vec<Arc<dyn AutoSeal>> = vec![Arc::new(Fixed::new("1".to_owned(), seal.clone()))];
            let core = server(Arc::clone(&storage) as Arc<dyn Storage>, seals);
            let old = core.initialize(Init { shares: THREE }).await.unwrap().shares;
            storage.armed.store(true, Ordering::SeqCst);
            let new = replace(&core, Place::Rekey(which), NewKey { shares: THREE, verify: false }, &old).await;
            let (by_old, by_new) = (makes_root(&memory, &seal, &old).await, makes_root(&memory, &seal, &new).await);
            assert!(by_old ^ by_new, "{fault:?} {which:?} {after}: old {by_old}, new {by_new}");
            assert!(which == Which::Recovery || by_old, "the recovery key is another matter than the root key");
            if !storage.was() {
                break;
            }
            assert!(after < 20);
        }
    }
}

#[tokio::test]
async fn after_a_rekey_an_old_record_of_the_seal_with_old_shares_opens_nothing() {
    let memory = Arc::new(Memory::default());
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, Vec::new());
    let old = core.initialize(Init { shares: THREE }).await.unwrap().shares;
    for share in &old[..2] {
        core.unseal(share.clone()).await.unwrap();
    }
    let record = memory.get(Stored::PATH).await.unwrap();
    let wanted = NewKey { shares: Shares { shares: 1, threshold: 1 }, verify: false };
    let new = replace(&core, Place::Rotation(Which::Unseal), wanted, &old).await;
    assert_eq!(new.len(), 1);
    // What is written from now on has a key of its own: an old keyring, which old shares still open, has it not.
    assert_eq!(core.open().unwrap().barrier.key_status().term, 2);
    memory.commit(Batch { conditions: Vec::new(), writes: vec![(Stored::PATH.to_owned(), record)] }).await.unwrap();
    assert!(!opens(&memory, &old).await);
}

#[tokio::test]
async fn without_a_recovery_key_nobody_agrees_until_one_is_made() {
    let seal = DataKey::generate().unwrap();
    let seals: Vec<Arc<dyn AutoSeal>> = vec![Arc::new(Fixed::new("1".to_owned(), seal.clone()))];
    let memory = Arc::new(Memory::default());
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals);
    let made = core.initialize(Init { shares: Shares { shares: 0, threshold: 0 } }).await.unwrap();
    assert!(made.shares.is_empty());
    let wanted = NewKey { shares: THREE, verify: false };
    for place in [Place::Rekey(Which::Recovery), Place::Rekey(Which::Unseal), Place::Rotation(Which::Unseal)] {
        let error = core.begin_rekey(place, wanted).await.err().unwrap();
        assert!(error.to_string().contains("no recovery key"), "{place:?}: {error}");
    }
    assert!(core.begin_root(None).await.is_err());
    let made = core.begin_rekey(Place::Rotation(Which::Recovery), wanted).await.unwrap().unwrap();
    assert!(makes_root(&memory, &seal, &made.shares).await);
    // From now on people have to agree.
    assert!(core.begin_rekey(Place::Rotation(Which::Recovery), wanted).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_under_way_ends_with_sealing() {
    let memory = Arc::new(Memory::default());
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, Vec::new());
    let shares = core.initialize(Init { shares: THREE }).await.unwrap().shares;
    let unseal = || async {
        core.unseal(shares[0].clone()).await.unwrap();
        assert_eq!(core.unseal(shares[1].clone()).await.unwrap(), Attempt::Open);
    };
    unseal().await;
    let nonce = core.begin_root(None).await.unwrap().nonce.unwrap();
    core.give_root_share(shares[0].clone(), &nonce).await.unwrap();
    core.seal().await;
    assert!(core.root_status().await.is_err());
    unseal().await;
    assert!(core.root_status().await.unwrap().nonce.is_none());
    assert!(core.give_root_share(shares[1].clone(), &nonce).await.is_err());
}

/// Writes other shares into the seal's record, as somebody does who writes the storage.
async fn forge(memory: &Memory, shares: Shares) {
    let record = memory.get(Stored::PATH).await.unwrap().unwrap();
    let stored = Stored { shares, ..serde_json::from_slice(&record).unwrap() };
    let writes = vec![(Stored::PATH.to_owned(), Some(serde_json::to_vec(&stored).unwrap()))];
    memory.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
}

#[tokio::test]
async fn how_many_have_to_agree_is_not_what_somebody_writes_into_the_storage() {
    let seal = DataKey::generate().unwrap();
    let seals = || -> Vec<Arc<dyn AutoSeal>> { vec![Arc::new(Fixed::new("1".to_owned(), seal.clone()))] };
    let memory = Arc::new(Memory::default());
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals());
    let made = core.initialize(Init { shares: THREE }).await.unwrap();
    for forged in [Shares { shares: 0, threshold: 0 }, Shares { shares: 1, threshold: 1 }] {
        forge(&memory, forged).await;
        let later = server(Arc::clone(&memory) as Arc<dyn Storage>, seals());
        assert!(later.unseal_by_itself().await.unwrap(), "whoever only reads secrets goes on");
        for core in [&core, &later] {
            for place in
                [Place::Rotation(Which::Recovery), Place::Rekey(Which::Recovery), Place::Rotation(Which::Unseal)]
            {
                let wanted = NewKey { shares: Shares { shares: 1, threshold: 1 }, verify: false };
                let error = core.begin_rekey(place, wanted).await.err().unwrap();
                assert!(error.to_string().contains("another number of shares"), "{place:?}: {error}");
            }
            assert!(core.begin_root(None).await.is_err());
            assert!(core.rotate_root_key().await.is_err());
        }
    }
    forge(&memory, THREE).await;
    assert!(makes_root(&memory, &seal, &made.shares).await);
}

#[tokio::test]
async fn a_new_key_says_how_it_is_shared_where_nobody_else_does() {
    let memory = Arc::new(Memory::default());
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, Vec::new());
    let old = core.initialize(Init { shares: THREE }).await.unwrap().shares;
    for share in &old[..2] {
        core.unseal(share.clone()).await.unwrap();
    }
    assert_eq!(core.open().unwrap().barrier.shares(), Some(THREE));
    let wanted = NewKey { shares: Shares { shares: 1, threshold: 1 }, verify: false };
    replace(&core, Place::Rotation(Which::Unseal), wanted, &old).await;
    assert_eq!(core.open().unwrap().barrier.shares(), Some(wanted.shares));
    assert_eq!(core.rekey_status(Place::Rotation(Which::Unseal)).await.unwrap().required, 1);
}

#[tokio::test]
async fn a_keyring_that_does_not_say_it_yet_takes_it_from_the_record_once() {
    let seal = DataKey::generate().unwrap();
    let seals = || -> Vec<Arc<dyn AutoSeal>> { vec![Arc::new(Fixed::new("1".to_owned(), seal.clone()))] };
    let memory = Arc::new(Memory::default());
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals());
    let made = core.initialize(Init { shares: THREE }).await.unwrap();
    // As the version before wrote it.
    let (root_key, associated) = (core.open().unwrap().barrier.root_key(), b"bulla keyring 1");
    core.end().await;
    let record = memory.get(crate::barrier::KEYRING).await.unwrap().unwrap();
    let mut plain = bulla_kms::gcm::open(root_key.expose(), associated, &record).unwrap().expose().to_vec();
    assert_eq!((plain[0], plain.split_off(plain.len() - 3)), (2, vec![1, 3, 2]));
    plain[0] = 1;
    let record = bulla_kms::gcm::seal(root_key.expose(), associated, &SecretBytes::from(plain)).unwrap();
    let writes = vec![(crate::barrier::KEYRING.to_owned(), Some(record))];
    memory.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals());
    assert!(core.unseal_by_itself().await.unwrap());
    assert_eq!(core.open().unwrap().barrier.shares(), Some(THREE));
    forge(&memory, Shares { shares: 0, threshold: 0 }).await;
    let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals());
    assert!(core.unseal_by_itself().await.unwrap());
    let wanted = NewKey { shares: THREE, verify: false };
    assert!(core.begin_rekey(Place::Rotation(Which::Recovery), wanted).await.is_err());
    forge(&memory, THREE).await;
    assert!(makes_root(&memory, &seal, &made.shares).await);
}
