//! The start of a cluster, to the first pod that has run.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::images::BUSYBOX;
use super::state::{Cluster, Lock, Name, Node, write};
use super::{components, down, images, kube, network, node, pki, requirements};

/// How long one step may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Starts the cluster, unless it runs. What an earlier start left unfinished is taken down first.
pub fn run(root: &Path, name: &Name, nodes: u8) -> Result<()> {
    requirements::check(&[&kube::cache(), Path::new("/var/tmp")])?;
    let program = kube::program(root)?;
    let lock = Lock::take()?;
    if let Some(cluster) = Cluster::load(name) {
        if cluster.is_running() && cluster.nodes == nodes && cluster.program() == program {
            eprintln!("cluster {name}: runs already");
            return Ok(());
        }
        down::take_down(name, &lock)?;
    }
    let since = Instant::now();
    let cluster = Cluster::create(name, nodes, program)?;
    start(&cluster, since).with_context(|| {
        format!("cluster {name} did not start; cargo xtask cluster logs --name {name} has more, cluster down --name {name} removes it")
    })?;
    eprintln!("export KUBECONFIG={}", cluster.kubeconfig().display());
    Ok(())
}

fn start(cluster: &Cluster, since: Instant) -> Result<()> {
    let say = |what: &str| eprintln!("cluster {}: {what} ({:.1} s)", cluster.name, since.elapsed().as_secs_f32());
    pki::create(cluster)?;
    network::create_bridge(cluster)?;
    for node in cluster.all_nodes() {
        start_node(cluster, &node)?;
    }
    let files = images::write(&cluster.folder())?;
    wait_for("the API", || cluster.kubectl(["get", "--raw", "/readyz"]).quiet())?;
    write(&cluster.node(1).folder.join(components::API_READY), "")?;
    say("the API answers");
    cluster.apply(&kubelet_access())?;
    for node in cluster.all_nodes() {
        wait_for("containerd", || node.enter().is_ok_and(|enter| enter.args(["ctr", "version"]).quiet()))?;
    }
    files.iter().try_for_each(|file| cluster.import(file))?;
    for node in cluster.all_nodes() {
        wait_for("the node", || {
            let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
            let answer = cluster.kubectl(["get", "node", &node.name, "--output", ready]).output();
            answer.is_ok_and(|answer| answer == b"True")
        })?;
        say(&format!("node {} is ready", node.name));
    }
    wait_for("the first pod", || first_pod(cluster))?;
    cluster.kubectl(["delete", "pod", "first", "--now"]).output()?;
    say("the first pod has run");
    write(&cluster.folder().join("ready"), "")
}

/// Ends a node without a word to it, and starts it again.
pub fn reboot(name: &Name, index: u8) -> Result<()> {
    let _lock = Lock::take()?;
    let cluster = Cluster::load(name).filter(|cluster| (1..=cluster.nodes).contains(&index));
    let cluster = cluster.with_context(|| format!("there is no node {index} of a cluster {name}"))?;
    let node = cluster.node(index);
    down::end_processes(&node)?;
    wait_for("the end of its link", || !Path::new("/sys/class/net").join(&node.interface).exists())?;
    for file in ["linked", components::API_READY] {
        let _ = fs::remove_file(node.folder.join(file));
    }
    // What a machine has in memory.
    let run = node.folder.join("run");
    if run.exists() {
        fs::remove_dir_all(&run)?;
    }
    start_node(&cluster, &node)?;
    wait_for("the API", || cluster.kubectl(["get", "--raw", "/readyz"]).quiet())?;
    write(&cluster.node(1).folder.join(components::API_READY), "")?;
    wait_for("containerd", || node.enter().is_ok_and(|enter| enter.args(["ctr", "version"]).quiet()))?;
    eprintln!("cluster {name}: node {} is up again", node.name);
    Ok(())
}

fn start_node(cluster: &Cluster, node: &Node) -> Result<()> {
    let components: Vec<Value> = components::of(cluster, node)?.iter().map(components::Component::to_json).collect();
    write(&node.folder.join("components.json"), &Value::from(components).to_string())?;
    node::create_cgroup(node)?;
    let log = fs::File::create(node.folder.join("logs/node.log"))?;
    let ourselves = std::env::current_exe()?;
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin:/usr/bin:/bin");
    let mut outside = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "slave", "--"])
        .args([
            ourselves.as_os_str(),
            "cluster".as_ref(),
            "node".as_ref(),
            "--folder".as_ref(),
            node.folder.as_os_str(),
        ])
        .env("PATH", path)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Neither Ctrl-C nor the terminal's end is for the cluster.
        .process_group(0)
        .spawn()
        .context("cannot start unshare")?;
    let mut pid = None;
    wait_for("the node's first process", || {
        pid = node.first_process();
        pid.is_some() || outside.try_wait().is_ok_and(|ended| ended.is_some())
    })?;
    let Some(pid) = pid else {
        bail!("the node ended: {}", fs::read_to_string(node.folder.join("logs/node.log")).unwrap_or_default().trim());
    };
    network::connect(cluster, node, pid)?;
    write(&node.folder.join("linked"), "")
}

/// The API server may ask kubelets for logs, exec and port-forward.
fn kubelet_access() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "kube-apiserver-kubelet-client"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "kube-apiserver-kubelet-client"}],
    })
}

/// Whether a pod has run to its end; starts it if there is none. (The namespace's service account comes a moment after the API.)
fn first_pod(cluster: &Cluster) -> bool {
    let phase = cluster.kubectl(["get", "pod", "first", "--ignore-not-found", "--output", "jsonpath={.status.phase}"]);
    match phase.output() {
        Ok(phase) if phase == b"Succeeded" => true,
        Ok(phase) if phase.is_empty() => {
            let run = ["run", "first", "--image", BUSYBOX, "--restart", "Never", "--", "true"];
            let _ = cluster.kubectl(run).output();
            false
        }
        _ => false,
    }
}

/// Waits until something is so, for two minutes at most.
pub fn wait_for(what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
    let since = Instant::now();
    while !ready() {
        if since.elapsed() > PATIENCE {
            bail!("{what} is not ready after {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
