//! What tests on a cluster share: a namespace for each test, kubectl, helm, and commands on a node.
//!
//! The cluster is that of `cargo xtask test` (or, of the same making, the one that `BULLA_TEST_CLUSTER` names), or the one that
//! `BULLA_TEST_KUBECONFIG` points to (then `kubectl` is taken from the PATH). Without any, a test fails and says how to start one.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "test code: a failure is a panic"
)]

mod api_server;
mod release;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use api_server::ApiServer;
pub use release::{
    CHART, Release, bulla_image, bulla_image_for, busybox_for_bulla, definitions, definitions_for, helm,
};

/// The image that tests' pods run: Debian's busybox.
pub const BUSYBOX: &str = "bulla.test/busybox:1";

/// Where clusters of our own are, by their names.
const OWN_CLUSTERS: &str = "/var/tmp/bulla-cluster";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// What a command came to.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it succeeded.
    pub success: bool,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Outcome {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Its output; a failure fails the test.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.success, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// What it complained of; success fails the test.
    #[track_caller]
    pub fn refused(self) -> String {
        assert!(!self.success, "not refused: {}", self.stdout);
        self.stderr
    }
}

/// Where clients find the configuration for the cluster.
pub fn kubeconfig() -> PathBuf {
    if let Some(path) = std::env::var_os("BULLA_TEST_KUBECONFIG") {
        return path.into();
    }
    let folder = own_folder();
    assert!(
        folder.join("ready").exists(),
        "no cluster runs. Start one: cargo xtask cluster up --name {} (or set BULLA_TEST_KUBECONFIG)",
        own_name()
    );
    folder.join("pki/admin.kubeconfig")
}

/// The program under test: that beside the tests, built with them.
pub fn bulla() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("bulla");
    assert!(program.exists(), "{} is not there. Build it: cargo build --package bulla", program.display());
    program
}

/// The name of the cluster of our own that tests run on: `BULLA_TEST_CLUSTER`, else that of `cargo xtask test`.
pub fn own_name() -> String {
    std::env::var("BULLA_TEST_CLUSTER").unwrap_or_else(|_| "test".to_owned())
}

fn own_folder() -> PathBuf {
    folder_of(&own_name())
}

/// The folder of a cluster of our own.
fn folder_of(cluster: &str) -> PathBuf {
    Path::new(OWN_CLUSTERS).join(cluster)
}

/// Where clients find the configuration for another cluster of our own, which the test started.
pub fn kubeconfig_of(cluster: &str) -> PathBuf {
    folder_of(cluster).join("pki/admin.kubeconfig")
}

/// kubectl, as the administrator.
pub fn kubectl() -> Command {
    kubectl_as(&kubeconfig())
}

/// kubectl with another configuration.
pub fn kubectl_as(kubeconfig: &Path) -> Command {
    let own = own_folder().join("bin/kubectl");
    let mut command = Command::new(if own.exists() { own.as_os_str() } else { OsStr::new("kubectl") });
    command.env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    command
}

/// A file of the cluster of `cargo xtask test`, for tests that look at the machine below it.
pub fn own_cluster(path: &str) -> PathBuf {
    let path = own_folder().join(path);
    assert!(
        path.exists(),
        "{} is not there: this test looks at the machine under the cluster of: cargo xtask test",
        path.display()
    );
    path
}

/// Runs `cargo xtask cluster` with these arguments.
pub fn xtask<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Outcome {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["run", "--quiet", "--package", "xtask", "--", "cluster"]).args(arguments);
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).stdin(Stdio::null());
    Outcome::of(command.output().unwrap())
}

/// Runs a command on the first node of the cluster of `cargo xtask test`, in its mounts and network.
pub fn on_node(command: &[&str]) -> Outcome {
    let name = own_name();
    let mut arguments = vec!["enter", "--name", &name, "--"];
    arguments.extend(command);
    xtask(arguments)
}

/// A namespace, gone with the test.
pub struct Namespace {
    /// Its name.
    pub name: String,
    kubeconfig: PathBuf,
}

impl Namespace {
    /// Makes one that enforces the `restricted` standard on its pods.
    pub fn restricted(word: &str) -> Self {
        let namespace = Self::new(word);
        let enforce = "pod-security.kubernetes.io/enforce=restricted";
        namespace.kubectl(&["label", "namespace", &namespace.name, enforce]).ok();
        namespace
    }

    /// Makes one. The word is for whoever looks at the cluster meanwhile.
    pub fn new(word: &str) -> Self {
        Self::new_in(kubeconfig(), word)
    }

    /// Makes one in another cluster than the tests'.
    pub fn new_in(kubeconfig: PathBuf, word: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{word}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace = Self { name, kubeconfig };
        let mut create = kubectl_as(&namespace.kubeconfig);
        Outcome::of(create.args(["create", "namespace", &namespace.name]).output().unwrap()).ok();
        // Pods need it, and it comes a moment after the namespace.
        namespace
            .eventually("the service account", || namespace.kubectl(&["get", "serviceaccount", "default"]).success);
        namespace
    }

    /// kubectl in the namespace, as the administrator.
    pub fn command(&self) -> Command {
        let mut command = kubectl_as(&self.kubeconfig);
        command.args(["--namespace", &self.name]);
        command
    }

    /// Runs kubectl in the namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command().args(arguments).output().unwrap())
    }

    /// Runs kubectl with another configuration in the namespace.
    pub fn kubectl_as(&self, kubeconfig: &Path, arguments: &[&str]) -> Outcome {
        Outcome::of(kubectl_as(kubeconfig).args(["--namespace", &self.name]).args(arguments).output().unwrap())
    }

    /// Gives an object to the API server.
    pub fn apply(&self, object: &Value) -> Outcome {
        let mut child = self
            .command()
            .args(["apply", "--filename", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
        Outcome::of(child.wait_with_output().unwrap())
    }

    /// A field of an object, by `JSONPath`; empty if there is none.
    pub fn field(&self, object: &str, path: &str) -> String {
        self.kubectl(&["get", object, "--ignore-not-found", "--output", &format!("jsonpath={{{path}}}")]).ok()
    }

    /// Waits until a pod has come to a phase (Running: until its containers are ready).
    #[track_caller]
    pub fn wait_for_pod(&self, pod: &str, phase: &str) {
        let object = format!("pod/{pod}");
        self.eventually(&format!("{pod} {phase}"), || {
            let ready =
                phase != "Running" || self.field(&object, ".status.containerStatuses[*].ready").contains("true");
            ready && self.field(&object, ".status.phase") == phase
        });
    }

    /// Waits until something is true; if it never is, the test fails and shows the namespace.
    #[track_caller]
    pub fn eventually(&self, what: &str, mut is_true: impl FnMut() -> bool) {
        let since = Instant::now();
        while !is_true() {
            if since.elapsed() > PATIENCE {
                let events = self.kubectl(&["get", "events,pods", "--output", "wide"]);
                panic!("{what} did not come true\n{}{}", events.stdout, events.stderr);
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = kubectl_as(&self.kubeconfig).args(["delete", "namespace", &self.name, "--wait=false"]).output();
    }
}
