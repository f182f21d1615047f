//! HTTP to whoever has keys, or knows whose a token is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bulla_core::{SecretBytes, SecretString};
use bulla_kms::dns::Resolver;
use bulla_kms::vault_trust::{self, Trust};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Url, redirect};
use rustls::RootCertStore;
use zeroize::Zeroizing;

/// How much is asked of a far side, and taken from it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long one exchange may take.
    pub time: Duration,
    /// How long an answer is at most, in bytes.
    pub size: usize,
    /// How long it is left alone between two exchanges.
    pub pause: Duration,
    /// How old keys are when they are fetched again.
    pub fresh: Duration,
    /// How old keys are when they are not believed any more.
    pub stale: Duration,
}

impl Limits {
    /// What is usual.
    pub const USUAL: Self = Self {
        time: Duration::from_secs(10),
        size: 256 * 1024,
        pause: Duration::from_secs(10),
        fresh: Duration::from_mins(15),
        stale: Duration::from_hours(24),
    };
}

/// Who we say that we are, if anybody.
pub type Bearer<'b> = Option<&'b SecretString>;

/// A status, and a body.
pub type Answer = (u16, SecretBytes);

/// What fetches. Redirects are not followed, and variables for proxies not read.
#[derive(Clone, Debug)]
pub struct Fetch {
    client: Client,
    longest: usize,
}

impl Fetch {
    /// From whom the authorities of a PEM text (if empty: of the system) vouch for.
    ///
    /// # Errors
    /// If the authorities cannot be read.
    pub fn new(authorities: &str, limits: Limits) -> Result<Self, String> {
        let trust = if authorities.is_empty() {
            Trust::System
        } else {
            let mut roots = RootCertStore::empty();
            vault_trust::add(&mut roots, authorities.as_bytes())?;
            Trust::Only(roots)
        };
        let tls = vault_trust::config(trust, None).map_err(|error| error.to_string())?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("bulla/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .timeout(limits.time)
            .dns_resolver(Arc::new(Resolver::default()))
            .build()
            .map_err(|error| causes(&error))?;
        Ok(Self { client, longest: limits.size })
    }

    /// What is at an address.
    ///
    /// # Errors
    /// Why there is nothing.
    pub async fn found(&self, url: Url, bearer: Bearer<'_>) -> Result<SecretBytes, String> {
        match self.ask(url, bearer).await? {
            (200, body) => Ok(body),
            (status, _) => Err(format!("it answers with status {status}")),
        }
    }

    /// Asks for what is at an address.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, url: Url, bearer: Bearer<'_>) -> Result<Answer, String> {
        self.exchange(self.client.get(url), bearer).await
    }

    /// Sends JSON to an address.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn post(&self, url: Url, bearer: Bearer<'_>, body: Vec<u8>) -> Result<Answer, String> {
        let request = self.client.post(url).header(CONTENT_TYPE, "application/json").body(body);
        self.exchange(request, bearer).await
    }

    async fn exchange(&self, mut request: RequestBuilder, bearer: Bearer<'_>) -> Result<Answer, String> {
        if let Some(bearer) = bearer {
            let text = Zeroizing::new(format!("Bearer {}", bearer.expose()));
            let mut value = HeaderValue::from_str(&text).map_err(|_| "the token holds what no token has")?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let failed = |error: reqwest::Error| causes(&error.without_url());
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection() {
            return Err("it sends us elsewhere, where we do not go; name the address where it is".to_owned());
        }
        let mut body = SecretBytes::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > self.longest {
                return Err(format!("it answers more than {} bytes", self.longest));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status.as_u16(), body))
    }
}

/// An address that keys or a cluster can be at.
///
/// # Errors
/// What is wrong with it.
pub fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("it is no http or https address".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("an address has no password in it".to_owned());
    }
    Ok(url)
}

/// Whether everybody on the way to an address can change what comes from there.
pub fn is_open(url: &Url) -> bool {
    let local = |host: &str| {
        let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    url.scheme() != "https" && !url.host_str().is_some_and(local)
}

/// An error and what caused it, in a line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    printable(&text)
}

/// Text from elsewhere, fit for a line of a log.
pub fn printable(text: &str) -> String {
    text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
