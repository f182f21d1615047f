//! The first process of a node: it makes the node's file system, starts the components, and starts again what ends.
//!
//! It runs in namespaces of its own for the network, mounts and processes. When it is killed, so is everything of the node.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, wait};

use super::components::{API_READY, After, Component};
use super::state::{Node, write};
use crate::process::Process;

/// Paths of a node's own: where the machine's stands, the node has a folder of its own folder there.
const PRIVATE: &[(&str, &str)] = &[("/var/lib", "var-lib"), ("/var/log", "var-log"), ("/run", "run")];

/// Kernel settings that the kubelet would change for the whole machine. It sees them as it wants them.
const TUNABLES: &[(&str, &str)] = &[
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// How long a component waits before it is started again.
const PAUSE: Duration = Duration::from_millis(500);

/// The node's cgroup, in each hierarchy.
pub fn cgroup(node: &Node) -> String {
    format!("bulla-{}", node.name)
}

/// Runs the node of `folder`. Comes back only on an error at the start.
pub fn run(folder: &Path) -> Result<()> {
    let text = fs::read_to_string(folder.join("components.json")).context("the node's folder has no components")?;
    let components: Vec<serde_json::Value> = serde_json::from_str(&text)?;
    let components: Option<Vec<Component>> = components.iter().map(Component::from_json).collect();
    let components = components.context("the node's components cannot be read")?;
    linked(folder)?;
    mounts(folder)?;
    write(Path::new("/proc/sys/net/ipv4/ip_forward"), "1")?;
    let children = Children::default();
    for component in components {
        let (children, folder) = (children.clone(), folder.to_owned());
        thread::spawn(move || keep_running(&component, &children, &folder));
    }
    children.reap()
}

/// Waits until the link to the bridge is there.
fn linked(folder: &Path) -> Result<()> {
    let since = Instant::now();
    while !folder.join("linked").exists() {
        if since.elapsed() > Duration::from_mins(1) {
            bail!("nobody linked this node to its network");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn mounts(folder: &Path) -> Result<()> {
    for (path, own) in PRIVATE {
        let own = folder.join(own);
        fs::create_dir_all(&own)?;
        bind(&own, Path::new(path))?;
        // What the kubelet mounts here, containers must see.
        Process::new("mount").args(["--make-shared", path]).run()?;
    }
    let tunables = folder.join("tunables");
    fs::create_dir_all(&tunables)?;
    for (name, value) in TUNABLES {
        let path = Path::new("/proc/sys").join(name);
        if path.exists() {
            let own = tunables.join(name.replace('/', "."));
            write(&own, value)?;
            bind(&own, &path)?;
        }
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    Process::new("mount").args(["--bind"]).args([from, to]).run()
}

/// Starts a component whenever it does not run.
fn keep_running(component: &Component, children: &Children, folder: &Path) {
    let path = folder.join(format!("logs/{}.log", component.name));
    let Ok(mut log) = File::options().create(true).append(true).open(&path) else { return };
    let may_start = || match component.after {
        Some(After::Answers(address)) => TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok(),
        Some(After::ApiReady) => folder.join(API_READY).exists(),
        None => true,
    };
    while !may_start() {
        thread::sleep(Duration::from_millis(20));
    }
    loop {
        let end = children.run(&component.command, &log);
        // The log is for whoever looks why; if it cannot be written there is nobody to tell.
        let _ = writeln!(log, "{}: {end}", component.name);
        thread::sleep(PAUSE);
    }
}

/// The processes of this node. As its first process we get the orphans' ends too, so one thread waits for all.
#[derive(Clone, Default)]
struct Children(Arc<Mutex<HashMap<i32, Sender<String>>>>);

impl Children {
    /// Runs a command to its end. Says how it ended.
    fn run(&self, command: &[String], log: &File) -> String {
        let Some((program, arguments)) = command.split_first() else { return "no command".to_owned() };
        let (sender, end) = channel();
        {
            // Held until the process is known, so that its end finds it here.
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (Ok(out), Ok(err)) = (log.try_clone(), log.try_clone()) else { return "no log".to_owned() };
            match Command::new(program).args(arguments).stdin(Stdio::null()).stdout(out).stderr(err).spawn() {
                Ok(child) => known.insert(child.id().cast_signed(), sender),
                Err(error) => return format!("cannot start {program}: {error}"),
            };
        }
        end.recv().unwrap_or_else(|_| "lost".to_owned())
    }

    /// Waits for the ends of all processes, for ever.
    fn reap(&self) -> ! {
        loop {
            match wait() {
                Ok(status @ (WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..))) => {
                    let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(sender) = known.remove(&pid.as_raw()) {
                        let _ = sender.send(format!("ended: {status:?}"));
                    }
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// Makes the node's cgroup in each hierarchy.
pub fn create_cgroup(node: &Node) -> Result<()> {
    for hierarchy in hierarchies() {
        let cgroup = hierarchy.join(cgroup(node));
        if let Err(error) = fs::create_dir(&cgroup)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| format!("cannot make the cgroup {}", cgroup.display()));
        }
        // Without these no process can be put into a cpuset.
        for setting in ["cpuset.mems", "cpuset.cpus"] {
            let above = fs::read_to_string(hierarchy.join(setting)).unwrap_or_default();
            if !above.trim().is_empty() && cgroup.join(setting).exists() {
                write(&cgroup.join(setting), above.trim())?;
            }
        }
    }
    Ok(())
}

/// The roots of the cgroup hierarchies, v1 and v2.
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(path))
        })
        .collect();
    found.dedup();
    found
}
