//! `bulla server` in a pod: other pods log in with their service account's tokens.

use bulla_cluster_tests::{BUSYBOX, Namespace, bulla_image, kubectl};
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
