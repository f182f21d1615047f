//! What is counted, under the names that people who run sealed-secrets alert on.

use std::collections::HashMap;
use std::fmt::{Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bulla_format::sealed::Fingerprint;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use bulla_kube::ObjectKey;
use bulla_kube::api::SealedSecret;
use bulla_kube::api::sealed_secret::SYNCED;
use bulla_kube::shards::Shards;

/// The buckets of Prometheus' own libraries, in seconds.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Keys that are told apart, at most.
const MOST_KEYS: u16 = 10_000;

/// The metrics of the controller and of its HTTP API.
pub struct Metrics {
    /// Reconciliations.
    pub unseal_requests: Counter,
    /// Values that were opened.
    pub opened: Counter,
    /// Private operations that it took to open them: with the right key at hand, one each.
    pub operations: Counter,
    errors: Family<Error, Counter>,
    requests: Family<Asked, Counter>,
    seconds: Family<Path, Histogram, fn() -> Histogram>,
    objects: Arc<Objects>,
}

/// What every SealedSecret's status says, in as few bytes as it can be said.
pub struct Objects {
    tracked: Mutex<Tracked>,
    /// Whose objects this replica tells of.
    shards: Shards,
}

#[derive(Default)]
struct Tracked {
    objects: HashMap<ObjectKey, Object>,
    /// Fingerprints, each once, and where each stands.
    keys: Vec<String>,
    places: HashMap<String, u16>,
}

struct Object {
    condition: Option<i8>,
    /// `app.kubernetes.io/instance`.
    instance: Option<Box<str>>,
    /// Which key (its place in `keys`), and how many values are sealed to it.
    sealed_with: Box<[(u16, u16)]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Error {
    reason: &'static str,
    namespace: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    path: &'static str,
    code: u16,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Path {
    path: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfObject {
    namespace: String,
    name: String,
    condition: &'static str,
    ss_app_kubernetes_io_instance: String,
}

impl Metrics {
    /// Metrics that are served with those of `registry`. Of `shards`' objects each has one replica that tells of it.
    pub fn new(registry: &mut Registry, version: &'static str, shards: Shards) -> Self {
        let seconds = Family::<Path, Histogram, fn() -> Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let metrics = Self {
            unseal_requests: Counter::default(),
            opened: Counter::default(),
            operations: Counter::default(),
            errors: Family::default(),
            requests: Family::default(),
            seconds,
            objects: Arc::new(Objects { tracked: Mutex::default(), shards }),
        };
        let build = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        build.get_or_create(&[("revision", version)]).set(1);
        let named = registry.sub_registry_with_prefix("sealed_secrets_controller");
        named.register("build_info", "Build information", build);
        named.register(
            "unseal_requests",
            "Total number of sealed secret unseal requests",
            metrics.unseal_requests.clone(),
        );
        named.register(
            "unseal_errors",
            "Total number of sealed secret unseal errors by reason",
            metrics.errors.clone(),
        );
        named.register("http_requests", "Requests to the HTTP API", metrics.requests.clone());
        named.register("http_request_duration_seconds", "How long they took", metrics.seconds.clone());
        let ours = registry.sub_registry_with_prefix("bulla_sealing");
        ours.register("values_opened", "Values that were opened", metrics.opened.clone());
        ours.register(
            "private_operations",
            "Private key operations that opening them took",
            metrics.operations.clone(),
        );
        registry.register_collector(Box::new(Conditions(metrics.objects.clone())));
        metrics
    }

    /// Counts an error: `unseal`, `update`, `unmanaged`, `status`.
    pub fn error(&self, reason: &'static str, namespace: &str) {
        self.errors.get_or_create(&Error { reason, namespace: namespace.to_owned() }).inc();
    }

    /// Counts a request.
    pub fn asked(&self, path: &'static str, method: &'static str, code: u16, seconds: f64) {
        self.requests.get_or_create(&Asked { path, code, method }).inc();
        self.seconds.get_or_create(&Path { path, method }).observe(seconds);
    }

    /// What is known of all objects.
    pub fn objects(&self) -> Arc<Objects> {
        self.objects.clone()
    }
}

impl Objects {
    /// An object was seen.
    pub fn see(&self, key: &ObjectKey, object: &SealedSecret) {
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        let condition =
            conditions.rfind(|condition| condition.type_ == SYNCED).map(|condition| match condition.status.as_str() {
                "True" => 1,
                "False" => -1,
                _ => 0,
            });
        let labels = object.metadata.labels.as_ref();
        let instance =
            labels.and_then(|labels| labels.get("app.kubernetes.io/instance")).map(|text| text.as_str().into());
        let mut tracked = self.lock();
        let mut counts: Vec<(u16, u16)> = Vec::new();
        for fingerprint in object.status.iter().flat_map(|status| status.sealed_with.values()) {
            let Some(place) = tracked.place(fingerprint) else { continue };
            match counts.iter_mut().find(|(known, _)| *known == place) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => counts.push((place, 1)),
            }
        }
        tracked.objects.insert(key.clone(), Object { condition, instance, sealed_with: counts.into() });
    }

    /// An object is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.lock().objects.remove(key);
    }

    /// How many values are sealed to each key, by its fingerprint.
    pub fn values(&self) -> HashMap<String, i64> {
        let tracked = self.lock();
        let mut counts: HashMap<String, i64> = HashMap::new();
        for (place, count) in tracked.objects.values().flat_map(|object| &object.sealed_with) {
            if let Some(fingerprint) = tracked.keys.get(usize::from(*place)) {
                *counts.entry(fingerprint.clone()).or_default() += i64::from(*count);
            }
        }
        counts
    }

    fn lock(&self) -> MutexGuard<'_, Tracked> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tracked {
    /// Where a fingerprint stands. What is none is not kept, and there is an end to how many are: who may write a status could invent
    /// some.
    fn place(&mut self, fingerprint: &str) -> Option<u16> {
        if let Some(place) = self.places.get(fingerprint) {
            return Some(*place);
        }
        fingerprint.parse::<Fingerprint>().ok()?;
        let place = u16::try_from(self.keys.len()).ok().filter(|place| *place < MOST_KEYS)?;
        self.keys.push(fingerprint.to_owned());
        self.places.insert(fingerprint.to_owned(), place);
        Some(place)
    }
}

/// Writes a gauge for every object when it is asked for, instead of keeping its labels.
struct Conditions(Arc<Objects>);

impl Debug for Conditions {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Conditions")
    }
}

impl Collector for Conditions {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (tracked, shards) = (self.0.lock(), self.0.shards.borrow().clone());
        let example = ConstGauge::new(0_i64);
        let help = "Current SealedSecret condition status. Values are -1 (false), 0 (unknown or absent), 1 (true)";
        let name = "sealed_secrets_controller_condition_info";
        let mut family = encoder.encode_descriptor(name, help, None, example.metric_type())?;
        for (key, object) in &tracked.objects {
            let Some(condition) = object.condition.filter(|_| shards.own(key)) else { continue };
            let labels = OfObject {
                namespace: key.namespace().to_owned(),
                name: key.name().to_owned(),
                condition: SYNCED,
                ss_app_kubernetes_io_instance: object.instance.as_deref().unwrap_or_default().to_owned(),
            };
            ConstGauge::new(i64::from(condition)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use serde_json::json;

    use super::*;
    use bulla_kube::shards::{Members, fixed};

    fn alone() -> Shards {
        fixed(Members::alone("a"))
    }

    #[test]
    fn conditions_stand_under_the_peer_s_names_and_go_with_their_object() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry, "1", alone());
        let (one, other) = ("11".repeat(32), "22".repeat(32));
        let object: SealedSecret = serde_json::from_value(json!({
            "apiVersion": "bitnami.com/v1alpha1",
            "kind": "SealedSecret",
            "metadata": {"name": "a", "namespace": "n", "labels": {"app.kubernetes.io/instance": "web"}},
            "spec": {},
            "status": {"conditions": [{"type": "Synced", "status": "False"}], "sealedWith": {"x": one, "y": one, "z": other, "w": "no fingerprint"}},
        }))
        .unwrap();
        let key = ObjectKey::new("n", "a");
        metrics.objects().see(&key, &object);
        metrics.error("unseal", "n");
        metrics.unseal_requests.inc();
        let text = |registry: &Registry| {
            let mut text = String::new();
            encode(&mut text, registry).unwrap();
            text
        };
        for line in [
            "sealed_secrets_controller_condition_info{namespace=\"n\",name=\"a\",condition=\"Synced\",ss_app_kubernetes_io_instance=\"web\"} -1",
            "sealed_secrets_controller_unseal_errors_total{reason=\"unseal\",namespace=\"n\"} 1",
            "sealed_secrets_controller_unseal_requests_total 1",
            "sealed_secrets_controller_build_info{revision=\"1\"} 1",
        ] {
            assert!(text(&registry).contains(line), "{line}\n{}", text(&registry));
        }
        assert_eq!(metrics.objects().values(), [(one, 2), (other, 1)].into());
        metrics.objects().forget(&key);
        assert!(!text(&registry).contains("name=\"a\""));
    }

    #[test]
    fn of_each_object_its_owner_tells_alone() {
        let told = |me: &str| {
            let mut registry = Registry::default();
            let members = Members::new(me, ["a", "b"].map(str::to_owned));
            let metrics = Metrics::new(&mut registry, "1", fixed(members));
            for n in 0..100 {
                let object: SealedSecret = serde_json::from_value(json!({
                    "apiVersion": "bitnami.com/v1alpha1",
                    "kind": "SealedSecret",
                    "metadata": {"name": format!("s{n}"), "namespace": "n"},
                    "spec": {},
                    "status": {"conditions": [{"type": "Synced", "status": "True"}]},
                }))
                .unwrap();
                metrics.objects().see(&ObjectKey::of(&object.metadata), &object);
            }
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text.lines().filter(|line| line.starts_with("sealed_secrets_controller_condition_info{")).count()
        };
        assert!(told("a") > 20 && told("b") > 20);
        assert_eq!((told("a") + told("b"), told("c")), (100, 0));
    }

    #[test]
    fn invented_fingerprints_take_no_room_without_end() {
        let mut tracked = Tracked::default();
        for n in 0..u32::from(MOST_KEYS) + 10 {
            tracked.place(&format!("{n:064x}"));
            tracked.place(&format!("invented {n}"));
        }
        assert_eq!((tracked.keys.len(), tracked.places.len()), (MOST_KEYS.into(), MOST_KEYS.into()));
        assert_eq!(tracked.place(&format!("{:064x}", 7)), Some(7));
    }
}
