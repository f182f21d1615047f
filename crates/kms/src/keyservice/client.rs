//! Keys that another process holds.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService, SecretBytes, WrappedKey};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};
use zeroize::Zeroizing;

use super::generated::key_service_client::KeyServiceClient;
use super::generated::{DecryptRequest, EncryptRequest, Key};
use super::wire;
use crate::Options;
use crate::cache::{Cache, Cached};
use crate::failure::{causes, printable};

/// A remote key service, not connected until it is used. Clones share one connection.
#[derive(Clone)]
pub struct Client(Arc<Remote>);

impl Client {
    /// A client of `tcp://HOST:PORT` or `unix:///PATH`, which waits for answers as long as
    /// [`Options::default`](crate::Options) says.
    ///
    /// # Errors
    /// A message if the URI is malformed.
    pub fn new(uri: &str) -> Result<Self, String> {
        let remote = Remote {
            uri: uri.to_owned(),
            target: Target::parse(uri)?,
            timeout: Options::default().timeout,
            channel: OnceCell::new(),
            unwrapped: Arc::default(),
        };
        Ok(Self(Arc::new(remote)))
    }

    /// The same client with another limit on how long it waits for an answer. A service that asks a person for each request
    /// needs a longer one.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let Remote { uri, target, .. } = &*self.0;
        let (uri, target) = (uri.clone(), target.clone());
        Self(Arc::new(Remote { uri, target, timeout, channel: OnceCell::new(), unwrapped: Arc::default() }))
    }

    /// The service that holds `id` over there.
    pub fn open(&self, id: &KeyId) -> Arc<dyn KeyService> {
        Arc::new(RemoteKey { id: id.clone(), remote: self.0.clone() })
    }

    /// The service that holds `id` over there, which unwraps the same text only once.
    pub(crate) fn open_cached(&self, id: &KeyId) -> Arc<dyn KeyService> {
        Arc::new(Cached::new(self.open(id), &self.0.unwrapped))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.uri).finish()
    }
}

struct Remote {
    uri: String,
    target: Target,
    timeout: Duration,
    channel: OnceCell<Channel>,
    unwrapped: Arc<Cache>,
}

#[derive(Clone)]
pub(super) enum Target {
    /// `HOST:PORT`
    Tcp(String),
    Unix(PathBuf),
}

impl Target {
    pub(super) fn parse(uri: &str) -> Result<Self, String> {
        let expected = "expected tcp://HOST:PORT or unix:///PATH";
        if let Some(address) = uri.strip_prefix("tcp://") {
            let address = address.strip_suffix('/').unwrap_or(address);
            let parsed: Uri = format!("http://{address}").parse().map_err(|error| format!("{error}; {expected}"))?;
            // What is more than host and port would be lost.
            let is_all = parsed.authority().is_some_and(|authority| authority.as_str() == address);
            return match parsed.port_u16() {
                Some(_) if is_all && !address.contains('@') => Ok(Self::Tcp(address.to_owned())),
                _ => Err(expected.to_owned()),
            };
        }
        // `unix:PATH` is how gRPC writes a path that may be relative.
        match uri.strip_prefix("unix:").map(|rest| rest.strip_prefix("//").unwrap_or(rest)) {
            Some(path) if path.starts_with('/') || !uri.starts_with("unix://") && !path.is_empty() => {
                Ok(Self::Unix(PathBuf::from(path)))
            }
            _ => Err(expected.to_owned()),
        }
    }
}

impl Remote {
    /// The connection, made when a request needs it and again when it broke.
    fn channel(&self) -> Result<Channel, Status> {
        let endpoint = |host: &str| {
            let endpoint = Endpoint::from_shared(format!("http://{host}"));
            endpoint
                .map(|endpoint| endpoint.connect_timeout(self.timeout))
                .map_err(|error| Status::internal(causes(&error)))
        };
        match &self.target {
            Target::Tcp(address) => Ok(endpoint(address)?.connect_lazy()),
            Target::Unix(path) => {
                let path = path.clone();
                let connect = move |_| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                };
                // The name of the host is not looked up; it is what Go's clients and servers use for sockets.
                Ok(endpoint("localhost")?.connect_with_connector_lazy(tower::service_fn(connect)))
            }
        }
    }

    async fn client(&self) -> Result<KeyServiceClient<Channel>, Status> {
        let channel = self.channel.get_or_try_init(async || self.channel()).await?;
        Ok(KeyServiceClient::new(channel.clone()))
    }
}

/// A key of a remote service.
struct RemoteKey {
    id: KeyId,
    remote: Arc<Remote>,
}

#[async_trait]
impl KeyService for RemoteKey {
    fn id(&self) -> &KeyId {
        &self.id
    }

    async fn wrap(&self, plaintext: &SecretBytes) -> Result<WrappedKey, KeyError> {
        let key = self.key()?;
        let ciphertext = self.within_limit(async {
            let request = EncryptRequest { key: Some(key), plaintext: plaintext.expose().to_vec() };
            Ok(self.remote.client().await?.encrypt(request).await?.into_inner().ciphertext)
        });
        let text = String::from_utf8(ciphertext.await?);
        text.map(WrappedKey::new).map_err(|_| self.error(KeyErrorKind::Other, "the wrapped key it sent is not text"))
    }

    async fn unwrap(&self, wrapped: &WrappedKey) -> Result<SecretBytes, KeyError> {
        let key = self.key()?;
        self.within_limit(async {
            let request = DecryptRequest { key: Some(key), ciphertext: wrapped.as_str().as_bytes().to_vec() };
            let plaintext = Zeroizing::new(self.remote.client().await?.decrypt(request).await?.into_inner().plaintext);
            Ok(SecretBytes::from(plaintext.as_slice()))
        })
        .await
    }
}

impl RemoteKey {
    fn key(&self) -> Result<Key, KeyError> {
        let unsupported =
            || KeyError::new(KeyErrorKind::Unsupported, &self.id, "remote key services have no such kind of key");
        wire::key(&self.id).ok_or_else(unsupported)
    }

    async fn within_limit<T>(&self, work: impl Future<Output = Result<T, Status>>) -> Result<T, KeyError> {
        let limit = self.remote.timeout;
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result.map_err(|status| self.refused(&status)),
            Err(_) => Err(self.error(KeyErrorKind::Timeout, format!("no answer within {} s", limit.as_secs_f32()))),
        }
    }

    /// What the service, or the way to it, answered.
    fn refused(&self, status: &Status) -> KeyError {
        let mut what = printable(status.message());
        if let Some(source) = std::error::Error::source(status) {
            what = causes(source);
        }
        let error = self.error(wire::kind(status.code()), what);
        match error.kind() {
            KeyErrorKind::Unreachable => error.with_hint("check that the key service runs and can be reached"),
            _ => error,
        }
    }

    fn error(&self, kind: KeyErrorKind, what: impl fmt::Display) -> KeyError {
        KeyError::new(kind, &self.id, format!("key service {}: {what}", self.remote.uri))
    }
}
