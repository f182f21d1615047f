//! Programs that key services run: with a deadline, their output kept secret, their complaints kept for the error.

use std::env::{split_paths, var_os};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bulla_core::{KeyErrorKind, SecretBytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::failure::{Failure, printable};

/// What a program may print before it is stopped: 16 MiB.
const OUTPUT_LIMIT: usize = 1 << 24;
/// How much of its complaints is kept: the last 16 KiB.
const COMPLAINT_LIMIT: usize = 1 << 14;
/// After this long someone who waits is told what for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A program to run, its arguments, and what it is given.
pub(crate) struct Program<'a> {
    /// What messages call it.
    pub(crate) name: &'a str,
    /// The program and its arguments.
    pub(crate) argv: &'a [&'a OsStr],
    /// Variables added to the environment of this process.
    pub(crate) environment: &'a [(&'a str, &'a OsStr)],
    /// What it reads; nothing if empty.
    pub(crate) input: &'a [u8],
    /// When it is stopped. `None` while it may be asking a person.
    pub(crate) deadline: Option<Duration>,
}

/// What a program that ran left behind.
pub(crate) struct Output {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// What it printed.
    pub(crate) stdout: SecretBytes,
    /// What it complained of, or the end of that.
    pub(crate) stderr: Vec<u8>,
}

/// Why a program could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// There is no program.
    #[error("the command is empty")]
    Empty,
    /// It could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Talking to it failed.
    #[error("cannot talk to {program}: {source}")]
    Pipe {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It did not end in time, and was stopped.
    #[error("{program} did not end within {} s and was stopped", deadline.as_secs_f32())]
    Slow {
        /// The program.
        program: String,
        /// How long it had.
        deadline: Duration,
    },
    /// It printed more than any key is long, and was stopped.
    #[error("{program} printed more than {OUTPUT_LIMIT} bytes and was stopped")]
    Endless {
        /// The program.
        program: String,
    },
}

impl RunError {
    /// The failure of what the program was run for, by the name of the setting that names the program.
    pub(crate) fn about(&self, setting: &str) -> Failure {
        let kind = match self {
            Self::Empty | Self::Start { .. } => KeyErrorKind::BadConfig,
            Self::Slow { .. } => KeyErrorKind::Timeout,
            Self::Pipe { .. } | Self::Endless { .. } => KeyErrorKind::Other,
        };
        Failure::new(kind, format!("{setting}: {self}"))
    }
}

impl Program<'_> {
    /// Runs it to its end. Dropping the future stops the program.
    ///
    /// # Errors
    /// [`RunError`]; a program that ran and failed is not an error here.
    pub(crate) async fn run(&self) -> Result<Output, RunError> {
        let Some((program, arguments)) = self.argv.split_first() else { return Err(RunError::Empty) };
        let program_name = || program.to_string_lossy().into_owned();
        let mut child = Command::new(located(program, var_os("PATH").as_deref())?)
            .args(arguments)
            .envs(self.environment.iter().copied())
            .stdin(if self.input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| RunError::Start { program: program_name(), source })?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());

        let talk = async {
            let feed = async {
                if let Some(mut stdin) = stdin {
                    match stdin.write_all(self.input).await {
                        // A program that has heard enough may close its input; its status says what it made of it.
                        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                        _ => {}
                    }
                }
                Ok(())
            };
            let ((), stdout, stderr) = tokio::try_join!(feed, read_secret(stdout), read_end(stderr))?;
            let status = child.wait().await?;
            io::Result::Ok((status, stdout, stderr))
        };
        let talk = async {
            tokio::pin!(talk);
            if let Ok(done) = tokio::time::timeout(PATIENCE, &mut talk).await {
                return done;
            }
            tracing::warn!("still waiting for {}", self.name);
            talk.await
        };
        let done = match self.deadline {
            Some(deadline) => tokio::time::timeout(deadline, talk)
                .await
                .map_err(|_| RunError::Slow { program: program_name(), deadline })?,
            None => talk.await,
        };
        match done {
            Ok((status, Some(stdout), stderr)) => Ok(Output { status, stdout, stderr }),
            Ok((_, None, _)) => Err(RunError::Endless { program: program_name() }),
            Err(source) => Err(RunError::Pipe { program: program_name(), source }),
        }
    }
}

/// Where the program is that a setting names: a path is taken as it is.
fn located(program: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, RunError> {
    let (false, Some(folders)) = (program.as_bytes().contains(&b'/'), path) else { return Ok(program.into()) };
    on_path(program, Some(folders)).ok_or_else(|| RunError::Start {
        program: program.to_string_lossy().into_owned(),
        source: io::Error::new(io::ErrorKind::NotFound, "it is in no folder of PATH (relative ones do not count)"),
    })
}

/// The program `name` in the folders of `path`. A relative folder, or an empty one, would let the current one, which may be
/// anybody's repository, choose the program that gets the key. Go's programs, sops among them, refuse that as well.
pub(crate) fn on_path(name: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    let runs =
        |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    split_paths(path?).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(|path| runs(path))
}

/// The last line of a program's complaints, fit for a message: no control characters, nothing that looks like a key, and
/// not without end.
pub(crate) fn last_complaint(stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let upper = line.to_ascii_uppercase();
    if ["SECRET-KEY", "PRIVATE KEY", "AGE-PLUGIN-"].iter().any(|mark| upper.contains(mark)) {
        return None;
    }
    Some(printable(line))
}

/// Splits a command line into words as sops does (with Google's `shlex`), so that the same settings run the same program.
///
/// It is a little less than a shell. Blanks separate words. `'…'` is taken as it is; in `"…"` and outside quotes `\`
/// makes the next character literal, whatever it is. `#` at the start of a word begins a comment up to the end of the
/// line. There are no variables, no globs, no pipes.
///
/// # Errors
/// What is missing at the end.
pub(crate) fn words(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut letters = line.chars();
    while let Some(first) = letters.next() {
        match first {
            ' ' | '\t' | '\r' | '\n' => {}
            '#' => {
                letters.by_ref().find(|&letter| letter == '\n');
            }
            _ => words.push(word(first, &mut letters)?),
        }
    }
    Ok(words)
}

/// The rest of a word that begins with `first`.
fn word(first: char, letters: &mut impl Iterator<Item = char>) -> Result<String, &'static str> {
    const UNFINISHED: &str = "a backslash at its end escapes nothing";
    const UNCLOSED: &str = "a quote is not closed";
    let mut word = String::new();
    let mut next = Some(first);
    while let Some(letter) = next {
        match letter {
            ' ' | '\t' | '\r' | '\n' => break,
            '\\' => word.push(letters.next().ok_or(UNFINISHED)?),
            '\'' => loop {
                match letters.next().ok_or(UNCLOSED)? {
                    '\'' => break,
                    inner => word.push(inner),
                }
            },
            '"' => loop {
                match letters.next().ok_or(UNCLOSED)? {
                    '"' => break,
                    '\\' => word.push(letters.next().ok_or(UNFINISHED)?),
                    inner => word.push(inner),
                }
            },
            _ => word.push(letter),
        }
        next = letters.next();
    }
    Ok(word)
}

/// All that comes, in secret memory; `None` past the limit.
async fn read_secret(source: Option<impl AsyncRead + Unpin>) -> io::Result<Option<SecretBytes>> {
    let mut all = SecretBytes::new();
    let Some(mut source) = source else { return Ok(Some(all)) };
    let mut part = Zeroizing::new(vec![0; 4096]);
    loop {
        match source.read(&mut part).await? {
            0 => return Ok(Some(all)),
            n if all.len() + n > OUTPUT_LIMIT => return Ok(None),
            n => all.extend_from_slice(&part[..n]),
        }
    }
}

/// The end of what comes.
async fn read_end(source: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut end = Vec::new();
    let Some(mut source) = source else { return Ok(end) };
    let mut part = vec![0; 4096];
    loop {
        match source.read(&mut part).await? {
            0 => return Ok(end),
            n => end.extend_from_slice(&part[..n]),
        }
        if end.len() > 2 * COMPLAINT_LIMIT {
            end.drain(..end.len() - COMPLAINT_LIMIT);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn program<'a>(argv: &'a [&'a OsStr], input: &'a [u8], deadline: Option<Duration>) -> Program<'a> {
        Program { name: "the test", argv, environment: &[], input, deadline }
    }

    fn sh(script: &str) -> [&OsStr; 3] {
        ["sh".as_ref(), "-c".as_ref(), script.as_ref()]
    }

    #[test]
    fn words_are_split_as_the_peer_splits_them() {
        // Each answer is what github.com/google/shlex gives.
        for (line, expected) in [
            ("", &[][..]),
            ("  \t\r\n ", &[]),
            ("op read op://vault/item", &["op", "read", "op://vault/item"]),
            ("a  'b c' \"d e\"", &["a", "b c", "d e"]),
            ("'' \"\"", &["", ""]),
            (r"a\ b", &["a b"]),
            (r#""a\nb" 'a\nb' a\nb"#, &["anb", r"a\nb", "anb"]),
            (r#""\$x \" \\""#, &[r#"$x " \"#]),
            ("a # the rest\nb", &["a", "b"]),
            ("a#b c", &["a#b", "c"]),
            ("one'two'\"three\"", &["onetwothree"]),
            ("$HOME *", &["$HOME", "*"]),
            ("ünï 'cödé'", &["ünï", "cödé"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line:?}");
        }
        for line in ["'a", "\"a", "a\\", "\"a\\", "x \"y\\\""] {
            assert!(words(line).is_err(), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn single_quoted_words_come_back(expected in prop::collection::vec("[^']{0,12}", 0..5)) {
            let line = expected.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(&line).unwrap(), expected);
        }

        #[test]
        fn no_line_panics(line in any::<String>()) {
            let _ = words(&line);
        }
    }

    #[tokio::test]
    async fn a_program_gets_its_input_and_variables_and_answers() {
        let argv = sh("cat; printf %s \"$BULLA_TEST_VALUE\"; echo oops >&2; exit 3");
        let environment = [("BULLA_TEST_VALUE", OsStr::new("v a l"))];
        let program = Program { environment: &environment, ..program(&argv, b"in:", None) };
        let output = program.run().await.unwrap();
        assert_eq!(output.stdout.expose(), b"in:v a l");
        assert_eq!(output.stderr, b"oops\n");
        assert_eq!(output.status.code(), Some(3));
    }

    #[tokio::test]
    async fn a_program_that_reads_nothing_is_no_error() {
        let input = vec![b'x'; 1 << 20];
        let argv = sh("exec 0<&-; printf done");
        assert_eq!(program(&argv, &input, None).run().await.unwrap().stdout.expose(), b"done");
    }

    #[tokio::test]
    async fn a_slow_program_is_stopped_at_its_deadline() {
        let start = Instant::now();
        let argv: [&OsStr; 2] = ["sleep".as_ref(), "60".as_ref()];
        let error = program(&argv, b"", Some(Duration::from_millis(50))).run().await.err().unwrap();
        assert!(matches!(error, RunError::Slow { .. }), "{error}");
        assert!(error.to_string().starts_with("sleep did not end within 0.05 s"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_program_that_prints_without_end_is_stopped() {
        let argv: [&OsStr; 1] = ["yes".as_ref()];
        let error = program(&argv, b"", None).run().await.err().unwrap();
        assert!(matches!(error, RunError::Endless { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let argv: [&OsStr; 1] = ["no-such-program-here".as_ref()];
        let error = program(&argv, b"", None).run().await.err().unwrap();
        assert!(error.to_string().starts_with("cannot start no-such-program-here: "), "{error}");
    }

    #[test]
    fn the_current_folder_is_no_place_for_programs() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let program = folder.path().join("gpg");
        fs::File::create(&program).unwrap().set_permissions(fs::Permissions::from_mode(0o700)).unwrap();
        let absolute = std::path::absolute(folder.path()).unwrap();
        let relative = Path::new(folder.path().file_name().unwrap());
        let find = |name: &str, path: &OsStr| located(name.as_ref(), Some(path)).ok();

        assert!(find("gpg", relative.as_os_str()).is_none());
        assert!(find("sh", OsStr::new(":.:")).is_none());
        assert_eq!(find("gpg", absolute.as_os_str()), Some(absolute.join("gpg")));
        // Who writes a path means it.
        assert_eq!(find("./gpg", OsStr::new("/bin")), Some("./gpg".into()));
        assert_eq!(located("gpg".as_ref(), None).ok(), Some("gpg".into()));
    }

    #[test]
    fn a_complaint_is_its_last_line_and_never_a_key() {
        assert_eq!(last_complaint(b"first\n\n sec\x07ond \n\n").as_deref(), Some("sec ond"));
        assert_eq!(last_complaint(b" \n"), None);
        assert_eq!(last_complaint(b"bad key age-secret-key-1QQQ"), None);
        assert!(last_complaint(&[b'x'; 5000]).unwrap().len() < 500);
    }
}
