//! `bulla server` with `initialize` blocks: the program itself, and the real OpenBao with the same blocks.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bulla_test_support::bao::Bao;
use bulla_test_support::patience::Patience;
use bulla_test_support::{http, unused_address};
use serde_json::{Value, json};

const SEAL: &str = "seal \"static\" {\n  current_key_id = \"1\"\n  current_key = \"KEY\"\n}\n";

/// A user who may read, and what there is to read.
const BLOCKS: &str = r#"
initialize "identity" {
  request "mount-userpass" {
    operation = "update"
    path = "sys/auth/userpass"
    data = {
      "type" = "userpass"
      "path" = "userpass"
    }
  }
  request "add-admin" {
    operation = "update"
    path = "auth/userpass/users/admin"
    data = {
      "password" = { eval_source = "file" eval_type = "string" path = "FOLDER/password" }
      "token_policies" = ["reader"]
    }
  }
}
initialize "secrets" {
  request "policy" {
    operation = "update"
    path = "sys/policies/acl/reader"
    data = {
      policy = <<-EOF
        path "kv/*" { capabilities = ["read", "list"] }
        path "sys/policies/acl/reader" { capabilities = ["read"] }
      EOF
    }
  }
  request "kv" {
    operation = "update"
    path = "sys/mounts/kv"
    data = { type = "kv" }
  }
  request "twice" {
    operation = "update"
    path = "sys/mounts/kv"
    data = { type = "kv" }
    allow_failure = true
  }
  request "write" {
    operation = "update"
    path = "kv/x"
    data = { a = "1" list = ["b", "c"] object = { d = "e" } none = { eval_source = "env" eval_type = "string" env_var = "BULLA_TEST_NOT_SET" } }
  }
  request "read" {
    operation = "read"
    path = "kv/x"
  }
  request "copy" {
    operation = "update"
    path = "kv/y"
    data = {
      a = { eval_source = "response" eval_type = "string" initialize_name = "secrets" response_name = "read" field_selector = ["data", "a"] }
      number = { eval_source = "response" eval_type = "int" initialize_name = "secrets" response_name = "read" field_selector = ["data", "a"] }
      list = { eval_source = "response" eval_type = "[]string" initialize_name = "secrets" response_name = "read" field_selector = ["data", "list"] }
      whole = { eval_source = "request" eval_type = "map" initialize_name = "secrets" request_name = "write" field_selector = ["map", "object"] }
      path = { eval_source = "request" eval_type = "any" initialize_name = "secrets" request_name = "write" field_selector = "path" }
    }
  }
}
"#;

fn blocks(folder: &Path) -> String {
    std::fs::File::create(folder.join("password")).unwrap().write_all(b"correct horse").unwrap();
    BLOCKS.replace("FOLDER", folder.to_str().unwrap())
}

fn configuration(folder: &Path, address: SocketAddr, rest: &str) -> PathBuf {
    let path = folder.join("server.hcl");
    let text = format!(
        "listener \"tcp\" {{\n  address = \"{address}\"\n  tls_disable = true\n}}\nstorage \"embedded\" {{ path = \"{}\" }}\n{rest}",
        folder.join("data").display(),
    );
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    path
}

fn seal() -> String {
    SEAL.replace("KEY", &"ab".repeat(32))
}

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bulla"));
    command.args(["server", "-config"]).arg(config).stdin(Stdio::null());
    command
}

/// A server, killed when dropped.
struct Running(Child);

impl Running {
    fn start(config: &Path, address: SocketAddr) -> Self {
        let running = Self(command(config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        wait_until_open(address);
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until_open(address: SocketAddr) {
    let patience = Patience::default();
    while http(address, "GET", "/v1/sys/health", &[], "").0 != 200 {
        assert!(patience.is_left(), "it is not ready");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ask(address: SocketAddr, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = http(address, method, &format!("/v1/{path}"), &[("X-Vault-Token", token)], &body);
    (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
}

/// What the user who was made finds: each answer's status and data.
fn looks(address: SocketAddr) -> Vec<(u16, Value)> {
    let (status, login) =
        ask(address, "", "POST", "auth/userpass/login/admin", &json!({ "password": "correct horse" }));
    assert_eq!(status, 200, "{login}");
    let token = login["auth"]["client_token"].as_str().unwrap().to_owned();
    let mut seen = vec![(status, login["auth"]["policies"].clone())];
    for path in ["kv/x", "kv/y", "kv?list=true", "sys/policies/acl/reader", "sys/auth", "kv/none"] {
        let (status, mut answer) = ask(address, &token, "GET", path, &Value::Null);
        // When it was written.
        answer["data"].as_object_mut().map(|data| data.remove("modified"));
        seen.push((status, answer["data"].clone()));
    }
    seen
}

#[test]
fn the_blocks_make_what_they_make_in_the_peer_and_a_restart_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let address = unused_address();
    let blocks = blocks(folder.path());
    let config = configuration(folder.path(), address, &format!("{}{blocks}", seal()));
    let server = Running::start(&config, address);
    let ours = looks(address);
    assert_eq!(ours[2].1["number"], 1, "{ours:?}");
    let bao = Bao::with_config("", &format!("{}{blocks}", seal()));
    wait_until_open(bao.0.address);
    assert_eq!(ours, looks(bao.0.address));
    drop(server);
    // What was read is not needed any more.
    std::fs::remove_file(folder.path().join("password")).unwrap();
    let _server = Running::start(&config, address);
    assert_eq!(ours, looks(address));
}

#[test]
fn one_that_fails_half_way_serves_nothing_and_is_not_opened_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let address = unused_address();
    let failing = "initialize \"last\" {\n  request \"bogus\" {\n    operation = \"update\"\n    path = \"sys/foo/bar\"\n  }\n}\n";
    let config = configuration(folder.path(), address, &format!("{}{}{failing}", seal(), blocks(folder.path())));
    let first = command(&config).output().unwrap();
    let text = String::from_utf8_lossy(&first.stderr);
    assert!(!first.status.success() && text.contains("initialize \"last\", request \"bogus\""), "{text}");
    assert!(!text.contains("correct horse"));
    // Nor when the blocks are right, or not there any more.
    for rest in [format!("{}{}", seal(), blocks(folder.path())), seal()] {
        let config = configuration(folder.path(), address, &rest);
        let next = command(&config).output().unwrap();
        let text = String::from_utf8_lossy(&next.stderr);
        assert!(!next.status.success() && text.contains("did not finish") && text.contains("\"bogus\""), "{text}");
    }
    std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    let config = configuration(folder.path(), address, &format!("{}{}", seal(), blocks(folder.path())));
    let _server = Running::start(&config, address);
    assert_eq!(looks(address)[0].0, 200);
}

#[test]
fn killed_at_any_moment_it_is_done_whole_or_not_opened() {
    let (mut whole, mut refused) = (0, 0);
    for round in 0..24 {
        let folder = tempfile::tempdir().unwrap();
        let address = unused_address();
        let config = configuration(folder.path(), address, &format!("{}{}", seal(), blocks(folder.path())));
        let mut child = command(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(5 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        // The next start makes what was not begun, has what was done, or says that it was not.
        let mut child = command(&config).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let patience = Patience::default();
        loop {
            if http(address, "GET", "/v1/sys/health", &[], "").0 == 200 {
                assert_eq!(looks(address)[1].0, 200, "round {round}");
                whole += 1;
                break;
            }
            if child.try_wait().unwrap().is_some_and(|status| !status.success()) {
                refused += 1;
                break;
            }
            assert!(patience.is_left(), "round {round}: neither");
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(whole > 0, "{whole} {refused}");
}

#[test]
fn an_audit_file_that_cannot_be_made_is_put_right_without_emptying_the_storage() {
    let folder = tempfile::tempdir().unwrap();
    let address = unused_address();
    let device = |path: &str| format!("audit \"file\" \"f\" {{ options {{ file_path = \"{path}\" }} }}\n");
    let rest = |path: &str| format!("{}{}{}", seal(), device(path), blocks(folder.path()));
    let config = configuration(folder.path(), address, &rest("/none/audit.log"));
    for _ in 0..2 {
        let output = command(&config).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains("audit device f/"), "{text}");
    }
    let log = folder.path().join("audit.log");
    let config = configuration(folder.path(), address, &rest(log.to_str().unwrap()));
    let _server = Running::start(&config, address);
    assert_eq!(looks(address)[1].0, 200);
}

#[test]
fn people_with_shares_are_told_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let address = unused_address();
    let config = configuration(folder.path(), address, &blocks(folder.path()));
    let output = command(&config).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("seal \"static\"") && text.contains("shares"), "{text}");
}

#[test]
fn an_audit_device_with_a_wrong_option_is_heard_of_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let address = unused_address();
    let device = "audit \"socket\" \"s\" { options { address = \"127.0.0.1\" } }\n";
    let config = configuration(folder.path(), address, device);
    let output = command(&config).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("audit device s/") && text.contains("HOST:PORT"), "{text}");
}
