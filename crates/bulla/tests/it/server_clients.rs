//! Programs that were written for Vault, as they are, against `bulla server`; and against the real OpenBao, which shows that the test is right.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use bulla_test_support::bao::{Bao, ROOT};
use bulla_test_support::patience::Patience;
use bulla_test_support::service_accounts::{ServiceAccounts, UNUSED_AUTHORITY, service_account_token};
use bulla_test_support::{Server, http, program};
use serde_json::{Value, json};

use crate::server_process::{ask, interop};

/// Ours, in memory.
pub(crate) fn ours() -> Server {
    let ready = |address| http(address, "GET", "/v1/sys/health", &[], "").0 == 200;
    Server::start(
        |address, _| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bulla"));
            command.args(["server", "-dev"]).arg(format!("-dev-root-token-id={ROOT}"));
            command.arg(format!("-dev-listen-address={address}"));
            command
        },
        ready,
    )
}

/// Does something with each of the two, at the same time.
fn with_both(use_it: impl Fn(&str, &Server) + Sync) {
    thread::scope(|scope| {
        scope.spawn(|| use_it("OpenBao", &Bao::start().0));
        scope.spawn(|| use_it("bulla", &ours()));
    });
}

/// Runs a client to its end; each of `parts` must have gone well.
fn run(which: &str, server: &Server, command: &mut Command, parts: &[&str]) {
    let output = command
        .env_clear()
        .env("VAULT_ADDR", server.url())
        .env("VAULT_TOKEN", ROOT)
        .env("KUBERNETES_CA", UNUSED_AUTHORITY)
        .env("KUBERNETES_JWT", service_account_token("shop", "app", "vault"))
        .output();
    let output = output.unwrap();
    let (done, failure) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{which}, after {done:?}:\n{failure}");
    assert_eq!(done.lines().collect::<Vec<_>>(), parts, "{which}");
}

#[test]
fn pythons_client_works_as_with_openbao() {
    let parts = ["kv1", "kv2", "transit", "policies", "tokens", "approle", "userpass", "wrapping", "leases", "system"];
    with_both(|which, server| {
        run(which, server, Command::new(program("venv/bin/python")).arg(interop("hvac/check.py")), &parts);
    });
}

#[test]
fn vaults_own_client_works_as_with_openbao() {
    let parts = [
        "kv1",
        "kv2",
        "transit",
        "policies",
        "tokens",
        "approle",
        "userpass",
        "kubernetes",
        "wrapping",
        "leases",
        "watcher",
        "system",
    ];
    with_both(|which, server| {
        let cluster = ServiceAccounts::start();
        let mut command = Command::new("env");
        command.arg(format!("KUBERNETES_HOST={}", cluster.0.url())).arg(program("bin/vault-client"));
        run(which, server, &mut command, &parts);
    });
}

#[test]
fn rusts_client_works_as_with_openbao() {
    let parts = ["kv1", "kv2", "transit", "system", "tokens", "approle", "userpass", "wrapping"];
    with_both(|which, server| {
        // Its look at the server's health wants a field that Vault has, and OpenBao has no more.
        let parts: Vec<&str> = if which == "bulla" { [&parts[..], &["health"]].concat() } else { parts.to_vec() };
        let mut command = Command::new("env");
        command.arg(format!("PARTS={}", parts.join(","))).arg(program("bin/vaultrs-client"));
        run(which, server, &mut command, &parts);
    });
}

/// The real agent, killed when dropped.
struct Agent(Child);

impl Agent {
    fn start(folder: &Path, server: &Server) -> Self {
        let path = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            r#"
vault {{ address = "{}" }}
auto_auth {{
  method "approle" {{
    config = {{ role_id_file_path = "{}", secret_id_file_path = "{}", remove_secret_id_file_after_reading = false }}
  }}
  sink "file" {{ config = {{ path = "{}" }} }}
}}
template_config {{ static_secret_render_interval = "1s" }}
template {{
  contents = "{{{{ with secret \"secret/data/app\" }}}}password={{{{ .Data.data.password }}}}{{{{ end }}}}"
  destination = "{}"
}}
"#,
            server.url(),
            path("role-id"),
            path("secret-id"),
            path("token"),
            path("rendered"),
        );
        write(&folder.join("agent.hcl"), &config);
        let log = File::create(folder.join("log")).unwrap();
        let mut command = Command::new(program("venv/bin/bao"));
        command.arg("agent").arg(format!("-config={}", path("agent.hcl"))).env_clear().env("HOME", folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn openbaos_agent_logs_in_renews_its_token_and_renders_what_changes() {
    with_both(|which, server| {
        let root = |method: &str, path: &str, body: Value| {
            let (status, answer) = ask(server.address, ROOT, method, path, &body);
            assert!((200..300).contains(&status), "{which} {path}: {status} {answer}");
            answer["data"].clone()
        };
        let policy = r#"path "secret/data/app" { capabilities = ["read"] }"#;
        root("PUT", "sys/policies/acl/app", json!({ "policy": policy }));
        root("POST", "sys/auth/approle", json!({ "type": "approle" }));
        root(
            "POST",
            "auth/approle/role/app",
            json!({ "token_policies": "app", "token_ttl": "3s", "token_max_ttl": "1h" }),
        );
        root("POST", "secret/data/app", json!({ "data": { "password": "first" } }));
        let folder = tempfile::tempdir().unwrap();
        let (in_folder, text) =
            (|name: &str| folder.path().join(name), |value: &Value| value.as_str().unwrap().to_owned());
        write(&in_folder("role-id"), &text(&root("GET", "auth/approle/role/app/role-id", Value::Null)["role_id"]));
        write(&in_folder("secret-id"), &text(&root("POST", "auth/approle/role/app/secret-id", json!({}))["secret_id"]));
        let _agent = Agent::start(folder.path(), server);
        let read = |name: &str| fs::read_to_string(in_folder(name)).unwrap_or_default();
        let eventually = |what: &str, holds: &dyn Fn() -> bool| {
            let patience = Patience::default();
            while !holds() {
                assert!(patience.is_left(), "{which}: {what}\n{}", read("log"));
                thread::sleep(Duration::from_millis(50));
            }
        };
        eventually("it is rendered", &|| read("rendered") == "password=first");
        let token = read("token");
        // Changed as root sees it: who has the token could not.
        root("POST", "secret/data/app", json!({ "data": { "password": "second" } }));
        eventually("it is rendered again", &|| read("rendered") == "password=second");
        let renewed = || {
            let (status, answer) = ask(server.address, &token, "GET", "auth/token/lookup-self", &Value::Null);
            assert_eq!(status, 200, "{which}: {answer}");
            answer["data"]["last_renewal_time"].as_i64().unwrap_or(0)
        };
        eventually("the token is renewed", &|| renewed() > 0);
        let once = renewed();
        eventually("the token is renewed again", &|| renewed() > once);
        assert_eq!(read("token"), token, "{which}");
    });
}
