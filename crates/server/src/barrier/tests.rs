//! What is in storage says nothing, and what was changed there does not open.

use std::collections::BTreeMap;

use super::*;
use crate::storage::Memory;

async fn open() -> (Arc<Memory>, Arc<Barrier>, DataKey) {
    let storage = Arc::new(Memory::default());
    let root = DataKey::generate().unwrap();
    let barrier = Barrier::initialize(Arc::clone(&storage) as Arc<dyn Storage>, root.clone()).await.unwrap();
    (storage, Arc::new(barrier), root)
}

/// Everything in storage, folders included.
async fn all(storage: &Memory) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        for name in storage.list(&folder, "", 0).await.unwrap() {
            let path = format!("{folder}{name}");
            if name.ends_with('/') {
                folders.push(path);
            } else {
                found.insert(path.clone(), storage.get(&path).await.unwrap().unwrap());
            }
        }
    }
    found
}

#[tokio::test]
async fn neither_values_nor_hidden_names_can_be_read_in_storage() {
    let (storage, barrier, _) = open().await;
    let view = View::hidden(&barrier, "logical/1/");
    view.put("team/database/password", b"correct horse").await.unwrap();
    assert_eq!(view.get("team/database/password").await.unwrap().unwrap().as_slice(), b"correct horse");
    for (path, record) in all(&storage).await {
        for word in ["team", "database", "password", "horse"] {
            assert!(!path.contains(word), "{path}");
            assert!(!record.windows(word.len()).any(|window| window == word.as_bytes()), "{path}");
        }
    }
}

#[tokio::test]
async fn hidden_folders_list_sorted_and_in_pages() {
    let (_, barrier, _) = open().await;
    let view = View::hidden(&barrier, "v/");
    for key in ["b", "a/1", "a/2", "c/d/e", "a", "", "x//y"] {
        view.put(key, key.as_bytes()).await.unwrap();
    }
    assert_eq!(view.list("", "", 0).await.unwrap(), ["a", "a/", "b", "c/", "x/"]);
    assert_eq!(view.list("", "a", 2).await.unwrap(), ["a/", "b"]);
    assert_eq!(view.list("a/", "", 0).await.unwrap(), ["1", "2"]);
    assert_eq!(view.list("c/d/", "", 0).await.unwrap(), ["e"]);
    let below = view.below("a/").unwrap();
    assert_eq!(below.get("2").await.unwrap().unwrap().as_slice(), b"a/2");
    view.delete_all("a/").await.unwrap();
    assert_eq!(view.list("", "", 0).await.unwrap(), ["a", "b", "c/", "x/"]);
    view.delete_all("").await.unwrap();
    assert_eq!(view.list("", "", 0).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_record_that_was_changed_or_moved_does_not_open() {
    let (storage, barrier, _) = open().await;
    let view = View::plain(&barrier, "v/");
    view.put("a", b"one").await.unwrap();
    view.put("b", b"two").await.unwrap();
    let record = storage.get("v/a").await.unwrap().unwrap();
    let write = |value: Vec<u8>| Batch { conditions: Vec::new(), writes: vec![("v/b".to_owned(), Some(value))] };
    for at in 0..record.len() {
        let mut changed = storage.get("v/b").await.unwrap().unwrap();
        let before = changed.clone();
        changed[at] ^= 1;
        storage.commit(write(changed)).await.unwrap();
        assert!(matches!(view.get("b").await, Err(BarrierError::Damaged { .. })), "{at}");
        storage.commit(write(before[..at].to_vec())).await.unwrap();
        assert!(view.get("b").await.is_err());
        storage.commit(write(before)).await.unwrap();
    }
    storage.commit(write(record)).await.unwrap();
    let error = view.get("b").await.unwrap_err().to_string();
    assert!(error.contains("belongs elsewhere"), "{error}");
    let hidden = View::hidden(&barrier, "h/");
    hidden.put("x/y", b"").await.unwrap();
    let names = storage.list("h/", "", 0).await.unwrap();
    let moved = format!("h2/{}", names[0].trim_end_matches('/'));
    storage.commit(Batch { conditions: Vec::new(), writes: vec![(moved, Some(vec![]))] }).await.unwrap();
    assert!(View::hidden(&barrier, "h2/").list("", "", 0).await.is_err());
}

#[tokio::test]
async fn after_a_rotation_old_records_open_and_new_ones_have_the_new_term() {
    let (storage, barrier, root) = open().await;
    let view = View::plain(&barrier, "v/");
    view.put("old", b"1").await.unwrap();
    barrier.rotate().await.unwrap();
    view.put("new", b"2").await.unwrap();
    assert_eq!(storage.get("v/old").await.unwrap().unwrap()[..5], [1, 0, 0, 0, 1]);
    assert_eq!(storage.get("v/new").await.unwrap().unwrap()[..5], [1, 0, 0, 0, 2]);
    assert_eq!(barrier.key_status().term, 2);
    assert_eq!(barrier.key_status().encryptions, 1);
    barrier.note_encryptions().await.unwrap();
    drop(view);
    drop(barrier);
    let storage: Arc<dyn Storage> = storage;
    let barrier = Arc::new(Barrier::open(Arc::clone(&storage), root.clone()).await.unwrap());
    assert_eq!(barrier.key_status().encryptions, 1);
    let view = View::plain(&barrier, "v/");
    assert_eq!(view.get("old").await.unwrap().unwrap().as_slice(), b"1");
    assert_eq!(view.get("new").await.unwrap().unwrap().as_slice(), b"2");
    let other = DataKey::generate().unwrap();
    barrier.replace_root_key(&other, Shares { shares: 3, threshold: 2 }, Batch::default()).await.unwrap();
    assert!(matches!(Barrier::open(Arc::clone(&storage), root).await, Err(BarrierError::Keyring(_))));
    let barrier = Barrier::open(storage, other).await.unwrap();
    assert_eq!(barrier.shares(), Some(Shares { shares: 3, threshold: 2 }));
}

#[tokio::test]
async fn a_storage_is_initialized_once() {
    let (storage, _, _) = open().await;
    let again = Barrier::initialize(storage, DataKey::generate().unwrap()).await;
    assert!(again.err().unwrap().is_conflict());
}

#[tokio::test]
async fn a_transaction_sees_its_own_writes_and_loses_to_one_that_was_first() {
    let (_, barrier, _) = open().await;
    let view = View::hidden(&barrier, "v/");
    view.write("n", &1).await.unwrap();
    let (mut first, mut second) = (view.begin(), view.begin());
    for transaction in [&mut first, &mut second] {
        let n: u32 = transaction.read(&view, "n").await.unwrap().unwrap();
        assert!(transaction.get(&view, "other").await.unwrap().is_none());
        transaction.write(&view, "n", &(n + 1)).unwrap();
        assert_eq!(transaction.read::<u32>(&view, "n").await.unwrap(), Some(2));
    }
    first.commit().await.unwrap();
    assert!(second.commit().await.unwrap_err().is_conflict());
    assert_eq!(view.read::<u32>("n").await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_name_that_is_too_long_is_refused_before_it_costs_anything() {
    let (_, barrier, _) = open().await;
    let view = View::hidden(&barrier, "v/");
    let started = std::time::Instant::now();
    for path in ["a/".repeat(1 << 19) + "x", "a/".repeat(3000) + "x", "x".repeat(40_000)] {
        let too_large = |result: Result<(), BarrierError>| {
            matches!(result, Err(BarrierError::Storage(StorageError::TooLarge { what: "key", .. })))
        };
        assert!(too_large(view.get(&path).await.map(drop)));
        assert!(too_large(view.list(&(path.clone() + "/"), "", 0).await.map(drop)));
        assert!(too_large(view.put(&path, b"").await));
        assert!(too_large(view.delete(&path).await));
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn two_rotations_at_once_lose_no_term() {
    let (storage, barrier, root) = open().await;
    let rotations = (0..8).map(|_| barrier.rotate());
    for result in futures_util::future::join_all(rotations).await {
        result.unwrap();
    }
    assert_eq!(barrier.key_status().term, 9);
    let view = View::plain(&barrier, "v/");
    view.put("new", b"2").await.unwrap();
    let again = Arc::new(Barrier::open(Arc::clone(&storage) as Arc<dyn Storage>, root.clone()).await.unwrap());
    assert_eq!(View::plain(&again, "v/").get("new").await.unwrap().unwrap().as_slice(), b"2");
    // A keyring that somebody else wrote meanwhile is not written over.
    again.rotate().await.unwrap();
    assert!(barrier.rotate().await.unwrap_err().is_conflict());
    assert!(Barrier::open(storage, root).await.is_ok());
}
