//! What a plain Secret is today, without bulla: readable in four places. This is what the product must beat, and it shows that the
//! searches that later tests trust do find what is there.

use std::fs;
use std::path::Path;

use base64::Engine;
use bulla_cluster_tests::{Namespace, on_node, own_cluster};

use crate::{pod_with_secret, secret};

#[test]
fn a_plain_secret_is_readable_in_etcd_through_the_api_and_on_the_node() {
    let namespace = Namespace::new("baseline");
    let value = format!("plain-{}-value", namespace.name);
    namespace.apply(&secret("s", &value)).ok();
    namespace.apply(&pod_with_secret("p", "s", "sleep 1000")).ok();
    namespace.wait_for_pod("p", "Running");

    // Git: the manifest itself is the plaintext. etcd: its files on the control plane's disk.
    assert!(folder_holds(&own_cluster("node1/etcd"), value.as_bytes()), "not in etcd's files");
    // The API: whoever may get it.
    let answer = namespace.field("secret/s", ".data.password");
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(answer).unwrap(), value.as_bytes());
    // The node: a file in memory that root reads.
    let uid = namespace.field("pod/p", ".metadata.uid");
    let file = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~secret/secret/password");
    assert_eq!(on_node(&["cat", &file]).ok(), value);
    let mounts = on_node(&["cat", "/proc/self/mounts"]).ok();
    assert!(
        mounts.lines().any(|line| line.starts_with("tmpfs ") && line.contains(&uid)),
        "no tmpfs of the pod: {mounts}"
    );
}

/// Whether a file below the folder has these bytes in it.
fn folder_holds(folder: &Path, wanted: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return folder_holds(&path, wanted);
        }
        let contents = fs::read(&path).unwrap();
        contents.windows(wanted.len()).any(|window| window == wanted)
    })
}
