//! Odd and hostile input, and what happens at the same moment.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::ours::{Ours, ROOT};

#[test]
fn what_is_no_request_gets_an_error_and_harms_nobody() {
    let ours = Ours::dev();
    let deep = "[".repeat(100_000);
    let long = "x".repeat(40 << 20);
    let bodies = ["{", "[]", "nul", "1", "\"x\"", "{\"a\":}", "\u{0}", &deep, &format!("{{\"data\":{deep}")];
    for body in bodies {
        for path in
            ["secret/data/x", "auth/token/create", "sys/policies/acl/p", "sys/mounts/m", "sys/unseal", "sys/init"]
        {
            let (status, _) = ours.ask(ROOT, "POST", path, body);
            assert!((400..500).contains(&status), "{path} {body:.20}: {status}");
        }
    }
    let (status, _) = ours.ask(ROOT, "POST", "secret/data/x", &format!("{{\"data\":{{\"a\":\"{long}\"}}}}"));
    assert!(status == 413 || status == 0, "{status}");
    let (status, _) =
        ours.ask(ROOT, "POST", "secret/data/x", &format!("{{\"data\":{{\"a\":\"{}\"}}}}", &long[..2 << 20]));
    assert_eq!(status, 413);
    for raw in
        ["GET / HTTP/9.9\r\n\r\n", "\r\n\r\n\r\n", "GET /v1/sys/health\r\n\r\n", "G\u{0}T /v1/x HTTP/1.1\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(ours.address).unwrap();
        stream.write_all(raw.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{raw:?}");
    }
    assert_eq!(ours.ask(ROOT, "GET", "sys/mounts", "").0, 200);
}

#[test]
fn the_newest_version_is_found_while_others_write_and_one_is_kept() {
    let ours = Ours::dev();
    ours.root("POST", "secret/config", r#"{"max_versions":1}"#);
    ours.root("POST", "secret/data/x", r#"{"data":{"a":1}}"#);
    let stop = AtomicBool::new(false);
    let until_the_end = |ask: &dyn Fn() -> u16| {
        let mut asked = 0;
        // However few turns there are.
        while !stop.load(Ordering::Relaxed) || asked <= 10 {
            assert_eq!(ask(), 200);
            asked += 1;
        }
        asked
    };
    let write = || until_the_end(&|| ours.ask(ROOT, "POST", "secret/data/x", r#"{"data":{"a":2}}"#).0);
    let read = || until_the_end(&|| ours.ask(ROOT, "GET", "secret/data/x", "").0);
    std::thread::scope(|scope| {
        let threads = [scope.spawn(write), scope.spawn(write), scope.spawn(read), scope.spawn(read)];
        std::thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            assert!(thread.join().unwrap() > 10);
        }
    });
}
