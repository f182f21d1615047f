//! API servers beside the cluster's own: to be killed, or filled, without harm to other tests.
//!
//! Each is the same kube-apiserver with the same flags but for its port and etcd, in the network of the cluster's first node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{kubeconfig, kubectl_as, own_cluster};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// How many lines of a server's log a test that fails prints.
const LINES: usize = 60;

/// Ports on the node that nobody else has: of a server beside the cluster's, of one with an etcd of its own, of that etcd.
const BESIDE: u16 = 16443;
const ALONE: u16 = 17443;
const ETCD: [u16; 2] = [12379, 12380];

/// A kube-apiserver, killed when dropped.
pub struct ApiServer {
    folder: TempDir,
    node: u32,
    command: Vec<String>,
    server: Option<Child>,
    etcd: Option<Child>,
}

impl ApiServer {
    /// One more for the cluster: what is written through the one is read through the other.
    pub fn beside() -> Self {
        // Else the two would take turns at saying which port the cluster's API has.
        Self::new(BESIDE, &["--endpoint-reconciler-type=none"], None)
    }

    /// One with an etcd of its own, and nothing in it. No controllers run: what is deleted takes nothing with it.
    pub fn alone() -> Self {
        let (node, command) = running("etcd");
        let folder = TempDir::new().unwrap();
        let [client, peer] = ETCD;
        let own = [
            &format!("--data-dir={}", folder.path().join("etcd").display())[..],
            &format!("--listen-client-urls=https://127.0.0.1:{client}"),
            &format!("--advertise-client-urls=https://127.0.0.1:{client}"),
            &format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
            "--unsafe-no-fsync",
        ];
        let etcd = start(node, &with(command, &own), &folder.path().join("etcd.log"));
        let servers = format!("--etcd-servers=https://127.0.0.1:{client}");
        let mut server = Self::new(ALONE, &[&servers, "--endpoint-reconciler-type=none"], Some(etcd));
        // Both logs and the data in one place, which lives as long as the server.
        server.folder = folder;
        server.write_kubeconfig(ALONE);
        server
    }

    fn new(port: u16, flags: &[&str], etcd: Option<Child>) -> Self {
        let (node, command) = running("kube-apiserver");
        let port_flag = format!("--secure-port={port}");
        let own = [&[port_flag.as_str()], flags].concat();
        let folder = TempDir::new().unwrap();
        let server = Self { folder, node, command: with(command, &own), server: None, etcd };
        server.write_kubeconfig(port);
        server
    }

    /// Starts it, unless it runs, and waits until it is ready.
    pub fn start(&mut self) {
        if self.server.is_none() {
            self.server = Some(start(self.node, &self.command, &self.folder.path().join("server.log")));
        }
        let since = Instant::now();
        let ready = || {
            let output = kubectl_as(&self.kubeconfig()).args(["get", "--raw", "/readyz"]).output().unwrap();
            output.status.success()
        };
        while !ready() {
            let log = || fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
            assert!(since.elapsed() < PATIENCE, "the API server is not ready: {}", log());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// SIGKILL. Its port refuses connections until it is started again.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Where clients find the configuration for it, as the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn write_kubeconfig(&self, port: u16) {
        let mut config: Value = serde_json::from_slice(&fs::read(kubeconfig()).unwrap()).unwrap();
        let server = &mut config["clusters"][0]["cluster"]["server"];
        let (host, _) = server.as_str().unwrap().rsplit_once(':').unwrap();
        *server = format!("{host}:{port}").into();
        serde_json::to_writer(fs::File::create(self.kubeconfig()).unwrap(), &config).unwrap();
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
            let ended = self.server.as_mut().map(|server| server.try_wait().map(|status| status.is_some()));
            let lines: Vec<&str> = log.lines().rev().take(LINES).collect();
            eprintln!("the API server (ended: {ended:?}) said at last:");
            lines.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        self.kill();
        if let Some(mut etcd) = self.etcd.take() {
            let _ = etcd.kill();
            let _ = etcd.wait();
        }
    }
}

/// A component of the cluster as it runs: its process, and its command line.
fn running(component: &str) -> (u32, Vec<String>) {
    let pki = own_cluster("pki").display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let found = pids.filter_map(|pid: u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<String> = line.trim_end_matches('\0').split('\0').map(str::to_owned).collect();
        // Another test's has the same keys, but ports of this module.
        let ports = [BESIDE, ALONE, ETCD[0]].map(|port| format!("{port}"));
        let is_tests = words.iter().any(|word| ports.iter().any(|port| word.ends_with(port)));
        (words.get(1)? == component && line.contains(&pki) && !is_tests).then_some((pid, words))
    });
    let mut found: Vec<_> = found.collect();
    assert!(found.len() == 1, "of {component} the cluster has {}", found.len());
    found.remove(0)
}

/// A command line with these flags in the place of what it had under their names.
fn with(mut command: Vec<String>, flags: &[&str]) -> Vec<String> {
    let name = |flag: &str| flag.split('=').next().unwrap_or_default().to_owned();
    command.retain(|word| !flags.iter().any(|flag| name(flag) == name(word)));
    command.extend(flags.iter().map(|&flag| flag.to_owned()));
    command
}

/// Starts a command in the network of a process. It ends with the thread that started it, whatever becomes of the test.
fn start(network: u32, command: &[String], log: &Path) -> Child {
    let log = fs::File::options().create(true).append(true).open(log).unwrap();
    Command::new("nsenter")
        .arg(format!("--net=/proc/{network}/ns/net"))
        .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
        .args(command)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}
