//! Transit keys that go between the real OpenBao and ours: what one encrypts and signs, the other opens and verifies.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded as _};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla_test_support::bao::Bao;
use serde_json::{Value, json};

use crate::ours::{Ours, ROOT};

mod corners;

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
