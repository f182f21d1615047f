//! What is counted of the keys.

use std::sync::Arc;

use bulla_kube::api::sealing_key::KeyState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};

use super::cluster::{ClusterRing, Health};

/// The gauges of a ring, read when they are scraped: register it with `register_collector`.
#[derive(Debug)]
pub struct KeyMetrics(pub Arc<ClusterRing>);

impl Collector for KeyMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (states, failed, plain) = self.0.counts();
        let by_state = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        for (state, name) in
            [(KeyState::Active, "active"), (KeyState::Retired, "retired"), (KeyState::Compromised, "compromised")]
        {
            by_state.get_or_create(&[("state", name)]).set(states.get(&state).copied().unwrap_or_default());
        }
        let kind = by_state.metric_type();
        by_state.encode(encoder.encode_descriptor("bulla_sealing_keys", "Key objects by state", None, kind)?)?;
        let sealed = i64::from(matches!(self.0.health(), Health::Sealed(..)));
        for (name, help, value) in [
            ("bulla_sealing_keys_unavailable", "Key objects whose private key is not at hand", failed),
            (
                "bulla_sealing_keys_plain",
                "Keys that stand plain in Secrets: whoever reads Secrets or etcd has them",
                plain,
            ),
            ("bulla_sealing_sealed", "1 while people must give shares before anything opens", sealed),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
