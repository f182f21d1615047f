//! What nobody gets under: an HTTP server that answers a constant, and the disk.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::AT_ONCE;
use super::load::{Client, Requests};
use crate::bench::measure::processor_time;

/// How often the disk is waited for.
const WRITES: u32 = 200;

/// Requests for a second of processor time, one at a time and many; the time of an fsync in ms.
pub struct Floor {
    pub one: f64,
    pub many: f64,
    pub fsync: f64,
}

/// Measures both.
pub async fn measure(folder: &Path, seconds: u64) -> Result<Floor> {
    let (address, account) = constant()?;
    let (client, mut each) = (Client::new(address, None), Vec::new());
    let requests: Requests =
        Arc::new(|_| Ok(Request::builder().uri("/v1/x").header("host", "127.0.0.1").body(Full::default())?));
    for at_once in AT_ONCE {
        let before = processor_time(&account)?;
        let mut sample = client.run(at_once, Duration::from_secs(seconds), usize::MAX, &requests).await?;
        sample.cpu = processor_time(&account)? - before;
        each.push(sample.each());
    }
    Ok(Floor { one: each[0], many: each[1], fsync: fsync(folder)? })
}

/// A server in a thread of its own: where it listens, and where the kernel has the thread's account.
fn constant() -> Result<(SocketAddr, PathBuf)> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let account = Path::new("/proc/self/task").join(nix::unistd::gettid().to_string());
            tell.send((listener.local_addr()?, account))?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let answer = service_fn(|_: Request<Incoming>| async {
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from_static(&[b'x'; 300]))))
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        })
    });
    told.recv().context("the server that answers a constant")
}

fn fsync(folder: &Path) -> Result<f64> {
    let mut file = File::create(folder.join("fsync"))?;
    let begun = Instant::now();
    for _ in 0..WRITES {
        file.write_all(&[b'x'; 4096])?;
        file.sync_data()?;
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3 / f64::from(WRITES))
}
