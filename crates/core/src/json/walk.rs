//! Every string of a value replaced by another: what audit records are made of.

use super::{Value, parse, print};

/// Writes `value` to `out` with each string in it, but no key, replaced by what `replace` makes of it.
///
/// [`Value::Raw`] is read for it: its text is canonical, so that cannot fail; were it to, `null` is written and no secret.
pub fn map_strings(value: &Value, replace: &impl Fn(&str) -> String, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => print::string(&replace(text), out),
        Value::Array(values) => {
            out.push(b'[');
            for (i, one) in values.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                map_strings(one, replace, out);
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (i, (key, one)) in object.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                print::string(key, out);
                out.push(b':');
                map_strings(one, replace, out);
            }
            out.push(b'}');
        }
        Value::Raw(text) => map_strings(&parse(text).unwrap_or_default(), replace, out),
        plain => print::value(plain, out),
    }
}
