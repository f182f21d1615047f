//! Requests over connections that stay open, each as soon as the one before is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// The n-th request.
pub type Requests = Arc<dyn Fn(usize) -> Result<Request<Full<Bytes>>> + Send + Sync>;

/// Where requests go.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// What some requests came to.
#[derive(Debug)]
pub struct Sample {
    pub count: usize,
    /// Answered in a second.
    pub rate: f64,
    /// How long half of them took, and all but one in a hundred, in ms.
    pub p50: f64,
    pub p99: f64,
    /// Processor seconds of the server; whoever measures fills it in.
    pub cpu: f64,
}

impl Sample {
    /// Requests for a second of the server's processor.
    pub fn each(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
        let count = self.count as f64;
        // What is less than a tick of the kernel's account is taken for one.
        count / self.cpu.max(0.01)
    }
}

impl Client {
    pub fn new(address: SocketAddr, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self { address, tls }
    }

    /// Sends requests for `time`, or `most` of them, so many at once. An answer that is no success ends it.
    pub async fn run(&self, at_once: usize, time: Duration, most: usize, requests: &Requests) -> Result<Sample> {
        let (next, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let mut connections = JoinSet::new();
        for _ in 0..at_once {
            let (mut connection, requests, next) = (self.connect().await?, Arc::clone(requests), Arc::clone(&next));
            connections.spawn(async move {
                let mut took = Vec::new();
                while begun.elapsed() < time {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= most {
                        break;
                    }
                    let (request, sent) = (requests(number)?, Instant::now());
                    answer(&mut connection, request).await?;
                    took.push(sent.elapsed().as_secs_f64() * 1e3);
                }
                anyhow::Ok(took)
            });
        }
        let mut took = Vec::new();
        while let Some(done) = connections.join_next().await {
            took.extend(done??);
        }
        took.sort_by(f64::total_cmp);
        let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "a count of requests")]
        let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
        Ok(Sample { count: took.len(), rate, p50: at(50), p99: at(99), cpu: 0.0 })
    }

    /// One request; the JSON that comes back.
    pub async fn ask(&self, request: Request<Full<Bytes>>) -> Result<serde_json::Value> {
        let body = answer(&mut self.connect().await?, request).await?;
        Ok(if body.is_empty() { serde_json::Value::Null } else { serde_json::from_slice(&body)? })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(sender);
        };
        let name = ServerName::from(self.address.ip());
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

async fn answer(connection: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Result<Bytes> {
    connection.ready().await?;
    let what = format!("{} {}", request.method(), request.uri());
    let response: Response<_> = connection.send_request(request).await.with_context(|| what.clone())?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        bail!("{what}: {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}
