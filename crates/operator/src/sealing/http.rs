//! The sealing API, as `kubeseal` knows it: the certificate, and what is done for a SealedSecret that is not applied.
//!
//! | | |
//! |---|---|
//! | `GET /v1/cert.pem` | the certificate to seal with; `?algorithm=x25519-mlkem768`: that algorithm's public key |
//! | `POST /v1/verify` | whether every value of a SealedSecret opens where it says: 200, or 409 and why not |
//! | `POST /v1/rotate` | the SealedSecret with every value sealed to the newest key of its algorithm |
//!
//! Neither of the last two renders a template: with one that its sender wrote, each answer would tell a bit of the plaintext. `rotate`
//! changes the values and nothing else, and seals them for the place they were opened at, so that no scope can be widened
//! (CVE-2026-22728). Both are for those whom [`access`](super::access) lets in.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bulla_format::sealed::{Algorithm, Binding, OpenError, SealedValue, seal_value};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};

use super::access::{Access, Action, Refusal};
use super::place::place;
use super::ring::{KeyRing, Keys};
use crate::api::SealedSecret;

/// The largest object that is read: more than the API server takes.
const MAX_BODY: usize = 4 << 20;

/// How long an object may wait for a processor, in all its requests' queue.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many requests may be made at once, and how many a second on and on.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// A second.
    pub per_second: u32,
}

impl Default for Rate {
    /// 20 at once and 10 a second: each may cost some milliseconds of every core, and controllers are not asked often.
    fn default() -> Self {
        Self { burst: 20, per_second: 10 }
    }
}

/// What the API answers from.
pub struct SealingApi {
    ring: Arc<dyn KeyRing>,
    access: Access,
    bucket: Mutex<Bucket>,
    processors: Arc<Semaphore>,
}

impl SealingApi {
    /// Answers with the keys of `ring` for whom `access` lets in, `rate` at a time.
    pub fn new(ring: Arc<dyn KeyRing>, access: Access, rate: Rate) -> Self {
        // Opening the cluster's objects comes first: half of the cores are enough here.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let bucket = Bucket { rate, left: f64::from(rate.burst), since: Instant::now() };
        Self { ring, access, bucket: Mutex::new(bucket), processors: Arc::new(Semaphore::new(cores.div_ceil(2))) }
    }
}

/// The routes.
pub fn router(api: Arc<SealingApi>) -> Router {
    Router::new()
        .route("/v1/cert.pem", get(certificate))
        .route("/v1/verify", post(verify))
        .route("/v1/rotate", post(rotate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(api)
}

#[derive(Deserialize)]
struct Wanted {
    algorithm: Option<String>,
}

async fn certificate(State(api): State<Arc<SealingApi>>, Query(wanted): Query<Wanted>) -> Response {
    let algorithm = match wanted.algorithm.as_deref() {
        None => Algorithm::Rsa,
        Some(name) if name == Algorithm::Rsa.name() => Algorithm::Rsa,
        Some(name) if name == Algorithm::Hybrid.name() => Algorithm::Hybrid,
        Some(_) => return Failure::Malformed("there is no such algorithm".to_owned()).into_response(),
    };
    let Some(key) = api.ring.current(algorithm) else {
        let what = format!("there is no key of {} yet, or none that is unsealed", algorithm.name());
        return Failure::NotReady(what).into_response();
    };
    let pem = key.certificate.as_ref().map_or_else(|| key.private.public_key().to_pem(), |it| it.to_pem());
    ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response()
}

async fn verify(State(api): State<Arc<SealingApi>>, headers: HeaderMap, body: Bytes) -> Response {
    match work(&api, &headers, &body, Action::Verify, |keys, object| check(keys, &object)).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn rotate(State(api): State<Arc<SealingApi>>, headers: HeaderMap, body: Bytes) -> Response {
    match work(&api, &headers, &body, Action::Rotate, seal_anew).await {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(failure) => failure.into_response(),
    }
}

/// An object as it was sent, and as it was understood.
struct Sent {
    text: Value,
    object: SealedSecret,
}

/// Lets in, reads, and works on a thread of its own.
async fn work<T: Send + 'static>(
    api: &SealingApi,
    headers: &HeaderMap,
    body: &[u8],
    action: Action,
    job: impl FnOnce(&Keys, Sent) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    if !api.bucket.lock().await.take(Instant::now()) {
        return Err(Failure::TooMany);
    }
    let sent = read(body)?;
    let metadata = &sent.object.metadata;
    let (namespace, name) = (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
    api.access.check(headers, action, &namespace, &name).await.map_err(Failure::Refused)?;
    let waited = tokio::time::timeout(PATIENCE, Arc::clone(&api.processors).acquire_owned()).await;
    let Ok(Ok(permit)) = waited else { return Err(Failure::TooMany) };
    let keys = api.ring.snapshot();
    let done = tokio::task::spawn_blocking(move || {
        let result = job(&keys, sent);
        drop(permit);
        result
    });
    let result = done.await.unwrap_or_else(|_| Err(Failure::NotReady("the request was not finished".to_owned())));
    match &result {
        Ok(_) => tracing::info!(action = action.name(), namespace, name, "done for a client"),
        Err(failure) => tracing::info!(action = action.name(), namespace, name, %failure, "refused a client"),
    }
    result
}

fn read(body: &[u8]) -> Result<Sent, Failure> {
    // The parser's message may quote what was sent, which is nobody's secret yet may be a plain Secret sent by mistake.
    let text: Value = serde_json::from_slice(body).map_err(|_| Failure::Malformed("it is no JSON".to_owned()))?;
    if (text["apiVersion"].as_str(), text["kind"].as_str()) != (Some("bitnami.com/v1alpha1"), Some("SealedSecret")) {
        return Err(Failure::Malformed("it is no SealedSecret of bitnami.com/v1alpha1".to_owned()));
    }
    let object = serde_json::from_value(text.clone())
        .map_err(|_| Failure::Malformed("it has not the form of a SealedSecret".to_owned()))?;
    Ok(Sent { text, object })
}

/// Opens every value and forgets it.
fn check(keys: &Keys, sent: &Sent) -> Result<(), Failure> {
    each_value(&sent.object, |_, binding, text| open(keys, binding, text).map(drop))
}

/// Opens every value and seals it to the newest key.
fn seal_anew(keys: &Keys, mut sent: Sent) -> Result<String, Failure> {
    let now = Timestamp::now();
    each_value(&sent.object, |item, binding, text| {
        let value = SealedValue::parse(text)?;
        let algorithm = if value.is_hybrid() { Algorithm::Hybrid } else { Algorithm::Rsa };
        let opened = keys.opening().open(&value, binding, None)?;
        let newest = keys.current(algorithm, now).ok_or(NotOpened::NoKey)?;
        let sealed = seal_value(newest.private.public_key(), binding, opened.plaintext.expose())?;
        let place = match item {
            Some(item) => &mut sent.text["spec"]["encryptedData"][item],
            None => &mut sent.text["spec"]["data"],
        };
        *place = Value::String(sealed);
        Ok(())
    })?;
    Ok(sent.text.to_string())
}

/// Calls `job` for each value: its item's name (none: the old `data`), what it is bound to, its text. All that fail are told of.
fn each_value(
    object: &SealedSecret,
    mut job: impl FnMut(Option<&str>, &Binding<'_>, &str) -> Result<(), NotOpened>,
) -> Result<(), Failure> {
    let place = place(object);
    let mut wrong = Vec::new();
    let items = object.spec.encrypted_data.iter().map(|(item, text)| (Some(item.as_str()), text));
    // Where there are items, the old field is not looked at: so it is in the Secret that comes of it.
    let old = object.spec.data.iter().map(|text| (None, text)).filter(|_| object.spec.encrypted_data.is_empty());
    for (item, text) in items.chain(old) {
        if let Err(error) = job(item, &place.with_item(item.unwrap_or_default()), text) {
            wrong.push(format!("{:?}: {error}", item.unwrap_or("spec.data")));
            // Each costs as many private operations as there are keys.
            if wrong.len() == 3 {
                break;
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::NotOpened(wrong.join("; "))) }
}

fn open(keys: &Keys, binding: &Binding<'_>, text: &str) -> Result<(), NotOpened> {
    let value = SealedValue::parse(text)?;
    keys.opening().open(&value, binding, None)?;
    Ok(())
}

/// Why one value was not worked on.
#[derive(Debug, thiserror::Error)]
enum NotOpened {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Seal(#[from] bulla_format::sealed::SealError),
    #[error("there is no key to seal it to")]
    NoKey,
}

/// Why a request was not done.
#[derive(Debug)]
enum Failure {
    Malformed(String),
    Refused(Refusal),
    NotOpened(String),
    TooMany,
    NotReady(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) | Self::NotOpened(what) | Self::NotReady(what) => f.write_str(what),
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::TooMany => f.write_str("too many requests; try again in a moment"),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Refused(Refusal::Unknown) => StatusCode::UNAUTHORIZED,
            Self::Refused(Refusal::Denied { .. }) => StatusCode::FORBIDDEN,
            Self::Refused(Refusal::Unavailable(_)) | Self::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotOpened(_) => StatusCode::CONFLICT,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
        };
        let mut response = (status, format!("{self}\n")).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// So many requests may be made: refilled by time.
struct Bucket {
    rate: Rate,
    left: f64,
    since: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.since).as_secs_f64() * f64::from(self.rate.per_second);
        self.left = (self.left + refill).min(f64::from(self.rate.burst));
        self.since = now;
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests;
