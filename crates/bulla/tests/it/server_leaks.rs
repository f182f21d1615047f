//! No token, key, password or value is where it can be read by who may read logs, audit files, metrics, the storage or `/proc`: the program itself, at
//! its most talkative, asked all that has a secret in it, well and badly.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bulla_test_support::patience::Patience;
use bulla_test_support::{http, unused_address};
use serde_json::{Value, json};

use self::search::{SHORTEST, collect, files, leaks};

mod search;

/// A server whose every word is kept.
struct World {
    child: Child,
    folder: tempfile::TempDir,
    address: std::net::SocketAddr,
    root: String,
    secrets: BTreeSet<String>,
    made: u32,
    /// How many requests were refused, and how many not.
    refused: u32,
    answered: u32,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl World {
    fn start() -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), unused_address());
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("tmp")).unwrap();
        let text = format!(
            "listener \"tcp\" {{\n address = \"{address}\"\n tls_disable = true\n\
             disable_unauthed_generate_root_endpoints = false\n disable_unauthed_rekey_endpoints = false\n\
             telemetry {{ unauthenticated_metrics_access = true }}\n}}\n\
             storage \"embedded\" {{ path = \"{}\" }}\naudit \"file\" \"f\" {{ options {{ file_path = \"{}\" }} }}\n\
             audit \"file\" \"out\" {{ options {{ file_path = \"stdout\" }} }}\n",
            at("data").display(),
            at("audit.log").display()
        );
        File::create(at("server.hcl")).unwrap().write_all(text.as_bytes()).unwrap();
        let log = File::create(at("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bulla"))
            .args(["server", "-config"])
            .arg(at("server.hcl"))
            // Libraries too: whatever anybody would ever turn on.
            .env("BULLA_LOG", "trace")
            .env("RUST_BACKTRACE", "full")
            .env("TMPDIR", at("tmp"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(at("stdout")).unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut world = Self {
            child,
            folder,
            address,
            root: String::new(),
            secrets: BTreeSet::new(),
            made: 0,
            refused: 0,
            answered: 0,
        };
        let patience = Patience::default();
        while http(address, "GET", "/v1/sys/seal-status", &[], "").0 != 200 {
            assert!(world.child.try_wait().unwrap().is_none(), "it ended");
            assert!(patience.is_left(), "it is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        world
    }

    /// A text that is nowhere else.
    fn canary(&mut self) -> String {
        self.made += 1;
        let canary =
            format!("canary{:04}Zq{:08x}kQ{}", self.made, self.made.wrapping_mul(2_654_435_761), self.made % 7);
        self.secrets.insert(canary.clone());
        canary
    }

    fn send(&mut self, headers: &[(&str, &str)], method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = http(self.address, method, &format!("/v1/{path}"), headers, body);
        // A body that is too long is refused before all of it is sent.
        assert!(status != 0 || body.len() > 1 << 20, "no answer to {method} {path}");
        *(if status < 300 { &mut self.answered } else { &mut self.refused }) += 1;
        let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let mut found = Vec::new();
        collect(&answer, "", &mut found);
        self.secrets.extend(found.into_iter().filter(|text| text.len() >= SHORTEST));
        (status, answer)
    }

    /// What goes well.
    fn ask(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let root = self.root.clone();
        let (status, answer) = self.as_token(&root, method, path, body);
        assert!((200..300).contains(&status), "{method} {path} {body}: {status} {answer}");
        answer
    }

    fn as_token(&mut self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("X-Vault-Token", token)];
        let headers: &[(&str, &str)] = if token.is_empty() { &[] } else { &headers };
        self.send(headers, method, path, &body)
    }

    /// What is refused.
    fn refused(&mut self, token: &str, method: &str, path: &str, body: &Value) {
        let (status, answer) = self.as_token(token, method, path, body);
        assert!(status >= 400, "{method} {path} {body}: {status} {answer}");
    }

    fn give(&mut self, path: &str, share: &str, more: &Value) -> Value {
        let mut body = json!({ "key": share });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.as_token("", "PUT", path, &body).1
    }

    /// Makes the keys, opens it, changes the keys, and makes another root token of them.
    fn keys(&mut self) {
        let made = self.as_token("", "PUT", "sys/init", &json!({ "secret_shares": 3, "secret_threshold": 2 })).1;
        made["root_token"].as_str().unwrap().clone_into(&mut self.root);
        let shares = texts(&made["keys_base64"]);
        self.refused("", "PUT", "sys/init", &json!({ "secret_shares": 1, "secret_threshold": 1 }));
        let wrong = STANDARD.encode([7; 33]);
        self.secrets.insert(wrong.clone());
        let canary = self.canary();
        self.give("sys/unseal", &canary, &Value::Null);
        for share in [&wrong, &shares[0], &shares[0], &shares[1]] {
            self.give("sys/unseal", share, &Value::Null);
        }
        assert_eq!(self.as_token("", "GET", "sys/health", &Value::Null).0, 200);

        let wanted = json!({ "secret_shares": 2, "secret_threshold": 2, "require_verification": true });
        let begun = self.as_token("", "PUT", "sys/rekey/init", &wanted).1;
        let nonce = json!({ "nonce": begun["nonce"] });
        self.give("sys/rekey/update", &canary, &nonce);
        self.give("sys/rekey/update", &shares[0], &nonce);
        let changed = self.give("sys/rekey/update", &shares[2], &nonce);
        let fresh = texts(&changed["keys_base64"]);
        // A wrong one and a right one are both forgotten.
        let mut verified = Value::Null;
        for share in [&wrong, &fresh[0], &fresh[0], &fresh[1]] {
            // It is another one after shares that were wrong.
            let nonce = self.as_token("", "GET", "sys/rekey/verify", &Value::Null).1["nonce"].clone();
            verified = self.give("sys/rekey/verify", share, &json!({ "nonce": nonce }));
        }
        assert_eq!(verified["complete"], true, "{verified}");

        let begun = self.as_token("", "PUT", "sys/generate-root/attempt", &json!({})).1;
        let (nonce, otp) = (json!({ "nonce": begun["nonce"] }), begun["otp"].clone());
        let mut last = Value::Null;
        for share in &fresh {
            last = self.give("sys/generate-root/update", share, &nonce);
        }
        assert_eq!(last["complete"], true, "{last}");
        let decode = json!({ "encoded_token": last["encoded_token"], "otp": otp });
        let other = self.ask("PUT", "sys/decode-token", &decode)["data"]["token"].as_str().unwrap().to_owned();
        self.refused("", "PUT", "sys/decode-token", &json!({ "encoded_token": canary, "otp": canary }));
        // Sealed and opened again, by the new shares.
        assert_eq!(self.as_token(&other, "PUT", "sys/seal", &Value::Null).0, 204);
        self.refused(&other, "GET", "sys/mounts", &Value::Null);
        let mut status = Value::Null;
        for share in &fresh {
            status = self.give("sys/unseal", share, &Value::Null);
        }
        assert_eq!(status["sealed"], false, "{status}");
        for path in ["sys/rotate", "sys/rotate/root"] {
            let (status, answer) = self.as_token(&other, "PUT", path, &Value::Null);
            assert!(status < 300 || path == "sys/rotate/root", "{status} {answer}");
        }
    }

    /// Tokens, leases, wrapped answers.
    fn tokens(&mut self) {
        let id = self.canary();
        let policy = "path \"kv/*\" { capabilities = [\"read\", \"list\"] }";
        self.ask("PUT", "sys/policies/acl/reader", &json!({ "policy": policy }));
        self.ask("POST", "auth/token/create", &json!({ "id": id, "policies": ["reader"] }));
        for body in
            [json!({ "policies": ["reader"], "num_uses": 2 }), json!({ "type": "batch", "policies": ["reader"] })]
        {
            let token = token_of(&self.ask("POST", "auth/token/create", &body));
            self.as_token(&token, "GET", "auth/token/lookup-self", &Value::Null);
            self.refused(&token, "POST", "kv/x", &json!({ "a": id }));
            self.refused(&token, "GET", "sys/none", &Value::Null);
        }
        let token = token_of(&self.ask("POST", "auth/token/create", &json!({ "policies": ["reader"], "ttl": "1h" })));
        for path in ["lookup", "renew", "revoke"] {
            self.ask("POST", &format!("auth/token/{path}"), &json!({ "token": token }));
            let canary = self.canary();
            self.as_token(&token, "POST", &format!("auth/token/{path}"), &json!({ "token": canary }));
            let root = self.root.clone();
            self.as_token(&root, "POST", &format!("auth/token/{path}"), &json!({ "token": [canary] }));
        }
        // As old clients do, a token in the path.
        let token = token_of(&self.ask("POST", "auth/token/create", &json!({ "policies": ["reader"] })));
        let root = self.root.clone();
        for path in ["lookup", "renew"] {
            self.as_token(&root, "GET", &format!("auth/token/{path}/{token}"), &Value::Null);
            self.as_token(&root, "POST", &format!("auth/token/{path}/{token}"), &Value::Null);
        }
        let canary = self.canary();
        self.refused(&canary, "GET", "kv/x", &Value::Null);
        self.send(&[("Authorization", &format!("Bearer {canary}"))], "GET", "kv/x", "");
        self.send(&[("X-Vault-Token", &root), ("X-Vault-Wrap-TTL", &canary)], "GET", "kv/x", "");
        self.ask("PUT", "sys/capabilities", &json!({ "token": token, "paths": ["kv/x"] }));
        self.refused(&root, "PUT", "sys/capabilities", &json!({ "token": canary, "paths": ["kv/x"] }));
        self.ask("POST", "sys/audit-hash/f", &json!({ "input": canary }));

        for _ in 0..2 {
            let body = json!({ "value": canary }).to_string();
            let wrapped =
                self.send(&[("X-Vault-Token", &root), ("X-Vault-Wrap-TTL", "60")], "POST", "sys/wrapping/wrap", &body);
            let wrapping = wrapped.1["wrap_info"]["token"].as_str().unwrap().to_owned();
            self.ask("POST", "sys/wrapping/lookup", &json!({ "token": wrapping }));
            let again = self.ask("POST", "sys/wrapping/rewrap", &json!({ "token": wrapping }));
            let wrapping = again["wrap_info"]["token"].as_str().unwrap().to_owned();
            self.as_token(&wrapping, "POST", "sys/wrapping/unwrap", &Value::Null);
            // Somebody else was faster.
            self.refused(&wrapping, "POST", "sys/wrapping/unwrap", &Value::Null);
            self.refused(&root, "POST", "sys/wrapping/unwrap", &json!({ "token": wrapping }));
        }
    }

    /// What is kept, and keys.
    fn values(&mut self) -> [String; 2] {
        self.ask("POST", "sys/mounts/kv", &json!({ "type": "kv" }));
        self.ask("POST", "sys/mounts/kv2", &json!({ "type": "kv", "options": { "version": "2" } }));
        self.ask("POST", "sys/mounts/transit", &json!({ "type": "transit" }));
        let (canary, root) = (self.canary(), self.root.clone());
        let value = json!({ "canary": canary, "deep": { "canary": [canary] } });
        self.ask("POST", "kv/x", &value);
        self.ask("GET", "kv/x", &Value::Null);
        self.ask("POST", "cubbyhole/x", &value);
        self.ask("POST", "kv2/data/x", &json!({ "data": value }));
        self.ask("GET", "kv2/data/x", &Value::Null);
        self.ask("POST", "kv2/metadata/x", &json!({ "custom_metadata": { "k": canary } }));
        let merge = [("X-Vault-Token", root.as_str()), ("Content-Type", "application/merge-patch+json")];
        self.send(&merge, "PATCH", "kv2/data/x", &json!({ "data": { "more": canary } }).to_string());
        self.send(&merge, "PATCH", "kv2/data/none", &json!({ "data": { "more": canary } }).to_string());
        self.refused(&root, "POST", "kv2/data/x", &json!({ "options": { "cas": 99 }, "data": value }));
        self.refused(&root, "POST", "kv2/data/x", &json!({ "data": canary }));
        self.refused(&root, "POST", "none/x", &value);
        // Text that is none, that ends too soon, and that is too much.
        for body in [format!("{{\"a\":\"{canary}\""), format!("\"{canary}\""), format!("{{\"a\":{canary}}}")] {
            self.send(&[("X-Vault-Token", &root)], "POST", "kv/bad", &body);
            self.send(&[], "POST", "auth/userpass/login/x", &body);
        }
        let long = json!({ "a": canary.repeat(200_000) }).to_string();
        self.send(&[("X-Vault-Token", &root)], "POST", "kv/long", &long);
        self.send(&[], "POST", "auth/userpass/login/x", &long);

        let body = json!({ "exportable": true, "allow_plaintext_backup": true });
        self.ask("POST", "transit/keys/aes", &body);
        self.ask("POST", "transit/keys/ec", &json!({ "type": "ecdsa-p256", "exportable": true }));
        let plaintext = STANDARD.encode(&canary);
        let made = self.ask("POST", "transit/encrypt/aes", &json!({ "plaintext": plaintext }));
        self.ask("POST", "transit/decrypt/aes", &json!({ "ciphertext": made["data"]["ciphertext"] }));
        self.refused(&root, "POST", "transit/encrypt/aes", &json!({ "plaintext": canary.clone() + "!" }));
        self.refused(&root, "POST", "transit/encrypt/none", &json!({ "plaintext": [plaintext] }));
        self.ask("POST", "transit/datakey/plaintext/aes", &json!({}));
        self.ask("GET", "transit/backup/aes", &Value::Null);
        self.refused(&root, "POST", "transit/restore/aes", &json!({ "backup": canary }));
        for path in ["transit/export/encryption-key/aes", "transit/export/signing-key/ec"] {
            let keys = self.ask("GET", path, &Value::Null)["data"]["keys"].clone();
            for key in keys.as_object().unwrap().values() {
                // Of a key in PEM, a line.
                let line = key.as_str().unwrap().lines().max_by_key(|line| line.len()).unwrap();
                self.secrets.insert(line.to_owned());
            }
        }
        self.ask("POST", "sys/tools/random/48", &json!({}));
        self.ask("POST", "sys/tools/hash", &json!({ "input": plaintext }));
        let public = self.ask("GET", "transit/keys/ec", &Value::Null);
        let public = public["data"]["keys"]["1"]["public_key"].as_str().unwrap().to_owned();
        [canary, public]
    }

    /// A token of an issuer, by the key of the transit engine.
    fn signed(&mut self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let asked = format!("{}.{}", part(&json!({ "alg": "ES256", "typ": "JWT" })), part(claims));
        let body = json!({ "input": STANDARD.encode(&asked), "marshaling_algorithm": "jws" });
        let made = self.ask("POST", "transit/sign/ec", &body);
        let signature = made["data"]["signature"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        let token = format!("{asked}.{signature}");
        self.secrets.extend([token.clone(), signature]);
        token
    }

    /// Logins by each method.
    fn logins(&mut self, public: &str) {
        let (password, other) = (self.canary(), self.canary());
        for kind in ["userpass", "approle", "jwt", "kubernetes"] {
            self.ask("POST", &format!("sys/auth/{kind}"), &json!({ "type": kind }));
        }
        self.ask("POST", "auth/userpass/users/u", &json!({ "password": password, "token_policies": ["reader"] }));
        let (status, _) = self.as_token("", "POST", "auth/userpass/login/u", &json!({ "password": password }));
        assert_eq!(status, 200);
        self.ask("POST", "auth/userpass/users/u/password", &json!({ "password": other }));
        for name in ["u", "nobody"] {
            self.refused("", "POST", &format!("auth/userpass/login/{name}"), &json!({ "password": password }));
            self.refused("", "POST", &format!("auth/userpass/login/{name}"), &json!({ "password": { "a": password } }));
        }
        let rules = "length = 20\nrule \"charset\" { charset = \"abcdefghij\" }";
        self.ask("PUT", "sys/policies/password/p", &json!({ "policy": rules }));
        self.ask("GET", "sys/policies/password/p/generate", &Value::Null);

        self.ask("POST", "auth/approle/role/r", &json!({ "token_policies": ["reader"] }));
        let role = self.ask("GET", "auth/approle/role/r/role-id", &Value::Null)["data"]["role_id"].clone();
        let secret = self.ask("POST", "auth/approle/role/r/secret-id", &json!({}))["data"]["secret_id"].clone();
        self.ask("POST", "auth/approle/role/r/custom-secret-id", &json!({ "secret_id": other }));
        self.ask("POST", "auth/approle/role/r/secret-id/lookup", &json!({ "secret_id": secret }));
        for given in [&secret, &json!(other)] {
            let body = json!({ "role_id": role, "secret_id": given });
            assert_eq!(self.as_token("", "POST", "auth/approle/login", &body).0, 200);
        }
        self.refused("", "POST", "auth/approle/login", &json!({ "role_id": role, "secret_id": password }));
        self.refused("", "POST", "auth/approle/login", &json!({ "role_id": password, "secret_id": secret }));
        self.ask("POST", "auth/approle/role/r/secret-id/destroy", &json!({ "secret_id": secret }));

        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let claims =
            json!({ "iss": "i", "sub": "s", "aud": "vault", "iat": now - 5, "nbf": now - 5, "exp": now + 600 });
        self.ask("POST", "auth/jwt/config", &json!({ "jwt_validation_pubkeys": [public], "bound_issuer": "i" }));
        let role = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": ["reader"] });
        self.ask("POST", "auth/jwt/role/r", &role);
        let token = self.signed(&claims);
        let (status, answer) = self.as_token("", "POST", "auth/jwt/login", &json!({ "role": "r", "jwt": token }));
        assert_eq!(status, 200, "{answer}");
        let mut elsewhere = claims.clone();
        elsewhere["aud"] = "elsewhere".into();
        let foreign = self.signed(&elsewhere);
        let broken = format!("{}x", &token[..token.len() - 1]);
        self.secrets.insert(broken.clone());
        for jwt in [&foreign, &broken, &password] {
            self.refused("", "POST", "auth/jwt/login", &json!({ "role": "r", "jwt": jwt }));
            self.refused("", "POST", "auth/jwt/login", &json!({ "role": "none", "jwt": jwt }));
        }

        // Verified by keys, then by a cluster that is away.
        let reviewer = self.canary();
        let account = json!({
            "iss": "k", "sub": "system:serviceaccount:shop:app", "aud": ["vault"], "iat": now - 5, "nbf": now - 5, "exp": now + 600,
            "kubernetes.io": { "namespace": "shop", "serviceaccount": { "name": "app", "uid": "1-2-3" } },
        });
        let token = self.signed(&account);
        let role = json!({
            "bound_service_account_names": ["app"], "bound_service_account_namespaces": ["shop"], "audience": "vault",
            "token_policies": ["reader"],
        });
        let authority = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
        for is_local in [true, false] {
            let mut config = json!({ "kubernetes_host": "http://127.0.0.1:1", "token_reviewer_jwt": reviewer, "kubernetes_ca_cert": authority });
            config["local_verification"] = is_local.into();
            config["pem_keys"] = if is_local { json!([public]) } else { json!([]) };
            self.ask("POST", "auth/kubernetes/config", &config);
            self.ask("GET", "auth/kubernetes/config", &Value::Null);
            self.ask("POST", "auth/kubernetes/role/r", &role);
            let (status, answer) =
                self.as_token("", "POST", "auth/kubernetes/login", &json!({ "role": "r", "jwt": token }));
            assert_eq!(status == 200, is_local, "{status} {answer}");
            for jwt in [&broken, &foreign, &password] {
                self.refused("", "POST", "auth/kubernetes/login", &json!({ "role": "r", "jwt": jwt }));
            }
        }
    }

    /// Headers that are written down, also those that should not be.
    fn headers(&mut self) {
        let (canary, root) = (self.canary(), self.root.clone());
        for (name, is_hashed) in
            [("x-vault-token", false), ("authorization", false), ("x-hashed", true), ("x-shown", false)]
        {
            self.ask("POST", &format!("sys/config/auditing/request-headers/{name}"), &json!({ "hmac": is_hashed }));
        }
        let bearer = format!("Bearer {root}");
        self.send(&[("Authorization", &bearer), ("X-Hashed", &canary), ("X-Shown", SHOWN)], "GET", "kv/x", "");
        self.send(&[("X-Vault-Token", &root), ("X-Hashed", &canary)], "GET", "kv/x", "");
        self.send(&[("X-Vault-Token", &canary), ("Authorization", &canary)], "GET", "kv/x", "");
    }
}

/// What is no secret, so that it is seen that the search finds what is there.
const SHOWN: &str = "shown-in-audit-records-as-it-is";

fn token_of(answer: &Value) -> String {
    answer["auth"]["client_token"].as_str().unwrap().to_owned()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

#[test]
fn nothing_that_the_program_writes_or_shows_has_a_secret_in_it() {
    let mut world = World::start();
    world.keys();
    let [canary, public] = world.values();
    world.tokens();
    world.logins(&public);
    world.headers();
    let id = world.child.id();
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for path in ["sys/metrics?format=prometheus", "sys/metrics", "sys/internal/specs/openapi", "sys/health"] {
        let root = world.root.clone();
        let (_, text) = http(world.address, "GET", &format!("/v1/{path}"), &[("X-Vault-Token", &root)], "");
        found.push((path.to_owned(), text.into_bytes()));
    }
    for name in ["cmdline", "environ", "comm", "status", "limits", "maps", "mountinfo", "stat"] {
        found.push((format!("/proc/{name}"), std::fs::read(format!("/proc/{id}/{name}")).unwrap()));
    }
    let rustix_id = rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
    rustix::process::kill_process(rustix_id, rustix::process::Signal::TERM).unwrap();
    assert!(world.child.wait().unwrap().success());
    found.extend(files(world.folder.path()));

    // All was asked and written, and what is there is found.
    let of = |name: &str| &found.iter().find(|(one, _)| one == name).unwrap_or_else(|| panic!("no {name}")).1;
    let has = |name: &str, text: &str| memchr::memmem::find(of(name), text.as_bytes()).is_some();
    assert!(world.secrets.len() > 40, "{} secrets", world.secrets.len());
    assert!(world.answered > 60 && world.refused > 30, "{} answered, {} refused", world.answered, world.refused);
    assert!(has("log", "TRACE") && has("log", "DEBUG") && has("log", "bulla_server"), "the log is not talkative");
    for name in ["audit.log", "stdout"] {
        assert!(has(name, "hmac-sha256:") && has(name, SHOWN) && has(name, "auth/kubernetes/login"), "{name}");
    }
    assert!(has("sys/metrics?format=prometheus", "vault_core_unsealed") && has("/proc/cmdline", "server.hcl"));
    // Its file is cut to what is in it at the end, or not.
    let stored: usize = found.iter().filter(|(name, _)| name.starts_with("data/")).map(|(_, bytes)| bytes.len()).sum();
    assert!(stored > 40_000, "{stored} bytes are stored");
    let planted = format!("{{\"a\":\"{}\"}}", STANDARD.encode(&canary));
    assert!(leaks(&world.secrets, planted.as_bytes()).contains(&canary));

    let mut leaked = Vec::new();
    for (name, bytes) in &found {
        leaked.extend(leaks(&world.secrets, bytes).into_iter().map(|secret| format!("{secret} is in {name}")));
    }
    assert!(leaked.is_empty(), "{}", leaked.join("\n"));
}
