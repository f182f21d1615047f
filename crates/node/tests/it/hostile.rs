//! Providers that are no providers: whatever one does, its own pods wait and are told why, and no other's are harmed.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bulla_node::mounter::Mounter;
use bulla_node::pod::{Pod, Volume};
use bulla_node::provider::{Answer, Ask, ErrorKind, Provider, ProviderError, Remote};
use bulla_node::volume::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::half::Half;

/// How long a call may take here.
const PATIENCE: Duration = Duration::from_secs(2);
/// What begins an HTTP/2 connection of a server: a frame of no settings, and that the client's are known.
const SETTINGS: [u8; 18] = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0];
/// The head of a gRPC answer on the first stream, as HPACK writes it: `:status: 200`, `content-type: application/grpc`.
const HEAD: &[u8] = b"\x88\x5f\x10application/grpc";

fn volume() -> Volume {
    let pod = Pod {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        uid: "u".to_owned(),
        service_account: "web".to_owned(),
    };
    Volume { pod, class: "app".to_owned(), tokens: BTreeMap::new(), secrets: BTreeMap::new() }
}

/// What comes of asking a provider that does this with each connection.
async fn ask<F: Future<Output = ()> + Send + 'static>(
    does: impl Fn(UnixStream) -> F + Send + 'static,
) -> Result<Answer, ProviderError> {
    let half = Half::start();
    let folder = half.folder.path().join("providers");
    fs::create_dir_all(&folder).unwrap();
    let listener = UnixListener::bind(folder.join("far.sock")).unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(does(stream));
        }
    });
    let mounter = Mounter::new(half.socket.try_clone().unwrap()).unwrap();
    let remote = Remote::new("far", mounter, 4 << 20, Limits::default()).with_patience(PATIENCE);
    let parameters = BTreeMap::new();
    let volume = volume();
    let ask = Ask {
        volume: &volume,
        parameters: &parameters,
        target: "/t",
        mode: 0o644,
        current: &[],
        place: "t",
        class: "1",
        remembered: "",
    };
    let answer = remote.fetch(&ask).await;
    serving.abort();
    answer
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Reads until the request is there.
async fn request(stream: &mut UnixStream) {
    let mut buffer = vec![0; 1 << 16];
    let mut read = 0;
    // The preface, settings, the head and its data: a few hundred bytes.
    while read < 300 {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(more) => read += more,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_answers_garbage_is_said_to() {
    for garbage in [&b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes"[..], &[0xff; 1000], b"", &[0; 10_000]] {
        let error = ask(move |mut stream| async move {
            let _ = stream.write_all(garbage).await;
        })
        .await
        .unwrap_err();
        assert!(error.provider == "far" && error.message.len() < 1000, "{error}");
    }
    // Right up to the message, which is none.
    let error = ask(|mut stream| async move {
        request(&mut stream).await;
        let data = [&[0, 0, 0, 0, 100][..], &[0xff; 100]].concat();
        let answer = [&SETTINGS[..], &frame(1, 4, 1, HEAD), &frame(0, 0, 1, &data)].concat();
        let _ = stream.write_all(&answer).await;
        std::future::pending::<()>().await;
    })
    .await
    .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_answers_is_given_up() {
    let begun = Instant::now();
    let error = ask(|mut stream| async move {
        request(&mut stream).await;
        let _ = stream.write_all(&SETTINGS).await;
        std::future::pending::<()>().await;
    })
    .await
    .unwrap_err();
    assert!(error.kind == ErrorKind::Unavailable && error.message.contains("did not answer in 2 s"), "{error}");
    assert!(begun.elapsed() < 2 * PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_announces_a_gigabyte_is_not_listened_to() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let error = ask(move |mut stream| {
        let sent = Arc::clone(&counted);
        async move {
            request(&mut stream).await;
            let length = (1_u32 << 30).to_be_bytes();
            let first = [&[0][..], &length].concat();
            let answer = [&SETTINGS[..], &frame(1, 4, 1, HEAD), &frame(0, 0, 1, &first)].concat();
            if stream.write_all(&answer).await.is_err() {
                return;
            }
            let more = frame(0, 0, 1, &[b'x'; 16 << 10]);
            while stream.write_all(&more).await.is_ok() {
                sent.fetch_add(16 << 10, Ordering::Relaxed);
            }
        }
    })
    .await
    .unwrap_err();
    assert!(error.message.contains("too large") || error.message.contains("limit"), "{error}");
    assert!(sent.load(Ordering::Relaxed) < 16 << 20, "{} bytes were taken", sent.load(Ordering::Relaxed));
}
