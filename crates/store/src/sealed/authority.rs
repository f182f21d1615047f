//! The client: asks the authority to open objects for a pod.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_core::{SecretBytes, SecretString};
use bulla_kms::dns::Resolver;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Url, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::pinned;
use super::protocol::{
    CHANGES_PATH, Changes, Code, HELD, Kind, LONGEST_QUESTION, PATH, Question, Read, Refused, Request, Wanted, Watched,
    is_good,
};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest answer, in bytes: 64 objects may have more, which no volume holds.
const LONGEST_ANSWER: usize = 32 << 20;
/// The longest refusal.
const LONGEST_REFUSAL: usize = 16 << 10;
/// How often one that cannot be reached, or is not ready, is asked.
const TRIES: u32 = 3;
/// How long until the first time after that; twice as long until the next.
const PAUSE: Duration = Duration::from_millis(300);

/// The certificates that are believed.
pub type Trusted = Arc<[CertificateDer<'static>]>;

/// Whoever opens.
pub struct Authority {
    url: Url,
    token: PathBuf,
    trusted: watch::Receiver<Trusted>,
    resolver: Resolver,
    client: Mutex<Option<(Trusted, Client)>>,
}

/// An object's values.
#[derive(Debug)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its values; `None` if the version is the one that was said to be there.
    pub data: Option<BTreeMap<String, SecretBytes>>,
}

/// Why nothing was opened. No text in it is a secret's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The authority refused.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// It cannot be reached.
    #[error("the sealing operator cannot be reached at {0}: {1}")]
    Unreachable(String, String),
    /// It answered something else.
    #[error("what answers at {0} is no sealing operator: {1}")]
    Confused(String, &'static str),
    /// This side is not set up.
    #[error("{0}")]
    Setup(String),
}

/// The certificates of a ConfigMap's entries that have not run out by `now`, in seconds since 1970; and the entries that cannot be read.
pub fn trusted(data: &BTreeMap<String, String>, now: i64) -> (Trusted, Vec<&str>) {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    for (entry, text) in data.iter().filter(|(entry, _)| is_good(entry, now)) {
        match CertificateDer::from_pem_slice(text.as_bytes()) {
            Ok(certificate) => found.push(certificate),
            Err(_) => broken.push(entry.as_str()),
        }
    }
    (found.into(), broken)
}

impl OpenError {
    /// What kind of reason it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Refused(refused) => refused.code,
            Self::Unreachable(..) => Code::Unavailable,
            Self::Confused(..) | Self::Setup(_) => Code::Invalid,
        }
    }
}

impl Authority {
    /// The authority at `https://HOST:PORT`. `token` is the file with this node service's token, read anew for each request; `trusted` the
    /// certificates, as they are now and will be.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(address: &str, token: PathBuf, trusted: watch::Receiver<Trusted>) -> Result<Self, OpenError> {
        let setup = || OpenError::Setup(format!("{address:?} is no address of a sealing operator: https://HOST:PORT"));
        let url = Url::parse(address).map_err(|_| setup())?;
        if url.scheme() != "https" || url.host().is_none() {
            return Err(setup());
        }
        Ok(Self { url, token, trusted, resolver: Resolver::default(), client: Mutex::default() })
    }

    /// The values of objects in the namespace of the pod that `pod_token` is of.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, pod_token: &SecretString, objects: &[Wanted]) -> Result<Vec<Object>, OpenError> {
        let request = Request { pod_token: pod_token.expose().into(), objects: objects.to_vec() };
        // Room for all of it: growing would leave pieces behind.
        let mut body = Zeroizing::new(Vec::with_capacity(pod_token.expose().len() + 256 + 512 * objects.len()));
        serde_json::to_writer(&mut *body, &request).map_err(|error| OpenError::Setup(error.to_string()))?;
        self.objects(&self.send(PATH, Bytes::from_owner(body)).await?, objects)
    }

    /// Sends a request and gives the answer's body. Who cannot be reached, or is not ready, is asked again.
    pub(crate) async fn send(&self, path: &str, body: Bytes) -> Result<SecretBytes, OpenError> {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.post(path, body.clone(), PATIENCE, LONGEST_ANSWER).await {
                Err(error) if error.code() == Code::Unavailable => {
                    tracing::debug!(%error, "the sealing operator is asked again");
                    // Another replica, or other certificates: a connection that is kept leads to neither.
                    self.forget();
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                answered => return answered,
            }
        }
        self.post(path, body, PATIENCE, LONGEST_ANSWER).await
    }

    /// Those of these objects that are another than is said; waits until there is one, for [`HELD`] at most. It is asked once: who waits for
    /// changes asks again anyway.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn changes(&self, objects: Vec<Watched>) -> Result<Vec<Watched>, OpenError> {
        let body = serde_json::to_vec(&Question { objects }).map_err(|error| OpenError::Setup(error.to_string()))?;
        let answer = self.post(CHANGES_PATH, body.into(), HELD + PATIENCE, LONGEST_QUESTION).await;
        let answer = answer.inspect_err(|error| {
            if error.code() == Code::Unavailable {
                self.forget();
            }
        })?;
        let changes: Changes =
            serde_json::from_slice(answer.expose()).map_err(|_| self.confused("its answer cannot be read"))?;
        Ok(changes.changed)
    }

    /// The answer to a request, which has at most so many bytes and takes at most so long.
    async fn post(
        &self,
        path: &str,
        body: Bytes,
        patience: Duration,
        longest: usize,
    ) -> Result<SecretBytes, OpenError> {
        let client = self.client()?;
        let unreachable = |error: reqwest::Error| OpenError::Unreachable(self.place(), causes(&error));
        let mut url = self.url.clone();
        url.set_path(path);
        let request = client.post(url).header(AUTHORIZATION, self.authorization()?).body(body);
        let mut response = request.timeout(patience).send().await.map_err(unreachable)?;
        let status = response.status();
        let longest = if status.is_success() { longest } else { LONGEST_REFUSAL };
        let mut answer = SecretBytes::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > longest {
                return Err(self.confused("its answer is too long"));
            }
            answer.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let refused = serde_json::from_slice::<Refused>(answer.expose());
            return Err(refused.map_or_else(|_| self.confused("its refusal cannot be read"), OpenError::Refused));
        }
        Ok(answer)
    }

    /// The answer, if it is one to what was asked.
    fn objects(&self, answer: &SecretBytes, wanted: &[Wanted]) -> Result<Vec<Object>, OpenError> {
        // The parser's words could quote a value.
        let read: Read<'_> =
            serde_json::from_slice(answer.expose()).map_err(|_| self.confused("its answer cannot be read"))?;
        let value = |(key, text): (std::borrow::Cow<'_, str>, &str)| {
            let mut bytes = SecretBytes::zeroed(text.len() / 4 * 3 + 3);
            let length = STANDARD.decode_slice(text, bytes.expose_mut()).ok()?;
            bytes.truncate(length);
            Some((key.into_owned(), bytes))
        };
        if !read.objects.iter().map(|object| &object.name).eq(wanted.iter().map(|wanted| &wanted.name)) {
            return Err(self.confused("it answers about other objects"));
        }
        let mut objects = Vec::new();
        for (object, wanted) in read.objects.into_iter().zip(wanted) {
            let data = object.data.map(|data| data.into_iter().map(value).collect::<Option<BTreeMap<_, _>>>());
            let data = match data {
                Some(None) => return Err(self.confused("its answer has what is not base64")),
                Some(Some(data)) => Some(data),
                None => None,
            };
            objects.push(Object { kind: wanted.kind, name: object.name, version: object.version, data });
        }
        Ok(objects)
    }

    fn authorization(&self) -> Result<HeaderValue, OpenError> {
        let file = self.token.display();
        let unreadable = |why: String| OpenError::Setup(format!("this node service's own token: {file}: {why}"));
        let token = std::fs::read_to_string(&self.token).map_err(|error| unreadable(error.to_string()))?;
        let token = Zeroizing::new(token);
        let value = Zeroizing::new(format!("Bearer {}", token.trim()));
        let mut value = HeaderValue::from_str(&value).map_err(|_| unreadable("it is no token".to_owned()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The client for the certificates of now.
    fn client(&self) -> Result<Client, OpenError> {
        let trusted = self.trusted.borrow().clone();
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = known.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &trusted)) {
            return Ok(client.clone());
        }
        if trusted.is_empty() {
            let why = "no replica of it has named its certificate yet; is it set up to open for nodes?".to_owned();
            return Err(OpenError::Unreachable(self.place(), why));
        }
        let setup = |error: String| OpenError::Setup(format!("setting up TLS: {error}"));
        let tls = pinned::config(trusted.clone()).map_err(|error| setup(error.to_string()))?;
        let new = Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .user_agent(concat!("bulla/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(self.resolver.clone()))
            .build()
            .map_err(|error| setup(causes(&error)))?;
        *known = Some((trusted, new.clone()));
        Ok(new)
    }

    fn forget(&self) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn place(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn confused(&self, what: &'static str) -> OpenError {
        OpenError::Confused(self.place(), what)
    }
}

/// The error and what is behind it. Neither has a header or a body in it.
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
