//! The example application, running: asked for a login, looked at, stopped.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use crate::demo::look::Secret;
use crate::demo::narrator::{Narrator, Step};
use crate::error::Failure;

/// The running application, or bulla with it below.
pub(super) struct Application {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Application {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// If it does not come up.
    pub(super) fn start(narrator: &Narrator, folder: &Path, step: &Step) -> Result<Self, Failure> {
        let mut child = narrator
            .command(folder, step)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::generic(format!("cannot start the application: {error}")))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let Some(stdout) = stdout else { return Err(Failure::generic("the application has no output")) };
        let mut application = Self { child, stdin, stdout: BufReader::new(stdout) };
        application.expect("ready")?;
        Ok(application)
    }

    /// Tries a wrong password and the right one: only who has the credentials can tell them apart.
    ///
    /// # Errors
    /// If it takes the wrong one or refuses the right one.
    pub(super) fn login(&mut self, password: &Secret) -> Result<(), Failure> {
        self.say("not-the-password")?;
        self.expect("denied")?;
        self.say(password.value())?;
        self.expect("granted")
    }

    /// The process that was started and all below it.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub(super) fn processes(&self) -> Result<Vec<u32>, Failure> {
        let failed = |error: std::io::Error| Failure::generic(format!("cannot read /proc: {error}"));
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // `PID (NAME) STATE PARENT …`; the name may hold anything. A process may have ended meanwhile.
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
            if let Some(parent) = after_name.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut processes = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = processes.get(next) {
            processes.extend(children.get(pid).into_iter().flatten().copied().collect::<Vec<_>>());
            next += 1;
        }
        Ok(processes)
    }

    /// Lets it end.
    ///
    /// # Errors
    /// If it ends with anything but success.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        drop(self.stdin.take());
        let status =
            self.child.wait().map_err(|error| Failure::generic(format!("cannot wait for the application: {error}")))?;
        if status.success() { Ok(()) } else { Err(Failure::generic(format!("the application failed: {status}"))) }
    }

    fn say(&mut self, line: &str) -> Result<(), Failure> {
        let Some(stdin) = self.stdin.as_mut() else { return Err(Failure::generic("the application has no input")) };
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| stdin.flush())
            .map_err(|error| Failure::generic(format!("the application does not listen: {error}")))
    }

    fn expect(&mut self, answer: &str) -> Result<(), Failure> {
        let mut line = String::new();
        let read = self.stdout.read_line(&mut line);
        if read.is_ok() && line.trim_end() == answer {
            return Ok(());
        }
        Err(Failure::generic(format!("the application should have said {answer:?}")))
    }
}

impl Drop for Application {
    /// After a failure it must not stay behind.
    fn drop(&mut self) {
        drop(self.stdin.take());
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
