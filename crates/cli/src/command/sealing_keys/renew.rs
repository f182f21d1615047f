//! `sealing-keys renew`: a new key now.

use std::time::{Duration, Instant};

use bulla_operator::sealing::keys::requests::RENEW;
use clap::Args;
use kube::ResourceExt;

use super::api;
use crate::app::App;
use crate::args::duration;
use crate::args::sealing_keys::WhereArgs;
use crate::error::Failure;
use crate::exit::Code;
use crate::term;

/// Arguments of `renew`.
#[derive(Args, Debug)]
pub(crate) struct RenewArgs {
    #[command(flatten)]
    place: WhereArgs,

    /// How long to wait for the controller
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
}

/// Asks the leader and waits until the key is there. Prints its name.
///
/// # Errors
/// If there is no key to ask with, the controller does nothing in time, or the API server refuses.
pub(crate) fn run(app: &App, args: &RenewArgs) -> Result<Code, Failure> {
    app.block_on(async {
        let store = args.place.store(app).await?;
        let names = async || -> Result<Vec<(String, bool)>, Failure> {
            let found = store.list().await.map_err(|error| api(&error))?;
            let wrapped = found.wrapped.iter().map(|key| (key.name_any(), true));
            Ok(wrapped.chain(found.plain.iter().map(|secret| (secret.name_any(), false))).collect())
        };
        let before = names().await?;
        let now = jiff::Timestamp::now().to_string();
        match before.first() {
            Some((name, true)) => store.annotate(name, RENEW, Some(&now)).await,
            Some((name, false)) => store.annotate_plain(name, RENEW, Some(&now)).await,
            None => {
                let what = "there is no sealing key yet: the controller makes the first at its start";
                return Err(Failure::new(Code::NoFile, what));
            }
        }
        .map_err(|error| api(&error))?;
        let since = Instant::now();
        loop {
            if let Some((new, _)) = names().await?.iter().find(|one| !before.contains(one)) {
                term::print(new)?;
                return Ok(Code::Success);
            }
            if since.elapsed() > args.timeout {
                return Err(Failure::generic("the controller made no new key in time")
                    .with_hint("it makes one as soon as a leader runs; its log says what it waits for"));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })?
}
