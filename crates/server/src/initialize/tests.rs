//! What a server asks of itself, and what becomes of it when that fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::config;
use crate::core::audit::DeviceConfig;
use crate::core::faulty::options;
use crate::core::{Attempt, Init, Options};
use crate::json::Object;
use crate::seal::{AutoSeal, Shares, fixed::Fixed};
use crate::storage::{Memory, Storage};

fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let rest = "listener \"tcp\" { tls_disable = true }\nstorage \"inmem\" {}\n";
    config::parse(&format!("{rest}{text}")).map(|config| config.initialize)
}

fn server(storage: &Arc<dyn Storage>, audit: Vec<DeviceConfig>) -> Arc<Core> {
    let key = bulla_core::DataKey::from_bytes(bulla_core::SecretBytes::from([7; 32].as_slice())).unwrap();
    let seals: Vec<Arc<dyn AutoSeal>> = vec![Arc::new(Fixed::new("1".to_owned(), key))];
    Core::new(Arc::clone(storage), seals, Options { audit, ..options() })
}

fn memory() -> Arc<dyn Storage> {
    Arc::new(Memory::default())
}

fn no_env() -> BTreeMap<String, String> {
    BTreeMap::new()
}

async fn ask(core: &Core, token: &str, operation: Operation, path: &str, data: Object) -> Result<Response, Error> {
    let token = Some(token).filter(|token| !token.is_empty()).map(|token| TokenText::new(token.to_owned()));
    let (id, path) = ("x".to_owned(), path.to_owned());
    core.handle(Request { id, token, ..Request::new(operation, path, data) }).await
}

const ALL: &str = r#"
initialize "identity" {
  request "mount" {
    operation = "update"
    path = "/sys/auth/userpass"
    data = { type = "userpass" }
  }
  request "admin" {
    operation = "create"
    path = "auth/userpass/users/admin"
    data = {
      "password" = { eval_source = "env" eval_type = "string" env_var = "ADMIN_PASSWORD" require_present = true }
      "token_policies" = ["reader"]
    }
  }
  request "again" {
    operation = "update"
    path = "auth/userpass/users/second"
    data = {
      password = { eval_source = "request" eval_type = "string" initialize_name = "identity" request_name = "admin" field_selector = ["data", "password"] }
      token_policies = { eval_source = "request" eval_type = "[]string" initialize_name = "identity" request_name = "admin" field_selector = ["data", "token_policies"] }
    }
  }
}
initialize "secrets" {
  request "policy" {
    operation = "update"
    path = "sys/policies/acl/reader"
    data = { policy = { eval_source = "file" eval_type = "string" path = "POLICY" } }
  }
  request "kv" {
    operation = "update"
    path = "sys/mounts/kv"
    data = { type = "kv" options = { version = "2" } }
  }
  request "missing" {
    operation = "read"
    path = "kv/data/missing"
  }
  request "may fail" {
    operation = "update"
    path = "sys/mounts/kv"
    data = { type = "kv" }
    allow_failure = true
  }
  request "not" {
    operation = "delete"
    path = "sys/mounts/kv"
    when = false
  }
  request "token" {
    operation = "update"
    path = "auth/token/create"
    data = { policies = ["root"] ttl = "1h" }
  }
  request "write" {
    operation = "update"
    path = "kv/data/x"
    token = { eval_source = "response" eval_type = "string" initialize_name = "secrets" response_name = "token" field_selector = ["auth", "client_token"] }
    data = { data { n = 5 list = [1, "two", true] deep { a = { b = "c" } } } }
  }
  request "revoke" {
    operation = "update"
    path = "auth/token/revoke-self"
    token = { eval_source = "response" eval_type = "string" initialize_name = "secrets" response_name = "token" field_selector = ["auth", "client_token"] }
  }
}
initialize "never" {
  when = { eval_source = "env" eval_type = "bool" env_var = "NOT_SET" }
  request "fails" { operation = "update" path = "sys/nothing/here" }
}
"#;

#[tokio::test]
async fn a_server_asks_of_itself_what_its_configuration_says_once_and_leaves_no_root_token() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.hcl");
    bulla_core::file::replace(&policy, b"path \"kv/data/*\" { capabilities = [\"read\"] }", 0o600).unwrap();
    let log = folder.path().join("audit.log");
    let options = [("file_path".to_owned(), log.to_str().unwrap().to_owned())].into();
    let device = DeviceConfig { path: "f/".to_owned(), kind: "file".to_owned(), description: String::new(), options };
    let text = ALL.replace("POLICY", policy.to_str().unwrap()).replace("may fail", "may_fail");
    let blocks = blocks(&text).unwrap();
    let env = BTreeMap::from([("ADMIN_PASSWORD".to_owned(), "hunter22".to_owned())]);
    let storage = memory();
    let core = server(&storage, vec![device]);
    assert_eq!(run(&core, &blocks, &env).await.unwrap(), Outcome::Done);
    for name in ["admin", "second"] {
        let path = format!("auth/userpass/login/{name}");
        let login = ask(&core, "", Operation::Update, &path, object! { "password": "hunter22" });
        let token = login.await.unwrap().issued.unwrap().token;
        let read = ask(&core, token.expose(), Operation::Read, "kv/data/x", object! {}).await.unwrap();
        let text = String::from_utf8(logical::render(&read, "x")).unwrap();
        assert!(text.contains(r#"{"deep":{"a":{"b":"c"}},"list":[1,"two",true],"n":5}"#), "{text}");
    }
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("initialize[0].identity.request[1].admin") && log.contains("self-init-revoke-root"), "{log}");
    assert!(!log.contains("hunter22"));
    // The root token and the one that was made: both are gone, as is everything below them.
    let keeper = core.open().unwrap();
    let left = keeper.tokens.accessors().await.unwrap();
    assert_eq!(left.len(), 2, "the two logins alone");
    assert!(core.unfinished().is_none());
    // Another start does not do it again, and opens it.
    drop(keeper);
    core.seal().await;
    let core = server(&storage, Vec::new());
    assert_eq!(run(&core, &blocks, &no_env()).await.unwrap(), Outcome::NotNeeded);
    assert!(core.unseal_by_itself().await.unwrap());
}

#[tokio::test]
async fn a_request_that_fails_leaves_a_storage_that_is_never_opened() {
    let blocks = blocks(
        "initialize \"a\" {\n request \"one\" { operation = \"update\" path = \"sys/mounts/kv\" data = { type = \"kv\" } }\n request \"two\" { operation = \"update\" path = \"sys/nothing\" }\n request \"three\" { operation = \"update\" path = \"sys/mounts/kw\" data = { type = \"kv\" } }\n}",
    )
    .unwrap();
    let storage = memory();
    let core = server(&storage, Vec::new());
    let error = run(&core, &blocks, &no_env()).await.unwrap_err().to_string();
    assert!(error.contains("initialize \"a\", request \"two\"") && error.contains("empty the storage"), "{error}");
    assert!(core.is_sealed());
    // With the blocks, without them, and with others.
    for blocks in [blocks.as_slice(), &blocks[..0]] {
        let core = server(&storage, Vec::new());
        assert_eq!(run(&core, blocks, &no_env()).await.unwrap(), Outcome::NotNeeded);
        let error = core.unseal_by_itself().await.unwrap_err().to_string();
        assert!(error.contains("did not finish") && error.contains("request \"two\""), "{error}");
        assert!(core.is_sealed() && core.unfinished().is_some());
    }
}

#[tokio::test]
async fn one_that_was_killed_before_its_first_request_is_not_opened_either() {
    let storage = memory();
    let core = server(&storage, Vec::new());
    core.begin_by_itself().await.unwrap();
    drop(core);
    let core = server(&storage, Vec::new());
    assert!(core.unseal_by_itself().await.is_err() && core.unfinished().unwrap().contains("its beginning"));
}

#[tokio::test]
async fn what_is_missing_is_found_before_anything_is_written() {
    let storage = memory();
    for source in [
        "eval_source = \"env\" env_var = \"NOT_SET\" require_present = true",
        "eval_source = \"file\" path = \"/nonexistent/file\"",
    ] {
        let text = format!(
            "initialize \"a\" {{\n request \"one\" {{ operation = \"update\" path = \"sys/mounts/kv\" data = {{ type = \"kv\" }} }}\n request \"two\" {{ operation = \"update\" path = \"sys/mounts/kw\" data = {{ type = {{ eval_type = \"string\" {source} }} }} }}\n}}"
        );
        let core = server(&storage, Vec::new());
        let error = run(&core, &blocks(&text).unwrap(), &no_env()).await.unwrap_err().to_string();
        assert!(error.contains("request \"two\"") && error.contains("nothing was initialized"), "{error}");
        assert!(!core.is_initialized().await.unwrap());
    }
}

#[tokio::test]
async fn with_shares_it_is_an_error_that_says_why() {
    let core = Core::new(memory(), Vec::new(), options());
    let blocks = blocks("initialize \"a\" { request \"b\" { operation = \"read\" path = \"sys/mounts\" } }").unwrap();
    let error = run(&core, &blocks, &no_env()).await.unwrap_err();
    assert!(matches!(error, Failure::Shares) && error.to_string().contains("shares"), "{error}");
    let made = core.initialize(Init { shares: Shares { shares: 1, threshold: 1 } }).await.unwrap();
    assert_eq!(core.unseal(made.shares[0].clone()).await.unwrap(), Attempt::Open);
}

#[tokio::test]
async fn a_request_that_ends_the_root_token_itself_is_no_failure_and_one_that_seals_is() {
    for (path, goes) in [("auth/token/revoke-self", true), ("sys/seal", false)] {
        let text = format!("initialize \"a\" {{ request \"b\" {{ operation = \"update\" path = \"{path}\" }} }}");
        let storage = memory();
        let result = run(&server(&storage, Vec::new()), &blocks(&text).unwrap(), &no_env()).await;
        assert_eq!(result.is_ok(), goes, "{path} {result:?}");
    }
}

#[test]
fn what_has_no_place_is_an_error_that_names_the_block() {
    let request = |inner: &str| {
        format!("initialize \"a\" {{\nrequest \"b\" {{\npath = \"p\"\noperation = \"read\"\n{inner}\n}}\n}}")
    };
    for (text, expected) in [
        ("initialize \"a\" \"b\" {}".to_owned(), "one name"),
        ("initialize \"a b\" {}".to_owned(), "initialize \"a b\": a name has letters"),
        ("initialize \"a\" {}\ninitialize \"a\" {}".to_owned(), "two of this name"),
        ("initialize \"a\" { requests \"b\" {} }".to_owned(), "\"requests b\" has no place"),
        (
            "initialize \"a\" { request \"b\" { path = \"p\" } }".to_owned(),
            "initialize \"a\", request \"b\": operation is missing",
        ),
        (request("operation = \"read\""), "operation is there twice"),
        (request("allow_failures = true"), "allow_failures is not supported"),
        (request("data = { x = { eval_source = \"env\" } }"), "eval_type is missing"),
        (request("data = { x = { eval_source = \"cel\" eval_type = \"string\" } }"), "\"cel\" is not supported"),
        (
            request("data = { x = { eval_source = \"env\" eval_type = \"string\" env_var = \"A\" b = 1 } }"),
            "b means nothing",
        ),
        (request("data = { x = { eval_source = \"file\" eval_type = \"text\" path = \"A\" } }"), "eval_type \"text\""),
        (request("data = { mode = 0600 }"), "write it as a text"),
        (
            request(
                "token = { eval_source = \"response\" eval_type = \"string\" initialize_name = \"a\" response_name = \"b\" }",
            ),
            "no request \"b\" of initialize \"a\" is before it",
        ),
        ("initialize \"a\" { request \"b\" { path = \"p\" operation = \"write\" } }".to_owned(), "operation \"write\""),
    ] {
        let error = blocks(&text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn json_is_the_same_where_it_has_an_order() {
    let of = |initialize: &str| {
        let text = format!(
            "{{\"listener\":{{\"tcp\":{{\"tls_disable\":\"true\"}}}},\"storage\":{{\"inmem\":{{}}}},\"initialize\":{initialize}}}"
        );
        config::parse(&text).map(|config| config.initialize)
    };
    let request = r#"{"operation":"update","path":"sys/audit/stdout","data":{"options":{"file_path":"stdout"},"a":{"eval_source":"env","eval_type":"string","env_var":"A"}}}"#;
    let json = of(&format!(
        r#"[{{"z":{{"request":[{{"two":{request}}},{{"one":{request}}}]}}}},{{"a":{{"request":{{"x":{request}}}}}}}]"#
    ));
    let one = "operation = \"update\"\npath = \"sys/audit/stdout\"\ndata = {\n options { file_path = \"stdout\" }\n a = { eval_source = \"env\" eval_type = \"string\" env_var = \"A\" }\n}";
    let hcl = blocks(&format!(
        "initialize \"z\" {{\nrequest \"two\" {{\n{one}\n}}\nrequest \"one\" {{\n{one}\n}}\n}}\ninitialize \"a\" {{\nrequest \"x\" {{\n{one}\n}}\n}}"
    ));
    assert!(json.is_ok() && json == hcl, "{json:?} {hcl:?}");
    for unordered in [
        format!(r#"{{"a":{{"request":{{"x":{request}}}}},"b":{{}}}}"#),
        format!(r#"[{{"a":{{"request":{{"x":{request},"y":{request}}}}}}}]"#),
    ] {
        assert!(of(&unordered).unwrap_err().contains("has no order"), "{unordered}");
    }
}
