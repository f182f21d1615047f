//! The node door: its DaemonSet, its driver object, and no more permissions than it uses.

use bulla_cluster_tests::{CHART, Release, helm};
use serde_json::{Value, json};

use super::{SEALING, find, kinds, sealing, secret_access};

const NODE: &[&str] = &["image.repository=example.test/bulla", "node.enabled=true", "crds.install=false"];

/// What is rendered with the node door on and these settings.
fn node(settings: &[&str]) -> Vec<Value> {
    Release::render(&[NODE, settings].concat())
}

fn container(objects: &[Value]) -> &Value {
    &find(objects, "DaemonSet", "node")["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn each_door_is_there_by_itself() {
    let door =
        ["CSIDriver", "ClusterRole", "ClusterRoleBinding", "DaemonSet", "NetworkPolicy", "Service", "ServiceAccount"];
    assert_eq!(kinds(&node(&[])), door);
    // Nothing of the operator: what is here is a node's.
    for object in node(&["node.metrics.monitor.enabled=true"]) {
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/component"], "node", "{object}");
    }
    for object in sealing(&[]) {
        assert_ne!(object["metadata"]["labels"]["app.kubernetes.io/component"], "node", "{object}");
    }
    // And what is between them: where nodes ask the operator, and whom they believe.
    let both = Release::render(&[NODE, SEALING].concat());
    assert_eq!(both.len(), node(&[]).len() + sealing(&["crds.install=false"]).len() + 3);
}

#[test]
fn with_both_doors_the_operator_opens_for_nodes_and_neither_may_do_more() {
    let both = Release::render(&[NODE, SEALING].concat());
    let operator = &find(&both, "Deployment", "operator")["spec"]["template"]["spec"]["containers"][0];
    assert!(operator["args"].to_string().contains("--node-service-accounts=n/r-bulla-node"), "{operator}");
    assert!(operator["ports"].to_string().contains("8443"), "{operator}");
    assert_eq!(find(&both, "Service", "sealing-nodes")["spec"]["ports"][0]["port"], 8443);
    let arguments = container(&both)["args"].to_string();
    assert!(arguments.contains("--sealing-operator=https://r-bulla-sealing-nodes.n.svc:8443"), "{arguments}");
    // Each token is good for one thing.
    let volumes = find(&both, "DaemonSet", "node")["spec"]["template"]["spec"]["volumes"].to_string();
    assert!(volumes.contains("bulla.dev/node"), "{volumes}");
    let tokens = &find(&both, "CSIDriver", "secrets-store.csi.k8s.io")["spec"]["tokenRequests"];
    assert_eq!(*tokens, json!([{"audience": "bulla.dev/pod"}]));
    let rule = |verbs: Value| json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["bulla-sealing-authority"], "verbs": verbs});
    assert_eq!(find(&both, "Role", "node")["rules"], json!([rule(json!(["get", "list", "watch"]))]));
    let rules = &find(&both, "Role", "sealing-keys")["rules"];
    assert!(rules.as_array().unwrap().contains(&rule(json!(["get", "patch"]))), "{rules}");
    // In a cluster without names, and with sops files in ConfigMaps.
    let more = ["node.sealingOperator=https://10.0.0.7:8443", "sealing.sopsKeys={age1abc,local:/k}"];
    let more = Release::render(&[NODE, SEALING, &more].concat());
    let arguments = container(&more)["args"].to_string();
    assert!(arguments.contains("--sealing-operator=https://10.0.0.7:8443\""), "{arguments}");
    let operator =
        find(&more, "Deployment", "operator")["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
    assert!(operator.contains("--sops-key=age1abc") && operator.contains("--sops-key=local:/k"), "{operator}");
    let maps = json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]});
    let has = |object: &Value| object["rules"].as_array().is_some_and(|rules| rules.contains(&maps));
    let reads = |objects: &[Value]| objects.iter().any(has);
    assert!(reads(&more) && !reads(&both));
    let secrets = |objects: &[Value]| secret_access(objects).len();
    assert_eq!(secrets(&both), secrets(&sealing(&[])));
}

#[test]
fn providers_for_another_driver_are_not_privileged_and_may_do_nothing_in_the_cluster() {
    let vault = ["node.role=provider", "node.vault.enabled=true", "node.vault.address=https://vault:8200"];
    let objects = Release::render(&[NODE, SEALING, &vault].concat());
    let container = container(&objects);
    let arguments = container["args"].to_string();
    assert!(arguments.contains("[\"provider\"") && arguments.contains("--sealing-operator="), "{arguments}");
    assert!(arguments.contains("--folder=/etc/kubernetes/secrets-store-csi-providers"), "{arguments}");
    let security = &container["securityContext"];
    assert_eq!((&security["privileged"], &security["capabilities"]["drop"][0]), (&Value::Null, &json!("ALL")));
    let mounts = container["volumeMounts"].to_string();
    assert!(!mounts.contains("pods") && !mounts.contains("registration"), "{mounts}");
    assert!(!objects.iter().any(|object| object["kind"] == "CSIDriver"));
    let is_of_node = |object: &&Value| object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("node"));
    assert!(!objects.iter().filter(is_of_node).any(|object| object["kind"] == "ClusterRole"));
}

#[test]
fn a_node_reads_classes_and_pods_and_no_secret() {
    let objects = node(&[]);
    assert_eq!(secret_access(&objects), []);
    let csi = "secrets-store.csi.x-k8s.io";
    assert_eq!(
        find(&objects, "ClusterRole", "node")["rules"],
        json!([
            {"apiGroups": [csi], "resources": ["secretproviderclasses"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [csi], "resources": ["secretproviderclasspodstatuses"], "verbs": ["create", "patch"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
        ])
    );
    let subjects = &find(&objects, "ClusterRoleBinding", "node")["subjects"];
    assert_eq!(*subjects, json!([{"kind": "ServiceAccount", "name": "r-bulla-node", "namespace": "n"}]));
    assert_eq!(find(&objects, "ServiceAccount", "node")["automountServiceAccountToken"], false);
}

#[test]
fn the_driver_object_says_what_the_driver_needs() {
    let spec = find(&node(&[]), "CSIDriver", "secrets-store.csi.k8s.io")["spec"].clone();
    assert_eq!(
        spec,
        json!({
            "attachRequired": false, "podInfoOnMount": true, "volumeLifecycleModes": ["Ephemeral"],
            "requiresRepublish": true, "fsGroupPolicy": "None",
        })
    );
    // Where the API knows it, tokens come among the secrets.
    for (version, expected) in [("v1.36.0", json!(true)), ("v1.34.0", Value::Null)] {
        let mut arguments = vec!["template", "r", CHART, "--kube-version", version];
        let settings = [NODE, &["node.driverName=other.test", "node.tokenRequests[0].audience=vault"]].concat();
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let objects: Vec<Value> = serde_saphyr::from_multiple(&helm(&arguments).ok()).unwrap();
        let spec = &find(&objects, "CSIDriver", "other.test")["spec"];
        assert_eq!(spec["tokenRequests"], json!([{"audience": "vault"}]));
        assert_eq!(spec["serviceAccountTokenInSecrets"], expected, "{version}");
    }
}

#[test]
fn a_node_s_pod_has_the_folders_it_uses_and_no_network_of_the_node() {
    let objects = node(&[]);
    let spec = &find(&objects, "DaemonSet", "node")["spec"];
    assert_eq!(spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"], "10%");
    let pod = &spec["template"]["spec"];
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[key].is_null(), "{key}");
    }
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
    // The half that serves reads the token as this group.
    assert_eq!(pod["securityContext"]["fsGroup"], 65532);
    let paths: Vec<&str> =
        pod["volumes"].as_array().unwrap().iter().map(|volume| volume["hostPath"]["path"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        [
            "/var/lib/kubelet/pods",
            "/var/lib/kubelet/plugins/secrets-store.csi.k8s.io",
            "/var/lib/kubelet/plugins_registry",
            "/etc/kubernetes/secrets-store-csi-providers",
            "/var/run/secrets-store-csi-providers",
        ]
    );
    let mounts = container(&objects)["volumeMounts"].as_array().unwrap();
    let reaches = |mount: &&Value| !mount["mountPropagation"].is_null();
    assert_eq!(
        mounts.iter().filter(reaches).collect::<Vec<_>>(),
        [&json!({"name": "pods", "mountPath": "/var/lib/kubelet/pods", "mountPropagation": "Bidirectional"})]
    );
    assert_eq!(container(&objects)["securityContext"]["readOnlyRootFilesystem"], true);
}

#[test]
fn a_node_s_settings_become_arguments() {
    let objects = node(&[
        "node.driverName=other.test",
        "node.kubeletFolder=/data/kubelet",
        "node.providerFolders={/run/a,/run/b,/run/c}",
        "node.rotation.interval=90s",
        "node.logLevel=warn",
        "node.extraArgs={--file-mode=0400}",
    ]);
    let arguments = container(&objects)["args"].to_string();
    for argument in [
        "--drivername=other.test",
        "--kubelet-registration-path=/data/kubelet/plugins/other.test/csi.sock",
        "--pods-folder=/data/kubelet/pods",
        // The first is searched first.
        "--additional-provider-volume-paths=/run/a,/run/b",
        "--provider-volume=/run/c",
        "--rotation-poll-interval=90s",
        "--file-mode=0400",
    ] {
        assert!(arguments.contains(&format!("{argument:?}")), "{argument}: {arguments}");
    }
    assert!(container(&objects)["env"].to_string().contains("BULLA_LOG"));
    for (setting, complaint) in [
        ("node.enable=true", "'enable' not allowed"),
        ("node.driverName=Upper", "/node/driverName"),
        ("node.kubeletFolder=kubelet", "/node/kubeletFolder"),
        ("node.providerFolders={relative}", "/node/providerFolders"),
        ("node.tokenRequests[0].audienc=x", "/node/tokenRequests/0"),
        ("node.rotation.interval=often", "/node/rotation/interval"),
    ] {
        let settings = NODE.iter().flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> =
            ["template", "r", CHART].into_iter().chain(settings).chain(["--set", setting]).collect();
        let refusal = helm(&arguments).refused();
        assert!(refusal.contains(complaint), "{setting}: {refusal}");
    }
}

#[test]
fn a_node_reaches_names_and_the_api_server_and_is_reached_for_metrics() {
    let objects = node(&[]);
    let policy = &find(&objects, "NetworkPolicy", "node")["spec"];
    assert_eq!((&policy["policyTypes"], &policy["ingress"]), (&json!(["Ingress", "Egress"]), &json!([])));
    assert_eq!(policy["egress"].as_array().unwrap().len(), 2);
    assert_eq!(policy["egress"][1], json!({"ports": [{"port": 443}, {"port": 6443}]}));
    let objects = node(&[
        "node.networkPolicy.metricsNamespaces={monitoring}",
        "node.networkPolicy.egress.extra[0].ports[0].port=8200",
    ]);
    let policy = &find(&objects, "NetworkPolicy", "node")["spec"];
    assert!(policy["ingress"][0].to_string().contains("monitoring"));
    assert_eq!(policy["egress"][2], json!({"ports": [{"port": 8200}]}));
    assert!(!kinds(&node(&["node.networkPolicy.enabled=false"])).contains(&"NetworkPolicy"));
    let on = "node.metrics.monitor.enabled=true";
    let monitor = |kind: &str| find(&node(&[on, &format!("node.metrics.monitor.kind={kind}")]), kind, "node").clone();
    assert_eq!(monitor("PodMonitor")["spec"]["podMetricsEndpoints"][0]["port"], "metrics");
    assert_eq!(monitor("ServiceMonitor")["spec"]["endpoints"][0]["port"], "metrics");
}

#[test]
fn the_provider_vault_is_built_in_where_it_is_asked_for() {
    let vault = ["node.vault.enabled=true", "node.vault.address=https://vault.example.com:8200"];
    let all = [
        "node.vault.allowedAddresses={https://*.vault.svc:8200,http://vault:*}",
        "node.vault.tlsSecret=vault-tls",
        "node.vault.caFile=ca.crt",
    ];
    let objects = node(&[&vault[..], &all].concat());
    let arguments = container(&objects)["args"].to_string();
    for argument in [
        "--vault-address=https://vault.example.com:8200",
        "--vault-allowed-addresses=https://*.vault.svc:8200,http://vault:*",
        "--vault-tls-folder=/vault/tls",
        "--vault-ca-cert=/vault/tls/ca.crt",
    ] {
        assert!(arguments.contains(&format!("{argument:?}")), "{argument}: {arguments}");
    }
    let volumes = find(&objects, "DaemonSet", "node")["spec"]["template"]["spec"]["volumes"].to_string();
    assert!(volumes.contains("\"secretName\":\"vault-tls\""), "{volumes}");
    let tokens = |settings: &[&str]| {
        find(&node(settings), "CSIDriver", "secrets-store.csi.k8s.io")["spec"]["tokenRequests"].clone()
    };
    assert_eq!(tokens(&vault), json!([{"audience": "vault"}]));
    let own =
        [&vault[..], &["node.tokenRequests[0].audience=vault", "node.tokenRequests[0].expirationSeconds=900"]].concat();
    assert_eq!(tokens(&own), json!([{"audience": "vault", "expirationSeconds": 900}]), "asked for once");
    let policy = &find(&objects, "NetworkPolicy", "node")["spec"];
    assert_eq!(policy["egress"][2], json!({"ports": [{"port": 443}, {"port": 8200}]}));
    // No further permission, and nothing of it without the switch.
    assert_eq!(secret_access(&objects), []);
    assert!(!container(&node(&["node.vault.address=https://vault"]))["args"].to_string().contains("vault"));
    let refused = |setting: &str| {
        helm(&[
            "template",
            "r",
            CHART,
            "--set",
            NODE[0],
            "--set",
            NODE[1],
            "--set",
            "node.vault.enabled=true",
            "--set",
            setting,
        ])
        .refused()
    };
    assert!(refused("node.vault.address=").contains("has no server"));
    assert!(refused("node.vault.address=vault").contains("/node/vault/address"));
    assert!(refused("node.vault.allowedAddresses={vault}").contains("/node/vault/allowedAddresses"));
}
