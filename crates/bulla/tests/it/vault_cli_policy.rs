//! `policy fmt`: the real `bao` and ours write the same.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use bulla_test_support::program;

/// Policies, between lines of three dashes.
const CASES: &str = include_str!("vault_cli_policy.txt");
/// Those that are none.
const BAD: &[&str] = &[
    "path \"a\" {",
    "path \"a\" { capabilities = [\"bogus\"] }\n",
    "foo = 1\n",
    "{\"path\":{\"a\":{\"capabilities\":[\"read\"]}}}",
    "path \"a\" { capabilites = [] }\n",
    "path \"a\" { capabilities = [\"root\"] }\n",
    "path \"a\" { capabilities = \"read\" }\n",
    "path \"a\" { capabilities = [[\"read\"]] }\n",
    "path \"a\" { policy = \"admin\" }\n",
    "path \"a/+*\" { capabilities = [\"read\"] }\n",
    "path \"a\" { capabilities = [\"read\"] min_wrapping_ttl = \"x\" }\n",
    "path \"a\" { capabilities = [\"read\"] min_wrapping_ttl = \"1h\" max_wrapping_ttl = \"1m\" }\n",
    "path \"a\" { capabilities = [\"read\"] min_wrapping_ttl = \"1hour\" }\n",
    "path \"a\" { capabilities = [\"read\"] required_parameters = \"x\" }\n",
    "path \"a\" { capabilities = [\"read\"] allowed_parameters = { \"x\" = \"y\" } }\n",
    "path \"a\" { capabilities = [\"read\"] allowed_parameters = \"x\" }\n",
    "path \"a\" { capabilities = [\"read\"] pagination_limit = \"x\" }\n",
    "path \"a\" { capabilities = [\"read\"] expiration = \"tomorrow\" }\n",
    "path \"a\" { capabilities = [\"read\"] list_scan_response_keys_filter_path = \"{{ .path }}{{ .key }}\" }\n",
    "path = \"a\"\n",
    "path \"a\" = \"read\"\n",
];
/// Those that are some, however odd.
const ODD: &[&str] = &[
    "name = \"x\"\npath \"a\" { policy = \"write\" }\n",
    "path \"a\" { capabilities = [\"deny\"] min_wrapping_ttl = 5 max_wrapping_ttl = \"1h30m\" }\n",
    "path \"a\" { capabilities = [\"list\"] pagination_limit = 5 expiration = \"2030-01-02T03:04:05Z\" comment = \"x\" }\n",
    "path \"a\" { capabilities = [\"list\"] pagination_limit = \"5\" required_parameters = [\"limit\"] }\n",
    "path \"a\" { capabilities = [\"list\"] list_scan_response_keys_filter_path = \"{{ .path }}{{ .key }}\" }\n",
    "path \"a\" { capabilities = [\"read\"] allowed_parameters = { \"x\" = [\"y\", 1, true] \"*\" = [] } denied_parameters = { z = [] } }\n",
    "path \"a\" { capabilities = [\"read\"] mfa_methods = [\"x\"] min_wrapping_ttl = \"1d\" }\n",
    "path \"{{identity.entity.id}}/*\" { capabilities = [\"read\"] }\n",
    "path \"\" { }\n",
];

/// What a program makes of a text: its exit status, standard output, and the file.
fn made(program: &Path, folder: &Path, text: &str) -> (Option<i32>, String, String) {
    let path = folder.join("p.hcl");
    std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    let mut command = Command::new(program);
    command.args(["policy", "fmt", "p.hcl"]).current_dir(folder).env("HOME", folder);
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), stdout, std::fs::read_to_string(path).unwrap())
}

#[test]
fn a_policy_is_written_as_the_real_program_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("bao");
    symlink(env!("CARGO_BIN_EXE_bulla"), &ours).unwrap();
    let real = program("venv/bin/bao");
    let mut wrong = Vec::new();
    let cases: Vec<&str> = CASES.split("\n---\n").collect();
    assert!(cases.len() > 25, "cases are missing");
    for case in cases.iter().chain(BAD).chain(ODD) {
        let theirs = made(&real, folder.path(), case);
        let made = made(&ours, folder.path(), case);
        if made != theirs {
            wrong.push(format!("of\n{case}\nreal: {theirs:?}\nours: {made:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n\n"));
    for (arguments, status) in [(&["fmt"][..], 1), (&["fmt", "/none/p.hcl"], 1), (&["fmt", "a", "b"], 1)] {
        for program in [&real, &ours] {
            let output = Command::new(program).arg("policy").args(arguments).env("HOME", folder.path()).output();
            assert_eq!(output.unwrap().status.code(), Some(status), "{program:?} {arguments:?}");
        }
    }
}

#[test]
fn the_file_keeps_its_mode_and_a_link_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink(env!("CARGO_BIN_EXE_bulla"), at("vault")).unwrap();
    std::fs::File::create(at("p.hcl")).unwrap().write_all(b"path \"a\" {capabilities=[\"read\"]}").unwrap();
    std::fs::set_permissions(at("p.hcl"), std::fs::Permissions::from_mode(0o600)).unwrap();
    symlink("p.hcl", at("link.hcl")).unwrap();
    let status = Command::new(at("vault")).args(["policy", "fmt"]).arg(at("link.hcl")).status().unwrap();
    assert!(status.success() && at("link.hcl").is_symlink());
    assert_eq!(std::fs::read_to_string(at("p.hcl")).unwrap(), "path \"a\" {\n  capabilities = [\"read\"]\n}\n");
    assert_eq!(std::fs::metadata(at("p.hcl")).unwrap().permissions().mode() & 0o777, 0o600);
}
