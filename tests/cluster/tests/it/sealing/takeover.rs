//! The real controller made Secrets and keys; ours takes over.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bulla_cluster_tests::{Namespace, definitions, kubeconfig};
use bulla_test_support::{http, program, unused_address};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Keys, Operator, kubeseal, plain, synced, value};

/// sealed-secrets' own controller. It only runs in a pod: what a pod has is put before it, in mounts of its own.
struct Peer(Child);

impl Peer {
    fn start(namespace: &Namespace, folder: &Path, address: &str) -> Self {
        namespace.kubectl(&["create", "serviceaccount", "peer"]).ok();
        let binding = format!("--serviceaccount={}:peer", namespace.name);
        namespace.kubectl(&["create", "rolebinding", "peer", "--clusterrole=cluster-admin", &binding]).ok();
        let token = namespace.kubectl(&["create", "token", "peer"]).ok();
        let config: Value = serde_json::from_slice(&fs::read(kubeconfig()).unwrap()).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        let authority = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            cluster["certificate-authority-data"].as_str().unwrap(),
        )
        .unwrap();
        for (name, contents) in
            [("token", token.trim().as_bytes()), ("ca.crt", &authority), ("namespace", namespace.name.as_bytes())]
        {
            fs::File::create(folder.join(name)).and_then(|mut file| file.write_all(contents)).unwrap();
        }
        let server = cluster["server"].as_str().unwrap().trim_start_matches("https://").to_owned();
        let (host, port) = server.rsplit_once(':').unwrap();
        let script = "mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount && \
                      cp \"$1\"/token \"$1\"/ca.crt \"$1\"/namespace /run/secrets/kubernetes.io/serviceaccount/ && shift && exec \"$@\"";
        let process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--", "sh", "-c", script, "sh"])
            .arg(folder)
            .arg(program("bin/sealed-secrets-controller"))
            .args(["--all-namespaces=false", "--key-size=2048", "--listen-addr", address])
            .args(["--listen-metrics-addr", &unused_address().to_string(), "--update-status=true"])
            .env("KUBERNETES_SERVICE_HOST", host)
            .env("KUBERNETES_SERVICE_PORT", port)
            .env("POD_NAMESPACE", &namespace.name)
            .stdin(Stdio::null())
            .stdout(fs::File::create(folder.join("log")).unwrap())
            .stderr(fs::File::create(folder.join("errors")).unwrap())
            .spawn()
            .unwrap();
        Self(process)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn secrets_and_keys_of_the_real_controller_are_taken_over() {
    definitions();
    let (namespace, keys, folder) = (Namespace::new("takeover"), Keys::new(), TempDir::new().unwrap());
    let address = unused_address();
    let peer = Peer::start(&namespace, folder.path(), &address.to_string());
    let mut certificate = String::new();
    namespace.eventually("the real controller's certificate", || {
        let (status, text) = http(address, "GET", "/v1/cert.pem", &[], "");
        certificate = text;
        status == 200
    });
    let sealed = kubeseal(&certificate, &namespace, &plain("db", &json!({"user": "admin", "password": "one"})), &[]);
    namespace.apply(&sealed).ok();
    namespace.eventually("the real controller's Secret", || value(&namespace, "db", "password") == "one");
    namespace.eventually("its status", || synced(&namespace, "db") == "True");
    let uid = namespace.field("secret/db", ".metadata.uid");
    drop(peer);

    let operator = Operator::start(&namespace, &keys, "a", &[]).ready();
    namespace.eventually("the label", || {
        namespace.field("secret/db", r".metadata.labels.bulla\.dev/plain") == "sealed-secret"
    });
    // The very same Secret: no pod noticed.
    assert_eq!(namespace.field("secret/db", ".metadata.uid"), uid);
    assert_eq!(value(&namespace, "db", "user"), "admin");
    // Its fields are ours now: what is no longer in the SealedSecret goes.
    namespace.eventually("the status", || !namespace.field("sealedsecret/db", ".status.written.uid").is_empty());
    let sealed = kubeseal(&certificate, &namespace, &plain("db", &json!({"password": "two"})), &[]);
    namespace.apply(&sealed).ok();
    namespace.eventually("the change", || value(&namespace, "db", "password") == "two");
    namespace.eventually("the key's end", || value(&namespace, "db", "user").is_empty());
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(synced(&namespace, "db"), "True");
    drop(operator);
}
