//! Work that nobody asks for: writing presence, noticing silence, pruning the change log, forgetting pairing requests,
//! counting rows.
//!
//! Owns: when it happens. Never: what is allowed or announced (`domain`).
//! Presence is written by every core, for its own connections; in a cluster with a worker it is given to a queue that
//! the worker writes ([`presence_queue`]). The other loops run on one core of a process, in the
//! roles `all` and `worker`; several processes may run them at once. Implements `spec/configuration.md` §6.

pub mod changes_cleanup;
pub mod gauges;
pub mod pairings_cleanup;
pub mod presence_flush;
pub mod presence_queue;
pub mod timeouts;

use std::rc::Rc;
use std::time::Duration;

use crate::domain::Context;
use crate::model::time::now_ms;
use crate::storage;

/// Starts the loops that a process needs once.
pub fn start(ctx: &Rc<Context>, changes_cleanup_interval_ms: Option<u64>) {
    let once = Rc::clone(ctx);
    monoio::spawn(repeat("the timeout of silent sessions and machines", timeouts::INTERVAL_MS, async move || {
        timeouts::pass(&once).await
    }));
    let once = Rc::clone(ctx);
    monoio::spawn(repeat("counting rows", gauges::INTERVAL_MS, async move || gauges::pass(&once).await));
    let once = Rc::clone(ctx);
    let forget = async move || pairings_cleanup::pass(&once).await;
    monoio::spawn(repeat("forgetting pairing requests", pairings_cleanup::INTERVAL_MS, forget));
    if let Some(interval_ms) = changes_cleanup_interval_ms {
        let once = Rc::clone(ctx);
        monoio::spawn(repeat("pruning the change log", interval_ms, async move || changes_cleanup::pass(&once).await));
    }
}

/// Repeats a pass for ever: the first at once, the next `interval_ms` after the end of the one before. A pass that fails
/// is repeated soon.
async fn repeat(name: &str, interval_ms: u64, pass: impl AsyncFn() -> Result<(), storage::Error>) {
    loop {
        let pause_ms = match pass().await {
            Ok(()) => interval_ms,
            Err(error) => {
                log::error!("{name} failed and is repeated: {error}");
                retry_ms()
            }
        };
        monoio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// From 250 to 375 ms, so that several processes do not come back at the same moment.
fn retry_ms() -> u64 {
    250 + now_ms().unsigned_abs() % 126
}
