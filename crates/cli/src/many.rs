//! One command over many files: found, worked on in parallel, reported.

mod report;
mod targets;

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::args::{ManyArgs, ReportFormat};
use crate::error::Failure;
use crate::exit::Code;
use crate::term::Progress;
pub(crate) use targets::{Target, Targets};

/// What was done to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done; what, as a participle: `encrypted`.
    Done(&'static str),
    /// It would have been done: a dry run.
    Would(&'static str),
    /// There was nothing to do.
    Unchanged,
    /// The file was met on the way through a folder and is none of ours; why.
    Skipped(String),
}

/// Works on every target and reports. One file that was named fails with its own failure and exit status. Of many, all
/// are tried, failures are listed, and the status is [`Code::Generic`] if there are any.
///
/// # Errors
/// See above.
pub(crate) fn run(
    args: &ManyArgs,
    targets: &Targets,
    work: impl Fn(&Target) -> Result<Outcome, Failure> + Sync,
) -> Result<Code, Failure> {
    // A dry run is asked for what it says.
    let format = args.report.or(args.dry_run.then_some(ReportFormat::Text));
    if let (false, [target]) = (targets.many, targets.list.as_slice()) {
        let outcome = work(target)?;
        if format.is_some() {
            report::print(format, &[(target, &Ok(outcome))])?;
        }
        return Ok(Code::Success);
    }
    let results = in_parallel(args, &targets.list, work);
    let results: Vec<_> = targets.list.iter().zip(&results).collect();
    report::print(format, &results)?;
    let failed = results.iter().filter(|(_, result)| result.is_err()).count();
    if failed > 0 {
        return Err(Failure::generic(format!("{failed} of {} files failed", results.len())));
    }
    Ok(Code::Success)
}

fn in_parallel(
    args: &ManyArgs,
    targets: &[Target],
    work: impl Fn(&Target) -> Result<Outcome, Failure> + Sync,
) -> Vec<Result<Outcome, Failure>> {
    let threads = args
        .jobs
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZeroUsize::get)
        .min(targets.len().max(1));
    let progress = Progress::show(targets.len());
    let next = AtomicUsize::new(0);
    let results: Vec<OnceLock<Result<Outcome, Failure>>> = targets.iter().map(|_| OnceLock::new()).collect();
    let worker = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(target) = targets.get(index) else { break };
            // Each index is handed out once.
            let _ = results[index].set(work(target));
            progress.step();
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Without another thread this one does the work.
            let _ = std::thread::Builder::new().spawn_scoped(scope, worker);
        }
        worker();
    });
    drop(progress);
    results
        .into_iter()
        .map(|result| result.into_inner().unwrap_or_else(|| Err(Failure::generic("the worker ended early"))))
        .collect()
}
