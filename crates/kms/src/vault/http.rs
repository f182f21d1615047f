//! HTTP to a server of Vault's API: what all have in common that speak with one, whatever for.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bulla_core::{SecretBytes, SecretString};
use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Proxy, Response, StatusCode, Url, redirect};
use rustls::ClientConfig;

use crate::dns::Resolver;
use crate::failure::{causes, printable};

/// The header with a token.
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
/// However long a busy server asks us to stay away, the time of an operation is short.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A server, and the connections to it.
pub struct Http {
    /// Where requests go: the address, or the address under the name of its certificate.
    base: Url,
    /// The `Host` header, if `base` does not say it.
    host: Option<HeaderValue>,
    client: Client,
    retries: u32,
    redirects: Redirects,
    redirect_path: RedirectPath,
    longest_answer: usize,
}

/// How a server is spoken with.
pub struct Setup {
    /// Its address; a path in it comes before `/v1/`.
    pub address: Url,
    /// Whom to believe, and who we are.
    pub tls: ClientConfig,
    /// The name that its certificate is for, if it is not the address'.
    pub server_name: Option<String>,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// What to go through.
    pub proxies: Vec<Proxy>,
    /// How often a request is sent again.
    pub retries: u32,
    /// Whether the server may send us elsewhere.
    pub redirects: Redirects,
    /// The longest answer, in bytes.
    pub longest_answer: usize,
    /// Whom to ask for addresses.
    pub resolver: Resolver,
    /// A socket of this machine to connect to, whatever the address says.
    pub socket: Option<PathBuf>,
    /// What becomes of connections that nobody uses.
    pub idle: Idle,
    /// Which of the addresses that a host name leads to may be connected to. (An address in the URL itself is the caller's to check.)
    pub may_reach: fn(IpAddr) -> bool,
}

/// What becomes of a connection when its request is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// It stays for the next one.
    #[default]
    Kept,
    /// It is closed.
    Closed,
}

/// Where a server may send us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// Once, to the same scheme: a standby to the active server. The token goes along.
    SameScheme,
    /// Once, to the same scheme, host and port.
    SameOrigin,
    /// Nowhere.
    None,
}

/// Whether a redirect may lead to another path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RedirectPath {
    Any,
    Same,
}

/// A request.
pub struct Request<'a> {
    /// What to do.
    pub method: Method,
    /// What is below `/v1/`, decoded.
    pub path: &'a str,
    /// What follows a `?`, encoded.
    pub query: Option<&'a str>,
    /// The body: JSON, or nothing.
    pub body: Bytes,
    /// Headers of this request alone.
    pub headers: HeaderMap,
    /// As whom.
    pub token: Option<&'a SecretString>,
    /// When to send it again.
    pub again: Again,
}

/// When a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// When the connection fails, or the server is busy or in trouble.
    OnTrouble,
    /// When the server says that it did nothing: it is busy, or not ready.
    IfNothingWasDone,
}

/// A server's answer.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: SecretBytes,
    /// How long the server asks to wait before the next request.
    pub retry_after: Option<Duration>,
}

/// A server's answer, whose body is still to come.
pub struct Opened {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// How long the server asks to wait before the next request.
    pub retry_after: Option<Duration>,
    response: Response,
}

impl Opened {
    /// How long the body is, if that was said.
    pub fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece of the body, if there is one.
    ///
    /// # Errors
    /// [`HttpError::Unreachable`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        self.response.chunk().await.map_err(unreachable)
    }

    /// The body as it comes.
    pub fn into_body(self) -> reqwest::Body {
        self.response.into()
    }

    /// All of it.
    async fn read(mut self, longest: usize) -> Result<Reply, HttpError> {
        let mut body = SecretBytes::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > longest {
                return Err(HttpError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status: self.status, headers: self.headers, body, retry_after: self.retry_after })
    }
}

fn unreachable(error: reqwest::Error) -> HttpError {
    HttpError::Unreachable(causes(&error.without_url()))
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The name of the certificate is none that can be asked for.
    #[error("the name of the server's certificate is refused: {0}")]
    ServerName(&'static str),
    /// The client cannot be made.
    #[error("setting up HTTP: {0}")]
    Setup(String),
    /// The token cannot be sent.
    #[error("the token holds characters that no token has")]
    Token,
    /// No connection, or none that can be trusted.
    #[error("it could not be reached: {0}")]
    Unreachable(String),
    /// Sent elsewhere, where we do not go.
    #[error("it redirects to {0}, which is not followed")]
    Redirected(String),
    /// An answer without end.
    #[error("it answers more than a Vault server would")]
    TooLong,
}

impl Http {
    /// Connects when it is used.
    ///
    /// # Errors
    /// [`HttpError::ServerName`], [`HttpError::Setup`].
    pub fn new(setup: Setup) -> Result<Self, HttpError> {
        let Setup { address: mut base, tls, server_name, headers, proxies, retries, redirects, .. } = setup;
        let real_host = base.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("bulla/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            // Variables are the caller's to read.
            .no_proxy();
        if setup.idle == Idle::Closed {
            builder = builder.pool_max_idle_per_host(0);
        }
        if let Some(socket) = setup.socket {
            builder = builder.unix_socket(socket);
        }
        let mut host = None;
        let mut stand_in = None;
        // rustls takes the name to check, and to ask the server for, from the URL. So the URL has the certificate's name,
        // and that name leads to the real host.
        if let Some(name) = server_name.filter(|_| base.scheme() == "https") {
            host = authority(&base).and_then(|text| HeaderValue::from_str(&text).ok());
            base.set_host(Some(&name)).map_err(|_| HttpError::ServerName("not a host name"))?;
            // An address would not be resolved, but connected to.
            let name = base.domain().ok_or(HttpError::ServerName("must be a host name, not an address"))?;
            stand_in = Some((name.to_owned(), real_host));
        }
        for proxy in proxies {
            // The proxy would look for the certificate's name, and may find another server.
            if stand_in.is_some() {
                return Err(HttpError::ServerName("cannot be used through a proxy"));
            }
            builder = builder.proxy(proxy);
        }
        let names = Names { resolver: setup.resolver, stand_in, may_reach: setup.may_reach };
        let client = builder.dns_resolver(Arc::new(names)).build().map_err(|error| HttpError::Setup(causes(&error)))?;
        let (redirect_path, longest_answer) = (RedirectPath::Any, setup.longest_answer);
        Ok(Self { base, host, client, retries, redirects, redirect_path, longest_answer })
    }

    /// The same, but it follows no redirect to another path or query: for who decides by the path what may be asked.
    #[must_use]
    pub fn keep_path(self) -> Self {
        Self { redirect_path: RedirectPath::Same, ..self }
    }

    /// Sends a request, again if need be, and reads the answer.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn send(&self, request: &Request<'_>) -> Result<Reply, HttpError> {
        let (url, headers) = self.target(request)?;
        let mut attempt = 0;
        loop {
            let sent = match self.once(request, &url, &headers).await {
                Ok(opened) => opened.read(self.longest_answer).await,
                Err(error) => Err(error),
            };
            let again = match &sent {
                Ok(reply) => worth_repeating(reply.status, request.again),
                Err(error) => matches!(error, HttpError::Unreachable(_)) && request.again == Again::OnTrouble,
            };
            if !again || attempt >= self.retries {
                return sent;
            }
            let asked = sent.ok().and_then(|reply| reply.retry_after).map(|wait| wait.min(LONGEST_WAIT));
            tokio::time::sleep(asked.unwrap_or_else(|| backoff(attempt))).await;
            attempt += 1;
        }
    }

    /// Sends a request once. The body of the answer is the caller's to read, as long as that is.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn open(&self, request: &Request<'_>) -> Result<Opened, HttpError> {
        let (url, headers) = self.target(request)?;
        self.once(request, &url, &headers).await
    }

    /// Where a request goes, with which headers.
    fn target(&self, request: &Request<'_>) -> Result<(Url, HeaderMap), HttpError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/v1/{}", self.base.path().trim_end_matches('/'), request.path));
        url.set_query(request.query);
        let mut headers = request.headers.clone();
        if let Some(token) = request.token {
            let mut value = HeaderValue::from_str(token.expose()).map_err(|_| HttpError::Token)?;
            value.set_sensitive(true);
            headers.insert(TOKEN, value);
        }
        Ok((url, headers))
    }

    /// One request, through one redirect at most.
    async fn once(&self, request: &Request<'_>, url: &Url, headers: &HeaderMap) -> Result<Opened, HttpError> {
        let to = |url: Url| {
            self.client.request(request.method.clone(), url).headers(headers.clone()).body(request.body.clone())
        };
        let mut first = to(url.clone());
        if let Some(host) = &self.host {
            first = first.header(HOST, host);
        }
        let mut response = first.send().await.map_err(unreachable)?;
        if let Some(target) = self.redirect(url, &response)? {
            let mut second = to(target.clone());
            if let Some(host) = self.host.as_ref().filter(|_| target.origin() == url.origin()) {
                second = second.header(HOST, host);
            }
            response = second.send().await.map_err(unreachable)?;
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        Ok(Opened { status, headers, retry_after: wait.map(Duration::from_secs), response })
    }

    /// Where `response` sends us. The token goes along, so never to another scheme.
    fn redirect(&self, url: &Url, response: &Response) -> Result<Option<Url>, HttpError> {
        if !matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
            return Ok(None);
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = location.and_then(|text| url.join(text).ok());
        let is_allowed = |target: &Url| match self.redirects {
            Redirects::SameScheme => target.scheme() == url.scheme(),
            Redirects::SameOrigin => target.origin() == url.origin(),
            Redirects::None => false,
        };
        let is_same = |target: &Url| target.path() == url.path() && target.query() == url.query();
        let is_allowed =
            |target: &Url| is_allowed(target) && (self.redirect_path == RedirectPath::Any || is_same(target));
        match target.filter(is_allowed) {
            Some(target) => Ok(Some(target)),
            None => Err(HttpError::Redirected(printable(location.unwrap_or("nowhere")))),
        }
    }
}

fn worth_repeating(status: StatusCode, again: Again) -> bool {
    match again {
        Again::OnTrouble => {
            matches!(status.as_u16(), 412 | 429) || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
        }
        Again::IfNothingWasDone => matches!(status.as_u16(), 412 | 429 | 503),
    }
}

/// A quarter of a second, doubled each time, less up to half of it by chance: many clients must not return together.
fn backoff(attempt: u32) -> Duration {
    let full = Duration::from_millis(250) * 2u32.saturating_pow(attempt.min(6));
    let chance = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
    full.mul_f64(1.0 - chance / 2.0)
}

fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// Resolves host names; the certificate's name to the real host's addresses.
struct Names {
    resolver: Resolver,
    stand_in: Option<(String, String)>,
    may_reach: fn(IpAddr) -> bool,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, may_reach) = (self.resolver.clone(), self.may_reach);
        let host = match &self.stand_in {
            Some((asked, real)) if asked == name.as_str() => real.clone(),
            _ => name.as_str().to_owned(),
        };
        Box::pin(async move {
            let mut addresses = match host.parse() {
                Ok(address) => vec![address],
                Err(_) => resolver.addresses(&host).await?,
            };
            addresses.retain(|address| may_reach(*address));
            if addresses.is_empty() {
                return Err(format!("{host} leads to no address that may be reached").into());
            }
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| (address, 0).into()));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_doubles_and_differs() {
        for attempt in 0..40 {
            let full = Duration::from_millis(250) * 2u32.pow(attempt.min(6));
            let wait = backoff(attempt);
            assert!(wait >= full / 2 && wait <= full, "{attempt}: {wait:?}");
        }
    }

    #[test]
    fn what_may_have_been_done_is_not_done_again_unasked() {
        let repeated = |status: u16, again| worth_repeating(StatusCode::from_u16(status).unwrap(), again);
        for status in [412, 429, 503] {
            assert!(repeated(status, Again::OnTrouble) && repeated(status, Again::IfNothingWasDone), "{status}");
        }
        for status in [500, 502, 504] {
            assert!(repeated(status, Again::OnTrouble) && !repeated(status, Again::IfNothingWasDone), "{status}");
        }
        for status in [200, 400, 403, 404, 501] {
            assert!(!repeated(status, Again::OnTrouble) && !repeated(status, Again::IfNothingWasDone), "{status}");
        }
    }
}
