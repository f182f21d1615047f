//! What nobody gets under: a tmpfs mounted, ten files written.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};

use super::load::Latency;
use super::world::{LENGTH, OBJECTS, Volume, World};

/// Mounts and writes the first `count` volumes, so many at once.
pub fn measure(world: &World, count: usize, at_once: usize) -> Result<Latency> {
    thread::scope(|scope| {
        // A thread with a mount namespace of its own, which those that it starts have with it.
        let all = scope.spawn(|| -> Result<(Vec<f64>, f64)> {
            own_mounts()?;
            let (volumes, next) = (&world.volumes[..count], AtomicUsize::new(0));
            let seconds = Mutex::new(Vec::with_capacity(count));
            let begun = Instant::now();
            thread::scope(|scope| {
                let work = || -> Result<()> {
                    while let Some(volume) = volumes.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let took = one(volume)?;
                        seconds.lock().ok().context("a thread")?.push(took);
                    }
                    Ok(())
                };
                let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
                threads.into_iter().try_for_each(|thread| thread.join().ok().context("a thread")?)
            })?;
            let took = begun.elapsed().as_secs_f64();
            for volume in volumes {
                umount(&volume.target)?;
                std::fs::remove_dir(&volume.target)?;
            }
            Ok((seconds.into_inner().ok().context("a thread")?, took))
        });
        let (seconds, took) = all.join().ok().context("a thread")??;
        // Most of those under way wait for a processor, and have been asked for: what each takes is what all take (Little's law).
        #[allow(clippy::cast_precision_loss, reason = "hundreds of volumes")]
        let together = took / count as f64 * at_once as f64 * 1e3;
        Ok(Latency { together, ..Latency::of(seconds) })
    })
}

fn one(volume: &Volume) -> Result<f64> {
    let begun = Instant::now();
    in_memory(&volume.target)?;
    for index in 0..OBJECTS {
        File::create(volume.target.join(format!("key-{index}")))?.write_all(&[b'x'; LENGTH])?;
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// Gives this thread, and those that it starts, a mount namespace of their own.
pub fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?)
}

/// A folder in memory.
pub fn in_memory(target: &Path) -> Result<()> {
    std::fs::create_dir(target)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("tmpfs"), target, Some("tmpfs"), flags, None::<&str>)?)
}
