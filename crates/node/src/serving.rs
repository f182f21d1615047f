//! Serving at a socket with a path, until the stop and the end of what was asked before.

use std::time::Duration;

use bulla_kube::StartError;
use bulla_kube::stop::Stop;
use futures_util::{Stream, TryStreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tonic::transport::server::{Connected, Router};

use crate::mounter::MountError;

/// How long calls may go on once the process is asked to stop: less than a pod's grace of 30 s.
const GRACE: Duration = Duration::from_secs(20);
/// How often it is looked whether a socket is found at its path, in between calls.
const FOUND: Duration = Duration::from_secs(3);

/// Why it could not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The other half.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A socket.
    #[error("cannot serve at the {0} socket: {1}")]
    Socket(String, std::io::Error),
    /// What is beside: metrics, probes.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The path of a socket.
pub(crate) trait Place: Send + 'static {
    /// What it is called.
    fn name(&self) -> &str;

    /// Listens there, in place of whoever did so before.
    fn listen(&mut self) -> impl Future<Output = Result<UnixListener, ServeError>> + Send;

    /// Whether nobody is found there any more.
    fn is_lost(&mut self) -> impl Future<Output = Result<bool, ServeError>> + Send;
}

/// Serves at a place, until the stop and the end of what was asked before; `read` is how its connections are read.
pub(crate) async fn serve_at<S>(
    mut place: impl Place,
    router: Router,
    stop: Stop,
    read: fn(UnixStream) -> S,
) -> Result<JoinHandle<()>, ServeError>
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let listener = place.listen().await?;
    let name = place.name().to_owned();
    Ok(tokio::spawn(async move {
        let stopped = async move { stop.wait().await };
        let incoming = connections(place, listener).map_ok(read);
        if let Err(error) = router.serve_with_incoming_shutdown(incoming, stopped).await {
            tracing::error!(socket = name, %error, "a socket is served no longer");
        }
    }))
}

/// Waits for the end of what was asked before the stop.
pub(crate) async fn finish(serving: impl IntoIterator<Item = JoinHandle<()>>) {
    let finished = async {
        for server in serving {
            let _ = server.await;
        }
    };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!("calls were not finished in time; who made them makes them again");
    }
}

/// The connections that come. One that cannot be accepted is its caller's loss. A socket that nobody finds any more, for a process that
/// ended took its path along, is made again: callers would never come back.
fn connections(place: impl Place, listener: UnixListener) -> impl Stream<Item = std::io::Result<UnixStream>> {
    futures_util::stream::unfold((place, listener), move |(mut place, mut listener)| async move {
        loop {
            match tokio::time::timeout(FOUND, listener.accept()).await {
                Ok(Ok((stream, _))) => return Some((Ok(stream), (place, listener))),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(_) => {
                    if let Some(new) = again(&mut place).await {
                        listener = new;
                    }
                }
            }
        }
    })
}

/// Another listener, if the one before is lost.
async fn again(place: &mut impl Place) -> Option<UnixListener> {
    let made = match place.is_lost().await {
        Ok(false) => return None,
        Ok(true) => place.listen().await,
        Err(error) => Err(error),
    };
    match made {
        Ok(listener) => {
            tracing::warn!(socket = place.name(), "a socket was gone from its path, and is made again");
            Some(listener)
        }
        Err(error) => {
            tracing::error!(socket = place.name(), %error, "a socket may be gone from its path");
            None
        }
    }
}
