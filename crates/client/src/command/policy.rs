//! `policy`: list, read, write, delete, fmt.

use std::path::Path;

use bulla_core::file;
use bulla_core::json::{Object, Value};

use super::values::success;
use super::{Command, Output};
use crate::answer::{Answer, texts};
use crate::client::Call;
use crate::context::{Context, clean, say, warn};
use crate::data;
use crate::failure::Failure;
use crate::policy_text;
use crate::show::{Format, Shown};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "policy list",
        usage: "",
        about: "List policies",
        output: Output::Format,
        flags: &[],
        words: (0, Some(0)),
        run: list,
    },
    Command {
        name: "policy read",
        usage: "NAME",
        about: "Print a policy",
        output: Output::Format,
        flags: &[],
        words: (1, Some(1)),
        run: read,
    },
    Command {
        name: "policy write",
        usage: "NAME PATH|-",
        about: "Write a policy from a file",
        output: Output::None,
        flags: &[],
        words: (2, Some(2)),
        run: write,
    },
    Command {
        name: "policy delete",
        usage: "NAME",
        about: "Delete a policy",
        output: Output::None,
        flags: &[],
        words: (1, Some(1)),
        run: delete,
    },
    Command {
        name: "policy fmt",
        usage: "PATH",
        about: "Write a policy's file anew, in the usual form. No server is asked",
        output: Output::None,
        flags: &[],
        words: (1, Some(1)),
        run: fmt,
    },
];

fn list(context: &Context<'_>) -> Result<u8, Failure> {
    let answer =
        context.ask(&Call::list("sys/policies/acl")).map_err(|failure| failure.doing("Error listing policies"))?;
    let answer = answer.unwrap_or_default();
    let names = texts(answer.data().get("keys").or_else(|| answer.data().get("policies"))).unwrap_or_default();
    if context.format()? == Format::Table {
        for name in names {
            say(&name)?;
        }
        return Ok(0);
    }
    context.show_list("", &names)
}

fn read(context: &Context<'_>) -> Result<u8, Failure> {
    let name = clean(context.word(0)).to_lowercase();
    let path = format!("sys/policies/acl/{name}");
    let answer = context
        .read(&Call::get(&path))
        .map_err(|failure| failure.doing(&format!("Error reading policy named {name}")))?;
    let rules = answer.as_ref().map(Answer::data).and_then(|data| data.get("policy").or_else(|| data.get("rules")));
    let Some(rules) = rules.and_then(Value::as_str) else {
        return Err(Failure::remote(format!("No policy named: {name}")));
    };
    let format = context.format()?;
    if format == Format::Table {
        say(rules.trim())?;
        return Ok(0);
    }
    let object: Object = bulla_core::object! { "policy": rules };
    say(&Shown::Object(&object).text(format))?;
    Ok(0)
}

fn write(context: &Context<'_>) -> Result<u8, Failure> {
    let given = context.word(0);
    let name = clean(given).to_lowercase();
    let place = context.word(1);
    let rules = if place == "-" {
        data::read_all(&mut std::io::stdin().lock()).map_err(Failure::remote)
    } else {
        data::read_file(place).map_err(|why| Failure::remote(format!("Error opening policy file: {why}")))
    }?;
    let rules = std::str::from_utf8(rules.expose()).map_err(|_| Failure::usage("the policy is not UTF-8"))?;
    if name != given {
        warn(&format!("Policy name was converted from {given:?} to {name:?}"));
    }
    let path = format!("sys/policies/acl/{name}");
    context
        .call(&Call::put(&path, bulla_core::object! { "policy": rules }))
        .map_err(|failure| failure.doing("Error uploading policy"))?;
    success(context, &format!("Success! Uploaded policy: {name}"))
}

fn delete(context: &Context<'_>) -> Result<u8, Failure> {
    let name = clean(context.word(0)).to_lowercase();
    let path = format!("sys/policies/acl/{name}");
    context.call(&Call::delete(&path)).map_err(|failure| failure.doing(&format!("Error deleting {name}")))?;
    success(context, &format!("Success! Deleted policy: {name}"))
}

fn fmt(context: &Context<'_>) -> Result<u8, Failure> {
    let place = Path::new(context.word(0));
    let failed =
        |doing: &str, error: &dyn std::fmt::Display| Failure::usage(format!("Error {doing} source file: {error}"));
    let text = file::read(place, policy_text::LONGEST as u64).map_err(|error| failed("reading", &error))?;
    let text =
        std::str::from_utf8(text.expose()).map_err(|_| Failure::usage("failed to parse policy: it is not UTF-8"))?;
    let written = policy_text::format(text)?;
    if written != text {
        file::replace(place, written.as_bytes(), 0o644).map_err(|error| failed("writing to", &error))?;
    }
    success(context, &format!("Success! Formatted policy: {}", place.display()))
}
