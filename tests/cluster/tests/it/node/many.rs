//! Many volumes at once.

use bulla_cluster_tests::Namespace;
use serde_json::json;

use super::{Door, cat, class, mounts_of};

/// So many pods, each with so many volumes: 200 at once, in fewer pods than the machine takes its time for.
const PODS: usize = 8;
const VOLUMES: usize = 25;

#[test]
fn two_hundred_volumes_come_and_go_at_once() {
    let door = Door::shared();
    let namespace = Namespace::new("many");
    namespace.apply(&class("app", &json!([{"objectName": "a", "contents": "x"}]))).ok();
    let pods: Vec<String> = (0..PODS).map(|n| format!("p{n}")).collect();
    let objects = pods.iter().map(|name| {
        let mut pod = door.pod(name, "app");
        let volumes = (0..VOLUMES).map(|n| door.volume(&format!("v{n}"), "app"));
        let mounts = (0..VOLUMES).map(|n| json!({"name": format!("v{n}"), "mountPath": format!("/secrets/v{n}")}));
        pod["spec"]["volumes"] = volumes.collect();
        pod["spec"]["containers"][0]["volumeMounts"] = mounts.collect();
        pod
    });
    namespace.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects.collect::<Vec<_>>()})).ok();
    for pod in &pods {
        namespace.wait_for_pod(pod, "Running");
    }
    let uids: Vec<String> = pods.iter().map(|pod| namespace.field(&format!("pod/{pod}"), ".metadata.uid")).collect();
    assert_eq!(uids.iter().map(|uid| mounts_of(uid).len()).sum::<usize>(), PODS * VOLUMES);
    let last = pods.last().unwrap();
    assert_eq!(cat(&namespace, last, &format!("/secrets/v{}/a", VOLUMES - 1)), "x");
    namespace.kubectl(&["delete", "pods", "--all", "--wait"]).ok();
    namespace.eventually("no mount", || uids.iter().all(|uid| mounts_of(uid).is_empty()));
}
