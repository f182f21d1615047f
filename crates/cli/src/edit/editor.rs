//! The user's editor: which it is, and its run.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use bulla_core::Env;

use crate::env_vars;
use crate::error::Failure;
use crate::exit::Code;
use crate::signals::{Hold, Signal};

/// Looked for where no variable names one.
const EDITORS: [&str; 3] = ["vim", "nano", "vi"];
/// What keeps vim from leaving copies of the plaintext in the user's home.
const VIM_ARGUMENTS: [&str; 5] = ["-n", "-i", "NONE", "-c", "set noundofile nobackup nowritebackup"];
/// How long an editor may take to leave once it is told to.
const GRACE: Duration = Duration::from_secs(2);

/// A program and its arguments, to which the file's path is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Editor {
    program: OsString,
    arguments: Vec<OsString>,
}

/// How an editor's run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was content.
    Saved,
    /// It failed; its status.
    Failed(ExitStatus),
    /// A signal asked this process to end.
    Interrupted(Code),
}

impl Editor {
    /// The editor of `SOPS_EDITOR` or `EDITOR`, which may have arguments, or the first that is installed.
    ///
    /// # Errors
    /// [`Code::NoEditor`].
    pub(crate) fn find(env: &dyn Env) -> Result<Self, Failure> {
        for variable in [env_vars::SOPS_EDITOR, env_vars::EDITOR] {
            if let Some(line) = env.text(variable) {
                let mut words = shlex::split(&line)
                    .ok_or_else(|| Failure::new(Code::NoEditor, format!("invalid ${variable}: {line}")))?
                    .into_iter()
                    .map(OsString::from);
                if let Some(program) = words.next() {
                    return Ok(Self { program, arguments: words.collect() });
                }
            }
        }
        let path = env.var("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
        let installed = EDITORS.iter().find(|name| folders.iter().any(|folder| folder.join(name).is_file()));
        match installed {
            Some(&"vim") => Ok(Self { program: "vim".into(), arguments: VIM_ARGUMENTS.map(OsString::from).to_vec() }),
            Some(name) => Ok(Self { program: name.into(), arguments: Vec::new() }),
            None => Err(Failure::new(Code::NoEditor, "no editor available: none of vim, nano and vi is installed")
                .with_hint("name one in SOPS_EDITOR or EDITOR")),
        }
    }

    /// Runs the editor on a file, until it ends or a signal comes.
    ///
    /// A terminal sends Ctrl-C to the editor as well; what it means is the editor's business.
    ///
    /// # Errors
    /// [`Code::NoEditor`] if it cannot be started.
    pub(crate) fn run(&self, file: &Path, signals: &Hold) -> Result<End, Failure> {
        let failure = |error: std::io::Error| {
            Failure::new(Code::NoEditor, format!("Could not run editor: {}: {error}", self.program.to_string_lossy()))
        };
        let mut child = Command::new(&self.program).args(&self.arguments).arg(file).spawn().map_err(failure)?;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait().map_err(failure)? {
                return Ok(if status.success() { End::Saved } else { End::Failed(status) });
            }
            match signals.take() {
                Some(Signal::Interrupt) if std::io::stdin().is_terminal() => {}
                Some(signal) => {
                    stop(&mut child);
                    return Ok(End::Interrupted(signal.code()));
                }
                None => {}
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// `exit status 1`, `signal 9`.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}

/// Asks the editor to leave, and makes it if it does not.
fn stop(child: &mut Child) {
    // The child is not waited for yet, so its number is still its own.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Ok(Some(_)) | Err(_) => return,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    fn editor(variables: &[(&str, &str)]) -> Result<Editor, Failure> {
        let env: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Editor::find(&env)
    }

    #[test]
    fn sops_editor_goes_before_editor_and_may_have_arguments() {
        let found = editor(&[("SOPS_EDITOR", "code --wait 'a b'"), ("EDITOR", "ed")]).unwrap();
        assert_eq!(found, Editor { program: "code".into(), arguments: vec!["--wait".into(), "a b".into()] });
        assert_eq!(editor(&[("EDITOR", "ed")]).unwrap().program, "ed");
    }

    #[test]
    fn without_any_editor_the_variables_are_named() {
        assert_eq!(editor(&[("PATH", "/nonexistent")]).unwrap_err().code, Code::NoEditor);
        assert_eq!(editor(&[("EDITOR", "'unclosed")]).unwrap_err().code, Code::NoEditor);
    }
}
