//! The operator's own HTTP: health, readiness, metrics, and what controllers serve.
//!
//! Anybody may connect, so what a connection costs is bounded: how many there are, how long one may say nothing, and how long it lives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

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
/// How long until a request's head is there, from the connection's begin or the last answer.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a connection lives, however busy it is: who does not read answers must not keep them here.
const CONNECTION_TIME: Duration = Duration::from_mins(10);
/// What a connection may keep of what it reads: a head of a request with a token in it.
const BUFFER: usize = 64 << 10;
/// How many connections there are at once; more wait to be accepted.
const CONNECTIONS: usize = 256;

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
    serve_through(listener, router, stop, |stream| std::future::ready(Ok(stream))).await
}

/// The same over TLS, with the configuration that is current when somebody connects. Before there is one, connections are closed.
///
/// # Errors
/// If the port cannot be listened on.
pub async fn serve_tls(
    listener: TcpListener,
    router: Router,
    stop: Stop,
    current: watch::Receiver<Option<Arc<ServerConfig>>>,
) -> std::io::Result<()> {
    serve_through(listener, router, stop, move |stream| {
        let config = current.borrow().clone();
        async move {
            let config = config.ok_or(std::io::ErrorKind::NotConnected)?;
            let shaken = tokio::time::timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream)).await;
            shaken.map_err(|_| std::io::ErrorKind::TimedOut)?
        }
    })
    .await
}

/// Serves what becomes of each connection.
async fn serve_through<F, S>(
    listener: TcpListener,
    router: Router,
    stop: Stop,
    through: impl Fn(TcpStream) -> F,
) -> std::io::Result<()>
where
    F: Future<Output = std::io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = router.layer(from_fn(in_time));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>((place, listener.accept().await?.0))
        };
        let accepted = tokio::select! {
            () = stop.wait() => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok((place, stream)) => {
                let (router, stop, stream) = (router.clone(), stop.clone(), through(stream));
                connections.spawn(async move {
                    let _place = place;
                    match stream.await {
                        Ok(stream) => answer_all(stream, router, stop).await,
                        Err(error) => tracing::debug!(%error, "a connection came to nothing"),
                    }
                });
            }
            // The caller's, or no more file descriptors.
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

/// Answers the requests of one connection.
async fn answer_all(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, stop: Stop) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(BUFFER);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    // An error is the caller's: it went away, was too slow, or does not speak HTTP.
    let _ = tokio::time::timeout(CONNECTION_TIME, async {
        tokio::select! {
            result = connection.as_mut() => return result,
            () = stop.wait() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    })
    .await;
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::stop::Stopper;

    async fn server() -> (SocketAddr, Stopper, tokio::task::JoinHandle<std::io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stop) = Stopper::new();
        let router = Router::new().route("/", get(async || "hello"));
        (address, stopper, tokio::spawn(serve(listener, router, stop)))
    }

    #[tokio::test]
    async fn requests_are_answered_and_the_end_waits_for_nobody_idle() {
        let (address, stopper, serving) = server().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut answer = [0; 512];
            let read = stream.read(&mut answer).await.unwrap();
            assert!(answer[..read].ends_with(b"hello"));
        }
        stopper.set();
        tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_hung_up_on() {
        let (address, _stopper, _serving) = server().await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        let mut answer = Vec::new();
        // Time passes by itself while nothing else is to do.
        let ended = tokio::time::timeout(HEAD_TIME * 3, silent.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection is still open");
    }
}
