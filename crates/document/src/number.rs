//! Floating-point numbers as Go prints them, which is what sops' texts and MACs are made of.

/// As Go's `encoding/json` writes it: shortest digits, an exponent below 1e-6 and from 1e21 on. `None` if it is no
/// number or infinite, which JSON cannot say.
pub(crate) fn go_json(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        // Rust writes 1e21 and 1e-7 where Go writes 1e+21 and 1e-7.
        let text = format!("{value:e}");
        return Some(if text.contains("e-") { text } else { text.replace('e', "e+") });
    }
    Some(value.to_string())
}

/// As sops writes it where there are no types (dotenv, INI): Go's `%G` with the shortest digits, and `2.0` for a whole
/// number, so that it is not taken for an integer.
pub(crate) fn go_typeless(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = format!("{value:E}");
    let Some((digits, exponent)) = scientific.split_once('E') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) && value != 0.0 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}E{sign}{:02}", exponent.unsigned_abs());
    }
    format!("{value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (value, json, typeless) in [
            (1.5, "1.5", "1.5"),
            (2.0, "2", "2.0"),
            (-0.0, "-0", "-0.0"),
            (1e20, "100000000000000000000", "1E+20"),
            (1e21, "1e+21", "1E+21"),
            (-1.25e30, "-1.25e+30", "-1.25E+30"),
            (0.000_001, "0.000001", "1E-06"),
            (1.5e-7, "1.5e-7", "1.5E-07"),
            (0.000_1, "0.0001", "0.0001"),
            (100_000.0, "100000", "100000.0"),
            (1_234_567.5, "1234567.5", "1.2345675E+06"),
        ] {
            assert_eq!(go_json(value).as_deref(), Some(json));
            assert_eq!(go_typeless(value), typeless);
        }
        assert_eq!(go_json(f64::NAN), None);
        assert_eq!(go_json(f64::INFINITY), None);
        assert_eq!(
            [go_typeless(f64::NAN), go_typeless(f64::INFINITY), go_typeless(f64::NEG_INFINITY)],
            ["NaN", "+Inf", "-Inf"]
        );
    }
}
