//! Log lines on stderr: warnings, and more if asked for.

use std::fmt;

use bulla_core::Env;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::{GlobalArgs, LogFormat};
use crate::env_vars;

/// Installs the logger that flags and environment ask for. Without either, one that shows our own warnings as the rest of
/// the program does: that a key file can be read by others, that a key waits for a touch.
pub(crate) fn start(global: &GlobalArgs, env: &dyn Env) {
    let filter = match (env.text(env_vars::BULLA_LOG), global.verbose) {
        (Some(filter), _) => EnvFilter::new(filter),
        (None, true) => EnvFilter::new("debug"),
        (None, false) => {
            let warnings = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN);
            warnings.with_writer(std::io::stderr).event_format(Plain).init();
            return;
        }
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let json = match global.log_format {
        Some(format) => format == LogFormat::Json,
        None => env.text(env_vars::BULLA_LOG_FORMAT).is_some_and(|format| format == "json"),
    };
    if json {
        builder.json().init();
    } else {
        builder.init();
    }
}

/// `warning: WHAT`, for what our own crates say.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if !event.metadata().target().starts_with("bulla") {
            return Ok(());
        }
        writer.write_str("warning: ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
