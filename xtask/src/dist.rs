//! The binary that is shipped: one static file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{Process, cargo};

pub mod order;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// How much the compiler may do.
#[derive(Clone, Copy)]
pub enum Profile {
    /// For checks: no link-time optimisation.
    Release,
    /// For users.
    Dist,
}

impl Profile {
    /// The most that the static binary may weigh, in bytes. sops 3.11 weighs 50 MB; kubeseal 52 and its controller 71.
    ///
    /// Without link-time optimisation the Kubernetes client and the controllers took it from 25 MB to 40, and the node service and the server further. With it, a fifth of
    /// OpenBao's 182 MB is the limit.
    fn budget(self) -> u64 {
        match self {
            Self::Release => 77_000_000,
            Self::Dist => 36_300_000,
        }
    }
}

/// Builds the binary, prints its size against the budget, and checks that it is static and hardened.
pub fn build(root: &Path, profile: Profile) -> Result<PathBuf> {
    let name = match profile {
        Profile::Release => "release",
        Profile::Dist => "dist",
    };
    // With `--target`, the flags reach the binary and not the build scripts and macros, which cannot be static. Packed, the 56 000
    // relocations take 17 KB instead of 1.4 MB: 2 MB less memory for each start. Functions of the same code are kept once.
    let flags = "-Ctarget-feature=+crt-static -Crelocation-model=pie \
                 -Clink-arg=-Wl,-z,relro,-z,now -Clink-arg=-Wl,-z,pack-relative-relocs \
                 -Clink-arg=-Wl,--icf=all";
    let build = cargo(root).env("RUSTFLAGS", flags).args([
        "build",
        "--locked",
        "--package",
        "bulla",
        "--profile",
        name,
        "--target",
        TARGET,
    ]);
    order::ordered(build, root)?.run()?;
    let binary = root.join("target").join(TARGET).join(name).join("bulla");
    let size = fs::metadata(&binary).context("the build left no binary")?.len();
    let budget = profile.budget();
    println!("dist: {size} bytes of {budget} ({} %) {}", size * 100 / budget, binary.display());
    if size > budget {
        bail!("the binary is over its budget");
    }
    hardened(&binary)?;
    Ok(binary)
}

/// A static position-independent executable, no writable and executable memory, all relocations read-only after start.
fn hardened(binary: &Path) -> Result<()> {
    let headers = String::from_utf8(Process::new("readelf").args(["-hlW"]).args([binary]).output()?)?;
    let dynamic = String::from_utf8(Process::new("readelf").args(["-dW"]).args([binary]).output()?)?;
    let wrong = [
        (!headers.contains("Type:                              DYN"), "not position-independent"),
        (headers.contains("INTERP"), "needs a dynamic loader"),
        (dynamic.contains("(NEEDED)"), "needs shared libraries"),
        (!headers.contains("GNU_RELRO"), "relocations stay writable"),
        (
            !dynamic.contains("BIND_NOW") && !dynamic.contains("FLAGS_1) NOW") && !dynamic.contains("NOW"),
            "binds lazily",
        ),
        (headers.lines().any(|line| line.contains("GNU_STACK") && line.contains("RWE")), "has an executable stack"),
    ];
    let wrong: Vec<&str> = wrong.iter().filter_map(|(is_wrong, what)| is_wrong.then_some(*what)).collect();
    if !wrong.is_empty() {
        bail!("the binary is {}", wrong.join(", "));
    }
    println!("dist: static, position-independent, relro, bound at start, no executable stack");
    Ok(())
}
