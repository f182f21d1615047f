//! Transit keys that go between the real OpenBao and ours: what one encrypts and signs, the other opens and verifies.

use std::sync::Arc;

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla_server::logical::TokenText;
use bulla_server::seal::fixed::Fixed;
use bulla_server::storage::Memory;
use bulla_test_support::bao::Bao;
use serde_json::{Value, json};

use crate::ours::{Ours, ROOT, audit_file};

/// A server of either kind.
trait Server {
    fn call(&self, method: &str, path: &str, body: Value) -> Value;

    fn text(&self, method: &str, path: &str, body: Value, name: &str) -> String {
        self.call(method, path, body)["data"][name].as_str().unwrap_or_else(|| panic!("{path}: no {name}")).to_owned()
    }
}

impl Server for Bao {
    fn call(&self, method: &str, path: &str, body: Value) -> Value {
        Self::call(self, method, &format!("transit/{path}"), &body)
    }
}

impl Server for Ours {
    fn call(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.root(method, &format!("transit/{path}"), &body)
    }
}

fn both() -> (Bao, Ours) {
    let (theirs, ours) = (Bao::start(), Ours::dev());
    theirs.call("POST", "sys/mounts/transit", &json!({ "type": "transit" }));
    ours.root("POST", "sys/mounts/transit", r#"{"type":"transit"}"#);
    (theirs, ours)
}

/// What is made of a key: a `context` is sent along if there is one.
fn with(context: Option<&str>, mut body: Value) -> Value {
    if let Some(context) = context {
        body["context"] = json!(context);
    }
    body
}

const PLAIN: &str = "aGVsbG8gd29ybGQ=";

/// What `from` encrypts with its key, `to` decrypts with its own, and wraps anew.
fn encrypts(from: &dyn Server, to: &dyn Server, key: &str, context: Option<&str>) {
    let body = with(context, json!({ "plaintext": PLAIN }));
    let sealed = from.text("POST", &format!("encrypt/{key}"), body.clone(), "ciphertext");
    let asked = with(context, json!({ "ciphertext": sealed }));
    assert_eq!(to.text("POST", &format!("decrypt/{key}"), asked.clone(), "plaintext"), PLAIN, "{key}");
    let again = to.text("POST", &format!("rewrap/{key}"), asked, "ciphertext");
    let asked = with(context, json!({ "ciphertext": again }));
    assert_eq!(from.text("POST", &format!("decrypt/{key}"), asked, "plaintext"), PLAIN, "{key}");
    if key == "convergent" {
        assert_eq!(to.text("POST", &format!("encrypt/{key}"), body, "ciphertext"), sealed);
    }
    if !key.starts_with("rsa") {
        let body = with(context, json!({ "plaintext": PLAIN, "associated_data": "YWFk" }));
        let sealed = from.text("POST", &format!("encrypt/{key}"), body, "ciphertext");
        let asked = with(context, json!({ "ciphertext": sealed, "associated_data": "YWFk" }));
        assert_eq!(to.text("POST", &format!("decrypt/{key}"), asked, "plaintext"), PLAIN, "{key}");
    }
}

/// What `from` signs, `to` verifies, and nothing else.
fn signs(from: &dyn Server, to: &dyn Server, key: &str, context: Option<&str>, how: &Value) {
    let mut body = with(context, how.clone());
    body["input"] = json!(PLAIN);
    let signature = from.text("POST", &format!("sign/{key}"), body.clone(), "signature");
    body["signature"] = json!(signature);
    let valid = |server: &dyn Server, body: &Value| server.call("POST", &format!("verify/{key}"), body.clone());
    assert_eq!(valid(to, &body)["data"]["valid"], true, "{key} {how}");
    body["input"] = json!("aGVsbG8gd29ybGR+");
    assert_eq!(valid(to, &body)["data"]["valid"], false, "{key} {how}");
}

/// What the peer alone signs is verified by ours too. `a` is the peer.
fn verifies_rsa(a: &dyn Server, b: &dyn Server, key: &str) {
    for how in [
        json!({ "hash_algorithm": "sha1" }),
        json!({ "hash_algorithm": "sha2-224", "signature_algorithm": "pkcs1v15" }),
        json!({ "hash_algorithm": "sha3-384", "salt_length": "20" }),
        json!({ "hash_algorithm": "sha3-512", "signature_algorithm": "pkcs1v15" }),
        json!({ "hash_algorithm": "sha2-256", "salt_length": "100" }),
        json!({ "hash_algorithm": "none", "prehashed": true, "signature_algorithm": "pkcs1v15" }),
    ] {
        signs(a, b, key, None, &how);
    }
}

/// Keys are the same on both sides, and do the same.
fn agree(a: &dyn Server, b: &dyn Server, key: &str, context: Option<&str>) {
    for (from, to) in [(a, b), (b, a)] {
        let kind = from.call("GET", &format!("keys/{key}"), Value::Null)["data"].clone();
        if kind["supports_encryption"] == true {
            encrypts(from, to, key, context);
        }
        if kind["supports_signing"] == true {
            signs(from, to, key, context, &json!({}));
            for hash in ["sha2-256", "sha2-384", "sha2-512"] {
                for way in [json!({ "signature_algorithm": "pkcs1v15" }), json!({ "salt_length": "hash" })] {
                    let mut how = way;
                    how["hash_algorithm"] = json!(hash);
                    signs(from, to, key, context, &how);
                }
            }
            if key.starts_with("rsa") {
                verifies_rsa(a, b, key);
            }
            if key.starts_with("ecdsa") {
                for hash in ["sha1", "sha2-224", "sha2-512", "sha3-256", "sha3-512"] {
                    signs(from, to, key, context, &json!({ "hash_algorithm": hash, "marshaling_algorithm": "jws" }));
                }
                signs(from, to, key, context, &json!({ "prehashed": true }));
            }
        }
        for hash in
            ["sha1", "sha2-224", "sha2-256", "sha2-384", "sha2-512", "sha3-224", "sha3-256", "sha3-384", "sha3-512"]
        {
            let sum = from.text("POST", &format!("hmac/{key}/{hash}"), json!({ "input": PLAIN }), "hmac");
            let body = json!({ "input": PLAIN, "hmac": sum });
            assert_eq!(to.call("POST", &format!("verify/{key}/{hash}"), body)["data"]["valid"], true, "{key} {hash}");
        }
    }
    let kind = a.text("GET", &format!("keys/{key}"), Value::Null, "type");
    let parts: &[&str] = match kind.as_str() {
        "hmac" => &["hmac-key"],
        kind if kind.starts_with("rsa") => &["hmac-key", "encryption-key", "signing-key", "public-key"],
        kind if kind.starts_with('e') && context.is_some() => &["hmac-key", "signing-key"],
        kind if kind.starts_with('e') => &["hmac-key", "signing-key", "public-key"],
        _ => &["hmac-key", "encryption-key"],
    };
    for part in parts {
        let forms: &[&str] = if *part == "hmac-key" || *part == "encryption-key" && !key.starts_with("rsa") {
            &["", "?format=raw"]
        } else {
            &["", "?format=der", "?format=pem"]
        };
        for form in forms {
            let path = format!("export/{part}/{key}{form}");
            let keys = |server: &dyn Server| server.call("GET", &path, Value::Null)["data"]["keys"].clone();
            assert_eq!(keys(a), keys(b), "{path}");
        }
    }
}

const KINDS: &[&str] = &[
    "aes128-gcm96",
    "aes256-gcm96",
    "chacha20-poly1305",
    "xchacha20-poly1305",
    "ed25519",
    "ecdsa-p256",
    "ecdsa-p384",
    "ecdsa-p521",
    "rsa-2048",
    "rsa-3072",
    "hmac",
];

fn make(server: &dyn Server) -> Vec<(String, Option<&'static str>)> {
    let mut made = Vec::new();
    let mut add = |name: &str, context, mut body: Value| {
        body["exportable"] = json!(true);
        body["allow_plaintext_backup"] = json!(true);
        server.call("POST", &format!("keys/{name}"), body);
        // A version that is out of use, and one that is old.
        server.call("POST", &format!("keys/{name}/rotate"), json!({}));
        if !name.starts_with("rsa") {
            server.call("POST", &format!("keys/{name}/rotate"), json!({}));
            server.call("POST", &format!("keys/{name}/config"), json!({ "min_decryption_version": 2 }));
        }
        made.push((name.to_owned(), context));
    };
    for kind in KINDS {
        add(
            kind,
            None,
            if *kind == "hmac" { json!({ "type": kind, "key_size": 48 }) } else { json!({ "type": kind }) },
        );
    }
    add("derived", Some("Y29udGV4dA=="), json!({ "derived": true }));
    add("derived-x", Some("Y29udGV4dA=="), json!({ "derived": true, "type": "xchacha20-poly1305" }));
    add("convergent", Some("Y29udGV4dA=="), json!({ "derived": true, "convergent_encryption": true }));
    add("e-derived", Some("Y29udGV4dA=="), json!({ "derived": true, "type": "ed25519" }));
    made
}

#[test]
fn a_key_of_openbao_goes_on_with_ours_and_back() {
    let (bao, own) = both();
    let (theirs, ours): (&dyn Server, &dyn Server) = (&bao, &own);
    for (name, context) in make(theirs) {
        let backup = theirs.text("GET", &format!("backup/{name}"), Value::Null, "backup");
        ours.call("POST", &format!("restore/{name}"), json!({ "backup": backup }));
        agree(theirs, ours, &name, context);
        // And the other way, under the same name: what it was there is replaced.
        ours.call("POST", &format!("keys/{name}/rotate"), json!({}));
        let backup = ours.text("GET", &format!("backup/{name}"), Value::Null, "backup");
        theirs.call("POST", &format!("restore/{name}"), json!({ "backup": backup, "force": true }));
        agree(theirs, ours, &name, context);
        // A version that is out of use on one side comes back on the other.
        if !name.starts_with("rsa") {
            for server in [theirs, ours] {
                server.call("POST", &format!("keys/{name}/config"), json!({ "min_decryption_version": 1 }));
            }
            agree(theirs, ours, &name, context);
        }
    }
}

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

/// A key as it is brought in: under the wrapping key of a server.
fn wrapped(server: &dyn Server, key: &[u8]) -> String {
    let pem = server.text("GET", "wrapping_key", Value::Null, "public_key");
    let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let public = PublicEncryptingKey::from_der(&STANDARD.decode(lines).unwrap()).unwrap();
    let outer = [7; 32];
    let mut sealed = vec![0; 512];
    OaepPublicEncryptingKey::new(public).unwrap().encrypt(&OAEP_SHA256_MGF1SHA256, &outer, &mut sealed, None).unwrap();
    let mut inner = vec![0; key.len() + 16];
    let len = AesKek::new(&AES_256, &outer).unwrap().wrap_with_padding(key, &mut inner).unwrap().len();
    sealed.extend_from_slice(&inner[..len]);
    STANDARD.encode(sealed)
}

#[test]
fn a_key_from_outside_is_the_same_in_both() {
    let (bao, own) = both();
    let (theirs, ours): (&dyn Server, &dyn Server) = (&bao, &own);
    // Keys of a third server, in the forms in which they are brought in.
    let third = Ours::dev();
    third.root("POST", "sys/mounts/transit", r#"{"type":"transit"}"#);
    let third: &dyn Server = &third;
    for kind in KINDS {
        let made = if *kind == "hmac" { json!({ "type": kind, "key_size": 48 }) } else { json!({ "type": kind }) };
        third.call("POST", &format!("keys/{kind}"), made);
        third.call("POST", &format!("keys/{kind}/config"), json!({ "exportable": true }));
        let part = match *kind {
            "hmac" => "hmac-key",
            kind if kind.starts_with('e') || kind.starts_with("rsa") => "signing-key",
            _ => "encryption-key",
        };
        let form = if part == "signing-key" { "der" } else { "raw" };
        let path = format!("export/{part}/{kind}/1?format={form}");
        let key = third.call("GET", &path, Value::Null)["data"]["keys"]["1"].as_str().unwrap().to_owned();
        let key = STANDARD.decode(key).unwrap();
        for server in [theirs, ours] {
            let body = json!({ "type": kind, "ciphertext": wrapped(server, &key), "exportable": true, "allow_rotation": true });
            server.call("POST", &format!("keys/{kind}/import"), body);
            let shown = server.call("GET", &format!("keys/{kind}"), Value::Null)["data"].clone();
            assert_eq!((&shown["imported_key"], &shown["latest_version"]), (&json!(true), &json!(1)));
        }
        let of = |server: &dyn Server| server.call("GET", &path, Value::Null)["data"]["keys"].clone();
        assert_eq!(of(theirs), of(ours), "{kind}");
        assert_eq!(of(ours), of(third), "{kind}");
        // The public half alone verifies.
        if part == "signing-key" && *kind != "ed25519" {
            let path = format!("export/public-key/{kind}/1?format=pem");
            let public = third.call("GET", &path, Value::Null)["data"]["keys"]["1"].clone();
            for server in [theirs, ours] {
                let body = json!({ "type": kind, "public_key": public });
                server.call("POST", &format!("keys/public-{kind}/import"), body);
            }
            let signature = third.text("POST", &format!("sign/{kind}"), json!({ "input": PLAIN }), "signature");
            let body = json!({ "input": PLAIN, "signature": signature });
            for server in [theirs, ours] {
                let valid = server.call("POST", &format!("verify/public-{kind}"), body.clone());
                assert_eq!(valid["data"]["valid"], true, "{kind}");
            }
            let (status, answer) = own.ask(ROOT, "POST", &format!("transit/sign/public-{kind}"), r#"{"input":""}"#);
            assert_eq!(status, 500, "{answer}");
        }
    }
    let broken = |body: Value| own.ask(ROOT, "POST", "transit/keys/x/import", &body.to_string()).0;
    let mut other = STANDARD.decode(wrapped(ours, &[1; 32])).unwrap();
    *other.last_mut().unwrap() ^= 1;
    assert_eq!(broken(json!({ "ciphertext": STANDARD.encode(other) })), 500);
    assert_eq!(broken(json!({ "ciphertext": wrapped(ours, &[1; 31]) })), 500);
    assert_eq!(broken(json!({ "ciphertext": wrapped(ours, &[1; 32]), "type": "ecdsa-p256" })), 500);
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
    let key = bulla_core::DataKey::generate().unwrap();
    let ours = Ours::sealed(Arc::new(Memory::default()), vec![Arc::new(Fixed::new("1".to_owned(), key))], Vec::new());
    let made = ours.ask("", "PUT", "sys/init", r#"{"recovery_shares":1,"recovery_threshold":1}"#).1;
    let root = made["root_token"].as_str().unwrap();
    assert_eq!(ours.ask(root, "POST", "sys/mounts/transit", r#"{"type":"transit"}"#).0, 204);
    let body = json!({ "plaintext": PLAIN }).to_string();
    let sealed = ours.ask(root, "POST", "transit/encrypt/k", &body).1["data"]["ciphertext"].clone();
    let body = json!({ "ciphertext": sealed }).to_string();
    assert_eq!(ours.ask(root, "POST", "transit/decrypt/k", &body).1["data"]["plaintext"], PLAIN);
    assert_eq!(ours.ask(root, "PUT", "sys/seal", "").0, 204);
    assert_eq!(ours.ask(root, "POST", "transit/decrypt/k", &body).0, 503);
    assert!(ours.runtime.block_on(ours.core.unseal_by_itself()).unwrap());
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
    let answer = ours.root("POST", "transit/encrypt/k", &batch(20_000));
    assert_eq!(answer["data"]["batch_results"].as_array().unwrap().len(), 20_000);
    let (status, answer) = ours.ask(ROOT, "POST", "transit/encrypt/k", &batch(150_000));
    assert_eq!(status, 400, "{answer}");
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
