//! Copies between real storages, stopped anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use bulla_test_support::postgres::Postgres as Database;

use super::*;
use crate::storage::{Embedded, Memory, Storage, postgres};

async fn filled(storage: &dyn Storage, number: usize) {
    let writes = (0..number).map(|at| {
        // Keys on both sides of the marker, and values of all sizes.
        let value: Vec<u8> = (0..at * 7 % 3000).map(|byte| u8::try_from(byte % 256).unwrap()).collect();
        (format!("{}/{at:05}", ["core/m", "auth", "logical/x/y", "core/migration"][at % 4]), Some(value))
    });
    storage.commit(Batch { conditions: Vec::new(), writes: writes.collect() }).await.unwrap();
}

async fn all(storage: &dyn Scan) -> Vec<Entry> {
    let (mut walk, mut entries) = (Walk::new(storage), Vec::new());
    while let Some(entry) = walk.next().await.unwrap() {
        entries.push(entry);
    }
    entries
}

async fn migrate(source: &dyn Scan, destination: &dyn Scan, start: Option<&str>) -> Result<Summary, MigrateError> {
    run(source, destination, start, &|_| ()).await
}

#[tokio::test]
async fn there_and_back_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (from, back) =
        (Embedded::open(&folder.path().join("a")).unwrap(), Embedded::open(&folder.path().join("b")).unwrap());
    filled(&from, 2 * STEP + 10).await;
    let database = Database::shared();
    let between = postgres::tests::open(&database, &postgres::tests::unused_table()).await;
    let there = migrate(&from, &between, None).await.unwrap();
    assert_eq!((there.entries, there.copied), (2 * STEP as u64 + 10, 2 * STEP as u64 + 10));
    assert_eq!(migrate(&between, &back, None).await.unwrap(), there);
    assert_eq!(all(&back).await, all(&from).await);
    assert_eq!(between.get(MARKER).await.unwrap(), None);
    check_complete(&back).await.unwrap();
}

/// Fails from a commit on, and may do that one all the same.
struct Dying {
    inner: Memory,
    commits: AtomicUsize,
    is_done: bool,
}

#[async_trait]
impl Storage for Dying {
    fn kind(&self) -> &'static str {
        "dying"
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.alive()?;
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StorageError> {
        self.inner.list(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        self.alive()?;
        if self.commits.fetch_sub(1, Relaxed) > 1 || self.is_done {
            self.inner.commit(batch).await?;
        }
        self.alive()
    }
}

#[async_trait]
impl Scan for Dying {
    async fn scan(&self, from: &str, limit: usize) -> Result<Vec<Entry>, StorageError> {
        self.alive()?;
        self.inner.scan(from, limit).await
    }
}

impl Dying {
    fn alive(&self) -> Result<(), StorageError> {
        if self.commits.load(Relaxed) > 0 { Ok(()) } else { Err(StorageError::Unknown("gone".to_owned())) }
    }
}

#[tokio::test]
async fn one_that_was_stopped_goes_on_where_it_was() {
    let source = Memory::default();
    filled(&source, 3 * STEP + 10).await;
    // Four steps, and the marker's end.
    for commits in 1..=5 {
        for is_done in [false, true] {
            let dying = Dying { inner: Memory::default(), commits: AtomicUsize::new(commits), is_done };
            assert!(migrate(&source, &dying, None).await.is_err());
            let destination = dying.inner;
            let marker = destination.get(MARKER).await.unwrap();
            let is_over = (commits, is_done) == (5, true);
            assert_eq!(marker.is_some(), (commits > 1 || is_done) && !is_over);
            assert_eq!(check_complete(&destination).await.is_err(), marker.is_some());
            let Some(marker) = marker else { continue };
            let start = String::from_utf8(marker).unwrap();
            match migrate(&source, &destination, None).await {
                Err(MigrateError::NotEmpty { unfinished: Some(at) }) => assert_eq!(at, start),
                other => panic!("{other:?}"),
            }
            let done = migrate(&source, &destination, Some(&start)).await.unwrap();
            assert_eq!(done.entries, 3 * STEP as u64 + 10);
            assert!(done.copied <= done.entries - (commits as u64 - 1).min(3) * STEP as u64 + 1);
            assert_eq!(all(&destination).await, all(&source).await);
            assert_eq!(destination.get(MARKER).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn what_is_not_the_same_migration_is_not_gone_on_with() {
    let source = Memory::default();
    filled(&source, 20).await;
    let entries = all(&source).await;
    let start = entries[10].0.clone();
    let set = |key: &str, value: Option<&[u8]>| vec![(key.to_owned(), value.map(<[u8]>::to_vec))];
    let cases = [
        (set(&entries[3].0, Some(b"other")), "has another value"),
        (set(&entries[3].0, None), "is missing"),
        (set("core/more", Some(b"x")), "is not in the source"),
        (set("zzz", Some(b"x")), "is not in the source"),
        (set(MARKER, None), "is not there"),
    ];
    for (change, expected) in cases {
        let destination = Memory::default();
        let mut writes: Vec<_> = entries[..=10].iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        writes.push((MARKER.to_owned(), Some(start.clone().into_bytes())));
        writes.extend(change);
        destination.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
        let before = all(&destination).await;
        let error = migrate(&source, &destination, Some(&start)).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(all(&destination).await, before);
    }
    let other = Memory::default();
    filled(&other, 1).await;
    assert!(matches!(migrate(&source, &other, None).await, Err(MigrateError::NotEmpty { unfinished: None })));
    // Nothing is before the start that is not there.
    assert!(migrate(&source, &Memory::default(), Some(&start)).await.is_err());
}

#[tokio::test]
async fn half_a_storage_is_neither_served_nor_copied() {
    let half = Memory::default();
    half.commit(Batch { conditions: Vec::new(), writes: vec![(MARKER.to_owned(), Some(b"k".to_vec()))] })
        .await
        .unwrap();
    assert!(check_complete(&half).await.unwrap_err().to_string().contains("has not ended"));
    assert!(matches!(migrate(&half, &Memory::default(), None).await, Err(MigrateError::SourceUnfinished)));
}

#[tokio::test]
async fn a_source_without_anything_is_not_copied() {
    let destination = Memory::default();
    assert!(matches!(migrate(&Memory::default(), &destination, None).await, Err(MigrateError::SourceEmpty)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    assert!(Embedded::open_existing(&path).is_err() && !path.exists());
    drop(redb::Database::create(&path).unwrap());
    assert!(Embedded::open_existing(&path).is_err());
    let tables = redb::ReadableDatabase::begin_read(&redb::Database::open(&path).unwrap()).unwrap();
    assert_eq!(tables.list_tables().unwrap().count(), 0);
}

#[tokio::test]
async fn a_key_is_shown_without_what_a_terminal_does() {
    let error = MigrateError::Another { key: "a\u{1b}[2Jb\n".to_owned(), what: "is missing" }.to_string();
    assert!(error.contains(r"a\u{1b}[2Jb\n is missing"), "{error}");
}

/// Changes a byte of what it is given.
struct Careless(Arc<Memory>);

#[async_trait]
impl Storage for Careless {
    fn kind(&self) -> &'static str {
        "careless"
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.0.get(key).await
    }

    async fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<String>, StorageError> {
        self.0.list(prefix, after, limit).await
    }

    async fn commit(&self, mut batch: Batch) -> Result<(), StorageError> {
        if let Some(byte) =
            batch.writes.iter_mut().filter(|(key, _)| key != MARKER).find_map(|(_, value)| value.as_mut()?.first_mut())
        {
            *byte ^= 1;
        }
        self.0.commit(batch).await
    }
}

#[async_trait]
impl Scan for Careless {
    async fn scan(&self, from: &str, limit: usize) -> Result<Vec<Entry>, StorageError> {
        self.0.scan(from, limit).await
    }
}

#[tokio::test]
async fn what_is_written_wrong_is_noticed_and_not_served() {
    let source = Memory::default();
    filled(&source, 20).await;
    let kept = Arc::new(Memory::default());
    let error = migrate(&source, &Careless(Arc::clone(&kept)), None).await.unwrap_err();
    assert!(matches!(error, MigrateError::Mismatch), "{error}");
    assert!(check_complete(kept.as_ref()).await.is_err());
}
