//! One thread per core: how it starts, what it sleeps on, and how other threads reach it.
//!
//! Owns: threads, the io driver choice, timers, mailboxes, the readiness of descriptors. Never: what is read from them or
//! written, rooms, rules.
//! Invariant: a waker never crosses a thread. Everything that another thread has to say arrives through a mailbox, so
//! that tasks, sockets and rooms need no locks (monoio is built without `sync`, which turns a mistake into a panic).

pub mod cores;
pub mod fair;
pub mod mailbox;
pub mod pages;
pub mod patience;
pub mod poller;
pub mod pool;
pub mod post;
pub mod race;
pub mod reply;
pub mod slab;
pub mod timer;
