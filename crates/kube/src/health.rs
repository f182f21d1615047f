//! Whether this process is alive and ready, and why not.
//!
//! **Alive**: no controller has had work for minutes without finishing any of it. An API server that is gone is no reason: a
//! restart would not bring it back. **Ready**: what the process serves can be used, and the first lists are complete.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::driver::Handle;
use super::gate::Gate;
use super::metrics::Metrics;
use super::stop::Stop;

/// How long there may be work without progress.
const PATIENCE: Duration = Duration::from_mins(5);

/// How often the watchdog looks.
const LOOK: Duration = Duration::from_secs(10);

/// The state of the process, as probes see it.
#[derive(Default)]
pub struct Health {
    handles: Mutex<Vec<Arc<dyn Handle>>>,
    /// By who says it.
    not_ready: Mutex<BTreeMap<&'static str, String>>,
    stop: Mutex<Option<Stop>>,
    gate: Arc<Gate>,
}

impl Health {
    /// Of a process that reaches the API server by `gate`.
    pub fn new(gate: Arc<Gate>) -> Self {
        Self { gate, ..Self::default() }
    }

    /// Watches over a controller.
    pub fn add(&self, handle: Arc<dyn Handle>) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }

    /// From this on, not ready once it is set.
    pub fn until(&self, stop: Stop) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
    }

    /// Says why the process is not ready as far as `who` knows, or that it is.
    pub fn set_not_ready(&self, who: &'static str, reason: Option<String>) {
        let mut all = self.not_ready.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => all.insert(who, reason),
            None => all.remove(who),
        };
    }

    /// Why the process is not alive, if it is not.
    ///
    /// # Errors
    /// Which controller stalls, and for how long.
    pub fn live(&self) -> Result<(), String> {
        match self.handles().iter().find(|handle| handle.stalled_for() > PATIENCE) {
            Some(stalled) => Err(format!(
                "controller {} has had work for {} s and finished none of it",
                stalled.name(),
                stalled.stalled_for().as_secs()
            )),
            None => Ok(()),
        }
    }

    /// Why the process is not ready, if it is not.
    ///
    /// # Errors
    /// What it waits for.
    pub fn ready(&self) -> Result<(), String> {
        if self.stop.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(Stop::is_set) {
            return Err("it is being stopped".to_owned());
        }
        let reason = self.not_ready.lock().unwrap_or_else(PoisonError::into_inner).values().next().cloned();
        let unseen = || {
            let handles = self.handles();
            let handle = handles.iter().find(|handle| !handle.has_synced())?;
            Some(format!("controller {} has not seen all its objects yet", handle.name()))
        };
        match reason.or_else(unseen) {
            Some(reason) if !self.gate.is_open() => Err(format!("{reason}; the API server cannot be reached")),
            Some(reason) => Err(reason),
            None => self.live(),
        }
    }

    /// Brings gauges up to date, before they are read.
    pub fn measure(&self) {
        self.handles().iter().for_each(|handle| handle.measure());
    }

    /// Looks for stalls, and tells of each once, until dropped.
    pub async fn watchdog(&self, metrics: &Metrics) {
        let mut told = Vec::new();
        loop {
            tokio::time::sleep(LOOK).await;
            for handle in self.handles() {
                let (name, time) = (handle.name(), handle.stalled_for());
                let stalled = time > PATIENCE;
                metrics.set_stalled(name, stalled);
                if stalled && !told.contains(&name) {
                    tracing::error!(
                        controller = name,
                        seconds = time.as_secs(),
                        "a controller makes no progress though it has work"
                    );
                    told.push(name);
                }
                if !stalled {
                    told.retain(|told| *told != name);
                }
            }
        }
    }

    fn handles(&self) -> Vec<Arc<dyn Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Fake(AtomicU64);

    impl Handle for Fake {
        fn reconsider(&self) {}

        fn has_synced(&self) -> bool {
            true
        }

        fn stalled_for(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }

        fn measure(&self) {}

        fn name(&self) -> &'static str {
            "fake"
        }
    }

    #[test]
    fn a_stall_fails_liveness_and_says_where() {
        let (health, fake) = (Health::default(), Arc::new(Fake::default()));
        health.add(fake.clone());
        assert!(health.live().is_ok() && health.ready().is_ok());
        fake.0.store(301, Ordering::Relaxed);
        assert!(health.live().unwrap_err().contains("controller fake has had work for 301 s"));
    }

    #[test]
    fn who_is_being_stopped_is_alive_and_not_ready() {
        let health = Health::default();
        let (stopper, stop) = super::super::stop::Stopper::new();
        health.until(stop);
        assert!(health.ready().is_ok());
        stopper.set();
        assert!(health.live().is_ok() && health.ready().is_err());
    }

    #[test]
    fn an_api_server_that_is_gone_explains_what_is_waited_for_and_is_no_reason_itself() {
        let gate = Arc::new(Gate::default());
        let health = Health::new(gate.clone());
        gate.unreachable("connection refused");
        assert!(health.ready().is_ok());
        health.set_not_ready("keys", Some("there is no key yet".to_owned()));
        assert_eq!(health.ready().unwrap_err(), "there is no key yet; the API server cannot be reached");
        gate.reached();
        assert_eq!(health.ready().unwrap_err(), "there is no key yet");
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_sets_the_metric_and_takes_it_back() {
        let (health, fake, metrics) = (Health::default(), Arc::new(Fake::default()), Metrics::default());
        health.add(fake.clone());
        for (seconds, line) in [
            (301, "bulla_operator_stalled{controller=\"fake\"} 1"),
            (0, "bulla_operator_stalled{controller=\"fake\"} 0"),
        ] {
            fake.0.store(seconds, Ordering::Relaxed);
            let _ = tokio::time::timeout(LOOK * 2, health.watchdog(&metrics)).await;
            assert!(metrics.encode().unwrap().contains(line));
        }
    }
}
