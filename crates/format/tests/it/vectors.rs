//! Files that the real sops wrote, kept: they open without any peer. `tests/data/regenerate.sh` makes them anew.

use std::path::Path;

use bulla_core::{DataKey, SecretBytes};
use bulla_document::{Syntax, Value};
use bulla_format::sops::{EncryptedFile, FileKind, MacCheck};

use crate::exchange::as_sops_prints_all;
use crate::files::tree;

fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn data_key(name: &str) -> DataKey {
    let keys = String::from_utf8(read("data-keys")).unwrap();
    let hex = keys.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
    let bytes = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
    DataKey::from_bytes(SecretBytes::from(bytes.collect::<Vec<_>>())).unwrap()
}

fn open(name: &str, kind: FileKind) -> SecretBytes {
    let file = EncryptedFile::parse(kind, SecretBytes::from(read(name))).unwrap();
    file.decrypt(&data_key(name), MacCheck::Check).unwrap_or_else(|error| panic!("{name}: {error}")).text
}

/// Every number of a JSON file is a float to sops 3.11.
fn floats(value: Value) -> Value {
    #[allow(clippy::cast_precision_loss)]
    match value {
        Value::Int(number) => Value::Float(number as f64),
        Value::Seq(items) => Value::Seq(items.into_iter().map(floats).collect()),
        Value::Map(entries) => Value::Map(entries.into_iter().map(|(key, value)| (key, floats(value))).collect()),
        other => other,
    }
}

#[test]
fn files_of_both_versions_open() {
    let kinds = [("yaml", Syntax::Yaml), ("json", Syntax::Json), ("env", Syntax::Dotenv), ("ini", Syntax::Ini)];
    for version in ["3.11.0", "3.13.3"] {
        for (ending, syntax) in kinds {
            let kind = FileKind::Text(syntax);
            let opened = open(&format!("{version}.{ending}"), kind);
            let found = tree(kind, &String::from_utf8_lossy(opened.expose()));
            let wanted = tree(kind, &String::from_utf8(read(&format!("plain.{ending}"))).unwrap());
            assert_eq!(as_sops_prints_all(found), as_sops_prints_all(wanted), "{version}.{ending}");
        }
        assert_eq!(open(&format!("{version}.bin"), FileKind::Binary).expose(), read("plain.bin"));
    }
}

#[test]
fn types_are_those_that_sops_wrote() {
    let kind = FileKind::Text(Syntax::Json);
    let extract = |name: &str, key: &str| {
        let file = EncryptedFile::parse(kind, SecretBytes::from(read(name))).unwrap();
        file.extract(&data_key(name), &crate::files::path(key), MacCheck::Check).unwrap()
    };
    assert_eq!(extract("3.13.3.json", "number"), Value::Int(42));
    assert_eq!(extract("3.11.0.json", "number"), floats(Value::Int(42)));
    assert_eq!(extract("3.11.0.json", "flag"), Value::Bool(false));
}
