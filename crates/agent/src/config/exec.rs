//! `exec`: a program that is run with the variables of `env_template`.

use bulla_core::hcl::Body;
use rustix::process::Signal;

use super::fields::Fields;
use super::template::TemplateConfig;

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecConfig {
    /// The program and its arguments; one word alone is a line for a shell.
    pub command: Vec<String>,
    /// What happens when a variable changes.
    pub restart: Restart,
    /// What the program is told to end with.
    pub stop_signal: Signal,
}

/// What happens to a program when a variable changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It is started again.
    Always,
    /// Nothing.
    Never,
}

pub(super) fn read(body: &Body) -> Result<ExecConfig, String> {
    let mut fields = Fields::new("exec", body);
    let command = fields.texts("command")?.unwrap_or_default();
    let restart = match fields.text("restart_on_secret_changes")?.as_deref() {
        None | Some("" | "always") => Restart::Always,
        Some("never") => Restart::Never,
        Some(other) => return Err(format!("'exec.restart_on_secret_changes' unexpected value: {other:?}")),
    };
    let stop_signal = match fields.text("restart_stop_signal")?.filter(|name| !name.is_empty()) {
        None => Signal::TERM,
        Some(name) => signal(&name).ok_or_else(|| fields.wrong(format_args!("there is no signal {name:?}")))?,
    };
    fields.refuse_unknown().map_err(|why| format!("error parsing 'exec': {why}"))?;
    Ok(ExecConfig { command, restart, stop_signal })
}

/// Whether what stands beside each other makes sense together.
pub(super) fn check(
    exec: Option<&ExecConfig>,
    variables: &[(String, TemplateConfig)],
    has_proxy: bool,
    has_templates: bool,
) -> Result<(), String> {
    let Some(exec) = exec else {
        return if variables.is_empty() {
            Ok(())
        } else {
            Err("a top-level 'exec' element must be specified with 'env_template' entries".to_owned())
        };
    };
    let why = if variables.is_empty() {
        "must specify at least one 'env_template' element with a top-level 'exec' element"
    } else if has_proxy {
        "'api_proxy' cannot be specified with 'env_template' entries"
    } else if has_templates {
        "'template' cannot be specified with 'env_template' entries"
    } else if exec.command.iter().all(String::is_empty) {
        "'exec' requires a non-empty 'command' field"
    } else {
        return Ok(());
    };
    Err(why.to_owned())
}

fn signal(name: &str) -> Option<Signal> {
    let name = name.to_ascii_uppercase();
    Some(match name.strip_prefix("SIG").unwrap_or(&name) {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "ABRT" => Signal::ABORT,
        "KILL" => Signal::KILL,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "ALRM" => Signal::ALARM,
        "TERM" => Signal::TERM,
        "CONT" => Signal::CONT,
        "STOP" => Signal::STOP,
        "WINCH" => Signal::WINCH,
        _ => return None,
    })
}
