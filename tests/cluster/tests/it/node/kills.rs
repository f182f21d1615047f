//! The service is killed at random moments while volumes come and go: no pod is stuck, and no mount is left.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bulla_cluster_tests::{Namespace, bulla_image, on_node};
use serde_json::json;

use super::{Door, cat, class, mounts_of};
use crate::{Random, number};

/// The part of a pod's begin and end that kills fall into.
const BEGIN: Duration = Duration::from_millis(1500);
const END: Duration = Duration::from_millis(1500);
/// How many volumes come and go at once.
const VOLUMES: usize = 6;

impl Door<'_> {
    /// Kills both halves, and has a new pod made of them: the old one would be started again later and later.
    fn kill(&self, namespace: &Namespace) {
        if let Some(halves) = self.halves() {
            Command::new("kill").arg("-KILL").args(halves.map(|pid| pid.to_string())).output().unwrap();
        }
        let selector = "app.kubernetes.io/component=node";
        namespace.kubectl(&["delete", "pods", "--selector", selector, "--force", "--grace-period=0"]).ok();
    }

    /// Takes the paths of its sockets away, as an older process of the same driver may that ends late; they come back.
    fn lose_its_sockets(&self) {
        let sockets = [
            format!("/var/lib/kubelet/plugins_registry/{}-reg.sock", self.driver),
            format!("/var/lib/kubelet/plugins/{}/csi.sock", self.driver),
        ];
        // A file that comes back may get the number of the one that went: the time of its birth tells them apart.
        let born = |socket: &String| on_node(&["stat", "--format=%i %W %z", socket]);
        let before = sockets.each_ref().map(|socket| born(socket).ok());
        for socket in &sockets {
            on_node(&["rm", socket]).ok();
        }
        let end = Instant::now() + Duration::from_secs(30);
        for (socket, before) in sockets.iter().zip(&before) {
            while !born(socket).success || born(socket).ok() == *before {
                assert!(Instant::now() < end, "{socket} did not come back");
                thread::sleep(Duration::from_millis(200));
            }
        }
    }
}

#[test]
fn whenever_it_is_killed_volumes_come_and_go() {
    Door::shared();
    let namespace = Namespace::new("kills");
    let door = Door::open("kills", &namespace, &bulla_image());
    namespace.apply(&class("app", &json!([{"objectName": "a", "contents": "x"}]))).ok();
    door.lose_its_sockets();
    let seed = number("BULLA_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let mut random = Random(seed);
    let mut uids = Vec::new();
    for round in 0..number("BULLA_TEST_KILLS").unwrap_or(4) {
        eprintln!("seed {seed}, round {round}");
        let name = format!("p{round}");
        let mut pod = door.pod(&name, "app");
        pod["spec"]["volumes"] = (0..VOLUMES).map(|n| door.volume(&format!("v{n}"), "app")).collect();
        let mounts = (0..VOLUMES).map(|n| json!({"name": format!("v{n}"), "mountPath": format!("/secrets/v{n}")}));
        pod["spec"]["containers"][0]["volumeMounts"] = mounts.collect();
        namespace.apply(&pod).ok();
        thread::sleep(random.below(BEGIN));
        door.kill(&namespace);
        namespace.wait_for_pod(&name, "Running");
        assert_eq!(cat(&namespace, &name, "/secrets/v0/a"), "x");
        let uid = namespace.field(&format!("pod/{name}"), ".metadata.uid");
        assert_eq!(mounts_of(&uid).len(), VOLUMES, "each is mounted once");
        namespace.kubectl(&["delete", "pod", &name, "--wait=false"]).ok();
        thread::sleep(random.below(END));
        door.kill(&namespace);
        uids.push(uid);
    }
    for uid in &uids {
        namespace.eventually("no mount", || mounts_of(uid).is_empty());
        namespace.eventually("no folder", || !on_node(&["ls", &format!("/var/lib/kubelet/pods/{uid}")]).success);
    }
    // The last one is there before its release goes.
    namespace.kubectl(&["rollout", "status", "daemonset/kills-bulla-node", "--timeout=120s"]).ok();
}
