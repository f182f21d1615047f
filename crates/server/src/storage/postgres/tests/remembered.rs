//! What is remembered is what the database has, and is believed for a moment only.

use super::*;

/// As long as a test needs to see that something is believed, and not. Nothing else asks the database meanwhile.
const TIMES: Times = Times { trust: Duration::from_secs(1), look: Duration::from_mins(1), ..QUICK };

async fn open_within(database: &Database, table: &str, cache: Cache, times: Times) -> Result<Postgres, StorageError> {
    Postgres::open_within(&Settings { cache, ..settings(&database.url(), table) }, times).await
}

/// Somebody writes past the server, which nobody should.
fn change_by_hand(database: &Database, table: &str) {
    database.query(&format!("UPDATE {table} SET value = 'by hand' WHERE key = 'k'"));
}

#[tokio::test]
async fn what_was_written_or_read_is_not_read_again_for_a_moment() {
    let database = Database::shared();
    let table = unused_table();
    let storage = open_within(&database, &table, Cache::Kept, TIMES).await.unwrap();
    storage.commit(put("k", "1")).await.unwrap();
    change_by_hand(&database, &table);
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"1");
    tokio::time::sleep(TIMES.trust).await;
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"by hand");
    // A commit that goes by what is remembered is refused, and then it is read.
    storage.commit(put("k", "2")).await.unwrap();
    change_by_hand(&database, &table);
    let change = Batch { conditions: vec![("k".to_owned(), Some(b"2".to_vec()))], ..put("k", "3") };
    assert!(matches!(storage.commit(change).await, Err(StorageError::Conflict)));
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"by hand");
}

#[tokio::test]
async fn who_wants_nothing_remembered_has_each_entry_read_each_time() {
    let database = Database::shared();
    let table = unused_table();
    let storage = open_within(&database, &table, Cache::Off, TIMES).await.unwrap();
    storage.commit(put("k", "1")).await.unwrap();
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"1");
    change_by_hand(&database, &table);
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"by hand");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_answers_from_memory_what_who_took_over_has_changed() {
    let database = Database::shared();
    let table = unused_table();
    // It does not look after its lock while this is going on.
    let times = Times { pause: Duration::from_mins(1), ..TIMES };
    let url = format!("{} application_name={table}", database.url());
    let first = Settings { cache: Cache::Kept, ..settings(&url, &table) };
    let first = Postgres::open_within(&first, times).await.unwrap();
    first.commit(put("k", "first")).await.unwrap();
    // Its lock is lost, and it does not know yet.
    let lose = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND application_name = '{table}'"
    );
    first.get("other").await.unwrap();
    assert_eq!(database.query(&lose), "1");
    let second = async {
        let second = loop {
            if let Ok(second) = open_within(&database, &table, Cache::Kept, times).await {
                break second;
            }
        };
        second.commit(put("k", "second")).await.unwrap();
        (Instant::now(), second)
    };
    let reads = async {
        let mut last_old = Instant::now();
        loop {
            let asked = Instant::now();
            match first.get("k").await {
                Ok(value) => assert_eq!(value.unwrap(), b"first"),
                Err(StorageError::Fenced) => break,
                Err(error) => panic!("{error}"),
            }
            last_old = asked;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        last_old
    };
    let ((committed, second), last_old) = tokio::join!(second, reads);
    assert!(last_old < committed, "an old value was given {:?} late", last_old - committed);
    assert_eq!(second.get("k").await.unwrap().unwrap(), b"second");
}
