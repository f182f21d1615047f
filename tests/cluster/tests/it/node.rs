//! The node service on a real kubelet, with a provider of others behind it.
//!
//! One release serves all tests that leave it in peace, under a driver's name of its own; who kills it, or takes it away, has another.
//! The provider is a program of our own on the Secrets Store CSI driver's published code for providers (`tests/interop/csi-provider`).

mod demo;
mod env;
mod example;
mod failures;
mod files;
mod halves;
mod kills;
mod kubelet;
mod lives;
mod many;
mod provider;
mod reboot;
mod rotation;
mod sanity;
mod sealed;
mod sync;
mod takeover;
mod vault;

use std::fs;
use std::sync::OnceLock;

use bulla_cluster_tests::{Namespace, Release, bulla_image, definitions, kubectl, on_node, own_name, xtask};
use bulla_test_support::program;
use serde_json::{Value, json};

use crate::pod;

/// Where providers have their sockets. What is below `/run` is a node's own.
const PROVIDERS: &str = "/run/bulla-providers";
/// The audience of the token that pods' providers get.
const AUDIENCE: &str = "bulla.test";

/// A release with the node door alone, in a namespace.
struct Door<'a> {
    release: Release<'a>,
    driver: String,
}

impl<'a> Door<'a> {
    /// Installs one, and waits until the kubelet has registered its driver.
    fn open(name: &'static str, namespace: &'a Namespace, image: &[String; 2]) -> Self {
        Self::open_with(name, namespace, image, &[])
    }

    /// The same with more settings.
    fn open_with(name: &'static str, namespace: &'a Namespace, image: &[String; 2], more: &[&str]) -> Self {
        let driver = format!("{}.bulla.test", namespace.name);
        let release = Release::new(name, namespace);
        let settings = [
            image[0].as_str(),
            &image[1],
            "crds.install=false",
            "node.enabled=true",
            "node.logLevel=debug",
            &format!("node.driverName={driver}"),
            &format!("node.providerFolders={{{PROVIDERS}}}"),
            &format!("node.tokenRequests[0].audience={AUDIENCE}"),
        ];
        release.set(&[&settings[..], more].concat()).ok();
        let rollout = ["rollout", "status", &format!("daemonset/{name}-bulla-node"), "--timeout=120s"];
        namespace.kubectl(&rollout).ok();
        Self { release, driver }
    }

    /// The release that tests share, which nobody disturbs.
    fn shared() -> &'static Self {
        static NAMESPACE: OnceLock<Namespace> = OnceLock::new();
        static DOOR: OnceLock<Door<'static>> = OnceLock::new();
        DOOR.get_or_init(|| {
            definitions();
            // On a cluster that outlives its tests, those of an earlier run are left.
            let old = ["delete", "daemonsets", "--all-namespaces", "--selector=app.kubernetes.io/instance=shared"];
            kubectl().args(old).output().unwrap();
            let namespace = NAMESPACE.get_or_init(|| Namespace::new("node"));
            start_provider(namespace, &own_name());
            Self::open("shared", namespace, &bulla_image())
        })
    }

    /// A release with the doors inject and syncSecret too, which tests share.
    fn with_operator() -> &'static Self {
        static NAMESPACE: OnceLock<Namespace> = OnceLock::new();
        static DOOR: OnceLock<Door<'static>> = OnceLock::new();
        DOOR.get_or_init(|| {
            // It has the provider and the definitions.
            Self::shared();
            // A webhook that an earlier run left would be asked, and nobody answers.
            let old = "mutatingwebhookconfigurations,daemonsets,deployments";
            let old = ["delete", old, "--all-namespaces", "--selector=app.kubernetes.io/instance=asks"];
            kubectl().args(old).output().unwrap();
            let namespace = NAMESPACE.get_or_init(|| Namespace::new("asks"));
            let more = [
                "inject.enabled=true",
                "syncSecret.enabled=true",
                "operator.logLevel=debug",
                "operator.extraArgs={--sync-patience=4s}",
            ];
            let door = Self::open_with("asks", namespace, &bulla_image(), &more);
            // This cluster has no name service: where nodes ask the operator stands in their hosts files.
            let service = "asks-bulla-sealing-nodes";
            let address = namespace.field(&format!("service/{service}"), ".spec.clusterIP");
            let hosts = json!([{"ip": address, "hostnames": [format!("{service}.{}.svc", namespace.name)]}]);
            // And who asks for the other family's address hears soon that there is none.
            let options = json!([{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "1"}]);
            let dns = json!({"nameservers": ["127.0.0.1"], "options": options});
            let spec = json!({"hostAliases": hosts, "dnsPolicy": "None", "dnsConfig": dns});
            let patch = json!({"spec": {"template": {"spec": spec}}}).to_string();
            namespace.kubectl(&["patch", "daemonset", "asks-bulla-node", "--patch", &patch]).ok();
            for object in ["deployment/asks-bulla-operator", "daemonset/asks-bulla-node"] {
                namespace.kubectl(&["rollout", "status", object, "--timeout=120s"]).ok();
            }
            door
        })
    }

    /// A pod that has what a class names at `/secrets`.
    fn pod(&self, name: &str, class: &str) -> Value {
        let mut pod = pod(name, "sleep 1000");
        pod["spec"]["volumes"] = json!([self.volume("secrets", class)]);
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "secrets", "mountPath": "/secrets"}]);
        pod
    }

    fn volume(&self, name: &str, class: &str) -> Value {
        let attributes = json!({"secretProviderClass": class});
        json!({"name": name, "csi": {"driver": self.driver, "readOnly": true, "volumeAttributes": attributes}})
    }

    /// The processes of its pods on this machine: of the half that mounts, and of the half that serves.
    fn halves(&self) -> Option<[u32; 2]> {
        let flag = format!("--drivername={}", self.driver);
        let (mut mounting, mut serving) = (None, None);
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let line = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
            match (words.get(1) == Some(&"node") && words.contains(&&*flag), words.last()) {
                (true, Some(&"--serving-half")) => serving = Some(pid),
                (true, _) => mounting = Some(pid),
                _ => {}
            }
        }
        Some([mounting?, serving?])
    }
}

/// Starts the provider `test` on a cluster's node.
fn start_provider(namespace: &Namespace, cluster: &str) {
    let image = "bulla.test/csi-provider:1";
    let provider = program("bin/csi-provider");
    xtask(["load", "--name", cluster, "--image", image, provider.to_str().unwrap()]).ok();
    let mut pod = pod("provider", "");
    pod["spec"]["volumes"] = json!([{"name": "p", "hostPath": {"path": PROVIDERS, "type": "DirectoryOrCreate"}}]);
    pod["spec"]["containers"] = json!([{
        "name": "main",
        "image": image,
        "args": ["-endpoint=unix:///provider/test.sock"],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "p", "mountPath": "/provider"}],
    }]);
    namespace.apply(&pod).ok();
    namespace.wait_for_pod("provider", "Running");
}

/// A class of the provider `test`, which gives these objects.
fn class(name: &str, objects: &Value) -> Value {
    json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": name},
        "spec": {"provider": "test", "parameters": {"objects": objects.to_string(), "audience": AUDIENCE}},
    })
}

/// What a pod's `cat` says of files of its volume.
#[track_caller]
fn cat(namespace: &Namespace, pod: &str, path: &str) -> String {
    namespace.kubectl(&["exec", pod, "--", "cat", path]).ok()
}

/// The node's mounts of a pod's volumes of ours, as its table has them.
fn mounts_of(uid: &str) -> Vec<String> {
    let table = on_node(&["cat", "/proc/self/mountinfo"]).ok();
    table.lines().filter(|line| line.contains(uid) && line.contains(" - tmpfs bulla ")).map(str::to_owned).collect()
}

/// What the kubelet complains of, of a pod.
fn complaints(namespace: &Namespace, pod: &str) -> String {
    let of = format!("--field-selector=involvedObject.name={pod},reason=FailedMount");
    namespace.kubectl(&["get", "events", &of, "--output", "jsonpath={.items[*].message}"]).ok()
}
