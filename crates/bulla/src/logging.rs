//! Log lines on stderr, quiet unless asked for.

use bulla_core::Env;
use tracing_subscriber::EnvFilter;

use crate::cli::{GlobalArgs, LogFormat};
use crate::env_vars;

/// Installs the logger that flags and environment ask for. Without either nothing is installed, and nothing logged.
pub(crate) fn start(global: &GlobalArgs, env: &dyn Env) {
    let filter = match (env.text(env_vars::BULLA_LOG), global.verbose) {
        (Some(filter), _) => EnvFilter::new(filter),
        (None, true) => EnvFilter::new("debug"),
        (None, false) => return,
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
