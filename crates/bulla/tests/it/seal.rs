//! `bulla seal` and our `kubeseal` beside the real one: what each seals, the other opens.

use std::process::Command;
use std::sync::OnceLock;

use bulla_format::sealed::{Algorithm, PrivateKey, self_signed};
use bulla_test_support::program;

use crate::world::{Program, Run, World, finish};

/// A key, its certificate, and one that expired; made once: 4096 bits take seconds.
struct Keys {
    private: PrivateKey,
    current: String,
    old: String,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let private = PrivateKey::generate(Algorithm::Rsa).unwrap();
        let certificate = |from: &str, to: &str| {
            self_signed(&private, "", from.parse().unwrap(), to.parse().unwrap()).unwrap().to_pem()
        };
        let current = certificate("2020-01-01T00:00:00Z", "2120-01-01T00:00:00Z");
        let old = certificate("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
        Keys { private, current, old }
    })
}

/// A folder with a certificate, its key, and our program under the name `kubeseal`.
pub(crate) fn world() -> World {
    let world = World::new();
    let keys = keys();
    world.write("key.pem", keys.private.to_pem().unwrap().expose());
    world.write("public.pem", keys.private.public_key().to_pem());
    world.write("cert.pem", &keys.current);
    world.write("old.pem", &keys.old);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bulla"), world.path("kubeseal")).unwrap();
    world
}

/// Who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Our program under kubeseal's name.
    Ours,
    /// The real one.
    Theirs,
}

pub(crate) fn command(world: &World, who: Who) -> Command {
    let program = match who {
        Who::Ours => world.path("kubeseal"),
        Who::Theirs => program("bin/kubeseal"),
    };
    let mut command = Command::new(program);
    command.current_dir(world.folder()).env_clear().env("HOME", world.folder());
    command
}

pub(crate) fn kubeseal(world: &World, who: Who, line: &str, input: &str) -> Run {
    finish(command(world, who).args(line.split_whitespace()), input.as_bytes())
}

pub(crate) fn bulla(world: &World, line: &str, input: &str) -> Run {
    finish(world.command(Program::Bulla).args(line.split_whitespace()), input.as_bytes())
}

/// A text as JSON, with each item's ciphertext replaced by its length: what can be compared.
pub(crate) fn shape(text: &str) -> serde_json::Value {
    let yaml = bulla_document::Syntax::Yaml;
    let document = bulla_document::Document::parse(yaml, bulla_core::SecretBytes::from(text.as_bytes())).unwrap();
    let value = document.to_value(document.roots()[0]);
    let json = bulla_document::emit(&[value], bulla_document::Syntax::Json, bulla_document::EmitOptions::default());
    let mut json: serde_json::Value = serde_json::from_slice(json.unwrap().expose()).unwrap();
    if let Some(items) = json["spec"]["encryptedData"].as_object_mut() {
        for (_, value) in items.iter_mut() {
            *value = value.as_str().unwrap().len().into();
        }
    }
    json
}

pub(crate) const SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata:
  name: db
  namespace: shop
  labels:
    app: shop
  annotations:
    note: \"true\"
    kubectl.kubernetes.io/last-applied-configuration: '{\"data\":{\"password\":\"hunter2\"}}'
  uid: 0c2b
  creationTimestamp: 2026-01-02T03:04:05Z
type: Opaque
immutable: true
data:
  password: aHVudGVyMg==
  both: b2xk
stringData:
  user: admin
  both: new
";

#[test]
fn what_one_seals_the_other_opens_in_every_scope_and_format() {
    let world = world();
    for scope in ["strict", "namespace-wide", "cluster-wide"] {
        for format in ["json", "yaml"] {
            for (seals, opens) in [(Who::Ours, Who::Theirs), (Who::Theirs, Who::Ours)] {
                let sealed =
                    kubeseal(&world, seals, &format!("--cert cert.pem --scope {scope} -o {format}"), SECRET).ok();
                let line = format!("--recovery-unseal --recovery-private-key key.pem -o {format}");
                let opened = kubeseal(&world, opens, &line, sealed.text()).ok();
                let secret = shape(opened.text());
                assert_eq!(secret["data"]["password"], "aHVudGVyMg==", "{scope} {format} {seals:?}");
                assert_eq!(secret["data"]["user"], "YWRtaW4=");
                assert_eq!(secret["data"]["both"], "bmV3", "stringData wins");
                assert_eq!(secret["immutable"], true);
            }
        }
    }
}

#[test]
fn both_write_the_same_objects() {
    let world = world();
    for line in [
        "--cert cert.pem",
        "--cert cert.pem -o yaml",
        "--cert cert.pem --format=yaml --scope=cluster-wide",
        "--cert cert.pem --scope namespace-wide",
        "--cert cert.pem --name other",
        "--cert cert.pem -n shop",
    ] {
        let [theirs, ours] = [Who::Theirs, Who::Ours].map(|who| kubeseal(&world, who, line, SECRET).ok());
        assert_eq!(shape(ours.text()), shape(theirs.text()), "{line}");
        assert_eq!(ours.text().lines().count(), theirs.text().lines().count(), "{line}: {}", ours.text());
        assert_eq!(ours.text().lines().next(), theirs.text().lines().next(), "{line}");
        assert!(!ours.text().contains("hunter2"), "{line}");
    }
    let sealed = kubeseal(&world, Who::Theirs, "--cert cert.pem", SECRET).ok();
    for format in ["json", "yaml"] {
        let line = format!("--recovery-unseal --recovery-private-key key.pem --format {format}");
        let [theirs, ours] = [Who::Theirs, Who::Ours].map(|who| kubeseal(&world, who, &line, sealed.text()).ok());
        assert_eq!(shape(ours.text()), shape(theirs.text()));
        if format == "json" {
            assert_eq!(ours.text(), theirs.text(), "to the letter");
        }
    }
}

#[test]
fn one_value_is_sealed_raw() {
    let world = world();
    world.write("value", "hunter2");
    for (flags, metadata) in [
        ("--namespace shop --name db", "name: db\n  namespace: shop"),
        (
            "--scope namespace-wide -n shop",
            "name: db\n  namespace: shop\n  annotations: {sealedsecrets.bitnami.com/namespace-wide: \"true\"}",
        ),
        (
            "--scope cluster-wide",
            "name: x\n  namespace: any\n  annotations: {sealedsecrets.bitnami.com/cluster-wide: \"true\"}",
        ),
    ] {
        for (seals, opens) in [(Who::Ours, Who::Theirs), (Who::Theirs, Who::Ours)] {
            for (from, input) in [("--from-file=value", ""), ("--from-file item=value", ""), ("", "hunter2")] {
                let line = format!("--raw --cert cert.pem {flags} {from}");
                let value = kubeseal(&world, seals, &line, input).ok();
                assert!(!value.text().ends_with('\n'));
                let manifest = format!(
                    "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata:\n  {metadata}\nspec:\n  encryptedData:\n    item: {}\n",
                    value.text()
                );
                let line = "--recovery-unseal --recovery-private-key key.pem";
                let opened = kubeseal(&world, opens, line, &manifest).ok();
                assert_eq!(shape(opened.text())["data"]["item"], "aHVudGVyMg==", "{seals:?} {flags} {from}");
            }
        }
    }
}

#[test]
fn wrong_command_lines_fail_in_both_with_the_same_status() {
    let world = world();
    world.write("value", "hunter2");
    for line in [
        "--cert cert.pem --from-file value",
        "--cert cert.pem --scope wide",
        "--cert nowhere.pem",
        "--cert key.pem",
        "--cert old.pem",
        "--no-such-flag",
        "--cert cert.pem -f nowhere.yaml",
        "--cert cert.pem -o toml",
        "--cert cert.pem -n elsewhere",
        "--raw --cert cert.pem -n shop --from-file value",
        "--raw --cert cert.pem -n shop --name db --from-file value --from-file value",
        "--recovery-unseal --recovery-private-key nowhere",
        "--recovery-unseal --recovery-private-key cert.pem",
    ] {
        let [theirs, ours] = [Who::Theirs, Who::Ours].map(|who| kubeseal(&world, who, line, SECRET));
        let expected = if line.contains("toml") { 2 } else { theirs.code };
        assert_eq!(ours.code, expected, "{line}\ntheirs: {}\nours: {}", theirs.stderr, ours.stderr);
        assert_ne!(ours.code, 0, "{line}");
        assert_eq!(ours.text(), "", "{line}");
    }
    for input in
        ["", "---\n", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\n", "a: [\n", "kind: Secret\ndata: {a: '*'}\n"]
    {
        let [theirs, ours] = [Who::Theirs, Who::Ours].map(|who| kubeseal(&world, who, "--cert cert.pem", input));
        assert_eq!((ours.code, theirs.code), (1, 1), "{input}\ntheirs: {}\nours: {}", theirs.stderr, ours.stderr);
    }
}

#[test]
fn an_expired_certificate_says_when_it_expired() {
    let world = world();
    let run = bulla(&world, "seal --cert old.pem", SECRET).fails(111);
    assert!(
        run.stderr.contains("expired on 2020-01-02T00:00:00Z") && run.stderr.contains("--fetch-cert"),
        "{}",
        run.stderr
    );
    let run = bulla(&world, "seal --cert public.pem", SECRET).fails(111);
    assert!(run.stderr.contains("a bare public key"), "{}", run.stderr);
    assert_eq!(kubeseal(&world, Who::Theirs, "--cert public.pem", SECRET).code, 1);
}

#[test]
fn flags_come_from_variables_and_files_from_their_urls() {
    let world = world();
    let url = format!("file://{}", world.path("cert.pem").display());
    for who in [Who::Theirs, Who::Ours] {
        let mut command = command(&world, who);
        command
            .env("SEALED_SECRETS_CERT", &url)
            .env("SEALED_SECRETS_SCOPE", "cluster-wide")
            .env("SEALED_SECRETS_FORMAT", "yaml");
        let sealed = finish(&mut command, SECRET.as_bytes()).ok();
        assert!(sealed.text().starts_with("---\n") && sealed.text().contains("cluster-wide: \"true\""), "{who:?}");
        let said = finish(command.args(["--scope", "strict"]), SECRET.as_bytes()).ok();
        assert!(!said.text().contains("cluster-wide"), "{who:?}: a flag wins");
    }
    let versions = [Who::Theirs, Who::Ours].map(|who| kubeseal(&world, who, "--version", "").ok().text().to_owned());
    assert_eq!(versions[0], versions[1]);
}

#[test]
fn files_are_written_whole_or_not_at_all() {
    let world = world();
    world.write("secret.yaml", SECRET);
    for who in [Who::Theirs, Who::Ours] {
        kubeseal(&world, who, "--cert cert.pem -f secret.yaml -w sealed.yaml", "").ok();
        let first = world.read("sealed.yaml");
        assert!(first.starts_with("---\n"), "the ending says YAML");
        assert_ne!(kubeseal(&world, who, "--cert cert.pem -w sealed.yaml", "kind: Secret\n").code, 0);
        assert_eq!(world.read("sealed.yaml"), first, "{who:?}");
    }
    let mut names: Vec<_> =
        std::fs::read_dir(world.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| name.to_string_lossy().contains("sealed"));
    assert_eq!(names.len(), 1, "no temporary file is left: {names:?}");
}
