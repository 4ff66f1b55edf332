//! Writes the times that wait in the presence caches of a core, all of them in one statement for each table.
//!
//! What fails to be written is logged and not tried again: the next sign of life brings a newer time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::domain::{Context, presence};
use crate::model::time::now_ms;
use crate::realtime::presence::Presence;

pub const INTERVAL_MS: u64 = 5_000;

/// Entries that are no longer valid are swept with every so many flushes.
const SWEEP_EVERY: u32 = 60;

/// The flush of one core.
pub struct PresenceFlush {
    ctx: Rc<Context>,
    presence: Rc<Presence>,
    /// One flush after the other, so that an older time never overtakes a newer one.
    running: Cell<bool>,
}

impl PresenceFlush {
    /// Starts the loop.
    pub fn start(ctx: Rc<Context>, presence: Rc<Presence>) -> Rc<Self> {
        let this = Rc::new(Self { ctx, presence, running: Cell::new(false) });
        monoio::spawn(Rc::clone(&this).run());
        this
    }

    async fn run(self: Rc<Self>) {
        for flushes in 1_u32.. {
            monoio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
            self.flush().await;
            if flushes.is_multiple_of(SWEEP_EVERY) {
                self.presence.sessions.borrow_mut().sweep(now_ms());
                self.presence.machines.borrow_mut().sweep(now_ms());
            }
        }
    }

    /// Writes everything that waits. Also called when a core drains, once nobody reports any more.
    pub async fn flush(&self) {
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
}
