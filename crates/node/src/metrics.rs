//! What is counted, under the names of the Secrets Store CSI driver where they mean the same.
//!
//! The names are those that its program serves (v1.6.0, `pkg/secrets-store/stats_reporter.go`); its documentation has others
//! (`total_node_publish`), which went when it began to count through OpenTelemetry.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::publish::{Outcome, PublishError, Report};

/// The peer has it in every metric.
const SYSTEM: &str = "linux";

/// What is counted.
#[derive(Clone)]
pub struct Metrics {
    published: Family<Of, Counter>,
    not_published: Family<Wrong, Counter>,
    unpublished: Family<On, Counter>,
    rotated: Family<Anew, Counter>,
    not_rotated: Family<AnewWrong, Counter>,
    seconds: Family<Kind, Histogram, fn() -> Histogram>,
    secrets: Family<On, Counter>,
    fetches: Family<Fetch, Histogram, fn() -> Histogram>,
    bytes: Gauge,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct On {
    os_type: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    provider: String,
    os_type: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Wrong {
    provider: String,
    error_type: &'static str,
    os_type: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Anew {
    provider: String,
    rotated: &'static str,
    os_type: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnewWrong {
    provider: String,
    error_type: &'static str,
    rotated: &'static str,
    os_type: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    result: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fetch {
    provider: String,
    result: &'static str,
}

/// 5 ms to 80 s.
fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 15))
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = Family::<Kind, Histogram, fn() -> Histogram>::new_with_constructor(times);
        let fetches = Family::<Fetch, Histogram, fn() -> Histogram>::new_with_constructor(times);
        let (published, not_published, unpublished) = (Family::default(), Family::default(), Family::default());
        let (rotated, not_rotated) = (Family::default(), Family::default());
        let (secrets, bytes) = (Family::default(), Gauge::default());
        Self { published, not_published, unpublished, rotated, not_rotated, seconds, secrets, fetches, bytes }
    }
}

impl Metrics {
    /// Adds them to what is served.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("node_publish", "Volumes that were mounted", self.published.clone());
        registry.register("node_publish_error", "Volumes that were not mounted", self.not_published.clone());
        registry.register("node_unpublish", "Volumes that were taken away", self.unpublished.clone());
        registry.register("rotation_reconcile", "Volumes whose contents were fetched anew", self.rotated.clone());
        let help = "Volumes whose contents could not be fetched anew, and stay as they were";
        registry.register("rotation_reconcile_error", help, self.not_rotated.clone());
        registry.register("sync_k8s_secret", "Secrets that were made of volumes", self.secrets.clone());
        registry.register("bulla_node_publish_seconds", "How long mounting took", self.seconds.clone());
        let help = "How long providers took, waiting for a turn included";
        registry.register("bulla_node_fetch_seconds", help, self.fetches.clone());
        let help = "How much memory the files of all volumes take, as far as the kubelet has asked for them";
        registry.register("bulla_node_volumes_bytes", help, self.bytes.clone());
    }

    /// Counts what became of a volume.
    pub(crate) fn count(&self, report: &Report<'_>) {
        // A name that is nobody's may be any text.
        let is_unknown = matches!(
            report.outcome,
            Outcome::Failed(PublishError::UnknownProvider { .. })
                | Outcome::Stale(PublishError::UnknownProvider { .. })
        );
        let provider = report.class.filter(|_| !is_unknown).map(|class| class.provider.clone()).unwrap_or_default();
        let os_type = SYSTEM;
        match &report.outcome {
            Outcome::Mounted => drop(self.published.get_or_create(&Of { provider, os_type }).inc()),
            Outcome::Failed(error) => {
                let wrong = Wrong { provider, error_type: error_type(error), os_type };
                self.not_published.get_or_create(&wrong).inc();
            }
            Outcome::Changed | Outcome::Unchanged => {
                let rotated = if matches!(report.outcome, Outcome::Changed) { "true" } else { "false" };
                self.rotated.get_or_create(&Anew { provider, rotated, os_type }).inc();
            }
            Outcome::Stale(error) => {
                let wrong = AnewWrong { provider, error_type: error_type(error), rotated: "false", os_type };
                self.not_rotated.get_or_create(&wrong).inc();
            }
        }
    }

    /// Counts a volume that is gone.
    pub(crate) fn count_gone(&self) {
        self.unpublished.get_or_create(&On { os_type: SYSTEM }).inc();
    }

    /// Counts a Secret that was written.
    pub(crate) fn count_secret(&self) {
        self.secrets.get_or_create(&On { os_type: SYSTEM }).inc();
    }

    /// Notes how long a provider took. A class may name any text: only one that `is_known`, or has given something before, is named here.
    pub(crate) fn observe_fetch(&self, provider: &str, is_known: bool, succeeded: bool, seconds: f64) {
        let of = |provider: &str, result| Fetch { provider: provider.to_owned(), result };
        let success = of(provider, "success");
        let which = if succeeded {
            success
        } else if is_known || self.fetches.get(&success).is_some() {
            of(provider, "failure")
        } else {
            of("", "failure")
        };
        self.fetches.get_or_create(&which).observe(seconds);
    }

    /// Notes how much memory all volumes take, in bytes.
    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Notes how long mounting took.
    pub(crate) fn observe(&self, succeeded: bool, seconds: f64) {
        let result = if succeeded { "success" } else { "failure" };
        self.seconds.get_or_create(&Kind { result }).observe(seconds);
    }
}

/// The peer's words.
fn error_type(error: &PublishError) -> &'static str {
    match error {
        PublishError::Class(_) => "SecretProviderClassNotFound",
        PublishError::UnknownProvider { .. } => "FailedToLookupProviderGRPCClient",
        PublishError::Provider(_) => "GRPCProviderError",
        PublishError::Mount(_) => "FailedToMount",
        PublishError::Write(_) | PublishError::Full(_) => "FileWriteError",
    }
}
