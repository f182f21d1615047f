//! What `bulla agent` costs while it passes requests on.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use bulla_test_support::fake::{Answer, Fake};
use bulla_test_support::{http, unused_address};

use crate::server_agent::{Agent, LOGIN, Place, Program, World};
use crate::server_clients::ours;

/// Each body of a request.
const BODY: usize = 30 << 20;
/// How many come at once.
const CLIENTS: usize = 32;

/// The most memory that an agent ever had, in bytes.
fn most_memory(agent: &Agent) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// Sends a body, but for its end, which comes late; the status of the answer, if one came.
fn send(address: SocketAddr, head: &str, piece: &[u8], total: usize) -> Option<u16> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut reader = stream.try_clone().unwrap();
    let answer = thread::spawn(move || {
        let mut first = [0; 12];
        reader.read_exact(&mut first).ok()?;
        std::str::from_utf8(&first[9..]).ok()?.parse().ok()
    });
    stream.write_all(format!("POST /v1/old/large HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n").as_bytes()).unwrap();
    let mut sent = 0;
    // Who is refused is not listened to any more.
    while sent + piece.len() < total && stream.write_all(piece).is_ok() {
        sent += piece.len();
    }
    thread::sleep(Duration::from_secs(1));
    let _ = stream.write_all(&piece[..piece.len().min(total - sent)]);
    let _ = stream.shutdown(Shutdown::Write);
    answer.join().unwrap()
}

#[test]
fn however_much_is_sent_at_once_memory_has_a_bound_and_others_are_served() {
    let server = ours();
    let world = World::new(server.address, "1h", "2h");
    let place = world.place();
    let address = unused_address();
    let config = format!(
        "auto_auth {{ {LOGIN} }}\napi_proxy {{ use_auto_auth_token = true }}\nlistener \"tcp\" {{\n address = \"{address}\"\n tls_disable = true\n}}\n"
    );
    let agent = place.start(Program::Bulla, &world.url(), &config, &[]);
    let get = || http(address, "GET", "/v1/old/app", &[], "").0;
    place.eventually("it passes on", || get() == 200);
    let announced = format!("Content-Length: {BODY}");
    let large = vec![b'x'; 64 << 10];
    let statuses: Vec<Option<u16>> = thread::scope(|scope| {
        let whole = (0..CLIENTS).map(|_| scope.spawn(|| send(address, &announced, &large, BODY)));
        // Pieces of a byte each.
        let small = b"1\r\nx\r\n".repeat(10_000);
        let pieces: Vec<_> = (0..4)
            .map(|_| {
                let small = small.clone();
                scope.spawn(move || send(address, "Transfer-Encoding: chunked", &small, 20 << 20))
            })
            .collect();
        let all: Vec<_> = whole.collect();
        assert_eq!(get(), 200, "a small request meanwhile");
        drop(pieces);
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let refused = statuses.iter().filter(|status| **status == Some(503)).count();
    assert!(refused > 0, "{statuses:?}");
    assert_eq!(get(), 200);
    let most = most_memory(&agent);
    assert!(most < 384 << 20, "{most} bytes while {} were sent at once", CLIENTS * BODY);
    assert_eq!(send(address, "Content-Length: 33554433", b"x", 0), Some(413));
}

#[test]
fn an_answer_that_is_passed_on_as_it_is_comes_whole_and_is_never_whole_in_memory() {
    let text = "0123456789abcdef".repeat(8 << 20);
    let (length, whole) = (text.len(), text.clone());
    let far = Fake::answering(move |_| Answer(200, vec![], text.clone()));
    let place = Place::new();
    let address = unused_address();
    let config = format!("listener \"tcp\" {{\n address = \"{address}\"\n tls_disable = true\n}}\n");
    let agent = place.start(Program::Bulla, &far.url(), &config, &[]);
    place.eventually("it listens", || TcpStream::connect(address).is_ok());
    let (status, answer) = http(address, "GET", "/v1/sys/storage/raft/snapshot", &[("X-Vault-Token", "t")], "");
    assert_eq!((status, answer.len()), (200, length));
    assert!(answer == whole);
    let most = most_memory(&agent);
    assert!(most < length / 4 * 3, "{most} bytes for {length}");
}
