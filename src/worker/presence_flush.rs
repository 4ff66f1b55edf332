//! Writes the times that wait in the presence caches of a core, all of them in one statement for each table; or gives
//! them to the queue of a worker, if there is one.
//!
//! What fails to be written is logged and not tried again: the next sign of life brings a newer time.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::presence::{Report, Subject};
use crate::cluster::{Cluster, Command};
use crate::domain::{Context, presence};
use crate::model::time::now_ms;
use crate::realtime::presence::{Presence, Seen};

pub const INTERVAL_MS: u64 = 5_000;

/// How often the queue is given what waits. A report is late by no more than this; one at a time would cost each its
/// own message between threads.
pub const QUEUE_INTERVAL_MS: u64 = 250;

/// How often entries that are no longer valid are swept.
const SWEEP_EVERY_MS: u64 = 300_000;

/// The flush of one core.
pub struct PresenceFlush {
    ctx: Rc<Context>,
    presence: Rc<Presence>,
    queue: Option<Arc<Cluster>>,
    /// One flush after the other, so that an older time never overtakes a newer one.
    running: Cell<bool>,
}

impl PresenceFlush {
    /// Starts the loop.
    pub fn start(ctx: Rc<Context>, presence: Rc<Presence>, queue: Option<Arc<Cluster>>) -> Rc<Self> {
        let this = Rc::new(Self { ctx, presence, queue, running: Cell::new(false) });
        monoio::spawn(Rc::clone(&this).run());
        this
    }

    async fn run(self: Rc<Self>) {
        let interval_ms = if self.queue.is_some() { QUEUE_INTERVAL_MS } else { INTERVAL_MS };
        let sweep_every = SWEEP_EVERY_MS / interval_ms;
        for flushes in 1_u64.. {
            monoio::time::sleep(Duration::from_millis(interval_ms)).await;
            self.flush().await;
            if flushes.is_multiple_of(sweep_every) {
                self.presence.sessions.borrow_mut().sweep(now_ms());
                self.presence.machines.borrow_mut().sweep(now_ms());
            }
        }
    }

    /// Writes everything that waits. Also called when a core drains, once nobody reports any more.
    pub async fn flush(&self) {
        if let Some(queue) = &self.queue {
            return self.enqueue(queue);
        }
        while self.running.get() {
            monoio::time::sleep(Duration::from_millis(5)).await;
        }
        self.running.set(true);
        let sessions = self.presence.sessions.borrow_mut().take_pending();
        if let Err(error) = presence::store_sessions(&self.ctx, &sessions).await {
            log::error!("the presence of {} sessions is not written: {error}", sessions.len());
        }
        let machines = self.presence.machines.borrow_mut().take_pending();
        if let Err(error) = presence::store_machines(&self.ctx, &machines).await {
            log::error!("the presence of {} machines is not written: {error}", machines.len());
        }
        self.running.set(false);
    }

    fn enqueue(&self, queue: &Cluster) {
        let mut reports: Vec<Report> = Vec::new();
        let sessions = self.presence.sessions.borrow_mut().take_pending();
        reports.extend(sessions.into_iter().map(|seen| report(Subject::Session, seen)));
        let machines = self.presence.machines.borrow_mut().take_pending();
        reports.extend(machines.into_iter().map(|seen| report(Subject::Machine, seen)));
        if !reports.is_empty() {
            queue.send(Command::Seen(reports));
        }
    }
}

fn report<Id: Into<String>>(subject: Subject, seen: Seen<Id>) -> Report {
    Report { subject, id: seen.id.into(), account: seen.account.into(), at: seen.at }
}
