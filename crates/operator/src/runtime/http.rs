//! The operator's own HTTP: health, readiness, metrics, and what controllers serve.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::health::Health;
use super::metrics::Metrics;
use super::stop::Stop;

/// What probes and scrapers ask.
#[derive(Clone)]
pub struct Probes {
    /// Health and readiness.
    pub health: Arc<Health>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

/// How long one request may take in all, its body included.
const REQUEST_TIME: Duration = Duration::from_mins(2);

/// `/healthz` and `/readyz`.
pub fn probes(probes: Probes) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(probes)
}

/// `/metrics`, beside the probes.
pub fn metrics(state: Probes) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(state.clone()).merge(probes(state))
}

/// Serves until `stop`, then finishes what was asked.
///
/// # Errors
/// If the port cannot be listened on.
pub async fn serve(listener: TcpListener, router: Router, stop: Stop) -> std::io::Result<()> {
    let router = router.layer(from_fn(in_time));
    axum::serve(listener, router).with_graceful_shutdown(async move { stop.wait().await }).await
}

/// Listens on an address as the peer's flags have it: `:8080` is all interfaces.
///
/// # Errors
/// If it is no address, or cannot be listened on.
pub async fn listen(address: &str) -> std::io::Result<TcpListener> {
    let full = if address.starts_with(':') { format!("[::]{address}") } else { address.to_owned() };
    match TcpListener::bind(&full).await {
        // A machine without IPv6.
        Err(error) if address.starts_with(':') => {
            TcpListener::bind(format!("0.0.0.0{address}")).await.map_err(|_| error)
        }
        result => result,
    }
}

/// Where a listener listens; for messages.
pub fn address(listener: &TcpListener) -> Option<SocketAddr> {
    listener.local_addr().ok()
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}

async fn healthz(State(probes): State<Probes>) -> Response {
    answer(probes.health.live())
}

async fn readyz(State(probes): State<Probes>) -> Response {
    answer(probes.health.ready())
}

fn answer(state: Result<(), String>) -> Response {
    match state {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn scrape(State(probes): State<Probes>) -> Response {
    probes.health.measure();
    match probes.metrics.encode() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
