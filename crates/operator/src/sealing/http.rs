//! The HTTP API of sealed-secrets' controller: what `kubeseal` asks.
//!
//! | | |
//! |---|---|
//! | `GET /v1/cert.pem` | the newest RSA key's certificate; anybody's |
//! | `GET /v1/cert.pem?algorithm=x25519-mlkem768` | the newest hybrid key as `PUBLIC KEY` |
//! | `POST /v1/verify` | a SealedSecret as JSON: 200 if it opens, 409 if not |
//! | `POST /v1/rotate` | a SealedSecret as JSON: the same sealed to the newest key |
//!
//! The two last ones need a [token and a rule](super::access). Of a value they say whether it opens, and nothing else. Who asks is
//! found out before the body is read; a body has 2 MiB at most, and few are read at once; each caller may ask so often a second; all of
//! them together use one core at most, each for half a minute at most, so that nobody can keep the controller from its work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bulla_format::sealed::{Algorithm, Certificate};
use bulla_kube::api::SealedSecret;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::access::{Access, Refusal, Verb};
use super::metrics::Metrics;
use super::open::{OldData, Patience, full_name};
use super::rate::Rate;
use super::ring::KeyRing;
use super::rotate::{RotateError, rotate, verify};

/// The largest body: a Secret of 1 MiB in base64, and its template.
const BODY: usize = 2 << 20;
/// How many objects are there at once, from the first byte of the body to the answer: JSON takes many times its length when it is read,
/// and all of them wait for one core anyway.
const BODIES: usize = 3;
/// How long one may take to come.
const BODY_TIME: Duration = Duration::from_secs(20);
/// How long the values of one object are opened.
const WORK_TIME: Duration = Duration::from_secs(30);

/// What the API stands on.
pub struct Api {
    ring: Arc<dyn KeyRing>,
    certificate: Box<dyn Fn() -> Option<Certificate> + Send + Sync>,
    access: Access,
    rate: Rate,
    metrics: Arc<Metrics>,
    old_data: OldData,
    core: Arc<Semaphore>,
    bodies: Semaphore,
}

impl Api {
    /// The API over these keys. `certificate` gives the one to seal to.
    pub fn new(
        ring: Arc<dyn KeyRing>,
        certificate: impl Fn() -> Option<Certificate> + Send + Sync + 'static,
        access: Access,
        rate: Rate,
        metrics: Arc<Metrics>,
        old_data: OldData,
    ) -> Self {
        Self {
            ring,
            certificate: Box::new(certificate),
            access,
            rate,
            metrics,
            old_data,
            core: Arc::new(Semaphore::new(1)),
            bodies: Semaphore::new(BODIES),
        }
    }

    /// Its routes.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/v1/cert.pem", get(certificate))
            .route("/v1/verify", post(verify_route))
            .route("/v1/rotate", post(rotate_route))
            .with_state(Arc::new(self))
    }

    fn count(&self, path: &'static str, method: &'static str, since: Instant, response: Response) -> Response {
        self.metrics.asked(path, method, response.status().as_u16(), since.elapsed().as_secs_f64());
        response
    }

    /// Lets a request in: who asks, how often, what about, and whether they may.
    async fn admit(&self, request: Request, verb: Verb) -> Result<(SealedSecret, SemaphorePermit<'_>), Response> {
        let (head, body) = request.into_parts();
        let user = self.access.who(&head.headers, verb).await.map_err(|refusal| refuse(&refusal))?;
        let name = user.as_ref().and_then(|user| user.username.as_deref()).unwrap_or("anonymous");
        self.rate.take(name).map_err(|after| {
            let seconds = after.as_secs() + 1;
            let headers = [(header::RETRY_AFTER, seconds.to_string())];
            (StatusCode::TOO_MANY_REQUESTS, headers, "too many requests\n").into_response()
        })?;
        let room = self.bodies.acquire().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE.into_response())?;
        let sealed = read(&head.headers, body).await?;
        let namespace = sealed.namespace().unwrap_or_default();
        // Names as the API server has them: a label of another scope cannot be made up of them.
        if !is_name(&namespace) || !is_name(&sealed.name_any()) {
            return Err((StatusCode::BAD_REQUEST, "the name or the namespace is none\n").into_response());
        }
        self.access.may(user.as_ref(), verb, &namespace).await.map_err(|refusal| refuse(&refusal))?;
        Ok((sealed, room))
    }

    /// Does work with the keys, on the one core that callers share.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Patience) -> T + Send + 'static) -> Result<T, Response> {
        let busy = || StatusCode::SERVICE_UNAVAILABLE.into_response();
        let permit = self.core.clone().acquire_owned().await.map_err(|_| busy())?;
        // Dropped with this future: a caller who has gone away is not worked for.
        let (patience, _waiting) = Patience::new();
        let result = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&patience.begin(WORK_TIME))
        });
        result.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

/// Reads a body.
async fn read(headers: &HeaderMap, body: Body) -> Result<SealedSecret, Response> {
    let too_large = || StatusCode::PAYLOAD_TOO_LARGE.into_response();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY as u64) {
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(BODY_TIME, to_bytes(body, BODY)).await {
        Ok(bytes) => bytes.map_err(|_| too_large())?,
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the body took too long\n").into_response()),
    };
    // The parser's words could quote the body; its place says enough.
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("not a SealedSecret as JSON: line {}, column {}\n", error.line(), error.column());
        (StatusCode::BAD_REQUEST, message).into_response()
    })
}

/// Whether a text has only characters that names have. It may be empty: a value may be for the whole cluster.
pub(crate) fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// What may stand behind `cert.pem?`.
#[derive(Deserialize)]
struct Asked {
    algorithm: Option<String>,
}

async fn certificate(State(api): State<Arc<Api>>, Query(asked): Query<Asked>) -> Response {
    let since = Instant::now();
    let pem = match asked.algorithm.as_deref().map(str::parse::<Algorithm>) {
        None | Some(Ok(Algorithm::Rsa)) => (api.certificate)().map(|certificate| certificate.to_pem()),
        Some(Ok(algorithm)) => api.ring.current(algorithm).map(|key| key.private.public_key().to_pem()),
        Some(Err(_)) => None,
    };
    let response = match pem {
        Some(pem) => ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response(),
        None if asked.algorithm.is_some() => {
            (StatusCode::NOT_FOUND, "there is no key of this algorithm\n").into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "there is no sealing key yet\n").into_response(),
    };
    api.count("/v1/cert.pem", "get", since, response)
}

async fn verify_route(State(api): State<Arc<Api>>, request: Request) -> Response {
    let since = Instant::now();
    let response = verified(&api, request).await.unwrap_or_else(|response| response);
    api.count("/v1/verify", "post", since, response)
}

async fn verified(api: &Api, request: Request) -> Result<Response, Response> {
    let (sealed, _room) = api.admit(request, Verb::Verify).await?;
    let (keys, old_data) = (api.ring.snapshot(), api.old_data);
    let name = full_name(&sealed);
    let opens = api.work(move |patience| verify(&sealed, &keys, old_data, patience)).await?;
    Ok(match opens {
        Ok(()) => StatusCode::OK.into_response(),
        Err(reason) => {
            tracing::info!(object = name, reason, "a SealedSecret that somebody verifies does not open");
            StatusCode::CONFLICT.into_response()
        }
    })
}

async fn rotate_route(State(api): State<Arc<Api>>, request: Request) -> Response {
    let since = Instant::now();
    let response = rotated(&api, request).await.unwrap_or_else(|response| response);
    api.count("/v1/rotate", "post", since, response)
}

async fn rotated(api: &Api, request: Request) -> Result<Response, Response> {
    let (sealed, _room) = api.admit(request, Verb::Rotate).await?;
    let keys = api.ring.snapshot();
    let name = full_name(&sealed);
    let result = api.work(move |patience| rotate(&sealed, &keys, Timestamp::now(), patience)).await?;
    Ok(match result {
        Ok(rotated) => axum::Json(rotated).into_response(),
        Err(error) => {
            tracing::info!(object = name, %error, "a SealedSecret was not sealed anew");
            // As the peer, but for what the caller can put right: which value it is stays in the log.
            match error {
                RotateError::DoesNotOpen(_) => {
                    (StatusCode::CONFLICT, "the values do not all open here\n").into_response()
                }
                RotateError::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")).into_response(),
                RotateError::OldData => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
                _ => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
            }
        }
    })
}

fn refuse(refusal: &Refusal) -> Response {
    (refusal.status, format!("{}\n", refusal.message)).into_response()
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_cannot_be_another_scope_s_label() {
        assert!(is_name("team-a.example") && is_name(""));
        assert!(!is_name("team-a/db") && !is_name("a b") && !is_name("a\n") && !is_name(&"a".repeat(254)));
    }
}
