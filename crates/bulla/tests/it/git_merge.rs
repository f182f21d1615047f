//! The merge driver, in real repositories with real merges.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::repository::Repository;
use crate::world::{ALICE, BOB, finish};

const BASE: &str = "# The database.\ndb:\n    user: app\n    password: base-secret # rotate me\nport: 5432\nlist:\n    - one\n    - two\n";

/// The lines of an encrypted file that belong to values.
fn lines(text: &str, part: &str) -> Vec<String> {
    text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
}

#[test]
fn changes_of_different_values_merge_into_a_valid_encrypted_file() {
    let repository = Repository::with("secrets.yaml", BASE);
    repository.branch("theirs", |repository| {
        repository.set("secrets.yaml", r#"["db"]["password"]"#, "\"their-secret\"");
        repository.set("secrets.yaml", r#"["new"]"#, "{\"a\": 1}");
    });
    repository.set("secrets.yaml", r#"["port"]"#, "6543");
    repository.bulla(&["unset", "secrets.yaml", r#"["list"][0]"#]).ok();
    repository.commit("ours");
    let before = repository.read("secrets.yaml");
    repository.git(&["merge", "--quiet", "--no-edit", "theirs"]).ok();
    let merged = repository.read("secrets.yaml");
    let plain = repository.decrypt("secrets.yaml");
    assert_eq!(
        plain,
        "# The database.\ndb:\n    user: app\n    password: their-secret # rotate me\nport: 6543\nlist:\n    - two\nnew:\n    a: 1\n"
    );
    // The real sops agrees, MAC included.
    let real = repository.real(&["decrypt", "--output-type", "json", "secrets.yaml"]).ok();
    assert!(real.text().contains("their-secret"));
    // What ours has unchanged keeps its ciphertext.
    assert_eq!(lines(&merged, "user:"), lines(&before, "user:"));
    assert_eq!(lines(&merged, "port:"), lines(&before, "port:"));
    assert_ne!(lines(&merged, "password:"), lines(&before, "password:"));
    assert!(!merged.contains("their-secret"));
}

#[test]
fn comments_and_layout_of_both_sides_are_kept() {
    let repository = Repository::with("secrets.yaml", BASE);
    let edit = |from: &str, to: &str| {
        repository.edit("secrets.yaml", &repository.decrypt("secrets.yaml").replace(from, to));
    };
    repository.branch("theirs", |_| edit("port: 5432\n", "port: 5432\n# Added by them.\ntheirs:   'quoted'\n"));
    edit("# The database.\n", "# Our database.\n");
    repository.commit("ours");
    repository.git(&["merge", "--quiet", "--no-edit", "theirs"]).ok();
    let expected = BASE
        .replace("# The database.", "# Our database.")
        .replace("port: 5432\n", "port: 5432\n# Added by them.\ntheirs:   'quoted'\n");
    assert_eq!(repository.decrypt("secrets.yaml"), expected);
}

fn conflicting() -> Repository {
    let repository = Repository::with("secrets.yaml", BASE);
    repository.branch("theirs", |repository| {
        repository.set("secrets.yaml", r#"["db"]["password"]"#, "\"their-secret\"");
        repository.set("secrets.yaml", r#"["port"]"#, "1111");
    });
    repository.set("secrets.yaml", r#"["db"]["password"]"#, "\"our-secret\"");
    repository.set("secrets.yaml", r#"["db"]["user"]"#, "\"our-user\"");
    repository.commit("ours");
    let merge = repository.git(&["merge", "--no-edit", "theirs"]);
    assert_eq!(merge.code, 1, "{}", merge.stderr);
    assert!(merge.stderr.contains("db.password"), "{}", merge.stderr);
    assert!(!merge.stderr.contains("port"), "{}", merge.stderr);
    repository
}

#[test]
fn both_sides_of_a_conflict_are_valid_files_and_no_plaintext_is_in_it() {
    let repository = conflicting();
    let text = repository.read("secrets.yaml");
    assert!(text.contains("<<<<<<< ours\n") && text.contains(">>>>>>> theirs\n"), "{text}");
    for secret in ["our-secret", "their-secret", "base-secret", "our-user"] {
        assert!(!text.contains(secret), "{secret}");
    }
    // Only what conflicts stands between markers: one value and the MACs.
    assert_eq!(lines(&text, "user:").len(), 1);
    assert_eq!(lines(&text, "port:").len(), 1);
    assert_eq!(lines(&text, "password:").len(), 2);
    for (side, password) in [("--ours", "our-secret"), ("--theirs", "their-secret")] {
        repository.write("secrets.yaml", &text);
        repository.bulla(&["git", "resolve", side, "secrets.yaml"]).ok();
        let plain = repository.real(&["decrypt", "--output-type", "json", "secrets.yaml"]).ok();
        for value in [password, "our-user", "1111"] {
            assert!(plain.text().contains(value), "{side} {value}: {}", plain.text());
        }
    }
    repository.commit("merged");
    assert!(repository.git(&["log", "--merges", "--oneline"]).ok().text().contains("merged"));
}

#[test]
fn a_conflict_is_edited_in_the_plain_and_saved_encrypted() {
    let repository = conflicting();
    let script = "#!/bin/sh\ncp \"$1\" \"$SEEN\"\nsed -i -e '/^<<<<<<</,/^=======$/d' -e '/^>>>>>>>/d' \"$1\"\n";
    repository.world.write("editor.sh", script);
    fs::set_permissions(repository.world.path("editor.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let edit = |script: &str| {
        let mut command = repository.bulla_command();
        command.env("EDITOR", repository.world.path(script)).env("SEEN", repository.world.path("seen"));
        finish(command.args(["edit", "secrets.yaml"]), b"")
    };
    // Saved with markers left in it, it is not taken.
    repository.world.write("touch.sh", "#!/bin/sh\necho '# more' >> \"$1\"\n");
    fs::set_permissions(repository.world.path("touch.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let before = repository.read("secrets.yaml");
    let refused = edit("touch.sh");
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("conflict markers"), "{}", refused.stderr);
    assert_eq!(repository.read("secrets.yaml"), before);

    edit("editor.sh").ok();
    assert_eq!(
        repository.world.read("seen"),
        "# The database.\ndb:\n    user: our-user\n<<<<<<< ours\n    password: our-secret # rotate me\n=======\n    \
         password: their-secret # rotate me\n>>>>>>> theirs\nport: 1111\nlist:\n    - one\n    - two\n"
    );
    let plain = repository.decrypt("secrets.yaml");
    assert!(plain.contains("their-secret") && plain.contains("our-user") && plain.contains("1111"), "{plain}");
    repository.commit("merged");
}

#[test]
fn the_merge_tool_of_git_opens_the_conflict_in_the_editor() {
    let repository = conflicting();
    repository.world.write("editor.sh", "#!/bin/sh\nsed -i -e '/^=======$/,/^>>>>>>>/d' -e '/^<<<<<<</d' \"$1\"\n");
    fs::set_permissions(repository.world.path("editor.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = repository.git_command();
    command.env("EDITOR", repository.world.path("editor.sh"));
    finish(command.args(["mergetool", "--no-prompt", "--tool=bulla", "secrets.yaml"]), b"").ok();
    assert!(repository.decrypt("secrets.yaml").contains("our-secret"));
    assert_eq!(repository.git(&["diff", "--name-only", "--diff-filter=U"]).ok().text(), "");
}

#[test]
fn without_a_key_ours_stays_and_it_is_a_conflict() {
    let repository = Repository::with("secrets.yaml", BASE);
    repository.branch("theirs", |repository| repository.set("secrets.yaml", r#"["port"]"#, "1"));
    repository.set("secrets.yaml", r#"["db"]["user"]"#, "\"x\"");
    repository.commit("ours");
    let before = repository.read("secrets.yaml");
    let mut command = repository.git_command();
    command.env_remove("SOPS_AGE_KEY_FILE");
    let merge = finish(command.args(["merge", "--no-edit", "theirs"]), b"");
    assert_eq!(merge.code, 1, "{}", merge.stderr);
    assert!(merge.stderr.contains("ours is left in place"), "{}", merge.stderr);
    assert_eq!(repository.read("secrets.yaml"), before);
    assert_eq!(repository.git(&["ls-files", "--unmerged"]).ok().text().lines().count(), 3);
    // With the key at hand the merge can be had after all.
    finish(repository.git_command().args(["mergetool", "--no-prompt", "--tool=bulla", "secrets.yaml"]), b"").ok();
    let plain = repository.decrypt("secrets.yaml");
    assert!(plain.contains("port: 1\n") && plain.contains("user: x\n"), "{plain}");
}

#[test]
fn added_recipients_come_together_and_a_removed_one_gets_a_new_data_key_against_it() {
    let repository = Repository::with("secrets.yaml", BASE);
    let add_bob = ["rotate", "-i", "--add-age", BOB.recipient, "secrets.yaml"];
    repository.bulla(&add_bob).ok();
    repository.commit("for both");
    let as_bob = |repository: &Repository| {
        let mut command = repository.bulla_command();
        command.env("SOPS_AGE_KEY_FILE", repository.world.path("bob.key"));
        finish(command.args(["decrypt", "secrets.yaml"]), b"")
    };
    as_bob(&repository).ok();
    // Theirs lets Bob out; ours goes on with the old data key, which Bob knows.
    repository.branch("theirs", |repository| {
        repository.bulla(&["rotate", "-i", "--rm-age", BOB.recipient, "secrets.yaml"]).ok();
    });
    repository.set("secrets.yaml", r#"["port"]"#, "777");
    repository.commit("ours");
    let old = repository.read("secrets.yaml");
    repository.git(&["merge", "--quiet", "--no-edit", "theirs"]).ok();
    let merged = repository.read("secrets.yaml");
    assert!(!merged.contains(BOB.recipient));
    assert!(merged.contains(ALICE.recipient));
    assert!(repository.decrypt("secrets.yaml").contains("777"));
    // Bob's entry of old, put back, opens nothing: the values have another data key.
    let entries = |text: &str| {
        let start = text.find("    age:\n").unwrap();
        let end = text[start..].find("    lastmodified:").map_or(text.len(), |at| start + at);
        (start, end)
    };
    let (start, end) = entries(&merged);
    let (old_start, old_end) = entries(&old);
    repository.write("secrets.yaml", [&merged[..start], &old[old_start..old_end], &merged[end..]].concat());
    // 25: the data key is had, and opens no value.
    as_bob(&repository).fails(25);
}

#[test]
fn a_file_that_both_branches_added_is_for_the_recipients_of_both() {
    let repository = Repository::new();
    repository.write("README", "x\n");
    repository.bulla(&["git", "install", "*.yaml"]).ok();
    repository.commit("empty");
    repository.branch("theirs", |repository| {
        repository.write("new.yaml", "same: 1\ntheirs: b\n");
        let both = format!("{},{}", ALICE.recipient, BOB.recipient);
        repository.bulla(&["encrypt", "-i", "--age", &both, "new.yaml"]).ok();
    });
    repository.encrypted("new.yaml", "same: 1\nours: a\n");
    repository.commit("ours");
    repository.git(&["merge", "--quiet", "--no-edit", "theirs"]).ok();
    let mut command = repository.bulla_command();
    command.env("SOPS_AGE_KEY_FILE", repository.world.path("bob.key"));
    let plain = finish(command.args(["decrypt", "--output-type", "json", "new.yaml"]), b"").ok();
    let plain: serde_json::Value = serde_json::from_str(plain.text()).unwrap();
    assert_eq!(plain, serde_json::json!({"same": 1, "ours": "a", "theirs": "b"}));
}

#[test]
fn branches_are_rebased_and_picked_as_well() {
    let repository = Repository::with("secrets.yaml", BASE);
    repository.branch("theirs", |repository| repository.set("secrets.yaml", r#"["port"]"#, "1111"));
    repository.set("secrets.yaml", r#"["db"]["user"]"#, "\"x\"");
    repository.commit("ours");
    repository.git(&["cherry-pick", "theirs"]).ok();
    let plain = repository.decrypt("secrets.yaml");
    assert!(plain.contains("port: 1111\n") && plain.contains("user: x\n"), "{plain}");
    repository.git(&["reset", "--quiet", "--hard", "HEAD~1"]).ok();
    repository.git(&["rebase", "--quiet", "theirs"]).ok();
    assert_eq!(repository.decrypt("secrets.yaml"), plain);
}

#[test]
fn every_format_merges() {
    for (name, base, path, other) in [
        (
            "a.json",
            "{\n  \"a\": \"x\",\n  \"b\": {\n    \"c\": 1\n  },\n  \"d\": true\n}\n",
            r#"["b"]["c"]"#,
            r#"["a"]"#,
        ),
        ("a.env", "A=x\nM=1\nB=y\n", r#"["A"]"#, r#"["B"]"#),
        ("a.ini", "[s]\na = x\nm = 1\nb = y\n", r#"["s"]["a"]"#, r#"["s"]["b"]"#),
        ("a.toml", "a = \"x\"\nm = 1\nb = \"y\"\n", r#"["a"]"#, r#"["b"]"#),
    ] {
        let repository = Repository::with(name, base);
        repository.branch("theirs", |repository| repository.set(name, path, "\"7777\""));
        repository.set(name, other, "\"8888\"");
        repository.commit("ours");
        repository.git(&["merge", "--quiet", "--no-edit", "theirs"]).ok();
        let plain = repository.decrypt(name);
        assert!(plain.contains("7777") && plain.contains("8888"), "{name}: {plain}");
    }
}

#[test]
fn a_binary_file_merges_by_lines() {
    let base = "first\nsecond\nthird\nfourth\nfifth\n";
    let repository = Repository::with("notes.bin", base);
    let change = |repository: &Repository, from: &str, to: &str| {
        let plain = repository.decrypt("notes.bin").replace(from, to);
        repository.encrypted("notes.bin", &plain);
    };
    repository.branch("theirs", |repository| change(repository, "fifth", "FIFTH"));
    change(&repository, "first", "FIRST");
    repository.commit("ours");
    repository.git(&["merge", "--quiet", "--no-edit", "theirs"]).ok();
    assert_eq!(repository.decrypt("notes.bin"), "FIRST\nsecond\nthird\nfourth\nFIFTH\n");
}

#[test]
fn a_branch_that_encrypts_a_file_wins_over_one_that_changed_it_in_the_plain() {
    let repository = Repository::new();
    repository.write("secrets.yaml", BASE);
    repository.bulla(&["git", "install", "secrets.yaml"]).ok();
    repository.commit("plain");
    repository.branch("theirs", |repository| {
        repository.bulla(&["encrypt", "-i", "--age", ALICE.recipient, "secrets.yaml"]).ok();
    });
    repository.write("secrets.yaml", BASE.replace("5432", "9999"));
    repository.commit("ours, plain");
    repository.git(&["merge", "--quiet", "--no-edit", "theirs"]).ok();
    assert!(!repository.read("secrets.yaml").contains("base-secret"));
    assert!(repository.decrypt("secrets.yaml").contains("9999"));
}

#[test]
fn files_that_are_plain_on_both_sides_merge_as_git_does_it() {
    let repository = Repository::new();
    repository.write("plain.yaml", "a: 1\nb: 2\nc: 3\nd: 4\ne: 5\n");
    repository.bulla(&["git", "install", "*.yaml"]).ok();
    repository.commit("base");
    repository.branch("clean", |repository| repository.write("plain.yaml", "a: 1\nb: 2\nc: 3\nd: 4\ne: 55\n"));
    repository.branch("clash", |repository| repository.write("plain.yaml", "a: 111\nb: 2\nc: 3\nd: 4\ne: 55\n"));
    repository.write("plain.yaml", "a: 11\nb: 2\nc: 3\nd: 4\ne: 5\n");
    repository.commit("ours");
    repository.git(&["merge", "--quiet", "--no-edit", "clean"]).ok();
    assert_eq!(repository.read("plain.yaml"), "a: 11\nb: 2\nc: 3\nd: 4\ne: 55\n");
    assert_eq!(repository.git(&["merge", "--quiet", "--no-edit", "clash"]).code, 1);
    assert!(repository.read("plain.yaml").contains("<<<<<<<"));
}

#[test]
fn a_value_is_not_merged_without_the_comment_that_has_it_encrypted() {
    let repository = Repository::new();
    repository.write("s.yaml", "a: 1\nb: 2\n");
    let rule = ["encrypt", "-i", "--age", ALICE.recipient, "--encrypted-comment-regex", "^ ?secret$", "s.yaml"];
    repository.bulla(&rule).ok();
    repository.bulla(&["git", "install", "/s.yaml"]).ok();
    repository.commit("base");
    // The lines conflict, the keys do not.
    repository.branch("theirs", |repository| {
        repository.edit("s.yaml", "a: 1\nb: 2\n# secret\npassword: their-secret\n");
    });
    repository.edit("s.yaml", "a: 1\nb: 2\nc: 3\n");
    repository.commit("ours");
    assert_eq!(repository.git(&["merge", "theirs"]).code, 1);
    assert!(!repository.holds("their-secret"));
    let conflict = repository.read("s.yaml");
    for (side, has) in [("--ours", "c: 3"), ("--theirs", "# secret\npassword: their-secret")] {
        repository.write("s.yaml", &conflict);
        repository.bulla(&["git", "resolve", side, "s.yaml"]).ok();
        assert!(repository.real(&["decrypt", "s.yaml"]).ok().text().contains(has), "{side}");
    }
}

#[test]
fn a_value_is_not_merged_under_rules_that_leave_it_plain() {
    let repository = Repository::new();
    let text = "data:\n  a: x\nstringData:\n  b: y\n";
    let encrypt = |rule: &str| {
        repository.write("s.yaml", text);
        repository.bulla(&["encrypt", "-i", "--age", ALICE.recipient, "--encrypted-regex", rule, "s.yaml"]).ok();
    };
    encrypt("^(data|stringData)$");
    repository.bulla(&["git", "install", "/s.yaml"]).ok();
    repository.commit("base");
    repository.branch("theirs", |_| encrypt("^data$"));
    repository.set("s.yaml", r#"["stringData"]["new"]"#, "\"our-secret\"");
    repository.commit("ours");
    let before = repository.read("s.yaml");
    let merge = repository.git(&["merge", "theirs"]);
    assert_eq!(merge.code, 1);
    assert!(merge.stderr.contains("stringData.new is encrypted on its side"), "{}", merge.stderr);
    assert_eq!(repository.read("s.yaml"), before);
    assert!(!repository.holds("our-secret"));
}

#[test]
fn what_cannot_be_written_into_ours_is_a_conflict_of_the_whole() {
    let repository = Repository::with("s.yaml", "a: &a base-secret\nb: 1\nc: 2\n");
    // Theirs changes what ours repeats by an alias.
    repository.branch("theirs", |repository| repository.edit("s.yaml", "a: their-secret\nb: 1\nc: 2\n"));
    repository.edit("s.yaml", "a: &a base-secret\nb: 1\nc: *a\n");
    repository.commit("ours");
    assert_eq!(repository.git(&["merge", "theirs"]).code, 1);
    let conflict = repository.read("s.yaml");
    for (side, plain) in [("--ours", "a: &a base-secret\nb: 1\nc: *a\n"), ("--theirs", "a: their-secret\nb: 1\nc: 2\n")]
    {
        repository.write("s.yaml", &conflict);
        repository.bulla(&["git", "resolve", side, "s.yaml"]).ok();
        assert_eq!(repository.decrypt("s.yaml"), plain);
    }
}

#[test]
fn a_plain_side_need_not_read_as_the_type_of_the_file() {
    let repository = Repository::with("key.bin", "one\ntwo\nthree\n");
    repository.branch("theirs", |repository| repository.encrypted("key.bin", "one\ntwo\nTHREE\n"));
    repository.write("key.bin", "ONE\ntwo\nthree\n");
    repository.commit("ours, plain");
    repository.git(&["merge", "--quiet", "--no-edit", "theirs"]).ok();
    assert_eq!(repository.decrypt("key.bin"), "ONE\ntwo\nTHREE\n");

    let template = "{{- if .x }}\na: 1\nb: 2\nc: 3\nd: 4\n{{- end }}\n";
    let repository = Repository::new();
    repository.write("t.yaml", template);
    repository.bulla(&["git", "install", "*.yaml"]).ok();
    repository.commit("base");
    repository.branch("theirs", |repository| repository.write("t.yaml", template.replace("a: 1", "a: 9")));
    repository.write("t.yaml", template.replace("d: 4", "d: 8"));
    repository.commit("ours");
    repository.git(&["merge", "--quiet", "--no-edit", "theirs"]).ok();
    assert_eq!(repository.read("t.yaml"), template.replace("a: 1", "a: 9").replace("d: 4", "d: 8"));
}

#[test]
fn a_file_may_be_called_like_a_flag() {
    for name in ["-x.yaml", "--ignore-mac", "--keyservice=x.yaml"] {
        let repository = Repository::new();
        repository.write(name, "a: 1\nb: 2\n");
        let path = format!("./{name}");
        repository.bulla(&["encrypt", "-i", "--age", ALICE.recipient, &path]).ok();
        repository.bulla(&["git", "install", "*"]).ok();
        repository.commit("base");
        repository.branch("theirs", |repository| repository.set(&path, r#"["a"]"#, "7777"));
        repository.set(&path, r#"["b"]"#, "8888");
        assert!(repository.git(&["diff"]).ok().text().contains("+b: 8888"), "{name}");
        repository.commit("ours");
        repository.git(&["merge", "--quiet", "--no-edit", "theirs"]).ok();
        assert_eq!(repository.decrypt(&path), "a: 7777\nb: 8888\n", "{name}");
    }
}

#[test]
fn a_conflict_in_a_file_without_an_ending_is_shown_and_edited_in_the_plain() {
    let repository = Repository::with("settings", "# of the shop\nA=base\nB=2\n");
    repository.branch("theirs", |repository| repository.set("settings", r#"["A"]"#, "\"their-secret\""));
    repository.set("settings", r#"["A"]"#, "\"our-secret\"");
    repository.commit("ours");
    assert_eq!(repository.git(&["merge", "theirs"]).code, 1);
    let shown = repository.bulla(&["git", "textconv", "settings"]).ok();
    let expected = "# of the shop\n<<<<<<< ours\nA=our-secret\n=======\nA=their-secret\n>>>>>>> theirs\nB=2\n";
    assert_eq!(shown.text(), expected);
    repository.edit("settings", "# of the shop\nA=both\nB=2\n");
    assert_eq!(repository.decrypt("settings"), "# of the shop\nA=both\nB=2\n");
}

#[test]
fn what_git_merged_by_lines_without_the_driver_is_merged_anew() {
    let repository = Repository::new();
    repository.encrypted("s.yaml", "a: 1\nb: 2\nc: 3\nd: 4\n");
    repository.commit("base");
    repository.branch("theirs", |repository| repository.set("s.yaml", r#"["d"]"#, "7777"));
    repository.set("s.yaml", r#"["a"]"#, "8888");
    repository.commit("ours");
    assert_eq!(repository.git(&["merge", "theirs"]).code, 1);
    let before = repository.read("s.yaml");
    assert!(before.contains("<<<<<<< HEAD"), "{before}");
    // Either side has changes of the other by now, and a MAC that does not match.
    for arguments in [&["git", "resolve", "--ours", "s.yaml"][..], &["edit", "s.yaml"]] {
        let run = repository.bulla(arguments);
        assert_ne!(run.code, 0, "{arguments:?}");
        assert!(run.stderr.contains("git mergetool --tool=bulla"), "{}", run.stderr);
        assert_eq!(repository.read("s.yaml"), before);
    }
    repository.bulla(&["git", "install", "/s.yaml"]).ok();
    repository.git(&["mergetool", "--no-prompt", "--tool=bulla", "s.yaml"]).ok();
    assert_eq!(repository.decrypt("s.yaml"), "a: 8888\nb: 2\nc: 3\nd: 7777\n");
}
