//! Connections, accepted and answered until it is time to end.

use std::convert::Infallible;
use std::error::Error;
use std::fmt::Debug;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Security;
use crate::again::Again;
use crate::patient::Patient;
use crate::places::{Place, Places, client};

/// Where connections come from.
pub trait Accept: Sized + Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Who it is from.
    type Peer: Copy + Debug + Send + Sync + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;

    /// Whose connections are counted together.
    fn client(_peer: Self::Peer) -> Option<IpAddr> {
        None
    }

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

    fn client(peer: SocketAddr) -> Option<IpAddr> {
        client(peer.ip())
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
    /// How many connections there are at once.
    pub places: Places,
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
            let (stream, peer) = listener.accept().await?;
            Ok::<_, io::Error>((bounds.places.take(L::client(peer)).await, stream, peer))
        };
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok((None, _, peer)) => tracing::debug!(address = ?peer, "a connection was closed: its client has too many"),
            Ok((Some(place), stream, peer)) => {
                let (security, bounds, stop) = (security.clone(), bounds.clone(), stop.clone());
                let answer = answer.clone();
                let answer = move |request| answer(request, peer);
                connections.spawn(async move {
                    match security {
                        Security::Plain => answer_all(stream, &bounds, &place, stop, answer).await,
                        Security::Tls(current) => {
                            let acceptor = TlsAcceptor::from(Arc::clone(&current.borrow()));
                            let shaken = tokio::time::timeout(bounds.handshake, acceptor.accept(stream));
                            let shaken = tokio::select! {
                                shaken = shaken => shaken,
                                () = place.told() => return,
                            };
                            match shaken {
                                Ok(Ok(stream)) => answer_all(stream, &bounds, &place, stop, answer).await,
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
    place: &Place,
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
        let (busy, answered) = (place.busy(), answer(request));
        async move {
            // Until all of the answer is on its way.
            let held = move |error| {
                let _busy = &busy;
                error
            };
            Ok::<_, Infallible>(answered.await.map(|body| body.map_err(held)))
        }
    });
    let stream = Patient::new(stream, bounds.write, Arc::clone(place.seat()));
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut connection = Again::new(connection);
    // An error is the caller's: it went away, was too slow, or does not speak HTTP.
    let told = tokio::select! {
        _ = &mut connection => return,
        _ = stop.wait_for(|stop| *stop) => false,
        () = place.told() => true,
    };
    // A request that is there by now is answered. What else came of one is nothing yet.
    if told {
        tokio::task::yield_now().await;
        if is_over(&mut connection).await {
            return;
        }
    }
    let leaves = told && place.is_waiting();
    connection.inner_mut().as_mut().graceful_shutdown();
    if leaves && (is_over(&mut connection).await || place.is_waiting()) {
        return;
    }
    let _ = connection.await;
}

/// Goes on with it as far as that goes now.
async fn is_over(doing: &mut (impl Future + Unpin)) -> bool {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *doing).poll(context).is_ready())).await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;
    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// How many have asked for `/wait`, and how many of them are answered.
    struct Gate {
        asked: Semaphore,
        opened: Semaphore,
    }

    impl Gate {
        async fn has_asked(&self, many: u32) {
            timeout(SOON, self.asked.acquire_many(many)).await.unwrap().unwrap().forget();
        }
    }

    /// Takes addresses of this machine for clients of their own.
    struct Near(TcpListener);

    impl Accept for Near {
        type Stream = TcpStream;
        type Peer = SocketAddr;

        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
            Accept::accept(&self.0).await
        }

        fn client(peer: SocketAddr) -> Option<IpAddr> {
            Some(peer.ip())
        }
    }

    /// A server with so many places.
    async fn server(all: usize) -> (SocketAddr, Arc<Gate>, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let hour = Duration::from_hours(1);
        let bounds = Bounds { head: hour, write: hour, handshake: hour, buffer: None, places: Places::new(all) };
        let gate = Arc::new(Gate { asked: Semaphore::new(0), opened: Semaphore::new(0) });
        let at = Arc::clone(&gate);
        let answer = move |request: Request<Incoming>, _| {
            let at = Arc::clone(&at);
            async move {
                if request.uri().path() == "/wait" {
                    at.asked.add_permits(1);
                    at.opened.acquire().await.unwrap().forget();
                }
                Response::new(http_body_util::Full::new(Bytes::from_static(b"answer")))
            }
        };
        tokio::spawn(serve(Near(listener), Security::Plain, bounds, stopped, answer));
        (address, gate, stop)
    }

    /// A connection from another address of this machine.
    async fn from(last: u8, server: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        socket.connect(server).await.unwrap()
    }

    async fn send(stream: &mut TcpStream, path: &str) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    }

    async fn is_answered(stream: &mut TcpStream) -> bool {
        let mut answer = Vec::new();
        while !answer.ends_with(b"answer") {
            let read = timeout(SOON, stream.read_buf(&mut answer)).await.expect("there is an answer or an end");
            if !matches!(read, Ok(1..)) {
                return false;
            }
        }
        answer.starts_with(b"HTTP/1.1 200")
    }

    async fn is_closed(stream: &mut TcpStream) -> bool {
        let read = timeout(SOON, stream.read(&mut [0; 64])).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }

    #[tokio::test]
    async fn connections_that_send_nothing_keep_nobody_out() {
        let (address, _gate, _stop) = server(4).await;
        let mut idle = Vec::new();
        for last in 2..6 {
            let mut stream = from(last, address).await;
            if last == 2 {
                // Has had an answer, and waits for nothing longer than the next two do.
                send(&mut stream, "/").await;
                assert!(is_answered(&mut stream).await);
            }
            if last == 4 {
                stream.write_all(b"GET / HT").await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            idle.push(stream);
        }
        for number in 0..20_u8 {
            let mut next = from(100 + number, address).await;
            send(&mut next, "/").await;
            assert!(is_answered(&mut next).await, "{number}");
            idle.push(next);
        }
        let left = idle.len() - 4;
        for (at, stream) in idle.iter_mut().take(left).enumerate() {
            assert!(is_closed(stream).await, "{at}");
        }
        for stream in &mut idle[left..] {
            send(stream, "/").await;
            assert!(is_answered(stream).await);
        }
    }

    #[tokio::test]
    async fn who_is_answered_keeps_his_place() {
        let (address, gate, _stop) = server(3).await;
        let mut busy = Vec::new();
        for last in 2..5 {
            let mut stream = from(last, address).await;
            send(&mut stream, "/wait").await;
            busy.push(stream);
        }
        gate.has_asked(3).await;
        let mut next = from(9, address).await;
        send(&mut next, "/").await;
        assert!(timeout(Duration::from_millis(300), next.read(&mut [0; 1])).await.is_err());
        gate.opened.add_permits(3);
        assert!(is_answered(&mut next).await);
        for stream in &mut busy {
            assert!(is_answered(stream).await);
        }
    }

    #[tokio::test]
    async fn a_client_with_many_connections_leaves_places_for_others() {
        let (address, gate, _stop) = server(8).await;
        let mut many = Vec::new();
        for _ in 0..6 {
            let mut stream = from(2, address).await;
            send(&mut stream, "/wait").await;
            many.push(stream);
        }
        gate.has_asked(6).await;
        // All that are more are closed, and others come in.
        let mut seventh = from(2, address).await;
        assert!(is_closed(&mut seventh).await);
        for last in 3..5 {
            let mut other = from(last, address).await;
            send(&mut other, "/").await;
            assert!(is_answered(&mut other).await);
            many.push(other);
        }
        gate.opened.add_permits(6);
        for stream in &mut many[..6] {
            assert!(is_answered(stream).await);
        }
        // Now it waits with six, and each that is more is in place of one of those.
        let mut more = from(2, address).await;
        send(&mut more, "/").await;
        assert!(is_answered(&mut more).await);
        let mut closed = 0;
        for stream in &mut many[..6] {
            closed += usize::from(timeout(Duration::from_millis(100), stream.read(&mut [0; 1])).await.is_ok());
        }
        assert!((1..6).contains(&closed), "{closed}");
        for stream in &mut many[6..] {
            send(stream, "/").await;
            assert!(is_answered(stream).await);
        }
    }
}
