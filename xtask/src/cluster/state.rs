//! Where a cluster is: its folder, numbers and addresses. What is not written down here is found in `/proc`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::process::Process;

/// Everything of all clusters. On a disk (containers' layers), with paths short enough for sockets.
const BASE: &str = "/var/tmp/bulla-cluster";

/// The name of a cluster: a DNS label of at most 16 characters, because it becomes part of other names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let valid = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && (1..=16).contains(&text.len())
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(Self(text.to_owned())) } else { Err("1 to 16 of a-z, 0-9 and -, no - at an end".to_owned()) }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub name: Name,
    /// Tells the clusters of a machine apart, in addresses and interfaces.
    pub number: u8,
    pub nodes: u8,
    /// The program with all components.
    program: PathBuf,
}

/// One node of a cluster.
#[derive(Clone, Debug)]
pub struct Node {
    /// From 1.
    pub index: u8,
    /// The node's name in the cluster, and that of its cgroup.
    pub name: String,
    /// Its address on the cluster's bridge.
    pub address: Ipv4Addr,
    pub folder: PathBuf,
    /// The addresses of its pods, as a prefix.
    pub pods: String,
    /// The host's end of its link.
    pub interface: String,
}

/// The names of all clusters that have left a folder.
pub fn all() -> Result<Vec<Name>> {
    let Ok(entries) = fs::read_dir(BASE) else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(entry.file_name().to_string_lossy().parse::<Name>().ok());
        }
    }
    Ok(names)
}

/// Holds off other calls for as long as it lives.
pub struct Lock(#[expect(dead_code, reason = "closing it is what unlocks")] fs::File);

impl Lock {
    /// Waits for its turn.
    pub fn take() -> Result<Self> {
        let path = Path::new(BASE).join("lock");
        loop {
            private_base()?;
            let file = fs::File::create(&path)?;
            file.lock()?;
            // Who had it before may have removed it with the last cluster; then others lock another file.
            if fs::metadata(&path).is_ok_and(|there| file.metadata().is_ok_and(|ours| there.ino() == ours.ino())) {
                return Ok(Self(file));
            }
        }
    }
}

/// Makes the folder of all clusters, for its owner alone: the administrators' keys are in it, and whoever has one can become
/// root of the machine. Where it stands, others may have put something before.
fn private_base() -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(BASE) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot make {BASE}")),
    }
    let found = fs::symlink_metadata(BASE)?;
    if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() || found.mode() & 0o077 != 0 {
        bail!("{BASE} is not a folder that only its owner can enter; remove it");
    }
    Ok(())
}

impl Cluster {
    /// Writes down a new cluster, before anything of it exists, so that whatever follows can be taken down.
    pub fn create(name: &Name, nodes: u8, program: PathBuf) -> Result<Self> {
        let taken: Vec<u8> = all()?.iter().filter_map(Self::load).map(|cluster| cluster.number).collect();
        let Some(number) = (1..=250).find(|number| !taken.contains(number)) else {
            bail!("250 clusters run; end some: cargo xtask cluster down --all");
        };
        let cluster = Self { name: name.clone(), number, nodes, program };
        // The folder of all is there, with the lock.
        fs::DirBuilder::new().mode(0o700).create(cluster.folder())?;
        let text = json!({"number": number, "nodes": nodes, "program": cluster.program}).to_string();
        write(&cluster.folder().join("cluster.json"), &text)?;
        fs::create_dir_all(cluster.folder().join("bin"))?;
        std::os::unix::fs::symlink(&cluster.program, cluster.folder().join("bin/kubectl"))?;
        for node in cluster.all_nodes() {
            fs::create_dir_all(node.folder.join("logs"))?;
        }
        Ok(cluster)
    }

    /// The cluster of that name, if there is something of it.
    pub fn load(name: &Name) -> Option<Self> {
        let folder = folder(name);
        if !folder.exists() {
            return None;
        }
        let text = fs::read_to_string(folder.join("cluster.json")).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let small = |key: &str| value[key].as_u64().and_then(|number| u8::try_from(number).ok());
        Some(Self {
            name: name.clone(),
            // A file that was cut off was written before anything else was made.
            number: small("number").unwrap_or(0),
            nodes: small("nodes").unwrap_or(1),
            program: value["program"].as_str().unwrap_or_default().into(),
        })
    }

    pub fn folder(&self) -> PathBuf {
        folder(&self.name)
    }

    /// The program with all components.
    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn bridge(&self) -> String {
        format!("bulla{}", self.number)
    }

    /// The machine's address on the bridge.
    pub fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, 1)
    }

    /// Where the API answers.
    pub fn api(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.node(1).address, 6443)
    }

    /// The addresses of all pods, as a prefix.
    pub fn pods(&self) -> String {
        format!("10.214.{}.0/24", self.number)
    }

    pub fn node(&self, index: u8) -> Node {
        Node {
            index,
            name: format!("{}-{index}", self.name),
            address: Ipv4Addr::new(10, 213, self.number, 10 + index),
            folder: self.folder().join(format!("node{index}")),
            pods: format!("10.214.{}.{}/26", self.number, 64 * (index - 1)),
            interface: format!("{}n{index}", self.bridge()),
        }
    }

    pub fn all_nodes(&self) -> impl Iterator<Item = Node> {
        (1..=self.nodes).map(|index| self.node(index))
    }

    /// The folder of certificates and keys.
    pub fn pki(&self) -> PathBuf {
        self.folder().join("pki")
    }

    /// The administrator's configuration for clients.
    pub fn kubeconfig(&self) -> PathBuf {
        self.pki().join("admin.kubeconfig")
    }

    pub fn is_running(&self) -> bool {
        self.folder().join("ready").exists() && self.all_nodes().all(|node| node.first_process().is_some())
    }

    /// kubectl as the administrator.
    pub fn kubectl<A: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Process {
        Process::new(self.folder().join("bin/kubectl")).args(arguments).env("KUBECONFIG", self.kubeconfig())
    }

    /// Gives an object to the API server, as the administrator.
    pub fn apply(&self, object: &serde_json::Value) -> Result<()> {
        let file = self.folder().join("apply.json");
        write(&file, &object.to_string())?;
        self.kubectl(["apply".as_ref(), "--filename".as_ref(), file.as_os_str()]).output().map(drop)
    }

    /// Gives every node an image from a file.
    pub fn import(&self, image: &Path) -> Result<()> {
        self.all_nodes().try_for_each(|node| {
            let import = ["ctr", "--namespace", "k8s.io", "images", "import"];
            node.enter()?.args(import).args([image]).output().map(drop)
        })
    }
}

impl Node {
    /// The process that began the node, by the machine's count.
    pub fn first_process(&self) -> Option<u32> {
        self.processes().into_iter().find(|(_, is_first)| *is_first).map(|(pid, _)| pid)
    }

    /// The node's first process, and the one that waits for it outside.
    pub fn processes(&self) -> Vec<(u32, bool)> {
        let folder = self.folder.as_os_str().as_encoded_bytes();
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            let ours = arguments.windows(4).any(|part| part == [b"cluster".as_slice(), b"node", b"--folder", folder]);
            let outside = arguments.first().is_some_and(|name| name.ends_with(b"unshare"));
            ours.then_some((pid, !outside))
        })
        .collect()
    }

    /// What the components logged: names and files.
    pub fn logs(&self) -> Result<Vec<(String, PathBuf)>> {
        let mut logs = Vec::new();
        for entry in fs::read_dir(self.folder.join("logs"))? {
            let path = entry?.path();
            logs.push((path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path));
        }
        logs.sort();
        Ok(logs)
    }

    /// A program in the node's namespaces.
    pub fn enter(&self) -> Result<Process> {
        let pid = self.first_process().with_context(|| format!("node {} does not run", self.name))?;
        Ok(Process::new("nsenter").args([format!("--target={pid}")]).args(["--mount", "--net", "--pid", "--"]))
    }
}

fn folder(name: &Name) -> PathBuf {
    Path::new(BASE).join(name.to_string())
}

/// Writes a file of a cluster's.
#[allow(clippy::disallowed_methods, reason = "files of a test cluster that is being made; `down` removes them")]
pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Forgets a cluster: its folder goes.
pub fn remove(name: &Name, _lock: &Lock) -> Result<()> {
    let folder = folder(name);
    match fs::remove_dir_all(&folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", folder.display())),
    }
}

/// With the last cluster the folder of all goes, and the lock in it. The lock is given up: who would go on and make a cluster
/// would make the folder anew, for everybody to enter, and hold a lock that nobody else sees.
pub fn leave(_lock: Lock) -> Result<()> {
    if all()?.is_empty() {
        let _ = fs::remove_dir_all(BASE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_dns_label() {
        for good in ["a", "bulla", "a-1", "0123456789abcdef"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "..", "0123456789abcdefg"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_share_no_address() {
        let cluster = Cluster { name: Name("c".into()), number: 7, nodes: 4, program: PathBuf::new() };
        let nodes: Vec<Node> = cluster.all_nodes().collect();
        let mut pods: Vec<&str> = nodes.iter().map(|node| node.pods.as_str()).collect();
        assert_eq!(pods, ["10.214.7.0/26", "10.214.7.64/26", "10.214.7.128/26", "10.214.7.192/26"]);
        pods.dedup();
        assert_eq!(pods.len(), 4);
        assert!(nodes.iter().all(|node| node.address != cluster.host()));
        assert!(nodes.iter().all(|node| node.interface.len() <= 15));
    }
}
