//! Waiting a moment for what an earlier process still holds: its port, its lock.
//!
//! The kernel takes back the sockets and files of a process that used io_uring only a moment after the process is gone,
//! and a supervisor restarts at once.

use std::time::{Duration, Instant};

/// How long a start waits. Whoever still holds it then is alive.
pub const PATIENCE: Duration = Duration::from_secs(2);

const PAUSE: Duration = Duration::from_millis(10);

/// Repeats an attempt while it fails because of somebody else, for [`PATIENCE`] at most. Blocks.
#[allow(clippy::disallowed_methods, reason = "before the cores start")]
pub fn patiently<T, E>(attempt: impl Fn() -> Result<T, E>, is_held: impl Fn(&E) -> bool) -> Result<T, E> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(error) if is_held(&error) && began.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn repeats_only_what_may_pass() {
        let attempts = Cell::new(0);
        let third = || {
            attempts.set(attempts.get() + 1);
            if attempts.get() < 3 { Err("held") } else { Ok(attempts.get()) }
        };
        assert_eq!(patiently(third, |error| *error == "held"), Ok(3));
        assert_eq!(patiently(|| Err::<(), _>("broken"), |error| *error == "held"), Err("broken"));
    }
}
