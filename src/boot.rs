//! The one list of what starts, in order; the way back in named phases.
//!
//! Owns: the order of start and end, the signals, the joints between layers. It alone sees the whole configuration;
//! everybody else gets their part.
//!
//! Start: io driver → keys → database (open, migrate) → listeners → cores → metrics. End, on SIGTERM or SIGINT:
//! *drain* (accept nothing, close sessions so that clients reconnect, let requests and stored messages finish), then
//! *leave*. Whatever is not done after the shutdown time-out is left behind; acknowledged writes are on disk by then.

pub mod core;
pub mod error;
pub mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::core::Part;
pub use self::error::Error;
use crate::config::Config;
use crate::crypto::token::Tokens;
use crate::net::listener;
use crate::observe::metrics::CoreMetrics;
use crate::realtime::message::{Message, Stop};
use crate::runtime::cores::{self, CoreId};
use crate::runtime::mailbox::{Mailbox, mailbox};

/// Runs the server until a signal ends it.
#[allow(clippy::disallowed_methods, reason = "the time of start and shutdown, for the log and the time-out")]
pub fn run(config: Config) -> Result<(), Error> {
    let began = Instant::now();
    // Signals are caught first: one that arrives while starting ends the process in an orderly way, too.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::Signals)?;
    let (driver, refused) = cores::choose(config.io_driver).map_err(Error::IoDriver)?;
    if let Some(reason) = refused {
        log::warn!("io_uring is not available ({reason}); using epoll (HAPPIER_IO_DRIVER)");
    }
    let config = Arc::new(config);
    // Deriving the token key takes longer than everything else together, so it runs beside it.
    let secret = config.master_secret.clone();
    let tokens = std::thread::spawn(move || Tokens::derive(secret.expose()));
    let database = core::Database::open(&config)?;
    let tokens = tokens.join().map_err(|_| Error::Keys)?;

    let address = SocketAddr::new(config.bind, config.port);
    listener::ensure_free(address).map_err(|error| Error::Listen { address, error })?;
    let first = listener::bind(address).map_err(|error| Error::Listen { address, error })?;
    let address = first.local_addr().map_err(|error| Error::Listen { address, error })?;
    let metrics_listener = core::metrics_listener(&config)?;

    let count = config.cores.get();
    let mut mailboxes = Vec::new();
    let mut inboxes = Vec::new();
    for _ in 0..count {
        let (mailbox, inbox) = mailbox::<Message>().map_err(Error::Cores)?;
        mailboxes.push(mailbox);
        inboxes.push(inbox);
    }
    let mailboxes: Arc<[Arc<Mailbox<Message>>]> = mailboxes.into();
    let all_metrics: Arc<[Arc<CoreMetrics>]> = (0..count).map(|_| Arc::new(CoreMetrics::default())).collect();

    let (ready, is_ready) = mpsc::channel();
    let mut threads = Vec::new();
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(listener::bind(address).map_err(|error| Error::Listen { address, error })?);
    }
    let mut metrics_listener = metrics_listener;
    for (index, (inbox, listener)) in (0u16..).zip(inboxes.into_iter().zip(listeners)) {
        let part = Part {
            core: CoreId(index),
            driver,
            config: Arc::clone(&config),
            tokens: tokens.clone(),
            database: database.clone(),
            listener,
            metrics_listener: metrics_listener.take(),
            inbox,
            mailboxes: Arc::clone(&mailboxes),
            metrics: Arc::clone(&all_metrics),
            ready: ready.clone(),
        };
        threads.push(cores::spawn(CoreId(index), driver, move || core::main(part)).map_err(Error::Cores)?);
    }
    drop(ready);
    for _ in 0..count {
        is_ready.recv().map_err(|_| Error::CoreEnded)??;
    }
    log::info!(
        "listening on http://{address} ({} flavor, {count} cores, {}), ready after {} ms",
        config.flavor.name(),
        driver.name(),
        began.elapsed().as_millis()
    );

    if let Some(signal) = signals.forever().next() {
        let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
        log::info!("Received {name} signal. Exiting...");
    }
    let deadline = Instant::now() + Duration::from_millis(config.shutdown_timeout_ms);
    for stop in [Stop::Drain, Stop::Leave] {
        for mailbox in mailboxes.iter() {
            let _ = mailbox.send(Message::Stop(stop));
        }
        if stop == Stop::Drain {
            // The cores say when they have nothing left to do; a second signal, or the time-out, ends the waiting.
            core::wait_drained(&mailboxes, &all_metrics, deadline, &mut signals);
        }
    }
    for thread in threads {
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !thread.is_finished() {
            log::warn!("a core did not finish in time and is left behind");
        }
    }
    database.close();
    log::info!("Shutting down...");
    Ok(())
}
