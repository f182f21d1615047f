//! Providers of others: programs on the node that speak the Secrets Store CSI driver's protocol at a socket.
//!
//! The socket is found anew for each connection: a provider that was updated, or whose folder moved, is found again by itself. The
//! connection is made by the half of this service that may open such sockets; its other end sees `localhost` as the authority, which
//! some providers insist on.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use async_trait::async_trait;
use bulla_core::SecretBytes;
use bulla_kube::backoff::jittered;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};
use tower::service_fn;

use super::{Answer, Ask, ErrorKind, Provider, ProviderError};
use crate::mounter::{MountError, Mounter};
use crate::pod::{Pod, TOKENS, Tokens};
use crate::proto::provider::csi_driver_provider_client::CsiDriverProviderClient;
use crate::proto::provider::{MountRequest, ObjectVersion as WireVersion, VersionRequest};
use crate::volume::{Content, File, Limits, ObjectVersion};

/// How often one that cannot be reached is tried.
const TRIES: u32 = 3;
/// How long until the first time after that; twice as long until the next.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one call may take: the kubelet itself waits for two minutes.
const PATIENCE: Duration = Duration::from_secs(100);
/// How much of a provider's error is shown, in characters.
const SHOWN: usize = 600;

/// A provider on this node.
pub struct Remote {
    name: String,
    client: CsiDriverProviderClient<Channel>,
    limits: Limits,
    patience: Duration,
}

impl Remote {
    /// The provider of this name. Nothing is connected yet.
    pub fn new(name: &str, mounter: Mounter, longest_answer: usize, limits: Limits) -> Self {
        let provider = name.to_owned();
        let connect = service_fn(move |_: Uri| {
            let (mounter, provider) = (mounter.clone(), provider.clone());
            async move { connection(mounter.connect(&provider).await) }
        });
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect);
        let client = CsiDriverProviderClient::new(channel).max_decoding_message_size(longest_answer);
        Self { name: name.to_owned(), client, limits, patience: PATIENCE }
    }

    /// One whose calls may take so long.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Its name and version, as it says them.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn version(&self) -> Result<(String, String), ProviderError> {
        let request = VersionRequest { version: "v1alpha1".to_owned() };
        let answer = tokio::time::timeout(Duration::from_secs(5), self.client.clone().version(request)).await;
        let answer = answer.map_err(|_| self.error(ErrorKind::Unavailable, "did not answer in 5 s".to_owned()))?;
        let answer = answer.map_err(|status| self.refused(&status))?.into_inner();
        Ok((answer.runtime_name, answer.runtime_version))
    }

    fn error(&self, kind: ErrorKind, message: String) -> ProviderError {
        ProviderError { provider: self.name.clone(), message, kind, retry_after: None }
    }

    fn refused(&self, status: &Status) -> ProviderError {
        let kind = match status.code() {
            Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented | Code::OutOfRange => {
                ErrorKind::Invalid
            }
            Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Denied,
            Code::NotFound => ErrorKind::NotFound,
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Aborted => {
                ErrorKind::Unavailable
            }
            _ => ErrorKind::Failed,
        };
        let text: String = status.message().chars().filter(|c| !c.is_control()).take(SHOWN).collect();
        self.error(kind, if text.is_empty() { status.code().description().to_owned() } else { text })
    }

    fn content(
        &self,
        files: Vec<crate::proto::provider::File>,
        default_mode: u32,
    ) -> Result<Option<Content>, ProviderError> {
        if files.is_empty() {
            return Ok(None);
        }
        let mut content = Content::default();
        for file in files {
            // On the wire nothing and 0 are the same, and a file that nobody may read is nobody's wish.
            let mode = if file.mode == 0 { default_mode } else { u32::try_from(file.mode).unwrap_or(u32::MAX) };
            let new = File { mode, contents: SecretBytes::from(file.contents) };
            content
                .add(&file.path, new, &self.limits)
                .map_err(|error| self.error(ErrorKind::Invalid, format!("its answer is refused: {error}")))?;
        }
        Ok(Some(content))
    }
}

#[async_trait]
impl Provider for Remote {
    async fn fetch(&self, ask: &Ask<'_>) -> Result<Answer, ProviderError> {
        let wire = |version: &ObjectVersion| WireVersion { id: version.id.clone(), version: version.version.clone() };
        let request = || -> Result<MountRequest, ProviderError> {
            let json = |error: serde_json::Error| self.error(ErrorKind::Failed, error.to_string());
            Ok(MountRequest {
                attributes: attributes(ask).map_err(json)?,
                secrets: secrets(ask).map_err(json)?,
                target_path: ask.target.to_owned(),
                permission: ask.mode.to_string(),
                current_object_version: ask.current.iter().map(wire).collect(),
            })
        };
        let mut pause = PAUSE;
        for attempt in 1.. {
            let call = tokio::time::timeout(self.patience, self.client.clone().mount(request()?)).await;
            let Ok(answered) = call else {
                return Err(
                    self.error(ErrorKind::Unavailable, format!("did not answer in {} s", self.patience.as_secs()))
                );
            };
            match answered {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    if let Some(code) = answer.error.map(|error| error.code).filter(|code| !code.is_empty()) {
                        return Err(self.error(ErrorKind::Failed, format!("answered with the code {code:.100}")));
                    }
                    let version = |wire: WireVersion| ObjectVersion { id: wire.id, version: wire.version };
                    let versions = answer.object_version.into_iter().map(version).collect();
                    let content = self.content(answer.files, ask.mode)?;
                    return Ok(Answer { content, versions, ..Answer::default() });
                }
                Err(status) if status.code() == Code::Unavailable && attempt < TRIES => {
                    tokio::time::sleep(jittered(pause)).await;
                    pause *= 2;
                }
                Err(status) => return Err(self.refused(&status)),
            }
        }
        Err(self.error(ErrorKind::Unavailable, "cannot be reached".to_owned()))
    }

    /// Those of old write to the target.
    fn needs_target(&self) -> bool {
        true
    }
}

/// The class's parameters, and what the peer adds to them.
fn attributes(ask: &Ask<'_>) -> serde_json::Result<String> {
    let Pod { namespace, name, uid, service_account } = &ask.volume.pod;
    let mut all: BTreeMap<&str, &str> =
        ask.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    // After the parameters: a class cannot pose as another pod.
    all.insert("csi.storage.k8s.io/pod.name", name);
    all.insert("csi.storage.k8s.io/pod.namespace", namespace);
    all.insert("csi.storage.k8s.io/pod.uid", uid);
    all.insert("csi.storage.k8s.io/serviceAccount.name", service_account);
    all.insert("secretProviderClass", &ask.volume.class);
    let tokens = tokens(&ask.volume.tokens)?;
    match &tokens {
        Some(tokens) => drop(all.insert(TOKENS, tokens)),
        None => drop(all.remove(TOKENS)),
    }
    serde_json::to_string(&all)
}

/// As the kubelet writes them.
fn tokens(tokens: &Tokens) -> serde_json::Result<Option<String>> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Written<'a> {
        token: &'a str,
        expiration_timestamp: jiff::Timestamp,
    }
    if tokens.is_empty() {
        return Ok(None);
    }
    let written: BTreeMap<&str, Written<'_>> = tokens
        .iter()
        .map(|(audience, token)| {
            (audience.as_str(), Written { token: token.token.expose(), expiration_timestamp: token.expires })
        })
        .collect();
    serde_json::to_string(&written).map(Some)
}

fn secrets(ask: &Ask<'_>) -> serde_json::Result<String> {
    let all: BTreeMap<&str, &str> =
        ask.volume.secrets.iter().map(|(key, value)| (key.as_str(), value.expose())).collect();
    serde_json::to_string(&all)
}

fn connection(answered: Result<OwnedFd, MountError>) -> io::Result<TokioIo<UnixStream>> {
    let socket = answered.map_err(|error| match error {
        MountError::Gone(error) => error,
        error => io::Error::other(error.to_string()),
    })?;
    Ok(TokioIo::new(UnixStream::from_std(StdUnixStream::from(socket))?))
}
