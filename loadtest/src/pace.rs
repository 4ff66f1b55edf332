//! The clock of an open loop: tells how many operations are due, to the microsecond and without spinning.
//!
//! A runtime timer has a resolution of a millisecond and would bunch operations, which makes the server look cheaper
//! than it is (one wake-up for several operations). A kernel timer behind a file descriptor has not.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::client::Failure;

pub(crate) struct Pacer {
    timer: monoio::fs::File,
    interval: Duration,
    started: Instant,
    given_out: u64,
    due: u64,
}

impl Pacer {
    /// Operations are due at `started + k / rate`, whether or not anybody keeps up.
    pub(crate) fn start(rate: f64) -> Result<Self, Failure> {
        let interval = Duration::from_secs_f64(1.0 / rate);
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)
            .map_err(|error| Failure::new(format!("timerfd: {error}")))?;
        let interval_spec = Timespec {
            tv_sec: i64::try_from(interval.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(interval.subsec_nanos()),
        };
        let spec = Itimerspec { it_interval: interval_spec, it_value: interval_spec };
        let started = Instant::now();
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &spec)
            .map_err(|error| Failure::new(format!("timerfd: {error}")))?;
        let timer = monoio::fs::File::from_std(File::from(timer)).map_err(Failure::from)?;
        Ok(Self { timer, interval, started, given_out: 0, due: 0 })
    }

    /// Waits for the next operation and returns the moment it was intended for.
    pub(crate) async fn next(&mut self) -> Result<Instant, Failure> {
        while self.given_out == self.due {
            let (read, expirations) = self.timer.read_at(vec![0; 8], 0).await;
            read?;
            let expirations: [u8; 8] = expirations.try_into().map_err(|_| Failure::new("timerfd: short read"))?;
            self.due += u64::from_ne_bytes(expirations);
        }
        self.given_out += 1;
        let offset_ns = u128::from(self.given_out) * self.interval.as_nanos();
        Ok(self.started + Duration::from_nanos(u64::try_from(offset_ns).unwrap_or(u64::MAX)))
    }
}
