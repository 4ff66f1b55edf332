//! Drives operations with acks over sockets, in a closed or an open loop.
//!
//! Closed: each socket has one operation under way and begins the next when it is answered. Open: operations begin when
//! they are due, round robin over the sockets, whether or not earlier ones were answered; their latency counts from the
//! moment they were due.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use crate::client::{Failure, Packet, Reader, Sender};
use crate::pace::Pacer;
use crate::scenario::{Group, wait_until};
use crate::tally::Recorder;

/// Operations without answer on one socket in an open loop; above, the operation is dropped and counted as a failure.
const OUTSTANDING_MAX: usize = 10_000;

/// What is done over one socket.
pub(super) trait Operation: 'static {
    /// Queues the next operation and returns the id of the ack it awaits.
    fn begin(&self, sender: &Sender) -> u64;
    /// Judges the answer.
    fn answered(&self, data: &str) -> Result<(), Failure>;
}

pub(super) struct Line<O> {
    pub(super) reader: Reader,
    pub(super) operation: O,
}

/// Operations of one socket that were begun and not answered: ack id and the moment they began or were due.
#[derive(Clone, Default)]
pub(super) struct Outstanding(Rc<RefCell<VecDeque<(u64, Instant)>>>);

impl Outstanding {
    pub(super) fn begin(&self, ack: u64, moment: Instant) {
        self.0.borrow_mut().push_back((ack, moment));
    }

    /// Takes the operation that this ack answers; usually the oldest.
    pub(super) fn answer(&self, ack: u64) -> Option<Instant> {
        let mut operations = self.0.borrow_mut();
        let position = operations.iter().position(|(id, _)| *id == ack)?;
        operations.remove(position).map(|(_, began)| began)
    }

    pub(super) fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

pub(super) async fn drive<O: Operation>(
    lines: Vec<Line<O>>,
    rate: Option<f64>,
    recorder: &Recorder,
) -> Result<(), Failure> {
    let group = Group::default();
    let mut targets = Vec::with_capacity(lines.len());
    let mut all: Vec<Outstanding> = Vec::with_capacity(lines.len());
    for Line { reader, operation } in lines {
        let (operation, outstanding) = (Rc::new(operation), Outstanding::default());
        all.push(outstanding.clone());
        targets.push((Rc::clone(reader.sender()), Rc::clone(&operation), outstanding.clone()));
        group.spawn(answers(reader, operation, outstanding, rate.is_none(), recorder.clone()));
    }
    if let Some(rate) = rate {
        let mut pacer = Pacer::start(rate)?;
        let mut turn = 0;
        while recorder.running() {
            let due = pacer.next().await?;
            let (sender, operation, outstanding) = &targets[turn % targets.len()];
            turn += 1;
            if outstanding.count() >= OUTSTANDING_MAX {
                recorder.fail(&Failure::new("dropped: too many operations without answer on a socket"));
                continue;
            }
            let ack = operation.begin(sender);
            outstanding.begin(ack, due);
            sender.flush_soon();
        }
        wait_until(recorder, || all.iter().all(|outstanding| outstanding.count() == 0)).await;
    } else {
        group.finished(recorder).await;
    }
    let unanswered = all.iter().map(|outstanding| outstanding.count() as u64).sum();
    if unanswered > 0 {
        recorder.tally.borrow_mut().fail_times("operations without answer".to_owned(), unanswered);
    }
    Ok(())
}

/// Reads one socket's answers; in a closed loop begins the next operation after each.
async fn answers<O: Operation>(
    mut reader: Reader,
    operation: Rc<O>,
    outstanding: Outstanding,
    closed: bool,
    recorder: Recorder,
) {
    let sender = Rc::clone(reader.sender());
    let mut begin = closed.then(Instant::now);
    let failure = loop {
        if let Some(began) = begin.take() {
            let ack = operation.begin(&sender);
            outstanding.begin(ack, began);
            if let Err(failure) = sender.flush().await {
                break failure;
            }
        }
        match reader.next().await {
            Ok(Packet::Ack { id, data }) => {
                let Some(began) = outstanding.answer(id) else {
                    break Failure::new("an ack that was not asked for");
                };
                let now = recorder.operation(began);
                if let Err(failure) = operation.answered(data) {
                    recorder.fail(&failure);
                }
                if closed {
                    if now >= recorder.window.closes {
                        return;
                    }
                    begin = Some(now);
                }
            }
            Ok(_) => {}
            Err(failure) => break failure,
        }
    };
    recorder.fail(&failure);
}
