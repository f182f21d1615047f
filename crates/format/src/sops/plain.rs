//! The plaintext of a typed value: what is encrypted, and what sops' MAC covers.
//!
//! Strings are their bytes; whole numbers are decimal; floats are the shortest digits that read back, never with an exponent
//! (`1e21` is `1000000000000000000000`, `2.0` is `2`); booleans are `True` and `False`; time stamps are RFC 3339 with
//! as many digits as are needed.
//!
//! Source: `ToBytes` in <https://github.com/getsops/sops/blob/v3.13.3/sops.go>.

use std::borrow::Cow;
use std::fmt::Write as _;

use bulla_core::SecretBytes;
use bulla_document::Scalar;

use super::cipher::ValueType;
use super::timestamp;

/// The plaintext of `scalar` and its type; `None` for null, which has none. `scratch` is where it is written if it does
/// not stand there already.
pub(super) fn of<'a>(scalar: &'a Scalar<'_>, scratch: &'a mut SecretBytes) -> Option<(&'a [u8], ValueType)> {
    scratch.truncate(0);
    // Appending to `SecretBytes` never fails.
    let value_type = match scalar {
        Scalar::Null => return None,
        Scalar::Str(bytes) => return Some((bytes, ValueType::Str)),
        Scalar::Time(text) => return Some((text.as_bytes(), ValueType::Time)),
        Scalar::Bool(value) => return Some((if *value { b"True" } else { b"False" }, ValueType::Bool)),
        Scalar::Int(value) => {
            let _ = write!(scratch, "{value}");
            ValueType::Int
        }
        Scalar::Float(value) => {
            let _ = match (value.is_infinite(), value.is_sign_negative()) {
                (true, true) => scratch.write_str("-Inf"),
                (true, false) => scratch.write_str("+Inf"),
                (false, _) => write!(scratch, "{value}"),
            };
            ValueType::Float
        }
    };
    Some((scratch.expose(), value_type))
}

/// What a decrypted plaintext stands for.
pub(super) enum Plain<'a> {
    /// A value.
    Value(Scalar<'a>),
    /// A comment's text.
    Comment(&'a [u8]),
}

/// Reads a plaintext.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub(super) fn parse(value_type: ValueType, plain: &[u8]) -> Result<Plain<'_>, &'static str> {
    let text = || std::str::from_utf8(plain).map_err(|_| "its plaintext is not UTF-8");
    Ok(Plain::Value(match value_type {
        ValueType::Comment => return Ok(Plain::Comment(plain)),
        ValueType::Str | ValueType::Bytes => Scalar::Str(Cow::Borrowed(plain)),
        ValueType::Int => Scalar::Int(text()?.parse().map_err(|_| "its plaintext is not a whole number of 64 bits")?),
        ValueType::Float => Scalar::Float(text()?.parse().map_err(|_| "its plaintext is not a number")?),
        // What Go's strconv.ParseBool takes.
        ValueType::Bool => Scalar::Bool(match plain {
            b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => true,
            b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => false,
            _ => return Err("its plaintext is not a boolean"),
        }),
        ValueType::Time => {
            Scalar::Time(Cow::Owned(timestamp::normalized(text()?).ok_or("its plaintext is not a time stamp")?))
        }
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::excessive_precision)]

    use super::*;

    fn plain(scalar: &Scalar<'_>) -> String {
        let mut scratch = SecretBytes::new();
        String::from_utf8(of(scalar, &mut scratch).unwrap().0.to_vec()).unwrap()
    }

    // The right side is what Go's strconv.FormatFloat(left, 'f', -1, 64) prints.
    #[test]
    fn floats_print_as_go_prints_them() {
        for (value, printed) in [
            (1.0, "1"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (1e21, "1000000000000000000000"),
            (1e-7, "0.0000001"),
            (0.1 + 0.2, "0.30000000000000004"),
            (123_456_789.123_456_789, "123456789.12345679"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(plain(&Scalar::Float(value)), printed);
        }
    }

    #[test]
    fn values_come_back_with_their_types() {
        for scalar in [
            Scalar::Bool(true),
            Scalar::Bool(false),
            Scalar::Int(i64::MIN),
            Scalar::Float(1e300),
            Scalar::Float(f64::NEG_INFINITY),
            Scalar::str("text"),
            Scalar::Str(Cow::Borrowed(b"\xff\x00")),
            Scalar::Time("2006-01-02T15:04:05.5Z".into()),
        ] {
            let mut scratch = SecretBytes::new();
            let (bytes, value_type) = of(&scalar, &mut scratch).unwrap();
            let Plain::Value(back) = parse(value_type, bytes).unwrap() else {
                panic!("a value came back as a comment")
            };
            assert!(back == scalar, "{scalar:?}");
        }
    }

    #[test]
    fn plaintexts_that_do_not_fit_their_type_are_errors() {
        for (value_type, bytes) in [
            (ValueType::Int, "9223372036854775808"),
            (ValueType::Int, "1.0"),
            (ValueType::Float, "one"),
            (ValueType::Bool, "yes"),
            (ValueType::Time, "2006-01-02"),
        ] {
            assert!(parse(value_type, bytes.as_bytes()).is_err());
        }
    }
}
