//! Values as Go's `%v` and `%q` print them, times and durations as people read them.

use bulla_core::json::Value;

/// `%v`: `map[a:b]`, `[a b]`, `<nil>`.
pub(crate) fn value(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(digits) => out.push_str(digits),
        Value::String(text) => out.push_str(text),
        Value::Array(values) => {
            out.push('[');
            for (number, value) in values.iter().enumerate() {
                if number > 0 {
                    out.push(' ');
                }
                write(value, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push_str("map[");
            for (number, (key, value)) in object.iter().enumerate() {
                if number > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write(value, out);
            }
            out.push(']');
        }
        Value::Null | Value::Raw(_) => out.push_str("<nil>"),
    }
}

/// `%q` of a list of texts: `["a" "b"]`.
pub(crate) fn quoted(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

/// Seconds: `768h`, `1h30m`, `59s`.
pub(crate) fn seconds(seconds: i64) -> String {
    if seconds == 0 {
        return "0s".to_owned();
    }
    let (sign, seconds) = (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs());
    let parts = [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let parts: String =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect();
    format!("{sign}{parts}")
}

/// Seconds as Go prints a duration: `1h0m0s`.
pub(crate) fn go_duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

/// The value of a field of this name: whole numbers that are times are printed as such.
pub(crate) fn field(name: &str, field: &Value) -> String {
    if let Value::Number(digits) = field
        && is_time(name)
        && let Ok(number) = digits.parse()
    {
        return seconds(number);
    }
    value(field)
}

fn is_time(name: &str) -> bool {
    ["period", "duration", "ttl"]
        .iter()
        .any(|end| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')))
        || matches!(name, "lease_max" | "ttl_max")
}

/// A time of the server as Go prints one: `2026-11-26 06:11:00.6 +0000 UTC`.
pub(crate) fn time(text: &str) -> String {
    match text.strip_suffix('Z').and_then(|text| text.split_once('T')) {
        Some((date, time)) => format!("{date} {time} +0000 UTC"),
        None => text.to_owned(),
    }
}

/// A time of the server as RFC 822 has it: `26 Nov 26 06:11 UTC`.
pub(crate) fn rfc822(text: &str) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts = || {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let month = MONTHS.get(date.get(5..7)?.parse::<usize>().ok()?.checked_sub(1)?)?;
        Some(format!("{} {month} {} {} UTC", date.get(8..10)?, date.get(2..4)?, time.get(..5)?))
    };
    parts().unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_the_peer_prints_them() {
        for (number, text) in
            [(0, "0s"), (60, "1m"), (3600, "1h"), (3605, "1h5s"), (2_764_799, "767h59m59s"), (90, "1m30s")]
        {
            assert_eq!(seconds(number), text);
        }
        assert_eq!(go_duration(3600), "1h0m0s");
        assert_eq!(go_duration(60), "1m0s");
        assert_eq!(rfc822("2026-11-26T06:11:09.76Z"), "26 Nov 26 06:11 UTC");
        assert_eq!(time("2026-11-26T06:11:00.6Z"), "2026-11-26 06:11:00.6 +0000 UTC");
        assert_eq!(field("token_ttl", &Value::from(3600)), "1h");
        assert_eq!(field("battl", &Value::from(3600)), "3600");
        assert_eq!(value(&Value::from(vec!["a", "b"])), "[a b]");
    }
}
