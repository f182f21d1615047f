//! Servers that are sealed, gone, slow, lying, or not to be asked at all.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulla_store::limit::Rate;
use bulla_store::vault::{Connection, Login, Rules, Vault};
use bulla_store::{Session, Store, StoreError, StoreErrorKind};
use bulla_test_support::bao::Bao;
use bulla_test_support::fake::{Answer, Fake};
use bulla_test_support::unused_address;
use serde_json::json;

use crate::vault::{World, get, post, rules};

const JWT: &str = "ey.the-token-of-a-pod.x";

fn login(address: &str) -> Login {
    Login {
        connection: Connection { address: Some(address.to_owned()), ..Connection::default() },
        mount: "kubernetes".to_owned(),
        role: "app".to_owned(),
        jwt: JWT.into(),
    }
}

async fn refused(rules: Rules, address: &str) -> StoreError {
    let error = Vault::new(rules).log_in(&login(address)).await.err().unwrap();
    assert!(!error.to_string().contains(JWT), "{error}");
    error
}

/// A login that is accepted.
fn accepted() -> Answer {
    Answer(200, vec![], json!({ "auth": { "client_token": "s.token", "lease_duration": 3600 } }).to_string())
}

#[tokio::test]
async fn a_sealed_server_and_one_that_is_gone_are_unavailable() {
    let bao = Arc::new(Bao::start());
    let world = World::with(Arc::clone(&bao), &json!({}));
    let session = world.session().await;
    bao.call("POST", "sys/seal", &json!({}));
    let error = session.read(&get("secret/data/a")).await.unwrap_err();
    assert!(error.kind == StoreErrorKind::Unavailable && error.message.contains("sealed"), "{error}");
    let error = world.vault.log_in(&world.login()).await.err().unwrap();
    assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");

    let address = format!("http://{}", unused_address());
    let error = refused(rules(&[&address]), &address).await;
    assert!(error.kind == StoreErrorKind::Unavailable && error.message.contains("refused"), "{error}");
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_asked() {
    let stranger = Fake::answering(|_| accepted());
    for (patterns, says) in [
        (&[][..], "--vault-allowed-addresses"),
        (&["https://vault.example.com"], "--vault-allowed-addresses"),
        (&["http://*:*"], "full name"),
    ] {
        let error = refused(rules(patterns), &stranger.url()).await;
        assert!(error.kind == StoreErrorKind::Denied && error.message.contains(says), "{error}");
    }
    // A name that leads to this machine.
    let named = format!("http://localhost:{}", stranger.address.port());
    let error = refused(rules(&["http://*:*"]), &named).await;
    assert!(
        error.kind == StoreErrorKind::Unavailable && error.message.contains("no address that may be reached"),
        "{error}"
    );
    assert!(stranger.seen().is_empty());
    assert!(Vault::new(rules(&[&named])).log_in(&login(&named)).await.is_ok(), "named in full");
}

#[tokio::test]
async fn no_redirect_takes_a_token_to_another_host() {
    let other = Fake::answering(|_| accepted());
    let target = other.url();
    let sending = Fake::answering(move |request| {
        Answer(307, vec![("Location", format!("{target}{}", request.path))], String::new())
    });
    let rules = rules(&[&sending.url(), &other.url()]);
    let error = refused(rules, &sending.url()).await;
    assert!(error.message.contains("redirects to"), "{error}");
    assert!(other.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_on_the_same_server_is_followed_once() {
    let server = Fake::answering(|request| match request.path.as_str() {
        "/v1/auth/kubernetes/login" => Answer(307, vec![("Location", "/v1/moved".to_owned())], String::new()),
        "/v1/moved" => accepted(),
        _ => Answer(307, vec![("Location", "/v1/again".to_owned())], String::new()),
    });
    let session = Vault::new(rules(&[&server.url()])).log_in(&login(&server.url())).await.unwrap();
    assert!(session.read(&get("a")).await.is_err());
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_huge_answer_is_not_read_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let sent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let size = 1_u64 << 30;
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").unwrap();
        let block = vec![b'x'; 1 << 16];
        let mut sent = 0;
        while sent < size && stream.write_all(&block).is_ok() {
            sent += block.len() as u64;
        }
        sent
    });
    let error = refused(rules(&[&address]), &address).await;
    assert!(error.message.contains("more than"), "{error}");
    // Beside this thread, which has the connection to end.
    let sent = tokio::task::spawn_blocking(move || sent.join().unwrap()).await.unwrap();
    assert!(sent < 64 << 20, "{sent}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let silent = Fake::silent();
    let begun = Instant::now();
    let error = refused(rules(&[&silent.url()]), &silent.url()).await;
    assert!(error.kind == StoreErrorKind::Unavailable && error.message.contains("within"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn what_answers_is_a_server_or_is_refused_and_its_words_are_tamed() {
    for answer in [
        "",
        "[]",
        "{}",
        "<html>",
        r#"{"auth":{}}"#,
        r#"{"auth":{"client_token":5}}"#,
        r#"{"auth":{"client_token":""}}"#,
    ] {
        let odd = Fake::answering(move |_| Answer(200, vec![], answer.to_owned()));
        let error = refused(rules(&[&odd.url()]), &odd.url()).await;
        assert_eq!(error.kind, StoreErrorKind::Failed, "{answer}: {error}");
    }
    let loud = Fake::answering(|request| {
        let quoted = request.body.clone();
        Answer(400, vec![], json!({ "errors": [format!("{quoted}\u{1b}[2J {JWT} {}", "x".repeat(5000))] }).to_string())
    });
    let error = refused(rules(&[&loud.url()]), &loud.url()).await;
    assert!(!error.message.contains('\u{1b}') && error.message.len() < 1000, "{error}");
}

#[tokio::test]
async fn what_a_busy_server_did_not_do_is_asked_again_and_what_it_may_have_done_is_not() {
    let session = |status: u16| async move {
        let server = Fake::answering(move |request| match request.path.as_str() {
            "/v1/auth/kubernetes/login" => accepted(),
            _ => Answer(status, vec![("Retry-After", "0".to_owned())], json!({ "errors": ["no"] }).to_string()),
        });
        let session = Vault::new(rules(&[&server.url()])).log_in(&login(&server.url())).await.unwrap();
        (server, session)
    };
    for (status, reads, writes) in [(429, 3, 3), (503, 3, 3), (500, 3, 1), (502, 3, 1), (400, 1, 1)] {
        let (server, session) = session(status).await;
        assert!(session.read(&get("a")).await.is_err());
        assert_eq!(server.seen().len() - 1, reads, "reading, {status}");
        let before = server.seen().len();
        assert!(session.read(&post("a", &json!({}))).await.is_err());
        assert_eq!(server.seen().len() - before, writes, "writing, {status}");
    }
}

#[tokio::test]
async fn one_server_gets_no_more_requests_than_it_should() {
    let server = Fake::answering(|_| accepted());
    let rate = Rate { per_second: 1, burst: 3, under_way: 10 };
    let vault = Vault::new(Rules { rate, ..rules(&[&server.url()]) });
    let begun = Instant::now();
    for _ in 0..4 {
        vault.log_in(&login(&server.url())).await.unwrap();
    }
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    let many = (0..40).map(|_| async { vault.log_in(&login(&server.url())).await.err() });
    let refused: Vec<_> = futures_util::future::join_all(many).await.into_iter().flatten().collect();
    assert!(refused.len() >= 20, "{}", refused.len());
    let one = &refused[0];
    assert!(
        one.kind == StoreErrorKind::Unavailable
            && one.retry_after.is_some()
            && one.message.contains("--vault-requests-per-second"),
        "{one:?}"
    );
}
