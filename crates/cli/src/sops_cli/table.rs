//! Which flags each command of sops takes. Source: `cmd/sops/main.go` of 3.13.3.
//!
//! Names only. Whether a flag takes a value, its help and its variable come from our own commands, where each of them
//! is defined.

use clap::{Arg, ArgAction, Command};

use crate::args::KEY_FLAGS;
use crate::command::version::SOPS_VERSION;

/// A command of sops.
struct Entry {
    /// Its name, with the name of the command it stands below.
    path: &'static [&'static str],
    /// Its flags.
    flags: &'static [&'static [Flag]],
    /// What of our keys' flags it takes.
    keys: Keys,
}

/// A flag's long name and, if it has one, its other name.
type Flag = (&'static str, Option<&'static str>);

/// The flags for keys that a command takes, for all kinds that sops has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    None,
    /// `--age`, with short names.
    Encrypt,
    /// `--age`, without.
    Group,
    /// `--add-age` and `--rm-age`.
    Change,
    /// `--age` with short names, `--add-age` and `--rm-age`.
    All,
}

const KEYSERVICE: &[Flag] = &[("enable-local-keyservice", None), ("keyservice", None)];
const TYPES: &[Flag] = &[("input-type", None), ("output-type", None)];
const INPUT_TYPE: &[Flag] = &[("input-type", None)];
const OUTPUT: &[Flag] = &[("in-place", Some("i")), ("output", None)];
const IN_PLACE: &[Flag] = &[("in-place", Some("i"))];
const RULES: &[Flag] =
    &[("unencrypted-suffix", None), ("encrypted-suffix", None), ("unencrypted-regex", None), ("encrypted-regex", None)];
const AWS: &[Flag] = &[("aws-profile", None), ("encryption-context", None)];
const THRESHOLD: &[Flag] = &[("shamir-secret-sharing-threshold", None)];
const OVERRIDE: &[Flag] = &[("filename-override", None)];
const ORDER: &[Flag] = &[("decryption-order", None)];
const IGNORE_MAC: &[Flag] = &[("ignore-mac", None)];
const IDEMPOTENT: &[Flag] = &[("idempotent", None)];
const EXEC: &[Flag] = &[("background", None), ("user", None)];

const COMMANDS: &[Entry] = &[
    Entry {
        path: &["encrypt"],
        flags: &[OUTPUT, AWS, TYPES, RULES, THRESHOLD, OVERRIDE, KEYSERVICE],
        keys: Keys::Encrypt,
    },
    Entry {
        path: &["decrypt"],
        flags: &[OUTPUT, &[("extract", None)], TYPES, IGNORE_MAC, OVERRIDE, ORDER, KEYSERVICE],
        keys: Keys::None,
    },
    Entry {
        path: &["rotate"],
        flags: &[OUTPUT, TYPES, &[("encryption-context", None)], OVERRIDE, ORDER, KEYSERVICE],
        keys: Keys::Change,
    },
    Entry {
        path: &["edit"],
        flags: &[AWS, TYPES, RULES, THRESHOLD, &[("show-master-keys", Some("s"))], IGNORE_MAC, ORDER, KEYSERVICE],
        keys: Keys::Encrypt,
    },
    Entry {
        path: &["set"],
        flags: &[
            TYPES,
            &[("value-file", None), ("value-stdin", None)],
            THRESHOLD,
            IGNORE_MAC,
            ORDER,
            IDEMPOTENT,
            KEYSERVICE,
        ],
        keys: Keys::None,
    },
    Entry { path: &["unset"], flags: &[TYPES, THRESHOLD, IGNORE_MAC, ORDER, IDEMPOTENT, KEYSERVICE], keys: Keys::None },
    Entry { path: &["updatekeys"], flags: &[&[("yes", Some("y"))], INPUT_TYPE, KEYSERVICE], keys: Keys::None },
    Entry {
        path: &["groups", "add"],
        flags: &[&[("file", Some("f"))], AWS, IN_PLACE, THRESHOLD, KEYSERVICE],
        keys: Keys::Group,
    },
    Entry {
        path: &["groups", "delete"],
        flags: &[&[("file", Some("f"))], IN_PLACE, THRESHOLD, KEYSERVICE],
        keys: Keys::None,
    },
    Entry {
        path: &["exec-env"],
        flags: &[EXEC, &[("pristine", None), ("same-process", None)], ORDER, KEYSERVICE],
        keys: Keys::None,
    },
    Entry {
        path: &["exec-file"],
        flags: &[EXEC, &[("no-fifo", None), ("filename", None)], TYPES, ORDER, KEYSERVICE],
        keys: Keys::None,
    },
    Entry { path: &["filestatus"], flags: &[INPUT_TYPE], keys: Keys::None },
    Entry {
        path: &["keyservice"],
        flags: &[&[("network", Some("net")), ("address", Some("addr")), ("prompt", None), ("verbose", None)]],
        keys: Keys::None,
    },
    Entry { path: &["publish"], flags: &[], keys: Keys::None },
    Entry { path: &["completion", "bash"], flags: &[], keys: Keys::None },
    Entry { path: &["completion", "zsh"], flags: &[], keys: Keys::None },
];

/// The flags before or without a command.
const GLOBAL: &[&[Flag]] = &[
    &[("decrypt", Some("d")), ("encrypt", Some("e")), ("rotate", Some("r")), ("set", None)],
    &[("disable-version-check", None), ("check-for-updates", None), ("version", Some("v"))],
    OUTPUT,
    &[("extract", None)],
    AWS,
    TYPES,
    &[("show-master-keys", Some("s"))],
    IGNORE_MAC,
    &[("mac-only-encrypted", None)],
    RULES,
    &[("unencrypted-comment-regex", None), ("encrypted-comment-regex", None)],
    &[("config", None), ("indent", None), ("verbose", None)],
    THRESHOLD,
    OVERRIDE,
    ORDER,
    KEYSERVICE,
];

/// The whole command line of sops, for its help and its completions. `ours` is our own.
pub(crate) fn definition(ours: &Command) -> Command {
    COMMANDS.iter().fold(root(ours), |root, entry| with_command(root, ours, entry))
}

/// The command line of sops with this one of its commands, which is faster made; `None` if there is no such command.
pub(super) fn with_one(root: Command, ours: &Command, name: &str) -> Option<Command> {
    let mut entries = COMMANDS.iter().filter(|entry| entry.path[0] == name).peekable();
    entries.peek()?;
    Some(entries.fold(root, |root, entry| with_command(root, ours, entry)))
}

/// The command line of sops without its commands.
pub(super) fn root(ours: &Command) -> Command {
    let about = format!("The command line of sops {SOPS_VERSION}, as bulla has it");
    let mut root = Command::new("sops").about(about).disable_help_flag(true).disable_version_flag(true);
    root = root.arg(positional("FILE").help("The file to edit, or what -d, -e, -r and --set are about"));
    for &(long, other) in GLOBAL.iter().copied().flatten() {
        root = root.arg(flag(ours, &[], long, other));
    }
    with_keys(root, Keys::All).arg(help()).disable_help_subcommand(true)
}

fn with_command(mut root: Command, ours: &Command, entry: &Entry) -> Command {
    let (name, parents) = entry.path.split_last().unwrap_or((&"", &[]));
    let mut command = Command::new(*name).bin_name(format!("sops {}", entry.path.join(" "))).disable_help_flag(true);
    if let Some(about) = find(ours, entry.path).and_then(Command::get_about) {
        command = command.about(about.clone());
    }
    for &(long, other) in entry.flags.iter().copied().flatten() {
        command = command.arg(flag(ours, entry.path, long, other));
    }
    command = with_keys(command, entry.keys).arg(positional("ARGUMENT").hide(true)).arg(help());
    let [parent, ..] = parents else { return root.subcommand(command) };
    if root.find_subcommand(parent).is_none() {
        let about = find(ours, parents).and_then(Command::get_about).cloned().unwrap_or_default();
        let bin_name = format!("sops {parent}");
        let parent = Command::new(*parent).bin_name(bin_name).about(about).disable_help_flag(true).arg(help());
        root = root.subcommand(parent);
    }
    root.mut_subcommand(parent, |parent| parent.subcommand(command))
}

/// Our definition of a flag, under the names sops has for it.
fn flag(ours: &Command, path: &[&str], long: &'static str, other: Option<&'static str>) -> Arg {
    let defined = find(ours, path).and_then(|command| argument(command, long));
    // Without a command, and for what only some of our commands take, any definition of the name says what it is.
    let defined = defined.or_else(|| ours.get_subcommands().find_map(|command| argument(command, long)));
    let known = defined.or_else(|| argument(ours, long));
    let mut arg = Arg::new(long).long(long).action(ArgAction::SetTrue);
    if let Some(known) = known {
        arg = arg.help(known.get_help().cloned().unwrap_or_default());
        if takes_value(known) {
            arg = arg.action(known.get_action().clone()).value_name("VALUE");
        } else if matches!(known.get_action(), ArgAction::Set) {
            // `--enable-local-keyservice=false`: true without a value.
            arg = arg.action(ArgAction::SetFalse);
        }
    } else if long == "set" {
        arg = arg.action(ArgAction::Set).value_name("PATH VALUE").help("Set a value: '[\"key\"] \"value\"'");
    } else {
        arg = arg.help(match long {
            "decrypt" => "Decrypt the file",
            "encrypt" => "Encrypt the file",
            "rotate" => "Give the file a new data key",
            "version" => "Print the version",
            _ => "Taken, and of no effect here",
        });
    }
    match other {
        Some(other) if other.len() == 1 => arg.short(other.chars().next()),
        Some(other) => arg.visible_alias(other),
        None => arg,
    }
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
        && arg.get_num_args().is_none_or(|range| range.min_values() > 0)
}

fn argument<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    let is_called = |arg: &&Arg| {
        arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
    };
    command.get_arguments().find(is_called)
}

fn find<'a>(command: &'a Command, path: &[&str]) -> Option<&'a Command> {
    path.iter().try_fold(command, |command, name| command.find_subcommand(name))
}

fn with_keys(mut command: Command, keys: Keys) -> Command {
    let prefixes: &[&str] = match keys {
        Keys::None => &[],
        Keys::Encrypt | Keys::Group => &[""],
        Keys::Change => &["add-", "rm-"],
        Keys::All => &["", "add-", "rm-"],
    };
    for prefix in prefixes {
        for flag in KEY_FLAGS.iter().filter(|flag| flag.is_of_sops()) {
            let name = format!("{prefix}{}", flag.long);
            let action = if keys == Keys::Group { ArgAction::Append } else { ArgAction::Set };
            let mut arg = Arg::new(name.clone()).long(name).action(action).value_name("VALUE").help(flag.what);
            if prefix.is_empty() && keys != Keys::Group {
                arg = arg.short(flag.short);
            }
            command = command.arg(arg);
        }
    }
    command
}

fn positional(name: &'static str) -> Arg {
    Arg::new("arguments").value_name(name).num_args(0..).action(ArgAction::Append)
}

fn help() -> Arg {
    Arg::new("help").long("help").short('h').action(ArgAction::SetTrue).help("Print help")
}
