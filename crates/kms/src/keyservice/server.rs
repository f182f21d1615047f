//! Wraps and unwraps for other processes.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bulla_core::{KeyError, KeyErrorKind, KeyId, SecretBytes, WrappedKey};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use super::generated::key_service_server::{KeyService, KeyServiceServer};
use super::generated::{DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse};
use super::listen::{Listen, Listener, listen};
use super::wire;
use crate::{Registry, limit};

/// Asks a person whether a request may go on: `true` to allow. Called on a blocking thread, one request at a time.
///
/// The text says what is asked for with which key: `decrypt a data key with age age1…`.
pub type Prompt = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// How long requests may still take once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// How long connections may still stay open when no request is left: enough to send the last answers.
const LINGER: Duration = Duration::from_secs(1);

/// The longest request taken, in bytes. A wrapped key is some hundreds, with many recipients some thousands.
const LONGEST: usize = 1 << 20;

/// Serves `registry` until `shutdown` resolves, then finishes the requests that it has: [`Server::bind`] and
/// [`Server::serve`] in one.
///
/// # Errors
/// If it cannot listen.
pub async fn serve(
    registry: Registry,
    listen: Listen,
    prompt: Option<Prompt>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    Server::bind(&listen).await?.serve(registry, prompt, shutdown).await
}

/// A key service that listens already: clients that connect now are answered once it serves.
pub struct Server {
    listener: Listener,
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// If it cannot listen; the message names the address.
    pub async fn bind(address: &Listen) -> io::Result<Self> {
        Ok(Self { listener: listen(address).await? })
    }

    /// Where it listens, as [`Client::new`](super::Client::new) takes it; with the port that it got if it asked for port 0.
    ///
    /// # Errors
    /// What the system answered.
    pub fn uri(&self) -> io::Result<String> {
        match &self.listener {
            Listener::Tcp(tcp) => Ok(format!("tcp://{}", tcp.local_addr()?)),
            Listener::Unix(_, file) => Ok(format!("unix://{}", file.path().display())),
        }
    }

    /// Serves until `shutdown` resolves; then takes no more connections, and finishes the requests that it has if they
    /// take no longer than ten seconds. A socket's file is removed.
    ///
    /// Each request is passed on to the registry: what was unwrapped is not kept. Nor is a failure: key files that came
    /// later, a new token, a person who thinks better of it are found without a restart.
    ///
    /// # Errors
    /// If the listener broke.
    pub async fn serve(
        self,
        registry: Registry,
        prompt: Option<Prompt>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let running = Arc::new(watch::Sender::new(0));
        let current = Mutex::new(Current { registry, used: false });
        let handler = Handler { current, prompt: prompt.map(Arc::new), running: running.clone() };
        let service = KeyServiceServer::new(handler).max_decoding_message_size(LONGEST);
        match self.listener {
            Listener::Tcp(tcp) => run(service, tcp, &running, shutdown).await,
            Listener::Unix(unix, _file) => run(service, unix, &running, shutdown).await,
        }
    }
}

async fn run(
    service: KeyServiceServer<Handler>,
    listener: impl Accept,
    running: &watch::Sender<usize>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let (stop, mut stopped) = watch::channel(false);
    let stopping = async move {
        shutdown.await;
        stop.send_replace(true);
    };
    let server = tonic::transport::Server::builder();
    let serving = server.max_concurrent_streams(64).serve_with_incoming_shutdown(service, incoming(listener), stopping);
    // The server itself waits for all connections, also for those that never sent anything.
    let long_enough = async {
        // Errors would mean that the senders are gone, and with them the server.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        let mut running = running.subscribe();
        let idle = running.wait_for(|running| *running == 0);
        if tokio::time::timeout(DRAIN, idle).await.is_err() {
            tracing::warn!("requests were still running {} s after the key service was told to stop", DRAIN.as_secs());
        }
        tokio::time::sleep(LINGER).await;
    };
    tokio::select! {
        result = serving => result.map_err(io::Error::other),
        () = long_enough => Ok(()),
    }
}

/// The connections as they come. One that fails is no reason to stop; when files run out it waits for some to be closed.
fn incoming<L: Accept>(listener: L) -> impl Stream<Item = io::Result<L::Connection>> + Send {
    stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok(connection) => return Some((Ok(connection), listener)),
                Err(error) => {
                    tracing::debug!("cannot take a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    })
}

/// What TCP and Unix listeners have in common.
trait Accept: Send + Sync {
    type Connection: Connected + AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Accept for TcpListener {
    type Connection = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Accept for UnixListener {
    type Connection = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

struct Handler {
    current: Mutex<Current>,
    prompt: Option<Arc<Prompt>>,
    /// How many requests are being answered.
    running: Arc<watch::Sender<usize>>,
}

/// The registry for the next request, and whether it served one before: what it knows may be old then.
struct Current {
    registry: Registry,
    used: bool,
}

/// A request that is being answered.
struct Running(Arc<watch::Sender<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

#[tonic::async_trait]
impl KeyService for Handler {
    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let _running = self.running();
        let EncryptRequest { key, plaintext } = request.into_inner();
        let plaintext = SecretBytes::from(plaintext);
        let id = wire::key_id(key)?;
        self.ask("encrypt", &id).await?;
        let wrap = |registry: Registry| {
            let (id, plaintext) = (&id, &plaintext);
            async move { registry.open(id)?.wrap(plaintext).await }.boxed()
        };
        let wrapped = self.with_registry(id.kind(), wrap).await?;
        Ok(Response::new(EncryptResponse { ciphertext: wrapped.as_str().as_bytes().to_vec() }))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let _running = self.running();
        let DecryptRequest { key, ciphertext } = request.into_inner();
        let id = wire::key_id(key)?;
        let text = String::from_utf8(ciphertext);
        let wrapped = text.map(WrappedKey::new).map_err(|_| Status::invalid_argument("the wrapped key is not text"))?;
        self.ask("decrypt", &id).await?;
        let unwrap = |registry: Registry| {
            let (id, wrapped) = (&id, &wrapped);
            async move { registry.open(id)?.unwrap(wrapped).await }.boxed()
        };
        let plaintext = self.with_registry(id.kind(), unwrap).await?;
        // The copy that is sent is wiped by the allocator of the binary.
        Ok(Response::new(DecryptResponse { plaintext: plaintext.expose().to_vec() }))
    }
}

impl Handler {
    /// Does `work` for a key of this kind. If it fails, what is known of such keys is forgotten; and if an age identity was
    /// missing, it is done once more: its file may be newer than what we know.
    async fn with_registry<'a, T>(
        &self,
        kind: &str,
        work: impl Fn(Registry) -> BoxFuture<'a, Result<T, KeyError>>,
    ) -> Result<T, Status> {
        let (registry, used) = {
            let mut current = self.current();
            (current.registry.clone(), std::mem::replace(&mut current.used, true))
        };
        let error = match work(registry.clone()).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let Some(fresh) = registry.forgetting(kind) else { return Err(wire::status(&error)) };
        let again = used && kind == "age" && error.kind() == KeyErrorKind::NotFound;
        {
            let mut current = self.current();
            // Unless another request was faster.
            if current.registry.is(&registry) {
                *current = Current { registry: fresh.clone(), used: again };
            }
        }
        if !again {
            return Err(wire::status(&error));
        }
        work(fresh).await.map_err(|error| wire::status(&error))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Running {
        self.running.send_modify(|running| *running += 1);
        Running(self.running.clone())
    }

    /// Asks before anything is done. (sops does the work first, and asks whether to answer.)
    async fn ask(&self, verb: &str, id: &KeyId) -> Result<(), Status> {
        let Some(prompt) = self.prompt.clone() else { return Ok(()) };
        let _turn = limit::turn().await;
        let question = format!("{verb} a data key with {} {}", id.kind(), crate::failure::printable(&id.to_string()));
        match tokio::task::spawn_blocking(move || prompt(&question)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Status::permission_denied("the request was refused")),
            Err(_) => Err(Status::internal("nobody could be asked")),
        }
    }
}
