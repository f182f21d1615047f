//! The end of a cluster: nothing of it is left, however far it had come.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::state::{self, Cluster, Lock, Name, Node};
use super::{network, node};

/// How long the kernel may take to end a node's processes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends the cluster of that name, if there is something of it.
pub fn run(name: &Name) -> Result<()> {
    let lock = Lock::take()?;
    let existed = take_down(name, &lock)?;
    state::leave(lock)?;
    eprintln!("cluster {name}: {}", if existed { "down" } else { "there was none" });
    Ok(())
}

/// The same, for who has the lock.
pub fn take_down(name: &Name, lock: &Lock) -> Result<bool> {
    let cluster = Cluster::load(name);
    if let Some(cluster) = &cluster {
        for node in cluster.all_nodes() {
            end_processes(&node)?;
        }
        network::remove(cluster)?;
        for node in cluster.all_nodes() {
            for hierarchy in node::hierarchies() {
                remove_cgroup(&hierarchy.join(node::cgroup(&node)))?;
            }
        }
    }
    state::remove(name, lock)?;
    Ok(cluster.is_some())
}

/// Ends all processes of a node, and with them its mounts and its network.
pub fn end_processes(node: &Node) -> Result<()> {
    let since = Instant::now();
    loop {
        let processes = node.processes();
        if processes.is_empty() {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            bail!("processes of node {} do not end: {processes:?}", node.name);
        }
        // The one outside ends when the last process inside has ended, and so shows when that is. If it does not, it goes too.
        let stuck = since.elapsed() > PATIENCE / 2;
        for (pid, is_first) in processes {
            if is_first || stuck {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Removes a cgroup with those below it. The kernel lets go of one a moment after its last process.
fn remove_cgroup(cgroup: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(cgroup) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path())?;
        }
    }
    let since = Instant::now();
    loop {
        match fs::remove_dir(cgroup) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if since.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("cannot remove the cgroup {}", cgroup.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
