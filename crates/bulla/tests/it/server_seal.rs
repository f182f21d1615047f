//! Another seal for a server that has one: from shares to a key, to another, to a key service, and back; the real OpenBao does the same beside it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bulla_test_support::bao::{self, Bao};
use bulla_test_support::moto::Moto;
use bulla_test_support::patience::Patience;
use bulla_test_support::random::{self, Random};
use bulla_test_support::{http, program, unused_address};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server_process::{Running, ask};

fn fixed(id: u8, rest: &str) -> String {
    format!(
        "seal \"static\" {{\n  current_key_id = \"{id}\"\n  current_key = \"{}\"\n{rest}}}\n",
        format!("{id:02x}").repeat(32)
    )
}

const OFF: &str = "  disabled = \"true\"\n";

/// A server's storage, and its environment.
struct Home {
    folder: TempDir,
    env: BTreeMap<String, String>,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), env: BTreeMap::new() }
    }

    fn command(&self, address: SocketAddr, rest: &str) -> Command {
        let path = self.folder.path().join("server.hcl");
        let text = format!(
            "listener \"tcp\" {{\n  address = \"{address}\"\n  tls_disable = true\n}}\nstorage \"embedded\" {{ path = \"{}\" }}\n{rest}",
            self.folder.path().join("data").display(),
        );
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulla"));
        command.args(["server", "-config"]).arg(path).envs(&self.env);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn start(&self, rest: &str, health: u16) -> Running {
        let address = unused_address();
        let mut running = Running::of(self.command(address, rest).spawn().unwrap(), address);
        assert!(running.is_ready(health), "{}", self.output(rest));
        running
    }

    /// What one says that does not start.
    fn output(&self, rest: &str) -> String {
        let mut child = self.command(unused_address(), rest).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_secs(3));
        let _ = child.kill();
        String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()
    }
}

/// One of the two servers, as it is asked.
struct Asked {
    address: SocketAddr,
    seen: Vec<(u16, Value)>,
}

/// What of a seal's status does not depend on the machine.
fn shown(answer: &Value) -> Value {
    if answer["errors"].is_array() {
        return Value::Null;
    }
    let fields =
        ["type", "initialized", "sealed", "t", "n", "progress", "recovery_seal", "recovery_seal_type", "migration"];
    fields.iter().map(|name| ((*name).to_owned(), answer[*name].clone())).collect::<serde_json::Map<_, _>>().into()
}

impl Asked {
    fn status(&mut self) {
        let (status, answer) = ask(self.address, "", "GET", "sys/seal-status", &Value::Null);
        self.seen.push((status, shown(&answer)));
    }

    fn unseal(&mut self, body: &Value) {
        let (status, answer) = ask(self.address, "", "PUT", "sys/unseal", body);
        self.seen.push((status, shown(&answer)));
    }

    /// The last share, by the command line: the peer's to the peer, ours to ours. Waits until all is done: the peer goes on after its answer.
    fn unseal_by_command(&mut self, program: &Path, share: &str) {
        let mut command = Command::new(program);
        command.args(["operator", "unseal", "-migrate", share]).env_clear().env("HOME", std::env::temp_dir());
        command
            .env("VAULT_ADDR", format!("http://{}", self.address))
            .env("BAO_ADDR", format!("http://{}", self.address));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains("Seal Type"), "{output:?}");
        let patience = Patience::default();
        loop {
            let (status, answer) = ask(self.address, "", "GET", "sys/seal-status", &Value::Null);
            if status == 200
                && answer["migration"] == false
                && http(self.address, "GET", "/v1/sys/health", &[], "").0 == 200
            {
                break;
            }
            assert!(patience.is_left(), "{answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.status();
    }
}

/// What people do with a server whose configuration has a new seal.
fn migrate(asked: &mut Asked, program: &Path, keys: &[String]) {
    let migrate = |key: &str| json!({ "key": key, "migrate": true });
    asked.status();
    asked.unseal(&json!({ "key": keys[0] }));
    asked.unseal(&json!({ "migrate": true }));
    asked.unseal(&migrate(&keys[0]));
    asked.unseal(&migrate(&keys[0]));
    asked.unseal(&json!({ "reset": true }));
    asked.unseal(&migrate(&"00".repeat(33)));
    asked.unseal(&migrate(&keys[1]));
    asked.unseal(&migrate("0000"));
    asked.status();
    asked.unseal(&migrate(&keys[2]));
    asked.unseal_by_command(program, &keys[0]);
    asked.unseal(&migrate(&keys[0]));
}

fn wait_until_open(address: SocketAddr) {
    let patience = Patience::default();
    while http(address, "GET", "/v1/sys/health", &[], "").0 != 200 {
        assert!(patience.is_left(), "it is not open");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One of the two, that can be started with one configuration after the other on the same storage.
trait Machine {
    /// Runs `doing` with a server.
    fn with(&self, rest: &str, doing: &mut dyn FnMut(SocketAddr));
    fn program(&self) -> &Path;
}

struct Ours(Home, std::path::PathBuf);
struct Peer(TempDir, std::path::PathBuf);

impl Machine for Ours {
    fn with(&self, rest: &str, doing: &mut dyn FnMut(SocketAddr)) {
        let address = unused_address();
        let mut running = Running::of(self.0.command(address, rest).spawn().unwrap(), address);
        let patience = Patience::default();
        while http(address, "GET", "/v1/sys/seal-status", &[], "").0 != 200 {
            assert!(patience.is_left(), "it does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        doing(address);
        running.signal(Signal::TERM);
        running.ended();
    }

    fn program(&self) -> &Path {
        &self.1
    }
}

impl Machine for Peer {
    fn with(&self, rest: &str, doing: &mut dyn FnMut(SocketAddr)) {
        let bao = Bao::on(self.0.path(), rest);
        doing(bao.0.address);
    }

    fn program(&self) -> &Path {
        &self.1
    }
}

/// Through all seals; what was seen.
fn through_all(machine: &dyn Machine) -> Vec<(u16, Value)> {
    let (mut keys, mut root) = (Vec::new(), String::new());
    let mut seen = Vec::new();
    machine.with("", &mut |address| {
        let (status, made) = ask(address, "", "PUT", "sys/init", &json!({ "secret_shares": 3, "secret_threshold": 2 }));
        assert_eq!(status, 200, "{made}");
        keys = made["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect();
        made["root_token"].as_str().unwrap().clone_into(&mut root);
        let mut asked = Asked { address, seen: Vec::new() };
        asked.unseal(&json!({ "key": keys[0], "migrate": true }));
        asked.unseal(&json!({ "key": keys[0] }));
        asked.unseal(&json!({ "key": keys[1] }));
        wait_until_open(address);
        assert_eq!(ask(address, &root, "POST", "sys/mounts/kv", &json!({ "type": "kv" })).0, 204);
        assert_eq!(ask(address, &root, "POST", "kv/x", &json!({ "a": "kept" })).0, 204);
        seen.append(&mut asked.seen);
    });
    let kept = |address| {
        assert_eq!(ask(address, &root, "GET", "kv/x", &Value::Null).1["data"]["a"], "kept");
    };
    let (one, two) = (fixed(1, ""), fixed(2, ""));
    for (migrating, opens) in [
        (one.clone(), one.clone()),
        (fixed(1, OFF) + &two, two.clone()),
        (fixed(2, OFF), String::new()),
        (two.clone(), two),
    ] {
        machine.with(&migrating, &mut |address| {
            let mut asked = Asked { address, seen: Vec::new() };
            migrate(&mut asked, machine.program(), &keys);
            kept(address);
            seen.append(&mut asked.seen);
        });
        machine.with(&opens, &mut |address| {
            let mut asked = Asked { address, seen: Vec::new() };
            if opens.is_empty() {
                asked.status();
                asked.unseal(&json!({ "key": keys[1] }));
                asked.unseal(&json!({ "key": keys[2] }));
            }
            wait_until_open(address);
            asked.status();
            // There is nothing to migrate any more.
            asked.unseal(&json!({ "key": keys[0], "migrate": true }));
            kept(address);
            seen.append(&mut asked.seen);
        });
    }
    seen
}

#[test]
fn a_server_gets_another_seal_as_the_peer_does() {
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bulla"), &vault).unwrap();
    let ours = through_all(&Ours(Home::new(), vault));
    let theirs = through_all(&Peer(tempfile::tempdir().unwrap(), program("venv/bin/bao")));
    assert_eq!(ours.len(), theirs.len());
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "answer {number}");
    }
}

/// Initializes with shares; they, and the root token.
fn initialized(home: &Home) -> (Vec<String>, String) {
    let server = home.start("", 501);
    let (_, made) = server.ask("", "PUT", "sys/init", &json!({ "secret_shares": 3, "secret_threshold": 2 }));
    let keys: Vec<String> =
        made["keys_base64"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect();
    let root = made["root_token"].as_str().unwrap().to_owned();
    for key in &keys[..2] {
        server.ask("", "PUT", "sys/unseal", &json!({ "key": key }));
    }
    assert_eq!(server.ask(&root, "POST", "sys/mounts/kv", &json!({ "type": "kv" })).0, 204);
    assert_eq!(server.ask(&root, "POST", "kv/x", &json!({ "a": "kept" })).0, 204);
    (keys, root)
}

fn give(server: &Running, keys: &[String]) -> (u16, Value) {
    server.ask("", "PUT", "sys/unseal", &json!({ "key": keys[0], "migrate": true }));
    server.ask("", "PUT", "sys/unseal", &json!({ "key": keys[1], "migrate": true }))
}

#[test]
fn key_services_take_over_from_shares_and_from_one_another() {
    let (moto, bao) = (Moto::shared(), Bao::shared());
    let mut home = Home::new();
    home.env.extend(moto.env());
    home.env.extend(bao::with_root());
    let (keys, root) = initialized(&home);
    let aws = |rest: &str| format!("seal \"awskms\" {{\n  kms_key_id = \"{}\"\n{rest}}}\n", moto.create_key());
    let key = bao.make_key();
    let (mount, name) = key.split_once("/keys/").unwrap();
    let transit = |rest: &str| {
        format!(
            "seal \"transit\" {{\n  address = \"{}\"\n  mount_path = \"{mount}\"\n  key_name = \"{name}\"\n{rest}}}\n",
            bao.url()
        )
    };
    let (first, second) = (aws(""), aws(""));
    let off = |seal: &str| seal.replace("}\n", &format!("{OFF}}}\n"));
    let path = [String::new(), first, second, transit(""), fixed(1, ""), transit(""), String::new()];
    for pair in path.windows(2) {
        let [old, new] = pair else { unreachable!() };
        let migrating = format!("{}{new}", off(old));
        let server = home.start(&migrating, 503);
        // A key service that answers too late, where nothing gets its turn, changes nothing: people give their shares again.
        let patience = Patience::default();
        let (status, answer) = loop {
            let given = give(&server, &keys);
            if given.0 == 200 || !patience.is_left() {
                break given;
            }
            std::thread::sleep(Duration::from_secs(3));
        };
        assert_eq!((status, &answer["sealed"]), (200, &json!(false)), "{migrating}: {answer}");
        drop(server);
        let server = home.start(new, if new.is_empty() { 503 } else { 200 });
        if new.is_empty() {
            for key in &keys[1..] {
                server.ask("", "PUT", "sys/unseal", &json!({ "key": key }));
            }
        }
        assert_eq!(server.ask(&root, "GET", "kv/x", &Value::Null).1["data"]["a"], "kept", "{new}");
    }
}

#[test]
fn killed_while_it_gets_another_seal_a_server_has_one_of_the_two() {
    let seed = random::number("BULLA_TEST_SEED").unwrap_or(1);
    let mut random = Random(seed);
    let home = Home::new();
    let (keys, root) = initialized(&home);
    let (mut before, mut after) = (0, 0);
    let ways =
        [(fixed(1, ""), fixed(1, "")), (fixed(1, OFF) + &fixed(2, ""), fixed(2, "")), (fixed(2, OFF), String::new())];
    // How long it takes here and now.
    let mut takes = Duration::from_millis(20);
    for round in 0..60 {
        if round >= 24 && before > 0 && after > 0 {
            break;
        }
        let (migrating, done) = &ways[round % 3];
        let mut server = home.start(migrating, 503);
        let patience = takes.mul_f64(f64::from(u32::try_from(random.next() % 200).unwrap()) / 100.0);
        std::thread::scope(|scope| {
            scope.spawn(|| give(&server, &keys));
            std::thread::sleep(patience);
            server.kill();
        });
        server.ended();
        // With both in the configuration, it goes on from wherever it was.
        let address = unused_address();
        let mut server = Running::of(home.command(address, migrating).spawn().unwrap(), address);
        let pending = {
            let patience = Patience::default();
            loop {
                let (status, answer) = server.ask("", "GET", "sys/seal-status", &Value::Null);
                if status == 200 {
                    break answer["migration"] == true;
                }
                assert!(patience.is_left());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        if pending {
            before += 1;
            let begun = Instant::now();
            assert_eq!(give(&server, &keys).1["sealed"], false, "round {round}");
            takes = begun.elapsed();
        } else {
            after += 1;
            if done.is_empty() {
                for key in &keys[..2] {
                    server.ask("", "PUT", "sys/unseal", &json!({ "key": key }));
                }
            }
        }
        assert!(server.is_ready(200));
        assert_eq!(server.ask(&root, "GET", "kv/x", &Value::Null).1["data"]["a"], "kept", "round {round}");
    }
    assert!(before > 0 && after > 0, "killed before {before} times, after {after} times: take other moments");
}

#[test]
fn a_server_without_its_seal_says_which_it_needs() {
    let home = Home::new();
    let server = home.start(&fixed(1, ""), 501);
    server.ask("", "PUT", "sys/init", &json!({ "recovery_shares": 3, "recovery_threshold": 2 }));
    drop(server);
    for rest in [String::new(), fixed(2, ""), fixed(2, OFF)] {
        let text = home.output(&rest);
        assert!(text.contains("static (key \"1\")") && text.contains("disabled"), "{rest}: {text}");
    }
}

#[test]
fn a_server_ends_at_once_though_a_key_service_keeps_it_waiting() {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let seal = format!(
        "seal \"transit\" {{\n  address = \"http://{}\"\n  key_name = \"k\"\n}}\n",
        silent.local_addr().unwrap()
    );
    let waits = || silent.accept().unwrap();
    let mut home = Home::new();
    home.env.extend(bao::with_root());
    // When it initializes itself: nothing is written yet.
    let block = "initialize \"a\" {\n  request \"b\" {\n    operation = \"update\"\n    path = \"sys/mounts/kv\"\n    data = { type = \"kv\" }\n  }\n}\n";
    let address = unused_address();
    let mut server = Running::of(home.command(address, &format!("{seal}{block}")).spawn().unwrap(), address);
    let _connection = waits();
    ends(&mut server);
    // When people give their shares for it.
    let (keys, _) = initialized(&home);
    let mut server = home.start(&seal, 503);
    let address = server.address;
    let given = std::thread::spawn(move || {
        for key in &keys[..2] {
            ask(address, "", "PUT", "sys/unseal", &json!({ "key": key, "migrate": true }));
        }
        keys
    });
    let _connection = waits();
    ends(&mut server);
    let keys = given.join().unwrap();
    // When it opens by itself: one that has such a seal.
    let real = Bao::start();
    let path = real.make_key();
    let (mount, name) = path.split_once("/keys/").unwrap();
    let seal = format!(
        "seal \"transit\" {{\n  address = \"{}\"\n  mount_path = \"{mount}\"\n  key_name = \"{name}\"\n}}\n",
        real.url()
    );
    let server = home.start(&seal, 503);
    assert_eq!(give(&server, &keys).0, 200);
    drop(server);
    let there = real.0.address;
    drop(real);
    let silent = TcpListener::bind(there).unwrap();
    let mut server = home.start(&seal, 503);
    let _connection = silent.accept().unwrap();
    ends(&mut server);
}

/// Asks a server to end, and sees that it does so in good order and without delay.
fn ends(server: &mut Running) {
    server.signal(Signal::TERM);
    let asked = Instant::now();
    assert!(server.ended().success());
    assert!(asked.elapsed() < Duration::from_secs(5), "it took {:?}", asked.elapsed());
}
