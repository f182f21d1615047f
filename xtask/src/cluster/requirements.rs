//! What a cluster needs of the machine: each lack is one message that says what to do.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::peers::{self, on_path};

/// Debian's packages: the program that shows it is there, and the package.
const DEBIAN: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("/bin/busybox", "busybox-static"),
];

/// What a build of the components and two nodes take.
const FREE: u64 = 4 << 30;

/// Looks at everything, and installs the packages that are missing.
pub fn check(folders: &[&Path]) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a cluster needs root: its nodes are made of namespaces, mounts and cgroups. Run it with sudo");
    }
    for folder in folders {
        room(folder)?;
    }
    peers::debian(DEBIAN)?;
    if !on_path("go") {
        bail!("Go 1.26 or newer is needed to build the components of Kubernetes; it is not on the PATH");
    }
    Ok(())
}

fn room(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let stat = nix::sys::statvfs::statvfs(folder)?;
    let free = stat.blocks_available() * stat.fragment_size();
    if free < FREE {
        bail!(
            "{} has {} MB left, and a cluster needs {} MB there. Free some, or set BULLA_CACHE to another folder for what is built",
            folder.display(),
            free >> 20,
            FREE >> 20
        );
    }
    Ok(())
}
