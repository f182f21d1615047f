//! `read`, `write`, `patch`, `list`, `scan`, `delete`: any path.

use bulla_core::json::{Object, Value};

use super::{Command, Output};
use crate::answer::{Answer, texts};
use crate::client::Call;
use crate::context::{Context, clean, print, say};
use crate::failure::Failure;
use crate::flags::{Flag, Kind, flag};
use crate::show::Format;

const FORCE: &[Flag] = &[flag("force", Kind::Switch, "Send nothing but the request, also -f")];
const PAGE: &[Flag] = &[
    flag("after", Kind::Text, "Begin after this name"),
    flag("limit", Kind::Number, "At most so many"),
    flag("detailed", Kind::Switch, ""),
];

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "read",
        usage: "PATH [K=V...]",
        about: "Read data and secrets",
        output: Output::FieldAndFormat,
        flags: &[],
        words: (1, None),
        run: read,
    },
    Command {
        name: "write",
        usage: "PATH [DATA K=V...]",
        about: "Write data, settings and secrets",
        output: Output::FieldAndFormat,
        flags: FORCE,
        words: (1, None),
        run: write,
    },
    Command {
        name: "patch",
        usage: "PATH [DATA K=V...]",
        about: "Change parts of data, settings and secrets",
        output: Output::FieldAndFormat,
        flags: FORCE,
        words: (1, None),
        run: patch,
    },
    Command {
        name: "list",
        usage: "PATH",
        about: "List names",
        output: Output::Format,
        flags: PAGE,
        words: (1, Some(1)),
        run: list,
    },
    Command {
        name: "scan",
        usage: "PATH",
        about: "List names, folders' too",
        output: Output::Format,
        flags: PAGE,
        words: (1, Some(1)),
        run: scan,
    },
    Command {
        name: "delete",
        usage: "PATH [K=V...]",
        about: "Delete secrets and settings",
        output: Output::FieldAndFormat,
        flags: &[],
        words: (1, None),
        run: delete,
    },
];

fn read(context: &Context<'_>) -> Result<u8, Failure> {
    let path = context.path(0);
    let data = context.data(1)?;
    let call = with_query(Call::get(path), &data);
    if context.format()? == Format::Raw {
        let reply = context.call(&call).map_err(|failure| failure.doing(&format!("Error reading: {path}")))?;
        print(&format!("{}\n", String::from_utf8_lossy(reply.body())))?;
        return Ok(0);
    }
    let answer = context.read(&call).map_err(|failure| failure.doing(&format!("Error reading {path}")))?;
    match answer {
        Some(answer) => context.show(&answer),
        None => Err(nothing_at(path)),
    }
}

/// The failure to find anything.
pub(super) fn nothing_at(path: &str) -> Failure {
    Failure::remote(format!("No value found at {path}"))
}

fn with_query<'a>(mut call: Call<'a>, data: &'a Object) -> Call<'a> {
    for (name, value) in data {
        let values = texts(Some(value)).unwrap_or_else(|| vec![crate::show::plain::value(value)]);
        for value in values {
            call = call.with_query(name, value);
        }
    }
    call
}

fn write(context: &Context<'_>) -> Result<u8, Failure> {
    let path = context.path(0);
    let data = context.data(1)?;
    if data.is_empty() && !context.flags.is_on("force") {
        return Err(Failure::usage("Must supply data or use -force"));
    }
    // The peer keeps a slash at the end, which asks for a folder.
    let call = if data.is_empty() { Call::new(reqwest::Method::PUT, path) } else { Call::put(path, data) };
    written(context, path, &call)
}

fn patch(context: &Context<'_>) -> Result<u8, Failure> {
    let path = context.path(0);
    let data = context.data(1)?;
    if data.is_empty() && !context.flags.is_on("force") {
        return Err(Failure::usage("Must supply data or use -force"));
    }
    written(context, path, &Call::patch(path, data))
}

/// Sends what writes to `path`, and says what came of it.
pub(super) fn written(context: &Context<'_>, path: &str, call: &Call<'_>) -> Result<u8, Failure> {
    let answer = context.ask(call).map_err(|failure| failure.doing(&format!("Error writing data to {path}")))?;
    match answer {
        Some(answer) => context.show(&answer),
        None => success(context, &format!("Success! Data written to: {path}")),
    }
}

/// Says that something was done; to people alone, where a program reads the answer.
pub(super) fn success(context: &Context<'_>, text: &str) -> Result<u8, Failure> {
    if context.format()? == Format::Table {
        say(text)?;
    }
    Ok(0)
}

fn list(context: &Context<'_>) -> Result<u8, Failure> {
    let path = context.path(0);
    names(context, path, &with_page(context, Call::list(path)))
}

fn scan(context: &Context<'_>) -> Result<u8, Failure> {
    let path = context.path(0);
    names(context, path, &with_page(context, Call::get(path).with_query("scan", "true")))
}

fn with_page<'a>(context: &Context<'_>, mut call: Call<'a>) -> Call<'a> {
    for name in ["after", "limit"] {
        if let Some(value) = context.flags.full(name) {
            call = call.with_query(name, value);
        }
    }
    call
}

/// Prints the names that a listing gives.
pub(super) fn names(context: &Context<'_>, path: &str, call: &Call<'_>) -> Result<u8, Failure> {
    let answer = context.read(call).map_err(|failure| failure.doing(&format!("Error listing {path}")))?;
    let format = context.format()?;
    let nothing = |answer: &str| {
        if format == Format::Table {
            return Err(Failure::remote(format!("{answer} {path}")));
        }
        say("{}")?;
        Ok(2)
    };
    let Some(answer) = answer else { return nothing("No value found at") };
    if answer.wrap_info.is_some() {
        return context.show(&answer);
    }
    if format == Format::Table {
        context.show_warnings(&answer);
    }
    match keys(&answer) {
        Some(keys) => context.show_list("Keys", &keys),
        None => nothing("No entries found at"),
    }
}

fn keys(answer: &Answer) -> Option<Vec<String>> {
    texts(answer.data().get("keys").filter(|keys| !matches!(keys, Value::Array(keys) if keys.is_empty())))
}

fn delete(context: &Context<'_>) -> Result<u8, Failure> {
    let path = clean(context.word(0));
    let data = context.data(1)?;
    let answer = context.ask(&with_query(Call::delete(path), &data));
    let answer = answer.map_err(|failure| failure.doing(&format!("Error deleting {path}")))?;
    match answer {
        Some(answer) => context.show(&answer),
        None => success(context, &format!("Success! Data deleted (if it existed) at: {path}")),
    }
}
