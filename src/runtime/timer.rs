//! One coarse timer wheel per core.
//!
//! Tens of thousands of sockets each have one deadline that moves all the time. The wheel makes moving it cheap: an
//! entry is 32 bytes in the list of its tick, and whoever set it decides when it fires whether it still means anything. Deadlines fire late by a tick or so, never early (`spec/socketio.md` §1).
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
    /// None in an entry that waits to be used again.
    due: Option<Due<T>>,
    next: u32,
    /// The entry before this one, or [`HEAD`] and the slot whose first one it is.
    before: u32,
}

/// No entry.
const NONE: u32 = HEAD - 1;
const HEAD: u32 = 1 << 31;

/// The wheel itself. The entries of a slot are a list, and all lists share one pool, so that memory follows the number of
/// entries and not the bursts that each slot has seen. Entries further away than the circumference stay in their slot for
/// another round.
pub struct Wheel<T> {
    /// The first entry of each slot.
    slots: Box<[u32]>,
    entries: Vec<Entry<T>>,
    /// The first entry that may be used again.
    free: u32,
    /// Everything up to this tick has fired.
    fired_tick: u64,
    len: usize,
}

/// Names an entry until it fires.
#[derive(Clone, Copy, Debug)]
struct EntryId(u32);

impl<T> Wheel<T> {
    pub fn new(now: Millis) -> Self {
        let slots = vec![NONE; SLOTS].into_boxed_slice();
        Self { slots, entries: Vec::new(), free: NONE, fired_tick: now / TICK_MS, len: 0 }
    }

    /// Arms an entry for `at`; a time in the past fires at the next tick.
    pub fn arm(&mut self, at: Millis, due: Due<T>) {
        self.link(at, due);
    }

    fn link(&mut self, at: Millis, due: Due<T>) -> EntryId {
        let slot = slot(at.div_ceil(TICK_MS).max(self.fired_tick + 1));
        let next = self.slots[slot as usize];
        let entry = Entry { at, due: Some(due), next, before: HEAD | slot };
        let index = self.free;
        let index = if let Some(free) = self.entries.get_mut(index as usize) {
            self.free = free.next;
            *free = entry;
            index
        } else {
            self.entries.push(entry);
            u32::try_from(self.entries.len() - 1)
                .ok()
                .filter(|index| *index < NONE)
                .expect("memory runs out long before")
        };
        self.slots[slot as usize] = index;
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.before = index;
        }
        self.len += 1;
        EntryId(index)
    }

    /// Takes an entry out of its list.
    fn unlink(&mut self, index: u32) -> Option<(Millis, Due<T>)> {
        let free = self.free;
        let entry = self.entries.get_mut(index as usize)?;
        let due = entry.due.take()?;
        let (at, before, next) = (entry.at, entry.before, entry.next);
        entry.next = free;
        self.free = index;
        self.len -= 1;
        if before & HEAD != 0 {
            self.slots[(before ^ HEAD) as usize] = next;
        } else {
            self.entries[before as usize].next = next;
        }
        if let Some(next) = self.entries.get_mut(next as usize) {
            next.before = before;
        }
        Some((at, due))
    }

    /// Appends everything due at `now` to `out`, in no particular order within a tick.
    pub fn fire(&mut self, now: Millis, out: &mut Vec<(Millis, Due<T>)>) {
        let now_tick = now / TICK_MS;
        // After a pause longer than one round every slot has been visited once; more would find nothing.
        let first = (self.fired_tick + 1).max(now_tick.saturating_sub(SLOTS as u64 - 1));
        self.fired_tick = self.fired_tick.max(now_tick);
        for tick in first..=now_tick {
            let mut at = self.slots[slot(tick) as usize];
            while let Some(entry) = self.entries.get(at as usize) {
                let (index, is_due) = (at, entry.at <= now);
                at = entry.next;
                if is_due {
                    let fired = self.unlink(index);
                    if let Some((_, Due::Wake(state))) = &fired {
                        state.fired.set(true);
                    }
                    out.extend(fired);
                }
            }
        }
    }

    /// How long a core may sleep: until the next tick with an entry, [`LOOK_AHEAD_MS`] at most.
    pub fn sleep_ms(&self, now: Millis) -> u64 {
        let is_used = |tick: &u64| self.slots[slot(*tick) as usize] != NONE;
        let ahead = (self.fired_tick + 1..=(now + LOOK_AHEAD_MS) / TICK_MS).find(is_used);
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
fn slot(tick: u64) -> u32 {
    (tick % SLOTS as u64) as u32
}

/// Shared by a [`Sleep`] and its entry.
pub struct SleepState {
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl SleepState {
    /// Wakes whoever waits; the wheel has let go of the entry already.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Finishes when its entry fires. Dropping it takes the entry out of the wheel.
pub struct Sleep<T> {
    state: Rc<SleepState>,
    wheel: Rc<RefCell<Wheel<T>>>,
    entry: EntryId,
}

impl<T> Sleep<T> {
    pub fn arm(wheel: &Rc<RefCell<Wheel<T>>>, at: Millis) -> Self {
        let state = Rc::new(SleepState { fired: Cell::new(false), waker: RefCell::new(None) });
        let entry = wheel.borrow_mut().link(at, Due::Wake(Rc::clone(&state)));
        Self { state, wheel: Rc::clone(wheel), entry }
    }
}

impl<T> Drop for Sleep<T> {
    fn drop(&mut self) {
        if !self.state.fired.get() {
            self.wheel.borrow_mut().unlink(self.entry.0);
        }
    }
}

impl<T> Future for Sleep<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.state.fired.get() {
            return Poll::Ready(());
        }
        *self.state.waker.borrow_mut() = Some(cx.waker().clone());
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
    fn a_sleep_that_is_dropped_leaves_nothing_behind() {
        use std::sync::Arc;
        struct Task;
        impl std::task::Wake for Task {
            fn wake(self: Arc<Self>) {}
        }
        let task = Arc::new(Task);
        let waker = Waker::from(Arc::clone(&task));
        let wheel = Rc::new(RefCell::new(Wheel::<u32>::new(0)));
        let mut sleeps: Vec<_> = (0..5).map(|_| Sleep::arm(&wheel, 60_000)).collect();
        wheel.borrow_mut().arm(60_000, Due::Token(1));
        for sleep in &mut sleeps {
            assert!(Pin::new(sleep).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        // From the middle, the end and the beginning of the list.
        for at in [2, 0, 2] {
            sleeps.remove(at);
        }
        assert_eq!(wheel.borrow().len(), 3);
        let mut out = Vec::new();
        wheel.borrow_mut().fire(60_000, &mut out);
        assert_eq!(out.len(), 3);
        // One that has fired, but has not been told so yet, is not taken out a second time.
        wheel.borrow_mut().arm(70_000, Due::Token(2));
        drop(sleeps);
        drop((out, waker));
        assert_eq!((wheel.borrow().len(), Arc::strong_count(&task)), (1, 1));
    }

    #[test]
    fn memory_follows_the_entries_and_not_the_bursts() {
        assert!(size_of::<Entry<crate::runtime::slab::Key>>() <= 32);
        let mut wheel = Wheel::new(0);
        for burst in 0..1_000 {
            for token in 0..100 {
                wheel.arm(burst * 10 + 5, Due::Token(token));
            }
            assert_eq!(fire(&mut wheel, burst * 10 + 6).len(), 100);
        }
        assert_eq!(wheel.entries.len(), 100);
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
