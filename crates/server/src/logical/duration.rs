//! Lengths of time as the peer reads and writes them.

/// Reads seconds (`60`), whole days (`2d`) or a duration of Go's (`1h30m`, `250ms`). Fractions of a second are dropped.
///
/// # Errors
/// The text for the client, as the peer has it.
pub fn parse_seconds(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return check(seconds);
    }
    if let Some(days) = text.strip_suffix('d') {
        let days: i64 = days.parse().map_err(|_| format!("strconv.ParseInt: parsing {days:?}: invalid syntax"))?;
        return check(days.checked_mul(86_400).unwrap_or(i64::MAX));
    }
    let bad = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest.is_empty() {
        return Err(bad());
    }
    let mut nanoseconds: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, tail) = rest.split_at(digits);
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => tail.split_at(tail.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", tail),
        };
        if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.len() > 18 {
            return Err(bad());
        }
        let letters = tail.bytes().take_while(|byte| !byte.is_ascii_digit() && *byte != b'.').count();
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(bad)?;
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        nanoseconds += whole.parse::<i128>().unwrap_or(0) * unit;
        if !fraction.is_empty() {
            let scale = 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(18));
            nanoseconds += fraction.parse::<i128>().unwrap_or(0) * unit / scale;
        }
        rest = tail;
    }
    // As much as Go's type holds.
    let seconds = i64::try_from(nanoseconds).map_err(|_| bad())? / 1_000_000_000;
    Ok(if negative { -seconds } else { seconds })
}

/// Seconds of which the nanoseconds can still be counted.
fn check(seconds: i64) -> Result<i64, String> {
    if seconds.checked_mul(1_000_000_000).is_some() {
        Ok(seconds)
    } else {
        Err("multiplication of durations resulted in overflow, one operand may be too large".to_owned())
    }
}

/// Writes seconds as Go prints a duration: `1h0m0s`, `0s`.
pub fn format_go(seconds: i64) -> String {
    let (sign, seconds) = if seconds < 0 { ("-", seconds.unsigned_abs()) } else { ("", seconds.unsigned_abs()) };
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{rest}s"),
        (0, _) => format!("{sign}{minutes}m{rest}s"),
        _ => format!("{sign}{hours}h{minutes}m{rest}s"),
    }
}
