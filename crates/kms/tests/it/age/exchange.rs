//! Both directions with the real age and sops, for every kind of key.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use bulla_core::{SecretBytes, WrappedKey};
use bulla_test_support::{SOPS, program};

use super::*;

/// What a real age finds in `wrapped` with `identity`.
fn age_opens(age: &Path, identity: &str, wrapped: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("identity");
    fs::File::create(&file).unwrap().write_all(identity.as_bytes()).unwrap();
    run(Command::new(age).args(["-d", "-i"]).arg(file).env("PATH", plugins()), wrapped.as_bytes())
}

/// Checks both directions against a real age.
async fn exchange(age: &Path, pair: &Pair) {
    let mut home = Home::new();
    if pair.identity.starts_with("-----") {
        let file = home.file("key", &pair.identity);
        home.set("SOPS_AGE_SSH_PRIVATE_KEY_FILE", file);
    } else {
        home.set("SOPS_AGE_KEY", &pair.identity).set("PATH", plugins());
    }
    let service = home.service(&pair.recipient);

    let ours = service.wrap(&SecretBytes::from(&DATA_KEY[..])).await.unwrap();
    assert_eq!(age_opens(age, &pair.identity, ours.as_str()), DATA_KEY);
    assert_eq!(service.unwrap(&ours).await.unwrap().expose(), DATA_KEY);

    let theirs = age_wraps(age, &pair.recipient);
    assert_eq!(service.unwrap(&WrappedKey::new(&theirs)).await.unwrap().expose(), DATA_KEY);
    // The same shape: armor, its line width, its end. (Not the same length: the age crate adds a stanza of nonsense to
    // each file, so that readers do not forget that there may be some they do not know.)
    for text in [ours.as_str(), &theirs] {
        let lines: Vec<_> = text.strip_suffix('\n').unwrap().split('\n').collect();
        let [first, full @ .., short, last] = lines.as_slice() else { panic!("{text}") };
        assert_eq!((*first, *last), ("-----BEGIN AGE ENCRYPTED FILE-----", "-----END AGE ENCRYPTED FILE-----"));
        assert!(full.iter().all(|line| line.len() == 64) && (1..=64).contains(&short.len()), "{text}");
    }
}

#[tokio::test]
async fn x25519_keys_are_exchanged_with_age() {
    exchange(&old_age(), &x25519()).await;
    exchange(&new_age(), &x25519()).await;
}

#[tokio::test]
async fn post_quantum_keys_are_exchanged_with_age() {
    for _ in 0..3 {
        exchange(&new_age(), &hybrid()).await;
    }
}

#[tokio::test]
async fn ssh_keys_are_exchanged_with_age() {
    for arguments in [
        &["-t", "ed25519"][..],
        &["-t", "rsa", "-b", "2048"],
        &["-t", "rsa", "-b", "3072", "-m", "PEM"],
        &["-t", "rsa", "-b", "2048", "-m", "PKCS8"],
        &["-t", "rsa", "-b", "4096"],
    ] {
        let pair = ssh(arguments);
        exchange(&old_age(), &pair).await;
        exchange(&new_age(), &pair).await;
    }
}

#[tokio::test]
async fn plugin_keys_are_exchanged_with_age() {
    exchange(&new_age(), &plugin("probe")).await;
}

#[tokio::test]
async fn a_real_plugin_unwraps_what_it_wrapped() {
    // batchpass wraps for its identity alone; it reads its passphrase from the environment, which a wrapper gives it.
    let mut home = Home::new();
    let script_file = home.folder.path().join("age-plugin-batchpass");
    let script =
        format!("#!/bin/sh\nAGE_PASSPHRASE=horse exec {} \"$@\"\n", program("bin/age-plugin-batchpass").display());
    // Written by another process: a file that this one has open while a test beside it starts a program cannot be run.
    run(Command::new("install").args(["-m", "700", "/dev/stdin"]).arg(&script_file), script.as_bytes());
    let path = format!("{}:/usr/bin:/bin", script_file.parent().unwrap().display());
    let wrapped = run(
        Command::new(new_age())
            .args(["-e", "-a", "-j", "batchpass"])
            .env("PATH", &path)
            .env("AGE_PASSPHRASE_WORK_FACTOR", "10"),
        &DATA_KEY,
    );
    let wrapped = String::from_utf8(wrapped).unwrap();
    home.set("SOPS_AGE_KEY", "AGE-PLUGIN-BATCHPASS-1JCS0Q9").set("PATH", &path);
    let recipient = x25519().recipient;
    assert_eq!(home.unwrap(&recipient, &wrapped).await.unwrap().expose(), DATA_KEY);
}

#[tokio::test]
async fn hardware_recipients_are_wrapped_for_without_their_plugin() {
    // From the tests of age 1.3; only its hardware opens it, so the stanza's type is looked at.
    let recipient = "age1tag1qwe0kafsjrar4txm6heqnhpfuggzr0gvznz7fvygxrlq90u5mq2pysxtw6h";
    let wrapped = Home::new().service(recipient).wrap(&SecretBytes::from(&DATA_KEY[..])).await.unwrap();
    let inspected = run(&mut Command::new(program("bin/age-inspect")), wrapped.as_str().as_bytes());
    assert!(String::from_utf8_lossy(&inspected).contains("p256tag"));
}

/// The file with another `enc` in place of its own.
fn with_enc(file: &str, enc: &str) -> String {
    let start = file.find("-----BEGIN AGE").unwrap();
    let end = file.find("-----END AGE ENCRYPTED FILE-----").unwrap() + "-----END AGE ENCRYPTED FILE-----\n".len();
    let line_start = file[..start].rfind('\n').unwrap() + 1;
    let indent = &file[line_start..start];
    let block: Vec<_> = enc.lines().map(|line| format!("{indent}{line}")).collect();
    format!("{}{}\n{}", &file[..line_start], block.join("\n"), &file[end..])
}

/// sops encrypts a file; we unwrap its data key and wrap it again; sops opens the file with our wrapping.
async fn exchange_with_sops(version: &str, pair: &Pair, home: &Home) {
    let plain = "password: hunter2\n";
    home.file("secret.yaml", plain);
    let file = home.sops(version, &["encrypt", "--age", &pair.recipient, "secret.yaml"]).unwrap();
    let service = home.service(&pair.recipient);
    let data_key = service.unwrap(&WrappedKey::new(enc_of(&file))).await.unwrap();
    assert_eq!(data_key.len(), 32);

    let ours = service.wrap(&data_key).await.unwrap();
    let file = with_enc(&file, ours.as_str());
    assert_eq!(enc_of(&file), ours.as_str());
    home.file("ours.yaml", &file);
    assert_eq!(home.sops(version, &["decrypt", "ours.yaml"]).unwrap(), plain);
}

#[tokio::test]
async fn data_keys_are_exchanged_with_sops() {
    for version in SOPS {
        for pair in [x25519(), plugin("probe")] {
            let mut home = Home::new();
            home.set("SOPS_AGE_KEY", &pair.identity).set("PATH", plugins());
            exchange_with_sops(version, &pair, &home).await;
        }
        for kind in ["ed25519", "rsa"] {
            let pair = ssh(&["-t", kind]);
            let home = Home::new();
            home.file(&format!(".ssh/id_{kind}"), &pair.identity);
            exchange_with_sops(version, &pair, &home).await;
        }
    }
    let pair = hybrid();
    let mut home = Home::new();
    home.set("SOPS_AGE_KEY", &pair.identity);
    exchange_with_sops("3.13.3", &pair, &home).await;
}
