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

#[cfg(test)]
mod tests {
    use super::now_ms;

    #[test]
    fn the_clock_reads_milliseconds() {
        let now = now_ms();
        // Between 2020 and 2059, the years in which the time part of an id has eight digits.
        assert!((1_577_836_800_000..2_821_109_907_456).contains(&now), "{now}");
    }
}
