//! `examples/sealing`: every command of its README as it stands, on a cluster with the chart, and a search for what must not be there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulla_cluster_tests::{Namespace, Release, bulla, bulla_image, kubeconfig, kubectl, on_node, own_cluster};
use memchr::memmem;
use serde_json::Value;
use tempfile::TempDir;

use crate::sealing_keys::pods::{give, shares, wait_for_pods};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/sealing");

/// The blocks of shell in the README, each with the heading that it stands under.
fn blocks() -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("{EXAMPLE}/README.md")).unwrap();
    let (mut heading, mut block, mut blocks) = (String::new(), None::<String>, Vec::new());
    for line in text.lines() {
        match (&mut block, line) {
            (Some(_), "```") => blocks.push((heading.clone(), block.take().unwrap())),
            (Some(block), line) => *block = format!("{block}{line}\n"),
            (None, "```sh") => block = Some(String::new()),
            (None, line) => heading = line.strip_prefix("## ").map_or(heading, str::to_owned),
        }
    }
    blocks
}

/// Somebody who follows the README: a copy of the example, and the programs.
struct Reader<'a> {
    folder: TempDir,
    programs: TempDir,
    namespace: &'a Namespace,
}

impl<'a> Reader<'a> {
    fn new(namespace: &'a Namespace) -> Self {
        let (folder, programs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::copy(format!("{EXAMPLE}/app.yaml"), folder.path().join("app.yaml")).unwrap();
        symlink(bulla(), programs.path().join("bulla")).unwrap();
        let kubectl = kubectl().get_program().to_owned();
        if Path::new(&kubectl).is_absolute() {
            symlink(kubectl, programs.path().join("kubectl")).unwrap();
        }
        let mut config: Value = serde_json::from_slice(&fs::read(kubeconfig()).unwrap()).unwrap();
        config["contexts"][0]["context"]["namespace"] = namespace.name.clone().into();
        serde_json::to_writer(fs::File::create(programs.path().join("kubeconfig")).unwrap(), &config).unwrap();
        Self { folder, programs, namespace }
    }

    #[track_caller]
    fn types(&self, script: &str) -> String {
        let path = format!("{}:{}", self.programs.path().display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-euc", script])
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("HOME", self.programs.path())
            .env("KUBECONFIG", self.programs.path().join("kubeconfig"))
            .env("SEALED_SECRETS_CONTROLLER_NAMESPACE", &self.namespace.name)
            .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "Reader")))
            .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "reader@example.com")))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{script}\n{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn secret(&self, key: &str) -> String {
        let text = self.namespace.field("secret/database", &format!(".data.{key}"));
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    }

    /// Waits until the Secret's password is this, or is another than these. Gives it.
    #[track_caller]
    fn password(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let mut password = String::new();
        self.namespace.eventually(what, || {
            password = self.secret("password");
            !password.is_empty() && is(&password)
        });
        password
    }

    /// Waits until the application has this password.
    fn application_has(&self, password: &str) {
        let hash = self.types(&format!("printf %s '{password}' | sha256sum"));
        let line = format!("connected as shop, password {}", hash.split(' ').next().unwrap());
        self.namespace.eventually("the application's password", || {
            self.namespace.kubectl(&["logs", "shop"]).stdout.lines().last() == Some(line.as_str())
        });
    }

    fn sealed_with(&self) -> String {
        self.namespace.field("sealedsecret/database", ".status.sealedWith.password")
    }
}

/// The keys of etcd's records in which a text stands, in whatever versions etcd's files still have.
fn records_with(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for file in files(&own_cluster("node1/etcd")) {
        let bytes = fs::read(file).unwrap_or_default();
        for place in memmem::find_iter(&bytes, text) {
            // A record has its key first.
            let start = memmem::rfind(&bytes[..place], b"/registry/").unwrap_or(place);
            let key = bytes[start..].iter().take_while(|byte| byte.is_ascii_graphic());
            keys.push(key.map(|byte| char::from(*byte)).collect());
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn the_example_of_sealing_does_what_its_readme_says() {
    let namespace = Namespace::restricted("example");
    let release = Release::new("example", &namespace);
    let [repository, tag] = bulla_image();
    let namespaces = format!("sealing.namespaces={{{}}}", namespace.name);
    let rotators = format!("sealing.access.rotate={{system:serviceaccounts:{}}}", namespace.name);
    let door = ["sealing.enabled=true", "sealing.keyService.shares=true", "crds.install=false"];
    let shares = shares(&namespace);
    release.set(&[&door[..], &[&repository, &tag, &namespaces, &rotators]].concat()).ok();
    // The image of the example's application is one that the nodes have.
    let image = ["--force", bulla_cluster_tests::BUSYBOX, "docker.io/library/busybox:1.37"];
    on_node(&[&["ctr", "--namespace", "k8s.io", "images", "tag"][..], &image].concat()).ok();
    wait_for_pods(&namespace, 2);
    for share in &shares[..2] {
        give(&namespace, &kubeconfig(), share).ok();
    }
    let rollout = ["rollout", "status", "deployment/example-bulla-operator", "--timeout=120s"];
    namespace.kubectl(&rollout).ok();

    let reader = Reader::new(&namespace);
    let mut passwords: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    let mut keys = Vec::new();
    for (heading, script) in blocks() {
        let said = reader.types(&script);
        match heading.as_str() {
            "Seal" if said.contains("created") => {
                passwords.push(reader.password("the Secret", |password| password.len() == 24));
                assert_eq!(reader.secret("username"), "shop");
            }
            "Seal" => {
                reader.application_has(&passwords[0]);
                namespace.eventually("the key's fingerprint", || !reader.sealed_with().is_empty());
                keys.push(reader.sealed_with());
            }
            "Change" => {
                assert_eq!(reader.types("git show --numstat --format= HEAD").split_whitespace().next(), Some("1"));
                passwords.push(reader.password("the new password", |password| password != passwords[0]));
                assert_eq!(reader.secret("username"), "shop");
                reader.application_has(&passwords[1]);
            }
            "Renew the key" => {
                reader.password("the first password", |password| password == passwords[0]);
                assert_eq!(namespace.kubectl(&["get", "sealingkeys", "--output", "name"]).ok().lines().count(), 2);
                assert_eq!(reader.sealed_with(), keys[0]);
            }
            "Seal anew" => {
                reader.password("the second password", |password| password == passwords[1]);
                namespace.eventually("another key", || reader.sealed_with() != keys[0]);
                search(&reader, &passwords);
            }
            "Delete" => namespace
                .eventually("the Secret's end", || namespace.field("secret/database", ".metadata.name").is_empty()),
            other => panic!("what is to come of {other:?}?"),
        }
        seen.push(heading);
    }
    assert_eq!(seen, ["Seal", "Seal", "Change", "Renew the key", "Seal anew", "Delete"]);
}

/// Looks for the passwords, as they are and in base64, where they must not be.
fn search(reader: &Reader<'_>, passwords: &[String]) {
    let namespace = reader.namespace;
    let history = reader.types("git cat-file --batch-all-objects --batch");
    assert!(history.contains("encryptedData") && history.contains("Seal to the new key"), "the search is blind");
    let sealed = namespace.kubectl(&["get", "sealedsecrets", "--output", "yaml"]).ok();
    let logs = namespace.kubectl(&["logs", "--selector", "app.kubernetes.io/name=bulla", "--tail=-1"]).ok();
    assert!(logs.lines().count() > 4, "{logs}");
    let events = namespace.kubectl(&["get", "events,leases,sealingkeys,configmaps,pods", "--output", "yaml"]).ok();
    let secret = format!("/registry/secrets/{}/database", namespace.name);
    for password in passwords {
        for text in [password, &STANDARD.encode(password)] {
            for (place, contents) in
                [("Git", &history), ("the SealedSecret", &sealed), ("the log", &logs), ("another object", &events)]
            {
                assert!(!contents.contains(text), "a password is in {place}");
            }
        }
        // etcd has it once, in the Secret; that is what later doors close.
        assert_eq!(records_with(password), [secret.as_str()]);
        assert_eq!(records_with(&STANDARD.encode(password)), Vec::<String>::new());
    }
}
