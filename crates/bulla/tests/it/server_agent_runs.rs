//! `bulla agent` as it goes on: servers and tokens that end, leases, programs, requests of others.

use std::process::Command;
use std::thread;
use std::time::Duration;

use bulla_test_support::bao::{Bao, ROOT};
use bulla_test_support::service_accounts::Broker;
use bulla_test_support::{http, program, unused_address};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::server_agent::{BOTH, LOGIN, Place, Program, World, with_both_servers};
use crate::server_clients::{ours, write};
use crate::server_process::{Home, ask};

#[test]
fn the_agent_outlives_its_server_and_its_token() {
    let home = Home::new();
    let (mut server, root) = home.initialize();
    let address = server.address;
    let as_root = |method: &str, path: &str, body: &Value| {
        let (status, answer) = ask(address, &root, method, path, body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer["data"].clone()
    };
    as_root("POST", "sys/mounts/secret", &json!({ "type": "kv", "options": { "version": "2" } }));
    let policy = r#"path "secret/*" { capabilities = ["read"] }"#;
    as_root("PUT", "sys/policies/acl/app", &json!({ "policy": policy }));
    as_root("POST", "sys/auth/approle", &json!({ "type": "approle" }));
    as_root(
        "POST",
        "auth/approle/role/app",
        &json!({ "token_policies": "app", "token_ttl": "4s", "token_max_ttl": "1h" }),
    );
    as_root("POST", "secret/data/app", &json!({ "data": { "a": "first" } }));
    let place = Place::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    write(&place.path("role-id"), &text(&as_root("GET", "auth/approle/role/app/role-id", &Value::Null)["role_id"]));
    write(
        &place.path("secret-id"),
        &text(&as_root("POST", "auth/approle/role/app/secret-id", &json!({}))["secret_id"]),
    );
    let config = format!(
        "auto_auth {{ {LOGIN}\n sink \"file\" {{ config = {{ path = \"token\" }} }} }}\n\
         template_config {{ static_secret_render_interval = \"1s\" }}\n\
         template {{\n contents = {}\n destination = \"out\"\n}}\n",
        json!("{{ with secret \"secret/app\" }}{{ .Data.data.a }}{{ end }}")
    );
    let mut agent = place.start(Program::Bulla, &format!("http://{address}"), &config, &[]);
    place.eventually("it is rendered", || place.read("out") == "first");
    let token = place.read("token");
    let renewed =
        || ask(address, &token, "GET", "auth/token/lookup-self", &Value::Null).1["data"]["last_renewal_time"].is_i64();
    place.eventually("the token is renewed", renewed);
    assert_eq!(place.read("token"), token);
    server.kill();
    server.ended();
    place.eventually("it notices", || place.read("log").contains("it cannot be read"));
    assert_eq!(place.read("out"), "first");
    // Long enough for the token to be over.
    thread::sleep(Duration::from_secs(5));
    let again = crate::server::Server::of(home.command(address), address, 200);
    as_root("POST", "secret/data/app", &json!({ "data": { "a": "second" } }));
    place.eventually("it logs in again, and renders", || place.read("out") == "second");
    place.eventually("there is another token", || !place.read("token").is_empty() && place.read("token") != token);
    // A token that is taken away is followed by another one as soon as the server says so.
    let token = place.read("token");
    as_root("POST", "auth/token/revoke", &json!({ "token": token }));
    place.eventually("it logs in again", || place.read("token") != token);
    agent.signal(Signal::TERM);
    assert!(agent.ended(&place).success(), "{}", place.read("log"));
    drop(again);
}

#[test]
fn leases_are_shared_renewed_and_followed_by_others() {
    let (bao, broker) = (Bao::start(), Broker::start());
    let world = World::new(bao.0.address, "1h", "2h");
    let path = broker.engine(&bao, "3s", "8s");
    let place = world.place();
    let config = format!(
        "auto_auth {{ {LOGIN} }}\n\
         template {{\n contents = {}\n destination = \"name\"\n}}\ntemplate {{\n contents = {}\n destination = \"both\"\n}}\n",
        json!(format!("{{{{ with secret \"{path}\" }}}}{{{{ .Data.username }}}}{{{{ end }}}}")),
        json!(format!(
            "{{{{ with secret \"{path}\" }}}}{{{{ .Data.username }}}}:{{{{ .Data.password }}}}{{{{ end }}}}"
        )),
    );
    let _agent = place.start(Program::Bulla, &world.url(), &config, &[]);
    place.eventually("both are rendered", || !place.read("name").is_empty() && !place.read("both").is_empty());
    let first = place.read("name");
    assert!(place.read("both").starts_with(&format!("{first}:")));
    assert_eq!(broker.users().0.len(), 1, "two templates are given one user");
    // Longer than the lease without a renewal.
    thread::sleep(Duration::from_millis(4500));
    assert_eq!((place.read("name"), broker.users().0.len()), (first.clone(), 1));
    place.eventually("the longest time of the lease ends, and there is another user", || place.read("name") != first);
    place.eventually("in both", || place.read("both").starts_with(&format!("{}:", place.read("name"))));
    assert!(!broker.users().1.contains(&place.read("name")), "it is one that lives");
}

#[test]
fn a_program_has_the_secrets_as_variables_and_is_started_again() {
    let server = ours();
    let world = World::new(server.address, "1h", "2h");
    let config = format!(
        "auto_auth {{ {LOGIN} }}\n template_config {{ static_secret_render_interval = \"1s\" }}\n\
         env_template \"A\" {{\n contents = {}\n}}\nenv_template \"B\" {{\n contents = \"b\"\n}}\n\
         exec {{\n command = [\"sh\", \"-c\", {}]\n restart_stop_signal = \"SIGUSR1\"\n}}\n",
        json!("{{ with secret \"secret/app\" }}{{ .Data.data.password }}{{ end }}"),
        json!(
            "echo \"$A $B $GREETING\" >> seen; trap 'echo stopped >> seen; exit 0' USR1; while [ -e seen ] && [ ! -e end ]; do sleep 0.05; done; exit 9"
        ),
    );
    for which in BOTH {
        world.root("POST", "secret/data/app", &json!({ "data": { "password": "first" } }));
        let place = world.place();
        let mut agent = place.start(which, &world.url(), &config, &[]);
        place.eventually("it runs", || place.read("seen") == "first b hello\n");
        world.root("POST", "secret/data/app", &json!({ "data": { "password": "second" } }));
        place.eventually("it is started again", || place.read("seen") == "first b hello\nstopped\nsecond b hello\n");
        write(&place.path("end"), "");
        assert_eq!(agent.ended(&place).code(), Some(9), "{which:?}\n{}", place.read("log"));
    }
    // The agent's end is the program's.
    let place = world.place();
    let mut agent = place.start(Program::Bulla, &world.url(), &config, &[]);
    place.eventually("it runs", || !place.read("seen").is_empty());
    agent.signal(Signal::TERM);
    assert!(agent.ended(&place).success());
    assert!(place.read("seen").ends_with("stopped\n"), "{}", place.read("seen"));
    let place = world.place();
    let never = config.replace("restart_stop_signal", "restart_on_secret_changes = \"never\"\n restart_stop_signal");
    let _agent = place.start(Program::Bulla, &world.url(), &never, &[]);
    place.eventually("it runs", || place.read("seen") == "second b hello\n");
    world.root("POST", "secret/data/app", &json!({ "data": { "password": "third" } }));
    place.eventually("it is noticed", || place.read("log").contains("goes on as it is"));
    assert_eq!(place.read("seen"), "second b hello\n");
}

#[test]
fn requests_are_passed_on_with_the_agents_token() {
    with_both_servers(|name, server| {
        let world = World::new(server.address, "1h", "2h");
        for which in BOTH {
            let place = world.place();
            let address = unused_address();
            let listener = |more: &str| {
                format!("listener \"tcp\" {{\n address = \"{address}\"\n tls_disable = true\n{more}\n}}\n")
            };
            let start = |place: &Place, use_token: &str, more: &str| {
                let config = format!(
                    "auto_auth {{ {LOGIN} }}\napi_proxy {{ use_auto_auth_token = {use_token} }}\n{}",
                    listener(more)
                );
                place.start(which, &world.url(), &config, &[])
            };
            let headers = "require_request_header = true\n agent_api { enable_quit = true }";
            let mut agent = start(&place, "true", headers);
            let said = [("X-Vault-Request", "true")];
            let with = |token: &'static str| [("X-Vault-Request", "true"), ("X-Vault-Token", token)];
            let get = |path: &str, headers: &[(&str, &str)]| http(address, "GET", path, headers, "");
            place.eventually("it passes on", || get("/v1/secret/data/app", &said).0 == 200);
            let (_, answer) = get("/v1/secret/data/app", &said);
            assert!(
                answer.contains("p\\u003cw\\u003e\\u0026") || answer.contains("p<w>&"),
                "{name}, {which:?}: {answer}"
            );
            assert_eq!(get("/v1/secret/data/app", &[]).0, 412, "{name}, {which:?}");
            assert_eq!(get("/v1/secret/data/app", &with("nonsense")).0, 403, "{name}, {which:?}");
            assert_eq!(get("/v1/secret/metadata/team?list=true", &said).0, 200, "{name}, {which:?}");
            let put = http(address, "PUT", "/v1/old/new%20one", &said, r#"{"x":"y"}"#);
            assert_eq!(put.0, 204, "{name}, {which:?}: {}", put.1);
            assert_eq!(world.root("GET", "old/new%20one", &Value::Null)["x"], "y");
            let (_, own) = get("/v1/auth/token/lookup-self", &said);
            let own: Value = serde_json::from_str(&own).unwrap();
            assert!(own["data"]["policies"].is_array() && own["data"]["id"].is_null(), "{name}, {which:?}: {own}");
            assert!(own["data"]["accessor"].is_null(), "{name}, {which:?}: {own}");
            let (_, root) = get("/v1/auth/token/lookup-self", &with(ROOT));
            assert!(root.contains(ROOT), "{name}, {which:?}: {root}");
            assert_eq!(http(address, "POST", "/agent/v1/quit", &said, "").0, 200, "{name}, {which:?}");
            assert!(agent.ended(&place).success(), "{name}, {which:?}");
            let place = world.place();
            let _agent = start(&place, "\"force\"", "");
            place.eventually("it passes on", || get("/v1/secret/data/app", &with("nonsense")).0 == 200);
            assert_ne!(http(address, "POST", "/agent/v1/quit", &said, "").0, 200, "{name}, {which:?}");
        }
    });
}

#[test]
fn a_socket_of_this_machine_is_listened_on() {
    let server = ours();
    let world = World::new(server.address, "1h", "2h");
    let place = world.place();
    let config = format!(
        "auto_auth {{ {LOGIN} }}\napi_proxy {{ use_auto_auth_token = true }}\n\
         listener \"unix\" {{\n address = \"socket\"\n socket_mode = \"0600\"\n tls_disable = true\n}}\n"
    );
    let mut agent = place.start(Program::Bulla, &world.url(), &config, &[]);
    let path = place.path("socket");
    let read = || {
        let mut command = Command::new(program("venv/bin/bao"));
        command.args(["read", "-field=a", "old/app"]).env_clear().env("HOME", place.0.path());
        command.env("BAO_ADDR", format!("unix://{}", path.display())).env("BAO_MAX_RETRIES", "0");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    place.eventually("it listens", || path.exists() && read() == "1");
    assert_eq!(place.mode("socket"), 0o600);
    agent.signal(Signal::INT);
    assert!(agent.ended(&place).success());
    assert!(!path.exists());
}

#[test]
fn tls_is_spoken_with_the_server_and_with_clients() {
    let bao = Bao::with_tls();
    let folder = bao.0.folder.path();
    let (file, address) = (|name: &str| folder.join(name).display().to_string(), unused_address());
    let authority = file("vault-ca.pem");
    let config = |authority: &str| {
        format!(
            "vault {{\n address = \"https://{}\"\n ca_cert = \"{authority}\"\n}}\n\
             auto_auth {{\n method \"token_file\" {{\n config = {{ token_file_path = \"root\" }}\n }}\n}}\n\
             template {{\n contents = {}\n destination = \"out\"\n}}\n\
             api_proxy {{\n use_auto_auth_token = true\n}}\n\
             listener \"tcp\" {{\n address = \"{address}\"\n tls_cert_file = \"{}\"\n tls_key_file = \"{}\"\n}}\n",
            bao.0.address,
            json!("{{ with secret \"auth/token/lookup-self\" }}{{ .Data.display_name }}{{ end }}"),
            file("vault-cert.pem"),
            file("vault-key.pem"),
        )
    };
    for which in BOTH {
        let place = Place::new();
        write(&place.path("root"), ROOT);
        let _agent = place.start_as(which, &config(&authority), &[]);
        place.eventually("it is rendered", || place.read("out") == "token");
        let read = |authority: Option<&str>| {
            let mut command = Command::new(program("venv/bin/bao"));
            command.args(["read", "-field=display_name", "auth/token/lookup-self"]).env_clear();
            command.env("HOME", place.0.path()).env("BAO_ADDR", format!("https://{address}"));
            command.envs(authority.map(|path| ("BAO_CACERT", path)));
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        place.eventually("it listens", || read(Some(&authority)) == "token");
        assert_eq!(read(None), "", "{which:?}: who does not know the authority is not served");
    }
    // A server that nobody vouches for is told nothing.
    let place = Place::new();
    write(&place.path("root"), ROOT);
    let config = config("").replace("token_file\" {\n", "token_file\" {\n exit_on_err = true\n");
    let mut agent = place.start_as(Program::Bulla, &config, &[]);
    assert_eq!(agent.ended(&place).code(), Some(1));
    assert!(place.read("log").contains("certificate"), "{}", place.read("log"));
}

#[test]
fn a_certificate_is_issued_once_and_again_when_it_ends() {
    let bao = Bao::start();
    let world = World::new(bao.0.address, "1h", "2h");
    world.root("POST", "sys/mounts/pki", &json!({ "type": "pki" }));
    world.root(
        "POST",
        "pki/root/generate/internal",
        &json!({ "common_name": "authority", "ttl": "24h", "key_type": "ec" }),
    );
    let role = json!({ "allow_any_name": true, "key_type": "ec", "key_bits": 256, "max_ttl": "1h" });
    world.root("POST", "pki/roles/r", &role);
    let config = |ttl: &str| {
        let text = format!(
            "{{{{ with pkiCert \"pki/issue/r\" \"common_name=app.example.com\" \"ttl={ttl}\" }}}}{{{{ .Data.Key }}}}{{{{ .Data.Cert }}}}{{{{ .Data.CA }}}}{{{{ end }}}}"
        );
        format!("auto_auth {{ {LOGIN} }}\ntemplate {{\n contents = {}\n destination = \"out\"\n}}\n", json!(text))
    };
    let blocks =
        |text: &str| text.lines().filter(|line| line.starts_with("-----BEGIN")).map(str::to_owned).collect::<Vec<_>>();
    let mut shapes = Vec::new();
    for which in BOTH {
        let place = world.place();
        let agent = place.start(which, &world.url(), &config("10s"), &[]);
        place.eventually("it is rendered", || !place.read("out").is_empty());
        let first = place.read("out");
        shapes.push(blocks(&first));
        place.eventually("it is issued again before it ends", || place.read("out") != first);
        drop(agent);
        // One that is good is taken from where it was put.
        let place = world.place();
        let agent = place.start(which, &world.url(), &config("1h"), &[]);
        place.eventually("it is rendered", || !place.read("out").is_empty());
        let first = place.read("out");
        drop(agent);
        let once = config("1h").replacen("auto_auth", "exit_after_auth = true\nauto_auth", 1);
        let mut agent = place.start(which, &world.url(), &once, &[]);
        assert!(agent.ended(&place).success(), "{which:?}\n{}", place.read("log"));
        assert_eq!(place.read("out"), first, "{which:?}");
    }
    assert_eq!(shapes[0], shapes[1]);
    assert_eq!(shapes[0].len(), 3, "a key, a certificate, its authority");
}
