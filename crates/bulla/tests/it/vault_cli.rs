//! Under the names `vault` and `bao`: the same command lines run by the real `bao` and by ours, against one server.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bulla_test_support::bao::{Bao, ROOT};
use bulla_test_support::program;
use regex::Regex;

/// A server, and the two programs.
struct World {
    server: Bao,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bao", "vault"] {
            symlink(env!("CARGO_BIN_EXE_bulla"), folder.path().join(name)).unwrap();
        }
        Self { server: Bao::start(), folder }
    }

    fn ours(&self, name: &str) -> Command {
        self.command(&self.folder.path().join(name))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", self.folder.path()).env("BAO_ADDR", self.server.url()).env("BAO_TOKEN", ROOT);
        command.current_dir(self.folder.path());
        command
    }
}

fn run(command: &mut Command, arguments: &[String], stdin: &str) -> Output {
    let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever does not read it closes it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Without what differs from run to run: times, ids, and which of the two mounts it is.
struct Scrub(Vec<(Regex, &'static str)>);

impl Scrub {
    fn new() -> Self {
        let rules = [
            (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?", "TIME"),
            (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
            (r"\b[sb]\.[A-Za-z0-9_-]{20,}", "TOKEN"),
            (r"\b[A-Za-z0-9]{24}\b", "ACCESSOR"),
            (r"\b276(4800|479\d)\b", "TTL"),
            (r"76[78]h(59m\d\ds)?", "TTL"),
            (r#""?creation_time"?: ?\d+|creation_time +\d+"#, "CREATED"),
            ("Waiting for terminal status.*\n", ""),
            (r"Encryption Count +\d+", "COUNT"),
            ("qa", "qx"),
            ("qb", "qx"),
            ("QA", "QX"),
            ("QB", "QX"),
        ];
        Self(rules.map(|(rule, name)| (Regex::new(rule).unwrap(), name)).into())
    }

    fn apply(&self, bytes: &[u8]) -> String {
        let text = self.0.iter().fold(text(bytes), |text, (rule, name)| rule.replace_all(&text, *name).into_owned());
        if !text.starts_with("curl ") {
            return text;
        }
        // The real one puts headers in an order of chance.
        let headers = Regex::new("-H \"[^\"]*\" ").unwrap();
        let mut found: Vec<&str> = headers.find_iter(&text).map(|header| header.as_str()).collect();
        found.sort_unstable();
        format!("{}{}", found.concat(), headers.replace_all(&text, ""))
    }
}

#[test]
fn what_the_real_program_prints_is_what_ours_prints() {
    let world = World::new();
    let scrub = Scrub::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in include_str!("vault_cli.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (line, compares_stderr) = line.strip_prefix('~').map_or((line, true), |line| (line, false));
        let (arguments, stdin) = line.split_once(" <<< ").unwrap_or((line, ""));
        let as_one = |name: &str| words(&arguments.replace("qx", name).replace("QX", &name.to_uppercase()));
        let real = run(&mut world.command(&program("venv/bin/bao")), &as_one("qa"), stdin);
        let ours = run(&mut world.ours("bao"), &as_one("qb"), stdin);
        count += 1;
        let mut compare = |what: &str, real: String, ours: String| {
            if real != ours {
                wrong.push(format!("bao {line}: {what}\n--- real\n{real}\n--- ours\n{ours}\n"));
            }
        };
        compare("exit status", format!("{:?}", real.status.code()), format!("{:?}", ours.status.code()));
        compare("standard output", scrub.apply(&real.stdout), scrub.apply(&ours.stdout));
        if compares_stderr {
            compare("standard error", scrub.apply(&real.stderr), scrub.apply(&ours.stderr));
        }
    }
    assert!(count > 150, "cases are missing");
    assert!(wrong.is_empty(), "{} of {count} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn lists_of_mounts_are_the_same_to_the_byte() {
    let world = World::new();
    for arguments in [
        "secrets list",
        "secrets list -detailed",
        "secrets list -format=json",
        "secrets list -format=yaml",
        "auth list",
        "auth list -detailed",
        "auth list -format=json",
        "policy list",
        "policy list -format=json",
    ] {
        let real = run(&mut world.command(&program("venv/bin/bao")), &words(arguments), "");
        let ours = run(&mut world.ours("bao"), &words(arguments), "");
        assert_eq!(text(&ours.stdout), text(&real.stdout), "{arguments}");
        assert_eq!(ours.status.code(), real.status.code(), "{arguments}");
    }
}

#[test]
fn a_token_is_stored_for_its_owner_and_used_and_a_wrapped_answer_is_unwrapped_once() {
    let world = World::new();
    let ours = |arguments: &str, stdin: &str| {
        let mut command = world.ours("vault");
        command.env_remove("BAO_TOKEN");
        run(&mut command, &words(arguments), stdin)
    };
    assert_eq!(ours("kv get secret/x", "").status.code(), Some(2), "there is no token yet");
    let output = ours("login -", ROOT);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let path = world.folder.path().join(".vault-token");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), ROOT);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(ours("kv put secret/x a=hunter2", "").status.success());
    let wrapped = text(&ours("kv get -wrap-ttl=60 -format=json secret/x", "").stdout);
    let wrapped: serde_json::Value = serde_json::from_str(&wrapped).unwrap();
    let token = wrapped["wrap_info"]["token"].as_str().unwrap();
    assert_eq!(
        text(&ours("unwrap -field=data -format=json -", token).stdout).split_whitespace().collect::<String>(),
        "{\"a\":\"hunter2\"}"
    );
    let again = ours("unwrap -", token);
    assert_eq!(again.status.code(), Some(2));
    assert!(!text(&again.stderr).contains(token), "a token is never shown");
}

#[test]
fn a_role_logs_in_with_its_secret_from_standard_input() {
    let world = World::new();
    let role = world.server.app_role(&serde_json::json!({}));
    let arguments = format!(
        "login -method=approle -path={} -no-store -field=token_policies role_id={} secret_id=-",
        role["BULLA_VAULT_AUTH_MOUNT"], role["BULLA_VAULT_ROLE_ID"]
    );
    let output = run(&mut world.ours("vault"), &words(&arguments), &role["BULLA_VAULT_SECRET_ID"]);
    assert_eq!(text(&output.stdout), "[default keys]", "{}", text(&output.stderr));
}

#[test]
fn versions_and_help_are_printed_as_scripts_expect_them() {
    let world = World::new();
    for (name, product) in [("vault", "Vault v"), ("bao", "OpenBao v")] {
        for arguments in ["version", "-version", "-v"] {
            let output = run(&mut world.ours(name), &words(arguments), "");
            let version = text(&output.stdout)
                .strip_prefix(product)
                .map(|rest| rest.split(['.', '+', ' ']).take(3).all(|part| part.parse::<u32>().is_ok()));
            assert_eq!((output.status.code(), version), (Some(0), Some(true)), "{name} {arguments}");
        }
    }
    for (arguments, code) in
        [("", 127), ("nosuchcommand", 127), ("kv", 1), ("kv nosuch", 1), ("kv -h", 0), ("kv get -h", 0), ("-h", 0)]
    {
        assert_eq!(run(&mut world.ours("vault"), &words(arguments), "").status.code(), Some(code), "{arguments}");
    }
    let mut completing = world.ours("vault");
    completing.env("COMP_LINE", "vault kv meta");
    assert_eq!(text(&run(&mut completing, &[], "").stdout), "metadata\n");
}
