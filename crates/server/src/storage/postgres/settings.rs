//! Where the database is, and how it is reached: the connection URL, with what libpq says about TLS.
//!
//! `sslmode` as libpq has it, with the weak ones kept on this machine:
//!
//! | | on the network | on this machine (127.0.0.1, `localhost`) |
//! |---|---|---|
//! | not given | `verify-full` | `prefer` |
//! | `disable` | refused, unless the storage says `allow_plaintext_on_the_network = true` | no TLS |
//! | `allow`, `prefer` | refused: whoever is on the way decides that there is no TLS | TLS if the database has it, any certificate |
//! | `require` | TLS, any certificate, and `channel_binding=require` for a password; with `sslrootcert` as `verify-ca` | the same |
//! | `verify-ca` | a certificate of `sslrootcert`, or of the system's authorities | the same |
//! | `verify-full` | and for this host | the same |
//!
//! A Unix socket has no TLS. Nothing here repeats what it was given: a URL has a password in it.

use std::collections::BTreeMap;
use std::path::Path;

use bulla_core::{SecretString, file};
use bulla_kms::vault_trust::{self, Identity, Trust};
use rustls::RootCertStore;
use tokio_postgres::config::{ChannelBinding, Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::schema::Table;

/// What the configuration says about a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`, or libpq's `name=value` words.
    pub url: SecretString,
    /// The table for entries.
    pub table: Table,
    /// How many connections there are at most.
    pub connections: usize,
    /// Who makes the tables.
    pub tables: Tables,
    /// Whether a connection without TLS is allowed where others can listen.
    pub plaintext: Plaintext,
    /// Whether entries are remembered.
    pub cache: Cache,
}

/// Whether the server remembers entries of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Those that are read often, for as long as nobody else can have changed them.
    Kept,
    /// It reads them each time.
    Off,
}

/// Who makes the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// The server, if they are not there.
    Made,
    /// Somebody else: the server's role may not.
    Expected,
    /// Nobody: something is to be read.
    Filled,
}

/// Where a connection may be without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// On this machine.
    Local,
    /// Also on the network.
    Anywhere,
}

/// How many connections there are, unless the configuration says so: one has the lock, one writes, the others read.
pub const CONNECTIONS: usize = 8;
/// A lock, a writer, a reader.
pub const LEAST_CONNECTIONS: usize = 3;
/// Largest file of certificates.
const FILE: u64 = 1 << 20;

/// A database that can be connected to.
pub(super) struct Target {
    pub config: tokio_postgres::Config,
    /// Hosts and ports, in the order in which they are tried.
    pub hosts: Vec<(Host, u16)>,
    pub tls: MakeRustlsConnect,
    /// What the operator should hear.
    pub warning: Option<&'static str>,
}

/// Where the parameters about TLS stand that the client library does not know.
const OURS: &[&str] = &["sslmode", "sslrootcert", "sslcert", "sslkey"];

impl Settings {
    /// Understands the URL, and reads the files that it names.
    ///
    /// # Errors
    /// What is wrong, without any of its text.
    pub(super) fn target(&self) -> Result<Target, String> {
        let (rest, tls) = split(self.url.expose())?;
        let config: tokio_postgres::Config = rest.parse().map_err(|_| UNREADABLE.to_owned())?;
        let hosts = hosts(&config)?;
        if config.get_user().is_none() {
            return Err("connection_url names no user".to_owned());
        }
        let is_local = hosts.iter().zip(0..).all(|((host, _), at)| {
            let address = config.get_hostaddrs().get(at);
            address.map_or_else(|| is_local(host), std::net::IpAddr::is_loopback)
        });
        let mode = tls.get("sslmode").map(String::as_str);
        let (mode, trust) = self.trust(mode, is_local, &tls)?;
        let warning = match (&trust, mode) {
            _ if is_local => None,
            (_, SslMode::Disable) => Some(
                "the connection to the database is WITHOUT TLS, where others can listen: its password and all that is stored can be read and changed on the network",
            ),
            (Trust::DangerAnybody, _) => Some(
                "sslmode=require does not look whose certificate the database has: whoever is on the way can be the database. Write sslmode=verify-full",
            ),
            _ => None,
        };
        let identity = match (tls.get("sslcert"), tls.get("sslkey")) {
            (Some(certificate), Some(key)) => {
                let certificate = file::read(Path::new(certificate), FILE).map_err(|error| error.to_string())?;
                let key = file::read_key(Path::new(key), FILE).map_err(|error| error.to_string())?;
                let identity = Identity::from_pem(certificate.expose(), key.expose());
                Some(identity.map_err(|error| format!("sslcert and sslkey cannot be read: {error:?}"))?)
            }
            (None, None) => None,
            _ => return Err("sslcert and sslkey go together".to_owned()),
        };
        let is_anybody = matches!(trust, Trust::DangerAnybody);
        let client = vault_trust::config(trust, identity).map_err(|error| format!("TLS: {error}"))?;
        let mut config = config;
        config.ssl_mode(mode);
        // Whoever is on the way with a certificate of their own cannot prove that they know the password, and would ask for it in clear text.
        let is_any = tls.get("sslmode").is_some_and(|mode| mode == "require") && is_anybody;
        if is_any && config.get_password().is_some() && config.get_channel_binding() != ChannelBinding::Disable {
            config.channel_binding(ChannelBinding::Require);
        }
        Ok(Target { config, hosts, tls: MakeRustlsConnect::new(client), warning })
    }

    fn trust(
        &self,
        mode: Option<&str>,
        is_local: bool,
        tls: &BTreeMap<String, String>,
    ) -> Result<(SslMode, Trust), String> {
        let given = tls.get("sslrootcert").filter(|path| *path != "system");
        let roots = given.map(|path| roots(Path::new(path))).transpose()?;
        let nobody = || Trust::Only(RootCertStore::empty());
        match mode {
            Some("disable") if is_local || self.plaintext == Plaintext::Anywhere => Ok((SslMode::Disable, nobody())),
            Some("disable") => Err("sslmode=disable is without TLS: the database's password, and all that is stored, can be read and changed on the network. Take it out, or, if the network is yours alone, write allow_plaintext_on_the_network = true".to_owned()),
            None | Some("allow" | "prefer") if is_local => Ok((SslMode::Prefer, Trust::DangerAnybody)),
            Some("allow" | "prefer") => Err("sslmode=allow and prefer let whoever is on the way decide that there is no TLS: write sslmode=verify-full, or require".to_owned()),
            Some("require") => Ok((SslMode::Require, roots.map_or(Trust::DangerAnybody, Trust::DangerAnyName))),
            Some("verify-ca") => Ok((
                SslMode::Require,
                Trust::DangerAnyName(roots.unwrap_or_else(vault_trust::system)),
            )),
            None | Some("verify-full") => Ok((SslMode::Require, roots.map_or(Trust::System, Trust::Only))),
            Some(_) => Err("sslmode is one of disable, allow, prefer, require, verify-ca, verify-full".to_owned()),
        }
    }
}

const UNREADABLE: &str = "connection_url cannot be read; it is postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, with % before the code of special characters";

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let pem = file::read(path, FILE).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    vault_trust::add(&mut roots, pem.expose()).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(roots)
}

fn hosts(config: &tokio_postgres::Config) -> Result<Vec<(Host, u16)>, String> {
    let names = config.get_hosts();
    let addresses = config.get_hostaddrs();
    let hosts: Vec<Host> = match (names.is_empty(), addresses.is_empty()) {
        (false, true) => names.to_vec(),
        (true, false) => addresses.iter().map(|address| Host::Tcp(address.to_string())).collect(),
        (false, false) if names.len() == addresses.len() => names.to_vec(),
        (false, false) => return Err("connection_url has not as many host as hostaddr".to_owned()),
        (true, true) => return Err("connection_url names no host".to_owned()),
    };
    let ports = config.get_ports();
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err("connection_url has not as many ports as hosts".to_owned());
    }
    let port = |at: usize| ports.get(at).or(ports.first()).copied().unwrap_or(5432);
    Ok(hosts.into_iter().enumerate().map(|(at, host)| (host, port(at))).collect())
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

/// Takes out what is about TLS; the client library takes the rest.
fn split(text: &str) -> Result<(SecretText, BTreeMap<String, String>), String> {
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if is_url { split_url(text) } else { split_words(text) }
}

/// Has the password in it.
type SecretText = zeroize::Zeroizing<String>;

fn split_url(text: &str) -> Result<(SecretText, BTreeMap<String, String>), String> {
    let (before, query) = text.split_once('?').unwrap_or((text, ""));
    let mut rest = SecretText::new(String::with_capacity(text.len()));
    rest.push_str(before);
    let mut tls = BTreeMap::new();
    let mut separator = '?';
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(UNREADABLE)?;
        if OURS.contains(&name) {
            tls.insert(name.to_owned(), decoded(value).ok_or(UNREADABLE)?);
        } else {
            rest.push(separator);
            rest.push_str(pair);
            separator = '&';
        }
    }
    Ok((rest, tls))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// `name = 'a value' other=value`, with `\` before what is meant as it is.
fn split_words(text: &str) -> Result<(SecretText, BTreeMap<String, String>), String> {
    let mut rest = SecretText::new(String::with_capacity(text.len()));
    let mut tls = BTreeMap::new();
    let mut remaining = text.trim_start();
    while !remaining.is_empty() {
        let (name, after) = remaining.split_once('=').ok_or(UNREADABLE)?;
        let (value, raw) = word(after.trim_start()).ok_or(UNREADABLE)?;
        if OURS.contains(&name.trim()) {
            tls.insert(name.trim().to_owned(), value.as_str().to_owned());
        } else {
            for part in [name.trim(), "=", raw, " "] {
                rest.push_str(part);
            }
        }
        remaining = after.trim_start().get(raw.len()..).ok_or(UNREADABLE)?.trim_start();
    }
    Ok((rest, tls))
}

/// The value at the beginning of `text`, and how it is written.
fn word(text: &str) -> Option<(SecretText, &str)> {
    let is_quoted = text.starts_with('\'');
    let mut value = SecretText::new(String::with_capacity(text.len()));
    let mut characters = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if is_quoted => return Some((value, text.get(..=at)?)),
            character if !is_quoted && character.is_whitespace() => return Some((value, text.get(..at)?)),
            character => value.push(character),
        }
    }
    (!is_quoted).then_some((value, text))
}

#[cfg(test)]
mod tests;
