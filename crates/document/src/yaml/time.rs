//! Time stamps, as yaml.v3 reads them with Go's `time.Parse`, in the form that `time.RFC3339Nano` prints.
//!
//! ```text
//! stamp ::= date (('T' | 't') clock zone | ' '+ clock)?
//! date  ::= YYYY '-' M '-' D                      month and day of one or two digits
//! clock ::= h ':' m ':' s (('.' | ',') digit+)?   each of one or two digits
//! zone  ::= 'Z' | ('+' | '-') hh ':' mm
//! ```

use std::fmt::Write;

/// The time stamp that the text is, or `None`. Without a zone it is UTC, without a clock midnight.
pub(super) fn parse(text: &str) -> Option<String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits != 4 {
        return None;
    }
    let mut rest = &text.as_bytes()[4..];
    let year: u32 = text[..4].parse().ok()?;
    literal(&mut rest, b'-')?;
    let month = number(&mut rest)?;
    literal(&mut rest, b'-')?;
    let day = number(&mut rest)?;
    if !(1..=12).contains(&month) || !(1..=days(year, month)).contains(&day) {
        return None;
    }
    let mut stamp = format!("{year:04}-{month:02}-{day:02}T");
    match rest.first() {
        None => {
            stamp.push_str("00:00:00Z");
            Some(stamp)
        }
        Some(b'T' | b't') => {
            rest = &rest[1..];
            clock(&mut rest, &mut stamp)?;
            zone(rest, &mut stamp)?;
            Some(stamp)
        }
        Some(b' ') => {
            let spaces = rest.iter().take_while(|&&byte| byte == b' ').count();
            rest = &rest[spaces..];
            clock(&mut rest, &mut stamp)?;
            stamp.push('Z');
            rest.is_empty().then_some(stamp)
        }
        Some(_) => None,
    }
}

fn clock(rest: &mut &[u8], stamp: &mut String) -> Option<()> {
    let hour = number(rest)?;
    literal(rest, b':')?;
    let minute = number(rest)?;
    literal(rest, b':')?;
    let second = number(rest)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    write!(stamp, "{hour:02}:{minute:02}:{second:02}").ok()?;
    if let [b'.' | b',', b'0'..=b'9', ..] = rest {
        let digits = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        // More than nanoseconds are cut off, and zeros at the end are not printed.
        let fraction = std::str::from_utf8(&rest[1..=digits.min(9)]).ok()?.trim_end_matches('0');
        if !fraction.is_empty() {
            write!(stamp, ".{fraction}").ok()?;
        }
        *rest = &rest[1 + digits..];
    }
    Some(())
}

fn zone(rest: &[u8], stamp: &mut String) -> Option<()> {
    match rest {
        b"Z" => stamp.push('Z'),
        &[sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let two = |tens: u8, ones: u8| {
                let digit = |byte: u8| char::from(byte).to_digit(10);
                Some(digit(tens)? * 10 + digit(ones)?)
            };
            let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
            // Go takes +24:00 and +00:60.
            if hours > 24 || minutes > 60 {
                return None;
            }
            match hours * 60 + minutes {
                0 => stamp.push('Z'),
                offset => {
                    write!(stamp, "{}{:02}:{:02}", char::from(sign), offset / 60, offset % 60).ok()?;
                }
            }
        }
        _ => return None,
    }
    Some(())
}

fn literal(rest: &mut &[u8], byte: u8) -> Option<()> {
    *rest = rest.strip_prefix(&[byte])?;
    Some(())
}

/// One digit, or two.
fn number(rest: &mut &[u8]) -> Option<u32> {
    let digit = |place: usize| rest.get(place).filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let first = digit(0)?;
    let (value, length) = digit(1).map_or((first, 1), |second| (first * 10 + second, 2));
    *rest = &rest[length..];
    Some(value)
}

const fn days(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}
