//! What nobody can hold up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulla_server::logical::TokenText;
use bulla_server::storage::Memory;
use serde_json::{Value, json};

use crate::ours::{Ours, ROOT, audit_file};

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn paths_of_many_segments_cost_nobody_anything() {
    let ours = Ours::dev();
    let time = |path: &str| {
        let started = Instant::now();
        for _ in 0..10 {
            assert_eq!(ours.ask("", "GET", path, "").0, 403);
        }
        started.elapsed()
    };
    let (many, flat) = ("a/".repeat(8000) + "x", "a".repeat(16_000));
    time(&flat);
    // The least of some: others use this machine too.
    let least = |path: &str| (0..3).map(|_| time(path)).min().unwrap();
    let (many, flat) = (least(&many), least(&flat));
    assert!(many < 20 * flat, "{many:?} and {flat:?}");
}

/// The first bytes of what is answered to a head that announces a long body, of which nothing comes.
fn announced(ours: &Ours, token: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(ours.address).unwrap();
    let head =
        format!("POST /v1/{path} HTTP/1.1\r\nHost: a\r\nX-Vault-Token: {token}\r\nContent-Length: 4000000\r\n\r\n{{");
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).ok()?;
    Some(String::from_utf8_lossy(&first).into_owned())
}

#[test]
fn nobody_sends_a_long_body_with_a_token_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let ours = Ours::sealed(Arc::new(Memory::default()), Vec::new(), vec![audit_file(&file)]);
    let root = TokenText::new(ROOT.to_owned());
    ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(root))).unwrap();
    assert_eq!(announced(&ours, "nonsense", "secret/data/x").as_deref(), Some("HTTP/1.1 403"));
    let written = std::fs::read_to_string(&file).unwrap();
    let records: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = records.last().unwrap();
    assert_eq!((&last["type"], &last["request"]["path"]), (&json!("response"), &json!("secret/data/x")), "{last}");
    assert!(last["request"]["client_token"].as_str().unwrap().starts_with("hmac-sha256:"), "{last}");
    assert_eq!(last["error"], "permission denied", "{last}");
    // From elsewhere a token is none.
    let body = json!({ "policies": ["default"] }).to_string();
    ours.root("POST", "auth/token/roles/far", r#"{"token_bound_cidrs":["192.0.2.0/24"]}"#);
    let far = text(&ours.root("POST", "auth/token/create/far", &body)["auth"]["client_token"]);
    assert_eq!(announced(&ours, &far, "secret/data/x").as_deref(), Some("HTTP/1.1 403"));
    assert_eq!(announced(&ours, "", "secret/data/x").as_deref(), Some("HTTP/1.1 413"));
    assert_eq!(announced(&ours, ROOT, "auth/userpass/login/x").as_deref(), Some("HTTP/1.1 413"));
    assert_eq!(announced(&ours, ROOT, "secret/data/x"), None, "the rest is waited for");
    // Who sends all of it sees the answer.
    let long = json!({ "data": { "a": "x".repeat(900_000) } }).to_string();
    assert_eq!(ours.ask("nonsense", "POST", "secret/data/x", &long).0, 403);
    // A token's uses are not used up by looking at it.
    let once = json!({ "num_uses": 1, "policies": ["root"] }).to_string();
    let once = text(&ours.root("POST", "auth/token/create", &once)["auth"]["client_token"]);
    assert_eq!(ours.ask(&once, "POST", "secret/data/x", &long).0, 200);
    assert_eq!(ours.ask(&once, "POST", "secret/data/x", &long).0, 403);
}
