//! One program, two processes: the one that was started keeps the right to mount and gives up the network; the one that it starts keeps
//! the network and gives up every right.
//!
//! | | mounts | serves and fetches |
//! |---|---|---|
//! | user | root | an ordinary one |
//! | capabilities | [`KEPT`]; no other can come back | none, and none can come back |
//! | network | an empty namespace of its own; Unix sockets of providers | the pod's |
//! | credentials | none | the service account's; tokens of the pods that it mounts for |
//!
//! The second is started from the same file, not forked: nothing of the first's memory is in it.

use std::io::Error;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::thread::{CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities};

/// What mounting takes: the mounts, files of another user and for others, a signal to the other half.
pub const KEPT: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::KILL);

/// Starts the half that serves, as `user` and the group of the same number; what it asks comes by the socket that is returned. Its own
/// end is its standard input, which [`channel`] gives it.
///
/// # Errors
/// The system's.
pub fn start(mut command: Command, user: u32) -> Result<(Child, OwnedFd), Error> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // Supplementary groups go when the user is set.
    let child = command.uid(user).gid(user).stdin(theirs).spawn()?;
    Ok((child, ours))
}

/// In the half that mounts, after [`confine`]: hands SIGTERM and SIGINT on to the half that serves, and does nothing else about them. It
/// ends when that has ended.
///
/// # Errors
/// The system's.
pub fn hand_on_signals(child: &Child) -> Result<(), Error> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;
    let child = Pid::from_raw(i32::try_from(child.id()).map_err(Error::other)?);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while let Ok(signal) = signals.wait() {
            // It may have ended by itself.
            let _ = kill(child, signal);
        }
    })?;
    Ok(())
}

/// In the half that serves: gives up what is left of rights, and the socket to the half that mounts.
///
/// # Errors
/// The system's, or that this process still has rights.
pub fn channel() -> Result<OwnedFd, Error> {
    rustix::thread::set_no_new_privs(true)?;
    // Nobody could mount for it.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    if rustix::process::geteuid().is_root() {
        return Err(Error::other("the process that serves must not be root"));
    }
    std::io::stdin().as_fd().try_clone_to_owned()
}

/// In the half that mounts: gives up the network and all capabilities but [`KEPT`].
///
/// # Errors
/// The system's.
pub fn confine() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| Error::from_raw_os_error(error as i32))?;
    for capability in CapabilitySet::all().difference(KEPT).iter() {
        match remove_capability_from_bounding_set(capability) {
            // The kernel has no such capability.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: none })?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}
