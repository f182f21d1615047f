//! Processes that are looked into while they run, by `ptrace`.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Starts a command, its output thrown away, in a process group of its own and traced from before it is the command. It goes when this process does.
///
/// The first event is that it becomes the command, if `options` has `PTRACE_O_TRACEEXEC`.
pub fn start(command: &Command, input: Option<&Path>, options: Options) -> Result<Pid> {
    // A shell stops itself until it is traced, then becomes the command.
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let input = match input {
        Some(path) => Stdio::from(fs::File::open(path).with_context(|| format!("reading {}", path.display()))?),
        None => Stdio::null(),
    };
    let child = shell.stdin(input).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    waitpid(pid, Some(WaitPidFlag::WUNTRACED))?;
    ptrace::seize(pid, options | Options::PTRACE_O_EXITKILL).context("a process cannot be traced here")?;
    kill(pid, Signal::SIGCONT)?;
    Ok(pid)
}

/// The largest resident size of any process of a command, in bytes.
///
/// The kernel's account of a child that has ended is of no use for small programs: it begins with the size of whoever started it.
pub fn peak(command: &Command, input: Option<&Path>) -> Result<u64> {
    let children = Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
    let first = start(command, input, children | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACEEXIT)?;
    let group = Pid::from_raw(-first.as_raw());
    let mut peak = 0;
    loop {
        match waitpid(group, Some(WaitPidFlag::__WALL))? {
            WaitStatus::PtraceEvent(pid, _, event) => {
                // Its memory is still there. What it had before it became something else went with that.
                if event == Event::PTRACE_EVENT_EXIT as i32 {
                    peak = peak.max(highest(pid).unwrap_or_default());
                }
                ptrace::cont(pid, None)?;
            }
            WaitStatus::Stopped(pid, Signal::SIGTRAP | Signal::SIGSTOP) => ptrace::cont(pid, None)?,
            WaitStatus::Stopped(pid, signal) => ptrace::cont(pid, Some(signal))?,
            WaitStatus::Exited(pid, 0) if pid == first => break,
            WaitStatus::Exited(pid, status) if pid == first => bail!("{command:?} ended with {status}"),
            WaitStatus::Signaled(pid, signal, _) if pid == first => bail!("{command:?} died of {signal}"),
            _ => {}
        }
    }
    if peak == 0 {
        bail!("the memory of {command:?} was not seen");
    }
    Ok(peak)
}

/// The largest resident size that a process has had since it became what it is, in bytes.
fn highest(pid: Pid) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    Some(kilobytes.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_that_of_the_largest_process_and_not_of_whoever_started_it() {
        let mut large = vec![1_u8; 64 << 20];
        large[12345] = 2;
        let small = peak(&Command::new("true"), None).unwrap();
        assert!((100_000..16 << 20).contains(&small), "{small}");
        // `dd` has one block in memory.
        let script = "dd if=/dev/zero of=/dev/null bs=32M count=1; true";
        let block = peak(Command::new("sh").args(["-c", script]), None).unwrap();
        assert!((32 << 20..64 << 20).contains(&block), "{block} {}", large.len());
    }

    #[test]
    fn a_command_that_fails_is_an_error() {
        let error = peak(&Command::new("false"), None).unwrap_err().to_string();
        assert!(error.contains("ended with 1"), "{error}");
    }
}
