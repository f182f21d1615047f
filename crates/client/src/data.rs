//! `key=value` arguments, and what they stand for: `@file`, `-`, a whole JSON object.

use std::io::Read;
use std::path::Path;

use bulla_core::json::{self, Object, Value};
use bulla_core::{SecretBytes, file};

use crate::failure::Failure;

/// The largest file or standard input that is sent.
const LONGEST: u64 = 32 << 20;

/// Reads arguments: `key=value`, `key=@file`, `key=-` (standard input), `key=\@text`; `@file` and `-` alone are JSON objects.
///
/// # Errors
/// An argument that is none of these. Its text is not shown: it may be a secret.
pub(crate) fn read(arguments: &[String], stdin: &mut dyn Read) -> Result<Object, Failure> {
    let bad = |what: &str, why: String| {
        Failure::usage(format!("Failed to parse K=V data: invalid key/value pair {what}: {why}"))
    };
    let mut data = Object::new();
    for (number, argument) in arguments.iter().enumerate() {
        let whole = match argument.strip_prefix('@') {
            Some(path) => Some(read_file(path).map_err(|why| bad(&format!("{argument:?}"), why))?),
            None if argument == "-" => Some(read_all(stdin).map_err(|why| bad("\"-\"", why))?),
            None => None,
        };
        if let Some(text) = whole {
            let what = format!("{argument:?}");
            let read =
                json::parse_object(text.expose()).map_err(|error| bad(&what, format!("not a JSON object: {error}")))?;
            data.extend(read);
            continue;
        }
        let Some((key, value)) = argument.split_once('=') else {
            return Err(bad(&format!("(number {})", number + 1), "format must be key=value".to_owned()));
        };
        let what = format!("\"{key}=…\"");
        let text = |bytes: SecretBytes| match std::str::from_utf8(bytes.expose()) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(bad(&what, "not UTF-8".to_owned())),
        };
        let value = match value.strip_prefix('@') {
            Some(path) => text(read_file(path).map_err(|why| bad(&what, format!("error reading file: {why}")))?)?,
            None if value == "-" => text(read_all(stdin).map_err(|why| bad(&what, why))?)?,
            None => value.strip_prefix("\\@").map_or_else(|| value.to_owned(), |rest| format!("@{rest}")),
        };
        add(&mut data, key, value);
    }
    Ok(data)
}

/// A key that stands twice becomes a list.
fn add(data: &mut Object, key: &str, value: String) {
    let new = Value::String(value);
    let joined = match data.remove(key) {
        None => new,
        Some(Value::Array(mut values)) => {
            values.push(new);
            Value::Array(values)
        }
        Some(old) => Value::Array(vec![old, new]),
    };
    data.insert(key.to_owned(), joined);
}

/// A file's bytes.
///
/// # Errors
/// Which file, and why not.
pub(crate) fn read_file(path: &str) -> Result<SecretBytes, String> {
    file::read(Path::new(path), LONGEST).map_err(|error| match error {
        file::FileError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            format!("open {path}: no such file or directory")
        }
        other => other.to_string(),
    })
}

/// All of standard input.
///
/// # Errors
/// Why not.
pub(crate) fn read_all(stdin: &mut dyn Read) -> Result<SecretBytes, String> {
    file::read_from(stdin, Path::new("standard input"), 0, LONGEST).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(arguments: &[&str], stdin: &str) -> Result<String, Failure> {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        super::read(&arguments, &mut stdin.as_bytes())
            .map(|data| String::from_utf8(json::object_to_vec(&data)).unwrap())
    }

    #[test]
    fn arguments_are_texts_files_or_standard_input() {
        assert_eq!(read(&["a=b=c", "d=\\@x", "e="], "").unwrap(), r#"{"a":"b=c","d":"@x","e":""}"#);
        assert_eq!(read(&["a=1", "a=2", "a=3"], "").unwrap(), r#"{"a":["1","2","3"]}"#);
        assert_eq!(read(&["a=-"], "in\n").unwrap(), r#"{"a":"in\n"}"#);
        assert_eq!(
            read(&["-", "b=c"], r#"{"n":12345678901234567890}"#).unwrap(),
            r#"{"b":"c","n":12345678901234567890}"#
        );
    }

    #[test]
    fn what_is_wrong_with_an_argument_is_said_without_it() {
        for arguments in [&["hunter2"][..], &["@/nonexistent"], &["hunter=@/nonexistent"], &["-"]] {
            let failure = read(arguments, "[hunter2]").unwrap_err();
            assert!(failure.message.contains("Failed to parse K=V data"));
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        }
    }
}
