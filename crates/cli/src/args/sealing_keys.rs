//! The flags of sealing keys: where they are, what protects them, when they are renewed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulla_core::KeyId;
use bulla_format::sealed::{Algorithm, RsaSize};
use bulla_kms::Options;
use bulla_operator::sealing::keys::adopt::Plain;
use bulla_operator::sealing::keys::cluster::{ClusterRing, Settings};
use bulla_operator::sealing::keys::index::{Compromised, KeyOrder};
use bulla_operator::sealing::keys::keeper::{Chores, Keeper};
use bulla_operator::sealing::keys::policy::Policy;
use bulla_operator::sealing::keys::recipients::{KeyServices, Named, check_set, parse_key};
use bulla_operator::sealing::keys::shares;
use bulla_operator::sealing::keys::store::{NewKey, Store};
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use kube::Client;

use crate::app::App;
use crate::args::duration;
use crate::env_vars;
use crate::error::Failure;
use crate::seal::args::ClusterArgs;
use crate::seal::cluster;

/// Where the keys are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct WhereArgs {
    /// The kubeconfig file (default: KUBECONFIG, then ~/.kube/config, then the pod's service account)
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,

    /// The kubeconfig's context
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,

    /// The controller's namespace, where its keys are
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system", env = env_vars::SEALED_SECRETS_CONTROLLER_NAMESPACE, hide_env_values = true)]
    pub(crate) controller_namespace: String,

    /// What the names of keys begin with
    #[arg(long, value_name = "PREFIX", default_value = "sealed-secrets-key")]
    pub(crate) key_prefix: String,
}

/// What protects the keys.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Key services")]
#[expect(clippy::struct_field_names, reason = "they are named as their flags")]
pub(crate) struct ServiceArgs {
    #[arg(
        long,
        help = "What wraps the private keys: an ARN of AWS KMS, a URL of Vault's transit engine, age1…, local:/FILE, shares:SET, or plain-secret",
        value_name = "KEY", env = env_vars::BULLA_KEY_SERVICE, hide_env_values = true)]
    pub(crate) key_service: Vec<String>,

    /// Make each --key-service a group (alternatives separated by commas) of which so many are needed; without it any one opens
    #[arg(long, value_name = "N", env = env_vars::BULLA_KEY_SERVICE_THRESHOLD, hide_env_values = true)]
    pub(crate) key_service_threshold: Option<usize>,

    /// Give up on a key service after this time: 10s, 500ms (default 30s)
    #[arg(long, value_name = "TIME", env = env_vars::BULLA_KEY_TIMEOUT, hide_env = true, value_parser = duration)]
    pub(crate) key_timeout: Option<Duration>,
}

/// How the controller cares for its keys; sealed-secrets' names where it has them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sealing keys")]
pub(crate) struct KeeperArgs {
    /// Open keys wrapped for this key service too, and wrap nothing for it
    #[arg(long, value_name = "KEY")]
    old_key_service: Vec<String>,

    /// Make a new key when the newest is this old: 720h, 30d; 0 is never
    #[arg(long, alias = "rotate-period", value_name = "TIME", default_value = "720h", value_parser = span)]
    key_renew_period: SignedDuration,

    /// Make a new key if the newest is from before this time, as Mon, 02 Jan 2006 15:04:05 -0700
    #[arg(long, value_name = "TIME", default_value = "", hide_default_value = true, value_parser = moment)]
    key_cutoff_time: Cutoff,

    /// Which key is the newest
    #[arg(long, value_name = "ORDER", default_value = "CertNotBefore")]
    key_order_priority: Order,

    /// How long certificates are good for
    #[arg(long, value_name = "TIME", default_value = "87600h", value_parser = span)]
    key_ttl: SignedDuration,

    /// The size of new RSA keys in bits
    #[arg(long, value_name = "BITS", default_value = "4096", value_parser = rsa_size)]
    key_size: RsaSize,

    /// The common name of new certificates
    #[arg(long, value_name = "NAME", default_value = "")]
    my_cn: String,

    /// Which keys there are: rsa-4096, and beside it x25519-mlkem768 which only bulla opens
    #[arg(long, value_name = "NAME", default_value = "rsa-4096", value_parser = algorithm)]
    key_algorithm: Vec<Algorithm>,

    /// Wrap keys anew whose recipients are not those of --key-service
    #[arg(long)]
    rewrap_keys: bool,

    /// Wrap the plain keys of an older installation; with =delete-plain delete each once every recipient has opened its wrapped form
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "keep-plain")]
    adopt_keys: Option<AdoptPlain>,

    /// Open with keys marked as compromised, to save what is sealed to them; nothing is sealed to them
    #[arg(long)]
    open_with_compromised_keys: bool,
}

/// A time, or none: upstream takes the empty text for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cutoff(Option<Timestamp>);

/// Upstream's names.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Order {
    /// By the certificate's first day.
    #[value(name = "CertNotBefore")]
    CertNotBefore,
    /// By the object's creation.
    #[value(name = "SecretCreationTimestamp")]
    SecretCreationTimestamp,
}

/// What becomes of plain keys.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum AdoptPlain {
    /// They stay.
    KeepPlain,
    /// They are deleted.
    DeletePlain,
}

impl WhereArgs {
    /// A client for the cluster, found as `bulla seal` finds it.
    ///
    /// # Errors
    /// [`Code::NoEncryptionKey`](crate::exit::Code::NoEncryptionKey): there is no way to a cluster.
    pub(crate) async fn client(&self, app: &App) -> Result<Client, Failure> {
        let place = ClusterArgs {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            ..ClusterArgs::default()
        };
        cluster::client(app, &place).await
    }

    /// The key objects.
    ///
    /// # Errors
    /// As [`client`](Self::client).
    pub(crate) async fn store(&self, app: &App) -> Result<Store, Failure> {
        Ok(self.store_of(&self.client(app).await?))
    }

    /// The key objects of a client's cluster.
    pub(crate) fn store_of(&self, client: &Client) -> Store {
        Store::new(client, &self.controller_namespace, &self.key_prefix)
    }
}

impl ServiceArgs {
    /// What was named.
    ///
    /// # Errors
    /// None, with the choices; or a malformed one.
    pub(crate) fn named(&self) -> Result<KeyServices, Failure> {
        let values: Vec<&str> = self.key_service.iter().flat_map(|text| split(text)).collect();
        KeyServices::parse(&values, self.key_service_threshold).map_err(|error| Failure::generic(error.to_string()))
    }

    /// How long key services may take.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::default();
        options.timeout = self.key_timeout.unwrap_or(options.timeout);
        options
    }
}

/// The ring and who cares for it, as the controller has them.
pub(crate) struct Keys {
    /// The ring.
    pub(crate) ring: Arc<ClusterRing>,
    /// The leader's work.
    pub(crate) keeper: Keeper,
}

/// Puts the ring together.
///
/// # Errors
/// No key service, with the choices; a malformed flag; shares that were not made.
pub(crate) async fn keys(
    app: &App,
    store: Store,
    services: &ServiceArgs,
    keeper: &KeeperArgs,
) -> Result<Keys, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::generic(error.to_string());
    let named = services.named()?;
    let set = match &named {
        KeyServices::Wrapped(named) if Named::has_shares(named) => {
            let set = shares::load(&store).await.map_err(|error| failed(&error))?;
            if let Some(set) = set.as_ref().filter(|_| named.has_any_shares()) {
                let found = store.list().await.map_err(|error| failed(&error))?;
                check_set(set, found.wrapped.iter().map(|key| &key.spec.wrapped)).map_err(|error| failed(&error))?;
            }
            set
        }
        _ => None,
    };
    let recipients = match &named {
        KeyServices::Wrapped(named) => Some(named.resolve(set.as_ref()).map_err(|error| failed(&error))?),
        KeyServices::PlainSecret => None,
    };
    let settings = Settings {
        recipients,
        old: keeper.old()?,
        order: match keeper.key_order_priority {
            Order::CertNotBefore => KeyOrder::CertNotBefore,
            Order::SecretCreationTimestamp => KeyOrder::SecretCreationTimestamp,
        },
        compromised: if keeper.open_with_compromised_keys { Compromised::OpenStill } else { Compromised::Refused },
    };
    let ring = ClusterRing::new(store, settings, set, app.env.clone(), services.options());
    let ring = Arc::new(ring.map_err(|error| failed(&error))?);
    let keeper = Keeper::new(ring.clone(), keeper.policy(), keeper.new_keys(), keeper.chores());
    Ok(Keys { ring, keeper })
}

impl KeeperArgs {
    fn old(&self) -> Result<Vec<KeyId>, Failure> {
        let keys = self.old_key_service.iter().map(|text| parse_key(text));
        keys.collect::<Result<_, _>>().map_err(|error| Failure::generic(format!("--old-key-service: {error}")))
    }

    fn policy(&self) -> Policy {
        let period = Some(self.key_renew_period).filter(|period| !period.is_zero());
        Policy { period, cutoff: self.key_cutoff_time.0 }
    }

    fn new_keys(&self) -> Vec<NewKey> {
        let mut algorithms = Vec::new();
        for algorithm in &self.key_algorithm {
            if !algorithms.contains(algorithm) {
                algorithms.push(*algorithm);
            }
        }
        let new =
            |algorithm| NewKey { algorithm, size: self.key_size, common_name: self.my_cn.clone(), ttl: self.key_ttl };
        algorithms.into_iter().map(new).collect()
    }

    fn chores(&self) -> Chores {
        let adopt = self.adopt_keys.map(|what| match what {
            AdoptPlain::KeepPlain => Plain::Keep,
            AdoptPlain::DeletePlain => Plain::Delete,
        });
        Chores { rewrap: self.rewrap_keys, adopt }
    }
}

/// The values of a variable, which spaces separate. An SSH key has spaces of its own, and stands alone or in a flag.
fn split(text: &str) -> Vec<&str> {
    if text.contains("ssh-") { vec![text] } else { text.split_whitespace().collect() }
}

/// A time as Go writes it (`720h0m0s`), or with days (`30d`, which jiff does not take for what is not always 24 hours).
fn span(text: &str) -> Result<SignedDuration, String> {
    let days = || text.strip_suffix('d')?.parse::<i64>().ok()?.checked_mul(24).map(SignedDuration::from_hours);
    let zero = || (text == "0").then_some(SignedDuration::ZERO);
    let time = days().or_else(zero).or_else(|| text.parse().ok());
    time.filter(|time| !time.is_negative()).ok_or_else(|| "must be a time, as 720h or 30d".to_owned())
}

/// RFC 1123 with a numeric zone, Go's `time.RFC1123Z`; empty is none, as upstream.
fn moment(text: &str) -> Result<Cutoff, String> {
    if text.is_empty() {
        return Ok(Cutoff(None));
    }
    let zoned = jiff::fmt::rfc2822::parse(text);
    zoned
        .map(|zoned| Cutoff(Some(zoned.timestamp())))
        .map_err(|_| "must be as Mon, 02 Jan 2006 15:04:05 -0700".to_owned())
}

fn rsa_size(text: &str) -> Result<RsaSize, String> {
    match text {
        "2048" => Ok(RsaSize::Bits2048),
        "3072" => Ok(RsaSize::Bits3072),
        "4096" => Ok(RsaSize::Bits4096),
        "8192" => Ok(RsaSize::Bits8192),
        _ => Err("must be 2048, 3072, 4096 or 8192".to_owned()),
    }
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    text.parse()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_variable_has_several_key_services_and_an_ssh_key_is_one() {
        assert_eq!(split("age1x local:/k\narn:y,age1z"), ["age1x", "local:/k", "arn:y,age1z"]);
        assert_eq!(split("ssh-ed25519 AAAA me"), ["ssh-ed25519 AAAA me"]);
    }

    #[test]
    fn times_are_taken_as_the_peer_takes_them() {
        assert_eq!(span("720h0m0s"), Ok(SignedDuration::from_hours(720)));
        assert_eq!(span("30d"), Ok(SignedDuration::from_hours(720)));
        assert_eq!(span("0"), Ok(SignedDuration::ZERO));
        assert!(span("-1h").is_err() && span("soon").is_err());
        let time = moment("Mon, 02 Jan 2006 15:04:05 -0700").unwrap().0.unwrap();
        assert_eq!(time.to_string(), "2006-01-02T22:04:05Z");
        assert_eq!(moment(""), Ok(Cutoff(None)));
        assert!(moment("2006-01-02").is_err());
    }
}
