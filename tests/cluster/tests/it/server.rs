//! `bulla server` in a pod: other pods log in with their service account's tokens, and the chart's comes back by itself.

use std::io::Write;

use bulla_cluster_tests::{BUSYBOX, Namespace, Release, bulla, bulla_image, kubectl, on_node};
use serde_json::{Value, json};

/// A binding of the namespace's account `vault`, gone with the test: it may ask whose tokens are.
struct Reviewer(String);

impl Reviewer {
    fn new(namespace: &Namespace) -> Self {
        let name = format!("{}-reviewer", namespace.name);
        let subject = format!("--serviceaccount={}:vault", namespace.name);
        let bind = ["create", "clusterrolebinding", &name, "--clusterrole=system:auth-delegator", &subject];
        namespace.kubectl(&bind).ok();
        Self(name)
    }
}

impl Drop for Reviewer {
    fn drop(&mut self) {
        let _ = kubectl().args(["delete", "clusterrolebinding", &self.0, "--wait=false"]).output();
    }
}

fn server(image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "server" },
        "spec": {
            "serviceAccountName": "vault", "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "server", "image": image,
                "args": ["server", "-dev", "-dev-root-token-id=root", "-dev-listen-address=0.0.0.0:8200"],
                "readinessProbe": { "httpGet": { "path": "/v1/sys/health", "port": 8200 }, "periodSeconds": 1 },
            }],
        },
    })
}

/// A pod of an account, with a token for the server.
fn client(account: &str) -> Value {
    let token = json!({ "serviceAccountToken": { "audience": "vault", "expirationSeconds": 600, "path": "vault" } });
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": account },
        "spec": {
            "serviceAccountName": account, "terminationGracePeriodSeconds": 0,
            "volumes": [{ "name": "tokens", "projected": { "sources": [token] } }],
            "containers": [{
                "name": "main", "image": BUSYBOX, "command": ["sleep", "10000"],
                "volumeMounts": [{ "name": "tokens", "mountPath": "/tokens" }],
            }],
        },
    })
}

#[test]
fn pods_log_in_by_the_word_of_the_cluster_or_by_its_keys() {
    let namespace = Namespace::new("vault");
    let [repository, tag] = bulla_image();
    let image = format!("{}:{}", repository.split_once('=').unwrap().1, tag.split_once('=').unwrap().1);
    for account in ["vault", "web", "other"] {
        namespace.kubectl(&["create", "serviceaccount", account]).ok();
    }
    let _reviewer = Reviewer::new(&namespace);
    namespace.apply(&server(&image)).ok();
    for account in ["web", "other"] {
        namespace.apply(&client(account)).ok();
    }
    for pod in ["server", "web", "other"] {
        namespace.wait_for_pod(pod, "Running");
    }
    let address = format!("http://{}:8200/v1", namespace.field("pod/server", ".status.podIP"));
    let root = |path: &str, body: &Value| {
        let (data, url) = (format!("--post-data={body}"), format!("{address}/{path}"));
        namespace.kubectl(&["exec", "web", "--", "wget", "-q", "-O-", "--header=X-Vault-Token: root", &data, &url]).ok()
    };
    let log_in = |pod: &str| {
        let script = format!(
            r#"wget -q -O- --post-data="{{\"role\":\"web\",\"jwt\":\"$(cat /tokens/vault)\"}}" {address}/auth/kubernetes/login"#
        );
        namespace.kubectl(&["exec", pod, "--", "sh", "-c", &script])
    };
    root("sys/auth/kubernetes", &json!({ "type": "kubernetes" }));
    // Nothing but the address: authorities and reviewer are those of the server's pod. This cluster has no name service.
    let host = kubectl()
        .args(["get", "service", "kubernetes", "--namespace", "default", "--output", "jsonpath={.spec.clusterIP}"])
        .output()
        .unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let mut config = json!({ "kubernetes_host": format!("https://{host}") });
    root("auth/kubernetes/config", &config);
    let role = json!({
        "bound_service_account_names": "web", "bound_service_account_namespaces": namespace.name, "audience": "vault",
    });
    root("auth/kubernetes/role/web", &role);

    let check = |how: &str| {
        let answer: Value = serde_json::from_str(&log_in("web").ok()).unwrap();
        let metadata = &answer["auth"]["metadata"];
        assert_eq!(metadata["service_account_name"], "web", "{how}: {answer}");
        assert_eq!(metadata["service_account_namespace"], namespace.name.as_str(), "{how}: {answer}");
        let uid = namespace.field("serviceaccount/web", ".metadata.uid");
        assert_eq!(metadata["service_account_uid"], uid, "{how}: {answer}");
        assert!(log_in("other").refused().contains("403"), "{how}");
    };
    check("reviewed");
    config["local_verification"] = json!(true);
    root("auth/kubernetes/config", &config);
    check("verified by the cluster's key set");

    // The account goes: the cluster says so at once, its keys do not.
    namespace.kubectl(&["delete", "serviceaccount", "web"]).ok();
    log_in("web").ok();
    config["local_verification"] = json!(false);
    root("auth/kubernetes/config", &config);
    namespace.eventually("the cluster's word", || !log_in("web").success);
    assert!(log_in("web").refused().contains("403"));
}

/// A folder of the node as a volume for one claim, gone with the test.
struct Disk(String);

impl Disk {
    fn for_claim(namespace: &Namespace, claim: &str) -> Self {
        let disk = Self(format!("{}-disk", namespace.name));
        on_node(&["install", "-d", "-m", "0700", "-o", "65532", "-g", "65532", &disk.folder()]).ok();
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": disk.0 },
            "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
                "claimRef": { "namespace": namespace.name, "name": claim },
                "hostPath": { "path": disk.folder(), "type": "Directory" },
            },
        });
        namespace.apply(&volume).ok();
        disk
    }

    fn folder(&self) -> String {
        format!("/var/lib/{}", self.0)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = kubectl().args(["delete", "persistentvolume", &self.0, "--wait=false"]).output();
        let _ = on_node(&["rm", "-rf", &self.folder()]);
    }
}

#[test]
fn the_chart_s_server_comes_back_unsealed_with_nobody_there() {
    const POD: &str = "vault-bulla-server-0";
    let namespace = Namespace::restricted("server");
    let release = Release::new("vault", &namespace);
    let _disk = Disk::for_claim(&namespace, &format!("data-{POD}"));
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["vault".to_owned()]).unwrap();
    let [certificate, key] =
        [("tls.crt", made.cert.pem()), ("tls.key", made.signing_key.serialize_pem())].map(|(name, text)| {
            let path = folder.path().join(name);
            std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            path.display().to_string()
        });
    namespace.kubectl(&["create", "secret", "tls", "tls", "--cert", &certificate, "--key", &key]).ok();
    let unseal = format!("--from-literal=key={}", "5a".repeat(32));
    namespace.kubectl(&["create", "secret", "generic", "unseal", &unseal]).ok();
    let [repository, tag] = bulla_image();
    let settings = [
        &repository,
        &tag,
        "crds.install=false",
        "server.enabled=true",
        "server.tls.secret=tls",
        "server.storage.className=-",
        "server.extraEnv[0].name=UNSEAL_KEY",
        "server.extraEnv[0].valueFrom.secretKeyRef.name=unseal",
        "server.extraEnv[0].valueFrom.secretKeyRef.key=key",
        "server.config=seal \"static\" { current_key_id = \"1\" current_key = \"env://UNSEAL_KEY\" }",
    ];
    let said = release.set(&settings).ok();
    assert!(said.contains("vault operator init"), "{said}");
    let object = format!("pod/{POD}");
    namespace.eventually("a server that runs", || namespace.field(&object, ".status.phase") == "Running");
    assert!(!namespace.field(&object, ".status.containerStatuses[0].ready").contains("true"), "it has no keys yet");

    // As people do it, but from the node: the image of tests has no second name for the program.
    let vault = |token: &str, arguments: &str| {
        let address = format!("VAULT_ADDR=https://{}:8200", namespace.field(&object, ".status.podIP"));
        let program = format!("exec -a vault {} {arguments}", bulla().display());
        let token = format!("VAULT_TOKEN={token}");
        on_node(&["env", &address, "VAULT_SKIP_VERIFY=true", &token, "bash", "-c", &program])
    };
    namespace.eventually("a server that answers", || !namespace.field(&object, ".status.podIP").is_empty());
    let mut keys = None;
    namespace.eventually("a server that is initialized", || {
        let made = vault("", "operator init -format=json -recovery-shares=1 -recovery-threshold=1");
        keys = keys.take().or_else(|| serde_json::from_str::<Value>(&made.stdout).ok());
        keys.is_some()
    });
    let root = keys.unwrap()["root_token"].as_str().unwrap().to_owned();
    namespace.wait_for_pod(POD, "Running");
    vault(&root, "secrets enable -version=2 -path=kv kv").ok();
    vault(&root, "kv put kv/app password=hunter2").ok();
    let log = namespace.kubectl(&["logs", POD]).ok();
    assert!(log.contains("\"path\":\"kv/data/app\"") && !log.contains("hunter2"), "{log}");

    let first = namespace.field(&object, ".metadata.uid");
    namespace.kubectl(&["delete", "pod", POD]).ok();
    namespace.eventually("another pod", || {
        let uid = namespace.field(&object, ".metadata.uid");
        !uid.is_empty() && uid != first
    });
    namespace.wait_for_pod(POD, "Running");
    assert_eq!(vault(&root, "kv get -field=password kv/app").ok().trim(), "hunter2");
    let started = namespace.field(&object, ".status.containerStatuses[0].state.running.startedAt");
    let ready = namespace.field(&object, ".status.conditions[?(@.type==\"Ready\")].lastTransitionTime");
    eprintln!("the container started at {started}, and served at {ready}");
}
