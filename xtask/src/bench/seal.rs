//! `cargo xtask bench seal`: sealing, bulla against kubeseal and the sealed-secrets controller.

mod contender;
mod objects;
mod process;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bulla_format::sealed::{Binding, PrivateKey, Scope, open_value, seal_value};

use self::contender::{Contender, Run, Work};
use self::objects::{Ring, Spread};
use super::measure::usage;
use crate::dist;

/// How much work.
#[derive(clap::Args)]
pub struct Amount {
    /// SealedSecrets of five values that the controllers open; 0 leaves it out
    #[arg(long, default_value_t = 1000)]
    objects: usize,
    /// Over how many namespaces they are spread
    #[arg(long, default_value_t = 1000)]
    namespaces: usize,
    /// SealedSecrets, and as many Secrets of others, that the controllers' memory is measured with; 0 leaves it out
    #[arg(long, default_value_t = 10_000)]
    memory_objects: usize,
    /// Leave the controllers out
    #[arg(long)]
    command_line_only: bool,
    /// An existing static bulla binary instead of building one
    #[arg(long)]
    bulla: Option<PathBuf>,
}

/// What both sides are measured with.
struct Bench {
    folder: PathBuf,
    peers: PathBuf,
    bulla: PathBuf,
}

/// Builds what is missing, measures, prints the table.
pub fn run(root: &Path, amount: &Amount) -> Result<()> {
    let bulla = match &amount.bulla {
        Some(bulla) => bulla.canonicalize()?,
        None => dist::build(root, dist::Profile::Dist)?,
    };
    let peers = std::env::var_os("BULLA_PEERS").map_or_else(|| root.join("target/peers"), PathBuf::from).join("bin");
    if !peers.join("kubeseal").is_file() {
        crate::peers::install(root)?;
    }
    let folder = root.join("target/bench");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let bench = Bench { folder, peers, bulla };
    println!(
        "sealed-secrets 0.36.6 against bulla, one machine, one run; CPU is user and system time, MB are 10^6 bytes\n"
    );
    println!("| work | figure | sealed-secrets | bulla | ratio | target | |");
    println!("|---|---|---|---|---|---|---|");
    let ring = Ring::generate(12)?;
    let mut missed = bench.command_line(&ring)?;
    if !amount.command_line_only {
        missed += bench.controllers(root, amount, &ring)?;
    }
    println!("\n{missed} targets missed");
    Ok(())
}

impl Bench {
    /// One Secret of ten keys, sealed by the command line.
    fn command_line(&self, ring: &Ring) -> Result<usize> {
        let (certificate, plain) = (self.folder.join("cert.pem"), self.folder.join("secret.yaml"));
        write(&certificate, ring.newest().certificate.to_pem().as_bytes())?;
        write(&plain, objects::plain_secret(10)?.as_bytes())?;
        // The same program under the peer's name.
        let ours = self.folder.join("kubeseal");
        std::os::unix::fs::symlink(&self.bulla, &ours)?;
        let measure = |program: &Path, times| {
            let [program, certificate, plain] = [program, &certificate, &plain].map(|path| path.to_string_lossy());
            usage(times, &[], None, &[&program, "--cert", &certificate, "-o", "yaml", "-f", &plain])
        };
        let (theirs, ours) = (measure(&self.peers.join("kubeseal"), 50)?, measure(&ours, 200)?);
        let work = "seal a Secret of 10 keys, command line";
        Ok(print(work, "CPU s", (theirs.cpu, ours.cpu), Some(1.0 / 4.0))
            + print(work, "wall s", (theirs.wall, ours.wall), None)
            + print(work, "peak MB", (theirs.memory, ours.memory), Some(1.0 / 3.0)))
    }

    /// First sync, restart and memory of the controllers.
    fn controllers(&self, root: &Path, amount: &Amount, ring: &Ring) -> Result<usize> {
        let runtime = tokio::runtime::Runtime::new()?;
        let program = self.peers.join("sealed-secrets-controller");
        let theirs = Contender::theirs(&program, root, &runtime);
        let ours = Contender::ours(&self.bulla, root, &runtime);
        let mut work =
            Work { ring, spread: Spread::All, objects: amount.objects, namespaces: amount.namespaces, values: 5 };
        let mut missed = 0;
        if amount.objects > 0 {
            // The peer's requests are limited, whatever its keys have to do: it runs once.
            let their_run = theirs.sync(&work)?;
            for spread in [Spread::Newest, Spread::All] {
                work.spread = spread;
                let floor = private_operations(ring.newest().private())?;
                missed += report(&work, &their_run, &ours.sync(&work)?, floor)?;
            }
        }
        if amount.memory_objects > 0 {
            let work = Work { objects: amount.memory_objects, spread: Spread::Newest, values: 1, ..work };
            let name = format!("{0} SealedSecrets, {0} Secrets of others", work.objects);
            let memory = (theirs.memory(&work)?, ours.memory(&work)?);
            missed += print(&name, "resident MB, controller", memory, Some(1.0 / 4.0));
        }
        Ok(missed)
    }
}

/// The lines about one installation, both times it was started.
fn report(work: &Work<'_>, theirs: &Run, ours: &Run, floor: f64) -> Result<usize> {
    let objects = work.objects;
    let work =
        format!("{objects} SealedSecrets of 5 values in {} namespaces, {}", work.namespaces, work.spread.words());
    let first = format!("{work}: first sync");
    let mut missed =
        print(&first, "s until all are synced", (theirs.first.seconds, ours.first.seconds), Some(1.0 / 20.0));
    print(&first, "CPU s, controller", (theirs.first.cpu, ours.first.cpu), None);
    #[allow(clippy::cast_precision_loss, reason = "a handful of cores")]
    let cores = thread::available_parallelism().map_or(1, usize::from) as f64;
    // A value does not say which of the keys opens it, so those that are sealed to all take more than one try.
    let operations =
        ours.first.operations.context("the controller does not say how many private operations it made")?;
    let alone = operations / floor;
    let words = format!("{operations:.0} RSA operations on all cores");
    // API server, etcd and kubelet run on the same cores, and take what the objects cost them.
    let beside = alone + ours.first.others / cores;
    against("s", &first, &words, alone, ours.first.seconds, None);
    missed += against(
        "s",
        &first,
        &format!("{words}, and the API server's, etcd's and kubelet's work"),
        beside,
        ours.first.seconds,
        Some(1.3),
    );
    missed += against("CPU s, controller", &first, &words, alone * cores, ours.first.cpu, Some(1.3));
    let restart = format!("{work}: restart");
    missed += print(
        &restart,
        "s until a new one is synced",
        (theirs.restart.seconds, ours.restart.seconds),
        Some(1.0 / 20.0),
    );
    print(&restart, "CPU s, controller", (theirs.restart.cpu, ours.restart.cpu), None);
    Ok(missed)
}

/// A line that holds our figure against what cannot be done without. Counts a missed target.
fn against(figure: &str, work: &str, what: &str, limit: f64, ours: f64, most: Option<f64>) -> usize {
    let ratio = ours / limit;
    let missed = most.is_some_and(|most| ratio > most);
    let target = most.map_or_else(String::new, |most| format!("≤ {most}×"));
    let verdict = match most {
        None => "",
        Some(_) if missed => "MISSED",
        Some(_) => "met",
    };
    println!("| {work} | {figure}; {what}: {limit:.2} | | {ours:.2} | {ratio:.2}× | {target} | {verdict} |");
    usize::from(missed)
}

/// Prints a line and counts a missed target.
fn print(work: &str, figure: &str, (theirs, ours): (f64, f64), most: Option<f64>) -> usize {
    let ratio = ours / theirs;
    let missed = most.is_some_and(|most| ratio > most);
    let target = most.map_or_else(String::new, |most| format!("≤ 1/{:.0}", 1.0 / most));
    let verdict = match most {
        None => "",
        Some(_) if missed => "MISSED",
        Some(_) => "met",
    };
    println!("| {work} | {figure} | {theirs:.3} | {ours:.4} | 1/{:.1} | {target} | {verdict} |", 1.0 / ratio);
    usize::from(missed)
}

/// How many values a second all cores together can open with one key: what no controller gets over.
fn private_operations(key: &PrivateKey) -> Result<f64> {
    const TIME: Duration = Duration::from_secs(3);
    let binding = Binding::new(Scope::Strict, "team", "secret", "key");
    let sealed = seal_value(key.public_key(), &binding, b"a value")?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    let counts = thread::scope(|scope| {
        let work = || {
            let mut count = 0_u32;
            while start.elapsed() < TIME {
                open_value(key, &binding, &sealed)?;
                count += 1;
            }
            anyhow::Ok(count)
        };
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().ok().context("a thread")?).sum::<Result<u32>>()
    })?;
    Ok(f64::from(counts) / start.elapsed().as_secs_f64())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::io::Write as _;
    Ok(fs::File::create(path)?.write_all(bytes)?)
}
