//! Who is alive: a Lease for every replica, and which of them a replica sees.
//!
//! # What is guaranteed
//! - **Every object has an owner** among the members that any replica believes to be alive, and in the end all believe the same.
//! - **A member that cannot renew stops in time.** After `deadline` it takes no new work, and what it began is cut off before its
//!   Lease runs out (`duration`), so before anybody takes over.
//! - **A member that ends in good order** finishes what it began, then removes its Lease: the others take over at once.
//! - **A new member waits** for one round of renewals before it works, so that the others have seen it and let go of its share.
//!
//! # What is not
//! For a moment after a change two replicas may both believe that they own an object: a watch may lag, and a request that was sent
//! may arrive late. Nothing here can prevent that, and nothing needs to: what controllers write is the same from every replica,
//! and carries the uid and version that it is meant for, so that doing it twice is doing it once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use super::backoff::jittered;
use super::client::describe;
use super::gate::Gate;
use super::lease::{Held, Holder, Timing, duration_of};
use super::shards::{Members, Shards};
use super::stop::Stop;
use super::watch::{Seen, Selectors, objects};

/// The label of members' Leases; its value is the group's name.
pub const MEMBER_LABEL: &str = "bulla.dev/member-of";

/// A replica's membership.
pub struct Membership {
    client: Client,
    namespace: String,
    group: String,
    name: String,
    identity: String,
    timing: Timing,
    sender: watch::Sender<Arc<Members>>,
}

impl Membership {
    /// Of the group `group`, whose Leases are in `namespace`. `replica` names this replica (a pod's name), `identity` this process.
    pub fn new(client: Client, namespace: &str, group: &str, replica: &str, identity: &str, timing: Timing) -> Self {
        let name = format!("{group}-{replica}");
        // Not alive yet: nothing is ours.
        let sender = watch::Sender::new(Arc::new(Members::new(&name, [])));
        Self {
            client,
            namespace: namespace.to_owned(),
            group: group.to_owned(),
            name,
            identity: identity.to_owned(),
            timing,
            sender,
        }
    }

    /// The members as this replica sees them.
    pub fn shards(&self) -> Shards {
        self.sender.subscribe()
    }

    /// Keeps this replica alive and sees who else is, until `stop`; then takes no more work. The Lease is removed once `drained`
    /// completes, when all that was begun is finished.
    pub async fn run(self, gate: &Gate, stop: Stop, drained: impl Future<Output = ()>) {
        let (sender, seen) = watch::channel(Arc::new(Known::default()));
        let selectors = Selectors { labels: Some(format!("{MEMBER_LABEL}={}", self.group)), fields: None };
        let mut view = View::default();
        let watching = objects::<Lease>(self.client.clone(), Some(self.namespace.clone()), selectors, gate, |event| {
            view.see(event);
            sender.send_replace(Arc::new(Known { complete: view.complete, leases: view.leases.clone() }));
        });
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut holder =
            Holder::new(api, &self.name, &self.identity, self.timing).with_label(MEMBER_LABEL, &self.group);
        tokio::select! {
            () = watching => {}
            () = self.live(&mut holder, seen, gate, &stop) => {}
        }
        self.publish(Members::new(&self.name, []));
        drained.await;
        if let Err(error) = holder.remove().await {
            tracing::debug!(error = describe(&error), "a member's lease was not removed; it runs out");
        }
    }

    /// Renews and watches until `stop`.
    async fn live(&self, holder: &mut Holder, mut seen: watch::Receiver<Arc<Known>>, gate: &Gate, stop: &Stop) {
        let mut next_renewal = Instant::now();
        let mut works_from = None;
        loop {
            if Instant::now() >= next_renewal {
                let renewed = self.renew(holder).await;
                if renewed {
                    // Nobody asks as often as this: it is the first to know that a server is back.
                    gate.reached();
                }
                let pause = if renewed { self.timing.renew } else { Duration::from_secs(1) };
                next_renewal = Instant::now() + jittered(pause);
            }
            let now = Instant::now();
            let deadline = holder.deadline().filter(|deadline| *deadline > now);
            let current = seen.borrow_and_update().clone();
            let (others, next_expiry) = current.live_at(now, &self.name, self.timing.duration);
            match deadline {
                Some(_) if current.complete => {
                    // Alone, there is nobody to wait for.
                    let from = *works_from.get_or_insert(if others.is_empty() { now } else { now + self.timing.renew });
                    let me = (from <= now).then(|| self.name.clone());
                    self.publish(Members::new(&self.name, others.into_iter().chain(me)));
                }
                Some(_) => {}
                None => {
                    works_from = None;
                    self.publish(Members::new(&self.name, others));
                }
            }
            let wake = [Some(next_renewal), deadline, next_expiry, works_from.filter(|from| *from > now)];
            let wake = wake.into_iter().flatten().min().unwrap_or(next_renewal);
            tokio::select! {
                () = stop.wait() => return,
                () = tokio::time::sleep_until(wake) => {}
                changed = seen.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Whether the Lease is ours and renewed.
    async fn renew(&self, holder: &mut Holder) -> bool {
        // Never past the deadline: then it must be told at once that there is no more work.
        let patience = Instant::now() + self.timing.renew;
        let until =
            holder.deadline().filter(|deadline| *deadline > Instant::now()).map_or(patience, |d| d.min(patience));
        match tokio::time::timeout_at(until, holder.hold()).await {
            Ok(Ok(Held::Ours)) => true,
            Ok(Ok(Held::Theirs)) => {
                tracing::debug!(
                    lease = self.name,
                    "this replica's lease is still held by an earlier process of its name"
                );
                false
            }
            Ok(Err(error)) => {
                tracing::warn!(lease = self.name, error = describe(&error), "cannot renew this replica's lease");
                false
            }
            Err(_) => {
                tracing::warn!(lease = self.name, "this replica's lease was not renewed in time");
                false
            }
        }
    }

    fn publish(&self, members: Members) {
        self.sender.send_if_modified(|current| {
            let changed = **current != members;
            if changed {
                tracing::info!(
                    members = members.count(),
                    working = members.may_work(),
                    "the replicas that share the work"
                );
                *current = Arc::new(members);
            }
            changed
        });
    }
}

/// What is known of the Leases of a group.
#[derive(Clone, Debug, Default)]
struct Known {
    complete: bool,
    leases: HashMap<String, Member>,
}

#[derive(Clone, Debug)]
struct Member {
    /// What a renewal changes.
    version: Option<String>,
    /// Since when it has been so, by our clock.
    since: Instant,
    duration: Option<Duration>,
    fresh: bool,
}

impl Known {
    /// Who but `me` is alive, and when the next of them is not unless it renews.
    fn live_at(&self, now: Instant, me: &str, default: Duration) -> (Vec<String>, Option<Instant>) {
        let mut next = None;
        let mut live = Vec::new();
        for (name, member) in self.leases.iter().filter(|(name, _)| *name != me) {
            let until = member.since + member.duration.unwrap_or(default);
            if until > now {
                live.push(name.clone());
                next = Some(next.map_or(until, |next: Instant| next.min(until)));
            }
        }
        (live, next)
    }
}

/// Turns what the watch tells into what is known.
#[derive(Default)]
struct View {
    complete: bool,
    leases: HashMap<String, Member>,
}

impl View {
    fn see(&mut self, event: Seen<Lease>) {
        match event {
            Seen::Begin => self.leases.values_mut().for_each(|member| member.fresh = false),
            Seen::Object(lease) => {
                let (name, version) = (lease.metadata.name.unwrap_or_default(), lease.metadata.resource_version);
                let spec = lease.spec.unwrap_or_default();
                if spec.holder_identity.is_none() {
                    self.leases.remove(&name);
                    return;
                }
                let since = match self.leases.get(&name) {
                    Some(known) if known.version == version => known.since,
                    _ => Instant::now(),
                };
                let duration = spec.lease_duration_seconds.map(|_| duration_of(&spec, Duration::ZERO));
                self.leases.insert(name, Member { version, since, duration, fresh: true });
            }
            Seen::Gone(metadata) => {
                self.leases.remove(metadata.name.as_deref().unwrap_or_default());
            }
            Seen::Unreadable(..) => {}
            Seen::Complete => {
                self.complete = true;
                self.leases.retain(|_, member| member.fresh);
            }
        }
    }
}
