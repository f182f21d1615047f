//! `operator generate-root`: a root token from shares of the key, encoded with a one-time password.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bulla_core::SecretBytes;
use bulla_core::json::Object;
use zeroize::Zeroizing;

use super::unseal::cannot_ask;
use super::{Command, Output};
use crate::answer::{number, read_data, text, truth};
use crate::client::Call;
use crate::context::{Context, print_bare, say, secret, warn};
use crate::failure::Failure;
use crate::flags::{Kind, flag};
use crate::show::{Format, Shown, table};

pub(super) const COMMANDS: &[Command] = &[Command {
    name: "operator generate-root",
    usage: "[KEY | @FILE | -]",
    about: "Make a root token with shares of the key",
    output: Output::Format,
    flags: &[
        flag("cancel", Kind::Switch, "Forget what was begun"),
        flag("decode", Kind::Text, "Decode this token with -otp; \"-\" reads it from standard input"),
        flag("generate-otp", Kind::Switch, "Make a one-time password"),
        flag("init", Kind::Switch, "Begin"),
        flag("nonce", Kind::Text, "The number of what was begun"),
        flag("otp", Kind::Text, "The one-time password: TEXT, @FILE or -"),
        flag("pgp-key", Kind::Text, "The key that the token is encrypted for"),
        flag("status", Kind::Switch, "Show what was begun"),
        flag("dr-token", Kind::Switch, ""),
        flag("recovery-token", Kind::Switch, ""),
    ],
    words: (0, Some(1)),
    run: generate_root,
}];

fn generate_root(context: &Context<'_>) -> Result<u8, Failure> {
    let flags = &context.flags;
    for name in ["pgp-key", "dr-token", "recovery-token"] {
        if flags.text(name).is_some() {
            return Err(Failure::usage(format!("-{name} is not supported")));
        }
    }
    if flags.is_on("generate-otp") {
        return generate_otp(context);
    }
    if let Some(encoded) = flags.full("decode") {
        return decode(context, encoded);
    }
    if flags.is_on("cancel") {
        attempt(context, Call::delete, "Error canceling root token generation")?;
        say("Success! Root token generation canceled (if it was started)")?;
        return Ok(0);
    }
    if flags.is_on("init") {
        let body = match flags.full("otp") {
            Some(otp) => bulla_core::object! { "otp": secret(otp)?.expose() },
            None => Object::new(),
        };
        let begun = attempt(context, |path| Call::put(path, body.clone()), "Error initializing root generation")?;
        if !text(&begun, "otp").is_empty() && context.format()? == Format::Table {
            warn(
                "A One-Time-Password has been generated for you and is shown in the OTP field.\nYou will need this value to decode the resulting root token, so keep it safe.\n",
            );
        }
        return show(context, &begun);
    }
    if flags.is_on("status") {
        let status = attempt(context, Call::get, "Error getting root generation status")?;
        return show(context, &status);
    }
    give_share(context)
}

/// Asks at OpenBao's newer place, then at Vault's.
fn attempt<'a>(context: &Context<'_>, call: impl Fn(&'static str) -> Call<'a>, doing: &str) -> Result<Object, Failure> {
    at_places(context, ["sys/generate-root-token/attempt", "sys/generate-root/attempt"], call, doing)
}

fn at_places<'a>(
    context: &Context<'_>,
    places: [&'static str; 2],
    call: impl Fn(&'static str) -> Call<'a>,
    doing: &str,
) -> Result<Object, Failure> {
    let client = context.client()?;
    let [new, old] = places;
    let mut asked = call(new);
    let mut reply = client.send(&asked)?;
    if matches!(reply.status(), 404 | 405) {
        asked = call(old);
        reply = client.send(&asked)?;
    }
    if !reply.is_success() {
        return Err(client.refused(&asked, &reply).doing(doing));
    }
    if reply.body().trim_ascii().is_empty() { Ok(Object::new()) } else { read_data(reply.body()) }
}

fn give_share(context: &Context<'_>) -> Result<u8, Failure> {
    let status = attempt(context, |path| Call::get(path).preparing(), "Error getting root generation status")?;
    if !truth(&status, "started") {
        return Err(Failure::usage(
            "No root generation is in progress. Start a root generation by running\nthis command with -init.",
        ));
    }
    let current = text(&status, "nonce");
    let (nonce, key) = match context.words() {
        [] if context.flags.is_on("non-interactive") => return Err(cannot_ask("-non-interactive is set")),
        [] => {
            // Whoever types a share sees what it is for; a script has to say so.
            warn(&format!("Operation nonce: {current}"));
            (current, bulla_kms::ask_secret("Unseal Key (will be hidden): ").map_err(|why| cannot_ask(&why))?)
        }
        _ => match context.flags.full("nonce") {
            Some(nonce) => (nonce, secret(context.word(0))?),
            None => return Err(Failure::usage("Missing nonce value: specify it via the -nonce flag")),
        },
    };
    let body = bulla_core::object! { "key": key.expose(), "nonce": nonce };
    let places = ["sys/generate-root-token/update", "sys/generate-root/update"];
    let status = at_places(context, places, |path| Call::put(path, body.clone()), "Error posting unseal key")?;
    show(context, &status)
}

fn show(context: &Context<'_>, status: &Object) -> Result<u8, Failure> {
    let format = context.format()?;
    if format != Format::Table {
        let fields = Shown::Fields(vec![
            ("nonce", Shown::from(text(status, "nonce"))),
            ("started", Shown::from(truth(status, "started"))),
            ("progress", Shown::from(number(status, "progress"))),
            ("required", Shown::from(number(status, "required"))),
            ("complete", Shown::from(truth(status, "complete"))),
            ("encoded_token", Shown::from(text(status, "encoded_token"))),
            ("encoded_root_token", Shown::from(text(status, "encoded_root_token"))),
            ("pgp_fingerprint", Shown::from(text(status, "pgp_fingerprint"))),
            ("otp", Shown::from(text(status, "otp"))),
            ("otp_length", Shown::from(number(status, "otp_length"))),
        ]);
        say(&fields.text(format))?;
        return Ok(0);
    }
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    row("Nonce", text(status, "nonce").to_owned());
    row("Started", truth(status, "started").to_string());
    row("Progress", format!("{}/{}", number(status, "progress"), number(status, "required")));
    row("Complete", truth(status, "complete").to_string());
    for (name, field) in [("PGP Fingerprint", "pgp_fingerprint"), ("Encoded Token", "encoded_token"), ("OTP", "otp")] {
        if !text(status, field).is_empty() {
            row(name, text(status, field).to_owned());
        }
    }
    if number(status, "otp_length") != 0 {
        row("OTP Length", number(status, "otp_length").to_string());
    }
    say(&table::columns(&rows))?;
    Ok(0)
}

fn generate_otp(context: &Context<'_>) -> Result<u8, Failure> {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let status = attempt(context, Call::get, "Error getting root generation status")?;
    let length = usize::try_from(number(&status, "otp_length")).ok().filter(|length| (1..=128).contains(length));
    let length = length.ok_or_else(|| Failure::remote("the server does not say how long the one-time password is"))?;
    let mut otp = Zeroizing::new(String::with_capacity(length));
    while otp.len() < length {
        let random = SecretBytes::random(64).map_err(|error| Failure::usage(format!("no random numbers: {error}")))?;
        // Bytes past the last whole round of letters would favour the first ones.
        let whole = 256 - 256 % LETTERS.len();
        let letters = random.expose().iter().map(|&byte| usize::from(byte)).filter(|&byte| byte < whole);
        for letter in letters.filter_map(|byte| LETTERS.get(byte % LETTERS.len())).take(length - otp.len()) {
            otp.push(char::from(*letter));
        }
    }
    let format = context.format()?;
    if format == Format::Table {
        return print_bare(&otp, format);
    }
    let fields = Shown::Fields(vec![("otp", Shown::from(otp.as_str())), ("otp_length", Shown::from(length))]);
    say(&fields.text(format))?;
    Ok(0)
}

fn decode(context: &Context<'_>, encoded: &str) -> Result<u8, Failure> {
    let Some(otp) = context.flags.full("otp") else {
        return Err(Failure::usage("Missing otp: use -otp to supply it"));
    };
    let (encoded, otp) = (secret(encoded)?, secret(otp)?);
    let text = encoded.expose().trim_end_matches('=');
    let decoded = STANDARD_NO_PAD.decode(text).or_else(|_| STANDARD.decode(encoded.expose()));
    let mut bytes = Zeroizing::new(decoded.map_err(|_| Failure::usage("Error decoding root token: it is not base64"))?);
    if bytes.len() != otp.expose().len() {
        return Err(Failure::usage(format!(
            "Error decoding root token: error xoring token: length of byte slices is not equivalent: {} != {}",
            bytes.len(),
            otp.expose().len()
        )));
    }
    bytes.iter_mut().zip(otp.expose().bytes()).for_each(|(byte, mask)| *byte ^= mask);
    let token = std::str::from_utf8(&bytes).ok().filter(|token| !token.chars().any(char::is_control));
    let token = token.ok_or_else(|| Failure::usage("Error decoding root token: this is not its one-time password"))?;
    let format = context.format()?;
    if format == Format::Table {
        return print_bare(token, format);
    }
    say(&Shown::Fields(vec![("token", Shown::from(token))]).text(format))?;
    Ok(0)
}
