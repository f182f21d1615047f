//! Where identities are found, how often is looked, and who is asked.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bulla_core::{KeyErrorKind, Operation, SecretBytes, WrappedKey};
use bulla_test_support::program;

use super::*;

/// Each place of identities, set up in a home folder: by what, and for which key.
#[expect(clippy::type_complexity, reason = "a table of cases")]
const PLACES: [(&str, fn() -> Pair, fn(&mut Home, &Pair)); 13] = [
    ("SOPS_AGE_KEY", x25519, |home, pair| {
        home.set("SOPS_AGE_KEY", &pair.identity);
    }),
    ("SOPS_AGE_KEY, several on a line, with comments", hybrid, |home, pair| {
        let other = x25519().identity;
        home.set("SOPS_AGE_KEY", format!("# two\n\n{other} {}\n", pair.identity));
    }),
    ("SOPS_AGE_KEY_FILE", x25519, |home, pair| {
        let file = home.file("a key", &format!("# created: today\r\n\r\n{}\r\n", pair.identity));
        home.set("SOPS_AGE_KEY_FILE", file);
    }),
    ("SOPS_AGE_KEY_CMD, words in quotes, no shell", x25519, |home, pair| {
        let file = home.file("with blank/key $HOME.txt", &pair.identity);
        home.set("SOPS_AGE_KEY_CMD", format!("cat '{}' # a comment", file.display()));
    }),
    ("SOPS_AGE_KEY_CMD that looks at SOPS_AGE_RECIPIENT", x25519, |home, pair| {
        let file = home.file(&pair.recipient, &pair.identity);
        let folder = file.parent().unwrap().display();
        home.set("SOPS_AGE_KEY_CMD", format!(r#"sh -c "cat {folder}/\$SOPS_AGE_RECIPIENT""#));
    }),
    ("the user's configuration folder", x25519, |home, pair| {
        home.file(".config/sops/age/keys.txt", &pair.identity);
    }),
    ("XDG_CONFIG_HOME", hybrid, |home, pair| {
        home.file("elsewhere/sops/age/keys.txt", &pair.identity);
        let folder = home.folder.path().join("elsewhere");
        home.set("XDG_CONFIG_HOME", folder);
    }),
    (
        "SOPS_AGE_SSH_PRIVATE_KEY_FILE",
        || ssh(&["-t", "ed25519"]),
        |home, pair| {
            let file = home.file("deploy", &pair.identity);
            home.set("SOPS_AGE_SSH_PRIVATE_KEY_FILE", file);
        },
    ),
    (
        "SOPS_AGE_SSH_PRIVATE_KEY_CMD",
        || ssh(&["-t", "rsa"]),
        |home, pair| {
            let file = home.file("deploy", &pair.identity);
            home.set("SOPS_AGE_SSH_PRIVATE_KEY_CMD", format!("cat {}", file.display()));
        },
    ),
    (
        "~/.ssh/id_ed25519",
        || ssh(&["-t", "ed25519"]),
        |home, pair| {
            home.file(".ssh/id_ed25519", &pair.identity);
        },
    ),
    (
        "~/.ssh/id_rsa",
        || ssh(&["-t", "rsa"]),
        |home, pair| {
            home.file(".ssh/id_rsa", &pair.identity);
        },
    ),
    (
        "a plugin's identity in a file",
        || plugin("probe"),
        |home, pair| {
            let file = home.file("key", &pair.identity);
            home.set("SOPS_AGE_KEY_FILE", file).set("PATH", plugins());
        },
    ),
    ("a good place beside bad ones", x25519, |home, pair| {
        let rubbish = home.file("rubbish", "rubbish\n");
        home.file(".ssh/id_ed25519", "rubbish");
        home.file(".config/sops/age/keys.txt", &pair.identity);
        home.set("SOPS_AGE_KEY_FILE", rubbish);
        home.set("SOPS_AGE_KEY", "AGE-SECRET-KEY-1QQQQ").set("SOPS_AGE_KEY_CMD", "false");
    }),
];

#[tokio::test]
async fn identities_are_found_wherever_sops_finds_them() {
    for (place, pair, set_up) in PLACES {
        let pair = pair();
        let mut home = Home::new();
        // For the commands and `cat` in them. Later settings go before.
        home.set("PATH", "/usr/bin:/bin");
        set_up(&mut home, &pair);
        home.file("secret.yaml", "a: b\n");
        let file = home.sops("3.13.3", &["encrypt", "--age", &pair.recipient, "secret.yaml"]).unwrap();
        home.file("encrypted.yaml", &file);
        // The scenario is one in which sops itself succeeds.
        assert_eq!(home.sops("3.13.3", &["decrypt", "encrypted.yaml"]).as_deref(), Ok("a: b\n"), "{place}");
        let opened = home.unwrap(&pair.recipient, &enc_of(&file)).await;
        assert_eq!(opened.as_ref().map(SecretBytes::len).ok(), Some(32), "{place}: {opened:?}");
    }
}

#[tokio::test]
async fn five_hundred_files_cost_one_look() {
    let pair = x25519();
    let mut home = Home::new();
    let file = home.file("keys", &pair.identity);
    let count = home.folder.path().join("count");
    let script = home.file("key.sh", &format!("echo x >> '{}'; cat '{}'", count.display(), file.display()));
    home.set("SOPS_AGE_KEY_CMD", format!("sh '{}'", script.display()));
    let registry = home.registry();
    let wrapped = WrappedKey::new(age_wraps(&new_age(), &pair.recipient));
    let unwraps = (0..500).map(|_| {
        let (registry, wrapped, id) = (registry.clone(), wrapped.clone(), id(&pair.recipient));
        tokio::spawn(async move { registry.open(&id).unwrap().unwrap(&wrapped).await.unwrap() })
    });
    for unwrap in unwraps.collect::<Vec<_>>() {
        assert_eq!(unwrap.await.unwrap().expose(), DATA_KEY);
    }
    assert_eq!(fs::read_to_string(count).unwrap(), "x\n");
}

#[tokio::test]
async fn nothing_is_run_while_a_file_holds_the_identity() {
    let pair = x25519();
    let mut home = Home::new();
    let mark = home.folder.path().join("mark");
    home.file(".config/sops/age/keys.txt", &format!("{}\n{}\n", plugin("probe").identity, pair.identity));
    home.set("SOPS_AGE_KEY_CMD", format!("touch '{}'", mark.display()));
    home.set("SOPS_AGE_SSH_PRIVATE_KEY_CMD", format!("touch '{}'", mark.display()));
    let service = home.service(&pair.recipient);
    assert!(!service.may_ask(Operation::Unwrap).await);
    let wrapped = service.wrap(&SecretBytes::from(&DATA_KEY[..])).await.unwrap();
    assert_eq!(service.unwrap(&wrapped).await.unwrap().expose(), DATA_KEY);
    assert!(!mark.exists());
}

#[tokio::test]
async fn a_key_says_whether_it_may_ask() {
    let (mine, other) = (x25519(), x25519());
    let ask = async |home: &Home, recipient: &str| {
        let service = home.service(recipient);
        (service.may_ask(Operation::Wrap).await, service.may_ask(Operation::Unwrap).await)
    };
    let mut home = Home::new();
    assert_eq!(ask(&home, &mine.recipient).await, (false, false));
    assert_eq!(ask(&home, &plugin("probe").recipient).await, (true, true));

    home.set("SOPS_AGE_KEY", format!("{} {}", mine.identity, plugin("probe").identity));
    assert_eq!(ask(&home, &mine.recipient).await, (false, false));
    assert_eq!(ask(&home, &other.recipient).await, (false, true));

    home.env.remove("SOPS_AGE_KEY");
    home.set("SOPS_AGE_KEY_CMD", "cat key");
    assert_eq!(ask(&home, &mine.recipient).await, (false, true));

    let home = Home::new();
    let pair = ssh(&["-t", "ed25519"]);
    home.file(".ssh/id_ed25519", &pair.identity);
    assert_eq!(ask(&home, &pair.recipient).await, (false, false));
}

/// A real gpg-agent in a home folder, whose pinentry types `passphrase` and counts how often it was asked.
struct Agent {
    home: PathBuf,
    count: PathBuf,
}

impl Agent {
    fn start(folder: &Path, passphrase: &str) -> Self {
        let home = folder.join(".gnupg");
        fs::create_dir(&home).unwrap();
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        let count = home.join("count");
        let pinentry = home.join("pinentry");
        let script = format!(
            "#!/bin/sh\necho OK\nwhile read -r command rest; do\ncase $command in\n\
             GETPIN) echo x >> '{}'; echo 'D {passphrase}' ;;\nesac\necho OK\n\
             [ \"$command\" != BYE ] || exit 0\ndone\n",
            count.display()
        );
        run(Command::new("install").args(["-m", "700", "/dev/stdin"]).arg(&pinentry), script.as_bytes());
        let settings = format!("pinentry-program {}\n", pinentry.display());
        fs::File::create(home.join("gpg-agent.conf")).unwrap().write_all(settings.as_bytes()).unwrap();
        run(Command::new("gpg-connect-agent").arg("--homedir").arg(&home).arg("/bye"), b"");
        Self { home, count }
    }

    /// How often the person was asked.
    fn asked(&self) -> usize {
        fs::read_to_string(&self.count).unwrap_or_default().lines().count()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(&self.home).args(["--kill", "gpg-agent"]).status();
    }
}

#[tokio::test]
async fn a_passphrase_typed_for_sops_is_known_to_us_and_the_other_way_round() {
    let pair = x25519();
    let mut age = Command::new(new_age());
    age.args(["-e", "-a", "-j", "batchpass"])
        .env("PATH", program("bin/age-plugin-batchpass").parent().unwrap())
        .env("AGE_PASSPHRASE", "horse")
        .env("AGE_PASSPHRASE_WORK_FACTOR", "10");
    let locked = String::from_utf8(run(&mut age, pair.identity.as_bytes())).unwrap();

    for we_are_first in [true, false] {
        let mut home = Home::new();
        let agent = Agent::start(home.folder.path(), "horse");
        let file = home.file("keys.age", &locked);
        // sops takes the user's home from /etc/passwd here, not from HOME.
        let socket = format!("{}/S.gpg-agent:0:1", agent.home.display());
        // And without TERM it makes of its options a syntax error.
        home.set("SOPS_AGE_KEY_FILE", file).set("GPG_AGENT_INFO", socket).set("TERM", "dumb");
        home.file("secret.yaml", "a: b\n");
        let encrypted = home.sops("3.13.3", &["encrypt", "--age", &pair.recipient, "secret.yaml"]).unwrap();
        home.file("encrypted.yaml", &encrypted);
        let theirs = || home.sops("3.13.3", &["decrypt", "encrypted.yaml"]).unwrap();
        let ours = async || home.unwrap(&pair.recipient, &enc_of(&encrypted)).await.unwrap();
        if we_are_first {
            ours().await;
        } else {
            theirs();
        }
        assert_eq!(agent.asked(), 1);
        ours().await;
        theirs();
        assert_eq!(agent.asked(), 1);
    }
}

#[tokio::test]
async fn a_wrong_passphrase_is_forgotten_by_the_agent() {
    let pair = x25519();
    let mut age = Command::new(new_age());
    age.args(["-e", "-j", "batchpass", "-a"])
        .env("PATH", program("bin/age-plugin-batchpass").parent().unwrap())
        .env("AGE_PASSPHRASE", "horse")
        .env("AGE_PASSPHRASE_WORK_FACTOR", "10");
    let locked = String::from_utf8(run(&mut age, pair.identity.as_bytes())).unwrap();
    let mut home = Home::new();
    let agent = Agent::start(home.folder.path(), "pony");
    let file = home.file("keys.age", &locked);
    home.set("SOPS_AGE_KEY_FILE", file);
    let error = failure(&home, &pair.recipient).await;
    assert_says(&error, KeyErrorKind::Denied, &["wrong passphrase, 3 times"]);
    assert_eq!(agent.asked(), 3);
}
