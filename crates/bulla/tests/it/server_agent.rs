//! `bulla agent` beside OpenBao's agent: the same configurations, against the real OpenBao and against ours.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bulla_test_support::bao::{Bao, ROOT};
use bulla_test_support::patience::Patience;
use bulla_test_support::service_accounts::{ServiceAccounts, UNUSED_AUTHORITY, service_account_token};
use bulla_test_support::{Server, http, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server_clients::{ours, write};
use crate::server_process::ask;

/// Which program runs a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Bulla,
    OpenBao,
}

pub(crate) const BOTH: [Program; 2] = [Program::OpenBao, Program::Bulla];

/// A folder with what an agent needs, in which it runs: configurations name their files without a folder.
pub(crate) struct Place(pub(crate) TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).map_or(0, |there| there.permissions().mode() & 0o7777)
    }

    /// Starts an agent with this configuration for a server.
    pub(crate) fn start(&self, which: Program, server: &str, config: &str, arguments: &[&str]) -> Agent {
        self.start_as(which, &format!("vault {{ address = \"{server}\" }}\n{config}"), arguments)
    }

    /// Starts an agent with this configuration.
    pub(crate) fn start_as(&self, which: Program, config: &str, arguments: &[&str]) -> Agent {
        write(&self.path("agent.hcl"), config);
        let arguments: Vec<&str> = ["-config=agent.hcl"].iter().chain(arguments).copied().collect();
        self.start_by(&[], which, &arguments)
    }

    /// Starts an agent by another program, which its words follow.
    pub(crate) fn start_by(&self, before: &[&str], which: Program, arguments: &[&str]) -> Agent {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let agent = match which {
            Program::Bulla => PathBuf::from(env!("CARGO_BIN_EXE_bulla")),
            Program::OpenBao => program("venv/bin/bao"),
        };
        let words: Vec<&OsStr> =
            before.iter().map(OsStr::new).chain([agent.as_os_str(), OsStr::new("agent")]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(arguments).current_dir(self.0.path());
        command.env_clear().env("HOME", self.0.path()).env("PATH", "/usr/bin:/bin").env("GREETING", "hello");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Agent(command.spawn().unwrap())
    }

    /// Waits until something holds.
    pub(crate) fn eventually(&self, what: &str, holds: impl Fn() -> bool) {
        let patience = Patience::default();
        while !holds() {
            assert!(patience.is_left(), "{what}\n{}", self.read("log"));
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// An agent, killed when dropped.
pub(crate) struct Agent(Child);

impl Agent {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    pub(crate) fn ended(&mut self, place: &Place) -> ExitStatus {
        let patience = Patience::default();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(patience.is_left(), "it goes on\n{}", place.read("log"));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with secrets, and a role that may read them.
pub(crate) struct World {
    pub(crate) address: std::net::SocketAddr,
    role_id: String,
}

impl World {
    pub(crate) fn new(address: std::net::SocketAddr, ttl: &str, max_ttl: &str) -> Self {
        let world = Self { address, role_id: String::new() };
        let policy = r#"path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }"#;
        world.root("PUT", "sys/policies/acl/app", &json!({ "policy": policy }));
        world.root("POST", "sys/auth/approle", &json!({ "type": "approle" }));
        let role = json!({ "token_policies": "app", "token_ttl": ttl, "token_max_ttl": max_ttl });
        world.root("POST", "auth/approle/role/app", &role);
        world.root("POST", "sys/mounts/old", &json!({ "type": "kv", "options": { "version": "1" } }));
        world.root("POST", "old/app", &json!({ "a": "1", "b": "two" }));
        let secret = json!({ "password": "p<w>&", "lines": "one\ntwo\n", "n": 12_345_678_901_234_567_890_u64, "f": 1.5, "on": true,
            "nested": { "list": ["x", "y"], "empty": null } });
        world.root("POST", "secret/data/app", &json!({ "data": secret }));
        world.root("POST", "secret/data/team/db", &json!({ "data": { "user": "u" } }));
        let role_id = world.root("GET", "auth/approle/role/app/role-id", &Value::Null)["role_id"].clone();
        Self { role_id: role_id.as_str().unwrap().to_owned(), ..world }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn root(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = ask(self.address, ROOT, method, path, body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer["data"].clone()
    }

    /// A place with the role's id and a new secret for it.
    pub(crate) fn place(&self) -> Place {
        let place = Place::new();
        write(&place.path("role-id"), &self.role_id);
        let secret = self.root("POST", "auth/approle/role/app/secret-id", &json!({}));
        write(&place.path("secret-id"), secret["secret_id"].as_str().unwrap());
        place
    }
}

pub(crate) const LOGIN: &str = r#"method "approle" {
    config = { role_id_file_path = "role-id", secret_id_file_path = "secret-id", remove_secret_id_file_after_reading = false }
}"#;

/// The same with the real OpenBao and with ours, at the same time.
pub(crate) fn with_both_servers(use_it: impl Fn(&str, &Server) + Sync) {
    thread::scope(|scope| {
        scope.spawn(|| use_it("OpenBao", &Bao::start().0));
        scope.spawn(|| use_it("bulla", &ours()));
    });
}

/// Files that both agents are to render alike, and their templates.
const FILES: &[(&str, &str)] = &[
    ("whole", r#"{{ with secret "secret/app" }}{{ .Data.data }}|{{ .LeaseDuration }}|{{ .Renewable }}{{ end }}"#),
    ("with-data", r#"{{ with secret "secret/data/app" }}{{ .Data.data.password }}{{ end }}"#),
    (
        "version",
        r#"{{ with secret "secret/app?version=1" }}{{ .Data.metadata.version }}{{ printf " %T %s" .Data.data.n .Data.data.n }}{{ end }}"#,
    ),
    ("old", r#"{{ with secret "old/app" }}{{ range $k, $v := .Data }}{{ $k }}={{ $v }};{{ end }}{{ end }}"#),
    (
        "json",
        r#"{{ with secret "secret/app" }}{{ .Data.data | toJSON }}{{ .Data.data | toJSONPretty }}{{ .Data.data | toUnescapedJSON }}{{ .Data.data | toUnescapedJSONPretty }}{{ end }}"#,
    ),
    ("yaml", r#"{{ with secret "secret/app" }}{{ .Data.data | toYAML }}{{ end }}"#),
    (
        "lists",
        r#"{{ range secrets "secret/" }}{{ . }};{{ end }}{{ range secrets "secret/team" }}{{ . }};{{ end }}{{ range secrets "secret/nothing" }}x{{ end }}"#,
    ),
    ("hash", r#"{{ with secret "sys/tools/hash/sha2-256" "input=aGVsbG8=" "format=base64" }}{{ .Data.sum }}{{ end }}"#),
    (
        "texts",
        r#"{{ "a,b, c" | split "," | join "+" }} {{ "x" | toUpper }}{{ toLower "Y" }} {{ toTitle "two words, don't" }} {{ "  t " | trimSpace }}{{ trim "x" "xax" }}{{ trimPrefix "p" "pa" }}{{ trimSuffix "s" "as" }} {{ replaceAll "a" "b" "aa" }} {{ regexReplaceAll "[0-9]+" "<$0>" "a12" }} {{ regexMatch "^a" "ab" }}{{ "abc" | contains "b" }}"#,
    ),
    (
        "encodings",
        r#"{{ base64Encode "hé?>" }} {{ base64URLEncode "hé?>" }} {{ base64Decode "aMOp" }} {{ sha256Hex "x" }} {{ hmacSHA256Hex "m" "k" }}"#,
    ),
    (
        "numbers",
        r#"{{ add 1 2 }} {{ subtract 3 10 }} {{ multiply 2 3 }} {{ divide 3 10 }} {{ modulo 3 10 }} {{ minimum 1 2 }} {{ maximum 1.5 2 }} {{ range loop 3 }}{{ . }}{{ end }} {{ parseInt "7" | add 1 }} {{ parseFloat "1.5" }} {{ parseBool "true" }}"#,
    ),
    (
        "structures",
        r#"{{ with parseJSON "{\"a\":[1,2.5,1000000,{\"b\":null}]}" }}{{ .a }} {{ toYAML . }}{{ end }} {{ "k=v;l=w" | splitToMap ";" "=" | toJSON }} {{ sprig_dict "a/b" 1 "c" 2 | explodeMap | toJSON }}"#,
    ),
    ("environment", r#"{{ env "GREETING" }}{{ env "NOT_SET" }}{{ envOrDefault "NOT_SET" "default" }}"#),
    ("indented", "{{ with secret \"secret/app\" }}{{ .Data.data.lines | indent 4 }}{{ end }}|"),
    ("missing", r#"{{ with secret "secret/app" }}{{ .Data.data.nothing }}{{ end }}"#),
    ("file", r#"{{ file "role-id" | len }}"#),
    (
        "flow",
        r#"{{ define "t" }}<{{ . }}>{{ end }}{{ template "t" 1 }}{{ if and true (eq 1 1) }}{{ else }}no{{ end }}{{ timestamp "2006" | len }}"#,
    ),
];

/// Their text in a configuration.
fn templates() -> String {
    FILES
        .iter()
        .map(|(name, text)| format!("template {{\n contents = {}\n destination = \"out/{name}\"\n}}\n", json!(text)))
        .collect()
}

#[test]
fn the_same_configuration_gives_the_same_files_as_openbaos_agent() {
    with_both_servers(|name, server| {
        let world = World::new(server.address, "1h", "2h");
        let config = format!(
            "{}\nauto_auth {{ {LOGIN}\n sink \"file\" {{ config = {{ path = \"token\" }} }}\n sink \"file\" {{ wrap_ttl = \"5m\"\n config = {{ path = \"wrapped\"\n mode = 0600 }} }} }}\n\
             exit_after_auth = true\npid_file = \"pid\"\n\
             template {{\n source = \"with-delimiters\"\n destination = \"out/delimiters\"\n left_delimiter = \"[[\"\n right_delimiter = \"]]\"\n perms = \"0640\"\n command = \"echo ran >> ran\"\n}}\n",
            templates(),
        );
        let places = BOTH.map(|which| {
            let place = world.place();
            write(&place.path("with-delimiters"), "[[ with secret \"old/app\" ]]{{ [[ .Data.a ]] }}[[ end ]]");
            let mut agent = place.start(which, &world.url(), &config, &[]);
            let status = agent.ended(&place);
            assert!(status.success(), "{name}, {which:?}: {status}\n{}", place.read("log"));
            place
        });
        let [peer, ours] = &places;
        for file in FILES.iter().map(|(file, _)| *file).chain(["delimiters"]) {
            let file = format!("out/{file}");
            assert_eq!(ours.read(&file), peer.read(&file), "{name}: {file}");
            assert_eq!(ours.mode(&file), peer.mode(&file), "{name}: {file}");
            assert!(ours.path(&file).exists(), "{name}: {file}");
        }
        for place in &places {
            assert_eq!(place.read("ran"), "ran\n", "{name}");
            assert!(!place.path("pid").exists(), "{name}");
            assert_eq!((place.mode("token"), place.mode("wrapped")), (0o640, 0o600), "{name}");
            let (status, found) =
                ask(world.address, &place.read("token"), "GET", "auth/token/lookup-self", &Value::Null);
            assert_eq!((status, found["data"]["policies"][0].as_str()), (200, Some("app")), "{name}");
            let wrapped: Value = serde_json::from_str(&place.read("wrapped")).unwrap();
            assert_eq!(
                (wrapped["ttl"].as_i64(), wrapped["creation_path"].as_str()),
                (Some(300), Some("sys/wrapping/wrap"))
            );
            let unwrapped =
                ask(world.address, wrapped["token"].as_str().unwrap(), "PUT", "sys/wrapping/unwrap", &json!({}));
            assert_eq!(unwrapped.1["data"]["token"].as_str(), Some(place.read("token").as_str()), "{name}");
        }
        let keys = |place: &Place| {
            let wrapped: serde_json::Map<String, Value> = serde_json::from_str(&place.read("wrapped")).unwrap();
            wrapped.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(ours), keys(peer));
        // No secret and no token is in the log.
        for secret in ["p<w>&", &ours.read("token"), &ours.read("secret-id")] {
            assert!(!ours.read("log").contains(secret), "{name}");
        }
    });
}

#[test]
fn a_template_that_cannot_be_rendered_keeps_no_other_from_it() {
    let server = ours();
    let world = World::new(server.address, "1h", "2h");
    let place = world.place();
    let template = |text: &str, file: &str| {
        format!(
            "template {{\n contents = {}\n destination = \"{file}\"\n error_on_missing_key = true\n}}\n",
            json!(text)
        )
    };
    let all = [
        template("{{ with secret \"secret/later\" }}{{ .Data.data.a }}{{ end }}", "later"),
        template("{{ with secret \"secret/app\" }}{{ .Data.data.nothing }}{{ end }}", "key"),
        template("{{ if }}", "malformed"),
        template("{{ with secret \"secret/app\" }}{{ .Data.data.password }}{{ end }}", "good"),
    ]
    .concat();
    let config =
        format!("auto_auth {{ {LOGIN} }}\n template_config {{ static_secret_render_interval = \"1s\" }}\n{all}");
    let agent = place.start(Program::Bulla, &world.url(), &config, &[]);
    place.eventually("the good one is rendered", || place.read("good") == "p<w>&");
    place.eventually("it is said what is wrong", || {
        ["no secret exists at secret/data/later", "map has no entry for key", "malformed"]
            .iter()
            .all(|why| place.read("log").contains(why))
    });
    world.root("POST", "secret/data/later", &json!({ "data": { "a": "here" } }));
    place.eventually("what was missing is rendered", || place.read("later") == "here");
    world.root("POST", "secret/data/app", &json!({ "data": { "nothing": "something", "password": "new" } }));
    place.eventually("so is what lacked a key", || place.read("key") == "something");
    place.eventually("and the good one again", || place.read("good") == "new");
    drop(agent);
    // Whoever waits for the first rendering does not wait for ever: the peer's init containers do.
    let place = world.place();
    let config = format!(
        "auto_auth {{ {LOGIN} }}\nexit_after_auth = true\n{}{}",
        template("{{ with secret \"secret/nowhere\" }}x{{ end }}", "never"),
        template("{{ with secret \"old/app\" }}{{ .Data.a }}{{ end }}", "good"),
    );
    let mut agent = place.start(Program::Bulla, &world.url(), &config, &["-first-render-timeout=3s"]);
    assert_eq!(agent.ended(&place).code(), Some(1));
    assert_eq!(place.read("good"), "1");
    assert!(place.read("log").contains("never (vault.read(secret/nowhere): no secret exists"), "{}", place.read("log"));
    // A failure ends both, where it is to.
    let config = config.replace("exit_after_auth = true", "template_config { exit_on_retry_failure = true }");
    for which in BOTH {
        let place = world.place();
        let vault = format!("vault {{ address = \"{}\"\n retry {{ num_retries = 1 }} }}\n", world.url());
        let mut agent = place.start_as(which, &format!("{vault}{config}"), &[]);
        assert_eq!(agent.ended(&place).code(), Some(1), "{which:?}\n{}", place.read("log"));
    }
}

#[test]
fn every_method_logs_in() {
    with_both_servers(|name, server| {
        let world = World::new(server.address, "1h", "2h");
        let cluster = ServiceAccounts::start();
        world.root("POST", "sys/auth/kubernetes", &json!({ "type": "kubernetes" }));
        let config = json!({ "kubernetes_host": cluster.0.url(), "token_reviewer_jwt": "reviewer", "disable_local_ca_jwt": true,
            "kubernetes_ca_cert": UNUSED_AUTHORITY });
        world.root("POST", "auth/kubernetes/config", &config);
        let role = json!({ "bound_service_account_names": "app", "bound_service_account_namespaces": "shop", "audience": "vault",
            "token_policies": "app" });
        world.root("POST", "auth/kubernetes/role/app", &role);
        let methods = [
            "method \"kubernetes\" { config = { role = \"app\", token_path = \"jwt\" } }",
            "method \"token_file\" { config = { token_file_path = \"token-file\" } }",
            "method \"approle\" { config = { role_id_file_path = \"role-id\", secret_id_file_path = \"wrapped-id\", secret_id_response_wrapping_path = \"auth/approle/role/app/secret-id\" } }",
        ];
        for (which, method) in BOTH.iter().flat_map(|which| methods.map(|method| (*which, method))) {
            let place = world.place();
            write(&place.path("jwt"), &service_account_token("shop", "app", "vault"));
            write(&place.path("token-file"), &format!("{ROOT}\n"));
            let wrapped = http(
                world.address,
                "POST",
                "/v1/auth/approle/role/app/secret-id",
                &[("X-Vault-Token", ROOT), ("X-Vault-Wrap-TTL", "60s")],
                "{}",
            );
            let wrapped: Value = serde_json::from_str(&wrapped.1).unwrap();
            write(&place.path("wrapped-id"), wrapped["wrap_info"]["token"].as_str().unwrap());
            let config = format!(
                "auto_auth {{ {method}\n sink \"file\" {{ config = {{ path = \"token\" }} }} }}\nexit_after_auth = true\n"
            );
            let mut agent = place.start(which, &world.url(), &config, &[]);
            assert!(agent.ended(&place).success(), "{name}, {which:?}, {method}\n{}", place.read("log"));
            let (status, _) = ask(world.address, &place.read("token"), "GET", "old/app", &Value::Null);
            assert_eq!(status, 200, "{name}, {which:?}, {method}");
            assert_eq!(place.path("wrapped-id").exists(), !method.contains("wrapped-id"), "{name}, {which:?}");
        }
        // A wrapped secret that somebody else wrapped is not used.
        let place = world.place();
        write(&place.path("wrapped-id"), "nonsense");
        let config = format!(
            "auto_auth {{ {}\n sink \"file\" {{ config = {{ path = \"token\" }} }} }}\n",
            methods[2].replace("config =", "exit_on_err = true\n config =")
        );
        let mut agent = place.start(Program::Bulla, &world.url(), &config, &[]);
        assert_eq!(agent.ended(&place).code(), Some(1), "{}", place.read("log"));
        assert!(!place.path("token").exists());
    });
}

#[test]
fn a_configuration_that_cannot_be_used_ends_both_at_once() {
    let place = Place::new();
    for (config, why) in [
        ("nonsense", ""),
        ("", "no auto_auth, cache, or listener block"),
        (
            "auto_auth { method \"approle\" {\n config = {}\n}\n sink \"file\" {\n config = { path = \"x\" }\n} }",
            "role_id_file_path",
        ),
        (
            "auto_auth { method \"approle\" {\n config = { role_id_file_path = \"x\" }\n} }",
            "requires at least one sink",
        ),
    ] {
        for which in BOTH {
            write(&place.path("log"), "");
            let mut agent = place.start(which, "http://127.0.0.1:1", config, &[]);
            assert_eq!(agent.ended(&place).code(), Some(1), "{which:?}: {config}\n{}", place.read("log"));
            assert!(place.read("log").contains(why), "{which:?}: {config}\n{}", place.read("log"));
        }
    }
    // The peer listens, and no handshake comes to its end.
    let mut agent =
        place.start(Program::Bulla, "http://127.0.0.1:1", "listener \"tcp\" {\n address = \"127.0.0.1:0\"\n}", &[]);
    assert_eq!(agent.ended(&place).code(), Some(1));
    assert!(place.read("log").contains("tls_cert_file"), "{}", place.read("log"));
    let started = Instant::now();
    let missing = Command::new(env!("CARGO_BIN_EXE_bulla")).args(["agent", "-config=/nowhere.hcl"]).output().unwrap();
    assert!(missing.status.code() == Some(1) && started.elapsed() < Duration::from_secs(10));
    // Under the peer's name.
    let named = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(Path::new(env!("CARGO_BIN_EXE_bulla")), named.path().join("vault")).unwrap();
    let missing = Command::new(named.path().join("vault")).args(["agent", "-config=/nowhere.hcl"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere.hcl"));
}
