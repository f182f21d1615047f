//! Every backend keeps the same promises.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use bulla_test_support::postgres as database;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

mod frozen;

fn put(key: &str, value: &str) -> Batch {
    Batch { conditions: Vec::new(), writes: vec![(key.to_owned(), Some(value.as_bytes().to_vec()))] }
}

/// An empty one of each, and what it stands on.
async fn each() -> Vec<(Arc<dyn Scan>, Box<dyn Any>)> {
    let folder = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(&folder.path().join("db")).unwrap();
    let server = database::Postgres::shared();
    let postgres = postgres::tests::open(&server, &postgres::tests::unused_table()).await;
    vec![
        (Arc::new(Memory::default()), Box::new(())),
        (Arc::new(embedded), Box::new(folder)),
        (Arc::new(postgres), Box::new(server)),
    ]
}

#[tokio::test]
async fn what_is_put_is_there_and_lists_in_pages() {
    for (storage, _folder) in each().await {
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
    for (storage, _folder) in each().await {
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
    for (storage, _folder) in each().await {
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
    for (storage, _folder) in each().await {
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
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(again.get("k").await.unwrap().unwrap(), b"v");
}

/// What `list` should say, by looking at all keys.
fn model(keys: &BTreeSet<String>, prefix: &str, after: &str, limit: usize) -> Vec<String> {
    let names: BTreeSet<&str> = keys.iter().filter_map(|key| child(prefix, key)).collect();
    let names = names.into_iter().filter(|name| !name.is_empty() && *name > after).map(str::to_owned);
    names.take(if limit == 0 { usize::MAX } else { limit }).collect()
}

#[tokio::test]
async fn going_through_finds_every_entry_once_whatever_it_is_called() {
    for (storage, _folder) in each().await {
        let keys = ["", "/", "a/", "a//b", "a", "a\0", "b", "\u{e9}"];
        for key in keys {
            storage.commit(put(key, key)).await.unwrap();
        }
        let mut found: Vec<Entry> = Vec::new();
        let mut from = String::new();
        loop {
            let page = storage.scan(&from, 3).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            from = format!("{last}\0");
            found.extend(page);
        }
        let expected: BTreeSet<Entry> = keys.iter().map(|key| ((*key).to_owned(), key.as_bytes().to_vec())).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn entries_of_the_largest_size_are_kept() {
    for (storage, _folder) in each().await {
        let key = "k".repeat(2600);
        let value: Vec<u8> = (0..MAX_VALUE).map(|at| u8::try_from(at % 251).unwrap()).collect();
        storage
            .commit(Batch { conditions: Vec::new(), writes: vec![(key.clone(), Some(value.clone()))] })
            .await
            .unwrap();
        assert!(storage.get(&key).await.unwrap().as_ref() == Some(&value));
        // Going through many of them takes them a few at a time.
        let writes = (0..8).map(|at| (format!("l{at}"), Some(value.clone()))).collect();
        storage.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
        let page = storage.scan("l", 100).await.unwrap();
        assert_eq!(page.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["l0", "l1", "l2", "l3"]);
    }
}

#[tokio::test]
async fn of_a_keys_writes_in_one_batch_the_last_counts() {
    for (storage, _folder) in each().await {
        let some = |text: &str| Some(text.as_bytes().to_vec());
        let writes = [("a", some("1")), ("b", some("1")), ("a", None), ("b", None), ("b", some("2"))];
        let writes = writes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        storage.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
        assert_eq!((storage.get("a").await.unwrap(), storage.get("b").await.unwrap()), (None, some("2")));
    }
}

/// Keys and values.
type Pairs = Vec<(String, Option<Vec<u8>>)>;

/// Conditions and writes, of a few keys.
fn steps() -> impl Strategy<Value = Vec<(Pairs, Pairs)>> {
    let pairs = || prop::collection::vec(("[ab/]{1,3}", prop::option::of(prop::collection::vec(0_u8..3, 0..3))), 0..4);
    prop::collection::vec((pairs(), pairs()), 1..12)
}

/// Checks so many of what `strategy` makes, with storages that are emptied for each.
fn for_all<S: Strategy>(cases: u32, strategy: &S, check: &impl AsyncFn(&[Arc<dyn Scan>], &S::Value)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (all, _below): (Vec<_>, Vec<_>) = runtime.block_on(each()).into_iter().unzip();
    let empty = async || {
        for storage in &all {
            let there = storage.scan("", usize::from(u16::MAX)).await.unwrap();
            let writes = there.into_iter().map(|(key, _)| (key, None)).collect();
            storage.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
        }
    };
    let outcome = TestRunner::new(ProptestConfig::with_cases(cases)).run(strategy, |value| {
        runtime.block_on(async {
            empty().await;
            check(&all, &value).await;
        });
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn batches_do_what_they_do_in_memory() {
    for_all(64, &steps(), &async |all, steps| {
        for (conditions, writes) in steps {
            let step = Batch { conditions: conditions.clone(), writes: writes.clone() };
            let expected = all[0].commit(step.clone()).await.is_ok();
            for storage in &all[1..] {
                let done = storage.commit(step.clone()).await;
                assert!(matches!((expected, &done), (true, Ok(())) | (false, Err(StorageError::Conflict))), "{done:?}");
                assert_eq!(storage.scan("", 1000).await.unwrap(), all[0].scan("", 1000).await.unwrap());
            }
        }
    });
}

#[test]
fn batches_that_wait_together_do_what_they_do_one_after_the_other() {
    for_all(128, &steps(), &async |all, steps| {
        let batches = || {
            let copy = |(conditions, writes): &(Pairs, Pairs)| Batch {
                conditions: conditions.clone(),
                writes: writes.clone(),
            };
            steps.iter().map(copy).collect::<Vec<_>>()
        };
        let mut expected = Vec::new();
        for batch in batches() {
            expected.push(all[0].commit(batch).await.is_ok());
        }
        for storage in &all[1..] {
            // They are sent in this order, and written as the storage likes.
            let done = futures_util::future::join_all(batches().into_iter().map(|batch| storage.commit(batch))).await;
            assert!(done.iter().all(|done| matches!(done, Ok(()) | Err(StorageError::Conflict))), "{done:?}");
            assert_eq!(done.iter().map(Result::is_ok).collect::<Vec<_>>(), expected);
            assert_eq!(storage.scan("", 1000).await.unwrap(), all[0].scan("", 1000).await.unwrap());
        }
    });
}

#[test]
fn listing_is_what_looking_at_all_keys_says() {
    let keys = prop::collection::btree_set("[ab/0]{1,6}", 0..20);
    for_all(256, &(keys, 0_usize..4), &async |all, (keys, limit)| {
        for storage in all {
            let writes = keys.iter().map(|key| (key.clone(), Some(Vec::new()))).collect();
            storage.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
            for prefix in ["", "a/", "a/b/", "//"] {
                for after in ["", "a", "a/", "b"] {
                    let listed = storage.list(prefix, after, *limit).await.unwrap();
                    assert_eq!(listed, model(keys, prefix, after, *limit), "{prefix:?} {after:?} {keys:?}");
                }
            }
        }
    });
}
