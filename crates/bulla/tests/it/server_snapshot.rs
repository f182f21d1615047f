//! Snapshots of `bulla server`, taken by the real `bao` and by ours while it serves, and restored while it does not.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use bulla_server::storage::{Batch, Embedded, Storage};
use bulla_test_support::postgres::Postgres;
use bulla_test_support::{program, unused_address};
use serde_json::{Value, json};

use crate::server_faults::Disk;
use crate::server_process::{Home, Running};

const BULLA: &str = env!("CARGO_BIN_EXE_bulla");

/// A client's command line.
fn client(program: &Path, server: &Running, token: &str, folder: &Path, line: &str) -> Output {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", folder).env("BAO_ADDR", format!("http://{}", server.address));
    command.env("BAO_TOKEN", token).current_dir(folder).args(line.split(' ')).stdin(Stdio::null()).output().unwrap()
}

/// Ours under the name of the peer.
fn ours(home: &Home) -> PathBuf {
    let path = home.path("vault");
    if !path.exists() {
        symlink(BULLA, &path).unwrap();
    }
    path
}

fn saved(home: &Home, server: &Running, root: &str, name: &str) -> PathBuf {
    let output = client(&ours(home), server, root, &home.path(""), &format!("operator raft snapshot save {name}"));
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    home.path(name)
}

/// A configuration of a server on another storage.
fn configuration(home: &Home, name: &str, storage: &str, address: std::net::SocketAddr) -> PathBuf {
    let text = format!(
        "listener \"tcp\" {{\n address = \"{address}\"\n tls_disable = true\n}}\nstorage {storage}\nseal \"static\" {{\n current_key_id = \"1\"\n current_key = \"{}\"\n}}\n",
        "ab".repeat(32)
    );
    let path = home.path(name);
    fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    path
}

fn embedded(path: &Path) -> String {
    format!("\"embedded\" {{ path = \"{}\" }}", path.display())
}

fn restore(config: &Path, snapshot: &Path) -> Command {
    let mut command = Command::new(BULLA);
    command.args(["server", "snapshot", "restore", "-config"]).arg(config).arg(snapshot).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_snapshot_of_a_busy_server_is_taken_by_both_clients_and_restored_into_both_storages() {
    let home = Home::new();
    let (server, root) = home.initialize();
    assert_eq!(server.ask(&root, "POST", "sys/mounts/s", &json!({ "type": "kv-v2" })).0, 204);
    for number in 0..300 {
        let body = json!({ "data": { "n": number } });
        assert_eq!(server.ask(&root, "POST", &format!("s/data/k{number}"), &body).0, 200);
    }
    let policy = json!({ "policy": "path \"sys/storage/raft/snapshot\" { capabilities = [\"read\"] }" });
    assert_eq!(server.ask(&root, "POST", "sys/policies/acl/snapshots", &policy).0, 204);
    let (_, made) = server.ask(&root, "POST", "auth/token/create", &json!({ "policies": ["snapshots"], "ttl": "1h" }));
    let token = made["auth"]["client_token"].as_str().unwrap().to_owned();
    let (_, none) = server.ask(&root, "POST", "auth/token/create", &json!({ "policies": ["default"] }));
    let stop = AtomicBool::new(false);
    let snapshots = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let body = json!({ "data": { "n": number } });
                assert_eq!(server.ask(&root, "POST", "s/data/busy", &body).0, 200);
            }
        });
        let theirs = client(
            &program("venv/bin/bao"),
            &server,
            &token,
            &home.path(""),
            "operator raft snapshot save theirs.snap",
        );
        let line = "operator raft snapshot save ours.snap";
        let ours = client(&ours(&home), &server, &token, &home.path(""), line);
        stop.store(true, Ordering::Relaxed);
        for output in [theirs, ours] {
            assert!(output.status.success() && output.stderr.is_empty() && output.stdout.is_empty(), "{output:?}");
        }
        [home.path("theirs.snap"), home.path("ours.snap")]
    });
    // Who may not has none, and what was there stays.
    let before = fs::read(&snapshots[1]).unwrap();
    let refused = none["auth"]["client_token"].as_str().unwrap();
    let output = client(&ours(&home), &server, refused, &home.path(""), "operator raft snapshot save ours.snap");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.starts_with("Error taking the snapshot: ") && said.contains("permission denied"), "{said}");
    assert!(fs::read(&snapshots[1]).unwrap() == before);
    assert_eq!(fs::metadata(&snapshots[1]).unwrap().permissions().mode() & 0o777, 0o600);
    // A running server is not restored into, and says what to do, to the peer's client too.
    for line in ["operator raft snapshot restore theirs.snap", "operator raft snapshot restore -force theirs.snap"] {
        let output = client(&program("venv/bin/bao"), &server, &root, &home.path(""), line);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("bulla server snapshot restore"), "{output:?}");
    }
    // All that is written after it is not in it.
    assert_eq!(server.ask(&root, "POST", "s/data/later", &json!({ "data": { "n": 1 } })).0, 200);
    let database = Postgres::start();
    let storages =
        [embedded(&home.path("restored")), format!("\"postgresql\" {{\n connection_url = \"{}\"\n}}", database.url())];
    for (storage, snapshot) in storages.iter().zip(&snapshots) {
        let inspected = Command::new(BULLA).args(["server", "snapshot", "inspect"]).arg(snapshot).output().unwrap();
        assert!(text(&inspected.stdout).contains("Storage       embedded\n"), "{inspected:?}");
        let address = unused_address();
        let config = configuration(&home, "restored.hcl", storage, address);
        let output = restore(&config, snapshot).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("Success!"), "{output:?}");
        let child = Command::new(BULLA)
            .args(["server", "-config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut again = Running::of(child, address);
        assert!(again.is_ready(200));
        for number in 0..300 {
            let (status, read) = again.ask(&root, "GET", &format!("s/data/k{number}"), &Value::Null);
            assert_eq!((status, &read["data"]["data"]["n"]), (200, &json!(number)));
        }
        assert_eq!(again.ask(&root, "GET", "s/data/later", &Value::Null).0, 404);
        // Tokens with their leases, mounts and policies are those of then.
        let (status, looked_up) = again.ask(&token, "GET", "auth/token/lookup-self", &Value::Null);
        assert_eq!((status, &looked_up["data"]["policies"]), (200, &json!(["default", "snapshots"])));
        for path in ["sys/mounts", "sys/policies/acl/snapshots", "sys/seal-status"] {
            let same = |mut answer: Value| {
                for name in ["request_id", "storage_type"] {
                    answer.as_object_mut().unwrap().remove(name);
                }
                answer
            };
            let [now, then] = [&again, &server].map(|server| same(server.ask(&root, "GET", path, &Value::Null).1));
            assert_eq!(now, then, "{path}");
        }
        let refused = restore(&config, snapshot).output().unwrap();
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    }
}

#[test]
fn what_is_not_a_whole_snapshot_of_ours_is_refused_and_changes_nothing() {
    let home = Home::new();
    let (mut server, root) = home.initialize();
    let snapshot = saved(&home, &server, &root, "x.snap");
    server.signal(rustix::process::Signal::TERM);
    server.ended();
    let config = configuration(&home, "c.hcl", &embedded(&home.path("data")), unused_address());
    let before = fs::read(home.path("data/bulla.redb")).unwrap();
    let whole = fs::read(&snapshot).unwrap();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let cases: [(&[u8], i32, &str); 4] = [
        (&damaged, 51, "is damaged"),
        (&whole[..whole.len() - 9], 51, "is cut off"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x02\0\0\0\0\0\0", 2, "compressed in another way"),
        (b"hunter2 hunter2", 2, "not a snapshot"),
    ];
    for (bytes, code, expected) in cases {
        let path = home.path("bad.snap");
        fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        let output = restore(&config, &path).output().unwrap();
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(code) && said.contains(expected), "{output:?}");
        assert!(!said.contains("hunter2"));
    }
    // One of another cluster, whose seal has another key.
    let other = home.path("other.hcl");
    let text_of = fs::read_to_string(&config).unwrap().replace(&"ab".repeat(32), &"cd".repeat(32));
    fs::File::create(&other).unwrap().write_all(text_of.as_bytes()).unwrap();
    let output = restore(&other, &snapshot).output().unwrap();
    assert!(output.status.code() == Some(51) && text(&output.stderr).contains("no seal opens"), "{output:?}");
    assert!(fs::read(home.path("data/bulla.redb")).unwrap() == before);
    assert_eq!(fs::read_dir(home.path("data")).unwrap().count(), 1);
    let mut forced = Command::new(BULLA);
    forced.args(["server", "snapshot", "restore", "-force", "-config"]).arg(&other).arg(&snapshot);
    let output = forced.output().unwrap();
    assert!(output.status.success() && text(&output.stderr).contains("all the same"), "{output:?}");
    assert_eq!(fs::read_dir(home.path("data")).unwrap().count(), 2);
}

/// A storage with much in it, a snapshot of a server on it, and how much more memory than before that server had for it.
fn large(home: &Home, entries: usize, length: usize) -> (PathBuf, u64) {
    let (mut server, root) = home.initialize();
    server.signal(rustix::process::Signal::TERM);
    server.ended();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let storage = Embedded::open(&home.path("data/bulla.redb")).unwrap();
        for part in 0..entries / 100 {
            let key = |at: usize| (format!("zz/{:07}", part * 100 + at), Some(vec![u8::try_from(at).unwrap(); length]));
            storage.commit(Batch { conditions: Vec::new(), writes: (0..100).map(key).collect() }).await.unwrap();
        }
    });
    let server = home.start(200);
    let before = most_memory(&server);
    let snapshot = saved(home, &server, &root, "large.snap");
    (snapshot, most_memory(&server) - before)
}

/// The most that a server had in memory so far, in bytes.
fn most_memory(server: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    most.parse::<u64>().unwrap() << 10
}

#[test]
fn a_server_takes_no_memory_for_the_length_of_a_snapshot() {
    let home = Home::new();
    let (snapshot, more) = large(&home, 20_000, 8000);
    assert!(fs::metadata(&snapshot).unwrap().len() > 150 << 20);
    // Its pages in memory are 16 MiB, and what is on its way some.
    assert!(more < 48 << 20, "{more} bytes for a snapshot of 150 MiB");
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_storage_or_the_new_one() {
    let home = Home::new();
    let (snapshot, _) = large(&home, 4000, 2000);
    let target = home.path("other");
    fs::create_dir(&target).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = target.join("bulla.redb");
    let found = || {
        let storage = Embedded::open_existing(&path).unwrap();
        runtime.block_on(async {
            let old = storage.get("old").await.unwrap().is_some();
            let new = (storage.get("zz/0000000").await.unwrap(), storage.get("zz/0003999").await.unwrap());
            (old, new.0.is_some() && new.1.is_some(), new.0.is_some() || new.1.is_some())
        })
    };
    let put_old = || {
        for entry in fs::read_dir(&target).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let storage = Embedded::open(&path).unwrap();
        let writes = vec![("old".to_owned(), Some(b"1".to_vec()))];
        runtime.block_on(storage.commit(Batch { conditions: Vec::new(), writes })).unwrap();
    };
    let config = configuration(&home, "c.hcl", &embedded(&target), unused_address());
    put_old();
    let begun = std::time::Instant::now();
    assert!(restore(&config, &snapshot).output().unwrap().status.success());
    let takes = begun.elapsed();
    assert_eq!(found(), (false, true, true));
    let mut interrupted = 0;
    for round in 0..16_u32 {
        put_old();
        let mut child = restore(&config, &snapshot).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(takes * round / 16);
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        match found() {
            (true, false, false) => interrupted += 1,
            (false, true, true) => {}
            other => panic!("round {round}: {other:?}"),
        }
        assert!(!ended.success() || found() == (false, true, true));
    }
    assert!(interrupted > 0, "each was over before it was killed");
    // Whatever they left is in nobody's way.
    assert!(restore(&config, &snapshot).output().unwrap().status.success());
}

#[test]
fn a_disk_that_is_full_while_restoring_leaves_the_old_storage() {
    let home = Home::new();
    let (snapshot, _) = large(&home, 4000, 4000);
    let disk = Disk::mount(home.path("small"), "8m");
    let path = home.path("small/bulla.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    {
        let storage = Embedded::open(&path).unwrap();
        let writes = vec![("old".to_owned(), Some(b"1".to_vec()))];
        runtime.block_on(storage.commit(Batch { conditions: Vec::new(), writes })).unwrap();
    }
    let config = configuration(&home, "c.hcl", &embedded(&home.path("small")), unused_address());
    let output = restore(&config, &snapshot).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(fs::read_dir(home.path("small")).unwrap().count(), 1);
    let storage = Embedded::open_existing(&path).unwrap();
    assert!(runtime.block_on(storage.get("old")).unwrap().is_some());
    drop((storage, disk));
}

#[test]
fn a_server_that_is_killed_in_the_middle_leaves_the_file_that_was_there() {
    let home = Home::new();
    let (server, root) = home.initialize();
    let snapshot = saved(&home, &server, &root, "x.snap");
    let before = fs::read(&snapshot).unwrap();
    assert_eq!(server.ask(&root, "POST", "sys/mounts/big", &json!({ "type": "kv-v2" })).0, 204);
    for number in 0..40 {
        let body = json!({ "data": { "filling": "x".repeat(500_000) } });
        assert_eq!(server.ask(&root, "POST", &format!("big/data/{number}"), &body).0, 200);
    }
    let mut slow = Command::new(ours(&home));
    slow.env_clear().env("HOME", home.path("")).env("BAO_ADDR", format!("http://{}", server.address));
    slow.env("BAO_TOKEN", &root).current_dir(home.path(""));
    slow.args(["operator", "raft", "snapshot", "save", "x.snap"]).stdin(Stdio::null()).stderr(Stdio::piped());
    let child = slow.spawn().unwrap();
    server.kill();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        // It was all there by then.
        let inspected = Command::new(BULLA).args(["server", "snapshot", "inspect"]).arg(&snapshot).output().unwrap();
        assert!(inspected.status.success(), "{inspected:?}");
    } else {
        assert!(fs::read(&snapshot).unwrap() == before, "{output:?}");
    }
    let left = fs::read_dir(home.path(""))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".bulla-"));
    assert_eq!(left.count(), 0);
}
