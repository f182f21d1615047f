//! What a command uses, by the kernel's own account.
//!
//! The kernel keeps one account for all children of a process, so each measurement runs in a process of its own: this program, started
//! again. Peak memory is measured in one more run, which is [looked into](crate::traced::peak).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::process::Process;
use crate::traced;

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
    let mut plain = Command::new(program);
    plain.args(arguments);
    let start = Instant::now();
    // What changes files can be run once: then it is looked into while it is measured, which costs it little.
    let mut peak = if times == 1 { Some(traced::peak(&plain, stdin)?) } else { None };
    if peak.is_none() {
        for _ in 0..times {
            let input = match stdin {
                Some(path) => Stdio::from(std::fs::File::open(path)?),
                None => Stdio::null(),
            };
            let status = plain.stdin(input).stdout(Stdio::null()).status()?;
            if !status.success() {
                bail!("{command:?}: {status}");
            }
        }
    }
    let wall = start.elapsed().as_secs_f64() / f64::from(times);
    let account = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    if peak.is_none() {
        peak = Some(traced::peak(&plain, stdin)?);
    }
    #[allow(clippy::cast_precision_loss, reason = "microseconds and bytes, far below 2^52")]
    let (cpu, memory) = (
        (account.user_time().num_microseconds() + account.system_time().num_microseconds()) as f64 / 1e6,
        peak.unwrap_or_default() as f64 / 1e6,
    );
    println!("{}", serde_json::json!({ "cpu": cpu / f64::from(times), "wall": wall, "memory": memory }));
    Ok(())
}

/// User and system time of a running process so far, in seconds. `folder` is its folder below `/proc`.
#[cfg(feature = "bench-cluster")]
pub fn processor_time(folder: &Path) -> Result<f64> {
    let stat = std::fs::read_to_string(folder.join("stat")).context("the process has ended")?;
    // proc_pid_stat(5): fields 14 and 15, counted after the name in parentheses, which is the second.
    let fields: Vec<&str> = stat.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<f64>().ok()).context("stat");
    // USER_HZ is 100 on every architecture that Linux keeps up.
    Ok((ticks(14)? + ticks(15)?) / 100.0)
}
