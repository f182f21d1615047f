//! A beginning that fails is no end.

use std::sync::atomic::Ordering;

use super::*;
use crate::core::faulty::{FAULTS, Faulty, audit_file, options, server};
use crate::core::{Core, Init, Options};
use crate::seal::fixed::Fixed;
use crate::seal::{AutoSeal, Shares, Stored};
use crate::storage::Memory;

const NOBODY: Init = Init { shares: Shares { shares: 0, threshold: 0 } };

fn seals() -> Vec<Arc<dyn AutoSeal>> {
    let key = DataKey::from_bytes(bulla_core::SecretBytes::from(vec![7; DataKey::LEN])).unwrap();
    vec![Arc::new(Fixed::new("1".to_owned(), key))]
}

fn audited(storage: &Arc<dyn Storage>, path: &std::path::Path) -> Arc<Core> {
    let options = Options { audit: vec![audit_file(path)], ..options() };
    Core::new(Arc::clone(storage), seals(), options)
}

#[tokio::test]
async fn an_audit_file_that_cannot_be_made_spoils_no_storage() {
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(Memory::default());
    let missing = folder.path().join("none/audit.log");
    for _ in 0..2 {
        let core = audited(&storage, &missing);
        let error = core.initialize(NOBODY).await.err().unwrap();
        assert!(error.to_string().contains("audit device f/"), "{error}");
        assert!(!core.is_initialized().await.unwrap());
    }
    let core = audited(&storage, &folder.path().join("audit.log"));
    core.initialize(NOBODY).await.unwrap();
    assert!(!core.is_sealed() && storage.get(BEGUN).await.unwrap().is_none());
    let core = audited(&storage, &folder.path().join("audit.log"));
    assert!(core.unseal_by_itself().await.unwrap());
}

#[tokio::test]
async fn an_initialization_that_ended_at_any_write_is_begun_again() {
    for fault in FAULTS {
        for after in 0.. {
            let memory = Arc::new(Memory::default());
            let faulty = Faulty::new(&memory, fault, after);
            faulty.armed.store(true, Ordering::SeqCst);
            let first = server(Arc::clone(&faulty) as Arc<dyn Storage>, seals());
            let made = first.initialize(NOBODY).await;
            let (was, done) = (faulty.was(), made.is_ok());
            drop(first);
            let storage = Arc::clone(&memory) as Arc<dyn Storage>;
            let core = server(Arc::clone(&storage), seals());
            if !core.is_initialized().await.unwrap() {
                assert!(!done, "{fault:?} {after}");
                let made = core.initialize(NOBODY).await.unwrap();
                assert!(core.open().unwrap().tokens.find(&made.root_token).await.unwrap().is_some());
            }
            // One that was killed while it deleted is no worse.
            assert!(core.open().is_ok() || core.unseal_by_itself().await.unwrap(), "{fault:?} {after}");
            assert!(storage.get(BEGUN).await.unwrap().is_none());
            if !was {
                break;
            }
        }
    }
}

#[tokio::test]
async fn one_that_is_killed_while_it_clears_is_begun_again() {
    for after in 0.. {
        let memory = Arc::new(Memory::default());
        let begun = Faulty::new(&memory, crate::core::faulty::Fault::DeadBefore, 6);
        begun.armed.store(true, Ordering::SeqCst);
        assert!(server(begun as Arc<dyn Storage>, seals()).initialize(NOBODY).await.is_err());
        let clearing = Faulty::new(&memory, crate::core::faulty::Fault::DeadAfter, after);
        clearing.armed.store(true, Ordering::SeqCst);
        let _ = server(Arc::clone(&clearing) as Arc<dyn Storage>, seals()).initialize(NOBODY).await;
        let core = server(Arc::clone(&memory) as Arc<dyn Storage>, seals());
        if !core.is_initialized().await.unwrap() {
            core.initialize(NOBODY).await.unwrap();
        }
        if !clearing.was() {
            break;
        }
    }
}

#[tokio::test]
async fn a_storage_that_lost_its_seal_s_record_is_not_emptied() {
    let storage: Arc<dyn Storage> = Arc::new(Memory::default());
    server(Arc::clone(&storage), seals()).initialize(NOBODY).await.unwrap();
    let lost = Batch { conditions: Vec::new(), writes: vec![(Stored::PATH.to_owned(), None)] };
    storage.commit(lost).await.unwrap();
    let error = server(Arc::clone(&storage), seals()).initialize(NOBODY).await.err().unwrap();
    assert!(error.status == 400 && error.to_string().contains("lost"), "{error}");
    assert!(storage.get(KEYRING).await.unwrap().is_some());
}
