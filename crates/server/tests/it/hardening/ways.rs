//! Ways around a rule, a role or a limit that a reviewer found.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulla_server::logical::TokenText;
use bulla_server::storage::Memory;
use serde_json::{Value, json};

use super::{lives, token, with_policy};
use crate::ours::{Ours, ROOT, audit_file};

/// What a policy is written with that nothing depends on.
const POLICY: &str = r#"{"policy":"path \"x\" { capabilities = [\"read\"] }"}"#;

/// A request whose answer is to be wrapped.
fn wrapped(ours: &Ours, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("X-Vault-Token", token), ("X-Vault-Wrap-TTL", "60")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = bulla_test_support::http(ours.address, method, &format!("/v1/{path}"), &headers, &body);
    (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
}

fn unwrap(ours: &Ours, answer: &Value) -> Value {
    ours.root("POST", "sys/wrapping/unwrap", &json!({ "token": answer["wrap_info"]["token"] }).to_string())
}

#[test]
fn a_role_that_bans_root_bans_the_others_too() {
    let ours = Ours::dev();
    ours.root("PUT", "sys/policies/acl/admin", POLICY);
    let maker = with_policy(&ours, r#"path "auth/token/create/*" { capabilities = ["create", "update"] }"#);
    for (name, role) in [
        ("a", json!({ "disallowed_policies": ["root", "admin"] })),
        ("b", json!({ "disallowed_policies": ["Admin ", "root"] })),
        ("c", json!({ "disallowed_policies_glob": ["root", "ADM*"] })),
        ("d", json!({ "allowed_policies_glob": ["root", "p*"] })),
    ] {
        ours.root("POST", &format!("auth/token/roles/{name}"), &role.to_string());
        let path = format!("auth/token/create/{name}");
        assert_eq!(ours.ask(&maker, "POST", &path, r#"{"policies":["admin"]}"#).0, 400, "{role}");
        assert_eq!(ours.ask(&maker, "POST", &path, r#"{"policies":["p"]}"#).0, 200, "{role}");
    }
    assert_eq!(ours.root("GET", "auth/token/roles/b", "")["data"]["disallowed_policies"], json!(["admin", "root"]));
}

#[test]
fn who_manages_secrets_engines_takes_no_auth_method_away() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/up2", r#"{"type":"userpass"}"#);
    let token =
        with_policy(&ours, r#"path "sys/mounts/*" { capabilities = ["create", "read", "update", "delete", "sudo"] }"#);
    for path in ["sys/mounts/auth/up2", "sys/mounts/auth/up2/", "sys/mounts/auth/token"] {
        assert_eq!(ours.ask(&token, "DELETE", path, "").0, 400, "{path}");
    }
    assert_eq!(ours.ask(ROOT, "GET", "sys/auth/up2", "").0, 200);
    assert_eq!(ours.ask(ROOT, "DELETE", "sys/auth/up2", "").0, 204);
}

#[test]
fn what_a_narrower_rule_does_not_allow_is_not_had_in_another_case() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    ours.root("POST", "sys/auth/approle", r#"{"type":"approle"}"#);
    ours.root("POST", "sys/mounts/mm", r#"{"type":"kv"}"#);
    ours.root("POST", "auth/userpass/users/boss", r#"{"password":"pw"}"#);
    ours.root("POST", "auth/approle/role/appx", "{}");
    ours.root("PUT", "sys/policies/acl/admin", POLICY);
    let all = r#"{ capabilities = ["create", "update", "read", "delete"] }"#;
    let read = r#"{ capabilities = ["read"] }"#;
    let token = with_policy(
        &ours,
        &format!(
            r#"path "auth/userpass/users/*" {all} path "auth/userpass/users/boss" {read}
            path "auth/userpass/users/boss/+" {read}
            path "auth/approle/role/*" {all} path "auth/approle/role/appx*" {read}
            path "sys/policies/acl/*" {all} path "sys/policies/acl/admin" {read}
            path "sys/mounts/*" {all} path "sys/mounts/mm" {read}
            path "auth/userpass/users/clerk" {{ capabilities = ["create", "update"] denied_parameters = {{ "token_policies" = [] }} }}
            path "auth/userpass/users/guest" {{ capabilities = ["create", "update"] min_wrapping_ttl = "1m" }}"#
        ),
    );
    let (password, policies) = (r#"{"password":"x"}"#, r#"{"password":"x","token_policies":["admin"]}"#);
    for (method, path, body) in [
        ("POST", "auth/userpass/users/BOSS", password),
        ("POST", "auth/userpass/users/BOSS/password", password),
        ("DELETE", "auth/userpass/users/Boss", ""),
        ("POST", "auth/userpass/users/CLERK", policies),
        ("POST", "auth/userpass/users/Guest", password),
        ("POST", "auth/approle/role/APPX", r#"{"policies":["b"]}"#),
        ("POST", "auth/approle/role/AppX/secret-id", "{}"),
        ("PUT", "sys/policies/acl/ADMIN", POLICY),
        ("PUT", "sys/policies/acl/ADMIN/", POLICY),
        ("DELETE", "sys/mounts/mm/", ""),
    ] {
        let (status, answer) = ours.ask(&token, method, path, body);
        assert!(matches!(status, 400 | 403), "{method} {path}: {status} {answer}");
        // What cannot be asked at all is 400.
        assert_eq!(status == 400, path.ends_with("ADMIN/"), "{method} {path}: {answer}");
    }
    for (method, path, body) in [
        ("GET", "auth/userpass/users/BOSS", ""),
        ("POST", "auth/userpass/users/Other", password),
        ("POST", "auth/userpass/users/OTHER/password", password),
        ("POST", "auth/userpass/users/CLERK", password),
        ("GET", "sys/mounts/mm/", ""),
    ] {
        let (status, answer) = ours.ask(&token, method, path, body);
        assert!(matches!(status, 200 | 204), "{method} {path}: {status} {answer}");
    }
}

#[test]
fn a_rule_for_a_name_is_one_for_its_other_cases() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    let all = r#"{ capabilities = ["create", "update", "read", "delete"] }"#;
    // As the peer has it.
    let token = with_policy(&ours, &format!(r#"path "auth/userpass/users/boss" {all} path "sys/mounts/mm/" {all}"#));
    assert_eq!(ours.ask(&token, "POST", "auth/userpass/users/BOSS", r#"{"password":"x"}"#).0, 204);
    assert_eq!(ours.ask(&token, "GET", "auth/userpass/users/Boss", "").0, 200);
    ours.root("POST", "sys/mounts/mm", r#"{"type":"kv"}"#);
    assert_eq!(ours.ask(&token, "GET", "sys/mounts/mm", "").0, 403);
    assert_eq!(ours.ask(&token, "DELETE", "sys/mounts/mm/", "").0, 204);
    for rule in ["BOSS", "B*", "+O"] {
        let token = with_policy(&ours, &format!(r#"path "auth/userpass/users/{rule}" {all}"#));
        assert_eq!(ours.ask(&token, "POST", "auth/userpass/users/BOSS", r#"{"password":"x"}"#).0, 403, "{rule}");
    }
    // Only to make: whoever is there stays as he is, however he is written.
    let token = with_policy(&ours, r#"path "auth/userpass/users/*" { capabilities = ["create"] }"#);
    assert_eq!(ours.ask(&token, "POST", "auth/userpass/users/BOSS", r#"{"password":"x"}"#).0, 403);
    assert_eq!(ours.ask(&token, "POST", "auth/userpass/users/NEW", r#"{"password":"x"}"#).0, 204);
}

#[test]
fn an_answer_that_fails_in_part_is_wrapped_too() {
    let ours = Ours::dev();
    ours.root("POST", "sys/mounts/transit", r#"{"type":"transit"}"#);
    ours.root("POST", "transit/keys/k", "{}");
    let text = ours.root("POST", "transit/encrypt/k", r#"{"plaintext":"VE9QU0VDUkVU"}"#)["data"]["ciphertext"].clone();
    let policy = r#"path "transit/decrypt/k" { capabilities = ["update"] min_wrapping_ttl = "60s" }"#;
    let token = with_policy(&ours, policy);
    let batch = json!({ "batch_input": [{ "ciphertext": text }, { "ciphertext": "vault:v1:x" }] });
    assert_eq!(ours.ask(&token, "POST", "transit/decrypt/k", &batch.to_string()).0, 403);
    for code in [0, 202, 500] {
        let mut batch = batch.clone();
        if code > 0 {
            batch["partial_failure_response_code"] = json!(code);
        }
        let (status, answer) = wrapped(&ours, &token, "POST", "transit/decrypt/k", &batch);
        assert_eq!(status, 200, "{answer}");
        assert!(!answer.to_string().contains("VE9QU0VDUkVU"), "{answer}");
        assert_eq!(unwrap(&ours, &answer)["data"]["batch_results"][0]["plaintext"], "VE9QU0VDUkVU");
    }
    // And what is deleted, with what is known of it.
    ours.root("POST", "secret/data/x", r#"{"data":{"a":1}}"#);
    ours.root("POST", "secret/metadata/x", r#"{"custom_metadata":{"who":"bob"}}"#);
    ours.root("DELETE", "secret/data/x", "");
    let (status, answer) = wrapped(&ours, ROOT, "GET", "secret/data/x", &Value::Null);
    assert!(status == 200 && !answer.to_string().contains("bob"), "{answer}");
    assert_eq!(unwrap(&ours, &answer)["data"]["metadata"]["custom_metadata"]["who"], "bob");
}

#[test]
fn an_unwrapped_answer_that_is_wrapped_again_is_not_lost() {
    let ours = Ours::dev();
    let (_, first) = wrapped(&ours, ROOT, "POST", "sys/wrapping/wrap", &json!({ "a": "b" }));
    let given = json!({ "token": first["wrap_info"]["token"] });
    let (status, second) = wrapped(&ours, ROOT, "POST", "sys/wrapping/unwrap", &given);
    assert_eq!(status, 200, "{second}");
    assert_eq!(unwrap(&ours, &second)["data"], json!({ "a": "b" }));
    // What is no JSON is kept as text.
    let (_, page) = wrapped(&ours, ROOT, "GET", "sys/metrics?format=prometheus", &Value::Null);
    let kept = unwrap(&ours, &page);
    assert!(kept["data"]["http_raw_body"].as_str().unwrap().contains("vault_core_unsealed"), "{kept}");
}

#[test]
fn a_token_is_renewed_as_its_role_says_now() {
    let ours = Ours::dev();
    let role = |body: &str| drop(ours.root("POST", "auth/token/roles/per", body));
    role(r#"{"allowed_policies":["default"],"token_period":"1h"}"#);
    let periodic = token(&ours, ROOT, "auth/token/create/per", &json!({}));
    let renewed = |token: &str| {
        let (status, answer) = ours.ask(token, "POST", "auth/token/renew-self", r#"{"increment":"2h"}"#);
        (status, answer["auth"]["lease_duration"].as_i64().unwrap_or_default())
    };
    assert_eq!(renewed(&periodic), (200, 3600));
    role(r#"{"token_period":"5m"}"#);
    assert_eq!(renewed(&periodic), (200, 300));
    role(r#"{"token_period":"0","token_explicit_max_ttl":"10m"}"#);
    let (status, seconds) = renewed(&periodic);
    assert!(status == 200 && (500..=600).contains(&seconds), "{status} {seconds}");
    // What was asked for when it was made stays its end.
    let short = token(&ours, ROOT, "auth/token/create/per", &json!({ "explicit_max_ttl": "5m" }));
    role(r#"{"token_explicit_max_ttl":"2h"}"#);
    assert!(renewed(&short).1 <= 300);
    ours.root("DELETE", "auth/token/roles/per", "");
    let (status, answer) = ours.ask(&periodic, "POST", "auth/token/renew-self", "");
    assert_eq!(status, 500);
    let text = answer["errors"][0].as_str().unwrap();
    assert!(text.contains("original token role \"per\" could not be found, not renewing"), "{text}");
    assert!(lives(&ours, &periodic));
}

#[test]
fn the_kind_of_token_that_a_mount_orders_goes_before_the_roles() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    for (mount, user, expected) in [
        ("service", "batch", "service"),
        ("batch", "service", "batch"),
        ("default-service", "batch", "batch"),
        ("default-batch", "service", "service"),
        ("default-batch", "default", "batch"),
        ("default-service", "default", "service"),
    ] {
        ours.root("POST", "sys/auth/userpass/tune", &json!({ "token_type": mount }).to_string());
        let body = json!({ "password": "pw", "token_type": user });
        ours.root("POST", "auth/userpass/users/al", &body.to_string());
        let (status, answer) = ours.ask("", "POST", "auth/userpass/login/al", r#"{"password":"pw"}"#);
        assert_eq!((status, &answer["auth"]["token_type"]), (200, &json!(expected)), "{mount} {user}");
    }
}

#[test]
fn no_login_gives_a_token_that_passes_for_a_wrapped_answer() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    for policies in [json!(["response-wrapping"]), json!(["Response-Wrapping", "a"])] {
        let user = json!({ "password": "pw", "token_policies": policies, "token_no_default_policy": true });
        ours.root("POST", "auth/userpass/users/w", &user.to_string());
        assert_eq!(ours.ask("", "POST", "auth/userpass/login/w", r#"{"password":"pw"}"#).0, 400, "{policies}");
    }
}

#[test]
fn no_token_of_a_path_stands_in_an_audit_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let ours = Ours::sealed(Arc::new(Memory::default()), Vec::new(), vec![audit_file(&path)]);
    let root = TokenText::new(ROOT.to_owned());
    ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(root))).unwrap();
    let victim = token(&ours, ROOT, "auth/token/create", &json!({ "policies": ["default"] }));
    ours.root("POST", "sys/quotas/config", r#"{"enable_rate_limit_audit_logging":true}"#);
    ours.root("POST", "sys/quotas/rate-limit/q", r#"{"path":"auth/token","rate":1,"interval":"1h"}"#);
    let look = || ours.ask("", "GET", &format!("auth/token/lookup/{victim}"), "");
    let (status, answer) = [look(), look()][1].clone();
    assert_eq!(status, 429, "{answer}");
    assert!(answer["errors"][0].as_str().unwrap().contains(&victim), "{answer}");
    ours.root("DELETE", "sys/quotas/rate-limit/q", "");
    for path in [
        format!("auth/token/revoke/{victim}"),
        format!("auth/token/revoke-orphan/{victim}"),
        format!("secret/data/x/{victim}"),
        format!("nowhere/{victim}"),
        format!("{victim}/x"),
    ] {
        ours.ask(ROOT, "POST", &path, "{}");
        wrapped(&ours, ROOT, "GET", &path, &Value::Null);
    }
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(log.contains("auth/token/revoke/hmac-sha256:") && log.contains("rate limit quota exceeded"), "{log}");
    let line = log.lines().find(|line| line.contains(&victim));
    assert!(line.is_none(), "{line:?}");
}

#[test]
fn what_was_sent_stands_in_no_error_of_an_audit_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let ours = Ours::sealed(Arc::new(Memory::default()), Vec::new(), vec![audit_file(&path)]);
    let root = TokenText::new(ROOT.to_owned());
    ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(root))).unwrap();
    ours.root("POST", "sys/auth/jwt", r#"{"type":"jwt"}"#);
    ours.root("POST", "sys/mounts/transit", r#"{"type":"transit"}"#);
    let sent = "sent-by-somebody";
    for (path, body) in [
        ("auth/jwt/login", json!({ "role": sent, "jwt": "x" })),
        ("auth/token/create", json!({ "ttl": sent })),
        ("auth/token/create", json!({ "type": sent })),
        ("transit/keys/k", json!({ "type": sent })),
        ("auth/jwt/config", json!({ "jwks_url": format!("http://127.0.0.1:1/keys?token={sent}") })),
        (
            "auth/jwt/config",
            json!({ "jwks_url": format!("http://127.0.0.1:1/keys?token={sent}"), "skip_jwks_validation": true }),
        ),
    ] {
        ours.ask(ROOT, "POST", path, &body.to_string());
    }
    let log = std::fs::read_to_string(&path).unwrap();
    assert!(log.contains("\"error\":\"invalid request\""), "{log}");
    let line = log.lines().find(|line| line.contains(sent));
    assert!(line.is_none(), "{line:?}");
}

#[test]
fn a_secret_id_is_not_used_up_from_a_network_that_is_none_of_its_own() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/approle", r#"{"type":"approle"}"#);
    ours.root("POST", "auth/approle/role/r", r#"{"role_id":"r"}"#);
    let made = |cidr: &str| {
        let body = json!({ "num_uses": 1, "cidr_list": [cidr] });
        ours.root("POST", "auth/approle/role/r/secret-id", &body.to_string())["data"].clone()
    };
    let log_in = |secret: &Value| {
        ours.ask("", "POST", "auth/approle/login", &json!({ "role_id": "r", "secret_id": secret }).to_string())
    };
    let far = made("10.0.0.0/8");
    let nobody = log_in(&json!("no"));
    assert_eq!(log_in(&far["secret_id"]), nobody, "it is not told to be right");
    let lookup = json!({ "secret_id": far["secret_id"] }).to_string();
    let kept = ours.root("POST", "auth/approle/role/r/secret-id/lookup", &lookup);
    assert_eq!(kept["data"]["secret_id_num_uses"], 1, "{kept}");
    assert_eq!(log_in(&made("127.0.0.0/8")["secret_id"]).0, 200);
    // It counts as a wrong one.
    let statuses: Vec<u16> = (0..5).map(|_| log_in(&far["secret_id"]).0).collect();
    assert_eq!(statuses, [400, 400, 400, 400, 400]);
    assert_eq!(log_in(&made("127.0.0.0/8")["secret_id"]).0, 403);
}

#[test]
fn of_many_who_may_only_make_an_entry_one_does() {
    let ours = Ours::dev();
    ours.root("POST", "sys/mounts/one", r#"{"type":"kv"}"#);
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    let token = with_policy(
        &ours,
        r#"path "one/*" { capabilities = ["create"] } path "secret/*" { capabilities = ["create"] }
        path "auth/userpass/users/*" { capabilities = ["create"] }"#,
    );
    for path in ["one/x", "secret/data/x", "secret/metadata/y"] {
        for round in 0..8 {
            let statuses: Vec<u16> = std::thread::scope(|scope| {
                let write = |number: usize| {
                    let body = json!({ "data": { "n": number }, "max_versions": number });
                    ours.ask(&token, "POST", &format!("{path}{round}"), &body.to_string()).0
                };
                let threads: Vec<_> = (0..16).map(|number| scope.spawn(move || write(number))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let done = statuses.iter().filter(|status| matches!(status, 200 | 204)).count();
            let denied = statuses.iter().filter(|status| **status == 403).count();
            assert_eq!((done, denied), (1, 15), "{path}: {statuses:?}");
        }
    }
    assert_eq!(ours.ask(&token, "POST", "auth/userpass/users/bob", r#"{"password":"a"}"#).0, 204);
    assert_eq!(ours.ask(&token, "POST", "auth/userpass/users/bob", r#"{"password":"b"}"#).0, 403);
}

#[test]
fn a_proxy_is_not_told_to_switch_protocols() {
    let ours = Ours::dev();
    for (code, expected) in [("101", 400), ("100", 400), ("199", 400), ("200", 200), ("299", 299), ("600", 400)] {
        assert_eq!(ours.ask("", "GET", &format!("sys/health?activecode={code}"), "").0, expected, "{code}");
    }
}

#[test]
fn children_are_of_no_use_soon_after_their_parent_is_taken_back() {
    let ours = Ours::dev();
    with_policy(&ours, r#"path "auth/token/create" { capabilities = ["create", "update"] }"#);
    let parent = token(&ours, ROOT, "auth/token/create", &json!({ "policies": ["p"] }));
    let children: Vec<String> =
        (0..100).map(|_| token(&ours, &parent, "auth/token/create", &json!({ "policies": ["p"] }))).collect();
    let grandchild = token(&ours, &children[99], "auth/token/create", &json!({}));
    ours.root("POST", "auth/token/revoke", &json!({ "token": parent }).to_string());
    assert!(children.iter().chain([&parent, &grandchild]).all(|token| !lives(&ours, token)));
    let left = || ours.root("LIST", "auth/token/accessors", "")["data"]["keys"].as_array().unwrap().len();
    // The root token's, and that of the helper. What ends is taken back by the server itself too, at the same time.
    let started = Instant::now();
    while left() > 2 {
        assert!(started.elapsed() < Duration::from_mins(2), "{} are left", left());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_secret_id_does_not_outlive_its_role() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/approle", r#"{"type":"approle"}"#);
    let (role, secrets) = ("auth/approle/role/r", "auth/approle/role/r/secret-id");
    for round in 0..20 {
        ours.root("POST", role, "{}");
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| (0..4).for_each(|_| drop(ours.ask(ROOT, "POST", secrets, ""))));
            }
            scope.spawn(|| ours.root("DELETE", role, ""));
        });
        ours.root("POST", role, "{}");
        assert_eq!(ours.ask(ROOT, "LIST", secrets, "").0, 404, "round {round}");
    }
}
