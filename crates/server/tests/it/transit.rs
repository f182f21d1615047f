//! Transit keys that go between the real OpenBao and ours: what one encrypts and signs, the other opens and verifies.

use bulla_test_support::bao::Bao;
use serde_json::{Value, json};

use crate::ours::Ours;

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
