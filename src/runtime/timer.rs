//! One coarse timer wheel per core.
//!
//! Tens of thousands of sockets each have one deadline that moves all the time. The wheel makes moving it cheap: an
//! entry is a few bytes in the slot of its tick, is never removed early, and whoever set it decides when it fires
//! whether it still means anything. Deadlines fire late by a tick or so, never early (`spec/socketio.md` §1).
//! Owns: entries. Never: what they are for, or the clock (`now` is an argument).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Resolution of the wheel.
pub const TICK_MS: u64 = 2;

/// How far a core looks ahead before it sleeps. An idle core wakes 40 times a second; a deadline that is set for less
/// than this from now may fire late by as much.
pub const LOOK_AHEAD_MS: u64 = 25;

/// One round is 16 s, so that the usual ping fits into it.
const SLOTS: usize = 8192;

/// Milliseconds on the core's monotonic clock.
pub type Millis = u64;

/// What to do when an entry falls due.
pub enum Due<T> {
    /// A deadline of the owner of the wheel.
    Token(T),
    /// Somebody awaits it.
    Wake(Rc<SleepState>),
}

struct Entry<T> {
    at: Millis,
    due: Due<T>,
}

/// The wheel itself. Entries further away than its circumference stay in their slot for another round.
pub struct Wheel<T> {
    slots: Vec<Vec<Entry<T>>>,
    /// Everything up to this tick has fired.
    fired_tick: u64,
    len: usize,
}

impl<T> Wheel<T> {
    pub fn new(now: Millis) -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), fired_tick: now / TICK_MS, len: 0 }
    }

    /// Arms an entry for `at`; a time in the past fires at the next tick.
    pub fn arm(&mut self, at: Millis, due: Due<T>) {
        let tick = at.div_ceil(TICK_MS).max(self.fired_tick + 1);
        self.slots[slot(tick)].push(Entry { at, due });
        self.len += 1;
    }

    /// Appends everything due at `now` to `out`, in no particular order within a tick.
    pub fn fire(&mut self, now: Millis, out: &mut Vec<(Millis, Due<T>)>) {
        let now_tick = now / TICK_MS;
        // After a pause longer than one round every slot has been visited once; more would find nothing.
        let first = (self.fired_tick + 1).max(now_tick.saturating_sub(SLOTS as u64 - 1));
        self.fired_tick = self.fired_tick.max(now_tick);
        for tick in first..=now_tick {
            let entries = &mut self.slots[slot(tick)];
            let mut at = 0;
            while at < entries.len() {
                if entries[at].at <= now {
                    let entry = entries.swap_remove(at);
                    out.push((entry.at, entry.due));
                    self.len -= 1;
                } else {
                    at += 1;
                }
            }
            if entries.is_empty() && entries.capacity() > 64 {
                // A burst of connections must not pin its memory in this slot for ever.
                *entries = Vec::new();
            }
        }
    }

    /// How long a core may sleep: until the next tick with an entry, [`LOOK_AHEAD_MS`] at most.
    pub fn sleep_ms(&self, now: Millis) -> u64 {
        let ahead =
            (self.fired_tick + 1..=(now + LOOK_AHEAD_MS) / TICK_MS).find(|tick| !self.slots[slot(*tick)].is_empty());
        ahead.map_or(LOOK_AHEAD_MS, |tick| (tick * TICK_MS).saturating_sub(now))
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the remainder is below SLOTS")]
fn slot(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

/// Shared by a [`Sleep`] and its entry.
pub struct SleepState {
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl SleepState {
    pub fn fire(&self) {
        self.fired.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Finishes when its entry fires. Dropping it leaves an entry behind that nobody listens to and that holds on to
/// nothing: a waker would keep the memory of its task until the entry fires.
pub struct Sleep(Rc<SleepState>);

impl Sleep {
    pub fn arm<T>(wheel: &mut Wheel<T>, at: Millis) -> Self {
        let state = Rc::new(SleepState { fired: Cell::new(false), waker: RefCell::new(None) });
        wheel.arm(at, Due::Wake(Rc::clone(&state)));
        Self(state)
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.0.waker.take();
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.fired.get() {
            return Poll::Ready(());
        }
        *self.0.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fire(wheel: &mut Wheel<u32>, now: Millis) -> Vec<u32> {
        let mut out = Vec::new();
        wheel.fire(now, &mut out);
        let mut tokens: Vec<u32> = out
            .into_iter()
            .map(|(at, due)| {
                assert!(at <= now, "never early");
                match due {
                    Due::Token(token) => token,
                    Due::Wake(_) => unreachable!(),
                }
            })
            .collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn fires_late_by_less_than_a_tick_and_never_early() {
        let mut wheel = Wheel::new(1_000);
        wheel.arm(1_011, Due::Token(1));
        wheel.arm(1_012, Due::Token(2));
        wheel.arm(1_013, Due::Token(3));
        assert_eq!(wheel.sleep_ms(1_000), 12);
        assert_eq!(fire(&mut wheel, 1_011), Vec::<u32>::new());
        assert_eq!(fire(&mut wheel, 1_012), [1, 2]);
        assert_eq!(fire(&mut wheel, 1_013), Vec::<u32>::new());
        assert_eq!(wheel.sleep_ms(1_013), 1);
        assert_eq!(fire(&mut wheel, 1_014), [3]);
        assert_eq!(wheel.sleep_ms(1_014), LOOK_AHEAD_MS);
        assert!(wheel.is_empty());
    }

    #[test]
    fn the_past_fires_at_the_next_tick() {
        let mut wheel = Wheel::new(5_000);
        wheel.arm(3, Due::Token(7));
        assert_eq!(fire(&mut wheel, 5_002), [7]);
    }

    #[test]
    fn longer_than_a_round_and_a_stalled_core() {
        let mut wheel = Wheel::new(0);
        let round = SLOTS as u64 * TICK_MS;
        wheel.arm(round + 50, Due::Token(1));
        wheel.arm(50, Due::Token(2));
        assert_eq!(fire(&mut wheel, 50), [2]);
        assert_eq!(fire(&mut wheel, round), Vec::<u32>::new());
        assert_eq!(fire(&mut wheel, round + 50), [1]);
        wheel.arm(round * 2, Due::Token(3));
        wheel.arm(round + 100, Due::Token(4));
        assert_eq!(fire(&mut wheel, round * 10), [3, 4]);
    }

    #[test]
    fn a_sleep_that_is_dropped_holds_on_to_no_task() {
        use std::sync::Arc;
        struct Task;
        impl std::task::Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let task = Arc::new(Task);
        let mut wheel = Wheel::<u32>::new(0);
        let mut sleep = Sleep::arm(&mut wheel, 60_000);
        let waker = Waker::from(Arc::clone(&task));
        assert!(Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)).is_pending());
        drop((sleep, waker));
        assert_eq!(Arc::strong_count(&task), 1);
        assert_eq!(wheel.len(), 1, "the entry itself stays");
    }

    #[test]
    fn two_hours_of_heartbeats_leave_one_entry_each() {
        let mut wheel = Wheel::new(0);
        for token in 0..100 {
            wheel.arm(15_000, Due::Token(token));
        }
        let mut fired = 0;
        for now in (0..7_200_000).step_by(25) {
            for token in fire(&mut wheel, now) {
                fired += 1;
                wheel.arm(now + 15_000, Due::Token(token));
            }
            assert_eq!(wheel.len(), 100);
        }
        assert_eq!(fired, 100 * (7_200_000 / 15_000 - 1));
    }
}
