//! Client and server over real sockets, with each other and with what misbehaves.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bulla_core::{KeyErrorKind, KeyId, SecretBytes, WrappedKey};
use futures_util::stream;
use proptest::prelude::*;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tonic::{Code, Request, Response, Status};

use super::generated::key_service_server::{KeyService, KeyServiceServer};
use super::generated::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse};
use super::*;
use crate::{Options, Registry};

fn ids() -> Vec<KeyId> {
    let text = |text: &str| text.to_owned();
    let context = BTreeMap::from([(text("App"), text("web")), (text("Env"), text("prod"))]);
    vec![
        KeyId::Age { recipient: text("age1x") },
        KeyId::Pgp { fingerprint: text("ABCD") },
        KeyId::AwsKms { arn: text("arn:a"), role: Some(text("role")), context, profile: Some(text("me")) },
        KeyId::AwsKms { arn: text("arn:b"), role: None, context: BTreeMap::new(), profile: None },
        KeyId::GcpKms { resource_id: text("projects/p") },
        KeyId::AzureKeyVault { vault_url: text("https://v"), name: text("n"), version: text("1") },
        KeyId::HuaweiKms { key_id: text("region:id") },
        KeyId::VaultTransit { address: text("https://h"), mount: text("transit"), key: text("k") },
    ]
}

#[test]
fn every_kind_of_key_that_sops_has_survives_the_wire() {
    for id in ids() {
        assert_eq!(wire::key_id(wire::key(&id)).unwrap(), id);
    }
    assert!(wire::key(&KeyId::Local { path: "x".into() }).is_none());
    assert_eq!(wire::key_id(None).unwrap_err().code(), Code::InvalidArgument);
}

/// The field numbers, as `protoc --decode_raw` shows them of requests that sops sent.
#[test]
fn a_request_has_the_bytes_that_sops_sends() {
    let request = EncryptRequest { key: wire::key(&ids()[0]), plaintext: b"key".to_vec() };
    assert_eq!(prost::Message::encode_to_vec(&request), b"\x0a\x09\x32\x07\x0a\x05age1x\x12\x03key");
    let request = DecryptRequest { key: wire::key(&ids()[6]), ciphertext: b"enc".to_vec() };
    assert_eq!(prost::Message::encode_to_vec(&request), b"\x0a\x0d\x3a\x0b\x0a\x09region:id\x12\x03enc");
}

#[test]
fn messages_with_keys_do_not_show_them() {
    let request = EncryptRequest { key: wire::key(&ids()[0]), plaintext: b"hunter2".to_vec() };
    let response = DecryptResponse { plaintext: b"hunter2".to_vec() };
    let shown = format!("{request:?} {response:?} {:?}", Request::new(request.clone()));
    assert!(shown.contains("age1x") && !shown.contains("hunter2") && !shown.contains("104"), "{shown}");
}

#[test]
fn failures_keep_their_kind_over_the_wire() {
    let id = &ids()[0];
    for kind in [
        KeyErrorKind::NotFound,
        KeyErrorKind::Denied,
        KeyErrorKind::Unreachable,
        KeyErrorKind::Timeout,
        KeyErrorKind::BadCiphertext,
        KeyErrorKind::BadKeyFile,
        KeyErrorKind::BadConfig,
        KeyErrorKind::Unsupported,
        KeyErrorKind::Other,
    ] {
        let status = wire::status(&bulla_core::KeyError::new(kind, id, "what").with_hint("do this"));
        assert_eq!(wire::kind(status.code()), kind);
        assert_eq!(status.message(), "age age1x: what (do this)");
    }
}

#[test]
fn uris_are_checked() {
    for good in ["tcp://localhost:5000", "tcp://[::1]:5000", "tcp://h:1/", "unix:///run/x", "unix:/run/x", "unix:x"] {
        assert!(Client::new(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "localhost:5000",
        "tcp://",
        "tcp://host",
        "tcp://h:1/x",
        "tcp://u@h:1",
        "tcp://h:1?x",
        "unix://",
        "unix:",
        "unix://run/x",
        "http://h:1",
        "tcp://h:99999",
    ] {
        let error = Client::new(bad).unwrap_err();
        assert!(error.contains("tcp://HOST:PORT"), "{bad}: {error}");
    }
}

/// Wraps by reversing the bytes; fails for PGP keys, and never answers for Huawei's.
#[derive(Default)]
struct Reverse(Arc<AtomicUsize>);

#[tonic::async_trait]
impl KeyService for Reverse {
    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let EncryptRequest { key, plaintext } = request.into_inner();
        if let KeyId::GcpKms { .. } = wire::key_id(key)? {
            return Ok(Response::new(EncryptResponse { ciphertext: vec![0xff] }));
        }
        Ok(Response::new(EncryptResponse { ciphertext: plaintext.into_iter().rev().collect() }))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let DecryptRequest { key, ciphertext } = request.into_inner();
        match wire::key_id(key)? {
            KeyId::Pgp { .. } => Err(Status::unknown("no such\n\u{1b}[31mkey")),
            KeyId::HuaweiKms { .. } => std::future::pending().await,
            _ => Ok(Response::new(DecryptResponse { plaintext: ciphertext.into_iter().rev().collect() })),
        }
    }
}

/// Serves a [`Reverse`] on a Unix socket for as long as the test runs.
fn reverse(path: &Path) -> Arc<AtomicUsize> {
    let asked = Arc::<AtomicUsize>::default();
    let listener = UnixListener::bind(path).unwrap();
    let incoming = stream::unfold(listener, async |listener| {
        Some((Ok::<_, std::io::Error>(listener.accept().await.unwrap().0), listener))
    });
    let service = KeyServiceServer::new(Reverse(asked.clone()));
    tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(service, incoming));
    asked
}

#[tokio::test]
async fn a_client_wraps_and_unwraps_over_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    reverse(&path);
    let client = Client::new(&format!("unix://{}", path.display())).unwrap();
    for id in ids().into_iter().filter(|id| matches!(id, KeyId::Age { .. } | KeyId::AwsKms { .. })) {
        let service = client.open(&id);
        assert_eq!(service.id(), &id);
        let wrapped = service.wrap(&SecretBytes::from(&b"abc"[..])).await.unwrap();
        assert_eq!(wrapped.as_str(), "cba");
        assert_eq!(service.unwrap(&wrapped).await.unwrap().expose(), b"abc");
    }
}

#[tokio::test]
async fn what_the_remote_service_answers_is_told_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    reverse(&path);
    let uri = format!("unix://{}", path.display());
    let client = Client::new(&uri).unwrap().with_timeout(Duration::from_millis(200));
    let unwrap = async |id: KeyId| client.open(&id).unwrap(&WrappedKey::new("x")).await.unwrap_err();

    let error = unwrap(KeyId::Pgp { fingerprint: "ABCD".into() }).await;
    assert_eq!(error.kind(), KeyErrorKind::Other);
    assert_eq!(error.to_string(), format!("pgp ABCD: key service {uri}: no such  [31mkey"));

    let error = unwrap(KeyId::HuaweiKms { key_id: "r:i".into() }).await;
    assert_eq!(error.kind(), KeyErrorKind::Timeout);
    assert_eq!(error.to_string(), format!("hckms r:i: key service {uri}: no answer within 0.2 s"));

    let error = unwrap(KeyId::Local { path: "x".into() }).await;
    assert_eq!(error.kind(), KeyErrorKind::Unsupported);

    let google = client.open(&KeyId::GcpKms { resource_id: "p".into() });
    let error = google.wrap(&SecretBytes::zeroed(32)).await.unwrap_err();
    assert!(error.to_string().ends_with("the wrapped key it sent is not text"), "{error}");
}

#[tokio::test]
async fn the_same_text_goes_over_the_wire_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let asked = reverse(&path);
    let client = Client::new(&format!("unix://{}", path.display())).unwrap();
    let services = crate::groups::Services { remote: vec![client], local: None };
    let key = bulla_core::DataKey::generate().unwrap();
    let id = &ids()[0];
    // The reversed bytes must be text.
    let text = "0123456789abcdef0123456789abcdef";
    for _ in 0..5 {
        let groups = [vec![(id.clone(), WrappedKey::new(text))]];
        let unwrapped = crate::groups::unwrap_data_key(&services, &groups, None, &[]).await.unwrap();
        assert!(unwrapped != key && unwrapped.expose()[0] == b'f');
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for uri in [format!("unix://{}/none", folder.path().display()), format!("tcp://127.0.0.1:{port}")] {
        let error = Client::new(&uri).unwrap().open(&ids()[0]).unwrap(&WrappedKey::new("x")).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Unreachable, "{error}");
        assert!(error.to_string().starts_with(&format!("age age1x: key service {uri}: ")), "{error}");
        assert!(error.hint().is_some());
    }
}

#[tokio::test]
async fn a_service_that_takes_connections_and_says_nothing_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("tcp://{}", silent.local_addr().unwrap());
    let client = Client::new(&uri).unwrap().with_timeout(Duration::from_millis(100));
    let started = Instant::now();
    let error = client.open(&ids()[0]).unwrap(&WrappedKey::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains(&uri) && started.elapsed() < Duration::from_secs(5), "{error}");
}

fn registry() -> Registry {
    Registry::new(Arc::new(BTreeMap::new()), Options::default())
}

/// A running server: its URI, what stops it, and how it ended.
async fn start(
    listen: Listen,
    prompt: Option<Prompt>,
) -> (String, oneshot::Sender<()>, tokio::task::JoinHandle<std::io::Result<()>>) {
    start_with(registry(), listen, prompt).await
}

async fn start_with(
    registry: Registry,
    listen: Listen,
    prompt: Option<Prompt>,
) -> (String, oneshot::Sender<()>, tokio::task::JoinHandle<std::io::Result<()>>) {
    let server = Server::bind(&listen).await.unwrap();
    let uri = server.uri().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { stopped.await.unwrap_or(()) };
    (uri, stop, tokio::spawn(server.serve(registry, prompt, shutdown)))
}

/// A kind that is not served is answered without touching anything outside the process.
async fn unsupported(uri: &str) -> bulla_core::KeyError {
    let id = KeyId::HuaweiKms { key_id: "r:i".into() };
    Client::new(uri).unwrap().open(&id).unwrap(&WrappedKey::new("x")).await.unwrap_err()
}

#[tokio::test]
async fn the_server_answers_on_tcp_and_unix_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    for listen in [Listen::Tcp("127.0.0.1:0".into()), Listen::Tcp(":0".into()), Listen::Unix(path.clone())] {
        let (uri, stop, server) = start(listen, None).await;
        let uri = uri.replace("[::]", "[::1]").replace("0.0.0.0", "127.0.0.1");
        let error = unsupported(&uri).await;
        assert_eq!(error.kind(), KeyErrorKind::Unsupported, "{error}");
        assert!(error.to_string().starts_with(&format!("hckms r:i: key service {uri}: hckms r:i: ")), "{error}");
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        assert_eq!(unsupported(&uri).await.kind(), KeyErrorKind::Unreachable);
    }
    assert!(!path.exists());
}

#[tokio::test]
async fn a_server_finds_key_files_that_came_or_changed_after_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let env = BTreeMap::from([("HOME".to_owned(), folder.path().to_str().unwrap().to_owned())]);
    let registry = Registry::new(Arc::new(env), Options::default());
    let keys = folder.path().join(".config/sops/age");
    std::fs::create_dir_all(&keys).unwrap();
    let (uri, stop, server) = start_with(registry, Listen::Unix(folder.path().join("socket")), None).await;
    let secret = SecretBytes::zeroed(32);
    // The first time there is no file, then another identity stands in it.
    for _ in 0..3 {
        let identity = crate::keygen::generate("now");
        let client = Client::new(&uri).unwrap().open(&KeyId::Age { recipient: identity.recipient });
        let wrapped = client.wrap(&secret).await.unwrap();
        assert_eq!(client.unwrap(&wrapped).await.unwrap_err().kind(), KeyErrorKind::NotFound);
        bulla_core::file::replace(&keys.join("keys.txt"), identity.file.expose(), 0o600).unwrap();
        assert!(client.unwrap(&wrapped).await.unwrap() == secret);
        assert!(client.unwrap(&wrapped).await.unwrap() == secret);
    }
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_socket_is_private_and_stale_ones_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listen = Listen::Unix(path.clone());

    let first = Server::bind(&listen).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A second does not take it away from the first.
    let error = Server::bind(&listen).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&format!("unix://{}", path.display())), "{error}");
    assert!(path.exists());
    drop(first);
    assert!(!path.exists());

    // What a killed server leaves.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (uri, stop, server) = start(listen, None).await;
    assert_eq!(unsupported(&uri).await.kind(), KeyErrorKind::Unsupported);
    // Not its own any more: it stays.
    std::fs::remove_file(&path).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    assert!(path.exists());
}

#[tokio::test]
async fn what_is_not_a_socket_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::File::create(&path).unwrap();
    let error = Server::bind(&Listen::Unix(path.clone())).await.err().unwrap();
    assert!(error.to_string().contains("not a socket"), "{error}");
    assert!(path.is_file());
    let long = folder.path().join("x".repeat(200));
    assert!(Server::bind(&Listen::Unix(long)).await.is_err());
    let error = Server::bind(&Listen::Tcp("no port".into())).await.err().unwrap();
    assert!(error.to_string().starts_with("cannot listen on tcp://no port: "), "{error}");
}

#[tokio::test]
async fn a_person_is_asked_before_anything_is_done_and_one_thing_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let prompt = {
        let (asked, running) = (asked.clone(), AtomicUsize::new(0));
        Box::new(move |question: &str| {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two prompts at the same time");
            std::thread::sleep(Duration::from_millis(20));
            asked.lock().unwrap().push(question.to_owned());
            running.fetch_sub(1, Ordering::SeqCst);
            question.contains("hckms")
        })
    };
    let (uri, stop, server) = start(Listen::Unix(folder.path().join("socket")), Some(prompt)).await;
    let client = Client::new(&uri).unwrap();
    let refused = client.open(&ids()[0]);
    let (secret, wrapped) = (SecretBytes::zeroed(32), WrappedKey::new("x"));
    let (wrap, unwrap, allowed) = tokio::join!(refused.wrap(&secret), refused.unwrap(&wrapped), unsupported(&uri));
    assert_eq!(wrap.unwrap_err().kind(), KeyErrorKind::Denied);
    assert_eq!(unwrap.unwrap_err().kind(), KeyErrorKind::Denied);
    assert_eq!(allowed.kind(), KeyErrorKind::Unsupported);
    let mut asked = asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(
        asked,
        ["decrypt a data key with age age1x", "decrypt a data key with hckms r:i", "encrypt a data key with age age1x",]
    );
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_finished_after_the_server_was_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let prompt = Box::new(move |_: &str| {
        asked.send(()).unwrap();
        // Longer than idle connections are waited for.
        std::thread::sleep(Duration::from_millis(1500));
        true
    });
    let (uri, stop, server) = start(Listen::Unix(folder.path().join("socket")), Some(prompt)).await;
    let request = tokio::spawn(async move { unsupported(&uri).await });
    was_asked.recv().await.unwrap();
    stop.send(()).unwrap();
    assert_eq!(request.await.unwrap().kind(), KeyErrorKind::Unsupported);
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_that_ask_for_nothing_do_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let (uri, stop, server) = start(Listen::Unix(path.clone()), None).await;
    let silent = tokio::net::UnixStream::connect(&path).await.unwrap();
    let client = Client::new(&uri).unwrap();
    let idle = client.open(&KeyId::HuaweiKms { key_id: "r:i".into() });
    assert_eq!(idle.unwrap(&WrappedKey::new("x")).await.unwrap_err().kind(), KeyErrorKind::Unsupported);
    let started = Instant::now();
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(silent);
}

proptest! {
    #[test]
    fn no_uri_of_a_key_service_makes_its_parser_panic(text in "\\PC{0,60}", tail in "[a-z0-9:/@.\\[\\]-]{0,40}") {
        for uri in [text, format!("tcp://{tail}"), format!("unix:{tail}"), format!("unix://{tail}")] {
            let _ = client::Target::parse(&uri).is_ok();
        }
    }
}
