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
