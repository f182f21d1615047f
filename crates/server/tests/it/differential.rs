//! The same requests to the real OpenBao and to ours, the answers compared: status, names, types, values, error texts.
//!
//! `exchange.txt` has the requests of servers for trying things out, `system.txt` more of
//! them, `logins.txt` those with signed tokens, `quorum.txt` those of one that people open with shares, `recovery.txt` of one
//! that a seal opens; `differences.txt` where ours differs and why.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulla_core::DataKey;
use bulla_server::http::Opened;
use bulla_server::seal::AutoSeal;
use bulla_server::seal::fixed::Fixed;
use bulla_server::storage::Memory;
use bulla_test_support::bao::Bao;
use bulla_test_support::http;
use bulla_test_support::patience::Patience;
use serde_json::Value;

use crate::ours::{Ours, ROOT};
use crate::own;

const EXCHANGE: &str = include_str!("exchange.txt");
const LOGINS: &str = include_str!("logins.txt");
const SYSTEM: &str = include_str!("system.txt");
const QUORUM: &str = include_str!("quorum.txt");
const RECOVERY: &str = include_str!("recovery.txt");
const DIFFERENCES: &str = include_str!("differences.txt");

/// Names whose values are each server's own, beside those of all comparisons.
const ALSO_OWN: &[&str] = &[
    "version",
    "server_time_utc",
    "role_id",
    "migration_id",
    "encryptions",
    "creation_time_unix",
    "creation_time",
    "last_renewal_time",
];

/// The same of random ones.
const ALSO_RANDOM: &[&str] = &["encoded_root_token"];

struct Step<'a> {
    line: usize,
    token: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    method: &'a str,
    path: &'a str,
    body: &'a str,
    saves: Vec<(&'a str, &'a str)>,
}

fn steps(exchange: &'static str) -> Vec<Step<'static>> {
    let mut steps: Vec<Step<'static>> = Vec::new();
    for (at, line) in exchange.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix("= ") {
            steps.last_mut().unwrap().saves.push(rest.split_once(' ').unwrap());
            continue;
        }
        let (mut token, mut headers, mut rest) = ("{root}", Vec::new(), line);
        if let Some(after) = rest.strip_prefix("as ") {
            (token, rest) = after.split_once(' ').unwrap();
        }
        while let Some(after) = rest.strip_prefix('[') {
            let (header, tail) = after.split_once("] ").unwrap();
            headers.push(header.split_once(": ").unwrap());
            rest = tail;
        }
        let (method, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        steps.push(Step { line: at + 1, token, headers, method, path, body, saves: Vec::new() });
    }
    steps
}

fn fill(text: &str, saved: &BTreeMap<String, String>) -> String {
    saved.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn ask(address: SocketAddr, step: &Step<'_>, saved: &mut BTreeMap<String, String>) -> (u16, Value) {
    let token = fill(step.token, saved);
    let mut headers = step.headers.clone();
    if token != "nobody" {
        headers.push(("X-Vault-Token", &token));
    }
    let (status, body) =
        http(address, step.method, &format!("/v1/{}", fill(step.path, saved)), &headers, &fill(step.body, saved));
    let answer = serde_json::from_str(&body).unwrap_or(Value::String(body));
    for (name, pointer) in &step.saves {
        let value = answer.pointer(pointer).and_then(Value::as_str);
        let value = value.unwrap_or_else(|| panic!("line {}: nothing at {pointer} of {answer}", step.line));
        saved.insert((*name).to_owned(), value.to_owned());
    }
    (status, answer)
}

/// Where two answers differ: `pointer: theirs | ours`.
fn compare(at: &str, theirs: &Value, ours: &Value, passed: Duration, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                let inner = format!("{at}/{key}");
                match b.get(key) {
                    Some(_) if own::is_own(key) || ALSO_OWN.contains(&key.as_str()) => {}
                    Some(Value::String(b))
                        if is_random(at, key) && value.as_str().is_some_and(|a| own::alike(a, b)) => {}
                    Some(other) => compare(&inner, value, other, passed, found),
                    None => found.push(format!("{inner}: {value} | nothing")),
                }
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                found.push(format!("{at}/{key}: nothing | {value}"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{at}/{i}"), a, b, passed, found);
            }
        }
        (Value::String(a), Value::String(b)) if is_time(a) && is_time(b) || is_share(a) && is_share(b) => {}
        (Value::String(a), Value::String(b)) if without_uuids(a) == without_uuids(b) => {}
        (Value::Number(a), Value::Number(b)) if are_near(at, a, b, passed) => {}
        (a, b) if a == b => {}
        (a, b) => found.push(format!("{at}: {a} | {b}")),
    }
}

/// Whether two numbers are the same, but for the time that passes.
fn are_near(at: &str, a: &serde_json::Number, b: &serde_json::Number, passed: Duration) -> bool {
    let slack = own::slack(at.rsplit('/').next().unwrap_or_default(), passed);
    a.as_i64().zip(b.as_i64()).is_some_and(|(a, b)| (a - b).abs() <= slack && a > 10)
}

/// Whether a value is random: by its name, or one of the keys that are given out.
fn is_random(at: &str, key: &str) -> bool {
    own::is_random(key) || ALSO_RANDOM.contains(&key) || at == "/data/keys" && key.parse::<u32>().is_ok()
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T' && text.ends_with('Z')
}

/// The differences that are known: those of a request, and those of all (`*`).
fn known(step: &Step<'_>, difference: &str) -> bool {
    DIFFERENCES.lines().filter(|line| !line.starts_with('#')).any(|line| {
        let Some((request, part)) = line.split_once(" :: ") else { return false };
        let asked = format!("{} {}", step.method, step.path);
        let matches = |pattern: &str, text: &str| match pattern.split_once('*') {
            Some((start, end)) => {
                text.starts_with(start) && text.ends_with(end) && text.len() >= start.len() + end.len()
            }
            None => pattern == text,
        };
        matches(request.trim(), &asked) && difference.starts_with(part.trim())
    })
}

/// A share of a key, in hex or base64.
fn is_share(text: &str) -> bool {
    matches!(text.len(), 44 | 64 | 66)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
}

/// A text in which all numbers of attempts are the same.
fn without_uuids(text: &str) -> String {
    let is_uuid = |part: &str| part.len() == 36 && part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    text.split('"').map(|part| if is_uuid(part) { "UUID" } else { part }).collect::<Vec<_>>().join("\"")
}

/// Asks both, and lists where the answers differ. What each has saved, from before the first request on.
pub fn exchange(
    text: &'static str,
    servers: [SocketAddr; 2],
    [theirs_saved, ours_saved]: &mut [BTreeMap<String, String>; 2],
) -> Vec<String> {
    let (mut failures, begun) = (Vec::new(), Instant::now());
    for step in steps(text) {
        let theirs = ask(servers[0], &step, theirs_saved);
        let our = ask(servers[1], &step, ours_saved);
        let mut found = Vec::new();
        if theirs.0 == our.0 {
            compare("", &theirs.1, &our.1, begun.elapsed(), &mut found);
        } else {
            found.push(format!("status: {} {} | {} {}", theirs.0, theirs.1, our.0, our.1));
        }
        for difference in found.iter().filter(|difference| !known(&step, difference)) {
            failures.push(format!("line {}: {} {} :: {difference}", step.line, step.method, step.path));
        }
    }
    failures
}

/// Initializes a server; its root token and its shares.
fn initialize(address: SocketAddr, body: &str, keys: &str) -> BTreeMap<String, String> {
    let (status, made) = http(address, "PUT", "/v1/sys/init", &[], body);
    assert_eq!(status, 200, "{made}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let mut saved = BTreeMap::from([("root".to_owned(), made["root_token"].as_str().unwrap().to_owned())]);
    for (at, share) in made[keys].as_array().unwrap().iter().enumerate() {
        saved.insert(format!("share{at}"), share.as_str().unwrap().to_owned());
    }
    saved
}

const OPENED: &str = "disable_unauthed_rekey_endpoints = false\ndisable_unauthed_generate_root_endpoints = false";

#[test]
fn answers_are_those_of_openbao() {
    let (bao, ours) = (Bao::start(), Ours::dev());
    let root = || BTreeMap::from([("root".to_owned(), ROOT.to_owned())]);
    let failures = exchange(EXCHANGE, [bao.0.address, ours.address], &mut [root(), root()]);
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// The types of what is counted, by name.
fn families(address: SocketAddr) -> BTreeMap<String, String> {
    let headers = [("X-Vault-Token", ROOT)];
    let (status, page) = http(address, "GET", "/v1/sys/metrics?format=prometheus", &headers, "");
    assert_eq!(status, 200, "{page}");
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

#[test]
fn the_server_itself_answers_as_openbao_does() {
    let (bao, ours) = (Bao::start(), Ours::dev());
    let root = || BTreeMap::from([("root".to_owned(), ROOT.to_owned())]);
    let mut failures = exchange(SYSTEM, [bao.0.address, ours.address], &mut [root(), root()]);
    let theirs = families(bao.0.address);
    for (name, kind) in families(ours.address).into_iter().filter(|(name, _)| !name.starts_with("bulla_")) {
        if theirs.get(&name) != Some(&kind) {
            failures.push(format!("{name} is a {kind} here, and {:?} there", theirs.get(&name)));
        }
    }
    // Its JSON has what was counted in the last seconds; what it can have there is what Prometheus gets.
    let of = |name: &String| theirs.get(&name.replace('.', "_")).map(String::as_str) == Some("gauge");
    let [there, here] = [bao.0.address, ours.address].map(gauges);
    assert!(!there.is_empty() && there.iter().all(of), "{there:?}");
    failures.extend(here.iter().filter(|name| !of(name)).map(|name| format!("{name} is a gauge here and not there")));
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// The names of what can go up and down, as JSON has them; the rest has the peer's form.
fn gauges(address: SocketAddr) -> BTreeSet<String> {
    let (status, page) = http(address, "GET", "/v1/sys/metrics", &[("X-Vault-Token", ROOT)], "");
    let page: Value = serde_json::from_str(&page).unwrap();
    assert!(status == 200 && page["Timestamp"].is_string() && page["Points"].is_array(), "{page}");
    let counter = &page["Counters"].as_array().unwrap()[0];
    assert!(counter["Count"].is_number() && counter["Sum"].is_number() && counter["Labels"].is_object(), "{counter}");
    let timing = &page["Samples"].as_array().unwrap()[0];
    assert!(timing["Count"].is_number() && timing["Mean"].is_number(), "{timing}");
    let gauges = page["Gauges"].as_array().unwrap().iter();
    gauges.map(|gauge| gauge["Name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn people_with_shares_get_the_answers_of_openbao() {
    let bao = Bao::with_config(OPENED, "");
    let opened = Opened { generate_root: true, rekey: true, metrics: false };
    let ours = Ours::opened(Arc::new(Memory::default()), Vec::new(), Vec::new(), opened);
    let mut saved = [bao.0.address, ours.address].map(|address| {
        let saved = initialize(address, r#"{"secret_shares":3,"secret_threshold":2}"#, "keys_base64");
        for share in ["share0", "share1"] {
            let body = serde_json::json!({ "key": saved[share] }).to_string();
            assert_eq!(http(address, "PUT", "/v1/sys/unseal", &[], &body).0, 200);
        }
        saved
    });
    let failures = exchange(QUORUM, [bao.0.address, ours.address], &mut saved);
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn people_with_recovery_shares_get_the_answers_of_openbao() {
    let key = "ab".repeat(32);
    let bao =
        Bao::with_config(OPENED, &format!("seal \"static\" {{ current_key_id = \"1\" current_key = \"{key}\" }}"));
    let seals: Vec<Arc<dyn AutoSeal>> = vec![Arc::new(Fixed::new("1".to_owned(), DataKey::generate().unwrap()))];
    let opened = Opened { generate_root: true, rekey: true, metrics: false };
    let ours = Ours::opened(Arc::new(Memory::default()), seals, Vec::new(), opened);
    let mut saved = [bao.0.address, ours.address].map(|address| {
        let saved = initialize(address, r#"{"recovery_shares":3,"recovery_threshold":2}"#, "recovery_keys_base64");
        let patience = Patience::default();
        while http(address, "GET", "/v1/sys/health", &[], "").0 != 200 {
            assert!(patience.is_left(), "it is not open");
            std::thread::sleep(Duration::from_millis(50));
        }
        saved
    });
    let failures = exchange(RECOVERY, [bao.0.address, ours.address], &mut saved);
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn logins_with_signed_tokens_are_those_of_openbao() {
    let (bao, ours) = (Bao::start(), Ours::dev());
    let (keys, cluster) = (crate::jwt::key_set(), crate::kubernetes::cluster());
    let mut texts = crate::jwt::tokens();
    texts.extend(crate::kubernetes::tokens());
    for (name, text) in [("keys", keys.url()), ("cluster", cluster.url()), ("root", ROOT.to_owned())] {
        texts.insert(name.to_owned(), text);
    }
    let failures = exchange(LOGINS, [bao.0.address, ours.address], &mut [texts.clone(), texts]);
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}
