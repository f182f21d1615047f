//! OpenPGP keys with the real GnuPG and the real sops: both directions, and what happens when they fail.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bulla_core::{KeyError, KeyErrorKind, KeyId, KeyService, Operation, SecretBytes, WrappedKey};
use bulla_kms::{Options, Registry};
use bulla_test_support::{SOPS, sops};
use tempfile::TempDir;

const DATA_KEY: [u8; 32] = *b"0123456789abcdef\x00\x01\n\r\xff\xfe0123456789";

/// A keyring of its own, and its agent. The folder's path is short, for the agent's sockets.
struct Gnupg {
    folder: TempDir,
}

impl Gnupg {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--quiet", "--pinentry-mode", "loopback"]).args(arguments);
        self.run_command(&mut command, input)
    }

    fn run_command(&self, command: &mut Command, input: &[u8]) -> Vec<u8> {
        let mut child = command
            .env("GNUPGHOME", self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a key with a subkey for encryption; gives its fingerprint.
    fn key(&self, name: &str, passphrase: &str) -> String {
        self.run(&["--passphrase", passphrase, "--quick-gen-key", name, "ed25519", "cert"], b"");
        let fingerprint = self.fingerprint(name);
        self.run(&["--passphrase", passphrase, "--quick-add-key", &fingerprint, "cv25519", "encr"], b"");
        fingerprint
    }

    fn fingerprint(&self, name: &str) -> String {
        let listing = String::from_utf8(self.run(&["--with-colons", "--list-keys", name], b"")).unwrap();
        let record = listing.lines().find(|line| line.starts_with("fpr:")).unwrap();
        record.split(':').nth(9).unwrap().to_owned()
    }

    /// Gives the agent a pinentry that answers as `answer` (shell) says, and forgets what the agent knew. The answers are
    /// counted.
    fn pinentry(&self, answer: &str) -> Pinentry {
        let count = self.path().join("count");
        let program = self.path().join("pinentry");
        let script = format!(
            "#!/bin/sh\necho OK\nwhile read -r command rest; do\ncase $command in\n\
             GETPIN) echo x >> '{}'; {answer} ;;\nBYE) echo OK; exit 0 ;;\n*) echo OK ;;\nesac\ndone\n",
            count.display()
        );
        // Written by another process: a file that this one has open while a test beside it starts a program cannot be run.
        let mut install = Command::new("install");
        self.run_command(install.args(["-m", "700", "/dev/stdin"]).arg(&program), script.as_bytes());
        self.settings(&format!("pinentry-program {}\n", program.display()));
        Pinentry { count }
    }

    fn settings(&self, text: &str) {
        fs::File::create(self.path().join("gpg-agent.conf")).unwrap().write_all(text.as_bytes()).unwrap();
        self.stop();
    }

    fn stop(&self) {
        let _ = Command::new("gpgconf").args(["--kill", "gpg-agent"]).env("GNUPGHOME", self.path()).status();
    }

    fn env(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("GNUPGHOME".to_owned(), self.path().to_str().unwrap().to_owned())])
    }

    fn registry(&self) -> Registry {
        Registry::new(Arc::new(self.env()), Options::default())
    }

    fn service(&self, fingerprint: &str) -> Arc<dyn KeyService> {
        self.registry().open(&id(fingerprint)).unwrap()
    }

    /// What GnuPG makes for a key.
    fn wraps(&self, fingerprint: &str) -> WrappedKey {
        let armored = self.run(&["--trust-model", "always", "-a", "-e", "-r", fingerprint], &DATA_KEY);
        WrappedKey::new(String::from_utf8(armored).unwrap())
    }
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Pinentry {
    count: PathBuf,
}

impl Pinentry {
    fn asked(&self) -> usize {
        fs::read_to_string(&self.count).unwrap_or_default().lines().count()
    }
}

fn id(fingerprint: &str) -> KeyId {
    KeyId::Pgp { fingerprint: fingerprint.to_owned() }
}

fn assert_says(error: &KeyError, kind: KeyErrorKind, parts: &[&str]) {
    let text = format!("{error} | {}", error.hint().unwrap_or_default());
    assert_eq!(error.kind(), kind, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[tokio::test]
async fn data_keys_are_exchanged_with_gnupg() {
    let gnupg = Gnupg::new();
    gnupg.run(&["--passphrase", "", "--quick-gen-key", "rsa@example.org", "rsa2048", "default"], b"");
    let rsa = gnupg.fingerprint("rsa@example.org");
    gnupg.run(&["--passphrase", "", "--quick-add-key", &rsa, "rsa2048", "encr"], b"");
    for fingerprint in [gnupg.key("ec@example.org", ""), rsa] {
        let service = gnupg.service(&fingerprint);
        let ours = service.wrap(&SecretBytes::from(&DATA_KEY[..])).await.unwrap();
        assert!(ours.as_str().starts_with("-----BEGIN PGP MESSAGE-----\n"), "{}", ours.as_str());
        assert!(ours.as_str().ends_with("\n-----END PGP MESSAGE-----"), "{}", ours.as_str());
        assert_eq!(gnupg.run(&["-d"], ours.as_str().as_bytes()), DATA_KEY);
        assert_eq!(service.unwrap(&ours).await.unwrap().expose(), DATA_KEY);
        assert_eq!(service.unwrap(&gnupg.wraps(&fingerprint)).await.unwrap().expose(), DATA_KEY);
    }
}

#[tokio::test]
async fn a_subkey_named_with_an_exclamation_mark_is_the_one_that_is_used() {
    let gnupg = Gnupg::new();
    let fingerprint = gnupg.key("ec@example.org", "");
    gnupg.run(&["--passphrase", "", "--quick-add-key", &fingerprint, "rsa2048", "encr"], b"");
    let listing = String::from_utf8(gnupg.run(&["--with-colons", "--list-keys"], b"")).unwrap();
    let subkeys: Vec<_> = listing.lines().filter(|line| line.starts_with("sub:")).collect();
    let first = subkeys[0].split(':').nth(4).unwrap();
    let ours = gnupg.service(&format!("{first}!")).wrap(&SecretBytes::from(&DATA_KEY[..])).await.unwrap();
    let packets = String::from_utf8(gnupg.run(&["--list-packets"], ours.as_str().as_bytes())).unwrap();
    assert!(packets.contains(&format!("keyid {first}")), "{packets}");
}

#[tokio::test]
async fn a_fingerprint_may_have_0x_before_it_as_gpg_and_sops_take_it() {
    let gnupg = Gnupg::new();
    let fingerprint = format!("0x{}", gnupg.key("ec@example.org", ""));
    let service = gnupg.service(&fingerprint);
    let ours = service.wrap(&SecretBytes::from(&DATA_KEY[..])).await.unwrap();
    assert_eq!(service.unwrap(&ours).await.unwrap().expose(), DATA_KEY);
    assert_eq!(service.unwrap(&gnupg.wraps(&fingerprint)).await.unwrap().expose(), DATA_KEY);
}

#[tokio::test]
async fn a_message_that_is_not_encrypted_gives_no_data_key() {
    let gnupg = Gnupg::new();
    let fingerprint = gnupg.key("ec@example.org", "");
    gnupg.run(&["--passphrase", "", "--quick-add-key", &fingerprint, "ed25519", "sign"], b"");
    for how in ["--store", "--sign", "--clear-sign"] {
        let message = gnupg.run(&["--armor", how], &DATA_KEY);
        let wrapped = WrappedKey::new(String::from_utf8_lossy(&message));
        let error = gnupg.service(&fingerprint).unwrap(&wrapped).await.unwrap_err();
        assert_says(&error, KeyErrorKind::BadCiphertext, &["is not encrypted"]);
    }
}

#[tokio::test]
async fn data_keys_are_exchanged_with_sops() {
    for version in SOPS {
        for in_process in [false, true] {
            let gnupg = Gnupg::new();
            let fingerprint = gnupg.key("ec@example.org", "");
            if in_process {
                // A keyring of the old form, which sops reads itself.
                let ring = gnupg.run(&["--export"], b"");
                fs::File::create(gnupg.path().join("pubring.gpg")).unwrap().write_all(&ring).unwrap();
            }
            let folder = tempfile::tempdir().unwrap();
            let mut env: Vec<_> = gnupg.env().into_iter().collect();
            // Without gpg, sops can encrypt in its own process only.
            let path = if in_process { "/nonexistent" } else { "/usr/bin:/bin" };
            env.push(("PATH".to_owned(), path.to_owned()));
            let plain = "password: hunter2\n";
            fs::File::create(folder.path().join("secret.yaml")).unwrap().write_all(plain.as_bytes()).unwrap();
            let file = sops(version, folder.path(), &env, &["encrypt", "--pgp", &fingerprint, "secret.yaml"]).unwrap();

            let start = file.find("-----BEGIN PGP").unwrap();
            let end_mark = "-----END PGP MESSAGE-----";
            let end = file.find(end_mark).unwrap() + end_mark.len();
            let indent = &file[file[..start].rfind('\n').unwrap() + 1..start];
            let enc = file[start..end].replace(&format!("\n{indent}"), "\n");
            let service = gnupg.service(&fingerprint);
            let data_key = service.unwrap(&WrappedKey::new(enc)).await.unwrap();
            assert_eq!(data_key.len(), 32, "{version} {in_process}");

            let ours = service.wrap(&data_key).await.unwrap();
            let ours = ours.as_str().replace('\n', &format!("\n{indent}"));
            let file = format!("{}{ours}{}", &file[..start], &file[end..]);
            fs::File::create(folder.path().join("ours.yaml")).unwrap().write_all(file.as_bytes()).unwrap();
            let last = env.len() - 1;
            env[last].1 = "/usr/bin:/bin".to_owned();
            assert_eq!(sops(version, folder.path(), &env, &["decrypt", "ours.yaml"]).unwrap(), plain);
        }
    }
}

#[tokio::test]
async fn the_agent_asks_for_the_passphrase_once_for_many_files() {
    let gnupg = Gnupg::new();
    let fingerprint = gnupg.key("ec@example.org", "correct horse");
    let pinentry = gnupg.pinentry("echo 'D correct horse'; echo OK");
    let registry = gnupg.registry();
    let wrapped = gnupg.wraps(&fingerprint);
    let service = registry.open(&id(&fingerprint)).unwrap();
    assert!(service.may_ask(Operation::Unwrap).await);
    assert!(!service.may_ask(Operation::Wrap).await);
    let unwraps = (0..12).map(|_| {
        let (registry, wrapped, id) = (registry.clone(), wrapped.clone(), id(&fingerprint));
        tokio::spawn(async move { registry.open(&id).unwrap().unwrap(&wrapped).await.unwrap() })
    });
    for unwrap in unwraps.collect::<Vec<_>>() {
        assert_eq!(unwrap.await.unwrap().expose(), DATA_KEY);
    }
    assert_eq!(pinentry.asked(), 1);
}

#[tokio::test]
async fn a_question_that_is_not_answered_is_not_asked_again() {
    let gnupg = Gnupg::new();
    let fingerprint = gnupg.key("ec@example.org", "correct horse");
    let wrapped = gnupg.wraps(&fingerprint);
    for (answer, expected) in [
        ("echo 'D wrong'; echo OK", "the passphrase of the secret key was wrong"),
        ("echo 'ERR 83886179 Operation cancelled <Pinentry>'", "was cancelled"),
        ("echo 'ERR 83918950 Inappropriate ioctl for device <Pinentry>'", "export GPG_TTY=$(tty)"),
    ] {
        let pinentry = gnupg.pinentry(answer);
        let before = pinentry.asked();
        let registry = gnupg.registry();
        let error = registry.open(&id(&fingerprint)).unwrap().unwrap(&wrapped).await.unwrap_err();
        assert_says(&error, KeyErrorKind::Denied, &[&fingerprint, expected]);
        let asked = pinentry.asked();
        assert!(asked > before);
        for _ in 0..3 {
            let error = registry.open(&id(&fingerprint)).unwrap().unwrap(&wrapped).await.unwrap_err();
            assert_says(&error, KeyErrorKind::Denied, &[expected]);
        }
        assert_eq!(pinentry.asked(), asked);
    }

    gnupg.settings("pinentry-program /nonexistent/pinentry\n");
    let error = gnupg.service(&fingerprint).unwrap(&wrapped).await.unwrap_err();
    assert_says(&error, KeyErrorKind::Denied, &["gpg-agent has no pinentry", "gpg-agent.conf"]);
}

#[tokio::test]
async fn a_missing_key_is_named_and_what_to_do_about_it() {
    let (mine, other) = (Gnupg::new(), Gnupg::new());
    let fingerprint = mine.key("ec@example.org", "");
    let wrapped = mine.wraps(&fingerprint);
    let packets = String::from_utf8(mine.run(&["--list-packets"], wrapped.as_str().as_bytes())).unwrap();
    let subkey = packets.lines().find_map(|line| line.split("keyid ").nth(1)).unwrap().to_owned();
    let error = other.service(&fingerprint).unwrap(&wrapped).await.unwrap_err();
    assert_says(
        &error,
        KeyErrorKind::NotFound,
        &[&fingerprint, &format!("there is no secret key for {subkey}"), "gpg --list-secret-keys"],
    );
    let error = other.service(&fingerprint).wrap(&SecretBytes::zeroed(32)).await.unwrap_err();
    assert_says(&error, KeyErrorKind::NotFound, &["no such public key", &format!("gpg --recv-keys {fingerprint}")]);

    // The public key alone does not open anything.
    other.run(&["--import"], &mine.run(&["--export"], b""));
    let error = other.service(&fingerprint).unwrap(&wrapped).await.unwrap_err();
    assert_says(&error, KeyErrorKind::NotFound, &["there is no secret key"]);
    other.service(&fingerprint).wrap(&SecretBytes::zeroed(32)).await.unwrap();
}

#[tokio::test]
async fn a_public_key_that_takes_no_messages_is_told_why() {
    let gnupg = Gnupg::new();
    let refused =
        async |fingerprint: &str| gnupg.service(fingerprint).wrap(&SecretBytes::zeroed(32)).await.unwrap_err();

    gnupg.run(&["--passphrase", "", "--quick-gen-key", "sign@example.org", "ed25519", "sign"], b"");
    let error = refused(&gnupg.fingerprint("sign@example.org")).await;
    assert_says(&error, KeyErrorKind::BadKeyFile, &["it has no valid subkey for encryption"]);

    let revoked = gnupg.key("revoked@example.org", "");
    let certificate = fs::read_to_string(gnupg.path().join(format!("openpgp-revocs.d/{revoked}.rev"))).unwrap();
    gnupg.run(&["--import"], certificate.replace(":---", "---").as_bytes());
    assert_says(&refused(&revoked).await, KeyErrorKind::BadKeyFile, &["it is revoked"]);

    let expired = gnupg.key("expired@example.org", "");
    gnupg.run(&["--passphrase", "", "--quick-set-expire", &expired, "seconds=1"], b"");
    std::thread::sleep(Duration::from_millis(2100));
    assert_says(&refused(&expired).await, KeyErrorKind::BadKeyFile, &["it has expired"]);
}

#[tokio::test]
async fn a_damaged_message_is_told_from_a_missing_key() {
    let gnupg = Gnupg::new();
    let fingerprint = gnupg.key("ec@example.org", "");
    let good = gnupg.wraps(&fingerprint);
    let service = gnupg.service(&fingerprint);
    let lines: Vec<_> = good.as_str().lines().collect();
    let cut = lines[..lines.len() - 3].join("\n");
    for text in ["hello", "", "-----BEGIN PGP MESSAGE-----\n", &cut] {
        let error = service.unwrap(&WrappedKey::new(text)).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::BadCiphertext, "{text:?}: {error}");
    }
    // Every line of the body with its first letter changed, without the checksum that armor has.
    let body: Vec<_> = lines.iter().filter(|line| !line.starts_with('=')).collect();
    for changed in 2..body.len() - 1 {
        let mut body: Vec<String> = body.iter().map(|&&line| line.to_owned()).collect();
        let letter = if body[changed].starts_with('A') { "B" } else { "A" };
        body[changed].replace_range(..1, letter);
        let opened = service.unwrap(&WrappedKey::new(body.join("\n"))).await;
        assert!(opened.is_err(), "line {changed}");
    }
    assert_eq!(service.unwrap(&good).await.unwrap().expose(), DATA_KEY);
}

#[tokio::test]
async fn the_program_is_the_one_that_the_variable_names() {
    let gnupg = Gnupg::new();
    let fingerprint = gnupg.key("ec@example.org", "");
    let with = |gpg: &Path, timeout: Duration| {
        let mut env = gnupg.env();
        env.insert("SOPS_GPG_EXEC".to_owned(), gpg.to_str().unwrap().to_owned());
        let options = Options { timeout, ..Options::default() };
        Registry::new(Arc::new(env), options).open(&id(&fingerprint)).unwrap()
    };
    let second = Duration::from_secs(1);

    let error = with(Path::new("/nonexistent/gpg"), second).wrap(&SecretBytes::zeroed(32)).await.unwrap_err();
    assert_says(&error, KeyErrorKind::BadConfig, &["SOPS_GPG_EXEC: cannot start /nonexistent/gpg", "install GnuPG"]);

    let script = |name: &str, text: &str| {
        let path = gnupg.path().join(name);
        gnupg.run_command(Command::new("install").args(["-m", "700", "/dev/stdin"]).arg(&path), text.as_bytes());
        path
    };
    let mark = gnupg.path().join("mark");
    let noting = script("noting", &format!("#!/bin/sh\ntouch '{}'\nexec gpg \"$@\"\n", mark.display()));
    let wrapped = with(&noting, Duration::from_mins(1)).wrap(&SecretBytes::zeroed(32)).await.unwrap();
    assert_eq!(gnupg.run(&["-d"], wrapped.as_str().as_bytes()), [0; 32]);
    assert!(mark.exists());

    let failing = script("failing", "#!/bin/sh\necho 'gpg: out of order' >&2\nexit 3\n");
    let error = with(&failing, second).unwrap(&wrapped).await.unwrap_err();
    assert_says(&error, KeyErrorKind::Other, &["gpg could not decrypt (exit status: 3): gpg: out of order"]);

    let silent = script("silent", "#!/bin/sh\ncat > /dev/null\n");
    let error = with(&silent, second).wrap(&SecretBytes::zeroed(32)).await.unwrap_err();
    assert_says(&error, KeyErrorKind::Other, &["gpg could not encrypt (exit status: 0)"]);
    let error = with(&silent, second).unwrap(&wrapped).await.unwrap_err();
    assert_says(&error, KeyErrorKind::Other, &["gpg could not decrypt (exit status: 0)"]);

    let slow = script("slow", "#!/bin/sh\nexec sleep 60\n");
    let error = with(&slow, Duration::from_millis(100)).wrap(&SecretBytes::zeroed(32)).await.unwrap_err();
    assert_says(&error, KeyErrorKind::Timeout, &["within 0.1 s"]);
}

#[tokio::test]
async fn what_is_no_fingerprint_is_refused_when_it_is_opened() {
    let registry = Registry::new(Arc::new(BTreeMap::<String, String>::new()), Options::default());
    for fingerprint in
        ["", "alice@example.org", "--output=/etc/passwd", "12345", "0x12345", "GG23456789", "0x0x123456789ABC"]
    {
        let error = registry.open(&id(fingerprint)).err().unwrap();
        assert_says(&error, KeyErrorKind::BadConfig, &["not a fingerprint"]);
    }
}
