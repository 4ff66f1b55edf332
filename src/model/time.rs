//! Instants of the wall clock, in milliseconds since the Unix epoch (data.md §6).

use std::time::{SystemTime, UNIX_EPOCH};

/// The current instant. This is the one reader of the wall clock; everything else takes `now_ms` as an argument.
///
/// A clock before 1970 reads as 0, one beyond the range of `i64` as its maximum.
#[allow(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
pub fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// A day of the Gregorian calendar in UTC, also before its introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// 0 is the year before 1.
    pub year: i64,
    /// From 1.
    pub month: i64,
    /// From 1.
    pub day: i64,
}

impl Date {
    /// The day of an instant in milliseconds since the Unix epoch; no instant is out of range.
    pub fn of(unix_ms: i64) -> Self {
        // Days are counted from 1 March of the year 0, in eras of 400 years, so that the leap day comes last.
        let days = unix_ms.div_euclid(86_400_000) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Date, now_ms};

    #[test]
    fn days_of_the_calendar() {
        for (unix_ms, (year, month, day)) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (951_782_400_000, (2000, 2, 29)),
            (951_868_799_999, (2000, 2, 29)),
            (951_868_800_000, (2000, 3, 1)),
            (4_107_542_400_000, (2100, 3, 1)),
            (1_767_225_600_000, (2026, 1, 1)),
            (253_402_300_799_999, (9999, 12, 31)),
            (-62_135_596_800_000, (1, 1, 1)),
        ] {
            assert_eq!(Date::of(unix_ms), Date { year, month, day }, "{unix_ms}");
        }
        // No instant overflows.
        assert!(Date::of(i64::MIN).year < Date::of(i64::MAX).year);
    }

    #[test]
    fn the_clock_reads_milliseconds() {
        let now = now_ms();
        // Between 2020 and 2059, the years in which the time part of an id has eight digits.
        assert!((1_577_836_800_000..2_821_109_907_456).contains(&now), "{now}");
    }
}
