//! `operator rekey` and `operator rotate-keys`: new shares of the key. One thing at two places: Vault's and OpenBao's.

use bulla_core::json::{Object, Value};

use super::unseal::cannot_ask;
use super::{Command, Output};
use crate::answer::{number, read_data, text, texts, truth};
use crate::client::Call;
use crate::context::{Context, say, secret, warn};
use crate::failure::Failure;
use crate::flags::{Flag, Kind, flag};
use crate::show::{Format, Shown, table};

const FLAGS: &[Flag] = &[
    flag("cancel", Kind::Switch, "Forget what was begun"),
    flag("init", Kind::Switch, "Begin"),
    flag("key-shares", Kind::Number, "How many new shares (5)"),
    flag("key-threshold", Kind::Number, "How many of them are needed (3)"),
    flag("n", Kind::Number, ""),
    flag("t", Kind::Number, ""),
    flag("nonce", Kind::Text, "The number of what was begun"),
    flag("status", Kind::Switch, "Show what was begun"),
    flag("target", Kind::Text, "barrier, or recovery"),
    flag("verify", Kind::Switch, "Give a new share, to prove that it was kept; with -init: ask for that proof"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "operator rekey",
        usage: "[KEY | @FILE | -]",
        about: "Make new shares of the key",
        output: Output::Format,
        flags: FLAGS,
        words: (0, Some(1)),
        run: rekey,
    },
    Command {
        name: "operator rotate-keys",
        usage: "[KEY | @FILE | -]",
        about: "Make new shares of the key, the newer way",
        output: Output::Format,
        flags: FLAGS,
        words: (0, Some(1)),
        run: rotate_keys,
    },
];

/// How one of the two does it.
struct Way {
    /// Where, without the last part.
    place: String,
    /// `rekey`, `rotation`.
    word: &'static str,
}

impl Way {
    fn path(&self, end: &str) -> String {
        format!("{}/{end}", self.place)
    }
}

fn rekey(context: &Context<'_>) -> Result<u8, Failure> {
    let place = match target(context)? {
        Target::Barrier => "sys/rekey",
        Target::Recovery => "sys/rekey-recovery-key",
    };
    run(context, &Way { place: place.to_owned(), word: "rekey" })
}

fn rotate_keys(context: &Context<'_>) -> Result<u8, Failure> {
    let place = match target(context)? {
        Target::Barrier => "sys/rotate/root",
        Target::Recovery => "sys/rotate/recovery",
    };
    run(context, &Way { place: place.to_owned(), word: "rotation" })
}

enum Target {
    Barrier,
    Recovery,
}

fn target(context: &Context<'_>) -> Result<Target, Failure> {
    match context.flags.full("target").unwrap_or("barrier") {
        "barrier" | "root" => Ok(Target::Barrier),
        "recovery" | "hsm" => Ok(Target::Recovery),
        other => Err(Failure::usage(format!("Unknown target: {other:?}"))),
    }
}

fn run(context: &Context<'_>, way: &Way) -> Result<u8, Failure> {
    let flags = &context.flags;
    let word = way.word;
    let verify = flags.is_on("verify");
    let first = if verify { "verify" } else { "init" };
    let object = |call: &Call<'_>, doing: &str| {
        let reply = context.call(call).map_err(|failure| failure.doing(&format!("Error {doing}")))?;
        if reply.body().trim_ascii().is_empty() { Ok(Object::new()) } else { read_data(reply.body()) }
    };
    if flags.is_on("cancel") {
        object(&Call::delete(&way.path(first)), &format!("canceling {word}"))?;
        say(&format!("Success! Canceled {word} (if it was started)"))?;
        return Ok(0);
    }
    if flags.is_on("init") {
        let number_of = |name: &str, short: &str| flags.number(name).or_else(|| flags.number(short));
        let mut body = bulla_core::object! {
            "secret_shares": number_of("key-shares", "n").unwrap_or(5),
            "secret_threshold": number_of("key-threshold", "t").unwrap_or(3),
        };
        if verify {
            body.insert("require_verification".to_owned(), true.into());
        }
        let begun = object(&Call::put(&way.path("init"), body), &format!("initializing {word}"))?;
        warn("WARNING! Whoever loses the new shares cannot get them again: keep them as soon as they are printed.");
        if context.format()? == Format::Table {
            say("")?;
        }
        return show(context, &begun);
    }
    if flags.is_on("status") {
        let status = object(&Call::get(&way.path(first)), &format!("reading {word} status"))?;
        return show(context, &status);
    }
    let status = object(&Call::get(&way.path(first)).preparing(), &format!("getting {word} status"))?;
    if !verify && !truth(&status, "started") {
        return Err(Failure::usage(format!(
            "No {word} is in progress. Start a {word} by running this command with -init."
        )));
    }
    let current = text(&status, "nonce");
    let (nonce, key) = match context.words() {
        [] if flags.is_on("non-interactive") => return Err(cannot_ask("-non-interactive is set")),
        [] => {
            warn(&format!("Operation nonce: {current}"));
            (current, bulla_kms::ask_secret("Unseal Key (will be hidden): ").map_err(|why| cannot_ask(&why))?)
        }
        _ => match flags.full("nonce") {
            Some(nonce) => (nonce, secret(context.word(0))?),
            None => return Err(Failure::usage("Missing nonce value: specify it via the -nonce flag")),
        },
    };
    let body = bulla_core::object! { "key": key.expose(), "nonce": nonce };
    let path = way.path(if verify { "verify" } else { "update" });
    let answer = object(&Call::put(&path, body), "posting unseal key")?;
    if truth(&answer, "complete") { show_new(context, way, &status, &answer) } else { show(context, &answer) }
}

fn show(context: &Context<'_>, status: &Object) -> Result<u8, Failure> {
    if context.format()? != Format::Table {
        return context.show_object(status);
    }
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("Nonce", text(status, "nonce").to_owned());
    row("Started", truth(status, "started").to_string());
    if truth(status, "started") {
        row("Progress", format!("{}/{}", number(status, "progress"), number(status, "required")));
        row("New Shares", number(status, "n").to_string());
        row("New Threshold", number(status, "t").to_string());
        row("Verification Required", truth(status, "verification_required").to_string());
    }
    if !text(status, "verification_nonce").is_empty() {
        row("Verification Nonce", text(status, "verification_nonce").to_owned());
    }
    say(&table::with_header(&["Key", "Value"], &rows))?;
    Ok(0)
}

fn show_new(context: &Context<'_>, way: &Way, status: &Object, answer: &Object) -> Result<u8, Failure> {
    let format = context.format()?;
    let keys = texts(answer.get("keys_base64")).unwrap_or_default();
    if format != Format::Table {
        say(&Shown::Object(answer).text(format))?;
        return Ok(0);
    }
    for (place, key) in keys.iter().enumerate() {
        say(&format!("Key {}: {key}", place + 1))?;
    }
    say(&format!("\nOperation nonce: {}", text(answer, "nonce")))?;
    let is_waiting = answer.get("verification_required") == Some(&Value::Bool(true));
    let (shares, threshold) = (number(status, "n"), number(status, "t"));
    say(&if is_waiting {
        format!("\nThe new shares are used once {threshold} of them were given with -verify.")
    } else {
        format!(
            "\nThe {} is done: {shares} new shares, of which {threshold} are needed. The old ones are of no use any more.",
            way.word
        )
    })?;
    Ok(0)
}
