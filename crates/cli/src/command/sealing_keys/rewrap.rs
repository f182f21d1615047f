//! `sealing-keys rewrap`: the same keys for other recipients.

use std::time::{Duration, Instant};

use bulla_kms::Registry;
use bulla_kms::groups::Services;
use bulla_operator::sealing::keys::envelope::Trusted;
use bulla_operator::sealing::keys::recipients::KeyServices;
use bulla_operator::sealing::keys::requests::{REWRAP, has};
use bulla_operator::sealing::keys::{rewrap, shares};
use clap::Args;
use kube::ResourceExt;

use super::api;
use crate::app::App;
use crate::args::duration;
use crate::args::sealing_keys::{ServiceArgs, WhereArgs};
use crate::error::Failure;
use crate::exit::Code;
use crate::term;

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla sealing-keys rewrap              the controller does it, for the recipients that it was started with
  bulla sealing-keys rewrap --key-service arn:aws:kms:… --key-service age1…
                                         here, with the key services that this machine can use";

/// Arguments of `rewrap`.
#[derive(Args, Debug)]
pub(crate) struct RewrapArgs {
    #[command(flatten)]
    place: WhereArgs,

    #[command(flatten)]
    services: ServiceArgs,

    /// How long to wait for the controller
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

/// Wraps all keys anew.
///
/// # Errors
/// If a key cannot be unwrapped or wrapped: it stays as it was, and the others are done.
pub(crate) fn run(app: &App, args: &RewrapArgs) -> Result<Code, Failure> {
    app.block_on(async {
        if args.services.key_service.is_empty() { ask(app, args).await } else { here(app, args).await }
    })?
}

/// By the leader, which has the key services.
async fn ask(app: &App, args: &RewrapArgs) -> Result<Code, Failure> {
    let store = args.place.store(app).await?;
    let now = jiff::Timestamp::now().to_string();
    for key in store.list().await.map_err(|error| api(&error))?.wrapped {
        store.annotate(&key.name_any(), REWRAP, Some(&now)).await.map_err(|error| api(&error))?;
    }
    let since = Instant::now();
    loop {
        let found = store.list().await.map_err(|error| api(&error))?;
        let waiting: Vec<_> = found.wrapped.iter().filter(|key| has(*key, REWRAP)).map(ResourceExt::name_any).collect();
        if waiting.is_empty() {
            term::note("all keys are wrapped for the recipients that the controller was started with");
            return Ok(Code::Success);
        }
        if since.elapsed() > args.timeout {
            let what = format!("the controller did not wrap in time: {}", waiting.join(", "));
            return Err(Failure::generic(what).with_hint("its log says why; it goes on trying"));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn here(app: &App, args: &RewrapArgs) -> Result<Code, Failure> {
    let store = args.place.store(app).await?;
    let KeyServices::Wrapped(named) = args.services.named()? else {
        return Err(Failure::generic("keys that are wrapped are not made plain again"));
    };
    let set = shares::load(&store).await.map_err(|error| Failure::generic(error.to_string()))?;
    let to = named.resolve(set.as_ref()).map_err(|error| Failure::generic(error.to_string()))?;
    let registry = Registry::new(app.env.clone(), args.services.options());
    let services = Services { remote: Vec::new(), local: Some(registry) };
    let mut failed = Vec::new();
    for key in store.list().await.map_err(|error| api(&error))?.wrapped {
        let name = key.name_any();
        if !rewrap::needed(&key, &to) {
            term::note(&format!("{name} has these recipients already"));
            continue;
        }
        match rewrap::rewrap(&store, &services, &key, &to, Trusted::All).await {
            Ok(_) => term::note(&format!("{name} is wrapped anew")),
            Err(error) => failed.push(error.to_string()),
        }
    }
    if failed.is_empty() { Ok(Code::Success) } else { Err(Failure::new(Code::NoDataKey, failed.join("\n"))) }
}
