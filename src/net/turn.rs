//! The turn of a core: everything that became ready is handled, then every socket that has output is written once.
//!
//! Whoever has something to say marks itself; the flusher is a task that queues up behind everything that is ready at
//! that moment, so it runs when the turn's work is done. Owns: the time of the turn, the read buffer, the timer wheel.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use crate::runtime::slab::Key;
use crate::runtime::timer::{Due, Millis, Sleep, Wheel};

/// Bytes lent for one read. Large enough for a burst of messages, small enough to stay in the cache.
pub const READ_BYTES: usize = 64 * 1024;

/// A task that waits for a time.
pub type Timer = Sleep<Token>;

/// What a timer of the core belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A client, by whatever key its owner knows it.
    Client(Key),
    /// A websocket of the reactor.
    Channel(Key),
}

enum Clock {
    Monotonic(Instant),
    /// Moved by hand, for simulations.
    Virtual(Rc<Cell<Millis>>),
}

/// What everything on one core shares. Dirty marks are keys of clients. Usable without a runtime: the two loops are only
/// shells around [`Turn::end`] and [`Turn::fire`].
pub struct Turn {
    clock: Clock,
    pub wheel: Rc<RefCell<Wheel<Token>>>,
    /// Lent for one read, never across an await.
    pub read_buffer: RefCell<Box<[u8]>>,
    dirty: RefCell<Vec<Key>>,
    /// Vectors that are used again and again.
    spare: Cell<Vec<Key>>,
    due: Cell<Vec<(Millis, Due<Token>)>>,
    flusher: Cell<Option<Waker>>,
    /// When the first mark of this turn was set.
    began: Cell<Option<Instant>>,
    /// Open connections of any kind, and the bytes that wait for them; for the metrics.
    pub connections: Cell<i64>,
    pub outbox_bytes: Cell<usize>,
    date: Cell<(u64, [u8; 29])>,
}

impl Turn {
    #[allow(clippy::disallowed_methods, reason = "the one reader of the monotonic clock on a core")]
    pub fn new() -> Rc<Self> {
        Self::on(Clock::Monotonic(Instant::now()))
    }

    /// A turn whose time is what the caller says it is.
    pub fn with_clock(clock: Rc<Cell<Millis>>) -> Rc<Self> {
        Self::on(Clock::Virtual(clock))
    }

    fn on(clock: Clock) -> Rc<Self> {
        let now = if let Clock::Virtual(now) = &clock { now.get() } else { 0 };
        Rc::new(Self {
            clock,
            wheel: Rc::new(RefCell::new(Wheel::new(now))),
            read_buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            dirty: RefCell::default(),
            spare: Cell::default(),
            due: Cell::default(),
            flusher: Cell::new(None),
            began: Cell::new(None),
            connections: Cell::new(0),
            outbox_bytes: Cell::new(0),
            date: Cell::new((0, [b' '; 29])),
        })
    }

    /// Milliseconds since the core started.
    pub fn now(&self) -> Millis {
        match &self.clock {
            Clock::Monotonic(started) => u64::try_from(started.elapsed().as_millis()).unwrap_or(Millis::MAX),
            Clock::Virtual(now) => now.get(),
        }
    }

    /// The `Date` field of this second, formatted once.
    pub fn date(&self) -> [u8; 29] {
        let second = u64::try_from(crate::model::time::now_ms() / 1000).unwrap_or(0);
        let (formatted_for, text) = self.date.get();
        if formatted_for == second {
            return text;
        }
        let text = protocol::http::date::format(second);
        self.date.set((second, text));
        text
    }

    /// Finishes `ms` from now, up to one tick late.
    pub fn sleep(&self, ms: u64) -> Timer {
        Timer::arm(&self.wheel, self.now() + ms)
    }

    /// Sets a timer, which [`Turn::fire`] reports. It cannot be taken back: whoever set it knows whether it still matters.
    pub fn arm(&self, at: Millis, token: Token) {
        self.wheel.borrow_mut().arm(at, Due::Token(token));
    }

    /// Asks for a flush of `what` at the end of this turn. The caller keeps track of what it has marked.
    #[allow(clippy::disallowed_methods, reason = "how long turns take, for the metrics")]
    pub fn mark(&self, what: Key) {
        self.dirty.borrow_mut().push(what);
        if self.began.get().is_none() {
            self.began.set(Some(Instant::now()));
        }
        if let Some(waker) = self.flusher.take() {
            waker.wake();
        }
    }

    /// Counts a connection until the result is dropped.
    pub fn connection(self: &Rc<Self>) -> Connected {
        self.connections.set(self.connections.get() + 1);
        Connected(Rc::clone(self))
    }

    /// Ends the turn, if anything was marked: `flush` gets the marks. Returns the seconds since the first of them.
    pub fn end(&self, flush: impl FnOnce(&mut Vec<Key>)) -> Option<f64> {
        let mut batch = std::mem::replace(&mut *self.dirty.borrow_mut(), self.spare.take());
        if batch.is_empty() {
            self.spare.set(batch);
            return None;
        }
        let began = self.began.take();
        flush(&mut batch);
        batch.clear();
        self.spare.set(batch);
        Some(began.map_or(0.0, |began| began.elapsed().as_secs_f64()))
    }

    /// Fires the timers that are due; tokens go to `fired` with the time they were armed for.
    pub fn fire(&self, mut fired: impl FnMut(Token, Millis)) {
        let mut due = self.due.take();
        self.wheel.borrow_mut().fire(self.now(), &mut due);
        for (at, entry) in due.drain(..) {
            match entry {
                Due::Token(token) => fired(token, at),
                Due::Wake(state) => state.wake(),
            }
        }
        self.due.set(due);
    }

    /// Runs for ever: `flush` gets everything marked in a turn, `turned` the seconds from the first mark to the end of
    /// the flush.
    pub async fn flush_loop(&self, mut flush: impl FnMut(&mut Vec<Key>), mut turned: impl FnMut(f64)) {
        loop {
            std::future::poll_fn(|cx| {
                if self.dirty.borrow().is_empty() {
                    self.flusher.set(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
                Poll::Ready(())
            })
            .await;
            turned(self.end(&mut flush).unwrap_or_default());
        }
    }

    /// Runs for ever: fires timers as [`Turn::fire`] does. `ticked` follows every tick.
    pub async fn timer_loop(&self, mut fired: impl FnMut(Token, Millis), mut ticked: impl FnMut()) {
        loop {
            let sleep_ms = self.wheel.borrow().sleep_ms(self.now()).max(1);
            monoio::time::sleep(std::time::Duration::from_millis(sleep_ms)).await;
            self.fire(&mut fired);
            ticked();
        }
    }
}

/// An open connection in the count of [`Turn::connections`].
pub struct Connected(Rc<Turn>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}
