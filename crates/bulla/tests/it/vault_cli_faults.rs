//! Under the name `vault`: servers that answer oddly, or not at all; and a server's first hours.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bulla_test_support::{Server, http, program};

const TOKEN: &str = "s.hunter2hunter2hunter2hu";

/// A folder with the program under the name `vault`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    symlink(env!("CARGO_BIN_EXE_bulla"), folder.path().join("vault")).unwrap();
    folder
}

fn vault(folder: &tempfile::TempDir, address: &str, token: &str, arguments: &str) -> Output {
    let mut command = Command::new(folder.path().join("vault"));
    command.env_clear().env("HOME", folder.path()).env("VAULT_ADDR", address).env("VAULT_TOKEN", token);
    command.env("VAULT_CLIENT_TIMEOUT", "2").stdin(Stdio::null());
    command.args(arguments.split(' ').filter(|word| !word.is_empty())).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server that gives everybody one answer: all of a connection's bytes.
fn answering(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked);
                if answer.is_empty() {
                    std::thread::sleep(Duration::from_mins(1));
                }
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    address
}

const COMMANDS: &[&str] = &[
    "status",
    "read secret/x",
    "read -field=a secret/x",
    "read -format=json secret/x",
    "write secret/x a=b",
    "list secret",
    "delete secret/x",
    "patch secret/x a=b",
    "kv get secret/x",
    "kv get -format=yaml secret/x",
    "kv put secret/x a=b",
    "kv patch secret/x a=b",
    "kv list secret",
    "kv delete secret/x",
    "kv undelete -versions=1 secret/x",
    "kv rollback -version=1 secret/x",
    "kv metadata get secret/x",
    "kv metadata put secret/x",
    "token create",
    "token lookup",
    "token renew",
    "token revoke -self",
    "token capabilities secret/x",
    "login -no-store s.hunter2hunter2hunter2hu",
    "login -no-store -method=userpass username=a password=hunter2",
    "lease lookup x",
    "lease revoke x",
    "policy list",
    "policy read x",
    "auth list",
    "auth list -detailed",
    "secrets list -detailed",
    "secrets list -format=json",
    "secrets move a b",
    "audit list -detailed",
    "operator init",
    "operator init -status",
    "operator unseal x",
    "operator key-status",
    "operator rotate",
    "operator generate-root -init",
    "operator generate-root -generate-otp",
    "operator generate-root -nonce=x x",
    "operator rekey -status",
    "operator rekey -nonce=x x",
    "unwrap s.hunter2hunter2hunter2hu",
    "path-help x",
    "version-history",
];

macro_rules! answer {
    ($status:literal, $kind:literal, $body:literal) => {
        concat!("HTTP/1.1 ", $status, "\r\nContent-Type: ", $kind, "\r\nConnection: close\r\n\r\n", $body)
    };
}

#[test]
fn odd_answers_are_told_and_nothing_panics_and_no_token_is_shown() {
    let folder = folder();
    let answers = [
        answer!("502 Bad Gateway", "text/html", "<html>\u{1b}[31mBad gateway</html>"),
        answer!("200 OK", "text/html", "<html>a page for people</html>"),
        answer!("200 OK", "application/json", "null"),
        answer!("200 OK", "application/json", "{}"),
        answer!("200 OK", "application/json", r#"{"data":null,"auth":null,"wrap_info":null,"warnings":null}"#),
        answer!(
            "200 OK",
            "application/json",
            r#"{"data":{"data":null,"metadata":null,"keys":null,"versions":[]},"auth":{},"wrap_info":{}}"#
        ),
        answer!(
            "200 OK",
            "application/json",
            r#"{"data":{"keys":[1,null],"data":{},"metadata":{"version":"x"},"secret/":5,"x/":null},"auth":[],"lease_duration":-5}"#
        ),
        answer!("204 No Content", "application/json", ""),
        answer!("404 Not Found", "application/json", r#"{"errors":[]}"#),
        answer!("400 Bad Request", "application/json", r#"{"errors":[null,{"a":1}],"data":"hunter2"}"#),
        answer!("307 Temporary Redirect", "text/plain", ""),
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"data\":",
        "nonsense\r\n\r\n",
    ];
    for answer in answers {
        let address = format!("http://{}", answering(answer));
        for command in COMMANDS {
            let output = vault(&folder, &address, TOKEN, command);
            let shown = text(&output.stderr);
            assert!(output.status.code().is_some_and(|code| code <= 2), "{command}: {answer}: {output:?}");
            assert!(!shown.contains("panicked") && !shown.contains("hunter2"), "{command}: {answer}: {shown}");
            assert!(!shown.contains('\u{1b}'), "{command}: {answer}: {shown}");
        }
    }
}

#[test]
fn a_server_that_says_nothing_is_waited_for_no_longer_than_was_said() {
    let folder = folder();
    let started = Instant::now();
    let output = vault(&folder, &format!("http://{}", answering("")), TOKEN, "read secret/x");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no answer within 2 s"), "{output:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_new_server_is_initialized_unsealed_and_gives_another_root_token() {
    let folder = folder();
    let start = |address: SocketAddr, place: &std::path::Path| {
        let config = format!(
            "storage \"inmem\" {{}}\ndisable_mlock = true\nlistener \"tcp\" {{\n  address = \"{address}\"\n  tls_disable = true\n}}\n"
        );
        let path = place.join("server.hcl");
        bulla_core::file::replace(&path, config.as_bytes(), 0o600).unwrap();
        let mut command = Command::new(program("venv/bin/bao"));
        command.arg("server").arg(format!("-config={}", path.display())).env("HOME", place);
        command
    };
    let server = Server::start(start, |address| http(address, "GET", "/v1/sys/health", &[], "").0 == 501);
    let run = |token: &str, arguments: &str| vault(&folder, &server.url(), token, arguments);
    let ok = |token: &str, arguments: &str| {
        let output = run(token, arguments);
        assert!(output.status.success(), "{arguments}: {output:?}");
        text(&output.stdout)
    };
    let field = |shown: &str, name: &str| {
        let line = shown
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name}: {shown}"));
        line[name.len()..].trim().to_owned()
    };
    assert_eq!(run("", "operator init -status").status.code(), Some(2));
    assert_eq!(run("", "status").status.code(), Some(2));
    let made: serde_json::Value = serde_json::from_str(&ok("", "operator init -n 3 -t 2 -format=json")).unwrap();
    let key = |number: usize| made["unseal_keys_b64"][number].as_str().unwrap().to_owned();
    assert_eq!((&made["unseal_shares"], &made["unseal_threshold"]), (&3.into(), &2.into()));
    assert_eq!(run("", "operator init -status").status.code(), Some(0));
    assert_eq!(field(&ok("", &format!("operator unseal {}", key(0))), "Unseal Progress"), "1/2");
    assert_eq!(field(&ok("", "operator unseal -reset"), "Unseal Progress"), "0/2");
    ok("", &format!("operator unseal {}", key(1)));
    assert_eq!(field(&ok("", &format!("operator unseal {}", key(2))), "Sealed"), "false");
    assert_eq!(run("", "status").status.code(), Some(0));

    let root = made["root_token"].as_str().unwrap();
    let begun = ok(root, "operator generate-root -init");
    let (nonce, otp) = (field(&begun, "Nonce"), field(&begun, "OTP  "));
    ok(root, &format!("operator generate-root -nonce={nonce} {}", key(0)));
    let done = ok(root, &format!("operator generate-root -nonce={nonce} {}", key(1)));
    let another = ok("", &format!("operator generate-root -decode={} -otp={otp}", field(&done, "Encoded Token")));
    assert!(ok(&another, "token lookup").contains("[root]"));

    let begun = ok(root, "operator rotate-keys -init -key-shares=1 -key-threshold=1");
    let nonce = field(&begun, "Nonce");
    ok(root, &format!("operator rotate-keys -nonce={nonce} {}", key(0)));
    let done = ok(root, &format!("operator rotate-keys -nonce={nonce} {}", key(1)));
    let new = done.lines().find_map(|line| line.strip_prefix("Key 1: ")).unwrap_or_else(|| panic!("{done}"));
    ok(root, "operator rotate");
    ok(root, "operator seal");
    assert_eq!(field(&ok("", &format!("operator unseal {new}")), "Sealed"), "false");
}
