//! `bulla server` when something around it fails: the disk is full, its file is damaged, it is sealed in the middle of work, its clients are slow.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::server_process::{Home, Running};

/// A small file system in memory, gone when dropped.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn mount(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let disk = Self(path);
        disk.run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        disk
    }

    fn resize(&self, size: &str) {
        self.run("mount", &["-o", &format!("remount,size={size}")]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).arg(&self.0).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

fn mount_kv(server: &Running, root: &str) {
    assert_eq!(server.ask(root, "POST", "sys/mounts/s", &json!({ "type": "kv-v2" })).0, 204);
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_that_is_not_there_and_nothing_is_lost() {
    let home = Home::new();
    let disk = Disk::mount(home.path("data"), "8m");
    let (server, root) = home.initialize();
    mount_kv(&server, &root);
    let filling = "x".repeat(64 << 10);
    let write = |server: &Running, number: usize| {
        let body = json!({ "data": { "number": number, "filling": filling } });
        server.ask(&root, "POST", &format!("s/data/k{number}"), &body)
    };
    let full = (0..1000).find_map(|number| {
        let (status, answer) = write(&server, number);
        (status != 200).then_some((number, status, answer))
    });
    let (acknowledged, status, answer) = full.expect("8 MiB hold 64");
    assert_eq!(status, 500, "{answer}");
    assert!(acknowledged > 10, "{acknowledged}");
    // A disk that failed is not believed any more, also if it seems to work: health says so, and a restart looks at what it has.
    disk.resize("64m");
    assert_eq!(write(&server, acknowledged).0, 500);
    assert_eq!(server.ask("", "GET", "sys/health", &Value::Null).0, 500);
    assert_eq!(server.ask(&root, "GET", "s/data/k0", &Value::Null).0, 200);
    drop(server);
    let server = home.start(200);
    for number in 0..acknowledged {
        let (status, read) = server.ask(&root, "GET", &format!("s/data/k{number}"), &Value::Null);
        assert_eq!((status, &read["data"]["data"]["number"]), (200, &json!(number)));
    }
    // The one that failed may be there, and is whole then.
    let (status, read) = server.ask(&root, "GET", &format!("s/data/k{acknowledged}"), &Value::Null);
    assert!(status == 404 || read["data"]["data"]["filling"] == json!(filling), "{status}");
    assert_eq!(write(&server, acknowledged + 1).0, 200);
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let home = Home::new();
    drop(home.initialize());
    let path = home.path("data/bulla.redb");
    let whole = fs::read(&path).unwrap();
    for (what, bytes) in [
        ("empty", &[][..]),
        ("a few bytes", &whole[..7]),
        ("half", &whole[..whole.len() / 2]),
        ("something else", &[7; 10_000][..]),
    ] {
        fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        let mut server = home.spawn();
        assert!(!server.ended().success(), "{what}");
        assert!(fs::read(&path).unwrap() == bytes, "{what}: the file was changed");
        let log = home.read("log");
        let last = log.lines().rev().find(|line| line.contains("bulla.redb")).unwrap_or_default();
        assert!(last.contains("cannot open the storage") && !log.contains("panicked"), "{what}: {log}");
    }
    fs::File::create(&path).unwrap().write_all(&whole).unwrap();
    home.start(200);
}

#[test]
fn who_seals_it_in_the_middle_of_work_leaves_no_request_without_an_answer_and_it_stays_sealed() {
    let home = Home::new();
    let (server, root) = home.initialize();
    mount_kv(&server, &root);
    let write = |worker: usize, number: usize| {
        let path = format!("s/data/{worker}-{number}");
        server.ask(&root, "POST", &path, &json!({ "data": { "number": number } }))
    };
    let acknowledged: Vec<usize> = thread::scope(|scope| {
        let work = |worker: usize| {
            let mut acknowledged = 0;
            loop {
                match write(worker, acknowledged) {
                    (200, _) => acknowledged += 1,
                    (503, _) => break,
                    (status, answer) => panic!("{status} {answer}"),
                }
            }
            for number in 0..10 {
                assert_eq!(write(worker, number).0, 503);
            }
            acknowledged
        };
        let workers: Vec<_> = (0..8).map(|worker| scope.spawn(move || work(worker))).collect();
        thread::sleep(Duration::from_millis(300));
        assert_eq!(server.ask(&root, "PUT", "sys/seal", &Value::Null).0, 204);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(acknowledged.iter().all(|number| *number > 0), "{acknowledged:?}");
    // Longer than it waits until it asks a key service again that was down.
    thread::sleep(Duration::from_secs(6));
    assert_eq!(server.ask("", "GET", "sys/health", &Value::Null).0, 503);
    drop(server);
    let server = home.start(200);
    for (worker, acknowledged) in acknowledged.into_iter().enumerate() {
        for number in 0..acknowledged {
            let path = format!("s/data/{worker}-{number}");
            assert_eq!(server.ask(&root, "GET", &path, &Value::Null).0, 200, "{path}");
        }
    }
}

/// Starts a server as the shell does after `ulimit` with these words.
fn start_limited(home: &Home, limit: &str) -> Running {
    home.start_as(200, |command| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("ulimit {limit} && exec \"$0\" \"$@\"")).arg(command.get_program());
        shell.args(command.get_args());
        shell
    })
}

/// Connections that have begun to ask, and go on a byte at a time.
fn slow(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect_timeout(&address.clone(), Duration::from_secs(20)).unwrap();
        stream.write_all(b"GET /v1/sys/health HTTP/1.1\r\nX-Slow: ").unwrap();
        stream
    };
    (0..count).map(connect).collect()
}

#[test]
fn ten_thousand_slow_clients_keep_nobody_else_waiting() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = 12_000;
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        limit.maximum = limit.maximum.map(|maximum| maximum.max(wanted));
        setrlimit(Resource::Nofile, limit).unwrap();
    }
    let home = Home::new();
    let (server, root) = home.initialize();
    mount_kv(&server, &root);
    drop(server);
    // What most systems give a process to begin with.
    let server = start_limited(&home, "-Sn 1024");
    let mut clients = slow(server.address, 10_000);
    let (mut slowest, mut most) = (Duration::ZERO, 0);
    for round in 0..5 {
        for client in &mut clients {
            // On a machine that is busy it may have hung up by now: a head has half a minute.
            let _ = client.write_all(b"x");
        }
        let begun = Instant::now();
        assert_eq!(server.ask(&root, "POST", "s/data/x", &json!({ "data": { "round": round } })).0, 200);
        assert_eq!(server.ask(&root, "GET", "s/data/x", &Value::Null).1["data"]["data"]["round"], round);
        slowest = slowest.max(begun.elapsed());
        most = most.max(server.open_files());
    }
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(most > 1024, "{most}");
}

#[test]
fn with_few_files_left_clients_wait_and_the_server_works_on() {
    let home = Home::new();
    let (server, root) = home.initialize();
    mount_kv(&server, &root);
    drop(server);
    let server = start_limited(&home, "-n 96");
    let connect = || {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let mut kept = connect();
    let mut ask = |number: usize| {
        let body = json!({ "data": { "number": number } }).to_string();
        let head = format!("POST /v1/s/data/x HTTP/1.1\r\nHost: x\r\nX-Vault-Token: {root}\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let mut answer = Vec::new();
        let mut connections = 1;
        let _ = kept.write_all(request.as_bytes());
        while !answer.ends_with(b"\n") || !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut part = [0; 4096];
            match kept.read(&mut part) {
                Ok(read @ 1..) => answer.extend_from_slice(&part[..read]),
                // A connection that waits with nothing to ask may be closed for others, and a client comes again.
                end => {
                    assert!(answer.is_empty() && connections == 1, "{end:?}: {}", String::from_utf8_lossy(&answer));
                    connections += 1;
                    kept = connect();
                    kept.write_all(request.as_bytes()).unwrap();
                }
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    };
    ask(0);
    let clients = slow(server.address, 100);
    thread::sleep(Duration::from_millis(300));
    // A new file is a file more.
    let audit = home.path("audit.log");
    fs::rename(&audit, home.path("audit.log.1")).unwrap();
    ask(1);
    assert!(is_full(&audit), "the audit file is made anew");
    drop(clients);
    assert_eq!(server.ask(&root, "GET", "s/data/x", &Value::Null).1["data"]["data"]["number"], 1);
}

fn is_full(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| about.len() > 0)
}
