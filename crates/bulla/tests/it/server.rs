//! `bulla server`: the program itself, killed and started again.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bulla_test_support::patience::Patience;
use bulla_test_support::{http, unused_address};
use serde_json::{Value, json};

/// A server, killed when dropped: like a power cut.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start(arguments: &[&str], address: SocketAddr, expected: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulla"));
        command.arg("server").args(arguments);
        Self::of(command, address, expected)
    }

    /// Runs what was prepared, and waits until its health is as expected.
    pub(crate) fn of(mut command: Command, address: SocketAddr, expected: u16) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Self { child, address };
        let patience = Patience::default();
        while http(address, "GET", "/v1/sys/health", &[], "").0 != expected {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}");
            assert!(patience.is_left(), "it is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended(mut self) -> std::process::ExitStatus {
        let patience = Patience::default();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(patience.is_left(), "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, answer) = http(self.address, method, &format!("/v1/{path}"), &[("X-Vault-Token", token)], &body);
        (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_for_trying_things_out_takes_the_flags_of_the_peer() {
    let address = unused_address();
    let listen = format!("-dev-listen-address={address}");
    let server = Server::start(&["-dev", "-dev-root-token-id", "root", &listen, "-dev-no-store-token"], address, 200);
    assert_eq!(server.ask("root", "POST", "secret/data/x", &json!({ "data": { "a": 1 } })).0, 200);
    assert_eq!(server.ask("root", "GET", "secret/data/x", &Value::Null).1["data"]["data"]["a"], 1);
}

#[test]
fn what_was_acknowledged_is_there_after_every_kill() {
    let folder = tempfile::tempdir().unwrap();
    let address = unused_address();
    let config = configuration(folder.path(), address);
    let arguments = ["-config", config.to_str().unwrap()];
    let server = Server::start(&arguments, address, 501);
    // By this a client knows which kind of shares it asks for.
    assert_eq!(server.ask("", "GET", "sys/seal-status", &Value::Null).1["recovery_seal"], true);
    let (status, made) = server.ask("", "PUT", "sys/init", &json!({ "recovery_shares": 0, "recovery_threshold": 0 }));
    assert_eq!(status, 200, "{made}");
    let root = made["root_token"].as_str().unwrap().to_owned();
    assert_eq!(server.ask(&root, "POST", "sys/mounts/s", &json!({ "type": "kv-v2" })).0, 204);
    let mut server = Some(server);
    let mut written = 0;
    for round in 0..5 {
        let running = server.take().unwrap_or_else(|| Server::start(&arguments, address, 200));
        for number in 0..written {
            let (status, read) = running.ask(&root, "GET", &format!("s/data/k{number}"), &Value::Null);
            assert_eq!((status, &read["data"]["data"]["n"]), (200, &json!(number)), "round {round}");
        }
        let deadline = Instant::now() + Duration::from_millis(300);
        let acknowledged = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut number = written;
                while running.ask(&root, "POST", &format!("s/data/k{number}"), &json!({ "data": { "n": number } })).0
                    == 200
                {
                    number += 1;
                }
                number
            });
            std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
            let id = rustix::process::Pid::from_raw(i32::try_from(running.child.id()).unwrap()).unwrap();
            rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
            writer.join().unwrap()
        });
        assert!(acknowledged > written, "nothing was written in round {round}");
        written = acknowledged;
    }
}

#[test]
fn a_storage_that_somebody_has_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let address = unused_address();
    let config = configuration(folder.path(), address);
    let _server = Server::start(&["-config", config.to_str().unwrap()], address, 501);
    let second = Command::new(env!("CARGO_BIN_EXE_bulla")).args(["server", "-config"]).arg(&config).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("already open"), "{second:?}");
}

#[test]
fn plain_http_on_the_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(folder.path(), "0.0.0.0:1".parse().unwrap());
    let output = Command::new(env!("CARGO_BIN_EXE_bulla")).args(["server", "-config"]).arg(&config).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("allow_plaintext_on_the_network"), "{output:?}");
}

fn configuration(folder: &Path, address: SocketAddr) -> std::path::PathBuf {
    let text = format!(
        "listener \"tcp\" {{\n  address = \"{address}\"\n  tls_disable = true\n}}\nstorage \"embedded\" {{ path = \"{}\" }}\nseal \"static\" {{\n  current_key_id = \"1\"\n  current_key = \"{}\"\n}}\n",
        folder.join("data").display(),
        "ab".repeat(32),
    );
    let path = folder.join("server.hcl");
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    path
}

/// Whether the server shows this certificate, which is its own authority.
fn shows(address: SocketAddr, certificate: &Path) -> bool {
    let link = certificate.with_file_name("vault");
    let _ = std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bulla"), &link);
    let mut status = Command::new(&link);
    status.env_clear().env("VAULT_ADDR", format!("https://{address}")).env("VAULT_CACERT", certificate);
    // 2: it answers, and is sealed or not initialized.
    matches!(status.args(["status"]).output().unwrap().status.code(), Some(0 | 2))
}

#[test]
fn a_certificate_that_is_replaced_is_shown_without_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, secure) = (unused_address(), unused_address());
    let config = configuration(folder.path(), plain);
    let path = |name: &str| folder.path().join(name);
    let write = |path: &Path, text: &str| {
        std::fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    let listener = format!(
        "listener \"tcp\" {{\n  address = \"{secure}\"\n  tls_cert_file = \"{}\"\n  tls_key_file = \"{}\"\n}}\n",
        path("tls.crt").display(),
        path("tls.key").display(),
    );
    std::fs::File::options().append(true).open(&config).unwrap().write_all(listener.as_bytes()).unwrap();
    let made = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (first, second) = (made(), made());
    write(&path("first.crt"), &first.cert.pem());
    write(&path("second.crt"), &second.cert.pem());
    write(&path("tls.crt"), &first.cert.pem());
    write(&path("tls.key"), &first.signing_key.serialize_pem());
    let _server = Server::start(&["-config", config.to_str().unwrap()], plain, 501);
    assert!(shows(secure, &path("first.crt")) && !shows(secure, &path("second.crt")));
    // One after the other: for a while they do not go together.
    write(&path("tls.crt"), &second.cert.pem());
    std::thread::sleep(Duration::from_secs(11));
    assert!(shows(secure, &path("first.crt")), "it served nothing in between");
    write(&path("tls.key"), &second.signing_key.serialize_pem());
    let patience = Patience::default();
    while !shows(secure, &path("second.crt")) {
        assert!(patience.is_left(), "the certificate was not read again");
        std::thread::sleep(Duration::from_millis(500));
    }
}
