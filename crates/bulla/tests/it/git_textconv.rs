//! What `git diff` shows, and what `git install` sets.

use std::net::TcpListener;
use std::os::unix::fs::symlink;

use crate::repository::Repository;
use crate::world::{BOB, Program, World, finish};

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

#[test]
fn install_for_all_repositories_needs_to_be_in_none() {
    let world = World::new();
    let mut command = world.command(Program::Bulla);
    finish(command.args(["git", "install", "--global", "*.enc.yaml"]), b"").ok();
    assert_eq!(world.read(".config/git/attributes"), "*.enc.yaml diff=bulla merge=bulla\n");
}

#[test]
fn install_writes_through_no_link_of_the_repository() {
    let repository = Repository::new();
    repository.world.write("profile", "# mine\n");
    symlink("../profile", repository.world.path("repo/.gitattributes")).unwrap();
    repository.encrypted("x;touch owned;.yaml", TEXT);
    repository.git(&["add", "."]).ok();
    let run = repository.bulla(&["git", "install"]);
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("symbolic link"), "{}", run.stderr);
    assert_eq!(repository.world.read("profile"), "# mine\n");
}

#[test]
fn a_folder_of_a_repository_cannot_say_what_git_runs() {
    let repository = Repository::new();
    for folder in ["objects", "refs"] {
        repository.write(&format!("deploy/{folder}/x"), "x");
    }
    repository.write("deploy/HEAD", "ref: refs/heads/main\n");
    repository.write(
        "deploy/config",
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = ../deploy\n\tfsmonitor = \"touch ../owned; false\"\n",
    );
    repository.write("deploy/a.yaml", "a: 1\n");
    for arguments in [&["check", "deploy"][..], &["diff", "deploy/a.yaml"]] {
        let _ = repository.bulla(arguments);
        assert!(!repository.world.path("repo/owned").exists(), "{arguments:?}");
    }
}

#[test]
fn git_diff_sends_no_token_to_a_server_that_only_the_file_names() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let address = format!("http://{}", server.local_addr().unwrap());
    let repository = Repository::new();
    repository.write(
        "s.yaml",
        format!(
            "a: ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]\nsops:\n    lastmodified: \"2026-01-02T03:04:05Z\"\n    mac: x\n    \
             version: 3.11.0\n    hc_vault:\n        - vault_address: {address}\n          engine_path: transit\n          key_name: app\n          \
             created_at: \"2026-01-02T03:04:05Z\"\n          enc: vault:v1:AAAA\n"
        ),
    );
    let ask = |command: &str, more: &[(&str, &str)]| {
        let mut bulla = repository.bulla_command();
        bulla.env("VAULT_TOKEN", "hunter2-token").env("VAULT_MAX_RETRIES", "0").env("BULLA_KEY_TIMEOUT", "500ms");
        let words = command.split(' ');
        let _ = finish(bulla.envs(more.iter().copied()).args(words).arg("s.yaml"), b"");
        server.accept().is_ok()
    };
    assert!(!ask("git textconv", &[]));
    assert!(!ask("git textconv", &[("VAULT_ADDR", "http://127.0.0.1:1")]));
    assert!(ask("git textconv", &[("VAULT_ADDR", &address)]));
    assert!(ask("decrypt", &[]), "the control: whoever opens the file means it");
}
