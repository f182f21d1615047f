//! A program that is run with variables, and started again when they change.
//!
//! It starts once all of them are there. When it ends by itself the agent ends, with its status.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitStatus;
use std::time::Duration;

use bulla_core::SecretBytes;
use rustix::process::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::{ExecConfig, Restart};
use crate::render::Starter;
use crate::render::command::{Input, Program, code};

/// How long the program has to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(30);
/// What changes within this time is one change.
const TOGETHER: Duration = Duration::from_secs(2);

/// All variables by name, once they are there.
pub(crate) type Variables = Option<Vec<(String, SecretBytes)>>;

/// Runs the program, and passes signals on to it. Answers its status, or nothing if it was stopped.
///
/// # Errors
/// If it cannot be started.
pub(crate) async fn run(
    config: ExecConfig,
    starter: Option<Starter>,
    mut variables: watch::Receiver<Variables>,
    mut signals: mpsc::Receiver<Signal>,
    mut stop: watch::Receiver<bool>,
) -> Result<Option<u8>, String> {
    let before = before(starter, config.stop_signal);
    let mut running: Option<Program> = None;
    let mut current: Variables = None;
    let mut next: Option<(Variables, Instant)> = None;
    loop {
        let due = next.as_ref().map(|(_, at)| *at);
        tokio::select! {
            () = is_stopped(&mut stop) => {
                if let Some(program) = &mut running {
                    end(program, config.stop_signal).await;
                }
                return Ok(None);
            }
            Some(signal) = signals.recv() => if let Some(program) = &running {
                program.signal(signal);
            },
            // Only the newest count; who tells them does not wait for us.
            Ok(()) = variables.changed() => {
                let new = variables.borrow_and_update().clone();
                if new == current {
                    next = None;
                } else {
                    // Not put off by what comes after it: something may change all the time.
                    let wait = if running.is_some() { TOGETHER } else { Duration::ZERO };
                    let at = next.map_or_else(|| Instant::now() + wait, |(_, at)| at);
                    next = Some((new, at));
                }
            }
            status = ended(running.as_mut()) => {
                let status = code(status?);
                tracing::info!(status, "the program ended");
                return Ok(Some(status));
            }
            () = until(due) => {
                let Some((new, _)) = next.take() else { continue };
                if let Some(program) = &mut running {
                    if config.restart == Restart::Never {
                        tracing::info!("a variable has changed; the program goes on as it is");
                        current = new;
                        continue;
                    }
                    tracing::info!("a variable has changed: the program is started again");
                    end(program, config.stop_signal).await;
                }
                // It may have been said while the one before ended.
                if *stop.borrow() {
                    return Ok(None);
                }
                running = Some(Program::start_by(&before, &config.command, &environment(&new), Input::Ours)?);
                current = new;
            }
        }
    }
}

/// What comes before the program's words: who starts it is told how it ends with us, and who we are.
fn before(starter: Option<Starter>, signal: Signal) -> Vec<OsString> {
    let Some(Starter { mut words }) = starter else { return Vec::new() };
    words.extend([signal.as_raw().to_string(), std::process::id().to_string()].map(OsString::from));
    words
}

/// The variables as a program has them. They are plain in its own memory from then on.
fn environment(variables: &Variables) -> BTreeMap<OsString, OsString> {
    // Nothing after a byte of zero would arrive.
    let value = |value: &SecretBytes| value.expose().split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
    variables.iter().flatten().map(|(name, text)| (name.into(), OsString::from_vec(value(text)))).collect()
}

async fn is_stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn ended(program: Option<&mut Program>) -> Result<ExitStatus, String> {
    match program {
        Some(program) => program.wait().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn end(program: &mut Program, signal: Signal) {
    program.signal(signal);
    if timeout(PATIENCE, program.wait()).await.is_err() {
        tracing::warn!("the program did not end in time, and is killed");
        program.signal(Signal::KILL);
        let _ = program.wait().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_program_that_is_stopped_while_it_is_started_again_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let line = format!("echo $V >> {}; trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done", log.display());
        let command = vec!["/bin/sh".to_owned(), "-c".to_owned(), line];
        let config = ExecConfig { command, restart: Restart::Always, stop_signal: Signal::TERM };
        let all = |value: &str| Some(vec![("V".to_owned(), SecretBytes::from(value.as_bytes()))]);
        let (tell, variables) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let (_signals, none) = mpsc::channel(1);
        let running = tokio::spawn(run(config, None, variables, none, stopped));
        tell.send_replace(all("1"));
        let began = || std::fs::read_to_string(&log).unwrap_or_default();
        while began().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tell.send_replace(all("2"));
        // It is told to end, and takes its time.
        tokio::time::sleep(TOGETHER + Duration::from_millis(400)).await;
        stop.send_replace(true);
        assert_eq!(timeout(PATIENCE, running).await.unwrap().unwrap(), Ok(None));
        assert_eq!(began(), "1\n");
    }
}
