//! What a command uses, by the kernel's own account.
//!
//! The kernel keeps one account for all children of a process, and of their peak memory only the highest. So each measurement runs in a
//! process of its own: this program, started again.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::process::Process;

/// What one run of a command used, the mean of several.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time in seconds.
    pub cpu: f64,
    /// Elapsed seconds.
    pub wall: f64,
    /// The largest resident size of any process in it, in MB (10^6 bytes).
    pub memory: f64,
}

/// Runs `command` `times` times in a process of its own.
pub fn usage(times: u32, environment: &[(&str, &str)], stdin: Option<&Path>, command: &[&str]) -> Result<Usage> {
    let mut process = Process::new(std::env::current_exe()?).args(["bench", "measure", "--times", &times.to_string()]);
    if let Some(stdin) = stdin {
        process = process.args(["--stdin"]).args([stdin]);
    }
    for (name, value) in environment {
        process = process.env(name, value);
    }
    let output = process.args(["--"]).args(command).output()?;
    let json: serde_json::Value = serde_json::from_slice(&output).context("measurement")?;
    let field = |name: &str| json[name].as_f64().context("measurement");
    Ok(Usage { cpu: field("cpu")?, wall: field("wall")?, memory: field("memory")? })
}

/// The other end of [`usage`]: runs the command and prints the account.
pub fn child(times: u32, stdin: Option<&Path>, command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("no command")?;
    let start = Instant::now();
    for _ in 0..times {
        let input = match stdin {
            Some(path) => Stdio::from(std::fs::File::open(path)?),
            None => Stdio::null(),
        };
        let status = Command::new(program).args(arguments).stdin(input).stdout(Stdio::null()).status()?;
        if !status.success() {
            bail!("{command:?}: {status}");
        }
    }
    let wall = start.elapsed().as_secs_f64() / f64::from(times);
    let account = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    #[allow(clippy::cast_precision_loss, reason = "microseconds and kilobytes, far below 2^52")]
    let (cpu, memory) = (
        (account.user_time().num_microseconds() + account.system_time().num_microseconds()) as f64 / 1e6,
        account.max_rss() as f64 * 1024.0 / 1e6,
    );
    println!("{}", serde_json::json!({ "cpu": cpu / f64::from(times), "wall": wall, "memory": memory }));
    Ok(())
}
