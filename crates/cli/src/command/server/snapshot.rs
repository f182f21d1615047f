//! `server snapshot`: looks at a snapshot, and puts one in the place of a storage while no server uses it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bulla_server::config::Storage;
use bulla_server::core::snapshot::{self, Author};
use bulla_server::seal::Seals;
use bulla_server::storage::migrate::{self, MigrateError, Summary};
use bulla_server::storage::restore::{self, RestoreError, Restored};
use bulla_server::storage::snapshot::{SnapshotError, SnapshotFile};

use super::{GoFlags, config_files, read_config, seals, storage};
use crate::app::App;
use crate::error::Failure;
use crate::exit::Code;
use crate::output::say;
use crate::term::Progress;

const HELP: &str = "\
Look at a snapshot of a server's storage, or put it in the place of a storage that no server uses.

Usage: bulla server snapshot inspect SNAPSHOT
       bulla server snapshot restore -config PATH [-force] SNAPSHOT

Snapshots are made by: vault operator raft snapshot save FILE (also bao), or GET /v1/sys/storage/raft/snapshot.

Flags, with one dash or two:
  -config PATH     The server's configuration, as for bulla server: its storage is what is restored
  -force           Also if no seal of the configuration shows that the snapshot is as its cluster made it

Where the configuration has a seal that needs nobody, that opens the keys in the snapshot, and by them shows whether somebody
has changed it. With shares of people nothing does: take it from where nobody else could write.

All of the snapshot is read before anything is changed, and what was made of it is compared with it. An embedded storage is made
anew beside the one that is there, and gets its name in one step; the old one is kept beside it as bulla.redb.before-TIME-…. A
database has to be empty: name another table, or empty it.

The server opens with the keys that it had when the snapshot was made. It is as it was then: tokens and secrets that were taken
back since are there again.

Exit statuses: 0 done; 1 the command line, or the configuration; 2 the snapshot cannot be read; 3 the storage is in use, cannot
be written, or has entries; 51 the snapshot is damaged or was changed, or what was read back
is something else.";

/// Whether a snapshot is restored of which nobody knows that it is as it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Force {
    #[default]
    Not,
    Given,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Flags {
    configs: Vec<PathBuf>,
    force: Force,
    words: Vec<String>,
    help: bool,
}

/// Does what the word behind `snapshot` says.
///
/// # Errors
/// See the exit statuses in the help.
pub(super) fn run(app: &App, arguments: &[OsString]) -> Result<Code, Failure> {
    let (what, rest) = arguments.split_first().map_or((None, arguments), |(first, rest)| (first.to_str(), rest));
    let flags = match what {
        Some("restore" | "inspect") => Flags::read(rest)?,
        _ => Flags { help: Flags::read(arguments)?.help, ..Flags::default() },
    };
    if flags.help {
        say(HELP)?;
        return Ok(Code::Success);
    }
    let usage = |message: &str| Failure::generic(message).with_hint("see: bulla server snapshot -help");
    let [path] = flags.words.as_slice() else { return Err(usage("one snapshot has to be named")) };
    let snapshot = SnapshotFile::open(Path::new(path)).map_err(|error| unread(path, &error))?;
    match what {
        Some("inspect") if flags.configs.is_empty() => inspect(&snapshot),
        Some("restore") if !flags.configs.is_empty() => {
            let config = read_config(&config_files(&flags.configs)?)?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::generic(format!("cannot start the asynchronous runtime: {error}")))?;
            let seals = seals::open(app, &config)?;
            runtime.block_on(async {
                check_author(&seals, &snapshot, flags.force).await?;
                restore(&snapshot, config.storage.with_env(app.env.as_ref())).await
            })
        }
        Some("inspect") => Err(usage("a configuration is not needed to look at a snapshot")),
        Some("restore") => Err(usage("there is no configuration: give -config PATH")),
        _ => Err(usage("write inspect or restore behind snapshot")),
    }
}

fn inspect(snapshot: &SnapshotFile) -> Result<Code, Failure> {
    let (about, summary) = (snapshot.about(), snapshot.summary());
    let shown = |text: &str| text.escape_debug().to_string();
    say(&format!(
        "Time          {}\nServer        {}\nStorage       {}\nCluster ID    {}\nEntries       {}\nBytes         {}\nSHA-256       {}",
        shown(&about.time),
        shown(&about.server),
        shown(&about.storage),
        shown(&about.cluster_id),
        summary.entries,
        summary.bytes,
        summary.digest()
    ))?;
    Ok(Code::Success)
}

/// Refuses a snapshot that somebody changed, or, without `-force`, may have.
async fn check_author(seals: &Seals, file: &SnapshotFile, force: Force) -> Result<(), Failure> {
    let author = snapshot::author(seals, file).await;
    match author.map_err(|error| failed(Code::CouldNotReadInput, &error.to_string()))? {
        Author::Cluster => Ok(()),
        Author::Unknown(_) if seals.current.is_empty() => {
            tracing::warn!("people's shares open this server: whether somebody has changed the snapshot is not known");
            Ok(())
        }
        Author::Another(why) | Author::Unknown(why) if force == Force::Given => {
            tracing::warn!(
                why,
                "nothing shows that the snapshot is as its cluster made it; it is restored all the same"
            );
            Ok(())
        }
        Author::Another(why) => Err(failed(Code::MacMismatch, &format!("the snapshot was changed: {why}"))
            .with_hint("nothing was changed here; -force restores it all the same")),
        Author::Unknown(why) => Err(failed(Code::MacMismatch, &format!("no seal opens the snapshot: {why}"))
            .with_hint("is it of this cluster, and is its seal in the configuration? -force restores it all the same")),
    }
}

async fn restore(snapshot: &SnapshotFile, to: Storage) -> Result<Code, Failure> {
    let progress = Progress::count("entries");
    let tell = |entries| progress.at(entries);
    let done = match to {
        Storage::Memory => {
            Err(Failure::generic("storage \"inmem\" is gone with the process: there is nothing to restore"))
        }
        Storage::Embedded(folder) => {
            let made = std::fs::create_dir_all(&folder);
            made.map_err(|error| {
                failed(Code::CouldNotWriteOutput, &format!("cannot make {}: {error}", folder.display()))
            })?;
            restore::embedded(&folder.join("bulla.redb"), snapshot, &tell).await.map_err(|error| unrestored(&error))
        }
        to @ Storage::Postgresql(_) => {
            let opened =
                storage::open(to).await.map_err(|error| failed(Code::CouldNotWriteOutput, &error.to_string()))?;
            let copied = migrate::run(snapshot, opened.as_ref(), None, &tell).await;
            copied.map(|summary| Restored { summary, kept: None }).map_err(|error| uncopied(&error))
        }
    };
    drop(progress);
    let Restored { summary: Summary { entries, bytes, digest, .. }, kept } = done?;
    let kept = kept.map_or_else(String::new, |kept| format!("\nThe storage that was there is {}", kept.display()));
    say(&format!("Success! {entries} entries of {bytes} bytes are restored\nSHA-256 of all: {digest}{kept}"))?;
    Ok(Code::Success)
}

fn failed(code: Code, message: &str) -> Failure {
    Failure::new(code, message)
}

fn unread(path: &str, error: &SnapshotError) -> Failure {
    let code = match error {
        SnapshotError::Damaged(_) | SnapshotError::Truncated => Code::MacMismatch,
        _ => Code::CouldNotReadInput,
    };
    let failure = failed(code, &format!("{path}: {error}"));
    match error {
        SnapshotError::Damaged(_) | SnapshotError::Truncated => {
            failure.with_hint("nothing was changed; take another one")
        }
        SnapshotError::Foreign(_) => failure.with_hint("snapshots of OpenBao and Vault cannot be restored here"),
        _ => failure,
    }
}

fn unrestored(error: &RestoreError) -> Failure {
    match error {
        RestoreError::Copy(error) => uncopied(error),
        RestoreError::InUse(_) => failed(Code::CouldNotWriteOutput, &error.to_string())
            .with_hint("stop the server; if the storage is damaged, move its file away"),
        _ => failed(Code::CouldNotWriteOutput, &error.to_string()),
    }
}

fn uncopied(error: &MigrateError) -> Failure {
    match error {
        // What was begun cannot be gone on with here: it is done anew.
        MigrateError::NotEmpty { .. } => failed(Code::CouldNotWriteOutput, &error.to_string())
            .with_hint("a snapshot is restored into an empty storage: name another table, or empty it"),
        MigrateError::Destination(_) => failed(Code::CouldNotWriteOutput, &error.to_string()),
        _ => super::migrate::explain(error),
    }
}

impl Flags {
    fn read(arguments: &[OsString]) -> Result<Self, Failure> {
        let mut flags = Self::default();
        // The flags come first, as the peer has it; what follows them are words.
        let is_flag = |argument: &&OsString| argument.as_encoded_bytes().starts_with(b"-");
        let words = arguments.iter().rev().take_while(|argument| !is_flag(argument)).count().min(1);
        let (given, words) = arguments.split_at(arguments.len() - words);
        for word in words {
            let word = word.to_str().ok_or_else(|| Failure::generic("the name of the snapshot is not UTF-8"))?;
            flags.words.push(word.to_owned());
        }
        let mut given = GoFlags::new(given, "bulla server snapshot");
        while let Some(name) = given.next()? {
            match name {
                "config" => flags.configs.push(given.value()?.into()),
                "force" => flags.force = if given.switch()? { Force::Given } else { Force::Not },
                "help" | "h" => flags.help = true,
                _ => return Err(given.unknown()),
            }
        }
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_come_before_the_snapshot() {
        let read = |arguments: &[&str]| Flags::read(&arguments.iter().map(OsString::from).collect::<Vec<_>>());
        let flags = read(&["-config=x", "--config", "y", "s.snap"]).unwrap();
        assert_eq!(flags.configs, [PathBuf::from("x"), "y".into()]);
        assert_eq!(flags.words, ["s.snap"]);
        assert!(read(&["-help"]).unwrap().help);
        for wrong in [&["-nope"][..], &["a", "b"], &["-config"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
