//! Keys that a person is asked about, with answers made up front.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bulla_core::{KeyErrorKind, KeyId, Operation, SecretBytes, WrappedKey};
use bulla_test_support::program;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::ask::tests::Scripted;
use crate::{Options, Registry};

const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
const RECIPIENT: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

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

    fn set(&mut self, name: &str, value: &Path) {
        self.env.insert(name.to_owned(), value.to_str().unwrap().to_owned());
    }

    fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(&path).unwrap().write_all(contents).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn registry(&self, person: &Scripted) -> Registry {
        Registry::asking(Arc::new(self.env.clone()), Options::default(), Box::new(person.clone()))
    }
}

fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What the real age makes of `text` with a passphrase.
fn encrypted(text: &str, passphrase: &str, arguments: &[&str]) -> Vec<u8> {
    let mut age = Command::new(program("bin/age"));
    let plugins = program("bin/age-plugin-batchpass");
    age.args(["-e", "-j", "batchpass"])
        .args(arguments)
        .env("PATH", plugins.parent().unwrap())
        .env("AGE_PASSPHRASE", passphrase)
        .env("AGE_PASSPHRASE_WORK_FACTOR", "10");
    run(&mut age, text.as_bytes())
}

fn id(recipient: &str) -> KeyId {
    KeyId::Age { recipient: recipient.to_owned() }
}

async fn wrapped_for(recipient: &str) -> WrappedKey {
    let registry = Home::new().registry(&Scripted::default());
    registry.open(&id(recipient)).unwrap().wrap(&SecretBytes::from(&b"the data key"[..])).await.unwrap()
}

#[tokio::test]
async fn an_encrypted_identity_file_is_asked_about_once() {
    for arguments in [&[][..], &["-a"]] {
        let mut home = Home::new();
        let file = home.file("keys.age", &encrypted(&format!("# mine\n{IDENTITY}\n"), "päss word", arguments));
        home.set("SOPS_AGE_KEY_FILE", &file);
        let person = Scripted::new(&["päss word"]);
        let registry = home.registry(&person);
        let wrapped = wrapped_for(RECIPIENT).await;
        let service = registry.open(&id(RECIPIENT)).unwrap();
        assert!(service.may_ask(Operation::Unwrap).await);
        assert!(!service.may_ask(Operation::Wrap).await);

        let unwraps = (0..20).map(|_| {
            let (registry, wrapped) = (registry.clone(), wrapped.clone());
            tokio::spawn(async move { registry.open(&id(RECIPIENT)).unwrap().unwrap(&wrapped).await.unwrap() })
        });
        for unwrap in unwraps.collect::<Vec<_>>() {
            assert_eq!(unwrap.await.unwrap().expose(), b"the data key");
        }
        let question = format!("Enter passphrase for identity 'SOPS_AGE_KEY_FILE={}':", file.display());
        assert_eq!(person.asked(), [question]);
        assert!(!service.may_ask(Operation::Unwrap).await);
    }
}

#[tokio::test]
async fn a_wrong_passphrase_is_asked_for_again_but_not_for_ever() {
    let mut home = Home::new();
    let file = home.file("keys.age", &encrypted(IDENTITY, "right", &[]));
    home.set("SOPS_AGE_KEY_FILE", &file);
    let wrapped = wrapped_for(RECIPIENT).await;

    let person = Scripted::new(&["wrong", "", "right"]);
    let service = home.registry(&person).open(&id(RECIPIENT)).unwrap();
    assert_eq!(service.unwrap(&wrapped).await.unwrap().expose(), b"the data key");
    assert!(person.asked()[1].starts_with("That is not its passphrase. "));

    let person = Scripted::new(&["a", "b", "c", "right"]);
    let registry = home.registry(&person);
    for _ in 0..3 {
        let error = registry.open(&id(RECIPIENT)).unwrap().unwrap(&wrapped).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Denied);
        assert!(error.to_string().contains("wrong passphrase, 3 times"), "{error}");
    }
    assert_eq!(person.asked().len(), 3);
}

#[tokio::test]
async fn giving_up_is_final_and_nobody_is_asked_for_what_fits_elsewhere() {
    let mut home = Home::new();
    let file = home.file("keys.age", &encrypted(IDENTITY, "right", &[]));
    home.set("SOPS_AGE_KEY_FILE", &file);
    let wrapped = wrapped_for(RECIPIENT).await;
    let person = Scripted::default();
    let registry = home.registry(&person);
    for _ in 0..3 {
        let error = registry.open(&id(RECIPIENT)).unwrap().unwrap(&wrapped).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Denied);
        assert!(error.to_string().contains("keys.age: the question was cancelled"), "{error}");
    }
    assert_eq!(person.asked().len(), 1);

    home.file(".config/sops/age/keys.txt", IDENTITY.as_bytes());
    let person = Scripted::default();
    let service = home.registry(&person).open(&id(RECIPIENT)).unwrap();
    assert!(!service.may_ask(Operation::Unwrap).await);
    service.unwrap(&wrapped).await.unwrap();
    assert!(person.asked().is_empty());
}

#[tokio::test]
async fn what_an_encrypted_identity_file_may_be_wrong_in_is_told() {
    let wrapped = wrapped_for(RECIPIENT).await;
    let armored = encrypted(IDENTITY, "p", &["-a"]);
    let binary = encrypted(IDENTITY, "p", &[]);
    let to_recipient = run(Command::new(program("bin/age")).args(["-r", RECIPIENT]), IDENTITY.as_bytes());
    for (contents, expected) in [
        (armored[..armored.len() / 2].to_vec(), "it is an age file whose armor is damaged or cut off"),
        (binary[..binary.len() / 4].to_vec(), "it is an age file that is damaged or cut off"),
        (binary[..binary.len() - 3].to_vec(), "it is damaged or cut off"),
        (to_recipient, "it is encrypted to a recipient; only files encrypted with a passphrase are opened"),
        (encrypted("# nothing\n", "p", &[]), "there is no identity in it"),
        (encrypted("# one\nrubbish\n", "p", &[]), "line 2: it is no identity"),
        (encrypted("\u{0}\u{1}", "p", &[]), "line 1: it is no identity"),
    ] {
        let mut home = Home::new();
        let file = home.file("keys.age", &contents);
        home.set("SOPS_AGE_KEY_FILE", &file);
        let service = home.registry(&Scripted::new(&["p", "p", "p"])).open(&id(RECIPIENT)).unwrap();
        let error = service.unwrap(&wrapped).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::BadKeyFile, "{error}");
        assert!(error.to_string().contains(expected), "{expected:?} is not in {error}");
    }
}

#[tokio::test]
async fn an_identity_file_that_takes_hours_to_open_is_refused() {
    // The work factor is not authenticated before the work is done, so any file can claim one.
    let binary = encrypted(IDENTITY, "p", &[]);
    let header_end = binary.windows(4).position(|bytes| bytes == b" 10\n").unwrap();
    let mut costly = binary.clone();
    costly.splice(header_end..header_end + 3, *b" 40");
    let mut home = Home::new();
    let file = home.file("keys.age", &costly);
    home.set("SOPS_AGE_KEY_FILE", &file);
    let service = home.registry(&Scripted::new(&["p"])).open(&id(RECIPIENT)).unwrap();
    let error = service.unwrap(&wrapped_for(RECIPIENT).await).await.unwrap_err();
    assert!(error.to_string().contains("its work factor of 2^40 is past the limit of 2^22"), "{error}");
}

#[tokio::test]
async fn an_ssh_key_with_a_passphrase_is_asked_about_once_and_only_for_its_own_files() {
    for kind in [&["-t", "ed25519"][..], &["-t", "rsa"], &["-t", "ed25519", "-Z", "aes256-gcm@openssh.com"]] {
        let mut home = Home::new();
        let file = home.folder.path().join("deploy");
        run(Command::new("ssh-keygen").args(kind).args(["-q", "-N", "s3cret", "-f"]).arg(&file), b"");
        home.set("SOPS_AGE_SSH_PRIVATE_KEY_FILE", &file);
        let recipient = fs::read_to_string(file.with_extension("pub")).unwrap();
        let wrapped = wrapped_for(&recipient).await;

        let person = Scripted::new(&["wrong", "s3cret"]);
        let registry = home.registry(&person);
        let service = registry.open(&id(&recipient)).unwrap();
        assert!(service.may_ask(Operation::Unwrap).await);
        for _ in 0..3 {
            assert_eq!(service.unwrap(&wrapped).await.unwrap().expose(), b"the data key");
        }
        assert!(!service.may_ask(Operation::Unwrap).await);
        assert_eq!(person.asked().len(), 2);
        assert_eq!(person.asked()[0], format!("Passphrase for {}:", file.display()));

        // A file for another key of the same kind.
        let other = home.folder.path().join("other");
        run(Command::new("ssh-keygen").args(kind).args(["-q", "-N", "", "-f"]).arg(&other), b"");
        let recipient = fs::read_to_string(other.with_extension("pub")).unwrap();
        let person = Scripted::default();
        let service = home.registry(&person).open(&id(&recipient)).unwrap();
        let error = service.unwrap(&wrapped_for(&recipient).await).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::NotFound, "{error}");
        assert!(person.asked().is_empty());
    }
}

#[tokio::test]
async fn ssh_keys_in_forms_that_are_not_read_come_with_advice() {
    let make = |arguments: &[&str]| {
        let home = Home::new();
        let file = home.folder.path().join("key");
        run(Command::new("ssh-keygen").args(arguments).args(["-q", "-f"]).arg(&file), b"");
        (home, file)
    };
    for (arguments, expected) in [
        (&["-t", "rsa", "-m", "PEM", "-N", "s3cret"][..], "in the old PEM form are not supported; ssh-keygen -p -f"),
        (&["-t", "rsa", "-m", "PKCS8", "-N", "s3cret"], "in the PKCS#8 form are not supported; ssh-keygen -p -f"),
        (&["-t", "ecdsa", "-N", ""], "cannot decrypt"),
    ] {
        let (mut home, file) = make(arguments);
        home.set("SOPS_AGE_SSH_PRIVATE_KEY_FILE", &file);
        let (_other, mine) = make(&["-t", "ed25519", "-N", ""]);
        let recipient = fs::read_to_string(mine.with_extension("pub")).unwrap();
        let service = home.registry(&Scripted::default()).open(&id(&recipient)).unwrap();
        let error = service.unwrap(&wrapped_for(&recipient).await).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::BadKeyFile, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn an_ssh_command_must_print_a_key_without_a_passphrase() {
    let mut home = Home::new();
    let file = home.folder.path().join("key");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "x", "-f"]).arg(&file), b"");
    home.env.insert("SOPS_AGE_SSH_PRIVATE_KEY_CMD".to_owned(), format!("cat {}", file.display()));
    let recipient = fs::read_to_string(file.with_extension("pub")).unwrap();
    let person = Scripted::default();
    let service = home.registry(&person).open(&id(&recipient)).unwrap();
    let error = service.unwrap(&wrapped_for(&recipient).await).await.unwrap_err();
    assert!(error.to_string().contains("it prints a key with a passphrase"), "{error}");
    assert!(person.asked().is_empty());
}

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugins")
}

#[tokio::test]
async fn a_plugin_asks_the_person_through_us() {
    let mut home = Home::new();
    home.set("PATH", &plugins());
    home.env.insert("SOPS_AGE_KEY".to_owned(), "AGE-PLUGIN-ASKS-1QSZSVPCPNC7CH".to_owned());
    let recipient = id("age1asks1qqqsyqcqc2nlh");
    let person = Scripted::new(&["1234", "9a", "3", "1"]);
    let service = home.registry(&person).open(&recipient).unwrap();
    let wrapped = service.wrap(&SecretBytes::from(&b"the data key"[..])).await.unwrap();
    assert_eq!(
        person.asked(),
        [
            "age-plugin-asks: insert the token",
            "age-plugin-asks: PIN?",
            "age-plugin-asks: Which slot?",
            "age-plugin-asks: really? (1 for \"yes\", 2 for \"no\")",
            "age-plugin-asks: really? (1 for \"yes\", 2 for \"no\")",
        ]
    );
    let person = Scripted::new(&["1234", "9a", "1"]);
    let service = home.registry(&person).open(&recipient).unwrap();
    assert_eq!(service.unwrap(&wrapped).await.unwrap().expose(), b"the data key");

    let service = home.registry(&Scripted::new(&["0000"])).open(&recipient).unwrap();
    let error = service.unwrap(&wrapped).await.unwrap_err();
    assert!(error.to_string().contains("age-plugin-asks says: wrong PIN"), "{error}");
    // Nobody there: the plugin hears that, too.
    let service = home.registry(&Scripted::default()).open(&recipient).unwrap();
    let error = service.unwrap(&wrapped).await.unwrap_err();
    assert!(error.to_string().contains("age-plugin-asks says: wrong PIN"), "{error}");
}

#[tokio::test]
async fn a_plugin_identity_in_an_encrypted_file_is_used() {
    let mut home = Home::new();
    home.set("PATH", &plugins());
    let file = home.file("keys.age", &encrypted("AGE-PLUGIN-PROBE-1QSZSVPCA0VNQF\n", "p", &[]));
    home.set("SOPS_AGE_KEY_FILE", &file);
    let service = home.registry(&Scripted::new(&["p"])).open(&id("age1probe1qqqsyqcfzyren")).unwrap();
    let wrapped = service.wrap(&SecretBytes::from(&b"the data key"[..])).await.unwrap();
    assert_eq!(service.unwrap(&wrapped).await.unwrap().expose(), b"the data key");
}

#[tokio::test]
async fn an_encrypted_file_once_opened_is_tried_before_anything_asks() {
    let mut home = Home::new();
    home.set("PATH", &plugins());
    home.env.insert("SOPS_AGE_KEY".to_owned(), "AGE-PLUGIN-ASKS-1QSZSVPCPNC7CH".to_owned());
    let file = home.file("keys.age", &encrypted(IDENTITY, "p", &[]));
    home.set("SOPS_AGE_KEY_FILE", &file);
    let person = Scripted::new(&["1234", "9a", "1", "p"]);
    let registry = home.registry(&person);
    let wrapped = wrapped_for(RECIPIENT).await;
    for _ in 0..3 {
        let opened = registry.open(&id(RECIPIENT)).unwrap().unwrap(&wrapped).await;
        assert_eq!(opened.unwrap().expose(), b"the data key");
    }
    // The plugin's message and three questions, and the one for the file: the first time only.
    assert_eq!(person.asked().len(), 5);
}

/// Collects what is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_key_file_that_others_may_read_is_used_with_a_warning() {
    for (mode, warns) in [(0o600, false), (0o400, false), (0o640, true), (0o644, true)] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let mut home = Home::new();
        let file = home.file("keys.txt", IDENTITY.as_bytes());
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        home.set("SOPS_AGE_KEY_FILE", &file);
        let registry = home.registry(&Scripted::default());
        let wrapped = wrapped_for(RECIPIENT).await;
        for _ in 0..3 {
            registry.open(&id(RECIPIENT)).unwrap().unwrap(&wrapped).await.unwrap();
        }
        let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(logged.lines().count(), usize::from(warns), "{mode:o}: {logged}");
        assert_eq!(logged.contains(&format!("chmod 600 {}", file.display())), warns, "{logged}");
        assert!(!logged.contains(IDENTITY));
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_of_keys_panic(text in "\\PC{0,100}", tail in "[a-zA-Z0-9+/=\\n-]{0,150}") {
        let starts = ["age1", "age1pq1", "AGE-PLUGIN-", "AGE-SECRET-KEY-PQ-1", "ssh-rsa ", "-----BEGIN RSA PRIVATE KEY-----\n"];
        for text in starts.iter().map(|start| format!("{start}{tail}")).chain([text.clone(), tail.clone()]) {
            let _ = super::recipient::Recipient::parse(&text);
            let _ = (super::hybrid::Recipient::parse(&text).is_ok(), super::hybrid::Identity::parse(&text).is_ok());
            let _ = (super::plugin::Recipient::parse(&text).is_ok(), super::plugin::Identity::parse(&text).is_ok());
            let _ = super::ssh::Identity::parse(&text, "key");
        }
    }
}
