//! The real `bao` command line against ours.

use std::process::{Command, Output};
use std::sync::Arc;

use bulla_server::http::Opened;
use bulla_server::storage::Memory;
use bulla_test_support::program;
use serde_json::Value;

use crate::ours::{Ours, ROOT};

struct Shell {
    ours: Ours,
    home: tempfile::TempDir,
}

impl Shell {
    fn run(&self, token: &str, arguments: &[&str]) -> Output {
        Command::new(program("venv/bin/bao"))
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("BAO_ADDR", format!("http://{}", self.ours.address))
            .env("BAO_TOKEN", token)
            .output()
            .unwrap()
    }

    /// What a command prints; it must go well.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(ROOT, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {} {}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (command, rest) = arguments.split_at(arguments.len().min(2));
        serde_json::from_str(&self.ok(&[command, &["-format=json"], rest].concat())).unwrap()
    }
}

#[test]
fn the_real_command_line_does_its_daily_work() {
    let shell = Shell { ours: Ours::dev(), home: tempfile::tempdir().unwrap() };
    assert!(shell.ok(&["status"]).contains("Sealed"));
    shell.ok(&["kv", "put", "secret/app", "password=hunter2", "user=bob"]);
    assert_eq!(shell.ok(&["kv", "get", "-field=password", "secret/app"]), "hunter2");
    shell.ok(&["kv", "patch", "secret/app", "user=al"]);
    assert_eq!(shell.json(&["kv", "get", "secret/app"])["data"]["data"]["user"], "al");
    shell.ok(&["kv", "delete", "secret/app"]);
    shell.ok(&["kv", "undelete", "-versions=2", "secret/app"]);
    shell.ok(&["kv", "rollback", "-version=1", "secret/app"]);
    assert_eq!(shell.ok(&["kv", "get", "-field=user", "secret/app"]), "bob");
    shell.ok(&["kv", "metadata", "put", "-custom-metadata=a=b", "secret/app"]);
    assert!(shell.ok(&["kv", "metadata", "get", "secret/app"]).contains("map[a:b]"));
    assert!(shell.ok(&["kv", "list", "secret"]).contains("app"));
    shell.ok(&["kv", "destroy", "-versions=1", "secret/app"]);
    shell.ok(&["secrets", "enable", "-path=plain", "-version=1", "kv"]);
    shell.ok(&["kv", "put", "plain/x", "a=b"]);
    assert_eq!(shell.ok(&["kv", "get", "-field=a", "plain/x"]), "b");
    assert!(shell.ok(&["secrets", "list"]).contains("plain/"));
    shell.ok(&["secrets", "tune", "-default-lease-ttl=1h", "plain"]);
    shell.ok(&["secrets", "disable", "plain"]);

    shell.ok(&["secrets", "enable", "transit"]);
    shell.ok(&["write", "-f", "transit/keys/app"]);
    let sealed = shell.ok(&["write", "-field=ciphertext", "transit/encrypt/app", "plaintext=aGVsbG8="]);
    assert!(sealed.starts_with("vault:v1:"));
    shell.ok(&["write", "-f", "transit/keys/app/rotate"]);
    let sealed = shell.ok(&["write", "-field=ciphertext", "transit/rewrap/app", &format!("ciphertext={sealed}")]);
    let opened = shell.ok(&["write", "-field=plaintext", "transit/decrypt/app", &format!("ciphertext={sealed}")]);
    assert_eq!((&sealed[..9], opened.as_str()), ("vault:v2:", "aGVsbG8="));
    assert!(shell.ok(&["list", "transit/keys"]).contains("app"));
    shell.ok(&["write", "transit/keys/app/config", "deletion_allowed=true"]);
    shell.ok(&["delete", "transit/keys/app"]);

    let policy = shell.home.path().join("p.hcl");
    bulla_core::file::replace(&policy, b"path \"secret/data/*\" { capabilities = [\"read\"] }", 0o600).unwrap();
    shell.ok(&["policy", "write", "reader", policy.to_str().unwrap()]);
    assert!(shell.ok(&["policy", "list"]).contains("reader"));
    assert!(shell.ok(&["policy", "read", "reader"]).contains("secret/data/*"));

    let token = shell.json(&["token", "create", "-policy=reader", "-ttl=1h"]);
    let token = token["auth"]["client_token"].as_str().unwrap();
    assert!(shell.run(token, &["kv", "get", "secret/app"]).status.success());
    let denied = shell.run(token, &["kv", "put", "secret/app", "a=b"]);
    assert_eq!(denied.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&denied.stderr).contains("permission denied"));
    assert!(shell.ok(&["token", "capabilities", token, "secret/data/app"]).contains("read"));
    assert!(shell.run(token, &["token", "renew"]).status.success());
    assert!(shell.ok(&["token", "lookup", token]).contains("reader"));
    shell.ok(&["token", "revoke", token]);
    assert!(!shell.run(token, &["token", "lookup"]).status.success());

    shell.ok(&["auth", "enable", "userpass"]);
    shell.ok(&["write", "auth/userpass/users/bob", "password=pw", "token_policies=reader"]);
    shell.ok(&["login", "-method=userpass", "username=bob", "password=pw"]);
    assert!(shell.ok(&["auth", "list"]).contains("userpass/"));

    let wrapped = shell.json(&["kv", "get", "-wrap-ttl=60", "secret/app"]);
    let wrapped = wrapped["wrap_info"]["token"].as_str().unwrap();
    assert!(shell.ok(&["unwrap", wrapped]).contains("hunter2") || shell.ours.core.is_sealed());
    assert!(!shell.run(ROOT, &["unwrap", wrapped]).status.success());

    shell.ok(&["operator", "key-status"]);
    shell.ok(&["path-help", "secret/data/x"]);
    shell.ok(&["operator", "seal"]);
    assert_eq!(shell.run(ROOT, &["status"]).status.code(), Some(2));
}

#[test]
fn the_real_command_line_makes_root_tokens_and_new_shares() {
    let opened = Opened { generate_root: true, rekey: true, metrics: false };
    let ours = Ours::opened(Arc::new(Memory::default()), Vec::new(), Vec::new(), opened);
    let shell = Shell { ours, home: tempfile::tempdir().unwrap() };
    let json = |token: &str, arguments: &[&str]| -> Value {
        let output = shell.run(token, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {} {}", text(&output.stdout), text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| Value::String(text(&output.stdout).trim().to_owned()))
    };
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let made = json("", &["operator", "init", "-format=json", "-n=3", "-t=2"]);
    let (root, shares) = (made["root_token"].as_str().unwrap(), texts(&made["unseal_keys_b64"]));
    for share in &shares[..2] {
        json("", &["operator", "unseal", "-format=json", share]);
    }
    // Whoever has a token: the peer's program goes to the other paths only where there are none of these.
    let begun = json(root, &["operator", "generate-root", "-init", "-format=json"]);
    let nonce = format!("-nonce={}", begun["nonce"].as_str().unwrap());
    json(root, &["operator", "generate-root", &nonce, "-format=json", &shares[2]]);
    assert_eq!(json(root, &["operator", "generate-root", "-status", "-format=json"])["progress"], 1);
    let done = json(root, &["operator", "generate-root", &nonce, "-format=json", &shares[0]]);
    let encoded = format!("-decode={}", done["encoded_token"].as_str().unwrap());
    let otp = format!("-otp={}", begun["otp"].as_str().unwrap());
    let decoded = json(root, &["operator", "generate-root", &encoded, &otp]);
    assert!(shell.run(decoded.as_str().unwrap(), &["token", "lookup"]).status.success(), "{decoded}");
    let begun = json("", &["operator", "rekey", "-init", "-verify", "-n=2", "-t=2", "-format=json"]);
    let nonce = format!("-nonce={}", begun["nonce"].as_str().unwrap());
    json("", &["operator", "rekey", &nonce, "-format=json", &shares[0]]);
    let done = json("", &["operator", "rekey", &nonce, "-format=json", &shares[1]]);
    let (new, nonce) =
        (texts(&done["keys_base64"]), format!("-nonce={}", done["verification_nonce"].as_str().unwrap()));
    for share in &new {
        json("", &["operator", "rekey", "-verify", &nonce, "-format=json", share]);
    }
    let begun = json(root, &["operator", "rotate-keys", "-init", "-n=1", "-t=1", "-format=json"]);
    let begun = begun.get("data").cloned().unwrap_or(begun);
    let nonce = format!("-nonce={}", begun["nonce"].as_str().unwrap());
    json(root, &["operator", "rotate-keys", &nonce, "-format=json", &new[0]]);
    let done = json(root, &["operator", "rotate-keys", &nonce, "-format=json", &new[1]]);
    let done = done.get("data").cloned().unwrap_or(done);
    assert!(shell.run(root, &["operator", "seal"]).status.success());
    let last = texts(&done["keys_base64"]);
    assert_eq!(json("", &["operator", "unseal", "-format=json", &last[0]])["sealed"], false);
}
