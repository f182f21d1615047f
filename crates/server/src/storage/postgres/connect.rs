//! Connections: names to addresses, TLS, limits of time, and what a session must have.

use std::sync::Arc;
use std::time::Duration;

use bulla_kms::dns::Resolver;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_postgres::Client;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::settings::Target;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// One connection, until it can be used.
    pub connect: Duration,
    /// One statement: past it the connection counts as lost.
    pub statement: Duration,
    /// A request of the server's, with all its attempts.
    pub total: Duration,
    /// Between two attempts.
    pub pause: Duration,
    /// How long the lock is not looked after.
    pub look: Duration,
    /// How long after the database was heard to be ours what is remembered of it is believed. A server that takes over writes nothing for a little longer.
    pub trust: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            statement: Duration::from_secs(10),
            total: Duration::from_secs(25),
            pause: Duration::from_millis(250),
            look: Duration::from_secs(5),
            trust: Duration::from_millis(400),
        }
    }
}

/// Why the database did not do what was asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection: another one may do better.
    Passing(String),
    /// The database refuses, and will refuse again.
    Lasting(String),
    /// Somebody else has the storage.
    Fenced,
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = explain(&error);
        match error.as_db_error() {
            None => Self::Passing(text),
            Some(said) if is_passing(said) => Self::Passing(text),
            Some(_) => Self::Lasting(text),
        }
    }
}

/// What the database says when it is not the statement's fault: it ends, it starts, it is full, it is a replica now, it was waited for too long.
fn is_passing(error: &DbError) -> bool {
    let code = error.code();
    let ends = error.parsed_severity() == Some(Severity::Panic)
        || code.code().starts_with("08")
        || code.code().starts_with("57P0");
    ends || [
        &SqlState::TOO_MANY_CONNECTIONS,
        &SqlState::READ_ONLY_SQL_TRANSACTION,
        &SqlState::LOCK_NOT_AVAILABLE,
        &SqlState::QUERY_CANCELED,
        &SqlState::T_R_DEADLOCK_DETECTED,
        &SqlState::T_R_SERIALIZATION_FAILURE,
    ]
    .contains(&code)
}

/// What happened, without what was sent.
pub(super) fn explain(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// A connection. Dropped, it is closed, whatever it is at.
pub(super) struct Session {
    pub client: Client,
    task: AbortHandle,
    /// What the database is like.
    pub fsync: String,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    target: Arc<Target>,
    resolver: Resolver,
    pub times: Times,
}

impl Connector {
    pub fn new(target: Target, times: Times) -> Self {
        Self { target: Arc::new(target), resolver: Resolver::default(), times }
    }

    /// A connection with its settings made. Tries all hosts.
    pub async fn connect(&self) -> Result<Session, Trouble> {
        let mut trouble = Trouble::Lasting("no host is named".to_owned());
        for (at, (host, port)) in self.target.hosts.iter().enumerate() {
            let configs = match self.configs(at, host, *port).await {
                Ok(configs) => configs,
                Err(error) => {
                    trouble = error;
                    continue;
                }
            };
            for config in configs {
                match timeout(self.times.connect, self.connect_to(&config)).await {
                    Ok(Ok(session)) => return Ok(session),
                    Ok(Err(error)) => trouble = error,
                    Err(_) => {
                        trouble = Trouble::Passing(format!("no connection within {} s", self.times.connect.as_secs()));
                    }
                }
            }
        }
        Err(trouble)
    }

    /// As [`Connector::connect`], again and again until there is one, or there is no time.
    pub async fn connect_before(&self, deadline: Instant) -> Result<Session, Trouble> {
        loop {
            let trouble = match tokio::time::timeout_at(deadline, self.connect()).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(trouble @ Trouble::Passing(_))) => trouble,
                Ok(Err(trouble)) => return Err(trouble),
                Err(_) => Trouble::Passing("no connection in time".to_owned()),
            };
            if Instant::now() + self.times.pause >= deadline {
                return Err(trouble);
            }
            tokio::time::sleep(self.times.pause).await;
        }
    }

    /// A configuration for each address of a host.
    async fn configs(&self, at: usize, host: &Host, port: u16) -> Result<Vec<tokio_postgres::Config>, Trouble> {
        let base = || {
            let mut config = tokio_postgres::Config::new();
            let from = &self.target.config;
            config.ssl_mode(from.get_ssl_mode()).ssl_negotiation(from.get_ssl_negotiation());
            config.channel_binding(from.get_channel_binding()).port(port);
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            config.application_name(from.get_application_name().unwrap_or("bulla"));
            config.keepalives_idle(Duration::from_secs(15)).keepalives_interval(Duration::from_secs(5));
            config.keepalives_retries(3).tcp_user_timeout(Duration::from_secs(30));
            if let Some(user) = from.get_user() {
                config.user(user);
            }
            if let Some(name) = from.get_dbname() {
                config.dbname(name);
            }
            if let Some(options) = from.get_options() {
                config.options(options);
            }
            if let Some(password) = from.get_password() {
                config.password(password);
            }
            config
        };
        let addresses = match (self.target.config.get_hostaddrs().get(at), host) {
            (_, Host::Unix(folder)) => {
                let mut config = base();
                config.ssl_mode(SslMode::Disable).host_path(folder);
                return Ok(vec![config]);
            }
            (Some(address), _) => vec![*address],
            (None, Host::Tcp(name)) => match name.parse() {
                Ok(address) => vec![address],
                Err(_) => self
                    .resolver
                    .addresses(name)
                    .await
                    .map_err(|error| Trouble::Passing(format!("{name} has no address: {error}")))?,
            },
        };
        let Host::Tcp(name) = host else { return Ok(Vec::new()) };
        let with = |address| {
            let mut config = base();
            config.host(name).hostaddr(address);
            config
        };
        Ok(addresses.into_iter().map(with).collect())
    }

    async fn connect_to(&self, config: &tokio_postgres::Config) -> Result<Session, Trouble> {
        let (client, connection) = config.connect(self.target.tls.clone()).await.map_err(|error| {
            if error.as_db_error().is_some() {
                return Trouble::from(error);
            }
            // Nobody is there yet, or any more; what is wrong with a certificate or a setting stays wrong.
            let is_io = std::error::Error::source(&error).is_some_and(|cause| {
                cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() != std::io::ErrorKind::InvalidData)
            });
            let text = explain(&error);
            if is_io || error.is_closed() { Trouble::Passing(text) } else { Trouble::Lasting(text) }
        })?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %explain(&error), "a connection to the database has ended");
            }
        });
        let mut session = Session { client, task: task.abort_handle(), fsync: String::new() };
        self.set_up(&mut session).await?;
        Ok(session)
    }

    async fn set_up(&self, session: &mut Session) -> Result<(), Trouble> {
        let statement = format!("{}ms", self.times.statement.as_millis());
        // Each statement looks for single keys. What the planner thinks of a table that has grown since it was looked at must not matter.
        let settings = [
            ("lock_timeout", statement.as_str()),
            ("client_connection_check_interval", "5s"),
            ("idle_in_transaction_session_timeout", "0"),
            ("idle_session_timeout", "0"),
            ("tcp_keepalives_idle", "15"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "30s"),
            ("default_transaction_isolation", "read committed"),
            ("default_transaction_read_only", "off"),
            ("standard_conforming_strings", "on"),
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("enable_bitmapscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("jit", "off"),
        ];
        let (names, values): (Vec<&str>, Vec<&str>) = settings.into_iter().unzip();
        // Which there are depends on the release.
        let set = "SELECT set_config(w.name, w.value, false) FROM unnest($1::text[], $2::text[]) AS w (name, value) JOIN pg_catalog.pg_settings s ON s.name = w.name";
        session.client.query(set, &[&names, &values]).await?;
        let look = "SELECT current_setting('synchronous_commit'), current_setting('fsync')";
        let row = session.client.query_one(look, &[]).await?;
        session.fsync = row.try_get(1)?;
        let durable: String = row.try_get(0)?;
        if durable == "off" {
            return Err(Trouble::Lasting(
                "the database's synchronous_commit is off: what is acknowledged could be lost. ALTER ROLE … SET synchronous_commit = on"
                    .to_owned(),
            ));
        }
        // It stays as it is now, also if the database's settings are read again.
        session.client.query("SELECT set_config('synchronous_commit', $1, false)", &[&durable]).await?;
        Ok(())
    }
}
