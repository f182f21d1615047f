//! `bulla server` is killed at random moments while many write: what was answered is there, whole, and written down.
//!
//! What clients see of entries that many of them change is in `server_histories.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use bulla_test_support::random::{Random, number};
use serde_json::{Value, json};

use crate::server_histories::Histories;
use crate::server_process::{Home, ask};

/// How many servers live and die beside each other; each has its share of the kills.
const SERVERS: u64 = 4;
/// How long a server may be written to, and how long one may start that is killed before it is ready.
const LIFE: Duration = Duration::from_millis(220);
const START: Duration = Duration::from_millis(80);
/// How long who makes tokens, secret ids and keys waits between them: each is looked at several times.
const PAUSE: Duration = Duration::from_millis(8);
/// So many versions each entry gets, before its newest is deleted.
const VERSIONS: u64 = 3;

/// What was asked for; where there is an `Option`, the answer, if it came.
enum Written {
    Entry { path: String, acknowledged: u64, attempted: u64, deleted: bool, deleting: bool },
    Token { text: String, accessor: String },
    SecretId { text: String, accessor: String },
    Key { name: String, ciphertext: Option<Value> },
}

/// An answer that somebody got.
struct Answered {
    operation: &'static str,
    path: String,
    id: Option<String>,
}

/// A server's storage through all its lives, and what is known of it.
struct World {
    home: Home,
    root: String,
    /// Tokens are made by this one, a new one for each life.
    parent: String,
    life: u64,
    answered: Mutex<Vec<Answered>>,
    written: Mutex<Vec<Written>>,
    histories: Histories,
}

#[test]
fn what_was_answered_is_there_whole_and_written_down_after_every_kill() {
    let seed = number("BULLA_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let kills = number("BULLA_TEST_KILLS").unwrap_or(200);
    eprintln!("{kills} kills, BULLA_TEST_SEED={seed}");
    thread::scope(|scope| {
        for server in 0..SERVERS {
            let mut random = Random(seed.wrapping_add(server));
            scope.spawn(move || {
                let mut world = World::new();
                for _ in 0..kills.div_ceil(SERVERS) {
                    world.live(&mut random);
                }
                world.end();
            });
        }
    });
}

impl World {
    fn new() -> Self {
        let home = Home::new();
        let (server, root) = home.initialize();
        let mut world = Self {
            home,
            parent: String::new(),
            root,
            life: 0,
            answered: Mutex::default(),
            written: Mutex::default(),
            histories: Histories::default(),
        };
        let at = server.address;
        for (path, body) in [
            ("sys/mounts/s", json!({ "type": "kv-v2" })),
            ("sys/mounts/transit", json!({ "type": "transit" })),
            ("sys/auth/approle", json!({ "type": "approle" })),
            ("auth/approle/role/r", json!({ "token_policies": "default" })),
        ] {
            assert!(world.ask(at, &world.root, "POST", path, &body).0 < 300, "{path}");
        }
        Histories::prepare(&|method, path, body| world.ask(at, &world.root, method, path, body));
        world.adopt(at);
        world
    }

    /// Makes the token that makes those of this life.
    fn adopt(&mut self, at: SocketAddr) {
        let made = json!({ "policies": ["root"], "meta": { "parent_of": self.life.to_string() } });
        let (status, made) = self.ask(at, &self.root, "POST", "auth/token/create", &made);
        assert_eq!(status, 200, "{made}");
        made["auth"]["client_token"].as_str().unwrap().clone_into(&mut self.parent);
    }

    /// A request; the status (0: no answer) and the answer. What is answered is remembered.
    fn ask(&self, at: SocketAddr, token: &str, method: &'static str, path: &str, body: &Value) -> (u16, Value) {
        let (status, answer) = ask(at, token, method, path, body);
        if status != 0 {
            let operation = match method {
                "GET" => "read",
                "LIST" => "list",
                "DELETE" => "delete",
                _ => "update",
            };
            let id = answer["request_id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned);
            let path = path.split('?').next().unwrap_or_default().trim_end_matches('/').to_owned();
            self.answered.lock().unwrap().push(Answered { operation, path, id });
        }
        (status, answer)
    }

    fn is_there(&self, at: SocketAddr, path: &str, body: &Value) -> Value {
        let method = if body.is_null() { "GET" } else { "POST" };
        let (status, answer) = self.ask(at, &self.root, method, path, body);
        assert_eq!(status, 200, "life {}: {path} {body}: {answer}", self.life);
        answer["data"].clone()
    }

    /// Starts a server, looks whether all that the one before it answered is there, and kills it while many write.
    fn live(&mut self, random: &mut Random) {
        self.life += 1;
        if random.next().is_multiple_of(5) {
            let starting = self.home.spawn();
            thread::sleep(random.below(START));
            starting.kill();
            return;
        }
        let server = self.home.start(200);
        let at = server.address;
        let written = std::mem::take(self.written.get_mut().unwrap());
        for written in &written {
            self.check(at, written);
        }
        self.adopt(at);
        let lives = random.below(LIFE);
        let seeds: Vec<u64> = (0..Histories::CLIENTS).map(|_| random.next()).collect();
        let world = &*self;
        thread::scope(|scope| {
            for writer in 0..2 {
                scope.spawn(move || world.write_entries(at, writer));
            }
            scope.spawn(|| world.make_tokens(at));
            scope.spawn(|| world.make_secret_ids(at));
            scope.spawn(|| world.make_keys(at));
            for (client, seed) in seeds.into_iter().enumerate() {
                let ask = move |method, path: &str, body: &Value| world.ask(at, &world.root, method, path, body);
                scope.spawn(move || world.histories.change(client, Random(seed), &ask));
            }
            thread::sleep(lives);
            server.kill();
        });
        drop(server);
        self.histories.has_died();
    }

    /// Entries with some versions each, every other deleted then, until nobody answers.
    fn write_entries(&self, at: SocketAddr, writer: u64) {
        for number in 0.. {
            let path = format!("{}-{writer}-{number}", self.life);
            let (mut acknowledged, mut attempted, mut answers) = (0, 0, true);
            while answers && attempted < VERSIONS {
                attempted += 1;
                let body = json!({ "data": contents(&path, attempted) });
                let (status, answer) = self.ask(at, &self.root, "POST", &format!("s/data/{path}"), &body);
                answers = status == 200;
                assert!(answers || status == 0, "{status} {answer}");
                acknowledged += u64::from(answers);
            }
            let deleting = answers && number % 2 == 0;
            if deleting {
                answers = self.ask(at, &self.root, "DELETE", &format!("s/data/{path}"), &Value::Null).0 == 204;
            }
            let deleted = deleting && answers;
            self.written.lock().unwrap().push(Written::Entry { path, acknowledged, attempted, deleted, deleting });
            if !answers {
                return;
            }
        }
    }

    /// Makes one thing after the other, until nobody answers.
    fn make(&self, make: impl Fn(u64) -> (u16, Value), written: impl Fn(u64, &Value) -> Written) {
        for number in 0.. {
            let (status, answer) = make(number);
            if status == 0 {
                return;
            }
            assert!(status < 300, "{status} {answer}");
            self.written.lock().unwrap().push(written(number, &answer));
            thread::sleep(PAUSE);
        }
    }

    fn make_tokens(&self, at: SocketAddr) {
        let body = json!({ "policies": ["default"], "ttl": "1h", "meta": { "life": self.life.to_string() } });
        let text = |answer: &Value, name: &str| answer["auth"][name].as_str().unwrap().to_owned();
        self.make(
            |_| self.ask(at, &self.parent, "POST", "auth/token/create", &body),
            |_, answer| Written::Token { text: text(answer, "client_token"), accessor: text(answer, "accessor") },
        );
    }

    fn make_secret_ids(&self, at: SocketAddr) {
        let text = |answer: &Value, name: &str| answer["data"][name].as_str().unwrap().to_owned();
        self.make(
            |_| self.ask(at, &self.root, "POST", "auth/approle/role/r/secret-id", &json!({})),
            |_, answer| Written::SecretId {
                text: text(answer, "secret_id"),
                accessor: text(answer, "secret_id_accessor"),
            },
        );
    }

    fn make_keys(&self, at: SocketAddr) {
        let name = |number: u64| format!("k{}-{number}", self.life);
        self.make(
            |number| self.ask(at, &self.root, "POST", &format!("transit/keys/{}", name(number)), &json!({})),
            |number, _| {
                let path = format!("transit/encrypt/{}", name(number));
                let (status, answer) = self.ask(at, &self.root, "POST", &path, &json!({ "plaintext": "aGVsbG8=" }));
                Written::Key {
                    name: name(number),
                    ciphertext: (status == 200).then(|| answer["data"]["ciphertext"].clone()),
                }
            },
        );
    }

    /// Fails unless it is there, and whole.
    fn check(&self, at: SocketAddr, written: &Written) {
        match written {
            Written::Entry { path, acknowledged, attempted, deleted, deleting } => {
                if *acknowledged > 0 {
                    let current = self.check_entry(at, path);
                    assert!((*acknowledged..=*attempted).contains(&current), "life {}: {path} {current}", self.life);
                    let (status, _) = self.ask(at, &self.root, "GET", &format!("s/data/{path}"), &Value::Null);
                    assert!(status == if *deleted { 404 } else { 200 } || *deleting && !*deleted, "{path}: {status}");
                }
            }
            Written::Token { text, accessor } => {
                let (status, about) = self.ask(at, text, "GET", "auth/token/lookup-self", &Value::Null);
                assert_eq!((status, &about["data"]["accessor"]), (200, &json!(accessor)), "life {}", self.life);
                let found = self.is_there(at, "auth/token/lookup-accessor", &json!({ "accessor": accessor }));
                assert_eq!(found["creation_time"], about["data"]["creation_time"]);
            }
            Written::SecretId { text, accessor } => {
                let found = self.is_there(at, "auth/approle/role/r/secret-id/lookup", &json!({ "secret_id": text }));
                assert_eq!(found["secret_id_accessor"], json!(accessor));
                let path = "auth/approle/role/r/secret-id-accessor/lookup";
                let found = self.is_there(at, path, &json!({ "secret_id_accessor": accessor }));
                assert_eq!(found["secret_id_accessor"], json!(accessor));
            }
            Written::Key { name, ciphertext } => {
                let key = self.is_there(at, &format!("transit/keys/{name}"), &Value::Null);
                assert_eq!(key["latest_version"], 1);
                if let Some(ciphertext) = ciphertext {
                    let body = json!({ "ciphertext": ciphertext });
                    assert_eq!(self.is_there(at, &format!("transit/decrypt/{name}"), &body)["plaintext"], "aGVsbG8=");
                }
            }
        }
    }

    /// Fails unless each version that the metadata of an entry name has what was written as that version. How many there are.
    fn check_entry(&self, at: SocketAddr, path: &str) -> u64 {
        let about = self.is_there(at, &format!("s/metadata/{path}"), &Value::Null);
        let current = about["current_version"].as_u64().unwrap();
        for (number, version) in about["versions"].as_object().unwrap() {
            let read = format!("s/data/{path}?version={number}");
            if version["deletion_time"] == "" {
                let number: u64 = number.parse().unwrap();
                assert_eq!(self.is_there(at, &read, &Value::Null)["data"], contents(path, number), "{path} {number}");
            } else {
                assert_eq!(
                    (self.ask(at, &self.root, "GET", &read, &Value::Null).0, number),
                    (404, &current.to_string())
                );
            }
        }
        assert_eq!(about["versions"].as_object().unwrap().len() as u64, current);
        let next = format!("s/data/{path}?version={}", current + 1);
        assert_eq!(self.ask(at, &self.root, "GET", &next, &Value::Null).0, 404);
        current
    }

    /// Looks at everything once more: also at what nobody got an answer for.
    fn end(mut self) {
        let server = self.home.start(200);
        let at = server.address;
        for written in &std::mem::take(self.written.get_mut().unwrap()) {
            self.check(at, written);
        }
        let keys = |path: &str| {
            let (status, answer) = self.ask(at, &self.root, "LIST", path, &Value::Null);
            assert_eq!(status, 200, "{path} {answer}");
            let keys = answer["data"]["keys"].as_array().unwrap().iter();
            keys.map(|key| key.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for path in keys("s/metadata") {
            self.check_entry(at, &path);
        }
        for name in keys("transit/keys") {
            self.is_there(at, &format!("transit/keys/{name}"), &Value::Null);
        }
        for accessor in keys("auth/approle/role/r/secret-id") {
            let path = "auth/approle/role/r/secret-id-accessor/lookup";
            self.is_there(at, path, &json!({ "secret_id_accessor": accessor }));
        }
        // With a token go its children, those too whose making nobody was told of, and no others.
        let tokens = || {
            let about = |accessor: String| {
                let found = self.is_there(at, "auth/token/lookup-accessor", &json!({ "accessor": accessor }));
                (accessor, found["meta"].clone())
            };
            keys("auth/token/accessors").into_iter().map(about).collect::<BTreeMap<_, _>>()
        };
        let before = tokens();
        let gone = json!({ "token": self.parent });
        assert_eq!(self.ask(at, &self.root, "POST", "auth/token/revoke", &gone).0, 204);
        let last = before.values().filter_map(|meta| meta["parent_of"].as_str()?.parse::<u64>().ok()).max();
        let last = json!(last.unwrap().to_string());
        let stay = |meta: &Value| meta["life"] != last && meta["parent_of"] != last;
        let expected: BTreeMap<_, _> = before.into_iter().filter(|(_, meta)| stay(meta)).collect();
        assert_eq!(tokens(), expected);
        drop(server);
        self.histories.check();
        self.check_audit();
    }

    /// Fails unless there is a record of each answer, and of what was asked for it.
    fn check_audit(&self) {
        let (mut asked, mut answered, mut counts) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::new());
        for line in self.home.read("audit.log").lines() {
            // Where a server was killed a record may end in its middle; nobody has its answer.
            let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
            let request = &record["request"];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            if record["type"] == "request" {
                asked.insert(text(&request["id"]));
                continue;
            }
            answered.insert(text(&request["id"]));
            // What is new is created, what is not is updated: clients ask for both in the same way.
            let operation = text(&request["operation"]).replace("create", "update");
            let path = text(&request["path"]).trim_end_matches('/').to_owned();
            *counts.entry((operation, path)).or_insert(0_usize) += 1;
        }
        for answer in self.answered.lock().unwrap().iter() {
            let Answered { operation, path, id } = answer;
            if let Some(id) = id {
                assert!(asked.contains(id) && answered.contains(id), "no record of {operation} {path} {id}");
            }
            let count = counts.get_mut(&((*operation).to_owned(), path.clone())).filter(|count| **count > 0);
            *count.unwrap_or_else(|| panic!("too few records of {operation} {path}")) -= 1;
        }
    }
}

/// What is written as a version of an entry.
fn contents(path: &str, version: u64) -> Value {
    json!({ "path": path, "version": version, "filling": "x".repeat(usize::try_from(version).unwrap() * 100) })
}
