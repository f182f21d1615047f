//! `git pre-commit`: real commits that are refused, and those that are not.

use crate::repository::Repository;
use crate::world::{ALICE, encrypt_secret};

const SECRET_MANIFEST: &str =
    "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  password: hunter2-value\n";

fn guarded() -> Repository {
    let repository = Repository::new();
    repository.bulla(&["git", "install", "--hook"]).ok();
    repository
}

/// Tries to commit everything, and gives what was said.
fn refused(repository: &Repository) -> String {
    repository.git(&["add", "--all"]).ok();
    let commit = repository.git(&["commit", "--quiet", "--message", "x"]);
    assert_eq!(commit.code, 1, "{}", commit.stderr);
    assert!(!commit.stderr.contains("hunter2-value"), "{}", commit.stderr);
    commit.stderr
}

#[test]
fn a_plain_secret_is_refused_with_its_place_and_committed_once_it_is_encrypted() {
    let repository = guarded();
    repository.write("k8s/secret.yaml", SECRET_MANIFEST);
    let said = refused(&repository);
    assert!(said.contains("k8s/secret.yaml:6: "), "{said}");
    assert!(said.contains("bulla encrypt --in-place k8s/secret.yaml && git add k8s/secret.yaml"), "{said}");
    repository.bulla(&encrypt_secret("k8s/secret.yaml")).ok();
    repository.commit("encrypted");
}

#[test]
fn secrets_are_found_in_lists_in_json_and_in_base64_and_not_in_other_kinds() {
    let repository = guarded();
    repository.write(
        "list.yaml",
        format!("apiVersion: v1\nkind: List\nitems:\n- {}", SECRET_MANIFEST.trim_end().replace('\n', "\n  ")),
    );
    repository
        .write("secret.json", r#"{"apiVersion":"v1","kind":"Secret","data":{"password":"aHVudGVyMi12YWx1ZQ=="}}"#);
    repository.write("fine.yaml", "apiVersion: v1\nkind: ConfigMap\ndata:\n  password: hunter2-value\n");
    repository.write("placeholder.yaml", SECRET_MANIFEST.replace("hunter2-value", "${PASSWORD}"));
    repository.write(
        "sealed.yaml",
        SECRET_MANIFEST.replace("kind: Secret", "kind: SealedSecret").replace("v1", "bitnami.com/v1alpha1"),
    );
    let said = refused(&repository);
    assert!(said.contains("list.yaml:") && said.contains("secret.json:1:"), "{said}");
    for fine in ["fine.yaml", "placeholder.yaml", "sealed.yaml"] {
        assert!(!said.contains(fine), "{said}");
    }
}

#[test]
fn files_that_a_rule_wants_encrypted_are_refused_and_a_rule_for_everything_says_nothing() {
    let repository = guarded();
    let rule = |regex: &str| format!("creation_rules:\n  - path_regex: {regex}\n    age: {}\n", ALICE.recipient);
    repository.write(".sops.yaml", rule(r"^secrets/.*\.yaml$"));
    repository.write("secrets/a.yaml", "a: hunter2-value\n");
    repository.write("other/a.yaml", "a: hunter2-value\n");
    let said = refused(&repository);
    assert!(said.contains("secrets/a.yaml:1: rule 1 of .sops.yaml"), "{said}");
    let literal = repository.git(&["--literal-pathspecs", "commit", "--quiet", "--message", "x"]);
    assert!(literal.stderr.contains("secrets/a.yaml:1: rule 1"), "{}", literal.stderr);
    assert!(!said.contains("other/a.yaml"), "{said}");
    repository.write(".sops.yaml", rule(".*"));
    repository.commit("everything");
}

#[test]
fn env_files_and_private_keys_are_refused() {
    let repository = guarded();
    repository.write(".env", "PORT=1\nDB_PASSWORD=hunter2-value\n");
    repository.write(".env.example", "DB_PASSWORD=hunter2-value\n");
    let key = repository.world.read("alice.key");
    repository.write("notes.txt", format!("my key\n{key}\n"));
    let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
    repository.write("key.pem", format!("-----BEGIN {}-----\n{body}\n", "PRIVATE KEY"));
    let said = refused(&repository);
    assert!(said.contains(".env:2: ") && said.contains("notes.txt:2: ") && said.contains("key.pem:1: "), "{said}");
    assert!(!said.contains(".env.example") && !said.contains(key.trim()), "{said}");
}

#[test]
fn what_is_staged_counts_and_not_what_stands_in_the_work_tree() {
    let repository = guarded();
    repository.write("a.yaml", SECRET_MANIFEST);
    repository.git(&["add", "a.yaml"]).ok();
    repository.write("a.yaml", "harmless: true\n");
    assert_eq!(repository.bulla(&["git", "pre-commit"]).code, 1);
    repository.git(&["add", "a.yaml"]).ok();
    repository.write("a.yaml", SECRET_MANIFEST);
    repository.bulla(&["git", "pre-commit"]).ok();
}

#[test]
fn exceptions_are_said_on_the_line_or_in_the_attributes() {
    let repository = guarded();
    repository.write("line.yaml", SECRET_MANIFEST.replace("hunter2-value", "hunter2-value # bulla:allow"));
    repository.write("testdata/secret.yaml", SECRET_MANIFEST);
    repository.write(".gitattributes", "testdata/** bulla-allow\n");
    repository.commit("allowed");
}

#[test]
fn all_looks_through_the_whole_index_from_any_folder_and_answers_in_json() {
    let repository = Repository::new();
    repository.write("a/secret.yaml", SECRET_MANIFEST);
    repository.write("b/c.txt", "x\n");
    repository.commit("before the hook");
    repository.bulla(&["git", "pre-commit"]).ok();
    let mut command = repository.bulla_command();
    command.current_dir(repository.world.path("repo/b"));
    let run = crate::world::finish(command.args(["git", "pre-commit", "--all", "--output", "json"]), b"");
    assert_eq!(run.code, 1, "{}", run.stderr);
    let report: serde_json::Value = serde_json::from_str(run.text()).unwrap();
    assert_eq!(report["files"], 2);
    assert_eq!(report["findings"][0]["path"], "a/secret.yaml");
    assert_eq!(report["findings"][0]["line"], 6);
    assert_eq!(report["findings"][0]["kind"], "secret-manifest");
    assert!(!run.text().contains("hunter2-value"));
    // As the pre-commit framework may call it: with names.
    repository.bulla(&["git", "pre-commit", "--all", "b/c.txt"]).ok();
    assert_eq!(repository.bulla(&["git", "pre-commit", "--all", "a/secret.yaml"]).code, 1);
}

#[test]
fn an_unresolved_conflict_of_an_encrypted_file_is_refused() {
    let repository = Repository::with("secrets.yaml", "a: base-secret\n");
    repository.branch("theirs", |repository| repository.set("secrets.yaml", r#"["a"]"#, "\"theirs\""));
    repository.set("secrets.yaml", r#"["a"]"#, "\"ours\"");
    repository.commit("ours");
    assert_eq!(repository.git(&["merge", "theirs"]).code, 1);
    repository.bulla(&["git", "install", "--hook"]).ok();
    let said = refused(&repository);
    assert!(said.contains("merge conflict"), "{said}");
}

#[test]
fn a_hook_of_someone_else_stays() {
    let repository = Repository::new();
    repository.write(".git/hooks/pre-commit", "#!/bin/sh\ntrue\n");
    let run = repository.bulla(&["git", "install", "--hook"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("add this line"), "{}", run.stderr);
    assert_eq!(repository.read(".git/hooks/pre-commit"), "#!/bin/sh\ntrue\n");
}

#[test]
fn a_plain_value_in_an_encrypted_file_is_refused() {
    let repository = guarded();
    repository.encrypted("s.yaml", "a: 1\n");
    repository.commit("encrypted");
    let text = repository.read("s.yaml");
    repository.write("s.yaml", format!("new: hunter2-value\n{text}"));
    let said = refused(&repository);
    assert!(said.contains("s.yaml:1: new is plain in an encrypted file"), "{said}");
    // A whole document behind an encrypted one.
    repository.write("s.yaml", format!("{text}---\n{SECRET_MANIFEST}"));
    let said = refused(&repository);
    assert!(said.contains("stringData.password is plain in an encrypted file"), "{said}");
}

#[test]
fn a_rule_for_a_part_of_every_yaml_file_says_nothing_about_one() {
    let repository = guarded();
    let rule = |regex: &str| {
        format!(
            "creation_rules:\n  - path_regex: {regex}\n    encrypted_regex: ^(data|stringData)$\n    age: {}\n",
            ALICE.recipient
        )
    };
    repository.write(".sops.yaml", rule(r".*\.yaml"));
    repository.write("config.yaml", "kind: ConfigMap\ndata:\n  a: b\n");
    repository.commit("as Flux has it");
    repository.bulla(&["check"]).ok();
    // A rule for some files wants those that it would encrypt a part of.
    repository.write(".sops.yaml", rule(r"^apps/.*\.yaml$"));
    repository.write("apps/deployment.yaml", "kind: Deployment\nspec:\n  replicas: 1\n");
    repository.commit("nothing to encrypt");
    repository.write("apps/values.yaml", "data:\n  a: hunter2-value\n");
    assert!(refused(&repository).contains("apps/values.yaml:1: rule 1"));
}

#[test]
fn an_attribute_without_a_value_excepts_no_other_file() {
    let repository = guarded();
    repository.write(".gitattributes", "a.txt bulla-allow=\n");
    repository.write("a.txt", "x\n");
    repository.write("b.yaml", SECRET_MANIFEST);
    assert!(refused(&repository).contains("b.yaml:6"));
}

#[test]
fn a_hint_is_a_command_that_does_no_more_than_it_says() {
    let repository = guarded();
    repository.write("a; touch owned #.yaml", SECRET_MANIFEST);
    let said = refused(&repository);
    assert!(
        said.contains("bulla encrypt --in-place 'a; touch owned #.yaml' && git add 'a; touch owned #.yaml'"),
        "{said}"
    );
}
