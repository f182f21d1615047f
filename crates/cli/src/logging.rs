//! Log lines on stderr, if asked for; without being asked, warnings alone.

pub(crate) mod file;

use std::collections::HashSet;
use std::fmt::{Debug, Write};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use bulla_core::Env;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};

use crate::cli::{GlobalArgs, LogFormat};
use crate::env_vars;
use crate::logging::file::LogFile;
use crate::term::{self, Colours};

/// What kind of program it is that logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// One that a person runs: it says what is wrong.
    Tool,
    /// One that runs for weeks: it says what it does, to machines where nobody looks at it.
    Service,
}

/// What a command asks for by means of its own.
#[derive(Default)]
pub(crate) struct Asked {
    /// What is logged.
    pub(crate) filter: Option<String>,
    /// In which form.
    pub(crate) format: Option<LogFormat>,
    /// To which file, too.
    pub(crate) file: Option<LogFile>,
}

/// What a service logs. Whoever sends a request to the API server says himself what came of it; the client's own line is an error
/// that names neither.
const SERVICE: &str = "info,kube_client::client::builder=off";

/// Installs the logger that flags and environment ask for. Without either only the warnings of our own crates are shown, in
/// the form of all other warnings: building a real logger would take longer than many commands do.
///
/// `asked` is what a command asks for by means of its own; the environment goes before it.
pub(crate) fn start(global: &GlobalArgs, env: &dyn Env, habit: Habit, asked: Asked) {
    let filter = match (env.text(env_vars::BULLA_LOG).or(asked.filter), global.verbose, habit) {
        (Some(filter), _, _) => EnvFilter::new(filter),
        (None, true, Habit::Tool) => EnvFilter::new("debug"),
        // A client's own debug lines repeat answers of the API server.
        (None, true, Habit::Service) => EnvFilter::new(format!(
            "{SERVICE},bulla=debug,bulla_kube=debug,bulla_operator=debug,bulla_node=debug,bulla_server=debug,bulla_agent=debug,bulla_kms=debug"
        )),
        (None, false, Habit::Service) => EnvFilter::new(SERVICE),
        (None, false, Habit::Tool) => {
            // There is no other yet.
            let _ = tracing::subscriber::set_global_default(Warnings::default());
            return;
        }
    };
    let filter = without_answers(filter);
    let colours = asked.file.is_none() && Colours::of(&std::io::stderr()) == Colours::On;
    let writer = match asked.file {
        None => BoxMakeWriter::new(std::io::stderr),
        Some(file) => BoxMakeWriter::new(std::io::stderr.and(file)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colours);
    let json = match global.log_format {
        Some(format) => format == LogFormat::Json,
        None => match env.text(env_vars::BULLA_LOG_FORMAT) {
            Some(format) => format == "json",
            None if asked.format.is_some() => asked.format == Some(LogFormat::Json),
            None => habit == Habit::Service && !std::io::stderr().is_terminal(),
        },
    };
    if json {
        builder.json().init();
    } else {
        builder.init();
    }
}

/// A level, as the peer names it, as the filter of a service whose own lines are those of `own`.
pub(crate) fn peer_filter(level: &str, own: &str) -> String {
    let level = match level.to_ascii_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "warn" | "warning" => "warn",
        "err" | "error" => "error",
        _ => "info",
    };
    // What libraries say of each connection is nobody's here.
    if level == "trace" || level == "debug" {
        format!("info,{own}={level},bulla_kms={level}")
    } else {
        level.to_owned()
    }
}

/// The filter, but for a client's lines that repeat whole answers of the API server: of what it cannot read, a list of Secrets perhaps, it
/// warns with all that is in it.
fn without_answers(filter: EnvFilter) -> EnvFilter {
    match "kube_client::client=error".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}

/// Shows each warning once: of many files each says the same about one key.
#[derive(Default)]
struct Warnings(Mutex<HashSet<String>>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("bulla")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(text.0.clone()) {
            term::warn(&text.0);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// An event as a sentence: its message, then its fields.
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => {
                let fields = std::mem::take(&mut self.0);
                write!(self.0, "{value:?}{fields}")
            }
            name => write!(self.0, "; {name}: {value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_api_server_are_in_no_log() {
        for asked in ["info", "trace", "kube_client=trace", "warn,kube_client::client=trace"] {
            let text = without_answers(EnvFilter::new(asked)).to_string();
            assert!(text.contains("kube_client::client=error"), "{text}");
            assert!(!text.contains("kube_client::client=trace"), "{text}");
        }
    }
}
