//! What is said when something is missing, malformed, slow or damaged.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use bulla_core::{KeyErrorKind, SecretBytes, WrappedKey};

use super::*;

#[tokio::test]
async fn with_no_identity_the_error_says_where_was_looked() {
    let pair = x25519();
    let mut home = Home::new();
    let keys = home.folder.path().join(".config/sops/age/keys.txt").display().to_string();
    let error = failure(&home, &pair.recipient).await;
    assert_says(
        &error,
        KeyErrorKind::NotFound,
        &[
            &pair.recipient,
            "SOPS_AGE_KEY: not set",
            "SOPS_AGE_KEY_FILE: not set",
            "SOPS_AGE_KEY_CMD: not set",
            &format!("{keys}: no such file"),
            &format!("put its identity into {keys}, or set SOPS_AGE_KEY_FILE"),
        ],
    );
    assert!(!error.to_string().contains("SSH"), "{error}");

    home.set("SOPS_AGE_KEY", format!("{} {}", x25519().identity, hybrid().identity));
    home.file(".config/sops/age/keys.txt", "# none\n");
    let error = failure(&home, &pair.recipient).await;
    assert_says(
        &error,
        KeyErrorKind::NotFound,
        &["SOPS_AGE_KEY: 2 identities, none of which fits", &format!("{keys}: no identity in it")],
    );

    let pair = ssh(&["-t", "ed25519"]);
    home.file(".ssh/id_ed25519", &ssh(&["-t", "ed25519"]).identity);
    let error = failure(&home, &pair.recipient).await;
    assert_says(
        &error,
        KeyErrorKind::NotFound,
        &[
            "SOPS_AGE_SSH_PRIVATE_KEY_FILE: not set",
            "SOPS_AGE_SSH_PRIVATE_KEY_CMD: not set",
            ".ssh/id_ed25519: another key",
            ".ssh/id_rsa: no such file",
            "set SOPS_AGE_SSH_PRIVATE_KEY_FILE",
        ],
    );
}

#[tokio::test]
async fn a_malformed_key_file_is_named_with_its_line_and_never_quoted() {
    let pair = x25519();
    let mut home = Home::new();
    let (start, last) = pair.identity.split_at(pair.identity.len() - 1);
    let damaged = format!("{start}{}", if last == "Q" { 'P' } else { 'Q' });
    let file = home.file("keys", &format!("# mine\n\n{damaged}\n"));
    home.set("SOPS_AGE_KEY_FILE", &file);
    let error = failure(&home, &pair.recipient).await;
    assert_says(&error, KeyErrorKind::BadKeyFile, &[&format!("SOPS_AGE_KEY_FILE={}: line 3", file.display())]);
    assert!(!error.to_string().contains(&damaged[20..40]));

    fs::File::create(&file).unwrap().write_all(b"\xff\xfe\x00").unwrap();
    let error = failure(&home, &pair.recipient).await;
    assert_says(&error, KeyErrorKind::BadKeyFile, &["it is not text"]);

    let folder = home.folder.path().to_owned();
    home.set("SOPS_AGE_KEY_FILE", folder);
    let error = failure(&home, &pair.recipient).await;
    assert_says(&error, KeyErrorKind::BadKeyFile, &["cannot be read", "irectory"]);
}

#[tokio::test]
async fn a_failing_key_command_is_named_with_what_it_says() {
    let pair = x25519();
    let mut home = Home::new();
    home.set("SOPS_AGE_KEY_CMD", "sh -c 'echo the vault is locked >&2; exit 4'");
    let error = failure(&home, &pair.recipient).await;
    assert_says(&error, KeyErrorKind::Other, &["SOPS_AGE_KEY_CMD: sh failed (exit status: 4): the vault is locked"]);

    home.set("SOPS_AGE_KEY_CMD", "no-such-program-here get");
    let error = failure(&home, &pair.recipient).await;
    assert_says(&error, KeyErrorKind::BadConfig, &["SOPS_AGE_KEY_CMD: cannot start no-such-program-here"]);

    home.set("SOPS_AGE_KEY_CMD", "echo 'unclosed");
    let error = failure(&home, &pair.recipient).await;
    assert_says(&error, KeyErrorKind::BadConfig, &["SOPS_AGE_KEY_CMD: a quote is not closed"]);

    home.set("SOPS_AGE_KEY_CMD", " # nothing");
    let error = failure(&home, &pair.recipient).await;
    assert_says(&error, KeyErrorKind::BadConfig, &["SOPS_AGE_KEY_CMD: the command is empty"]);

    home.set("SOPS_AGE_KEY_CMD", "echo rubbish");
    let error = failure(&home, &pair.recipient).await;
    assert_says(&error, KeyErrorKind::BadKeyFile, &["SOPS_AGE_KEY_CMD: line 1"]);
}

/// Whether this process has a terminal, over which a program could be asking someone: then nothing is timed.
fn has_terminal() -> bool {
    fs::File::options().read(true).write(true).open("/dev/tty").is_ok()
}

#[tokio::test]
async fn a_slow_key_command_or_plugin_is_stopped_where_nobody_can_be_asked() {
    let start = Instant::now();
    let pair = x25519();
    let wrapped = WrappedKey::new(age_wraps(&new_age(), &pair.recipient));
    let mut home = Home::new();
    // Four seconds are more than the limit, and end even with a terminal.
    home.set("SOPS_AGE_KEY_CMD", "sleep 4");
    let registry = home.registry_within(Duration::from_millis(100));
    let error = registry.open(&id(&pair.recipient)).unwrap().unwrap(&wrapped).await.unwrap_err();
    if has_terminal() {
        assert_says(&error, KeyErrorKind::NotFound, &["SOPS_AGE_KEY_CMD: no identity in it"]);
        return;
    }
    assert_says(&error, KeyErrorKind::Timeout, &["SOPS_AGE_KEY_CMD: sleep did not end within 0.1 s"]);

    let pair = plugin("hang");
    let mut home = Home::new();
    home.set("SOPS_AGE_KEY", &pair.identity).set("PATH", plugins());
    let service = home.registry_within(Duration::from_millis(100)).open(&id(&pair.recipient)).unwrap();
    for error in
        [service.unwrap(&wrapped).await.unwrap_err(), service.wrap(&SecretBytes::zeroed(32)).await.unwrap_err()]
    {
        assert_says(&error, KeyErrorKind::Timeout, &["age-plugin-hang did not answer within 0.1 s and was stopped"]);
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn what_a_stopped_plugin_started_is_not_waited_for() {
    if has_terminal() {
        return;
    }
    let start = Instant::now();
    let pair = plugin("hang");
    let mut home = Home::new();
    let script = home.folder.path().join("age-plugin-hang");
    let install = ["-m", "700", "/dev/stdin"];
    // The shell starts `sleep`, which has its output and outlives it.
    run(Command::new("install").args(install).arg(&script), b"#!/bin/sh\nsleep 30\nexit\n");
    let folder = home.folder.path().to_owned();
    home.set("SOPS_AGE_KEY", &pair.identity).set("PATH", folder);
    let wrapped = WrappedKey::new(age_wraps(&new_age(), &x25519().recipient));
    let service = home.registry_within(Duration::from_millis(100)).open(&id(&pair.recipient)).unwrap();
    for error in
        [service.unwrap(&wrapped).await.unwrap_err(), service.wrap(&SecretBytes::zeroed(32)).await.unwrap_err()]
    {
        assert_says(&error, KeyErrorKind::Timeout, &["age-plugin-hang did not answer within 0.1 s and was stopped"]);
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_key_in_a_variable_that_should_say_where_one_is_is_not_repeated() {
    let (pair, ssh_pair) = (x25519(), ssh(&["-t", "ed25519"]));
    for (variable, recipient, key) in [
        ("SOPS_AGE_KEY_FILE", &pair.recipient, &pair.identity),
        ("SOPS_AGE_KEY_CMD", &pair.recipient, &pair.identity),
        ("SOPS_AGE_SSH_PRIVATE_KEY_FILE", &ssh_pair.recipient, &ssh_pair.identity),
        ("SOPS_AGE_SSH_PRIVATE_KEY_CMD", &ssh_pair.recipient, &ssh_pair.identity),
    ] {
        let mut home = Home::new();
        home.set(variable, key);
        let error = failure(&home, recipient).await;
        assert_says(&error, KeyErrorKind::BadConfig, &[&format!("{variable}: it holds a key itself"), "SOPS_AGE_KEY"]);
        let shown = format!("{error:?}");
        assert!(key.lines().all(|line| !shown.contains(line)), "{shown}");
    }
}

#[tokio::test]
async fn a_plugin_that_fails_is_named_with_what_it_says() {
    let wrapped = WrappedKey::new(age_wraps(&new_age(), &x25519().recipient));
    for (name, kind, parts) in [
        ("missing", KeyErrorKind::NotFound, &["age-plugin-missing is not on PATH", "install age-plugin-missing"][..]),
        (
            "crash",
            KeyErrorKind::Other,
            &["age-plugin-crash ended (exit status: 3)", ": the token is not plugged in", "AGEDEBUG=plugin"],
        ),
        ("deaf", KeyErrorKind::Other, &["age-plugin-deaf ended (exit status: 7) before it had answered"]),
        ("grumble", KeyErrorKind::Other, &["age-plugin-grumble says: no touch, no key"]),
        ("rubbish", KeyErrorKind::Other, &["age-plugin-rubbish does not speak the protocol"]),
    ] {
        let pair = plugin(name);
        let mut home = Home::new();
        home.set("SOPS_AGE_KEY", &pair.identity).set("PATH", plugins());
        let service = home.service(&pair.recipient);
        let error = service.unwrap(&wrapped).await.unwrap_err();
        assert_says(&error, kind, parts);
        assert!(!error.to_string().contains(&pair.identity), "{error}");
        assert_says(&service.wrap(&SecretBytes::zeroed(32)).await.unwrap_err(), kind, parts);
    }
}

#[tokio::test]
async fn a_damaged_wrapped_key_is_told_from_a_missing_identity() {
    let pair = x25519();
    let mut home = Home::new();
    home.set("SOPS_AGE_KEY", &pair.identity);
    let good = age_wraps(&new_age(), &pair.recipient);
    assert_eq!(home.unwrap(&pair.recipient, &good).await.unwrap().expose(), DATA_KEY);

    for cut in [0, 10, 40, 100, 200, good.len() - 40, good.len() - 10] {
        let error = home.unwrap(&pair.recipient, &good[..cut]).await.unwrap_err();
        assert_says(&error, KeyErrorKind::BadCiphertext, &["the wrapped key is damaged"]);
    }
    for text in ["hello", "-----BEGIN PGP MESSAGE-----", &good.replace("AGE ENCRYPTED", "AGED")] {
        let error = home.unwrap(&pair.recipient, text).await.unwrap_err();
        assert_says(&error, KeyErrorKind::BadCiphertext, &["it is no age file"]);
    }
    // Each line of the body with one letter changed. A changed stanza looks like one for another key.
    let lines: Vec<_> = good.lines().collect();
    for changed in 1..lines.len() - 1 {
        let mut lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let letter = if lines[changed].starts_with('A') { "B" } else { "A" };
        lines[changed].replace_range(..1, letter);
        let error = home.unwrap(&pair.recipient, &(lines.join("\n") + "\n")).await.unwrap_err();
        assert!(matches!(error.kind(), KeyErrorKind::BadCiphertext | KeyErrorKind::NotFound), "{error}");
    }
    // Blanks around, and other line ends, are what editors do.
    let crlf = format!("\n  {}\n\n", good.replace('\n', "\r\n"));
    assert_eq!(home.unwrap(&pair.recipient, &crlf).await.unwrap().expose(), DATA_KEY);
}

#[tokio::test]
async fn a_wrapped_key_of_any_length_takes_no_time() {
    let pair = x25519();
    let mut home = Home::new();
    home.set("SOPS_AGE_KEY", &pair.identity);
    let line = "A".repeat(64) + "\n";
    for stanzas in [
        format!("-> X25519 {}\n{}AA\n", &line[..43], line.repeat(20_000)),
        format!("-> X25519 {}\n{}\n", &line[..43], &line[..43]).repeat(10_000),
    ] {
        let start = Instant::now();
        let wrapped = format!("age-encryption.org/v1\n{stanzas}--- {}\n{line}", &line[..43]);
        let error = home.unwrap(&pair.recipient, &wrapped).await.unwrap_err();
        assert_says(&error, KeyErrorKind::BadCiphertext, &["the wrapped key is damaged: it is too long"]);
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_malformed_recipient_is_refused_when_it_is_opened() {
    let registry = Home::new().registry();
    for (recipient, part) in [
        ("age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq", "Bech32"),
        ("age1pq1qqqqqq", "Bech32"),
        ("age1prob!1qqqsyqcfzyren", "Bech32"),
        ("ssh-ed25519 AAAA", "SSH"),
        ("alice", "none that age knows"),
    ] {
        let error = registry.open(&id(recipient)).err().unwrap();
        assert_says(&error, KeyErrorKind::BadConfig, &[recipient, part]);
    }
    let identity = x25519().identity;
    let error = registry.open(&id(&identity)).err().unwrap();
    assert_says(&error, KeyErrorKind::BadConfig, &["private key"]);
    assert!(!error.to_string().contains(&identity));
}
