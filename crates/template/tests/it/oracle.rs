//! `tests/interop/template-oracle`: the peer's answers, and ours in the same form.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use bulla_template::{Limits, MissingKey, Options, Template, Text, Value};
use serde_json::json;

/// One template with its data.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub template: String,
    pub data: serde_json::Value,
    /// The data are a `map[string]string`.
    pub strings: bool,
    pub missing_key: MissingKey,
    pub delims: (String, String),
}

/// What becomes of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Output(String),
    ParseError,
    ExecError,
}

/// The peer's answers, with its messages where it fails.
pub fn ask(cases: &[Case]) -> Vec<(Answer, String)> {
    let mut child = Command::new(bulla_test_support::program("bin/template-oracle"))
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for case in cases {
                let missing = match case.missing_key {
                    MissingKey::Default => "default",
                    MissingKey::Zero => "zero",
                    MissingKey::Error => "error",
                };
                let (left, right) = &case.delims;
                let line = json!({
                    "template": case.template, "data": case.data, "strings": case.strings, "missingkey": missing,
                    "left": left, "right": right,
                });
                writeln!(stdin, "{line}").unwrap();
            }
        });
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let answers: Vec<_> = lines.map(|line| read(&line.unwrap())).collect();
        assert!(child.wait().unwrap().success() && answers.len() == cases.len(), "the oracle stopped early");
        answers
    })
}

fn read(line: &str) -> (Answer, String) {
    let answer: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| answer[name].as_str().map(ToOwned::to_owned);
    if let Some(message) = text("parse") {
        (Answer::ParseError, message)
    } else if let Some(message) = text("exec") {
        (Answer::ExecError, message)
    } else {
        let hex = text("out").unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        (Answer::Output(show(&bytes)), String::new())
    }
}

/// Bytes so that they can be compared and read.
fn show(bytes: &[u8]) -> String {
    bytes.utf8_chunks().map(|chunk| {
        let bad: String = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("{}{bad}", chunk.valid())
    }).collect()
}

/// Our answer, with our message where we fail.
pub fn ours(case: &Case) -> (Answer, String) {
    let (left, right) = case.delims.clone();
    let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
    let options = Options {
        left: or(left, "{{"),
        right: or(right, "}}"),
        missing_key: case.missing_key,
        ..Options::default()
    };
    let template = match Template::parse("t", &case.template, &options) {
        Ok(template) => template,
        Err(error) => return (Answer::ParseError, error.to_string()),
    };
    let data = if case.strings {
        let entries = case.data.as_object().unwrap().iter();
        Value::string_map(entries.map(|(key, value)| (Text::from(key.as_str()), Text::from(value.as_str().unwrap()))))
    } else {
        Value::from_json(case.data.to_string().as_bytes()).unwrap()
    };
    match template.execute(&data, &Limits::default()) {
        Ok(out) => (Answer::Output(show(out.expose())), String::new()),
        Err(error) => (Answer::ExecError, error.to_string()),
    }
}

/// Asks both for all cases; the differences, one a case.
pub fn differences(cases: &[Case]) -> Vec<String> {
    let theirs = ask(cases);
    let compared = cases.iter().zip(theirs).filter_map(|(case, (theirs, their_message))| {
        let (ours, our_message) = ours(case);
        (ours != theirs).then(|| {
            let Case { template, data, .. } = case;
            format!("{template}\n  data: {data}\n  Go:   {theirs:?} {their_message}\n  ours: {ours:?} {our_message}\n")
        })
    });
    compared.collect()
}
