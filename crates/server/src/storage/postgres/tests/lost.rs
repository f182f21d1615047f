//! A way to the database on which the request of a commit gets lost, or the answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const NOTHING: u8 = 0;
const REQUEST: u8 = 1;
const ANSWER: u8 = 2;
/// The answer, and from then on every new connection.
const ANSWER_AND_WAY: u8 = 3;
const AWAY: u8 = 4;

/// Passes on what is said, and once, when it is told to, closes the writer's connection in place of that.
async fn way(port: u16, lose: Arc<AtomicU8>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            if lose.load(Ordering::Acquire) == AWAY {
                continue;
            }
            let database = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
            tokio::spawn(pass(client, database, Arc::clone(&lose)));
        }
    });
    address
}

async fn pass(mut client: TcpStream, mut database: TcpStream, lose: Arc<AtomicU8>) {
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_writer = false;
    let is_lost = |is_writer: bool, what, then| {
        is_writer && lose.compare_exchange(what, then, Ordering::AcqRel, Ordering::Acquire).is_ok()
    };
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(size @ 1..) = read else { return };
                if is_lost(is_writer, REQUEST, NOTHING) || database.write_all(&asked[..size]).await.is_err() {
                    return;
                }
                is_writer |= asked[..size].windows(11).any(|text| text == b"WITH failed");
            }
            read = database.read(&mut answered) => {
                let Ok(size @ 1..) = read else { return };
                // It is sent when the transaction has ended.
                let is_lost = is_lost(is_writer, ANSWER, NOTHING) || is_lost(is_writer, ANSWER_AND_WAY, AWAY);
                if is_lost || client.write_all(&answered[..size]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn change(key: &str, from: Option<&str>, to: &str) -> Batch {
    let from = from.map(|from| from.as_bytes().to_vec());
    Batch { conditions: vec![(key.to_owned(), from)], ..put(key, to) }
}

#[tokio::test]
async fn what_became_of_a_commit_is_found_out_when_its_answer_is_lost() {
    let database = Database::shared();
    let table = unused_table();
    let lose = Arc::new(AtomicU8::new(NOTHING));
    let address = way(database.port(), Arc::clone(&lose)).await;
    let url = format!("postgres://tester@{address}/postgres?sslmode=disable");
    let storage = Postgres::open_within(&settings(&url, &table), QUICK).await.unwrap();
    storage.commit(change("k", None, "0")).await.unwrap();
    let mut value = 0;
    for lost in [ANSWER, REQUEST, ANSWER, ANSWER, REQUEST] {
        // Two in one statement, of which one is refused. Done a second time, the other would be, too.
        let (now, next) = (value.to_string(), (value + 1).to_string());
        lose.store(lost, Ordering::Release);
        let both = tokio::join!(
            storage.commit(change("k", Some(&now), &next)),
            storage.commit(change("other", Some("not this"), "x")),
        );
        assert!(matches!(both, (Ok(()), Err(StorageError::Conflict))), "{lost}: {both:?}");
        assert_eq!(lose.load(Ordering::Acquire), NOTHING, "nothing was lost");
        value += 1;
        assert_eq!(storage.get("k").await.unwrap().unwrap(), value.to_string().as_bytes());
        assert_eq!(storage.get("other").await.unwrap(), None);
    }
    // Each was one commit, and none was left out.
    let commits = database.query(&format!("SELECT commit FROM {table}_server"));
    assert_eq!(commits, "6");
}

#[tokio::test]
async fn a_commit_that_nobody_knew_of_and_that_was_done_ends_the_server_without_another_commit() {
    let database = Database::shared();
    for has_another in [false, true] {
        let table = unused_table();
        let lose = Arc::new(AtomicU8::new(NOTHING));
        let address = way(database.port(), Arc::clone(&lose)).await;
        let url = format!("postgres://tester@{address}/postgres?sslmode=disable");
        let times = Times { total: Duration::from_secs(4), ..QUICK };
        let storage = Postgres::open_within(&settings(&url, &table), times).await.unwrap();
        storage.commit(change("k", None, "0")).await.unwrap();
        lose.store(ANSWER_AND_WAY, Ordering::Release);
        let error = storage.commit(change("k", Some("0"), "1")).await.unwrap_err();
        assert!(matches!(error, StorageError::Unknown(_)), "{error}");
        assert_eq!(lose.load(Ordering::Acquire), AWAY, "nothing was lost");
        lose.store(NOTHING, Ordering::Release);
        if has_another {
            let error = storage.commit(put("other", "x")).await.unwrap_err();
            assert!(error.to_string().contains("was done after all"), "{error}");
        }
        let lost = tokio::time::timeout(Duration::from_mins(1), storage.lost()).await.unwrap();
        assert!(lost.to_string().contains("start again"), "{lost}");
        assert!(storage.get("k").await.is_err());
        drop(storage);
        let found = format!("SELECT convert_from(key, 'UTF8') || '=' || convert_from(value, 'UTF8') FROM {table}");
        assert_eq!(database.query(&found), "k=1");
    }
}
