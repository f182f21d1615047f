//! The program with all components, built from `tests/cluster/kube` once for each state of it and kept in a cache.

use std::fs;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::image::digest;

/// The release that the components say they are: that of `go.mod`.
const VERSION: &str = "v1.37.2";

/// Where the program is kept: `BULLA_CACHE`, else the user's cache folder.
pub fn cache() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("BULLA_CACHE").unwrap_or_else(|| {
        let caches = variable("XDG_CACHE_HOME")
            .unwrap_or_else(|| variable("HOME").unwrap_or_else(|| PathBuf::from("/root")).join(".cache"));
        caches.join("bulla")
    })
}

/// The program, built if there is none of this state yet.
pub fn program(root: &Path) -> Result<PathBuf> {
    let sources = root.join("tests/cluster/kube");
    let mut state = Vec::new();
    for name in ["main.go", "go.mod", "go.sum"] {
        state.extend(fs::read(sources.join(name)).with_context(|| format!("cannot read {name} of the cluster"))?);
    }
    let key = digest(&state).trim_start_matches("sha256:").chars().take(16).collect::<String>();
    let program = cache().join(format!("kube-{key}"));
    // Who comes second waits, and finds it built.
    fs::create_dir_all(cache())?;
    let lock = fs::File::create(cache().join("kube.lock"))?;
    lock.lock()?;
    if !program.exists() {
        build(&sources, &program)?;
    }
    Ok(program)
}

fn build(sources: &Path, program: &Path) -> Result<()> {
    eprintln!("cluster: building Kubernetes {VERSION}, once (about 15 minutes of processor time)");
    let packages = Command::new("go").args(["list", "-deps", "."]).current_dir(sources).output()?;
    if !packages.status.success() {
        bail!(
            "the Go modules of Kubernetes cannot be had; is there a network, or GOPROXY to a mirror?\n{}",
            String::from_utf8_lossy(&packages.stderr).trim()
        );
    }
    let all = packages.stdout.split(|byte| *byte == b'\n').count();
    let unfinished = program.with_extension("unfinished");
    let flags = [&format!("gitVersion={VERSION}"), "gitMajor=1", "gitMinor=37"]
        .map(|value| format!("-X k8s.io/component-base/version.{value}"));
    let mut go = Command::new("go")
        .args(["build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", &format!("-s -w {}", flags.join(" ")), "-o"])
        .args([&unfinished, Path::new(".")])
        .current_dir(sources)
        .env("CGO_ENABLED", "0")
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start go")?;
    let output = go.stderr.take().context("go has no output")?;
    let complaints = show_progress(BufReader::new(output), all);
    let status = go.wait()?;
    if !status.success() {
        bail!("the build of Kubernetes failed: {status}\n{}", complaints.join("\n"));
    }
    fs::rename(&unfinished, program)?;
    Ok(())
}

/// Counts the packages that go names as it builds them. Gives its last other lines.
fn show_progress(output: impl BufRead, all: usize) -> Vec<String> {
    let every = if std::io::stderr().is_terminal() { Duration::from_secs(1) } else { Duration::from_mins(1) };
    let (mut built, mut said, mut others) = (0, Instant::now(), Vec::new());
    for line in output.lines().map_while(Result::ok) {
        let is_package = !line.contains(' ');
        if is_package {
            built += 1;
        } else {
            others.push(line);
        }
        if said.elapsed() >= every {
            eprintln!("cluster: {built} packages built (of at most {all})");
            said = Instant::now();
        }
    }
    others.split_off(others.len().saturating_sub(20))
}
