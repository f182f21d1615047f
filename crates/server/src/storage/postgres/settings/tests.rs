//! What a connection URL says, and that no error repeats it.

use super::*;

fn settings(url: &str) -> Settings {
    Settings {
        url: SecretString::from(url),
        table: Table::default(),
        connections: CONNECTIONS,
        tables: Tables::Made,
        plaintext: Plaintext::Local,
        cache: Cache::Kept,
    }
}

fn mode(url: &str) -> Result<SslMode, String> {
    settings(url).target().map(|target| target.config.get_ssl_mode())
}

#[test]
fn without_tls_a_database_is_on_this_machine_alone() {
    for local in ["127.0.0.1", "[::1]", "localhost", "%2Frun%2Fpostgresql"] {
        assert_eq!(mode(&format!("postgres://u:p@{local}/d?sslmode=disable")), Ok(SslMode::Disable), "{local}");
        assert_eq!(mode(&format!("postgres://u:p@{local}/d")), Ok(SslMode::Prefer), "{local}");
    }
    for away in ["db.example.com", "10.0.0.1", "localhost,db", "db,127.0.0.1"] {
        for weak in ["disable", "prefer", "allow"] {
            let error = mode(&format!("postgres://u:p@{away}/d?sslmode={weak}")).unwrap_err();
            assert!(error.contains("TLS"), "{away} {weak}: {error}");
        }
        for strong in ["", "?sslmode=require", "?sslmode=verify-ca", "?sslmode=verify-full"] {
            assert_eq!(mode(&format!("postgres://u:p@{away}/d{strong}")), Ok(SslMode::Require), "{away} {strong}");
        }
    }
    // The name is for certificates alone, the address says where.
    assert!(mode("user=u host=localhost hostaddr=10.0.0.1 sslmode=disable").is_err());
    let allowed = Settings { plaintext: Plaintext::Anywhere, ..settings("postgres://u@db/d?sslmode=disable") };
    let target = allowed.target().ok().unwrap();
    assert_eq!(target.config.get_ssl_mode(), SslMode::Disable);
    assert!(target.warning.unwrap().contains("WITHOUT TLS"));
}

#[test]
fn who_is_not_looked_at_is_warned_of() {
    let warning = |url: &str| settings(url).target().ok().unwrap().warning;
    assert!(warning("postgres://u@db/d?sslmode=require").unwrap().contains("verify-full"));
    for quiet in
        ["postgres://u@db/d", "postgres://u@db/d?sslmode=verify-ca", "postgres://u@127.0.0.1/d?sslmode=require"]
    {
        assert_eq!(warning(quiet), None, "{quiet}");
    }
}

#[test]
fn a_password_does_not_go_to_whoever_has_any_certificate() {
    let binding = |url: &str| settings(url).target().ok().unwrap().config.get_channel_binding();
    assert_eq!(binding("postgres://u:p@db/d?sslmode=require"), ChannelBinding::Require);
    assert_eq!(binding("postgres://u:p@db/d?sslmode=require&channel_binding=disable"), ChannelBinding::Disable);
    for other in ["u@db/d?sslmode=require", "u:p@db/d", "u:p@127.0.0.1/d", "u:p@db/d?sslmode=verify-ca"] {
        assert_eq!(binding(&format!("postgres://{other}")), ChannelBinding::Prefer, "{other}");
    }
}

#[test]
fn the_rest_is_left_to_the_client_library() {
    let target = |url: &str| settings(url).target().ok().unwrap();
    let of = target("postgresql://u%40x:p%2Fw@h1:1,h2:2/d?connect_timeout=3&sslmode=require&application_name=a");
    assert_eq!(of.hosts, [(Host::Tcp("h1".to_owned()), 1), (Host::Tcp("h2".to_owned()), 2)]);
    assert_eq!(of.config.get_user(), Some("u@x"));
    assert_eq!(of.config.get_password(), Some(b"p/w".as_slice()));
    assert_eq!((of.config.get_dbname(), of.config.get_application_name()), (Some("d"), Some("a")));
    let of = target(r"host = h port=7 sslmode=require password='it\'s = \\ mine' user=u");
    assert_eq!(of.hosts, [(Host::Tcp("h".to_owned()), 7)]);
    assert_eq!((of.config.get_password(), of.config.get_user()), (Some(br"it's = \ mine".as_slice()), Some("u")));
}

#[test]
fn no_error_and_no_debug_text_has_the_password() {
    for url in [
        "postgres://u:hunter2@db:nope/d",
        "postgres://u:hunter2@db/d?hunter2",
        "postgres://u:hunter2@db/d?hunter2=1",
        "postgres://u:hunter2@db/d?sslmode=hunter2",
        "postgres://u:hunter2@db/d?sslmode=disable",
        "postgres://u:hunter2@db/d?sslrootcert=%ZZ",
        "host=db password=a hunter2",
        "host=db password='hunter2",
        "hunter2",
        "password=hunter2",
        "host=db password=hunter2",
    ] {
        let settings = settings(url);
        let error = settings.target().err().unwrap_or_else(|| panic!("{url}"));
        assert!(!error.contains("hunter2"), "{url}: {error}");
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    for url in ["postgres://u@db/d?sslrootcert=/none/ca.pem", "user=u host=db sslcert=/none/c.pem sslkey=/none/k.pem"] {
        assert!(settings(url).target().err().unwrap().contains("/none/"), "{url}");
    }
    assert!(settings("user=u host=db sslkey=/none/k.pem").target().err().unwrap().contains("go together"));
}
