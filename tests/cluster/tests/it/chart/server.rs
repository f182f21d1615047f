//! The door server: its pod, its two names, and no more permissions than it uses.

use bulla_cluster_tests::{CHART, Release, helm};
use serde_json::{Value, json};

use super::{find, kinds, secret_access};

const SERVER: &[&str] = &[
    "image.repository=example.test/bulla",
    "server.enabled=true",
    "server.tls.secret=server-tls",
    "crds.install=false",
];

/// What is rendered with the door on and these settings.
fn server(settings: &[&str]) -> Vec<Value> {
    Release::render(&[SERVER, settings].concat())
}

fn pod(objects: &[Value]) -> &Value {
    &find(objects, "StatefulSet", "server")["spec"]["template"]["spec"]
}

fn config(objects: &[Value]) -> &str {
    find(objects, "ConfigMap", "server")["data"]["server.hcl"].as_str().unwrap()
}

#[test]
fn the_door_is_there_by_itself_and_reads_no_secret() {
    let objects = server(&[]);
    let door = ["ClusterRoleBinding", "ConfigMap", "NetworkPolicy", "Service", "ServiceAccount", "StatefulSet"];
    assert_eq!(kinds(&objects), door);
    assert_eq!(secret_access(&objects), []);
    assert_eq!(find(&objects, "ClusterRoleBinding", "server")["roleRef"]["name"], "system:auth-delegator");
    assert!(!kinds(&server(&["server.reviewsTokens=false"])).contains(&"ClusterRoleBinding"));
}

#[test]
fn it_has_tls_unless_somebody_says_that_something_else_does() {
    let refusal = |settings: &[&str]| {
        let settings = [&["template", "r", CHART], settings].concat();
        helm(&settings).refused()
    };
    let open = ["--set", "image.repository=x", "--set", "server.enabled=true"];
    assert!(refusal(&open).contains("server.tls.secret is not set"));
    let both = [&open[..], &["--set", "server.tls.secret=a,server.tls.disabled=true"]].concat();
    assert!(refusal(&both).contains("choose one"));

    let objects = server(&[]);
    assert!(config(&objects).contains("tls_cert_file") && !config(&objects).contains("tls_disable"));
    assert_eq!(pod(&objects)["containers"][0]["readinessProbe"]["httpGet"]["scheme"], "HTTPS");
    let plain = server(&["server.tls.secret=", "server.tls.disabled=true"]);
    assert!(config(&plain).contains("allow_plaintext_on_the_network = true"));
    assert_eq!(pod(&plain)["containers"][0]["readinessProbe"]["httpGet"]["scheme"], "HTTP");
    assert!(!pod(&plain)["volumes"].to_string().contains("secret"));
}

#[test]
fn its_pod_is_as_confined_as_the_restricted_standard_asks_and_is_another_with_another_configuration() {
    let objects = server(&["server.config=disable_mlock = true"]);
    let pod = pod(&objects);
    assert_eq!(
        (&pod["securityContext"]["runAsNonRoot"], &pod["securityContext"]["fsGroup"]),
        (&json!(true), &json!(65532))
    );
    let expected = json!({
        "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
    });
    assert_eq!(pod["containers"][0]["securityContext"], expected);
    assert!(config(&objects).ends_with("disable_mlock = true"));
    let mark = |objects: &[Value]| {
        let annotations = &find(objects, "StatefulSet", "server")["spec"]["template"]["metadata"]["annotations"];
        annotations["bulla.dev/config"].as_str().unwrap().to_owned()
    };
    assert_ne!(mark(&objects), mark(&server(&[])));
    assert_eq!(mark(&server(&[])), mark(&server(&["server.logLevel=debug"])));
}

#[test]
fn nothing_of_its_environment_is_a_setting_of_clients() {
    // What is set for people in the pod would count for the key service that unseals the server, too.
    let objects = server(&[]);
    let variables = pod(&objects)["containers"][0]["env"].to_string();
    assert!(!variables.contains("VAULT_") && !variables.contains("BAO_"), "{variables}");
}

#[test]
fn a_key_that_would_stand_in_a_config_map_is_refused() {
    let refusal = |config: &str| {
        let setting = format!("server.config={config}");
        let mut arguments = vec!["template", "r", CHART];
        arguments.extend(SERVER.iter().flat_map(|setting| ["--set", setting]));
        arguments.extend(["--set", &setting]);
        helm(&arguments)
    };
    let seal = |key: &str| format!("seal \"static\" {{\n current_key_id = \"1\"\n current_key = \"{key}\"\n}}");
    assert!(refusal(&seal("5a5a")).refused().contains("ConfigMap"));
    refusal(&seal("env://KEY")).ok();
    refusal(&seal("file:///run/key")).ok();
}

#[test]
fn metrics_are_open_where_prometheus_reads_them_and_else_not() {
    assert!(!config(&server(&[])).contains("unauthenticated_metrics_access"));
    let settings = ["template", "r", CHART, "--set", "server.metrics.monitor.enabled=true"];
    let wanted: Vec<&str> = SERVER.iter().flat_map(|setting| ["--set", setting]).collect();
    assert!(helm(&[&settings[..], &wanted].concat()).refused().contains("server.metrics.open"));
    let read = server(&["server.metrics.open=true", "server.metrics.monitor.enabled=true"]);
    assert!(config(&read).contains("unauthenticated_metrics_access = true"));
    assert_eq!(find(&read, "PodMonitor", "server")["spec"]["podMetricsEndpoints"][0]["path"], "/v1/sys/metrics");
}
