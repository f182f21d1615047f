//! The commands, a file a group. A command is a row of a table.

mod audit;
mod auth;
mod kv;
mod kv_metadata;
mod lease;
pub(crate) mod login;
mod mounts;
mod operator;
mod policy;
mod rekey;
mod root;
mod secrets;
mod snapshot;
mod status;
mod token;
mod tools;
mod unseal;
mod values;

use std::ffi::OsString;

use crate::context::Context;
use crate::failure::Failure;
use crate::flags::{Flag, Kind, flag};

/// A command.
pub(crate) struct Command {
    /// Its words: `kv get`.
    pub(crate) name: &'static str,
    /// What follows the flags, for the help.
    pub(crate) usage: &'static str,
    /// What it does, in one line.
    pub(crate) about: &'static str,
    /// Which flags of output it has.
    pub(crate) output: Output,
    /// Its own flags.
    pub(crate) flags: &'static [Flag],
    /// How many words follow the flags: at least, at most.
    pub(crate) words: (usize, Option<usize>),
    pub(crate) run: fn(&Context<'_>) -> Result<u8, Failure>,
}

/// Which flags of output a command has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    None,
    Format,
    FieldAndFormat,
}

/// All commands.
pub(crate) const COMMANDS: &[&[Command]] = &[
    values::COMMANDS,
    login::COMMANDS,
    status::COMMANDS,
    kv::COMMANDS,
    kv_metadata::COMMANDS,
    token::COMMANDS,
    lease::COMMANDS,
    policy::COMMANDS,
    auth::COMMANDS,
    secrets::COMMANDS,
    audit::COMMANDS,
    operator::COMMANDS,
    unseal::COMMANDS,
    root::COMMANDS,
    rekey::COMMANDS,
    snapshot::COMMANDS,
    tools::COMMANDS,
];

/// Flags of every command that asks a server.
pub(crate) const HTTP: &[Flag] = &[
    flag("address", Kind::Text, "The server's address (VAULT_ADDR; https://127.0.0.1:8200 if not set)"),
    flag("agent-address", Kind::Text, "The address of an agent to ask instead (VAULT_AGENT_ADDR)"),
    flag("ca-cert", Kind::Text, "A PEM file of authorities to trust (VAULT_CACERT)"),
    flag("ca-path", Kind::Text, "A folder of such files (VAULT_CAPATH)"),
    flag("client-cert", Kind::Text, "A PEM file with our certificate (VAULT_CLIENT_CERT)"),
    flag("client-key", Kind::Text, "A PEM file with its key (VAULT_CLIENT_KEY)"),
    flag("disable-redirects", Kind::Switch, "Follow no redirect (VAULT_DISABLE_REDIRECTS)"),
    flag("header", Kind::Pairs, "A header to send, as often as needed"),
    flag("log-level", Kind::Text, ""),
    flag("mfa", Kind::Texts, "Credentials of a second factor (VAULT_MFA)"),
    flag("namespace", Kind::Text, "The namespace, also -ns (VAULT_NAMESPACE)"),
    flag("non-interactive", Kind::Switch, "Ask for nothing on the terminal"),
    flag("output-curl-string", Kind::Switch, "Send nothing; print the request as a line for curl"),
    flag("output-policy", Kind::Switch, "Send nothing; print the policy that the request needs"),
    flag("policy-override", Kind::Switch, "Override a policy that is soft-mandatory"),
    flag("tls-server-name", Kind::Text, "The name in the server's certificate (VAULT_TLS_SERVER_NAME)"),
    flag("tls-skip-verify", Kind::Switch, "Believe any certificate (VAULT_SKIP_VERIFY)"),
    flag("wrap-ttl", Kind::Time, "Wrap the answer for this long (VAULT_WRAP_TTL)"),
];

const FIELD: &[Flag] = &[flag("field", Kind::Text, "Print this field alone")];
const FORMAT: &[Flag] = &[flag("format", Kind::Text, "table, json, yaml; for read also raw (VAULT_FORMAT)")];

impl Command {
    /// All flags of the command.
    pub(crate) fn known_flags(&self) -> Vec<&'static [Flag]> {
        let http: &[Flag] = if self.name == "print token" { &[] } else { HTTP };
        match self.output {
            Output::None => vec![http, self.flags],
            Output::Format => vec![http, FORMAT, self.flags],
            Output::FieldAndFormat => vec![http, FIELD, FORMAT, self.flags],
        }
    }
}

/// All commands in one row.
pub(crate) fn all() -> impl Iterator<Item = &'static Command> {
    COMMANDS.iter().copied().flatten()
}

/// The command that a line begins with, and what follows it.
pub(crate) fn find(arguments: &[OsString]) -> Option<(&'static Command, &[OsString])> {
    let fits = |command: &&Command| {
        let mut words = arguments.iter();
        command.name.split(' ').all(|word| words.next().is_some_and(|given| given == word))
    };
    let command = all().filter(fits).max_by_key(|command| command.name.len())?;
    Some((command, arguments.get(command.name.split(' ').count()..).unwrap_or_default()))
}

/// The longest beginning of a line that some commands have in common: `kv metadata`.
pub(crate) fn group(words: &[&str]) -> String {
    let mut name = String::new();
    for word in words {
        let longer = if name.is_empty() { (*word).to_owned() } else { format!("{name} {word}") };
        if !all().any(|command| command.name.strip_prefix(&longer).is_some_and(|rest| rest.starts_with(' '))) {
            break;
        }
        name = longer;
    }
    name
}
