//! What is mounted where, and which mount a path belongs to.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

mod route;

use super::lockout::{ByKind, Limits};
use super::random;
use crate::barrier::{Barrier, View};
use crate::logical::{Backend, Error, MountInfo, Result, TokenType};

/// Where paths of auth methods begin.
pub const AUTH: &str = "auth/";

/// Secrets engine or auth method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A secrets engine.
    Secret,
    /// An auth method.
    Auth,
}

/// A mount as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its path with a slash at the end, without `auth/`.
    pub path: String,
    /// What it is.
    pub class: Class,
    /// Which engine or method.
    pub kind: String,
    /// What people call it by.
    pub description: String,
    /// Its accessor.
    pub accessor: String,
    /// Under which its storage is.
    pub uuid: String,
    /// Whether it stays on this machine. Kept, without effect: there is one.
    pub local: bool,
    /// Kept, without effect: all entries are encrypted alike.
    pub seal_wrap: bool,
    /// Options of the engine.
    pub options: Option<BTreeMap<String, String>>,
    /// What can be tuned.
    pub config: Config,
}

/// What can be tuned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// How long what it gives out lives, in seconds; 0: as the server says.
    pub default_lease_ttl: i64,
    /// How long at most; 0: as the server says.
    pub max_lease_ttl: i64,
    /// Kept, without effect: nothing is cached that this would turn off.
    pub force_no_cache: bool,
    /// `unauth` shows it to who has no token.
    pub listing_visibility: String,
    /// How tokens of logins are kept.
    pub token_type: Option<TokenType>,
    /// Headers that are given to the engine.
    pub passthrough_request_headers: Vec<String>,
    /// Headers that it may set.
    pub allowed_response_headers: Vec<String>,
    /// Fields of requests that audit records show.
    pub audit_non_hmac_request_keys: Vec<String>,
    /// Fields of answers that audit records show.
    pub audit_non_hmac_response_keys: Vec<String>,
    /// When names are locked out, if it was tuned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockout: Option<Lockout>,
}

/// When names are locked out, as it was tuned. What is 0 is as the server says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lockout {
    /// After how many failures.
    pub threshold: u64,
    /// For how many seconds.
    pub duration: i64,
    /// After how many seconds a failure is forgotten.
    pub reset: i64,
    /// Whether nobody is.
    pub disabled: bool,
}

impl Lockout {
    /// The limits that come of it where the server says `limits`.
    fn over(self, limits: Limits) -> Limits {
        if self.disabled {
            return Limits::OFF;
        }
        let or = |seconds: i64, otherwise| match u64::try_from(seconds) {
            Ok(0) | Err(_) => otherwise,
            Ok(seconds) => Duration::from_secs(seconds),
        };
        Limits {
            threshold: if self.threshold > 0 { self.threshold } else { limits.threshold },
            duration: or(self.duration, limits.duration),
            reset: or(self.reset, limits.reset),
        }
    }
}

impl Entry {
    /// The path that requests have.
    pub fn full_path(&self) -> String {
        match self.class {
            Class::Secret => self.path.clone(),
            Class::Auth => format!("{AUTH}{}", self.path),
        }
    }
}

/// A mount that serves.
pub struct Mount {
    /// As it is stored.
    pub entry: Entry,
    /// What an engine may know of it.
    pub info: MountInfo,
    /// Its engine.
    pub backend: Arc<dyn Backend>,
    /// Its storage.
    pub view: View,
}

/// All mounts, by the path that requests have. None is inside another.
pub type Table = BTreeMap<String, Arc<Mount>>;

/// Engines and methods by their names.
#[derive(Clone, Default)]
pub struct Catalog(Vec<Offer>);

#[derive(Clone)]
struct Offer {
    class: Class,
    kind: &'static str,
    builtin: bool,
    make: Arc<Make>,
}

type Make = dyn Fn(&Entry, &super::Link) -> Arc<dyn Backend> + Send + Sync;

impl Catalog {
    /// With an engine that can be mounted.
    #[must_use]
    pub fn with(
        mut self,
        class: Class,
        kind: &'static str,
        make: impl Fn(&Entry, &super::Link) -> Arc<dyn Backend> + Send + Sync + 'static,
    ) -> Self {
        self.0.push(Offer { class, kind, builtin: false, make: Arc::new(make) });
        self
    }

    /// With one that is mounted from the start, and never again.
    #[must_use]
    pub fn with_builtin(
        mut self,
        class: Class,
        kind: &'static str,
        make: impl Fn(&Entry, &super::Link) -> Arc<dyn Backend> + Send + Sync + 'static,
    ) -> Self {
        self.0.push(Offer { class, kind, builtin: true, make: Arc::new(make) });
        self
    }

    /// The names of what can be mounted, sorted.
    pub fn kinds(&self, class: Class) -> Vec<&'static str> {
        let mut kinds: Vec<_> =
            self.0.iter().filter(|offer| offer.class == class && !offer.builtin).map(|offer| offer.kind).collect();
        kinds.sort_unstable();
        kinds
    }

    fn make(&self, entry: &Entry, link: &super::Link) -> Result<Arc<dyn Backend>> {
        let offer = self.0.iter().find(|offer| offer.class == entry.class && offer.kind == entry.kind);
        let offer =
            offer.ok_or_else(|| Error::bad_request(format!("plugin not found in the catalog: {}", entry.kind)))?;
        Ok((offer.make)(entry, link))
    }
}

/// How long things live where nobody says, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// If nobody says.
    pub default_ttl: i64,
    /// At most.
    pub max_ttl: i64,
}

/// Mounts that can change.
pub struct Mounts {
    barrier: Arc<Barrier>,
    stored: View,
    table: RwLock<Arc<Table>>,
    catalog: Catalog,
    times: Times,
    lockouts: ByKind,
    link: super::Link,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

const TABLE: &str = "mounts";

impl Mounts {
    /// The mounts in `barrier`, or those that are there from the start.
    pub async fn open(
        barrier: &Arc<Barrier>,
        catalog: Catalog,
        times: Times,
        lockouts: ByKind,
        link: super::Link,
    ) -> Result<Self> {
        let stored = View::plain(barrier, "sys/core/");
        let entries = if let Some(entries) = stored.read::<Vec<Entry>>(TABLE).await? {
            entries
        } else {
            let entries = first()?;
            stored.write(TABLE, &entries).await?;
            entries
        };
        let mounts = Self {
            barrier: Arc::clone(barrier),
            stored,
            table: RwLock::default(),
            catalog,
            times,
            lockouts,
            link,
            changing: tokio::sync::Mutex::default(),
        };
        let table =
            entries.into_iter().map(|entry| Ok((entry.full_path(), mounts.serve(entry)?))).collect::<Result<_>>()?;
        mounts.swap(table);
        Ok(mounts)
    }

    fn serve(&self, entry: Entry) -> Result<Arc<Mount>> {
        let backend = self.catalog.make(&entry, &self.link)?;
        Ok(Arc::new(self.with(entry, backend)))
    }

    fn with(&self, entry: Entry, backend: Arc<dyn Backend>) -> Mount {
        let folder = match entry.class {
            Class::Secret => "logical",
            Class::Auth => "auth",
        };
        let view = View::hidden(&self.barrier, format!("{folder}/{}/", entry.uuid));
        let or = |tuned: i64, otherwise| if tuned > 0 { tuned } else { otherwise };
        let max_ttl = or(entry.config.max_lease_ttl, self.times.max_ttl);
        let info = MountInfo {
            path: entry.full_path(),
            accessor: entry.accessor.clone(),
            options: entry.options.clone().unwrap_or_default(),
            default_ttl: or(entry.config.default_lease_ttl, self.times.default_ttl).min(max_ttl),
            max_ttl,
            lockout: match (entry.class, entry.config.lockout) {
                (Class::Secret, _) => Limits::OFF,
                (Class::Auth, None) => self.lockouts.of(&entry.kind),
                (Class::Auth, Some(tuned)) => tuned.over(self.lockouts.of(&entry.kind)),
            },
        };
        Mount { entry, info, backend, view }
    }

    /// All of them, as they are now.
    pub fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What can be mounted.
    pub const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn swap(&self, table: Table) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// The mount that `path` belongs to, and the path below it.
    pub fn route<'p>(&self, path: &'p str) -> Option<(Arc<Mount>, &'p str)> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let (mount, below) = route::find(&table, path)?;
        Some((Arc::clone(mount), below))
    }

    /// The mount at exactly this path, as requests have it.
    pub fn at(&self, full_path: &str) -> Option<Arc<Mount>> {
        self.table().get(full_path).cloned()
    }

    /// When the names of each auth method are locked out, by its accessor.
    pub fn lockouts(&self) -> HashMap<String, Limits> {
        let table = self.table();
        let methods = table.values().filter(|mount| mount.entry.class == Class::Auth);
        methods.map(|mount| (mount.entry.accessor.clone(), mount.info.lockout)).collect()
    }

    /// The mount with this accessor.
    pub fn by_accessor(&self, accessor: &str) -> Option<Arc<Mount>> {
        self.table().values().find(|mount| mount.entry.accessor == accessor).cloned()
    }

    /// Mounts; `entry` gets its accessor and storage here.
    ///
    /// # Errors
    /// 400 if the path is taken or cannot be, or there is no such engine.
    pub async fn mount(&self, mut entry: Entry) -> Result<()> {
        let _changing = self.changing.lock().await;
        check_path(&entry)?;
        let offered =
            self.catalog.0.iter().any(|offer| offer.class == entry.class && offer.kind == entry.kind && !offer.builtin);
        if !offered {
            return Err(Error::bad_request(format!("plugin not found in the catalog: {}", entry.kind)));
        }
        let full = entry.full_path();
        self.check_free(&full)?;
        let class = if entry.class == Class::Auth { "auth_" } else { "" };
        entry.accessor = format!("{class}{}_{}", entry.kind, random::short_hex()?);
        entry.uuid = random::uuid()?;
        let mut table = (*self.table()).clone();
        table.insert(full, self.serve(entry)?);
        self.store(table).await
    }

    fn check_free(&self, full: &str) -> Result<()> {
        let table = self.table();
        let taken = table.keys().find(|path| path.starts_with(full) || full.starts_with(path.as_str()));
        match taken {
            Some(path) => {
                let shown = path.strip_prefix(AUTH).unwrap_or(path);
                Err(Error::bad_request(format!("path is already in use at {shown}")))
            }
            None => Ok(()),
        }
    }

    /// Takes a mount of this class away, with all it has. Leases are taken back before. That it is not there is no error.
    ///
    /// # Errors
    /// 400 if what is there is of another class.
    pub async fn unmount(&self, full: &str, class: Class) -> Result<()> {
        let _changing = self.changing.lock().await;
        let Some(mount) = self.at(full) else { return Ok(()) };
        if mount.entry.class != class {
            return Err(Error::bad_request(format!("cannot unmount {full:?}")));
        }
        let mut table = (*self.table()).clone();
        table.remove(full);
        self.store(table).await?;
        Ok(mount.view.delete_all("").await?)
    }

    /// Changes a mount. Its engine goes on.
    pub async fn tune(&self, full: &str, change: impl FnOnce(&mut Entry) -> Result<()>) -> Result<()> {
        let _changing = self.changing.lock().await;
        let Some(mount) = self.at(full) else { return Err(Error::bad_request("no mount entry found")) };
        let mut entry = mount.entry.clone();
        change(&mut entry)?;
        let mut table = (*self.table()).clone();
        // An engine may be another with other options.
        let backend = if entry.options == mount.entry.options {
            Arc::clone(&mount.backend)
        } else {
            self.catalog.make(&entry, &self.link)?
        };
        table.insert(full.to_owned(), Arc::new(self.with(entry, backend)));
        self.store(table).await
    }

    /// Moves a mount to another path of its class.
    pub async fn remount(&self, from: &str, to: &str) -> Result<()> {
        let _changing = self.changing.lock().await;
        let mount = self.at(from).ok_or_else(|| Error::bad_request(format!("no matching mount at {from:?}")))?;
        let mut entry = mount.entry.clone();
        entry.path =
            if entry.class == Class::Auth { to.strip_prefix(AUTH).unwrap_or(to).to_owned() } else { to.to_owned() };
        check_path(&entry)?;
        self.check_free(&entry.full_path())?;
        let mut table = (*self.table()).clone();
        table.remove(from);
        table.insert(entry.full_path(), Arc::new(self.with(entry, Arc::clone(&mount.backend))));
        self.store(table).await
    }

    async fn store(&self, table: Table) -> Result<()> {
        let mut entries: Vec<&Entry> = table.values().map(|mount| &mount.entry).collect();
        entries.sort_by_key(|entry| entry.full_path());
        self.stored.write(TABLE, &entries).await?;
        self.swap(table);
        Ok(())
    }
}

/// Paths that nothing else can be mounted at, and nothing be taken away from.
pub fn is_protected(full: &str) -> bool {
    ["sys/", "cubbyhole/", "identity/", "auth/token/"].iter().any(|one| full.starts_with(one)) || full == AUTH
}

fn check_path(entry: &Entry) -> Result<()> {
    let (path, full) = (&entry.path, entry.full_path());
    let bad_segment = path.trim_end_matches('/').split('/').any(|segment| matches!(segment, "" | "." | ".."));
    if path == "/" || bad_segment || path.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::bad_request(format!("invalid mount path {path:?}")));
    }
    if is_protected(&full) || entry.class == Class::Secret && full.starts_with(AUTH) {
        return Err(Error::bad_request(format!("cannot mount {path:?}")));
    }
    Ok(())
}

/// What is mounted from the start.
fn first() -> Result<Vec<Entry>> {
    let entry = |path: &str, class, kind: &str, accessor: &str, description: &str| -> Result<Entry> {
        Ok(Entry {
            path: path.to_owned(),
            class,
            kind: kind.to_owned(),
            description: description.to_owned(),
            accessor: format!("{accessor}_{}", random::short_hex()?),
            uuid: random::uuid()?,
            local: kind == "cubbyhole",
            seal_wrap: kind == "system",
            options: None,
            config: Config { token_type: (kind == "token").then_some(TokenType::DefaultService), ..Config::default() },
        })
    };
    Ok(vec![
        entry("sys/", Class::Secret, "system", "system", "the server itself")?,
        entry("cubbyhole/", Class::Secret, "cubbyhole", "cubbyhole", "storage that each token has for itself")?,
        entry("token/", Class::Auth, "token", "auth_token", "tokens")?,
    ])
}

#[cfg(test)]
mod tests;
