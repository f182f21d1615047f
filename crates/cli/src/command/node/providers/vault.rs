//! Settings of the provider `vault`.

use std::path::PathBuf;
use std::time::Duration;

use bulla_node::provider::VaultProvider;
use bulla_node::volume::Limits;
use bulla_store::limit::Rate;
use bulla_store::shared::Bounds;
use bulla_store::vault::{Addresses, Pattern, Rules, Vault};
use clap::Args;

use crate::args::duration;

/// How many requests to one server are under way at any time.
const UNDER_WAY: usize = 32;
/// The most that is kept of what pods share: bytes, and answers.
const SHARED: (usize, usize) = (8 << 20, 1000);

/// Whom it asks, and how.
#[derive(Args, Debug)]
#[command(next_help_heading = "Provider vault")]
pub(super) struct VaultArgs {
    /// The Vault or OpenBao server of classes that name none. With this or the next flag the provider is there
    #[arg(long = "vault-address", value_name = "https://HOST:PORT", value_parser = address)]
    address: Option<String>,

    /// Which servers classes may name: addresses; HOST may be * or begin with *. and PORT may be *
    #[arg(long = "vault-allowed-addresses", value_name = "ADDRESSES", value_delimiter = ',', value_parser = pattern)]
    allowed_addresses: Vec<PatternArg>,

    /// The folder below which classes may name files with certificates and keys; without it they may name none
    #[arg(long = "vault-tls-folder", value_name = "FOLDER")]
    tls_folder: Option<PathBuf>,

    /// A PEM file with the authorities to believe where a class names none (default: the system's)
    #[arg(long = "vault-ca-cert", value_name = "FILE")]
    ca_cert: Option<PathBuf>,

    /// The most requests to one server in a second, on average
    #[arg(long = "vault-requests-per-second", value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests_per_second: u32,

    /// How long what one pod was given is given to others of its service account that ask the same
    #[arg(long = "vault-share-time", value_name = "TIME", default_value = "10s", value_parser = time)]
    share_time: Duration,

    /// How long after it was fetched it is given to new pods of its service account while the server is down; 0 is never
    #[arg(long = "vault-last-known-time", value_name = "TIME", default_value = "10m", value_parser = time)]
    last_known_time: Duration,
}

/// A pattern, or the nothing that a list of none has.
type PatternArg = Option<Pattern>;

impl VaultArgs {
    /// The provider, if it is to be there.
    pub(super) fn provider(&self, limits: Limits) -> Option<VaultProvider> {
        let addresses: Vec<Pattern> = self.allowed_addresses.iter().flatten().cloned().collect();
        let default_address = self.address.clone().filter(|address| !address.is_empty());
        if default_address.is_none() && addresses.is_empty() {
            return None;
        }
        let rules = Rules {
            default_address,
            addresses: Addresses(addresses),
            files: self.tls_folder.clone(),
            authorities: self.ca_cert.clone(),
            rate: Rate {
                per_second: self.requests_per_second,
                burst: self.requests_per_second.saturating_mul(2),
                under_way: UNDER_WAY,
            },
        };
        let (bytes, answers) = SHARED;
        let bounds = Bounds { fresh: self.share_time, last_known: self.last_known_time, bytes, answers };
        Some(VaultProvider::new(Vault::new(rules), limits, bounds))
    }
}

/// An address of one server; a variable that is set to nothing counts as not set.
fn address(text: &str) -> Result<String, String> {
    let wrong = || "must be https://HOST:PORT, without a star".to_owned();
    if !text.is_empty() && (text.contains('*') || text.parse::<Pattern>().is_err()) {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

fn pattern(text: &str) -> Result<PatternArg, String> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

/// A time; none is one, too.
fn time(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s") { Ok(Duration::ZERO) } else { duration(text) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        vault: VaultArgs,
    }

    fn provider(arguments: &[&str]) -> Result<Option<VaultProvider>, String> {
        let line = Line::try_parse_from([&["node"], arguments].concat()).map_err(|error| error.to_string())?;
        Ok(line.vault.provider(Limits::default()))
    }

    #[test]
    fn the_provider_is_there_once_a_server_is_named() {
        assert!(provider(&[]).unwrap().is_none());
        assert!(provider(&["--vault-allowed-addresses="]).unwrap().is_none());
        assert!(provider(&["--vault-address=https://vault:8200"]).unwrap().is_some());
        assert!(provider(&["--vault-allowed-addresses=https://*.vault.svc:8200,https://vault"]).unwrap().is_some());
        for wrong in [
            "--vault-address=vault",
            "--vault-address=https://*",
            "--vault-allowed-addresses=https://a,*",
            "--vault-requests-per-second=0",
            "--vault-share-time=soon",
        ] {
            assert!(provider(&[wrong]).is_err(), "{wrong}");
        }
        assert_eq!((time("0"), time("90s")), (Ok(Duration::ZERO), Ok(Duration::from_secs(90))));
    }
}
