//! What happens over several requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bulla_server::seal::AutoSeal;
use bulla_server::seal::fixed::Fixed;
use bulla_server::storage::{Embedded, Memory};
use serde_json::{Value, json};

use crate::ours::{Ours, ROOT, audit_file};

fn text<'a>(answer: &'a Value, pointer: &str) -> &'a str {
    answer.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("nothing at {pointer} of {answer}"))
}

fn token(ours: &Ours, by: &str, body: &Value) -> String {
    let (status, answer) = ours.ask(by, "POST", "auth/token/create", &body.to_string());
    assert_eq!(status, 200, "{answer}");
    text(&answer, "/auth/client_token").to_owned()
}

fn lives(ours: &Ours, token: &str) -> bool {
    ours.ask(token, "GET", "auth/token/lookup-self", "").0 == 200
}

#[test]
fn people_initialize_unseal_and_seal() {
    let ours = Ours::sealed(Arc::new(Memory::default()), Vec::new(), Vec::new());
    assert_eq!(ours.ask("", "GET", "sys/health", "").0, 501);
    assert_eq!(ours.ask("", "GET", "secret/x", "").0, 503);
    let (status, made) = ours.ask("", "PUT", "sys/init", r#"{"secret_shares":5,"secret_threshold":3}"#);
    assert_eq!(status, 200);
    assert_eq!(ours.ask("", "GET", "sys/health", "").0, 503);
    let keys: Vec<&str> = made["keys_base64"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    let root = text(&made, "/root_token");
    let unseal = |key: &str| ours.ask("", "PUT", "sys/unseal", &json!({ "key": key }).to_string());
    // Two and one that is not of these: all are forgotten.
    assert_eq!(unseal(keys[0]).1["progress"], 1);
    assert_eq!(unseal(keys[0]).1["progress"], 1);
    assert_eq!(unseal(keys[1]).1["progress"], 2);
    let mut wrong = made["keys"][2].as_str().unwrap().to_owned();
    let flipped = if wrong.starts_with('0') { "1" } else { "0" };
    wrong.replace_range(..1, flipped);
    assert_eq!(unseal(&wrong).0, 400);
    assert_eq!(ours.ask("", "GET", "sys/seal-status", "").1["progress"], 0);
    for key in [made["keys"][4].as_str().unwrap(), keys[1], keys[3]] {
        unseal(key);
    }
    assert_eq!(ours.ask("", "GET", "sys/health", "").0, 200);
    assert_eq!(ours.ask(root, "GET", "auth/token/lookup-self", "").1["data"]["policies"], json!(["root"]));
    assert_eq!(ours.ask(root, "PUT", "sys/seal", "").0, 204);
    assert_eq!(ours.ask(root, "GET", "auth/token/lookup-self", "").0, 503);
    assert_eq!(ours.ask("", "PUT", "sys/init", r#"{"secret_shares":1,"secret_threshold":1}"#).0, 400);
}

#[test]
fn who_gives_shares_as_soon_as_it_is_sealed_opens_it_and_it_stays_open() {
    let folder = tempfile::tempdir().unwrap();
    // It takes a moment to write, and sealing writes.
    let ours = Ours::sealed(Arc::new(Embedded::open(&folder.path().join("db")).unwrap()), Vec::new(), Vec::new());
    let (_, made) = ours.ask("", "PUT", "sys/init", r#"{"secret_shares":2,"secret_threshold":2}"#);
    let root = text(&made, "/root_token");
    let unseal = || {
        let give = |at: usize| ours.ask("", "PUT", "sys/unseal", &json!({ "key": made["keys"][at] }).to_string()).1;
        give(0);
        give(1)
    };
    unseal();
    for round in 0..20 {
        assert_eq!(ours.ask(root, "PUT", "cubbyhole/x", &json!({ "round": round }).to_string()).0, 204);
        assert_eq!(ours.ask(root, "PUT", "sys/seal", "").0, 204);
        assert_eq!(unseal()["sealed"], false, "{round}");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(ours.ask(root, "GET", "cubbyhole/x", "").1["data"]["round"], round);
    }
}

#[test]
fn a_server_with_a_static_key_opens_by_itself_and_has_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let key = bulla_core::DataKey::generate().unwrap();
    let seal = || -> Vec<Arc<dyn AutoSeal>> { vec![Arc::new(Fixed::new("1".to_owned(), key.clone()))] };
    let open = || loop {
        if let Ok(storage) = Embedded::open(&folder.path().join("db")) {
            return Arc::new(storage);
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let ours = Ours::sealed(open(), seal(), Vec::new());
    let (status, made) = ours.ask("", "PUT", "sys/init", r#"{"recovery_shares":3,"recovery_threshold":2}"#);
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["recovery_keys"].as_array().unwrap().len(), 3);
    let root = text(&made, "/root_token").to_owned();
    assert_eq!(ours.ask(&root, "POST", "sys/mounts/s", r#"{"type":"kv-v2"}"#).0, 204);
    assert_eq!(ours.ask(&root, "POST", "s/data/x", r#"{"data":{"n":12345678901234567890}}"#).0, 200);
    let Ours { core, runtime, .. } = ours;
    runtime.block_on(core.seal());
    drop((core, runtime));
    let ours = Ours::sealed(open(), seal(), Vec::new());
    assert!(ours.runtime.block_on(ours.core.unseal_by_itself()).unwrap());
    let (_, read) = ours.ask(&root, "GET", "s/data/x", "");
    // More digits than the peer keeps.
    assert_eq!(read["data"]["data"]["n"].as_u64(), Some(12_345_678_901_234_567_890));
    let status = ours.ask("", "GET", "sys/seal-status", "").1;
    assert_eq!((status["type"].as_str(), status["recovery_seal"].as_bool()), (Some("static"), Some(true)));
}

#[test]
fn with_a_token_go_its_children_and_its_storage_and_nothing_else() {
    let ours = Ours::dev();
    let parent = token(&ours, ROOT, &json!({ "policies": ["root"], "ttl": "1h" }));
    let child = token(&ours, &parent, &json!({ "policies": ["default"] }));
    let grandchild_maker = token(&ours, &parent, &json!({ "policies": ["root"], "ttl": "1h" }));
    let grandchild = token(&ours, &grandchild_maker, &json!({ "policies": ["default"] }));
    let orphan = token(&ours, &parent, &json!({ "policies": ["default"], "no_parent": true }));
    let batch = token(&ours, &parent, &json!({ "policies": ["default"], "type": "batch" }));
    for one in [&parent, &child, &grandchild, &orphan, &batch] {
        assert!(lives(&ours, one));
    }
    assert_eq!(ours.ask(&child, "POST", "cubbyhole/x", r#"{"a":"b"}"#).0, 204);
    ours.root("POST", "auth/token/revoke", &json!({ "token": parent }).to_string());
    for (one, expected) in [(&parent, false), (&child, false), (&grandchild, false), (&orphan, true), (&batch, false)] {
        assert_eq!(lives(&ours, one), expected);
    }
    let accessors = ours.root("LIST", "auth/token/accessors", "");
    assert_eq!(accessors["data"]["keys"].as_array().unwrap().len(), 2, "the root token and the orphan");
}

#[test]
fn a_token_ends_by_itself_and_leaves_nothing() {
    let ours = Ours::dev();
    let short = token(&ours, ROOT, &json!({ "policies": ["root"], "ttl": "2s" }));
    let child = token(&ours, &short, &json!({ "policies": ["default"], "ttl": "1h" }));
    let renewed = token(&ours, ROOT, &json!({ "policies": ["default"], "ttl": "2s" }));
    assert!(lives(&ours, &child));
    assert_eq!(ours.ask(&renewed, "POST", "auth/token/renew-self", r#"{"increment":"1h"}"#).0, 200);
    let started = Instant::now();
    while ours.root("LIST", "auth/token/accessors", "")["data"]["keys"].as_array().unwrap().len() > 2 {
        assert!(started.elapsed() < Duration::from_secs(20), "it is still there");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!lives(&ours, &short) && !lives(&ours, &child) && lives(&ours, &renewed));
}

#[test]
fn a_token_is_used_as_often_as_it_may_be_however_many_ask_at_once() {
    let ours = Ours::dev();
    let few = token(&ours, ROOT, &json!({ "policies": ["default"], "num_uses": 5 }));
    let wrapped = {
        let headers = [("X-Vault-Token", ROOT), ("X-Vault-Wrap-TTL", "60")];
        let (_, body) =
            bulla_test_support::http(ours.address, "POST", "/v1/sys/wrapping/wrap", &headers, r#"{"a":"b"}"#);
        text(&serde_json::from_str::<Value>(&body).unwrap(), "/wrap_info/token").to_owned()
    };
    let successes = |ask: &(dyn Fn() -> u16 + Sync)| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|status| *status == 200).count()
        })
    };
    assert_eq!(successes(&|| ours.ask(&few, "GET", "auth/token/lookup-self", "").0), 5);
    assert_eq!(successes(&|| ours.ask(&wrapped, "PUT", "sys/wrapping/unwrap", "").0), 1);
}

#[test]
fn of_many_writers_that_follow_one_version_one_wins() {
    let ours = Ours::dev();
    ours.root("POST", "secret/data/x", r#"{"data":{"n":0}}"#);
    let won = std::thread::scope(|scope| {
        let write = || ours.ask(ROOT, "POST", "secret/data/x", r#"{"data":{"n":1},"options":{"cas":1}}"#).0;
        let threads: Vec<_> = (0..12).map(|_| scope.spawn(write)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|status| *status == 200).count()
    });
    assert_eq!(won, 1);
    assert_eq!(ours.root("GET", "secret/data/x", "")["data"]["metadata"]["version"], 2);
}

#[test]
fn a_policy_counts_from_the_next_request_on() {
    let ours = Ours::dev();
    let write = |capability: &str| {
        let policy = format!("path \"secret/data/*\" {{ capabilities = [\"{capability}\"] }}");
        ours.root("PUT", "sys/policies/acl/p", &json!({ "policy": policy }).to_string());
    };
    write("read");
    ours.root("POST", "secret/data/x", r#"{"data":{}}"#);
    let reader = token(&ours, ROOT, &json!({ "policies": ["p"] }));
    assert_eq!(ours.ask(&reader, "GET", "secret/data/x", "").0, 200);
    write("deny");
    assert_eq!(ours.ask(&reader, "GET", "secret/data/x", "").0, 403);
    // What is there is updated, what is not is created.
    write("create");
    assert_eq!(ours.ask(&reader, "POST", "secret/data/new", r#"{"data":{}}"#).0, 200);
    assert_eq!(ours.ask(&reader, "POST", "secret/data/new", r#"{"data":{}}"#).0, 403);
    write("update");
    assert_eq!(ours.ask(&reader, "POST", "secret/data/new", r#"{"data":{}}"#).0, 200);
    assert_eq!(ours.ask(&reader, "POST", "secret/data/newer", r#"{"data":{}}"#).0, 403);
}

#[test]
fn nobody_reaches_another_mount_or_cubbyhole_through_a_path() {
    let ours = Ours::dev();
    ours.root("POST", "secret/data/x", r#"{"data":{"a":"hidden"}}"#);
    ours.root("POST", "sys/mounts/open", r#"{"type":"kv"}"#);
    let policy = json!({ "policy": "path \"open/*\" { capabilities = [\"read\", \"list\", \"create\", \"update\"] }" });
    ours.root("PUT", "sys/policies/acl/open", &policy.to_string());
    let (one, other) =
        (token(&ours, ROOT, &json!({ "policies": ["open"] })), token(&ours, ROOT, &json!({ "policies": ["open"] })));
    for path in
        ["open/../secret/data/x", "open/%2e%2e/secret/data/x", "open/..%2fsecret/data/x", "open//../secret/data/x"]
    {
        let (status, answer) = ours.ask(&one, "GET", path, "");
        assert!(status == 307 || status >= 400, "{path}: {status}");
        assert!(!answer.to_string().contains("hidden"), "{path}");
    }
    assert_eq!(ours.ask(&one, "POST", "cubbyhole/mine", r#"{"a":"hidden"}"#).0, 204);
    assert_eq!(ours.ask(&other, "GET", "cubbyhole/mine", "").0, 404);
    assert_eq!(ours.ask(ROOT, "GET", "cubbyhole/mine", "").0, 404);
}

#[test]
fn every_answer_is_written_down_and_no_secret_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let ours = Ours::sealed(Arc::new(Memory::default()), Vec::new(), vec![audit_file(&path)]);
    let root = bulla_server::logical::TokenText::new(ROOT.to_owned());
    ours.runtime.block_on(bulla_server::dev::start(&ours.core, Some(root))).unwrap();
    ours.root("POST", "secret/data/x", r#"{"data":{"password":"hunter2"}}"#);
    ours.root("GET", "secret/data/x", "");
    ours.ask("s.wrongtoken", "GET", "secret/data/x", "");
    let child = token(&ours, ROOT, &json!({ "policies": ["default"] }));
    let log = std::fs::read_to_string(&path).unwrap();
    for secret in ["hunter2", ROOT, child.as_str(), "s.wrongtoken"] {
        assert!(!log.contains(secret), "{secret}");
    }
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 8);
    for pair in lines.chunks(2) {
        assert_eq!((pair[0]["type"].as_str(), pair[1]["type"].as_str()), (Some("request"), Some("response")));
        assert_eq!(pair[0]["request"]["id"], pair[1]["request"]["id"]);
    }
    let hash = ours.root("POST", "sys/audit-hash/f", r#"{"input":"hunter2"}"#);
    assert!(log.contains(text(&hash, "/data/hash")));
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert_eq!(ours.ask(ROOT, "GET", "secret/data/x", "").0, 500, "nothing is answered that is not written down");
}
