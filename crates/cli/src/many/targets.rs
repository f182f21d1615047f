//! Which files a command is about: named, found in folders, or met by a pattern.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use walkdir::{DirEntry, WalkDir};

use crate::app::Personality;
use crate::args::ManyArgs;
use crate::error::Failure;
use crate::exit::Code;
use crate::input::Source;

/// Folders that are never gone through: what version control keeps for itself.
const PASSED_BY: [&str; 4] = [".git", ".hg", ".svn", ".jj"];
/// A configuration holds no secret and must stay readable.
const CONFIGURATION: &str = ".sops.yaml";

/// One file to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Where its bytes come from.
    pub(crate) source: Source,
    /// Where it stands below the folder or pattern it was found by; just its name, if it was named.
    pub(crate) below: PathBuf,
    /// Whether it was named, and not found in a folder.
    pub(crate) named: bool,
}

/// The files of a command.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    /// The files, in the order they were named; folders sorted by name.
    pub(crate) list: Vec<Target>,
    /// Whether more than one file was asked for, even if fewer were found.
    pub(crate) many: bool,
}

impl Targets {
    /// Finds the files that the arguments name. Under the name `sops` an argument is always a file, never a pattern.
    ///
    /// # Errors
    /// A folder without `--recursive`, a pattern that meets nothing, a folder that cannot be read.
    pub(crate) fn find(personality: Personality, args: &ManyArgs) -> Result<Self, Failure> {
        let mut targets = Self { list: Vec::new(), many: args.files.len() > 1 || args.recursive };
        if args.files.is_empty() {
            if args.recursive {
                return Err(
                    Failure::new(Code::NoFile, "Error: no file specified").with_hint("name a folder, for example .")
                );
            }
            targets.list.push(Target { source: Source::Stdin, below: PathBuf::new(), named: true });
        }
        for argument in &args.files {
            if personality == Personality::Sops || argument.exists() || !is_pattern(argument) {
                targets.add(argument, args.recursive)?;
            } else {
                targets.add_matching(argument)?;
            }
        }
        Ok(targets)
    }

    fn add(&mut self, argument: &Path, recursive: bool) -> Result<(), Failure> {
        if argument.is_dir() {
            if !recursive {
                return Err(Failure::new(Code::CouldNotReadInput, format!("{} is a folder", argument.display()))
                    .with_hint("go through it with --recursive"));
            }
            return self.walk(argument, |_| true);
        }
        let source = Source::from_argument(Some(argument));
        let below = argument.file_name().map(PathBuf::from).unwrap_or_default();
        self.list.push(Target { source, below, named: true });
        Ok(())
    }

    fn add_matching(&mut self, argument: &Path) -> Result<(), Failure> {
        self.many = true;
        let before = self.list.len();
        let (base, matcher) = pattern(argument)?;
        if base.is_dir() {
            self.walk(&base, |path| matcher.is_match(path))?;
        }
        if self.list.len() == before {
            return Err(Failure::new(Code::NoFile, format!("no file matches {}", argument.display())));
        }
        Ok(())
    }

    fn walk(&mut self, folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<(), Failure> {
        let passes = |entry: &DirEntry| {
            entry.depth() == 0
                || !(entry.file_type().is_dir() && PASSED_BY.iter().any(|name| entry.file_name() == *name))
        };
        for entry in WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(passes) {
            let entry = entry.map_err(|error| Failure::new(Code::CouldNotReadInput, error.to_string()))?;
            // Links are not followed: what they lead to may lie outside, or be met again.
            if !entry.file_type().is_file() || entry.file_name() == CONFIGURATION || !wanted(entry.path()) {
                continue;
            }
            let below = entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_owned();
            self.list.push(Target { source: Source::File(entry.into_path()), below, named: false });
        }
        Ok(())
    }
}

fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '[', '{'])
}

/// A pattern's longest part without wildcards, and what its files must match. `**` goes through folders, `*` does not.
fn pattern(pattern: &Path) -> Result<(PathBuf, GlobMatcher), Failure> {
    let base: PathBuf = pattern.components().take_while(|part| !is_pattern(part.as_ref())).collect();
    let base = if base.as_os_str().is_empty() { PathBuf::from(".") } else { base };
    // Walking from `.` gives `./a`, so the pattern starts there as well.
    let text = if base == Path::new(".") && !pattern.starts_with(".") {
        format!("./{}", pattern.display())
    } else {
        pattern.display().to_string()
    };
    let glob = GlobBuilder::new(&text)
        .literal_separator(true)
        .build()
        .map_err(|error| Failure::generic(format!("bad pattern {}: {error}", pattern.display())))?;
    Ok((base, glob.compile_matcher()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    fn names(folder: &Path, argument: &str, recursive: bool) -> Vec<String> {
        let args = ManyArgs { files: vec![folder.join(argument)], recursive, ..ManyArgs::default() };
        let targets = Targets::find(Personality::Bulla, &args).unwrap();
        targets.list.iter().map(|target| target.below.display().to_string()).collect()
    }

    #[test]
    fn folders_and_patterns_give_their_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yaml", "sub/c.yaml", ".git/config", ".sops.yaml", "sub/d.json"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(path).unwrap();
        }
        std::os::unix::fs::symlink("a.yaml", folder.path().join("link.yaml")).unwrap();
        assert_eq!(names(folder.path(), "", true), ["a.yaml", "b.yaml", "sub/c.yaml", "sub/d.json"]);
        assert_eq!(names(folder.path(), "*.yaml", false), ["a.yaml", "b.yaml"]);
        assert_eq!(names(folder.path(), "**/*.yaml", false), ["a.yaml", "b.yaml", "sub/c.yaml"]);
        let args = ManyArgs { files: vec![folder.path().join("*.txt")], ..ManyArgs::default() };
        assert_eq!(Targets::find(Personality::Bulla, &args).unwrap_err().code, Code::NoFile);
        let args = ManyArgs { files: vec![folder.path().join("*.yaml")], ..ManyArgs::default() };
        let literal = Targets::find(Personality::Sops, &args).unwrap();
        assert_eq!((literal.list.len(), literal.list[0].named), (1, true));
    }
}
