//! The two tables, and the statements over them.
//!
//! ```text
//! bulla_kv         key bytea PRIMARY KEY, value bytea NOT NULL
//! bulla_kv_server  one row: term, writer, commit, refused, holder, since
//! ```
//!
//! Keys are bytes, so that no locale sorts them. The second table says whose the first is. `term` rises with each server that takes over, and
//! every statement looks at it: a server that has lost its lock reads nothing and writes nothing. `writer` rises with each connection that
//! the server writes over, `commit` with each commit: after a lost answer the row says whether it was done, and that it cannot be done later.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::{Trouble, explain};
use super::settings::Tables;
use crate::storage::SCAN_BYTES;

/// The longest key: what an index of the database's takes.
pub(super) const MAX_KEY: usize = 2600;

/// A table's name, perhaps with its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    schema: Option<String>,
    name: String,
}

impl Default for Table {
    fn default() -> Self {
        Self { schema: None, name: "bulla_kv".to_owned() }
    }
}

impl Table {
    /// `NAME` or `SCHEMA.NAME`.
    ///
    /// # Errors
    /// What a name may have in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| {
            let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
            starts && name.len() <= 55 && name.chars().all(|rest| rest.is_ascii_alphanumeric() || rest == '_')
        };
        let (schema, name) = text.split_once('.').map_or((None, text), |(schema, name)| (Some(schema), name));
        if is_name(name) && schema.is_none_or(is_name) {
            return Ok(Self { schema: schema.map(str::to_owned), name: name.to_owned() });
        }
        Err("table is NAME or SCHEMA.NAME, of letters, digits and _, at most 55 of them".to_owned())
    }
}

/// The tables with their schema, quoted.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub entries: String,
    pub server: String,
}

/// Finds the tables, or makes them, and looks whether they are ours.
pub(super) async fn prepare(client: &Client, table: &Table, tables: Tables) -> Result<Names, Trouble> {
    let schema = match &table.schema {
        Some(schema) => schema.clone(),
        None => default_schema(client, &table.name).await?,
    };
    let quoted = |suffix: &str| format!("\"{schema}\".\"{}{suffix}\"", table.name);
    let names = Names { entries: quoted(""), server: quoted("_server") };
    let ours = [(&names.entries, ENTRIES), (&names.server, SERVER)];
    let mut are_there = true;
    // Both, before anything is made: what is somebody else's stays as it is, and nothing comes beside it.
    for (name, columns) in ours {
        are_there &= is_there(client, name, columns).await?;
    }
    if are_there {
        return Ok(names);
    }
    make(client, &schema, &names, tables).await?;
    for (name, columns) in ours {
        if !is_there(client, name, columns).await? {
            return Err(Trouble::Passing(format!("{name} is gone again")));
        }
    }
    Ok(names)
}

async fn default_schema(client: &Client, name: &str) -> Result<String, Trouble> {
    let found = "SELECT coalesce((SELECT n.nspname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)), current_schema()::text)";
    let row = client.query_one(found, &[&format!("\"{name}\"")]).await?;
    let schema: Option<String> = row.try_get(0)?;
    let schema = schema.filter(|schema| !schema.contains('"'));
    schema.ok_or_else(|| {
        Trouble::Lasting("the role's search_path has no schema: write table = \"SCHEMA.NAME\"".to_owned())
    })
}

async fn make(client: &Client, schema: &str, names: &Names, tables: Tables) -> Result<(), Trouble> {
    let statements = statements(names);
    match tables {
        Tables::Made => {}
        Tables::Expected => {
            return Err(Trouble::Lasting(format!(
                "{} is not there, and skip_create_table says that somebody else makes it: {statements}",
                names.entries
            )));
        }
        Tables::Filled => {
            return Err(Trouble::Lasting(format!("{} or {} is not there", names.entries, names.server)));
        }
    }
    // Of two servers that start together, one makes them.
    let made = format!("BEGIN; SELECT pg_advisory_xact_lock({}); {statements} COMMIT", super::tenure::CLASS);
    let Err(error) = client.batch_execute(&made).await else { return Ok(()) };
    let _ = client.batch_execute("ROLLBACK").await;
    if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return Err(Trouble::Lasting(format!(
            "{}: the role may not make its tables: GRANT USAGE, CREATE ON SCHEMA \"{schema}\" to it, or make them with its rights SELECT, INSERT, UPDATE, DELETE: {statements}",
            explain(&error)
        )));
    }
    Err(error.into())
}

/// What makes the tables.
fn statements(names: &Names) -> String {
    // What is encrypted cannot be compressed.
    format!(
        "CREATE TABLE IF NOT EXISTS {entries} (key bytea PRIMARY KEY, value bytea NOT NULL); \
         ALTER TABLE {entries} ALTER COLUMN value SET STORAGE EXTERNAL; \
         CREATE TABLE IF NOT EXISTS {server} (id integer PRIMARY KEY CHECK (id = 1), term bigint NOT NULL, writer bigint NOT NULL, \
         commit bigint NOT NULL, refused integer[] NOT NULL, holder text NOT NULL, since timestamptz NOT NULL) WITH (fillfactor = 10);",
        entries = names.entries,
        server = names.server
    )
}

/// The columns of the tables.
const ENTRIES: &str = "key bytea, value bytea";
const SERVER: &str = "id integer, term bigint, writer bigint, commit bigint, refused integer[], holder text, since timestamp with time zone";

/// Whether a table is there, which then has to be ours.
async fn is_there(client: &Client, name: &str, expected: &str) -> Result<bool, Trouble> {
    let about = "SELECT
          (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, NULL), ', ' ORDER BY a.attnum)
           FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
          c.relkind = 'r' AND c.relpersistence = 'p',
          EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indkey::text = '1')
        FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)";
    let Some(row) = client.query_opt(about, &[&name]).await? else { return Ok(false) };
    let columns: Option<String> = row.try_get(0)?;
    if columns.as_deref() != Some(expected) {
        return Err(Trouble::Lasting(format!(
            "{name} is somebody else's: its columns are not ({expected}). Write another name as table; entries of OpenBao and Vault cannot be read"
        )));
    }
    if !row.try_get::<_, bool>(1)? {
        return Err(Trouble::Lasting(format!(
            "{name} is not an ordinary table. One that is UNLOGGED or temporary would lose what is acknowledged: ALTER TABLE {name} SET LOGGED"
        )));
    }
    if !row.try_get::<_, bool>(2)? {
        return Err(Trouble::Lasting(format!("{name} is without its primary key")));
    }
    Ok(true)
}

impl Names {
    /// Whose it is now: its term, how far it is, and the value of a key. All that reads begins with these two.
    pub fn read(&self) -> String {
        format!(
            "SELECT l.term, l.commit, (SELECT e.value FROM {} e WHERE e.key = $1) FROM {} l WHERE l.id = 1",
            self.entries, self.server
        )
    }

    /// The term, and names below a prefix: from `$1`, before `$2`, at most `$3`; `$4` is the prefix. Each step looks for one key, behind all of
    /// the folder before it.
    pub fn list(&self) -> String {
        format!(
            "WITH RECURSIVE walk (n, name, next) AS (
               SELECT 0::bigint, NULL::bytea, $1::bytea
             UNION ALL
               SELECT w.n + 1,
                 CASE WHEN s.slash > 0 THEN substr(r.rest, 1, s.slash) ELSE r.rest END,
                 CASE WHEN s.slash > 0 THEN $4::bytea || substr(r.rest, 1, s.slash - 1) || '\\x30'::bytea ELSE k.key || '\\x00'::bytea END
               FROM walk w
               CROSS JOIN LATERAL (SELECT e.key FROM {} e WHERE e.key >= w.next AND e.key < $2::bytea ORDER BY e.key LIMIT 1) k
               CROSS JOIN LATERAL (SELECT substr(k.key, length($4::bytea) + 1) AS rest) r
               CROSS JOIN LATERAL (SELECT position('\\x2f'::bytea IN r.rest) AS slash) s
               WHERE w.n < $3::bigint
             )
             SELECT l.term, l.commit, w.name FROM {} l LEFT JOIN walk w ON w.n > 0 WHERE l.id = 1 ORDER BY w.n",
            self.entries, self.server
        )
    }

    /// The term, and entries from `$1` on, at most `$2`, and not many more bytes than a step may have.
    pub fn scan(&self) -> String {
        self.scan_of(SCAN_BYTES)
    }

    /// The same, of another size.
    pub fn scan_of(&self, bytes: usize) -> String {
        format!(
            "SELECT l.term, l.commit, e.key, e.value FROM {} l LEFT JOIN LATERAL (
               SELECT key, value FROM (
                 SELECT key, value, sum(octet_length(value)) OVER (ORDER BY key) - octet_length(value) AS before
                 FROM (SELECT key, value FROM {} WHERE key >= $1 ORDER BY key LIMIT $2::bigint) page
               ) sized WHERE before < {bytes}
             ) e ON true WHERE l.id = 1 ORDER BY e.key",
            self.server, self.entries
        )
    }

    /// A group of batches: term, writer, the commit's number; conditions; what is written; what is deleted. Gives the batches whose conditions
    /// do not hold; no row if the storage is somebody else's now. One statement is one transaction.
    pub fn commit(&self) -> String {
        format!(
            "WITH failed AS MATERIALIZED (
               SELECT coalesce(array_agg(DISTINCT c.batch), '{{}}') AS batches
               FROM unnest($4::integer[], $5::bytea[], $6::bytea[]) AS c (batch, key, value)
               LEFT JOIN {entries} e ON e.key = c.key
               WHERE e.value IS DISTINCT FROM c.value
             ), fence AS (
               UPDATE {server} AS l SET commit = $3, refused = failed.batches FROM failed
               WHERE l.id = 1 AND l.term = $1 AND l.writer = $2
               RETURNING l.refused
             ), put AS (
               INSERT INTO {entries} AS e (key, value)
               SELECT p.key, p.value FROM fence, unnest($7::integer[], $8::bytea[], $9::bytea[]) AS p (batch, key, value)
               WHERE p.batch <> ALL (fence.refused)
               ON CONFLICT (key) DO UPDATE SET value = excluded.value
             ), cut AS (
               DELETE FROM {entries} e USING fence, unnest($10::integer[], $11::bytea[]) AS d (batch, key)
               WHERE e.key = d.key AND d.batch <> ALL (fence.refused)
             )
             SELECT refused FROM fence",
            entries = self.entries,
            server = self.server
        )
    }

    /// A new connection writes: waits for what the one before it is still at, after which that can do nothing more.
    pub fn claim(&self) -> String {
        format!(
            "UPDATE {} SET writer = writer + 1 WHERE id = 1 AND term = $1 RETURNING writer, commit, refused",
            self.server
        )
    }

    /// A new server has it.
    pub fn take(&self) -> String {
        format!(
            "INSERT INTO {} AS l (id, term, writer, commit, refused, holder, since) VALUES (1, 1, 0, 0, '{{}}', $1, now())
             ON CONFLICT (id) DO UPDATE SET term = l.term + 1, holder = excluded.holder, since = excluded.since
             RETURNING term, commit",
            self.server
        )
    }

    /// Who has it.
    pub fn holder(&self) -> String {
        format!(
            "SELECT term, commit, holder, to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM {} WHERE id = 1",
            self.server
        )
    }
}
