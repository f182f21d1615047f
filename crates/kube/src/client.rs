//! The connection to the API server.
//!
//! There is no limit on requests a second: the server's own priority and fairness decides, and says so by 429. What is bounded
//! is how many requests are under way at once. A request that was refused for the moment (429, 503, 504) is repeated a few
//! times, after the time the server asks for (`Retry-After`) and with jitter; what fails still is the caller's to retry, which
//! for controllers means the queue and its [`Gate`](super::gate::Gate). Every request has a limit of time until its answer begins.

use std::time::Duration;

use axum::http::{Request, Response, StatusCode};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::buffer::BufferLayer;
use tower::limit::ConcurrencyLimitLayer;
use tower::retry::{Policy, RetryLayer};
use tower::timeout::TimeoutLayer;
use tower::{BoxError, ServiceBuilder};

use super::backoff::{Backoff, jittered};

/// How the client behaves.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// How many requests may be under way at once. Open watches do not count.
    pub concurrency: usize,
    /// How long an answer may take to begin.
    pub timeout: Duration,
    /// How often a request that was refused for the moment is repeated.
    pub retries: u32,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { concurrency: 64, timeout: Duration::from_secs(30), retries: 4 }
    }
}

/// A connection that is silent for this long is dead: on a watch the server says something every minute.
const SILENCE: Duration = Duration::from_secs(150);

/// A client that behaves as `options` say.
///
/// # Errors
/// If the configuration is of no use: certificates that cannot be read, a credential plugin that is missing.
pub fn client(mut config: Config, options: ClientOptions) -> Result<Client, kube::Error> {
    config.read_timeout.get_or_insert(SILENCE);
    let layers = ServiceBuilder::new()
        .layer(RetryLayer::new(Retry { left: options.retries, failures: 0 }))
        .layer(BufferLayer::new(options.concurrency.max(1) * 2))
        .layer(ConcurrencyLimitLayer::new(options.concurrency.max(1)))
        .layer(TimeoutLayer::new(options.timeout));
    Ok(ClientBuilder::try_from(config)?.with_layer(&layers).build())
}

/// Repeats what was refused for the moment.
#[derive(Clone)]
struct Retry {
    left: u32,
    failures: u32,
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for Retry {
    type Future = tokio::time::Sleep;

    fn retry(&mut self, _: &mut Request<Body>, result: &mut Result<Response<B>, BoxError>) -> Option<Self::Future> {
        let response = result.as_ref().ok()?;
        let refused = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        if !refused.contains(&response.status()) {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.failures += 1;
        let asked = response.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
        // Not sooner than asked, and not everybody at that moment.
        let asked = Duration::from_secs(asked.unwrap_or(0)).min(Backoff::CONNECTION.limit);
        Some(tokio::time::sleep(asked + Backoff::CONNECTION.after(self.failures).min(jittered(Duration::from_secs(5)))))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(request.body().try_clone()?);
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        copy.headers_mut().clone_from(request.headers());
        copy.extensions_mut().clone_from(request.extensions());
        Some(copy)
    }
}

/// Whether the failure says that the server is gone or overloaded, and nothing about the object that was asked for.
pub fn is_unreachable(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 502..=504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// The failure in words, without the structure that the client's own text repeats.
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => match (status.code, status.message.is_empty()) {
            (code, true) => format!("the API server answered {code}"),
            (403, false) => format!("not allowed: {}", status.message),
            (_, false) => status.message.clone(),
        },
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

#[cfg(test)]
mod tests;
