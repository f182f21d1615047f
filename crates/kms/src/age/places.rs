//! Where identities are looked for, and what was found there.
//!
//! The places are those of sops 3.13. Each is read at most once in a run, the commands once for each recipient (they
//! are told which). What a place holds, or why it holds nothing, is kept for the error of a key that nothing fits.
//!
//! | place | what it holds |
//! |---|---|
//! | `SOPS_AGE_KEY` | identities, several on a line if need be |
//! | `SOPS_AGE_KEY_FILE` | the path of an identity file |
//! | `SOPS_AGE_KEY_CMD` | a command that prints an identity file; told the recipient in `SOPS_AGE_RECIPIENT` |
//! | `sops/age/keys.txt` in the user's configuration folder | an identity file |
//! | `SOPS_AGE_SSH_PRIVATE_KEY_FILE` | the path of an SSH private key |
//! | `SOPS_AGE_SSH_PRIVATE_KEY_CMD` | a command that prints one, without a passphrase |
//! | `~/.ssh/id_ed25519`, `~/.ssh/id_rsa` | SSH private keys |
//!
//! The configuration folder is `$XDG_CONFIG_HOME`, else `~/.config`, or on macOS `~/Library/Application Support`.
//! An identity file may be encrypted with a passphrase.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bulla_core::file::{self, FileError};
use bulla_core::{KeyErrorKind, SecretBytes, is_private_key};
use tokio::sync::OnceCell;

use super::identity::{self, Identity};
use super::locked::Locked;
use super::ssh;
use crate::ask::{Ask, Terminal, person_is_there};
use crate::command::{Program, last_complaint, words};
use crate::failure::{Failure, warn_if_exposed};
use crate::registry::Context;

const KEY: &str = "SOPS_AGE_KEY";
const KEY_FILE: &str = "SOPS_AGE_KEY_FILE";
const KEY_CMD: &str = "SOPS_AGE_KEY_CMD";
const RECIPIENT: &str = "SOPS_AGE_RECIPIENT";
const SSH_FILE: &str = "SOPS_AGE_SSH_PRIVATE_KEY_FILE";
const SSH_CMD: &str = "SOPS_AGE_SSH_PRIVATE_KEY_CMD";

/// The largest key file that is read, age's own limit.
const LIMIT: u64 = 1 << 24;

/// All places, each read when it is first needed.
pub(crate) struct Places {
    native: OnceLock<Vec<Arc<Place>>>,
    ssh: OnceLock<Vec<Arc<Place>>>,
    /// By the command and the recipient that it is told.
    commands: Mutex<HashMap<(Command, String), Printed>>,
    /// Who is asked for passphrases.
    pub(crate) ask: Arc<dyn Ask>,
}

/// What a command printed, once it did.
type Printed = Arc<OnceCell<Arc<Place>>>;

/// A command that prints keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Command {
    /// `SOPS_AGE_KEY_CMD`
    Identities,
    /// `SOPS_AGE_SSH_PRIVATE_KEY_CMD`
    Ssh,
}

/// One place and what was there.
pub(super) struct Place {
    /// How messages call it: a variable, a path, or both.
    pub(super) name: String,
    /// What was there.
    pub(super) holds: Holds,
}

/// What a place holds.
pub(super) enum Holds {
    /// It is not set, or there is no such file: in words.
    Nothing(&'static str),
    /// It could not be read or understood.
    Failed(Failure),
    /// Identities, maybe none.
    Identities(Vec<Identity>),
    /// An identity file encrypted with a passphrase.
    Locked(Locked),
    /// An SSH private key.
    Ssh(Box<ssh::Identity>),
}

impl Default for Places {
    fn default() -> Self {
        Self::asking(Arc::new(Terminal::default()))
    }
}

impl Places {
    /// Places whose passphrases `ask` is asked for.
    pub(crate) fn asking(ask: Arc<dyn Ask>) -> Self {
        Self { native: OnceLock::new(), ssh: OnceLock::new(), commands: Mutex::default(), ask }
    }

    /// The identities that cost no more than reading a file: those of the variable and the two files.
    pub(super) fn native(&self, context: &Context) -> &[Arc<Place>] {
        self.native.get_or_init(|| {
            let env = context.env.as_ref();
            let variable = Place {
                name: KEY.to_owned(),
                holds: match env.var(KEY) {
                    None => Holds::Nothing("not set"),
                    Some(text) => {
                        let bytes = SecretBytes::from(text.into_encoded_bytes());
                        identities(&bytes, KEY, identity::parse_words)
                    }
                },
            };
            let file = match env.path(KEY_FILE) {
                None => Place { name: KEY_FILE.to_owned(), holds: Holds::Nothing("not set") },
                Some(path) if is_private_key(&path.to_string_lossy()) => key_itself(KEY_FILE, "the path of a file"),
                Some(path) => {
                    let name = format!("{KEY_FILE}={}", path.display());
                    let holds = match key_file(&path, &name) {
                        Ok(bytes) => identities(&bytes, &name, identity::parse_lines),
                        Err(holds) => holds,
                    };
                    Place { name, holds }
                }
            };
            let user = match config_folder(context) {
                None => Place {
                    name: "sops/age/keys.txt".to_owned(),
                    holds: Holds::Nothing("no configuration folder: neither XDG_CONFIG_HOME nor HOME is set"),
                },
                Some(folder) => {
                    let path = folder.join("sops/age/keys.txt");
                    let name = path.display().to_string();
                    let holds = match key_file(&path, &name) {
                        Ok(bytes) => identities(&bytes, &name, identity::parse_lines),
                        Err(holds) => holds,
                    };
                    Place { name, holds }
                }
            };
            [variable, file, user].map(Arc::new).into()
        })
    }

    /// The SSH private keys in files.
    pub(super) fn ssh(&self, context: &Context) -> &[Arc<Place>] {
        self.ssh.get_or_init(|| {
            let env = context.env.as_ref();
            let named = match env.path(SSH_FILE) {
                None => Place { name: SSH_FILE.to_owned(), holds: Holds::Nothing("not set") },
                Some(path) if is_private_key(&path.to_string_lossy()) => key_itself(SSH_FILE, "the path of a file"),
                Some(path) => {
                    let name = format!("{SSH_FILE}={}", path.display());
                    let holds = ssh_file(&path, &name);
                    Place { name, holds }
                }
            };
            let mut places = vec![named];
            for file in ["id_ed25519", "id_rsa"] {
                let Some(home) = env.home() else { continue };
                let path = home.join(".ssh").join(file);
                let name = path.display().to_string();
                let holds = ssh_file(&path, &name);
                places.push(Place { name, holds });
            }
            places.into_iter().map(Arc::new).collect()
        })
    }

    /// What a command prints for `recipient`.
    pub(super) async fn printed(&self, command: Command, recipient: &str, context: &Context) -> Arc<Place> {
        let cell = {
            let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(commands.entry((command, recipient.to_owned())).or_default())
        };
        let place = cell.get_or_init(|| async { Arc::new(run(command, recipient, context).await) }).await;
        Arc::clone(place)
    }

    /// Whether a person has typed the passphrase of one of them.
    pub(crate) fn is_unlocked(&self) -> bool {
        let places = self.native.get().into_iter().chain(self.ssh.get()).flatten();
        places.into_iter().any(|place| match &place.holds {
            Holds::Locked(locked) => locked.opened().is_some(),
            Holds::Ssh(key) => key.is_unlocked(),
            _ => false,
        })
    }

    /// Whether a command is set.
    pub(super) fn has(command: Command, context: &Context) -> bool {
        context.env.var(command.variable()).is_some()
    }
}

impl Command {
    fn variable(self) -> &'static str {
        match self {
            Self::Identities => KEY_CMD,
            Self::Ssh => SSH_CMD,
        }
    }
}

impl Place {
    /// The place and what was there, for the error of a key that nothing fits.
    pub(super) fn describe(&self) -> String {
        let name = &self.name;
        match &self.holds {
            Holds::Nothing(why) => format!("{name}: {why}"),
            // Its words name the place already.
            Holds::Failed(failure) => failure.what.clone(),
            Holds::Identities(identities) => match identities.len() {
                0 => format!("{name}: no identity in it"),
                1 => format!("{name}: 1 identity, which does not fit"),
                n => format!("{name}: {n} identities, none of which fits"),
            },
            Holds::Locked(_) => format!("{name}: encrypted, no identity in it fits"),
            Holds::Ssh(_) => format!("{name}: another key"),
        }
    }
}

impl Holds {
    /// The identities that need no passphrase.
    pub(super) fn identities(&self) -> &[Identity] {
        match self {
            Self::Identities(identities) => identities,
            _ => &[],
        }
    }
}

/// Where the user's `sops/age/keys.txt` is.
pub(super) fn config_folder(context: &Context) -> Option<PathBuf> {
    let home = context.env.home();
    // As Go's os.UserConfigDir, which refuses a relative folder.
    let configured = context.env.path("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute());
    let usual = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".config" };
    configured.or_else(|| home.map(|home| home.join(usual)))
}

async fn run(command: Command, recipient: &str, context: &Context) -> Place {
    let variable = command.variable();
    let Some(line) = context.env.text(variable) else {
        return Place { name: variable.to_owned(), holds: Holds::Nothing("not set") };
    };
    if is_private_key(&line) {
        return key_itself(variable, "a command that prints one");
    }
    let name = variable.to_owned();
    let holds = match output(variable, &line, recipient, context).await {
        Err(failure) => Holds::Failed(failure),
        Ok(bytes) => match command {
            Command::Identities => identities(&bytes, variable, identity::parse_lines),
            Command::Ssh => match ssh_key(&bytes, variable) {
                Holds::Ssh(key) if key.asks() => Holds::Failed(Failure::new(
                    KeyErrorKind::Unsupported,
                    format!("{variable}: it prints a key with a passphrase, which only key files may have"),
                )),
                holds => holds,
            },
        },
    };
    Place { name, holds }
}

/// A variable that holds a key where something else is meant. The key must not go on into a message.
fn key_itself(variable: &'static str, meant: &str) -> Place {
    let failure = Failure::new(KeyErrorKind::BadConfig, format!("{variable}: it holds a key itself, not {meant}"));
    Place {
        name: variable.to_owned(),
        holds: Holds::Failed(failure.hint(format!("identities themselves go into {KEY}"))),
    }
}

/// Runs the command as sops does: split into words, no shell, no input.
async fn output(variable: &str, line: &str, recipient: &str, context: &Context) -> Result<SecretBytes, Failure> {
    let bad = |what: &str| Failure::new(KeyErrorKind::BadConfig, format!("{variable}: {what}"));
    let words = words(line).map_err(bad)?;
    let argv: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    let program = Program {
        name: variable,
        argv: &argv,
        environment: &[(RECIPIENT, OsStr::new(recipient))],
        input: &[],
        // It may be a password manager that waits for a person.
        deadline: (!person_is_there(context.env.as_ref())).then_some(context.options.timeout),
    };
    let output = program.run().await.map_err(|error| error.about(variable))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let program = words.first().map_or("", String::as_str);
    let complaint = last_complaint(&output.stderr).map(|line| format!(": {line}")).unwrap_or_default();
    let what = format!("{variable}: {program} failed ({}){complaint}", output.status);
    Err(Failure::new(KeyErrorKind::Other, what))
}

/// Reads a key file.
fn key_file(path: &Path, name: &str) -> Result<SecretBytes, Holds> {
    let bytes = file::read(path, LIMIT).map_err(|error| match error {
        FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => Holds::Nothing("no such file"),
        FileError::Io { source, .. } => {
            Holds::Failed(Failure::new(KeyErrorKind::BadKeyFile, format!("{name}: cannot be read: {source}")))
        }
        error => Holds::Failed(Failure::new(KeyErrorKind::BadKeyFile, format!("{name}: {error}"))),
    })?;
    warn_if_exposed(path, "a private key");
    Ok(bytes)
}

fn identities(bytes: &SecretBytes, name: &str, parse: impl Fn(&str) -> Result<Vec<Identity>, String>) -> Holds {
    let bad = |what: &str| Holds::Failed(Failure::new(KeyErrorKind::BadKeyFile, format!("{name}: {what}")));
    if Locked::recognise(bytes.expose()) {
        return Locked::new(bytes.expose(), name).map_or_else(|what| bad(&what), Holds::Locked);
    }
    let Ok(text) = std::str::from_utf8(bytes.expose()) else { return bad("it is not text") };
    parse(text).map_or_else(|what| bad(&what), Holds::Identities)
}

fn ssh_file(path: &Path, name: &str) -> Holds {
    match key_file(path, name) {
        // The path is what ssh-keygen takes, and what the person is asked about.
        Ok(bytes) => ssh_key(&bytes, &path.display().to_string()),
        Err(holds) => holds,
    }
}

fn ssh_key(bytes: &SecretBytes, name: &str) -> Holds {
    let bad = |what: &str| Holds::Failed(Failure::new(KeyErrorKind::BadKeyFile, format!("{name}: {what}")));
    let Ok(text) = std::str::from_utf8(bytes.expose()) else { return bad("it is not text") };
    ssh::Identity::parse(text, name).map_or_else(|what| bad(&what), |key| Holds::Ssh(Box::new(key)))
}
