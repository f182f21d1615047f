//! Pods that ask for environment variables by a label: the webhook, the program in them, and where the value then is.

use std::sync::{PoisonError, RwLock};

use bulla_cluster_tests::{Namespace, busybox_for_bulla, kubectl};
use serde_json::{Value, json};

use super::{Door, class};

const SECRET: &str = "correct-horse-battery-9f3";

/// Held by whoever makes pods that ask; alone by whoever keeps them from being made.
static ASKING: RwLock<()> = RwLock::new(());

/// A pod that meets the `restricted` standard and asks for variables; it prints what it has, and then sleeps.
fn asking(name: &str, annotations: &Value) -> Value {
    let script = "echo \"has $DATABASE_PASSWORD, pid $$$$\"; exec /bin/busybox sleep 1000";
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"bulla.dev/env": "true"}, "annotations": annotations},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "web", "image": busybox_for_bulla(), "command": ["/bin/busybox", "sh", "-c", script],
                "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
            }],
        },
    })
}

fn database(contents: &str) -> Value {
    class(
        "database",
        &json!([{"objectName": "password", "contents": contents, "mode": 0o400}, {"objectName": "host-name", "contents": "db.test"}]),
    )
}

#[test]
fn a_pod_that_asks_has_the_value_in_its_environment_and_no_secret_exists() {
    let _asking = ASKING.read().unwrap_or_else(PoisonError::into_inner);
    Door::with_operator();
    let namespace = Namespace::restricted("env");
    namespace.apply(&class("counted", &json!([{"objectName": "password", "counted": true}]))).ok();
    let annotations = json!({"bulla.dev/env-classes": "counted", "bulla.dev/env-prefix": "DATABASE_"});
    namespace.apply(&asking("counted", &annotations)).ok();
    namespace.apply(&database(SECRET)).ok();
    let mapped =
        json!({"bulla.dev/env-classes": "database", "bulla.dev/env-map": "DATABASE_PASSWORD=database/password"});
    namespace.apply(&asking("web", &mapped)).ok();
    namespace.wait_for_pod("web", "Running");
    namespace.wait_for_pod("counted", "Running");
    let says = |pod: &str| namespace.kubectl(&["logs", pod]).ok();
    // The program is the container's first process.
    namespace.eventually("its word", || says("web").contains('\n'));
    assert_eq!(says("web"), format!("has {SECRET}, pid 1\n"));
    namespace.eventually("its word", || says("counted").contains('\n'));
    assert_eq!(says("counted"), "has 1, pid 1\n");

    // The class of a test's provider has the value itself in it; nothing that came of it has.
    assert_eq!(namespace.kubectl(&["get", "secrets", "--output", "name"]).ok(), "");
    let others = "configmaps,events,pods,secretproviderclasspodstatuses";
    let others = namespace.kubectl(&["get", others, "--output", "yaml"]).ok();
    assert!(others.contains("kind: SecretProviderClassPodStatus") && !others.contains(SECRET), "{others}");
    let pod = namespace.kubectl(&["get", "pod", "web", "--output", "yaml"]).ok();
    assert!(pod.contains("/run/bulla/bulla") && !pod.contains(SECRET), "{pod}");
    // Who starts another process in the container has no variable by it.
    let beside =
        ["exec", "web", "--container", "web", "--", "/bin/busybox", "sh", "-c", "echo ${DATABASE_PASSWORD-none}"];
    assert_eq!(namespace.kubectl(&beside).ok(), "none\n");
    // Made again from what it has become, it is as it was.
    let mut again: Value =
        serde_json::from_str(&namespace.kubectl(&["get", "pod", "web", "--output", "json"]).ok()).unwrap();
    again["metadata"] = json!({"name": "again", "labels": again["metadata"]["labels"], "annotations": again["metadata"]["annotations"]});
    let command = again["spec"]["containers"][0]["command"].clone();
    again["spec"].as_object_mut().unwrap().remove("nodeName");
    namespace.apply(&again).ok();
    let again = namespace.kubectl(&["get", "pod", "again", "--output", "json"]).ok();
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["spec"]["containers"][0]["command"], command);
    assert_eq!(again["spec"]["initContainers"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_have_it_is_refused_and_who_did_not_ask_is_left_alone() {
    let _asking = ASKING.read().unwrap_or_else(PoisonError::into_inner);
    Door::with_operator();
    let namespace = Namespace::restricted("refused");
    let annotations = json!({"bulla.dev/env-classes": "database"});
    let mut pod = asking("web", &annotations);
    pod["spec"]["containers"][0].as_object_mut().unwrap().remove("command");
    let refusal = namespace.apply(&pod).refused();
    assert!(refusal.contains("env.bulla.dev") && refusal.contains("container web has no command"), "{refusal}");
    let refusal = namespace.apply(&asking("web", &json!({}))).refused();
    assert!(refusal.contains("bulla.dev/env-classes"), "{refusal}");
    // Without the label, or in kube-system, nobody is asked.
    pod["metadata"]["labels"] = json!({"bulla.dev/env": "false"});
    namespace.apply(&pod).ok();
    let mut command = kubectl();
    command.args([
        "run",
        "asks",
        "--namespace=kube-system",
        "--image=i",
        "--labels=bulla.dev/env=true",
        "--dry-run=server",
        "--output=json",
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("/run/bulla"));
}

#[test]
fn a_program_is_started_again_in_its_pod_when_the_value_changes() {
    let _asking = ASKING.read().unwrap_or_else(PoisonError::into_inner);
    Door::with_operator();
    let namespace = Namespace::restricted("restart");
    namespace.apply(&database("old")).ok();
    let annotations = json!({
        "bulla.dev/env-classes": "database", "bulla.dev/env-on-change": "restart",
        "bulla.dev/env-map": "DATABASE_PASSWORD=database/password",
    });
    namespace.apply(&asking("web", &annotations)).ok();
    namespace.wait_for_pod("web", "Running");
    let says = || namespace.kubectl(&["logs", "web"]).ok();
    namespace.eventually("its word", || says().starts_with("has old, "));
    namespace.apply(&database("new")).ok();
    namespace.eventually("the new value", || says().contains("\nhas new, "));
    assert_eq!(namespace.field("pod/web", ".status.containerStatuses[0].restartCount"), "0");
}

#[test]
fn a_certificate_that_somebody_takes_out_of_the_configuration_comes_back() {
    let _alone = ASKING.write().unwrap_or_else(PoisonError::into_inner);
    let door = Door::with_operator();
    let namespace = Namespace::restricted("bundle");
    namespace.apply(&database("x")).ok();
    let name =
        format!("mutatingwebhookconfiguration/{}-asks-bulla-inject", door.driver.trim_end_matches(".bulla.test"));
    let bundle = || namespace.field(&name, ".webhooks[0].clientConfig.caBundle");
    assert!(bundle().len() > 100);
    let remove = r#"[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]"#;
    namespace.kubectl(&["patch", &name, "--type=json", "--patch", remove]).ok();
    namespace.eventually("the certificate", || bundle().len() > 100);
    let annotations = json!({"bulla.dev/env-classes": "database"});
    namespace.eventually("a pod", || namespace.apply(&asking("web", &annotations)).success);
}
