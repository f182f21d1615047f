//! Orphans, where this process is the first of a container: what programs left behind is waited for, so that it does not stay for ever.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, child_subreaper, waitpid};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Programs that were started here, and are waited for by whoever did that.
static OURS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// How often it is looked without being told. Of many that end at the same time one is told.
const LOOK: Duration = Duration::from_secs(5);

/// Starts a program that whoever starts it waits for.
///
/// # Errors
/// The system's.
pub(crate) fn spawn(command: &mut Command) -> io::Result<(Child, Option<Pid>)> {
    // An orphan would be what ended before it was known.
    let mut ours = ours();
    let child = command.spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    ours.extend(pid.map(|pid| pid.as_raw_nonzero().get()));
    Ok((child, pid))
}

/// That a program was waited for.
pub(crate) fn ended(pid: Option<Pid>) {
    if let Some(pid) = pid {
        ours().remove(&pid.as_raw_nonzero().get());
    }
}

/// Whether orphans become children of this process.
pub(crate) fn is_needed() -> bool {
    std::process::id() == 1 || child_subreaper().is_ok_and(|reaper| reaper.is_some())
}

/// Waits for orphans, for ever.
pub(crate) async fn run() {
    let mut told = match signal(SignalKind::child()) {
        Ok(told) => told,
        Err(error) => return tracing::warn!(%error, "orphans are not waited for"),
    };
    loop {
        reap();
        let _ = tokio::time::timeout(LOOK, told.recv()).await;
    }
}

/// Waits for those that have ended.
fn reap() {
    let ours = ours();
    let Ok(all) = std::fs::read_dir("/proc") else { return };
    let all = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for number in all.filter(|number| !ours.contains(number)) {
        let state = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        if is_dead_child(&state, std::process::id())
            && let Some(pid) = Pid::from_raw(number)
        {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// Whether a `/proc/PID/stat` is that of a child of `parent`'s that has ended.
fn is_dead_child(stat: &str, parent: u32) -> bool {
    // The name, in brackets, may have anything in it.
    let Some((_, rest)) = stat.rsplit_once(')') else { return false };
    let mut words = rest.split_ascii_whitespace();
    words.next() == Some("Z") && words.next().and_then(|word| word.parse().ok()) == Some(parent)
}

fn ours() -> MutexGuard<'static, BTreeSet<i32>> {
    OURS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_has_ended_is_known_whatever_it_is_called() {
        assert!(is_dead_child("7 (a) Z 9 (b) Z 1 2 3", 1));
        assert!(is_dead_child("7 () Z 1", 1));
        for other in ["7 (a) S 1 1", "7 (a) Z 2 1", "7 (Z 1) S 3", "7 a Z 1", ""] {
            assert!(!is_dead_child(other, 1), "{other}");
        }
    }
}
