//! Go's `time.Time`: a moment, with the zone in which it is shown.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::time_format;

/// A moment and how far its zone is from UTC.
#[derive(Clone, Copy)]
pub struct Time {
    /// Seconds since 1970 in UTC.
    pub(crate) seconds: i64,
    /// Nanoseconds within the second.
    pub(crate) nanos: u32,
    pub(crate) zone: Zone,
}

/// A zone at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Zone {
    /// Seconds east of UTC.
    pub offset: i32,
    name: [u8; 8],
}

/// The day and the time of day.
#[derive(Clone, Copy)]
pub(crate) struct Civil {
    pub year: i64,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    /// 0 is Sunday.
    pub weekday: u8,
    /// From 1.
    pub year_day: u16,
}

const DAY: i64 = 86_400;

impl Time {
    /// Now, in UTC.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: since.as_secs().cast_signed(), nanos: since.subsec_nanos(), zone: Zone::UTC }
    }

    /// Seconds since 1970, in UTC.
    pub(crate) fn unix(seconds: i64) -> Self {
        Self { seconds, nanos: 0, zone: Zone::UTC }
    }

    /// The same moment in a zone by its name; `None` where there is no such zone.
    pub(crate) fn in_zone(self, name: &str) -> Option<Self> {
        if matches!(name, "" | "UTC" | "Local") {
            return Some(Self { zone: Zone::UTC, ..self });
        }
        let zone = zone_by_name(name)?;
        Some(Self { zone: Zone::at(&zone, self.seconds), ..self })
    }

    /// Adds nanoseconds.
    pub(crate) fn add(self, nanos: i64) -> Self {
        let sum = i64::from(self.nanos) + nanos.rem_euclid(1_000_000_000);
        let seconds = self.seconds.saturating_add(nanos.div_euclid(1_000_000_000)).saturating_add(sum / 1_000_000_000);
        Self { seconds, nanos: u32::try_from(sum % 1_000_000_000).unwrap_or(0), ..self }
    }

    /// The nanoseconds since another moment; the longest there are, where they do not fit.
    pub(crate) fn since(self, earlier: Self) -> i64 {
        let seconds = i128::from(self.seconds) - i128::from(earlier.seconds);
        let nanos = seconds * 1_000_000_000 + i128::from(self.nanos) - i128::from(earlier.nanos);
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether it is Go's zero: the year 1.
    pub(crate) fn is_zero(self) -> bool {
        self.seconds == Self::default().seconds && self.nanos == 0
    }

    pub(crate) fn civil(self) -> Civil {
        let local = self.seconds.saturating_add(i64::from(self.zone.offset));
        let (days, of_day) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = from_days(days);
        let small = |value: i64| u8::try_from(value).unwrap_or(0);
        Civil {
            year,
            month,
            day,
            hour: small(of_day / 3600),
            minute: small(of_day / 60 % 60),
            second: small(of_day % 60),
            weekday: small((days + 4).rem_euclid(7)),
            year_day: u16::try_from(days - to_days(year, 1, 1) + 1).unwrap_or(0),
        }
    }

    /// As JSON has it.
    pub(crate) fn rfc3339(self) -> String {
        time_format::format(self, "2006-01-02T15:04:05.999999999Z07:00")
    }
}

impl Zone {
    pub(crate) const UTC: Self = Self { offset: 0, name: *b"UTC\0\0\0\0\0" };

    /// A zone of this offset; without a name it is shown by its offset.
    pub(crate) fn fixed(offset: i32, name: &str) -> Self {
        let mut bytes = [0; 8];
        for (slot, byte) in bytes.iter_mut().zip(name.bytes()) {
            *slot = byte;
        }
        Self { offset, name: bytes }
    }

    fn at(zone: &TimeZone, seconds: i64) -> Self {
        let Ok(moment) = Timestamp::from_second(seconds) else { return Self::UTC };
        let info = zone.to_offset_info(moment);
        Self::fixed(info.offset().seconds(), info.abbreviation())
    }

    pub(crate) fn name(&self) -> &str {
        let end = self.name.iter().position(|&byte| byte == 0).unwrap_or(self.name.len());
        std::str::from_utf8(&self.name[..end]).unwrap_or_default()
    }
}

/// A zone of the database that is part of the program.
fn zone_by_name(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// Year, month and day to days since 1970-01-01.
pub(crate) fn to_days(year: i64, month: u8, day: u8) -> i64 {
    // Years start in March, so that the leap day is their last.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let month = (i64::from(month) + 9) % 12;
    let of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Days since 1970-01-01 to year, month and day.
fn from_days(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u8::try_from(month).unwrap_or(1), u8::try_from(day).unwrap_or(1))
}

/// Go's zero: the first moment of the year 1.
impl Default for Time {
    fn default() -> Self {
        Self { seconds: to_days(1, 1, 1) * DAY, nanos: 0, zone: Zone::UTC }
    }
}

impl PartialEq for Time {
    fn eq(&self, other: &Self) -> bool {
        (self.seconds, self.nanos, self.zone) == (other.seconds, other.nanos, other.zone)
    }
}

/// As Go's `Time.String` has it.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&time_format::format(*self, "2006-01-02 15:04:05.999999999 -0700 MST"))
    }
}
