//! How it is logged: `log_level`, `log_format`, `log_file` and when that begins anew.

use std::path::PathBuf;
use std::time::Duration;

use super::fields::Fields;

/// How it is logged. What flags say goes before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogConfig {
    /// What is logged at least: `trace`, `debug`, `info`, `warn`, `error`.
    pub level: Option<String>,
    /// In which form.
    pub format: Option<LogFormat>,
    /// A file to which it is logged, too.
    pub file: Option<PathBuf>,
    /// After how many bytes that begins anew.
    pub rotate_bytes: Option<u64>,
    /// After how long.
    pub rotate_duration: Option<Duration>,
    /// How many older ones are kept; all, if it is 0, and none, if it is less.
    pub rotate_max_files: Option<i64>,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Standard,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Reads the peer's names; nothing, if it is none.
    ///
    /// # Errors
    /// Another name.
    pub fn read(text: &str) -> Result<Option<Self>, String> {
        match text.trim().to_lowercase().as_str() {
            "" => Ok(None),
            "standard" => Ok(Some(Self::Standard)),
            "json" => Ok(Some(Self::Json)),
            _ => Err(format!("unknown log format: {text}")),
        }
    }
}

impl LogConfig {
    /// Reads what stands at the top of a file; it goes before what is there.
    pub(super) fn add(&mut self, root: &mut Fields<'_>) -> Result<(), String> {
        if let Some(level) = root.text("log_level")?.filter(|level| !level.is_empty()) {
            self.level = Some(check_level(level)?);
        }
        if let Some(format) = root.text("log_format")? {
            self.format = LogFormat::read(&format)?.or(self.format);
        }
        self.file = root.text("log_file")?.filter(|path| !path.is_empty()).map(PathBuf::from).or(self.file.take());
        let bytes = root.number("log_rotate_bytes")?.and_then(|bytes| u64::try_from(bytes).ok());
        self.rotate_bytes = bytes.filter(|bytes| *bytes > 0).or(self.rotate_bytes);
        let duration = root.duration("log_rotate_duration")?.filter(|duration| !duration.is_zero());
        self.rotate_duration = duration.or(self.rotate_duration);
        self.rotate_max_files = root.number("log_rotate_max_files")?.or(self.rotate_max_files);
        Ok(())
    }
}

/// The peer ends at once with a level that there is not.
///
/// # Errors
/// For such a one.
pub fn check_level(level: String) -> Result<String, String> {
    match level.trim().to_lowercase().as_str() {
        "trace" | "debug" | "notice" | "info" | "warn" | "warning" | "err" | "error" => Ok(level),
        _ => Err(format!("unknown log level: {level}")),
    }
}
