//! The git program: asked for facts, and for the contents of many blobs at once.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use crate::error::Failure;

/// A repository, by a folder inside it.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    folder: PathBuf,
}

/// A file in the index or in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its path from the top of the work tree.
    pub(crate) path: PathBuf,
    /// The name of its blob.
    pub(crate) blob: String,
}

impl Repository {
    /// The repository that `folder` is in.
    ///
    /// # Errors
    /// If git is not there, or `folder` is in no repository.
    pub(crate) fn at(folder: &Path) -> Result<Self, Failure> {
        let repository = Self::anywhere(folder);
        repository.line(&["rev-parse", "--git-dir"])?;
        Ok(repository)
    }

    /// Git in `folder`, whether a repository is there or not: for the user's own configuration.
    pub(crate) fn anywhere(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The top of the work tree.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn top(&self) -> Result<PathBuf, Failure> {
        self.line(&["rev-parse", "--show-toplevel"]).map(PathBuf::from)
    }

    /// What git answers on stdout.
    ///
    /// # Errors
    /// If git cannot be run or fails; with what it said.
    pub(crate) fn output<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<Vec<u8>, Failure> {
        let output = self.run(arguments)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let shown: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::generic(format!("git {}: {}", shown.join(" "), said.trim_end())))
    }

    /// What git answers, whatever its status.
    ///
    /// # Errors
    /// If git cannot be run.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<std::process::Output, Failure> {
        self.command().args(arguments).stdin(Stdio::null()).output().map_err(|error| not_run(&error))
    }

    /// One line of answer.
    ///
    /// # Errors
    /// As [`output`](Self::output).
    pub(crate) fn line<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<OsString, Failure> {
        let mut output = self.output(arguments)?;
        if output.last() == Some(&b'\n') {
            output.pop();
        }
        Ok(OsString::from_vec(output))
    }

    /// What the index holds: everything, as it would be committed.
    ///
    /// # Errors
    /// As [`output`](Self::output).
    pub(crate) fn tracked(&self) -> Result<Vec<Entry>, Failure> {
        // `MODE BLOB STAGE<TAB>PATH`
        let listing = self.output(&["ls-files", "--stage", "-z", "--full-name", ":/"])?;
        Ok(fields(&listing)
            .filter_map(|record| {
                let tab = record.iter().position(|&byte| byte == b'\t')?;
                let mut columns = std::str::from_utf8(&record[..tab]).ok()?.split(' ');
                let (mode, blob) = (columns.next()?, columns.next()?);
                is_file(mode).then(|| entry(&record[tab + 1..], blob))
            })
            .collect())
    }

    /// What the next commit would change or add.
    ///
    /// # Errors
    /// As [`output`](Self::output).
    pub(crate) fn staged(&self) -> Result<Vec<Entry>, Failure> {
        let head = self.run(&["rev-parse", "--verify", "--quiet", "HEAD"])?;
        let against = if head.status.success() {
            OsString::from("HEAD")
        } else {
            // Before the first commit: against nothing. The name of the empty tree depends on the repository's hash.
            self.line(&["hash-object", "-t", "tree", "/dev/null"])?
        };
        // `:MODE MODE BLOB BLOB STATUS<NUL>PATH<NUL>`
        let arguments = ["diff-index", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", "--diff-filter=ACMRT"];
        let mut arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        arguments.push(&against);
        let listing = self.output(&arguments)?;
        let mut records = fields(&listing);
        let mut entries = Vec::new();
        while let (Some(columns), Some(path)) = (records.next(), records.next()) {
            let columns: Vec<&str> = std::str::from_utf8(columns).unwrap_or_default().split(' ').collect();
            if let [_, mode, _, blob, _] = columns[..]
                && is_file(mode)
            {
                entries.push(entry(path, blob));
            }
        }
        Ok(entries)
    }

    /// Gives the contents of each of `blobs` (objects of any kind) in turn to `look`, all from one git process. What is missing
    /// (a partial clone) is an error.
    ///
    /// # Errors
    /// If git cannot be run or does not know a blob.
    pub(crate) fn blobs<'a>(
        &self,
        blobs: impl Iterator<Item = &'a str> + Send,
        mut look: impl FnMut(usize, &[u8]),
    ) -> Result<(), Failure> {
        let mut git = self
            .command()
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| not_run(&error))?;
        let (Some(mut requests), Some(answers)) = (git.stdin.take(), git.stdout.take()) else {
            return Err(Failure::generic("git cat-file gave no pipes"));
        };
        let read = std::thread::scope(|scope| {
            // Asked from another thread: both pipes may be full at once.
            scope.spawn(move || {
                let mut text = String::new();
                for blob in blobs {
                    text.clear();
                    text.push_str(blob);
                    text.push('\n');
                    if requests.write_all(text.as_bytes()).is_err() {
                        break;
                    }
                }
            });
            read_batch(BufReader::new(answers), &mut look)
        });
        let status = git.wait().map_err(|error| not_run(&error))?;
        read.map_err(|error| Failure::generic(format!("git cat-file --batch: {error}")))?;
        if status.success() { Ok(()) } else { Err(Failure::generic(format!("git cat-file --batch: {status}"))) }
    }

    /// Gives each object of the repository in turn to `look`: its name and its contents. Reachable or not, of any kind.
    ///
    /// # Errors
    /// If git cannot be run.
    pub(crate) fn all_objects(&self, mut look: impl FnMut(&str, &[u8])) -> Result<(), Failure> {
        let listing = self.output(&["cat-file", "--batch-all-objects", "--batch-check=%(objectname)"])?;
        let listing = String::from_utf8_lossy(&listing);
        let names: Vec<&str> = listing.lines().collect();
        self.blobs(names.iter().copied(), |index, bytes| look(names.get(index).copied().unwrap_or_default(), bytes))
    }

    /// The values of an attribute for many paths (from the top of the work tree), as the index has them; `None` where it
    /// is not set.
    ///
    /// # Errors
    /// As [`output`](Self::output).
    pub(crate) fn attribute(&self, name: &str, paths: &[&Path]) -> Result<Vec<Option<String>>, Failure> {
        let mut git = self
            .command()
            .current_dir(self.top()?)
            .args(["check-attr", "--cached", "-z", "--stdin", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| not_run(&error))?;
        let Some(mut requests) = git.stdin.take() else { return Err(Failure::generic("git check-attr gave no pipe")) };
        let asked: Vec<u8> = paths.iter().flat_map(|path| [path.as_os_str().as_bytes(), b"\0"].concat()).collect();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || requests.write_all(&asked));
            git.wait_with_output()
        })
        .map_err(|error| not_run(&error))?;
        // `PATH<NUL>ATTRIBUTE<NUL>VALUE<NUL>`
        // A value may be empty.
        let answers: Vec<&[u8]> = output.stdout.split(|&byte| byte == 0).collect();
        let values = answers.chunks_exact(3).map(|answer| match answer[2] {
            b"unspecified" => None,
            value => Some(String::from_utf8_lossy(value).into_owned()),
        });
        Ok(values.chain(std::iter::repeat(None)).take(paths.len()).collect())
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(&self.folder);
        // Git runs what its configuration says, and that must be the user's. A folder of a cloned repository that looks like a bare
        // repository would bring another, and so does an archive with a `.git` in it.
        command.args(["-c", "safe.bareRepository=explicit", "-c", "core.fsmonitor=false"]);
        // Set by `git --literal-pathspecs commit` for its hooks; `:/` would name a file then.
        command.env_remove("GIT_LITERAL_PATHSPECS");
        command
    }
}

/// `BLOB blob SIZE\n` and SIZE bytes and `\n`, again and again; `NAME missing\n` for what is not there.
fn read_batch(mut answers: impl BufRead, look: &mut impl FnMut(usize, &[u8])) -> std::io::Result<()> {
    let mut contents = Zeroizing::new(Vec::new());
    let mut header = String::new();
    for index in 0.. {
        header.clear();
        if answers.read_line(&mut header)? == 0 {
            break;
        }
        let size = header.trim_end().rsplit(' ').next().and_then(|size| size.parse::<u64>().ok());
        let Some(size) = size else { return Err(std::io::Error::other(header.trim_end().to_owned())) };
        contents.clear();
        // The line's end after the contents comes along.
        let taken = answers.by_ref().take(size + 1).read_to_end(&mut contents)?;
        if taken as u64 != size + 1 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        look(index, &contents[..contents.len() - 1]);
    }
    Ok(())
}

fn fields(listing: &[u8]) -> impl Iterator<Item = &[u8]> {
    listing.split(|&byte| byte == 0).filter(|record| !record.is_empty())
}

fn entry(path: &[u8], blob: &str) -> Entry {
    Entry { path: PathBuf::from(OsStr::from_bytes(path)), blob: blob.to_owned() }
}

/// Whether an index mode is a file's, not a link's or a submodule's.
fn is_file(mode: &str) -> bool {
    mode.starts_with("100")
}

fn not_run(error: &std::io::Error) -> Failure {
    Failure::generic(format!("cannot run git: {error}")).with_hint("install git, or put it on the PATH")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_batch_is_read_to_the_byte() {
        let answers = b"aa blob 3\nx\ny\nbb blob 0\n\ncc blob 1\nz\n";
        let mut seen = Vec::new();
        read_batch(&answers[..], &mut |index, bytes: &[u8]| seen.push((index, bytes.to_vec()))).unwrap();
        assert_eq!(seen, [(0, b"x\ny".to_vec()), (1, vec![]), (2, b"z".to_vec())]);
    }

    #[test]
    fn a_missing_or_cut_blob_is_an_error() {
        assert!(read_batch(&b"aa missing\n"[..], &mut |_, _: &[u8]| ()).is_err());
        assert!(read_batch(&b"aa blob 9\nxy\n"[..], &mut |_, _: &[u8]| ()).is_err());
    }
}
