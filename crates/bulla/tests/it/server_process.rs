//! A `bulla server` with files of its own, that is killed and started again.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bulla_test_support::patience::Patience;
use bulla_test_support::{http, unused_address};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What stays when a server ends: its storage, its audit file and its log.
pub(crate) struct Home {
    folder: TempDir,
}

/// A server, killed when dropped: like a power cut.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A file or folder in it: `data` is the storage, `audit.log` the audit file, `log` what servers printed.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// The command of a server that listens there. A static key unseals it.
    pub(crate) fn command(&self, address: SocketAddr) -> Command {
        let config = format!(
            "listener \"tcp\" {{\n  address = \"{address}\"\n  tls_disable = true\n}}\nstorage \"embedded\" {{ path = \"{}\" }}\naudit \"file\" \"f\" {{\n  options {{ file_path = \"{}\" }}\n}}\nseal \"static\" {{\n  current_key_id = \"1\"\n  current_key = \"{}\"\n}}\n",
            self.path("data").display(),
            self.path("audit.log").display(),
            "ab".repeat(32),
        );
        let path = self.path(&format!("{}.hcl", address.port()));
        fs::File::create(&path).unwrap().write_all(config.as_bytes()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulla"));
        command.arg("server").arg("-config").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log());
        command
    }

    fn log(&self) -> fs::File {
        fs::File::options().append(true).create(true).open(self.path("log")).unwrap()
    }

    /// Starts one, and does not wait for it.
    pub(crate) fn spawn(&self) -> Running {
        let address = unused_address();
        Running { child: self.command(address).spawn().unwrap(), address }
    }

    /// Starts one, and waits until its health has this status.
    pub(crate) fn start(&self, health: u16) -> Running {
        self.start_as(health, |command| command)
    }

    /// The same with another command. Where somebody else took its port meanwhile, it is tried again.
    pub(crate) fn start_as(&self, health: u16, change: impl Fn(Command) -> Command) -> Running {
        for _ in 0..5 {
            let address = unused_address();
            let mut command = change(self.command(address));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log());
            let mut running = Running { child: command.spawn().unwrap(), address };
            if running.is_ready(health) {
                return running;
            }
            let log = self.read("log");
            assert!(log.contains("cannot listen"), "the server ended: {log}");
        }
        panic!("no port is free");
    }

    /// Starts a first one, and initializes it; it, and the root token.
    pub(crate) fn initialize(&self) -> (Running, String) {
        let running = self.start(501);
        let shares = json!({ "recovery_shares": 0, "recovery_threshold": 0 });
        let (status, made) = running.ask("", "PUT", "sys/init", &shares);
        assert_eq!(status, 200, "{made}");
        (running, made["root_token"].as_str().unwrap().to_owned())
    }
}

impl Running {
    /// What was started, and listens there.
    pub(crate) const fn of(child: Child, address: SocketAddr) -> Self {
        Self { child, address }
    }

    /// Whether its health came to have this status; false if it ended before.
    pub(crate) fn is_ready(&mut self, health: u16) -> bool {
        let patience = Patience::default();
        while self.ask("", "GET", "sys/health", &Value::Null).0 != health {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(patience.is_left(), "it is not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// A request; the status (0: no answer) and the answer.
    pub(crate) fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        ask(self.address, token, method, path, body)
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many files it has open, connections too.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let patience = Patience::default();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(patience.is_left(), "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request to a server of Vault's API.
pub(crate) fn ask(address: SocketAddr, token: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = http(address, method, &format!("/v1/{path}"), &[("X-Vault-Token", token)], &body);
    (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
}

/// A program in `tests/interop`.
pub(crate) fn interop(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop").join(path)
}
