//! The sealing controller in the operator: its flags, its keys, its routes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bulla_core::KeyId;
use bulla_kms::Registry;
use bulla_kube::Operator;
use bulla_operator::sealing::access::{Access, Verb};
use bulla_operator::sealing::controller::{SealedSecrets, Settings};
use bulla_operator::sealing::delivery::Delivery;
use bulla_operator::sealing::delivery::maps::Maps;
use bulla_operator::sealing::delivery::sops::Sops;
use bulla_operator::sealing::http::Api;
use bulla_operator::sealing::keys::keeper::{Keeper, Usage};
use bulla_operator::sealing::keys::metrics::KeyMetrics;
use bulla_operator::sealing::keys::recipients::parse_key;
use bulla_operator::sealing::keys::store::Store;
use bulla_operator::sealing::metrics::{Metrics, Objects};
use bulla_operator::sealing::open::OldData;
use bulla_operator::sealing::rate::Rate;
use bulla_operator::sealing::ring::KeyRing;
use bulla_operator::sealing::write::Forbidden;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::app::App;
use crate::args::go_bool;
use crate::args::sealing_keys::{self, KeeperArgs, Keys, ServiceArgs};
use crate::error::Failure;

/// Flags of the sealing controller; sealed-secrets' names where it has them.
#[derive(Args, Debug)]
#[command(next_help_heading = "Sealing")]
pub(super) struct SealingArgs {
    /// What the names of keys begin with
    #[arg(long, value_name = "PREFIX", default_value = "sealed-secrets-key")]
    key_prefix: String,

    /// Which SealedSecrets are this controller's: app=web,tier!=test
    #[arg(long, value_name = "SELECTOR")]
    label_selector: Option<String>,

    /// Say in each SealedSecret's status what became of it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    update_status: bool,

    /// Take the deprecated spec.data, too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    accept_deprecated_v1_data: bool,

    /// How often a second each caller may ask /v1/verify and /v1/rotate
    #[arg(long, value_name = "N", default_value = "2")]
    rate_limit: u32,

    /// How often at once
    #[arg(long, value_name = "N", default_value = "10")]
    rate_limit_burst: u32,

    /// Write Secrets of type kubernetes.io/service-account-token, which the cluster fills with credentials, as sealed-secrets does
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set, value_parser = go_bool)]
    allow_service_account_tokens: bool,

    #[arg(
        long,
        help = "Open sops files in ConfigMaps for volumes with this key, and with no other that a file names: an ARN of AWS KMS, a URL of Vault's transit engine, age1…, local:/FILE",
        value_name = "KEY", value_delimiter = ',', value_parser = sops_key)]
    sops_key: Vec<KeyId>,

    /// What may be asked without a token, as sealed-secrets has it
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    allow_anonymous: Vec<Anonymous>,
}

/// What may be asked by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Anonymous {
    /// Whether an object opens.
    Verify,
    /// An object sealed anew.
    Rotate,
}

/// The ring and its keeper.
///
/// # Errors
/// No key service, with the choices.
pub(super) async fn keys(
    app: &App,
    operator: &Operator,
    services: &ServiceArgs,
    keeper: &KeeperArgs,
    args: &SealingArgs,
) -> Result<Keys, Failure> {
    let store = Store::new(&operator.client(), &operator.options().namespace, &args.key_prefix);
    sealing_keys::keys(app, store, services, keeper).await
}

/// The namespace of this controller's own keys, and the name of one that needs no label.
pub(super) fn own_key(operator: &Operator, args: &SealingArgs) -> (String, String) {
    (operator.options().namespace.clone(), args.key_prefix.clone())
}

/// Whoever opens sops files in ConfigMaps, if keys for them were named.
pub(super) fn sops(app: &App, services: &ServiceArgs, args: &SealingArgs) -> Option<Sops> {
    let registry = || Registry::new(app.env.clone(), services.options());
    (!args.sops_key.is_empty()).then(|| Sops::new(registry(), args.sops_key.iter().cloned()))
}

/// For whom SealedSecrets for volumes are opened, and what else is.
pub(super) struct Nodes<'a> {
    /// The service accounts of node services: namespaces and names.
    pub(super) accounts: &'a [(String, String)],
    /// Sops files.
    pub(super) sops: Option<Sops>,
}

/// Adds the controller, its keys' care, its API and its metrics. Answers what node services may ask.
///
/// # Errors
/// If SIGUSR1 cannot be listened for.
pub(super) fn add(
    operator: &mut Operator,
    keys: Keys,
    nodes: Nodes<'_>,
    args: &SealingArgs,
    skip_recreate: bool,
) -> Result<Router, Failure> {
    let Keys { ring, keeper } = keys;
    let registry = operator.metrics();
    let (mut metrics, shards) = (None, operator.shards());
    registry.register(|registry| {
        registry.register_collector(Box::new(KeyMetrics(ring.clone())));
        metrics = Some(Metrics::new(registry, env!("CARGO_PKG_VERSION"), shards));
    });
    let Some(metrics) = metrics.map(Arc::new) else { return Err(Failure::generic("no metrics")) };
    let old_data = if args.accept_deprecated_v1_data { OldData::Accepted } else { OldData::Refused };
    let settings = Settings {
        label_selector: args.label_selector.clone().filter(|selector| !selector.is_empty()),
        old_data,
        update_status: args.update_status,
        watch_secrets: !skip_recreate,
        forbidden: Forbidden {
            own_key: Some(own_key(operator, args)),
            allow_account_tokens: args.allow_service_account_tokens,
        },
        ..Settings::default()
    };
    let events = operator.events("bulla-sealing");
    let controller = SealedSecrets::new(operator.client(), ring.clone(), settings, metrics.clone(), events);
    let changes = controller.changes();

    // Until keys are there nothing can be judged: objects would be said to be broken that are not.
    let running = ring.clone();
    operator.add_task(async move { running.run().await });
    let waiting = ring.clone();
    let handle = operator.add_when(Arc::new(controller), async move {
        let mut changed = waiting.changed();
        // The ring lives as long as the process.
        let _ = changed.wait_for(|_| !waiting.snapshot().keys().is_empty()).await;
    });

    let (seen, accounts) = (handle.clone(), nodes.accounts.iter().cloned());
    let namespaces = operator.options().namespaces.clone();
    let maps = Maps::new(operator.client(), namespaces, operator.gate(), Arc::clone(&changes));
    let mut delivery = Delivery::new(operator.client(), ring.clone(), accounts, changes, move || seen.has_synced());
    if let Some(sops) = nodes.sops {
        delivery = delivery.with_sops(sops, maps);
    }
    let routes = Arc::new(delivery).routes(operator.stop());

    let mut changed = ring.changed();
    let again = handle.clone();
    operator.add_task(async move {
        while changed.changed().await.is_ok() {
            again.reconsider();
        }
    });

    let keeper = Arc::new(keeper.with_usage(Arc::new(Counted {
        objects: metrics.objects(),
        handle,
        update_status: args.update_status,
    })));
    let mut renew = signal(SignalKind::user_defined1()).map_err(|error| Failure::generic(error.to_string()))?;
    let asked = keeper.clone();
    operator.add_task(async move {
        while renew.recv().await.is_some() {
            asked.renew_now();
        }
    });
    operator.add_leader("bulla-sealing-keys", move || work(keeper.clone()));

    let health = operator.health();
    let watched = ring.clone();
    operator.add_task(async move {
        loop {
            health.set_not_ready("sealing", watched.health().ready().err());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });

    let anonymous: BTreeSet<Verb> = args
        .allow_anonymous
        .iter()
        .map(|what| match what {
            Anonymous::Verify => Verb::Verify,
            Anonymous::Rotate => Verb::Rotate,
        })
        .collect();
    let access = Access::new(operator.client(), anonymous);
    let rate = Rate::new(args.rate_limit, args.rate_limit_burst);
    let certificates = ring.clone();
    let api = Api::new(ring.clone(), move || certificates.certificate(), access, rate, metrics, old_data);
    operator.add_routes(api.routes());
    operator.add_routes(bulla_operator::sealing::keys::http::routes(ring.unsealing().cloned()));
    Ok(routes)
}

fn sops_key(text: &str) -> Result<KeyId, String> {
    parse_key(text).map_err(|error| error.to_string().replacen("--key-service ", "", 1))
}

/// The keeper's work, on a thread of its own: the compiler cannot see that its future may move between threads. It ends with this
/// future: what `_leads` tells is its end.
async fn work(keeper: Arc<Keeper>) {
    let (_leads, lost) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Handle::current();
    let working = tokio::task::spawn_blocking(move || {
        runtime.block_on(async move {
            tokio::select! {
                () = keeper.work() => {}
                _ = lost => {}
            }
        });
    });
    if working.await.is_err() {
        tracing::error!("the care for the sealing keys ended by a panic; it begins again");
    }
}

/// Which keys are in use, from what all SealedSecrets say.
struct Counted {
    objects: Arc<Objects>,
    handle: Arc<dyn bulla_kube::Handle>,
    /// Without it no status says which key a value is sealed to, and 0 values would be a lie.
    update_status: bool,
}

impl Usage for Counted {
    fn values(&self) -> Option<BTreeMap<String, i64>> {
        (self.update_status && self.handle.has_synced()).then(|| self.objects.values().into_iter().collect())
    }
}
