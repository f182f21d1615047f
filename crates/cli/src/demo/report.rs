//! The outcome of the journey: a table of what was found where.

use std::fmt::Write;
use std::path::Path;

use crate::demo::look::{Look, Place};
use crate::demo::narrator::Talk;
use crate::error::Failure;
use crate::output;

/// What must be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing anywhere.
    Nothing,
    /// Something in each of these places, and nothing in others.
    Found(Vec<Place>),
}

impl Expected {
    fn allows(&self, place: Place) -> bool {
        match self {
            Self::Nothing => false,
            Self::Found(places) => places.contains(&place),
        }
    }
}

/// One way to run the application, and what was seen.
pub(super) struct Run {
    /// Its name.
    pub(super) name: &'static str,
    /// What was seen, place by place.
    pub(super) looks: Vec<Look>,
    /// What should have been.
    pub(super) expected: Expected,
}

impl Run {
    /// Whether secrets were where they are known to be, and nowhere else.
    pub(super) fn is_as_expected(&self) -> bool {
        self.looks.iter().all(|look| self.expected.allows(look.place) != look.found.is_empty())
    }
}

/// Prints the table with `notes` below it, or all of it as JSON, which says which folder was `kept`.
///
/// # Errors
/// If stdout cannot be written.
pub(super) fn print(talk: Talk, runs: &[Run], notes: &str, kept: Option<&Path>) -> Result<(), Failure> {
    let text = match talk {
        Talk::Steps => table(runs, notes),
        Talk::Json => format!("{:#}\n", json(runs, kept)),
    };
    output::print(text.as_bytes())
}

fn table(runs: &[Run], notes: &str) -> String {
    let mut out = String::from("\n3. What was found where\n\n");
    let mut header = format!("{:<20}", "");
    for run in runs {
        let _ = write!(header, " | {:<30}", run.name);
    }
    let _ = writeln!(out, "{header}\n{}", "-".repeat(header.len()));
    for place in runs.iter().take(1).flat_map(|run| &run.looks).map(|look| look.place) {
        let _ = write!(out, "{:<20}", place.name());
        for run in runs {
            let look = run.looks.iter().find(|look| look.place == place);
            let cell = look.map_or_else(String::new, |look| match look.found.len() {
                0 => format!("nothing ({})", look.looked),
                count => format!("FOUND {count} times"),
            });
            let _ = write!(out, " | {cell:<30}");
        }
        out.push('\n');
    }
    out.push('\n');
    for run in runs {
        for look in run.looks.iter().filter(|look| !look.found.is_empty()) {
            let verdict = if run.expected.allows(look.place) { "" } else { "  <- MUST NOT BE" };
            let found: Vec<&str> = look.found.iter().map(String::as_str).collect();
            let _ = writeln!(out, "{}, {}: {}{verdict}", run.name, look.place.name(), shorten(&found));
        }
    }
    for run in runs.iter().filter(|run| !run.is_as_expected()) {
        for look in run.looks.iter().filter(|look| run.expected.allows(look.place) && look.found.is_empty()) {
            let _ = writeln!(
                out,
                "{}, {}: nothing found, although it is there: the look does not work on this machine",
                run.name,
                look.place.name()
            );
        }
    }
    out.push_str(notes);
    out
}

fn shorten(found: &[&str]) -> String {
    const SHOWN: usize = 4;
    let mut text = found.iter().take(SHOWN).copied().collect::<Vec<_>>().join("; ");
    if found.len() > SHOWN {
        let _ = write!(text, "; and {} more", found.len() - SHOWN);
    }
    text
}

fn json(runs: &[Run], kept: Option<&Path>) -> serde_json::Value {
    let runs_json: Vec<_> = runs
        .iter()
        .map(|run| {
            let places: Vec<_> = run
                .looks
                .iter()
                .map(|look| {
                    serde_json::json!({
                        "place": look.place.id(),
                        "looked_at": look.looked,
                        "found": look.found,
                        "expected": run.expected.allows(look.place),
                    })
                })
                .collect();
            serde_json::json!({"name": run.name, "as_expected": run.is_as_expected(), "places": places})
        })
        .collect();
    serde_json::json!({
        "ok": runs.iter().all(Run::is_as_expected),
        "folder": kept.map(|path| path.to_string_lossy()),
        "runs": runs_json,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn run(expected: Expected, found_in: &[Place]) -> Run {
        let places = [Place::Git, Place::Disk, Place::Environment, Place::CommandLine];
        let looks = places.map(|place| {
            let found = found_in.contains(&place).then(|| "X in y".to_owned()).into_iter().collect::<BTreeSet<_>>();
            Look { place, looked: "1 thing".into(), found }
        });
        Run { name: "x", looks: looks.into(), expected }
    }

    #[test]
    fn a_secret_where_it_must_not_be_and_a_blind_look_are_both_failures() {
        assert!(run(Expected::Nothing, &[]).is_as_expected());
        assert!(!run(Expected::Nothing, &[Place::Disk]).is_as_expected());
        let environment = Expected::Found(vec![Place::Environment]);
        assert!(run(environment.clone(), &[Place::Environment]).is_as_expected());
        assert!(!run(environment.clone(), &[]).is_as_expected());
        assert!(!run(environment, &[Place::Environment, Place::Git]).is_as_expected());
    }
}
