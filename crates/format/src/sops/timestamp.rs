//! Time stamps as Go reads and prints them: RFC 3339.
//!
//! sops parses them and prints them again before it uses them (`lastmodified` is the MAC's associated data), so `+00:00` becomes
//! `Z` and zeros at the end of a fraction go. Other offsets stay.
//!
//! Source: Go's `time` package, `format_rfc3339.go`.

/// As Go's `time.RFC3339Nano` prints it. `None` if it is no time stamp.
pub(super) fn normalized(text: &str) -> Option<String> {
    let parts = Parts::parse(text)?;
    let fraction = parts.fraction.get(..9).unwrap_or(parts.fraction).trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!("{}{dot}{fraction}{}", parts.date_time, parts.zone))
}

/// As Go's `time.RFC3339` prints it: without a fraction. `None` if it is no time stamp.
pub(super) fn to_the_second(text: &str) -> Option<String> {
    let parts = Parts::parse(text)?;
    Some(format!("{}{}", parts.date_time, parts.zone))
}

struct Parts<'a> {
    date_time: &'a str,
    fraction: &'a str,
    zone: &'a str,
}

impl<'a> Parts<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        const LEN: usize = "2006-01-02T15:04:05".len();
        let date_time = text.get(..LEN)?;
        let shape = date_time.bytes().zip("0000-00-00T00:00:00".bytes());
        if !shape.into_iter().all(|(byte, want)| if want == b'0' { byte.is_ascii_digit() } else { byte == want }) {
            return None;
        }
        let number = |range: std::ops::Range<usize>| date_time.get(range)?.parse::<u32>().ok();
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        if !(1..=12).contains(&month) || day < 1 || day > days(year, month) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }

        let mut rest = &text[LEN..];
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            let len = after.bytes().take_while(u8::is_ascii_digit).count();
            if len == 0 {
                return None;
            }
            (fraction, rest) = after.split_at(len);
        }
        let zone = match rest {
            "Z" | "+00:00" | "-00:00" => "Z",
            offset if is_offset(offset) => offset,
            _ => return None,
        };
        Some(Self { date_time, fraction, zone })
    }
}

/// `+07:00`, at most 23:59.
fn is_offset(text: &str) -> bool {
    let bytes = text.as_bytes();
    let two = |at: usize| text.get(at..at + 2).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse::<u8>().ok();
    bytes.len() == 6
        && matches!(bytes[0], b'+' | b'-')
        && bytes[3] == b':'
        && two(1).is_some_and(|hour| hour < 24)
        && two(4).is_some_and(|minute| minute < 60)
}

fn days(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The right side is what Go 1.25 prints: time.Parse(time.RFC3339, left).Format(time.RFC3339Nano).
    #[test]
    fn time_stamps_print_as_go_prints_them() {
        for (text, printed) in [
            ("2006-01-02T15:04:05Z", "2006-01-02T15:04:05Z"),
            ("2006-01-02T15:04:05+00:00", "2006-01-02T15:04:05Z"),
            ("2006-01-02T15:04:05.120Z", "2006-01-02T15:04:05.12Z"),
            ("2006-01-02T15:04:05.000+07:00", "2006-01-02T15:04:05+07:00"),
            ("2006-01-02T15:04:05.1234567891Z", "2006-01-02T15:04:05.123456789Z"),
            ("2024-02-29T00:00:00-08:30", "2024-02-29T00:00:00-08:30"),
        ] {
            assert_eq!(normalized(text).as_deref(), Some(printed));
        }
        assert_eq!(to_the_second("2006-01-02T15:04:05.5+00:00").as_deref(), Some("2006-01-02T15:04:05Z"));
    }

    #[test]
    fn what_is_no_time_stamp_is_refused() {
        for text in [
            "",
            "2006-01-02",
            "2006-01-02 15:04:05Z",
            "2006-01-02t15:04:05z",
            "2006-13-02T15:04:05Z",
            "2023-02-29T15:04:05Z",
            "2006-01-02T24:04:05Z",
            "2006-01-02T15:04:60Z",
            "2006-01-02T15:04:05",
            "2006-01-02T15:04:05.Z",
            "2006-01-02T15:04:05+0700",
            "2006-01-02T15:04:05+24:00",
            "2006-01-02T15:04:05é:00",
            "é006-01-02T15:04:05Z",
        ] {
            assert_eq!(normalized(text), None, "{text}");
        }
    }
}
