//! A program that is started again, or told, when the volumes change that its variables came from.
//!
//! This process stays as its parent. It needs no right for that: it sees the link `..data` of a volume change, and the program is its child.
//! Once a second the links are read.
//!
//! **A restart** reads the new files first: what cannot be read, or cannot be variables, leaves the program as it is. It then has
//! [`Patience::stop`] to end. A program that ends by itself ends this process, with its status. One that was asked to end from
//! outside (TERM, INT, QUIT) is not started again.
//!
//! As the first process of a container this one also takes care of processes whose parents ended before them.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bulla_kube::backoff::jittered;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, wait, waitid};

use super::child::{self, Program};
use super::environment::Variable;
use super::mounted::{Mounted, Version};
use super::signals::Forwarder;
use super::{Options, merge};
use crate::error::Failure;
use crate::exit::Code;

/// How often the links are read.
const LOOK: Duration = Duration::from_secs(1);

/// What happens when a volume has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The program is ended and started with the new values.
    Restart,
    /// The program gets a signal. Its variables stay as they are: it has to read the files.
    Tell(Signal),
}

/// How long what takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// A random part of it passes before anything happens.
    pub(crate) splay: Duration,
    /// How long the program has to end.
    pub(crate) stop: Duration,
}

/// Runs a program with variables from volumes until it ends. Answers its exit status.
///
/// # Errors
/// As reading the volumes and as starting a program; if a folder is no volume.
pub(crate) fn run(mounted: &Mounted, options: &Options, change: Change, patience: Patience) -> Result<Code, Failure> {
    let mut seen = mounted.versions();
    if seen.iter().any(Option::is_none) {
        return Err(Failure::generic(format!("not all of {} are volumes that change", mounted.shown()))
            .with_hint("--on-change is for folders that Kubernetes mounts, without subPath"));
    }
    let mut variables = mounted.variables()?;
    let forwarder = Forwarder::install().map_err(|error| Failure::generic(format!("cannot catch signals: {error}")))?;
    loop {
        let program = Program {
            command: options.command.clone(),
            environment: merge(options.inherited, None, std::mem::take(&mut variables)),
            user: None,
        };
        let mut running = Running::start(&program, &forwarder)?;
        drop(program);
        let next = running.until_it_ends(mounted, &mut seen, change, patience);
        // Its number is its own until it is waited for.
        forwarder.pause();
        let status = running.status.map_or_else(|| running.child.wait(), Ok);
        let status = status.map_err(|error| Failure::generic(format!("cannot wait for the program: {error}")))?;
        match next {
            Some(new) if !forwarder.is_asked_to_end() => variables = new,
            _ => {
                forwarder.stop();
                return Ok(child::code(status, options.signal_status));
            }
        }
    }
}

struct Running {
    child: Child,
    ended: Receiver<Option<ExitStatus>>,
    status: Option<ExitStatus>,
}

impl Running {
    fn start(program: &Program, forwarder: &Forwarder) -> Result<Self, Failure> {
        let child = child::spawn(program)?;
        let pid = Pid::from_child(&child);
        let (tell, ended) = channel();
        // Ends with the program.
        std::thread::spawn(move || {
            let _ = tell.send(reap_until_it_ends(pid));
        });
        forwarder.forward_to(pid);
        Ok(Self { child, ended, status: None })
    }

    /// Answers when it has ended: what it is to be started with next, if it was ended for that.
    fn until_it_ends(
        &mut self,
        mounted: &Mounted,
        seen: &mut Vec<Version>,
        change: Change,
        patience: Patience,
    ) -> Option<Vec<Variable>> {
        let pid = Pid::from_child(&self.child);
        let (mut due, mut kill, mut next) = (None::<Instant>, None::<Instant>, None);
        loop {
            match self.ended.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return next,
                Ok(status) => {
                    self.status = status;
                    return next;
                }
            }
            let now = Instant::now();
            if kill.is_some_and(|kill| kill <= now) {
                tracing::warn!("the program did not end in time, and is killed");
                send(pid, Signal::KILL);
                kill = None;
            }
            if next.is_some() {
                continue;
            }
            if due.is_none() && mounted.versions() != *seen {
                due = Some(now + random_part(patience.splay));
            }
            if due.is_none_or(|due| now < due) {
                continue;
            }
            due = None;
            *seen = mounted.versions();
            match change {
                Change::Tell(signal) => {
                    tracing::info!(?signal, "files have changed: the program is told");
                    send(pid, signal);
                }
                Change::Restart => match mounted.variables() {
                    Ok(variables) => {
                        tracing::info!("files have changed: the program is started again");
                        next = Some(variables);
                        send(pid, Signal::TERM);
                        kill = Some(now + patience.stop);
                    }
                    Err(failure) => {
                        tracing::warn!(
                            reason = failure.message,
                            "files have changed, but the program goes on as it is"
                        );
                    }
                },
            }
        }
    }
}

/// A random time up to `time`.
fn random_part(time: Duration) -> Duration {
    // Between none and all of it, from a jitter between half and all.
    (jittered(time) * 2).saturating_sub(time)
}

fn send(pid: Pid, signal: Signal) {
    if let Err(error) = kill_process(pid, signal) {
        tracing::warn!(%error, ?signal, "the program could not be given a signal");
    }
}

/// Waits until the program has ended, and leaves it to be waited for; others that end meanwhile are let go of. Answers its status if it
/// ended in the moment in which another one was.
fn reap_until_it_ends(program: Pid) -> Option<ExitStatus> {
    let is_over = |id, options| waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | options);
    loop {
        match is_over(WaitId::All, WaitIdOptions::empty()) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return None,
        }
        if let Ok(Some(_)) = is_over(WaitId::Pid(program), WaitIdOptions::NOHANG) {
            return None;
        }
        if let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG)
            && pid == program
        {
            return Some(ExitStatus::from_raw(status.as_raw()));
        }
    }
}
