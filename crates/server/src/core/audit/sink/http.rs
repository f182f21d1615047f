//! A server of HTTP: each record is a POST, and is written once the answer is a status from 200 to 299.
//!
//! Several are under way at once, so they may arrive in another order. Redirects are not followed, variables for proxies not read; certificates are
//! verified by the authorities of the system.

use std::sync::{Arc, PoisonError, RwLock};

use bulla_kms::dns::Resolver;
use bulla_kms::vault_trust::{self, Trust};
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, redirect};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::super::{PATIENCE, options};
use super::{Job, State, Written};

/// How many records are under way at most.
const AT_ONCE: usize = 64;
/// How many may wait for a place.
const WAITING: usize = 4096;
/// So much of an answer is read, that the connection serves for the next record too.
const ANSWER: usize = 64 << 10;

pub struct Http {
    plan: Arc<options::Http>,
    client: RwLock<Client>,
    state: Arc<State>,
    places: Arc<Semaphore>,
    seats: Arc<Semaphore>,
    runtime: Handle,
}

impl Http {
    pub fn new(mut plan: options::Http, state: &Arc<State>) -> Result<Self, String> {
        if plan.uri.scheme() == "http" && !is_local(&plan.uri) {
            tracing::warn!(device = state.device, "audit records go over the network without TLS");
        }
        plan.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        Ok(Self {
            plan: Arc::new(plan),
            client: RwLock::new(client()?),
            state: Arc::clone(state),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            seats: Arc::new(Semaphore::new(WAITING)),
            runtime: Handle::try_current().map_err(|error| error.to_string())?,
        })
    }

    /// Whether it is under way, or waits for a place.
    pub fn send(&self, job: Job) -> bool {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else { return false };
        let places = Arc::clone(&self.places);
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (plan, state) = (Arc::clone(&self.plan), Arc::clone(&self.state));
        let at_work = self.state.sinks.begin();
        self.runtime.spawn(async move {
            let size = job.line.len();
            let place = tokio::time::timeout(PATIENCE, places.acquire_owned()).await;
            drop(seat);
            let Ok(Ok(place)) = place else {
                state.done(size);
                state.sinks.lose(1);
                state.pass_over(&"it does not take records as fast as they come");
                let _ = job.answer.send(Written::Away);
                return;
            };
            let posted = post(&client, &plan, job.line.into()).await;
            state.done(size);
            let written = match &posted {
                Ok(_) => {
                    state.works();
                    Written::Yes
                }
                Err(Failure::Slow) => {
                    state.pass_over(&"it does not answer");
                    Written::Away
                }
                Err(Failure::Other(error)) => {
                    tracing::error!(device = state.device, error, "an audit record could not be written");
                    Written::No
                }
            };
            if written != Written::Yes {
                state.sinks.lose(1);
            }
            let _ = job.answer.send(written);
            drop((at_work, place));
            if let Ok(response) = posted {
                finish(response).await;
            }
        });
        true
    }

    /// New connections, and the authorities as they are now.
    pub fn reopen(&self, state: &State) {
        match client() {
            Ok(client) => *self.client.write().unwrap_or_else(PoisonError::into_inner) = client,
            Err(error) => tracing::error!(device = state.device, error, "the connections of the audit device stay"),
        }
    }
}

enum Failure {
    Slow,
    Other(String),
}

fn client() -> Result<Client, String> {
    let tls = vault_trust::config(Trust::System, None).map_err(|error| error.to_string())?;
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .user_agent(concat!("bulla/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .timeout(PATIENCE)
        .dns_resolver(Arc::new(Resolver::default()))
        .build()
        .map_err(|error| error.to_string())
}

async fn post(client: &Client, plan: &options::Http, line: Bytes) -> Result<reqwest::Response, Failure> {
    let once = || client.post(plan.uri.clone()).headers(plan.headers.clone()).body(line.clone()).send();
    let both = async {
        match once().await {
            // The far side closed a connection that was kept for this. Better twice there than not at all.
            Err(error) if error.is_request() && !error.is_timeout() && !error.is_connect() => once().await,
            result => result,
        }
    };
    let response = match tokio::time::timeout(PATIENCE, both).await {
        Err(_) => return Err(Failure::Slow),
        Ok(Err(error)) if error.is_timeout() => return Err(Failure::Slow),
        Ok(Err(error)) => return Err(Failure::Other(causes(&error.without_url()))),
        Ok(Ok(response)) => response,
    };
    if response.status().is_success() {
        return Ok(response);
    }
    Err(Failure::Other(format!("it answers with status {}", response.status().as_u16())))
}

/// Reads the rest of an answer, if it is short and soon there.
async fn finish(mut response: reqwest::Response) {
    let mut left = ANSWER;
    while let Ok(Some(chunk)) = response.chunk().await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}

fn is_local(uri: &reqwest::Url) -> bool {
    let host = uri.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// An error and what caused it, in a line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
