//! Help, made from the table of commands.

use std::collections::BTreeMap;

use crate::Name;
use crate::command::{Command, HTTP, all};
use crate::flags::{Flag, Kind};

/// The commands of a group; of all, if it has no name.
pub(crate) fn group(name: Name, group: &str) -> String {
    let program = name.program();
    let mut text = match group {
        "" => format!("Usage: {program} <command> [args]\n\nCommands:\n"),
        group => format!("Usage: {program} {group} <subcommand> [options] [args]\n\nSubcommands:\n"),
    };
    let rows = children(group);
    let width = rows.keys().map(|name| name.len()).max().unwrap_or(0);
    for (name, about) in &rows {
        text.push_str(&format!("    {name:width$}    {about}\n"));
    }
    if group.is_empty() {
        text.push_str(&format!("\nThis is bulla under the name {program:?}. \"{program} COMMAND -h\" says more."));
    }
    text.trim_end().to_owned()
}

/// The next words after a group's name, each with what it does.
pub(crate) fn children(group: &str) -> BTreeMap<&'static str, &'static str> {
    // Those that the program has beside this crate.
    let mut rows: BTreeMap<_, _> = match group {
        "" => BTreeMap::from([("server", "Start a server")]),
        "operator" => BTreeMap::from([("migrate", "Copy a stopped server's storage to another")]),
        _ => BTreeMap::new(),
    };
    for command in all() {
        let rest = match group {
            "" => Some(command.name),
            group => command.name.strip_prefix(group).and_then(|rest| rest.strip_prefix(' ')),
        };
        match rest.map(|rest| rest.split_once(' ').map_or((rest, true), |(word, _)| (word, false))) {
            Some((word, true)) => drop(rows.insert(word, command.about)),
            Some((word, false)) => drop(rows.entry(word).or_insert("A group of commands")),
            None => {}
        }
    }
    rows
}

/// One command.
pub(crate) fn command(name: Name, command: &Command) -> String {
    let mut text =
        format!("Usage: {} {} [options] {}\n\n  {}\n", name.program(), command.name, command.usage, command.about);
    for flags in command.known_flags() {
        if flags.is_empty() {
            continue;
        }
        let is_http = flags.first().map(|flag| flag.name) == HTTP.first().map(|flag| flag.name);
        text.push_str(if is_http { "\nHTTP Options:\n" } else { "\nOptions:\n" });
        for flag in flags.iter().filter(|flag| !flag.about.is_empty()) {
            text.push_str(&format!("\n  -{}{}\n      {}\n", flag.name, value(flag), flag.about));
        }
    }
    text.trim_end().to_owned()
}

fn value(flag: &Flag) -> &'static str {
    match flag.kind {
        Kind::Switch => "",
        Kind::Text | Kind::Texts => "=<string>",
        Kind::Number => "=<int>",
        Kind::Time => "=<duration>",
        Kind::Pairs => "=<key=value>",
    }
}
