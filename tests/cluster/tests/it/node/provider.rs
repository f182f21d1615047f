//! `bulla provider`: what is built in, asked over the Secrets Store CSI driver's protocol for providers.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla_cluster_tests::{Namespace, Release, bulla, bulla_image, definitions, kubeconfig};
use bulla_test_support::{program, unused_address};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::vault::World;
use super::{Door, cat, complaints};

/// Asks the provider at a socket with the peer's own published code, for a volume of a pod of this account, which has this token.
fn ask(socket: &Path, parameters: &Value, account: &str, token: &str) -> Output {
    let tokens = json!({"vault": {"token": token, "expirationTimestamp": "2036-01-01T00:00:00Z"}});
    let mut attributes = parameters.clone();
    for (key, value) in [
        ("secretProviderClass", "web"),
        ("csi.storage.k8s.io/pod.name", account),
        ("csi.storage.k8s.io/pod.namespace", "shop"),
        ("csi.storage.k8s.io/pod.uid", &format!("uid-{account}")),
        ("csi.storage.k8s.io/serviceAccount.name", account),
        ("csi.storage.k8s.io/serviceAccount.tokens", &tokens.to_string()),
    ] {
        attributes[key] = value.into();
    }
    let request = json!({
        "attributes": attributes.to_string(), "secrets": "null", "permission": "420",
        "target_path": format!("/var/lib/kubelet/pods/uid-{account}/volumes/kubernetes.io~csi/secrets/mount"),
    });
    let mut asking = Command::new(program("bin/csi-provider"))
        .arg("-ask")
        .arg(socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    asking.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    asking.wait_with_output().unwrap()
}

fn answer(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn file(answer: &Value, path: &str) -> String {
    let file = answer["files"].as_array().unwrap().iter().find(|file| file["path"] == path).unwrap();
    String::from_utf8(STANDARD.decode(file["contents"].as_str().unwrap()).unwrap()).unwrap()
}

#[test]
fn the_driver_s_own_code_gets_files_leases_and_refusals() {
    let namespace = Namespace::new("served");
    let world = World::new(&namespace);
    let parameters = world.class()["spec"]["parameters"].clone();
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("vault.sock");
    // What a provider left behind that was killed.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let mut served = Command::new(bulla())
        .args(["--log-format", "json", "provider", "--folder", folder.path().to_str().unwrap()])
        .args(["--vault-allowed-addresses", &world.address, "--metrics-addr", &unused_address().to_string()])
        .arg("--kubeconfig")
        .arg(kubeconfig())
        .stderr(log)
        .spawn()
        .unwrap();
    namespace.eventually("the socket", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let token = |account: &str| namespace.kubectl(&["create", "token", account, "--audience", "vault"]).ok();
    let web = token("web").trim().to_owned();

    let first = answer(&ask(&socket, &parameters, "web", &web));
    assert_eq!((&first["version"], &first["name"]), (&json!("v1alpha1"), &json!("bulla-vault")));
    assert_eq!(file(&first, "db-password"), "one");
    assert_eq!(first["files"].as_array().unwrap().len(), 3);
    let user = file(&first, "broker-user");
    assert_eq!(world.broker.users().0, std::slice::from_ref(&user));
    // The driver says nothing of what it has: it gets all again, and the same, and no second user is made.
    assert_eq!(answer(&ask(&socket, &parameters, "web", &web)), first);
    assert_eq!(world.broker.users().0, [user]);

    let empty = json!({"roleName": "web", "vaultAddress": "http://127.0.0.1:1", "objects": "[]"});
    for (bad, account, token, code) in [
        (&parameters, "other", token("other").trim(), "PermissionDenied"),
        (&empty, "third", web.as_str(), "InvalidArgument"),
    ] {
        let refused = ask(&socket, bad, account, token);
        let said = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert!(refused.status.code() == Some(2) && said.starts_with(code) && !said.contains(token), "{refused:?}");
    }
    let pid = served.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let status = served.wait().unwrap();
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(status.success() && !socket.exists(), "{log}");
    assert!(!log.contains(&web), "a token is in the log");
}

#[test]
fn a_driver_that_is_there_mounts_what_a_daemon_set_of_ours_serves() {
    definitions();
    let namespace = Namespace::new("serves");
    let world = World::new(&namespace);
    let folder = format!("node.providerFolders={{/run/{}}}", namespace.name);
    let allowed = format!("node.vault.allowedAddresses={{{}}}", world.address);
    let image = bulla_image();
    let release = Release::new("served", &namespace);
    let settings = [
        image[0].as_str(),
        &image[1],
        "crds.install=false",
        "node.enabled=true",
        "node.role=provider",
        "node.logLevel=debug",
        "node.vault.enabled=true",
        &allowed,
        &folder,
    ];
    release.set(&settings).ok();
    let rollout = ["rollout", "status", "daemonset/served-bulla-node", "--timeout=120s"];
    namespace.kubectl(&rollout).ok();
    // The driver is one without that provider.
    let door = Door::open_with("driver", &namespace, &image, &[&folder, "node.tokenRequests[0].audience=vault"]);
    namespace.apply(&world.class()).ok();
    for (name, account) in [("a", "web"), ("intruder", "other")] {
        let mut pod = door.pod(name, "web");
        pod["spec"]["serviceAccountName"] = json!(account);
        namespace.apply(&pod).ok();
    }
    namespace.wait_for_pod("a", "Running");
    assert_eq!(cat(&namespace, "a", "/secrets/db-password"), "one");
    namespace.eventually("the refusal", || complaints(&namespace, "intruder").contains("refused the login"));
    assert_ne!(namespace.field("pod/intruder", ".status.phase"), "Running");
}
