//! `sealing-keys init-shares`: the shares that people hold.

use bulla_core::KeyId;
use bulla_kms::shares::{self, Share};
use bulla_kms::{Options, Registry};
use bulla_operator::sealing::keys::shares as kept;
use clap::Args;

use crate::app::App;
use crate::args::sealing_keys::WhereArgs;
use crate::error::Failure;
use crate::exit::Code;
use crate::{output, term};

/// Examples for the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  bulla sealing-keys init-shares --shares 5 --threshold 3
  bulla sealing-keys init-shares --threshold 2 --to age1ann… --to age1ben… --to age1cem…

The shares are shown once and kept nowhere. With --to each is encrypted to one person's age
recipient, who opens it with `age --decrypt`.";

/// Arguments of `init-shares`.
#[derive(Args, Debug)]
pub(crate) struct InitSharesArgs {
    #[command(flatten)]
    place: WhereArgs,

    /// How many shares there are; with --to as many as there are recipients
    #[arg(long, value_name = "N")]
    shares: Option<usize>,

    /// How many of them unseal the controller
    #[arg(long, value_name = "M")]
    threshold: usize,

    /// Encrypt a share to this age recipient, one each in order
    #[arg(long, value_name = "RECIPIENT")]
    to: Vec<String>,
}

/// Makes shares, shows them, and keeps their public part in the cluster.
///
/// # Errors
/// If there are shares already, or there cannot be so many.
pub(crate) fn run(app: &App, args: &InitSharesArgs) -> Result<Code, Failure> {
    let count = match (args.shares, args.to.len()) {
        (None, 0) => return Err(Failure::generic("say how many shares there are, with --shares or --to")),
        (Some(count), 0) => count,
        (Some(count), recipients) if count != recipients => {
            return Err(Failure::generic(format!("{count} shares and {recipients} recipients: each gets one")));
        }
        (_, recipients) => recipients,
    };
    let failed = |error: &dyn std::fmt::Display| Failure::generic(error.to_string());
    app.block_on(async {
        let store = args.place.store(app).await?;
        // Before anything is shown that would be of no use.
        if kept::load(&store).await.map_err(|error| failed(&error))?.is_some() {
            return Err(failed(&kept::SetError::Exists));
        }
        let (set, shares) = shares::create(count, args.threshold).map_err(|error| failed(&error))?;
        let registry = Registry::new(app.env.clone(), Options::default());
        for (at, share) in shares.iter().enumerate() {
            if let Some(recipient) = args.to.get(at) {
                term::print(&sealed(&registry, recipient, share).await?)?;
                continue;
            }
            let mut line = share.to_text().into_bytes();
            line.extend_from_slice(b"\n");
            output::print(line.expose())?;
        }
        kept::save(&store, &set).await.map_err(|error| failed(&error))?;
        term::note(&format!(
            "{} of {count} shares unseal the controller; they are shown this once. Start it with --key-service shares:{}",
            set.threshold, set.id
        ));
        Ok(Code::Success)
    })?
}

/// The share's text as an age file.
async fn sealed(registry: &Registry, recipient: &str, share: &Share) -> Result<String, Failure> {
    let id = KeyId::parse_age(recipient).map_err(|error| Failure::generic(error.to_string()))?;
    let service = registry.open(&id).map_err(|error| Failure::generic(error.to_string()))?;
    let wrapped =
        service.wrap(&share.to_text().into_bytes()).await.map_err(|error| Failure::generic(error.to_string()))?;
    Ok(wrapped.as_str().trim_end().to_owned())
}
