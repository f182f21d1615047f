//! `operator unseal`: a share of the key.

use super::{Command, Output, status};
use crate::answer::read_object;
use crate::client::Call;
use crate::context::{Context, secret};
use crate::failure::Failure;
use crate::flags::{Kind, flag};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "operator unseal",
    usage: "[KEY | @FILE | -]",
    about: "Give a share of the key; enough of them unseal the server",
    output: Output::Format,
    flags: &[
        flag("migrate", Kind::Switch, "To another seal"),
        flag("reset", Kind::Switch, "Forget the shares that were given"),
    ],
    words: (0, Some(1)),
    run: unseal,
}];

fn unseal(context: &Context<'_>) -> Result<u8, Failure> {
    let body = if context.flags.is_on("reset") {
        bulla_core::object! { "reset": true }
    } else {
        let key = match context.words() {
            [] if context.flags.is_on("non-interactive") => return Err(cannot_ask("-non-interactive is set")),
            [] => bulla_kms::ask_secret("Unseal Key (will be hidden): ").map_err(|why| cannot_ask(&why))?,
            _ => secret(context.word(0))?,
        };
        bulla_core::object! { "key": key.expose(), "reset": false, "migrate": context.flags.is_on("migrate") }
    };
    let reply = context.call(&Call::put("sys/unseal", body)).map_err(|failure| failure.doing("Error unsealing"))?;
    let seal = read_object(reply.body())?;
    let leader = match context.call(&Call::get("sys/leader").preparing()) {
        Ok(reply) => read_object(reply.body()).unwrap_or_default(),
        Err(_) => bulla_core::json::Object::new(),
    };
    status::show(context, &seal, &leader)?;
    Ok(0)
}

/// Why a share was not asked for.
pub(super) fn cannot_ask(why: &str) -> Failure {
    Failure::usage(format!(
        "An error occurred attempting to ask for an unseal key: {why}. Give it as the argument, as @FILE, or as \"-\" to read it from standard input."
    ))
}
