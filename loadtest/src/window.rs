//! The measured window: the same two moments for every worker and for the coordinator that reads the server's CPU time.
//!
//! Processes cannot exchange an `Instant`, so the moments travel as microseconds of the system clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) opens: Instant,
    pub(crate) closes: Instant,
}

impl Window {
    pub(crate) fn from_unix_micros(opens_us: u64, seconds: f64) -> Self {
        let opens = Instant::now() + Duration::from_micros(opens_us.saturating_sub(unix_micros()));
        Self { opens, closes: opens + Duration::from_secs_f64(seconds) }
    }

    pub(crate) fn contains(&self, moment: Instant) -> bool {
        moment >= self.opens && moment < self.closes
    }
}

pub(crate) fn unix_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
