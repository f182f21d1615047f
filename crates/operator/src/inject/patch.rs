//! What is added to a pod: a JSON patch of nothing but additions, and commands with `bulla env` before them.
//!
//! | | |
//! |---|---|
//! | volume `bulla-env-N` | the CSI volume of class N, read-only |
//! | volume `bulla-env` | an empty folder for the program. On the node's disk: the program is no secret, and in memory it would count against the pod's limit |
//! | init container `bulla-env` | the first: installs the program. It meets the `restricted` standard in any pod, and runs as the pod's user, so that the pod's files keep one owner |
//! | mounts | `/run/bulla`, `/run/secrets/bulla/CLASS`, in the containers that are named, read-only |
//! | command | `/run/bulla/bulla env --from=… --` before what was there; `args` stay |
//!
//! A pod that has all of this already is left as it is. One that has something else under these names is refused. Nothing of the pod's own is
//! taken away or replaced, its security settings least of all.

use serde_json::{Value, json};

use super::Settings;
use super::pod::{Container, Pod, Volume};
use super::wish::Wish;

/// The init container, and the volume with the program.
const NAME: &str = "bulla-env";
/// Where the program is.
const PROGRAMS: &str = "/run/bulla";
/// The program.
const PROGRAM: &str = "/run/bulla/bulla";
/// Where classes are mounted, each in a folder of its name.
const SECRETS: &str = "/run/secrets/bulla";
/// The user of the init container where the pod names none, or root: the image's own.
const USER: i64 = 65532;

/// The changes that give a pod what it asks for; none if it has it.
///
/// # Errors
/// Why it cannot have it, and what to write.
pub fn patch(pod: &Pod, settings: &Settings) -> Result<Vec<Value>, String> {
    if pod.spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        return Err("bulla has no program for Windows".to_owned());
    }
    let wish = Wish::of(pod)?;
    let mut steps = volumes(pod, &wish, settings)?;
    let has_installer = pod.init_containers().iter().any(|container| container.name == NAME);
    let shift = usize::from(!has_installer);
    if !has_installer {
        let list = pod.spec.init_containers.is_some().then_some(0);
        steps.extend(added("/spec/initContainers", list, vec![installer(pod, &wish, settings)]));
    }
    let lists = [("initContainers", pod.init_containers(), shift), ("containers", pod.containers(), 0)];
    for (list, containers, shift) in lists {
        for (place, container) in containers.iter().enumerate() {
            if container.name != NAME && wish.containers.contains(&container.name) {
                let path = format!("/spec/{list}/{}", place + shift);
                steps.extend(wrapped(container, &path, &wish)?);
            }
        }
    }
    Ok(steps)
}

fn volumes(pod: &Pod, wish: &Wish, settings: &Settings) -> Result<Vec<Value>, String> {
    let find = |name: &str| pod.volumes().iter().find(|volume| volume.name == name);
    let mut missing = Vec::new();
    match find(NAME) {
        None => missing.push(json!({"name": NAME, "emptyDir": {"sizeLimit": "1Gi"}})),
        Some(volume) if volume.empty_dir.is_some() => {}
        Some(_) => return Err(format!("it has a volume {NAME} of its own: give it another name")),
    }
    for (name, class) in named(wish) {
        match find(&name) {
            None => missing.push(json!({
                "name": name,
                "csi": {"driver": settings.driver, "readOnly": true, "volumeAttributes": {"secretProviderClass": class}},
            })),
            Some(volume) if is_of(volume, &settings.driver, class) => {}
            Some(_) => return Err(format!("it has a volume {name} of its own: give it another name")),
        }
    }
    Ok(added("/spec/volumes", pod.spec.volumes.is_some().then_some(usize::MAX), missing))
}

/// The volumes of the classes.
fn named(wish: &Wish) -> impl Iterator<Item = (String, &str)> {
    wish.classes.iter().enumerate().map(|(number, class)| (format!("{NAME}-{number}"), class.as_str()))
}

fn is_of(volume: &Volume, driver: &str, class: &str) -> bool {
    volume.csi.as_ref().is_some_and(|csi| {
        let attributes = csi.volume_attributes.as_ref();
        csi.driver == driver && attributes.and_then(|all| all.secret_provider_class.as_deref()) == Some(class)
    })
}

/// What puts entries into a list: at its begin or its end if there is one (`at`), else as a new one.
fn added(path: &str, at: Option<usize>, entries: Vec<Value>) -> Vec<Value> {
    match at {
        _ if entries.is_empty() => Vec::new(),
        None => vec![json!({"op": "add", "path": path, "value": entries})],
        Some(at) => {
            let place = if at == usize::MAX { "-".to_owned() } else { at.to_string() };
            let entry = |value| json!({"op": "add", "path": format!("{path}/{place}"), "value": value});
            entries.into_iter().map(entry).collect()
        }
    }
}

fn installer(pod: &Pod, wish: &Wish, settings: &Settings) -> Value {
    let user = |security: Option<&super::pod::Security>| security.and_then(|security| security.run_as_user);
    let of_pod = user(pod.spec.security_context.as_ref());
    // One owner of all files: the user of those who read them, if there is one and it is not root.
    let readers =
        pod.init_containers().iter().chain(pod.containers()).filter(|one| wish.containers.contains(&one.name));
    let mut users = readers.map(|container| user(container.security_context.as_ref()).or(of_pod));
    let user = users.next().flatten().filter(|&user| user > 0).unwrap_or(USER);
    json!({
        "name": NAME,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "args": ["env", "--install", PROGRAMS],
        "volumeMounts": [{"name": NAME, "mountPath": PROGRAMS}],
        "resources": settings.resources,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": user,
            "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
            "privileged": false,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    })
}

fn wrapped(container: &Container, path: &str, wish: &Wish) -> Result<Vec<Value>, String> {
    let Container { name, .. } = container;
    let command = container.command();
    let Some(program) = command.first() else {
        return Err(format!(
            "container {name} has no command. bulla asks no registry what its image would run: write it as `command` (docker inspect --format '{{{{json .Config.Entrypoint}}}} {{{{json .Config.Cmd}}}}' IMAGE says it)"
        ));
    };
    let mut mounts = vec![(NAME.to_owned(), PROGRAMS.to_owned())];
    mounts.extend(named(wish).map(|(volume, class)| (volume, format!("{SECRETS}/{class}"))));
    let mut missing = Vec::new();
    for (volume, at) in mounts {
        match container.mounts().iter().find(|mount| mount.mount_path.trim_end_matches('/') == at) {
            None => missing.push(json!({"name": volume, "mountPath": at, "readOnly": true})),
            Some(mount) if mount.name == volume => {}
            Some(mount) => {
                return Err(format!(
                    "container {name} mounts volume {:.100} at {at}, where bulla's would be",
                    mount.name
                ));
            }
        }
    }
    let list = container.volume_mounts.is_some().then_some(usize::MAX);
    let mut steps = added(&format!("{path}/volumeMounts"), list, missing);
    if program != PROGRAM {
        let command = [&before(wish)[..], command].concat();
        steps.push(json!({"op": "replace", "path": format!("{path}/command"), "value": command}));
    }
    Ok(steps)
}

/// What stands before a command. Nothing in it is a `$(NAME)`, which Kubernetes would expand: names and paths have no such characters.
fn before(wish: &Wish) -> Vec<String> {
    let mut words = vec![PROGRAM.to_owned(), "env".to_owned()];
    words.extend(wish.classes.iter().map(|class| format!("--from={SECRETS}/{class}")));
    words.extend(wish.map.iter().map(|(name, class, file)| format!("--map={name}={SECRETS}/{class}/{file}")));
    if !wish.prefix.is_empty() {
        words.push(format!("--prefix={}", wish.prefix));
    }
    words.extend(wish.on_change.iter().map(|change| format!("--on-change={change}")));
    words.push("--".to_owned());
    words
}

#[cfg(test)]
mod tests;
