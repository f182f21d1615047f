//! What was done to which file, as a table or as JSON on standard output, and in a line on stderr.

use std::io::Write;

use serde::Serialize;

use super::{Outcome, Target};
use crate::args::ReportFormat;
use crate::error::Failure;
use crate::term;

/// One file in a JSON report.
#[derive(Serialize)]
struct Entry<'a> {
    file: String,
    /// `encrypted`, `decrypted`, …, `unchanged`, `skipped`, `failed`; after `would be ` in a dry run.
    result: String,
    /// Why it was skipped or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    hints: &'a [String],
    /// The exit status that the file alone would have given.
    status: u8,
}

/// Prints the report that was asked for. Without one, failures and a summary go to stderr.
///
/// # Errors
/// If standard output cannot be written.
pub(super) fn print(
    format: Option<ReportFormat>,
    results: &[(&Target, &Result<Outcome, Failure>)],
) -> Result<(), Failure> {
    let entries: Vec<Entry<'_>> = results.iter().map(|(target, result)| entry(target, result)).collect();
    match format {
        Some(ReportFormat::Json) => {
            let text = serde_json::to_string_pretty(&entries).map_err(|error| Failure::generic(error.to_string()))?;
            term::print(&text)?;
        }
        Some(ReportFormat::Text) => term::print(&table(&entries))?,
        None => {
            for (_, result) in results {
                if let Err(failure) = result {
                    failure.print("error: ");
                }
            }
            term::say(&summary(&entries));
        }
    }
    Ok(())
}

fn entry<'a>(target: &Target, result: &'a Result<Outcome, Failure>) -> Entry<'a> {
    let file = target.source.name();
    let entry = |result: &str, reason| Entry { file, result: result.to_owned(), reason, hints: &[], status: 0 };
    match result {
        Ok(Outcome::Done(what)) => entry(what, None),
        Ok(Outcome::Would(what)) => entry(&format!("would be {what}"), None),
        Ok(Outcome::Unchanged) => entry("unchanged", None),
        Ok(Outcome::Skipped(why)) => entry("skipped", Some(why)),
        Err(failure) => Entry {
            status: failure.code.number(),
            hints: &failure.hints,
            ..entry("failed", Some(failure.message.as_str()))
        },
    }
}

fn table(entries: &[Entry<'_>]) -> String {
    let width = entries.iter().map(|entry| entry.result.len()).max().unwrap_or_default();
    let mut text = Vec::new();
    for entry in entries {
        // Writing to a vector cannot fail.
        let _ = match entry.reason {
            Some(reason) => writeln!(text, "{:width$}  {}  ({})", entry.result, entry.file, reason.replace('\n', " ")),
            None => writeln!(text, "{:width$}  {}", entry.result, entry.file),
        };
    }
    text.pop();
    String::from_utf8(text).unwrap_or_default()
}

/// `12 encrypted, 3 skipped, 1 failed`
fn summary(entries: &[Entry<'_>]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for entry in entries {
        match counts.iter_mut().find(|(result, _)| *result == entry.result) {
            Some((_, count)) => *count += 1,
            None => counts.push((&entry.result, 1)),
        }
    }
    if counts.is_empty() {
        return "no files".to_owned();
    }
    counts.iter().map(|(result, count)| format!("{count} {result}")).collect::<Vec<_>>().join(", ")
}
