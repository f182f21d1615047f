//! Go's `time.Duration`: nanoseconds in 64 bits, written `1h2m3.5s`.

/// A second, in nanoseconds.
pub(crate) const SECOND: i64 = 1_000_000_000;
/// A minute, in nanoseconds.
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// An hour, in nanoseconds.
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// Go's `Duration.String`.
pub(crate) fn format(duration: i64) -> String {
    let sign = if duration < 0 { "-" } else { "" };
    let magnitude = duration.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let rest = format!("{:0digits$}", value % unit);
        let rest = rest.trim_end_matches('0');
        let dot = if rest.is_empty() || unit == 1 { "" } else { "." };
        let rest = if unit == 1 { "" } else { rest };
        format!("{}{dot}{rest}", value / unit)
    };
    let text = match magnitude {
        0 => return "0s".to_owned(),
        1..1_000 => format!("{magnitude}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(magnitude, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(magnitude, 1_000_000)),
        _ => {
            let seconds = magnitude / SECOND.unsigned_abs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = fraction(magnitude % MINUTE.unsigned_abs(), SECOND.unsigned_abs());
            match (hours, minutes) {
                (0, 0) => format!("{rest}s"),
                (0, minutes) => format!("{minutes}m{rest}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
            }
        }
    };
    format!("{sign}{text}")
}

/// Go's `time.ParseDuration`.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let mut number = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok().filter(|&n| n <= 1 << 63)? };
        let mut fraction = "";
        rest = after;
        if let Some(after) = rest.strip_prefix('.') {
            (fraction, rest) = digits(after);
        }
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let unit: u64 = match &rest[..end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND.unsigned_abs(),
            "m" => MINUTE.unsigned_abs(),
            "h" => HOUR.unsigned_abs(),
            _ => return None,
        };
        rest = &rest[end..];
        number = number.checked_mul(unit).filter(|&n| n <= 1 << 63)?;
        number = number.checked_add(of_unit(fraction, unit)).filter(|&n| n <= 1 << 63)?;
        total = total.checked_add(number).filter(|&n| n <= 1 << 63)?;
    }
    if negative { 0i64.checked_sub_unsigned(total) } else { i64::try_from(total).ok() }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The digits after a point, as a part of a unit.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "as Go does it"
)]
fn of_unit(fraction: &str, unit: u64) -> u64 {
    let digits = &fraction[..fraction.len().min(18)];
    let Ok(number) = digits.parse::<u64>() else { return 0 };
    (number as f64 * (unit as f64 / 10f64.powi(digits.len() as i32))) as u64
}

/// Rounded to seconds, halves away from zero.
pub(crate) fn round_to_seconds(duration: i64) -> i64 {
    let rest = duration % SECOND;
    let floor = duration - rest;
    if rest.abs() * 2 < SECOND { floor } else { floor.saturating_add(rest.signum() * SECOND) }
}
