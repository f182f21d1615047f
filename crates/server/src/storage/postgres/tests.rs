//! A real database, and what can happen to it: ended, killed, hanging, taken over, put back.

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;

use bulla_core::SecretString;
use bulla_test_support::postgres::Postgres as Database;

use super::*;
use crate::storage::{Batch, Storage, StorageError};

mod cut_off;
mod faults;
mod lost;
mod refused;
mod remembered;

/// A name for a table that no other test of this process has.
pub(in crate::storage) fn unused_table() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("t{}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

pub(in crate::storage) fn settings(url: &str, table: &str) -> Settings {
    Settings {
        url: SecretString::from(url),
        table: Table::parse(table).unwrap(),
        connections: 4,
        tables: Tables::Made,
        plaintext: Plaintext::Local,
        // What is tested is the database, mostly.
        cache: Cache::Off,
    }
}

/// Times of a test: what hangs is given up soon, also on a machine that has other things to do.
const QUICK: Times = Times {
    connect: Duration::from_secs(5),
    statement: Duration::from_millis(1500),
    total: Duration::from_secs(30),
    pause: Duration::from_millis(50),
    look: Duration::from_millis(200),
    trust: Duration::from_millis(100),
};

pub(in crate::storage) async fn open(database: &Database, table: &str) -> Postgres {
    Postgres::open(&Settings { cache: Cache::Kept, ..settings(&database.url(), table) }).await.unwrap()
}

async fn open_quick(database: &Database, table: &str) -> Result<Postgres, StorageError> {
    Postgres::open_within(&settings(&database.url(), table), QUICK).await
}

fn put(key: &str, value: &str) -> Batch {
    Batch { conditions: Vec::new(), writes: vec![(key.to_owned(), Some(value.as_bytes().to_vec()))] }
}

#[test]
fn who_asks_is_told_before_the_request_is_given_up() {
    // It reads, writes, and looks whether that was done.
    let longest = Times::default().total * 2 + crate::storage::LOOK_TIME;
    assert!(longest < crate::http::REQUEST_TIME * 3 / 4, "{longest:?}");
}

/// Waits for what will be true.
async fn until(is: impl AsyncFn() -> bool) {
    for _ in 0..1000 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come");
}

#[tokio::test]
async fn a_folder_of_many_entries_is_one_step_of_a_list() {
    let database = Database::shared();
    let table = unused_table();
    let storage = open(&database, &table).await;
    database.query(&format!(
        "INSERT INTO {table} SELECT convert_to('a/b' || f || '/' || n, 'UTF8'), 'v' FROM generate_series(1, 20) f, generate_series(1, 1000) n"
    ));
    assert_eq!(storage.list("a/", "b19/", 2).await.unwrap(), ["b2/", "b20/"]);
    // The same statement, as a session of ours runs it: how many rows it looks at.
    let connector = Connector::new(settings(&database.url(), &table).target().ok().unwrap(), QUICK);
    let session = connector.connect().await.unwrap();
    let literal = |text: &str| format!("convert_to('{text}', 'UTF8')");
    let statement = storage.tenure.names.list();
    let statement = statement.replace("$1", "'a/\\000'").replace("$2", &literal("a0")).replace("$3", "100");
    let statement = statement.replace("$4", &literal("a/"));
    let plan = session.client.query(&format!("EXPLAIN (ANALYZE, TIMING OFF) {statement}"), &[]).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let text = plan.join("\n");
    let scan = plan.iter().find(|line| line.contains(&format!("on {table} e"))).unwrap_or_else(|| panic!("{text}"));
    assert!(scan.contains("Index") && scan.contains("actual rows=1 loops=21"), "{text}");
}

#[tokio::test]
async fn long_lists_come_in_pages_and_are_whole() {
    let database = Database::shared();
    let table = unused_table();
    let storage = open(&database, &table).await;
    let number = PAGE * 2;
    database.query(&format!(
        "INSERT INTO {table} SELECT convert_to('a/' || to_char(n, 'FM00000'), 'UTF8'), 'v' FROM generate_series(1, {number}) n"
    ));
    let names = storage.list("a/", "", 0).await.unwrap();
    assert_eq!(names.len(), number);
    assert!(names.is_sorted());
    assert_eq!(storage.list("a/", "00001", PAGE + 3).await.unwrap(), names[1..PAGE + 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_no_more_connections_than_the_configuration_says() {
    let database = Database::shared();
    let table = unused_table();
    let url = format!("{} application_name={table}", database.url());
    let storage = Arc::new(Postgres::open(&settings(&url, &table)).await.unwrap());
    storage.commit(put("k", "v")).await.unwrap();
    let most = AtomicU64::new(0);
    let work = async {
        let tasks: Vec<_> = (0..64)
            .map(|number| {
                let storage = Arc::clone(&storage);
                tokio::spawn(async move {
                    for _ in 0..20 {
                        storage.get("k").await.unwrap().unwrap();
                        storage.commit(put(&format!("k{number}"), "v")).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    };
    let count = || {
        let query = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{table}'");
        database.query(&query).parse::<u64>().unwrap()
    };
    let watch = async {
        loop {
            most.fetch_max(tokio::task::block_in_place(count), std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! { () = work => {}, () = watch => {} }
    assert_eq!(most.into_inner().max(count()), 4);
}
