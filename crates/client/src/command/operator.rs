//! `operator`: init, seal, key-status, rotate, step-down, members.

use bulla_core::json::{Object, Value};

use super::{Command, Output};
use crate::answer::{number, read_data, read_object, text, texts, truth};
use crate::client::Call;
use crate::context::{Context, say};
use crate::failure::Failure;
use crate::flags::{Kind, flag};
use crate::show::{Format, Shown, plain, table};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "operator init",
        usage: "",
        about: "Make the keys of a new server",
        output: Output::Format,
        flags: &[
            flag("key-shares", Kind::Number, "How many shares the key is split into (5)"),
            flag("key-threshold", Kind::Number, "How many of them unseal (3)"),
            flag("n", Kind::Number, ""),
            flag("t", Kind::Number, ""),
            flag("pgp-keys", Kind::Texts, "Keys that shares are encrypted for"),
            flag("root-token-pgp-key", Kind::Text, "The key that the root token is encrypted for"),
            flag("recovery-pgp-keys", Kind::Texts, "Keys that recovery shares are encrypted for"),
            flag("recovery-shares", Kind::Number, "How many recovery shares (5), if it unseals by itself"),
            flag("recovery-threshold", Kind::Number, "How many of them are needed (3)"),
            flag("status", Kind::Switch, "Say whether it has keys: 0 if so, 2 if not"),
        ],
        words: (0, Some(0)),
        run: init,
    },
    Command {
        name: "operator seal",
        usage: "",
        about: "Seal the server",
        output: Output::None,
        flags: &[],
        words: (0, Some(0)),
        run: seal,
    },
    Command {
        name: "operator key-status",
        usage: "",
        about: "Show the encryption key's age and use",
        output: Output::Format,
        flags: &[],
        words: (0, Some(0)),
        run: key_status,
    },
    Command {
        name: "operator rotate",
        usage: "",
        about: "Encrypt with a new key from now on",
        output: Output::Format,
        flags: &[],
        words: (0, Some(0)),
        run: rotate,
    },
    Command {
        name: "operator step-down",
        usage: "",
        about: "Let another server be the active one",
        output: Output::None,
        flags: &[],
        words: (0, Some(0)),
        run: step_down,
    },
];

fn init(context: &Context<'_>) -> Result<u8, Failure> {
    if context.flags.is_on("status") {
        return init_status(context);
    }
    for name in ["pgp-keys", "root-token-pgp-key", "recovery-pgp-keys"] {
        if context.flags.text(name).is_some() {
            return Err(Failure::usage(format!("-{name} is not supported: the server does not encrypt for PGP keys")));
        }
    }
    let number_of = |name: &str, short: &str| context.flags.number(name).or_else(|| context.flags.number(short));
    // The peer asks which kind of seal it is, and sends what is meant for it.
    let known = context
        .call(&Call::get("sys/seal-status").preparing())
        .map_err(|failure| failure.doing("Error initializing"))?;
    let unseals_itself = truth(&read_object(known.body())?, "recovery_seal");
    let body = if unseals_itself {
        bulla_core::object! {
            "recovery_shares": context.flags.number("recovery-shares").unwrap_or(5),
            "recovery_threshold": context.flags.number("recovery-threshold").unwrap_or(3),
        }
    } else {
        bulla_core::object! {
            "secret_shares": number_of("key-shares", "n").unwrap_or(5),
            "secret_threshold": number_of("key-threshold", "t").unwrap_or(3),
        }
    };
    let (shares, threshold) =
        if unseals_itself { ("recovery_shares", "recovery_threshold") } else { ("secret_shares", "secret_threshold") };
    let (shares, threshold) = (number(&body, shares), number(&body, threshold));
    let reply = context.call(&Call::put("sys/init", body)).map_err(|failure| failure.doing("Error initializing"))?;
    let made = read_object(reply.body())?;
    let list = |name: &str| texts(made.get(name)).unwrap_or_default();
    let format = context.format()?;
    if format != Format::Table {
        let fields = Shown::Fields(vec![
            ("unseal_keys_b64", Shown::Value(list("keys_base64").into())),
            ("unseal_keys_hex", Shown::Value(list("keys").into())),
            ("unseal_shares", Shown::from(if unseals_itself { 1 } else { shares })),
            ("unseal_threshold", Shown::from(if unseals_itself { 1 } else { threshold })),
            ("recovery_keys_b64", Shown::Value(list("recovery_keys_base64").into())),
            ("recovery_keys_hex", Shown::Value(list("recovery_keys").into())),
            ("recovery_keys_shares", Shown::from(if unseals_itself { shares } else { 0 })),
            ("recovery_keys_threshold", Shown::from(if unseals_itself { threshold } else { 0 })),
            ("root_token", Shown::Value(text(&made, "root_token").into())),
        ]);
        say(&fields.text(format))?;
        return Ok(0);
    }
    for (title, name) in [("Unseal Key", "keys_base64"), ("Recovery Key", "recovery_keys_base64")] {
        for (place, key) in list(name).iter().enumerate() {
            say(&format!("{title} {}: {key}", place + 1))?;
        }
    }
    say(&format!("\nInitial Root Token: {}\n", text(&made, "root_token")))?;
    let product = context.name.program();
    say(&if unseals_itself {
        format!(
            "Success! Vault is initialized\n\nRecovery key initialized with {shares} key shares and a key threshold of {threshold}. Please\nsecurely distribute the key shares printed above."
        )
    } else {
        format!(
            "Vault initialized with {shares} key shares and a key threshold of {threshold}. Give each share\nto another person. After each start, and each seal, {threshold} of them are needed to\nunseal the server.\n\nNobody has the key itself: with fewer than {threshold} shares nothing stored can be read\nagain.\n\nNew shares are made with \"{product} operator rekey\"."
        )
    })?;
    Ok(0)
}

fn init_status(context: &Context<'_>) -> Result<u8, Failure> {
    let failed = |failure: Failure| failure.doing("Error checking init status").with_status(1);
    let reply = context.call(&Call::get("sys/init")).map_err(failed)?;
    let is_ready = truth(&read_object(reply.body()).map_err(failed)?, "initialized");
    let format = context.format()?;
    if format == Format::Table {
        say(if is_ready { "Vault is initialized" } else { "Vault is not initialized" })?;
    } else {
        say(&Shown::Fields(vec![("Initialized", Shown::Value(Value::Bool(is_ready)))]).text(format))?;
    }
    Ok(if is_ready { 0 } else { 2 })
}

fn seal(context: &Context<'_>) -> Result<u8, Failure> {
    let call = Call::put("sys/seal", Object::new());
    context.call(&call).map_err(|failure| failure.doing("Error sealing"))?;
    say("Success! Vault is sealed.")?;
    Ok(0)
}

fn key_status(context: &Context<'_>) -> Result<u8, Failure> {
    let status = read_key_status(context)?;
    show_key_status(context, &status)
}

fn read_key_status(context: &Context<'_>) -> Result<Object, Failure> {
    let reply =
        context.call(&Call::get("sys/key-status")).map_err(|failure| failure.doing("Error reading key status"))?;
    read_data(reply.body())
}

fn show_key_status(context: &Context<'_>, status: &Object) -> Result<u8, Failure> {
    let format = context.format()?;
    if format != Format::Table {
        let fields = Shown::Fields(vec![
            ("term", Shown::from(number(status, "term"))),
            ("install_time", Shown::from(text(status, "install_time"))),
            ("encryptions", Shown::from(number(status, "encryptions"))),
        ]);
        say(&fields.text(format))?;
        return Ok(0);
    }
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    say(&table::columns(&[
        row("Key Term", number(status, "term").to_string()),
        row("Install Time", plain::rfc822(text(status, "install_time"))),
        row("Encryption Count", number(status, "encryptions").to_string()),
    ]))?;
    Ok(0)
}

fn rotate(context: &Context<'_>) -> Result<u8, Failure> {
    let call = Call::new(reqwest::Method::POST, "sys/rotate");
    context.call(&call).map_err(|failure| failure.doing("Error rotating key"))?;
    let status = read_key_status(context)?;
    if context.format()? == Format::Table {
        say("Success! Rotated key\n")?;
    }
    show_key_status(context, &status)
}

fn step_down(context: &Context<'_>) -> Result<u8, Failure> {
    let call = Call::new(reqwest::Method::PUT, "sys/step-down");
    context.call(&call).map_err(|failure| failure.doing("Error stepping down"))?;
    say(&format!("Success! Stepped down: {}", context.address()))?;
    Ok(0)
}
