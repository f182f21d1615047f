//! `POST /v1/inject`: from a review to an answer.
//!
//! Anybody who reaches the port may ask, as with every admission webhook, and learns nothing by it: the answer depends on what was sent alone. So
//! what a request costs is bounded: a body says its length first and has at most 3 MiB, which is what the API server itself takes; all bodies together have
//! 16 MiB of room, in the order in which they come; each has a few seconds to come.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::patch::patch;
use super::review::{Review, allowed, denied};
use super::{Settings, pod::Pod};

/// Where.
pub const PATH: &str = "/v1/inject";
/// The longest body.
const LONGEST: usize = 3 << 20;
/// The room for all bodies.
const ROOM: usize = 16 << 20;
/// How long one may take to come. The API server waits ten seconds in all.
const BODY_TIME: Duration = Duration::from_secs(5);

/// What became of pods.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// The webhook.
pub struct Webhook {
    settings: Settings,
    room: Semaphore,
    reviews: Family<Outcome, Counter>,
}

impl Webhook {
    /// One that puts this into pods.
    pub fn new(settings: Settings) -> Self {
        Self { settings, room: Semaphore::new(ROOM), reviews: Family::default() }
    }

    /// Adds its metric.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Pods that the webhook was asked about, by what became of them";
        registry.register("bulla_inject_reviews", help, self.reviews.clone());
    }

    /// Its route.
    pub fn routes(self: Arc<Self>) -> Router {
        Router::new().route(PATH, post(inject)).with_state(self)
    }

    async fn answer(&self, request: Request) -> Result<Value, Response> {
        let (head, body) = request.into_parts();
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let length = length.ok_or_else(|| StatusCode::LENGTH_REQUIRED.into_response())?;
        if length > LONGEST {
            return Err(StatusCode::PAYLOAD_TOO_LARGE.into_response());
        }
        let permits = u32::try_from(length).unwrap_or(u32::MAX);
        let _room =
            self.room.acquire_many(permits).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())?;
        let bytes = match tokio::time::timeout(BODY_TIME, to_bytes(body, length)).await {
            Ok(bytes) => bytes.map_err(|_| StatusCode::BAD_REQUEST.into_response())?,
            Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the body took too long\n").into_response()),
        };
        let malformed = |what: String| (StatusCode::BAD_REQUEST, format!("{what}\n")).into_response();
        // A pod may have secrets in it, and the parser's words could quote them; its place says enough.
        let review: Review = serde_json::from_slice(&bytes).map_err(|error| {
            malformed(format!("not an AdmissionReview of a pod: line {}, column {}", error.line(), error.column()))
        })?;
        let (uid, question) = review.question().map_err(malformed)?;
        let Some((namespace, pod)) = question else {
            self.count("ignored");
            return Ok(allowed(&uid, &[]));
        };
        Ok(match self.decide(&namespace, &pod) {
            Ok(steps) => {
                self.count(if steps.is_empty() { "unchanged" } else { "injected" });
                tracing::debug!(namespace, pod = pod.name(), steps = steps.len(), "a pod gets its variables");
                allowed(&uid, &steps)
            }
            Err(reason) => {
                self.count("denied");
                tracing::info!(namespace, pod = pod.name(), reason, "a pod is refused");
                denied(&uid, &format!("bulla.dev/env: {}: {reason}", pod.name()))
            }
        })
    }

    /// What is changed of a pod. The API server's selectors say the same; who changes them does not get a pod of the cluster's own changed.
    fn decide(&self, namespace: &str, pod: &Pod) -> Result<Vec<Value>, String> {
        let label = pod.metadata.labels.as_ref().and_then(|labels| labels.env.as_deref());
        if label != Some("true") || self.settings.excluded.iter().any(|excluded| excluded == namespace) {
            return Ok(Vec::new());
        }
        patch(pod, &self.settings)
    }

    fn count(&self, outcome: &'static str) {
        self.reviews.get_or_create(&Outcome { outcome }).inc();
    }
}

async fn inject(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    match webhook.answer(request).await {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(response) => {
            webhook.count("malformed");
            response
        }
    }
}

#[cfg(test)]
mod tests;
