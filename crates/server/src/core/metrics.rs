//! What a server counts, in Prometheus' text form (0.0.4), under the peer's names where they mean the same. Times are in milliseconds, as there.
//!
//! Counters begin anew with the process. What a scrape would have to look for in storage is not here: how many leases there are says
//! `sys/leases/count`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

mod page;

use self::page::Page;
use super::audit::Sinks;
use super::mount::Class;
use super::{Core, Open};
use crate::json::Object;

/// The form's media type.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often something was done, and how long it took: together, at least, at most, and how far from the mean.
pub struct Timing {
    count: AtomicU64,
    nanos: AtomicU64,
    least: AtomicU64,
    most: AtomicU64,
    /// The sum of squares of seconds, as the bits of a float.
    squares: AtomicU64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            least: AtomicU64::new(u64::MAX),
            most: AtomicU64::new(0),
            squares: AtomicU64::new(0.0_f64.to_bits()),
        }
    }
}

impl Timing {
    /// How often so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one that began at `begun`.
    pub fn observe(&self, begun: Instant) {
        self.add(begun.elapsed());
    }

    fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        // Seldom: it is looked at before it is written.
        if nanos < self.least.load(Ordering::Relaxed) {
            self.least.fetch_min(nanos, Ordering::Relaxed);
        }
        if nanos > self.most.load(Ordering::Relaxed) {
            self.most.fetch_max(nanos, Ordering::Relaxed);
        }
        let square = took.as_secs_f64().powi(2);
        let add = |bits| Some((f64::from_bits(bits) + square).to_bits());
        let _ = self.squares.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// What is counted while the server runs, sealed or not.
pub struct Metrics {
    started: SystemTime,
    in_flight: AtomicI64,
    /// Requests that need a token.
    pub requests: Timing,
    /// Logins.
    pub logins: Timing,
    /// Snapshots that were sent to their end.
    pub snapshots: Timing,
    /// Records of requests, and of answers.
    pub audit: [Audited; 2],
    /// What audit devices are at, and lost.
    pub sinks: Arc<Sinks>,
    created: Mutex<BTreeMap<Created, u64>>,
}

/// Records of one kind.
#[derive(Default)]
pub struct Audited {
    /// Those that were tried.
    pub written: Timing,
    /// Those that no device has.
    pub failed: AtomicU64,
}

/// Tokens of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Created {
    method: String,
    mount: String,
    ttl: &'static str,
    kind: &'static str,
}

/// Mounts come and go; their names need not stay for ever.
const MOST_CREATED: usize = 4096;

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: SystemTime::now(),
            in_flight: AtomicI64::new(0),
            requests: Timing::default(),
            logins: Timing::default(),
            snapshots: Timing::default(),
            audit: Default::default(),
            sinks: Arc::default(),
            created: Mutex::default(),
        }
    }
}

/// A request that is under way.
pub struct InFlight<'a>(&'a Metrics);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Counts a request until the end of what comes back.
    pub fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Counts a token that the method `method` at `mount` gave, for `ttl` seconds (0: without an end).
    pub fn created(&self, method: &str, mount: &str, ttl: i64, kind: &'static str) {
        let key = Created { method: method.to_owned(), mount: mount.to_owned(), ttl: bucket(ttl), kind };
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        if created.len() >= MOST_CREATED && !created.contains_key(&key) {
            created.clear();
        }
        *created.entry(key).or_default() += 1;
    }
}

/// The first that is as long, as the peer has them.
fn bucket(ttl: i64) -> &'static str {
    const BUCKETS: [(i64, &str); 9] = [
        (60, "1m"),
        (600, "10m"),
        (1200, "20m"),
        (3600, "1h"),
        (7200, "2h"),
        (86_400, "1d"),
        (2 * 86_400, "2d"),
        (7 * 86_400, "7d"),
        (30 * 86_400, "30d"),
    ];
    let fits = |(most, _): &&(i64, &str)| ttl > 0 && ttl <= *most;
    BUCKETS.iter().find(fits).map_or("+Inf", |(_, name)| name)
}

impl Core {
    /// All that is counted, as Prometheus reads it.
    pub fn render_metrics(&self) -> String {
        self.counted().text()
    }

    /// All that is counted, as an object.
    pub fn metrics_object(&self) -> Object {
        self.counted().object(self.metrics.started)
    }

    fn counted(&self) -> Page {
        let (mut page, open) = (Page::default(), self.open().ok());
        let cluster = open.as_ref().map_or("", |open| open.cluster.0.as_str());
        let label = [("cluster", cluster)];
        let is_open = u8::from(open.is_some());
        page.gauge("vault.core.unsealed", &label, is_open);
        page.gauge("vault.core.active", &label, is_open);
        page.gauge("vault.core.in_flight_requests", &label, self.metrics.in_flight.load(Ordering::Relaxed));
        page.timing("vault.core.handle_request", &self.metrics.requests);
        page.timing("vault.core.handle_login_request", &self.metrics.logins);
        page.timing("bulla.storage.snapshot", &self.metrics.snapshots);
        for (name, audited) in ["request", "response"].iter().zip(&self.metrics.audit) {
            let name = format!("vault.audit.log_{name}");
            page.timing(&name, &audited.written);
            let failed = format!("{name}_failure");
            page.family(&failed, "counter");
            page.sample(&[], audited.failed.load(Ordering::Relaxed));
        }
        page.family("bulla.audit.records_lost", "counter");
        page.sample(&[], self.metrics.sinks.lost());
        page.family("vault.token.creation", "counter");
        for (of, count) in &*self.metrics.created.lock().unwrap_or_else(PoisonError::into_inner) {
            let labels = [
                ("auth_method", of.method.as_str()),
                ("cluster", cluster),
                ("creation_ttl", of.ttl),
                ("mount_point", of.mount.as_str()),
                ("namespace", "root"),
                ("token_type", of.kind),
            ];
            page.sample(&labels, count);
        }
        if let Some(open) = &open {
            open.render(&mut page);
        }
        process(&mut page, self.metrics.started);
        page
    }
}

impl Open {
    fn render(&self, page: &mut Page) {
        let (cluster, table) = (self.cluster.0.as_str(), self.mounts.table());
        page.family("vault.core.mount_table.num_entries", "gauge");
        for (class, kind) in [(Class::Auth, "auth"), (Class::Secret, "logical")] {
            for local in [false, true] {
                let of = |mount: &&Arc<super::mount::Mount>| mount.entry.class == class && mount.entry.local == local;
                let labels = [("cluster", cluster), ("local", if local { "true" } else { "false" }), ("type", kind)];
                page.sample(&labels, table.values().filter(of).count());
            }
        }
        let locked: usize = self.lockouts.locked(&self.mounts.lockouts()).values().map(Vec::len).sum();
        page.gauge("vault.core.locked_users", &[], locked);
        let status = self.barrier.key_status();
        page.family("vault.barrier.estimated_encryptions", "counter");
        let term = status.term.to_string();
        page.sample(&[("term", &term)], status.encryptions);
        page.family("vault.quota.rate_limit.violation", "counter");
        for (name, count) in self.quotas.violations() {
            page.sample(&[("cluster", cluster), ("name", &name)], count);
        }
    }
}

/// What the kernel says of this process. What it does not say is left out.
fn process(page: &mut Page, started: SystemTime) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let status = read("status");
    for (key, name) in [("VmRSS:", "process_resident_memory_bytes"), ("VmSize:", "process_virtual_memory_bytes")] {
        let kibibytes =
            status.lines().find_map(|line| line.strip_prefix(key)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        if let Some(kibibytes) = kibibytes {
            page.gauge(name, &[], kibibytes.saturating_mul(1024));
        }
    }
    // After the name, which is in parentheses and may have anything in it: user and system time are the 12th and 13th, in hundredths of a second.
    let stat = read("stat");
    let times = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
    if let Some(ticks) = times.and_then(|times| times.map(|time| time.parse::<u64>().ok()).sum::<Option<u64>>()) {
        page.family("process_cpu_seconds_total", "counter");
        page.sample(&[], Duration::from_millis(ticks.saturating_mul(10)).as_secs_f64());
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", &[], files.count());
    }
    let limits = read("limits");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    if let Some(most) = files.and_then(|most| most.parse::<u64>().ok()) {
        page.gauge("process_max_fds", &[], most);
    }
    if let Ok(since) = started.duration_since(SystemTime::UNIX_EPOCH) {
        page.gauge("process_start_time_seconds", &[], since.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_counted_with_those_that_live_as_long() {
        for (ttl, expected) in
            [(0, "+Inf"), (1, "1m"), (60, "1m"), (61, "10m"), (2_592_000, "30d"), (2_592_001, "+Inf")]
        {
            assert_eq!(bucket(ttl), expected, "{ttl}");
        }
        let metrics = Metrics::default();
        for number in 0..MOST_CREATED + 5 {
            metrics.created("userpass", &format!("auth/{number}/"), 1, "service");
        }
        assert!(metrics.created.lock().unwrap().len() <= MOST_CREATED);
    }

    #[test]
    fn the_kernel_says_what_the_process_has() {
        let mut page = Page::default();
        process(&mut page, SystemTime::now());
        for name in ["resident_memory_bytes", "cpu_seconds_total", "open_fds", "max_fds", "start_time_seconds"] {
            assert!(page.text().contains(&format!("\nprocess_{name} ")), "{name}: {}", page.text());
        }
    }
}
