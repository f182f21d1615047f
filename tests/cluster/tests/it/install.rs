//! The chart on a real cluster, by the real helm: what it installs, what the operator then may do, and what is left when it goes.
//!
//! The cluster's network plugin enforces no `NetworkPolicy`: that there is one is looked at here, what it says in `chart`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use bulla_cluster_tests::{CHART, Namespace, Release, bulla_image, definitions, helm, kubectl};
use serde_json::{Value, json};

/// Settings of the sealing door beside the image.
const SEALING: [&str; 3] = ["sealing.enabled=true", "sealing.keyService.shares=true", "operator.logLevel=debug"];

/// Everything of a release, in its namespace and outside: `KIND/NAME`, without what the cluster makes by itself.
fn objects_of(release: &str, namespace: &Namespace) -> Vec<String> {
    let kinds = [
        "deployments,replicasets,pods,services,serviceaccounts,secrets,configmaps",
        "roles,rolebindings,clusterroles,clusterrolebindings,networkpolicies,poddisruptionbudgets",
        "persistentvolumeclaims,persistentvolumes",
    ]
    .join(",");
    let selector = format!("app.kubernetes.io/name=bulla,app.kubernetes.io/instance={release}");
    let listed = namespace.kubectl(&["get", &kinds, "--selector", &selector, "--output", "name"]).ok();
    listed.lines().map(str::to_owned).collect()
}

fn may(user: &str, question: &[&str]) -> bool {
    let output = kubectl().args(["auth", "can-i", "--quiet", "--as", user]).args(question).output().unwrap();
    output.status.success()
}

/// Everything that a service account may do in a namespace, but for what all may: `RESOURCE URLS NAMES VERBS`.
fn all_it_may(user: &str, namespace: &str) -> BTreeSet<String> {
    let list = |user: &str| -> BTreeSet<String> {
        let mut command = kubectl();
        command.args(["auth", "can-i", "--list", "--no-headers", "--namespace", namespace, "--as", user]);
        command.args(["--as-group", "system:authenticated", "--as-group", "system:serviceaccounts"]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    list(user).difference(&list("system:serviceaccount:default:nobody")).cloned().collect()
}

#[test]
fn it_installs_upgrades_and_leaves_nothing_but_definitions() {
    let namespace = Namespace::restricted("chart");
    let release = Release::new("whole", &namespace);
    let [repository, tag] = bulla_image();
    let settings = [&[repository.as_str(), &tag][..], &SEALING].concat();
    let said = release.set(&settings).ok();
    assert!(said.contains("Sealing serves all namespaces") && said.contains("kubeseal --controller-name"), "{said}");
    let objects = objects_of("whole", &namespace);
    for kind in ["deployment.apps", "networkpolicy", "poddisruptionbudget", "service", "serviceaccount", "clusterrole"]
    {
        assert!(objects.iter().any(|object| object.starts_with(kind)), "no {kind}: {objects:?}");
    }
    // The namespace enforces the restricted standard: a pod that is less confined would not come to be.
    namespace.eventually("two pods", || {
        objects_of("whole", &namespace).iter().filter(|object| object.starts_with("pod/")).count() >= 2
    });

    // Turning the door off by an upgrade takes away what it could do.
    let operator = release.operator();
    assert!(may(&operator, &["list", "secrets", "--all-namespaces"]));
    let said = release.set(&[&repository, &tag]).ok();
    assert!(said.contains("No door is on"), "{said}");
    assert!(!may(&operator, &["list", "secrets", "--all-namespaces"]));

    release.set(&settings).ok();
    let said = release.uninstall().ok();
    assert!(said.contains("kept due to the resource policy"), "{said}");
    namespace.eventually("nothing left", || objects_of("whole", &namespace).is_empty());
    let definition = ["get", "crd", "sealedsecrets.bitnami.com", "sealingkeys.bulla.dev", "--output", "name"];
    namespace.kubectl(&definition).ok();
    assert_eq!(helm(&["list", "--namespace", &namespace.name, "--short"]).ok(), "");
}

/// A definition of nobody's, gone with the test.
struct Thing;

impl Thing {
    const NAME: &str = "things.upgrade.bulla.test";

    /// It, in a chart's folder, with a column.
    fn write(chart: &Path, column: &str) {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": Self::NAME},
            "spec": {
                "group": "upgrade.bulla.test", "scope": "Namespaced",
                "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                    "additionalPrinterColumns": [{"name": column, "type": "string", "jsonPath": ".spec.a"}],
                }],
            },
        });
        let file = std::fs::File::create(chart.join("files/crds/thing.yaml")).unwrap();
        serde_json::to_writer(file, &definition).unwrap();
    }

    /// The column of the definition that is installed.
    fn column() -> Option<String> {
        let output = kubectl().args(["get", "crd", Self::NAME, "--output", "json"]).output().unwrap();
        let definition: Value = serde_json::from_slice(&output.stdout).ok()?;
        definition["spec"]["versions"][0]["additionalPrinterColumns"][0]["name"].as_str().map(str::to_owned)
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        let _ = kubectl().args(["delete", "crd", Self::NAME]).output();
    }
}

#[test]
fn definitions_are_upgraded_and_kept_and_not_taken_from_another_release() {
    // The chart with one definition that no other test uses.
    let folder = tempfile::tempdir().unwrap();
    let chart = folder.path().join("bulla");
    assert!(Command::new("cp").args(["-r", CHART]).arg(&chart).status().unwrap().success());
    std::fs::remove_dir_all(chart.join("files/crds")).unwrap();
    std::fs::create_dir(chart.join("files/crds")).unwrap();
    let namespace = Namespace::new("upgrade");
    let helm = |arguments: &[&str]| helm(&[arguments, &["--namespace", &namespace.name]].concat());
    let path = chart.to_str().unwrap();
    let _thing = Thing;

    Thing::write(&chart, "Old");
    helm(&["install", "one", path]).ok();
    assert_eq!(Thing::column().as_deref(), Some("Old"));
    Thing::write(&chart, "New");
    helm(&["upgrade", "one", path]).ok();
    assert_eq!(Thing::column().as_deref(), Some("New"));

    helm(&["upgrade", "one", path, "--set", "crds.install=false"]).ok();
    assert_eq!(Thing::column().as_deref(), Some("New"));
    helm(&["uninstall", "one"]).ok();
    assert_eq!(Thing::column().as_deref(), Some("New"));

    let refusal = helm(&["install", "two", path]).refused();
    assert!(refusal.contains(Thing::NAME) && refusal.contains("ownership"), "{refusal}");
    helm(&["install", "two", path, "--take-ownership"]).ok();
    helm(&["uninstall", "two"]).ok();
}

#[test]
fn the_operator_reads_secrets_only_in_the_namespaces_of_its_door() {
    definitions();
    let (home, served, foreign) = (Namespace::new("home"), Namespace::new("served"), Namespace::new("foreign"));
    let release = Release::new("limited", &home);
    let namespaces = format!("sealing.namespaces={{{}}}", served.name);
    let settings = ["image.repository=none.test/bulla", "crds.install=false", "operator.replicas=0", &namespaces];
    let operator = release.operator();

    // No door: nobody is there, and nobody may anything.
    release.set(&settings).ok();
    for namespace in [&home, &served, &foreign] {
        assert!(!may(&operator, &["get", "secrets", "--namespace", &namespace.name]));
    }

    release.set(&[&settings[..], &SEALING].concat()).ok();
    for verb in ["get", "list", "watch", "create", "patch", "delete"] {
        assert!(may(&operator, &[verb, "secrets", "--namespace", &served.name]), "{verb}");
        for namespace in [foreign.name.as_str(), "kube-system", "default"] {
            assert!(!may(&operator, &[verb, "secrets", "--namespace", namespace]), "{verb} in {namespace}");
        }
        assert!(!may(&operator, &[verb, "secrets", "--all-namespaces"]), "{verb}");
    }

    // The whole list, so that nothing more creeps in.
    let reviews = "subjectaccessreviews.authorization.k8s.io [] [] [create]";
    let tokens = "tokenreviews.authentication.k8s.io [] [] [create]";
    let expected = |resources: &[&str]| resources.iter().map(|&line| line.to_owned()).collect::<BTreeSet<String>>();
    assert_eq!(all_it_may(&operator, &foreign.name), expected(&[reviews, tokens]));
    assert_eq!(
        all_it_may(&operator, &served.name),
        expected(&[
            reviews,
            tokens,
            "events.events.k8s.io [] [] [create patch]",
            "secrets [] [] [get list watch create patch delete]",
            "sealedsecrets.bitnami.com [] [] [get list watch]",
            "sealedsecrets.bitnami.com/status [] [] [patch]",
        ])
    );
    assert_eq!(
        all_it_may(&operator, &home.name),
        expected(&[
            reviews,
            tokens,
            "configmaps [] [bulla-sealing-shares] [get]",
            "secrets [] [] [get list watch]",
            "leases.coordination.k8s.io [] [] [get list watch create update delete]",
            "sealingkeys.bulla.dev [] [] [get list watch create update patch]",
            "sealingkeys.bulla.dev/status [] [] [patch]",
        ])
    );
    release.uninstall().ok();
    assert!(!may(&operator, &["get", "secrets", "--namespace", &served.name]));
}

#[test]
fn groups_reach_what_they_were_given_and_nothing_beside_it() {
    definitions();
    let namespace = Namespace::new("access");
    let release = Release::new("access", &namespace);
    let settings = ["image.repository=none.test/bulla", "crds.install=false", "operator.replicas=0"];
    let access = ["sealing.access.verify={checkers}", "sealing.access.rotate={rotators}"];
    release.set(&[&settings[..], &SEALING, &access].concat()).ok();
    let in_group = |group: &str, question: &[&str]| {
        let groups = ["--as-group", group, "--as-group", "system:authenticated", "--namespace", &namespace.name];
        may("somebody", &[question, &groups].concat())
    };
    let proxy = |verb| [verb, "services/http:sealed-secrets-controller:http", "--subresource", "proxy"];
    // Everybody who is known seals.
    assert!(in_group("others", &["get", "services/sealed-secrets-controller"]));
    assert!(in_group("others", &proxy("get")));
    assert!(!in_group("others", &proxy("create")));
    assert!(!in_group("others", &["get", "services/kubernetes", "--subresource", "proxy"]));
    assert!(!in_group("others", &["get", "secrets"]));
    for (group, may_verify, may_rotate) in
        [("checkers", true, false), ("rotators", false, true), ("others", false, false)]
    {
        let create = |what| in_group(group, &["create", "sealedsecrets.bitnami.com", "--subresource", what]);
        assert_eq!((create("verify"), create("rotate")), (may_verify, may_rotate), "{group}");
        assert_eq!(in_group(group, &proxy("create")), may_verify || may_rotate, "{group}");
    }
    // Nobody without a name.
    let anonymous = ["--as-group", "system:unauthenticated", "--namespace", &namespace.name];
    assert!(!may("system:anonymous", &[&proxy("get")[..], &anonymous].concat()));
}

#[test]
fn the_key_file_of_a_node_reaches_a_restricted_pod_through_its_claim() {
    definitions();
    let namespace = Namespace::restricted("keyfile");
    let release = Release::new("keyfile", &namespace);
    // A node's own folder: what is below /var/lib there is not the machine's.
    let folder = format!("/var/lib/{}", namespace.name);
    let key = format!("{folder}/sealing.key");
    let make = format!(
        "mkdir -m 0700 {folder} && head -c 32 /dev/urandom > {key} && chmod 0400 {key} && chown -R 65532:65532 {folder}"
    );
    bulla_cluster_tests::on_node(&["sh", "-c", &make]).ok();
    let [repository, tag] = bulla_image();
    let path = format!("sealing.keyService.localKeyFile.path={key}");
    // This cluster's nodes have no such label.
    let selector = "sealing.keyService.localKeyFile.nodeSelector.node-role\\.kubernetes\\.io/control-plane=null";
    let settings =
        [&repository, &tag, "crds.install=false", "sealing.enabled=true", &path, selector, "operator.replicas=1"];
    release.set(&settings).ok();
    // Ready is who has read its key.
    let ready = ["rollout", "status", "deployment/keyfile-bulla-operator", "--timeout=120s"];
    namespace.kubectl(&ready).ok();
    let key = ["get", "sealingkeys", "--output", "jsonpath={.items[*].spec.wrapped.keyGroups[*].keys[*].kind}"];
    assert_eq!(namespace.kubectl(&key).ok(), "local");
    release.uninstall().ok();
    // The volume goes with the release, the file stays.
    assert_eq!(objects_of("keyfile", &namespace), Vec::<String>::new());
    bulla_cluster_tests::on_node(&["rm", "-r", &folder]).ok();
}
