//! What both drivers find: a cluster with a node that is not there, its pods, a class, a provider that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use nix::mount::{MntFlags, umount2};
use serde_json::{Value, json};

use crate::bench::api::{client, create, define};
use crate::cluster::{self, Cluster};
use crate::process::Process;

/// The node whose driver is measured. No kubelet is behind it.
pub const NODE: &str = "bench-node";
/// The class of all volumes.
pub const CLASS: &str = "app";
/// The namespace of the pods.
pub const TEAM: &str = "team";

/// How many objects a volume has.
pub const OBJECTS: usize = 10;
/// How long each is, in bytes.
pub const LENGTH: usize = 1024;

/// A volume of a pod.
#[derive(Clone)]
pub struct Volume {
    /// The pod's name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
    /// Where the volume is to be mounted.
    pub target: PathBuf,
}

/// All of it.
pub struct World {
    /// Everything that is a file.
    pub folder: PathBuf,
    /// Where the provider has its socket.
    pub providers: PathBuf,
    /// The driver's socket.
    pub socket: PathBuf,
    /// The pods' folder.
    pub pods: PathBuf,
    /// The way to the API server.
    pub kubeconfig: PathBuf,
    /// One volume for each pod.
    pub volumes: Vec<Volume>,
    provider: Child,
}

impl World {
    /// Makes it, with as many pods as `count`.
    pub async fn new(root: &Path, cluster: &Cluster, provider: &Path, count: usize) -> Result<Self> {
        // Of a run that was ended.
        let _ = umount2(&root.join("target/bench/pods"), MntFlags::MNT_DETACH);
        let folder = crate::bench::fresh(root)?;
        let [providers, csi, registration, pods] =
            ["providers", "csi", "registration", "pods"].map(|name| folder.join(name));
        for folder in [&providers, &csi, &registration, &pods] {
            fs::create_dir(folder)?;
        }
        disk(&folder.join("disk"), &pods)?;
        let kubeconfig = folder.join("kubeconfig");
        fs::copy(cluster.kubeconfig(), &kubeconfig)?;
        // The half that serves has a user of its own. The cluster ends with the benchmark.
        fs::set_permissions(&kubeconfig, fs::Permissions::from_mode(0o644))?;
        let volumes = objects(cluster, &pods, count).await?;
        let socket = providers.join("test.sock");
        let provider = Command::new(provider)
            .arg(format!("-endpoint=unix://{}", socket.display()))
            .stdin(Stdio::null())
            .spawn()
            .context("the provider")?;
        let world = Self { socket: csi.join("csi.sock"), folder, providers, pods, kubeconfig, volumes, provider };
        cluster::wait_for("the provider", || socket.exists())?;
        Ok(world)
    }

    /// The parameters of the class.
    pub fn parameters() -> Value {
        let object = |index: usize| json!({"objectName": format!("key-{index}"), "contents": "x".repeat(LENGTH)});
        json!({"objects": Value::from((0..OBJECTS).map(object).collect::<Vec<_>>()).to_string()})
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.provider.kill();
        let _ = self.provider.wait();
        let _ = umount2(&self.pods, MntFlags::MNT_DETACH);
    }
}

/// A file system with a journal for the pods' folders, as nodes have it. Without one, ext4 looks at every inode that was deleted in the last
/// minutes before it makes a folder, and each measurement pays for those before it.
fn disk(file: &Path, place: &Path) -> Result<()> {
    fs::File::create(file)?.set_len(256 << 20)?;
    Process::new("mkfs.ext4").args(["-q", "-F"]).args([file]).run().context("mkfs.ext4 is in e2fsprogs")?;
    Process::new("mount").args(["-o", "loop"]).args([file, place]).run()
}

async fn objects(cluster: &Cluster, pods: &Path, count: usize) -> Result<Vec<Volume>> {
    define(cluster)?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}}))?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}))?;
    cluster::wait_for("the class's definition", || {
        cluster
            .apply(&json!({
                "apiVersion": "secrets-store.csi.x-k8s.io/v1",
                "kind": "SecretProviderClass",
                "metadata": {"name": CLASS, "namespace": TEAM},
                "spec": {"provider": "test", "parameters": World::parameters()},
            }))
            .is_ok()
    })?;
    let account = ["get", "serviceaccount", "default", "--namespace", TEAM];
    cluster::wait_for("the service account", || cluster.kubectl(account).quiet())?;
    let api: Api<Pod> = Api::namespaced(client(cluster).await?, TEAM);
    let made = create(&api, (0..count).map(|index| Ok(pod(index)))).await?;
    let volume = |pod: Pod| {
        let (name, uid) = (pod.metadata.name.context("a name")?, pod.metadata.uid.context("a uid")?);
        let folder = pods.join(&uid).join("volumes/kubernetes.io~csi/secrets");
        fs::create_dir_all(&folder)?;
        Ok(Volume { pod: name, uid, target: folder.join("mount") })
    };
    made.into_iter().map(volume).collect()
}

fn pod(index: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": format!("app-{index:04}")},
        "spec": {
            "nodeName": NODE,
            "containers": [{"name": "main", "image": "bulla.test/none:1"}],
            // The node is not there, and they are to stay.
            "tolerations": [{"operator": "Exists"}],
        },
    })
}
