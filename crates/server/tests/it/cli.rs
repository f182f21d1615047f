//! The real `bao` command line against ours.

use std::process::{Command, Output};

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
