//! The two controllers, each in a pod, on the same objects.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Client;
use kube::api::{Api, DynamicObject};
use serde_json::json;
use tokio::runtime::Runtime;

use super::objects::{Ring, Spread, foreign};
use super::process::{Account, wait_for_end};
use super::watch;
use crate::bench::api::{AT_ONCE, client, create, define};
use crate::cluster::{self, Cluster};

/// The image of the controller that runs.
const IMAGE: &str = "bulla.test/controller:1";

/// The cluster.
const CLUSTER: &str = "bench";
/// Where the image has its program.
const PROGRAM: &str = "/bin/main";

/// The namespace of the controller and its keys.
const OWN: &str = "sealing";

/// How long the peer at its defaults may take: it makes 5 requests a second.
const PATIENCE: Duration = Duration::from_hours(1);

/// A controller: each of its runs has a cluster of its own.
pub struct Contender<'a> {
    name: &'static str,
    program: &'a Path,
    arguments: &'static [&'static str],
    /// Ten thousand objects are a matter of minutes.
    is_quick: bool,
    root: &'a Path,
    runtime: &'a Runtime,
}

/// The objects of a run.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub ring: &'a Ring,
    pub spread: Spread,
    /// How many SealedSecrets.
    pub objects: usize,
    /// Over how many namespaces.
    pub namespaces: usize,
    /// How many values each has.
    pub values: usize,
}

/// What one installation came to.
pub struct Run {
    /// From nothing to all Secrets.
    pub first: Figures,
    /// From the start beside all Secrets to one more.
    pub restart: Figures,
}

/// From the controller's start to the end of its work.
pub struct Figures {
    pub seconds: f64,
    pub cpu: f64,
    /// Processor seconds of the cluster's components meanwhile: API server, etcd, kubelet.
    pub others: f64,
    /// Private operations that it made, where it counts them.
    pub operations: Option<f64>,
}

impl<'a> Contender<'a> {
    /// sealed-secrets' controller at its defaults.
    pub const fn theirs(program: &'a Path, root: &'a Path, runtime: &'a Runtime) -> Self {
        Self { name: "sealed-secrets", program, arguments: &[], is_quick: false, root, runtime }
    }

    /// Ours, with the keys where the other has them.
    pub const fn ours(program: &'a Path, root: &'a Path, runtime: &'a Runtime) -> Self {
        let arguments = &["operator", "--enable=sealing", "--key-service=plain-secret"];
        Self { name: "bulla", program, arguments, is_quick: true, root, runtime }
    }

    /// Opens all SealedSecrets from nothing, then starts once more.
    pub fn sync(&self, work: &Work<'_>) -> Result<Run> {
        self.with(work, |cluster, client| {
            let account = self.start(cluster)?;
            let all = watch::all_synced(client, work.objects, PATIENCE);
            let first = figures(cluster, &account, self.runtime.block_on(all)?)?;
            stop(cluster)?;

            let account = self.start(cluster)?;
            let one_more = async {
                create_sealed(client, work, work.objects..=work.objects).await?;
                watch::all_synced(client, work.objects + 1, PATIENCE).await
            };
            let restart = figures(cluster, &account, self.runtime.block_on(one_more)?)?;
            Ok(Run { first, restart })
        })
    }

    /// The resident memory beside the SealedSecrets and as many foreign Secrets, when the caches are full: in MB.
    pub fn memory(&self, work: &Work<'_>) -> Result<f64> {
        self.with(work, |cluster, client| {
            let api: Api<Secret> = Api::namespaced(client.clone(), &team(0));
            self.runtime.block_on(create(&api, (0..work.objects).map(|index| Ok(foreign(index)))))?;
            let account = self.start(cluster)?;
            if self.is_quick {
                self.runtime.block_on(watch::all_synced(client, work.objects, PATIENCE))?;
            }
            // The peer would need an hour or more to open all; its caches are full after a minute.
            std::thread::sleep(Duration::from_secs(90));
            account.resident()
        })
    }

    /// Does something with a cluster that has everything but the controller.
    fn with<T>(&self, work: &Work<'_>, measure: impl FnOnce(&Cluster, &Client) -> Result<T>) -> Result<T> {
        let mut measured = None;
        cluster::with(CLUSTER, self.root, |cluster| {
            cluster::load_image(cluster, IMAGE, self.program)?;
            let client = self.runtime.block_on(client(cluster))?;
            eprintln!("bench: {} SealedSecrets of {} values for {}", work.objects, work.values, self.name);
            self.runtime.block_on(prepare(cluster, &client, work))?;
            self.runtime.block_on(create_sealed(&client, work, 0..work.objects))?;
            measured = Some(measure(cluster, &client)?);
            Ok(())
        })?;
        measured.context("a figure")
    }

    fn start(&self, cluster: &Cluster) -> Result<Account> {
        cluster.apply(&json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "controller", "namespace": OWN},
            "spec": {
                "terminationGracePeriodSeconds": 5,
                "containers": [{
                    "name": "controller",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "args": self.arguments,
                    "env": [{"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
                }],
            },
        }))?;
        Account::wait_for(CLUSTER, PROGRAM)
    }
}

fn figures(cluster: &Cluster, account: &Account, end: Instant) -> Result<Figures> {
    let cpu = account.cpu()?;
    let others = account.components_cpu()? - account.before;
    // The API server passes it on: the machine has no way of its own to the pods.
    let metrics = ["get", "--raw", "/api/v1/namespaces/sealing/pods/controller:8081/proxy/metrics"];
    let metrics = String::from_utf8(cluster.kubectl(metrics).output().unwrap_or_default())?;
    let operations = metrics.lines().find_map(|line| line.strip_prefix("bulla_sealing_private_operations_total "));
    let operations = operations.map(str::parse).transpose()?;
    Ok(Figures { seconds: end.duration_since(account.since).as_secs_f64(), cpu, others, operations })
}

fn stop(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(["delete", "pod", "controller", "--namespace", OWN, "--wait"]).output()?;
    wait_for_end(CLUSTER, PROGRAM)
}

/// The definitions, the controller's namespace with its rights and keys, the teams' namespaces.
async fn prepare(cluster: &Cluster, client: &Client, work: &Work<'_>) -> Result<()> {
    define(cluster)?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let names = std::iter::once(OWN.to_owned()).chain((0..work.namespaces).map(team));
    create(&namespaces, names.map(|name| Ok(json!({"metadata": {"name": name}})))).await?;
    cluster.apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "sealing"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": OWN}],
    }))?;
    let account = ["get", "serviceaccount", "default", "--namespace", OWN];
    cluster::wait_for("the service account", || cluster.kubectl(account).quiet())?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), OWN);
    create(&secrets, work.ring.secrets()?.into_iter().map(Ok)).await.map(drop)
}

async fn create_sealed(client: &Client, work: &Work<'_>, objects: impl IntoIterator<Item = usize>) -> Result<()> {
    let resource = watch::resource();
    let created = stream::iter(objects).map(|index| {
        let namespace = team(index % work.namespaces);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
        async move {
            let object = work.ring.sealed(&namespace, index, work.values, work.spread)?;
            create(&api, [Ok(object)]).await.map(drop)
        }
    });
    created.buffer_unordered(AT_ONCE).try_collect().await
}

fn team(number: usize) -> String {
    format!("team-{number}")
}
