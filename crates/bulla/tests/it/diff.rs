//! `diff`: what changed, by key.

use crate::repository::Repository;
use crate::world::{BOB, finish};

const TEXT: &str = "db:\n    user: app\n    password: base-secret\nport: 1\ngone: x\n";

fn changed() -> Repository {
    let repository = Repository::with("secrets.yaml", TEXT);
    repository.set("secrets.yaml", r#"["db"]["password"]"#, "\"new-secret\"");
    repository.set("secrets.yaml", r#"["port"]"#, "\"1\"");
    repository.set("secrets.yaml", r#"["added"]"#, "true");
    repository.bulla(&["unset", "secrets.yaml", r#"["gone"]"#]).ok();
    repository
}

#[test]
fn changes_are_told_by_key_and_values_are_hidden() {
    let repository = changed();
    let run = repository.bulla(&["diff", "secrets.yaml"]).ok();
    assert_eq!(
        run.text(),
        "--- HEAD:secrets.yaml\n+++ secrets.yaml\n~ db.password: str\n! port: int -> str\n+ added: bool\n- gone: str\n"
    );
    let shown = repository.bulla(&["diff", "--show-values", "secrets.yaml"]).ok();
    assert!(shown.text().contains("~ db.password: \"base-secret\" -> \"new-secret\"\n"), "{}", shown.text());
}

#[test]
fn the_exit_status_tells_on_demand_and_equal_files_print_nothing() {
    let repository = changed();
    assert_eq!(repository.bulla(&["diff", "--exit-code", "secrets.yaml"]).code, 1);
    repository.commit("changed");
    let run = repository.bulla(&["diff", "--exit-code", "secrets.yaml"]).ok();
    assert_eq!(run.text(), "");
}

#[test]
fn two_revisions_and_two_files_are_compared() {
    let repository = changed();
    let old = repository.git(&["show", "HEAD:secrets.yaml"]).ok();
    repository.write("old.yaml", old.stdout);
    repository.git(&["add", "secrets.yaml"]).ok();
    repository.git(&["commit", "--quiet", "--message", "changed"]).ok();
    let body = |run: crate::world::Run| run.ok().text().lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    let by_files = body(repository.bulla(&["diff", "old.yaml", "secrets.yaml"]));
    assert_eq!(by_files.len(), 4);
    assert_eq!(body(repository.bulla(&["diff", "HEAD~1", "HEAD", "--", "secrets.yaml"])), by_files);
    assert_eq!(body(repository.bulla(&["diff", "HEAD~1", "--", "secrets.yaml"])), by_files);
    let mut command = repository.bulla_command();
    std::fs::create_dir(repository.world.path("repo/sub")).unwrap();
    command.current_dir(repository.world.path("repo/sub"));
    assert_eq!(body(finish(command.args(["diff", "HEAD~1", "HEAD", "--", "../secrets.yaml"]), b"")), by_files);
}

#[test]
fn json_has_paths_types_and_no_values_unless_asked_for() {
    let repository = changed();
    let run = repository.bulla(&["diff", "--output", "json", "secrets.yaml"]).ok();
    let report: serde_json::Value = serde_json::from_str(run.text()).unwrap();
    assert_eq!(report[0]["changes"][0]["path"], serde_json::json!(["db", "password"]));
    assert_eq!(report[0]["changes"][1]["change"], "type-changed");
    assert!(!run.text().contains("secret\""), "{}", run.text());
    let run = repository.bulla(&["diff", "--output", "json", "--show-values", "secrets.yaml"]).ok();
    assert!(run.text().contains("new-secret"));
}

#[test]
fn recipients_and_rotation_are_told() {
    let repository = Repository::with("secrets.yaml", TEXT);
    repository.bulla(&["rotate", "-i", "--add-age", BOB.recipient, "secrets.yaml"]).ok();
    let run = repository.bulla(&["diff", "secrets.yaml"]).ok();
    assert!(run.text().contains(&format!("+ can be opened by age {}\n~ the data key was rotated\n", BOB.recipient)));
    repository.commit("bob");
    repository.write("secrets.yaml", TEXT);
    let run = repository.bulla(&["diff", "secrets.yaml"]).ok();
    assert!(run.text().contains("NOT encrypted any more"), "{}", run.text());
}

#[test]
fn a_file_that_came_or_went_and_one_that_never_was() {
    let repository = Repository::with("secrets.yaml", TEXT);
    std::fs::remove_file(repository.world.path("repo/secrets.yaml")).unwrap();
    let run = repository.bulla(&["diff", "secrets.yaml"]).ok();
    assert!(run.text().contains("- db.password: str\n"), "{}", run.text());
    repository.encrypted("new.yaml", "a: 1\n");
    assert!(repository.bulla(&["diff", "new.yaml"]).ok().text().contains("+ a: int\n"));
    repository.bulla(&["diff", "never.yaml"]).fails(100);
    repository.bulla(&["diff", "no-such-revision", "--", "new.yaml"]).fails(1);
}
