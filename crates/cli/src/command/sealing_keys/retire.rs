//! `sealing-keys retire`: what a key may be used for.

use bulla_kube::api::sealing_key::KeyState;
use bulla_operator::sealing::keys::{secret, usage};
use clap::{Args, ValueEnum};
use kube::ResourceExt;

use super::api;
use super::list::state_name;
use crate::app::App;
use crate::args::sealing_keys::WhereArgs;
use crate::error::Failure;
use crate::exit::Code;
use crate::term;

/// Arguments of `retire`.
#[derive(Args, Debug)]
pub(crate) struct RetireArgs {
    /// The key's name
    name: String,

    /// retired: opens, nothing new is sealed to it; compromised: does neither; active: takes both back
    #[arg(long, value_name = "STATE", value_enum, default_value = "retired")]
    state: State,

    /// Even if values are sealed to it that nothing could open then
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    /// Opens.
    Retired,
    /// Does nothing.
    Compromised,
    /// Opens and seals.
    Active,
}

/// Sets the state; the controller follows at once.
///
/// # Errors
/// If there is no such key, if values would be lost, or the API server refuses.
pub(crate) fn run(app: &App, args: &RetireArgs) -> Result<Code, Failure> {
    let state = match args.state {
        State::Retired => KeyState::Retired,
        State::Compromised => KeyState::Compromised,
        State::Active => KeyState::Active,
    };
    app.block_on(async {
        let client = args.place.client(app).await?;
        let store = args.place.store_of(&client);
        let found = store.list().await.map_err(|error| api(&error))?;
        let wrapped = found.wrapped.iter().find(|key| key.name_any() == args.name);
        let plain = found.plain.iter().find(|secret| secret.name_any() == args.name);
        if wrapped.is_none() && plain.is_none() {
            return Err(Failure::new(Code::NoFile, format!("there is no sealing key {}", args.name))
                .with_hint("`bulla sealing-keys list` shows the names"));
        }
        if state == KeyState::Compromised && !args.force {
            let count = usage::count(&client).await.map_err(|error| api(&error))?;
            let plain = || Some(secret::read(plain?).ok()?.private.fingerprint().to_string());
            let fingerprint = wrapped.map(|key| key.spec.fingerprint.clone()).or_else(plain);
            let values = fingerprint.and_then(|key| count.by_key.get(&key).copied()).unwrap_or_default();
            if values + count.unknown > 0 {
                let what = format!(
                    "{values} values are sealed to {}, and {} to keys that are not known; nothing would open them",
                    args.name, count.unknown
                );
                return Err(
                    Failure::generic(what).with_hint("seal them anew first (bulla seal --re-encrypt), or pass --force")
                );
            }
        }
        // A key that stands in both forms would open by the other.
        if let Some(key) = wrapped {
            store.set_state(&key.name_any(), state).await.map_err(|error| api(&error))?;
        }
        if let Some(secret) = plain
            && secret::state_of(secret) != state
        {
            store.set_plain_state(&secret.name_any(), state).await.map_err(|error| api(&error))?;
        }
        term::note(&format!("{} is {}", args.name, state_name(state).to_lowercase()));
        Ok(Code::Success)
    })?
}
