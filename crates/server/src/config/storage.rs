//! The blocks `storage`, `storage_source` and `storage_destination`.

use std::path::PathBuf;

use bulla_core::hcl::{self, Body, Value};
use bulla_core::{Env, SecretString};

use super::{is_on, note_unknown, text};
use crate::storage::postgres::{self, Cache, LEAST_CONNECTIONS, Plaintext, Table, Tables};

/// The connection URL of the database, before that of the configuration. `OpenBao`'s name.
pub const BAO_PG_CONNECTION_URL: &str = "BAO_PG_CONNECTION_URL";
/// The same by Vault's name.
pub const VAULT_PG_CONNECTION_URL: &str = "VAULT_PG_CONNECTION_URL";

/// Where it keeps things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In memory.
    Memory,
    /// In a file in this folder.
    Embedded(PathBuf),
    /// In a database.
    Postgresql(postgres::Settings),
}

/// From where to where a storage is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// What is read.
    pub source: Storage,
    /// What is written.
    pub destination: Storage,
    /// Settings that have no effect.
    pub ignored: Vec<String>,
}

impl Storage {
    /// What the environment says goes before the configuration.
    #[must_use]
    pub fn with_env(mut self, env: &dyn Env) -> Self {
        if let (Self::Postgresql(settings), Some(url)) = (&mut self, url_of(env)) {
            settings.url = url;
        }
        self
    }

    /// With `disable_cache`: every entry of a database is read each time.
    pub(super) fn without_cache(&mut self) {
        if let Self::Postgresql(settings) = self {
            settings.cache = Cache::Off;
        }
    }

    fn lacks_url(&self) -> bool {
        matches!(self, Self::Postgresql(settings) if settings.url.expose().is_empty())
    }
}

/// A variable that is empty says nothing.
fn url_of(env: &dyn Env) -> Option<SecretString> {
    let names = [BAO_PG_CONNECTION_URL, VAULT_PG_CONNECTION_URL];
    names.iter().filter_map(|name| env.text(name)).find(|url| !url.is_empty()).map(SecretString::from)
}

impl Migration {
    /// What the environment says is for the one storage that has no `connection_url`: both would be the same database.
    ///
    /// # Errors
    /// If neither has one.
    pub fn with_env(mut self, env: &dyn Env) -> Result<Self, String> {
        if self.source.lacks_url() && self.destination.lacks_url() {
            return Err(format!(
                "storage_source and storage_destination are both without connection_url; {BAO_PG_CONNECTION_URL} can be that of one alone"
            ));
        }
        for place in [&mut self.source, &mut self.destination] {
            if place.lacks_url() {
                *place = place.clone().with_env(env);
            }
        }
        Ok(self)
    }
}

/// Reads the configuration of a migration: `storage_source` and `storage_destination`.
///
/// # Errors
/// What is wrong, and what to write in its place.
pub fn parse_migration(text: &str) -> Result<Migration, String> {
    let body = hcl::parse(text).map_err(|error| format!("the configuration cannot be read: {error}"))?;
    let (mut source, mut destination, mut ignored) = (None, None, Vec::new());
    for item in &body.items {
        let keys: Vec<&str> = item.keys.iter().map(String::as_str).collect();
        let place = match (keys.as_slice(), &item.value) {
            (["storage_source", ..], Value::Body(_)) => &mut source,
            (["storage_destination", ..], Value::Body(_)) => &mut destination,
            ([name, ..], _) => {
                ignored.push((*name).to_owned());
                continue;
            }
            ([], _) => continue,
        };
        let ([name, kind], Value::Body(inner)) = (keys.as_slice(), &item.value) else {
            return Err(format!(
                "{} is a block with the storage's name: storage_source \"embedded\" {{ … }}",
                keys.join(" ")
            ));
        };
        if place.is_some() {
            return Err(format!("there are two {name}"));
        }
        *place = Some(read(kind, inner, &mut ignored)?);
    }
    let need = |storage: Option<Storage>, name| match storage {
        None => Err(format!("there is no {name}: write {name} \"embedded\" {{ path = \"…\" }}, or \"postgresql\"")),
        Some(Storage::Memory) => {
            Err(format!("{name} \"inmem\" is gone with the process; \"embedded\" and \"postgresql\" are not"))
        }
        Some(storage) => Ok(storage),
    };
    Ok(Migration {
        source: need(source, "storage_source")?,
        destination: need(destination, "storage_destination")?,
        ignored,
    })
}

/// What a database's block may say.
const POSTGRESQL: &[&str] =
    &["connection_url", "table", "max_parallel", "skip_create_table", "ha_enabled", "allow_plaintext_on_the_network"];
/// Of those, without effect here.
const WITHOUT_EFFECT: &[&str] = &["max_idle_connections", "max_connect_retries"];

/// Reads a storage's block.
pub(super) fn read(kind: &str, body: &Body, ignored: &mut Vec<String>) -> Result<Storage, String> {
    let block = format!("storage {kind:?}");
    match kind {
        "inmem" => note_unknown(&block, body, &[], ignored).map(|()| Storage::Memory),
        "embedded" => {
            note_unknown(&block, body, &["path"], ignored)?;
            let path =
                text(body, "path").ok_or("storage \"embedded\" needs a path: the folder it keeps its file in")?;
            Ok(Storage::Embedded(path.into()))
        }
        "postgresql" => postgresql(&block, body, ignored).map(Storage::Postgresql),
        "file" | "raft" => {
            Err(format!("{block} is not supported; the nearest is storage \"embedded\" {{ path = \"…\" }}"))
        }
        "mysql" | "consul" | "etcd" | "dynamodb" | "s3" | "gcs" => {
            Err(format!("{block} is not supported yet; \"embedded\", \"postgresql\" and \"inmem\" are"))
        }
        _ => Err(format!("{block} is not known; \"embedded\", \"postgresql\" and \"inmem\" are")),
    }
}

fn postgresql(block: &str, body: &Body, ignored: &mut Vec<String>) -> Result<postgres::Settings, String> {
    let known = [POSTGRESQL, WITHOUT_EFFECT].concat();
    note_unknown(block, body, &known, ignored)?;
    let without_effect = WITHOUT_EFFECT.iter().filter(|name| body.value(name).is_some());
    ignored.extend(without_effect.map(|name| format!("{block}: {name}")));
    let wrong = |error: String| format!("{block}: {error}");
    if is_on(body, "ha_enabled")? {
        return Err(wrong(
            "ha_enabled is not supported: one server at a time has a storage, and a second one refuses to start"
                .to_owned(),
        ));
    }
    let connections = match text(body, "max_parallel") {
        None => postgres::CONNECTIONS,
        Some(number) => {
            number.parse().ok().filter(|number| (LEAST_CONNECTIONS..=1000).contains(number)).ok_or_else(|| {
                wrong(format!(
                    "max_parallel is how many connections there are at most, from {LEAST_CONNECTIONS} to 1000"
                ))
            })?
        }
    };
    let choose = |name, yes, no| Ok::<_, String>(if is_on(body, name)? { yes } else { no });
    Ok(postgres::Settings {
        url: SecretString::from(text(body, "connection_url").unwrap_or_default()),
        table: text(body, "table").map_or_else(|| Ok(Table::default()), |name| Table::parse(&name)).map_err(wrong)?,
        connections,
        tables: if is_on(body, "skip_create_table")? { Tables::Expected } else { Tables::Made },
        plaintext: choose("allow_plaintext_on_the_network", Plaintext::Anywhere, Plaintext::Local)?,
        cache: Cache::Kept,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::parse;
    use super::*;

    const LISTENER: &str = "listener \"tcp\" { tls_disable = true }\n";

    fn database(block: &str) -> postgres::Settings {
        match parse(&format!("{LISTENER}storage \"postgresql\" {{ {block} }}")).unwrap().storage {
            Storage::Postgresql(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_database_is_configured_as_the_peer_has_it_and_not_shown() {
        let settings = database(
            "connection_url = \"postgres://u:hunter2@db/d\"\ntable = \"s.t\"\nmax_parallel = \"5\"\nskip_create_table = true\nallow_plaintext_on_the_network = true",
        );
        assert_eq!(settings.url.expose(), "postgres://u:hunter2@db/d");
        assert_eq!((settings.table.clone(), settings.connections), (Table::parse("s.t").unwrap(), 5));
        assert_eq!((settings.tables, settings.plaintext), (Tables::Expected, Plaintext::Anywhere));
        assert!(!format!("{settings:?}").contains("hunter2"));
        let plain = database("");
        assert_eq!((plain.table, plain.connections, plain.plaintext), (Table::default(), 8, Plaintext::Local));
        let config = parse(&format!("{LISTENER}storage \"postgresql\" {{ max_idle_connections = 1 }}")).unwrap();
        assert_eq!(config.ignored, ["storage \"postgresql\": max_idle_connections"]);
        assert_eq!(settings.cache, Cache::Kept);
        let config = parse(&format!("{LISTENER}disable_cache = true\nstorage \"postgresql\" {{}}")).unwrap();
        assert!(matches!(config.storage, Storage::Postgresql(settings) if settings.cache == Cache::Off));
        assert!(config.ignored.is_empty());
    }

    #[test]
    fn the_environment_goes_before_the_configuration() {
        let url = |variables: &[(&str, &str)]| {
            let env: BTreeMap<String, String> =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            match Storage::Postgresql(database("connection_url = \"c\"")).with_env(&env) {
                Storage::Postgresql(settings) => settings.url.expose().to_owned(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(url(&[]), "c");
        assert_eq!(url(&[(VAULT_PG_CONNECTION_URL, "v")]), "v");
        assert_eq!(url(&[(VAULT_PG_CONNECTION_URL, "v"), (BAO_PG_CONNECTION_URL, "b")]), "b");
        assert_eq!(url(&[(VAULT_PG_CONNECTION_URL, "v"), (BAO_PG_CONNECTION_URL, "")]), "v");
        assert_eq!(url(&[(VAULT_PG_CONNECTION_URL, ""), (BAO_PG_CONNECTION_URL, "")]), "c");
    }

    #[test]
    fn of_a_migration_the_environment_is_for_the_storage_that_says_nothing() {
        let env = BTreeMap::from([(BAO_PG_CONNECTION_URL.to_owned(), "b".to_owned())]);
        let urls = |source: &str, destination: &str| {
            let text = format!(
                "storage_source \"postgresql\" {{ {source} }}\nstorage_destination \"postgresql\" {{ {destination} }}"
            );
            let migration = parse_migration(&text).unwrap().with_env(&env)?;
            let url = |storage| match storage {
                Storage::Postgresql(settings) => settings.url.expose().to_owned(),
                other => panic!("{other:?}"),
            };
            Ok::<_, String>((url(migration.source), url(migration.destination)))
        };
        let (one, other) = ("connection_url = \"x\"", "connection_url = \"y\"");
        let expected = |source: &str, destination: &str| Ok((source.to_owned(), destination.to_owned()));
        assert_eq!(urls(one, other), expected("x", "y"));
        assert_eq!(urls(one, ""), expected("x", "b"));
        assert_eq!(urls("", other), expected("b", "y"));
        assert!(urls("", "").unwrap_err().contains("both without connection_url"));
    }

    #[test]
    fn a_migration_has_a_source_and_a_destination() {
        let both = "storage_source \"embedded\" { path = \"/a\" }\nstorage_destination \"postgresql\" { connection_url = \"x\" }\ncluster_addr = \"y\"";
        let migration = parse_migration(both).unwrap();
        assert_eq!(migration.source, Storage::Embedded("/a".into()));
        assert!(matches!(migration.destination, Storage::Postgresql(_)));
        assert_eq!(migration.ignored, ["cluster_addr"]);
        for (text, expected) in [
            ("storage_source \"embedded\" { path = \"/a\" }", "no storage_destination"),
            ("storage_source { path = \"/a\" }", "is a block"),
            ("storage_source \"inmem\" {}", "gone with the process"),
            ("storage_source \"inmem\" {}\nstorage_destination \"inmem\" {}", "gone with the process"),
            (
                "storage_source \"embedded\" { path = \"/a\" }\nstorage_source \"embedded\" { path = \"/b\" }",
                "two storage_source",
            ),
            ("storage_source \"file\" { path = \"/a\" }", "the nearest is"),
        ] {
            let error = parse_migration(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
