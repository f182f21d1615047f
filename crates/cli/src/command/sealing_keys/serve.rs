//! `sealing-keys serve`: the ring and its keeper alone, with what they show. What the controller has in it, without SealedSecrets.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bulla_operator::sealing::keys::cluster::ClusterRing;
use bulla_operator::sealing::keys::http;
use bulla_operator::sealing::keys::metrics::KeyMetrics;
use clap::Args;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::args::sealing_keys::{KeeperArgs, Keys, ServiceArgs, WhereArgs, keys};
use crate::error::Failure;
use crate::exit::Code;
use crate::term;

/// Arguments of `serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    place: WhereArgs,

    #[command(flatten)]
    services: ServiceArgs,

    #[command(flatten)]
    keeper: KeeperArgs,

    /// Where to listen
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
}

/// Runs until SIGINT or SIGTERM. SIGUSR1 renews.
///
/// # Errors
/// No key service; an address that cannot be listened on.
pub(crate) fn run(app: &App, args: &ServeArgs) -> Result<Code, Failure> {
    // What needs no cluster is found out first.
    args.services.named()?;
    app.block_on(async {
        let store = args.place.store(app).await?;
        let Keys { ring, keeper } = keys(app, store, &args.services, &args.keeper).await?;
        let failed = |error: std::io::Error| Failure::generic(format!("cannot serve on {}: {error}", args.listen));
        let listener = TcpListener::bind(&args.listen).await.map_err(failed)?;
        term::note(&format!("listening on {}", listener.local_addr().map_err(failed)?));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut renew = signal(SignalKind::user_defined1()).map_err(failed)?;
        let renewals = async {
            while renew.recv().await.is_some() {
                keeper.renew_now();
            }
        };
        let router = routes(&ring).merge(http::routes(ring.unsealing().cloned()));
        tokio::select! {
            _ = interrupt.recv() => Ok(Code::Success),
            _ = terminate.recv() => Ok(Code::Success),
            () = renewals => Ok(Code::Success),
            () = ring.run() => Ok(Code::Success),
            () = keeper.work() => Ok(Code::Success),
            served = async { axum::serve(listener, router).await } => served.map(|()| Code::Success).map_err(failed),
        }
    })?
}

fn routes(ring: &Arc<ClusterRing>) -> Router {
    Router::new()
        .route("/v1/cert.pem", get(certificate))
        .route("/readyz", get(ready))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .with_state(ring.clone())
}

async fn certificate(State(ring): State<Arc<ClusterRing>>) -> Response {
    match ring.certificate() {
        Some(certificate) => certificate.to_pem().into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "there is no sealing key yet\n").into_response(),
    }
}

async fn ready(State(ring): State<Arc<ClusterRing>>) -> Response {
    match ring.health().ready() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(ring): State<Arc<ClusterRing>>) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(KeyMetrics(ring)));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => text.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
