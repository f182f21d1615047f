//! The same command lines through the real sops and through ours under its name: same exit status, same output where the
//! output is not ciphertext, same trees in the files that are left.

use crate::world::{ALICE, BOB, Program, World, finish};

const REAL: Program = Program::Sops("3.13.3");

const YAML: &str = "a: 1\nb: hello\nlist:\n    - x\n    - \"y\": true\n      z: 2.5\nn_unencrypted: plain\ndeep:\n    er:\n        est: s3cret\n";
const JSON: &str = "{\n\t\"a\": 1,\n\t\"b\": \"hello\",\n\t\"list\": [\n\t\t\"x\",\n\t\ttrue\n\t]\n}\n";
const DOTENV: &str = "# first\nA=1\nB=two words\n";
const INI: &str = "[one]\na = 1\nb = two\n";

/// One command of a script.
struct Step {
    /// Words; `{A}` and `{B}` are Alice's and Bob's recipients, `␣` is a space in a word.
    line: &'static str,
    editor: &'static str,
    stdin: &'static str,
    stdout: Stdout,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stdout {
    Same,
    /// Ciphertext, or a text of our own.
    Differs,
}

const fn step(line: &'static str) -> Step {
    Step { line, editor: "true", stdin: "", stdout: Stdout::Same }
}

const fn differs(line: &'static str) -> Step {
    Step { stdout: Stdout::Differs, ..step(line) }
}

const fn edits(editor: &'static str, line: &'static str) -> Step {
    Step { editor, ..step(line) }
}

const fn reads(stdin: &'static str, line: &'static str) -> Step {
    Step { stdin, ..step(line) }
}

/// Runs a script through both, in a folder each.
#[track_caller]
fn same(steps: &[Step]) {
    let worlds = [(World::new(), REAL), (World::new(), Program::Link)];
    for (world, _) in &worlds {
        for (name, text) in
            [("p.yaml", YAML), ("p.json", JSON), ("p.env", DOTENV), ("p.ini", INI), ("p.txt", "some\ntext\n")]
        {
            world.write(name, text);
            let target = format!("e.{}", name.split_once('.').unwrap().1);
            world.write(&target, text);
            world.real(&["encrypt", "-i", "--age", ALICE.recipient, &target]).ok();
        }
        world.write("bad.yaml", "a: [\n");
        world.write("empty.yaml", "");
        world.write("value.json", "\"from a file\"");
    }
    for step in steps {
        let line = step.line.replace("{A}", ALICE.recipient).replace("{B}", BOB.recipient);
        let arguments: Vec<String> = line.split_whitespace().map(|word| word.replace('␣', " ")).collect();
        let [theirs, ours] = &worlds;
        let run = |(world, program): &(World, Program)| {
            finish(world.command(*program).args(&arguments).env("EDITOR", step.editor), step.stdin.as_bytes())
        };
        let (theirs, ours) = (run(theirs), run(ours));
        assert_eq!(ours.code, theirs.code, "{line}\nsops: {}\nours: {}", theirs.stderr, ours.stderr);
        if step.stdout == Stdout::Same {
            assert_eq!(ours.text(), theirs.text(), "{line}");
        }
    }
    let tree = |world: &World, name: &str| {
        let run =
            world.real(&["decrypt", "--output-type", "json", "--input-type", name.split_once('.').unwrap().1, name]);
        (run.code, run.stdout)
    };
    for name in ["e.yaml", "e.json", "e.env", "e.ini", "new.yaml", "new.json"] {
        let [(theirs, _), (ours, _)] = &worlds;
        if theirs.path(name).exists() || ours.path(name).exists() {
            assert_eq!(tree(ours, name), tree(theirs, name), "{name}: {}", ours.read(name));
        }
    }
}

#[test]
fn decrypting_prints_the_same() {
    same(&[
        step("decrypt e.yaml"),
        step("decrypt e.json"),
        step("decrypt e.env"),
        step("decrypt e.txt"),
        step("-d e.yaml"),
        step("--decrypt e.json"),
        step("-d -i e.json"),
        step("decrypt --output-type json e.yaml"),
        step("decrypt --output-type=yaml e.json"),
        step("decrypt --input-type json --output-type json e.json"),
        step("decrypt --input-type nonsense e.yaml"),
        step("decrypt --output-type dotenv e.env"),
        step("decrypt --output-type json e.env"),
        step("decrypt --output-type json e.ini"),
        step("decrypt --output out.yaml e.yaml"),
        step("decrypt e.yaml --ignore-mac"),
        step("-d e.yaml -i"),
    ]);
}

#[test]
fn completing_a_line_does_nothing_and_offers_the_same() {
    // The scripts of the real one stay installed; a line that decrypts in place must not do so when TAB is pressed.
    same(&[
        differs("-d -i e.yaml --generate-bash-completion"),
        differs("decrypt -i e.json --generate-bash-completion"),
        differs("rotate -i --rm-age {A} e.env --generate-bash-completion"),
    ]);
    let world = World::new();
    for line in ["", "e.yaml", "--in", "decrypt", "decrypt --in", "decrypt -", "groups", "encrypt --age x -"] {
        let names = |program| {
            let run =
                finish(world.command(program).args(line.split_whitespace()).arg("--generate-bash-completion"), b"");
            let mut names: Vec<String> = run.ok().text().lines().map(str::to_owned).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        assert_eq!(names(Program::Link), names(REAL), "{line}");
    }
}

#[test]
fn what_cannot_be_decrypted_fails_the_same() {
    same(&[
        step("decrypt p.yaml"),
        step("decrypt nofile.yaml"),
        step("decrypt *.yaml"),
        step("rotate *.yaml"),
        step("-d nofile.yaml"),
        step("decrypt bad.yaml"),
        step("decrypt ."),
        step("decrypt --output-type dotenv e.yaml"),
        step("decrypt --output-type ini e.yaml"),
        step("decrypt --output-type binary e.yaml"),
        step("decrypt --decryption-order age,age e.yaml"),
        step("decrypt --decryption-order pgp,age e.yaml"),
        step("decrypt -i --output x e.yaml"),
        step("-d -i --output x e.yaml"),
        step("decrypt --output /nonexistent/x e.yaml"),
        step("decrypt -"),
        step("decrypt -i"),
    ]);
}

#[test]
fn extracting_prints_the_same() {
    same(&[
        step("decrypt --extract [\"b\"] e.yaml"),
        step("decrypt --extract [\"a\"] e.yaml"),
        step("decrypt --extract [\"list\"] e.yaml"),
        step("decrypt --extract [\"list\"][0] e.yaml"),
        step("decrypt --extract [\"list\"][1] e.yaml"),
        step("decrypt --extract ['deep']['er'] e.yaml"),
        step("decrypt --extract [\"list\"] e.json"),
        step("decrypt --extract [\"a\"] e.json"),
        step("decrypt --extract [\"list\"] --output-type json e.yaml"),
        step("decrypt --extract [\"A\"] e.env"),
        step("decrypt --extract [\"one\"][\"b\"] e.ini"),
        step("-d --extract [\"b\"] e.yaml"),
        step("decrypt --extract [\"zz\"] e.yaml"),
        step("decrypt --extract [\"list\"][7] e.yaml"),
        step("decrypt --extract x e.yaml"),
        step("decrypt --extract [x] e.yaml"),
        step("decrypt --extract [\"a\"] --output-type dotenv e.yaml"),
        step("decrypt --extract [\"a\"] --output-type binary e.yaml"),
    ]);
}

#[test]
fn encrypting_gives_the_same_trees() {
    same(&[
        step("encrypt --age {A} --output new.yaml p.yaml"),
        step("encrypt --age {A},{B} -i p.json"),
        step("decrypt p.json"),
        step("-e --age {A} -i p.env"),
        step("decrypt p.env"),
        step("--age={A} -e=true --in-place p.ini"),
        step("decrypt --output-type json p.ini"),
        step("encrypt -a {A} -i p.txt"),
        step("decrypt p.txt"),
        differs("encrypt --age {A} --encrypted-regex ^b$ p.yaml"),
        differs("-e -age={A} --mac-only-encrypted p.yaml"),
        differs("--mac-only-encrypted encrypt --age {A} p.yaml"),
        step("encrypt --age {A} --input-type yaml --output-type json --output new.json p.yaml"),
    ]);
}

#[test]
fn what_cannot_be_encrypted_fails_the_same() {
    same(&[
        step("encrypt p.yaml"),
        step("encrypt --age {A} nofile.yaml"),
        step("encrypt --age {A} e.yaml"),
        step("-e --age {A} e.json"),
        step("encrypt --age {A} e.env"),
        step("encrypt --age {A} empty.yaml"),
        step("encrypt --age {A} bad.yaml"),
        step("encrypt --age {A} ."),
        step("encrypt --age nonsense p.yaml"),
        step("encrypt --encryption-context foo --age {A} p.yaml"),
        step("encrypt --unencrypted-suffix a --encrypted-suffix b --age {A} p.yaml"),
        step("encrypt"),
        step("encrypt -i"),
        step("encrypt -i --output x --age {A} p.yaml"),
    ]);
}

#[test]
fn standard_input_is_taken_the_same() {
    same(&[
        step("encrypt --age {A} --filename-override new.yaml"),
        reads(JSON, "encrypt --age {A} --filename-override x.json --output new.json"),
        step("decrypt new.json"),
        reads("a: 1\n", "decrypt --filename-override x.yaml"),
        reads("{}", "decrypt"),
        reads("a: 1\n", "decrypt"),
    ]);
}

#[test]
fn setting_values_leaves_the_same_trees() {
    same(&[
        step("set e.yaml [\"b\"] \"changed\""),
        step("set e.yaml [\"new\"][\"key\"] {\"x\":[1,true,null,\"s\"]}"),
        step("set e.yaml [\"list\"][0] \"first\""),
        step("set e.json [\"list\"][9] \"last\""),
        step("set --value-file e.yaml [\"file\"] value.json"),
        reads("\"from stdin\"", "set --value-stdin e.yaml [\"stdin\"]"),
        step("set --idempotent e.yaml [\"b\"] \"changed\""),
        step("set e.env [\"C\"] \"new\""),
        step("--set [\"b\"]␣\"legacy\" e.json"),
        step("unset e.yaml [\"deep\"][\"er\"]"),
        step("unset e.json [\"a\"]"),
        step("unset --idempotent e.json [\"a\"]"),
    ]);
}

#[test]
fn setting_what_cannot_be_set_fails_the_same() {
    same(&[
        step("set e.yaml"),
        step("set e.yaml [\"a\"]"),
        step("set e.yaml [\"a\"] no␣json"),
        step("set e.yaml [\"a\"] 1␣2"),
        step("set e.yaml [a] 2"),
        step("set p.yaml [\"a\"] 1"),
        step("set nofile.yaml [\"a\"] 1"),
        step("set --value-file --value-stdin e.yaml [\"a\"] x"),
        step("set --value-file e.yaml [\"a\"] nofile"),
        step("--set [\"a\"]2 e.yaml"),
        step("unset e.yaml"),
        step("unset e.yaml [\"zz\"]"),
        step("unset nofile.yaml [\"zz\"]"),
    ]);
}

#[test]
fn editing_leaves_the_same_trees() {
    same(&[
        edits("sed -i s/hello/edited/", "edit e.yaml"),
        edits("sed -i s/hello/edited/", "e.json"),
        edits("sed -i s/two/three/", "edit e.env"),
        edits("true", "e.yaml"),
        edits("false", "e.yaml"),
        edits("/nonexistent/editor", "edit e.yaml"),
        edits("true", "edit --age {A} new.yaml"),
        edits("sh -c 'echo a: 1 > $0'", "edit --age {A} new.yaml"),
        edits("sh -c 'echo a: 1 > $0'", "--age {A} new.yaml"),
        edits("true", "edit"),
        edits("true", "edit p.yaml"),
        edits("true", "edit other.yaml"),
    ]);
}

#[test]
fn rotating_leaves_the_same_trees() {
    same(&[
        differs("rotate e.yaml"),
        step("rotate -i e.yaml"),
        step("-r -i --add-age {B} e.json"),
        step("rotate -i --rm-age {B} e.json"),
        step("rotate --output new.yaml e.yaml"),
        step("rotate"),
        step("rotate nofile.yaml"),
        step("rotate --add-age {B} nofile.yaml"),
        step("-r nofile.yaml"),
        step("-r --rm-age {B} nofile.yaml"),
        step("rotate p.yaml"),
    ]);
}

#[test]
fn commands_without_files_end_the_same() {
    same(&[
        step(""),
        step("-d"),
        step("--version"),
        differs("--help"),
        differs("help"),
        differs("decrypt --help"),
        differs("help nonsense"),
        differs("groups"),
        differs("groups nonsense"),
        differs("completion"),
        differs("completion bash"),
        differs("--bogus e.yaml"),
        differs("decrypt --bogus e.yaml"),
        differs("-d -i=maybe e.yaml"),
        differs("-d --extract"),
        differs("-e --shamir-secret-sharing-threshold x p.yaml"),
        differs("-e --encrypt p.yaml"),
        step("filestatus e.yaml"),
        step("filestatus p.yaml"),
        step("filestatus"),
        step("filestatus nofile.yaml"),
        step("exec-env e.yaml"),
        step("updatekeys"),
        step("updatekeys e.yaml"),
        step("publish e.yaml"),
        step("nonsense"),
    ]);
}

#[test]
fn configurations_are_found_and_fail_the_same() {
    let script = |config: &str, steps: &[&str]| {
        let worlds = [(World::new(), REAL), (World::new(), Program::Link)];
        for line in steps {
            let line = line.replace("{A}", ALICE.recipient).replace("{B}", BOB.recipient);
            let arguments: Vec<&str> = line.split_whitespace().collect();
            let codes = worlds.each_ref().map(|(world, program)| {
                world.write(".sops.yaml", config.replace("{A}", ALICE.recipient));
                world.write("secrets/a.yaml", "a: 1\n");
                world.write("other/a.yaml", "a: 1\n");
                let run = finish(world.command(*program).args(&arguments).env("EDITOR", "true"), b"");
                (run.code, run.stderr)
            });
            assert_eq!(codes[1].0, codes[0].0, "{line} with {config}\n{codes:?}");
        }
    };
    let rules = "creation_rules:\n  - path_regex: ^secrets/\n    age: {A}\n";
    script(
        rules,
        &["encrypt secrets/a.yaml", "encrypt other/a.yaml", "encrypt --age {B} other/a.yaml", "-e secrets/a.yaml"],
    );
    script(
        "creation_rules:\n  - path_regex: '('\n    age: {A}\n",
        &["encrypt secrets/a.yaml", "decrypt secrets/a.yaml"],
    );
    script("creation_rules: [\n", &["encrypt secrets/a.yaml", "encrypt --age {B} secrets/a.yaml"]);
    script("stores: {}\n", &["encrypt secrets/a.yaml", "--config nofile encrypt secrets/a.yaml"]);
    script(
        "creation_rules:\n  - age: {A}\n    encrypted_regex: a\n    encrypted_suffix: b\n",
        &["encrypt secrets/a.yaml"],
    );
}
