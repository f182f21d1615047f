//! `cargo xtask bench node`: volumes of secrets, bulla's node service against the Secrets Store CSI driver.
//!
//! Both serve the same volumes of the same pods from the same provider, one after the other, and this program is the kubelet. Each has a
//! mount namespace of its own, so what is mounted goes with it. The peer runs without its two sidecars (registrar and liveness probe),
//! which come on top of its memory.

mod driver;
mod floor;
mod least;
mod load;
mod world;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use self::driver::{Driver, Kind};
use self::load::{Kubelet, Latency};
use self::world::World;
use crate::{cluster, dist};

/// How much work.
#[derive(clap::Args)]
pub struct Amount {
    /// Volumes for the measure of memory and rotation
    #[arg(long, default_value_t = 1000)]
    volumes: usize,
    /// Volumes for the measures of time, as many for each
    #[arg(long, default_value_t = 400)]
    publishes: usize,
    /// Minutes in which nothing changes; 0 leaves it out
    #[arg(long, default_value_t = 4)]
    minutes: u32,
    /// An existing static bulla binary instead of building one
    #[arg(long)]
    bulla: Option<PathBuf>,
}

/// So many volumes are mounted at once.
const AT_ONCE: [usize; 2] = [1, 100];

/// What one of the two came to.
struct Figures {
    /// At one at a time and at many.
    publish: [Latency; 2],
    unpublish: Latency,
    /// A call that does nothing.
    call: Latency,
    /// Processor seconds for a volume that comes and goes, of those at many.
    cpu: f64,
    idle: f64,
    mounted: f64,
    /// Processor seconds in a minute in which nothing changes.
    quiet: Option<f64>,
}

/// Builds what is missing, measures, prints the table.
pub fn run(root: &Path, amount: &Amount) -> Result<()> {
    let bulla = match &amount.bulla {
        Some(bulla) => bulla.canonicalize()?,
        None => dist::build(root, dist::Profile::Dist)?,
    };
    let peers = std::env::var_os("BULLA_PEERS").map_or_else(|| root.join("target/peers"), PathBuf::from);
    let provider = crate::peers::oracle(root, &peers, "csi-provider")?;
    let peer = crate::peers::tool(root, &peers.join("bin"), "csi-driver", "secrets-store-csi-driver")?;
    let runtime = tokio::runtime::Runtime::new()?;
    cluster::with("bench", root, |cluster| {
        let most = amount.volumes.max(amount.publishes);
        let world = runtime.block_on(World::new(root, cluster, &provider, most))?;
        let provider = runtime.block_on(load::provider(&world, amount.publishes))?;
        let floor = AT_ONCE.map(|at_once| floor::measure(&world, amount.publishes, at_once));
        let [one, many] = floor;
        let floor = [one?, many?];
        let mut least = Vec::new();
        for at_once in AT_ONCE {
            least.push(runtime.block_on(least::measure(&world, amount.publishes, at_once))?);
        }
        let theirs = runtime.block_on(measure(&world, Kind::Peer(&peer), amount))?;
        let ours = runtime.block_on(measure(&world, Kind::Bulla(&bulla), amount))?;
        print(amount, (&floor, &least), &provider, &theirs, &ours);
        Ok(())
    })
}

async fn measure(world: &World, kind: Kind<'_>, amount: &Amount) -> Result<Figures> {
    eprintln!("bench: {}", kind.name());
    let driver = Driver::start(world, kind)?;
    let kubelet = Kubelet::connect(world).await?;
    // What it reads once is read.
    let warm = &world.volumes[..20.min(world.volumes.len())];
    kubelet.publish(warm, 1).await?;
    driver.has_file(&warm[0])?;
    kubelet.unpublish(warm, 1).await?;
    thread::sleep(Duration::from_secs(10));
    let idle = driver.memory()?;

    let volumes = &world.volumes[..amount.publishes];
    let call = kubelet.call(amount.publishes).await?;
    let one = kubelet.publish(volumes, AT_ONCE[0]).await?;
    let unpublish = kubelet.unpublish(volumes, 1).await?;
    thread::sleep(Duration::from_secs(5));
    let before = driver.cpu()?;
    let many = kubelet.publish(volumes, AT_ONCE[1]).await?;
    kubelet.unpublish(volumes, AT_ONCE[1]).await?;
    thread::sleep(Duration::from_secs(5));
    #[allow(clippy::cast_precision_loss, reason = "hundreds of volumes")]
    let cpu = (driver.cpu()? - before) / volumes.len() as f64;

    let volumes = &world.volumes[..amount.volumes];
    kubelet.publish(volumes, 10).await?;
    thread::sleep(Duration::from_secs(20));
    let mounted = driver.memory()?;
    let quiet = if amount.minutes > 0 { Some(nothing_changes(&driver, &kubelet, amount).await?) } else { None };
    driver.stop()?;
    Ok(Figures { publish: [one, many], unpublish, call, cpu, idle, mounted, quiet })
}

/// The kubelet asks for what is mounted about once a minute, and nothing has changed. Processor seconds for each minute.
async fn nothing_changes(driver: &Driver, kubelet: &Kubelet<'_>, amount: &Amount) -> Result<f64> {
    let before = driver.cpu()?;
    for _ in 0..amount.minutes {
        let begun = std::time::Instant::now();
        kubelet.publish(&kubelet.world.volumes[..amount.volumes], 10).await?;
        tokio::time::sleep(Duration::from_mins(1).saturating_sub(begun.elapsed())).await;
    }
    Ok((driver.cpu()? - before) / f64::from(amount.minutes))
}

fn print(
    amount: &Amount,
    (floor, least): (&[Latency; 2], &[Latency]),
    provider: &Latency,
    theirs: &Figures,
    ours: &Figures,
) {
    println!(
        "secrets-store-csi-driver 1.6.0 against bulla, one machine, one run; ten objects of 1 KB a volume, from a provider on the same \
         node; MB are 10^6 bytes\n"
    );
    println!("| work | figure | driver | bulla | ratio | target | |");
    println!("|---|---|---|---|---|---|---|");
    let mut missed = 0;
    for (index, at_once) in AT_ONCE.iter().enumerate() {
        let work = format!("publish a volume, {at_once} at once");
        let (theirs, ours, floor) = (&theirs.publish[index], &ours.publish[index], &floor[index]);
        line(&work, "p50 ms", (theirs.p50, ours.p50), None);
        line(&work, "p99 ms", (theirs.p99, ours.p99), None);
        // What waits for a processor waits for all that are before it, at the provider too.
        let (floor, provider) =
            if *at_once == 1 { (floor.p50, provider.p50) } else { (floor.together, provider.together) };
        let bare = 2.0 * floor + provider;
        let name = format!("p50 ms; mount and writes alone {floor:.2}, the provider alone {provider:.2}");
        let ratio = ours.p50 / bare;
        let verdict = if ratio <= 1.0 { "met" } else { "MISSED" };
        missed += usize::from(ratio > 1.0);
        println!("| {work} | {name} | | {:.2} | {ratio:.2} | ≤ 2 × alone + provider | {verdict} |", ours.p50);
        let (least, ratio) = (least[index].p50, ours.p50 / least[index].p50);
        println!(
            "| {work} | p50 ms; a driver that only asks, mounts and writes {least:.2} | | {:.2} | {ratio:.2} | | |",
            ours.p50
        );
    }
    line("a call that does nothing", "p50 ms", (theirs.call.p50, ours.call.p50), None);
    line("unpublish a volume", "p50 ms", (theirs.unpublish.p50, ours.unpublish.p50), None);
    line("a volume that comes and goes, 100 at once", "CPU ms", (theirs.cpu * 1e3, ours.cpu * 1e3), None);
    line("idle", "MB", (theirs.idle, ours.idle), None);
    let mounted = format!("{} volumes mounted", amount.volumes);
    line(&mounted, "MB", (theirs.mounted, ours.mounted), None);
    let most = 30.0 * f64::from(1 << 20) / 1e6;
    let fits = ours.mounted <= most;
    missed += usize::from(!fits);
    println!("| {mounted} | MB | | {:.1} | | ≤ 30 MiB | {} |", ours.mounted, if fits { "met" } else { "MISSED" });
    if let (Some(theirs), Some(ours)) = (theirs.quiet, ours.quiet) {
        line(&format!("{mounted}, nothing changes"), "CPU s a minute", (theirs, ours), None);
    }
    println!("\n{missed} targets missed");
}

fn line(work: &str, figure: &str, (theirs, ours): (f64, f64), target: Option<&str>) {
    println!("| {work} | {figure} | {theirs:.2} | {ours:.2} | 1/{:.1} | {} | |", theirs / ours, target.unwrap_or(""));
}
