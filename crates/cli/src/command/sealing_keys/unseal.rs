//! `sealing-keys unseal`: one person's share for a controller that waits.
//!
//! The share is typed where nobody sees it, or comes on standard input; never as an argument. It leaves this process sealed to the
//! controller's key of this start.

use std::io::{IsTerminal, Read};

use bulla_core::{SecretBytes, SecretString};
use bulla_kms::shares::{Share, ShareError};
use bulla_operator::sealing::keys::http;
use bulla_operator::sealing::keys::unseal::State;
use clap::Args;
use kube::{Client, Config};
use serde_json::{Value, json};

use super::{Output, api};
use crate::app::App;
use crate::args::sealing_keys::WhereArgs;
use crate::error::Failure;
use crate::exit::Code;
use crate::{output, term};

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla sealing-keys unseal                        asks for your share, and gives it to every replica
  age --decrypt share.age | bulla sealing-keys unseal
  bulla sealing-keys unseal --status               how many shares are still needed
  bulla sealing-keys unseal --address http://127.0.0.1:8080    through kubectl port-forward

Compare the fingerprint that is shown with the one in the controller's log: it proves that
nobody between you and the controller reads your share.";

/// Longer than any share.
const LONGEST: u64 = 4096;

/// Arguments of `unseal`.
#[derive(Args, Debug)]
pub(crate) struct UnsealArgs {
    #[command(flatten)]
    place: WhereArgs,

    /// The controller's service
    #[arg(long, value_name = "NAME", default_value = "sealed-secrets-controller")]
    controller_name: String,

    /// The port that its pods listen on
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    controller_port: u16,

    /// Go to this address instead of through the API server
    #[arg(long, value_name = "URL")]
    address: Option<String>,

    /// Only say how far it is
    #[arg(long)]
    status: bool,

    /// Refuse a controller whose key has another fingerprint
    #[arg(long, value_name = "FINGERPRINT")]
    fingerprint: Option<String>,

    /// How the state is written
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Gives a share to every replica.
///
/// # Errors
/// If a replica cannot be reached, or does not take it.
pub(crate) fn run(app: &App, args: &UnsealArgs) -> Result<Code, Failure> {
    app.block_on(async {
        let (client, replicas) = replicas(app, args).await?;
        let mut states = Vec::new();
        for (name, base) in &replicas {
            states.push(http::ask(&client, base).await.map_err(|error| about(name, &error))?);
        }
        if !args.status && states.iter().any(|state| state.sealed) {
            for (state, (name, _)) in states.iter().zip(&replicas) {
                check(args, name, state)?;
            }
            let unreadable = |error: ShareError| Failure::new(Code::CouldNotReadInput, error.to_string());
            let share = Share::parse(&read_share()?).map_err(unreadable)?;
            for (state, (name, base)) in states.iter_mut().zip(&replicas).filter(|(state, _)| state.sealed) {
                let sealed = state.seal(&share).map_err(|error| Failure::generic(format!("{name}: {error}")))?;
                *state = http::send(&client, base, &sealed).await.map_err(|error| about(name, &error))?;
            }
        }
        show(args, &replicas, &states)?;
        Ok(Code::Success)
    })?
}

async fn replicas(app: &App, args: &UnsealArgs) -> Result<(Client, Vec<(String, String)>), Failure> {
    if let Some(address) = &args.address {
        let uri =
            address.trim_end_matches('/').parse().map_err(|_| Failure::generic(format!("{address:?} is no URL")))?;
        let client = Client::try_from(Config::new(uri)).map_err(|error| Failure::generic(error.to_string()))?;
        return Ok((client, vec![(address.clone(), String::new())]));
    }
    let client = args.place.client(app).await?;
    let namespace = &args.place.controller_namespace;
    let pods = http::pods(&client, namespace, &args.controller_name, args.controller_port).await;
    let pods = pods.map_err(|error| api(&error))?;
    if pods.is_empty() {
        let what = format!("no pods run behind the service {} in {namespace}", args.controller_name);
        return Err(Failure::new(Code::NoEncryptionKey, what)
            .with_hint("--controller-name and --controller-namespace say where the controller is"));
    }
    Ok((client, pods))
}

/// Shows whom the share would go to, and refuses another than was expected.
fn check(args: &UnsealArgs, name: &str, state: &State) -> Result<(), Failure> {
    let Some(fingerprint) = state.key_fingerprint() else { return Ok(()) };
    if args.fingerprint.as_ref().is_some_and(|wanted| *wanted != fingerprint) {
        return Err(Failure::generic(format!("{name} has a key with the fingerprint {fingerprint}; nothing was sent")));
    }
    term::note(&format!("{name} has the key {fingerprint}"));
    Ok(())
}

fn read_share() -> Result<SecretString, Failure> {
    if std::io::stdin().is_terminal() {
        return bulla_kms::ask_secret("Your share:").map_err(Failure::generic);
    }
    let mut text = SecretBytes::zeroed(usize::try_from(LONGEST).unwrap_or_default());
    let mut end = 0;
    let mut stdin = std::io::stdin().lock();
    loop {
        match stdin.read(&mut text.expose_mut()[end..]) {
            Ok(0) => break,
            Ok(count) => end += count,
            Err(error) => {
                return Err(Failure::new(Code::CouldNotReadInput, format!("cannot read standard input: {error}")));
            }
        }
    }
    text.truncate(end);
    SecretString::from_utf8(text).map_err(|_| Failure::new(Code::CouldNotReadInput, "standard input is not a share"))
}

fn show(args: &UnsealArgs, replicas: &[(String, String)], states: &[State]) -> Result<(), Failure> {
    let pairs = replicas.iter().map(|(name, _)| name).zip(states);
    match args.output {
        Output::Json => {
            let one = |(name, state): (&String, &State)| json!({"replica": name, "state": state});
            output::print(format!("{:#}\n", Value::Array(pairs.map(one).collect())).as_bytes())
        }
        Output::Text => {
            for (name, state) in pairs {
                let words = if state.sealed {
                    format!("sealed, {} of {} shares given", state.given, state.needed)
                } else {
                    "unsealed".to_owned()
                };
                term::print(&format!("{name}: {words}"))?;
            }
            Ok(())
        }
    }
}

fn about(name: &str, error: &kube::Error) -> Failure {
    api(error).context(name)
}
