//! What is acknowledged is there, what is refused is not, whatever happens to the database and its connections.

use super::*;

/// Ends the connections of a storage of `table` whose last statement begins so, and says how many there were.
fn cut(database: &Database, table: &str, statement: &str) -> String {
    database.query(&format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '{table}' AND query LIKE '{statement}%'"
    ))
}

async fn open_named(database: &Database, table: &str) -> Result<Postgres, StorageError> {
    let url = format!("{} application_name={table}", database.url());
    Postgres::open_within(&settings(&url, table), QUICK).await
}

/// What the lock's connection asks.
const LOCK: &str = "SELECT term, commit, holder";

/// The process that writes for `table`.
fn writer(database: &Database, table: &str) -> u32 {
    let query =
        format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{table}' AND query LIKE 'WITH failed%'");
    database.query(&query).parse().unwrap()
}

#[tokio::test]
async fn a_second_server_is_refused_and_told_who_has_it() {
    let database = Database::shared();
    let table = unused_table();
    let first = open_quick(&database, &table).await.unwrap();
    let error = open_quick(&database, &table).await.err().unwrap().to_string();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for expected in
        [table.as_str(), host.trim(), &format!("process {}", std::process::id()), "since 20", "one server at a time"]
    {
        assert!(error.contains(expected), "{error}");
    }
    first.commit(put("k", "v")).await.unwrap();
    drop(first);
    until(async || open_quick(&database, &table).await.is_ok()).await;
}

#[tokio::test]
async fn a_server_whose_lock_is_taken_reads_and_writes_nothing_more() {
    let database = Database::shared();
    let table = unused_table();
    let first = open_named(&database, &table).await.unwrap();
    first.commit(put("k", "first")).await.unwrap();
    assert_eq!(first.get("k").await.unwrap().unwrap(), b"first");
    // The lock's connection alone. Its server has the others still, and takes the lock again if nobody comes.
    let second = loop {
        cut(&database, &table, LOCK);
        if let Ok(second) = open_quick(&database, &table).await {
            break second;
        }
    };
    assert!(matches!(first.get("k").await, Err(StorageError::Fenced)));
    assert!(matches!(first.commit(put("k", "late")).await, Err(StorageError::Fenced)));
    assert!(matches!(first.list("", "", 0).await, Err(StorageError::Fenced)));
    assert!(matches!(first.lost().await, StorageError::Fenced));
    assert_eq!(second.get("k").await.unwrap().unwrap(), b"first");
    second.commit(put("k", "second")).await.unwrap();
    assert_eq!(second.get("k").await.unwrap().unwrap(), b"second");
}

#[tokio::test]
async fn a_server_that_nobody_asks_notices_that_it_was_fenced() {
    let database = Database::shared();
    let table = unused_table();
    let storage = open_quick(&database, &table).await.unwrap();
    database.query(&format!("UPDATE {table}_server SET term = term + 1"));
    assert!(matches!(storage.lost().await, StorageError::Fenced));
}

#[tokio::test]
async fn the_lock_is_taken_again_after_its_connection_was_cut() {
    let database = Database::shared();
    let table = unused_table();
    let storage = open_named(&database, &table).await.unwrap();
    let holder = || {
        let holder = format!(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = '{table}'::regclass::oid AND granted"
        );
        database.query(&holder)
    };
    let before = holder();
    until(async || cut(&database, &table, LOCK) == "1").await;
    until(async || !["", &before].contains(&holder().as_str())).await;
    assert!(open_quick(&database, &table).await.is_err());
    storage.commit(put("k", "v")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_there_once_however_the_database_ends() {
    let database = Database::start();
    let storage = Arc::new(open_quick(&database, "t").await.unwrap());
    let counters = 4_u32;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let tasks: Vec<_> = (0..counters)
        .map(|number| {
            let (storage, stop) = (Arc::clone(&storage), Arc::clone(&stop));
            tokio::spawn(async move {
                let key = format!("n{number}");
                let mut seen = None;
                let mut done = 0_u64;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    // Nobody else writes this key: a step that is done twice, or late, is a conflict.
                    let mut batch = put(&key, &(done + 1).to_string());
                    batch.conditions = vec![(key.clone(), seen.clone())];
                    storage.commit(batch).await.unwrap();
                    done += 1;
                    seen = Some(done.to_string().into_bytes());
                    assert_eq!(storage.get(&key).await.unwrap(), seen);
                }
                done
            })
        })
        .collect();
    for signal in ["INT", "KILL", "INT", "KILL"] {
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::task::block_in_place(|| {
            database.end(signal);
            database.resume();
        });
    }
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let all = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'bulla'";
        tokio::task::block_in_place(|| database.query(all));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for (number, task) in tasks.into_iter().enumerate() {
        let done = task.await.unwrap();
        assert!(done > 0);
        let found = storage.get(&format!("n{number}")).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), done.to_string());
    }
}

#[tokio::test]
async fn a_commit_that_hangs_is_done_elsewhere_and_cannot_come_late() {
    let database = Database::shared();
    let table = unused_table();
    let storage = open_named(&database, &table).await.unwrap();
    storage.commit(put("k", "0")).await.unwrap();
    let hanging = writer(&database, &table);
    database.signal(hanging, "STOP");
    let done = storage.commit(put("k", "1")).await;
    let then = storage.commit(put("k", "2")).await;
    database.signal(hanging, "CONT");
    done.unwrap();
    then.unwrap();
    // It has the statement still, and does it now.
    let gone = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {hanging}");
    until(async || database.query(&gone) == "0").await;
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"2");
}

#[tokio::test]
async fn a_read_that_hangs_is_asked_elsewhere() {
    let database = Database::shared();
    let table = unused_table();
    let storage = open_named(&database, &table).await.unwrap();
    storage.commit(put("k", "0")).await.unwrap();
    assert!(storage.get("k").await.unwrap().is_some());
    let query =
        format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{table}' AND query LIKE 'SELECT l.term%'");
    let hanging = database.query(&query).parse().unwrap();
    database.signal(hanging, "STOP");
    let read = storage.get("k").await;
    database.signal(hanging, "CONT");
    assert_eq!(read.unwrap().unwrap(), b"0");
}

#[tokio::test]
async fn what_may_be_going_on_still_is_not_called_undone() {
    let database = Database::shared();
    let table = unused_table();
    let url = format!("{} application_name={table}", database.url());
    // The client gives up before the database does: the statement is on its way.
    let times = Times { statement: Duration::from_secs(1), total: Duration::from_secs(4), ..QUICK };
    let storage = Postgres::open_within(&settings(&url, &table), times).await.unwrap();
    storage.commit(put("k", "0")).await.unwrap();
    let hanging = writer(&database, &table);
    let connector = Connector::new(settings(&database.url(), &table).target().ok().unwrap(), QUICK);
    let blocker = connector.connect().await.unwrap();
    blocker.client.batch_execute(&format!("BEGIN; SELECT 1 FROM {table}_server FOR UPDATE")).await.unwrap();
    database.signal(hanging, "STOP");
    let error = storage.commit(put("k", "1")).await.unwrap_err();
    assert!(matches!(error, StorageError::Unknown(_)), "{error}");
    blocker.client.batch_execute("ROLLBACK").await.unwrap();
    storage.commit(put("l", "2")).await.unwrap();
    database.signal(hanging, "CONT");
    // It was not, and from the next commit on it cannot be.
    let gone = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {hanging}");
    until(async || database.query(&gone) == "0").await;
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"0");
}

#[tokio::test]
async fn a_database_that_was_put_back_is_not_written() {
    let database = Database::shared();
    let table = unused_table();
    let storage = open_named(&database, &table).await.unwrap();
    for value in ["1", "2"] {
        storage.commit(put("k", value)).await.unwrap();
    }
    database.query(&format!("UPDATE {table}_server SET commit = commit - 1"));
    until(async || cut(&database, &table, "WITH failed") == "0").await;
    let error = storage.commit(put("k", "3")).await.unwrap_err();
    assert!(error.to_string().contains("older state"), "{error}");
    assert!(storage.get("k").await.unwrap_err().to_string().contains("older state"));
}

#[tokio::test]
async fn a_database_that_is_away_for_good_is_an_error_in_time() {
    let database = Database::start();
    let times = Times { total: Duration::from_secs(3), ..QUICK };
    let storage = Postgres::open_within(&settings(&database.url(), "t"), times).await.unwrap();
    storage.commit(put("k", "0")).await.unwrap();
    database.end("INT");
    let started = std::time::Instant::now();
    assert!(matches!(storage.get("k").await, Err(StorageError::Backend { action: "read", .. })));
    let error = storage.commit(put("k", "1")).await.unwrap_err();
    // Nothing was sent: the connection was closed before.
    assert!(matches!(error, StorageError::Backend { action: "write", .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    database.resume();
    until(async || storage.get("k").await.is_ok()).await;
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"0");
    until(async || storage.commit(put("k", "2")).await.is_ok()).await;
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"2");
}

#[tokio::test]
async fn commits_that_wait_for_a_slow_database_are_given_up_in_time_and_not_written() {
    let database = Database::shared();
    let table = unused_table();
    let times = Times { statement: Duration::from_secs(1), total: Duration::from_secs(4), ..QUICK };
    let storage = Postgres::open_within(&settings(&database.url(), &table), times).await.unwrap();
    storage.commit(put("k", "0")).await.unwrap();
    let connector = Connector::new(settings(&database.url(), &table).target().ok().unwrap(), QUICK);
    let blocker = connector.connect().await.unwrap();
    blocker.client.batch_execute(&format!("BEGIN; SELECT 1 FROM {table}_server FOR UPDATE")).await.unwrap();
    let started = Instant::now();
    // The same key: each is a group of its own.
    let all = (1..=6).map(|number| storage.commit(put("k", &number.to_string())));
    let answers = futures_util::future::join_all(all).await;
    assert!(started.elapsed() < times.total * 3, "{:?}", started.elapsed());
    for answer in &answers[1..] {
        assert!(matches!(answer, Err(StorageError::Backend { action: "write", .. })), "{answer:?}");
    }
    let last = answers.last().unwrap().as_ref().unwrap_err().to_string();
    assert!(last.contains("too slow; nothing was written"), "{last}");
    // One whose request has gone away in the meantime is not written, though there is time again.
    let (gone, stays) = (storage.commit(put("gone", "1")), storage.commit(put("stays", "1")));
    let first = storage.commit(put("gone", "0"));
    let mut gone = Box::pin(gone);
    let release = async {
        tokio::time::sleep(times.pause).await;
        blocker.client.batch_execute("ROLLBACK").await
    };
    tokio::pin!(first);
    tokio::select! {
        biased;
        _ = &mut first => panic!("it was written"),
        _ = &mut gone => panic!("it was written"),
        () = tokio::time::sleep(times.pause) => {}
    }
    drop(gone);
    let (first, stays, released) = tokio::join!(first, stays, release);
    first.unwrap();
    stays.unwrap();
    released.unwrap();
    assert_eq!(storage.get("gone").await.unwrap().unwrap(), b"0");
    assert_ne!(storage.get("k").await.unwrap().unwrap(), b"6");
}

#[tokio::test]
async fn a_database_that_was_put_back_is_not_read() {
    let database = Database::shared();
    // Nobody looks after the lock meanwhile.
    let times = Times { look: Duration::from_hours(1), ..QUICK };
    for way in ["get", "list", "scan"] {
        let table = unused_table();
        let storage = Postgres::open_within(&settings(&database.url(), &table), times).await.unwrap();
        storage.commit(put("k", "1")).await.unwrap();
        storage.commit(put("k", "2")).await.unwrap();
        assert_eq!(storage.get("k").await.unwrap().unwrap(), b"2");
        database.query(&format!("UPDATE {table}_server SET commit = commit - 1"));
        let error = match way {
            "get" => storage.get("k").await.err(),
            "list" => storage.list("", "", 0).await.err(),
            _ => storage.scan("", 1).await.err(),
        };
        assert!(error.unwrap().to_string().contains("older state"), "{way}");
        assert!(storage.lost().await.to_string().contains("older state"));
    }
}

#[tokio::test]
async fn a_read_that_hangs_is_given_up_when_its_time_is_over() {
    let database = Database::shared();
    let table = unused_table();
    let url = format!("{} application_name={table}", database.url());
    let times = Times { statement: Duration::from_mins(2), total: Duration::from_secs(4), ..QUICK };
    let storage = Postgres::open_within(&settings(&url, &table), times).await.unwrap();
    assert!(storage.get("k").await.unwrap().is_none());
    let query =
        format!("SELECT pid FROM pg_stat_activity WHERE application_name = '{table}' AND query LIKE 'SELECT l.term%'");
    let hanging = database.query(&query).parse().unwrap();
    database.signal(hanging, "STOP");
    let started = Instant::now();
    let read = storage.get("k").await;
    database.signal(hanging, "CONT");
    assert!(read.is_err());
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_no_place_is_for_is_refused_at_once_and_what_has_one_is_written() {
    let database = Database::shared();
    let table = unused_table();
    let times = Times { statement: Duration::from_secs(20), ..QUICK };
    let storage = Postgres::open_within(&settings(&database.url(), &table), times).await.unwrap();
    let connector = Connector::new(settings(&database.url(), &table).target().ok().unwrap(), QUICK);
    let blocker = connector.connect().await.unwrap();
    blocker.client.batch_execute(&format!("BEGIN; SELECT 1 FROM {table}_server FOR UPDATE")).await.unwrap();
    // One group is on its way, so many wait, and these are too many.
    let all = writer::QUEUE + 1500;
    let storage = &storage;
    let commit = async |number: usize| (number, storage.commit(put(&format!("k{number}"), "v")).await);
    let (answers, released) = tokio::join!(futures_util::future::join_all((0..all).map(commit)), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        blocker.client.batch_execute("ROLLBACK").await
    });
    released.unwrap();
    let refused: Vec<_> =
        answers.iter().filter_map(|(number, answer)| Some((*number, answer.as_ref().err()?))).collect();
    assert!(!refused.is_empty() && refused.len() <= 1500, "{}", refused.len());
    for (number, error) in refused {
        assert!(error.to_string().contains("commits wait for the database; nothing was written"), "{error}");
        assert_eq!(storage.get(&format!("k{number}")).await.unwrap(), None);
    }
    let written: usize = database.query(&format!("SELECT count(*) FROM {table}")).parse().unwrap();
    assert_eq!(written, answers.iter().filter(|(_, answer)| answer.is_ok()).count());
}
