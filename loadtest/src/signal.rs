//! A count that one task raises and another waits for. One thread, one waiter.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

#[derive(Default)]
pub(crate) struct Signal {
    count: Cell<u64>,
    waiter: RefCell<Option<Waker>>,
}

impl Signal {
    pub(crate) fn raise(&self) {
        self.count.set(self.count.get() + 1);
        if let Some(waiter) = self.waiter.borrow_mut().take() {
            waiter.wake();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Waits until the count has reached `goal`.
    pub(crate) async fn reached(&self, goal: u64) {
        poll_fn(|context| {
            if self.count.get() >= goal {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
