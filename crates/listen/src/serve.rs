//! Connections, accepted and answered until it is time to end.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Security;
use crate::again::Again;
use crate::patient::Patient;

/// Where connections come from.
pub trait Accept: Sized + Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Who it is from.
    type Peer: Copy + Debug + Send + Sync + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;

    /// Takes no more.
    fn close(self) {}
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = Self::accept(self).await?;
        // An answer is one packet more often than not.
        let _ = stream.set_nodelay(true);
        Ok((stream, address))
    }
}

/// What a connection may cost.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How long until a request's head is there, from the connection's begin or the last answer.
    pub head: Duration,
    /// How long a client may take nothing of an answer.
    pub write: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// What a connection may keep of what it reads, in bytes; `None`: as much as hyper does.
    pub buffer: Option<usize>,
    /// How many connections there are at once; more wait to be accepted.
    pub places: Arc<Semaphore>,
}

/// Answers the requests of all who come until `stop` says so, then finishes what was asked.
pub async fn serve<L, A, F, B>(
    listener: L,
    security: Security,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
    answer: A,
) where
    L: Accept,
    A: Fn(Request<Incoming>, L::Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let place = Arc::clone(&bounds.places).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, listener.accept().await?))
        };
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok((place, (stream, peer))) => {
                let (security, bounds, stop) = (security.clone(), bounds.clone(), stop.clone());
                let answer = answer.clone();
                let answer = move |request| answer(request, peer);
                connections.spawn(async move {
                    let _place = place;
                    match security {
                        Security::Plain => answer_all(stream, &bounds, stop, answer).await,
                        Security::Tls(current) => {
                            let acceptor = TlsAcceptor::from(Arc::clone(&current.borrow()));
                            match tokio::time::timeout(bounds.handshake, acceptor.accept(stream)).await {
                                Ok(Ok(stream)) => answer_all(stream, &bounds, stop, answer).await,
                                Ok(Err(error)) => tracing::debug!(%error, address = ?peer, "a TLS handshake failed"),
                                Err(_) => tracing::debug!(address = ?peer, "a TLS handshake took too long"),
                            }
                        }
                    }
                });
            }
            // The caller's, or no more file descriptors.
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    listener.close();
    while connections.join_next().await.is_some() {}
}

/// Answers the requests of one connection.
async fn answer_all<F, B>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    bounds: &Bounds,
    mut stop: watch::Receiver<bool>,
    answer: impl Fn(Request<Incoming>) -> F,
) where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    if let Some(buffer) = bounds.buffer {
        http.max_buf_size(buffer);
    }
    let service = service_fn(|request| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = http.serve_connection(TokioIo::new(Patient::new(stream, bounds.write)), service);
    tokio::pin!(connection);
    let mut connection = Again::new(connection);
    // An error is the caller's: it went away, was too slow, or does not speak HTTP.
    tokio::select! {
        _ = &mut connection => return,
        _ = stop.wait_for(|stop| *stop) => connection.inner_mut().as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}
