//! `sealing-keys adopt`: the plain keys of an older installation, wrapped.

use bulla_kms::Registry;
use bulla_operator::sealing::keys::adopt::{self, Outcome, Plain};
use bulla_operator::sealing::keys::envelope::Trusted;
use bulla_operator::sealing::keys::recipients::KeyServices;
use bulla_operator::sealing::keys::shares;
use clap::Args;
use serde_json::{Value, json};

use super::{Output, api, table};
use crate::app::App;
use crate::args::sealing_keys::{ServiceArgs, WhereArgs};
use crate::error::Failure;
use crate::exit::Code;
use crate::{output, term};

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla sealing-keys adopt --key-service arn:aws:kms:… --key-service age1…
  bulla sealing-keys adopt --key-service arn:aws:kms:… --delete-plain

This machine must be able to use the key services, and to unwrap with each of them before
a plain Secret is deleted. Where only the controller can (a key file on the nodes), start it
with --adopt-keys or --adopt-keys=delete-plain instead.";

/// Arguments of `adopt`.
#[derive(Args, Debug)]
pub(crate) struct AdoptArgs {
    #[command(flatten)]
    place: WhereArgs,

    #[command(flatten)]
    services: ServiceArgs,

    /// Delete each plain Secret once every recipient has opened its wrapped form
    #[arg(long)]
    delete_plain: bool,

    /// How the report is written
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// Wraps, proves, and deletes if that was asked for.
///
/// # Errors
/// If a key was not wrapped, or not every recipient opens it.
pub(crate) fn run(app: &App, args: &AdoptArgs) -> Result<Code, Failure> {
    let KeyServices::Wrapped(named) = args.services.named()? else {
        return Err(Failure::generic("the keys are plain Secrets already"));
    };
    let report = app.block_on(async {
        let store = args.place.store(app).await?;
        let set = shares::load(&store).await.map_err(|error| Failure::generic(error.to_string()))?;
        let to = named.resolve(set.as_ref()).map_err(|error| Failure::generic(error.to_string()))?;
        let registry = Registry::new(app.env.clone(), args.services.options());
        let found = store.list().await.map_err(|error| api(&error))?;
        let plain = if args.delete_plain { Plain::Delete } else { Plain::Keep };
        adopt::adopt(&store, &registry, &to, Trusted::All, &found, plain)
            .await
            .map_err(|error| Failure::generic(error.to_string()))
    })??;
    match args.output {
        Output::Json => {
            let one = |one: &adopt::Adopted| {
                let deleted = one.outcome == Outcome::Deleted;
                let wrapped = !matches!(one.outcome, Outcome::Failed(_));
                json!({
                    "secret": one.secret,
                    "fingerprint": one.fingerprint,
                    "wrapped": wrapped,
                    "deleted": deleted,
                    "outcome": one.outcome.to_string(),
                })
            };
            let report: Vec<Value> = report.iter().map(one).collect();
            output::print(format!("{:#}\n", Value::Array(report)).as_bytes())?;
        }
        Output::Text => {
            let rows: Vec<_> = report.iter().map(|one| vec![one.secret.clone(), one.outcome.to_string()]).collect();
            output::print(table(&rows).as_bytes())?;
        }
    }
    if report.is_empty() {
        term::note("there are no plain keys");
    }
    if report.iter().any(|one| one.outcome == Outcome::Deleted) {
        term::warn(
            "backups of etcd, and its files until they are compacted, still have the deleted keys: seal what matters anew, to the key that the controller makes",
        );
    }
    let done = report.iter().all(|one| matches!(one.outcome, Outcome::Wrapped | Outcome::Deleted));
    Ok(if done { Code::Success } else { Code::Generic })
}
