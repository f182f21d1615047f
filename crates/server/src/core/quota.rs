//! Quotas: how many requests a client may make in a time, below a path.
//!
//! One quota counts for a request: with a login that of its role, else that of exactly its path, else of the longest beginning with a `*`, else of its mount, else of everything. A
//! client is an address, and with IPv6 the network of 64 bits that an address is in: that is what one customer gets, and can choose among.
//!
//! Counters are in memory and bounded ([`CLIENTS`] a quota): more clients at once drive out those whose time began first.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Core;
use crate::barrier::{Barrier, View};
use crate::logical::{Request, Result};

/// How many clients a quota counts at once.
pub const CLIENTS: usize = 16 << 10;

/// A quota.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The mount, with its slash at the end; empty: everything.
    pub mount: String,
    /// Where below the mount; empty: all of it. With a `*` at the end it is a beginning.
    pub suffix: String,
    /// How many requests.
    pub rate: f64,
    /// In how many seconds.
    pub interval: i64,
    /// For how many seconds a client that made more gets nothing; 0: until the interval is over.
    pub block_interval: i64,
    /// Kept, without effect: there are no namespaces.
    pub inheritable: bool,
    /// The role whose logins at the mount count; empty: everything counts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
}

impl Rule {
    /// The path, as it is shown.
    pub fn path(&self) -> String {
        format!("{}{}", self.mount, self.suffix)
    }

    /// Whether `path`, without a slash at its end, is where logins at its mount are.
    fn is_login(&self, path: &str) -> bool {
        path.strip_prefix(&self.mount).is_some_and(|below| below == "login")
    }

    /// How well it fits a request: not at all, or the higher the better.
    fn fits(&self, path: &str, role: Option<&str>) -> Option<(bool, usize)> {
        if self.role.is_empty() {
            return Some((false, self.fits_path(path)?));
        }
        let is_this = role.is_some_and(|role| role.to_lowercase() == self.role.to_lowercase());
        (is_this && self.is_login(path)).then_some((true, 0))
    }

    /// How well it fits a path, without a slash at its end: not at all, or the higher the better.
    fn fits_path(&self, path: &str) -> Option<usize> {
        if self.mount.is_empty() {
            return Some(0);
        }
        let mount = self.mount.trim_end_matches('/');
        let below = match path.strip_prefix(mount)? {
            "" => "",
            rest => rest.strip_prefix('/')?,
        };
        if self.suffix.is_empty() {
            return Some(1);
        }
        if self.suffix == below {
            return Some(usize::MAX);
        }
        let beginning = self.suffix.strip_suffix('*')?;
        below.starts_with(beginning).then_some(2 + beginning.len())
    }

    fn limit(&self) -> u64 {
        // Of less than one request there is none; past 2^53 nobody counts.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded just before")]
        let limit = self.rate.round().clamp(1.0, 9e15) as u64;
        limit
    }
}

/// What holds for all quotas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Paths that are not counted. One is also what is below it; with a `*` at the end it is a beginning.
    pub exempt: Vec<String>,
    /// Whether a request that is refused is written down.
    pub audit: bool,
    /// Whether answers say how much is left.
    pub headers: bool,
}

/// The peer's.
impl Default for Config {
    fn default() -> Self {
        let exempt = [
            "sys/generate-recovery-token/attempt",
            "sys/generate-recovery-token/update",
            "sys/generate-root/attempt",
            "sys/generate-root/update",
            "sys/health",
            "sys/seal-status",
            "sys/unseal",
        ];
        Self { exempt: exempt.map(str::to_owned).into(), audit: false, headers: false }
    }
}

impl Config {
    fn exempts(&self, path: &str) -> bool {
        self.exempt.iter().any(|one| match one.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None if one.is_empty() => false,
            None => {
                let one = one.trim_end_matches('/');
                path.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        })
    }
}

/// What a quota says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it goes on.
    pub allowed: bool,
    /// How many there may be, how many are left, and in how many seconds it begins anew.
    pub left: Option<(u64, u64, u64)>,
    /// After how many seconds one that is refused can come again.
    pub retry: u64,
    /// Whether it is written down that it was refused.
    pub audit: bool,
    /// Whether the answer says so much.
    pub headers: bool,
}

struct Client {
    begun: Instant,
    used: u64,
    blocked: Option<Instant>,
}

struct Served {
    rule: Rule,
    clients: Mutex<HashMap<IpAddr, Client>>,
    violations: AtomicU64,
}

impl Served {
    fn new(rule: Rule) -> Arc<Self> {
        Arc::new(Self { rule, clients: Mutex::default(), violations: AtomicU64::new(0) })
    }

    /// Counts a request: whether it goes on, what is left, and when to come again.
    fn take(&self, address: IpAddr, now: Instant) -> (bool, Option<(u64, u64, u64)>, u64) {
        let (limit, interval) = (self.rule.limit(), seconds(self.rule.interval));
        let block = seconds(self.rule.block_interval);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= CLIENTS && !clients.contains_key(&address) {
            make_room(&mut clients, interval.max(block), now);
        }
        let client = clients.entry(address).or_insert(Client { begun: now, used: 0, blocked: None });
        if let Some(blocked) = client.blocked {
            let left = block.saturating_sub(now.duration_since(blocked));
            if !left.is_zero() {
                return (false, None, left.as_secs());
            }
            *client = Client { begun: now, used: 0, blocked: None };
        }
        if now.duration_since(client.begun) >= interval {
            *client = Client { begun: now, used: 0, blocked: None };
        }
        let reset = interval.saturating_sub(now.duration_since(client.begun)).as_secs();
        if client.used < limit {
            client.used += 1;
            return (true, Some((limit, limit - client.used, reset)), reset);
        }
        if block.is_zero() {
            return (false, Some((limit, 0, reset)), reset);
        }
        client.blocked = Some(now);
        (false, Some((limit, 0, reset)), block.as_secs())
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Forgets clients whose time is over, and if that is too few, an eighth of all: those whose time began first.
fn make_room(clients: &mut HashMap<IpAddr, Client>, time: Duration, now: Instant) {
    clients.retain(|_, client| now.duration_since(client.blocked.unwrap_or(client.begun)) < time);
    let most = CLIENTS - CLIENTS / 8;
    if clients.len() <= most {
        return;
    }
    let mut order: Vec<_> =
        clients.iter().map(|(address, client)| (client.blocked.is_some(), client.begun, *address)).collect();
    order.sort_unstable();
    let excess = clients.len() - most;
    for (_, _, address) in order.into_iter().take(excess) {
        clients.remove(&address);
    }
}

/// Who asks.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// All quotas.
pub struct Quotas {
    view: View,
    served: RwLock<Arc<Vec<Arc<Served>>>>,
    config: RwLock<Arc<Config>>,
    /// Whether there are any: most servers have none, and each request asks.
    any: AtomicBool,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

const RULES: &str = "rules";
const CONFIG: &str = "config";
/// How many quotas there are at most: each request is compared with each.
const MOST: usize = 1000;

impl Quotas {
    /// The quotas in `barrier`.
    pub async fn open(barrier: &Arc<Barrier>) -> Result<Self> {
        let view = View::plain(barrier, "sys/quota/");
        let rules: Vec<Rule> = view.read(RULES).await?.unwrap_or_default();
        let config: Config = view.read(CONFIG).await?.unwrap_or_default();
        Ok(Self {
            view,
            any: AtomicBool::new(!rules.is_empty()),
            served: RwLock::new(Arc::new(rules.into_iter().map(Served::new).collect())),
            config: RwLock::new(Arc::new(config)),
            changing: tokio::sync::Mutex::default(),
        })
    }

    fn served(&self) -> Arc<Vec<Arc<Served>>> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What holds for all.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes what holds for all.
    pub async fn configure(&self, config: Config) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.view.write(CONFIG, &config).await?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(())
    }

    /// All quotas, by their names.
    pub fn rules(&self) -> Vec<Rule> {
        self.served().iter().map(|served| served.rule.clone()).collect()
    }

    /// How often each quota has refused.
    pub fn violations(&self) -> Vec<(String, u64)> {
        let served = self.served();
        served.iter().map(|one| (one.rule.name.clone(), one.violations.load(Ordering::Relaxed))).collect()
    }

    /// Changes the quotas. Those that stay as they are go on counting.
    ///
    /// # Errors
    /// Those of `change`; 400 if there would be too many.
    pub async fn change(&self, change: impl FnOnce(&mut Vec<Rule>) -> Result<()>) -> Result<()> {
        let _changing = self.changing.lock().await;
        let before = self.served();
        let mut rules: Vec<Rule> = before.iter().map(|served| served.rule.clone()).collect();
        let old = rules.clone();
        change(&mut rules)?;
        if rules == old {
            return Ok(());
        }
        if rules.len() > MOST {
            return Err(crate::logical::Error::bad_request(format!(
                "there are {MOST} quotas, which is all there can be"
            )));
        }
        rules.sort_by(|a, b| a.name.cmp(&b.name));
        self.view.write(RULES, &rules).await?;
        let served = rules.into_iter().map(|rule| {
            let same = before.iter().find(|one| one.rule == rule);
            same.map_or_else(|| Served::new(rule.clone()), Arc::clone)
        });
        let served: Vec<_> = served.collect();
        self.any.store(!served.is_empty(), Ordering::Relaxed);
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
        Ok(())
    }

    /// Whether it takes the role of a request to `path` to know which quota counts.
    pub fn asks_role(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.any.load(Ordering::Relaxed)
            && self.served().iter().any(|one| !one.rule.role.is_empty() && one.rule.is_login(path))
    }

    /// Counts a request to `path` from `address`, and by `role`, if it is a login. `None`: no quota counts for it.
    pub fn count(&self, path: &str, address: IpAddr, role: Option<&str>) -> Option<Verdict> {
        self.count_at(path, address, role, Instant::now())
    }

    fn count_at(&self, path: &str, address: IpAddr, role: Option<&str>, now: Instant) -> Option<Verdict> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let path = path.trim_end_matches('/');
        let config = self.config();
        if config.exempts(path) {
            return None;
        }
        let served = self.served();
        let fitting = served.iter().filter_map(|one| one.rule.fits(path, role).map(|fit| (fit, one)));
        let (_, best) = fitting.max_by_key(|(fit, _)| *fit)?;
        let (allowed, left, retry) = best.take(client(address), now);
        if !allowed {
            best.violations.fetch_add(1, Ordering::Relaxed);
        }
        Some(Verdict { allowed, left, retry, audit: config.audit, headers: config.headers })
    }
}

impl Core {
    /// Counts a login, whose role its method tells. One of which it cannot tell is counted as one of no role: what is wrong with it, its handler says.
    pub async fn count_login(&self, request: &Request) -> Option<Verdict> {
        let (open, address) = (self.open().ok()?, request.remote?);
        let role = match open.mounts.route(&request.path) {
            Some((mount, _)) => mount.backend.login_role(&mount.view, &request.data).await.ok().flatten(),
            None => None,
        };
        open.quotas.count(&request.path, address, role.as_deref())
    }
}

#[cfg(test)]
mod tests;
