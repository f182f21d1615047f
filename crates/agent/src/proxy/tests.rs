//! What reaches the server, and what comes back.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use bulla_core::SecretString;
use bulla_listen::Room;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Forward, Listener, Shared, bind_unix};
use crate::api::{Api, Whose};
use crate::config::{ListenerConfig, Place, ProxyToken};
use crate::login::Token;
use crate::testing::{Upstream, ask, reply};

const TOKEN: &str = "s.0123456789abcdef0123";
const ACCESSOR: &str = "accessor0123456789";

/// The address of a listener with the agent's token, as long as what is given with it lives.
async fn proxy(api: Arc<Api>) -> (String, impl Sized) {
    proxy_in(Shared::default(), api).await
}

async fn proxy_in(shared: Shared, api: Arc<Api>) -> (String, impl Sized) {
    let own = Token::Plain { token: SecretString::from(TOKEN), accessor: Some(SecretString::from(ACCESSOR)) };
    let (tell, current) = watch::channel(Some(Arc::new(own)));
    let (stop, stopped) = watch::channel(false);
    let (quit, _) = watch::channel(false);
    let place = Place::Tcp("127.0.0.1:0".to_owned(), None);
    let config = ListenerConfig { place, require_request_header: true, enable_quit: true };
    let forward = Forward {
        doubt: Arc::clone(&api.doubt),
        api,
        token: ProxyToken::IfMissing,
        current,
        require_request_header: true,
        enable_quit: true,
        room: shared.room.clone(),
        quit,
    };
    let listener = Listener::bind(config, bulla_listen::Security::Plain).await.unwrap();
    let address = listener.address();
    let serving = tokio::spawn(listener.serve(Arc::new(forward), shared, stopped));
    (address, (tell, stop, serving))
}

const SAID: (&str, &str) = ("X-Vault-Request", "true");

/// As a server of whom the token is asked.
fn about() -> String {
    format!(r#"{{"data":{{"id":"{TOKEN}","accessor":"{ACCESSOR}","ttl":5}},"auth":{{"client_token":"{TOKEN}"}}}}"#)
}

#[tokio::test]
async fn a_path_that_the_server_may_read_otherwise_does_not_reach_it() {
    let upstream = Upstream::start(|_| reply(200, &[], &about())).await;
    let (address, _held) = proxy(upstream.api(Whose::Others)).await;
    for path in [
        "/v1/auth//token/lookup-self",
        "/v1/x/../auth/token/lookup-self",
        "/v1/%2e%2e/ui/",
        "/v1/x/.%2E/auth/token/lookup-self",
        "/v1/x\\..\\auth\\token\\lookup-self",
        "/v1/auth%2Ftoken%2flookup-self",
        "/v1/auth/token/lookup-self%00",
    ] {
        let (status, answer) = ask(&address, "GET", path, &[SAID]).await;
        assert_eq!((status, upstream.seen().len()), (400, 0), "{path}: {answer}");
    }
    assert_eq!(ask(&address, "GET", "/v1/secret/a%20b", &[SAID]).await.0, 200);
    assert_eq!(upstream.seen(), ["GET /v1/secret/a%20b"]);
}

#[tokio::test]
async fn nobody_learns_the_agents_token_by_asking_the_server() {
    let upstream = Upstream::start(|request| {
        assert!(!request.headers().contains_key("accept-encoding"));
        let status = if request.uri().path().ends_with("forbidden") { 403 } else { 200 };
        reply(status, &[], &about())
    })
    .await;
    let (address, _held) = proxy(upstream.api(Whose::Others)).await;
    for path in [
        "/v1/auth/token/lookup-self",
        "/v1/auth/token/lookup-self/",
        "/v1/auth/token/lookup%2Dself",
        "/v1/ns/auth/token/lookup-self",
        "/v1/sys/wrapping/unwrap",
        "/v1/forbidden",
    ] {
        let (status, answer) = ask(&address, "GET", path, &[SAID, ("Accept-Encoding", "gzip")]).await;
        assert!(matches!(status, 200 | 403) && answer.contains(r#""ttl":5"#), "{path}: {answer}");
        assert!(!answer.contains(TOKEN) && !answer.contains(ACCESSOR), "{path}: {answer}");
    }
    let given = [SAID, ("X-Vault-Token", "another")];
    assert!(ask(&address, "GET", "/v1/auth/token/lookup-self", &given).await.1.contains(TOKEN));
}

#[tokio::test]
async fn what_tells_of_the_agents_token_is_not_wrapped_or_packed() {
    let upstream = Upstream::start(|_| reply(200, &[("Content-Encoding", "gzip")], "\u{1}\u{2}")).await;
    let (address, _held) = proxy(upstream.api(Whose::Others)).await;
    let wrap = [SAID, ("X-Vault-Wrap-TTL", "5m")];
    for path in ["/v1/auth/token/lookup-self", "/v1/ns/auth/token/renew%2Dself"] {
        assert_eq!((ask(&address, "POST", path, &wrap).await.0, upstream.seen().len()), (400, 0), "{path}");
    }
    assert_eq!(ask(&address, "GET", "/v1/secret/x", &[SAID]).await.0, 502);
    let upstream = Upstream::start(|_| reply(200, &[], "what is this")).await;
    let (address, _held) = proxy(upstream.api(Whose::Others)).await;
    assert_eq!(ask(&address, "GET", "/v1/auth/token/lookup-self", &[SAID]).await.0, 502);
    assert_eq!(ask(&address, "GET", "/v1/secret/x", &wrap).await.0, 200);
}

#[tokio::test]
async fn a_redirect_is_followed_to_the_same_path_alone() {
    let active = Upstream::start(|_| reply(200, &[], "{}")).await;
    let to = active.address.clone();
    let standby = Upstream::start(move |request| {
        let path = if request.uri().path() == "/v1/same" { "/v1/same?a=b" } else { "/v1/auth/token/lookup-self" };
        reply(307, &[("Location", &format!("{to}{path}"))], "")
    })
    .await;
    let (address, _held) = proxy(standby.api(Whose::Others)).await;
    assert_eq!(ask(&address, "GET", "/v1/same?a=b", &[SAID]).await.0, 200);
    assert_eq!(active.seen(), ["GET /v1/same?a=b"]);
    for path in ["/v1/same", "/v1/other"] {
        assert_eq!((ask(&address, "GET", path, &[SAID]).await.0, active.seen().len()), (502, 0), "{path}");
    }
}

#[tokio::test]
async fn what_the_server_answers_comes_soon_whatever_it_is() {
    let upstream = Upstream::start(|request| {
        let last = request.uri().path().rsplit('/').next().unwrap();
        reply(last.parse().unwrap_or(503), &[], r#"{"errors":["in trouble"]}"#)
    })
    .await;
    let (address, _held) = proxy(upstream.api(Whose::Others)).await;
    for (method, path, status, times) in [
        ("GET", "/v1/secret/500", 500, 1),
        ("GET", "/v1/secret/502", 502, 3),
        ("POST", "/v1/secret/502", 502, 1),
        ("POST", "/v1/secret/503", 503, 3),
        ("GET", "/v1/sys/health", 503, 1),
        ("GET", "/v1/sys/seal-status", 503, 1),
    ] {
        let (got, answer) = ask(&address, method, path, &[SAID]).await;
        assert_eq!((got, upstream.seen().len()), (status, times), "{method} {path}");
        assert!(answer.contains("in trouble"), "{answer}");
    }
}

/// Sends a body; what comes back.
async fn send(address: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("POST /v1/secret/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.write_all(body).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

#[tokio::test]
async fn bodies_share_a_room_and_who_finds_none_is_told_so() {
    let upstream = Upstream::start(|_| reply(200, &[], "{}")).await;
    let shared = Shared { room: Room::new(100_000, 1000), ..Shared::default() };
    let (address, _held) = proxy_in(shared.clone(), upstream.api(Whose::Others)).await;
    let post = async |length: usize| {
        let length_text = length.to_string();
        let body = vec![b'x'; length];
        send(&address, &[SAID, ("Content-Length", &length_text)], &body).await
    };
    assert_eq!(post(100_500).await.0, 200);
    let mut others = shared.room.body();
    others.grow(60_000).unwrap();
    let (status, answer) = post(50_000).await;
    assert!(status == 503 && answer.contains("too many large requests"), "{answer}");
    assert_eq!((post(900).await.0, post(30_000).await.0), (200, 200));
    drop(others);
    assert_eq!(post(100_500).await.0, 200);
    assert_eq!(upstream.seen().len(), 4);
    let (status, answer) = send(&address, &[SAID, ("Content-Length", "33554433")], b"").await;
    assert!(status == 413 && answer.contains("longer than the limit of 33554432 bytes"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_need_not_be_looked_at_comes_as_the_server_sends_it() {
    let far = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", far.local_addr().unwrap());
    let (go_on, mut waits) = tokio::sync::mpsc::channel::<&str>(1);
    tokio::spawn(async move {
        let (mut stream, _) = far.accept().await.unwrap();
        let mut head = [0; 4096];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        let begin = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Y: z\r\n\r\n5\r\nfirst\r\n";
        stream.write_all(begin.as_bytes()).await.unwrap();
        while let Some(more) = waits.recv().await {
            stream.write_all(more.as_bytes()).await.unwrap();
        }
    });
    let (address, _held) = proxy(crate::testing::api(&url, Whose::Others)).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let ask = "GET /v1/secret/x HTTP/1.1\r\nHost: x\r\nX-Vault-Request: true\r\nX-Vault-Token: another\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut seen = String::new();
    let mut until = async |what: &str| {
        let mut part = [0; 4096];
        while !seen.contains(what) {
            let length = timeout(Duration::from_secs(20), stream.read(&mut part)).await.unwrap().unwrap();
            assert!(length > 0, "{seen}");
            seen.push_str(std::str::from_utf8(&part[..length]).unwrap());
        }
    };
    // Before the server has sent the rest.
    until("first").await;
    go_on.send("6\r\nsecond\r\n").await.unwrap();
    until("second").await;
    go_on.send("0\r\n\r\n").await.unwrap();
    until("\r\n0\r\n\r\n").await;
    assert!(seen.starts_with("HTTP/1.1 200 OK") && seen.contains("x-y: z"), "{seen}");
}

#[tokio::test]
async fn an_answer_that_may_tell_of_the_token_and_is_too_long_to_look_at_is_not_given() {
    let upstream = Upstream::start(|request| {
        let length = if request.uri().path().ends_with("accessors") { (1 << 20) + 1 } else { 1000 };
        reply(200, &[], &format!("[\"{}\"]", "a".repeat(length)))
    })
    .await;
    let (address, _held) = proxy(upstream.api(Whose::Others)).await;
    let (status, answer) = ask(&address, "GET", "/v1/auth/token/accessors", &[SAID]).await;
    assert!(status == 502 && answer.contains("may tell of the agent's token"), "{answer}");
    assert_eq!(ask(&address, "GET", "/v1/auth/token/lookup-self", &[SAID]).await.0, 200);
}

#[tokio::test]
async fn a_refusal_with_the_agents_token_is_told() {
    let upstream = Upstream::start(|_| reply(403, &[], r#"{"errors":["permission denied"]}"#)).await;
    let api = upstream.api(Whose::Others);
    let (address, _held) = proxy(Arc::clone(&api)).await;
    ask(&address, "GET", "/v1/secret/x", &[SAID, ("Authorization", "Bearer other")]).await;
    assert!(timeout(Duration::ZERO, api.doubt.notified()).await.is_err());
    ask(&address, "GET", "/v1/secret/x", &[SAID]).await;
    timeout(Duration::ZERO, api.doubt.notified()).await.unwrap();
}

#[tokio::test]
async fn the_agents_own_paths_need_the_header_too() {
    let upstream = Upstream::start(|_| reply(200, &[], "{}")).await;
    let (address, _held) = proxy(upstream.api(Whose::Others)).await;
    assert_eq!(ask(&address, "POST", "/agent/v1/quit", &[]).await.0, 412);
    assert_eq!(ask(&address, "POST", "/agent/v1/quit", &[SAID]).await.0, 200);
}

#[tokio::test]
async fn a_socket_has_its_mode_and_only_one_that_nobody_listens_on_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let listener = bind_unix(&path, Some(0o660), (None, None)).await.unwrap();
    assert_eq!(mode(), 0o660);
    tokio::net::UnixStream::connect(&path).await.unwrap();
    listener.accept().await.unwrap();
    assert!(bind_unix(&path, Some(0o660), (None, None)).await.is_err());
    drop(listener);
    let _again = bind_unix(&path, Some(0o600), (None, None)).await.unwrap();
    assert_eq!(mode(), 0o600);
    // Before any mode is set.
    let other = folder.path().join("other");
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let (family, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, flags, None).unwrap();
    rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&other).unwrap()).unwrap();
    assert_eq!(std::fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o600);
}
