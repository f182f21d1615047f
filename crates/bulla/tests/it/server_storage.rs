//! `bulla server` on a database, and from one storage to another.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bulla_server::storage::{Batch, Embedded, Storage};
use bulla_test_support::patience::Patience;
use bulla_test_support::postgres::Postgres;
use bulla_test_support::unused_address;
use serde_json::{Value, json};

use crate::server::Server;

const BULLA: &str = env!("CARGO_BIN_EXE_bulla");

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    path
}

fn serving(folder: &Path, name: &str, storage: &str, address: SocketAddr) -> String {
    let text = format!(
        "listener \"tcp\" {{\n address = \"{address}\"\n tls_disable = true\n}}\nstorage {storage}\nseal \"static\" {{\n current_key_id = \"1\"\n current_key = \"{}\"\n}}\n",
        "ab".repeat(32)
    );
    file(folder, name, &text).to_str().unwrap().to_owned()
}

fn migrate(folder: &Path, source: &str, destination: &str, more: &[&str]) -> Command {
    let config = file(folder, "migrate.hcl", &format!("storage_source {source}\nstorage_destination {destination}\n"));
    let mut command = Command::new(BULLA);
    command.args(["server", "migrate", "-config"]).arg(config).args(more);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("Success!"), "{output:?}");
}

#[test]
fn a_server_moves_into_a_database_and_back_and_one_at_a_time_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let database = Postgres::start();
    let embedded = |name: &str| format!("\"embedded\" {{ path = \"{}\" }}", folder.join(name).display());
    // The table is in the configuration, the way to it in the environment alone.
    let postgres = "\"postgresql\" {\n table = \"secrets\"\n}";
    let url = ("BAO_PG_CONNECTION_URL", database.url());
    let address = unused_address();
    let ask =
        |server: &Server, token: &str| server.ask(token, "GET", "s/data/x", &Value::Null).1["data"]["data"].clone();

    let first = serving(folder, "first.hcl", &embedded("a"), address);
    let server = Server::start(&["-config", &first], address, 501);
    let (status, made) = server.ask("", "PUT", "sys/init", &json!({ "recovery_shares": 0, "recovery_threshold": 0 }));
    assert_eq!(status, 200, "{made}");
    let root = made["root_token"].as_str().unwrap().to_owned();
    assert_eq!(server.ask(&root, "POST", "sys/mounts/s", &json!({ "type": "kv-v2" })).0, 204);
    assert_eq!(server.ask(&root, "POST", "s/data/x", &json!({ "data": { "n": 1 } })).0, 200);
    // It is in use.
    let output = migrate(folder, &embedded("a"), postgres, &[]).env(url.0, &url.1).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    drop(server);
    done(&migrate(folder, &embedded("a"), postgres, &[]).env(url.0, &url.1).output().unwrap());

    let second = serving(folder, "second.hcl", postgres, address);
    let run = || {
        let mut command = Command::new(BULLA);
        command.args(["server", "-config", &second]).env(url.0, &url.1);
        command
    };
    let server = Server::of(run(), address, 200);
    assert_eq!(ask(&server, &root), json!({ "n": 1 }));
    assert_eq!(server.ask(&root, "POST", "s/data/x", &json!({ "data": { "n": 2 } })).0, 200);
    let refused = run().output().unwrap();
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("is in use by") && said.contains(&format!("process {}", server.id())), "{said}");
    // A server that another took over from ends by itself, so that whoever starts servers starts one.
    database.query("UPDATE secrets_server SET term = term + 1");
    assert!(!server.ended().success());

    symlink(BULLA, folder.join("vault")).unwrap();
    let config =
        file(folder, "back.hcl", &format!("storage_source {postgres}\nstorage_destination {}\n", embedded("b")));
    let back = || {
        let mut command = Command::new(folder.join("vault"));
        command.args(["operator", "migrate", "-config"]).arg(&config).env(url.0, &url.1);
        command
    };
    done(&back().output().unwrap());
    let again = back().output().unwrap();
    assert_eq!(again.status.code(), Some(3), "{again:?}");
    assert!(text(&again.stderr).contains("not empty"), "{again:?}");
    let third = serving(folder, "third.hcl", &embedded("b"), address);
    let server = Server::start(&["-config", &third], address, 200);
    assert_eq!(ask(&server, &root), json!({ "n": 2 }));
}

#[test]
fn a_migration_that_is_killed_goes_on_and_is_not_served_before() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let source = folder.join("a");
    std::fs::create_dir(&source).unwrap();
    let number = 20_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let storage = Embedded::open(&source.join("bulla.redb")).unwrap();
        let writes = (0..number).map(|at| (format!("k/{at:06}"), Some(vec![7; 200]))).collect();
        storage.commit(Batch { conditions: Vec::new(), writes }).await.unwrap();
    });
    let database = Postgres::start();
    let source = format!("\"embedded\" {{ path = \"{}\" }}", source.display());
    let postgres = format!("\"postgresql\" {{ connection_url = \"{}\" }}", database.url());
    let mut child =
        migrate(folder, &source, &postgres, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let patience = Patience::default();
    let copied = || {
        let is_there = database.query("SELECT to_regclass('bulla_kv') IS NOT NULL") == "t";
        if is_there { database.query("SELECT count(*) FROM bulla_kv").parse::<u64>().unwrap() } else { 0 }
    };
    while copied() == 0 {
        assert!(patience.is_left() && child.try_wait().unwrap().is_none(), "nothing is copied");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = copied();
    assert!(before < number, "it was over before it was killed: {before}");

    let address = unused_address();
    let config = serving(folder, "server.hcl", &postgres, address);
    let until_free = |command: &mut dyn FnMut() -> Output| loop {
        let output = command();
        // The database notices a moment later that the process is gone.
        if !text(&output.stderr).contains("is in use by") {
            break output;
        }
    };
    let served = until_free(&mut || Command::new(BULLA).args(["server", "-config", &config]).output().unwrap());
    assert!(!served.status.success() && text(&served.stderr).contains("has not ended"), "{served:?}");
    let refused = until_free(&mut || migrate(folder, &source, &postgres, &[]).output().unwrap());
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let hint = text(&refused.stderr);
    let start = hint.split("-start '").nth(1).and_then(|rest| rest.split('\'').next());
    let start = start.unwrap_or_else(|| panic!("{hint}")).to_owned();
    let output = until_free(&mut || migrate(folder, &source, &postgres, &["-start", &start]).output().unwrap());
    done(&output);
    assert!(text(&output.stdout).contains(&format!("{number} entries")), "{output:?}");
    assert_eq!(copied(), number);
}

#[test]
fn a_source_that_is_not_there_or_empty_is_not_copied_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let embedded = |name: &str| format!("\"embedded\" {{ path = \"{}\" }}", folder.join(name).display());
    let refused = |source: &str| {
        let output = migrate(folder, source, &embedded("to"), &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        text(&output.stderr)
    };
    refused(&embedded("none"));
    assert!(!folder.join("none").exists());
    std::fs::create_dir(folder.join("empty")).unwrap();
    refused(&embedded("empty"));
    assert!(std::fs::read_dir(folder.join("empty")).unwrap().next().is_none());
    drop(Embedded::open(&folder.join("empty/bulla.redb")).unwrap());
    let said = refused(&embedded("empty"));
    assert!(said.contains("is empty"), "{said}");
    let database = Postgres::start();
    let said = refused(&format!("\"postgresql\" {{ connection_url = \"{}\" }}", database.url()));
    assert!(said.contains("is not there"), "{said}");
    assert_eq!(database.query("SELECT count(*) FROM pg_class WHERE relname LIKE 'bulla_kv%'"), "0");
}
