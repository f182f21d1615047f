//! Floats as Go's `strconv.FormatFloat` writes them.

use std::fmt::Write as _;

/// A float by a verb of `fmt`: `e E f g G b x X`; without a precision the shortest that reads back the same.
pub(crate) fn format(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let magnitude = value.abs();
    let text = match verb {
        'b' => binary(magnitude),
        'x' | 'X' => hex(magnitude, precision),
        'f' => match precision {
            Some(precision) => format!("{magnitude:.precision$}"),
            None => format!("{magnitude}"),
        },
        'e' | 'E' => exponent(&match precision {
            Some(precision) => format!("{magnitude:.precision$e}"),
            None => format!("{magnitude:e}"),
        }),
        _ => general(magnitude, precision),
    };
    let text = if verb.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text };
    format!("{sign}{text}")
}

/// Rust's `1.5e7` as Go's `1.5e+07`.
fn exponent(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// `%g`: like `%e` for very small and large exponents, else like `%f`, in either case without trailing zeros.
fn general(magnitude: f64, precision: Option<usize>) -> String {
    let digits = match precision {
        Some(precision) => format!("{magnitude:.*e}", precision.max(1) - 1),
        None => format!("{magnitude:e}"),
    };
    let (mantissa, power) = digits.split_once('e').unwrap_or((&digits, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let mut digits: String = mantissa.chars().filter(|&c| c != '.').collect();
    if precision.is_some() {
        let kept = digits.trim_end_matches('0').len().max(1);
        digits.truncate(kept);
    }
    let point = if magnitude == 0.0 { 1 } else { power + 1 };
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let mut limit = precision.map_or(6, |precision| i32::try_from(precision.max(1)).unwrap_or(i32::MAX));
    if precision.is_some() && limit > count && count >= point {
        limit = count;
    }
    let power = point - 1;
    if power < -4 || power >= limit {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        return exponent(&format!("{first}{dot}{rest}e{power}"));
    }
    let mut out = String::new();
    if point <= 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', usize::try_from(-point).unwrap_or(0)));
        out.push_str(&digits);
        if digits.chars().all(|c| c == '0') {
            "0".clone_into(&mut out);
        }
        return out;
    }
    let whole = usize::try_from(point).unwrap_or(0);
    if digits.len() <= whole {
        out.push_str(&digits);
        out.extend(std::iter::repeat_n('0', whole - digits.len()));
    } else {
        let _ = write!(out, "{}.{}", &digits[..whole], &digits[whole..]);
    }
    out
}

fn parts(magnitude: f64) -> (u64, i32) {
    let bits = magnitude.to_bits();
    let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0);
    let mantissa = bits & ((1 << 52) - 1);
    if exponent == 0 { (mantissa, -1074) } else { (mantissa | (1 << 52), exponent - 1075) }
}

fn binary(magnitude: f64) -> String {
    let (mantissa, exponent) = parts(magnitude);
    format!("{mantissa}p{exponent:+}")
}

/// `0x1.8p+01`
fn hex(magnitude: f64, precision: Option<usize>) -> String {
    if magnitude == 0.0 {
        let zeros = "0".repeat(precision.unwrap_or(0));
        let dot = if zeros.is_empty() { "" } else { "." };
        return format!("0x0{dot}{zeros}p+00");
    }
    let (mut mantissa, mut exponent) = parts(magnitude);
    // The leading one at bit 60: 15 digits after the point.
    let shift = mantissa.leading_zeros() - 3;
    mantissa <<= shift;
    exponent += 60 - i32::try_from(shift).unwrap_or(0);
    if let Some(precision) = precision.filter(|&precision| precision < 15) {
        let drop = 60 - precision * 4;
        let rest = mantissa & ((1 << drop) - 1);
        mantissa >>= drop;
        let half = 1u64 << (drop - 1);
        if rest > half || rest == half && mantissa & 1 == 1 {
            mantissa += 1;
        }
        mantissa <<= drop;
        if mantissa >> 61 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let digits = format!("{:015x}", mantissa & ((1 << 60) - 1));
    let digits = match precision {
        Some(precision) => format!("{digits:0<precision$}")[..precision].to_owned(),
        None => digits.trim_end_matches('0').to_owned(),
    };
    let dot = if digits.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x1{dot}{digits}p{sign}{:02}", exponent.abs())
}
