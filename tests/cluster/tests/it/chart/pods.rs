//! The doors inject and syncSecret: what they add to the chart, and what the operator then may.

use bulla_cluster_tests::{CHART, Release, helm};
use serde_json::{Value, json};

use super::{SEALING, find, kinds, secret_access};

const INJECT: &[&str] = &["image.repository=example.test/bulla", "inject.enabled=true", "crds.install=false"];
const SYNC: &[&str] =
    &["image.repository=example.test/bulla", "node.enabled=true", "syncSecret.enabled=true", "crds.install=false"];

fn operator(objects: &[Value]) -> &Value {
    &find(objects, "Deployment", "operator")["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn the_webhook_is_asked_about_pods_with_the_label_and_keeps_no_others_from_starting() {
    let objects =
        Release::render(&[INJECT, &["inject.excludedNamespaces={infra}", "inject.timeoutSeconds=3"]].concat());
    let webhook = &find(&objects, "MutatingWebhookConfiguration", "n-r-bulla-inject")["webhooks"][0];
    assert_eq!(webhook["objectSelector"], json!({"matchLabels": {"bulla.dev/env": "true"}}));
    assert_eq!(
        webhook["namespaceSelector"]["matchExpressions"][0],
        json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "n", "infra"]})
    );
    assert_eq!(
        (&webhook["failurePolicy"], &webhook["sideEffects"], &webhook["timeoutSeconds"]),
        (&json!("Fail"), &json!("None"), &json!(3))
    );
    // The operator's to fill in.
    assert!(webhook["clientConfig"]["caBundle"].is_null());
    let service = &webhook["clientConfig"]["service"];
    assert_eq!(*service, json!({"namespace": "n", "name": "r-bulla-inject", "path": "/v1/inject", "port": 443}));
    assert_eq!(find(&objects, "Service", "inject")["spec"]["ports"][0]["targetPort"], "inject");
    let arguments = operator(&objects)["args"].to_string();
    for argument in [
        "--enable=inject",
        "--inject-image=example.test/bulla:",
        "--inject-driver=secrets-store.csi.k8s.io",
        "--inject-configuration=n-r-bulla-inject",
        "--inject-service=r-bulla-inject",
        r#"--inject-resources={\"limits\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}"#,
    ] {
        assert!(arguments.contains(argument), "{argument}: {arguments}");
    }
    let ingress = find(&objects, "NetworkPolicy", "operator")["spec"]["ingress"].to_string();
    assert!(ingress.contains("\"inject\""), "{ingress}");
    let other = Release::render(&[INJECT, &["inject.driverName=other.test"]].concat());
    assert!(operator(&other)["args"].to_string().contains("--inject-driver=other.test"));
}

#[test]
fn with_the_webhook_alone_the_operator_may_change_its_configuration_and_nothing_else() {
    let objects = Release::render(INJECT);
    assert_eq!(secret_access(&objects), []);
    let own = json!(["n-r-bulla-inject"]);
    assert_eq!(
        find(&objects, "ClusterRole", "inject")["rules"],
        json!([{
            "apiGroups": ["admissionregistration.k8s.io"], "resources": ["mutatingwebhookconfigurations"],
            "resourceNames": own, "verbs": ["get", "patch"],
        }])
    );
    let rules = find(&objects, "Role", "inject")["rules"].to_string();
    assert!(rules.contains("bulla-inject-authority"), "{rules}");
    assert!(!kinds(&objects).contains(&"DaemonSet"));
    assert!(!operator(&objects)["args"].to_string().contains("sealing"));
}

#[test]
fn the_operator_and_no_node_writes_secrets_of_mounted_files_where_the_door_serves() {
    let role = |kind: &str, namespace: &str| (kind.to_owned(), namespace.to_owned());
    let objects = Release::render(SYNC);
    assert_eq!(secret_access(&objects), [role("ClusterRole", "")]);
    let rules = find(&objects, "ClusterRole", "node")["rules"].to_string();
    assert!(!rules.contains("secrets\""), "{rules}");
    assert_eq!(
        secret_access(&Release::render(&[SYNC, &["syncSecret.namespaces={a,b}"]].concat())),
        [role("Role", "a"), role("Role", "b")]
    );
    let arguments = operator(&objects)["args"].to_string();
    assert!(
        arguments.contains("--enable=sync") && arguments.contains("--node-service-accounts=n/r-bulla-node"),
        "{arguments}"
    );
    let node = &find(&objects, "DaemonSet", "node")["spec"]["template"]["spec"];
    let arguments = node["containers"][0]["args"].to_string();
    assert!(arguments.contains("--sync-operator=https://r-bulla-sealing-nodes.n.svc:8443"), "{arguments}");
    assert!(!arguments.contains("--sealing-operator"), "{arguments}");
    assert!(node["volumes"].to_string().contains("bulla.dev/node"));
    let tokens = &find(&objects, "CSIDriver", "secrets-store.csi.k8s.io")["spec"]["tokenRequests"];
    assert_eq!(*tokens, json!([{"audience": "bulla.dev/pod"}]));
    let egress = find(&objects, "NetworkPolicy", "node")["spec"]["egress"].to_string();
    assert!(egress.contains("8443"), "{egress}");
    // In a cluster without names.
    let named = Release::render(&[SYNC, &["node.sealingOperator=https://10.0.0.7:8443"]].concat());
    let arguments = find(&named, "DaemonSet", "node")["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(arguments.contains("--sync-operator=https://10.0.0.7:8443\""), "{arguments}");
    // With sealing beside it each argument is there once.
    let both = Release::render(&[SYNC, SEALING].concat());
    let arguments = operator(&both)["args"].to_string();
    assert_eq!(arguments.matches("--node-service-accounts").count(), 1, "{arguments}");
    // Without nodes there is nothing to do.
    let alone = Release::render(&["syncSecret.enabled=true", "crds.install=false"]);
    assert!(alone.iter().all(Value::is_null));
}

#[test]
fn what_is_misspelt_is_refused() {
    for setting in [
        "inject.enable=true",
        "inject.timeoutSeconds=31",
        "inject.driverName=Upper",
        "syncSecret.namespaces={Upper}",
        "syncSecret.x=1",
    ] {
        let refusal = helm(&["template", "r", CHART, "--set", setting]).refused();
        assert!(refusal.contains("inject") || refusal.contains("syncSecret"), "{setting}: {refusal}");
    }
}
