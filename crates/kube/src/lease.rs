//! A Lease (`coordination.k8s.io/v1`) that is taken, renewed and given up.
//!
//! **Clocks.** Whether somebody else's Lease has run out is judged by our own clock alone: it has when we saw it unchanged for its
//! whole duration. Clocks of machines may differ by any amount.
//!
//! **Who writes.** Every write carries the resourceVersion that it is based on, so that of two that take a Lease at once one fails.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::time::Instant;

/// How long Leases last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// After this time without renewal a Lease is anybody's.
    pub duration: Duration,
    /// A holder that could not renew for this long stops.
    pub deadline: Duration,
    /// How often it is renewed.
    pub renew: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self::lasting(Duration::from_secs(15))
    }
}

impl Timing {
    /// For Leases that last this long; the rest in the default's proportions.
    pub fn lasting(duration: Duration) -> Self {
        Self { duration, deadline: duration * 2 / 3, renew: duration * 4 / 15 }
    }

    /// How long work that was begun may go on after the deadline, before it is cut off: until shortly before the Lease runs out.
    pub fn grace(&self) -> Duration {
        self.duration.saturating_sub(self.deadline).mul_f64(0.6)
    }
}

/// One Lease, as one process sees it.
pub struct Holder {
    api: Api<Lease>,
    name: String,
    /// This process: no other has it, not even the same pod's next one.
    identity: String,
    labels: Vec<(String, String)>,
    timing: Timing,
    /// What was seen last, and since when it has been so.
    seen: Option<(Lease, Instant)>,
    /// When the last renewal that succeeded was sent.
    renewed: Option<Instant>,
}

/// What came of trying to take or renew a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It is ours.
    Ours,
    /// It is somebody else's.
    Theirs,
}

impl Holder {
    /// For the Lease `name`, not taken yet.
    pub fn new(api: Api<Lease>, name: &str, identity: &str, timing: Timing) -> Self {
        Self {
            api,
            name: name.to_owned(),
            identity: identity.to_owned(),
            labels: Vec::new(),
            timing,
            seen: None,
            renewed: None,
        }
    }

    /// Labels that the Lease gets.
    #[must_use]
    pub fn with_label(mut self, key: &str, value: &str) -> Self {
        self.labels.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Takes the Lease if it is free, renews it if it is ours.
    ///
    /// # Errors
    /// If the server did not answer or refused. What is ours stays so until [`expires`](Self::expires).
    pub async fn hold(&mut self) -> Result<Held, kube::Error> {
        let sent = Instant::now();
        // A renewal needs no reading: if what we know is old, the write fails. What was seen stays seen until something else is, whatever
        // becomes of the request: the age of somebody else's Lease must not begin anew.
        if !self.seen.as_ref().is_some_and(|(lease, _)| self.is_ours(lease)) {
            self.read().await?;
        }
        let Some((lease, since)) = self.seen.clone() else {
            let lease = self.api.create(&PostParams::default(), &self.next(None)).await;
            return self.settle(lease, sent);
        };
        if !self.is_ours(&lease) && !self.is_free(&lease, since) {
            self.renewed = None;
            return Ok(Held::Theirs);
        }
        let lease = self.api.replace(&self.name, &PostParams::default(), &self.next(Some(lease))).await;
        self.settle(lease, sent)
    }

    /// Until when the Lease is surely ours; then work must have stopped.
    pub fn expires(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timing.duration)
    }

    /// Until when new work may be begun.
    pub fn deadline(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.timing.deadline)
    }

    /// Gives the Lease up, so that another may take it at once. Does nothing if it is not ours.
    ///
    /// # Errors
    /// If the server did not answer; the Lease then runs out by itself.
    pub async fn release(&mut self) -> Result<(), kube::Error> {
        self.renewed = None;
        let Some((mut lease, _)) = self.seen.take().filter(|(lease, _)| self.is_ours(lease)) else { return Ok(()) };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.renew_time = None;
        }
        self.api.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
    }

    /// Removes the Lease altogether.
    ///
    /// # Errors
    /// If the server did not answer; the Lease then runs out by itself.
    pub async fn remove(&mut self) -> Result<(), kube::Error> {
        self.renewed = None;
        let Some((lease, _)) = self.seen.take().filter(|(lease, _)| self.is_ours(lease)) else { return Ok(()) };
        let preconditions = kube::api::Preconditions { uid: lease.metadata.uid, ..Default::default() };
        let params = kube::api::DeleteParams { preconditions: Some(preconditions), ..Default::default() };
        self.api.delete(&self.name, &params).await.map(drop)
    }

    async fn read(&mut self) -> Result<(), kube::Error> {
        let read = self.api.get_opt(&self.name).await?;
        self.seen = read.map(|lease| match self.seen.take() {
            Some(seen) if is_same(&seen.0, &lease) => seen,
            _ => (lease, Instant::now()),
        });
        Ok(())
    }

    fn settle(&mut self, written: Result<Lease, kube::Error>, sent: Instant) -> Result<Held, kube::Error> {
        match written {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                self.renewed = Some(sent);
                Ok(Held::Ours)
            }
            // Somebody else was faster; the next round reads what there is.
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                (self.seen, self.renewed) = (None, None);
                Ok(Held::Theirs)
            }
            Err(error) => Err(error),
        }
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity)
    }

    fn is_free(&self, lease: &Lease, since: Instant) -> bool {
        let Some(spec) = &lease.spec else { return true };
        let held = spec.holder_identity.as_ref().is_some_and(|holder| !holder.is_empty()) && spec.renew_time.is_some();
        !held || since.elapsed() >= duration_of(spec, self.timing.duration)
    }

    fn next(&self, current: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let mut lease = current.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let ours = self.is_ours(&lease);
        lease.metadata.labels.get_or_insert_default().extend(self.labels.iter().cloned());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if !ours {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(i32::try_from(self.timing.duration.as_secs()).unwrap_or(i32::MAX).max(1));
        spec.renew_time = Some(now);
        lease
    }
}

/// Whether two readings are of the same version of the same Lease.
fn is_same(one: &Lease, other: &Lease) -> bool {
    let identity = |lease: &Lease| (lease.metadata.uid.clone(), lease.metadata.resource_version.clone());
    identity(one) == identity(other)
}

/// How long a Lease says that it lasts.
pub fn duration_of(spec: &LeaseSpec, default: Duration) -> Duration {
    spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(default, Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use axum::http::{Method, Request, Response, StatusCode};
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// One Lease on a server that may be told to fail.
    #[derive(Clone, Default)]
    struct Server {
        lease: Arc<Mutex<Option<Lease>>>,
        version: Arc<AtomicUsize>,
        failing: Arc<Mutex<Option<Method>>>,
    }

    impl Server {
        fn holder(&self, identity: &str) -> Holder {
            let server = self.clone();
            let service = tower::service_fn(move |request| server.clone().answer(request));
            let api = Api::namespaced(Client::new(service, "n"), "n");
            Holder::new(api, "l", identity, Timing::default())
        }

        fn fail(&self, method: Option<Method>) {
            *self.failing.lock().unwrap() = method;
        }

        async fn answer(self, request: Request<Body>) -> Result<Response<Body>, tower::BoxError> {
            let say = |code: StatusCode, body: serde_json::Value| {
                Ok(Response::builder().status(code).body(Body::from(serde_json::to_vec(&body)?))?)
            };
            let refuse = |code: StatusCode, reason: &str| {
                say(
                    code,
                    json!({"kind": "Status", "status": "Failure", "reason": reason, "message": reason, "code": code.as_u16()}),
                )
            };
            let (head, body) = request.into_parts();
            if self.failing.lock().unwrap().as_ref() == Some(&head.method) {
                return refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError");
            }
            let body = body.collect_bytes().await?;
            let mut kept = self.lease.lock().unwrap();
            if head.method == Method::GET {
                return match &*kept {
                    Some(lease) => say(StatusCode::OK, json!(lease)),
                    None => refuse(StatusCode::NOT_FOUND, "NotFound"),
                };
            }
            let mut given: Lease = serde_json::from_slice(&body)?;
            let version = |lease: &Lease| lease.metadata.resource_version.clone();
            if kept.as_ref().is_some_and(|kept| version(kept) != version(&given)) {
                return refuse(StatusCode::CONFLICT, "Conflict");
            }
            given.metadata.resource_version = Some(self.version.fetch_add(1, Ordering::SeqCst).to_string());
            *kept = Some(given.clone());
            say(StatusCode::OK, json!(given))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_taken_renewed_and_given_up() {
        let server = Server::default();
        let (mut one, mut other) = (server.holder("one"), server.holder("other"));
        assert_eq!(one.hold().await.unwrap(), Held::Ours);
        assert_eq!(other.hold().await.unwrap(), Held::Theirs);
        let (deadline, expires) = (one.deadline().unwrap(), one.expires().unwrap());
        assert_eq!(
            (deadline - Instant::now(), expires - Instant::now()),
            (Timing::default().deadline, Timing::default().duration)
        );
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(one.hold().await.unwrap(), Held::Ours);
        assert_eq!(one.deadline().unwrap() - deadline, Duration::from_secs(5));
        one.release().await.unwrap();
        assert_eq!((other.hold().await.unwrap(), one.hold().await.unwrap()), (Held::Ours, Held::Theirs));
        assert!(one.deadline().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_else_s_lease_is_taken_after_its_whole_time_unchanged() {
        let server = Server::default();
        let (mut one, mut other) = (server.holder("one"), server.holder("other"));
        one.hold().await.unwrap();
        other.hold().await.unwrap();
        tokio::time::advance(Duration::from_secs(14)).await;
        assert_eq!(other.hold().await.unwrap(), Held::Theirs);
        // Renewed just before it would have run out: its time begins anew.
        one.hold().await.unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(other.hold().await.unwrap(), Held::Theirs);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(other.hold().await.unwrap(), Held::Ours);
        // Who lost it finds out by the version that its renewal is based on.
        assert_eq!(one.hold().await.unwrap(), Held::Theirs);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_now_and_then_does_not_delay_the_taking() {
        let server = Server::default();
        let mut other = server.holder("other");
        server.holder("one").hold().await.unwrap();
        for second in 0..15 {
            server.fail((second % 2 == 1).then_some(Method::GET));
            assert_eq!(other.hold().await.is_err(), second % 2 == 1);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // The try to take it fails, too: the next one is as good.
        server.fail(Some(Method::PUT));
        assert!(other.hold().await.is_err());
        server.fail(None);
        assert_eq!(other.hold().await.unwrap(), Held::Ours);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_fails_leaves_the_deadline_where_it_was() {
        let server = Server::default();
        let mut one = server.holder("one");
        one.hold().await.unwrap();
        let deadline = one.deadline();
        tokio::time::advance(Duration::from_secs(4)).await;
        server.fail(Some(Method::PUT));
        assert!(one.hold().await.is_err());
        assert_eq!(one.deadline(), deadline);
        server.fail(None);
        assert_eq!(one.hold().await.unwrap(), Held::Ours);
        assert!(one.deadline() > deadline);
    }
}
