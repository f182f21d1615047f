//! The program: started, waited for, its status given back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::error::Failure;
use crate::exec::memfd::Memfd;
use crate::exec::signals::Forwarder;
use crate::exec::user::User;
use crate::exec::{CommandLine, SignalStatus};
use crate::exit::Code;

/// Whether the program is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// It is, with signals passed on.
    Waited,
    /// It is left running (`--background`).
    Background,
    /// It takes this process' place (`--same-process`).
    Replaces,
}

/// What to start, as whom.
pub(crate) struct Program {
    /// What to run.
    pub(crate) command: CommandLine,
    /// Its whole environment.
    pub(crate) environment: BTreeMap<OsString, OsString>,
    /// The user to run it as, if not ourselves.
    pub(crate) user: Option<User>,
}

/// A program that is about to run.
pub(crate) struct Start {
    /// What, as whom.
    pub(crate) program: Program,
    /// A descriptor that it inherits. Ours is closed when it runs.
    pub(crate) hand_over: Option<Memfd>,
    /// Whether it is waited for.
    pub(crate) lifetime: Lifetime,
    /// How its end by a signal is reported.
    pub(crate) signal_status: SignalStatus,
}

/// Runs the program. Answers its exit status; success at once for one that is not waited for.
///
/// # Errors
/// If it cannot be started: status 127 if it is not there, 126 if it may not be run, as shells have it.
pub(crate) fn run(start: Start) -> Result<Code, Failure> {
    let Start { program, hand_over, lifetime, signal_status } = start;
    let forwarder = match lifetime {
        Lifetime::Waited => {
            Some(Forwarder::install().map_err(|error| Failure::generic(format!("cannot catch signals: {error}")))?)
        }
        Lifetime::Background | Lifetime::Replaces => None,
    };
    let started = if lifetime == Lifetime::Replaces {
        on_its_thread(&program, |mut command| Err::<Child, _>(command.exec()))
    } else {
        on_its_thread(&program, |mut command| {
            if lifetime == Lifetime::Background {
                // As in sops: whoever waits for the end of our output must not wait for the program.
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            }
            command.spawn()
        })
    };
    drop(hand_over);
    let mut child = started?;
    // The values are in the program now.
    drop(program);
    let Some(forwarder) = forwarder else { return Ok(Code::Success) };
    let waited = wait(&mut child, forwarder)
        .map_err(|error| Failure::generic(format!("cannot wait for the program: {error}")))?;
    Ok(code(waited, signal_status))
}

/// Starts the program, for whoever waits for it.
///
/// # Errors
/// As [`run`].
pub(super) fn spawn(program: &Program) -> Result<Child, Failure> {
    on_its_thread(program, |mut command| command.spawn())
}

/// Starts the program from a thread that has its user's credentials. Nothing is started if they could not be taken on.
fn on_its_thread(program: &Program, start: impl FnOnce(Command) -> io::Result<Child> + Send) -> Result<Child, Failure> {
    let command = command(program)?;
    let Some(user) = &program.user else {
        return start(command).map_err(|error| not_started(program, &error));
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            user.assume_on_this_thread().map_err(|error| {
                Failure::generic(format!("cannot run as another user: {error}"))
                    .with_hint("only root can; without --user the program runs as you")
            })?;
            start(command).map_err(|error| not_started(program, &error))
        });
        thread.join().unwrap_or_else(|_| Err(Failure::generic("the thread that starts the program failed")))
    })
}

fn command(program: &Program) -> Result<Command, Failure> {
    let mut command = match &program.command {
        CommandLine::Argv(argv) => {
            let Some((name, arguments)) = argv.split_first() else {
                return Err(Failure::generic("no command was given"));
            };
            let mut command = Command::new(name);
            command.args(arguments);
            command
        }
        CommandLine::Shell(text) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(text);
            command
        }
    };
    command.env_clear().envs(&program.environment);
    Ok(command)
}

fn not_started(program: &Program, error: &io::Error) -> Failure {
    let name = match &program.command {
        CommandLine::Argv(argv) => argv.first().map(|name| name.display().to_string()).unwrap_or_default(),
        CommandLine::Shell(_) => "/bin/sh".to_owned(),
    };
    let code = match error.kind() {
        io::ErrorKind::NotFound => Code::Child(127),
        _ => Code::Child(126),
    };
    let failure = Failure::new(code, format!("cannot run {name}: {error}"));
    if error.kind() == io::ErrorKind::NotFound && name.contains(' ') {
        return failure.with_hint("the command is run without a shell; pass its arguments apart, or use --shell");
    }
    failure
}

/// Waits for the program's end. The end is seen first and the status taken after the forwarder has stopped: until then the
/// program's number cannot become another's.
fn wait(child: &mut Child, forwarder: Forwarder) -> io::Result<ExitStatus> {
    let pid = Pid::from_child(child);
    forwarder.forward_to(pid);
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(_) => break,
            Err(error) if error == rustix::io::Errno::INTR => {}
            Err(error) => return Err(error.into()),
        }
    }
    forwarder.stop();
    child.wait()
}

/// What this process ends with when the program ended so.
pub(super) fn code(status: ExitStatus, signal_status: SignalStatus) -> Code {
    match (status.code(), status.signal(), signal_status) {
        (Some(code), ..) => Code::Child(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal), SignalStatus::Shell) => Code::Child(u8::try_from(128 + signal).unwrap_or(u8::MAX)),
        (None, ..) => Code::Child(u8::MAX),
    }
}
