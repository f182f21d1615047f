//! The controllers' runtime on a real API server: replicas share the work, one dies, one ends, the API server goes away and comes back.
//!
//! The controller here is a tiny one: it writes each labelled ConfigMap's value into an annotation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bulla_cluster_tests::{Namespace, kubeconfig};
use bulla_kube::apply::{apply, field_manager};
use bulla_kube::{Controller, Done, Due, Failure, Job, Known, Namespaces, Operator, Options, Selectors, Sharing};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

/// What says that a ConfigMap was worked on, and by whom.
const COPY: &str = "bulla.test/copy";

/// Copies a value into an annotation.
struct Copier {
    client: Client,
    done: Arc<AtomicUsize>,
}

#[async_trait]
impl Controller for Copier {
    type Object = ConfigMap;
    type Note = (Option<String>, Option<String>);
    type Memo = String;

    fn name(&self) -> &'static str {
        "copy"
    }

    fn selectors(&self) -> Selectors {
        Selectors { labels: Some("bulla.test/copied=yes".to_owned()), fields: None }
    }

    fn note(&self, object: &ConfigMap) -> Self::Note {
        (value(object), object.annotations().get(COPY).cloned())
    }

    fn due(&self, known: &Known<'_, Self::Note, String>) -> Due {
        let (value, copy) = known.note;
        match (value == copy || value.as_ref() == known.memo, copy) {
            (true, _) => Due::Nothing,
            (false, None) => Due::First,
            (false, Some(_)) => Due::Changed,
        }
    }

    async fn reconcile(&self, job: Job<ConfigMap>) -> Result<Done<String>, Failure<String>> {
        let value = value(&job.object).unwrap_or_default();
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": job.key.name(), "annotations": {COPY: value}},
        });
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), job.key.namespace());
        apply(&api, job.key.name(), &field_manager("copy"), &object).await?;
        self.done.fetch_add(1, Ordering::SeqCst);
        Ok(Done::with(value))
    }
}

fn value(object: &ConfigMap) -> Option<String> {
    object.data.as_ref()?.get("value").cloned()
}

/// A replica: a process' worth of runtime, which can end in order or at once.
struct Replica {
    runtime: Option<Runtime>,
    done: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
}

impl Replica {
    fn start(namespace: &str, name: &str, config: Config, sharing: Sharing) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let done = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let options = Options {
            namespace: namespace.to_owned(),
            group: "copiers".to_owned(),
            replica: name.to_owned(),
            namespaces: Namespaces::Named(vec![namespace.to_owned()]),
            sharing,
            listen: String::new(),
            listen_metrics: String::new(),
            ..Options::default()
        };
        let count = done.clone();
        runtime.spawn(async move {
            let mut operator = Operator::new(config, options).unwrap();
            operator.add(Arc::new(Copier { client: operator.client(), done: count }));
            let signal = async move {
                let _ = stopped.await;
            };
            operator.run(signal).await.unwrap();
            let _ = end.send(());
        });
        Self { runtime: Some(runtime), done, stop: Some(stop), ended }
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// As by SIGKILL: nothing is said to anybody.
    fn kill(mut self) -> usize {
        self.runtime.take().unwrap().shutdown_background();
        self.done()
    }

    /// As by SIGTERM.
    fn end(mut self) -> usize {
        let _ = self.stop.take().unwrap().send(());
        let runtime = self.runtime.take().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), &mut self.ended).await.unwrap().unwrap() });
        runtime.shutdown_background();
        self.done()
    }
}

fn config() -> Config {
    crate::config(&kubeconfig())
}

fn make(namespace: &Namespace, names: std::ops::Range<usize>, value: &str) {
    let items: Vec<_> = names
        .map(|n| {
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": format!("c{n}"), "labels": {"bulla.test/copied": "yes"}},
                "data": {"value": value},
            })
        })
        .collect();
    namespace.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items})).ok();
}

/// How many of the objects have this value copied.
fn copied(namespace: &Namespace, value: &str) -> usize {
    let path = r"{range .items[*]}{.metadata.annotations.bulla\.test/copy}{'\n'}{end}";
    let arguments = ["get", "configmaps", "-l", "bulla.test/copied=yes", "--output"];
    let output = namespace.kubectl(&[&arguments[..], &[&format!("jsonpath={path}")]].concat()).ok();
    output.lines().filter(|line| *line == value).count()
}

#[test]
fn two_replicas_share_the_work_and_one_that_dies_is_replaced() {
    let namespace = Namespace::new("shards");
    let (a, b) = (
        Replica::start(&namespace.name, "a", config(), Sharing::ByLease),
        Replica::start(&namespace.name, "b", config(), Sharing::ByLease),
    );
    namespace.eventually("two members", || {
        namespace.kubectl(&["get", "leases", "--output", "name"]).stdout.lines().count() == 2
    });
    // Each has seen the other, and the later one has waited its time.
    std::thread::sleep(Duration::from_secs(6));
    make(&namespace, 0..60, "one");
    namespace.eventually("all copied", || copied(&namespace, "one") == 60);
    assert!(a.done() > 10 && b.done() > 10, "{} and {}", a.done(), b.done());
    assert_eq!(a.done() + b.done(), 60, "something was done twice");

    // Killed: nobody is told; its lease runs out, and nothing is lost.
    let before = a.done();
    b.kill();
    make(&namespace, 0..60, "two");
    let since = Instant::now();
    namespace.eventually("all copied by one", || copied(&namespace, "two") == 60);
    assert!(since.elapsed() < Duration::from_secs(40), "{:?}", since.elapsed());
    assert_eq!(a.end() - before, 60);
}

#[test]
fn a_replica_that_ends_hands_over_at_once() {
    let namespace = Namespace::new("handover");
    let a = Replica::start(&namespace.name, "a", config(), Sharing::ByLease);
    let b = Replica::start(&namespace.name, "b", config(), Sharing::ByLease);
    std::thread::sleep(Duration::from_secs(8));
    b.end();
    let leases = namespace.kubectl(&["get", "leases", "--output", "name"]).ok();
    assert_eq!(leases.trim(), "lease.coordination.k8s.io/copiers-a");
    // Well before a lease could have run out.
    make(&namespace, 0..20, "one");
    let since = Instant::now();
    namespace.eventually("all copied", || copied(&namespace, "one") == 20);
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    a.end();
}

#[test]
fn an_api_server_that_goes_away_and_comes_back_costs_nothing_but_time() {
    let namespace = Namespace::new("outage");
    let proxy = Proxy::start();
    let replica = Replica::start(&namespace.name, "a", proxy.config(), Sharing::ByLease);
    make(&namespace, 0..5, "before");
    namespace.eventually("the first", || copied(&namespace, "before") == 5);
    // Long enough for the lease to be lost, and for watches to be made anew.
    proxy.cut();
    make(&namespace, 0..50, "after");
    std::thread::sleep(Duration::from_secs(13));
    assert_eq!(copied(&namespace, "after"), 0);
    let before = replica.done();
    proxy.restore();
    let since = Instant::now();
    namespace.eventually("all of it", || copied(&namespace, "after") == 50);
    // The lease's renewal, tried every second, finds it out.
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
    // One is counted after its copy is there.
    namespace.eventually("the count", || replica.done() - before >= 50);
    replica.end();
}

/// Stands before the API server, so that it can be gone for one replica and nobody else.
struct Proxy {
    _runtime: Runtime,
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Proxy {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let server = config().cluster_url;
        let server = format!("{}:{}", server.host().unwrap(), server.port_u16().unwrap_or(443));
        let (open, is_open) = watch::channel(true);
        runtime.spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let (mut is_open, server) = (is_open.clone(), server.clone());
                tokio::spawn(async move {
                    if !*is_open.borrow() {
                        return;
                    }
                    let Ok(mut upstream) = TcpStream::connect(server).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut upstream) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { _runtime: runtime, address, open }
    }

    /// The cluster's configuration, by way of the proxy.
    fn config(&self) -> Config {
        let mut config = config();
        config.tls_server_name = Some(config.cluster_url.host().unwrap().to_owned());
        config.cluster_url = format!("https://{}", self.address).parse().unwrap();
        config
    }

    fn cut(&self) {
        self.open.send_replace(false);
    }

    fn restore(&self) {
        self.open.send_replace(true);
    }
}
