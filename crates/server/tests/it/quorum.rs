//! People with shares of a key.

use std::sync::Arc;
use std::time::Duration;

use bulla_server::http::Opened;
use bulla_server::logical::TokenText;
use bulla_server::seal::AutoSeal;
use bulla_server::seal::fixed::Fixed;
use bulla_server::storage::{Embedded, Memory, Storage};
use serde_json::{Value, json};

use crate::ours::{Ours, ROOT, audit_file};

const OPENED: Opened = Opened { generate_root: true, rekey: true, metrics: false };

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn initialize(ours: &Ours) -> (String, Vec<String>) {
    let (status, made) = ours.ask("", "PUT", "sys/init", r#"{"secret_shares":3,"secret_threshold":2}"#);
    assert_eq!(status, 200, "{made}");
    (made["root_token"].as_str().unwrap().to_owned(), texts(&made["keys_base64"]))
}

/// Gives shares one after the other; the last answer.
fn give(ours: &Ours, path: &str, shares: &[String], nonce: &Value) -> (u16, Value) {
    let mut last = (0, Value::Null);
    for share in shares {
        last = ours.ask("", "PUT", path, &json!({ "key": share, "nonce": nonce }).to_string());
    }
    last
}

fn unseal(ours: &Ours, shares: &[String]) -> bool {
    give(ours, "sys/unseal", shares, &Value::Null).1["sealed"] == json!(false)
}

#[test]
fn what_anybody_could_cancel_is_there_where_a_listener_says_so() {
    let ours = Ours::dev();
    for path in ["sys/generate-root/attempt", "sys/rekey/init", "sys/rekey/verify", "sys/rekey-recovery-key/init"] {
        for token in ["", ROOT] {
            assert_eq!(ours.ask(token, "GET", path, "").0, 405, "{path}");
            assert_eq!(ours.ask(token, "DELETE", path, "").0, 405, "{path}");
        }
    }
    for path in ["sys/generate-root-token/attempt", "sys/rotate/root/init", "sys/rekey/backup"] {
        assert_eq!(ours.ask("", "GET", path, "").0, 403, "{path}");
        assert!(matches!(ours.ask(ROOT, "GET", path, "").0, 200 | 400), "{path}");
    }
    let sealed = Ours::opened(Arc::new(Memory::default()), Vec::new(), Vec::new(), OPENED);
    assert_eq!(sealed.ask("", "GET", "sys/rekey/init", "").0, 503);
    assert_eq!(sealed.ask("", "PUT", "sys/generate-root/attempt", "{}").0, 503);
}

#[test]
fn a_recovery_key_that_nobody_has_is_made_by_who_may_do_everything() {
    let seals: Vec<Arc<dyn AutoSeal>> =
        vec![Arc::new(Fixed::new("1".to_owned(), bulla_core::DataKey::generate().unwrap()))];
    let ours = Ours::opened(Arc::new(Memory::default()), seals, Vec::new(), OPENED);
    let (_, made) = ours.ask("", "PUT", "sys/init", "{}");
    let root = made["root_token"].as_str().unwrap().to_owned();
    assert_eq!(ours.ask("", "PUT", "sys/generate-root/attempt", "{}").0, 400);
    let policy = json!({ "policy": "path \"sys/rotate/*\" { capabilities = [\"create\", \"update\", \"read\"] }" });
    assert_eq!(ours.ask(&root, "PUT", "sys/policies/acl/p", &policy.to_string()).0, 204);
    let (_, token) = ours.ask(&root, "POST", "auth/token/create", r#"{"policies":["p"]}"#);
    let token = token["auth"]["client_token"].as_str().unwrap();
    let wanted = r#"{"secret_shares":3,"secret_threshold":2}"#;
    // Whoever has the recovery key has everything.
    assert_eq!(ours.ask(token, "PUT", "sys/rotate/recovery/init", wanted).0, 403);
    let (status, made) = ours.ask(&root, "PUT", "sys/rotate/recovery/init", wanted);
    assert_eq!((status, &made["data"]["complete"]), (200, &json!(true)), "{made}");
    let shares = texts(&made["data"]["keys_base64"]);
    let (_, attempt) = ours.ask("", "PUT", "sys/generate-root/attempt", "{}");
    let (_, done) = give(&ours, "sys/generate-root/update", &shares[1..], &attempt["nonce"]);
    assert_eq!(done["complete"], json!(true), "{done}");
}

#[test]
fn a_new_root_token_and_new_shares_are_good_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = || loop {
        if let Ok(storage) = Embedded::open(&folder.path().join("db")) {
            return Arc::new(storage) as Arc<dyn Storage>;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let ours = Ours::opened(open(), Vec::new(), Vec::new(), OPENED);
    let (root, old) = initialize(&ours);
    assert!(unseal(&ours, &old[..2]));
    assert_eq!(ours.ask(&root, "POST", "sys/mounts/s", r#"{"type":"kv"}"#).0, 204);
    assert_eq!(ours.ask(&root, "POST", "s/x", r#"{"a":"b"}"#).0, 204);
    let (_, attempt) = ours.ask("", "PUT", "sys/generate-root/attempt", "{}");
    let (_, done) = give(&ours, "sys/generate-root/update", &old[1..], &attempt["nonce"]);
    let decode = json!({ "encoded_token": done["encoded_token"], "otp": attempt["otp"] }).to_string();
    let made = ours.ask("", "PUT", "sys/decode-token", &decode).1["data"]["token"].as_str().unwrap().to_owned();
    let (_, begun) = ours.ask("", "PUT", "sys/rekey/init", r#"{"secret_shares":5,"secret_threshold":3}"#);
    let (_, done) = give(&ours, "sys/rekey/update", &old[..2], &begun["nonce"]);
    let new = texts(&done["keys"]);
    let Ours { core, runtime, .. } = ours;
    runtime.block_on(core.seal());
    drop((core, runtime));
    let ours = Ours::opened(open(), Vec::new(), Vec::new(), OPENED);
    assert!(!unseal(&ours, &old), "the old shares are of no use");
    ours.ask("", "PUT", "sys/unseal", r#"{"reset":true}"#);
    assert!(unseal(&ours, &new[2..]));
    assert_eq!(ours.ask(&made, "GET", "s/x", "").1["data"]["a"], "b");
    assert_eq!(ours.ask(&made, "POST", "auth/token/revoke-self", "").0, 204);
}

#[test]
fn what_people_do_is_written_down_without_what_they_bring_and_get() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let ours = Ours::opened(Arc::new(Memory::default()), Vec::new(), vec![audit_file(&path)], OPENED);
    let root = TokenText::new(ROOT.to_owned());
    let dev = ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(root))).unwrap();
    let share = hex(dev.unseal_key.expose());
    let (_, attempt) = ours.ask("", "PUT", "sys/generate-root/attempt", "{}");
    let (_, token) = give(&ours, "sys/generate-root/update", std::slice::from_ref(&share), &attempt["nonce"]);
    let (_, begun) = ours.ask(ROOT, "PUT", "sys/rotate/root/init", r#"{"secret_shares":3,"secret_threshold":2}"#);
    let body = json!({ "key": share, "nonce": begun["data"]["nonce"] }).to_string();
    let (status, made) = ours.ask(ROOT, "PUT", "sys/rotate/root/update", &body);
    assert_eq!(status, 200, "{made}");
    let log = std::fs::read_to_string(&path).unwrap();
    let mut secrets = vec![share];
    secrets.extend([&attempt["otp"], &token["encoded_token"]].map(|text| text.as_str().unwrap().to_owned()));
    secrets.extend(texts(&made["data"]["keys"]));
    secrets.extend(texts(&made["data"]["keys_base64"]));
    for secret in secrets {
        assert!(!secret.is_empty() && !log.contains(&secret), "{secret}");
    }
    for asked in ["sys/generate-root/attempt", "sys/generate-root/update", "sys/rotate/root/update"] {
        assert!(log.lines().any(|line| line.contains(asked) && line.contains("\"type\":\"response\"")), "{asked}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
