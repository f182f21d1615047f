//! The key service with the real sops at the other end.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bulla_core::{KeyErrorKind, SecretBytes};
use bulla_kms::groups::{Services, unwrap_data_key, wrap_data_key};
use bulla_kms::keyservice::{Client, Listen, Prompt, Server};
use bulla_test_support::{SOPS, program, sops};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::sops::{AgeKey, File, environment, registry};

const PLAIN: &str = "{\n\t\"password\": \"hunter2\"\n}\n";

/// Where a test listens: each way there is.
fn addresses(folder: &Path) -> [Listen; 2] {
    [Listen::Tcp("127.0.0.1:0".into()), Listen::Unix(folder.join("socket"))]
}

/// Our server with one age key.
async fn serve(
    listen: Listen,
    key: &AgeKey,
    home: &Path,
    prompt: Option<Prompt>,
) -> (String, oneshot::Sender<()>, JoinHandle<std::io::Result<()>>) {
    let server = Server::bind(&listen).await.unwrap();
    let uri = server.uri().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { stopped.await.unwrap_or(()) };
    (uri, stop, tokio::spawn(server.serve(registry(&[key], home), prompt, shutdown)))
}

/// The real sops without any key of its own.
async fn remotely(version: &'static str, folder: &Path, uri: &str, arguments: &[&str]) -> Result<String, String> {
    let mut all = vec![arguments[0], "--enable-local-keyservice=false", "--keyservice", uri];
    all.extend(&arguments[1..]);
    let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
    let folder = folder.to_owned();
    let run = move || sops(version, &folder, &[], &all.iter().map(String::as_str).collect::<Vec<_>>());
    // sops breaks its messages into lines, with a bar before each.
    let one_line =
        |text: String| text.split([' ', '\n', '|']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    tokio::task::spawn_blocking(run).await.unwrap().map_err(one_line)
}

#[tokio::test]
async fn sops_encrypts_and_decrypts_through_our_server_on_tcp_and_unix() {
    let key = AgeKey::generate();
    for version in SOPS {
        let folder = TempDir::new().unwrap();
        for listen in addresses(folder.path()) {
            std::fs::write(folder.path().join("file.json"), PLAIN).unwrap();
            let (uri, stop, server) = serve(listen, &key, folder.path(), None).await;
            remotely(version, folder.path(), &uri, &["encrypt", "--age", &key.recipient, "-i", "file.json"])
                .await
                .unwrap();
            let text = remotely(version, folder.path(), &uri, &["decrypt", "file.json"]).await;
            assert_eq!(text.as_deref(), Ok(PLAIN), "sops {version} on {uri}");
            if uri.starts_with("unix:") {
                // The other ways in which gRPC writes the same socket.
                for uri in [format!("unix:{}", folder.path().join("socket").display()), "unix:socket".to_owned()] {
                    let text = remotely(version, folder.path(), &uri, &["decrypt", "file.json"]).await;
                    assert_eq!(text.as_deref(), Ok(PLAIN), "sops {version} on {uri}");
                }
            }
            stop.send(()).unwrap();
            server.await.unwrap().unwrap();
            // It was not some key of its own.
            assert!(remotely(version, folder.path(), &uri, &["decrypt", "file.json"]).await.is_err());
        }
    }
}

#[tokio::test]
async fn what_our_server_refuses_sops_reports_with_our_reason() {
    let (key, other) = (AgeKey::generate(), AgeKey::generate());
    for version in SOPS {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("file.json"), PLAIN).unwrap();
        sops(version, folder.path(), &[], &["encrypt", "--age", &key.recipient, "-i", "file.json"]).unwrap();
        let (uri, _stop, _server) = serve(Listen::Tcp("127.0.0.1:0".into()), &other, folder.path(), None).await;
        let error = remotely(version, folder.path(), &uri, &["decrypt", "file.json"]).await.unwrap_err();
        assert!(error.contains("code = NotFound") && error.contains(&key.recipient), "sops {version}: {error}");
    }
}

#[tokio::test]
async fn a_person_at_our_server_decides_for_sops() {
    let key = AgeKey::generate();
    let folder = TempDir::new().unwrap();
    let asked = Arc::<AtomicUsize>::default();
    let prompt = {
        let asked = asked.clone();
        // Yes to the first, no from then on.
        Box::new(move |question: &str| {
            assert!(question.contains("crypt a data key with age age1"), "{question}");
            asked.fetch_add(1, Ordering::SeqCst) == 0
        })
    };
    let (uri, _stop, _server) = serve(Listen::Tcp("127.0.0.1:0".into()), &key, folder.path(), Some(prompt)).await;
    std::fs::write(folder.path().join("file.json"), PLAIN).unwrap();
    remotely(SOPS[1], folder.path(), &uri, &["encrypt", "--age", &key.recipient, "-i", "file.json"]).await.unwrap();
    let error = remotely(SOPS[1], folder.path(), &uri, &["decrypt", "file.json"]).await.unwrap_err();
    assert!(error.contains("PermissionDenied") && error.contains("the request was refused"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

/// A key service of the real sops that has `key`, and its URI.
fn sops_server(version: &str, network: &str, key: &AgeKey) -> (bulla_test_support::Server, String) {
    let sockets = TempDir::new().unwrap();
    // Kept until the test process ends: the server outlives this function.
    let socket = sockets.keep().join("socket");
    let command = |address: std::net::SocketAddr, folder: &Path| {
        let place = if network == "unix" { socket.display().to_string() } else { address.to_string() };
        let mut command = Command::new(program(&format!("bin/sops-{version}")));
        command.args(["keyservice", "--network", network, "--address", &place]);
        command.env_clear().env("SOPS_DISABLE_VERSION_CHECK", "1").envs(environment(&[key], folder));
        command
    };
    let server = bulla_test_support::Server::start(command, |address| match network {
        "unix" => std::os::unix::net::UnixStream::connect(&socket).is_ok(),
        _ => std::net::TcpStream::connect(address).is_ok(),
    });
    let uri = match network {
        "unix" => format!("unix://{}", socket.display()),
        _ => format!("tcp://{}", server.address),
    };
    (server, uri)
}

#[tokio::test]
async fn our_client_wraps_and_unwraps_through_the_server_of_sops_on_tcp_and_unix() {
    let key = AgeKey::generate();
    for version in SOPS {
        for network in ["tcp", "unix"] {
            let (_server, uri) = sops_server(version, network, &key);
            let client = Client::new(&uri).unwrap();
            let service = client.open(&key.id());
            for len in [32, 33] {
                let secret = SecretBytes::random(len).unwrap();
                let wrapped = service.wrap(&secret).await.unwrap();
                assert!(wrapped.as_str().starts_with("-----BEGIN AGE ENCRYPTED FILE-----"));
                assert!(service.unwrap(&wrapped).await.unwrap() == secret, "sops {version} on {uri}");
            }
            // A key that it has not: its reason, with its name.
            let other = AgeKey::generate();
            let wrapped = client.open(&other.id()).wrap(&SecretBytes::zeroed(32)).await.unwrap();
            let error = client.open(&other.id()).unwrap(&wrapped).await.unwrap_err();
            assert_eq!(error.kind(), KeyErrorKind::Other);
            assert!(error.to_string().contains(&format!("key service {uri}: ")), "{error}");
        }
    }
}

#[tokio::test]
async fn the_local_service_is_asked_before_the_remote_one() {
    let (here, there) = (AgeKey::generate(), AgeKey::generate());
    let folder = TempDir::new().unwrap();
    let (_server, uri) = sops_server(SOPS[1], "tcp", &there);
    let services =
        Services { remote: vec![Client::new(&uri).unwrap()], local: Some(registry(&[&here], folder.path())) };
    let key = bulla_core::DataKey::generate().unwrap();
    let ids = [vec![here.id()], vec![there.id()]];
    let wrapped = wrap_data_key(&services, &key, &ids, None).await.unwrap();
    let groups: Vec<Vec<_>> =
        ids.iter().zip(&wrapped).map(|(ids, wrapped)| vec![(ids[0].clone(), wrapped[0].clone())]).collect();
    assert!(unwrap_data_key(&services, &groups, None, &[]).await.unwrap() == key);

    // Both answers are told where neither has the key.
    let nowhere = AgeKey::generate();
    let wrapped = wrap_data_key(&services, &key, &[vec![nowhere.id()]], None).await.unwrap();
    let group = vec![(nowhere.id(), wrapped[0][0].clone())];
    let error = unwrap_data_key(&services, &[group], None, &[]).await.unwrap_err();
    let errors: Vec<_> = error.groups[0].iter().map(ToString::to_string).collect();
    assert!(errors.len() == 2 && !errors[0].contains(&uri) && errors[1].contains(&uri), "{errors:?}");
}

/// sops' own files through our client: what its users with `--keyservice` have.
#[tokio::test]
async fn a_file_of_sops_opens_through_its_key_service() {
    let key = AgeKey::generate();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("file.json"), PLAIN).unwrap();
    sops(SOPS[0], folder.path(), &[], &["encrypt", "--age", &key.recipient, "-i", "file.json"]).unwrap();
    let groups = File::read(&folder.path().join("file.json")).groups();
    let local = Services { remote: Vec::new(), local: Some(registry(&[&key], folder.path())) };
    let expected = unwrap_data_key(&local, &groups, None, &[]).await.unwrap();
    let (_server, uri) = sops_server(SOPS[0], "unix", &key);
    let remote = Services { remote: vec![Client::new(&uri).unwrap()], local: None };
    assert!(unwrap_data_key(&remote, &groups, None, &[]).await.unwrap() == expected);
}
