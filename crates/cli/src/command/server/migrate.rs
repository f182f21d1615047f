//! `server migrate`, which is `operator migrate` of Vault: copies one storage to another while no server uses either.

use std::ffi::OsString;
use std::path::PathBuf;

use bulla_server::config::{self, Migration};
use bulla_server::storage::StorageError;
use bulla_server::storage::migrate::{self, MigrateError};

use super::{read_text, say, storage};
use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::term::Progress;

const HELP: &str = "\
Copy a server's storage to another, entry by entry, as they are: encrypted. No server may use either.

Usage: bulla server migrate -config FILE [-start KEY]
       vault operator migrate -config FILE [-start KEY]

Flags, with one dash or two:
  -config FILE     A file with storage_source and storage_destination, each as a server's storage is written
  -start KEY       Go on with a migration that was stopped. What is there before this key is compared with the source
  -max-parallel N  Taken, without effect

    storage_source      \"embedded\"   { path = \"/var/lib/bulla\" }
    storage_destination \"postgresql\" { connection_url = \"postgres://…\" }

Each step is read back, and at the end all of both is hashed and compared. Until then no server opens the destination.

Exit statuses: 0 done; 1 the command line, or the configuration; 2 the source cannot be opened or read; 3 the destination cannot be
opened or written, or has other entries; 51 what was read back is something else.";

#[derive(Debug, Default, PartialEq, Eq)]
struct Flags {
    config: Option<PathBuf>,
    start: Option<String>,
    help: bool,
}

/// Copies.
///
/// # Errors
/// See the exit statuses in the help.
pub(super) fn run(app: &App, arguments: &[OsString]) -> Result<Code, Failure> {
    let flags = Flags::read(arguments)?;
    if flags.help {
        say(HELP)?;
        return Ok(Code::Success);
    }
    let path = flags.config.as_deref().ok_or_else(|| {
        Failure::generic("there is no configuration").with_hint("give -config FILE; see: bulla server migrate -help")
    })?;
    let failed = |error: String| Failure::generic(format!("{}: {error}", path.display()));
    let migration = config::parse_migration(&read_text(path)?).map_err(failed)?;
    for name in &migration.ignored {
        tracing::warn!(setting = name, "a setting of the configuration has no effect on a migration");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::generic(format!("cannot start the asynchronous runtime: {error}")))?;
    runtime.block_on(copy(app, &migration, flags.start.as_deref()))
}

async fn copy(app: &App, migration: &Migration, start: Option<&str>) -> Result<Code, Failure> {
    let env = app.env.as_ref();
    let source =
        storage::open(&migration.source, env).await.map_err(MigrateError::Source).map_err(|error| explain(&error))?;
    let destination = storage::open(&migration.destination, env).await;
    let destination = destination.map_err(MigrateError::Destination).map_err(|error| explain(&error))?;
    let progress = Progress::count("entries");
    let done = migrate::run(source.as_ref(), destination.as_ref(), start, &|entries| progress.at(entries)).await;
    drop(progress);
    let done = done.map_err(|error| explain(&error))?;
    say(&format!(
        "Success! {} entries of {} bytes are in both storages, {} of them copied now\nSHA-256 of all: {}",
        done.entries, done.bytes, done.copied, done.digest
    ))?;
    Ok(Code::Success)
}

fn explain(error: &MigrateError) -> Failure {
    let code = match error {
        MigrateError::Source(_) | MigrateError::SourceUnfinished => Code::CouldNotReadInput,
        MigrateError::Mismatch => Code::MacMismatch,
        _ => Code::CouldNotWriteOutput,
    };
    let failure = Failure::new(code, error.to_string());
    match error {
        MigrateError::NotEmpty { unfinished: Some(last) } => failure.with_hint(format!(
            "a migration to it was stopped; if it was this one, go on with -start '{last}', which compares what is there"
        )),
        MigrateError::NotEmpty { unfinished: None } => {
            failure.with_hint("a migration needs an empty storage: give another folder, or another table")
        }
        MigrateError::Destination(StorageError::TooLarge { .. }) => {
            failure.with_hint("the destination does not take all that the source has; the source is as it was")
        }
        MigrateError::Destination(_) => failure.with_hint("run it again to see where it can go on"),
        MigrateError::Another { .. } => failure.with_hint("empty the destination and begin anew"),
        MigrateError::Mismatch => failure.with_hint("was something else writing to it? Empty the destination and begin anew"),
        _ => failure,
    }
}

impl Flags {
    fn read(arguments: &[OsString]) -> Result<Self, Failure> {
        let mut flags = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let text = argument.to_str().ok_or_else(|| Failure::generic("an argument is not UTF-8"))?;
            let name = text.strip_prefix("--").or_else(|| text.strip_prefix('-'));
            let name = name.ok_or_else(|| Failure::generic(format!("unexpected argument {text:?}")))?;
            let (name, given) =
                name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value.to_owned())));
            let mut value = || {
                let next = given.clone().or_else(|| rest.next().and_then(|value| value.to_str()).map(str::to_owned));
                next.ok_or_else(|| Failure::generic(format!("-{name} needs a value")))
            };
            match name {
                "config" => flags.config = Some(value()?.into()),
                "start" => flags.start = Some(value()?),
                "max-parallel" => drop(value()?),
                "help" | "h" => flags.help = true,
                "reset" => {
                    return Err(Failure::generic(
                        "-reset is not needed: the locks of a migration end with its process",
                    ));
                }
                other => {
                    return Err(Failure::generic(format!("the flag -{other} is not known"))
                        .with_hint("see: bulla server migrate -help"));
                }
            }
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_flags_are_those_of_the_peer() {
        let read = |arguments: &[&str]| Flags::read(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        let flags = read(&["-config=x", "--start", "a/b", "-max-parallel", "10"]).unwrap();
        assert_eq!(flags, Flags { config: Some("x".into()), start: Some("a/b".to_owned()), help: false });
        assert!(read(&["-help"]).unwrap().help);
        for wrong in [&["-reset"][..], &["-config"], &["x"], &["-nope"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
