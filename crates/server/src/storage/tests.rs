//! Every backend keeps the same promises.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn put(key: &str, value: &str) -> Batch {
    Batch { conditions: Vec::new(), writes: vec![(key.to_owned(), Some(value.as_bytes().to_vec()))] }
}

fn each() -> Vec<(Arc<dyn Storage>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(&folder.path().join("db")).unwrap();
    vec![(Arc::new(Memory::default()), None), (Arc::new(embedded), Some(folder))]
}

#[tokio::test]
async fn what_is_put_is_there_and_lists_in_pages() {
    for (storage, _folder) in each() {
        for key in ["a/1", "a/2", "a/b/1", "a/b/2", "a/b0", "a", "ab", "a/\u{e9}"] {
            storage.commit(put(key, key)).await.unwrap();
        }
        assert_eq!(storage.get("a/b/1").await.unwrap().unwrap(), b"a/b/1");
        assert_eq!(storage.get("a/b").await.unwrap(), None);
        assert_eq!(storage.list("a/", "", 0).await.unwrap(), ["1", "2", "b/", "b0", "\u{e9}"]);
        assert_eq!(storage.list("a/", "1", 2).await.unwrap(), ["2", "b/"]);
        assert_eq!(storage.list("a/", "b/", 2).await.unwrap(), ["b0", "\u{e9}"]);
        assert_eq!(storage.list("", "", 0).await.unwrap(), ["a", "a/", "ab"]);
        assert!(storage.list("none/", "", 0).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_batch_whose_conditions_do_not_hold_leaves_nothing() {
    for (storage, _folder) in each() {
        storage.commit(put("k", "1")).await.unwrap();
        let mut batch = put("other", "x");
        batch.conditions = vec![("k".to_owned(), Some(b"2".to_vec()))];
        assert!(matches!(storage.commit(batch).await, Err(StorageError::Conflict)));
        assert_eq!(storage.get("other").await.unwrap(), None);
        let mut batch = put("k", "2");
        batch.conditions = vec![("k".to_owned(), Some(b"1".to_vec())), ("none".to_owned(), None)];
        storage.commit(batch).await.unwrap();
        assert_eq!(storage.get("k").await.unwrap().unwrap(), b"2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_saw_the_same_value_one_may_write() {
    for (storage, _folder) in each() {
        storage.commit(put("n", "0")).await.unwrap();
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let storage = Arc::clone(&storage);
                tokio::spawn(async move {
                    loop {
                        let seen = storage.get("n").await.unwrap().unwrap();
                        let next = String::from_utf8(seen.clone()).unwrap().parse::<u32>().unwrap() + 1;
                        let mut batch = put("n", &next.to_string());
                        batch.conditions = vec![("n".to_owned(), Some(seen))];
                        match storage.commit(batch).await {
                            Ok(()) => break,
                            Err(StorageError::Conflict) => tokio::task::yield_now().await,
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(storage.get("n").await.unwrap().unwrap(), b"16");
    }
}

#[tokio::test]
async fn entries_past_the_limits_are_refused() {
    for (storage, _folder) in each() {
        let large = Batch { conditions: Vec::new(), writes: vec![("k".to_owned(), Some(vec![0; MAX_VALUE + 1]))] };
        assert!(matches!(storage.commit(large).await, Err(StorageError::TooLarge { what: "value", .. })));
        assert!(storage.commit(put(&"k".repeat(MAX_KEY + 1), "")).await.is_err());
    }
}

#[tokio::test]
async fn a_file_that_is_open_is_not_opened_twice_and_keeps_its_entries() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let first = Embedded::open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    first.commit(put("k", "v")).await.unwrap();
    let error = Embedded::open(&path).err().unwrap().to_string();
    assert!(error.contains("already open"), "{error}");
    drop(first);
    // Its thread lets go of the file a moment later.
    let again = loop {
        if let Ok(again) = Embedded::open(&path) {
            break again;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert_eq!(again.get("k").await.unwrap().unwrap(), b"v");
}

/// What `list` should say, by looking at all keys.
fn model(keys: &BTreeSet<String>, prefix: &str, after: &str, limit: usize) -> Vec<String> {
    let names: BTreeSet<&str> = keys.iter().filter_map(|key| child(prefix, key)).collect();
    let names = names.into_iter().filter(|name| !name.is_empty() && *name > after).map(str::to_owned);
    names.take(if limit == 0 { usize::MAX } else { limit }).collect()
}

proptest! {
    #[test]
    fn listing_is_what_looking_at_all_keys_says(
        keys in prop::collection::btree_set("[ab/0]{1,6}", 0..20),
        limit in 0_usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for (storage, _folder) in each() {
                let writes = keys.iter().map(|key| (key.clone(), Some(Vec::new()))).collect();
                storage.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
                for prefix in ["", "a/", "a/b/", "//"] {
                    for after in ["", "a", "a/", "b"] {
                        let listed = storage.list(prefix, after, limit).await.unwrap();
                        assert_eq!(listed, model(&keys, prefix, after, limit), "{prefix:?} {after:?} {keys:?}");
                    }
                }
            }
        });
    }
}
