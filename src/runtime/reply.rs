//! Answers from other threads, awaited on a core.
//!
//! Owns: one slot per awaited answer, in a table of the core's thread. The other thread holds only the number of the
//! slot and posts a job to the core that fills it; so wakers never leave the core.
//! Invariant: every slot is filled at most once and freed when its [`Reply`] is dropped. A sender that is dropped
//! without sending fills it with "lost".

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::post::CorePost;

enum Slot {
    Waiting(Option<Waker>),
    Filled(Option<Box<dyn Any>>),
}

#[derive(Default)]
struct Slots {
    next: u64,
    slots: HashMap<u64, Slot>,
}

thread_local! {
    static SLOTS: RefCell<Slots> = RefCell::default();
}

/// The half that travels.
pub struct Sender<T> {
    key: u64,
    post: Option<Arc<dyn CorePost>>,
    value: PhantomData<fn(T)>,
}

/// The half that waits. It stays on its thread.
pub struct Reply<T> {
    key: u64,
    value: PhantomData<*mut T>,
}

/// The other thread went away without answering.
#[derive(Debug)]
pub struct Lost;

/// Reserves a slot on this thread, which must be the one `post` stands for.
pub fn reply<T: Send + 'static>(post: &Arc<dyn CorePost>) -> (Sender<T>, Reply<T>) {
    let key = SLOTS.with_borrow_mut(|table| {
        table.next += 1;
        table.slots.insert(table.next, Slot::Waiting(None));
        table.next
    });
    (Sender { key, post: Some(Arc::clone(post)), value: PhantomData }, Reply { key, value: PhantomData })
}

impl<T: Send + 'static> Sender<T> {
    pub fn send(mut self, value: T) {
        if let Some(post) = self.post.take() {
            let key = self.key;
            post.post(Box::new(move || fill(key, Some(Box::new(value)))));
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(post) = self.post.take() {
            let key = self.key;
            post.post(Box::new(move || fill(key, None)));
        }
    }
}

fn fill(key: u64, value: Option<Box<dyn Any>>) {
    let waker = SLOTS.with_borrow_mut(|table| match table.slots.get_mut(&key) {
        Some(slot) => match std::mem::replace(slot, Slot::Filled(value)) {
            Slot::Waiting(waker) => waker,
            Slot::Filled(_) => None,
        },
        // Nobody waits any more.
        None => None,
    });
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T: 'static> Future for Reply<T> {
    type Output = Result<T, Lost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let value = SLOTS.with_borrow_mut(|table| match table.slots.get_mut(&self.key) {
            Some(Slot::Filled(value)) => Poll::Ready(value.take()),
            Some(Slot::Waiting(waker)) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(None),
        });
        value.map(|value| value.and_then(|any| any.downcast().ok()).map_or(Err(Lost), |value| Ok(*value)))
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        // The value is dropped after the table is free again: its destructor may use it.
        let slot = SLOTS.try_with(|table| table.borrow_mut().slots.remove(&self.key));
        drop(slot);
    }
}
