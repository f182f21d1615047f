//! What the chart renders: each switch brings what it says and nothing else. No cluster is asked.

mod node;
mod pods;
mod server;

use bulla_cluster_tests::{CHART, Release, helm};
use serde_json::{Value, json};

/// Settings with which the sealing door opens.
const SEALING: &[&str] =
    &["image.repository=example.test/bulla", "sealing.enabled=true", "sealing.keyService.shares=true"];

/// What is rendered with the sealing door on and these settings.
fn sealing(settings: &[&str]) -> Vec<Value> {
    Release::render(&[SEALING, settings].concat())
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// The only object of a kind with that in its name.
#[track_caller]
fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| {
        object["kind"] == kind && object["metadata"]["name"].as_str().is_some_and(|found| found.contains(name))
    });
    let object = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "several {kind} {name}");
    object
}

/// Rules of roles that reach Secrets: the role's kind and namespace.
fn secret_access(objects: &[Value]) -> Vec<(String, String)> {
    let roles = objects.iter().filter(|object| object["kind"] == "Role" || object["kind"] == "ClusterRole");
    let reaching = roles.filter(|role| {
        role["rules"].as_array().unwrap().iter().any(|rule| {
            let resources = rule["resources"].to_string();
            resources.contains("\"secrets\"") || resources.contains("\"*\"")
        })
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    reaching.map(|role| (text(&role["kind"]), text(&role["metadata"]["namespace"]))).collect()
}

#[test]
fn helm_finds_nothing_wrong_with_it() {
    let linted = helm(&["lint", "--strict", CHART]).ok();
    assert!(linted.contains("0 chart(s) failed"), "{linted}");
    let mut arguments = vec!["lint", "--strict", CHART];
    arguments.extend(SEALING.iter().chain(&["node.enabled=true"]).flat_map(|setting| ["--set", setting]));
    helm(&arguments).ok();
}

#[test]
fn what_is_misspelt_or_makes_no_sense_is_refused_by_its_name() {
    for (setting, complaint) in [
        ("sealing.enable=true", "'enable' not allowed"),
        ("opertor.replicas=2", "'opertor' not allowed"),
        ("operator.replicas=many", "/operator/replicas"),
        ("operator.networkPolicy.egress.apiServer.ports={70000}", "/operator/networkPolicy/egress/apiServer/ports"),
        ("image.digest=sha256:abc", "/image/digest"),
        ("image.pullPolicy=always", "/image/pullPolicy"),
        ("sealing.namespaces={Upper}", "/sealing/namespaces"),
        ("sealing.keyService.awsKms={my-key}", "/sealing/keyService/awsKms"),
        ("sealing.keyService.localKeyFile.path=relative/key", "/sealing/keyService/localKeyFile/path"),
        ("sealing.algorithms={rsa-1024}", "/sealing/algorithms"),
    ] {
        let refusal = helm(&["template", "r", CHART, "--set", setting]).refused();
        assert!(refusal.contains(complaint), "{setting}: {refusal}");
    }
}

#[test]
fn without_an_image_or_a_key_service_it_says_what_to_name() {
    let refusal = helm(&["template", "r", CHART, "--set", SEALING[1], "--set", SEALING[2]]).refused();
    assert!(refusal.contains("image.repository is not set"), "{refusal}");
    let refusal = helm(&["template", "r", CHART, "--set", SEALING[0], "--set", SEALING[1]]).refused();
    for choice in ["awsKms", "vaultTransit", "localKeyFile", "shares", "plainSecret"] {
        assert!(refusal.contains(choice), "{refusal}");
    }
    let both = ["sealing.keyService.plainSecret=true"];
    let settings: Vec<&str> = SEALING.iter().chain(&both).flat_map(|setting| ["--set", setting]).collect();
    let refusal = helm(&[&["template", "r", CHART][..], &settings].concat()).refused();
    assert!(refusal.contains("would leave them plain all the same"), "{refusal}");
}

#[test]
fn with_no_door_on_there_are_definitions_and_nothing_else() {
    let objects = Release::render(&[]);
    assert_eq!(kinds(&objects), ["CustomResourceDefinition"]);
    for object in &objects {
        assert_eq!(object["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    assert!(Release::render(&["crds.install=false"]).iter().all(Value::is_null));
}

#[test]
fn secrets_are_reached_where_the_door_serves_and_nowhere_else() {
    let role = |namespace: &str| ("Role".to_owned(), namespace.to_owned());
    assert_eq!(secret_access(&sealing(&[])), [("ClusterRole".to_owned(), String::new()), role("")]);
    let limited = sealing(&["sealing.namespaces={a,b}"]);
    assert_eq!(secret_access(&limited), [role(""), role("a"), role("b")]);
}

#[test]
fn the_release_s_own_secrets_are_read_and_written_only_for_what_was_asked() {
    let verbs = |settings: &[&str]| {
        let objects = sealing(&[&["sealing.namespaces={a}"], settings].concat());
        let rules = find(&objects, "Role", "sealing-keys")["rules"].as_array().unwrap().clone();
        let rule = rules.into_iter().find(|rule| rule["resources"] == json!(["secrets"])).unwrap();
        rule["verbs"].as_array().unwrap().iter().map(|verb| verb.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(verbs(&[]), ["get", "list", "watch"]);
    assert_eq!(verbs(&["sealing.adoptKeys=keep-plain"]), ["get", "list", "watch", "patch"]);
    assert_eq!(verbs(&["sealing.adoptKeys=delete-plain"]), ["get", "list", "watch", "patch", "delete"]);
    let plain = ["sealing.keyService.shares=false", "sealing.keyService.plainSecret=true"];
    assert_eq!(verbs(&plain), ["get", "list", "watch", "create", "patch"]);
}

#[test]
fn no_role_has_a_wildcard() {
    for settings in [&[][..], &["sealing.namespaces={a}"], &["sealing.access.verify={x}", "sealing.access.rotate={y}"]]
    {
        for object in sealing(settings) {
            assert!(!object["rules"].to_string().contains('*'), "{object}");
        }
    }
}

#[test]
fn every_pod_but_a_node_s_is_as_confined_as_the_restricted_standard_asks() {
    let objects = sealing(&["sealing.keyService.localKeyFile.path=/etc/bulla/sealing.key"]);
    let pod = &find(&objects, "Deployment", "operator")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65532);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        let expected = json!({
            "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], expected);
    }
    // The key file comes through a claim, on the nodes that have it.
    assert!(pod["volumes"].to_string().contains("persistentVolumeClaim"));
    assert!(!pod["volumes"].to_string().contains("hostPath"));
    assert_eq!(pod["nodeSelector"], json!({"node-role.kubernetes.io/control-plane": ""}));
    assert_eq!(find(&objects, "PersistentVolume", "")["spec"]["hostPath"]["path"], "/etc/bulla");
    // The token is for the operator's pods alone.
    assert_eq!(find(&objects, "ServiceAccount", "operator")["automountServiceAccountToken"], false);
    assert_eq!(pod["automountServiceAccountToken"], true);
}

#[test]
fn replicas_are_spread_and_not_all_drained_at_once() {
    let objects = sealing(&[]);
    let spec = &find(&objects, "Deployment", "operator")["spec"];
    assert_eq!(spec["replicas"], 2);
    let spread = spec["template"]["spec"]["topologySpreadConstraints"].as_array().unwrap();
    assert_eq!(spread[0]["topologyKey"], "kubernetes.io/hostname");
    let budget = find(&objects, "PodDisruptionBudget", "operator");
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    // All three mean the same pods.
    let labels = &spec["template"]["metadata"]["labels"];
    assert_eq!(budget["spec"]["selector"]["matchLabels"], *labels);
    assert_eq!(spread[0]["labelSelector"]["matchLabels"], *labels);
    let objects = sealing(&["operator.topologySpread.enabled=false", "operator.podDisruptionBudget.enabled=false"]);
    assert!(!kinds(&objects).contains(&"PodDisruptionBudget"));
}

#[test]
fn the_network_policy_lets_through_what_is_named() {
    let objects = sealing(&[]);
    let policy = &find(&objects, "NetworkPolicy", "operator")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
    // Certificates for anybody, metrics for nobody yet; names and the API server, no key service.
    assert_eq!(policy["ingress"], json!([{"ports": [{"port": "http"}]}]));
    assert_eq!(policy["egress"].as_array().unwrap().len(), 2);
    let objects = sealing(&[
        "operator.networkPolicy.metricsNamespaces={monitoring}",
        "operator.networkPolicy.egress.apiServer.cidrs={10.96.0.1/32}",
        "operator.networkPolicy.egress.keyService.ports={8200}",
        "sealing.keyService.vaultTransit={https://vault.test:8200/v1/transit/keys/bulla}",
    ]);
    let policy = &find(&objects, "NetworkPolicy", "operator")["spec"];
    assert!(policy["ingress"][1].to_string().contains("monitoring"));
    let api_server = json!({"ports": [{"port": 443}, {"port": 6443}], "to": [{"ipBlock": {"cidr": "10.96.0.1/32"}}]});
    assert_eq!(policy["egress"][1], api_server);
    assert_eq!(policy["egress"][2], json!({"ports": [{"port": 8200}]}));
    assert!(!kinds(&sealing(&["operator.networkPolicy.enabled=false"])).contains(&"NetworkPolicy"));
}

#[test]
fn each_key_service_becomes_an_argument_and_vault_its_login() {
    let container = |settings: &[&str]| {
        let objects = sealing(settings);
        find(&objects, "Deployment", "operator")["spec"]["template"]["spec"]["containers"][0].clone()
    };
    let both = container(&[
        "sealing.keyService.awsKms={arn:aws:kms:eu-west-1:1:key/a}",
        "sealing.keyService.vaultTransit={https://vault.test:8200/v1/transit/keys/bulla}",
        "sealing.keyService.vault.role=sealing",
        "sealing.keyService.vault.caConfigMap=vault-ca",
    ]);
    let arguments = both["args"].to_string();
    assert!(arguments.contains("arn:aws:kms:eu-west-1:1:key/a"), "{arguments}");
    assert!(arguments.contains("https://vault.test:8200/v1/transit/keys/bulla"), "{arguments}");
    let env = both["env"].as_array().unwrap();
    let variable = |name: &str| env.iter().find(|variable| variable["name"] == name).map(|found| &found["value"]);
    assert_eq!(variable("VAULT_ADDR").unwrap(), "https://vault.test:8200");
    assert_eq!(variable("BULLA_VAULT_AUTH").unwrap(), "kubernetes");
    assert_eq!(variable("BULLA_VAULT_ROLE").unwrap(), "sealing");
    assert_eq!(variable("VAULT_CACERT").unwrap(), "/etc/bulla/vault/ca.crt");
    assert!(!container(&[])["env"].to_string().contains("VAULT"));
}

#[test]
fn kubeseal_finds_the_service_where_it_looks() {
    let objects = sealing(&[]);
    let service = find(&objects, "Service", "sealed-secrets-controller");
    assert_eq!(service["spec"]["ports"][0]["name"], "http");
    assert_eq!(service["spec"]["ports"][0]["port"], 8080);
    let metrics = find(&objects, "Service", "metrics");
    assert_eq!(metrics["spec"]["ports"][0]["port"], 8081);
    find(&sealing(&["sealing.service.name=seals"]), "Service", "seals");
}

#[test]
fn monitors_are_made_when_asked_for() {
    assert!(!kinds(&sealing(&[])).contains(&"PodMonitor"));
    let on = "operator.metrics.monitor.enabled=true";
    let objects = sealing(&[on]);
    assert_eq!(find(&objects, "PodMonitor", "operator")["spec"]["podMetricsEndpoints"][0]["port"], "metrics");
    let objects = sealing(&[on, "operator.metrics.monitor.kind=ServiceMonitor"]);
    assert_eq!(find(&objects, "ServiceMonitor", "operator")["spec"]["endpoints"][0]["interval"], "30s");
}

#[test]
fn an_image_is_named_by_its_digest_if_there_is_one() {
    let image = |settings: &[&str]| {
        let objects = sealing(settings);
        find(&objects, "Deployment", "operator")["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(image(&[]), format!("example.test/bulla:{version}"), "Chart.yaml has another version than Cargo.toml");
    assert_eq!(image(&["image.tag=x"]), "example.test/bulla:x");
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(image(&["image.tag=x", &format!("image.digest={digest}")]), format!("example.test/bulla@{digest}"));
}
