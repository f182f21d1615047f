//! `template` and `env_template`.

use std::path::PathBuf;
use std::time::Duration;

use bulla_core::hcl::Body;

use super::fields::{Fields, labelled};

/// A template, and what becomes of it.
#[derive(Clone, Debug)]
pub struct TemplateConfig {
    /// Its text.
    pub source: TemplateSource,
    /// The file to render to; a variable has none.
    pub destination: PathBuf,
    /// The file's mode; without one it keeps its own, or gets 0644.
    pub perms: Option<u32>,
    /// Its owner, by name or number.
    pub user: Option<String>,
    /// Its group, by name or number.
    pub group: Option<String>,
    /// Whether folders above the file are made.
    pub create_dest_dirs: bool,
    /// Whether the file before is kept beside it, as `.bak`.
    pub backup: bool,
    /// What starts and ends an action.
    pub delimiters: (String, String),
    /// Whether a key that is not there is an error.
    pub error_on_missing_key: bool,
    /// What a failure is, where failures end the agent.
    pub failure: FailureMeans,
    /// What runs when the file has changed.
    pub command: Option<CommandLine>,
    /// The folder that `file` may read from; without one it may read all.
    pub sandbox: Option<PathBuf>,
    /// Functions that it may not call.
    pub denied: Vec<String>,
}

/// What a template's failure is, where failures end the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureMeans {
    /// The end.
    TheEnd,
    /// Nothing for the others: it is tried again.
    Waiting,
}

/// A template's text.
#[derive(Clone, PartialEq, Eq)]
pub enum TemplateSource {
    /// In the configuration.
    Contents(String),
    /// In a file, read at the start.
    File(PathBuf),
}

/// A text may hold what people put into it.
impl std::fmt::Debug for TemplateSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Contents(text) => write!(f, "Contents({} bytes)", text.len()),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The program and its arguments; one word alone is a line for a shell.
    pub words: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
}

const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn read_all(body: &Body, notes: &mut Vec<String>) -> Result<Vec<TemplateConfig>, String> {
    let mut all = Vec::new();
    for block in labelled(body, "template")? {
        if let Some(label) = block.label {
            return Err(format!("error parsing 'template': it has no name, but is called {label:?}"));
        }
        let mut fields = Fields::new("template", &block.body);
        let mut template = common(&mut fields)?;
        template.destination = fields.needed("destination").map(PathBuf::from)?;
        template.perms = fields.mode("perms")?;
        let number = |id: Option<i64>| id.filter(|id| *id >= 0).map(|id| id.to_string());
        template.user = fields.text("user")?.or(number(fields.number("uid")?));
        template.group = fields.text("group")?.or(number(fields.number("gid")?));
        template.create_dest_dirs = fields.truth("create_dest_dirs")?.unwrap_or(true);
        template.backup = fields.truth("backup")?.unwrap_or(false);
        template.command = command(&mut fields, notes)?;
        template.sandbox = fields.text("sandbox_path")?.filter(|path| !path.is_empty()).map(PathBuf::from);
        if fields.text("wait").is_err() || block.body.value("wait").is_some() {
            notes.push("template: wait has no effect: what changes together is rendered together".to_owned());
        }
        fields.refuse_unknown().map_err(|why| format!("error parsing 'template': {why}"))?;
        all.push(template);
    }
    Ok(all)
}

pub(super) fn read_variables(body: &Body) -> Result<Vec<(String, TemplateConfig)>, String> {
    /// What makes sense for files alone.
    const OF_FILES: &[&str] = &[
        "backup",
        "command",
        "command_timeout",
        "create_dest_dirs",
        "destination",
        "exec",
        "perms",
        "user",
        "uid",
        "group",
        "gid",
        "wait",
        "sandbox_path",
    ];
    let mut all: Vec<(String, TemplateConfig)> = Vec::new();
    for block in labelled(body, "env_template")? {
        let name = block.label.ok_or("env_template: an environment variable name is required")?;
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err("env_template: an environment variable name is required".to_owned());
        }
        let mut fields = Fields::new(format!("env_template[{name}]"), &block.body);
        if let Some(found) = fields.unknown().iter().find(|found| OF_FILES.contains(&found.as_str())) {
            return Err(fields.wrong(format_args!("'{found}' is not allowed")));
        }
        let template = common(&mut fields)?;
        fields.refuse_unknown()?;
        if all.iter().any(|(other, _)| *other == name) {
            return Err(format!("env_template: duplicate environment variable name: {name:?}"));
        }
        all.push((name, template));
    }
    Ok(all)
}

/// What both have.
fn common(fields: &mut Fields<'_>) -> Result<TemplateConfig, String> {
    let source = match (fields.text("source")?.filter(|path| !path.is_empty()), fields.text("contents")?) {
        (None, Some(text)) => TemplateSource::Contents(text),
        (Some(path), None) => TemplateSource::File(path.into()),
        (None, None) => return Err(fields.wrong("either 'contents' or 'source' must be specified")),
        (Some(_), Some(_)) => return Err(fields.wrong("'contents' and 'source' cannot be specified together")),
    };
    let delimiter = |text: Option<String>, default: &str| {
        text.filter(|text| !text.is_empty()).unwrap_or_else(|| default.to_owned())
    };
    let mut denied = fields.texts("function_denylist")?.unwrap_or_default();
    denied.extend(fields.texts("function_blacklist")?.unwrap_or_default());
    Ok(TemplateConfig {
        source,
        destination: PathBuf::new(),
        perms: None,
        user: None,
        group: None,
        create_dest_dirs: true,
        backup: false,
        delimiters: (delimiter(fields.text("left_delimiter")?, "{{"), delimiter(fields.text("right_delimiter")?, "}}")),
        error_on_missing_key: fields.truth("error_on_missing_key")?.unwrap_or(false),
        failure: match fields.truth("error_fatal")? {
            Some(false) => FailureMeans::Waiting,
            _ => FailureMeans::TheEnd,
        },
        command: None,
        sandbox: None,
        denied,
    })
}

/// `command` with `command_timeout`, or the block `exec`, which goes before them.
fn command(fields: &mut Fields<'_>, notes: &mut Vec<String>) -> Result<Option<CommandLine>, String> {
    let not_empty = |words: &Vec<String>| words.iter().any(|word| !word.is_empty());
    let words = fields.texts("command")?.filter(not_empty);
    let timeout = fields.duration("command_timeout")?;
    let mut command = words.map(|words| CommandLine { words, timeout: timeout.unwrap_or(TIMEOUT) });
    if let Some(block) = fields.block("exec")? {
        let mut exec = Fields::new("template.exec", &block);
        let timeout = exec.duration("timeout")?;
        if let Some(words) = exec.texts("command")?.filter(not_empty) {
            command = Some(CommandLine { words, timeout: timeout.unwrap_or(TIMEOUT) });
        }
        if exec.truth("enabled")? == Some(false) {
            command = None;
        }
        exec.note_unknown(notes);
    }
    Ok(command)
}
