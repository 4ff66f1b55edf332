//! The memory that bodies of requests may take, all cores together.
//!
//! A body is counted from [`COUNTED_FROM_BYTES`] on, so that ordinary requests never come here. Owns: how much is taken.
//! Never: the bytes, or what becomes of a request that gets no room.
//! Invariant: what a [`Share`] has taken is given back when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bodies that fit here are not counted: connections can hold as much in other ways.
pub const COUNTED_FROM_BYTES: usize = 64 * 1024;

/// Who sends a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Has a valid token.
    Known,
    /// Anybody; all of them together get half, and the rest stays for those who are known.
    Open,
}

/// See the module.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    taken: AtomicUsize,
}

impl Budget {
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { bytes_max, taken: AtomicUsize::new(0) })
    }

    /// A share of nothing, which may grow.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }

    #[cfg(test)]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn max(&self, sender: Sender) -> usize {
        match sender {
            Sender::Known => self.bytes_max,
            Sender::Open => self.bytes_max / 2,
        }
    }
}

/// What one body has taken.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Takes as much as is missing to `bytes`. `false`: there is no room, and the share stays as it is.
    pub fn grow(&mut self, bytes: usize, sender: Sender) -> bool {
        let (more, max) = (bytes.saturating_sub(self.bytes), self.budget.max(sender));
        let room = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= max);
        let took = self.budget.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if took {
            self.bytes += more;
        }
        took
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_within_the_budget_and_give_back() {
        let budget = Budget::new(100);
        let (mut open, mut known) = (budget.share(), budget.share());
        assert!(open.grow(50, Sender::Open));
        assert!(open.grow(40, Sender::Open), "nothing more to take");
        assert!(!budget.share().grow(1, Sender::Open), "half is for those who are known");
        assert!(known.grow(30, Sender::Known) && known.grow(50, Sender::Known));
        assert!(!known.grow(51, Sender::Known));
        drop(open);
        assert!(known.grow(100, Sender::Known));
        drop(known);
        assert_eq!(budget.taken(), 0);
    }
}
