//! The provider `vault` on a real kubelet: an OpenBao on this machine, logins that the cluster's API server reviews.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bulla_cluster_tests::{Namespace, bulla_image, definitions, kubeconfig, kubectl};
use bulla_test_support::bao::Bao;
use bulla_test_support::service_accounts::Broker;
use serde_json::{Value, json};

use super::{Door, cat, complaints};

/// A server that reviews tokens of the cluster, and has a role for one account of a namespace.
pub(super) struct World {
    bao: Bao,
    pub(super) broker: Broker,
    /// Where nodes and pods reach it.
    pub(super) address: String,
    credentials: String,
    binding: String,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = kubectl().args(["delete", "clusterrolebinding", &self.binding, "--wait=false"]).output();
    }
}

impl World {
    pub(super) fn new(namespace: &Namespace) -> Self {
        let (bao, broker) = (Bao::for_others(), Broker::start());
        let config: Value = serde_saphyr::from_str(&std::fs::read_to_string(kubeconfig()).unwrap()).unwrap();
        let cluster = &config["clusters"][0]["cluster"];
        let api = cluster["server"].as_str().unwrap();
        let authority = cluster["certificate-authority-data"].as_str().unwrap();
        let authority = String::from_utf8(STANDARD.decode(authority).unwrap()).unwrap();
        // The machine's own address in the nodes' network is its first.
        let node = api.trim_start_matches("https://").split(':').next().unwrap();
        let machine = format!("{}.1", node.rsplit_once('.').unwrap().0);
        let address = format!("http://{machine}:{}", bao.0.address.port());

        namespace.kubectl(&["create", "serviceaccount", "reviewer"]).ok();
        let binding = format!("{}-reviewer", namespace.name);
        let subject = format!("--serviceaccount={}:reviewer", namespace.name);
        let bind = ["create", "clusterrolebinding", &binding, "--clusterrole=system:auth-delegator", &subject];
        namespace.kubectl(&bind).ok();
        let reviewer = namespace.kubectl(&["create", "token", "reviewer"]).ok();
        bao.call("POST", "sys/auth/kubernetes", &json!({ "type": "kubernetes" }));
        let settings = json!({
            "kubernetes_host": api, "kubernetes_ca_cert": authority, "token_reviewer_jwt": reviewer.trim(),
            "disable_local_ca_jwt": true,
        });
        bao.call("POST", "auth/kubernetes/config", &settings);
        let credentials = broker.engine(&bao, "20s", "10m");
        let policy = format!(
            r#"path "secret/data/web" {{ capabilities = ["read"] }} path "{credentials}" {{ capabilities = ["read"] }} path "sys/leases/revoke" {{ capabilities = ["update"] }}"#
        );
        bao.call("POST", "sys/policies/acl/web", &json!({ "policy": policy }));
        let role = json!({
            "bound_service_account_names": "web", "bound_service_account_namespaces": namespace.name,
            "audience": "vault", "token_policies": "web", "token_ttl": "10m",
        });
        bao.call("POST", "auth/kubernetes/role/web", &role);
        for account in ["web", "other"] {
            namespace.kubectl(&["create", "serviceaccount", account]).ok();
        }
        let world = Self { bao, broker, address, credentials, binding };
        world.password("one");
        world
    }

    pub(super) fn password(&self, value: &str) {
        self.bao.call("POST", "secret/data/web", &json!({ "data": { "password": value } }));
    }

    /// A class as users of the peer have it.
    pub(super) fn class(&self) -> Value {
        let objects = format!(
            r#"
- objectName: "db-password"
  secretPath: "secret/data/web"
  secretKey: "password"
  filePermission: 0644
- objectName: "broker-user"
  secretPath: "{path}"
  secretKey: "username"
- objectName: "broker-password"
  secretPath: "{path}"
  secretKey: "password"
"#,
            path = self.credentials
        );
        json!({
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"name": "web"},
            "spec": {"provider": "vault", "parameters": {"vaultAddress": self.address, "roleName": "web", "objects": objects}},
        })
    }
}

fn within(what: &str, limit: Duration, mut is_true: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < limit, "{what} did not come in {limit:?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn an_unmodified_class_of_the_vault_provider_mounts_rotates_and_gives_back_what_was_leased() {
    definitions();
    let namespace = Namespace::new("vault");
    let world = World::new(&namespace);
    let allowed = format!("node.vault.allowedAddresses={{{}}}", world.address);
    let settings = ["node.vault.enabled=true", allowed.as_str(), "node.rotation.interval=15s"];
    let door = Door::open_with("vault", &namespace, &bulla_image(), &settings);
    namespace.apply(&world.class()).ok();
    let pod = |name: &str, account: &str| {
        let mut pod = door.pod(name, "web");
        pod["spec"]["serviceAccountName"] = json!(account);
        pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
        namespace.apply(&pod).ok();
    };
    pod("a", "web");
    pod("intruder", "other");
    namespace.wait_for_pod("a", "Running");
    assert_eq!(cat(&namespace, "a", "/secrets/db-password"), "one");
    let user = cat(&namespace, "a", "/secrets/broker-user");
    assert_eq!(world.broker.users().0, std::slice::from_ref(&user));
    // What an account may not have, its pod does not get; the reason is in its events.
    namespace.eventually("the refusal", || complaints(&namespace, "intruder").contains("refused the login"));
    assert_ne!(namespace.field("pod/intruder", ".status.phase"), "Running");

    // A lease of 20 s is renewed while its pod lives, and a changed neighbour leaves it alone.
    world.password("two");
    let read = || cat(&namespace, "a", "/secrets/db-password");
    within("the change", Duration::from_mins(3), || read() == "two");
    assert_eq!(cat(&namespace, "a", "/secrets/broker-user"), user);
    assert_eq!(world.broker.users(), (vec![user.clone()], vec![]));

    // The end of the pod is the end of its lease.
    namespace.kubectl(&["delete", "pod", "a", "--wait=false"]).ok();
    within("the lease's end", Duration::from_secs(40), || world.broker.users().1 == [user.clone()]);

    // A service that was started again disturbs nothing, and still gives back.
    pod("b", "web");
    namespace.wait_for_pod("b", "Running");
    let user = cat(&namespace, "b", "/secrets/broker-user");
    namespace.kubectl(&["rollout", "restart", "daemonset/vault-bulla-node"]).ok();
    namespace.kubectl(&["rollout", "status", "daemonset/vault-bulla-node", "--timeout=120s"]).ok();
    // The kubelet asks once a minute; the lease has twenty seconds, and is not renewed in between.
    let status = format!("secretproviderclasspodstatus/b-{}-web", namespace.name);
    namespace.eventually("the status", || !namespace.field(&status, ".status.objects[0].version").is_empty());
    let now = || cat(&namespace, "b", "/secrets/broker-user");
    within("a user that lives", Duration::from_mins(3), || {
        let (made, removed) = world.broker.users();
        let now = now();
        made.contains(&now) && !removed.contains(&now) && (now == user || removed.contains(&user))
    });
    namespace.kubectl(&["delete", "pod", "b", "--wait=false"]).ok();
    within("the end of all leases", Duration::from_mins(2), || {
        let (made, removed) = world.broker.users();
        made.iter().all(|user| removed.contains(user))
    });
}
