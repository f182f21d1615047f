//! `demo`: the newcomer's journey.

use bulla_kube::client::{ClientOptions, client};
use clap::{Args, ValueEnum};

use crate::app::App;
use crate::args::ApiArgs;
use crate::demo::{self, Folder, Talk, cluster};
use crate::error::Failure;
use crate::exit::Code;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla demo
  bulla demo --keep                      leave its folder to look around in
  bulla demo --output json               only the outcome
  bulla demo --cluster                   the way into a pod, in a cluster that has bulla's operator and node service

Needs git and sh, no network, no cloud and no cluster. With --cluster it makes a namespace, which it deletes, and looks
for the secret in every object of the API, in etcd's files, in the node's files and in the memory of its processes: as
root, on the one node of a test cluster.";

/// Arguments of `demo`.
#[derive(Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct DemoArgs {
    /// Leave the folder in place, to look around in
    #[arg(long)]
    pub(crate) keep: bool,

    /// How the journey is told
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) output: OutputForm,

    /// From Git into a pod of a cluster
    #[arg(long)]
    cluster: bool,

    /// Look into the API alone, not into etcd's files, the node's files and its processes
    #[arg(long, requires = "cluster")]
    without_node: bool,

    /// Use this namespace instead of a new one, and what is installed in it
    #[arg(long, value_name = "NAME", requires = "cluster")]
    namespace: Option<String>,

    #[command(flatten)]
    api: ApiArgs,

    /// What the pod of the journey runs
    #[arg(long, hide = true, exclusive = true)]
    application: bool,
}

/// How the journey is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputForm {
    /// Step by step.
    Text,
    /// Only its outcome.
    Json,
}

/// Runs it.
///
/// # Errors
/// If a step fails.
pub(crate) fn run(app: &App, args: &DemoArgs) -> Result<Code, Failure> {
    if args.application {
        return cluster::application();
    }
    if args.cluster {
        return run_in_cluster(app, args);
    }
    let folder = if args.keep { Folder::Kept } else { Folder::Removed };
    demo::run(folder, args.output.talk())
}

fn run_in_cluster(app: &App, args: &DemoArgs) -> Result<Code, Failure> {
    let options = cluster::Options {
        kubeconfig: args.api.kubeconfig(),
        context: args.api.context(),
        node: !args.without_node,
        namespace: args.namespace.clone(),
        keep: args.keep,
        talk: args.output.talk(),
    };
    app.block_on(async {
        let client = client(args.api.config().await?, ClientOptions::default())
            .map_err(|error| Failure::generic(error.to_string()))?;
        cluster::run(client, options).await
    })?
}

impl OutputForm {
    const fn talk(self) -> Talk {
        match self {
            Self::Text => Talk::Steps,
            Self::Json => Talk::Json,
        }
    }
}
