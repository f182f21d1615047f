//! The two drivers: how each is started, and what its processes use.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::world::{LENGTH, NODE, Volume, World};
use crate::cluster;

/// Which of the two.
#[derive(Clone, Copy)]
pub enum Kind<'a> {
    /// The peer's binary.
    Peer(&'a Path),
    /// Ours.
    Bulla(&'a Path),
}

impl Kind<'_> {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Peer(_) => "secrets-store-csi-driver",
            Self::Bulla(_) => "bulla",
        }
    }
}

/// A driver that runs.
pub struct Driver(Child);

impl Driver {
    /// Starts it in a mount namespace of its own, and waits for its socket.
    pub fn start(world: &World, kind: Kind<'_>) -> Result<Self> {
        let path = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private"]);
        match kind {
            Kind::Peer(program) => {
                command.arg(program).args(["--metrics-addr=127.0.0.1:18095", "--enable-secret-rotation"])
            }
            Kind::Bulla(program) => command.arg(program).args(["node", "--metrics-addr=127.0.0.1:18095"]).args([
                path("registration-folder", &world.folder.join("registration")),
                path("pods-folder", &world.pods),
                path("kubeconfig", &world.kubeconfig),
            ]),
        };
        let log = fs::File::create(world.folder.join(format!("{}.log", kind.name())))?;
        let child = command
            .env("KUBECONFIG", &world.kubeconfig)
            .arg(format!("--nodeid={NODE}"))
            .arg(format!("--endpoint=unix://{}", world.socket.display()))
            .arg(path("provider-volume", &world.providers))
            .arg("--additional-provider-volume-paths=/nowhere")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("unshare")?;
        let driver = Self(child);
        cluster::wait_for("the driver's socket", || world.socket.exists())?;
        fs::set_permissions(&world.socket, fs::Permissions::from_mode(0o666))?;
        Ok(driver)
    }

    /// It and its children.
    fn processes(&self) -> Result<Vec<u32>> {
        let first = self.0.id();
        let mut found = vec![first];
        for task in fs::read_dir(format!("/proc/{first}/task")).context("the driver has ended")? {
            let children = fs::read_to_string(task?.path().join("children"))?;
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        Ok(found)
    }

    /// Its memory in MB (10^6 bytes): what two processes share counts once.
    pub fn memory(&self) -> Result<f64> {
        let mut kilobytes = 0.0;
        for pid in self.processes()? {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("smaps_rollup")?;
            kilobytes += line.trim().trim_end_matches(" kB").parse::<f64>()?;
        }
        Ok(kilobytes * 1024.0 / 1e6)
    }

    /// User and system time so far, in seconds.
    pub fn cpu(&self) -> Result<f64> {
        let mut seconds = 0.0;
        for pid in self.processes()? {
            seconds += crate::bench::measure::processor_time(Path::new(&format!("/proc/{pid}")))?;
        }
        Ok(seconds)
    }

    /// Whether a volume is what it should be, seen from the driver's namespace.
    pub fn has_file(&self, volume: &Volume) -> Result<()> {
        let target = volume.target.strip_prefix("/")?;
        let file: PathBuf = ["/proc", &self.0.id().to_string(), "root"].iter().collect::<PathBuf>().join(target);
        let length = fs::metadata(file.join("key-0")).context("a file of a volume")?.len();
        if length != LENGTH as u64 {
            bail!("a file of a volume has {length} bytes");
        }
        Ok(())
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGTERM)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
