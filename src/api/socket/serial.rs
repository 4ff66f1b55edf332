//! Work of one connection that must be done strictly in order: its `message` events.
//!
//! A connection that has nothing waiting costs nothing here. Limits: [`WAITING_MAX`] jobs and [`WAITING_BYTES_MAX`]
//! bytes per connection; beyond them an event is refused at once, in its acknowledgement.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use crate::runtime::slab::Key;

pub const WAITING_MAX: usize = 1_000;
pub const WAITING_BYTES_MAX: usize = 16 << 20;

/// A job that has not begun.
pub type Job = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
struct Line {
    jobs: VecDeque<(Job, usize)>,
    bytes: usize,
}

/// One line per connection that has a job running.
#[derive(Clone, Default)]
pub struct Serial {
    lines: Rc<RefCell<HashMap<Key, Line>>>,
}

/// Too much is waiting already.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Serial {
    /// Runs `job`, which holds on to `bytes` of input, after everything queued for `key` before it.
    pub fn run(&self, key: Key, bytes: usize, job: impl Future<Output = ()> + 'static) -> Result<(), Full> {
        let mut lines = self.lines.borrow_mut();
        if let Some(line) = lines.get_mut(&key) {
            if line.jobs.len() >= WAITING_MAX || line.bytes + bytes > WAITING_BYTES_MAX {
                return Err(Full);
            }
            line.bytes += bytes;
            line.jobs.push_back((Box::pin(job), bytes));
            return Ok(());
        }
        lines.insert(key, Line::default());
        drop(lines);
        let this = self.clone();
        monoio::spawn(async move {
            job.await;
            while let Some(next) = this.next(key) {
                next.await;
            }
        });
        Ok(())
    }

    fn next(&self, key: Key) -> Option<Job> {
        let mut lines = self.lines.borrow_mut();
        let line = lines.get_mut(&key)?;
        if let Some((job, bytes)) = line.jobs.pop_front() {
            line.bytes -= bytes;
            return Some(job);
        }
        lines.remove(&key);
        None
    }

    /// Jobs running or waiting, over all connections; shutdown waits for them.
    pub fn len(&self) -> usize {
        self.lines.borrow().values().map(|line| line.jobs.len() + 1).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.borrow().is_empty()
    }
}
