//! The server's configuration file, in Vault's form: HCL or JSON.
//!
//! What this server does not have is an error that names what it has, if leaving it out would make the server less safe or something else
//! than was asked for; settings without effect here are listed, to be warned of.

use std::path::PathBuf;

use bulla_core::hcl::{self, Body, Value};

use crate::core::audit::DeviceConfig;
use crate::core::lockout::ByKind;
use crate::core::mount::Times;
use crate::initialize::Block;
use crate::logical::parse_seconds;

mod audit;
mod exposed;
mod initialize;
mod listener;
mod lockout;
mod seal;
mod storage;

use self::seal::Role;

pub use listener::Listener;
pub use seal::Seal;
pub use storage::{Migration, Storage, parse_migration};

/// 768 h, as the peer has it.
const TTL: i64 = 768 * 3600;

/// A configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Where it keeps things.
    pub storage: Storage,
    /// What opens it.
    pub seals: Vec<Seal>,
    /// What opened it, and is `disabled`: from there it migrates.
    pub old_seals: Vec<Seal>,
    /// Where it writes what is done.
    pub audit: Vec<DeviceConfig>,
    /// What it asks of itself when it starts for the first time.
    pub initialize: Vec<Block>,
    /// When names are locked out.
    pub lockouts: ByKind,
    /// How long things live where nobody says.
    pub times: Times,
    /// The cluster's name.
    pub cluster_name: String,
    /// Where its process id is written.
    pub pid_file: Option<PathBuf>,
    /// What it logs.
    pub log_level: Option<String>,
    /// Settings that have no effect.
    pub ignored: Vec<String>,
}

/// Reads a configuration.
///
/// # Errors
/// What is wrong, and what to write in its place.
pub fn parse(text: &str) -> Result<Config, String> {
    parse_all(&[text])
}

/// Reads a configuration that is in several files.
///
/// # Errors
/// What is wrong, and what to write in its place.
pub fn parse_all(texts: &[&str]) -> Result<Config, String> {
    let mut body = Body::default();
    for text in texts {
        let one = hcl::parse(text).map_err(|error| format!("the configuration cannot be read: {error}"))?;
        body.items.extend(one.items);
    }
    let mut config = Config {
        listeners: Vec::new(),
        storage: Storage::Memory,
        seals: Vec::new(),
        old_seals: Vec::new(),
        audit: Vec::new(),
        initialize: Vec::new(),
        lockouts: ByKind::default(),
        times: Times { default_ttl: TTL, max_ttl: TTL },
        cluster_name: String::new(),
        pid_file: None,
        log_level: None,
        ignored: Vec::new(),
    };
    let mut storage = None;
    let mut remembers = true;
    for item in &body.items {
        let keys: Vec<&str> = item.keys.iter().map(String::as_str).collect();
        match (keys.as_slice(), &item.value) {
            (["listener", kind], Value::Body(inner)) => {
                config.listeners.push(listener::read(kind, inner, &mut config.ignored)?);
            }
            (["storage" | "backend", kind], Value::Body(inner)) if storage.is_none() => {
                storage = Some(storage::read(kind, inner, &mut config.ignored)?);
            }
            (["storage" | "backend", _], _) => return Err("there are two storages; a server has one".to_owned()),
            (["seal", kind], Value::Body(inner)) => match seal::read(kind, inner, &mut config.ignored)? {
                Some((Role::Opens, seal)) => config.seals.push(seal),
                Some((Role::Old, seal)) => config.old_seals.push(seal),
                None => {}
            },
            (["audit", kind, path], Value::Body(inner)) => {
                config.audit.push(audit::read(kind, path, inner, &mut config.ignored)?);
            }
            (["audit", kind], Value::Body(inner)) => {
                config.audit.push(audit::read(kind, kind, inner, &mut config.ignored)?);
            }
            (["user_lockout", kind], Value::Body(inner)) => {
                let limits = lockout::read(kind, inner)?;
                config.lockouts.0.insert(kind.to_lowercase(), limits);
            }
            (["initialize", name], Value::Body(inner)) => config.initialize.push(initialize::read(name, inner)?),
            (["initialize", ..], _) => {
                return Err(
                    "initialize is a block with one name: initialize \"first\" { request \"one\" { … } }".to_owned()
                );
            }
            (["default_lease_ttl"], value) => config.times.default_ttl = seconds("default_lease_ttl", value)?,
            (["max_lease_ttl"], value) => config.times.max_ttl = seconds("max_lease_ttl", value)?,
            (["cluster_name"], value) => config.cluster_name = value.text().unwrap_or_default(),
            (["disable_cache"], _) => remembers = !is_on(&body, "disable_cache")?,
            (["pid_file"], value) => {
                config.pid_file = value.text().filter(|path| !path.is_empty()).map(PathBuf::from);
            }
            (["log_level"], value) => config.log_level = value.text(),
            (["ha_storage", ..], _) => {
                return Err("ha_storage is not supported: this server is one process on one storage".to_owned());
            }
            ([name, ..], _) => config.ignored.push((*name).to_owned()),
            ([], _) => {}
        }
    }
    config.storage = storage.ok_or("there is no storage: write storage \"embedded\" { path = \"/var/lib/bulla\" }")?;
    if !remembers {
        config.storage.without_cache();
    }
    if config.listeners.is_empty() {
        return Err("there is no listener: write listener \"tcp\" { address = \"127.0.0.1:8200\" … }".to_owned());
    }
    texts.iter().try_for_each(|text| initialize::check_order(text))?;
    crate::initialize::check(&config.initialize)?;
    if config.times.default_ttl > config.times.max_ttl {
        return Err("default_lease_ttl is more than max_lease_ttl".to_owned());
    }
    Ok(config)
}

fn text(body: &Body, key: &str) -> Option<String> {
    body.value(key).and_then(Value::text).filter(|text| !text.is_empty())
}

fn is_on(body: &Body, key: &str) -> Result<bool, String> {
    match text(body, key).as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(format!("{key} is true or false")),
    }
}

fn seconds(name: &str, value: &Value) -> Result<i64, String> {
    let seconds = value.text().ok_or(()).and_then(|text| parse_seconds(&text).map_err(drop));
    seconds.ok().filter(|seconds| *seconds > 0).ok_or_else(|| format!("{name} is a duration, like \"768h\""))
}

/// Notes the settings of a block that are none of `known`.
///
/// # Errors
/// For one that is about TLS or a limit: somebody relies on it.
fn note_unknown(block: &str, body: &Body, known: &[&str], ignored: &mut Vec<String>) -> Result<(), String> {
    for name in body.items.iter().map(|item| item.keys.join(" ")) {
        if known.contains(&name.as_str()) {
            continue;
        }
        if name.starts_with("tls_") || name.starts_with("max_") || name.contains("limit") {
            return Err(format!(
                "{block}: {name} is not supported by this server, and to ignore it could be less safe than it looks; take it out, or spell it right"
            ));
        }
        ignored.push(format!("{block}: {name}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
