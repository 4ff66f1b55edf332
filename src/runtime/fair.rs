//! Turns for everybody on a core where one task always finds something to do.
//!
//! On epoll monoio's readiness is remembered: waiting for a descriptor that has more to read is over at once, so a loop
//! around such a wait never lets go of its core while its peer keeps sending. A task that wakes itself does not help,
//! because this runtime runs it again before all others, and timers fire only while nothing is left to run.
//! Owns: when such a loop stands back. Never: what it waits for. On io_uring every wait is a real one and nothing here is
//! ever done.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long a task may go on without a real wait before it sleeps, so that the core's timers fire. They are late by as
/// much while a core is flooded, and by one turn of whoever has just begun.
const BUSY_MAX: Duration = Duration::from_millis(20);

/// The shortest sleep there is.
const SLEEP: Duration = Duration::from_millis(1);

/// Keeps one loop fair. All its waits go through [`Fair::wait`], and what it does again and again without waiting is
/// followed by [`Fair::step`].
#[derive(Debug)]
pub struct Fair {
    /// Since when there has been no real wait; none before the first that was over at once.
    busy_since: Option<Instant>,
    /// Waits that were over at once since others had their turn.
    in_a_row: u8,
    in_a_row_max: u8,
}

impl Fair {
    /// Lets others have their turn after `waits` that were over at once. A loop behind which others wait to go on, such
    /// as the flusher of the core, gives way after each; one whose steps are short and complete may take several.
    pub fn after(waits: u8) -> Self {
        Self { busy_since: None, in_a_row: 0, in_a_row_max: waits }
    }

    /// Waits. If that was over at once, all others who have something to do may come first. Takes what is pinned already:
    /// a future that is handed over takes its room twice.
    pub async fn wait<F: Future>(&mut self, mut wait: Pin<&mut F>) -> F::Output {
        let mut waited = false;
        let output = poll_fn(|cx| {
            let polled = wait.as_mut().poll(cx);
            waited |= polled.is_pending();
            polled
        })
        .await;
        if waited {
            self.waited();
        } else {
            self.in_a_row += 1;
            if self.in_a_row >= self.in_a_row_max {
                self.step().await;
            }
        }
        output
    }

    /// A real wait has taken place that did not go through [`Self::wait`].
    pub fn waited(&mut self) {
        self.busy_since = None;
        self.in_a_row = 0;
    }

    /// Lets all others who have something to do come first; now and then also those who wait for a time.
    pub async fn step(&mut self) {
        self.in_a_row = 0;
        let since = *self.busy_since.get_or_insert_with(Instant::now);
        if since.elapsed() < BUSY_MAX {
            return behind_all_others().await;
        }
        // Nothing fires timers before every task of the core that goes on like this one sleeps as well.
        Box::pin(monoio::time::sleep(SLEEP)).await;
        self.waited();
    }
}

/// Queues up behind all tasks that are ready now. It takes another task to do so: see the module.
async fn behind_all_others() {
    let mut queued = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut queued, true) {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        monoio::spawn(async move { waker.wake() });
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::pin::pin;
    use std::rc::Rc;

    use super::*;

    fn on_epoll<F: Future>(main: impl FnOnce() -> F) -> F::Output {
        let mut runtime = monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().unwrap();
        runtime.block_on(async { main().await })
    }

    /// A stream that is readable for ever, because nobody reads it.
    fn endless() -> (monoio::net::UnixStream, UnixStream) {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(b"x").unwrap();
        near.set_nonblocking(true).unwrap();
        (monoio::net::UnixStream::from_std(near).unwrap(), far)
    }

    /// Floods until `done`, or gives up: without a fair loop the core would stand still for ever.
    async fn flood(done: Rc<Cell<bool>>) -> bool {
        let (stream, _far) = endless();
        let mut fair = Fair::after(3);
        for _ in 0..1_000_000 {
            if done.get() {
                return true;
            }
            fair.wait(pin!(stream.readable(false))).await.unwrap();
        }
        false
    }

    #[test]
    fn others_get_their_turn_while_there_is_always_more() {
        on_epoll(|| async {
            let done = Rc::new(Cell::new(false));
            let flood = monoio::spawn(flood(Rc::clone(&done)));
            // Ready only when the driver is asked again.
            let (other, mut far_of_other) = UnixStream::pair().unwrap();
            other.set_nonblocking(true).unwrap();
            let other = monoio::net::UnixStream::from_std(other).unwrap();
            let told = Rc::clone(&done);
            monoio::spawn(async move {
                other.readable(false).await.unwrap();
                told.set(true);
            });
            far_of_other.write_all(b"x").unwrap();
            assert!(flood.await, "the other was not heard");
        });
    }

    #[test]
    fn timers_fire_while_many_have_always_more() {
        on_epoll(|| async {
            let done = Rc::new(Cell::new(false));
            let floods: Vec<_> = (0..3).map(|_| monoio::spawn(flood(Rc::clone(&done)))).collect();
            let told = Rc::clone(&done);
            monoio::spawn(async move {
                monoio::time::sleep(Duration::from_millis(2)).await;
                told.set(true);
            });
            for flood in floods {
                assert!(flood.await, "the timer did not fire");
            }
        });
    }

    #[test]
    fn a_real_wait_ends_the_count() {
        on_epoll(|| async {
            let mut fair = Fair::after(2);
            fair.wait(pin!(std::future::ready(()))).await;
            assert!(fair.busy_since.is_none() && fair.in_a_row == 1);
            fair.wait(pin!(std::future::ready(()))).await;
            fair.wait(pin!(std::future::ready(()))).await;
            assert!(fair.busy_since.is_some() && fair.in_a_row == 1);
            fair.wait(pin!(behind_all_others())).await;
            assert!(fair.busy_since.is_none() && fair.in_a_row == 0);
        });
    }
}
