//! Hands out operations to connections that do one at a time (HTTP requests, whole connections).
//!
//! Closed loop: there is always one. Open loop: they fall due at a rate; a free connection takes the oldest, and its
//! latency counts from the moment it was due, so a slow server cannot hide the queue it causes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use crate::client::Failure;
use crate::pace::Pacer;
use crate::signal::Signal;
use crate::tally::Recorder;

/// Operations due that no connection was free for; above, they are dropped and counted as failures.
const DUE_MAX: usize = 1_000_000;

pub(super) struct Jobs {
    recorder: Recorder,
    rate: Option<f64>,
    due: RefCell<VecDeque<Instant>>,
    free: RefCell<Vec<Rc<Signal>>>,
}

impl Jobs {
    pub(super) fn new(rate: Option<f64>, recorder: &Recorder) -> Rc<Self> {
        Rc::new(Self { recorder: recorder.clone(), rate, due: RefCell::default(), free: RefCell::default() })
    }

    /// Makes operations fall due until the window closes; returns at once in a closed loop.
    pub(super) async fn pace(&self) -> Result<(), Failure> {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut pacer = Pacer::start(rate)?;
        while self.recorder.running() {
            let due = pacer.next().await?;
            if self.due.borrow().len() >= DUE_MAX {
                self.recorder.fail(&Failure::new("dropped: too many operations due"));
                continue;
            }
            self.due.borrow_mut().push_back(due);
            if let Some(signal) = self.free.borrow_mut().pop() {
                signal.raise();
            }
        }
        for signal in self.free.take() {
            signal.raise();
        }
        Ok(())
    }

    /// The moment the next operation began or was due; `None` when the run is over.
    pub(super) async fn next(&self) -> Option<Instant> {
        if self.rate.is_none() {
            return self.recorder.running().then(Instant::now);
        }
        loop {
            if let Some(due) = self.due.borrow_mut().pop_front() {
                return Some(due);
            }
            if !self.recorder.running() {
                return None;
            }
            let signal = Rc::new(Signal::default());
            self.free.borrow_mut().push(Rc::clone(&signal));
            signal.reached(1).await;
        }
    }
}
