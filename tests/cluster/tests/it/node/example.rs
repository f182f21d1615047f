//! `examples/env`: an application with a Secret, moved to a volume by the patch that its README shows.

use bulla_cluster_tests::{Namespace, busybox_for_bulla};
use serde_json::json;

use super::{Door, class};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/env");

#[test]
fn an_application_moves_from_a_secret_to_a_volume_by_a_patch_of_three_lines() {
    Door::with_operator();
    let namespace = Namespace::restricted("example");
    // This cluster has no registry, and no name service: its own busybox, and the class of a provider that is there.
    let app = std::fs::read_to_string(format!("{EXAMPLE}/app.yaml")).unwrap();
    let app = app.replace("docker.io/library/busybox:1.37", busybox_for_bulla());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.yaml");
    std::io::Write::write_all(&mut std::fs::File::create(&file).unwrap(), app.as_bytes()).unwrap();
    namespace.kubectl(&["create", "secret", "generic", "database", "--from-literal=password=from-a-secret"]).ok();
    namespace.kubectl(&["apply", "--filename", file.to_str().unwrap()]).ok();
    let rolled = || namespace.kubectl(&["rollout", "status", "deployment/shop", "--timeout=120s"]).ok();
    rolled();
    let page = |pod: &str| {
        let get = ["exec", pod, "--", "/bin/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"];
        namespace.kubectl(&get).stdout
    };
    let first = "deployment/shop";
    namespace.eventually("the page", || page(first).contains("password of 13 characters"));

    namespace.apply(&class("database", &json!([{"objectName": "password", "contents": "from-a-volume-"}]))).ok();
    let patch = format!("{EXAMPLE}/env.yaml");
    let text = std::fs::read_to_string(&patch).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("bulla.dev/")).count(), 3, "{text}");
    namespace.kubectl(&["patch", "deployment", "shop", "--patch-file", &patch]).ok();
    rolled();
    namespace.kubectl(&["delete", "secret", "database"]).ok();
    namespace.eventually("the page", || page(first).contains("password of 14 characters"));
    assert_eq!(namespace.kubectl(&["get", "secrets", "--output", "name"]).ok(), "");
}
