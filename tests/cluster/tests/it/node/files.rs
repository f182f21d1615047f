//! What a pod sees of its volume, and what is left of it.

use std::fs;

use bulla_cluster_tests::{Namespace, on_node};
use serde_json::json;

use super::{Door, cat, class, mounts_of};

#[test]
fn a_pod_reads_files_that_are_its_own() {
    let door = Door::shared();
    let namespace = Namespace::new("files");
    let objects = json!([
        {"objectName": "open", "contents": "of all"},
        {"objectName": "close", "contents": "of one", "mode": 0o400},
        {"objectName": "below/of-group", "contents": "of some", "mode": 0o640},
    ]);
    namespace.apply(&class("app", &objects)).ok();
    let mut own = door.pod("own", "app");
    own["spec"]["securityContext"] = json!({"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000});
    namespace.apply(&own).ok();
    namespace.apply(&door.pod("root", "app")).ok();
    for pod in ["own", "root"] {
        namespace.wait_for_pod(pod, "Running");
    }
    let look = |pod: &str| {
        let files = ["/secrets/open", "/secrets/close", "/secrets/below/of-group"];
        let stat = [&["exec", pod, "--", "stat", "-L", "-c", "%u:%g %a"][..], &files].concat();
        namespace.kubectl(&stat).ok()
    };
    assert_eq!(look("own"), "1000:2000 644\n1000:2000 400\n1000:2000 640\n");
    assert_eq!(look("root").lines().map(|line| &line[..2]).collect::<Vec<_>>(), ["0:"; 3]);
    for pod in ["own", "root"] {
        assert_eq!(cat(&namespace, pod, "/secrets/close"), "of one");
        assert_eq!(cat(&namespace, pod, "/secrets/below/of-group"), "of some");
    }
    // Nothing can be written, by whomever.
    namespace.kubectl(&["exec", "root", "--", "touch", "/secrets/new"]).refused();
}

#[test]
fn a_volume_is_memory_that_is_told_of_and_goes_with_its_pod() {
    let door = Door::shared();
    let namespace = Namespace::new("memory");
    namespace.apply(&class("app", &json!([{"objectName": "a", "contents": "x"}]))).ok();
    namespace.apply(&door.pod("p", "app")).ok();
    namespace.wait_for_pod("p", "Running");
    let uid = namespace.field("pod/p", ".metadata.uid");

    let mounts = mounts_of(&uid);
    let [mount] = mounts.as_slice() else { panic!("{mounts:?}") };
    let path = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~csi/secrets/mount");
    assert!(mount.contains(&path), "{mount}");
    for option in ["nosuid", "nodev", "noexec"].into_iter().chain(kernel_has_noswap().then_some("noswap")) {
        assert!(mount.split([' ', ',']).any(|found| found == option), "no {option}: {mount}");
    }

    let status = format!("secretproviderclasspodstatus/p-{}-app", namespace.name);
    namespace.eventually("the status", || namespace.field(&status, ".status.mounted") == "true");
    let told = |path: &str| namespace.field(&status, path);
    assert_eq!(told(".status.objects[*]['id','version']"), "secret/a v1");
    assert_eq!(told(".status['podName','secretProviderClassName','targetPath']"), format!("p app {path}"));
    assert_eq!(told(".metadata.ownerReferences[*]['kind','name','uid']"), format!("Pod p {uid}"));
    let node = namespace.field("pod/p", ".spec.nodeName");
    assert_eq!(told(".metadata.labels.internal\\.secrets-store\\.csi\\.k8s\\.io/node-name"), node);

    namespace.kubectl(&["delete", "pod", "p", "--wait"]).ok();
    namespace.eventually("no mount", || mounts_of(&uid).is_empty());
    namespace.eventually("no folder", || !on_node(&["ls", &format!("/var/lib/kubelet/pods/{uid}")]).success);
    namespace.eventually("no status", || told(".metadata.name").is_empty());
}

/// Whether tmpfs can keep its pages out of swap: Linux 6.4 and later.
fn kernel_has_noswap() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 4)
}
