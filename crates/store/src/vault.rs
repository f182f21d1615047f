//! Vault and `OpenBao`: any path of their API, read or written as somebody who logged in there.
//!
//! Logins are those of a token that somebody else signed: the methods `kubernetes` and `jwt`, which take the same request
//! (<https://openbao.org/api-docs/auth/kubernetes/#login>, <https://openbao.org/api-docs/auth/jwt/#jwt-login>).
//!
//! Who names a server here is not who runs this process: which addresses may be named, and which files, is for [`Rules`] to say. Nothing
//! follows a redirect to another host.

mod address;
mod answer;
mod connection;
mod error;
mod json;
mod query;
mod session;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bulla_core::SecretString;
use bulla_kms::dns::Resolver;

use crate::limit::{Limit, Rate};
use crate::store::{Store, StoreError};
use connection::Server;

pub use address::{Addresses, Pattern};
pub use answer::{Answer, LONGEST as LONGEST_ANSWER};
pub use connection::{Authorities, Connection};
pub use query::{Method, Query};
pub use session::VaultSession;

/// How long connections and what was read to make them (certificates) are used before it is all made anew.
const LASTS: Duration = Duration::from_mins(5);
/// How many are kept.
const MOST: usize = 256;

/// What those who name servers may name.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The server of those who name none.
    pub default_address: Option<String>,
    /// Which others may be named.
    pub addresses: Addresses,
    /// The folder below which files with certificates and keys may be named. `None`: none may.
    pub files: Option<PathBuf>,
    /// A PEM file with the authorities of those who name none. `None`: the system's.
    pub authorities: Option<PathBuf>,
    /// How many requests one server gets from here.
    pub rate: Rate,
}

/// Servers, by rules.
pub struct Vault {
    rules: Rules,
    resolver: Resolver,
    servers: Mutex<HashMap<Connection, (Instant, Arc<Server>)>>,
    limits: Mutex<HashMap<String, Arc<Limit>>>,
}

/// Who logs in, and where.
#[derive(Clone, Debug)]
pub struct Login {
    /// The server.
    pub connection: Connection,
    /// Where its auth method is mounted, below `auth/`.
    pub mount: String,
    /// The role to log in as.
    pub role: String,
    /// The token that proves who it is.
    pub jwt: SecretString,
}

impl Vault {
    /// No server yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, resolver: Resolver::default(), servers: Mutex::default(), limits: Mutex::default() }
    }

    /// The server of a connection.
    fn server(&self, connection: &Connection) -> Result<Arc<Server>, StoreError> {
        let now = Instant::now();
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.retain(|_, (made, _)| now.duration_since(*made) < LASTS);
        if let Some((_, server)) = servers.get(connection) {
            return Ok(Arc::clone(server));
        }
        let (address, may_reach) = self.rules.address(connection.address.as_deref())?;
        let limit = self.limit(address.as_str());
        let server = Arc::new(Server::new(connection, address, may_reach, &self.rules, self.resolver.clone(), limit)?);
        if servers.len() >= MOST
            && let Some(oldest) = servers.iter().min_by_key(|(_, (made, _))| *made).map(|(key, _)| key.clone())
        {
            servers.remove(&oldest);
        }
        servers.insert(connection.clone(), (now, Arc::clone(&server)));
        Ok(server)
    }

    /// The limit of all who speak with the server at an address.
    fn limit(&self, address: &str) -> Arc<Limit> {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if limits.len() >= MOST {
            limits.retain(|_, limit| Arc::strong_count(limit) > 1);
        }
        Arc::clone(limits.entry(address.to_owned()).or_insert_with(|| Arc::new(Limit::new(self.rules.rate))))
    }
}

#[async_trait]
impl Store for Vault {
    type Identity = Login;
    type Session = VaultSession;

    async fn log_in(&self, login: &Login) -> Result<VaultSession, StoreError> {
        session::log_in(self.server(&login.connection)?, login).await
    }
}
