//! Databases that cannot be used, and what is said about it; TLS.

use std::os::unix::fs::MetadataExt;

use bulla_test_support::bao::Bao;

use super::*;

async fn refusal(settings: &Settings) -> String {
    Postgres::open_within(settings, Times { total: Duration::from_secs(5), ..QUICK }).await.err().unwrap().to_string()
}

#[tokio::test]
async fn a_role_without_rights_is_told_which() {
    let database = Database::shared();
    let table = unused_table();
    database.query(&format!(
        "CREATE ROLE r_{table} LOGIN; CREATE SCHEMA s_{table}; GRANT USAGE ON SCHEMA s_{table} TO r_{table}"
    ));
    let url = database.url().replace("user=tester", &format!("user=r_{table}"));
    let mut of = settings(&url, &format!("s_{table}.{table}"));
    let error = refusal(&of).await;
    assert!(error.contains("GRANT USAGE, CREATE ON SCHEMA") && error.contains("CREATE TABLE"), "{error}");
    // Made by somebody else, they are enough.
    of.tables = Tables::Expected;
    let error = refusal(&of).await;
    let (_, statements) = error.split_once("makes it: ").unwrap();
    database.query(&format!(
        "{statements} GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA s_{table} TO r_{table}"
    ));
    let storage = Postgres::open(&of).await.unwrap();
    storage.commit(put("k", "v")).await.unwrap();
    assert_eq!(storage.get("k").await.unwrap().unwrap(), b"v");
}

#[tokio::test]
async fn a_table_of_somebody_else_is_left_alone() {
    let database = Database::shared();
    // OpenBao's; one that could be altered; one beside the entries, which are not there.
    for (suffix, columns) in [
        (
            "",
            "parent_path text COLLATE \"C\" NOT NULL, path text COLLATE \"C\", key text COLLATE \"C\", value bytea, PRIMARY KEY (path, key)",
        ),
        ("", "id integer PRIMARY KEY, value bytea"),
        ("_server", "id integer PRIMARY KEY, value bytea"),
    ] {
        let table = unused_table();
        database.query(&format!("CREATE TABLE {table}{suffix} ({columns})"));
        let state = || {
            database.query(&format!(
                "SELECT string_agg(concat_ws(' ', c.relname, c.relkind, a.attname, a.attstorage, a.attnum), ', ' ORDER BY c.oid, a.attnum)
                 FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 WHERE c.relname ~ '^{table}(_|$)'"
            ))
        };
        let before = state();
        assert!(before.contains("value x"), "{before}");
        let error = refusal(&settings(&database.url(), &table)).await;
        assert!(error.contains("somebody else's"), "{error}");
        assert_eq!(state(), before);
    }
}

#[tokio::test]
async fn a_table_that_would_not_survive_a_crash_is_refused() {
    let database = Database::shared();
    let table = unused_table();
    drop(open_quick(&database, &table).await.unwrap());
    for suffix in ["", "_server"] {
        database.query(&format!("ALTER TABLE {table}{suffix} SET UNLOGGED"));
        let error = refusal(&settings(&database.url(), &table)).await;
        assert!(error.contains("UNLOGGED") && error.contains(&format!("{table}{suffix}\"")), "{error}");
        database.query(&format!("ALTER TABLE {table}{suffix} SET LOGGED"));
    }
}

#[tokio::test]
async fn for_something_to_be_read_nothing_is_made() {
    let database = Database::shared();
    let table = unused_table();
    let of = Settings { tables: Tables::Filled, ..settings(&database.url(), &table) };
    let error = refusal(&of).await;
    assert!(error.contains("is not there") && !error.contains("CREATE"), "{error}");
    assert_eq!(database.query(&format!("SELECT count(*) FROM pg_class WHERE relname ~ '^{table}(_|$)'")), "0");
}

#[tokio::test]
async fn a_database_that_would_forget_is_refused() {
    let database = Database::shared();
    let url = format!("{} options='-c synchronous_commit=off'", database.url());
    let error = refusal(&settings(&url, &unused_table())).await;
    assert!(error.contains("synchronous_commit is off"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_in_no_error() {
    let database = Database::start();
    database.query("SET password_encryption = 'scram-sha-256'; CREATE ROLE scram LOGIN PASSWORD 'right'; GRANT CREATE ON SCHEMA public TO scram");
    let rules = database.folder().join("data/pg_hba.conf");
    std::io::Write::write_all(
        &mut std::fs::File::create(&rules).unwrap(),
        b"local all tester trust\nhost all all all scram-sha-256\n",
    )
    .unwrap();
    database.query("SELECT pg_reload_conf()");
    let url = |password: &str| format!("postgres://scram:{password}@127.0.0.1:{}/postgres", database.port());
    let error = loop {
        let error = refusal(&settings(&url("hunter2"), "t")).await;
        if error.contains("password") {
            break error;
        }
    };
    assert!(!error.contains("hunter2"), "{error}");
    let storage = Postgres::open(&settings(&url("right"), "t")).await.unwrap();
    storage.commit(put("k", "v")).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_looked_at_as_sslmode_says() {
    let database = Database::start();
    let url = |more: &str| format!("postgres://tester@127.0.0.1:{}/postgres?{more}", database.port());
    let error = refusal(&settings(&url("sslmode=require"), "t")).await;
    assert!(error.contains("does not support TLS"), "{error}");
    // A certificate for 127.0.0.1 and localhost, of an authority of its own.
    let bao = Bao::with_tls();
    let files = bao.0.folder.path();
    for (from, to) in [("vault-cert.pem", "server.crt"), ("vault-key.pem", "server.key")] {
        let to = database.folder().join("data").join(to);
        std::fs::copy(files.join(from), &to).unwrap();
        std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let owner = std::fs::metadata(database.folder()).unwrap();
        std::os::unix::fs::chown(&to, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    database.end("INT");
    database.resume_with(&["ssl=on"]);
    let authority = files.join("vault-ca.pem").display().to_string();
    for good in [
        "sslmode=require".to_owned(),
        String::new(),
        "sslmode=disable".to_owned(),
        format!("sslmode=require&sslrootcert={authority}"),
        format!("sslmode=verify-ca&sslrootcert={authority}"),
        format!("sslmode=verify-full&sslrootcert={authority}&channel_binding=prefer"),
    ] {
        let table = unused_table();
        let storage = Postgres::open(&settings(&url(&format!("{good}&application_name={table}")), &table)).await;
        let storage = storage.unwrap_or_else(|error| panic!("{good}: {error}"));
        storage.commit(put("k", "v")).await.unwrap();
        let encrypted = format!(
            "SELECT bool_and(ssl)::text FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = '{table}'"
        );
        assert_eq!(database.query(&encrypted), (!good.contains("disable")).to_string(), "{good}");
    }
    for bad in ["sslmode=verify-ca", "sslmode=verify-full"] {
        let error = refusal(&settings(&url(bad), "t")).await;
        assert!(error.contains("certificate"), "{bad}: {error}");
    }
    // Another host's certificate is good for `verify-ca` alone. This name leads to the same place.
    let named = |mode: &str| {
        let words = format!(
            "host=db.example.com hostaddr=127.0.0.1 port={} user=tester dbname=postgres sslmode={mode} sslrootcert={authority}",
            database.port()
        );
        settings(&words, &unused_table())
    };
    Postgres::open(&named("verify-ca")).await.unwrap();
    let error = refusal(&named("verify-full")).await;
    assert!(error.contains("name"), "{error}");
}
