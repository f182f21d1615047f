//! A real Kubernetes on this machine, for tests: etcd, the control plane, and one node or more with containerd and runc.
//!
//! Each node is a process tree in namespaces of its own (network, mounts, processes), begun by [`node`]. So a cluster touches nothing
//! of the machine but a bridge, a cgroup a node and one folder, and when a node's first process ends, the kernel ends all others of the node
//! and takes its mounts and interfaces away, whatever state they were in.

mod components;
mod down;
mod images;
mod kube;
mod network;
mod node;
mod pki;
mod requirements;
mod state;
mod up;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Subcommand;

use state::Name;

#[cfg(feature = "bench-cluster")]
pub use images::load as load_image;
pub use state::Cluster;
pub use up::wait_for;

/// What to do with a cluster.
#[derive(Subcommand)]
pub enum Action {
    /// Start a cluster, building and installing what is missing; does nothing if it runs already
    Up {
        #[command(flatten)]
        which: Which,
        /// How many nodes; the first one has the control plane too
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
        nodes: u8,
    },
    /// End a cluster, and remove everything that it left; also one that was killed half-way
    Down {
        #[command(flatten)]
        which: Which,
        /// All clusters of this machine
        #[arg(long)]
        all: bool,
    },
    /// End a node as a loss of power does, and start it again: what is on its disk stays
    Reboot {
        #[command(flatten)]
        which: Which,
        /// Which node
        #[arg(long, default_value_t = 1)]
        node: u8,
    },
    /// Say what runs, and where its configuration for clients is
    Status {
        #[command(flatten)]
        which: Which,
    },
    /// Print what the cluster's components logged
    Logs {
        #[command(flatten)]
        which: Which,
        /// Only this component's, e.g. kubelet
        component: Option<String>,
    },
    /// Run kubectl as the cluster's administrator
    Kubectl {
        #[command(flatten)]
        which: Which,
        /// kubectl's own arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run a command on a node, in its mounts, network and processes
    Enter {
        #[command(flatten)]
        which: Which,
        /// Which node
        #[arg(long, default_value_t = 1)]
        node: u8,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Give the nodes an image with one program, which is its entry point; libraries that it needs go with it
    Load {
        #[command(flatten)]
        which: Which,
        /// The image's name with a tag
        #[arg(long)]
        image: String,
        /// Another program whose libraries go into the image: what is to be copied into its containers
        #[arg(long)]
        ready_for: Option<PathBuf>,
        /// The program
        program: PathBuf,
    },
    /// The first process of a node (started by `up`)
    #[command(hide = true)]
    Node {
        #[arg(long)]
        folder: PathBuf,
    },
}

/// Which cluster.
#[derive(clap::Args)]
pub struct Which {
    /// The cluster's name
    #[arg(long, default_value = "bulla")]
    name: Name,
}

/// Does it.
pub fn run(root: &Path, action: Action) -> Result<()> {
    match action {
        Action::Up { which, nodes } => up::run(root, &which.name, nodes),
        Action::Down { all: true, .. } => state::all()?.iter().try_for_each(down::run),
        Action::Down { which, all: false } => down::run(&which.name),
        Action::Reboot { which, node } => up::reboot(&which.name, node),
        Action::Status { which } => status(&which.name),
        Action::Logs { which, component } => logs(&which.name, component.as_deref()),
        Action::Kubectl { which, arguments } => {
            let cluster = running(&which.name)?;
            cluster.kubectl(arguments).replace()
        }
        Action::Enter { which, node, command } => {
            let cluster = running(&which.name)?;
            let Some(node) = cluster.all_nodes().find(|there| there.index == node) else {
                bail!("cluster {} has {} nodes", cluster.name, cluster.nodes)
            };
            node.enter()?.args(command).replace()
        }
        Action::Load { which, image, ready_for, program } => {
            let cluster = running(&which.name)?;
            images::load_ready_for(&cluster, &image, &program, ready_for.as_deref())
        }
        Action::Node { folder } => node::run(&folder),
    }
}

/// Builds the components, unless they are there.
pub fn build(root: &Path) -> Result<()> {
    kube::program(root).map(drop)
}

/// Does something with a cluster of one node, which ends with it.
pub fn with(name: &str, root: &Path, work: impl FnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let name: Name = name.parse().map_err(anyhow::Error::msg)?;
    let result = up::run(root, &name, 1).and_then(|()| work(&running(&name)?));
    // After a failure the cluster has the logs that say why; a new `up` or `down` removes it.
    if result.is_ok() { down::run(&name) } else { result }
}

fn running(name: &Name) -> Result<Cluster> {
    match Cluster::load(name) {
        Some(cluster) if cluster.is_running() => Ok(cluster),
        _ => bail!("no cluster {name} runs; start it: cargo xtask cluster up --name {name}"),
    }
}

fn status(name: &Name) -> Result<()> {
    let cluster = running(name)?;
    println!("cluster {name}: {} nodes, API at {}", cluster.nodes, cluster.api());
    println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    print!("{}", String::from_utf8_lossy(&cluster.kubectl(["get", "nodes", "--output", "wide"]).output()?));
    Ok(())
}

fn logs(name: &Name, component: Option<&str>) -> Result<()> {
    let Some(cluster) = Cluster::load(name) else { bail!("there is no cluster {name}") };
    let mut found = false;
    for node in cluster.all_nodes() {
        for (name, path) in node.logs()? {
            if component.is_none_or(|wanted| wanted == name) {
                found = true;
                println!("==> node {} {name}", node.index);
                std::io::copy(&mut std::fs::File::open(path)?, &mut std::io::stdout())?;
            }
        }
    }
    if !found {
        bail!("no component {} has logged anything", component.unwrap_or_default());
    }
    Ok(())
}
