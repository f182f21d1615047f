//! Transit engines, against the real OpenBao and the real sops.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService, SecretBytes, WrappedKey};
use bulla_kms::{Options, Registry};
use serde_json::json;
use tempfile::TempDir;

use crate::bao::Keys;
use bulla_test_support::bao::{Bao, ROOT, with_root};
use bulla_test_support::fake::{Answer, Fake};
use bulla_test_support::{SOPS, Server, program, sops, unused_address};

#[tokio::test]
async fn a_data_key_and_a_share_of_one_come_back() {
    let bao = Bao::shared();
    let service = open(&with_root(), &bao.key());
    for length in [32, 33] {
        let plaintext = SecretBytes::random(length).unwrap();
        let wrapped = service.wrap(&plaintext).await.unwrap();
        assert!(wrapped.as_str().starts_with("vault:v1:"));
        assert!(service.unwrap(&wrapped).await.unwrap() == plaintext);
    }
}

#[tokio::test]
async fn the_first_wrap_makes_a_key_that_is_not_there_as_sops_lets_it() {
    let bao = Bao::shared();
    let mount = bao.mount("team/a/transit");
    let id = KeyId::parse_vault_transit(&format!("{}/v1/{mount}/keys/new", bao.url())).unwrap();
    round_trip(&open(&with_root(), &id)).await;
}

#[tokio::test]
async fn a_rotated_key_opens_what_its_first_version_wrapped() {
    let bao = Bao::shared();
    let (path, id) = bao.key_at();
    let service = open(&with_root(), &id);
    let plaintext = SecretBytes::random(32).unwrap();
    let old = service.wrap(&plaintext).await.unwrap();
    bao.call("POST", &format!("{path}/rotate"), &json!({}));
    let new = service.wrap(&plaintext).await.unwrap();
    assert!(new.as_str().starts_with("vault:v2:"));
    for wrapped in [&old, &new] {
        assert!(service.unwrap(wrapped).await.unwrap() == plaintext);
    }
    bao.call("POST", &format!("{path}/config"), &json!({ "min_decryption_version": 2 }));
    let error = failure(service.unwrap(&old).await);
    assert_eq!(error.kind(), KeyErrorKind::BadCiphertext, "{error}");
    assert!(error.hint().unwrap().contains("min_decryption_version"), "{error:?}");
}

#[tokio::test]
async fn a_damaged_or_foreign_wrapped_key_is_named_as_such() {
    let bao = Bao::shared();
    let (service, other) = (open(&with_root(), &bao.key()), open(&with_root(), &bao.key()));
    let foreign = other.wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
    for wrapped in ["", "rubbish", "vault:v1:AAAA", "vault:v9:AAAA", "vault:v1:!!", foreign.as_str()] {
        let error = failure(service.unwrap(&WrappedKey::new(wrapped)).await);
        assert_eq!(error.kind(), KeyErrorKind::BadCiphertext, "{wrapped}: {error}");
    }
}

#[tokio::test]
async fn a_key_or_mount_that_is_not_there_is_not_found() {
    let bao = Bao::shared();
    let wrapped = open(&with_root(), &bao.key()).wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
    for (path, word) in [(format!("{}/keys/absent", bao.mount("t")), "key"), ("nowhere/keys/k".to_owned(), "mount")] {
        let id = KeyId::parse_vault_transit(&format!("{}/v1/{path}", bao.url())).unwrap();
        let error = failure(open(&with_root(), &id).unwrap(&wrapped).await);
        assert_eq!(error.kind(), KeyErrorKind::NotFound, "{error}");
        assert!(error.hint().unwrap().contains(word), "{error:?}");
    }
}

#[tokio::test]
async fn a_wrong_token_and_a_missing_policy_are_denied_and_the_token_is_not_shown() {
    let bao = Bao::shared();
    let powerless = bao.call("POST", "auth/token/create", &json!({ "policies": ["default"] }));
    let powerless = powerless["auth"]["client_token"].as_str().unwrap();
    for token in ["s.wrong-token", powerless] {
        let mut env = with_root();
        env.insert("VAULT_TOKEN".into(), token.into());
        let error = failure(open(&env, &bao.key()).wrap(&SecretBytes::random(32).unwrap()).await);
        assert_eq!(error.kind(), KeyErrorKind::Denied, "{error}");
        assert!(error.to_string().contains("permission denied"), "{error}");
        assert!(!format!("{error:?}").contains(token), "{error:?}");
    }
}

#[tokio::test]
async fn the_token_of_vault_login_is_found_in_the_home_folder() {
    let bao = Bao::shared();
    let home = TempDir::new().unwrap();
    let mut env = with_root();
    env.remove("VAULT_TOKEN");
    env.insert("HOME".into(), home.path().to_str().unwrap().into());
    let id = bao.key();
    let error = failure(open(&env, &id).wrap(&SecretBytes::random(32).unwrap()).await);
    assert_eq!(error.kind(), KeyErrorKind::NotFound);
    assert!(error.to_string().contains("VAULT_TOKEN and ~/.vault-token"), "{error}");
    let file = home.path().join(".vault-token");
    std::fs::write(&file, format!("{ROOT}\n")).unwrap();
    for (mode, warns) in [(0o600, false), (0o640, true)] {
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        round_trip(&open(&env, &id)).await;
        let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(logged.contains(&format!("chmod 600 {}", file.display())), warns, "{mode:o}: {logged}");
        assert!(!logged.contains(ROOT));
    }
}

/// Collects what is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_namespace_is_asked_for() {
    let bao = Bao::shared();
    bao.call("POST", "sys/namespaces/team", &json!({}));
    bao.call_in("team/", "POST", "sys/mounts/transit", &json!({ "type": "transit" }));
    bao.call_in("team/", "POST", "transit/keys/k", &json!({}));
    let id = KeyId::parse_vault_transit(&format!("{}/v1/transit/keys/k", bao.url())).unwrap();
    let mut env = with_root();
    env.insert("VAULT_NAMESPACE".into(), "team".into());
    round_trip(&open(&env, &id)).await;
    env.remove("VAULT_NAMESPACE");
    let error = failure(open(&env, &id).wrap(&SecretBytes::random(32).unwrap()).await);
    assert!(error.hint().unwrap().contains("VAULT_NAMESPACE"), "{error:?}");
}

#[tokio::test]
async fn a_sealed_server_says_so() {
    let bao = Bao::start();
    let id = bao.key();
    bao.call("POST", "sys/seal", &json!({}));
    let error = failure(open(&with_root(), &id).wrap(&SecretBytes::random(32).unwrap()).await);
    assert_eq!(error.kind(), KeyErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("sealed") && error.hint().unwrap().contains("unseal"), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_down_is_said_to_be_unreachable() {
    let id = KeyId::parse_vault_transit(&format!("http://{}/v1/transit/keys/k", unused_address())).unwrap();
    let error = failure(open(&with_root(), &id).unwrap(&WrappedKey::new("vault:v1:AAAA")).await);
    assert_eq!(error.kind(), KeyErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");

    let id = KeyId::parse_vault_transit("https://no-such-host.invalid/v1/transit/keys/k").unwrap();
    let error = failure(open(&with_root(), &id).unwrap(&WrappedKey::new("vault:v1:AAAA")).await);
    assert!(matches!(error.kind(), KeyErrorKind::Unreachable | KeyErrorKind::Timeout), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_and_named() {
    let server = Fake::silent();
    let id = KeyId::parse_vault_transit(&format!("{}/v1/transit/keys/slow", server.url())).unwrap();
    let mut env = with_root();
    env.insert("VAULT_CLIENT_TIMEOUT".into(), "500ms".into());
    let started = Instant::now();
    let error = failure(open(&env, &id).unwrap(&WrappedKey::new("vault:v1:AAAA")).await);
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_eq!(error.kind(), KeyErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("keys/slow"), "{error}");
    assert!(error.hint().unwrap().contains("VAULT_CLIENT_TIMEOUT"));
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_not_forever() {
    let count = |server: &Fake| server.seen().len();
    for status in [429, 503] {
        let tries = Mutex::new(0);
        let server = Fake::answering(move |_| {
            let mut tries = tries.lock().unwrap();
            *tries += 1;
            if *tries < 3 {
                Answer(status, vec![("Retry-After", "0".into())], json!({ "errors": ["busy"] }).to_string())
            } else {
                Answer(200, vec![], json!({ "data": { "ciphertext": "vault:v1:x" } }).to_string())
            }
        });
        let id = KeyId::parse_vault_transit(&format!("{}/v1/transit/keys/k", server.url())).unwrap();
        let wrapped = open(&with_root(), &id).wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
        assert_eq!(wrapped.as_str(), "vault:v1:x");
        assert_eq!(count(&server), 3);
    }
    let server = Fake::answering(|_| Answer(500, vec![], "<html>proxy error</html>".into()));
    let id = KeyId::parse_vault_transit(&format!("{}/v1/transit/keys/k", server.url())).unwrap();
    let error = failure(open(&with_root(), &id).wrap(&SecretBytes::random(32).unwrap()).await);
    assert_eq!(error.kind(), KeyErrorKind::Other);
    assert!(error.to_string().contains("HTTP status 500") && !error.to_string().contains("html"), "{error}");
    assert_eq!(count(&server), 3);
}

#[tokio::test]
async fn what_a_hostile_server_says_stays_within_bounds() {
    let loud = Fake::answering(|_| {
        let said = format!("token {ROOT}\u{1b}[2J is {}", "bad ".repeat(500));
        Answer(400, vec![], json!({ "errors": [said] }).to_string())
    });
    let id = |server: &Fake| KeyId::parse_vault_transit(&format!("{}/v1/transit/keys/k", server.url())).unwrap();
    let error = failure(open(&with_root(), &id(&loud)).unwrap(&WrappedKey::new("x")).await);
    let text = error.to_string();
    assert!(!text.contains(ROOT) && !text.contains('\u{1b}') && text.len() < 1000, "{text}");

    let endless = Fake::answering(|_| Answer(200, vec![], "x".repeat(3 << 20)));
    let error = failure(open(&with_root(), &id(&endless)).unwrap(&WrappedKey::new("x")).await);
    assert!(error.to_string().contains("more than"), "{error}");

    for answer in
        ["", "[]", "{}", r#"{"data": {}}"#, r#"{"data": {"plaintext": "%"}}"#, r#"{"data": {"plaintext": 5}}"#]
    {
        let odd = Fake::answering(move |_| Answer(200, vec![], answer.to_owned()));
        let error = failure(open(&with_root(), &id(&odd)).unwrap(&WrappedKey::new("x")).await);
        assert_eq!(error.kind(), KeyErrorKind::Other, "{answer}");
    }
}

#[tokio::test]
async fn a_redirect_is_followed_once_and_never_to_another_scheme() {
    let bao = Bao::shared();
    let (path, _) = bao.key_at();
    let sending_to = |target: String| {
        Fake::answering(move |request| {
            Answer(307, vec![("Location", format!("{target}{}", request.path))], String::new())
        })
    };
    let id = |server: &Fake| KeyId::parse_vault_transit(&format!("{}/v1/{path}", server.url())).unwrap();
    let standby = sending_to(bao.url());
    round_trip(&open(&with_root(), &id(&standby))).await;

    let mut env = with_root();
    env.insert("VAULT_DISABLE_REDIRECTS".into(), "true".into());
    let other_scheme = sending_to(bao.url().replace("http:", "https:"));
    let twice = sending_to(standby.url());
    for (env, server) in [(&env, &standby), (&with_root(), &other_scheme)] {
        let error = failure(open(env, &id(server)).unwrap(&WrappedKey::new("x")).await);
        assert!(error.to_string().contains("redirects to"), "{error}");
    }
    assert!(open(&with_root(), &id(&twice)).unwrap(&WrappedKey::new("x")).await.is_err());
}

#[tokio::test]
async fn an_agent_is_asked_instead_of_the_server_and_needs_no_with_root() {
    let agent = Fake::answering(|request| {
        assert!(!request.head.to_ascii_lowercase().contains("x-vault-token"));
        assert!(request.head.to_ascii_lowercase().contains("x-vault-request: true"));
        assert_eq!(request.method, "POST");
        Answer(200, vec![], json!({ "data": { "ciphertext": "vault:v1:agent" } }).to_string())
    });
    let env = BTreeMap::from([("VAULT_AGENT_ADDR".to_owned(), agent.url())]);
    let id = KeyId::parse_vault_transit("https://no-such-host.invalid/v1/transit/keys/k").unwrap();
    let wrapped = open(&env, &id).wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
    assert_eq!(wrapped.as_str(), "vault:v1:agent");
}

#[tokio::test]
async fn a_proxy_that_adds_a_token_of_its_own_needs_none_from_us() {
    let adding = Fake::answering(|request| {
        assert!(!request.head.to_ascii_lowercase().contains("x-vault-token"));
        Answer(200, vec![], json!({ "data": { "ciphertext": "vault:v1:proxy" } }).to_string())
    });
    let id = KeyId::parse_vault_transit(&format!("{}/v1/transit/keys/k", adding.url())).unwrap();
    let wrapped = open(&BTreeMap::new(), &id).wrap(&SecretBytes::random(32).unwrap()).await.unwrap();
    assert_eq!(wrapped.as_str(), "vault:v1:proxy");
}

#[tokio::test]
async fn a_proxy_is_gone_through_but_for_this_machine() {
    let proxy = Fake::answering(|_| Answer(200, vec![], json!({ "data": { "ciphertext": "vault:v1:p" } }).to_string()));
    let remote = KeyId::parse_vault_transit("http://vault.invalid:8200/v1/transit/keys/k").unwrap();
    let plaintext = SecretBytes::random(32).unwrap();
    for name in ["VAULT_PROXY_ADDR", "VAULT_HTTP_PROXY", "HTTP_PROXY", "http_proxy"] {
        let mut env = with_root();
        env.insert(name.into(), proxy.url());
        assert_eq!(open(&env, &remote).wrap(&plaintext).await.unwrap().as_str(), "vault:v1:p", "{name}");
        assert_eq!(proxy.seen().last().unwrap().path, "http://vault.invalid:8200/v1/transit/encrypt/k");
    }
    let asked = proxy.seen().len();
    let mut env = with_root();
    env.insert("HTTP_PROXY".into(), proxy.url());
    round_trip(&open(&env, &Bao::shared().key())).await;
    env.insert("NO_PROXY".into(), "vault.invalid".into());
    assert!(open(&env, &remote).wrap(&plaintext).await.is_err());
    assert_eq!(proxy.seen().len(), asked);
}

#[tokio::test]
async fn a_certificate_is_believed_as_the_variables_say() {
    let bao = Bao::with_tls();
    let id = KeyId::parse_vault_transit(&format!("https://{}/v1/transit/keys/k", bao.0.address)).unwrap();
    let file = |name: &str| bao.0.folder.path().join(name).to_str().unwrap().to_owned();
    let authority = std::fs::read_to_string(file("vault-ca.pem")).unwrap();
    std::fs::create_dir(file("authorities")).unwrap();
    std::fs::copy(file("vault-ca.pem"), file("authorities/ca.pem")).unwrap();
    let with = |variables: &[(&str, String)]| {
        let mut env = with_root();
        env.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        env
    };
    for good in [
        &[("VAULT_CACERT", file("vault-ca.pem"))][..],
        &[("VAULT_CACERT_BYTES", authority)],
        &[("VAULT_CAPATH", file("authorities"))],
        &[("VAULT_SKIP_VERIFY", "1".to_owned())],
        &[("VAULT_CACERT", file("vault-ca.pem")), ("VAULT_TLS_SERVER_NAME", "localhost".to_owned())],
    ] {
        round_trip(&open(&with(good), &id)).await;
    }
    for (bad, hint) in [
        (&[][..], "VAULT_CACERT"),
        (
            &[("VAULT_CACERT", file("vault-ca.pem")), ("VAULT_TLS_SERVER_NAME", "other.example".to_owned())],
            "VAULT_TLS_SERVER_NAME",
        ),
    ] {
        let error = failure(open(&with(bad), &id).unwrap(&WrappedKey::new("x")).await);
        assert_eq!(error.kind(), KeyErrorKind::Unreachable, "{error}");
        assert!(error.to_string().contains("certificate") && error.hint().unwrap().contains(hint), "{error:?}");
    }
    for bad in [
        ("VAULT_CACERT", file("vault-key.pem")),
        ("VAULT_CLIENT_CERT", file("vault-cert.pem")),
        ("VAULT_TLS_SERVER_NAME", "127.0.0.9".to_owned()),
    ] {
        let error = failure(open(&with(std::slice::from_ref(&bad)), &id).unwrap(&WrappedKey::new("x")).await);
        assert_eq!(error.kind(), KeyErrorKind::BadConfig, "{error}");
        assert!(error.to_string().contains(bad.0), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_ours_is_shown_to_a_server_that_asks_for_one() {
    let made = Bao::with_tls();
    let file = |name: &str| made.0.folder.path().join(name).to_str().unwrap().to_owned();
    let strict = Server::start(
        |address, folder| {
            let config = json!({
                "storage": { "inmem": {} },
                "listener": { "tcp": {
                    "address": address.to_string(),
                    "tls_cert_file": file("vault-cert.pem"), "tls_key_file": file("vault-key.pem"),
                    "tls_require_and_verify_client_cert": true, "tls_client_ca_file": file("vault-ca.pem"),
                } },
                "disable_mlock": true,
            });
            std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
            let mut command = Command::new(program("venv/bin/bao"));
            command.arg("server").arg(format!("-config={}", folder.join("config.json").display()));
            command
        },
        |address| TcpStream::connect(address).is_ok(),
    );
    let id = KeyId::parse_vault_transit(&format!("https://{}/v1/transit/keys/k", strict.address)).unwrap();
    let mut env = with_root();
    env.insert("VAULT_CACERT".into(), file("vault-ca.pem"));
    let error = failure(open(&env, &id).unwrap(&WrappedKey::new("x")).await);
    assert!(error.to_string().contains("could not be reached"), "{error}");
    env.insert("VAULT_CLIENT_CERT".into(), file("vault-cert.pem"));
    env.insert("VAULT_CLIENT_KEY".into(), file("vault-key.pem"));
    let error = failure(open(&env, &id).unwrap(&WrappedKey::new("x")).await);
    assert!(error.to_string().contains("refused /v1/transit"), "the server itself answers now: {error}");
}

#[tokio::test]
async fn sops_and_we_open_each_others_data_keys() {
    let bao = Bao::shared();
    let env: Vec<(String, String)> = with_root().into_iter().collect();
    for version in SOPS {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("plain.yaml"), "password: hunter2\n").unwrap();
        let id = bao.key();
        let uri = id.to_string();
        let flags = ["--encrypt", "--hc-vault-transit", &uri, "plain.yaml"];
        let file = sops(version, folder.path(), &env, &flags).unwrap();

        let enc =
            file.lines().find_map(|line| line.trim_start_matches([' ', '-']).strip_prefix("enc:")).unwrap().trim();
        let service = open(&with_root(), &id);
        let data_key = service.unwrap(&WrappedKey::new(enc)).await.unwrap();
        assert_eq!(data_key.len(), 32, "sops {version}");

        let rewrapped = service.wrap(&data_key).await.unwrap();
        std::fs::write(folder.path().join("ours.yaml"), file.replace(enc, rewrapped.as_str())).unwrap();
        let opened = sops(version, folder.path(), &env, &["--decrypt", "ours.yaml"]).unwrap();
        assert_eq!(opened, "password: hunter2\n", "sops {version}");
    }
}

pub(crate) fn open(env: &BTreeMap<String, String>, id: &KeyId) -> Arc<dyn KeyService> {
    Registry::new(Arc::new(env.clone()), Options::default()).open(id).unwrap()
}

pub(crate) async fn round_trip(service: &Arc<dyn KeyService>) {
    let plaintext = SecretBytes::random(32).unwrap();
    let wrapped = service.wrap(&plaintext).await.unwrap();
    assert!(service.unwrap(&wrapped).await.unwrap() == plaintext);
}

pub(crate) fn failure<T>(result: Result<T, KeyError>) -> KeyError {
    result.err().expect("this must fail")
}
