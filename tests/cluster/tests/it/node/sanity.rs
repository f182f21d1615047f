//! csi-sanity, the conformance suite of the interface's own project, against `bulla node`: once as it is, and once behind a controller that makes
//! the volumes (`tests/interop/csi-controller`), so that nothing is left out that a driver without a controller can meet.
//!
//! Everything runs on this machine in mounts and processes of its own. The API server is the cluster's: the pod is an object for a node
//! that does not exist.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use bulla_cluster_tests::{Namespace, bulla, definitions, kubeconfig};
use bulla_test_support::{program, unused_address};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::class;
use crate::pod;

/// What is skipped in the first run: what needs volumes, and what the driver says that it cannot do.
const WITHOUT_VOLUMES: [&str; 4] = [
    "NodeUnpublishVolume should remove",
    "NodeGetVolumeStats should fail when volume does not exist",
    "should work",
    "should be idempotent",
];
/// The services, by what names their specs, that say that they are not there.
const NOT_THERE: [&str; 6] = [
    "with single node multi writer capability",
    "NodeStageVolume",
    "NodeUnstageVolume",
    "NodeExpandVolume",
    "NodeGetVolumeHealth",
    "NodeGetStorageHealth",
];

/// Writes a program for the shell.
fn script(path: &Path, text: &str) {
    fs::File::create(path).and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The specs of a report that came to something: passed, and skipped. A failure fails the test.
fn specs(report: &Path) -> (Vec<String>, Vec<String>) {
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let (mut passed, mut skipped) = (Vec::new(), Vec::new());
    for spec in report[0]["SpecReports"].as_array().unwrap() {
        let texts = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten().chain([&spec["LeafNodeText"]]);
        let name = texts.filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        match spec["State"].as_str().unwrap() {
            "passed" => passed.push(name),
            "skipped" | "pending" => skipped.push(name),
            state => panic!("{name} {state}: {}", spec["Failure"]["Message"]),
        }
    }
    (passed, skipped)
}

#[test]
fn csi_sanity_finds_nothing_wrong() {
    definitions();
    let namespace = Namespace::new("sanity");
    namespace.apply(&class("app", &json!([{"objectName": "a", "contents": "x"}]))).ok();
    let mut nowhere = pod("nowhere", "true");
    nowhere["spec"]["nodeName"] = "sanity".into();
    namespace.apply(&nowhere).ok();
    let uid = namespace.field("pod/nowhere", ".metadata.uid");
    let token = json!({"bulla.test": {"token": "a.b.c", "expirationTimestamp": "2036-01-01T00:00:00Z"}});
    let context = json!({
        "secretProviderClass": "app",
        "csi.storage.k8s.io/pod.name": "nowhere",
        "csi.storage.k8s.io/pod.namespace": namespace.name,
        "csi.storage.k8s.io/pod.uid": uid,
        "csi.storage.k8s.io/serviceAccount.name": "default",
        "csi.storage.k8s.io/serviceAccount.tokens": token.to_string(),
        "csi.storage.k8s.io/ephemeral": "true",
    });

    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["pods", "providers", "registration"] {
        fs::create_dir(path(name)).unwrap();
    }
    // The half that serves looks for providers.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let volume = format!("{}/{uid}/volumes/kubernetes.io~csi/secrets", path("pods"));
    script(&folder.path().join("create"), &format!("#!/bin/sh\nmkdir -p '{volume}' && echo '{volume}'\n"));
    script(&folder.path().join("remove"), &format!("#!/bin/sh\nrmdir '{volume}'\n"));
    let check =
        "#!/bin/sh\nplace=\"${1%/target}/mount\"\nif [ -d \"$place\" ]; then echo directory; else echo not_found; fi\n";
    script(&folder.path().join("check"), check);
    fs::copy(kubeconfig(), path("kubeconfig")).unwrap();
    fs::set_permissions(path("kubeconfig"), fs::Permissions::from_mode(0o644)).unwrap();

    let sanity = |endpoint: &str, report: &str, skip: &str| {
        format!(
            "'{}' --ginkgo.no-color --ginkgo.json-report='{}' --ginkgo.skip='{skip}' --csi.endpoint='unix://{}' --csi.mountdir='{}' \
             --csi.createmountpathcmd='{}' --csi.removemountpathcmd='{}' --csi.checkpathcmd='{}' --csi.stagingdir='{}'",
            program("bin/csi-sanity").display(),
            path(report),
            path(endpoint),
            path("mount"),
            path("create"),
            path("remove"),
            path("check"),
            path("staging"),
        )
    };
    let run = format!(
        "set -eu\n\
         '{provider}' -endpoint='unix://{providers}/test.sock' >'{log}.provider' 2>&1 &\n\
         '{bulla}' node --kubeconfig '{kubeconfig}' --nodeid sanity --drivername sanity.bulla.test --endpoint 'unix://{csi}' \
           --registration-folder '{registration}' --pods-folder '{pods}' --provider-volume '{providers}' \
           --additional-provider-volume-paths= --metrics-addr {metrics} >'{log}.node' 2>&1 &\n\
         '{controller}' -driver '{csi}' -endpoint '{both}' -context '{context}' >'{log}.controller' 2>&1 &\n\
         for n in $(seq 300); do [ -S '{csi}' ] && [ -S '{both}' ] && [ -S '{providers}/test.sock' ] && break; sleep 0.1; done\n\
         {alone}\n{with}\n\
         if grep ' - tmpfs bulla ' /proc/self/mountinfo; then echo 'a mount is left'; exit 1; fi\n",
        provider = program("bin/csi-provider").display(),
        providers = path("providers"),
        log = path("log"),
        bulla = bulla().display(),
        kubeconfig = path("kubeconfig"),
        csi = path("csi.sock"),
        registration = path("registration"),
        pods = path("pods"),
        metrics = unused_address(),
        controller = program("bin/csi-controller").display(),
        both = path("both.sock"),
        alone = sanity(
            "csi.sock",
            "alone.json",
            "Controller|Group|should remove target path|not exist on the specified path"
        ),
        with = sanity("both.sock", "with.json", "Controller|Group"),
    );
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            &run,
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let logs = ["provider", "node", "controller"]
        .map(|name| fs::read_to_string(path(&format!("log.{name}"))).unwrap_or_default());
    assert!(
        output.status.success(),
        "{}{}{logs:?}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );

    let ours = |name: &&String| !name.contains("Controller") && !name.contains("Group");
    let is_one_of = |names: &[&str], spec: &str| names.iter().any(|name| spec.contains(name));
    let (passed, skipped) = specs(&folder.path().join("alone.json"));
    assert!(passed.len() >= 12, "{passed:?}");
    for name in skipped.iter().filter(ours) {
        assert!(is_one_of(&NOT_THERE, name) || is_one_of(&WITHOUT_VOLUMES, name), "skipped without a reason: {name}");
    }
    let (passed, skipped) = specs(&folder.path().join("with.json"));
    for name in WITHOUT_VOLUMES {
        assert!(passed.iter().any(|spec| spec.contains(name)), "{name} did not run: {passed:?}");
    }
    for name in skipped.iter().filter(ours) {
        assert!(is_one_of(&NOT_THERE, name), "skipped without a reason: {name}");
    }
}
