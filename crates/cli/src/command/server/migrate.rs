//! `server migrate`, which is `operator migrate` of Vault: copies one storage to another while no server uses either.

use std::ffi::OsString;
use std::path::PathBuf;

use bulla_server::config::{self, Migration};
use bulla_server::storage::StorageError;
use bulla_server::storage::migrate::{self, MigrateError};

use super::{GoFlags, read_text, storage};
use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::output::say;
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

Exit statuses: 0 done; 1 the command line, or the configuration; 2 the source cannot be opened or read, or is empty; 3 the
destination cannot be opened or written, or has other entries; 51 what was read back is something else.";

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
    let migration = migration.with_env(app.env.as_ref()).map_err(failed)?;
    for name in &migration.ignored {
        tracing::warn!(setting = name, "a setting of the configuration has no effect on a migration");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::generic(format!("cannot start the asynchronous runtime: {error}")))?;
    runtime.block_on(copy(migration, flags.start.as_deref()))
}

async fn copy(migration: Migration, start: Option<&str>) -> Result<Code, Failure> {
    let source = storage::open_filled(migration.source).await;
    let source = source.map_err(MigrateError::Source).map_err(|error| explain(&error))?;
    let destination = storage::open(migration.destination).await;
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

pub(super) fn explain(error: &MigrateError) -> Failure {
    let code = match error {
        MigrateError::Source(_) | MigrateError::SourceUnfinished | MigrateError::SourceEmpty => Code::CouldNotReadInput,
        MigrateError::Mismatch => Code::MacMismatch,
        _ => Code::CouldNotWriteOutput,
    };
    let failure = Failure::new(code, error.to_string());
    match error {
        MigrateError::NotEmpty { unfinished: Some(last) } => failure.with_hint(format!(
            "a migration to it was stopped; if it was this one, go on with -start {}, which compares what is there",
            quoted(last)
        )),
        MigrateError::NotEmpty { unfinished: None } => {
            failure.with_hint("a migration needs an empty storage: give another folder, or another table")
        }
        MigrateError::Destination(StorageError::TooLarge { .. }) => {
            failure.with_hint("the destination does not take all that the source has; the source is as it was")
        }
        MigrateError::Destination(_) => failure.with_hint("run it again to see where it can go on"),
        MigrateError::Another { .. } => failure.with_hint("empty the destination and begin anew"),
        MigrateError::Mismatch => {
            failure.with_hint("was something else writing to it? Empty the destination and begin anew")
        }
        MigrateError::SourceEmpty => failure.with_hint("is it the right one? There is nothing to copy"),
        _ => failure,
    }
}

/// A key as a shell takes it. It is somebody else's text: what does not show is not shown.
fn quoted(key: &str) -> String {
    let shows = |character: char| "'\"\\".contains(character) || character.escape_debug().len() == 1;
    if key.chars().all(shows) {
        return format!("'{}'", key.replace('\'', r"'\''"));
    }
    format!("and this key, with what stands escaped here as it is: {}", key.escape_debug())
}

impl Flags {
    fn read(arguments: &[OsString]) -> Result<Self, Failure> {
        let mut flags = Self::default();
        let mut words = GoFlags::new(arguments, "bulla server migrate");
        while let Some(name) = words.next()? {
            match name {
                "config" => flags.config = Some(words.value()?.into()),
                "start" => flags.start = Some(words.value()?),
                "max-parallel" => drop(words.value()?),
                "help" | "h" => flags.help = true,
                "reset" => {
                    return Err(Failure::generic(
                        "-reset is not needed: the locks of a migration end with its process",
                    ));
                }
                _ => return Err(words.unknown()),
            }
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_so_that_a_shell_takes_it() {
        for (key, expected) in [
            ("a/b c", "'a/b c'"),
            ("a'; rm -rf /'", r"'a'\''; rm -rf /'\'''"),
            (r#"a\"$x"#, r#"'a\"$x'"#),
            ("a\u{e9}", "'a\u{e9}'"),
        ] {
            assert_eq!(quoted(key), expected);
        }
        let hidden = quoted("a\u{1b}[2J\n'b");
        assert!(hidden.ends_with(r"a\u{1b}[2J\n\'b") && !hidden.contains(['\u{1b}', '\n']), "{hidden}");
    }

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
