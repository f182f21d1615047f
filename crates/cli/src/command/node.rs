//! `node`: the service on each node that mounts secrets for pods, as two processes.

pub(super) mod providers;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bulla_kube::{Operator, Options as ProcessOptions, Sharing};
use bulla_node::mounter::{Mounter, Rules, serve, split};
use bulla_node::provider::Registry;
use bulla_node::publish::Settings;
use bulla_node::service::{CSI_SOCKET, Options, REGISTRATION_SOCKET};
use bulla_node::volume::Limits;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use tokio::signal::unix::{SignalKind, signal};

use self::providers::{BuiltIn, ProviderArgs};
use crate::app::App;
use crate::args::{ApiArgs, duration, go_bool};
use crate::error::Failure;
use crate::exit::Code;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla node --nodeid \"$NODE_NAME\"
  bulla node --drivername bulla.dev --rotation-poll-interval 10m

It is started as root in a DaemonSet (the chart has it) and divides itself: one process mounts and has no
network, the other speaks with the kubelet, providers and the API server and has no rights.

Every flag may be given as a variable, BULLA_NODE_ and its name (BULLA_NODE_DRIVERNAME=…), and in the
settings file, a YAML mapping with the flags' names. A flag goes before its variable, that before the file.

--metrics-addr has /metrics, /healthz and /readyz. SIGTERM: the kubelet is told that the driver goes, what it
asked for is finished; what is mounted stays mounted.";

/// What a file system has beside the files of two versions: links, folders, the record.
const ROOM: u64 = 8 << 20;

/// Arguments of `node`.
#[derive(Args, Debug)]
pub(crate) struct NodeArgs {
    /// Read settings from this file: YAML, the flags' names and their values
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,

    #[command(flatten)]
    api: ApiArgs,

    #[command(flatten)]
    driver: DriverArgs,

    #[command(flatten)]
    volumes: VolumeArgs,

    #[command(flatten)]
    providers: ProviderArgs,

    #[command(flatten)]
    sync: SyncArgs,

    #[command(flatten)]
    peer: PeerArgs,

    /// How the half that serves is started
    #[arg(long, hide = true)]
    serving_half: bool,
}

/// Who it is for the kubelet.
#[derive(Args, Debug)]
#[command(next_help_heading = "Driver")]
struct DriverArgs {
    /// The driver's name, as the driver object and the pods' volumes have it
    #[arg(long, value_name = "NAME", default_value = "secrets-store.csi.k8s.io")]
    drivername: String,

    #[arg(long, value_name = "NAME", help = "This node's name (default: NODE_NAME, then KUBE_NODE_NAME)")]
    nodeid: Option<String>,

    /// The driver's socket
    #[arg(long, value_name = "unix://PATH", default_value = "unix:///csi/csi.sock")]
    endpoint: String,

    /// The same socket's path on the node, as the kubelet is told it
    #[arg(long, value_name = "PATH", default_value = "/var/lib/kubelet/plugins/csi-secrets-store/csi.sock")]
    kubelet_registration_path: String,

    /// The folder in which the kubelet looks for drivers
    #[arg(long, value_name = "FOLDER", default_value = "/registration")]
    registration_folder: PathBuf,

    /// The kubelet's folder of all pods, the same here and on the node
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/kubelet/pods")]
    pods_folder: PathBuf,

    /// The user that the half that serves runs as
    #[arg(long, value_name = "UID", default_value = "65532", value_parser = clap::value_parser!(u32).range(1..))]
    user: u32,

    /// Where metrics and probes are served
    #[arg(long, value_name = "ADDRESS", default_value = ":8095")]
    metrics_addr: String,
}

/// How volumes are made.
#[derive(Args, Debug)]
#[command(next_help_heading = "Volumes")]
struct VolumeArgs {
    /// The folder with providers' sockets
    #[arg(long, value_name = "FOLDER", default_value = "/var/run/secrets-store-csi-providers")]
    provider_volume: PathBuf,

    /// Further folders with providers' sockets, searched first
    #[arg(
        long,
        value_name = "FOLDERS",
        value_delimiter = ',',
        default_value = "/etc/kubernetes/secrets-store-csi-providers",
        // Nothing is a list of none: clap's own parser of paths refuses it.
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    additional_provider_volume_paths: Vec<PathBuf>,

    /// Fetch what is mounted anew from time to time
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    enable_secret_rotation: bool,

    /// How often; a class may say otherwise (bulla.dev/rotation-interval)
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    rotation_poll_interval: Duration,

    /// The longest answer of a provider, in bytes
    #[arg(long, value_name = "BYTES", default_value = "4194304", value_parser = clap::value_parser!(u32).range(1024..=1 << 30))]
    max_call_recv_msg_size: u32,

    /// The most that a volume's files may have together, in bytes
    #[arg(long, value_name = "BYTES", default_value = "16777216", value_parser = clap::value_parser!(u32).range(1024..=1 << 30))]
    max_volume_size: u32,

    /// The most memory that all volumes may take together, in bytes; those of one namespace, half of it [default: half of
    /// what the process may have]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1 << 20..))]
    max_volumes_memory: Option<u64>,

    /// The mode of files whose provider says none, in octal
    #[arg(long, value_name = "MODE", default_value = "0644", value_parser = mode)]
    file_mode: u32,
}

/// Who makes Secrets of mounted files.
#[derive(Args, Debug)]
#[command(next_help_heading = "Secrets of mounted files")]
struct SyncArgs {
    /// The operator's address for node services; without it secretObjects of classes do nothing
    #[arg(long, value_name = "https://HOST:PORT")]
    sync_operator: Option<String>,
}

/// Flags of the peer that mean nothing here.
#[derive(Args, Debug)]
struct PeerArgs {
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    log_format_json: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    enable_pprof: Option<String>,
    #[arg(long, hide = true)]
    pprof_port: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    provider_health_check: Option<String>,
    #[arg(long, hide = true)]
    provider_health_check_interval: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    filtered_watch_secret: Option<String>,
    #[arg(short = 'v', hide = true)]
    level: Option<String>,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// No right to mount, no cluster, a socket or a port that cannot be served.
pub(crate) fn run(app: &App, args: &NodeArgs) -> Result<Code, Failure> {
    if args.serving_half { serve_half(app, args) } else { mount_half(app, args) }
}

/// Starts the other half, gives up what mounting does not take, and mounts.
fn mount_half(app: &App, args: &NodeArgs) -> Result<Code, Failure> {
    let failed = |what: &str, error: std::io::Error| Failure::generic(format!("{what}: {error}"));
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::generic("mounting takes root").with_hint("run it in the chart's DaemonSet, or as root"));
    }
    // What is wrong is said before anything is started.
    let (rules, _) = (rules(args)?, args.driver.node(app)?);
    let mut command = Command::new("/proc/self/exe");
    command.arg0("bulla").args(std::env::args_os().skip(1)).arg("--serving-half");
    let (mut child, socket) =
        split::start(command, args.driver.user).map_err(|error| failed("cannot start the half that serves", error))?;
    let mounting = split::confine()
        .and_then(|()| split::hand_on_signals(&child))
        .map_err(|error| failed("cannot give up rights that mounting does not take", error))
        .and_then(|()| serve(&socket, rules).map_err(|error| failed("cannot mount", error)));
    if mounting.is_err() {
        let _ = child.kill();
    }
    drop(socket);
    let status = child.wait().map_err(|error| failed("the half that serves is lost", error))?;
    mounting?;
    match status.code() {
        Some(0) => Ok(Code::Success),
        // It said why.
        Some(code) => Ok(Code::Child(u8::try_from(code).unwrap_or(1))),
        None => Err(Failure::generic(format!("the half that serves ended: {status}"))),
    }
}

/// Gives up all rights, and serves.
fn serve_half(app: &App, args: &NodeArgs) -> Result<Code, Failure> {
    let socket = split::channel().map_err(|error| Failure::generic(format!("cannot give up rights: {error}")))?;
    // One thread: a volume is a chain of short steps between the kubelet, the half that mounts and a provider, and each hand-over to another
    // thread would cost more than the step.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::generic(format!("cannot start the asynchronous runtime: {error}")))?;
    let served = runtime.block_on(serve_until_stopped(app, args, socket));
    // What hangs in a blocking call must not keep the process, however it ends.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served.map(|()| Code::Success)
}

async fn serve_until_stopped(app: &App, args: &NodeArgs, socket: OwnedFd) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::generic(error.to_string());
    let mounter = Mounter::new(socket).map_err(|error| failed(&error))?;
    let stopped = stopped()?;
    let node = args.driver.node(app)?;
    let process = ProcessOptions {
        group: "bulla-node".to_owned(),
        replica: node.clone(),
        sharing: Sharing::Alone,
        listen: String::new(),
        listen_metrics: args.driver.metrics_addr.clone(),
        ..ProcessOptions::default()
    };
    let mut operator = Operator::new(args.api.config().await?, process).map_err(|error| failed(&error))?;
    let longest = args.volumes.max_call_recv_msg_size as usize;
    let limits = args.volumes.limits();
    let mut providers = Registry::new(args.volumes.folders(), mounter.clone(), longest, limits);
    let BuiltIn { named, secrets } =
        args.providers.built_in(app, &mut operator, limits, args.sync.sync_operator.as_deref())?;
    for (name, provider) in named {
        providers = providers.with(&name, provider);
    }
    let options = Options {
        driver: args.driver.drivername.clone(),
        node,
        pods: args.driver.pods_folder.clone(),
        endpoint: args.driver.kubelet_registration_path.clone(),
        settings: Settings {
            interval: args.volumes.enable_secret_rotation.then_some(args.volumes.rotation_poll_interval),
            limits,
            // The rest is for what is under way.
            memory: args.volumes.max_volumes_memory.unwrap_or_else(|| bulla_core::memory::limit() / 2),
            mode: args.volumes.file_mode,
        },
    };
    let served = bulla_node::service::serve(operator, mounter, providers, options, secrets, stopped).await;
    served.map_err(|error| failed(&error))
}

/// Waits for SIGTERM or SIGINT.
pub(super) fn stopped() -> Result<impl Future<Output = ()>, Failure> {
    let heard = |kind| signal(kind).map_err(|error| Failure::generic(format!("cannot wait for signals: {error}")));
    let (mut interrupt, mut terminate) = (heard(SignalKind::interrupt())?, heard(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn rules(args: &NodeArgs) -> Result<Rules, Failure> {
    let DriverArgs { drivername, endpoint, registration_folder, pods_folder, user, .. } = &args.driver;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if drivername.len() > 63
        || !drivername.bytes().all(is_name)
        || !drivername.starts_with(|c: char| c.is_alphanumeric())
    {
        return Err(Failure::generic(format!("{drivername:?} is no name for a CSI driver"))
            .with_hint("at most 63 letters, digits, dots and dashes, like a DNS name"));
    }
    let socket = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if !Path::new(socket).is_absolute() {
        return Err(Failure::generic(format!("--endpoint {endpoint} is no path of a socket"))
            .with_hint("write it as unix:///csi/csi.sock"));
    }
    let registration = registration_folder.join(format!("{drivername}-reg.sock"));
    let Limits { bytes, files } = args.volumes.limits();
    Ok(Rules {
        driver: drivername.clone(),
        pods: pods_folder.clone(),
        providers: args.volumes.folders(),
        sockets: BTreeMap::from([
            (CSI_SOCKET.to_owned(), socket.into()),
            (REGISTRATION_SOCKET.to_owned(), registration),
        ]),
        most_bytes: 2 * bytes as u64 + ROOM,
        most_files: 4 * files as u64 + 64,
        user: *user,
    })
}

impl DriverArgs {
    fn node(&self, app: &App) -> Result<String, Failure> {
        self.nodeid
            .clone()
            .or_else(|| app.env.text("NODE_NAME"))
            .or_else(|| app.env.text("KUBE_NODE_NAME"))
            .filter(|name| !name.is_empty())
            .ok_or_else(|| {
                Failure::generic("this node's name is not known").with_hint("give it with --nodeid or NODE_NAME")
            })
    }
}

impl VolumeArgs {
    fn limits(&self) -> Limits {
        Limits { bytes: self.max_volume_size as usize, ..Limits::default() }
    }

    /// In the order that the peer looks through them.
    fn folders(&self) -> Vec<PathBuf> {
        let more = self.additional_provider_volume_paths.iter().filter(|folder| !folder.as_os_str().is_empty());
        more.chain([&self.provider_volume]).cloned().collect()
    }
}

/// Permission bits in octal.
fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "must be permission bits in octal, like 0640".to_owned())
}
