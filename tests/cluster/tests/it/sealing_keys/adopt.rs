//! An installation of sealed-secrets is taken over: its keys are wrapped, and the plain ones go once that is proven.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_cluster_tests::{Namespace, definitions, kubeconfig};
use bulla_test_support::{Server, http, program, unused_address};
use serde_json::Value;

use super::backup::{kubeseal, opens};
use super::{Keys, list, local_key, sealing_keys};

const LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";

fn plain(namespace: &Namespace) -> Vec<String> {
    let names = namespace.kubectl(&["get", "secret", "-l", LABEL, "-o", "name"]).ok();
    names.lines().map(str::to_owned).collect()
}

#[test]
fn plain_keys_are_wrapped_and_deleted_only_once_every_recipient_opens_them() {
    let namespace = Namespace::new("keys-adopt");
    let folder = tempfile::tempdir().unwrap();
    let (_, first) = local_key(folder.path(), "first");
    let (path, second) = local_key(folder.path(), "second");
    let keys = Keys::ready(&namespace, &["--key-service", "plain-secret"]);
    let certificate = keys.certificate();
    drop(keys);
    let flags = ["--key-service", &first, "--key-service", &second];

    // A recipient that wraps, and is gone when it is asked to open: nothing is deleted.
    sealing_keys(&namespace, &[&["adopt"][..], &flags].concat()).ok();
    let hidden = folder.path().join("hidden");
    fs::rename(&path, &hidden).unwrap();
    let unproven = sealing_keys(&namespace, &[&["adopt", "--delete-plain"][..], &flags].concat());
    assert!(!unproven.success && unproven.stdout.contains("not every recipient opens it"), "{}", unproven.stdout);
    assert_eq!(plain(&namespace).len(), 1);

    fs::rename(&hidden, &path).unwrap();
    let done = sealing_keys(&namespace, &[&["adopt", "--delete-plain"][..], &flags].concat());
    assert!(done.stderr.contains("backups of etcd"), "{}", done.stderr);
    done.ok();
    assert!(plain(&namespace).is_empty());
    // A key that was plain opens, and another is sealed to.
    let keys = Keys::ready(&namespace, &flags);
    namespace.eventually("a key that never was plain", || keys.get("/v1/cert.pem").0 == 200);
    assert_ne!(keys.certificate(), certificate);
    let states: Vec<_> = list(&namespace).iter().map(|key| (key["kind"].clone(), key["state"].clone())).collect();
    assert_eq!(states, [("SealingKey".into(), "Active".into()), ("SealingKey".into(), "Retired".into())]);
}

#[test]
fn the_controller_takes_plain_keys_over_by_itself_and_keeps_blacklisted_ones_so() {
    let namespace = Namespace::new("keys-self");
    let folder = tempfile::tempdir().unwrap();
    let (_, key) = local_key(folder.path(), "key");
    drop(Keys::ready(&namespace, &["--key-service", "plain-secret"]));
    let old = plain(&namespace).remove(0);
    namespace.kubectl(&["label", &old, "--overwrite", &format!("{LABEL}=compromised")]).ok();
    let keys = Keys::ready(&namespace, &["--key-service", &key, "--adopt-keys=delete-plain"]);
    namespace.eventually("the plain key is gone", || plain(&namespace).is_empty());
    namespace.eventually("one of each", || {
        keys.metric("bulla_sealing_keys{state=\"compromised\"}") == Some(1)
            && keys.metric("bulla_sealing_keys{state=\"active\"}") == Some(1)
    });
}

/// The real controller, on this machine as if it were a pod of the namespace: it takes no other configuration.
fn real_controller(namespace: &Namespace) -> Server {
    definitions();
    let binding = ["create", "rolebinding", "all", "--clusterrole", "cluster-admin"];
    let account = format!("{}:default", namespace.name);
    namespace.kubectl(&[&binding[..], &["--serviceaccount", &account]].concat()).ok();
    let token = namespace.kubectl(&["create", "token", "default"]).ok();
    let config: Value = serde_json::from_str(&fs::read_to_string(kubeconfig()).unwrap()).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let authority = STANDARD.decode(cluster["certificate-authority-data"].as_str().unwrap()).unwrap();
    let address = cluster["server"].as_str().unwrap().trim_start_matches("https://").to_owned();
    let (host, port) = address.rsplit_once(':').unwrap();
    let command = |listen: SocketAddr, folder: &Path| {
        for (name, contents) in
            [("token", token.as_bytes()), ("ca.crt", &authority), ("namespace", namespace.name.as_bytes())]
        {
            fs::write(folder.join(name), contents).unwrap();
        }
        // Its service account's files, in a mount namespace of its own.
        let place = "/var/run/secrets/kubernetes.io/serviceaccount";
        let script = format!(
            "mount -t tmpfs tmpfs $(readlink -f /var/run) && mkdir -p {place} && cp token ca.crt namespace {place} && \
             exec \"$0\" --all-namespaces=false --key-size 2048 --listen-addr {listen} --listen-metrics-addr {}",
            unused_address()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).arg(program("bin/sealed-secrets-controller"));
        command.env("KUBERNETES_SERVICE_HOST", host).env("KUBERNETES_SERVICE_PORT", port);
        command.env("POD_NAMESPACE", &namespace.name);
        command
    };
    Server::start(command, |address| http(address, "GET", "/v1/cert.pem", &[], "").0 == 200)
}

#[test]
fn the_keys_of_the_real_controller_are_taken_over_and_open_what_was_sealed_to_them() {
    let namespace = Namespace::new("keys-real");
    let folder = tempfile::tempdir().unwrap();
    let controller = real_controller(&namespace);
    let certificate = http(controller.address, "GET", "/v1/cert.pem", &[], "").1;
    drop(controller);
    let file = folder.path().join("cert.pem");
    fs::write(&file, &certificate).unwrap();
    let sealed = kubeseal(folder.path(), super::backup::SECRET, &["--cert", file.to_str().unwrap()]);

    let (_, key) = local_key(folder.path(), "key");
    sealing_keys(&namespace, &["adopt", "--delete-plain", "--key-service", &key]).ok();
    assert!(plain(&namespace).is_empty());
    let keys = Keys::ready(&namespace, &["--key-service", &key]);
    namespace.eventually("a key that never was plain", || keys.get("/v1/cert.pem").0 == 200);
    assert_ne!(keys.certificate().trim(), certificate.trim());
    assert!(opens(folder.path(), &namespace, &sealed));
}
