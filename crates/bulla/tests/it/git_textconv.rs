//! What `git diff` shows, and what `git install` sets.

use crate::repository::Repository;
use crate::world::{BOB, finish};

const TEXT: &str = "# why\npassword: base-secret\nport: 1\n";

#[test]
fn git_diff_shows_encrypted_files_in_the_plain_to_whom_has_a_key() {
    let repository = Repository::with("secrets.yaml", TEXT);
    repository.set("secrets.yaml", r#"["password"]"#, "\"new-secret\"");
    let diff = repository.git(&["diff"]).ok();
    assert!(diff.text().contains("-password: base-secret\n+password: new-secret\n"), "{}", diff.text());
    assert!(!diff.text().contains("ENC["), "{}", diff.text());
    let mut command = repository.git_command();
    command.env_remove("SOPS_AGE_KEY_FILE");
    let without = finish(command.arg("diff"), b"").ok();
    assert!(without.text().contains("ENC[") && !without.text().contains("secret\n"), "{}", without.text());
}

#[test]
fn git_diff_shows_who_was_let_in() {
    let repository = Repository::with("secrets.yaml", TEXT);
    repository.bulla(&["rotate", "-i", "--add-age", BOB.recipient, "secrets.yaml"]).ok();
    let diff = repository.git(&["diff"]).ok();
    assert!(diff.text().contains(&format!("+#   age {}", BOB.recipient)), "{}", diff.text());
}

#[test]
fn git_keeps_none_of_the_plaintext_that_it_shows() {
    let repository = Repository::with("secrets.yaml", TEXT);
    // Someone who likes caches.
    repository.git(&["config", "--global", "diff.bulla.cachetextconv", "true"]).ok();
    repository.set("secrets.yaml", r#"["password"]"#, "\"new-secret\"");
    repository.commit("new");
    assert!(repository.git(&["log", "-p"]).ok().text().contains("new-secret"));
    assert_eq!(repository.git(&["for-each-ref", "refs/notes"]).ok().text(), "");
    let objects = repository.git(&["cat-file", "--batch-all-objects", "--batch"]).ok();
    assert!(!String::from_utf8_lossy(&objects.stdout).contains("new-secret"));
}

#[test]
fn install_finds_the_encrypted_files_and_may_be_run_again() {
    let repository = Repository::new();
    repository.encrypted("a b/secrets.yaml", TEXT);
    repository.write("plain.yaml", "a: 1\n");
    repository.git(&["add", "."]).ok();
    for _ in 0..2 {
        repository.bulla(&["git", "install"]).ok();
        assert_eq!(repository.read(".gitattributes"), "\"/a b/secrets.yaml\" diff=bulla merge=bulla\n");
    }
    let attributes = repository.git(&["check-attr", "merge", "a b/secrets.yaml", "plain.yaml"]).ok();
    assert_eq!(attributes.text(), "a b/secrets.yaml: merge: bulla\nplain.yaml: merge: unspecified\n");
}

#[test]
fn install_can_be_global() {
    let repository = Repository::new();
    repository.bulla(&["git", "install", "--global", "*.enc.yaml"]).ok();
    let config = repository.git(&["config", "--global", "merge.bulla.driver"]).ok();
    assert!(config.text().contains("git merge"), "{}", config.text());
    assert_eq!(repository.world.read(".config/git/attributes"), "*.enc.yaml diff=bulla merge=bulla\n");
    let attributes = repository.git(&["check-attr", "diff", "x.enc.yaml"]).ok();
    assert_eq!(attributes.text(), "x.enc.yaml: diff: bulla\n");
}
