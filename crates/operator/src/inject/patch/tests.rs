//! What is added to pods, read as the API server reads a patch.

use serde_json::{Value, json};

use super::*;

fn settings() -> Settings {
    Settings {
        image: "example.test/bulla:1".to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
        driver: "secrets-store.csi.k8s.io".to_owned(),
        resources: json!({"limits": {"memory": "64Mi"}}),
        excluded: Vec::new(),
    }
}

fn pod(annotations: &Value, spec: &Value) -> Value {
    json!({"metadata": {"name": "web", "labels": {"bulla.dev/env": "true"}, "annotations": annotations}, "spec": spec})
}

fn container(name: &str) -> Value {
    json!({"name": name, "image": "i", "command": ["/bin/server", "--port"], "args": ["80"]})
}

fn steps(pod: &Value) -> Result<Vec<Value>, String> {
    patch(&serde_json::from_value(pod.clone()).unwrap(), &settings())
}

/// The pod as the API server has it after the patch: its own way of reading one.
fn patched(pod: &Value) -> Value {
    let mut pod = pod.clone();
    for step in steps(&pod.clone()).unwrap() {
        let path = step["path"].as_str().unwrap();
        let (parent, last) = path.rsplit_once('/').unwrap();
        let parent = pod.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"));
        match (step["op"].as_str().unwrap(), parent) {
            ("add", Value::Array(list)) if last == "-" => list.push(step["value"].clone()),
            ("add", Value::Array(list)) => list.insert(last.parse().unwrap(), step["value"].clone()),
            ("add", Value::Object(object)) => {
                // Nothing that is there is replaced.
                assert!(
                    object.insert(last.to_owned(), step["value"].clone()).is_none_or(|old| old.is_null()),
                    "{path}"
                );
            }
            ("replace", Value::Object(object)) => {
                assert_eq!(last, "command");
                assert!(object.insert(last.to_owned(), step["value"].clone()).is_some(), "{path}");
            }
            (op, _) => panic!("{op} {path}"),
        }
    }
    pod
}

#[test]
fn a_pod_gets_volumes_an_installer_and_its_command_wrapped() {
    let before = pod(&json!({"bulla.dev/env-classes": "database, api"}), &json!({"containers": [container("web")]}));
    let after = patched(&before);
    assert_eq!(
        after["spec"]["volumes"],
        json!([
            {"name": "bulla-env", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "bulla-env-0", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true, "volumeAttributes": {"secretProviderClass": "database"}}},
            {"name": "bulla-env-1", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true, "volumeAttributes": {"secretProviderClass": "api"}}},
        ])
    );
    let init = &after["spec"]["initContainers"][0];
    assert_eq!(
        (&init["image"], &init["args"]),
        (&json!("example.test/bulla:1"), &json!(["env", "--install", "/run/bulla"]))
    );
    assert_eq!(init["resources"], settings().resources);
    let web = &after["spec"]["containers"][0];
    assert_eq!(
        web["command"],
        json!([
            "/run/bulla/bulla",
            "env",
            "--from=/run/secrets/bulla/database",
            "--from=/run/secrets/bulla/api",
            "--",
            "/bin/server",
            "--port"
        ])
    );
    assert_eq!(web["args"], json!(["80"]));
    let mounts = web["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 3);
    assert!(mounts.iter().all(|mount| mount["readOnly"] == true));
    assert_eq!(mounts[2], json!({"name": "bulla-env-1", "mountPath": "/run/secrets/bulla/api", "readOnly": true}));
    // Doing it again changes nothing.
    assert_eq!(steps(&after), Ok(Vec::new()));
}

#[test]
fn what_is_there_stays_and_only_the_named_containers_change() {
    let annotations = json!({
        "bulla.dev/env-classes": "database",
        "bulla.dev/env-containers": "web,prepare",
        "bulla.dev/env-map": "PGPASSWORD=database/password\n PGUSER=database/a/b.txt",
        "bulla.dev/env-prefix": "DB_",
        "bulla.dev/env-on-change": "restart",
    });
    let own = json!({"name": "data", "mountPath": "/data"});
    let mut web = container("web");
    web["volumeMounts"] = json!([own]);
    web["securityContext"] = json!({"privileged": true});
    let before = pod(
        &annotations,
        &json!({
            "securityContext": {"runAsUser": 1000, "fsGroup": 2000},
            "volumes": [{"name": "data", "emptyDir": {}}],
            "initContainers": [container("first"), container("prepare")],
            "containers": [container("sidecar"), web],
        }),
    );
    let after = patched(&before);
    let spec = &after["spec"];
    assert_eq!(spec["volumes"][0], before["spec"]["volumes"][0]);
    assert_eq!(spec["securityContext"], before["spec"]["securityContext"]);
    assert_eq!(spec["containers"][0], before["spec"]["containers"][0]);
    assert_eq!(spec["initContainers"][1], before["spec"]["initContainers"][0]);
    let names: Vec<_> =
        spec["initContainers"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bulla-env", "first", "prepare"]);
    let expected = json!([
        "/run/bulla/bulla",
        "env",
        "--from=/run/secrets/bulla/database",
        "--map=PGPASSWORD=/run/secrets/bulla/database/password",
        "--map=PGUSER=/run/secrets/bulla/database/a/b.txt",
        "--prefix=DB_",
        "--on-change=restart",
        "--",
        "/bin/server",
        "--port"
    ]);
    assert_eq!(spec["containers"][1]["command"], expected);
    assert_eq!(spec["initContainers"][2]["command"], expected);
    assert_eq!(spec["containers"][1]["volumeMounts"][0], own);
    assert_eq!(spec["containers"][1]["securityContext"], json!({"privileged": true}));
    assert_eq!(steps(&after), Ok(Vec::new()));
}

#[test]
fn the_installer_meets_the_restricted_standard_as_the_user_of_those_who_read() {
    let user = |of_pod: Value, own: Value| {
        let mut web = container("web");
        web["securityContext"] = own;
        let spec = json!({"securityContext": of_pod, "containers": [web]});
        let after = patched(&pod(&json!({"bulla.dev/env-classes": "a"}), &spec));
        let security = after["spec"]["initContainers"][0]["securityContext"].clone();
        assert_eq!(security["runAsNonRoot"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        assert_eq!(security["seccompProfile"], json!({"type": "RuntimeDefault"}));
        security["runAsUser"].as_i64().unwrap()
    };
    assert_eq!(user(json!({"runAsUser": 1000}), json!(null)), 1000);
    assert_eq!(user(json!({"runAsUser": 1000}), json!({"runAsUser": 7})), 7);
    for (pod, own) in [
        (json!(null), json!(null)),
        (json!({"runAsUser": 0}), json!({})),
        (json!({"runAsUser": 5}), json!({"runAsUser": 0})),
    ] {
        assert_eq!(user(pod, own), 65532);
    }
}

#[test]
fn the_container_is_the_named_one_the_default_one_or_the_only_one() {
    let wrapped = |annotations: Value| -> Result<Vec<usize>, String> {
        let mut all = json!({"bulla.dev/env-classes": "a"});
        all.as_object_mut().unwrap().extend(annotations.as_object().unwrap().clone());
        let before = pod(&all, &json!({"containers": [container("a"), container("b")]}));
        steps(&before)?;
        let after = patched(&before);
        Ok((0..2).filter(|&place| after["spec"]["containers"][place]["command"][0] == PROGRAM).collect())
    };
    assert!(wrapped(json!({})).unwrap_err().contains("bulla.dev/env-containers"));
    assert_eq!(wrapped(json!({"kubectl.kubernetes.io/default-container": "b"})), Ok(vec![1]));
    assert_eq!(wrapped(json!({"bulla.dev/env-containers": "b a"})), Ok(vec![0, 1]));
    assert!(wrapped(json!({"bulla.dev/env-containers": "c"})).unwrap_err().contains("no container \"c\""));
}

#[test]
fn what_cannot_be_done_is_refused_with_what_to_write() {
    let refused = |annotations: Value, change: &dyn Fn(&mut Value)| {
        let mut pod = pod(&annotations, &json!({"containers": [container("web")]}));
        change(&mut pod["spec"]);
        steps(&pod).unwrap_err()
    };
    let classes = json!({"bulla.dev/env-classes": "a"});
    let nothing = |_: &mut Value| {};
    // The image's own command is not known.
    let message = refused(classes.clone(), &|spec| spec["containers"][0]["command"] = Value::Null);
    assert!(message.contains("container web has no command") && message.contains("Entrypoint}}"), "{message}");
    assert!(refused(classes.clone(), &|spec| spec["os"] = json!({"name": "windows"})).contains("Windows"));
    for volume in
        [json!({"name": "bulla-env", "hostPath": {"path": "/"}}), json!({"name": "bulla-env-0", "emptyDir": {}})]
    {
        assert!(refused(classes.clone(), &|spec| spec["volumes"] = json!([volume])).contains("of its own"));
    }
    let other = json!({"name": "bulla-env-0", "csi": {"driver": "secrets-store.csi.k8s.io", "volumeAttributes": {"secretProviderClass": "b"}}});
    assert!(refused(classes.clone(), &|spec| spec["volumes"] = json!([other])).contains("of its own"));
    let mount = json!([{"name": "x", "mountPath": "/run/secrets/bulla/a/"}]);
    assert!(
        refused(classes, &|spec| spec["containers"][0]["volumeMounts"] = mount.clone())
            .contains("where bulla's would be")
    );
    let long = "x".repeat(100_000);
    for (annotation, value) in [
        ("classes", ""),
        ("classes", "a,a"),
        ("classes", "A"),
        ("classes", "../a"),
        ("classes", "a$(b)"),
        ("classes", "-a"),
        ("classes", long.as_str()),
        ("map", "X"),
        ("map", "X=a"),
        ("map", "X=b/password"),
        ("map", "X=a/../b"),
        ("map", "X=a/..data/b"),
        ("map", "1X=a/b"),
        ("map", "$(X)=a/b"),
        ("map", "X=a/$(b)"),
        ("prefix", "$(X)"),
        ("prefix", "a-"),
        ("on-change", "KILL"),
        ("on-change", "restart --"),
    ] {
        let mut annotations = json!({"bulla.dev/env-classes": "a"});
        annotations[format!("bulla.dev/env-{annotation}")] = json!(value);
        let message = refused(annotations, &nothing);
        assert!(
            message.contains(&format!("env-{annotation}")) && message.len() < 1000,
            "{annotation}={value:.50}: {message}"
        );
    }
    let many: Vec<String> = (0..17).map(|number| format!("c{number}")).collect();
    assert!(refused(json!({"bulla.dev/env-classes": many.join(",")}), &nothing).contains("names 17"));
}
