//! What clients see who change a few versioned entries at once, through kills of the server; and whether it can be explained.
//!
//! The oracle is porcupine (`tests/interop/history-oracle`): a history is explained if each request can be thought to be done at one moment between
//! its call and its return. One that nobody answered was done before its server was dead, or never.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bulla_test_support::program;
use bulla_test_support::random::Random;
use serde_json::{Value, json};

/// Where the entries are: in one mount ten versions of each are kept, in the other the newest alone.
const KEYS: [&str; 4] = ["h/data/a", "h/data/b", "one/data/a", "one/data/b"];
const PAUSE: Duration = Duration::from_millis(3);

/// What was asked and seen so far, as the oracle reads it.
pub(crate) struct Histories {
    since: Instant,
    requests: Mutex<Vec<Value>>,
    next: AtomicU64,
}

impl Default for Histories {
    fn default() -> Self {
        Self { since: Instant::now(), requests: Mutex::default(), next: AtomicU64::new(0) }
    }
}

/// Asks a server: a method, a path and a body; gives the status (0: no answer) and the answer.
pub(crate) type Ask<'a> = dyn Fn(&'static str, &str, &Value) -> (u16, Value) + 'a;

impl Histories {
    pub(crate) const CLIENTS: usize = 3;

    /// Makes what the clients use.
    pub(crate) fn prepare(ask: &Ask<'_>) {
        for mount in ["h", "one"] {
            assert_eq!(ask("POST", &format!("sys/mounts/{mount}"), &json!({ "type": "kv-v2" })).0, 204);
        }
        assert_eq!(ask("POST", "one/config", &json!({ "max_versions": 1 })).0, 204);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap()
    }

    /// Reads, writes and deletes as one of the clients, until nobody answers.
    pub(crate) fn change(&self, client: usize, mut random: Random, ask: &Ask<'_>) {
        // The version that this client saw last of each: a write that follows another is refused.
        let mut seen = [0_u64; KEYS.len()];
        loop {
            let which = usize::try_from(random.next()).unwrap_or(usize::MAX) % KEYS.len();
            let (key, last) = (KEYS[which], &mut seen[which]);
            let mut request = json!({ "client": client, "key": key, "call": self.now() });
            let answered = match random.next() % 10 {
                0..4 => read(&mut request, key, last, ask),
                4 => delete(&mut request, key, ask),
                5..8 => self.put(&mut request, key, Some(*last), last, ask),
                _ => self.put(&mut request, key, None, last, ask),
            };
            // Of one that was not answered it is said later until when it may have been done.
            if answered {
                request["return"] = json!(self.now());
            } else {
                request["answer"] = json!("unknown");
            }
            self.requests.lock().unwrap().push(request);
            if !answered {
                return;
            }
            thread::sleep(PAUSE);
        }
    }

    fn put(&self, request: &mut Value, key: &str, follows: Option<u64>, last: &mut u64, ask: &Ask<'_>) -> bool {
        let value = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        request["op"] = json!("put");
        request["value"] = json!(value);
        let mut body = json!({ "data": { "value": value } });
        if let Some(version) = follows {
            request["cas"] = json!(version);
            body["options"] = json!({ "cas": version });
        }
        let (status, answer) = ask("POST", key, &body);
        match status {
            0 => return false,
            200 => {
                *last = answer["data"]["version"].as_u64().unwrap();
                request["version"] = json!(*last);
                request["answer"] = json!("written");
            }
            400 if follows.is_some() && answer.to_string().contains("did not match the current version") => {
                request["answer"] = json!("refused");
            }
            _ => panic!("{status} {answer}"),
        }
        true
    }

    /// The server is dead: what it did not answer is done by now, or never.
    pub(crate) fn has_died(&mut self) {
        let now = self.now();
        for request in self.requests.get_mut().unwrap().iter_mut().filter(|request| request["return"].is_null()) {
            request["return"] = json!(now);
        }
    }

    /// Fails unless all that was seen can be explained, and nothing that was not.
    pub(crate) fn check(&self) {
        let mut requests = self.requests.lock().unwrap().clone();
        let wrong = unexplained(&requests);
        let lines = || requests.iter().filter(|request| wrong.contains(&request["key"])).map(Value::to_string);
        assert!(wrong.is_empty(), "cannot be explained:\n{}", lines().collect::<Vec<_>>().join("\n"));
        let read = requests.iter_mut().rfind(|request| request["answer"] == "found");
        if let Some(read) = read {
            read["value"] = json!("what nobody wrote");
            let key = read["key"].clone();
            assert_eq!(unexplained(&requests), [key]);
        }
    }
}

fn read(request: &mut Value, key: &str, last: &mut u64, ask: &Ask<'_>) -> bool {
    request["op"] = json!("read");
    let (status, answer) = ask("GET", key, &Value::Null);
    let data = &answer["data"];
    let version = &data["metadata"]["version"];
    request["answer"] = json!(match status {
        0 => return false,
        200 => "found",
        404 if version.is_u64() => "gone",
        404 => "none",
        _ => panic!("{status} {answer}"),
    });
    if let Some(version) = version.as_u64() {
        *last = version;
        request["version"] = json!(version);
    }
    request["value"] = json!(data["data"]["value"].as_str().unwrap_or_default());
    true
}

fn delete(request: &mut Value, key: &str, ask: &Ask<'_>) -> bool {
    request["op"] = json!("delete");
    let (status, answer) = ask("DELETE", key, &Value::Null);
    assert!(matches!(status, 0 | 204), "{status} {answer}");
    request["answer"] = json!("deleted");
    status != 0
}

/// The entries of which the oracle cannot explain what was seen.
fn unexplained(requests: &[Value]) -> Vec<Value> {
    let oracle = program("bin/history-oracle");
    let mut child = Command::new(oracle).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It answers when it has read everything.
    for request in requests {
        stdin.write_all(format!("{request}\n").as_bytes()).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let Value::Array(keys) = answer["keys"].take() else { panic!("{answer}") };
    assert_eq!(answer["ok"] == true, keys.is_empty());
    keys
}

#[test]
fn the_oracle_finds_what_cannot_be() {
    let put = |call: u64, version: u64, value: &str| json!({ "key": "k", "call": call, "return": call + 5, "op": "put", "value": value, "answer": "written", "version": version });
    let read = |call: u64, version: u64, value: &str| json!({ "key": "k", "call": call, "return": call + 5, "op": "read", "value": value, "answer": "found", "version": version });
    let lost =
        json!({ "key": "k", "call": 20, "return": 25, "op": "put", "cas": 1, "value": "y", "answer": "unknown" });
    let none = json!({ "key": "k", "call": 40, "return": 45, "op": "read", "answer": "none" });
    let first = put(0, 1, "x");
    for (history, can_be) in [
        (vec![first.clone(), read(10, 1, "x")], true),
        // Old contents after new ones were acknowledged.
        (vec![first.clone(), put(10, 2, "y"), read(20, 1, "x")], false),
        // While they are written either may be seen, but not first the new and then the old.
        (vec![first.clone(), put(10, 2, "y"), read(12, 1, "x")], true),
        (vec![first.clone(), put(10, 2, "y"), read(8, 2, "y"), read(14, 1, "x")], false),
        // An acknowledged write that is gone.
        (vec![first.clone(), none], false),
        // One that was cut is there or not, but not both, and not with other contents.
        (vec![first.clone(), lost.clone(), read(30, 1, "x")], true),
        (vec![first.clone(), lost.clone(), read(30, 2, "y")], true),
        (vec![first.clone(), lost.clone(), read(30, 2, "y"), read(50, 1, "x")], false),
        (vec![first.clone(), lost.clone(), read(30, 1, "x"), read(50, 2, "y")], false),
        (vec![first.clone(), lost, read(30, 2, "z")], false),
        // Two that were both told that they follow the first.
        (vec![put(0, 1, "x"), put(1, 1, "y")], false),
    ] {
        assert_eq!(unexplained(&history).is_empty(), can_be, "{history:?}");
    }
}
