//! What sops sees: `tests/interop/yaml-oracle`, asked in one run for many texts.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::yaml::style::LOST;
use crate::{Document, Kind, NodeId, Scalar};

/// The oracle's answers, one line each.
pub(super) fn ask(texts: &[Vec<u8>]) -> Vec<String> {
    let mut child =
        Command::new(program()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the oracle starts");
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for text in texts {
                let size = u32::try_from(text.len()).unwrap();
                stdin.write_all(&size.to_le_bytes()).unwrap();
                stdin.write_all(text).unwrap();
            }
        });
        let answers: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
        assert!(child.wait().unwrap().success() && answers.len() == texts.len(), "the oracle stopped early");
        answers
    })
}

/// The document in the oracle's form, without the comments that yaml.v3 loses.
pub(super) fn describe(document: &Document) -> String {
    let maps: Vec<String> = document.roots().iter().map(|&root| node(document, root)).collect();
    format!("{{\"docs\":[{}]}}", maps.join(","))
}

fn node(document: &Document, id: NodeId) -> String {
    let entries = || {
        let children = document
            .children(id)
            .filter(|&child| document.kind(child) != Kind::Comment || document.node(child).style & LOST == 0);
        let entries: Vec<String> = children.map(|child| entry(document, id, child)).collect();
        entries.join(",")
    };
    match document.kind(id) {
        Kind::Map => format!("{{\"m\":[{}]}}", entries()),
        Kind::Seq => format!("{{\"l\":[{}]}}", entries()),
        Kind::Scalar | Kind::Comment => scalar(&document.scalar(id)),
    }
}

fn entry(document: &Document, parent: NodeId, id: NodeId) -> String {
    match document.kind(id) {
        Kind::Comment => format!("{{\"#\":\"{}\"}}", hex(document.scalar(id).as_bytes().unwrap())),
        _ if document.kind(parent) == Kind::Seq => node(document, id),
        _ if document.has_non_string_key(id) => format!("{{\"k\":null,\"v\":{}}}", node(document, id)),
        _ => {
            let key = document.key(id).unwrap();
            format!("{{\"k\":\"{}\",\"v\":{}}}", hex(key.as_bytes()), node(document, id))
        }
    }
}

fn scalar(value: &Scalar<'_>) -> String {
    match value {
        Scalar::Null => "{\"n\":0}".into(),
        Scalar::Bool(value) => format!("{{\"b\":{value}}}"),
        Scalar::Int(value) => format!("{{\"i\":\"{value}\"}}"),
        Scalar::Float(value) => {
            let bits = if value.is_nan() { 0x7ff8_0000_0000_0000 } else { value.to_bits() };
            format!("{{\"f\":\"{bits:016x}\"}}")
        }
        Scalar::Str(bytes) => format!("{{\"s\":\"{}\"}}", hex(bytes)),
        Scalar::Time(text) => format!("{{\"t\":\"{text}\"}}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Builds the oracle, once a test run.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
        let program = root.join("target/yaml-oracle");
        let status = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(root.join("tests/interop/yaml-oracle"))
            .env("CGO_ENABLED", "0")
            .status();
        let built = status.is_ok_and(|status| status.success());
        assert!(built, "cannot build tests/interop/yaml-oracle: install Go 1.24 or newer (https://go.dev/dl)");
        program
    })
}
