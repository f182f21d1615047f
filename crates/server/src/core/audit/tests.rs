//! Records have no secrets, and go somewhere, or there is no answer.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::json;
use crate::logical::{Operation, Request, Response, TokenText};
use crate::storage::Memory;

mod far;
mod last;

async fn broker(path: &std::path::Path, more: &[(&str, &str)]) -> Result<Broker> {
    let barrier = Barrier::initialize(Arc::new(Memory::default()), bulla_core::DataKey::generate().unwrap()).await;
    let mut options = BTreeMap::from([("file_path".to_owned(), path.to_str().unwrap().to_owned())]);
    options.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let config = DeviceConfig { path: "f/".to_owned(), kind: "file".to_owned(), description: String::new(), options };
    Broker::open(&Arc::new(barrier.unwrap()), &[config], &Arc::default()).await
}

/// Writes down what is asked.
async fn ask(broker: &Broker, record: &Record<'_>) -> Result<()> {
    broker.request(&mut broker.asked(record)).await
}

/// Writes down what is answered, behind what was asked.
async fn answer(broker: &Broker, record: &Record<'_>) -> Result<()> {
    let mut asked = broker.asked(record);
    asked.0.iter_mut().for_each(|line| line.written = true);
    broker.response(asked, record).await
}

fn request() -> Request {
    Request {
        id: "the-id".to_owned(),
        token: Some(TokenText::new("s.thetoken".to_owned())),
        remote: Some([127, 0, 0, 1].into()),
        remote_port: 5,
        ..Request::new(
            Operation::Read,
            "secret/x",
            object! { "password": "hunter2", "deep": object! { "list": vec!["hunter2"] }, "n": 5 },
        )
    }
}

#[tokio::test]
async fn a_record_has_no_secret_in_it_and_the_same_text_hashes_alike() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let broker = broker(&path, &[]).await.unwrap();
    let request = request();
    let response = Response::data(object! { "value": json::Value::Raw(b"{\"k\":\"hunter2\"}".as_slice().into()) });
    let record = Record { request: &request, caller: None, mount: None, response: Some(&response), error: None };
    ask(&broker, &record).await.unwrap();
    answer(&broker, &record).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("thetoken"), "{text}");
    let hash = broker.devices()[0].hash("hunter2");
    assert_eq!(text.matches(&hash).count(), 5, "{text}");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["type"], "request");
    assert_eq!(lines[0]["request"]["data"]["n"], 5);
    assert_eq!(lines[0]["request"]["client_token"], broker.devices()[0].hash("s.thetoken"));
    assert_eq!(lines[1]["type"], "response");
    assert_eq!(lines[1]["request"]["id"], "the-id");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_was_held_is_written_before_its_answer_as_if_it_had_been_written_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["a.log", "b.log"].map(|name| folder.path().join(name));
    let (alone, request) = (broker(&first, &[]).await.unwrap(), request());
    let device = |path: &std::path::Path| DeviceConfig {
        path: path.display().to_string(),
        kind: "file".to_owned(),
        options: BTreeMap::from([("file_path".to_owned(), path.to_str().unwrap().to_owned())]),
        ..DeviceConfig::default()
    };
    let barrier = Barrier::initialize(Arc::new(Memory::default()), bulla_core::DataKey::generate().unwrap()).await;
    let both = [device(&first), device(&second)];
    let two = Broker::open(&Arc::new(barrier.unwrap()), &both, &Arc::default()).await.unwrap();
    let denied = Error::denied();
    for broker in [&alone, &two] {
        for error in [None, Some(&denied)] {
            let _ = std::fs::remove_file(&first);
            let asked = Record { request: &request, caller: None, mount: None, response: None, error: None };
            let answered = Record { error, ..asked };
            let mut at_once = broker.asked(&asked);
            broker.request(&mut at_once).await.unwrap();
            broker.response(at_once, &answered).await.unwrap();
            broker.response(broker.asked(&asked), &answered).await.unwrap();
            let text = std::fs::read_to_string(&first).unwrap();
            let without_time = |line: &str| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["time"].take();
                line
            };
            let lines: Vec<_> = text.lines().map(without_time).collect();
            assert_eq!((lines.len(), &lines[0]["type"], &lines[1]["type"]), (4, &"request".into(), &"response".into()));
            assert_eq!(lines[..2], lines[2..]);
        }
    }
    assert_eq!(std::fs::read_to_string(&second).unwrap().lines().count(), 8);
}

#[tokio::test]
async fn a_file_that_is_deleted_is_made_anew_and_a_long_one_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let broker = broker(&path, &[("rotate_bytes", "100"), ("rotate_keep", "2")]).await.unwrap();
    let request = request();
    let record = Record { request: &request, caller: None, mount: None, response: None, error: None };
    ask(&broker, &record).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    ask(&broker, &record).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    for _ in 0..3 {
        ask(&broker, &record).await.unwrap();
    }
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["audit.log", "audit.log.1", "audit.log.2"]);
}

#[tokio::test]
async fn without_any_device_that_writes_there_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sub");
    std::fs::create_dir(&path).unwrap();
    let broker = broker(&path.join("audit.log"), &[]).await.unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    let request = request();
    let record = Record { request: &request, caller: None, mount: None, response: None, error: None };
    assert_eq!(ask(&broker, &record).await.unwrap_err().status, 500);
    std::fs::create_dir(&path).unwrap();
    ask(&broker, &record).await.unwrap();
    assert!(self::broker(folder.path(), &[]).await.is_err(), "a folder is no file");
    assert!(self::broker(&path.join("x"), &[("log_raw", "maybe")]).await.is_err());
}

#[tokio::test]
async fn a_device_that_blocks_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    // Somebody has it open and does not read.
    let _reader = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let broker = broker(&path, &[]).await.unwrap();
    // More than a pipe holds, and made before the clock runs: a slow machine takes its time for records.
    let line = vec![b'x'; 1 << 20];
    let device = &broker.devices[0];
    let started = Instant::now();
    assert!(!device.write(line.clone()).await);
    assert!(started.elapsed() >= PATIENCE, "the first is waited for");
    let started = Instant::now();
    assert!(!device.write(line).await);
    assert!(started.elapsed() < PATIENCE, "the second is not waited for");
    // And whoever asks hears of it.
    let request = request();
    let record = Record { request: &request, caller: None, mount: None, response: None, error: None };
    assert!(ask(&broker, &record).await.is_err());
}

#[tokio::test]
async fn nobody_writes_long_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let broker = broker(&path, &[]).await.unwrap();
    let mut request = request();
    for data in [
        (0..3000).map(|at| (format!("k{at}"), "v".into())).collect(),
        object! { "deep": object! { "list": vec!["v"; 3000] } },
        object! { "long": "x".repeat(1 << 20) },
    ] {
        request.data = data;
        let record = Record { request: &request, caller: None, mount: None, response: None, error: None };
        ask(&broker, &record).await.unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.len() < 4 * 1024, "{}", text.len());
    assert_eq!(text.matches("fields_omitted").count(), 3);
}

#[tokio::test]
async fn nobody_writes_long_paths_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut request = request();
    request.path = format!("auth/userpass/login/{}", "é".repeat(7000));
    let number = "1".repeat(1500);
    let mut response = Response::data(object! {});
    response.warnings.push("w".repeat(60_000));
    let cases = [
        (object! { "password": "x".repeat(20_000) }, false),
        ((0..30).map(|at| (format!("{at}{}", "n".repeat(500)), "v".into())).collect(), true),
        (
            object! { "deep": (0..30).map(|at| (format!("{at}{}", "n".repeat(500)), "v".into())).collect::<json::Object>() },
            true,
        ),
        (json::parse_request(format!("{{\"n\":{number}}}").as_bytes()).unwrap(), true),
    ];
    for (at, (data, omitted)) in cases.into_iter().enumerate() {
        let path = folder.path().join(format!("{at}.log"));
        let broker = broker(&path, &[]).await.unwrap();
        request.data = data;
        let record = Record { request: &request, caller: None, mount: None, response: Some(&response), error: None };
        ask(&broker, &record).await.unwrap();
        answer(&broker, &record).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() < 5 << 10, "{}", text.len());
        for line in text.lines() {
            let written: serde_json::Value = serde_json::from_str(line).unwrap();
            let cut = written["request"]["path"].as_str().unwrap();
            let end = format!("é… (14020 bytes, {})", broker.devices()[0].hash(&request.path));
            assert!(cut.starts_with("auth/userpass/login/é") && cut.ends_with(&end), "{cut}");
            assert_eq!(written["request"]["data"]["fields_omitted"].is_u64(), omitted, "{written}");
        }
    }
}

#[tokio::test]
async fn a_token_in_a_path_is_hashed_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let broker = broker(&path, &[]).await.unwrap();
    let mut request = request();
    for before in ["auth/token/lookup/", "auth/token/renew/"] {
        request.path = format!("{before}s.other");
        let record = Record { request: &request, caller: None, mount: None, response: None, error: None };
        ask(&broker, &record).await.unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("s.other"), "{text}");
    assert_eq!(text.matches(&broker.devices()[0].hash("s.other")).count(), 2);
}

#[tokio::test]
async fn behind_half_a_record_a_new_line_begins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    bulla_core::file::replace(&path, b"{\"time\":\"2026", 0o600).unwrap();
    let broker = broker(&path, &[]).await.unwrap();
    let request = request();
    let record = Record { request: &request, caller: None, mount: None, response: None, error: None };
    ask(&broker, &record).await.unwrap();
    ask(&broker, &record).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1..].iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
}

#[tokio::test]
async fn a_file_of_this_machine_is_written_by_who_comes_alone_and_one_that_hangs_keeps_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let broker = broker(&path, &[]).await.unwrap();
    let device = &broker.devices()[0];
    assert_eq!(device.sink.write_at_once(b"one\n"), Some(Written::Yes));
    // Somebody is at it, and does not come back.
    let hangs = device.sink.hold();
    assert_eq!(device.sink.write_at_once(b"two\n"), None);
    let started = Instant::now();
    assert!(!device.write_alone(b"three\n").await);
    assert!(device.sink.state().is_passed_over() && started.elapsed() >= PATIENCE);
    drop(hangs);
    // What waited is written, and then it is waited for again.
    let since = Instant::now();
    while !device.write_alone(b"four\n").await || device.sink.state().is_passed_over() {
        assert!(since.elapsed() < PATIENCE, "it does not come back");
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("one\nthree\nfour\n"), "{text}");
    // A pipe may keep whoever writes to it.
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let broker = self::broker(&pipe, &[]).await.unwrap();
    assert_eq!(broker.devices()[0].sink.write_at_once(b"one\n"), None);
}

#[tokio::test]
async fn a_file_that_cannot_be_moved_away_grows_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    // What is in the way cannot be replaced by a file.
    std::fs::create_dir_all(folder.path().join("audit.log.1/x")).unwrap();
    let broker = broker(&path, &[("rotate_bytes", "100"), ("rotate_keep", "1")]).await.unwrap();
    let request = request();
    let record = Record { request: &request, caller: None, mount: None, response: None, error: None };
    for _ in 0..5 {
        ask(&broker, &record).await.unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 5);
}

/// A file whose disk hangs until it is told otherwise.
struct Hanging(std::sync::mpsc::Receiver<()>);

impl sink::Target for Hanging {
    fn ready(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    fn put(&mut self, _: &[u8]) -> std::io::Result<()> {
        let _ = self.0.recv();
        Ok(())
    }

    fn is_prompt(&self) -> bool {
        true
    }
}

#[test]
fn a_disk_that_hangs_keeps_one_thread_and_the_others_go_on() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (go, told) = std::sync::mpsc::channel();
    let (tick, ticked) = std::sync::mpsc::channel();
    let sink = runtime.block_on(async { Arc::new(Sink::of(Hanging(told))) });
    // The first thread that hears of anything is kept; who waits for the clock is woken all the same.
    let hangs = Arc::clone(&sink);
    runtime.spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        hangs.write_at_once(b"one\n");
    });
    runtime.spawn(async move {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let _ = tick.send(());
        }
    });
    for _ in 0..5 {
        ticked.recv_timeout(Duration::from_secs(10)).expect("somebody is woken");
    }
    go.send(()).unwrap();
    drop(go);
}
