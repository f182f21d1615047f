//! Small servers that answer one thing, or nothing: for faults that the real ones cannot be made to have.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// What it asks for.
    pub path: String,
    /// Its first line and headers.
    pub head: String,
    /// Its body.
    pub body: String,
}

/// An answer: its status, more headers, and its body.
pub struct Answer(pub u16, pub Vec<(&'static str, String)>, pub String);

/// A server on a port of its own that stops when dropped.
pub struct Fake {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// Answers each request with what `answer` makes of it.
    pub fn answering(answer: impl Fn(&Request) -> Answer + Send + 'static) -> Self {
        Self::start(move |mut stream, seen| {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let request = read(&mut stream)?;
            seen.lock().unwrap().push(request.clone());
            let Answer(status, headers, body) = answer(&request);
            let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            let _ = stream.write_all(format!("{head}\r\n{body}").as_bytes());
            None
        })
    }

    /// Accepts connections and never answers.
    pub fn silent() -> Self {
        Self::start(|stream, _| Some(stream))
    }

    fn start(serve: impl Fn(TcpStream, &Mutex<Vec<Request>>) -> Option<TcpStream> + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stopped, log) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                held.extend(serve(stream.unwrap(), &log));
            }
        });
        Self { address, seen, stop, thread: Some(thread) }
    }

    /// `http://ADDRESS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes it from waiting for the next connection.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..at]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0usize);
            if bytes.len() >= at + 4 + length {
                let mut words = head.split(' ').map(str::to_owned);
                let (method, path) = (words.next()?, words.next()?);
                let body = String::from_utf8_lossy(&bytes[at + 4..]).into_owned();
                return Some(Request { method, path, head, body });
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}
