//! A test that needs another process starts itself again, with a role.

use std::process::{Command, Stdio};

const ROLE: &str = "BULLA_TEST_ROLE";
const ARGUMENT: &str = "BULLA_TEST_ARGUMENT";

/// The role this process was started in by [`command`], with its argument. It ends with the test that started it.
pub(crate) fn role() -> Option<(String, String)> {
    let role = std::env::var(ROLE).ok()?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    Some((role, std::env::var(ARGUMENT).unwrap_or_default()))
}

/// Runs the test `name` (its full path) of this binary again, in `role`.
pub(crate) fn command(name: &str, role: &str, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(ARGUMENT, argument).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}
