//! The one list of what starts, in order; the way back in named phases.
//!
//! Owns: the order of start and end, the signals, the joints between layers. It alone sees the whole configuration;
//! everybody else gets their part.
//!
//! Start: signals → io driver, database, listeners, cores, and beside them the keys. End, on SIGTERM or SIGINT: *drain*
//! (accept nothing, close sessions so that clients reconnect, let requests and events finish), then *leave*. Whatever is
//! not done when the time is up is left behind; what was acknowledged is on disk by then.

mod back_plane;
mod database;
mod error;
mod part;
mod replicas;
mod service;
mod settings;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::back_plane::BackPlane;
use self::database::Database;
pub use self::error::Error;
use self::part::{Part, Report};
use self::replicas::Replicas;
use crate::api::ui::Mount;
use crate::config::{self, Config};
use crate::crypto::seal::ColumnKeys;
use crate::crypto::token::Tokens;
use crate::net::budget::Budget;
use crate::net::listener;
use crate::observe::metrics::CoreMetrics;
use crate::realtime::message::{Mailboxes, Message, Stop};
use crate::runtime::cores::{self, CoreId};
use crate::runtime::mailbox::{Mailbox, mailbox};
use crate::runtime::patience::patiently;

/// Runs the server until a signal ends it.
#[allow(clippy::disallowed_methods, reason = "how long the start took, for the log")]
pub fn run(config: Config) -> Result<(), Error> {
    let began = Instant::now();
    crate::runtime::pages::keep_small();
    // Caught before anything else: a signal that arrives during the start ends the process in an orderly way, too.
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::Signals)?;
    let secret = config.master_secret()?;
    // Deriving a key takes longer than everything else together, so it begins now, and whoever needs one waits for what is
    // left of it. One after the other, the most wanted first: the cores have their first clients to serve.
    let (tokens, column_keys) = (Tokens::new(secret.expose()), ColumnKeys::new(secret.expose()));
    {
        let (tokens, column_keys) = (tokens.clone(), column_keys.clone());
        let derive = move || {
            tokens.ready();
            column_keys.warm_up();
            tokens.warm_up();
        };
        cores::background("derive", derive).map_err(Error::Cores)?;
    }
    let (driver, refused) = cores::choose(settings::driver_choice(config.listen.io_driver)).map_err(Error::IoDriver)?;
    if let Some(reason) = refused {
        log::warn!("io_uring is not available ({reason}): using epoll; HAPPIER_IO_DRIVER chooses");
    }
    // The object storage and the database are asked at the same time.
    let starting = {
        let config = config.clone();
        cores::background("back-plane", move || BackPlane::start(&config)).map_err(Error::Cores)?
    };
    let database = Database::open(&config)?;
    let back_plane = starting.join().map_err(|_| Error::BackPlane)??;

    let ui = config.ui.as_ref().map(web_ui).transpose()?;

    let mut address = SocketAddr::new(config.listen.address, config.listen.port);
    // A worker answers nobody, and one core does what it has to do.
    let count = if config.role.serves_clients() { config.listen.cores } else { 1 };
    let mut listeners: Vec<Option<std::net::TcpListener>> = Vec::with_capacity(count);
    if config.role.serves_clients() {
        let first = listen(address)?;
        address = first.local_addr().map_err(|error| Error::Listen { address, error })?;
        listeners.push(Some(first));
        for _ in 1..count {
            listeners.push(Some(listener::bind(address).map_err(|error| Error::Listen { address, error })?));
        }
    } else {
        listeners.push(None);
    }
    let mut metrics_listener = match config.metrics {
        Some(metrics) => {
            let address = SocketAddr::new(metrics.address, metrics.port);
            Some(
                patiently(|| listener::bind_alone(address), is_held)
                    .map_err(|error| Error::ListenMetrics { address, error })?,
            )
        }
        None => None,
    };
    let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| mailbox::<Message>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::Cores)?
        .into_iter()
        .unzip();
    let mailboxes: Arc<[Arc<Mailbox<Message>>]> = mailboxes.into();
    let metrics: Arc<[Arc<CoreMetrics>]> = (0..count).map(|_| Arc::new(CoreMetrics::default())).collect();
    let settings = Arc::new(settings::domain(&config, column_keys, address.port()));
    let limits = settings::api_limits(&config);
    let bodies = Budget::new(config.limits.bodies_bytes_max);
    // Others can reach this process before it accepts its first client, and no client is accepted before that.
    let (cluster, handle, mut presence) = match replicas::join(&config, Arc::new(Mailboxes(Arc::clone(&mailboxes))))? {
        Some(Replicas { cluster, handle, presence }) => (Some(cluster), Some(handle), presence),
        None => (None, None, None),
    };
    let config = Arc::new(config);

    let (reports, received) = channel();
    let mut threads = Vec::new();
    for (index, (inbox, listener)) in (0u16..).zip(inboxes.into_iter().zip(listeners)) {
        let part = Part {
            core: CoreId(index),
            driver,
            config: Arc::clone(&config),
            settings: Arc::clone(&settings),
            limits: limits.clone(),
            bodies: Arc::clone(&bodies),
            tokens: tokens.clone(),
            database: database.clone(),
            back_plane: back_plane.clone(),
            ui,
            listener,
            metrics_listener: metrics_listener.take(),
            inbox,
            mailboxes: Arc::clone(&mailboxes),
            cluster: cluster.clone(),
            presence: presence.take(),
            metrics: Arc::clone(&metrics),
            reports: reports.clone(),
        };
        threads.push(cores::spawn(CoreId(index), driver, move || part::main(part)).map_err(Error::Cores)?);
    }
    wait_ready(&received, count)?;
    let (flavor, driver, took_ms) = (config.flavor().name(), driver.name(), began.elapsed().as_millis());
    if config.role.serves_clients() {
        log::info!(
            "listening on http://{address} ({flavor} flavor, {count} cores, {driver}), ready after {took_ms} ms"
        );
    } else {
        log::info!("worker ({flavor} flavor, {driver}), ready after {took_ms} ms");
    }

    let name =
        wait_signal(signals, reports).map_or("signal", |signal| if signal == SIGINT { "SIGINT" } else { "SIGTERM" });
    log::info!("Received {name} signal. Exiting...");
    let deadline = Instant::now() + Duration::from_millis(config.shutdown_timeout_ms);
    stop(&mailboxes, &received, count, deadline);
    if let Some(handle) = handle {
        // A moment is left even if the cores have taken all the time: nobody else can say that this replica is gone. A
        // Redis that does not answer gets no more than that moment, however much time there is.
        let left = deadline.saturating_duration_since(Instant::now());
        handle.stop(left.clamp(Duration::from_millis(200), FAREWELL_MAX));
    }
    for thread in threads {
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
    log::info!("Shutting down...");
    Ok(())
}

/// The place of the web UI. A directory that is not there yet may come later; then its operator should know.
fn web_ui(ui: &config::Ui) -> Result<Mount, Error> {
    let refused = |expected| Error::UiPrefix { prefix: ui.prefix.clone(), expected };
    let mount = Mount::at(&ui.prefix).map_err(refused)?;
    if !ui.directory.join("index.html").is_file() {
        log::warn!("HAPPY_SERVER_UI_DIR is {}, which has no index.html", ui.directory.display());
    }
    Ok(mount)
}

/// How long the end waits for Redis to take what is still to be said.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// Opens the first listener of the public port, and makes sure that nobody else has it.
fn listen(address: SocketAddr) -> Result<std::net::TcpListener, Error> {
    patiently(|| listener::ensure_free(address).and_then(|()| listener::bind(address)), is_held)
        .map_err(|error| Error::Listen { address, error })
}

fn is_held(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

fn wait_ready(received: &Receiver<Report>, count: usize) -> Result<(), Error> {
    for _ in 0..count {
        match received.recv() {
            Ok(Report::Failed(error)) => return Err(error),
            Ok(_) => {}
            Err(_) => return Err(Error::CoreEnded),
        }
    }
    Ok(())
}

/// Blocks until a signal arrives. A second one, during the shutdown, ends the process at once.
#[allow(clippy::disallowed_methods, reason = "the operator insists")]
fn wait_signal(mut signals: Signals, reports: Sender<Report>) -> Option<i32> {
    let first = signals.forever().next();
    let watch = cores::background("signals", move || {
        if signals.forever().next().is_some() {
            log::warn!("a second signal: leaving at once");
            std::process::exit(1);
        }
        drop(reports);
    });
    if let Err(error) = watch {
        log::warn!("further signals are not watched for: {error}");
    }
    first
}

/// The phases of the end.
#[allow(clippy::disallowed_methods, reason = "the time-out of the shutdown")]
fn stop(mailboxes: &[Arc<Mailbox<Message>>], received: &Receiver<Report>, count: usize, deadline: Instant) {
    let tell = |stop| {
        for mailbox in mailboxes {
            let _ = mailbox.send(Message::Stop(stop));
        }
    };
    let wait = |what: &str| {
        let mut missing = count;
        while missing > 0 {
            match received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => missing -= 1,
                Err(RecvTimeoutError::Timeout) => {
                    log::warn!("{missing} cores have not {what} within HAPPIER_SHUTDOWN_TIMEOUT_MS");
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    tell(Stop::Drain);
    wait("finished their requests");
    tell(Stop::Leave);
    wait("ended");
}
