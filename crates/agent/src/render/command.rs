//! Programs: what runs when a file has changed, and what is run with variables.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};

use crate::config::CommandLine;
use crate::reap;

/// A program that runs.
pub(crate) struct Program {
    child: Child,
    pid: Option<Pid>,
    /// Whether signals go to all that the shell has started.
    is_group: bool,
}

/// What starts a program in our place, so that it ends with us: it has to say so itself, before it becomes the program.
#[derive(Clone, Debug)]
pub struct Starter {
    /// The words of a command line that a signal, our process and the program's words follow.
    pub words: Vec<OsString>,
}

/// What a program reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// What we read.
    Ours,
    /// Nothing.
    Nothing,
}

impl Program {
    /// Starts it. One word alone is a line for a shell, which has a group of processes of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(words: &[String], more: &BTreeMap<OsString, OsString>, input: Input) -> Result<Self, String> {
        Self::start_by(&[], words, more, input)
    }

    /// The same by another program, whose words come first.
    pub(crate) fn start_by(
        before: &[OsString],
        words: &[String],
        more: &BTreeMap<OsString, OsString>,
        input: Input,
    ) -> Result<Self, String> {
        let is_group = words.len() == 1;
        let own: Vec<&OsStr> = match words {
            [line] => ["/bin/sh", "-c", line.as_str()].map(OsStr::new).to_vec(),
            words => words.iter().map(OsStr::new).collect(),
        };
        let all: Vec<&OsStr> = before.iter().map(OsString::as_os_str).chain(own).collect();
        let [program, arguments @ ..] = all.as_slice() else { return Err("no command was given".to_owned()) };
        let mut command = Command::new(program);
        command.args(arguments);
        if is_group {
            command.process_group(0);
        }
        // What the agent was given to log in with is not theirs, unless a template says so.
        for name in ["VAULT_TOKEN", "BAO_TOKEN"] {
            command.env_remove(name);
        }
        command.envs(more).kill_on_drop(true);
        if input == Input::Nothing {
            command.stdin(Stdio::null());
        }
        let name = if is_group { "/bin/sh" } else { words[0].as_str() };
        let (child, pid) = reap::spawn(&mut command).map_err(|error| format!("cannot run {name}: {error}"))?;
        Ok(Self { child, pid, is_group })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If the system does not say.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, String> {
        let status = self.child.wait().await.map_err(|error| format!("cannot wait for the program: {error}"))?;
        reap::ended(self.pid);
        Ok(status)
    }

    /// Gives it a signal, unless it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        // The number is its own until it is waited for.
        let Some(pid) = self.pid.filter(|_| self.child.id().is_some()) else { return };
        let sent = if self.is_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
        if let Err(error) = sent {
            tracing::warn!(%error, ?signal, "the program could not be given a signal");
        }
    }
}

impl Drop for Program {
    /// With the shell, what it has started.
    fn drop(&mut self) {
        if self.is_group {
            self.signal(Signal::KILL);
        }
        reap::ended(self.pid);
    }
}

/// What a shell answers for a program that ended so.
pub(crate) fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// Runs what is to run when a file has changed.
///
/// # Errors
/// If it fails, or takes too long; then it is ended.
pub(super) async fn run(line: &CommandLine) -> Result<(), String> {
    let mut program = Program::start(&line.words, &BTreeMap::new(), Input::Nothing)?;
    match tokio::time::timeout(line.timeout, program.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("the command ended with status {}", code(status))),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            program.signal(Signal::KILL);
            let _ = program.wait().await;
            Err(format!("the command did not end within {} s, and was killed", line.timeout.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::{Duration, Instant};

    use super::*;

    fn line(words: &[&str]) -> CommandLine {
        CommandLine { words: words.iter().map(|word| (*word).to_owned()).collect(), timeout: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn a_command_is_a_line_for_a_shell_or_a_program_and_its_arguments() {
        run(&line(&["test 1 = 1 && true"])).await.unwrap();
        run(&line(&["test", "a b", "=", "a b"])).await.unwrap();
        assert!(run(&line(&["exit 3"])).await.unwrap_err().contains("status 3"));
        assert!(run(&line(&["kill -9 $$"])).await.unwrap_err().contains("status 137"));
        assert!(run(&line(&["/nowhere/x", "y"])).await.unwrap_err().contains("cannot run /nowhere/x"));
    }

    #[tokio::test]
    async fn what_a_shell_started_ends_when_nobody_wants_it_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there");
        let text = format!("(sleep 2; echo > {}) & wait", there.display());
        let program = Program::start(&[text], &BTreeMap::new(), Input::Nothing).unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(program);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(!there.exists());
    }

    #[tokio::test]
    async fn what_a_shell_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there");
        let started = Instant::now();
        let text = format!("(sleep 3; echo > {}) & wait", there.display());
        assert!(run(&line(&[&text])).await.unwrap_err().contains("killed"));
        tokio::time::sleep(Duration::from_secs(4).saturating_sub(started.elapsed())).await;
        assert!(!there.exists());
    }
}
