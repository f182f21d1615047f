//! `login`: a token for a name and a password, a role's id and its secret, or a token itself; kept in `~/.vault-token`.

use bulla_core::SecretString;
use bulla_core::json::{Object, Value};
use bulla_kms::ask_secret;

use super::token::client_token;
use super::{Command, Output};
use crate::answer::{Answer, number, text, truth};
use crate::client::Call;
use crate::context::{Context, clean, print_bare, say, secret, warn};
use crate::failure::Failure;
use crate::flags::{Kind, flag};
use crate::helper;
use crate::show::{Format, wrapped};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "login",
    usage: "[-method=token|userpass|ldap|radius|approle|jwt|kubernetes] [AUTH K=V...]",
    about: "Get a token, and keep it for the next commands",
    output: Output::FieldAndFormat,
    flags: &[
        flag("method", Kind::Text, "How: token (if not given), userpass, ldap, radius, approle, jwt, kubernetes"),
        flag("no-print", Kind::Switch, "Print nothing"),
        flag("no-store", Kind::Switch, "Keep nothing"),
        flag("path", Kind::Text, "Where the method is mounted, if not at its name"),
        flag("token-only", Kind::Switch, "Print the token alone, keep nothing"),
    ],
    words: (0, None),
    run: login,
}];

/// Methods whose name is part of the path, and whose password may be asked for.
const BY_NAME: &[&str] = &["userpass", "ldap", "radius"];
/// Methods that take everything in the body.
const BY_BODY: &[&str] = &["approle", "jwt", "kubernetes"];

fn login(context: &Context<'_>) -> Result<u8, Failure> {
    let flags = &context.flags;
    let method = flags.full("method").unwrap_or("token");
    let path = flags.full("path").map_or(method, clean);
    let token_only = flags.is_on("token-only");
    let failed = |failure: Failure| failure.doing("Error authenticating");
    let answer = match method {
        "token" => by_token(context).map_err(|failure| if failure.status == 2 { failed(failure) } else { failure })?,
        _ if BY_NAME.contains(&method) || BY_BODY.contains(&method) => {
            by_data(context, method, path).map_err(failed)?
        }
        _ => {
            let program = context.name.program();
            let what = format!(
                "Unknown auth method: {method}. Use \"{program} auth list\" to see the complete list of auth methods. Additionally, some auth methods are only available via the HTTP API."
            );
            return Err(Failure::usage(wrapped(&what, 0)));
        }
    };
    let answer = unwrapped(context, answer, token_only)?;
    if answer.wrap_info.is_some() {
        return context.show(&answer);
    }
    let token = client_token(&answer).ok_or_else(|| Failure::remote("Error authenticating: no token in the answer"))?;
    if token_only {
        return print_bare(token.expose(), Format::Table);
    }
    let stores = !flags.is_on("no-store");
    if stores {
        helper::store(context.env(), &token)?;
        warn_of_variable(context);
    }
    if flags.is_on("no-print") {
        return Ok(0);
    }
    if !stores {
        warn(&format!(
            "The token was not stored in token helper. Set the {}_TOKEN environment\nvariable or pass the token below with each request to Vault.\n",
            context.name.prefix()
        ));
    }
    if flags.full("field").is_none() && context.format()? == Format::Table {
        let (program, product) = (context.name.program(), context.name.product());
        say(&format!(
            "Success! You are now authenticated. The token information displayed below is\nalready stored in the token helper. You do NOT need to run \"{program} login\" again.\nFuture {product} requests will automatically use this token.\n"
        ))?;
    }
    context.show(&answer)
}

fn warn_of_variable(context: &Context<'_>) {
    let set = ["BAO_TOKEN", "VAULT_TOKEN"].into_iter().find(|name| context.env().var(name).is_some());
    if let Some(name) = set {
        warn(&format!(
            "WARNING! The {name} environment variable is set! The value of this variable\nwill take precedence; if this is unwanted please unset {name} or update its\nvalue accordingly.\n"
        ));
    }
}

/// The token of the command line, looked up: what the server says of it, as if it had been given now.
fn by_token(context: &Context<'_>) -> Result<Answer, Failure> {
    let words = context.words();
    let given = match words {
        [] => None,
        [one] => Some(one.strip_prefix("token=").unwrap_or(one)),
        _ => return Err(Failure::usage(format!("Too many arguments (expected 0-1, got {})", words.len()))),
    };
    let token = match given {
        Some(text) => secret(text)?,
        None => asked(context, "Token (will be hidden): ", "token")?,
    };
    if token.expose().is_empty() {
        return Err(Failure::usage("a token must be passed to auth, please view the help for more information"));
    }
    let call = Call::get("auth/token/lookup-self").with_token(&token).preparing();
    let reply = context.call(&call).map_err(|failure| failure.doing("error looking up token"))?;
    let known = Answer::read(reply.body())?.unwrap_or_default();
    let known = known.data();
    let policies = known.get("policies").cloned().unwrap_or_default();
    let auth = bulla_core::object! {
        "client_token": token.expose(),
        "accessor": text(known, "accessor"),
        "policies": policies.clone(),
        "token_policies": policies,
        "identity_policies": known.get("identity_policies").cloned().unwrap_or_default(),
        "metadata": known.get("meta").cloned().unwrap_or_default(),
        "entity_id": text(known, "entity_id"),
        "lease_duration": number(known, "ttl"),
        "renewable": truth(known, "renewable"),
    };
    Ok(Answer { auth: Some(auth), ..Answer::default() })
}

fn by_data(context: &Context<'_>, method: &str, path: &str) -> Result<Answer, Failure> {
    let mut data = context.data(0)?;
    let path = if BY_NAME.contains(&method) {
        let name = match data.remove("username") {
            Some(Value::String(name)) if !name.is_empty() => name,
            _ => context.env().text("LOGNAME").or_else(|| context.env().text("USER")).ok_or_else(|| {
                Failure::remote("'username' not supplied and neither 'LOGNAME' nor 'USER' env vars set")
            })?,
        };
        if !data.contains_key("password") {
            let password = asked(context, "Password (will be hidden): ", "password")?;
            data.insert("password".to_owned(), password.expose().into());
        }
        format!("auth/{path}/login/{name}")
    } else {
        format!("auth/{path}/login")
    };
    send(context, &path, data)
}

/// Logs in without a token: an old one has no part in it.
fn send(context: &Context<'_>, path: &str, data: Object) -> Result<Answer, Failure> {
    let none = SecretString::from("");
    let answer = context.ask(&Call::put(path, data).with_token(&none))?;
    answer.ok_or_else(|| Failure::remote("the server answered nothing"))
}

/// What is in a wrapped answer, if the token alone was asked for.
fn unwrapped(context: &Context<'_>, answer: Answer, token_only: bool) -> Result<Answer, Failure> {
    let Some(wrap) = answer.wrap_info.as_ref().filter(|_| token_only) else { return Ok(answer) };
    let token = SecretString::from(text(wrap, "token"));
    let call = Call::put("sys/wrapping/unwrap", Object::new()).with_token(&token).preparing();
    context.ask(&call)?.ok_or_else(|| Failure::remote("the server answered nothing"))
}

fn asked(context: &Context<'_>, question: &str, what: &str) -> Result<SecretString, Failure> {
    if context.flags.is_on("non-interactive") {
        return Err(Failure::usage(format!(
            "'{what}' not supplied, and -non-interactive does not let it be asked for"
        )));
    }
    ask_secret(question).map_err(|why| {
        Failure::usage(format!(
            "the {what} was not given, and cannot be asked for: {why}; \"-\" takes it from standard input"
        ))
    })
}
