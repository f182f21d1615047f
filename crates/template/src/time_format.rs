//! Go's layouts: a moment written as the example `Mon Jan 2 15:04:05 MST 2006` is written.
//!
//! Source: <https://pkg.go.dev/time#pkg-constants>.

use std::fmt::Write as _;

use crate::text::Buf;
use crate::time::Time;

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(crate) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// An element of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekDay,
    WeekDay,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    Pm,
    LowerPm,
    /// `MST`
    ZoneName,
    /// An offset, `-07:00` and its like.
    Offset(OffsetStyle),
    /// `.000` or `,000`: as many digits.
    Fraction0(u8, usize),
    /// `.999`: without trailing zeros.
    Fraction9(u8, usize),
}

/// How an offset from UTC is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each says whether one part is written")]
pub(crate) struct OffsetStyle {
    /// `Z` for UTC itself.
    pub z: bool,
    pub colons: bool,
    pub minutes: bool,
    pub seconds: bool,
}

/// What stands before the next element, the element, and what comes after it.
pub(crate) fn next(layout: &[u8]) -> (&[u8], Option<Item>, &[u8]) {
    for at in 0..layout.len() {
        if let Some((skip, item, len)) = item_at(layout, at) {
            return (&layout[..at + skip], Some(item), &layout[at + skip + len..]);
        }
    }
    (layout, None, &[])
}

/// The element at a place: how far in it starts, and its length.
fn item_at(layout: &[u8], at: usize) -> Option<(usize, Item, usize)> {
    let rest = &layout[at..];
    let is = |text: &[u8]| rest.starts_with(text);
    let lower_follows = |len: usize| rest.get(len).is_some_and(u8::is_ascii_lowercase);
    let found = |item: Item, len: usize| Some((0, item, len));
    match rest[0] {
        b'J' if is(b"January") => found(Item::LongMonth, 7),
        b'J' if is(b"Jan") && !lower_follows(3) => found(Item::Month, 3),
        b'M' if is(b"Monday") => found(Item::LongWeekDay, 6),
        b'M' if is(b"Mon") && !lower_follows(3) => found(Item::WeekDay, 3),
        b'M' if is(b"MST") => found(Item::ZoneName, 3),
        b'0' => match rest.get(1) {
            Some(b'0') if rest.get(2) == Some(&b'2') => found(Item::ZeroYearDay, 3),
            Some(b'1') => found(Item::ZeroMonth, 2),
            Some(b'2') => found(Item::ZeroDay, 2),
            Some(b'3') => found(Item::ZeroHour12, 2),
            Some(b'4') => found(Item::ZeroMinute, 2),
            Some(b'5') => found(Item::ZeroSecond, 2),
            Some(b'6') => found(Item::Year, 2),
            _ => None,
        },
        b'1' if is(b"15") => found(Item::Hour, 2),
        b'1' => found(Item::NumMonth, 1),
        b'2' if is(b"2006") => found(Item::LongYear, 4),
        b'2' => found(Item::Day, 1),
        // `_2006` is an underscore before a year.
        b'_' if is(b"_2006") => Some((1, Item::LongYear, 4)),
        b'_' if is(b"__2") => found(Item::UnderYearDay, 3),
        b'_' if is(b"_2") => found(Item::UnderDay, 2),
        b'3' => found(Item::Hour12, 1),
        b'4' => found(Item::Minute, 1),
        b'5' => found(Item::Second, 1),
        b'P' if is(b"PM") => found(Item::Pm, 2),
        b'p' if is(b"pm") => found(Item::LowerPm, 2),
        b'-' | b'Z' => offset(rest),
        b'.' | b',' => fraction(rest),
        _ => None,
    }
}

fn offset(rest: &[u8]) -> Option<(usize, Item, usize)> {
    let z = rest[0] == b'Z';
    let styles: [(&[u8], bool, bool, bool); 5] = [
        (b"070000", false, true, true),
        (b"07:00:00", true, true, true),
        (b"0700", false, true, false),
        (b"07:00", true, true, false),
        (b"07", false, false, false),
    ];
    let (text, colons, minutes, seconds) = styles.into_iter().find(|(text, ..)| rest[1..].starts_with(text))?;
    Some((0, Item::Offset(OffsetStyle { z, colons, minutes, seconds }), text.len() + 1))
}

fn fraction(rest: &[u8]) -> Option<(usize, Item, usize)> {
    let digit = *rest.get(1).filter(|&&byte| byte == b'0' || byte == b'9')?;
    let count = rest[1..].iter().take_while(|&&byte| byte == digit).count();
    if rest.get(1 + count).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let item = if digit == b'0' { Item::Fraction0(rest[0], count) } else { Item::Fraction9(rest[0], count) };
    Some((0, item, 1 + count))
}

/// A moment by a layout that is text.
pub(crate) fn format(time: Time, layout: &str) -> String {
    let mut out = Buf::new(usize::MAX);
    write_layout(time, layout.as_bytes(), &mut out);
    String::from_utf8_lossy(out.bytes()).into_owned()
}

/// Appends a moment by a layout of any bytes.
pub(crate) fn write_layout(time: Time, layout: &[u8], out: &mut Buf) {
    let civil = time.civil();
    let mut rest = layout;
    while !rest.is_empty() {
        let (before, item, after) = next(rest);
        out.push(before);
        rest = after;
        let Some(item) = item else { break };
        let month = MONTHS[usize::from(civil.month - 1).min(11)];
        let weekday = DAYS[usize::from(civil.weekday).min(6)];
        let hour12 = if civil.hour.is_multiple_of(12) { 12 } else { civil.hour % 12 };
        let _ = match item {
            Item::LongMonth => write!(out, "{month}"),
            Item::Month => write!(out, "{}", &month[..3]),
            Item::NumMonth => write!(out, "{}", civil.month),
            Item::ZeroMonth => write!(out, "{:02}", civil.month),
            Item::LongWeekDay => write!(out, "{weekday}"),
            Item::WeekDay => write!(out, "{}", &weekday[..3]),
            Item::Day => write!(out, "{}", civil.day),
            Item::UnderDay => write!(out, "{:2}", civil.day),
            Item::ZeroDay => write!(out, "{:02}", civil.day),
            Item::UnderYearDay => write!(out, "{:3}", civil.year_day),
            Item::ZeroYearDay => write!(out, "{:03}", civil.year_day),
            Item::Hour => write!(out, "{:02}", civil.hour),
            Item::Hour12 => write!(out, "{hour12}"),
            Item::ZeroHour12 => write!(out, "{hour12:02}"),
            Item::Minute => write!(out, "{}", civil.minute),
            Item::ZeroMinute => write!(out, "{:02}", civil.minute),
            Item::Second => write!(out, "{}", civil.second),
            Item::ZeroSecond => write!(out, "{:02}", civil.second),
            Item::LongYear => write_year(out, civil.year),
            Item::Year => write!(out, "{:02}", civil.year.max(0) % 100),
            Item::Pm => write!(out, "{}", if civil.hour >= 12 { "PM" } else { "AM" }),
            Item::LowerPm => write!(out, "{}", if civil.hour >= 12 { "pm" } else { "am" }),
            Item::ZoneName => write_zone(out, time),
            Item::Offset(style) => write_offset(out, time.zone.offset, style),
            Item::Fraction0(point, count) => write_fraction(out, time.nanos, point, count, false),
            Item::Fraction9(point, count) => write_fraction(out, time.nanos, point, count, true),
        };
    }
}

fn write_year(out: &mut Buf, year: i64) -> std::fmt::Result {
    let sign = if year < 0 { "-" } else { "" };
    write!(out, "{sign}{:04}", year.abs())
}

/// A zone without a name is shown by its offset.
fn write_zone(out: &mut Buf, time: Time) -> std::fmt::Result {
    if !time.zone.name().is_empty() {
        return out.write_str(time.zone.name());
    }
    let minutes = time.zone.offset / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.abs();
    write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
}

fn write_offset(out: &mut Buf, offset: i32, style: OffsetStyle) -> std::fmt::Result {
    if style.z && offset == 0 {
        return out.write_str("Z");
    }
    let sign = if offset / 60 < 0 { '-' } else { '+' };
    let (minutes, colon) = ((offset / 60).abs(), if style.colons { ":" } else { "" });
    write!(out, "{sign}{:02}", minutes / 60)?;
    if style.minutes {
        write!(out, "{colon}{:02}", minutes % 60)?;
    }
    if style.seconds {
        write!(out, "{colon}{:02}", offset.abs() % 60)?;
    }
    Ok(())
}

fn write_fraction(out: &mut Buf, nanos: u32, point: u8, count: usize, trim: bool) -> std::fmt::Result {
    let digits = format!("{nanos:09}");
    let mut digits = digits[..count.min(9)].to_owned();
    if trim {
        digits.truncate(digits.trim_end_matches('0').len());
        if digits.is_empty() {
            return Ok(());
        }
    } else {
        digits.extend(std::iter::repeat_n('0', count.min(100).saturating_sub(9)));
    }
    write!(out, "{}{digits}", char::from(point))
}
