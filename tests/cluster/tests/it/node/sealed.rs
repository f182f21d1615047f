//! The provider `sealed`, through a real kubelet: from ciphertext in the API to a file in one pod, and nowhere else.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_cluster_tests::{Namespace, Release, bulla, bulla_image, definitions, kubectl, on_node, own_cluster};
use bulla_format::sealed::{Binding, PublicKey, Scope, seal_value};
use bulla_test_support::program;
use memchr::memmem;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Door, cat, complaints, mounts_of};
use crate::secret;

/// Well below the minute after which the kubelet asks, and the hour after which this service would look.
const SOON: Duration = Duration::from_secs(20);

/// Both doors in a namespace; private keys are wrapped by a key in a file of the node.
pub(super) fn both_doors<'a>(name: &'static str, namespace: &'a Namespace, more: &[&str]) -> Door<'a> {
    definitions();
    let folder = format!("/var/lib/{}", namespace.name);
    let key = format!("{folder}/sealing.key");
    let make = format!(
        "mkdir -m 0700 {folder} && head -c 32 /dev/urandom > {key} && chmod 0400 {key} && chown -R 65532:65532 {folder}"
    );
    on_node(&["sh", "-c", &make]).ok();
    let driver = format!("{}.bulla.test", namespace.name);
    let [repository, tag] = bulla_image();
    let settings = [
        repository,
        tag,
        "crds.install=false".to_owned(),
        "operator.replicas=2".to_owned(),
        "sealing.enabled=true".to_owned(),
        format!("sealing.namespaces={{{}}}", namespace.name),
        format!("sealing.keyService.localKeyFile.path={key}"),
        // This cluster's nodes have no such label.
        "sealing.keyService.localKeyFile.nodeSelector.node-role\\.kubernetes\\.io/control-plane=null".to_owned(),
        "sealing.algorithms={rsa-4096,x25519-mlkem768}".to_owned(),
        "node.enabled=true".to_owned(),
        "node.logLevel=debug".to_owned(),
        "node.rotation.interval=1h".to_owned(),
        format!("node.driverName={driver}"),
        "node.providerFolders={/run/bulla-none}".to_owned(),
    ];
    let release = Release::new(name, namespace);
    let mut settings: Vec<&str> = settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
    release.set(&settings).ok();
    // Pods of this cluster resolve no names.
    let address = namespace.field(&format!("service/{name}-bulla-sealing-nodes"), ".spec.clusterIP");
    let operator = format!("node.sealingOperator=https://{address}:8443");
    settings.push(&operator);
    release.set(&settings).ok();
    for workload in [format!("deployment/{name}-bulla-operator"), format!("daemonset/{name}-bulla-node")] {
        namespace.kubectl(&["rollout", "status", &workload, "--timeout=180s"]).ok();
    }
    Door { release, driver }
}

/// The newest key for values that only bulla opens.
fn public_key(namespace: &Namespace) -> PublicKey {
    let path = format!(
        "/api/v1/namespaces/{}/services/http:sealed-secrets-controller:http/proxy/v1/cert.pem?algorithm=x25519-mlkem768",
        namespace.name
    );
    PublicKey::from_pem(namespace.kubectl(&["get", "--raw", &path]).ok().as_bytes()).unwrap()
}

/// An object for volumes with one value, `password`, for pods of these service accounts.
fn sealed(key: &PublicKey, namespace: &Namespace, name: &str, accounts: &str, value: &str) -> Value {
    let annotations = BTreeMap::from([("bulla.dev/deliver", "volume"), ("bulla.dev/service-accounts", accounts)]);
    let mut binding = Binding::new(Scope::Strict, &namespace.name, name, "password");
    binding.delivery.clone_from(&annotations);
    let value = seal_value(key, &binding, value.as_bytes()).unwrap();
    json!({
        "apiVersion": "bitnami.com/v1alpha1",
        "kind": "SealedSecret",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"encryptedData": {"password": value}},
    })
}

fn class(name: &str, objects: &Value) -> Value {
    json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name},
        "spec": {"provider": "sealed", "parameters": {"objects": objects.to_string()}},
    })
}

fn pod(door: &Door<'_>, name: &str, class: &str, account: &str) -> Value {
    let mut pod = door.pod(name, class);
    pod["spec"]["serviceAccountName"] = account.into();
    pod
}

/// A text as it is, and as a Secret has it.
fn forms(text: &str) -> [String; 2] {
    [text.to_owned(), STANDARD.encode(text)]
}

fn is_below(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().flatten().any(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => is_below(&entry.path(), text),
        kind if kind.is_file() => {
            fs::read(entry.path()).is_ok_and(|bytes| memmem::find(&bytes, text.as_bytes()).is_some())
        }
        _ => false,
    })
}

/// Everything that the API server lists, to its administrator.
fn all_objects() -> String {
    let run = |arguments: &[&str]| String::from_utf8(kubectl().args(arguments).output().unwrap().stdout).unwrap();
    let kinds = run(&["api-resources", "--verbs=list", "--output=name"]);
    let kinds = kinds.lines().collect::<Vec<_>>().join(",");
    let objects = run(&["get", &kinds, "--all-namespaces", "--output=yaml", "--show-managed-fields"]);
    assert!(objects.contains("kind: SealedSecret") && objects.contains("kind: Secret\n"));
    objects
}

/// Where a text stands, of the places in which it must not.
fn found(text: &str) -> Vec<&'static str> {
    let objects = all_objects();
    let mut found = Vec::new();
    for form in forms(text) {
        let places = [("etcd", "node1/etcd"), ("the kubelet's disk", "node1/var-lib/kubelet")];
        found.extend(places.iter().filter(|(_, path)| is_below(&own_cluster(path), &form)).map(|(name, _)| *name));
        found.extend(objects.contains(&form).then_some("the API"));
    }
    found
}

/// Deletes pods, and waits until their volumes are gone: they go after the pods, and not without a driver.
fn delete(namespace: &Namespace, pods: &[&str]) {
    let uids: Vec<String> = pods.iter().map(|pod| namespace.field(&format!("pod/{pod}"), ".metadata.uid")).collect();
    namespace.kubectl(&[&["delete", "pod", "--wait"], pods].concat()).ok();
    namespace.eventually("no mount", || uids.iter().all(|uid| mounts_of(uid).is_empty()));
}

fn warnings(namespace: &Namespace, pod: &str) -> String {
    let of = format!("--field-selector=involvedObject.name={pod},reason=MountRotationFailed");
    namespace.kubectl(&["get", "events", &of, "--output", "jsonpath={.items[*].note}{.items[*].message}"]).ok()
}

#[test]
fn a_sealed_value_is_plain_in_its_pods_alone_and_changes_there() {
    let namespace = Namespace::new("sealed");
    let door = both_doors("sealed", &namespace, &[]);
    let key = public_key(&namespace);
    for account in ["web", "other"] {
        namespace.kubectl(&["create", "serviceaccount", account]).ok();
    }
    let value = |n: u32| format!("horse-battery-{}-{n}", namespace.name);
    let (first, second) =
        (sealed(&key, &namespace, "db", "web", &value(1)), sealed(&key, &namespace, "db", "web", &value(2)));
    namespace.apply(&first).ok();
    let objects = json!([{"sealedSecret": "db"}, {"sealedSecret": "db", "key": "password", "path": "a/b", "filePermission": "0440"}]);
    namespace.apply(&class("db", &objects)).ok();
    namespace.apply(&pod(&door, "web", "db", "web")).ok();
    namespace.wait_for_pod("web", "Running");
    let read = || cat(&namespace, "web", "/secrets/password");
    assert_eq!((read(), cat(&namespace, "web", "/secrets/a/b")), (value(1), value(1)));
    assert!(!namespace.kubectl(&["get", "secret", "db"]).success);

    // A pod of another service account waits, and is told why; the one that runs is as it was.
    namespace.apply(&pod(&door, "other", "db", "other")).ok();
    let complaint = format!("SealedSecret {}/db is not for service account other", namespace.name);
    namespace.eventually("the refusal", || complaints(&namespace, "other").contains(&complaint));

    // A change reaches the file long before anybody would have looked.
    let begun = Instant::now();
    namespace.apply(&second).ok();
    namespace.eventually("the new value", || read() == value(2));
    assert!(begun.elapsed() < SOON, "after {:?}", begun.elapsed());

    // Whoever may write the object may apply an old one again, and everybody hears of it.
    let reason = || namespace.field("sealedsecret/db", ".status.conditions[0].reason");
    let versions = || namespace.field("sealedsecret/db", ".status.versions[*]").split(' ').count();
    namespace.eventually("that both are remembered", || versions() == 2 && reason() == "OpensForVolumes");
    namespace.apply(&first).ok();
    namespace.eventually("the old value", || read() == value(1) && reason() == "SteppedBack");
    let events = ["get", "events", "--field-selector=reason=SteppedBack", "--output=name"];
    namespace.eventually("the event", || !namespace.kubectl(&events).ok().is_empty());
    namespace.apply(&second).ok();
    namespace.eventually("the new value again", || read() == value(2));

    // Whom it is not for any more keeps what it has, and is told.
    let begun = Instant::now();
    namespace.apply(&sealed(&key, &namespace, "db", "other", &value(3))).ok();
    namespace.eventually("the warning", || warnings(&namespace, "web").contains("not for service account web"));
    assert!(begun.elapsed() < SOON, "after {:?}", begun.elapsed());
    assert_eq!(read(), value(2));
    namespace.wait_for_pod("other", "Running");
    namespace.kubectl(&["delete", "sealedsecret", "db"]).ok();
    namespace.eventually("the other warning", || warnings(&namespace, "other").contains("db does not exist"));
    assert_eq!(cat(&namespace, "other", "/secrets/password"), value(3));

    // The plaintext is nowhere else. The search finds what is there.
    for n in 1..=3 {
        assert_eq!(found(&value(n)), Vec::<&str>::new(), "value {n}");
    }
    namespace.apply(&secret("plain", &value(4))).ok();
    assert_eq!(found(&value(4)), ["etcd", "the API", "the API"]);
    let logs = ["logs", "--selector", "app.kubernetes.io/instance=sealed", "--tail=-1", "--prefix"];
    let logs = namespace.kubectl(&logs).ok();
    for says in [
        "opened for a pod",
        "refused to a pod",
        "a volume was brought up to date",
        "an earlier version is applied again",
    ] {
        assert!(logs.contains(says), "no {says:?} in {logs}");
    }
    assert!(!logs.contains("horse-battery"), "a value is in the logs");
    delete(&namespace, &["web", "other"]);
}

/// A file encrypted by the program for an age recipient.
fn encrypted(name: &str, plain: &str, recipient: &str) -> String {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(name);
    fs::File::create(&file).and_then(|mut file| file.write_all(plain.as_bytes())).unwrap();
    let output = Command::new(bulla()).args(["encrypt", "--age", recipient]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_sops_file_in_a_config_map_is_plain_in_the_pods_that_it_names() {
    let namespace = Namespace::new("sops");
    let identity = Command::new(program("bin/age-keygen")).output().unwrap().stdout;
    let identity = String::from_utf8(identity).unwrap();
    let word = |begins: &str| identity.split_whitespace().find(|word| word.starts_with(begins)).unwrap().to_owned();
    let (recipient, secret) = (word("age1"), word("AGE-SECRET-KEY-"));
    let env = ["operator.extraEnv[0].name=SOPS_AGE_KEY", &format!("operator.extraEnv[0].value={secret}")];
    let key = format!("sealing.sopsKeys={{{recipient}}}");
    let door = both_doors("sops", &namespace, &[env[0], env[1], &key]);
    for account in ["web", "other"] {
        namespace.kubectl(&["create", "serviceaccount", account]).ok();
    }
    let value = format!("horse-battery-{}", namespace.name);
    let plain = format!("# Of the shop.\nbulla_service_accounts: {}/web\npassword: {value}\n", namespace.name);
    // Whoever may write the ConfigMap has named another account beside the one in the file.
    let annotations = json!({"bulla.dev/deliver": "volume", "bulla.dev/service-accounts": "web,other"});
    let map = |plain: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "app", "annotations": annotations},
            "data": {"app.yaml": encrypted("app.yaml", plain, &recipient)},
        })
    };
    namespace.apply(&map(&plain)).ok();
    namespace.apply(&class("app", &json!([{"configMap": "app", "path": "config", "filePermission": "0440"}]))).ok();
    namespace.apply(&pod(&door, "web", "app", "web")).ok();
    namespace.wait_for_pod("web", "Running");
    assert_eq!(cat(&namespace, "web", "/secrets/config/app.yaml"), plain);
    // Nothing is fetched for an hour unless the operator says that there is something new.
    let plain = plain.replace("password:", "changed: true\npassword:");
    namespace.apply(&map(&plain)).ok();
    namespace.eventually("the change", || cat(&namespace, "web", "/secrets/config/app.yaml") == plain);

    namespace.apply(&pod(&door, "other", "app", "other")).ok();
    let complaint = format!("it is not for {}/other", namespace.name);
    namespace.eventually("the refusal", || complaints(&namespace, "other").contains(&complaint));
    assert_eq!(found(&value), Vec::<&str>::new());
    let logs = ["logs", "--selector", "app.kubernetes.io/instance=sops", "--tail=-1", "--prefix"];
    let logs = namespace.kubectl(&logs).ok();
    let has = |words: &[&str]| logs.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["bulla::audit", "opened for a pod", "ConfigMap", "\"service_account\":\"web\""]), "{logs}");
    assert!(has(&["bulla::audit", "refused to a pod", "ConfigMap", "\"service_account\":\"other\""]), "{logs}");
    assert!(!logs.contains(&value), "a value is in the logs");
    delete(&namespace, &["web", "other"]);
}
