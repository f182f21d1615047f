//! Devices whose far side is another process: it stalls, ends, comes back. The receivers are real.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16};
use std::thread::JoinHandle;

use super::*;

pub(super) fn device(path: &str, kind: &str, options: &[(&str, &str)]) -> DeviceConfig {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    DeviceConfig { path: path.to_owned(), kind: kind.to_owned(), description: String::new(), options }
}

async fn open(configs: &[DeviceConfig]) -> Result<Broker> {
    let barrier = Barrier::initialize(Arc::new(Memory::default()), bulla_core::DataKey::generate().unwrap()).await;
    Broker::open(&Arc::new(barrier.unwrap()), configs, &Arc::default()).await
}

/// Whether a request with this id is written down.
pub(super) async fn write(broker: &Broker, id: &str) -> bool {
    let request = Request { id: id.to_owned(), ..request() };
    ask(broker, &Record { request: &request, caller: None, mount: None, response: None, error: None }).await.is_ok()
}

/// A record of more than 100 KiB.
async fn write_long(broker: &Broker) -> bool {
    let (request, long) = (request(), (0..2000).map(|at| (format!("k{at}"), "v".into())).collect());
    let response = Response::data(long);
    let record = Record { request: &request, caller: None, mount: None, response: Some(&response), error: None };
    answer(broker, &record).await.is_ok()
}

pub(super) async fn until(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not come true");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn id(line: &str) -> String {
    let record: serde_json::Value = serde_json::from_str(line).unwrap();
    record["request"]["id"].as_str().unwrap().to_owned()
}

pub(super) const LONG: Duration = Duration::from_hours(1);

/// Takes connections and reads lines, until it is dropped: then it is gone with all connections, as a process that ends.
pub(super) struct Collector {
    pub(super) address: SocketAddr,
    ids: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Collector {
    /// `life`: after so long a connection is closed, whatever else came on it.
    pub(super) fn start(address: SocketAddr, life: Duration) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (ids, stop) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (seen, stopped) = (Arc::clone(&ids), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => read_lines(stream, life, &seen, &stopped),
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self { address, ids, stop, thread: Some(thread) }
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.ids.lock().unwrap().iter().any(|one| one == id)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn read_lines(stream: TcpStream, life: Duration, ids: &Mutex<Vec<String>>, stopped: &AtomicBool) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let (mut reader, mut line, begun) = (BufReader::new(stream), String::new(), Instant::now());
    while begun.elapsed() < life && !stopped.load(Ordering::Relaxed) {
        match reader.read_line(&mut line) {
            Ok(0) => return,
            Ok(_) if line.ends_with('\n') => {
                ids.lock().unwrap().push(id(&line));
                line.clear();
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

#[tokio::test]
async fn every_record_that_counts_arrives_though_the_far_side_ends_connections_in_the_middle() {
    let collector = Collector::start("127.0.0.1:0".parse().unwrap(), Duration::from_millis(60));
    let broker = open(&[device("s/", "socket", &[("address", &collector.address.to_string())])]).await.unwrap();
    let mut written = Vec::new();
    for number in 0..400 {
        let id = format!("r{number}");
        if write(&broker, &id).await {
            written.push(id);
        }
        if number % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert!(written.len() > 200, "{}", written.len());
    until(|| written.iter().all(|id| collector.has(id))).await;
}

#[tokio::test]
async fn what_a_dead_connection_would_swallow_is_not_written_and_comes_when_the_far_side_is_back() {
    let collector = Collector::start("127.0.0.1:0".parse().unwrap(), LONG);
    let address = collector.address;
    let broker = open(&[device("s/", "socket", &[("address", &address.to_string())])]).await.unwrap();
    assert!(write(&broker, "before").await);
    until(|| collector.has("before")).await;
    drop(collector);
    // The system would take the first of these: the connection looks alive until something is sent on it.
    for id in ["first", "second"] {
        assert!(!write(&broker, id).await, "nobody has {id}");
    }
    let collector = Collector::start(address, LONG);
    until(|| collector.has("first") && collector.has("second")).await;
    until(|| !broker.devices()[0].sink.state().is_passed_over()).await;
    assert!(write(&broker, "after").await);
    until(|| collector.has("after")).await;
    let ids = collector.ids.lock().unwrap().clone();
    assert_eq!(ids.last().unwrap(), "after", "in the order that they came in: {ids:?}");
}

#[tokio::test]
async fn a_far_side_that_is_not_there_yet_keeps_nothing_closed_and_is_found_later() {
    let address = bulla_test_support::unused_address();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let broker = open(&[
        device("f/", "file", &[("file_path", file.to_str().unwrap())]),
        device("s/", "socket", &[("address", &address.to_string())]),
    ])
    .await
    .unwrap();
    assert!(write(&broker, "kept").await, "the file has it");
    let collector = Collector::start(address, LONG);
    until(|| collector.has("kept")).await;
}

#[tokio::test]
async fn a_far_side_that_does_not_read_is_waited_for_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.log");
    let socket = device("s/", "socket", &[("address", &address), ("write_timeout", "1s")]);
    let broker = open(&[socket, device("f/", "file", &[("file_path", file.to_str().unwrap())])]).await.unwrap();
    let begun = Instant::now();
    while !broker.devices()[0].sink.state().is_passed_over() {
        assert!(write_long(&broker).await, "the file has it");
        assert!(begun.elapsed() < Duration::from_mins(5), "the buffers of the connection are never full");
    }
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(write_long(&broker).await);
    }
    // Were each to wait, it would be twenty times a second at the least.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    // It reads again.
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut stream, &mut std::io::sink()));
        }
    });
    until(|| !broker.devices()[0].sink.state().is_passed_over()).await;
}

#[tokio::test]
async fn sockets_in_the_file_system_and_datagrams_take_records_too() {
    let folder = tempfile::tempdir().unwrap();
    let (stream, datagram) = (folder.path().join("stream"), folder.path().join("datagram"));
    let listener = UnixListener::bind(&stream).unwrap();
    let unix = UnixDatagram::bind(&datagram).unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (kind, address) in [
        ("unix", stream.to_str().unwrap().to_owned()),
        ("unixgram", datagram.to_str().unwrap().to_owned()),
        ("udp", udp.local_addr().unwrap().to_string()),
    ] {
        let broker = open(&[device("s/", "socket", &[("address", &address), ("socket_type", kind)])]).await.unwrap();
        assert!(write(&broker, kind).await, "{kind}");
        let mut line = vec![0; 64 << 10];
        let length = match kind {
            "unix" => listener.accept().unwrap().0.read(&mut line).unwrap(),
            "unixgram" => unix.recv(&mut line).unwrap(),
            _ => udp.recv(&mut line).unwrap(),
        };
        assert_eq!(id(std::str::from_utf8(&line[..length]).unwrap()), kind);
    }
    let address = udp.local_addr().unwrap();
    drop((udp, listener));
    let broker = open(&[device("s/", "socket", &[("address", &address.to_string()), ("socket_type", "udp")])]).await;
    assert!(!write(&broker.unwrap(), "x").await, "the network says that nobody is there");
    let options = [("address", stream.to_str().unwrap()), ("socket_type", "unix")];
    assert!(!write(&open(&[device("s/", "socket", &options)]).await.unwrap(), "x").await);
}

fn syslog(path: &Path) -> DeviceConfig {
    let address = path.to_str().unwrap();
    device("y/", "syslog", &[("address", address), ("facility", "local3"), ("tag", "bulla"), ("write_timeout", "1s")])
}

fn receive(socket: &UnixDatagram) -> String {
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut datagram = vec![0; 64 << 10];
    let length = socket.recv(&mut datagram).unwrap();
    String::from_utf8(datagram[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn syslog_has_each_record_in_a_datagram_and_after_a_restart_those_that_came_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let syslogd = UnixDatagram::bind(&path).unwrap();
    let broker = open(&[syslog(&path)]).await.unwrap();
    assert!(write(&broker, "one").await);
    let datagram = receive(&syslogd);
    // local3 is 19, informational 6.
    let (head, record) = datagram.split_once("]: ").unwrap();
    assert_eq!(id(record), "one");
    assert!(!record.ends_with('\n'));
    let pid = std::process::id();
    let time = head.strip_prefix("<158>").and_then(|rest| rest.strip_suffix(&format!(" bulla[{pid}"))).unwrap();
    assert_eq!(
        (time.len(), time.as_bytes()[3], time.as_bytes()[6], time.as_bytes()[9]),
        (15, b' ', b' ', b':'),
        "{time}"
    );
    drop(syslogd);
    assert!(!write(&broker, "two").await, "nobody reads it");
    std::fs::remove_file(&path).unwrap();
    assert!(!write(&broker, "three").await, "nobody is there");
    let syslogd = UnixDatagram::bind(&path).unwrap();
    for expected in ["two", "three"] {
        assert_eq!(id(receive(&syslogd).split_once("]: ").unwrap().1), expected);
    }
    until(|| !broker.devices()[0].sink.state().is_passed_over()).await;
    assert!(write(&broker, "four").await);
}

#[tokio::test]
async fn syslog_that_reads_nothing_is_waited_for_once_and_a_record_too_long_for_it_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let syslogd = UnixDatagram::bind(&path).unwrap();
    let broker = open(&[syslog(&path)]).await.unwrap();
    let request = request();
    // Longer than any buffer that a socket may have here.
    let long = (0..10).map(|at| (format!("{at}{}", "k".repeat(900 << 10)), "v".into())).collect();
    let response = Response::data(long);
    let record = Record { request: &request, caller: None, mount: None, response: Some(&response), error: None };
    assert!(answer(&broker, &record).await.is_err());
    assert!(write(&broker, "short").await, "the next one is taken");
    let begun = Instant::now();
    while write(&broker, "x").await {
        assert!(begun.elapsed() < Duration::from_secs(30), "its queue is never full");
    }
    let begun = Instant::now();
    for _ in 0..10 {
        assert!(!write(&broker, "y").await);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let _reader = std::thread::spawn(move || while syslogd.recv(&mut [0; 4096]).is_ok() {});
    until(|| !broker.devices()[0].sink.state().is_passed_over()).await;
    assert!(write(&broker, "z").await);
}

/// Answers each request with the status that is set; 0 is no answer at all.
fn http_server(status: &Arc<AtomicU16>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
    let (requests, status) = (Arc::clone(&seen), Arc::clone(status));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (requests, status) = (Arc::clone(&requests), Arc::clone(&status));
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let (mut text, mut part) = (String::new(), [0; 4096]);
                while !text.ends_with("}\n") && !text.starts_with("GET") {
                    let length = stream.read(&mut part).unwrap();
                    text.push_str(std::str::from_utf8(&part[..length]).unwrap());
                }
                requests.lock().unwrap().push(text);
                match status.load(Ordering::Relaxed) {
                    0 => std::thread::sleep(Duration::from_mins(1)),
                    status => {
                        let head = "X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close";
                        let _ = stream.write_all(format!("HTTP/1.1 {status} {head}\r\n\r\n").as_bytes());
                    }
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn http_takes_a_record_with_a_status_of_success_alone() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    bulla_core::file::replace(&token, b"Bearer t0ken\n", 0o600).unwrap();
    let status = Arc::new(AtomicU16::new(204));
    let (address, seen) = http_server(&status);
    let headers =
        format!("{{\"Authorization\":[\"file://{}\"],\"X-From\":[\"a\",\"b\"],\"None\":[]}}", token.display());
    let uri = format!("http://{address}/in?x=1");
    let broker = open(&[device("h/", "http", &[("uri", &uri), ("headers", &headers)])]).await.unwrap();
    assert!(write(&broker, "one").await);
    let request = seen.lock().unwrap()[0].clone();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /in?x=1 HTTP/1.1\r\n"), "{head}");
    for line in ["authorization: Bearer t0ken", "x-from: a", "x-from: b", "content-type: application/json"] {
        assert!(head.contains(line), "{line}: {head}");
    }
    assert_eq!(id(body), "one");
    for refused in [500, 302, 404] {
        status.store(refused, Ordering::Relaxed);
        assert!(!write(&broker, "two").await, "{refused}");
    }
    assert!(!seen.lock().unwrap().iter().any(|request| request.contains("/elsewhere")), "it goes nowhere else");
    status.store(200, Ordering::Relaxed);
    assert!(write(&broker, "three").await);
    assert_eq!(broker.devices()[0].config.options["headers"], headers, "what is shown is what was written");
}

#[tokio::test]
async fn http_over_tls_goes_to_nobody_whom_no_authority_vouches_for() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (folder.path().join("cert"), folder.path().join("key"));
    bulla_core::file::replace(&cert_file, certificate.pem().as_bytes(), 0o600).unwrap();
    bulla_core::file::replace(&key_file, key.serialize_pem().as_bytes(), 0o600).unwrap();
    let served = bulla_listen::Certificates::default().add(&cert_file, &key_file).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&served.borrow()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (came, asked) = (Arc::<AtomicU16>::default(), Arc::<AtomicU16>::default());
    let (connections, requests) = (Arc::clone(&came), Arc::clone(&asked));
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::Relaxed);
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            if stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {
                requests.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    });
    let broker = open(&[device("h/", "http", &[("uri", &format!("https://{address}/"))])]).await.unwrap();
    assert!(!write(&broker, "one").await);
    assert_eq!((came.load(Ordering::Relaxed) > 0, asked.load(Ordering::Relaxed)), (true, 0));
}

#[tokio::test]
async fn http_that_does_not_answer_is_waited_for_once() {
    let status = Arc::new(AtomicU16::new(0));
    let (address, seen) = http_server(&status);
    let broker = open(&[device("h/", "http", &[("uri", &format!("http://{address}/"))])]).await.unwrap();
    let begun = Instant::now();
    assert!(!write(&broker, "one").await);
    assert!(begun.elapsed() < PATIENCE + Duration::from_secs(2));
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(!write(&broker, "more").await);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(seen.lock().unwrap().len() <= 65, "so many are under way at most");
    status.store(200, Ordering::Relaxed);
    until(|| {
        !broker.devices()[0].sink.state().is_passed_over() || {
            // Those that are under way are given up first.
            drop(broker.devices()[0].sink.write(b"{}\n".to_vec()));
            false
        }
    })
    .await;
    assert!(write(&broker, "back").await);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = open(&[device("h/", "http", &[("uri", &format!("http://{gone}/"))])]).await.unwrap();
    assert!(!write(&broker, "x").await, "nobody is there");
}

#[tokio::test]
async fn options_are_checked_when_they_are_read() {
    for (kind, options, expected) in [
        ("pigeon", &[][..], "\"syslog\", \"socket\" and \"http\""),
        ("file", &[("file_path", "stdout"), ("format", "jsonx")], "format"),
        ("syslog", &[("facility", "LOCAL8")], "LOCAL0 to LOCAL7"),
        ("syslog", &[("tag", "a b")], "tag"),
        ("socket", &[], "address is missing"),
        ("socket", &[("address", "collector")], "HOST:PORT"),
        ("socket", &[("address", "a:1"), ("socket_type", "sctp")], "\"unixgram\""),
        ("socket", &[("address", "a:1"), ("write_timeout", "2m")], "write_timeout"),
        ("http", &[], "uri is missing"),
        ("http", &[("uri", "ftp://a/")], "http or https"),
        ("http", &[("uri", "https://user:hunter2@a/")], "no password"),
        ("http", &[("uri", "env://BULLA_TEST_NO_SUCH_VARIABLE")], "BULLA_TEST_NO_SUCH_VARIABLE is not set"),
        ("http", &[("uri", "https://a/"), ("headers", "{\"A\":\"b\"}")], "JSON object of lists"),
        ("http", &[("uri", "https://a/"), ("headers", "{\"A\":[\"b\\nc\"]}")], "header A"),
    ] {
        let error = check(&[device("d/", kind, options)]).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{kind} {options:?}: {error}");
    }
    let file = device("f/", "file", &[("file_path", "stdout"), ("skip_test", "true"), ("log_row", "true")]);
    assert_eq!(check(std::slice::from_ref(&file)).unwrap(), ["audit f/: log_row"]);
    assert!(check(&[file.clone(), file]).unwrap_err().to_string().contains("two audit devices"));
}
