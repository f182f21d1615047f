//! The keys of a cluster, with a real API server: where they can be read, and what becomes of them when things go wrong.
#![allow(clippy::disallowed_methods, reason = "tests make their files by the shortest way")]

mod adopt;
mod backup;
mod leaks;
pub(crate) mod pods;
mod renewal;
mod services;
mod shares;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bulla_cluster_tests::{Namespace, definitions, kubeconfig};
use bulla_test_support::{Server, http};
use serde_json::Value;

/// The keys' process for a namespace, on this machine.
struct Keys {
    server: Server,
}

/// What a process printed.
pub(crate) struct Ran {
    success: bool,
    stdout: String,
    stderr: String,
}

impl Keys {
    /// Starts it with these flags and waits until it answers at all.
    fn start(namespace: &Namespace, flags: &[&str]) -> Self {
        definitions();
        let command = |address: SocketAddr, _: &Path| {
            let mut command = bulla();
            command.args(["sealing-keys", "serve", "--key-size", "2048", "--listen", &address.to_string()]);
            command.args(["--controller-namespace", &namespace.name]).args(flags);
            command.env("BULLA_LOG", "info");
            command
        };
        Self { server: Server::start(command, |address| http(address, "GET", "/healthz", &[], "").0 == 200) }
    }

    /// The same, and waits until it is ready.
    #[track_caller]
    fn ready(namespace: &Namespace, flags: &[&str]) -> Self {
        let keys = Self::start(namespace, flags);
        namespace.eventually("the keys are ready", || keys.get("/readyz").0 == 200);
        keys
    }

    fn get(&self, path: &str) -> (u16, String) {
        http(self.server.address, "GET", path, &[], "")
    }

    fn certificate(&self) -> String {
        let (status, text) = self.get("/v1/cert.pem");
        assert_eq!(status, 200, "{text}");
        text
    }

    fn log(&self) -> String {
        fs::read_to_string(self.server.folder.path().join("log")).unwrap()
    }

    /// The value of a gauge.
    fn metric(&self, line: &str) -> Option<i64> {
        self.get("/metrics").1.lines().find_map(|text| text.strip_prefix(line)?.trim().parse().ok())
    }
}

/// The program under test.
fn bulla() -> Command {
    let mut command = Command::new(bulla_cluster_tests::bulla());
    command.env_clear().env("KUBECONFIG", kubeconfig()).env("PATH", std::env::var_os("PATH").unwrap());
    command.stdin(Stdio::null());
    command
}

/// Runs `bulla sealing-keys` with these arguments for a namespace.
fn sealing_keys(namespace: &Namespace, arguments: &[&str]) -> Ran {
    let mut command = bulla();
    command.arg("sealing-keys").args(arguments).args(["--controller-namespace", &namespace.name]);
    ran(command)
}

fn ran(mut command: Command) -> Ran {
    Ran::of(command.output().unwrap())
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.success, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    #[track_caller]
    fn refused(self) -> String {
        assert!(!self.success, "not refused: {}", self.stdout);
        self.stderr
    }
}

/// What `list --output json` says.
fn list(namespace: &Namespace) -> Vec<Value> {
    let text = sealing_keys(namespace, &["list", "--output", "json"]).ok();
    serde_json::from_str(&text).unwrap()
}

/// A new key file, and how it is named.
fn local_key(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(name);
    bulla_kms::create_local_key(&path).unwrap();
    let named = format!("local:{}", path.display());
    (path, named)
}
