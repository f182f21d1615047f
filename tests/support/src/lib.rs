//! What tests across crates share: the real peers, and servers that end with their test.
//!
//! Everything here fails the test that calls it, with what is missing and how to install it.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "test code: a failure is a panic"
)]

pub mod bao;
pub mod fake;
pub mod moto;
pub mod namespace;
pub mod patience;
pub mod postgres;
pub mod random;
pub mod service_accounts;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::patience::Patience;

/// A peer program by its path below the peers' folder (`bin/…`, `venv/bin/…`).
pub fn program(path: &str) -> PathBuf {
    let folder = std::env::var_os("BULLA_PEERS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers"), PathBuf::from);
    let program = folder.join(path);
    assert!(program.exists(), "{} is not there. Run: cargo xtask peers", program.display());
    program
}

/// A server process on a port of its own, killed when dropped: at the end of a test, or when it panics.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its working folder; `log` in it has what it printed.
    pub folder: TempDir,
}

impl Server {
    /// Starts what `command` makes for an address and an empty folder, and waits until `ready` says that it answers.
    /// Someone else may take the port meanwhile: then the process ends, and another port is tried.
    pub fn start(command: impl Fn(SocketAddr, &Path) -> Command, ready: impl Fn(SocketAddr) -> bool) -> Self {
        for _ in 0..3 {
            let folder = TempDir::new().unwrap();
            let address = unused_address();
            let log = std::fs::File::create(folder.path().join("log")).unwrap();
            let child = command(address, folder.path())
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let mut server = Self { child, address, folder };
            if server.wait_until(|| ready(address)) {
                return server;
            }
        }
        panic!("the server did not start");
    }

    /// Whether `ready` came true; false if the process ended before that.
    fn wait_until(&mut self, ready: impl Fn() -> bool) -> bool {
        let patience = Patience::default();
        while !ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                eprintln!("the server ended with {status}: {}", self.log());
                return false;
            }
            assert!(patience.is_left(), "the server is not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The process' id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `http://ADDRESS`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nothing listens on, and nothing soon will: none of the ports that the system gives to connections, or to who does not care which,
/// and in one process none twice, nor the one behind it, which Vault's servers take, too. Under load a program may take seconds until it listens.
pub fn unused_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    // Processes begin far from each other.
    let first = std::process::id().wrapping_mul(2 * 7919);
    for _ in PORTS {
        let at = first.wrapping_add(NEXT.fetch_add(2, Ordering::Relaxed)) % (PORTS.end - PORTS.start);
        let port = u16::try_from(PORTS.start + at).unwrap();
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().unwrap();
        }
    }
    panic!("all ports are taken");
}

/// Sends one request and reads the answer: its status and body. A status of 0 is no answer.
pub fn http(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_mins(5)))?;
        // HTTP/1.0, so that the answer is not sent in chunks.
        let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().unwrap_or_default();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Runs a real sops in `folder` with nothing in its environment but `env`. Gives its standard output.
pub fn sops(version: &str, folder: &Path, env: &[(String, String)], arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program(&format!("bin/sops-{version}")))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("SOPS_DISABLE_VERSION_CHECK", "1")
        .envs(env.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// The releases of sops that files are exchanged with.
pub const SOPS: [&str; 2] = ["3.11.0", "3.13.3"];
