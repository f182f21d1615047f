//! The command line, declared once: parsing, help, man pages and completions come from here.

use std::ffi::OsString;
use std::path::Path;

use bulla_core::env::ProcessEnv;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::app::{App, Personality};
use crate::error::Failure;
use crate::exit::Code;
use crate::logging::Habit;
use crate::sops_cli::{self, Request};
use crate::{command, env_vars, kubeseal_cli, logging, settings};

const AFTER_HELP: &str = "\
Files are those of sops: each program reads what the other writes. Started under the
name \"sops\", \"kubeseal\", \"vault\" or \"bao\" (a link), bulla takes that tool's command line.";

/// Secrets that are plaintext only in the memory of the process that needs them
#[derive(Parser, Debug)]
#[command(name = "bulla", version, after_help = AFTER_HELP, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command has.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Use this configuration instead of the .sops.yaml above the file
    #[arg(long, global = true, value_name = "FILE", env = env_vars::SOPS_CONFIG, hide_env_values = true, value_parser = clap::value_parser!(OsString))]
    config: Option<OsString>,

    /// Indent converted YAML and JSON by this many spaces
    #[arg(long, global = true, value_name = "N", hide = true)]
    pub(crate) indent: Option<u8>,

    /// Log what is done, on stderr
    #[arg(long, global = true)]
    pub(crate) verbose: bool,

    #[arg(
        long,
        global = true,
        hide_possible_values = true,
        help = "How log lines are written: text or json (BULLA_LOG_FORMAT; BULLA_LOG says which)",
        value_name = "FORMAT"
    )]
    pub(crate) log_format: Option<LogFormat>,
}

impl GlobalArgs {
    /// The configuration to use, if one is named.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref().filter(|path| !path.is_empty()).map(Path::new)
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Encrypt files
    #[command(after_help = command::encrypt::EXAMPLES)]
    Encrypt(Box<command::encrypt::EncryptArgs>),
    /// Decrypt files
    #[command(after_help = command::decrypt::EXAMPLES)]
    Decrypt(Box<command::decrypt::DecryptArgs>),
    /// Edit an encrypted file in your editor
    #[command(after_help = command::edit::EXAMPLES)]
    Edit(Box<command::edit::EditArgs>),
    /// Set one value of an encrypted file
    #[command(after_help = command::set::EXAMPLES)]
    Set(Box<command::set::SetArgs>),
    /// Remove one value of an encrypted file
    #[command(after_help = command::unset::EXAMPLES)]
    Unset(Box<command::unset::UnsetArgs>),
    /// Give files a new data key; add and remove keys
    #[command(after_help = command::rotate::EXAMPLES)]
    Rotate(Box<command::rotate::RotateArgs>),
    /// Give files the keys that .sops.yaml names for them
    #[command(after_help = command::updatekeys::EXAMPLES)]
    Updatekeys(Box<command::updatekeys::UpdatekeysArgs>),
    /// Add or delete key groups of an encrypted file
    #[command(after_help = command::groups::EXAMPLES)]
    Groups(Box<command::groups::GroupsArgs>),
    /// Say whether files are encrypted
    #[command(after_help = command::filestatus::EXAMPLES)]
    Filestatus(command::filestatus::FilestatusArgs),
    /// Serve this machine's keys to other processes
    #[command(after_help = command::keyservice::EXAMPLES)]
    Keyservice(command::keyservice::KeyserviceArgs),
    /// Run the controllers of a cluster
    #[command(after_help = command::operator::EXAMPLES)]
    Operator(Box<command::operator::OperatorArgs>),
    /// Run the node service: secrets as files in memory, for the pods of a node
    #[command(after_help = command::node::EXAMPLES)]
    Node(Box<command::node::NodeArgs>),
    /// Serve what is built into the node service to another driver of the node
    #[command(after_help = command::provider::EXAMPLES)]
    Provider(Box<command::provider::ServedArgs>),
    /// Serve Vault's HTTP API
    #[command(after_help = command::server::EXAMPLES)]
    Server(command::server::ServerArgs),
    /// Log in to a server of Vault's API, keep the token alive, and render secrets to files
    #[command(after_help = command::agent::EXAMPLES)]
    Agent(command::agent::AgentArgs),
    /// Print a script that completes this command line in a shell
    #[command(after_help = command::completion::EXAMPLES)]
    Completion(command::completion::CompletionArgs),
    /// Print a page of the manual
    #[command(hide = true)]
    Man(command::man::ManArgs),
    /// Comes with a later version
    #[command(hide = true)]
    Publish(command::publish::PublishArgs),
    /// Run a program with a file's decrypted entries in its environment
    #[command(after_help = command::exec_env::EXAMPLES)]
    ExecEnv(Box<command::exec_env::ExecEnvArgs>),
    /// Run a program that reads a decrypted file, which never touches the disk
    #[command(after_help = command::exec_file::EXAMPLES)]
    ExecFile(Box<command::exec_file::ExecFileArgs>),
    /// Run a program with the files of mounted volumes in its environment
    #[command(after_help = command::env::EXAMPLES)]
    Env(Box<command::env::EnvArgs>),
    /// Diff and merge encrypted files in Git, and keep plain secrets out of it
    #[command(after_help = command::git::EXAMPLES)]
    Git(Box<command::git::GitArgs>),
    /// Show what changed in an encrypted file, by key
    #[command(after_help = command::diff::EXAMPLES)]
    Diff(Box<command::diff::DiffArgs>),
    /// Check .sops.yaml, and whether files are encrypted as it says
    #[command(after_help = command::check::EXAMPLES)]
    Check(command::check::CheckArgs),
    /// The keys that a cluster's SealedSecrets are sealed to: list, back up, restore, renew, take over
    #[command(after_help = command::sealing_keys::EXAMPLES)]
    SealingKeys(Box<command::sealing_keys::SealingKeysArgs>),
    /// Make a new age key to encrypt to
    #[command(after_help = command::keygen::EXAMPLES)]
    Keygen(command::keygen::KeygenArgs),
    /// Seal Secrets so that the cluster's controller alone opens them
    #[command(after_help = command::seal::EXAMPLES)]
    Seal(Box<command::seal::SealArgs>),
    /// See it work: encrypt a real application's secrets, run it, and look where they could leak
    #[command(after_help = command::demo::EXAMPLES)]
    Demo(command::demo::DemoArgs),
    /// Print which version this is
    Version(command::version::VersionArgs),
}

/// Parses the command line and runs the command.
///
/// # Errors
/// What the command failed with.
pub(crate) fn run(personality: Personality, argv: Vec<OsString>) -> Result<Code, Failure> {
    if personality == Personality::Kubeseal {
        return kubeseal_cli::run(argv);
    }
    // Never dropped: taking the definition apart again would cost as much as making it did, and there is one.
    let definition = Box::leak(Box::new(Cli::command()));
    let env = ProcessEnv;
    let argv = match personality {
        Personality::Bulla | Personality::Kubeseal => {
            let argv = command::operator::peer_arguments(&argv, &env).unwrap_or(argv);
            // Each of these has a variable for every flag; the others need not pay for that.
            match command_name(&argv).and_then(|name| name.to_str()) {
                Some("seal") => {
                    change(definition, "seal", |seal| kubeseal_cli::with_variables(seal, &env));
                    argv
                }
                Some(service @ ("operator" | "node" | "provider")) => {
                    let service = service.to_owned();
                    change(definition, &service, settings::define);
                    settings::with_file(definition, &service, argv, &env)?
                }
                Some(peer @ ("server" | "agent")) => {
                    let peer = peer.to_owned();
                    set_apart(argv, &peer)
                }
                _ => argv,
            }
        }
        Personality::Sops => match sops_cli::read(definition, &argv)? {
            Request::Run(argv) => argv,
            Request::Answered(code) => return Ok(code),
        },
    };
    let parsed = definition.try_get_matches_from_mut(argv).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are "errors" that go to stdout with status 0. A closed stream changes nothing.
            let _ = error.print();
            return Ok(if error.use_stderr() { Code::Generic } else { Code::Success });
        }
    };
    let app = App::new(personality, cli.global);
    let habit = match &cli.command {
        // Their configuration says what is logged: they begin that themselves, once they have read it.
        Command::Agent(_) | Command::Server(_) => None,
        Command::Operator(_) | Command::Node(_) | Command::Provider(_) => Some(Habit::Service),
        _ => Some(Habit::Tool),
    };
    if let Some(habit) = habit {
        logging::start(&app.global, app.env.as_ref(), habit, logging::Asked::default());
    }
    dispatch(&app, cli.command)
}

/// The word of a command line that names the command: the first that is neither a flag nor a global flag's value.
fn command_name(argv: &[OsString]) -> Option<&OsString> {
    let mut words = argv.iter().skip(1);
    while let Some(word) = words.next() {
        if ["--config", "--indent", "--log-format"].iter().any(|flag| word == flag) {
            words.next();
        } else if !word.as_encoded_bytes().starts_with(b"-") {
            return Some(word);
        }
    }
    None
}

/// `bulla server -dev` with what tells the parser that the peer's flags follow, which have one dash and are not ours.
fn set_apart(mut argv: Vec<OsString>, command: &str) -> Vec<OsString> {
    if let Some(at) = argv.iter().position(|word| word == command)
        && argv.get(at + 1).is_some_and(|word| word != "--" && word != "--help")
    {
        argv.insert(at + 1, OsString::from("--"));
    }
    argv
}

fn change(definition: &mut clap::Command, name: &str, with: impl FnOnce(clap::Command) -> clap::Command) {
    if let Some(command) = definition.find_subcommand_mut(name) {
        *command = with(std::mem::take(command));
    }
}

fn dispatch(app: &App, command: Command) -> Result<Code, Failure> {
    match command {
        Command::Encrypt(args) => command::encrypt::run(app, &args),
        Command::Decrypt(args) => command::decrypt::run(app, &args),
        Command::Edit(args) => command::edit::run(app, &args),
        Command::Set(args) => command::set::run(app, &args),
        Command::Unset(args) => command::unset::run(app, &args),
        Command::Rotate(args) => command::rotate::run(app, &args),
        Command::Updatekeys(args) => command::updatekeys::run(app, &args),
        Command::Groups(args) => command::groups::run(app, &args),
        Command::Filestatus(args) => command::filestatus::run(app, &args),
        Command::Keyservice(args) => command::keyservice::run(app, &args),
        Command::Operator(args) => command::operator::run(app, &args),
        Command::Node(args) => command::node::run(app, &args),
        Command::Provider(args) => command::provider::run(app, &args),
        Command::Server(args) => command::server::run(app, &args),
        Command::Agent(args) => command::agent::run(app, &args),
        Command::Completion(args) => command::completion::run(app, &args),
        Command::Man(args) => command::man::run(app, &args),
        Command::Publish(args) => command::publish::run(app, &args),
        Command::ExecEnv(args) => command::exec_env::run(app, *args),
        Command::Env(args) => command::env::run(app, *args),
        Command::Git(args) => command::git::run(app, *args),
        Command::Diff(args) => command::diff::run(app, &args),
        Command::Check(args) => command::check::run(app, &args),
        Command::SealingKeys(args) => command::sealing_keys::run(app, &args),
        Command::Keygen(args) => command::keygen::run(app, &args),
        Command::Seal(args) => command::seal::run(app, &args),
        Command::Demo(args) => command::demo::run(app, &args),
        Command::ExecFile(args) => command::exec_file::run(app, *args),
        Command::Version(args) => command::version::run(app, &args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_global_flag_before_the_command_hides_it_not() {
        let name = |line: &str| {
            let argv: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            command_name(&argv).map(|name| name.to_str().unwrap().to_owned())
        };
        assert_eq!(name("bulla --log-format json --verbose --indent 2 operator sealing").as_deref(), Some("operator"));
        assert_eq!(name("bulla --log-format=json seal --scope strict").as_deref(), Some("seal"));
        assert_eq!(name("bulla --version"), None);
        // Every global flag with a value is known to it.
        let definition = Cli::command();
        let with_value = |arg: &&clap::Arg| arg.is_global_set() && arg.get_action().takes_values();
        for flag in definition.get_arguments().filter(with_value).filter_map(clap::Arg::get_long) {
            assert_eq!(name(&format!("bulla --{flag} x seal")).as_deref(), Some("seal"), "{flag}");
        }
    }
}
