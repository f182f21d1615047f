//! `operator`: the controllers, in a cluster.

use std::time::Duration;

use axum::Router;
use bulla_kube::client::ClientOptions;
use bulla_kube::lease::Timing;
use bulla_kube::{Namespaces, Operator, Options, Sharing};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::args::sealing_keys::{KeeperArgs, ServiceArgs};
use crate::args::{ApiArgs, duration, go_bool};
use crate::error::Failure;
use crate::exit::Code;

mod inject;
mod nodes;
mod peer;
mod sealing;
mod sync;

pub(crate) use peer::arguments as peer_arguments;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla operator sealing --key-service arn:aws:kms:eu-central-1:111122223333:key/1234
  bulla operator sealing --key-service shares:SET --namespaces team-a,team-b
  bulla operator inject --inject-image registry.example.com/bulla:0.1.0
  bulla operator --settings /etc/bulla/operator.yaml

Every flag may be given as a variable, BULLA_OPERATOR_ and its name (BULLA_OPERATOR_WORKERS=8),
and in the settings file, a YAML mapping with the flags' names. A flag goes before its variable,
a variable before the file. Under the name sealed-secrets-controller it takes that program's flags.

Ports: --listen-addr has the API and /healthz, /readyz; --listen-metrics-addr has /metrics.
SIGTERM: no new work is taken, what was begun is finished, leases are given up. SIGUSR1: a new sealing key.";

/// Arguments of `operator`.
#[derive(Args, Debug)]
pub(crate) struct OperatorArgs {
    /// Which controllers to run
    #[arg(value_name = "CONTROLLER")]
    doors: Vec<Door>,

    /// The same as an option; may be repeated
    #[arg(long, value_name = "CONTROLLER", value_delimiter = ',')]
    enable: Vec<Door>,

    /// Read settings from this file: YAML, the flags' names and their values
    #[arg(long, value_name = "FILE")]
    settings: Option<std::path::PathBuf>,

    #[command(flatten)]
    place: PlaceArgs,

    #[command(flatten)]
    run: RunArgs,

    #[command(flatten)]
    sealing: sealing::SealingArgs,

    #[command(flatten)]
    nodes: nodes::NodesArgs,

    #[command(flatten)]
    sync: sync::SyncArgs,

    #[command(flatten)]
    inject: inject::InjectArgs,

    #[command(flatten)]
    services: ServiceArgs,

    #[command(flatten)]
    keeper: KeeperArgs,

    #[command(flatten)]
    peer: peer::PeerArgs,
}

/// A controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Door {
    /// SealedSecrets.
    Sealing,
    /// Environment variables for pods that ask for them: an admission webhook.
    Inject,
    /// Secrets of mounted files, for node services.
    Sync,
}

/// Where it runs and looks.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
struct PlaceArgs {
    #[command(flatten)]
    api: ApiArgs,

    /// The controllers' own namespace, with leases and keys (default: the pod's)
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Look in these namespaces alone
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,

    /// Look in all namespaces; false: in the controllers' own
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    all_namespaces: bool,

    /// Look in the controllers' own namespace and in these
    #[arg(long, value_name = "NAMESPACES", value_delimiter = ',')]
    additional_namespaces: Vec<String>,
}

/// How it runs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Running")]
struct RunArgs {
    /// Where the API and probes are served
    #[arg(long, value_name = "ADDRESS", default_value = ":8080")]
    listen_addr: String,

    /// Where metrics and probes are served
    #[arg(long, value_name = "ADDRESS", default_value = ":8081")]
    listen_metrics_addr: String,

    /// How many objects are worked on at once
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: u16,

    /// How many requests may be under way at once
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..=1000))]
    requests: u16,

    /// Share the work with other replicas, by leases; false: there is one replica
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    share_work: bool,

    #[arg(long, value_name = "NAME", help = "This replica's name (default: POD_NAME, then the host's name)")]
    replica: Option<String>,

    /// The name of the group of replicas, and of its leases
    #[arg(long, value_name = "NAME", default_value = "bulla-operator")]
    group: String,

    /// How long leases last: so long after a replica was killed, or cannot reach the API server, others do its work
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = lease_duration)]
    lease_duration: Duration,

    /// How long work may go on after SIGTERM
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = duration)]
    stop_timeout: Duration,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// No controller, no key service, no cluster, a port that is taken.
pub(crate) fn run(app: &App, args: &OperatorArgs) -> Result<Code, Failure> {
    let doors: Vec<Door> = args.doors.iter().chain(&args.enable).copied().collect();
    if doors.is_empty() {
        return Err(Failure::generic("no controller is enabled").with_hint("name one: bulla operator sealing"));
    }
    // What needs no cluster is found out first.
    if doors.contains(&Door::Sealing) {
        args.services.named()?;
    }
    if doors.contains(&Door::Inject) {
        args.inject.image()?;
    }
    args.peer.warn();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(1, usize::from).min(4))
        .enable_all()
        .build()
        .map_err(|error| Failure::generic(format!("cannot start the asynchronous runtime: {error}")))?;
    runtime.block_on(serve(app, args, &doors))?;
    // What hangs in a blocking call must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(Code::Success)
}

async fn serve(app: &App, args: &OperatorArgs, doors: &[Door]) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::generic(error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed(&error))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed(&error))?;
    let config = args.place.api.config().await?;
    let mut operator = Operator::new(config, options(app, args)).map_err(|error| failed(&error))?;
    // What node services ask, of whichever door.
    let mut asked = Router::new();
    if doors.contains(&Door::Sealing) {
        let keys = sealing::keys(app, &operator, &args.services, &args.keeper, &args.sealing).await?;
        let sops = sealing::sops(app, &args.services, &args.sealing);
        let nodes = sealing::Nodes { accounts: args.nodes.accounts(), sops };
        let routes = sealing::add(&mut operator, keys, nodes, &args.sealing, args.peer.skip_recreate())?;
        asked = asked.merge(routes);
    }
    if doors.contains(&Door::Sync) {
        let own_key = sealing::own_key(&operator, &args.sealing);
        asked = asked.merge(sync::add(&mut operator, &args.sync, &args.nodes, own_key)?);
    }
    if !args.nodes.accounts().is_empty() {
        nodes::serve(&mut operator, &args.nodes, asked);
    }
    if doors.contains(&Door::Inject) {
        inject::add(&mut operator, &args.inject)?;
    }
    let stopped = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    operator.run(stopped).await.map_err(|error| failed(&error))
}

fn options(app: &App, args: &OperatorArgs) -> Options {
    let namespace = args.place.own_namespace(app);
    let replica = args.run.replica.clone().or_else(|| app.env.text("POD_NAME")).unwrap_or_else(host_name);
    let named = |names: &[String]| names.iter().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>();
    let (only, more) = (named(&args.place.namespaces), named(&args.place.additional_namespaces));
    let namespaces = if only.is_empty() && more.is_empty() && args.place.all_namespaces {
        Namespaces::All
    } else {
        let own = only.is_empty().then(|| namespace.clone());
        let mut all: Vec<String> = own.into_iter().chain(only).chain(more).collect();
        all.sort();
        all.dedup();
        Namespaces::Named(all)
    };
    Options {
        namespace,
        group: args.run.group.clone(),
        replica,
        namespaces,
        sharing: if args.run.share_work { Sharing::ByLease } else { Sharing::Alone },
        workers: usize::from(args.run.workers),
        timing: Timing::lasting(args.run.lease_duration),
        stop_timeout: args.run.stop_timeout,
        listen: args.run.listen_addr.clone(),
        listen_metrics: args.run.listen_metrics_addr.clone(),
        client: ClientOptions { concurrency: usize::from(args.run.requests), ..ClientOptions::default() },
        ..Options::default()
    }
}

impl PlaceArgs {
    /// As sealed-secrets finds it.
    fn own_namespace(&self, app: &App) -> String {
        const FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
        let of_pod = || app.env.text("POD_NAMESPACE");
        let of_account = || std::fs::read_to_string(FILE).ok().map(|text| text.trim().to_owned());
        let named = self.namespace.clone().or_else(of_pod).or_else(of_account);
        named.filter(|name| !name.is_empty()).unwrap_or_else(|| "kube-system".to_owned())
    }
}

/// A Lease has whole seconds, and takes several renewals in its time.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let is_right = time.subsec_nanos() == 0 && (2..=3600).contains(&time.as_secs());
    if is_right { Ok(time) } else { Err("must be whole seconds, 2s to 1h".to_owned()) }
}

/// The host's name as a part of an object's name.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    match name.trim_matches('-') {
        "" => "replica".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_whole_seconds_and_long_enough_to_be_renewed() {
        let timing = Timing::lasting(lease_duration("15s").unwrap());
        assert_eq!(timing, Timing::default());
        assert_eq!((timing.deadline.as_secs(), timing.renew.as_secs()), (10, 4));
        for text in ["1s", "2500ms", "2h", "0", "x"] {
            assert!(lease_duration(text).is_err(), "{text}");
        }
    }
}
