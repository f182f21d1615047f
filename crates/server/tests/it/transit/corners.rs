//! Many at once, broken backups, large batches, a seal in between: what an attacker or an accident would try.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla_server::logical::TokenText;
use bulla_server::storage::Memory;
use serde_json::{Value, json};

use super::{PLAIN, Server, both};
use crate::ours::{Ours, ROOT, audit_file};

/// The backup of a key, as JSON.
fn opened(server: &dyn Server, name: &str) -> Value {
    let backup = server.text("GET", &format!("backup/{name}"), Value::Null, "backup");
    serde_json::from_slice(&STANDARD.decode(backup).unwrap()).unwrap()
}

#[test]
fn a_key_is_rotated_when_its_time_has_come_and_at_its_next_use() {
    let (_, ours) = both();
    let server: &dyn Server = &ours;
    let made = json!({ "exportable": true, "allow_plaintext_backup": true, "auto_rotate_period": "1h" });
    server.call("POST", "keys/k", made);
    let sealed = server.text("POST", "encrypt/k", json!({ "plaintext": PLAIN }), "ciphertext");
    assert!(sealed.starts_with("vault:v1:"));
    let mut backup = opened(server, "k");
    backup["policy"]["keys"]["1"]["time"] = json!("2020-01-01T00:00:00Z");
    let backup = STANDARD.encode(backup.to_string());
    server.call("POST", "restore/k", json!({ "backup": backup, "force": true }));
    // Reading what is old makes nothing new.
    assert_eq!(server.text("POST", "decrypt/k", json!({ "ciphertext": sealed }), "plaintext"), PLAIN);
    assert_eq!(server.call("GET", "keys/k", Value::Null)["data"]["latest_version"], 1);
    for _ in 0..2 {
        let sealed = server.text("POST", "encrypt/k", json!({ "plaintext": PLAIN }), "ciphertext");
        assert!(sealed.starts_with("vault:v2:"), "{sealed}");
    }
}

#[test]
fn of_many_who_come_when_a_key_is_due_one_rotates_it() {
    let (_, ours) = both();
    let server: &dyn Server = &ours;
    for (name, kind) in [("a", "aes256-gcm96"), ("r", "rsa-2048")] {
        let made =
            json!({ "type": kind, "exportable": true, "allow_plaintext_backup": true, "auto_rotate_period": "1h" });
        server.call("POST", &format!("keys/{name}"), made);
        let backup = server.text("GET", &format!("backup/{name}"), Value::Null, "backup");
        // The numbers of an RSA key are too large for a general parser.
        let backup = String::from_utf8(STANDARD.decode(backup).unwrap()).unwrap();
        let backup = backup.replace("\"time\":\"20", "\"time\":\"19");
        let body = json!({ "backup": STANDARD.encode(backup), "force": true });
        server.call("POST", &format!("restore/{name}"), body);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let body = json!({ "plaintext": PLAIN }).to_string();
                    let answer = ours.root("POST", &format!("transit/encrypt/{name}"), &body);
                    assert_eq!(answer["data"]["key_version"], 2, "{name}");
                });
            }
        });
        assert_eq!(server.call("GET", &format!("keys/{name}"), Value::Null)["data"]["latest_version"], 2);
    }
}

#[test]
fn a_backup_that_no_server_wrote_is_refused() {
    let (_, ours) = both();
    let server: &dyn Server = &ours;
    let open = json!({ "exportable": true, "allow_plaintext_backup": true });
    server.call("POST", "keys/k", open.clone());
    server.call("POST", "keys/e", json!({ "type": "ecdsa-p256", "exportable": true, "allow_plaintext_backup": true }));
    let whole = opened(server, "k");
    let curve = opened(server, "e");
    let refused = |change: &dyn Fn(&mut Value), of: &Value| {
        let mut backup = of.clone();
        change(&mut backup);
        let body = json!({ "backup": STANDARD.encode(backup.to_string()) }).to_string();
        let (status, answer) = ours.ask(ROOT, "POST", "transit/restore/other", &body);
        assert_eq!(status, 500, "{backup} {answer}");
        assert_eq!(ours.ask(ROOT, "GET", "transit/keys/other", "").0, 404);
    };
    let changes: &[&dyn Fn(&mut Value)] = &[
        &|all| *all = json!({}),
        &|all| *all = json!({ "policy": 7 }),
        &|all| all["policy"]["type"] = json!(99),
        &|all| all["policy"]["type"] = json!(1),
        &|all| all["policy"]["latest_version"] = json!(2),
        &|all| all["policy"]["latest_version"] = json!(u64::MAX),
        &|all| all["policy"]["latest_version"] = json!(0),
        &|all| all["policy"]["min_decryption_version"] = json!(2),
        &|all| all["policy"]["min_encryption_version"] = json!(-1),
        &|all| all["policy"]["min_available_version"] = json!(2),
        &|all| all["policy"]["auto_rotate_period"] = json!(1_000_000_000),
        &|all| all["policy"]["convergent_encryption"] = json!(true),
        &|all| all["policy"]["derived"] = json!(true),
        &|all| all["policy"]["version_template"] = json!("x{{version}}"),
        &|all| all["policy"]["keys"]["1"]["key"] = json!("YQ=="),
        &|all| all["policy"]["keys"]["1"]["key"] = json!("!"),
        &|all| all["policy"]["keys"]["1"]["time"] = json!("yesterday"),
        &|all| all["policy"]["keys"] = json!([]),
        &|all| all["policy"]["exportable"] = json!("yes"),
    ];
    for change in changes {
        refused(change, &whole);
    }
    let of_curve: &[&dyn Fn(&mut Value)] = &[
        &|all| all["policy"]["keys"]["1"]["ec_x"] = json!(1),
        &|all| all["policy"]["keys"]["1"]["ec_d"] = json!(0),
        &|all| all["policy"]["keys"]["1"]["ec_y"] = json!(null),
        &|all| all["policy"]["keys"]["1"]["ec_d"] = json!("1"),
    ];
    for change in of_curve {
        refused(change, &curve);
    }
}

#[test]
fn what_is_kept_in_memory_is_what_is_stored() {
    let (_, ours) = both();
    let server: &dyn Server = &ours;
    server.call("POST", "keys/k", json!({}));
    // Many rotate and encrypt at once: no version is lost, and all that was encrypted opens.
    let sealed: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..5)
                        .map(|_| {
                            ours.root("POST", "transit/keys/k/rotate", "");
                            let body = json!({ "plaintext": PLAIN }).to_string();
                            let answer = ours.root("POST", "transit/encrypt/k", &body);
                            answer["data"]["ciphertext"].as_str().unwrap().to_owned()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let shown = server.call("GET", "keys/k", Value::Null)["data"].clone();
    assert_eq!(shown["latest_version"], 41);
    assert_eq!(shown["keys"].as_object().unwrap().len(), 41);
    for sealed in &sealed {
        assert_eq!(server.text("POST", "decrypt/k", json!({ "ciphertext": sealed }), "plaintext"), PLAIN);
    }
    // What is forbidden is forbidden at once, what is gone is gone at once.
    server.call("POST", "keys/k/config", json!({ "min_decryption_version": 41, "min_encryption_version": 41 }));
    let old = |version: u64| format!("vault:v{version}:{}", sealed[0].rsplit(':').next().unwrap());
    for version in [1, 2, 40] {
        let body = json!({ "ciphertext": old(version) }).to_string();
        assert_eq!(ours.ask(ROOT, "POST", "transit/decrypt/k", &body).0, 400);
        for path in ["encrypt/k", "datakey/wrapped/k", "hmac/k"] {
            let body = json!({ "plaintext": "", "input": "", "key_version": version }).to_string();
            assert_eq!(ours.ask(ROOT, "POST", &format!("transit/{path}"), &body).0, 400, "{path}");
        }
    }
    // A mount that comes back is empty.
    ours.root("DELETE", "sys/mounts/transit", "");
    assert_eq!(ours.ask(ROOT, "GET", "transit/keys/k", "").0, 404);
    ours.root("POST", "sys/mounts/transit", r#"{"type":"transit"}"#);
    assert_eq!(ours.ask(ROOT, "GET", "transit/keys/k", "").0, 404);
}

#[test]
fn keys_are_there_again_after_the_seal_and_not_before() {
    let ours = Ours::sealed(Arc::new(Memory::default()), Vec::new(), Vec::new());
    let made = ours.ask("", "PUT", "sys/init", r#"{"secret_shares":1,"secret_threshold":1}"#).1;
    let (root, share) = (made["root_token"].as_str().unwrap(), json!({ "key": made["keys"][0] }).to_string());
    assert_eq!(ours.ask("", "PUT", "sys/unseal", &share).0, 200);
    assert_eq!(ours.ask(root, "POST", "sys/mounts/transit", r#"{"type":"transit"}"#).0, 204);
    let body = json!({ "plaintext": PLAIN }).to_string();
    let sealed = ours.ask(root, "POST", "transit/encrypt/k", &body).1["data"]["ciphertext"].clone();
    let body = json!({ "ciphertext": sealed }).to_string();
    assert_eq!(ours.ask(root, "POST", "transit/decrypt/k", &body).1["data"]["plaintext"], PLAIN);
    assert_eq!(ours.ask(root, "PUT", "sys/seal", "").0, 204);
    assert_eq!(ours.ask(root, "POST", "transit/decrypt/k", &body).0, 503);
    assert_eq!(ours.ask("", "PUT", "sys/unseal", &share).0, 200);
    assert_eq!(ours.ask(root, "POST", "transit/decrypt/k", &body).1["data"]["plaintext"], PLAIN);
}

#[test]
fn encrypting_needs_create_to_make_a_key_and_audit_shows_no_plaintext() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let ours = Ours::sealed(Arc::new(Memory::default()), Vec::new(), vec![audit_file(&path)]);
    ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(TokenText::new(ROOT.to_owned())))).unwrap();
    ours.root("POST", "sys/mounts/transit", r#"{"type":"transit"}"#);
    ours.root("POST", "transit/keys/k", "");
    let rules = r#"path "transit/encrypt/*" { capabilities = ["update"] }"#;
    ours.root("POST", "sys/policies/acl/p", &json!({ "policy": rules }).to_string());
    let token = ours.root("POST", "auth/token/create", r#"{"policies":["p"]}"#);
    let token = token["auth"]["client_token"].as_str().unwrap();
    let batch = json!({ "batch_input": [{ "plaintext": PLAIN }, { "plaintext": PLAIN }] }).to_string();
    assert_eq!(ours.ask(token, "POST", "transit/encrypt/new", &batch).0, 403);
    assert_eq!(ours.ask(ROOT, "GET", "transit/keys/new", "").0, 404);
    let (status, answer) = ours.ask(token, "POST", "transit/encrypt/k", &batch);
    assert_eq!(status, 200);
    assert_eq!(ours.ask(token, "POST", "transit/decrypt/k", "{}").0, 403);
    let body = json!({ "batch_input": answer["data"]["batch_results"] }).to_string();
    let opened = ours.root("POST", "transit/decrypt/k", &body);
    assert_eq!(opened["data"]["batch_results"][1]["plaintext"], PLAIN);
    ours.root("POST", "transit/datakey/plaintext/k", "");
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(log.contains("batch_results") && log.contains("hmac-sha256:"));
    assert!(!log.contains(PLAIN) && !log.contains("vault:v1:"));
}

#[test]
fn a_batch_is_bounded_and_a_large_one_goes_through() {
    let (_, ours) = both();
    let batch = |count: usize| json!({ "batch_input": vec![json!({ "plaintext": PLAIN }); count] }).to_string();
    let answer = ours.root("POST", "transit/encrypt/k", &batch(10_000));
    assert_eq!(answer["data"]["batch_results"].as_array().unwrap().len(), 10_000);
    let (status, answer) = ours.ask(ROOT, "POST", "transit/encrypt/k", &batch(10_001));
    assert_eq!(status, 413, "{answer}");
}

#[test]
fn convergent_ciphertexts_with_other_associated_data_have_other_nonces() {
    let (bao, own) = both();
    let (theirs, ours): (&dyn Server, &dyn Server) = (&bao, &own);
    let made =
        json!({ "derived": true, "convergent_encryption": true, "exportable": true, "allow_plaintext_backup": true });
    ours.call("POST", "keys/k", made);
    let backup = ours.text("GET", "backup/k", Value::Null, "backup");
    theirs.call("POST", "restore/k", json!({ "backup": backup }));
    let seal = |aad: &str| {
        let body = json!({ "plaintext": PLAIN, "context": "YQ==", "associated_data": aad });
        ours.text("POST", "encrypt/k", body, "ciphertext")
    };
    let nonce = |text: &str| STANDARD.decode(text.rsplit(':').next().unwrap()).unwrap()[..12].to_vec();
    let (plain, one, two) = (seal(""), seal("YQ=="), seal("Yg=="));
    assert_eq!(one, seal("YQ=="));
    assert!(nonce(&plain) != nonce(&one) && nonce(&one) != nonce(&two) && nonce(&plain) != nonce(&two));
    let asked = json!({ "ciphertext": two, "context": "YQ==", "associated_data": "Yg==" });
    assert_eq!(theirs.text("POST", "decrypt/k", asked, "plaintext"), PLAIN);
}
