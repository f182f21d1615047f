//! A SealedSecret in each of very many namespaces.

use std::path::Path;
use std::time::Instant;

use bulla_cluster_tests::{ApiServer, definitions_for};
use bulla_kube::api::SealedSecret;
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::runtime::Runtime;

use super::sealer::{Sealer, client, is_synced, password};
use super::{Keys, Operator};
use crate::number;

/// How many requests of the test's are under way at once.
const AT_ONCE: usize = 32;

#[test]
fn a_thousand_namespaces_are_synced() {
    let count = number("BULLA_TEST_NAMESPACES").unwrap_or(1000);
    // An API server of its own: there nobody else has to look at so many namespaces, nor to empty them afterwards.
    let mut server = ApiServer::alone();
    server.start();
    let kubeconfig = server.kubeconfig();
    definitions_for(&kubeconfig);
    let keys = Keys::new();
    let service = keys.service();
    let start = |replica: &str| {
        let arguments = ["--namespace", "kube-system", "--key-service", &service];
        Operator::run(&keys, replica, &kubeconfig, &arguments, &[]).ready()
    };
    let operators = [start("a"), start("b")];
    let cluster = Cluster::of(&kubeconfig);
    let sealer = Sealer::of(&operators[0]);
    let since = Instant::now();
    let name = |n: u64| format!("team-{n:04}");
    cluster.create((0..count).map(|n| {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name(n)}})).unwrap();
        (Api::all(cluster.client.clone()), namespace)
    }));
    let made = since.elapsed();
    cluster.create((0..count).map(|n| {
        let sealed = sealer.seal(&name(n), "database", &format!("the password of {}", name(n)));
        (Api::namespaced(cluster.client.clone(), &name(n)), sealed)
    }));
    let written = since.elapsed();
    while cluster.synced() < count {
        assert!(since.elapsed().as_secs() < 180, "{} of {count}: {}", cluster.synced(), operators[0].log());
        std::thread::sleep(std::time::Duration::from_millis(250));
    }
    eprintln!(
        "{count} namespaces: made in {made:.1?}, a SealedSecret in each by {written:.1?}, all synced by {:.1?}",
        since.elapsed()
    );
    let secrets = cluster.secrets();
    assert_eq!(secrets.len() as u64, count);
    for secret in &secrets {
        let namespace = secret.metadata.namespace.as_deref().unwrap();
        assert_eq!(password(secret).unwrap(), format!("the password of {namespace}"));
    }
    // Both had their share, and nothing was done twice.
    let opened = operators.each_ref().map(|one| one.metric("bulla_sealing_values_opened_total").unwrap());
    #[expect(clippy::cast_precision_loss, reason = "a thousand is exact")]
    let count = count as f64;
    assert!(
        opened.iter().all(|opened| *opened > count / 5.0) && opened.iter().sum::<f64>() < count * 1.1,
        "{opened:?}"
    );
}

struct Cluster {
    runtime: Runtime,
    client: Client,
}

impl Cluster {
    fn of(kubeconfig: &Path) -> Self {
        let (runtime, client) = client(kubeconfig);
        Self { runtime, client }
    }

    fn create<K>(&self, objects: impl Iterator<Item = (Api<K>, K)>)
    where
        K: Clone + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let requests = objects.map(|(api, object)| async move {
            // A machine that is busy with other things lets connections fall; what was asked on one may have been done.
            for _ in 0..5 {
                match api.create(&PostParams::default(), &object).await {
                    Err(kube::Error::Service(_) | kube::Error::HyperError(_)) => {}
                    Err(kube::Error::Api(status)) if status.code == 409 => return,
                    made => return made.map(drop).unwrap(),
                }
            }
            panic!("the API server does not take {object:?}");
        });
        self.runtime.block_on(stream::iter(requests).buffer_unordered(AT_ONCE).for_each(|()| async {}));
    }

    fn synced(&self) -> u64 {
        let api: Api<SealedSecret> = Api::all(self.client.clone());
        let all = self.runtime.block_on(api.list(&ListParams::default())).unwrap().items;
        all.iter().filter(|sealed| is_synced(sealed) == Some(true)).count() as u64
    }

    fn secrets(&self) -> Vec<Secret> {
        let api: Api<Secret> = Api::all(self.client.clone());
        let ours = ListParams::default().labels("bulla.dev/plain=sealed-secret");
        self.runtime.block_on(api.list(&ours)).unwrap().items
    }
}
