//! The command line of kubeseal 0.36.6: what is written for that tool runs as it is.
//!
//! Its flags are ours of `bulla seal` ([`SealArgs`]). Same are: the flags and their variables (`SEALED_SECRETS_…`), the exit statuses (1
//! for a failure, 2 for wrong flags), what is printed, which file is written when. Different, on purpose:
//!
//! - `--merge-into` changes the new values' bytes and nothing else: the file stays YAML, keeps its comments and its order, and takes
//!   its scope from itself. kubeseal writes it anew, as JSON unless told otherwise, seals for the scope of the input, and panics
//!   on a file without items.
//! - `--re-encrypt` takes the values from the controller's answer and nothing else; kubeseal takes templates and metadata too. In place, the
//!   file's layout stays.
//! - Keys that stand twice, several Secrets for one `--merge-into`, objects that are no Secrets are errors; a `List` of Secrets is taken.
//! - Each failed item of `--recovery-unseal` says why: another scope, an unknown key, damage.
//! - An argument that is no flag is an error; kubeseal ignores it and waits for standard input. An unknown format is found at once, with
//!   status 2.
//! - `--scope strict` is meant; kubeseal takes it for no flag, and lets annotations widen it.
//! - Keys that are no strings are errors, `n` and `on` without quotes among them. Fields' names count as they are written.
//! - `--fetch-cert` prints nothing that is no certificate; of an expired one it says so. RSA keys have 2048 to 8192 bits, values at most
//!   1 MiB. A plain Secret is not written into a file that others can read.
//! - A variable whose value its flag does not take is an error; kubeseal passes over it.
//! - `managedFields` and `generateName` do not go into the template.

use std::ffi::OsString;

use bulla_core::Env;
use clap::{Arg, ArgAction, Args, Command, FromArgMatches};

use crate::app::{App, Personality};
use crate::cli::GlobalArgs;
use crate::command;
use crate::command::seal::SealArgs;
use crate::error::Failure;
use crate::exit::Code;
use crate::{logging, term};

/// What every flag's variable begins with.
const PREFIX: &str = "SEALED_SECRETS_";
/// The version whose command line this is.
const VERSION: &str = "v0.36.6";
/// Ours alone.
const HIDDEN: &[&str] = &[
    "algorithm",
    "from",
    "in_place",
    "keyservice",
    "enable_local_keyservice",
    "decryption_order",
    "key_timeout",
    "controller_token",
];
/// The log's flags of kubeseal, taken and of no effect. `true`: with a value.
const LOG_FLAGS: &[(&str, bool)] = &[
    ("add_dir_header", false),
    ("alsologtostderr", false),
    ("alsologtostderrthreshold", true),
    ("legacy_stderr_threshold_behavior", false),
    ("log_backtrace_at", true),
    ("log_dir", true),
    ("log_file", true),
    ("log_file_max_size", true),
    ("logtostderr", false),
    ("one_output", false),
    ("skip_headers", false),
    ("skip_log_headers", false),
    ("stderrthreshold", true),
    ("vmodule", true),
];

/// Runs a command line of kubeseal.
///
/// # Errors
/// What the command failed with.
pub(crate) fn run(argv: Vec<OsString>) -> Result<Code, Failure> {
    let app = App::new(Personality::Kubeseal, GlobalArgs::default());
    logging::start(&app.global, app.env.as_ref(), logging::Habit::Tool, logging::Asked::default());
    let matches = match with_variables(definition(), app.env.as_ref()).try_get_matches_from(argv) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return Ok(if error.use_stderr() { Code::CouldNotReadInput } else { Code::Success });
        }
    };
    if matches.get_flag("version") {
        // To the letter: scripts compare it.
        term::print(&format!("kubeseal version: {VERSION}"))?;
        return Ok(Code::Success);
    }
    let args = SealArgs::from_arg_matches(&matches).map_err(|error| Failure::generic(error.to_string()))?;
    if let Some(file) = &args.file {
        let what = format!("{} is no flag", file.display());
        return Err(Failure::generic(what).with_hint("the Secret comes from standard input, or from a file with -f"));
    }
    command::seal::run(&app, &args)
}

/// Every flag can be given as a variable. One that is set to nothing counts as not set.
pub(crate) fn with_variables(command: Command, env: &dyn Env) -> Command {
    command.mut_args(|arg| {
        let Some(name) = arg.get_long().map(|long| format!("{PREFIX}{}", long.to_uppercase().replace('-', "_"))) else {
            return arg;
        };
        let is_set = env.var(&name).is_some_and(|value| !value.is_empty());
        if is_set && arg.get_env().is_none() { arg.env(name).hide_env(true).hide_env_values(true) } else { arg }
    })
}

/// The definition that help and completion are made of.
pub(crate) fn definition() -> Command {
    let command = Command::new("kubeseal")
        .about("Seal Secrets so that the cluster's controller alone opens them")
        .after_help("This is bulla under kubeseal's name. Every flag can be given as a variable: SEALED_SECRETS_CERT for --cert.")
        .max_term_width(110)
        .args_override_self(true)
        .arg(Arg::new("version").long("version").action(ArgAction::SetTrue).help("Print which version of kubeseal this acts as"))
        .arg(Arg::new("v").short('v').long("v").num_args(1).hide(true));
    let command = LOG_FLAGS.iter().fold(command, |command, &(name, has_value)| {
        let arg = Arg::new(name).long(name).hide(true);
        command.arg(if has_value { arg.num_args(1) } else { arg.num_args(0..=1).require_equals(true) })
    });
    SealArgs::augment_args(command).mut_args(|arg| {
        if HIDDEN.contains(&arg.get_id().as_str()) || arg.is_positional() { arg.hide(true) } else { arg }
    })
}
