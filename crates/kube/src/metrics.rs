//! The runtime's own metrics, and the registry that controllers add theirs to.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::queue::{Depth, Lane};

/// What is measured, by controller.
pub struct Metrics {
    registry: Mutex<Registry>,
    reconciles: Family<Outcome, Counter>,
    seconds: Family<Controller, Histogram, fn() -> Histogram>,
    queue: Family<Queued, Gauge>,
    objects: Family<Kept, Gauge>,
    stalled: Family<Controller, Gauge>,
    members: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Controller {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    controller: &'static str,
    result: &'static str,
    lane: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queued {
    controller: &'static str,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kept {
    controller: &'static str,
    what: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let reconciles = Family::default();
        let seconds = Family::<Controller, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 4.0, 9))
        });
        let (queue, objects, stalled, members) =
            (Family::default(), Family::default(), Family::default(), Gauge::default());
        let operator = registry.sub_registry_with_prefix("bulla_operator");
        operator.register("reconciles", "Objects that were worked on", reconciles.clone());
        operator.register("reconcile_seconds", "How long it took, when it succeeded", seconds.clone());
        operator.register("queue_objects", "Objects that are to be worked on, by state", queue.clone());
        operator.register("known_objects", "Objects that are watched, and bytes of those that wait", objects.clone());
        operator.register("stalled", "1 when there is work and none of it is finished", stalled.clone());
        operator.register("members", "Replicas that share the work, as this one sees it", members.clone());
        Self { registry: Mutex::new(registry), reconciles, seconds, queue, objects, stalled, members }
    }
}

impl Metrics {
    /// Adds metrics to what is served.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics as `OpenMetrics` text.
    ///
    /// # Errors
    /// If a metric cannot be written as text.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(
            &mut text,
            &self.registry.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        Ok(text)
    }

    pub(super) fn succeeded(&self, controller: &'static str, lane: Lane, time: Duration) {
        self.reconciles.get_or_create(&Outcome { controller, result: "success", lane: lane.name() }).inc();
        self.seconds.get_or_create(&Controller { controller }).observe(time.as_secs_f64());
    }

    pub(super) fn failed(&self, controller: &'static str, lane: Lane) {
        self.reconciles.get_or_create(&Outcome { controller, result: "failure", lane: lane.name() }).inc();
    }

    pub(super) fn measure(
        &self,
        controller: &'static str,
        depth: Depth,
        objects: usize,
        secrets: usize,
        waiting: usize,
    ) {
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let lanes = Lane::ALL.map(|lane| (lane.name(), depth.ready[lane as usize]));
        for (state, value) in lanes.into_iter().chain([("waiting", depth.waiting), ("running", depth.running)]) {
            self.queue.get_or_create(&Queued { controller, state }).set(number(value));
        }
        for (what, value) in [("objects", objects), ("secrets", secrets), ("waiting_bytes", waiting)] {
            self.objects.get_or_create(&Kept { controller, what }).set(number(value));
        }
    }

    pub(super) fn set_stalled(&self, controller: &'static str, is_stalled: bool) {
        self.stalled.get_or_create(&Controller { controller }).set(i64::from(is_stalled));
    }

    pub(super) fn set_members(&self, count: usize) {
        self.members.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
