//! A folder with keys, and the programs run in it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bulla_test_support::program;
use tempfile::TempDir;

/// The releases of sops that files are exchanged with.
pub(crate) use bulla_test_support::SOPS;

/// A home folder with an age key in it. Programs see nothing else of the machine's environment but `PATH`.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) recipient: String,
}

impl World {
    pub(crate) fn new() -> Self {
        // A short path: agents put sockets in it.
        let folder = tempfile::Builder::new().prefix("b").tempdir().unwrap();
        let key = folder.path().join("age.txt");
        run(Command::new(program("bin/age-keygen")).arg("-o").arg(&key));
        let recipient = run(Command::new(program("bin/age-keygen")).arg("-y").arg(&key));
        let mut world = Self { folder, env: Vec::new(), recipient: recipient.trim().to_owned() };
        world.set("SOPS_AGE_KEY_FILE", key.to_str().unwrap());
        world
    }

    /// Sets a variable for all programs that are run from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.retain(|(existing, _)| existing != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(path).unwrap().write_all(contents.as_ref()).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs real sops of `version`.
    pub(crate) fn sops(&self, version: &str, arguments: &[&str]) -> Output {
        self.program(&program(&format!("bin/sops-{version}")), arguments)
    }

    /// Runs bulla under its own name.
    pub(crate) fn bulla(&self, arguments: &[&str]) -> Output {
        self.program(Path::new(env!("CARGO_BIN_EXE_bulla")), arguments)
    }

    /// Runs bulla under the name `sops`.
    pub(crate) fn as_sops(&self, arguments: &[&str]) -> Output {
        let link = self.path("bin/sops");
        if !link.exists() {
            fs::create_dir_all(self.path("bin")).unwrap();
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bulla"), &link).unwrap();
        }
        self.program(&link, arguments)
    }

    /// Runs any program in the folder.
    pub(crate) fn program(&self, program: &Path, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("SOPS_DISABLE_VERSION_CHECK", "1")
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

/// What it printed, once it succeeded.
#[track_caller]
pub(crate) fn ok(output: Output) -> Vec<u8> {
    assert!(
        output.status.success(),
        "{}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    output.stdout
}

/// Runs a command that must succeed, and gives what it printed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    String::from_utf8(ok(command.stdin(Stdio::null()).output().unwrap())).unwrap()
}
