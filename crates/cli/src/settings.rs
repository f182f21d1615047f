//! Where the settings of a command that runs as a service come from: flags, before variables, before the settings file.

use std::ffi::OsString;

use bulla_core::{Env, SecretBytes, file};
use bulla_document::{Document, Kind, Limits, Scalar, Syntax};
use clap::Command;

use crate::error::Failure;

/// The largest settings file.
const LIMITS: Limits = Limits { bytes: 1 << 20, depth: 8, nodes: 10_000 };

/// Gives every flag of the command its variable: `BULLA_`, the command's name and the flag's (`BULLA_OPERATOR_WORKERS`).
pub(crate) fn define(command: Command) -> Command {
    let of = command.get_name().to_owned();
    command.mut_args(|argument| match (argument.get_long(), argument.get_env()) {
        (Some(long), None) if !matches!(long, "help" | "config" | "verbose" | "log-format" | "indent") => {
            let name = variable(&of, long);
            argument.env(name).hide_env(true)
        }
        _ => argument,
    })
}

/// The command line of the command `name`, with what the settings file says and neither a flag nor a variable does.
///
/// # Errors
/// A file that cannot be read, or says what is no flag.
pub(crate) fn with_file(
    definition: &Command,
    of: &str,
    mut argv: Vec<OsString>,
    env: &dyn Env,
) -> Result<Vec<OsString>, Failure> {
    let given: Vec<String> = argv.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let named = given.iter().enumerate().find_map(|(place, argument)| match argument.strip_prefix("--settings") {
        Some("") => given.get(place + 1).cloned(),
        Some(value) => value.strip_prefix('=').map(str::to_owned),
        None => None,
    });
    let Some(path) = named.or_else(|| env.text(&variable(of, "settings"))) else { return Ok(argv) };
    let bad = |what: String| Failure::generic(format!("{path}: {what}"));
    let text = file::read(path.as_ref(), LIMITS.bytes as u64).map_err(|error| bad(error.to_string()))?;
    let Some(command) = definition.find_subcommand(of) else { return Ok(argv) };
    for (name, values) in settings(&text).map_err(bad)? {
        let Some(argument) = command.get_arguments().find(|argument| argument.get_long() == Some(name.as_str())) else {
            return Err(bad(format!("{name} is not a flag of bulla {of}")));
        };
        let by_variable = argument.get_env().and_then(|variable| env.var(&variable.to_string_lossy())).is_some();
        let by_flag =
            given.iter().any(|text| text.strip_prefix("--").and_then(|text| text.split('=').next()) == Some(&name));
        if !by_variable && !by_flag {
            argv.extend(values.iter().map(|value| format!("--{name}={value}").into()));
        }
    }
    Ok(argv)
}

fn variable(of: &str, long: &str) -> String {
    format!("BULLA_{of}_{long}").to_uppercase().replace('-', "_")
}

/// The entries of the file: a mapping of names to texts, numbers, truth values, or lists of them.
fn settings(text: &SecretBytes) -> Result<Vec<(String, Vec<String>)>, String> {
    let is_empty = text
        .expose()
        .split(|&byte| byte == b'\n')
        .all(|line| matches!(line.trim_ascii_start().first(), None | Some(b'#')));
    if is_empty {
        return Ok(Vec::new());
    }
    let document = Document::parse_within(Syntax::Yaml, text.clone(), &LIMITS).map_err(|error| error.to_string())?;
    let Some(&root) = document.roots().first() else { return Ok(Vec::new()) };
    if document.kind(root) != Kind::Map {
        return Err("must be a mapping of flags' names to their values".to_owned());
    }
    let scalar = |id, name: &str| match document.scalar(id) {
        Scalar::Str(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Scalar::Null => Ok(String::new()),
        _ => String::from_utf8(document.source(id).to_vec()).map_err(|_| format!("{name}: is not text")),
    };
    let mut entries = Vec::new();
    for id in document.children(root) {
        let Some(name) = document.key(id) else { continue };
        let values = match document.kind(id) {
            Kind::Scalar => vec![scalar(id, name)?],
            Kind::Seq => {
                let items = document.children(id).filter(|item| document.kind(*item) != Kind::Comment);
                let items: Result<Vec<_>, String> = items.map(|item| scalar(item, name)).collect();
                items?
            }
            _ => return Err(format!("{name}: must be a value or a list of values")),
        };
        entries.push((name.to_owned(), values));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    const COMMAND: &str = "operator";

    fn defined() -> Command {
        Cli::command().mut_subcommand(COMMAND, define)
    }

    fn read(text: &str, argv: &[&str], env: &[(&str, &str)]) -> Result<Vec<String>, Failure> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let mut argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        argv.extend(["--settings".into(), file.path().into()]);
        let env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let before = argv.len();
        let all = with_file(&defined(), COMMAND, argv, &env)?;
        Ok(all.into_iter().skip(before).map(|one| one.into_string().unwrap()).collect())
    }

    #[test]
    fn a_flag_goes_before_a_variable_and_that_before_the_file() {
        let text = "# ours\nworkers: 4\nlisten-addr: ':1'\ngroup: g\nnamespaces: [a, b]\nshare-work: false\n";
        let argv = ["bulla", "operator", "sealing", "--group=other"];
        let added = read(text, &argv, &[("BULLA_OPERATOR_WORKERS", "9")]).unwrap();
        assert_eq!(added, ["--listen-addr=:1", "--namespaces=a", "--namespaces=b", "--share-work=false"]);
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        let failure = read("wokers: 4\n", &["bulla", "operator"], &[]).unwrap_err();
        assert!(failure.message.contains("wokers is not a flag"), "{}", failure.message);
    }

    #[test]
    fn every_flag_has_a_variable() {
        let definition = defined();
        let command = definition.find_subcommand(COMMAND).unwrap();
        let workers = command.get_arguments().find(|argument| argument.get_long() == Some("workers")).unwrap();
        assert_eq!(workers.get_env().unwrap(), "BULLA_OPERATOR_WORKERS");
    }
}
