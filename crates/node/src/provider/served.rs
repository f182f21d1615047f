//! What is built in, for others' drivers: the Secrets Store CSI driver's protocol for providers, served at a socket of the node.
//!
//! A driver asks for a volume when it is mounted, and again from time to time; it does not say when a volume is gone, nor which version
//! of a class it speaks of. So the parameters stand for the class, and what a provider wants remembered of a volume is kept here until
//! nobody has asked for the volume for a day, and nothing is held any more that the pod may still use.
//!
//! Drivers of this protocol (v1.6.0 and before) take an answer without files for one of a provider that wrote them itself, so an answer has
//! its files every time, whatever the driver says that it has.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bulla_core::socket::{self, SocketFile};
use bulla_kube::Operator;
use sha2::{Digest, Sha256};
use tokio::net::UnixListener;
use tokio::sync::Mutex as AsyncMutex;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use zeroize::Zeroize;

use super::{Ask, ErrorKind, Provider, ProviderError};
use crate::pod::{CLASS, PREFIX, Volume};
use crate::proto::provider::csi_driver_provider_server::{CsiDriverProvider, CsiDriverProviderServer};
use crate::proto::provider::{File, MountRequest, MountResponse, ObjectVersion, VersionRequest, VersionResponse};
use crate::registration::Readable;
use crate::serving::{Place, ServeError, finish, serve_at};

/// The protocol's version.
const VERSION: &str = "v1alpha1";
/// How long a volume is remembered that nobody asks for.
const REMEMBERED: Duration = Duration::from_hours(24);
/// How often what is too old is forgotten.
const SWEEP: Duration = Duration::from_mins(10);
/// The largest request: a class of nothing but attributes, tokens and secrets, with room to spare.
const LONGEST_REQUEST: usize = 4 << 20;

/// Serves providers until `signal`, each at the socket `NAME.sock` in `folder`.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    mut operator: Operator,
    folder: PathBuf,
    providers: BTreeMap<String, Arc<dyn Provider>>,
    signal: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let mut serving = Vec::new();
    for (name, provider) in providers {
        let service = Arc::new(ProviderService::new(&name, provider));
        let sweeping = Arc::clone(&service);
        operator.add_task(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                sweeping.sweep(Instant::now());
            }
        });
        let place = OfProvider { path: folder.join(format!("{name}.sock")), name, file: None };
        let server = CsiDriverProviderServer::from_arc(service).max_decoding_message_size(LONGEST_REQUEST);
        let router = Server::builder().add_service(server);
        serving.push(serve_at(place, router, operator.stop(), Readable::new).await?);
    }
    operator.run(signal).await?;
    finish(serving).await;
    Ok(())
}

/// A socket in the folder where drivers look for providers.
struct OfProvider {
    path: PathBuf,
    name: String,
    file: Option<SocketFile>,
}

impl Place for OfProvider {
    fn name(&self) -> &str {
        &self.name
    }

    async fn listen(&mut self) -> Result<UnixListener, ServeError> {
        let (listener, file) = socket::take(&self.path)
            .and_then(|(listener, file)| Ok((UnixListener::from_std(listener)?, file)))
            .map_err(|error| ServeError::Socket(self.path.display().to_string(), error))?;
        self.file = Some(file);
        Ok(listener)
    }

    async fn is_lost(&mut self) -> Result<bool, ServeError> {
        let is_lost = self.file.as_ref().map_or(Ok(true), SocketFile::is_lost);
        is_lost.map_err(|error| ServeError::Socket(self.path.display().to_string(), error))
    }
}

/// The service of one provider.
pub struct ProviderService {
    name: String,
    provider: Arc<dyn Provider>,
    volumes: Mutex<HashMap<String, Arc<AsyncMutex<Known>>>>,
}

/// What is known of a volume. Whoever works on it holds it.
struct Known {
    remembered: String,
    asked: Instant,
}

impl ProviderService {
    /// Of a provider, which is called so.
    pub fn new(name: &str, provider: Arc<dyn Provider>) -> Self {
        Self { name: name.to_owned(), provider, volumes: Mutex::default() }
    }

    fn known(&self, place: &str) -> Arc<AsyncMutex<Known>> {
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(AsyncMutex::new(Known { remembered: String::new(), asked: Instant::now() }));
        Arc::clone(volumes.entry(place.to_owned()).or_insert_with(new))
    }

    /// Forgets volumes that nobody asked for since long ago.
    fn sweep(&self, now: Instant) {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).retain(|place, known| {
            // One that is worked on is none of them.
            let is_old = known.try_lock().is_ok_and(|known| now.duration_since(known.asked) > REMEMBERED);
            if !is_old || Arc::strong_count(known) > 1 || self.provider.is_held(place) {
                return true;
            }
            self.provider.gone(place);
            false
        });
    }

    async fn fetch(&self, request: MountRequest) -> Result<MountResponse, Status> {
        let MountRequest { mut attributes, mut secrets, target_path, permission, .. } = request;
        let context = object("attributes", &attributes);
        let hidden = if secrets.is_empty() { Ok(BTreeMap::new()) } else { object("secrets", &secrets) };
        attributes.zeroize();
        secrets.zeroize();
        let (context, hidden) = (context?, hidden?);
        if target_path.is_empty() {
            return Err(Status::invalid_argument("the target path is missing"));
        }
        let mode = mode(&permission)?;
        let is_parameter = |key: &str| !key.starts_with(PREFIX) && key != CLASS;
        let parameters: BTreeMap<String, String> = context
            .iter()
            .filter(|(key, _)| is_parameter(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let volume = Volume::read(context, hidden).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let known = self.known(&target_path);
        let mut known = known.lock().await;
        known.asked = Instant::now();
        let class = digest(&parameters);
        let ask = Ask {
            volume: &volume,
            parameters: &parameters,
            target: &target_path,
            mode,
            current: &[],
            place: &target_path,
            class: &class,
            remembered: &known.remembered,
        };
        let answer = self.provider.fetch(&ask).await.map_err(|error| refused(&error))?;
        let content = answer.content.ok_or_else(|| Status::internal("the provider gave no files"))?;
        let file = |(path, file): (&str, &crate::volume::File)| File {
            path: path.to_owned(),
            mode: i32::try_from(file.mode).unwrap_or(0),
            contents: file.contents.expose().to_vec(),
        };
        known.remembered = answer.remembered;
        Ok(MountResponse {
            object_version: answer
                .versions
                .into_iter()
                .map(|version| ObjectVersion { id: version.id, version: version.version })
                .collect(),
            error: None,
            files: content.files().map(file).collect(),
        })
    }
}

#[tonic::async_trait]
impl CsiDriverProvider for ProviderService {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: VERSION.to_owned(),
            runtime_name: format!("bulla-{}", self.name),
            runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn mount(&self, request: Request<MountRequest>) -> Result<Response<MountResponse>, Status> {
        let answered = self.fetch(request.into_inner()).await;
        if let Err(status) = &answered {
            tracing::warn!(provider = self.name, code = ?status.code(), error = status.message(), "a volume was not filled");
        }
        answered.map(Response::new)
    }
}

/// A JSON object of texts. Nothing of it is shown: it may have tokens.
fn object(what: &str, text: &str) -> Result<BTreeMap<String, String>, Status> {
    // Go writes a map that has nothing as `null`.
    let read = serde_json::from_str::<Option<BTreeMap<String, String>>>(text);
    read.map(Option::unwrap_or_default)
        .map_err(|_| Status::invalid_argument(format!("the {what} are no JSON object of texts")))
}

/// The mode of files that say none: JSON, as Go writes a file's mode.
fn mode(permission: &str) -> Result<u32, Status> {
    let mode = permission.trim().parse::<u32>().ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| Status::invalid_argument("the permission is no number of at most 0777"))
}

/// What stands for the version of a class.
fn digest(parameters: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for text in parameters.iter().flat_map(|(key, value)| [key, value]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(error: &ProviderError) -> Status {
    let code = match error.kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Failed => Code::Internal,
    };
    Status::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;
    use bulla_core::SecretBytes;

    use super::super::Answer;
    use super::*;
    use crate::volume::{self, Content, Limits};

    /// Answers with what it was asked, and counts.
    #[derive(Default)]
    struct Echo {
        asked: AtomicUsize,
        gone: AtomicUsize,
        is_held: AtomicBool,
    }

    #[async_trait]
    impl Provider for Echo {
        async fn fetch(&self, ask: &Ask<'_>) -> Result<Answer, ProviderError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let token = ask.volume.tokens["vault"].token.expose();
            let text = format!("{} {} {token} {:?}", ask.volume.pod.name, ask.class, ask.remembered);
            let mut content = Content::default();
            let file = volume::File { mode: ask.mode, contents: SecretBytes::from(text.into_bytes()) };
            content.add("a", file, &Limits::default()).unwrap();
            Ok(Answer { content: Some(content), remembered: format!("{}+", ask.remembered), ..Answer::default() })
        }

        fn gone(&self, _: &str) {
            self.gone.fetch_add(1, Ordering::Relaxed);
        }

        fn is_held(&self, _: &str) -> bool {
            self.is_held.load(Ordering::Relaxed)
        }
    }

    fn request(parameter: &str) -> MountRequest {
        let tokens = r#"{"vault":{"token":"ey.a.b","expirationTimestamp":"2036-01-01T00:00:00Z"}}"#;
        let attributes = serde_json::json!({
            "objects": parameter,
            "secretProviderClass": "app",
            "csi.storage.k8s.io/pod.name": "web-0",
            "csi.storage.k8s.io/pod.namespace": "shop",
            "csi.storage.k8s.io/pod.uid": "u-1",
            "csi.storage.k8s.io/serviceAccount.name": "web",
            "csi.storage.k8s.io/serviceAccount.tokens": tokens,
        });
        MountRequest {
            attributes: attributes.to_string(),
            secrets: "null".to_owned(),
            target_path: "/pods/u-1/mount".to_owned(),
            permission: "420".to_owned(),
            current_object_version: Vec::new(),
        }
    }

    async fn text(service: &ProviderService, request: MountRequest) -> String {
        let answer = service.fetch(request).await.unwrap();
        assert_eq!(answer.files[0].mode, 0o644);
        String::from_utf8(answer.files[0].contents.clone()).unwrap()
    }

    #[tokio::test]
    async fn a_driver_s_question_is_a_provider_s() {
        let echo = Arc::new(Echo::default());
        let service = ProviderService::new("echo", Arc::clone(&echo) as Arc<dyn Provider>);
        let first = text(&service, request("x")).await;
        assert!(first.starts_with("web-0 ") && first.ends_with(" ey.a.b \"\""), "{first}");
        let second = text(&service, request("x")).await;
        assert!(second.ends_with(" ey.a.b \"+\""), "{second}");
        let class = |text: &str| text.split(' ').nth(1).unwrap().to_owned();
        assert_eq!(class(&first), class(&second));
        assert_ne!(class(&first), class(&text(&service, request("y")).await));

        let later = Instant::now() + REMEMBERED + Duration::from_secs(1);
        service.sweep(Instant::now());
        echo.is_held.store(true, Ordering::Relaxed);
        service.sweep(later);
        assert_eq!(echo.gone.load(Ordering::Relaxed), 0);
        echo.is_held.store(false, Ordering::Relaxed);
        service.sweep(later);
        assert_eq!(echo.gone.load(Ordering::Relaxed), 1);
        assert!(text(&service, request("x")).await.ends_with("\"\""), "nothing is remembered");
    }

    #[tokio::test]
    async fn what_is_malformed_is_refused_and_not_shown() {
        let service = ProviderService::new("echo", Arc::new(Echo::default()));
        let good = request("x");
        for bad in [
            MountRequest { attributes: "{\"hunter2\"".to_owned(), ..good.clone() },
            MountRequest { attributes: "{\"hunter2\":1}".to_owned(), ..good.clone() },
            MountRequest { attributes: "{}".to_owned(), ..good.clone() },
            MountRequest { secrets: "hunter2".to_owned(), ..good.clone() },
            MountRequest { permission: "rw".to_owned(), ..good.clone() },
            MountRequest { permission: "2541".to_owned(), ..good.clone() },
            MountRequest { target_path: String::new(), ..good.clone() },
        ] {
            let status = service.fetch(bad).await.unwrap_err();
            assert!(status.code() == Code::InvalidArgument && !status.message().contains("hunter2"), "{status}");
        }
    }
}
