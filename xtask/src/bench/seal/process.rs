//! What a controller in a pod uses, by the kernel's own account. The nodes are processes of this machine, and so are their pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::measure::processor_time;
use crate::cluster;

/// A process of this machine.
pub struct Account {
    folder: PathBuf,
    /// How the control groups of the cluster's nodes begin.
    nodes: String,
    /// When it was first seen.
    pub since: Instant,
    /// What all processes of the cluster had used then, in seconds.
    pub cluster_before: f64,
}

impl Account {
    /// Waits for the one process of the cluster `name` whose first argument is `program`.
    pub fn wait_for(name: &str, program: &str) -> Result<Self> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_mins(2) {
            if let Some(folder) = find(name, program)? {
                let nodes = format!("bulla-{name}-");
                let mut account = Self { folder, nodes, since: Instant::now(), cluster_before: 0.0 };
                account.cluster_before = account.cluster_cpu()?;
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

    /// What all processes of the cluster have used so far, this one among them, in seconds.
    pub fn cluster_cpu(&self) -> Result<f64> {
        for hierarchy in cluster::hierarchies() {
            let mut seconds = None;
            for entry in fs::read_dir(hierarchy)? {
                let entry = entry?;
                // Each node has a control group of its own, which those of its pods are below.
                if entry.file_name().to_string_lossy().starts_with(&self.nodes)
                    && let Some(used) = group_cpu(&entry.path())?
                {
                    *seconds.get_or_insert(0.0) += used;
                }
            }
            // Two hierarchies may count the same.
            if let Some(seconds) = seconds {
                return Ok(seconds);
            }
        }
        bail!("the kernel keeps no account of a control group's processor time")
    }

    /// Memory in use, in MB (10^6 bytes).
    pub fn resident(&self) -> Result<f64> {
        let status = fs::read_to_string(self.folder.join("status")).context("the controller has ended")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("status")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().context("status")?;
        Ok(kilobytes * 1024.0 / 1e6)
    }
}

/// The processor time of a control group, in seconds, where its hierarchy counts it: version 1, else 2.
fn group_cpu(group: &Path) -> Result<Option<f64>> {
    if let Ok(text) = fs::read_to_string(group.join("cpuacct.usage")) {
        return Ok(Some(Duration::from_nanos(text.trim().parse()?).as_secs_f64()));
    }
    let Ok(text) = fs::read_to_string(group.join("cpu.stat")) else { return Ok(None) };
    let microseconds = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
    microseconds.map(|text| Ok(Duration::from_micros(text.trim().parse()?).as_secs_f64())).transpose()
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
