//! The cases of `tests/corpus`, each compared with the peer's answer.
//!
//! A line is a template; `⏎` in it stands for the end of a line, `⇥` for a tab. Lines that start with `#` are comments. Those that
//! start with `@` hold for all that follow: `@data JSON`, `@strings JSON`, `@missing default|zero|error`, `@delims LEFT RIGHT`.

use std::path::Path;

use bulla_template::MissingKey;

use crate::oracle::{Case, differences};

fn read(name: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut now = Case {
        template: String::new(),
        data: serde_json::Value::Null,
        strings: false,
        missing_key: MissingKey::Default,
        delims: (String::new(), String::new()),
    };
    let mut cases = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let directive = line.strip_prefix('@').map(|line| line.split_once(' ').unwrap_or((line, "")));
        match directive {
            Some(("data", json)) => {
                now.data = serde_json::from_str(json).unwrap();
                now.strings = false;
            }
            Some(("strings", json)) => {
                now.data = serde_json::from_str(json).unwrap();
                now.strings = true;
            }
            Some(("missing", how)) => {
                now.missing_key = match how {
                    "default" => MissingKey::Default,
                    "zero" => MissingKey::Zero,
                    "error" => MissingKey::Error,
                    other => panic!("{name}: {other}?"),
                }
            }
            Some(("delims", both)) => {
                let (left, right) = both.split_once(' ').unwrap();
                now.delims = (left.to_owned(), right.to_owned());
            }
            Some((other, _)) => panic!("{name}: {other}?"),
            None => cases.extend(
                split(line)
                    .into_iter()
                    .map(|line| Case { template: line.replace('⏎', "\n").replace('⇥', "\t"), ..now.clone() }),
            ),
        }
    }
    cases
}

/// A line of several actions that know nothing of each other is a case for each, so that one that fails hides no other.
fn split(line: &str) -> Vec<String> {
    let joined = ["$", "{{ end", "{{end", "{{-", "-}}", "{{/*"].iter().any(|text| line.contains(text));
    if joined || !line.starts_with("{{ ") || !line.contains("}} {{ ") {
        return vec![line.to_owned()];
    }
    line.split("}} {{ ")
        .enumerate()
        .map(|(index, part)| {
            let open = if index == 0 { "" } else { "{{ " };
            let close = if part.contains("}}") { "" } else { "}}" };
            format!("{open}{part}{close}")
        })
        .collect()
}

fn compare(name: &str) {
    let cases = read(name);
    assert!(!cases.is_empty());
    let differences = differences(&cases);
    assert!(differences.is_empty(), "{} of {} cases differ:\n{}", differences.len(), cases.len(), differences.join("\n"));
}

macro_rules! corpora {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            compare(concat!(stringify!($name), ".txt"));
        }
    )*

        /// The whole corpus.
        pub fn all() -> Vec<Case> {
            [$(concat!(stringify!($name), ".txt")),*].into_iter().flat_map(read).collect()
        }

        #[test]
        fn every_file_of_the_corpus_has_its_test() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
            let tests = [$(concat!(stringify!($name), ".txt")),*];
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name();
                assert!(tests.iter().any(|test| name == *test), "{name:?} has no test");
            }
        }

        /// The functions of sprig are all in the corpus, those left aside that give something else each time.
        #[test]
        fn every_function_is_in_the_corpus() {
            let text: String = all().into_iter().map(|case| case.template + "\n").collect();
            let words: std::collections::BTreeSet<&str> =
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
            let functions = bulla_template::Functions::sprig();
            let missing: Vec<_> = functions.names().filter(|name| !words.contains(name)).collect();
            assert!(missing.is_empty(), "not in the corpus: {missing:?}");
        }
    };
}

corpora! { language printf builtins strings words lists dicts math dates encoding crypto regex semver urls types defaults }
