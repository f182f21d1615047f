//! Work that one replica alone does: it holds a Lease while it works, and stops when it cannot renew it.
//!
//! Guaranteed: a leader that cannot renew has its work dropped before its Lease can be taken, by its own clock. Not guaranteed:
//! that a request which it sent before does not reach the server later. So what leaders write carries preconditions, too.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::time::Instant;

use super::backoff::jittered;
use super::client::describe;
use super::lease::{Held, Holder, Timing};
use super::stop::Stop;

/// A task that wants one actor.
pub struct Leader {
    holder: Holder,
    name: String,
    timing: Timing,
}

impl Leader {
    /// For the Lease `name` in `namespace`. `identity` is this process' alone.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, timing: Timing) -> Self {
        let api: Api<Lease> = Api::namespaced(client, namespace);
        Self { holder: Holder::new(api, name, identity, timing), name: name.to_owned(), timing }
    }

    /// Runs `work` whenever this replica leads, until `stop`. `work` is dropped when the Lease is lost, and begun again when it
    /// is back; if it ends by itself it is begun again after the time between renewals.
    pub async fn run<F: Future<Output = ()>>(mut self, stop: Stop, mut work: impl FnMut() -> F) {
        while !stop.is_set() {
            match self.holder.hold().await {
                Ok(Held::Ours) => {
                    tracing::info!(lease = self.name, "this replica leads");
                    self.lead(&stop, work()).await;
                    tracing::info!(lease = self.name, "this replica leads no longer");
                }
                Ok(Held::Theirs) => {}
                Err(error) => tracing::warn!(lease = self.name, error = describe(&error), "cannot ask for a lease"),
            }
            tokio::select! {
                () = stop.wait() => {}
                () = tokio::time::sleep(jittered(self.timing.renew)) => {}
            }
        }
        if let Err(error) = self.holder.release().await {
            tracing::debug!(lease = self.name, error = describe(&error), "a lease was not given up; it runs out");
        }
    }

    /// Works and renews, until the work is done, the Lease is lost or it is time to stop.
    async fn lead(&mut self, stop: &Stop, work: impl Future<Output = ()>) {
        tokio::pin!(work);
        loop {
            let deadline = self.holder.deadline().unwrap_or_else(Instant::now);
            let renewal = async {
                tokio::time::sleep(jittered(self.timing.renew)).await;
                while let Err(error) = self.holder.hold().await {
                    tracing::warn!(lease = self.name, error = describe(&error), "cannot renew a lease");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            };
            tokio::select! {
                () = &mut work => return,
                () = stop.wait() => return,
                () = tokio::time::sleep_until(deadline) => return,
                () = renewal => {}
            }
            if self.holder.deadline().is_none() {
                return;
            }
        }
    }
}
