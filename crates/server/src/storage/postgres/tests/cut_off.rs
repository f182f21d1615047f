//! The line to the database is cut: nothing comes through, and nobody is told. The database lives on.

use super::*;

/// Times of a test: what hangs is given up soon.
const TIMES: Times = Times { connect: Duration::from_secs(1), statement: Duration::from_secs(1), ..QUICK };

async fn open_over(database: &Database, times: Times) -> Result<Postgres, StorageError> {
    let settings = Settings { plaintext: Plaintext::Anywhere, ..settings(&database.url_over_the_line(), "t") };
    Postgres::open_within(&settings, times).await
}

#[tokio::test]
async fn what_is_asked_while_the_line_is_cut_is_answered_when_it_is_mended() {
    let database = Database::start_behind_a_line();
    let storage = open_over(&database, TIMES).await.unwrap();
    storage.commit(put("k", "0")).await.unwrap();
    for round in 1..=3 {
        database.namespace().cut();
        let started = Instant::now();
        let (key, value) = (format!("k{round}"), round.to_string());
        let asked = async {
            let (read, written) = tokio::join!(storage.get("k"), storage.commit(put(&key, &value)));
            assert_eq!(read.unwrap().unwrap(), b"0");
            written.unwrap();
        };
        let mended = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            database.namespace().mend();
        };
        tokio::join!(asked, mended);
        assert!(started.elapsed() >= Duration::from_secs(3), "it was not cut");
        assert_eq!(storage.get(&key).await.unwrap().unwrap(), value.as_bytes());
        // Once: the number of commits says how many there were.
        let commits: u64 = database.query("SELECT commit FROM t_server").parse().unwrap();
        assert_eq!(commits, round + 1);
    }
}

#[tokio::test]
async fn a_line_that_stays_cut_is_an_error_in_time_and_nothing_comes_late() {
    let database = Database::start_behind_a_line();
    let times = Times { total: Duration::from_secs(3), ..TIMES };
    let storage = open_over(&database, times).await.unwrap();
    storage.commit(put("k", "0")).await.unwrap();
    database.namespace().cut();
    let started = Instant::now();
    assert!(storage.get("k").await.is_err());
    // It was on its way when the line was cut, for all that is known here: so it says.
    let error = storage.commit(put("k", "1")).await.unwrap_err();
    assert!(matches!(error, StorageError::Unknown(_) | StorageError::Backend { action: "write", .. }), "{error}");
    assert!(started.elapsed() < times.total * 4, "{:?}", started.elapsed());
    database.namespace().mend();
    // What the system had sent may arrive now. Then what this process knows is older, and it ends; a new one has what there is.
    let is_older = |error: StorageError| error.to_string().contains("start again");
    let mut storage = storage;
    until(async || storage.get("k").await.map_or_else(is_older, |_| true)).await;
    tokio::time::sleep(times.statement * 2).await;
    if storage.get("k").await.is_err_and(is_older) {
        drop(storage);
        storage = loop {
            if let Ok(storage) = open_over(&database, times).await {
                break storage;
            }
        };
        assert_eq!(storage.get("k").await.unwrap().unwrap(), b"1");
    }
    let found = storage.get("k").await.unwrap().unwrap();
    assert!(found == b"0" || found == b"1");
    until(async || storage.commit(put("k", "2")).await.is_ok()).await;
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"2");
}

#[tokio::test]
async fn a_server_that_is_cut_off_is_fenced_by_the_one_that_takes_over() {
    let database = Database::start_behind_a_line();
    let first = open_over(&database, TIMES).await.unwrap();
    first.commit(put("k", "first")).await.unwrap();
    database.namespace().cut();
    // For the database the first is still there.
    let refused = open_quick(&database, "t").await.err().unwrap().to_string();
    assert!(refused.contains("one server at a time"), "{refused}");
    // Whoever looks after it clears connections that nobody answers on.
    database.query("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE client_addr IS NOT NULL");
    let second = loop {
        if let Ok(second) = open_quick(&database, "t").await {
            break second;
        }
    };
    second.commit(put("k", "second")).await.unwrap();
    database.namespace().mend();
    // It neither writes nor reads what is old, and learns why.
    let late = first.commit(put("k", "late")).await.unwrap_err();
    until(async || match first.get("k").await {
        Err(StorageError::Fenced) => true,
        Err(_) => false,
        Ok(read) => panic!("it read {read:?}"),
    })
    .await;
    assert!(matches!(first.lost().await, StorageError::Fenced), "{late}");
    assert!(matches!(first.commit(put("k", "later")).await, Err(StorageError::Fenced)));
    assert_eq!(second.get("k").await.unwrap().unwrap(), b"second");
}
