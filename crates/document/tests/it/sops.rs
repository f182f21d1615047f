//! What the real sops takes a text for: it encrypts the text, and decrypts it as JSON.

use std::path::Path;

use bulla_core::SecretBytes;
use bulla_document::{Document, EmitOptions, Syntax, Value, dotenv, emit};
use bulla_test_support::{SOPS, program, sops};
use tempfile::TempDir;

/// A folder with an age key in it.
pub(crate) struct Workshop {
    folder: TempDir,
    env: Vec<(String, String)>,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let key = folder.path().join("key.txt");
        let made = std::process::Command::new(program("bin/age-keygen")).arg("-o").arg(&key).output().unwrap();
        let said = String::from_utf8(made.stderr).unwrap();
        let recipient = said.trim().rsplit(' ').next().unwrap().to_owned();
        let env = vec![
            ("SOPS_AGE_KEY_FILE".to_owned(), key.to_str().unwrap().to_owned()),
            ("SOPS_AGE_RECIPIENTS".to_owned(), recipient),
            ("PATH".to_owned(), std::env::var("PATH").unwrap()),
        ];
        Self { folder, env }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn sops(&self, version: &str, arguments: &[&str]) -> Result<String, String> {
        sops(version, self.path(), &self.env, arguments)
    }

    /// What sops makes of a text when it decrypts it as `output`.
    pub(crate) fn converted(&self, version: &str, name: &str, text: &str, output: &str) -> Result<String, String> {
        std::fs::write(self.path().join(name), text).unwrap();
        self.sops(version, &["encrypt", "--in-place", name])?;
        self.sops(version, &["decrypt", "--output-type", output, name])
    }
}

pub(crate) fn tree(syntax: Syntax, text: &str) -> Value {
    let document = Document::parse(syntax, SecretBytes::from(text.as_bytes())).unwrap();
    document.to_value(document.roots()[0])
}

pub(crate) fn written(value: &Value, syntax: Syntax) -> String {
    let text = emit(std::slice::from_ref(value), syntax, EmitOptions::default()).unwrap();
    String::from_utf8(text.expose().to_vec()).unwrap()
}

/// sops and this crate see the same tree in each of the texts.
fn assert_same_trees(syntax: Syntax, name: &str, texts: &[&str]) {
    let workshop = Workshop::new();
    for version in SOPS {
        for text in texts {
            let theirs = workshop.converted(version, name, text, "json").unwrap();
            assert_eq!(written(&tree(syntax, text), Syntax::Json), theirs, "sops {version}, {text:?}");
        }
    }
}

#[test]
fn json_stands_for_what_sops_sees() {
    assert_same_trees(
        Syntax::Json,
        "a.json",
        &[
            r#"{"b": 1, "a": [true, false, null, {"x": {}}, []], "n": [0, -1, 1.5, -0.25, 1e3, 1E-7, 1e21, 123456789012]}"#,
            r#"{"s": ["\u00e9\n\t\"\\\/\b\f\u0001", "<&>\u2028\u2029", "\ud83d\ude00", "\ud800", "\udc00x", "\ud800\u0041"]}"#,
            "{\"\": \"\", \"a:b\": \"\u{7f}é\u{1f600}\"}",
        ],
    );
}

#[test]
fn whole_numbers_of_64_bits_are_kept_as_the_later_sops_keeps_them() {
    let text = r#"{"a": 9223372036854775807, "b": -9223372036854775808, "c": 9223372036854775808, "d": 9007199254740993, "e": -0}"#;
    let workshop = Workshop::new();
    let theirs = workshop.converted("3.13.3", "a.json", text, "json").unwrap();
    assert_eq!(written(&tree(Syntax::Json, text), Syntax::Json), theirs);
    // The earlier one loses the last digits.
    assert_ne!(workshop.converted("3.11.0", "a.json", text, "json").unwrap(), theirs);
}

#[test]
fn dotenv_stands_for_what_sops_sees() {
    assert_same_trees(
        Syntax::Dotenv,
        "a.env",
        &[
            "A=\"x\"\nB='y'\n# c\nexport C=1\n  D = 2 # i\r\nE=a\\nb\\\\nc\n=novalue\nF=\nA=dup\n#\n\nG=\"l\\n1\"\nlast=1",
            "A=\"x\nB=y\"\n",
            "A='x\n#\n\nB=y'\n",
            "\u{feff}A=1\r\n  # c=1\r\n",
        ],
    );
}

#[test]
fn dotenv_that_sops_refuses_is_read_or_refused_with_a_reason() {
    let workshop = Workshop::new();
    for (text, is_read) in
        [("A=\"x\ny\"\n", true), ("A=1\n \n", true), ("A=1\r\n\r\n", true), ("A\n", false), ("  # c\n", false)]
    {
        for version in SOPS {
            let refusal = workshop.converted(version, "a.env", text, "json").unwrap_err();
            assert!(refusal.contains("invalid dotenv input line"), "{refusal}");
        }
        assert_eq!(Document::parse(Syntax::Dotenv, SecretBytes::from(text.as_bytes())).is_ok(), is_read, "{text:?}");
    }
}

#[test]
fn a_value_of_several_lines_means_the_same_after_sops_wrote_it() {
    let workshop = Workshop::new();
    for text in ["A=\"x\n\\\"y\\\" $z\"\n", "A='x \"y\"\n$z \\t'\n"] {
        // What sops finds in the file that bulla encrypts: the one value, given out by sops' own rules.
        let Value::Map(entries) = tree(Syntax::Dotenv, text) else { panic!() };
        let value = entries[0].1.as_scalar().unwrap().as_str().unwrap().to_owned();
        let json = written(&Value::Map(vec![("A".to_owned(), Value::str(value.as_str()))]), Syntax::Json);
        for version in SOPS {
            let by_sops = workshop.converted(version, "a.json", &json, "dotenv").unwrap();
            let Value::Map(again) = tree(Syntax::Dotenv, &by_sops) else { panic!() };
            let meaning = |entries: &[(String, Value)]| {
                dotenv::unquote(entries[0].1.as_scalar().unwrap().as_bytes().unwrap()).into_owned()
            };
            assert_eq!(meaning(&again), meaning(&entries), "sops {version}: {by_sops:?}");
        }
    }
}

#[test]
fn sops_passes_quotes_through_to_programs() {
    let workshop = Workshop::new();
    for version in SOPS {
        workshop.converted(version, "a.env", "A=\"x y\"\nB='z' # c\n", "json").unwrap();
        let out = workshop.sops(version, &["exec-env", "--pristine", "a.env", "echo \"$A|$B\""]).unwrap();
        assert_eq!(out, "\"x y\"|'z' # c\n");
    }
}

#[test]
fn ini_stands_for_what_sops_sees() {
    assert_same_trees(
        Syntax::Ini,
        "a.ini",
        &[
            "; head 1\n\n# head 2\na = 1 ; inline\nb: \"x;y\"\nc = `q;q` ; dropped\nd = \"\"\"m1\nm2\"\"\" ; c\ne = one \\\n  two \
             \\\n  three\nf=\n\"k=1\" = 'v'\n; sec comment\n[sec] # after\nx = \" sp \"\n[sec]\ny = 1\n; trailing\n",
            "\u{feff}a=b\r\n[s]\r\nc = `x\r\ny` \r\n\r\n[a]b] # ]\r\n k:=v\r\n",
            "[DEFAULT]\na = it's\nb = 'it's'\nc = \"\"\nd = \\\\ x\ne = k\\\n\nf = x#y\n",
            "[s]\n\u{a0}\u{2003}x y\u{3000}= \u{85}z\u{a0}\n",
        ],
    );
}

#[test]
fn texts_are_written_as_sops_writes_them() {
    let flat = r#"{"b": 1.5, "c": 1e21, "d": 1e-7, "e": true, "f": "l1\nl2", "g": "x=y # z", "h": "", "i": 1234567.5}"#;
    let sections = r#"{"DEFAULT": {"top": "1"}, "s": {"a": true, "bcd": "x;y", "e": " z ", "f": "l1\nl2", "k=1": "q`q", "h": ""}, "t": {}}"#;
    let workshop = Workshop::new();
    for version in SOPS {
        let mut texts =
            vec![(flat, "dotenv", Syntax::Dotenv), (sections, "ini", Syntax::Ini), (sections, "json", Syntax::Json)];
        if version == "3.13.3" {
            // The earlier one reads whole numbers in JSON as floats.
            texts.push((r#"{"a": 12, "b": -3}"#, "dotenv", Syntax::Dotenv));
            texts.push((r#"{"s": {"a": 12, "bc": -3}}"#, "ini", Syntax::Ini));
        }
        for (json, output, syntax) in texts {
            let theirs = workshop.converted(version, "a.json", json, output).unwrap();
            assert_eq!(written(&tree(Syntax::Json, json), syntax), theirs, "sops {version}");
        }
    }
}

#[test]
fn ini_that_sops_cannot_read_again_is_written_so_that_it_can_be() {
    let json = r#"{"s": {"a": "\"x\"", "b": "y\\", "c": "'z'", "d": "`"}}"#;
    let ini = written(&tree(Syntax::Json, json), Syntax::Ini);
    let workshop = Workshop::new();
    for version in SOPS {
        let back = workshop.converted(version, "a.ini", &ini, "json").unwrap();
        let expected = written(&tree(Syntax::Ini, &ini), Syntax::Json);
        assert_eq!(back, expected);
        assert_eq!(tree(Syntax::Json, &back).get("s"), tree(Syntax::Json, json).get("s"));
        let theirs = workshop.converted(version, "a.json", json, "ini").unwrap();
        assert_ne!(
            tree(Syntax::Ini, &theirs).get("s").and_then(|s| s.get("a")),
            tree(Syntax::Json, json).get("s").and_then(|s| s.get("a"))
        );
    }
}
