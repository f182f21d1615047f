//! The leases of tokens, here and in the real OpenBao.

use std::net::SocketAddr;

use bulla_test_support::bao::Bao;
use bulla_test_support::http;
use serde_json::{Value, json};

use crate::ours::{Ours, ROOT};

fn ask(address: SocketAddr, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = http(address, method, &format!("/v1/{path}"), &[("X-Vault-Token", token)], &body);
    (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
}

/// What is asked, and answered but for what is random.
fn looks(address: SocketAddr) -> Vec<(u16, Value)> {
    let root = |method: &str, path: &str, body: &Value| ask(address, ROOT, method, path, body);
    root("POST", "sys/auth/up", &json!({ "type": "userpass" }));
    root("POST", "auth/up/users/ann", &json!({ "password": "p" }));
    root("POST", "auth/token/create", &json!({ "type": "batch", "policies": ["default"], "ttl": "1h" }));
    let (_, login) = ask(address, "", "POST", "auth/up/login/ann", &json!({ "password": "p" }));
    let token = login["auth"]["client_token"].as_str().unwrap().to_owned();
    let mut seen = Vec::new();
    for path in ["", "auth/", "auth", "auth/up", "auth/up/login/", "auth/none/", "au"] {
        let (status, answer) = root("LIST", &format!("sys/leases/lookup/{path}"), &Value::Null);
        // The peer has one for the root token of its `-dev`, too.
        let mut names: Vec<Value> = answer["data"]["keys"].as_array().cloned().unwrap_or_default();
        names.retain(|name| name != "token/");
        seen.push((status, json!(names)));
    }
    let (_, list) = root("LIST", "sys/leases/lookup/auth/up/login/ann", &Value::Null);
    let names = list["data"]["keys"].as_array().unwrap();
    let name = names[0].as_str().unwrap();
    assert!(names.len() == 1 && name.len() == 65 && name.starts_with('h'), "{list}");
    let id = format!("auth/up/login/ann/{name}");
    for (path, body) in [
        ("sys/leases/lookup", json!({ "lease_id": id })),
        ("sys/leases/renew", json!({ "lease_id": id, "increment": 60 })),
        ("sys/leases/lookup", json!({ "lease_id": id.replace("up/", "down/") })),
        ("sys/leases/lookup", json!({ "lease_id": format!("{id}0") })),
    ] {
        let (status, mut answer) = root("PUT", path, &body);
        let data = &mut answer["data"];
        for name in ["expire_time", "issue_time"] {
            assert!(data[name].is_null() || data[name].as_str().unwrap().ends_with('Z'));
            data.as_object_mut().map(|data| data.remove(name));
        }
        if data["id"] == id.as_str() {
            data["id"] = json!("ID");
            assert!(data["ttl"].as_i64().unwrap() > 2_764_000);
            data["ttl"] = json!("TTL");
        }
        let shown = if data.is_null() { &answer["errors"] } else { data };
        seen.push((status, shown.clone()));
    }
    let lives = || ask(address, &token, "GET", "auth/token/lookup-self", &Value::Null).0;
    seen.push((lives(), Value::Null));
    seen.push((root("PUT", "sys/leases/revoke", &json!({ "lease_id": id, "sync": true })).0, Value::Null));
    seen.push((lives(), Value::Null));
    seen.push((root("LIST", "sys/leases/lookup/auth/up/login/ann", &Value::Null).0, Value::Null));
    seen
}

#[test]
fn a_login_has_a_lease_by_which_it_is_found_and_ended() {
    let (bao, ours) = (Bao::start(), Ours::dev());
    let (theirs, ours) = (looks(bao.0.address), looks(ours.address));
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "answer {number}");
    }
    assert_eq!(ours.len(), theirs.len());
}
