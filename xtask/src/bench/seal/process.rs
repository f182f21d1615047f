//! What a controller in a pod uses, by the kernel's own account. The nodes are processes of this machine, and so are their pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::measure::processor_time;

/// A process of this machine.
pub struct Account {
    folder: PathBuf,
    /// What stands on the command lines of the cluster's components.
    files: String,
    /// When it was first seen.
    pub since: Instant,
    /// What the cluster's components had used then, in seconds.
    pub before: f64,
}

impl Account {
    /// Waits for the one process of the cluster `name` whose first argument is `program`.
    pub fn wait_for(name: &str, program: &str) -> Result<Self> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_mins(2) {
            if let Some(folder) = find(name, program)? {
                let files = format!("/bulla-cluster/{name}/");
                let mut account = Self { folder, files, since: Instant::now(), before: 0.0 };
                account.before = account.components_cpu()?;
                return Ok(account);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("{program} was not started in two minutes")
    }

    /// User and system time so far, in seconds.
    pub fn cpu(&self) -> Result<f64> {
        processor_time(&self.folder)
    }

    /// What the components of the cluster (API server, etcd, kubelet, …) have used so far, in seconds.
    pub fn components_cpu(&self) -> Result<f64> {
        let mut seconds = 0.0;
        for entry in fs::read_dir("/proc")? {
            let folder = entry?.path();
            let line = fs::read(folder.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            // Each is told where its files are; so is what waits for them, which uses nothing.
            if line.contains(&*self.files) {
                // One that ends meanwhile takes its account with it.
                seconds += processor_time(&folder).unwrap_or_default();
            }
        }
        if seconds == 0.0 {
            bail!("no component of the cluster is found");
        }
        Ok(seconds)
    }

    /// Memory in use, in MB (10^6 bytes).
    pub fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(self.folder.join("status")).context("the controller has ended")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("status")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().context("status")?;
        Ok(kilobytes * 1024.0 / 1e6)
    }
}

/// Waits until no process of the cluster `name` has `program` as its first argument.
pub fn wait_for_end(name: &str, program: &str) -> Result<()> {
    let start = Instant::now();
    while find(name, program)?.is_some() {
        if start.elapsed() > Duration::from_mins(2) {
            bail!("{program} did not end in two minutes");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn find(name: &str, program: &str) -> Result<Option<PathBuf>> {
    // Each node of a cluster has a control group of its own. Another cluster's pods may run the same program.
    let group = format!("/bulla-{name}-");
    for entry in fs::read_dir("/proc")? {
        let folder = entry?.path();
        let is_it = first_argument(&folder).is_some_and(|first| first == program.as_bytes());
        if is_it && fs::read_to_string(folder.join("cgroup")).is_ok_and(|groups| groups.contains(&group)) {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

fn first_argument(folder: &Path) -> Option<Vec<u8>> {
    let mut line = fs::read(folder.join("cmdline")).ok()?;
    let end = line.iter().position(|byte| *byte == 0)?;
    line.truncate(end);
    Some(line)
}
