//! Objects written out anew, as kubeseal writes them: JSON by two spaces with fields in the order of the types, YAML with keys sorted
//! behind `---`.

use bulla_core::SecretBytes;
use bulla_document::{EmitOptions, Syntax, Value, emit};

use super::args::OutputFormat;
use crate::error::Failure;
use crate::exit::Code;

/// How an object is written.
pub(crate) type Format = OutputFormat;

/// Appends `object` to `out`.
///
/// # Errors
/// [`Code::CannotDump`]: a string that the syntax has no form for.
pub(crate) fn write(object: &Value, format: Format, out: &mut SecretBytes) -> Result<(), Failure> {
    let options = EmitOptions { indent: Some(2) };
    let (object, syntax) = match format {
        OutputFormat::Json => (object.clone(), Syntax::Json),
        OutputFormat::Yaml => {
            out.extend_from_slice(b"---\n");
            (sorted(object.clone()), Syntax::Yaml)
        }
    };
    let text = emit(&[object], syntax, options).map_err(|error| Failure::new(Code::CannotDump, error.to_string()))?;
    out.extend_from_slice(text.expose());
    if format == OutputFormat::Json && !text.expose().ends_with(b"\n") {
        out.extend_from_slice(b"\n");
    }
    Ok(())
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Map(entries)
        }
        Value::Seq(items) => Value::Seq(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
