//! `unwrap`, `path-help`, `print token`, `version-history`.

use bulla_core::SecretString;
use bulla_core::json::{Object, Value};

use super::{Command, Output};
use crate::answer::{read_object, text, texts};
use crate::client::Call;
use crate::context::{Context, say, secret};
use crate::failure::Failure;
use crate::show::Format;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "unwrap",
        usage: "[TOKEN | @FILE | -]",
        about: "Print what a wrapping token stands for",
        output: Output::FieldAndFormat,
        flags: &[],
        words: (0, Some(1)),
        run: unwrap,
    },
    Command {
        name: "path-help",
        usage: "PATH",
        about: "Print help on a path of the API",
        output: Output::Format,
        flags: &[],
        words: (1, Some(1)),
        run: path_help,
    },
    Command {
        name: "print token",
        usage: "",
        about: "Print the token in use",
        output: Output::None,
        flags: &[],
        words: (0, Some(0)),
        run: print_token,
    },
    Command {
        name: "version-history",
        usage: "",
        about: "Print the versions that the server has had",
        output: Output::Format,
        flags: &[],
        words: (0, Some(0)),
        run: version_history,
    },
];

fn unwrap(context: &Context<'_>) -> Result<u8, Failure> {
    let given = match context.words() {
        [] => None,
        _ => Some(secret(context.word(0))?),
    };
    let failed = |failure: Failure| failure.doing("Error unwrapping");
    let mine = context.token()?;
    // Whoever has no token of his own asks with the wrapping token itself.
    let has_own = mine.as_ref().is_some_and(|token| !token.expose().is_empty());
    let token: &SecretString = match (&given, &mine) {
        (Some(given), _) => given,
        (None, Some(mine)) => mine,
        (None, None) => {
            return Err(Failure::usage("Not enough arguments (expected 1, got 0): there is no token to unwrap"));
        }
    };
    let call = match &given {
        Some(given) if has_own => Call::put("sys/wrapping/unwrap", bulla_core::object! { "token": given.expose() }),
        _ => Call::put("sys/wrapping/unwrap", Object::new()).with_token(token),
    };
    match context.ask(&call).map_err(failed)? {
        Some(answer) => context.show(&answer),
        None => Err(Failure::remote("Could not find wrapped response")),
    }
}

fn path_help(context: &Context<'_>) -> Result<u8, Failure> {
    let path = context.path(0);
    let reply = context
        .call(&Call::get(path).with_query("help", "1"))
        .map_err(|failure| failure.doing("Error retrieving help"))?;
    let answer = read_object(reply.body())?;
    let data = answer.get("data").and_then(Value::as_object).unwrap_or(&answer);
    if context.format()? == Format::Table {
        say(text(data, "help"))?;
        return Ok(0);
    }
    let openapi = data.get("openapi").filter(|openapi| !openapi.is_null());
    say(&crate::show::json::compact(openapi.unwrap_or(&Value::Null)))?;
    Ok(0)
}

fn print_token(context: &Context<'_>) -> Result<u8, Failure> {
    let token = context.token()?;
    say(token.as_ref().map_or("", SecretString::expose))?;
    Ok(0)
}

fn version_history(context: &Context<'_>) -> Result<u8, Failure> {
    let reply = context
        .call(&Call::list("sys/version-history"))
        .map_err(|failure| failure.doing("Error listing version history"))?;
    let answer = read_object(reply.body())?;
    if context.format()? != Format::Table {
        return context.show_object(&answer);
    }
    let data = answer.get("data").and_then(Value::as_object).unwrap_or(&answer);
    let versions = texts(data.get("keys")).unwrap_or_default();
    let known = data.get("key_info").and_then(Value::as_object);
    for version in versions {
        let when = known.and_then(|known| known.get(&version)).and_then(Value::as_object);
        say(&format!("{version}    {}", when.map_or("n/a", |when| text(when, "timestamp_installed"))))?;
    }
    Ok(0)
}
