//! Child processes that fail loudly.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// `cargo`, as this process was started by, in `root`.
pub fn cargo(root: &Path) -> Process {
    Process::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).folder(root)
}

/// A command whose failure is an error that shows it.
pub struct Process(Command);

impl Process {
    pub fn new(program: impl AsRef<std::ffi::OsStr>) -> Self {
        Self(Command::new(program))
    }

    pub fn folder(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    pub fn args<A: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.0.args(args);
        self
    }

    /// Runs it, its output going where ours goes.
    pub fn run(mut self) -> Result<()> {
        let status = self.0.status().with_context(|| format!("cannot start {}", self.0.get_program().display()))?;
        if !status.success() {
            bail!("{:?} failed: {status}", self.0);
        }
        Ok(())
    }

    /// Becomes it. Comes back only with an error.
    pub fn replace(mut self) -> Result<()> {
        Err(self.0.exec()).with_context(|| format!("cannot start {}", self.0.get_program().display()))
    }

    /// Runs it and says whether it succeeded; what it prints is thrown away.
    pub fn quiet(mut self) -> bool {
        self.0.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    /// Runs it and gives what it printed.
    pub fn output(mut self) -> Result<Vec<u8>> {
        let output = self.0.output().with_context(|| format!("cannot start {}", self.0.get_program().display()))?;
        if !output.status.success() {
            bail!("{:?} failed: {}\n{}", self.0, output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.stdout)
    }
}
