//! `bulla server` whose wall clock jumps by hours and by centuries, while it runs. What runs on for so and so long, limits and lock-outs, does not notice.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server_process::{Home, Running, interop};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// A clock, and the server that goes by it.
struct World {
    home: Home,
    clock: File,
    server: Running,
    root: String,
}

impl World {
    fn new() -> Self {
        let home = Home::new();
        let library = library(&home);
        let path = home.path("clock");
        let clock = File::options().write(true).create_new(true).open(&path).unwrap();
        clock.write_all_at(&0_i64.to_le_bytes(), 0).unwrap();
        let server = home.start_as(501, |mut command| {
            command.env("LD_PRELOAD", &library).env("BULLA_TEST_CLOCK", &path);
            command
        });
        let shares = json!({ "recovery_shares": 0, "recovery_threshold": 0 });
        let (status, made) = server.ask("", "PUT", "sys/init", &shares);
        assert_eq!(status, 200, "{made}");
        let root = made["root_token"].as_str().unwrap().to_owned();
        Self { home, clock, server, root }
    }

    /// Sets the clock so many seconds before or after the real one.
    fn set(&self, seconds: i64) {
        self.clock.write_all_at(&seconds.to_le_bytes(), 0).unwrap();
        // It is heard of: else the test would say nothing.
        let (_, health) = self.server.ask("", "GET", "sys/health", &Value::Null);
        let real = jiff_seconds();
        let there = health["server_time_utc"].as_i64().unwrap();
        assert!((there - real - seconds).abs() < 60, "the clock did not jump: {there} {real}");
    }

    fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        self.server.ask(token, method, path, body)
    }

    fn root(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(&self.root, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    fn token(&self, ttl: &str) -> String {
        let made = self.root("POST", "auth/token/create", &json!({ "ttl": ttl, "policies": ["default"] }));
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    fn lives(&self, token: &str) -> bool {
        self.ask(token, "GET", "auth/token/lookup-self", &Value::Null).0 == 200
    }

    fn log_in(&self, password: &str) -> u16 {
        self.ask("", "POST", "auth/userpass/login/bob", &json!({ "password": password })).0
    }

    /// How many tokens are kept, dead or alive.
    fn kept(&self) -> usize {
        let (_, list) = self.ask(&self.root, "LIST", "auth/token/accessors", &Value::Null);
        list["data"]["keys"].as_array().map_or(0, Vec::len)
    }

    fn until(&self, what: &str, is: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {}", self.home.read("log"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The library that moves the clock.
fn library(home: &Home) -> PathBuf {
    let path = home.path("clock.so");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&path)
        .arg(interop("clock/clock.c"))
        .arg("-ldl")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    path
}

fn jiff_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[test]
fn whatever_the_clock_does_nothing_lives_for_ever_and_limits_hold() {
    let world = World::new();
    world.root("POST", "sys/auth/userpass", &json!({ "type": "userpass" }));
    world.root("POST", "auth/userpass/users/bob", &json!({ "password": "pw" }));
    let (short, long) = (world.token("1h"), world.token("3h"));
    let before = world.kept();
    // Locked out for 15 minutes, and a limit of an hour, which is used up.
    for _ in 0..5 {
        assert_eq!(world.log_in("wrong"), 400);
    }
    assert_eq!(world.log_in("pw"), 403);
    let quota = json!({ "rate": 1, "interval": "1h", "path": "sys/policies/acl/default" });
    world.root("POST", "sys/quotas/rate-limit/q", &quota);
    let read = || world.ask(&world.root, "GET", "sys/policies/acl/default", &Value::Null).0;
    assert_eq!((read(), read()), (200, 429));
    let limits_hold = || assert_eq!((world.log_in("pw"), read()), (403, 429));

    // Forward: what ended meanwhile is no good at once, and taken back soon.
    world.set(2 * HOUR);
    assert!(!world.lives(&short) && world.lives(&long));
    world.until("what ended is taken back", || world.kept() < before);
    limits_hold();

    // Backward: what was made before lives longer by as much and no more; what is made now ends as it should.
    world.set(-3 * HOUR);
    assert!(!world.lives(&short) && world.lives(&long));
    let (_, told) = world.ask(&long, "GET", "auth/token/lookup-self", &Value::Null);
    let left = told["data"]["ttl"].as_i64().unwrap();
    assert!((3 * HOUR..=6 * HOUR + 60).contains(&left), "{left}");
    let moment = world.token("2s");
    let now = world.kept();
    assert!(world.lives(&moment));
    world.until("it ends", || !world.lives(&moment));
    world.until("it is taken back", || world.kept() < now);
    limits_hold();

    // Clocks that are out of their minds.
    for seconds in [100 * YEAR, 400 * YEAR, -40 * YEAR, -60 * YEAR] {
        world.set(seconds);
        for (method, path, body) in [
            ("POST", "auth/token/create", json!({ "ttl": "1h" })),
            ("POST", "cubbyhole/x", json!({ "a": "b" })),
            ("GET", "cubbyhole/x", Value::Null),
            ("GET", "auth/token/lookup-self", Value::Null),
            ("GET", "sys/key-status", Value::Null),
            ("POST", "sys/rotate", json!({})),
        ] {
            let (status, answer) = world.ask(&world.root, method, path, &body);
            assert!((200..300).contains(&status), "{seconds} {method} {path}: {status} {answer}");
        }
        limits_hold();
    }

    // And it is right again.
    world.set(0);
    assert!(!world.lives(&short));
    let moment = world.token("2s");
    assert!(world.lives(&moment));
    world.until("it ends", || !world.lives(&moment));
    limits_hold();
    assert!(!world.home.read("log").contains("panicked"), "{}", world.home.read("log"));
}
