//! What somebody with little, or nothing, may try.

mod ways;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulla_server::http::{Forwarded, Opened, Others, Rules};
use bulla_server::logical::TokenText;
use bulla_server::storage::Memory;
use serde_json::{Value, json};

use crate::ours::{Ours, ROOT, audit_file};

fn token(ours: &Ours, by: &str, path: &str, body: &Value) -> String {
    let (status, answer) = ours.ask(by, "POST", path, &body.to_string());
    assert_eq!(status, 200, "{answer}");
    answer["auth"]["client_token"].as_str().unwrap().to_owned()
}

/// A token of a policy with this text.
fn with_policy(ours: &Ours, text: &str) -> String {
    ours.root("PUT", "sys/policies/acl/p", &json!({ "policy": text }).to_string());
    token(ours, ROOT, "auth/token/create", &json!({ "policies": ["p"] }))
}

fn lives(ours: &Ours, token: &str) -> bool {
    ours.ask(token, "GET", "auth/token/lookup-self", "").0 == 200
}

#[test]
fn names_of_many_segments_cost_nothing() {
    let ours = Ours::dev();
    let default = token(&ours, ROOT, "auth/token/create", &json!({ "policies": ["default"] }));
    let id = "a/".repeat(500_000) + "x";
    let started = Instant::now();
    for _ in 0..10 {
        let (status, _) = ours.ask(&default, "PUT", "sys/leases/lookup", &json!({ "lease_id": id }).to_string());
        assert_eq!(status, 400);
    }
    assert_eq!(ours.ask(ROOT, "GET", &("secret/data/".to_owned() + &"a/".repeat(3000) + "x"), "").0, 413);
    // Of a machine that does much else: what it must not be is minutes.
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
}

#[test]
fn bodies_are_as_long_as_they_may_be_for_whom_they_come_from() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    let of = |bytes: usize| json!({ "password": "x".repeat(bytes) }).to_string();
    assert_eq!(ours.ask(ROOT, "POST", "auth/userpass/login/bob", &of(100_000)).0, 413);
    assert_eq!(ours.ask("", "POST", "sys/unseal", &of(100_000)).0, 413);
    assert_eq!(ours.ask("", "POST", "auth/userpass/login/bob", &of(50_000)).0, 400);
    // A whole entry, each letter of it escaped.
    let escaped = format!(r#"{{"data":{{"a":"{}"}}}}"#, "\\u00e9".repeat(500_000));
    assert_eq!(ours.ask(ROOT, "POST", "secret/data/x", &escaped).0, 200);
    let long = format!(r#"{{"data":{{"a":[{}]}}}}"#, vec!["0"; 20_000].join(","));
    assert_eq!(ours.ask(ROOT, "POST", "secret/data/x", &long).0, 413);
}

#[test]
fn nobody_gets_a_token_for_what_everybody_may_ask() {
    let ours = Ours::dev();
    let headers = [("X-Vault-Wrap-TTL", "60")];
    let (status, body) = bulla_test_support::http(ours.address, "GET", "/v1/sys/internal/ui/mounts", &headers, "");
    assert_eq!(status, 200);
    assert!(serde_json::from_str::<Value>(&body).unwrap()["wrap_info"].is_null(), "{body}");
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    ours.root("POST", "auth/userpass/users/bob", r#"{"password":"pw"}"#);
    let (_, body) =
        bulla_test_support::http(ours.address, "POST", "/v1/auth/userpass/login/bob", &headers, r#"{"password":"pw"}"#);
    assert!(serde_json::from_str::<Value>(&body).unwrap()["wrap_info"]["token"].is_string(), "{body}");
}

#[test]
fn what_is_denied_is_denied_however_it_is_written() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    ours.root("POST", "sys/auth/approle", r#"{"type":"approle"}"#);
    ours.root("POST", "sys/mounts/mm", r#"{"type":"kv"}"#);
    ours.root("POST", "auth/userpass/users/bob", r#"{"password":"pw"}"#);
    ours.root("POST", "auth/approle/role/app", "{}");
    let all = r#"{ capabilities = ["create", "read", "update", "delete", "sudo"] }"#;
    let deny = r#"{ capabilities = ["deny"] }"#;
    let policy = format!(
        r#"path "sys/*" {all} path "auth/*" {all} path "sys/policies/acl/p" {deny} path "sys/policy/p" {deny}
        path "sys/mounts/mm" {deny} path "sys/auth/approle" {deny}
        path "auth/userpass/users/bob*" {deny} path "auth/approle/role/app*" {deny}"#
    );
    let token = with_policy(&ours, &policy);
    for (method, path) in [
        ("GET", "sys/policies/acl/P"),
        ("DELETE", "sys/policy/P"),
        ("DELETE", "sys/mounts/mm/"),
        ("DELETE", "sys/auth/approle/"),
        ("GET", "auth/userpass/users/Bob"),
        ("POST", "auth/userpass/users/BOB/password"),
        ("GET", "auth/approle/role/App/role-id"),
        ("POST", "auth/approle/role/APP/secret-id"),
    ] {
        assert_eq!(ours.ask(&token, method, path, "").0, 403, "{method} {path}");
    }
    assert_eq!(ours.ask(&token, "GET", "auth/userpass/users/Al", "").0, 404);
    assert_eq!(ours.ask(&token, "GET", "sys/policies/acl/DEFAULT", "").0, 200);
}

#[test]
fn a_required_parameter_is_there_under_its_own_name() {
    let ours = Ours::dev();
    let policy = r#"path "secret/data/*" { capabilities = ["create", "update"] required_parameters = ["Data"] }"#;
    let token = with_policy(&ours, policy);
    assert_eq!(ours.ask(&token, "POST", "secret/data/x", r#"{"data":{}}"#).0, 200);
    assert_eq!(ours.ask(&token, "POST", "secret/data/x", r#"{"DATA":{}}"#).0, 403);
}

#[test]
fn a_child_is_used_from_where_its_parent_may_be() {
    let ours = Ours::dev();
    ours.root("POST", "auth/token/roles/here", r#"{"allowed_policies":["p"],"token_bound_cidrs":["127.0.0.0/8"]}"#);
    with_policy(&ours, r#"path "auth/token/create*" { capabilities = ["create", "update", "sudo"] }"#);
    let parent = token(&ours, ROOT, "auth/token/create/here", &json!({}));
    let child = token(&ours, &parent, "auth/token/create", &json!({}));
    let shown = ours.root("POST", "auth/token/lookup", &json!({ "token": child }).to_string());
    assert_eq!(shown["data"]["bound_cidrs"], json!(["127.0.0.0/8"]));
    let orphan = token(&ours, &parent, "auth/token/create-orphan", &json!({ "policies": ["p"] }));
    let shown = ours.root("POST", "auth/token/lookup", &json!({ "token": orphan }).to_string());
    assert!(shown["data"]["bound_cidrs"].is_null());
}

#[test]
fn a_periodic_token_needs_sudo_by_a_role_too() {
    let ours = Ours::dev();
    ours.root("POST", "auth/token/roles/r", r#"{"allowed_policies":["default"]}"#);
    let maker = with_policy(&ours, r#"path "auth/token/create/r" { capabilities = ["create", "update"] }"#);
    assert_eq!(ours.ask(&maker, "POST", "auth/token/create/r", r#"{"period":"1h"}"#).0, 400);
    assert_eq!(ours.ask(&maker, "POST", "auth/token/create/r", "{}").0, 200);
}

#[test]
fn a_chain_of_tokens_has_an_end() {
    let ours = Ours::dev();
    with_policy(&ours, r#"path "auth/token/create" { capabilities = ["create", "update"] }"#);
    let mut last = token(&ours, ROOT, "auth/token/create", &json!({ "policies": ["p"], "no_parent": true }));
    let first = last.clone();
    for _ in 0..63 {
        last = token(&ours, &last, "auth/token/create", &json!({}));
    }
    let made = token(&ours, &last, "auth/token/create", &json!({}));
    let (status, answer) = ours.ask(&made, "POST", "auth/token/create", "{}");
    assert_eq!(status, 400);
    assert!(answer["errors"][0].as_str().unwrap().contains("in a row"), "{answer}");
    ours.root("POST", "auth/token/revoke", &json!({ "token": first }).to_string());
    assert!(!lives(&ours, &last) && !lives(&ours, &made));
}

#[test]
fn a_secret_id_says_no_more_than_its_role() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/approle", r#"{"type":"approle"}"#);
    let role = r#"{"token_bound_cidrs":["127.0.0.0/8"],"secret_id_bound_cidrs":["127.0.0.0/8"]}"#;
    ours.root("POST", "auth/approle/role/r", role);
    for wider in [r#"{"token_bound_cidrs":["0.0.0.0/0"]}"#, r#"{"cidr_list":["10.0.0.0/8"]}"#] {
        assert_eq!(ours.ask(ROOT, "POST", "auth/approle/role/r/secret-id", wider).0, 500, "{wider}");
    }
    let id = ours.root("GET", "auth/approle/role/r/role-id", "")["data"]["role_id"].clone();
    let narrow = r#"{"token_bound_cidrs":["127.0.0.0/16"]}"#;
    let secret = ours.root("POST", "auth/approle/role/r/secret-id", narrow)["data"]["secret_id"].clone();
    let log_in =
        || ours.ask("", "POST", "auth/approle/login", &json!({ "role_id": id, "secret_id": secret }).to_string());
    let bound = |token: &Value| {
        ours.root("POST", "auth/token/lookup", &json!({ "token": token }).to_string())["data"]["bound_cidrs"].clone()
    };
    assert_eq!(bound(&log_in().1["auth"]["client_token"]), json!(["127.0.0.0/16"]));
    // A role that binds to the address that logs in does so whatever the secret id says.
    ours.root("POST", "auth/approle/role/r", r#"{"token_strictly_bind_ip":true}"#);
    assert_eq!(bound(&log_in().1["auth"]["client_token"]), json!(["127.0.0.1"]));
    // And one that was given fewer networks since does not let the secret id be.
    ours.root("POST", "auth/approle/role/r", r#"{"token_bound_cidrs":["127.0.0.1"]}"#);
    assert_eq!(log_in().0, 500);
}

#[test]
fn whether_a_role_is_there_is_not_told() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/approle", r#"{"type":"approle"}"#);
    ours.root("POST", "auth/approle/role/far", r#"{"role_id":"far","secret_id_bound_cidrs":["10.0.0.0/8"]}"#);
    ours.root("POST", "auth/approle/role/near", r#"{"role_id":"near"}"#);
    for secret in ["", "x"] {
        let log_in = |role: &str| {
            ours.ask("", "POST", "auth/approle/login", &json!({ "role_id": role, "secret_id": secret }).to_string())
        };
        let nobody = log_in("nobody");
        assert_eq!((log_in("far"), log_in("near")), (nobody.clone(), nobody), "{secret:?}");
    }
}

#[test]
fn from_elsewhere_a_right_password_is_a_wrong_one_and_locks_nobody_out() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    let here = |cidr: &str| {
        let user = json!({ "password": "pw", "token_bound_cidrs": [cidr] });
        ours.root("POST", "auth/userpass/users/bob", &user.to_string());
    };
    here("10.0.0.0/8");
    let log_in = |name: &str, password: &str| {
        ours.ask("", "POST", &format!("auth/userpass/login/{name}"), &json!({ "password": password }).to_string())
    };
    let nobody = log_in("nobody", "pw");
    assert_eq!(nobody.0, 400);
    for password in ["pw", "wrong", "pw", "pw", "pw"] {
        assert_eq!(log_in("bob", password), nobody);
    }
    // Locked out there, and not here.
    assert_eq!(log_in("bob", "pw").0, 403);
    here("127.0.0.0/8");
    assert_eq!(log_in("bob", "pw").0, 200);
    assert_eq!(log_in("bob%00", "pw").0 / 100, 4);
}

#[test]
fn with_a_method_that_moves_or_goes_its_logins_go() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    ours.root("POST", "auth/userpass/users/bob", r#"{"password":"pw"}"#);
    let bob = token(&ours, "", "auth/userpass/login/bob", &json!({ "password": "pw" }));
    assert!(lives(&ours, &bob));
    ours.root("POST", "sys/remount", r#"{"from":"auth/userpass","to":"auth/people"}"#);
    assert!(!lives(&ours, &bob));
    // Logins that hash while the method goes.
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let log_in = || ours.ask("", "POST", "auth/people/login/bob", r#"{"password":"pw"}"#);
        let threads: Vec<_> = (0..12).map(|_| scope.spawn(log_in)).collect();
        std::thread::sleep(Duration::from_millis(300));
        ours.root("DELETE", "sys/auth/people", "");
        let answers = threads.into_iter().map(|thread| thread.join().unwrap().1);
        answers.filter_map(|answer| answer["auth"]["client_token"].as_str().map(str::to_owned)).collect()
    });
    for token in tokens {
        assert!(!lives(&ours, &token));
    }
}

#[test]
fn a_user_that_is_deleted_while_a_password_is_hashed_stays_deleted() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    for _ in 0..4 {
        ours.root("POST", "auth/userpass/users/bob", r#"{"password":"pw"}"#);
        std::thread::scope(|scope| {
            scope.spawn(|| ours.ask(ROOT, "POST", "auth/userpass/users/bob/password", r#"{"password":"pw2"}"#));
            scope.spawn(|| ours.ask(ROOT, "POST", "auth/userpass/users/bob/password", r#"{"password":"pw3"}"#));
            std::thread::sleep(Duration::from_millis(40));
            ours.root("DELETE", "auth/userpass/users/bob", "");
        });
        assert_eq!(ours.ask(ROOT, "GET", "auth/userpass/users/bob", "").0, 404);
    }
}

#[test]
fn what_shows_mounts_heeds_where_a_token_is_good() {
    let ours = Ours::dev();
    ours.root("POST", "auth/token/roles/far", r#"{"allowed_policies":["p"],"token_bound_cidrs":["10.0.0.0/8"]}"#);
    with_policy(&ours, r#"path "secret/*" { capabilities = ["read"] }"#);
    let far = token(&ours, ROOT, "auth/token/create/far", &json!({}));
    assert_eq!(ours.ask(&far, "GET", "sys/internal/ui/mounts", "").0, 403);
    assert_eq!(ours.ask(&far, "GET", "sys/internal/ui/mounts/secret/x", "").0, 403);
}

#[test]
fn a_last_use_that_cannot_be_written_down_is_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, path) = (folder.path().join("inner"), folder.path().join("inner/audit.log"));
    std::fs::create_dir(&inner).unwrap();
    let ours = Ours::sealed(Arc::new(Memory::default()), Vec::new(), vec![audit_file(&path)]);
    let root = TokenText::new(ROOT.to_owned());
    ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(root))).unwrap();
    let once = token(&ours, ROOT, "auth/token/create", &json!({ "policies": ["default"], "num_uses": 1 }));
    std::fs::remove_dir_all(&inner).unwrap();
    assert_eq!(ours.ask(&once, "GET", "auth/token/lookup-self", "").0, 500);
    std::fs::create_dir(&inner).unwrap();
    assert_eq!(ours.ask(&once, "GET", "auth/token/lookup-self", "").0, 403);
    let accessors = ours.root("LIST", "auth/token/accessors", "");
    assert_eq!(accessors["data"]["keys"].as_array().unwrap().len(), 1, "nothing of it is left");
}

fn log_in(ours: &Ours, path: &str, body: &Value) -> u16 {
    ours.ask("", "POST", path, &body.to_string()).0
}

#[test]
fn of_many_guesses_at_once_no_more_are_answered_than_the_threshold() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    ours.root("POST", "auth/userpass/users/bob", r#"{"password":"pw"}"#);
    for name in ["bob", "nobody"] {
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let guess = |number: usize| {
                log_in(&ours, &format!("auth/userpass/login/{name}"), &json!({ "password": format!("p{number}") }))
            };
            let threads: Vec<_> = (0..24).map(|number| scope.spawn(move || guess(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 5, "{name}: {statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 19, "{name}: {statuses:?}");
    }
    assert_eq!(log_in(&ours, "auth/userpass/login/bob", &json!({ "password": "pw" })), 403);
    let accessor = ours.root("GET", "sys/auth/userpass", "")["data"]["accessor"].as_str().unwrap().to_owned();
    ours.root("POST", &format!("sys/locked-users/{accessor}/unlock/bob"), "");
    assert_eq!(log_in(&ours, "auth/userpass/login/bob", &json!({ "password": "pw" })), 200);
}

#[test]
fn many_right_logins_at_once_lock_nobody_out_and_nobody_far_away_does() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/approle", r#"{"type":"approle"}"#);
    ours.root("POST", "auth/approle/role/r", r#"{"role_id":"r"}"#);
    let secret = ours.root("POST", "auth/approle/role/r/secret-id", "")["data"]["secret_id"].clone();
    let right = json!({ "role_id": "r", "secret_id": secret });
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..24).map(|_| scope.spawn(|| log_in(&ours, "auth/approle/login", &right))).collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap() == 200));
    });
    let wrong = json!({ "role_id": "r", "secret_id": "no" });
    // From a network that is none of the role's: counted, for those who are there.
    ours.root("POST", "auth/approle/role/r", r#"{"secret_id_bound_cidrs":["10.0.0.0/8"]}"#);
    let statuses: Vec<u16> = (0..7).map(|_| log_in(&ours, "auth/approle/login", &wrong)).collect();
    assert_eq!(statuses, [400, 400, 400, 400, 400, 403, 403]);
    ours.root("POST", "auth/approle/role/r", r#"{"secret_id_bound_cidrs":[]}"#);
    assert_eq!(log_in(&ours, "auth/approle/login", &right), 200);
}

#[test]
fn a_request_that_is_one_too_many_is_refused_before_its_body_and_written_down_if_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let ours = Ours::sealed(Arc::new(Memory::default()), Vec::new(), vec![audit_file(&path)]);
    let root = TokenText::new(ROOT.to_owned());
    ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(root))).unwrap();
    ours.root("POST", "sys/quotas/rate-limit/q", r#"{"rate":2,"interval":"1h","path":"secret/data/x"}"#);
    ours.root(
        "POST",
        "sys/quotas/config",
        r#"{"enable_rate_limit_audit_logging":true,"enable_rate_limit_response_headers":true}"#,
    );
    let ask = || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(ours.address).unwrap();
        // More is announced than is sent.
        write!(stream, "POST /v1/secret/data/x HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{{}}").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut answer = String::new();
        let mut byte = [0; 1];
        while !answer.ends_with("\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
            answer.push(char::from(byte[0]));
        }
        answer.to_lowercase()
    };
    assert_eq!((ask(), ask()), (String::new(), String::new()), "they wait for the body");
    let refused = ask();
    assert!(refused.starts_with("http/1.1 429") && refused.contains("x-ratelimit-limit: 2"), "{refused}");
    assert!(refused.contains("x-ratelimit-remaining: 0") && refused.contains("retry-after: 35"), "{refused}");
    let log = std::fs::read_to_string(&path).unwrap();
    let line = log.lines().last().unwrap();
    assert!(line.contains("rate limit quota exceeded") && line.contains("secret/data/x"), "{line}");
    // With the mount goes its quota.
    ours.root("DELETE", "sys/mounts/secret", "");
    assert_eq!(ours.ask(ROOT, "LIST", "sys/quotas/rate-limit", "").0, 404);
}

#[test]
fn what_is_counted_is_read_by_everybody_where_the_listener_says_so() {
    let ours = Ours::dev();
    let page = |ours: &Ours, token: &str| {
        bulla_test_support::http(
            ours.address,
            "GET",
            "/v1/sys/metrics?format=prometheus",
            &[("X-Vault-Token", token)],
            "",
        )
    };
    assert_eq!(page(&ours, "").0, 403);
    let before = page(&ours, ROOT).1;
    ours.root("POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    ours.root("POST", "auth/userpass/users/bob", r#"{"password":"pw","token_ttl":"5m"}"#);
    assert_eq!(log_in(&ours, "auth/userpass/login/bob", &json!({ "password": "pw" })), 200);
    let after = page(&ours, ROOT).1;
    let created = r#"auth_method="userpass","#;
    assert!(!before.contains(created) && after.contains(created), "{after}");
    assert!(
        after.contains(r#"creation_ttl="10m",mount_point="auth/userpass/",namespace="root",token_type="service"} 1"#)
    );
    assert!(after.contains("\nvault_core_handle_login_request_count 1\n"), "{after}");
    assert!(!after.contains("bob") && !after.contains(ROOT));
    let opened = Opened { metrics: true, ..Default::default() };
    let sealed = Ours::opened(Arc::new(Memory::default()), Vec::new(), Vec::new(), opened);
    let (status, text) = page(&sealed, "");
    assert!(status == 200 && text.contains("vault_core_unsealed{cluster=\"\"} 0\n"), "{status} {text}");
}

#[test]
fn deleting_what_is_tuned_deletes_no_mount() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/approle", r#"{"type":"approle"}"#);
    ours.root("POST", "secret/data/x", r#"{"data":{"a":1}}"#);
    for path in ["sys/auth/approle/tune", "sys/mounts/secret/tune"] {
        assert_eq!(ours.ask(ROOT, "DELETE", path, "").0, 405, "{path}");
    }
    assert_eq!(ours.ask(ROOT, "GET", "sys/auth/approle", "").0, 200);
    assert_eq!(ours.ask(ROOT, "GET", "secret/data/x", "").0, 200);
}

#[test]
fn an_escape_leads_out_of_no_mount_and_no_cubbyhole() {
    let ours = Ours::dev();
    ours.root("POST", "sys/mounts/other", r#"{"type":"kv"}"#);
    ours.root("POST", "other/secret", r#"{"a":"hidden"}"#);
    ours.root("POST", "cubbyhole/mine", r#"{"a":"hidden"}"#);
    let policy = r#"path "secret/*" { capabilities = ["create","read","update","delete","list"] }"#;
    let token = with_policy(&ours, policy);
    for up in ["..", "%2e%2e", "..%2f..", "%2E%2E%2f%2e.", "x%2f..%2f..", ".%2e", "..%2f..%2f..%2f.."] {
        for method in ["GET", "LIST", "POST", "DELETE"] {
            for path in [
                format!("secret/{up}/other/secret"),
                format!("secret/data/{up}/other/secret"),
                format!("secret/data/{up}/{up}/other/secret"),
                format!("cubbyhole/{up}/cubbyhole/mine"),
                format!("cubbyhole/{up}/{up}/mine"),
            ] {
                let (status, answer) = ours.ask(&token, method, &path, r#"{"data":{"a":"changed"},"a":"changed"}"#);
                // Sent on to where it leads, and asked there with the same token; or refused.
                assert!(matches!(status, 307 | 400 | 403), "{method} {path}: {status}");
                assert!(!answer.to_string().contains("hidden"), "{method} {path}");
            }
        }
    }
    assert_eq!(ours.root("GET", "other/secret", "")["data"]["a"], "hidden");
    assert_eq!(ours.root("GET", "cubbyhole/mine", "")["data"]["a"], "hidden");
    assert_eq!(ours.ask(&token, "GET", "other/secret", "").0, 403);
    assert_eq!(ours.ask(&token, "GET", "cubbyhole/mine", "").0, 404);
}

#[test]
fn a_login_that_is_none_counts_where_roles_have_quotas() {
    let ours = Ours::dev();
    ours.root("POST", "sys/auth/approle", r#"{"type":"approle"}"#);
    ours.root("POST", "auth/approle/role/r", "{}");
    ours.root("POST", "sys/quotas/rate-limit/all", r#"{"rate":2,"interval":"1h","path":"auth/approle"}"#);
    ours.root("POST", "sys/quotas/rate-limit/one", r#"{"rate":100,"path":"auth/approle","role":"r"}"#);
    let statuses =
        ["{", r#"{"role_id":["no text"]}"#, "{"].map(|body| ours.ask("", "POST", "auth/approle/login", body).0);
    assert_eq!(statuses, [400, 400, 429]);
}

#[test]
fn a_request_through_a_believed_proxy_is_its_clients() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.log");
    let forwarded = Forwarded {
        proxies: vec!["127.0.0.0/8".to_owned()],
        skipped: 0,
        without: Others::Refused,
        elsewhere: Others::Refused,
    };
    let rules = Rules { forwarded: Some(forwarded), ..Rules::default() };
    let ours = Ours::opened(Arc::new(Memory::default()), Vec::new(), vec![audit_file(&log)], rules);
    let root = TokenText::new(ROOT.to_owned());
    ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(root))).unwrap();
    let ask = |token: &str, forwarded: &str, method: &str, path: &str, body: &str| {
        let headers = [("X-Vault-Token", token), ("X-Forwarded-For", forwarded)];
        let (status, body) = bulla_test_support::http(ours.address, method, &format!("/v1/{path}"), &headers, body);
        (status, serde_json::from_str::<Value>(&body).unwrap_or_default())
    };
    let userpass = ask(ROOT, "10.0.0.1", "POST", "sys/auth/userpass", r#"{"type":"userpass"}"#);
    assert_eq!(userpass.0, 204, "{userpass:?}");
    let user = r#"{"password":"p","token_bound_cidrs":"10.1.0.0/16"}"#;
    assert_eq!(ask(ROOT, "10.0.0.1", "POST", "auth/userpass/users/u", user).0, 204);
    let login = |from: &str| ask("", from, "POST", "auth/userpass/login/u", r#"{"password":"p"}"#);
    assert_ne!(login("10.2.0.1").0, 200);
    // What the client writes itself stands before what the proxy writes.
    assert_ne!(login("10.1.0.1, 10.2.0.1").0, 200);
    let (status, answer) = login("10.2.0.1, 10.1.0.1");
    assert_eq!(status, 200, "{answer}");
    let token = answer["auth"]["client_token"].as_str().unwrap();
    assert_eq!(ask(token, "10.1.0.9", "GET", "auth/token/lookup-self", "").0, 200);
    assert_eq!(ask(token, "10.2.0.9", "GET", "auth/token/lookup-self", "").0, 403);
    let (status, answer) = ours.ask(ROOT, "GET", "sys/mounts", "");
    assert!(status == 400 && answer.to_string().contains("missing x-forwarded-for"), "{answer}");
    assert_eq!(ask(ROOT, "somewhere", "GET", "sys/mounts", "").0, 400);
    let written = std::fs::read_to_string(&log).unwrap();
    assert!(
        written.contains("\"remote_address\":\"10.1.0.9\"") && !written.contains("\"remote_address\":\"127.0.0.1\"")
    );
}
