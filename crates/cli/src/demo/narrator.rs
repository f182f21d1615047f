//! Runs the steps of the journey, and prints for each the command that a user would type.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::Failure;
use crate::output;

/// How the journey is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Step by step, for people.
    Steps,
    /// Only its outcome, as JSON.
    Json,
}

/// A command of the journey.
pub(super) struct Step {
    program: &'static str,
    arguments: Vec<String>,
    may_fail: bool,
}

impl Step {
    /// A command. `bulla` stands for this very program.
    pub(super) fn new(program: &'static str, arguments: &[&str]) -> Self {
        Self { program, arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(), may_fail: false }
    }

    /// It is meant to fail.
    pub(super) fn fails(self) -> Self {
        Self { may_fail: true, ..self }
    }

    /// As one would type it.
    fn typed(&self) -> String {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./={}:".contains(&byte));
        let quoted = self.arguments.iter().map(|argument| {
            if !argument.is_empty() && plain(argument) {
                argument.clone()
            } else {
                format!("'{}'", argument.replace('\'', r"'\''"))
            }
        });
        [self.program.to_owned()].into_iter().chain(quoted).collect::<Vec<_>>().join(" ")
    }
}

/// Tells and runs.
pub(super) struct Narrator {
    talk: Talk,
    me: PathBuf,
    home: PathBuf,
}

impl Narrator {
    /// A narrator for a journey in the folder `top`.
    pub(super) fn new(talk: Talk, top: &Path) -> Result<Self, Failure> {
        let me = std::env::current_exe()
            .map_err(|error| Failure::generic(format!("cannot find this very program: {error}")))?;
        Ok(Self { talk, me, home: top.to_owned() })
    }

    /// Begins a part.
    pub(super) fn title(&self, text: &str) -> Result<(), Failure> {
        self.tell(&format!("\n{text}\n\n"))
    }

    /// Explains.
    pub(super) fn comment(&self, text: &str) -> Result<(), Failure> {
        self.tell(&format!("# {text}\n"))
    }

    /// Writes a file as one would with an editor, and shows it.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<(), Failure> {
        bulla_core::file::replace(path, text.as_bytes(), 0o644).map_err(|error| Failure::generic(error.to_string()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.tell(&format!("$ cat > {name} <<'END'\n{text}END\n"))
    }

    /// Shows the first lines of a file, each cut to the width of a terminal.
    pub(super) fn excerpt(&self, path: &Path, lines: usize) -> Result<(), Failure> {
        let text = fs::read_to_string(path)
            .map_err(|error| Failure::generic(format!("cannot read {}: {error}", path.display())))?;
        self.tell(&format!("$ head -{lines} {}\n", path.strip_prefix(&self.home).unwrap_or(path).display()))?;
        for line in text.lines().take(lines) {
            let cut: String = line.chars().take(100).collect();
            self.tell(&format!("    {cut}{}\n", if cut.len() < line.len() { "…" } else { "" }))?;
        }
        Ok(())
    }

    /// Shows the first lines of an object as one would write it in a file.
    pub(super) fn excerpt_of(&self, name: &str, object: &serde_json::Value, lines: usize) -> Result<(), Failure> {
        let text = serde_saphyr::to_string(object).map_err(|error| Failure::generic(format!("{name}: {error}")))?;
        self.tell(&format!("$ head -{lines} {name}\n"))?;
        for line in text.lines().take(lines) {
            self.tell(&format!("    {line}\n"))?;
        }
        Ok(())
    }

    /// Runs a step that reads `input`, of which nothing is shown. Answers its stdout.
    ///
    /// # Errors
    /// If it fails.
    pub(super) fn run_with_input(&self, folder: &Path, step: &Step, input: &[u8]) -> Result<String, Failure> {
        let failed = |error: std::io::Error| Failure::generic(format!("cannot run {}: {error}", step.program));
        let mut child = self
            .command(folder, step)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input).map_err(failed)?;
        }
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::generic(format!("`{}` failed: {stderr}", step.typed())));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a step and shows what it prints. Answers its stdout.
    ///
    /// # Errors
    /// If it fails and must not, or the other way round.
    pub(super) fn run(&self, folder: &Path, step: &Step) -> Result<String, Failure> {
        let (stdout, stderr) = self.run_step(folder, step)?;
        for line in stdout.lines().chain(stderr.lines()) {
            self.tell(&format!("    {line}\n"))?;
        }
        Ok(stdout)
    }

    /// Runs a step without showing what it prints.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(super) fn run_quietly(&self, folder: &Path, step: &Step) -> Result<String, Failure> {
        self.run_step(folder, step).map(|(stdout, _)| stdout)
    }

    /// The command of a step, told, and ready to be started.
    pub(super) fn command(&self, folder: &Path, step: &Step) -> Result<Command, Failure> {
        self.tell(&format!("$ {}\n", step.typed()))?;
        let mut command = if step.program == "bulla" { Command::new(&self.me) } else { Command::new(step.program) };
        command.args(&step.arguments).current_dir(folder).env_clear();
        // Nothing of the user's own settings, keys or hooks comes in.
        for name in ["PATH", "TMPDIR", "XDG_RUNTIME_DIR", "LANG"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", &self.home)
            .env("SOPS_AGE_KEY_FILE", self.home.join("keys.txt"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs([("GIT_AUTHOR_NAME", "You"), ("GIT_AUTHOR_EMAIL", "you@example.com")])
            .envs([("GIT_COMMITTER_NAME", "You"), ("GIT_COMMITTER_EMAIL", "you@example.com")]);
        Ok(command)
    }

    fn run_step(&self, folder: &Path, step: &Step) -> Result<(String, String), Failure> {
        let output = self
            .command(folder, step)?
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::generic(format!("cannot run {}: {error}", step.program)))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        if output.status.success() == step.may_fail {
            let outcome = if step.may_fail { "did not fail" } else { "failed" };
            return Err(Failure::generic(format!("`{}` {outcome}: {stderr}", step.typed())));
        }
        Ok((stdout, stderr))
    }

    fn tell(&self, text: &str) -> Result<(), Failure> {
        match self.talk {
            Talk::Steps => output::print(text.as_bytes()),
            Talk::Json => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_as_one_would_type_it() {
        assert_eq!(
            Step::new("bulla", &["exec-file", ".env", "--", "sh", "a.sh", "{}"]).typed(),
            "bulla exec-file .env -- sh a.sh {}"
        );
        assert_eq!(Step::new("sh", &["-c", "echo 'a'; b"]).typed(), r"sh -c 'echo '\''a'\''; b'");
    }
}
