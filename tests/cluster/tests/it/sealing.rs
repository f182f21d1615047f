//! The sealing controller on a real API server, fed by the real kubeseal.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_cluster_tests::{Namespace, bulla, definitions, kubeconfig};
use bulla_test_support::{http, program, unused_address};
use serde_json::{Value, json};
use tempfile::TempDir;

mod access;
mod delivery;
mod kills;
mod many;
mod outage;
mod sealer;
mod services;
mod takeover;
mod throttling;
mod tokens;

/// A replica of the controller, which looks at one namespace and has its keys there. Killed when dropped.
struct Operator {
    process: Child,
    api: SocketAddr,
    metrics: SocketAddr,
    log: PathBuf,
}

/// The key file and logs of the replicas of a test.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let key = folder.path().join("key");
        fs::File::create(&key).and_then(|mut file| std::io::Write::write_all(&mut file, &[7; 32])).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        Self(folder)
    }

    /// The key file, as a key service.
    fn service(&self) -> String {
        format!("local:{}", self.0.path().join("key").display())
    }
}

impl Operator {
    /// One for a namespace, with a key file.
    fn start(namespace: &Namespace, keys: &Keys, replica: &str, more: &[&str]) -> Self {
        definitions();
        let service = keys.service();
        let arguments = ["--namespace", &namespace.name, "--namespaces", &namespace.name, "--key-service", &service];
        Self::run(keys, replica, &kubeconfig(), &[&arguments[..], more].concat(), &[])
    }

    /// One that is told everything: the way to the API server, where to look, its key services, and variables for these.
    fn run(keys: &Keys, replica: &str, kubeconfig: &Path, arguments: &[&str], variables: &[(String, String)]) -> Self {
        let (api, metrics) = (unused_address(), unused_address());
        let log = keys.0.path().join(format!("{replica}-{}.log", api.port()));
        let process = Command::new(bulla())
            .args(["operator", "sealing", "--replica", replica, "--key-size", "2048"])
            .args(["--listen-addr", &api.to_string(), "--listen-metrics-addr", &metrics.to_string()])
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(arguments)
            .envs(variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { process, api, metrics, log }
    }

    /// Waits until it is ready.
    fn ready(mut self) -> Self {
        let since = Instant::now();
        loop {
            let (status, reason) = http(self.api, "GET", "/readyz", &[], "");
            if status == 200 {
                return self;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && since.elapsed() < Duration::from_mins(2), "{reason}{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// A metric's value, by the start of its line.
    fn metric(&self, line: &str) -> Option<f64> {
        let (_, text) = http(self.metrics, "GET", "/metrics", &[], "");
        text.lines().find_map(|each| each.strip_prefix(line)?.trim().parse().ok())
    }

    /// SIGTERM; it must end by itself.
    fn end(mut self) -> String {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let since = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            assert!(since.elapsed() < Duration::from_secs(30), "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.log()
    }

    /// A Secret sealed by the real kubeseal.
    fn seal(&self, namespace: &Namespace, secret: &Value, flags: &[&str]) -> Value {
        let (status, certificate) = http(self.api, "GET", "/v1/cert.pem", &[], "");
        assert_eq!(status, 200, "{certificate}");
        kubeseal(&certificate, namespace, secret, flags)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs the real kubeseal.
fn kubeseal(certificate: &str, namespace: &Namespace, secret: &Value, flags: &[&str]) -> Value {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("cert.pem");
    fs::File::create(&file).and_then(|mut file| std::io::Write::write_all(&mut file, certificate.as_bytes())).unwrap();
    let mut child = Command::new(program("bin/kubeseal"))
        .args(["--namespace", &namespace.name, "--cert"])
        .arg(&file)
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), secret.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A Secret's manifest.
fn plain(name: &str, values: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values})
}

/// A value of a Secret in the cluster, as text; empty if it is not there.
fn value(namespace: &Namespace, name: &str, key: &str) -> String {
    let text = namespace.field(&format!("secret/{name}"), &format!(".data.{key}"));
    String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
}

fn synced(namespace: &Namespace, name: &str) -> String {
    namespace.field(&format!("sealedsecret/{name}"), ".status.conditions[0].status")
}

fn message(namespace: &Namespace, name: &str) -> String {
    namespace.field(&format!("sealedsecret/{name}"), ".status.conditions[0].message")
}

#[test]
fn a_sealed_secret_becomes_a_secret_that_follows_it_and_goes_with_it() {
    let (namespace, keys) = (Namespace::new("sealing"), Keys::new());
    let operator = Operator::start(&namespace, &keys, "a", &[]).ready();
    let mut sealed = operator.seal(&namespace, &plain("db", &json!({"user": "admin", "password": "one"})), &[]);
    sealed["spec"]["template"]["data"] = json!({"url": "postgres://{{ .user }}:{{ .password }}@db"});
    namespace.apply(&sealed).ok();
    namespace.eventually("the Secret", || value(&namespace, "db", "password") == "one");
    assert_eq!(value(&namespace, "db", "url"), "postgres://admin:one@db");
    namespace.eventually("the status", || synced(&namespace, "db") == "True");
    assert_eq!(namespace.field("secret/db", ".metadata.ownerReferences[0].kind"), "SealedSecret");
    assert_eq!(namespace.field("secret/db", r".metadata.labels.bulla\.dev/plain"), "sealed-secret");

    // Changed: a new value, and a key that is gone. What somebody else annotated stays.
    namespace.kubectl(&["annotate", "secret", "db", "example.com/other=kept"]).ok();
    let sealed = operator.seal(&namespace, &plain("db", &json!({"password": "two"})), &[]);
    namespace.kubectl(&["delete", "sealedsecret", "none", "--ignore-not-found"]).ok();
    namespace.apply(&sealed).ok();
    namespace.eventually("the new value", || value(&namespace, "db", "password") == "two");
    namespace.eventually("the key's end", || value(&namespace, "db", "user").is_empty());
    assert_eq!(namespace.field("secret/db", r".metadata.annotations.example\.com/other"), "kept");

    // Changed or deleted by hand: put right.
    let edit = json!({"stringData": {"password": "three", "extra": "x"}}).to_string();
    namespace.kubectl(&["patch", "secret", "db", "--patch", &edit]).ok();
    namespace.eventually("the value of before", || {
        value(&namespace, "db", "password") == "two" && value(&namespace, "db", "extra").is_empty()
    });
    namespace.kubectl(&["delete", "secret", "db"]).ok();
    namespace.eventually("the Secret again", || value(&namespace, "db", "password") == "two");

    // Gone: it goes, too.
    namespace.kubectl(&["delete", "sealedsecret", "db"]).ok();
    namespace.eventually("the end", || namespace.field("secret/db", ".metadata.name").is_empty());
    let log = operator.end();
    assert!(!log.contains("admin") && !log.contains("\"two\""), "{log}");
}

#[test]
fn a_secret_of_somebody_else_is_left_alone_until_it_is_annotated() {
    let (namespace, keys) = (Namespace::new("foreign"), Keys::new());
    let operator = Operator::start(&namespace, &keys, "a", &[]).ready();
    for name in ["managed", "patched"] {
        namespace.apply(&plain(name, &json!({"mine": "kept", "password": "theirs"}))).ok();
        namespace.apply(&operator.seal(&namespace, &plain(name, &json!({"password": "ours"})), &[])).ok();
        namespace.eventually("the refusal", || synced(&namespace, name) == "False");
        assert!(message(&namespace, name).contains("already exists and is not managed by SealedSecret"));
        assert_eq!(value(&namespace, name, "password"), "theirs");
    }
    let events = namespace.kubectl(&["get", "events", "--output", "jsonpath={.items[*].reason}"]).ok();
    assert!(events.contains("ErrUpdateFailed"), "{events}");
    assert!(
        operator
            .metric(&format!(
                "sealed_secrets_controller_unseal_errors_total{{reason=\"unmanaged\",namespace=\"{}\"}}",
                namespace.name
            ))
            .is_some_and(|count| count >= 2.0)
    );

    // Nobody tells the controller: the Secrets are not its own. It tries again by itself.
    namespace.kubectl(&["annotate", "secret", "managed", "sealedsecrets.bitnami.com/managed=true"]).ok();
    namespace.kubectl(&["annotate", "secret", "patched", "sealedsecrets.bitnami.com/patch=true"]).ok();
    namespace.eventually("the takeover", || value(&namespace, "managed", "password") == "ours");
    namespace.eventually("the patch", || value(&namespace, "patched", "password") == "ours");
    assert_eq!(value(&namespace, "managed", "mine"), "");
    assert_eq!(value(&namespace, "patched", "mine"), "kept");
    assert_eq!(namespace.field("secret/patched", ".metadata.ownerReferences"), "");
    namespace.eventually("both synced", || {
        synced(&namespace, "managed") == "True" && synced(&namespace, "patched") == "True"
    });
}

#[test]
fn an_immutable_secret_is_an_error_that_says_what_to_do() {
    let (namespace, keys) = (Namespace::new("immutable"), Keys::new());
    let operator = Operator::start(&namespace, &keys, "a", &[]).ready();
    let seal = |value: &str| {
        let mut secret = plain("fixed", &json!({"password": value}));
        secret["immutable"] = json!(true);
        operator.seal(&namespace, &secret, &[])
    };
    namespace.apply(&seal("one")).ok();
    namespace.eventually("the Secret", || value(&namespace, "fixed", "password") == "one");
    namespace.apply(&seal("two")).ok();
    namespace.eventually("the refusal", || message(&namespace, "fixed").contains("immutable"));
    assert!(message(&namespace, "fixed").contains("Delete the Secret"), "{}", message(&namespace, "fixed"));
    assert_eq!(value(&namespace, "fixed", "password"), "one");
    namespace.kubectl(&["annotate", "sealedsecret", "fixed", "bulla.dev/recreate-immutable=true"]).ok();
    namespace.eventually("the new Secret", || value(&namespace, "fixed", "password") == "two");
}

#[test]
fn a_value_that_was_moved_says_for_where_it_was_sealed() {
    let (namespace, keys) = (Namespace::new("moved"), Keys::new());
    let operator = Operator::start(&namespace, &keys, "a", &[]).ready();
    let mut sealed = operator.seal(&namespace, &plain("before", &json!({"password": "one"})), &[]);
    sealed["metadata"]["name"] = json!("after");
    namespace.apply(&sealed).ok();
    namespace.eventually("the refusal", || synced(&namespace, "after") == "False");
    let text = message(&namespace, "after");
    assert!(text.contains("\"before\"") && text.contains("strict"), "{text}");
    let mut broken = operator.seal(&namespace, &plain("broken", &json!({"password": "one"})), &[]);
    broken["spec"]["encryptedData"]["password"] = json!("AgBnot base64");
    namespace.apply(&broken).ok();
    namespace.eventually("the refusal", || message(&namespace, "broken").contains("base64"));
    assert!(namespace.field("secret/broken", ".metadata.name").is_empty());
}

#[test]
fn a_restart_opens_nothing_and_asks_nothing_of_what_has_not_changed() {
    let (namespace, keys) = (Namespace::new("restart"), Keys::new());
    let first = Operator::start(&namespace, &keys, "a", &[]).ready();
    let count = 40;
    let items: Vec<Value> = (0..count)
        .map(|n| first.seal(&namespace, &plain(&format!("s{n}"), &json!({"a": "1", "b": "2"})), &[]))
        .collect();
    namespace.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items})).ok();
    let all_synced = || {
        let path = "jsonpath={.items[*].status.conditions[0].status}";
        let states = namespace.kubectl(&["get", "sealedsecrets", "--output", path]).ok();
        states.split(' ').filter(|state| *state == "True").count() == count
    };
    namespace.eventually("all synced", all_synced);
    assert_eq!(first.metric("bulla_sealing_values_opened_total"), Some(80.0));
    first.end();
    let second = Operator::start(&namespace, &keys, "b", &[]).ready();
    namespace.apply(&second.seal(&namespace, &plain("new", &json!({"a": "1"})), &[])).ok();
    namespace.eventually("the new one", || value(&namespace, "new", "a") == "1");
    namespace.eventually("its status", || synced(&namespace, "new") == "True");
    assert_eq!(second.metric("sealed_secrets_controller_unseal_requests_total"), Some(1.0));
    assert_eq!(second.metric("bulla_sealing_values_opened_total"), Some(1.0));
}

#[test]
fn a_replica_that_is_killed_is_replaced_and_nothing_is_lost() {
    let (namespace, keys) = (Namespace::new("replicas"), Keys::new());
    let start = |replica| Operator::start(&namespace, &keys, replica, &["--lease-duration=4s"]).ready();
    let (a, mut b) = (start("a"), start("b"));
    let seal = |from: usize, to: usize| {
        let items: Vec<Value> =
            (from..to).map(|n| a.seal(&namespace, &plain(&format!("s{n}"), &json!({"a": "1"})), &[])).collect();
        namespace.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items})).ok();
    };
    let there = |count: usize| {
        let names =
            namespace.kubectl(&["get", "secrets", "-l", "bulla.dev/plain=sealed-secret", "--output", "name"]).ok();
        names.lines().count() == count
    };
    seal(0, 30);
    namespace.eventually("all of them", || there(30));
    let done = |operator: &Operator| operator.metric("sealed_secrets_controller_unseal_requests_total").unwrap_or(0.0);
    assert!(done(&a) >= 5.0 && done(&b) >= 5.0, "{} and {}", done(&a), done(&b));
    b.process.kill().unwrap();
    seal(30, 60);
    namespace.eventually("the rest", || there(60));
}

#[test]
fn what_would_be_more_than_a_secret_is_not_made_of_a_sealed_secret() {
    let (namespace, keys) = (Namespace::new("more"), Keys::new());
    let operator = Operator::start(&namespace, &keys, "a", &[]).ready();
    let sealed = |name: &str, template: Value| {
        json!({
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {"name": name},
            "spec": {"encryptedData": {}, "template": template},
        })
    };
    let label = json!({"sealedsecrets.bitnami.com/sealed-secrets-key": "active"});
    let account = json!({"kubernetes.io/service-account.name": "default"});
    let token = "kubernetes.io/service-account-token";
    for object in [
        sealed("token", json!({"type": token, "metadata": {"annotations": account}})),
        sealed("key", json!({"metadata": {"labels": label}, "data": {"tls.key": "x"}})),
        sealed("sealed-secrets-key", json!({"data": {"tls.key": "x"}})),
    ] {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        namespace.apply(&object).ok();
        namespace.eventually("the reason", || message(&namespace, &name).contains("none is made of a SealedSecret"));
        assert!(!namespace.kubectl(&["get", "secret", &name]).success);
    }
    namespace.apply(&sealed("tls", json!({"type": "Opaque", "data": {"a": "b"}}))).ok();
    namespace.eventually("any other", || value(&namespace, "tls", "a") == "b");
    drop(operator);
    let operator = Operator::start(&namespace, &keys, "a", &["--allow-service-account-tokens"]).ready();
    namespace.eventually("the token", || namespace.field("secret/token", ".type") == token);
    drop(operator);
}

#[test]
fn a_secret_that_somebody_always_changes_is_told_of() {
    let (namespace, keys) = (Namespace::new("fight"), Keys::new());
    let operator = Operator::start(&namespace, &keys, "a", &[]).ready();
    namespace.apply(&operator.seal(&namespace, &plain("db", &json!({"password": "one"})), &[])).ok();
    namespace.eventually("the Secret", || value(&namespace, "db", "password") == "one");
    for _ in 0..5 {
        let patch = json!({"stringData": {"password": "two"}}).to_string();
        namespace.kubectl(&["patch", "secret/db", "--type", "merge", "--patch", &patch]).ok();
        namespace.eventually("the Secret put right", || value(&namespace, "db", "password") == "one");
    }
    namespace.eventually("the event", || {
        namespace.kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]).ok().contains("SecretContested")
    });
}

#[test]
fn one_object_with_templates_without_end_does_not_end_the_controller() {
    let (namespace, keys) = (Namespace::new("greedy"), Keys::new());
    let operator = Operator::start(&namespace, &keys, "a", &[]).ready();
    let large = "{{ range until 3500 }}{{ repeat 1000 \"x\" }}{{ end }}";
    let templates: serde_json::Map<String, Value> = (0..2000).map(|n| (format!("k{n}"), json!(large))).collect();
    let object = json!({
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": {"name": "greedy"},
        "spec": {"encryptedData": {}, "template": {"data": templates}},
    });
    namespace.apply(&object).ok();
    namespace.eventually("the reason", || message(&namespace, "greedy").contains("the output is too large"));
    let status = fs::read_to_string(format!("/proc/{}/status", operator.process.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().trim_end_matches(" kB");
    assert!(peak.parse::<u64>().unwrap() < 300_000, "{peak} kB");
}
