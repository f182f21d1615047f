//! `token`: make, look up, renew, revoke.

use bulla_core::SecretString;
use bulla_core::json::{Object, Value};

use super::values::success;
use super::{Command, Output};
use crate::answer::{Answer, text, texts};
use crate::client::Call;
use crate::context::{Context, say, secret};
use crate::failure::Failure;
use crate::flags::{Flag, Kind, flag};
use crate::show::plain;

const ACCESSOR: Flag = flag("accessor", Kind::Switch, "The argument is an accessor, not a token");

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "token create",
        usage: "",
        about: "Make a token",
        output: Output::FieldAndFormat,
        flags: &[
            flag("display-name", Kind::Text, "Its name in audit logs"),
            flag("entity-alias", Kind::Text, "The alias it is for"),
            flag("explicit-max-ttl", Kind::Time, "The longest it can live"),
            flag("id", Kind::Text, "Its text: TOKEN, @FILE or -"),
            flag("metadata", Kind::Pairs, "A note, as often as needed"),
            flag("no-default-policy", Kind::Switch, "Without the policy \"default\""),
            flag("orphan", Kind::Switch, "Not revoked with the token in use"),
            flag("period", Kind::Time, "Renewable for ever, by this long each time"),
            flag("policy", Kind::Texts, "A policy, as often as needed"),
            flag("renewable", Kind::Switch, "Whether it can be renewed"),
            flag("role", Kind::Text, "By this role"),
            flag("ttl", Kind::Time, "How long it lives"),
            flag("type", Kind::Text, "service or batch"),
            flag("use-limit", Kind::Number, "How often it can be used"),
        ],
        words: (0, Some(0)),
        run: create,
    },
    Command {
        name: "token lookup",
        usage: "[TOKEN | ACCESSOR]",
        about: "Show what is known of a token",
        output: Output::FieldAndFormat,
        flags: &[ACCESSOR],
        words: (0, Some(1)),
        run: lookup,
    },
    Command {
        name: "token renew",
        usage: "[TOKEN | ACCESSOR]",
        about: "Let a token live longer",
        output: Output::Format,
        flags: &[ACCESSOR, flag("increment", Kind::Time, "By this long"), flag("i", Kind::Time, "")],
        words: (0, Some(1)),
        run: renew,
    },
    Command {
        name: "token revoke",
        usage: "[TOKEN | ACCESSOR]",
        about: "Revoke a token and what was made with it",
        output: Output::None,
        flags: &[
            ACCESSOR,
            flag("mode", Kind::Text, "orphan: its children stay; path: all made at a path"),
            flag("self", Kind::Switch, "The token in use"),
        ],
        words: (0, Some(1)),
        run: revoke,
    },
    Command {
        name: "token capabilities",
        usage: "[TOKEN] PATH",
        about: "Show what a token may do at a path",
        output: Output::Format,
        flags: &[ACCESSOR],
        words: (1, Some(2)),
        run: capabilities,
    },
];

fn create(context: &Context<'_>) -> Result<u8, Failure> {
    let flags = &context.flags;
    let mut body = Object::new();
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    for (flag, name) in [("display-name", "display_name"), ("entity-alias", "entity_alias"), ("type", "type")] {
        if let Some(text) = flags.full(flag) {
            put(name, text.into());
        }
    }
    if let Some(id) = flags.full("id") {
        put("id", secret(id)?.expose().into());
    }
    for (flag, name) in [("ttl", "ttl"), ("period", "period"), ("explicit-max-ttl", "explicit_max_ttl")] {
        if let Some(seconds) = flags.seconds(flag) {
            put(name, plain::go_duration(seconds).into());
        }
    }
    let notes: Object = flags.pairs("metadata").map(|(key, value)| (key.to_owned(), value.into())).collect();
    if !notes.is_empty() {
        put("meta", notes.into());
    }
    if !flags.texts("policy").is_empty() {
        put("policies", flags.texts("policy").into());
    }
    put("no_parent", flags.is_on("orphan").into());
    put("no_default_policy", flags.is_on("no-default-policy").into());
    put("renewable", flags.switch("renewable").unwrap_or(true).into());
    put("num_uses", flags.number("use-limit").unwrap_or(0).into());
    let path =
        flags.full("role").map_or_else(|| "auth/token/create".to_owned(), |role| format!("auth/token/create/{role}"));
    let answer = context.ask(&Call::post(&path, body)).map_err(|failure| failure.doing("Error creating token"))?;
    shown(context, answer)
}

fn shown(context: &Context<'_>, answer: Option<Answer>) -> Result<u8, Failure> {
    match answer {
        Some(answer) => context.show(&answer),
        None => Err(Failure::remote("the server answered nothing")),
    }
}

fn token_or_accessor(context: &Context<'_>) -> Result<Option<SecretString>, Failure> {
    if context.words().is_empty() {
        return Ok(None);
    }
    secret(context.word(0)).map(Some)
}

fn lookup(context: &Context<'_>) -> Result<u8, Failure> {
    let by_accessor = context.flags.is_on("accessor");
    let call = match token_or_accessor(context)? {
        None if by_accessor => return Err(Failure::usage("Not enough arguments with -accessor (expected 1, got 0)")),
        None => Call::get("auth/token/lookup-self"),
        Some(id) if by_accessor => {
            Call::post("auth/token/lookup-accessor", bulla_core::object! { "accessor": id.expose() })
        }
        Some(id) => Call::post("auth/token/lookup", bulla_core::object! { "token": id.expose() }),
    };
    let answer = context.ask(&call).map_err(|failure| failure.doing("Error looking up token"))?;
    shown(context, answer)
}

fn renew(context: &Context<'_>) -> Result<u8, Failure> {
    let by_accessor = context.flags.is_on("accessor");
    let increment = context.flags.seconds("increment").or_else(|| context.flags.seconds("i")).unwrap_or(0);
    let mut body = bulla_core::object! { "increment": increment };
    let path = match token_or_accessor(context)? {
        None if by_accessor => return Err(Failure::usage("Not enough arguments with -accessor (expected 1, got 0)")),
        None => "auth/token/renew-self",
        Some(id) if by_accessor => {
            body.insert("accessor".to_owned(), id.expose().into());
            "auth/token/renew-accessor"
        }
        Some(id) => {
            body.insert("token".to_owned(), id.expose().into());
            "auth/token/renew"
        }
    };
    let answer = context.ask(&Call::put(path, body)).map_err(|failure| failure.doing("Error renewing token"))?;
    shown(context, answer)
}

fn revoke(context: &Context<'_>) -> Result<u8, Failure> {
    let flags = &context.flags;
    let (mode, own, by_accessor) = (flags.full("mode"), flags.is_on("self"), flags.is_on("accessor"));
    let id = token_or_accessor(context)?;
    let call = match (id, own, by_accessor, mode) {
        (Some(_), true, ..) => return Err(Failure::usage("Too many arguments with -self (expected 0, got 1)")),
        (None, false, true, _) => {
            return Err(Failure::usage("Not enough arguments with -accessor (expected 1, got 0)"));
        }
        (None, false, false, _) => return Err(Failure::usage("Not enough arguments (expected 1 or -self, got 0)")),
        (_, true, true, _) => return Err(Failure::usage("Cannot use -self with -accessor!")),
        (_, true, _, Some(_)) => return Err(Failure::usage("Cannot use -self with -mode!")),
        (_, _, true, Some("orphan" | "path")) => {
            return Err(Failure::usage("Cannot use -accessor with -mode=orphan or -mode=path!"));
        }
        (None, true, ..) => Call::put("auth/token/revoke-self", Object::new()),
        (Some(id), _, true, None) => {
            Call::post("auth/token/revoke-accessor", bulla_core::object! { "accessor": id.expose() })
        }
        (Some(id), _, false, None) => Call::put("auth/token/revoke", bulla_core::object! { "token": id.expose() }),
        (Some(id), _, false, Some("orphan")) => {
            Call::put("auth/token/revoke-orphan", bulla_core::object! { "token": id.expose() })
        }
        (Some(prefix), _, false, Some("path")) => {
            let path = format!("sys/leases/revoke-prefix/{}", prefix.expose());
            context
                .call(&Call::new(reqwest::Method::PUT, &path))
                .map_err(|failure| failure.doing("Error revoking token"))?;
            return success(context, "Success! Revoked token (if it existed)");
        }
        (_, _, _, Some(other)) => return Err(Failure::usage(format!("Invalid mode: {other}"))),
    };
    context.call(&call).map_err(|failure| failure.doing("Error revoking token"))?;
    success(context, "Success! Revoked token (if it existed)")
}

fn capabilities(context: &Context<'_>) -> Result<u8, Failure> {
    let of_another = context.words().len() == 2;
    let path = context.word(usize::from(of_another));
    let by_accessor = context.flags.is_on("accessor");
    if by_accessor && !of_another {
        return Err(Failure::usage("Not enough arguments with -accessor (expected 2, got 1)"));
    }
    let call = if of_another {
        let id = secret(context.word(0))?;
        let (place, name) =
            if by_accessor { ("sys/capabilities-accessor", "accessor") } else { ("sys/capabilities", "token") };
        Call::post(place, bulla_core::object! { "path": path, name: id.expose() })
    } else {
        Call::post("sys/capabilities-self", bulla_core::object! { "path": path })
    };
    let reply = context.call(&call).map_err(|failure| failure.doing("Error listing capabilities"))?;
    let answer = Answer::read(reply.body())?.unwrap_or_default();
    let found = answer.data().get(path).or_else(|| answer.data().get("capabilities"));
    let mut found = texts(found).ok_or_else(|| Failure::remote("No capabilities found"))?;
    found.sort_unstable();
    if context.format()? == crate::show::Format::Table {
        say(&found.join(", "))?;
        return Ok(0);
    }
    context.show_list("", &found)
}

/// The token in an answer.
pub(super) fn client_token(answer: &Answer) -> Option<SecretString> {
    let token = text(answer.auth.as_ref()?, "client_token");
    (!token.is_empty()).then(|| SecretString::from(token))
}
