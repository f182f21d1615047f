//! age against the real age 1.1 and 1.3 and the real sops: both directions, every kind of key, every place of identities,
//! and what happens when they fail.

mod exchange;
mod faults;
mod places;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService, SecretBytes, WrappedKey};
use bulla_kms::{Options, Registry};
use bulla_test_support::{program, sops};
use tempfile::TempDir;

const DATA_KEY: [u8; 32] = *b"0123456789abcdef\x00\x01\n\r\xff\xfe0123456789";

/// A pair of keys, made by a real tool.
struct Pair {
    recipient: String,
    /// The identity's text, or for SSH the private key file's.
    identity: String,
}

/// A home folder, and the environment of a user who lives there.
struct Home {
    folder: TempDir,
    env: BTreeMap<String, String>,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = BTreeMap::from([("HOME".to_owned(), folder.path().to_str().unwrap().to_owned())]);
        Self { folder, env }
    }

    fn set(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(name.to_owned(), value.as_ref().to_str().unwrap().to_owned());
        self
    }

    /// A file below the home folder, readable for its owner.
    fn file(&self, path: &str, contents: &str) -> PathBuf {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(&path).unwrap().write_all(contents.as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn registry(&self) -> Registry {
        self.registry_within(Options::default().timeout)
    }

    fn registry_within(&self, timeout: Duration) -> Registry {
        Registry::new(Arc::new(self.env.clone()), Options { timeout, ..Options::default() })
    }

    fn service(&self, recipient: &str) -> Arc<dyn KeyService> {
        self.registry().open(&id(recipient)).unwrap()
    }

    async fn unwrap(&self, recipient: &str, wrapped: &str) -> Result<SecretBytes, KeyError> {
        self.service(recipient).unwrap(&WrappedKey::new(wrapped)).await
    }

    fn sops(&self, version: &str, arguments: &[&str]) -> Result<String, String> {
        let env: Vec<_> = self.env.clone().into_iter().collect();
        sops(version, self.folder.path(), &env, arguments)
    }
}

fn id(recipient: &str) -> KeyId {
    KeyId::Age { recipient: recipient.to_owned() }
}

fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    output.stdout
}

/// Debian's age, 1.1.
fn old_age() -> PathBuf {
    PathBuf::from("/usr/bin/age")
}

/// age 1.3.
fn new_age() -> PathBuf {
    program("bin/age")
}

fn keygen(arguments: &[&str]) -> Pair {
    let text = String::from_utf8(run(Command::new(program("bin/age-keygen")).args(arguments), b"")).unwrap();
    let recipient = text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned();
    let identity = text.lines().find(|line| line.starts_with("AGE-")).unwrap().to_owned();
    Pair { recipient, identity }
}

fn x25519() -> Pair {
    keygen(&[])
}

fn hybrid() -> Pair {
    keygen(&["-pq"])
}

fn ssh(arguments: &[&str]) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    run(Command::new("ssh-keygen").args(arguments).args(["-q", "-N", "", "-C", "a comment", "-f"]).arg(&file), b"");
    Pair {
        recipient: fs::read_to_string(file.with_extension("pub")).unwrap().trim().to_owned(),
        identity: fs::read_to_string(file).unwrap(),
    }
}

/// The folder of our test plugins.
fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugins")
}

/// Recipients and identities of the test plugins, in Bech32 with a few bytes of data.
const PLUGINS: [(&str, &str, &str); 7] = [
    ("probe", "age1probe1qqqsyqcfzyren", "AGE-PLUGIN-PROBE-1QSZSVPCA0VNQF"),
    ("crash", "age1crash1qqqsyqc9mlz4x", "AGE-PLUGIN-CRASH-1QSZSVPC42T4YW"),
    ("deaf", "age1deaf1qqqsyqcqef2me", "AGE-PLUGIN-DEAF-1QSZSVPCQSP6KH"),
    ("grumble", "age1grumble1qqqsyqcyhnr6t", "AGE-PLUGIN-GRUMBLE-1QSZSVPCL9DKZY"),
    ("hang", "age1hang1qqqsyqcyfe9gx", "AGE-PLUGIN-HANG-1QSZSVPCL2V0XD"),
    ("rubbish", "age1rubbish1qqqsyqcvlfla5", "AGE-PLUGIN-RUBBISH-1QSZSVPCFT4ARE"),
    ("missing", "age1missing1qqqsyqc0ucyc8", "AGE-PLUGIN-MISSING-1QSZSVPCYFMW7X"),
];

fn plugin(name: &str) -> Pair {
    let (_, recipient, identity) = PLUGINS.into_iter().find(|plugin| plugin.0 == name).unwrap();
    Pair { recipient: recipient.to_owned(), identity: identity.to_owned() }
}

/// What a real age wraps for `recipient`.
fn age_wraps(age: &Path, recipient: &str) -> String {
    let mut command = Command::new(age);
    command.args(["-a", "-r", recipient]).env("PATH", plugins());
    String::from_utf8(run(&mut command, &DATA_KEY)).unwrap()
}

/// The `enc` of the one age key in an encrypted YAML file.
fn enc_of(file: &str) -> String {
    let start = file.find("-----BEGIN AGE").unwrap();
    let end = file.find("-----END AGE ENCRYPTED FILE-----").unwrap();
    let lines: Vec<_> = file[start..end].trim().lines().map(str::trim).collect();
    format!("{}\n-----END AGE ENCRYPTED FILE-----\n", lines.join("\n"))
}

/// What unwrapping for `recipient` says in this home, given something that is wrapped for it.
async fn failure(home: &Home, recipient: &str) -> KeyError {
    let wrapped = age_wraps(&new_age(), recipient);
    home.unwrap(recipient, &wrapped).await.unwrap_err()
}

fn assert_says(error: &KeyError, kind: KeyErrorKind, parts: &[&str]) {
    let text = format!("{error} | {}", error.hint().unwrap_or_default());
    assert_eq!(error.kind(), kind, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}
