//! What kubeseal makes of numbers and truth values where a Secret has strings: their text, as Go writes it.
//!
//! kubectl and the API server refuse them, and so does `bulla seal`. Scripts that hand `port: 5432` to kubeseal get what they got.

use bulla_document::Value;

/// Makes strings of the scalars that stand where a Secret has strings. Of a List, in each of its items.
pub(crate) fn strings(object: &mut Value) {
    let Value::Map(fields) = object else { return };
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("apiVersion" | "kind" | "type", value) => scalar(value),
            ("stringData", map) => each(map, scalar),
            ("metadata", Value::Map(fields)) => {
                for (key, value) in fields {
                    match key.as_str() {
                        "name" | "namespace" => scalar(value),
                        "labels" | "annotations" | "finalizers" => each(value, scalar),
                        _ => {}
                    }
                }
            }
            ("items", items @ Value::Seq(_)) => each(items, strings),
            _ => {}
        }
    }
}

fn each(value: &mut Value, change: fn(&mut Value)) {
    match value {
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| change(value)),
        Value::Seq(items) => items.iter_mut().for_each(change),
        _ => {}
    }
}

fn scalar(value: &mut Value) {
    let text = match value {
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => float(*number),
        Value::Time(text) => std::mem::take(text),
        _ => return,
    };
    *value = Value::str(text);
}

/// As Go's `strconv.FormatFloat(number, 'g', -1, 32)`, which is what kubeseal calls: the fewest digits that tell 32-bit floats apart,
/// with an exponent below -4 and from 6 on.
fn float(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "kubeseal cuts it so")]
    let number = number as f32;
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let shortest = format!("{number:e}");
    let Some((digits, exponent)) = shortest.split_once('e') else { return shortest };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (number, text) in [
            (1.0, "1"),
            (1.5, "1.5"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1e5, "100000"),
            (1e6, "1e+06"),
            (123_456_789.0, "1.2345679e+08"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e300, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(float(number), text);
        }
    }
}
