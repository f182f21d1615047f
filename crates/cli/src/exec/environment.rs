//! A file's entries as environment variables.

use std::borrow::Cow;

use bulla_core::SecretBytes;
use bulla_document::{Document, Kind, Scalar, Syntax, dotenv};
use bulla_format::sops::{FileKind, PlainFile};

use crate::app::Personality;
use crate::error::Failure;

/// One variable.
#[derive(Debug)]
pub(crate) struct Variable {
    /// Its name, checked.
    pub(crate) name: String,
    /// What happens to it.
    pub(crate) change: Change,
}

/// What happens to a variable.
#[derive(Debug)]
pub(crate) enum Change {
    /// It gets this value.
    Set(SecretBytes),
    /// It is taken out, should it be inherited: what `null` says.
    Remove,
}

/// The variables that a decrypted file stands for, in its order. `name` stands for the file in messages.
///
/// The tree must be flat. Names must be printable ASCII without `=`, which is what Kubernetes allows; sops demands only
/// that there is no `=`. Values are text as the file shows it; a dotenv name loses its `export` and a dotenv value its quotes and comment,
/// all of which sops passes on as they stand.
///
/// # Errors
/// For a nested tree, a name that cannot be one, a NUL byte in a value, more than one YAML document, a binary file (which
/// sops takes as one variable).
pub(crate) fn variables(personality: Personality, name: &str, plain: PlainFile) -> Result<Vec<Variable>, Failure> {
    let FileKind::Text(syntax) = plain.kind else {
        if personality == Personality::Sops {
            // There a binary file is a tree of this one entry.
            return Ok(vec![variable(name, "data", Change::Set(plain.text))?]);
        }
        return Err(Failure::generic(format!("{name}: a binary file has no names to make variables of"))
            .with_hint("give the program the file itself: bulla exec-file FILE -- CMD {}"));
    };
    let document = Document::parse(syntax, plain.text)
        .map_err(|error| Failure::generic(format!("{name}: cannot read the decrypted file: {error}")))?;
    let root = match document.roots() {
        [] => return Ok(Vec::new()),
        [root] => *root,
        [root, ..] if personality == Personality::Sops => *root,
        roots => {
            return Err(Failure::generic(format!(
                "{name}: holds {} YAML documents; an environment is made of one",
                roots.len()
            )));
        }
    };
    let mut variables = Vec::new();
    for entry in document.children(root) {
        let key = document.key(entry).unwrap_or_default();
        let key = match (syntax, personality) {
            (Syntax::Dotenv, Personality::Bulla) => dotenv::variable_name(key),
            _ => key,
        };
        match document.kind(entry) {
            Kind::Comment => {}
            Kind::Map | Kind::Seq => {
                let message = match personality {
                    Personality::Sops => format!("cannot use complex value in environment; offending key {key}"),
                    Personality::Bulla | Personality::Kubeseal => {
                        format!("{name}: {key} is not a single value; only those can be environment variables")
                    }
                };
                return Err(Failure::generic(message));
            }
            Kind::Scalar => {
                check_name(personality, name, key)?;
                variables.push(variable(name, key, change(personality, document.scalar(entry), syntax))?);
            }
        }
    }
    Ok(variables)
}

fn variable(file: &str, name: &str, change: Change) -> Result<Variable, Failure> {
    if let Change::Set(value) = &change
        && value.expose().contains(&0)
    {
        return Err(Failure::generic(format!(
            "{file}: the value of {name} holds a NUL byte, which no environment variable can"
        )));
    }
    Ok(Variable { name: name.to_owned(), change })
}

fn check_name(personality: Personality, file: &str, key: &str) -> Result<(), Failure> {
    let reason = if key.is_empty() {
        "an empty name"
    } else if key.contains('=') && personality == Personality::Sops {
        return Err(Failure::generic(format!("cannot use keys with '=' in environment: {key}")));
    } else if key.contains('=') {
        "a name with \"=\" in it"
    } else if key.contains('\0') {
        "a name with a NUL byte in it"
    } else if personality == Personality::Bulla && !key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        "a name with other than printable ASCII characters in it"
    } else {
        return Ok(());
    };
    Err(Failure::generic(format!("{file}: {key:?} cannot be an environment variable: {reason}")))
}

fn change(personality: Personality, scalar: Scalar<'_>, syntax: Syntax) -> Change {
    let text = |text: &str| Change::Set(SecretBytes::from(text.as_bytes()));
    match scalar {
        // sops 3.13.3 sets the variable to `<nil>`, which is nobody's password.
        Scalar::Null => Change::Remove,
        Scalar::Bool(value) => text(if value { "true" } else { "false" }),
        Scalar::Int(value) => text(&value.to_string()),
        Scalar::Float(value) => text(&float(personality, value)),
        Scalar::Time(value) => text(&whole_seconds(&value)),
        Scalar::Str(bytes) if syntax == Syntax::Dotenv && personality == Personality::Bulla => {
            Change::Set(unquoted(&bytes))
        }
        Scalar::Str(bytes) => Change::Set(SecretBytes::from(bytes.as_ref())),
    }
}

/// A float as sops prints it here: Go's `strconv.FormatFloat(value, 'G', -1, 64)`, with `.0` where it would look like an
/// integer. Under our own name the exponent is left out wherever people leave it out.
fn float(personality: Personality, value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN".into()
        } else if value > 0.0 {
            "+Inf".into()
        } else {
            "-Inf".into()
        };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Of the shortest form Go takes the exponent from the sixth digit on, whatever the number of digits.
    let limit = if personality == Personality::Sops { 6 } else { 21 };
    if value != 0.0 && (exponent < -4 || exponent >= limit) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}E{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

/// A time stamp without fractions of a second: Go's `time.RFC3339`.
fn whole_seconds(time: &str) -> String {
    let Some(dot) = time.find('.') else { return time.to_owned() };
    let fraction = time[dot + 1..].bytes().take_while(u8::is_ascii_digit).count();
    format!("{}{}", &time[..dot], &time[dot + 1 + fraction..])
}

/// A dotenv value without its quotes and its comment.
fn unquoted(value: &[u8]) -> SecretBytes {
    match dotenv::unquote(value) {
        Cow::Borrowed(value) => SecretBytes::from(value),
        // Wipes the copy.
        Cow::Owned(value) => SecretBytes::from(value),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn floats_are_printed_as_go_prints_them() {
        // The answers of Go's strconv.FormatFloat(v, 'G', -1, 64), through sops' ".0".
        for (value, expected) in [
            (1_234_567.5, "1.2345675E+06"),
            (123_456.0, "123456.0"),
            (1_234_567.0, "1.234567E+06"),
            (0.000_01, "1E-05"),
            (0.000_1, "0.0001"),
            (1e20, "1E+20"),
            (1.5e300, "1.5E+300"),
            (100.0, "100.0"),
            (1e6, "1E+06"),
            (-2.5, "-2.5"),
            (0.0, "0.0"),
        ] {
            assert_eq!(float(Personality::Sops, value), expected);
        }
        assert_eq!(float(Personality::Bulla, 1_234_567.5), "1234567.5");
    }

    #[test]
    fn names_are_what_kubernetes_takes() {
        for name in ["A", "a.b", "my-key", "_x"] {
            assert!(check_name(Personality::Bulla, "f", name).is_ok(), "{name}");
        }
        for name in ["", "a=b", "a\0", "é", "a\nb"] {
            assert!(check_name(Personality::Bulla, "f", name).is_err(), "{name}");
        }
        assert!(check_name(Personality::Sops, "f", "é").is_ok());
        assert!(check_name(Personality::Sops, "f", "a=b").is_err());
    }

    #[test]
    fn a_time_has_whole_seconds() {
        assert_eq!(whole_seconds("2024-01-02T03:04:05.123456789Z"), "2024-01-02T03:04:05Z");
        assert_eq!(whole_seconds("2024-01-02T03:04:05.5+02:00"), "2024-01-02T03:04:05+02:00");
        assert_eq!(whole_seconds("2024-01-02T03:04:05Z"), "2024-01-02T03:04:05Z");
    }
}
