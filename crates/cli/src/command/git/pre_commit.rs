//! `git pre-commit`: refuses plain secrets.

use std::fmt::Write;
use std::path::{Component, Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::git::guard::{self, Reach, Report};
use crate::git::repository::Repository;
use crate::term;
use crate::{output, shell};

/// Arguments of `git pre-commit`.
#[derive(Args, Debug)]
pub(crate) struct PreCommitArgs {
    /// Only these files
    files: Vec<PathBuf>,

    /// Look through everything in the index, not only what the commit changes
    #[arg(long)]
    all: bool,

    /// How findings are written
    #[arg(long, value_enum, default_value = "text")]
    output: OutputForm,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    /// For people, on stderr.
    Text,
    /// For programs, on stdout.
    Json,
}

/// Looks, and fails if there is anything.
///
/// # Errors
/// The findings; or if git fails.
pub(super) fn run(app: &App, args: &PreCommitArgs) -> Result<Code, Failure> {
    let repository = Repository::at(Path::new("."))?;
    let only = from_top(&repository, &args.files)?;
    let reach = if args.all { Reach::All } else { Reach::Staged };
    let report = guard::look(app, &repository, reach, &only)?;
    match args.output {
        OutputForm::Json => {
            output::print(format!("{:#}\n", json(&report)).as_bytes())?;
            Ok(if report.found.is_empty() { Code::Success } else { Code::Generic })
        }
        OutputForm::Text => text(&report, reach),
    }
}

fn text(report: &Report, reach: Reach) -> Result<Code, Failure> {
    for path in &report.without_driver {
        term::say(&format!(
            "note: {0} is encrypted, and Git does not know how to merge it; run: bulla git install {0}",
            shell::argument(path)
        ));
    }
    if report.found.is_empty() {
        return Ok(Code::Success);
    }
    let count = report.found.iter().map(|found| found.findings.len()).sum::<usize>();
    let (places, verb) = if count == 1 { ("place", "holds") } else { ("places", "hold") };
    let what = match reach {
        Reach::Staged => "nothing was committed",
        Reach::All => "the index is not clean",
    };
    let mut message = format!("{what}: {count} {places} {verb} a plain secret");
    let mut failure = Failure::generic("");
    for found in &report.found {
        for finding in &found.findings {
            let path = found.path.to_string_lossy();
            let path = if path.contains(char::is_control) { shell::quote(&path) } else { path.into_owned() };
            let _ = write!(message, "\n  {path}:{}: {}", finding.line, finding.what);
        }
        if found.findings.iter().any(|finding| finding.what.can_be_encrypted()) {
            let path = shell::argument(&found.path);
            failure = failure.with_hint(format!("bulla encrypt --in-place {path} && git add {path}"));
        }
    }
    failure.message = message;
    Err(failure.with_hint(
        "what is no secret may stay: write bulla:allow in a comment on its line, or PATTERN bulla-allow into .gitattributes",
    ))
}

fn json(report: &Report) -> serde_json::Value {
    let findings: Vec<_> = report
        .found
        .iter()
        .flat_map(|found| {
            found.findings.iter().map(|finding| {
                serde_json::json!({
                    "path": found.path.to_string_lossy(),
                    "line": finding.line,
                    "kind": finding.what.kind(),
                    "message": finding.what.to_string(),
                })
            })
        })
        .collect();
    serde_json::json!({
        "files": report.looked,
        "findings": findings,
        "without_merge_driver": report.without_driver.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
    })
}

/// Paths as the index has them.
fn from_top(repository: &Repository, files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let prefix = PathBuf::from(repository.line(&["rev-parse", "--show-prefix"])?);
    let top = repository.top()?;
    let path = |file: &PathBuf| {
        let file = file.strip_prefix(&top).map_or_else(|_| prefix.join(file), Path::to_owned);
        file.components().fold(PathBuf::new(), |mut path, part| {
            match part {
                Component::ParentDir => {
                    path.pop();
                }
                Component::Normal(name) => path.push(name),
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
            path
        })
    };
    Ok(files.iter().map(path).collect())
}
