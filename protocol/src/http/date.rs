//! The two date formats that leave the server: IMF-fixdate (the `Date` field) and ISO-8601 (JSON).
//!
//! Owns: the calendar. Never: reads a clock.
//! Both formats have a fixed width, so they are byte arrays and dates after the year 9999 are written as its last day.

const SECONDS_PER_DAY: u64 = 86_400;
/// 9999-12-31T23:59:59Z.
const SECONDS_MAX: u64 = 253_402_300_799;

/// `Sun, 06 Nov 1994 08:49:37 GMT` from seconds since 1970.
#[must_use]
pub fn format(unix_s: u64) -> [u8; 29] {
    let moment = Moment::new(unix_s.min(SECONDS_MAX));
    let [y1, y2, y3, y4] = four_digits(moment.year);
    let [d1, d2] = two_digits(moment.day);
    let [h1, h2] = two_digits(moment.hour);
    let [m1, m2] = two_digits(moment.minute);
    let [s1, s2] = two_digits(moment.second);
    let [w1, w2, w3] = match moment.weekday {
        0 => *b"Sun",
        1 => *b"Mon",
        2 => *b"Tue",
        3 => *b"Wed",
        4 => *b"Thu",
        5 => *b"Fri",
        _ => *b"Sat",
    };
    let [n1, n2, n3] = match moment.month {
        1 => *b"Jan",
        2 => *b"Feb",
        3 => *b"Mar",
        4 => *b"Apr",
        5 => *b"May",
        6 => *b"Jun",
        7 => *b"Jul",
        8 => *b"Aug",
        9 => *b"Sep",
        10 => *b"Oct",
        11 => *b"Nov",
        _ => *b"Dec",
    };
    [
        w1, w2, w3, b',', b' ', d1, d2, b' ', n1, n2, n3, b' ', y1, y2, y3, y4, b' ', h1, h2, b':', m1, m2, b':', s1,
        s2, b' ', b'G', b'M', b'T',
    ]
}

/// `1994-11-06T08:49:37.000Z` from milliseconds since 1970.
#[must_use]
pub fn format_iso(unix_ms: u64) -> [u8; 24] {
    let unix_ms = unix_ms.min(SECONDS_MAX.saturating_mul(1000).saturating_add(999));
    let moment = Moment::new(unix_ms / 1000);
    let [y1, y2, y3, y4] = four_digits(moment.year);
    let [n1, n2] = two_digits(moment.month);
    let [d1, d2] = two_digits(moment.day);
    let [h1, h2] = two_digits(moment.hour);
    let [m1, m2] = two_digits(moment.minute);
    let [s1, s2] = two_digits(moment.second);
    let [_, f1, f2, f3] = four_digits(unix_ms % 1000);
    [y1, y2, y3, y4, b'-', n1, n2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2, b'.', f1, f2, f3, b'Z']
}

struct Moment {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
    weekday: u64,
}

impl Moment {
    fn new(unix_s: u64) -> Self {
        let days = unix_s / SECONDS_PER_DAY;
        let seconds = unix_s % SECONDS_PER_DAY;
        // Days are counted from 1 March of the year 0, so that the leap day is the last of its year. All numbers are
        // bounded by the year 9999 and none goes below zero: plain arithmetic cannot wrap.
        let shifted = days.saturating_add(719_468);
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let leap_corrected = day_of_era
            .saturating_sub(day_of_era / 1_460)
            .saturating_add(day_of_era / 36_524)
            .saturating_sub(day_of_era / 146_096);
        let year_of_era = leap_corrected / 365;
        let day_of_year = day_of_era.saturating_sub(
            year_of_era.saturating_mul(365).saturating_add(year_of_era / 4).saturating_sub(year_of_era / 100),
        );
        let month_from_march = day_of_year.saturating_mul(5).saturating_add(2) / 153;
        let day =
            day_of_year.saturating_sub(month_from_march.saturating_mul(153).saturating_add(2) / 5).saturating_add(1);
        let month =
            if month_from_march < 10 { month_from_march.saturating_add(3) } else { month_from_march.saturating_sub(9) };
        let year = year_of_era.saturating_add(era.saturating_mul(400)).saturating_add(u64::from(month <= 2));
        Self {
            year,
            month,
            day,
            hour: seconds / 3_600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            // 1 January 1970 was a Thursday.
            weekday: days.saturating_add(4) % 7,
        }
    }
}

fn digit(value: u64) -> u8 {
    b'0'.wrapping_add(u8::try_from(value % 10).unwrap_or(0))
}

fn two_digits(value: u64) -> [u8; 2] {
    [digit(value / 10), digit(value)]
}

fn four_digits(value: u64) -> [u8; 4] {
    [digit(value / 1000), digit(value / 100), digit(value / 10), digit(value)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

    use super::*;

    fn imf(unix_s: u64) -> String {
        String::from_utf8(format(unix_s).to_vec()).unwrap()
    }

    fn iso(unix_ms: u64) -> String {
        String::from_utf8(format_iso(unix_ms).to_vec()).unwrap()
    }

    #[test]
    fn known_dates() {
        assert_eq!(imf(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(imf(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(imf(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(imf(1_709_251_199), "Thu, 29 Feb 2024 23:59:59 GMT");
        assert_eq!(imf(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
        assert_eq!(imf(SECONDS_MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(imf(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(iso(784_111_777_045), "1994-11-06T08:49:37.045Z");
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let length = |year: u64, month: u64| match month {
            2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (mut year, mut month, mut day, mut weekday) = (1970, 1, 1, 4);
        for days in 0..=SECONDS_MAX / SECONDS_PER_DAY {
            let moment = Moment::new(days * SECONDS_PER_DAY + 86_399);
            assert_eq!((moment.year, moment.month, moment.day, moment.weekday), (year, month, day, weekday));
            assert_eq!((moment.hour, moment.minute, moment.second), (23, 59, 59));
            day += 1;
            weekday = (weekday + 1) % 7;
            if day > length(year, month) {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
        assert_eq!(year, 10_000);
    }
}
