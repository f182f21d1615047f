//! `sealing-keys`: the keys that a cluster's values are sealed to.

mod adopt;
mod backup;
mod init_shares;
mod list;
mod renew;
mod retire;
mod rewrap;
mod serve;
pub(crate) mod unseal;

use clap::{Args, Subcommand, ValueEnum};

use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla sealing-keys list                          which keys there are, and who opens them
  bulla sealing-keys backup --to age1… > keys.json one file that brings them back
  bulla sealing-keys restore keys.json             into an empty cluster
  bulla sealing-keys adopt --key-service arn:aws:kms:… --delete-plain
                                                   take over the plain keys of sealed-secrets";

/// Arguments of `sealing-keys`.
#[derive(Args, Debug)]
pub(crate) struct SealingKeysArgs {
    #[command(subcommand)]
    command: SealingKeysCommand,
}

#[derive(Subcommand, Debug)]
enum SealingKeysCommand {
    /// Show all keys: state, age, use, who opens them
    List(list::ListArgs),
    /// Show one key, with its certificate
    Show(list::ShowArgs),
    /// Write all keys to one file, wrapped: as they are, or for other recipients
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::BackupArgs),
    /// Put the keys of a backup into the cluster; sealed-secrets' backups too
    #[command(after_help = backup::RESTORE_EXAMPLES)]
    Restore(backup::RestoreArgs),
    /// Wrap the plain keys of an older installation
    #[command(after_help = adopt::EXAMPLES)]
    Adopt(adopt::AdoptArgs),
    /// Say what a key may be used for: retired keys open, compromised ones do not
    Retire(retire::RetireArgs),
    /// Wrap keys for other recipients, after a key service was added or lost
    #[command(after_help = rewrap::EXAMPLES)]
    Rewrap(rewrap::RewrapArgs),
    /// Have the controller make a new key now
    Renew(renew::RenewArgs),
    /// Make the shares that people hold, for --key-service shares
    #[command(after_help = init_shares::EXAMPLES)]
    InitShares(init_shares::InitSharesArgs),
    /// Give your share to a controller that waits for it
    #[command(after_help = unseal::EXAMPLES)]
    Unseal(unseal::UnsealArgs),
    /// Keep the keys and serve their certificate, without opening any SealedSecret
    #[command(hide = true)]
    Serve(Box<serve::ServeArgs>),
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the command.
///
/// # Errors
/// See [`Code`].
pub(crate) fn run(app: &App, args: &SealingKeysArgs) -> Result<Code, Failure> {
    match &args.command {
        SealingKeysCommand::List(args) => list::run(app, args),
        SealingKeysCommand::Show(args) => list::show(app, args),
        SealingKeysCommand::Backup(args) => backup::run(app, args),
        SealingKeysCommand::Restore(args) => backup::restore(app, args),
        SealingKeysCommand::Adopt(args) => adopt::run(app, args),
        SealingKeysCommand::Retire(args) => retire::run(app, args),
        SealingKeysCommand::Rewrap(args) => rewrap::run(app, args),
        SealingKeysCommand::Renew(args) => renew::run(app, args),
        SealingKeysCommand::InitShares(args) => init_shares::run(app, args),
        SealingKeysCommand::Unseal(args) => unseal::run(app, args),
        SealingKeysCommand::Serve(args) => serve::run(app, args),
    }
}

/// What the API server answered, about the keys of a namespace.
fn api(error: &kube::Error) -> Failure {
    let message = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => {
            let mut text = other.to_string();
            let mut cause = std::error::Error::source(other);
            while let Some(error) = cause {
                text = format!("{text}: {error}");
                cause = error.source();
            }
            text
        }
    };
    let failure = Failure::new(Code::NoEncryptionKey, format!("the API server: {message}"));
    match error {
        kube::Error::Api(status) if status.code == 404 && status.message.contains("page not found") => {
            failure.with_hint("the cluster does not know SealingKeys: install bulla's chart, or its definitions, first")
        }
        _ => failure,
    }
}

/// Columns as wide as their longest entry.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|text| text.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
