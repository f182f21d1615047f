//! What a shell's completion asks for. The scripts of sops, which people have installed, run the line that was typed so far
//! with a flag at its end: names are printed then, and nothing is done.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

use crate::env_vars;

/// The flag.
const FLAG: &str = "--generate-bash-completion";

/// The line that was typed so far, if these arguments come from a completion.
pub(super) fn asked(arguments: &[OsString]) -> Option<&[OsString]> {
    let (last, line) = arguments.split_last()?;
    (last == FLAG).then_some(line)
}

/// The names that may follow, one a line: flags where one was begun, else commands.
pub(super) fn answer(root: &Command, line: &[OsString]) -> String {
    let is_flag = |word: &OsStr| super::looks_like_flag(word);
    let command = line
        .iter()
        .filter(|word| !is_flag(word))
        .try_fold(root, |command, word| command.find_subcommand(word).ok_or(command))
        .unwrap_or_else(|command| command);
    let names = match line.last().filter(|word| is_flag(word)).map(|word| word.to_string_lossy()) {
        Some(begun) => {
            let own = (command.get_name() != root.get_name()).then_some(command);
            let flags = root.get_arguments().chain(own.into_iter().flat_map(Command::get_arguments));
            let given = |flag: &String| line.iter().any(|word| word == flag.as_str());
            let open = flags.map(spellings).filter(|names| !names.iter().any(given)).flatten();
            open.filter(|flag| flag.starts_with(&*begun)).collect()
        }
        None => commands(command),
    };
    names.join("\n")
}

fn commands(command: &Command) -> Vec<String> {
    let described = std::env::var_os(env_vars::CLI_ZSH_AUTOCOMPLETE_HACK).is_some_and(|value| value == "1");
    let line = |command: &Command| match command.get_about().filter(|_| described) {
        Some(about) => format!("{}:{about}", command.get_name()),
        None => command.get_name().to_owned(),
    };
    let mut lines: Vec<String> = command.get_subcommands().map(line).collect();
    if !lines.is_empty() {
        lines.extend(["help".to_owned(), "h".to_owned()]);
    }
    lines
}

fn spellings(arg: &Arg) -> Vec<String> {
    let long = arg.get_long().map(|long| format!("--{long}"));
    let aliases = arg.get_visible_aliases().unwrap_or_default().into_iter().map(|alias| format!("--{alias}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    long.into_iter().chain(aliases).chain(short).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::ArgAction;

    use super::*;

    fn ask(line: &[&str]) -> String {
        let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let decrypt = Command::new("decrypt").arg(switch("in-place").short('i'));
        let root = Command::new("sops").arg(switch("indent")).subcommand(decrypt).subcommand(Command::new("edit"));
        answer(&root, &line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn commands_follow_nothing_and_flags_what_begins_like_one() {
        assert_eq!(ask(&[]), "decrypt\nedit\nhelp\nh");
        assert_eq!(ask(&["--in"]), "--indent");
        assert_eq!(ask(&["decrypt", "--in"]), "--indent\n--in-place");
        assert_eq!(ask(&["decrypt", "-"]), "--indent\n--in-place\n-i");
        assert_eq!(ask(&["decrypt", "file"]), "");
        assert_eq!(asked(&["-d".into(), FLAG.into()]), Some(&["-d".into()][..]));
        assert_eq!(asked(&[FLAG.into(), "-d".into()]), None);
    }
}
