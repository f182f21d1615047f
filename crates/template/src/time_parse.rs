//! Go's `time.Parse`: a moment read by a layout.

use crate::time::{Time, Zone, to_days};
use crate::time_format::{DAYS, Item, MONTHS, OffsetStyle, next};

/// What was read so far.
struct Found {
    year: i64,
    month: Option<u8>,
    day: Option<u8>,
    year_day: Option<u16>,
    hour: u8,
    minute: u8,
    second: u8,
    nanos: u32,
    pm: Option<bool>,
    offset: Option<i32>,
    /// `Z`
    utc: bool,
    zone: Option<String>,
}

/// Reads a moment; without a zone it is in UTC. `None` where the text does not match.
pub(crate) fn parse(layout: &[u8], text: &str) -> Option<Time> {
    let mut found = Found {
        year: 0,
        month: None,
        day: None,
        year_day: None,
        hour: 0,
        minute: 0,
        second: 0,
        nanos: 0,
        pm: None,
        offset: None,
        utc: false,
        zone: None,
    };
    let (mut layout, mut text) = (layout, text);
    loop {
        let (before, item, after) = next(layout);
        text = skip(text, before)?;
        let Some(item) = item else {
            return if text.is_empty() { found.time() } else { None };
        };
        text = found.read(item, text, after)?;
        layout = after;
    }
}

/// Text between elements: a run of spaces stands for any, also none.
fn skip<'a>(mut text: &'a str, mut expected: &[u8]) -> Option<&'a str> {
    while let Some(&byte) = expected.first() {
        if byte == b' ' {
            if !text.is_empty() && !text.starts_with(' ') {
                return None;
            }
            expected = expected.trim_ascii_start_spaces();
            text = text.trim_start_matches(' ');
            continue;
        }
        if text.as_bytes().first() != Some(&byte) {
            return None;
        }
        text = text.get(1..)?;
        expected = &expected[1..];
    }
    Some(text)
}

trait TrimSpaces {
    fn trim_ascii_start_spaces(&self) -> &Self;
}

impl TrimSpaces for [u8] {
    fn trim_ascii_start_spaces(&self) -> &Self {
        let end = self.iter().position(|&byte| byte != b' ').unwrap_or(self.len());
        &self[end..]
    }
}

impl Found {
    fn read<'a>(&mut self, item: Item, text: &'a str, after: &[u8]) -> Option<&'a str> {
        Some(match item {
            Item::LongYear => {
                let (year, rest) = text.split_at_checked(4)?;
                self.year = all_digits(year)?.into();
                rest
            }
            Item::Year => {
                let (year, rest) = text.split_at_checked(2)?;
                let year = i64::from(all_digits(year)?);
                self.year = if year >= 69 { 1900 + year } else { 2000 + year };
                rest
            }
            Item::LongMonth => self.month(text, &MONTHS)?,
            Item::Month => self.month(text, &MONTHS.map(|name| &name[..3]))?,
            Item::NumMonth | Item::ZeroMonth => {
                let (month, rest) = number(text, item == Item::ZeroMonth)?;
                self.month = Some(in_range(month, 1, 12)?);
                rest
            }
            Item::LongWeekDay => lookup(text, &DAYS)?.1,
            Item::WeekDay => lookup(text, &DAYS.map(|name| &name[..3]))?.1,
            Item::Day | Item::UnderDay | Item::ZeroDay => {
                let text = if item == Item::UnderDay { text.strip_prefix(' ').unwrap_or(text) } else { text };
                let (day, rest) = number(text, item == Item::ZeroDay)?;
                self.day = Some(u8::try_from(day).ok()?);
                rest
            }
            Item::UnderYearDay | Item::ZeroYearDay => {
                let text = if item == Item::UnderYearDay { text.trim_start_matches(' ') } else { text };
                let len = text.bytes().take(3).take_while(u8::is_ascii_digit).count();
                if len == 0 || item == Item::ZeroYearDay && len < 3 {
                    return None;
                }
                self.year_day = Some(u16::try_from(all_digits(&text[..len])?).ok()?);
                &text[len..]
            }
            Item::Hour => {
                let (hour, rest) = number(text, false)?;
                self.hour = in_range(hour, 0, 23)?;
                rest
            }
            Item::Hour12 | Item::ZeroHour12 => {
                let (hour, rest) = number(text, item == Item::ZeroHour12)?;
                self.hour = in_range(hour, 0, 12)?;
                rest
            }
            Item::Minute | Item::ZeroMinute => {
                let (minute, rest) = number(text, item == Item::ZeroMinute)?;
                self.minute = in_range(minute, 0, 59)?;
                rest
            }
            Item::Second | Item::ZeroSecond => {
                let (second, rest) = number(text, item == Item::ZeroSecond)?;
                self.second = in_range(second, 0, 59)?;
                // A fraction may follow even where the layout has none.
                let fraction_next = matches!(next(after), (b"", Some(Item::Fraction0(..) | Item::Fraction9(..)), _));
                let has = rest.starts_with(['.', ',']) && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
                if has && !fraction_next { self.fraction(rest, None)? } else { rest }
            }
            Item::Pm | Item::LowerPm => {
                let (half, rest) = text.split_at_checked(2)?;
                self.pm = Some(match (half, item) {
                    ("PM", Item::Pm) | ("pm", Item::LowerPm) => true,
                    ("AM", Item::Pm) | ("am", Item::LowerPm) => false,
                    _ => return None,
                });
                rest
            }
            Item::ZoneName => {
                if let Some(rest) = text.strip_prefix("UTC") {
                    self.utc = true;
                    return Some(rest);
                }
                let len = zone_name(text)?;
                self.zone = Some(text[..len].to_owned());
                &text[len..]
            }
            Item::Offset(style) => self.offset(text, style)?,
            Item::Fraction0(_, count) => self.fraction(text, Some(count))?,
            Item::Fraction9(..) => {
                let has = text.starts_with(['.', ',']) && text.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
                if has { self.fraction(text, None)? } else { text }
            }
        })
    }

    fn month<'a>(&mut self, text: &'a str, names: &[&str]) -> Option<&'a str> {
        let (index, rest) = lookup(text, names)?;
        self.month = Some(u8::try_from(index + 1).ok()?);
        Some(rest)
    }

    /// A point and digits: `count` of them, or as many as there are.
    fn fraction<'a>(&mut self, text: &'a str, count: Option<usize>) -> Option<&'a str> {
        if !text.starts_with(['.', ',']) {
            return None;
        }
        let there = text[1..].bytes().take_while(u8::is_ascii_digit).count();
        let count = count.unwrap_or(there);
        if there < count || count == 0 {
            return None;
        }
        let digits: String = text[1..=count].chars().chain("000000000".chars()).take(9).collect();
        self.nanos = digits.parse().ok()?;
        Some(&text[1 + count..])
    }

    fn offset<'a>(&mut self, text: &'a str, style: OffsetStyle) -> Option<&'a str> {
        if let Some(rest) = text.strip_prefix('Z').filter(|_| style.z) {
            self.utc = true;
            return Some(rest);
        }
        let negative = match text.as_bytes().first()? {
            b'+' => false,
            b'-' => true,
            _ => return None,
        };
        let mut rest = &text[1..];
        let mut total = 0;
        for (unit, wanted, most) in [(3600, true, 24), (60, style.minutes, 60), (1, style.seconds, 60)] {
            if !wanted {
                continue;
            }
            if style.colons && unit != 3600 {
                rest = rest.strip_prefix(':')?;
            }
            let (digits, after) = rest.split_at_checked(2)?;
            let number = all_digits(digits)?;
            total += i32::from(in_range(number, 0, most)?) * unit;
            rest = after;
        }
        self.offset = Some(if negative { -total } else { total });
        Some(rest)
    }

    fn time(&self) -> Option<Time> {
        let hour = match self.pm {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days = if let Some(year_day) = self.year_day {
            if year_day < 1 || year_day > 365 + u16::from(leap) {
                return None;
            }
            let days = to_days(self.year, 1, 1) + i64::from(year_day) - 1;
            let civil = Time::unix(days * 86_400).civil();
            let differs = |given: Option<u8>, is: u8| given.is_some_and(|given| given != is);
            if differs(self.month, civil.month) || differs(self.day, civil.day) {
                return None;
            }
            days
        } else {
            let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
            let last = match month {
                2 => 28 + u8::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            in_range(day.into(), 1, last.into())?;
            to_days(self.year, month, day)
        };
        let seconds = days * 86_400 + i64::from(hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        let zone = match (self.offset, &self.zone) {
            _ if self.utc => Zone::UTC,
            // The local zone is UTC.
            (Some(0), None) => Zone::UTC,
            (Some(offset), name) => Zone::fixed(offset, name.as_deref().unwrap_or_default()),
            (None, Some(name)) if name != "UTC" => {
                // "GMT+3" says what it is; of other names only the name is known. As Go has it, the moment is not moved.
                let hours = name.strip_prefix("GMT").and_then(|hours| hours.parse::<i32>().ok()).unwrap_or(0);
                return Some(Time { seconds, nanos: self.nanos, zone: Zone::fixed(hours * 3600, name) });
            }
            (None, _) => Zone::UTC,
        };
        Some(Time { seconds: seconds - i64::from(zone.offset), nanos: self.nanos, zone })
    }
}

/// Three or four capital letters, a known longer name, `GMT` with hours, or `+03`.
fn zone_name(text: &str) -> Option<usize> {
    let signed = |text: &str| {
        let digits = text[1..].bytes().take_while(u8::is_ascii_digit).count();
        let hours = text.get(1..1 + digits)?.parse::<u8>().ok()?;
        (hours < 24).then_some(1 + digits)
    };
    if text.starts_with("ChST") || text.starts_with("MeST") {
        return Some(4);
    }
    if let Some(rest) = text.strip_prefix("GMT") {
        return Some(if rest.starts_with(['+', '-']) { 3 + signed(rest).unwrap_or(0) } else { 3 });
    }
    if text.starts_with(['+', '-']) {
        return signed(text);
    }
    let len = text.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
    match len {
        5 if text.as_bytes()[4] == b'T' => Some(5),
        4 if text.as_bytes()[3] == b'T' || text.starts_with("WITA") => Some(4),
        3 => Some(3),
        _ => None,
    }
}

fn lookup<'a>(text: &'a str, names: &[&str]) -> Option<(usize, &'a str)> {
    names.iter().enumerate().find_map(|(index, name)| {
        let start = text.get(..name.len())?;
        start.eq_ignore_ascii_case(name).then(|| (index, &text[name.len()..]))
    })
}

/// One or two digits; exactly two if `fixed`.
fn number(text: &str, fixed: bool) -> Option<(u32, &str)> {
    let bytes = text.as_bytes();
    if !bytes.first()?.is_ascii_digit() {
        return None;
    }
    let two = bytes.get(1).is_some_and(u8::is_ascii_digit);
    if fixed && !two {
        return None;
    }
    let (digits, rest) = text.split_at(if two { 2 } else { 1 });
    Some((digits.parse().ok()?, rest))
}

fn all_digits(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn in_range(number: u32, least: u32, most: u32) -> Option<u8> {
    u8::try_from(number).ok().filter(|_| (least..=most).contains(&number))
}
