//! What runs on one core: its parts, its loops, its end.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use futures_channel::oneshot;
use monoio::net::TcpListener;

use super::back_plane::{BackPlane, CoreEnd};
use super::database::Database;
use super::error::Error;
use super::service::{Metrics, Public};
use super::settings;
use crate::api::ui::{Mount, Ui};
use crate::api::{self, Api, socket::Door};
use crate::cluster::{Cluster, presence::Received};
use crate::config::{Config, role::Role};
use crate::crypto::token::{TokenCache, Tokens};
use crate::domain::{self, Context};
use crate::net::budget::Budget;
use crate::net::fd;
use crate::net::http::Http;
use crate::net::listener;
use crate::net::service::Service;
use crate::net::turn::Turn;
use crate::observe::metrics::{CoreMetrics, Gauge};
use crate::realtime::hub::Hub;
use crate::realtime::message::{Message, Stop};
use crate::runtime::cores::{CoreId, Driver};
use crate::runtime::fair::Fair;
use crate::runtime::mailbox::{Inbox, Mailbox};
use crate::runtime::post::{CorePost, Job};
use crate::runtime::race::race;
use crate::worker::{self, presence_flush::PresenceFlush, presence_queue::PresenceQueue};

/// Everything a core is given; made on the main thread.
pub(super) struct Part {
    pub core: CoreId,
    pub driver: Driver,
    pub config: Arc<Config>,
    pub settings: Arc<domain::Settings>,
    pub limits: api::Limits,
    pub bodies: Arc<Budget>,
    pub tokens: Tokens,
    pub database: Database,
    pub back_plane: BackPlane,
    pub ui: Option<Mount>,
    /// Absent in a worker.
    pub listener: Option<std::net::TcpListener>,
    /// The metrics server runs on one core.
    pub metrics_listener: Option<std::net::TcpListener>,
    pub inbox: Inbox<Message>,
    pub mailboxes: Arc<[Arc<Mailbox<Message>>]>,
    pub cluster: Option<Arc<Cluster>>,
    /// What a worker has to write; on one core.
    pub presence: Option<Inbox<Received>>,
    pub metrics: Arc<[Arc<CoreMetrics>]>,
    pub reports: Sender<Report>,
}

/// What a core tells the main thread.
pub(super) enum Report {
    Ready,
    Failed(Error),
    /// Nothing is left to do after [`Stop::Drain`].
    Drained,
    /// The loops have ended, after [`Stop::Leave`].
    Left,
}

/// A core's mailbox as the back plane sees it.
struct Posting(Arc<Mailbox<Message>>);

impl CorePost for Posting {
    fn post(&self, job: Job) {
        // A core that is a million messages behind does not notice one answer more or less; its caller times out.
        let _ = self.0.send(Message::Job(job));
    }
}

/// Runs a core until it is told to leave.
pub(super) async fn main(part: Part) {
    let reports = part.reports.clone();
    match Core::start(part) {
        Ok((core, leave)) => {
            let _ = reports.send(Report::Ready);
            // Dropped only if the loops are gone, which is an end as well.
            let _ = leave.await;
            drop(core);
            let _ = reports.send(Report::Left);
        }
        Err(error) => {
            let _ = reports.send(Report::Failed(error));
        }
    }
}

struct Core {
    hub: Rc<Hub>,
    door: Rc<Door>,
    presence: Rc<PresenceFlush>,
    /// In a worker.
    presence_queue: Option<Rc<PresenceQueue>>,
    http: Rc<Http<Public>>,
    reports: Sender<Report>,
    /// Taken by the phases of the end.
    accepting: RefCell<Option<oneshot::Sender<()>>>,
    leave: RefCell<Option<oneshot::Sender<()>>>,
}

impl Core {
    fn start(part: Part) -> Result<(Rc<Self>, oneshot::Receiver<()>), Error> {
        let Part { core, config, mailboxes, metrics, cluster, .. } = part;
        let own_metrics = Arc::clone(&metrics[core.index()]);
        let post: Arc<dyn CorePost> = Arc::new(Posting(Arc::clone(&mailboxes[core.index()])));
        let CoreEnd { files, vendors, image_workers, ui } = part.back_plane.on_core(&post, &own_metrics);
        let ui = ui.zip(part.ui).map(|(files, mount)| Ui { files, mount });
        let db = part.database.on_core(core.index(), mailboxes.len(), post)?;
        db.count_in(&own_metrics);
        let turn = Turn::new();
        own_metrics.set_io_driver(part.driver.name());
        let settings = settings::hub(&config, part.driver);
        let (mailboxes_of_hub, cluster_of_hub) = (Arc::clone(&mailboxes), cluster.clone());
        let hub =
            Hub::new(core, Rc::clone(&turn), settings, mailboxes_of_hub, cluster_of_hub, Arc::clone(&own_metrics))
                .map_err(Error::Cores)?;
        let tokens = Rc::new(RefCell::new(TokenCache::default()));
        let ctx = Rc::new(Context {
            db: db.clone(),
            events: Rc::clone(&hub) as _,
            tokens: Rc::new(part.tokens),
            metrics: Arc::clone(&own_metrics),
            settings: part.settings,
            files,
            vendors,
            image_workers,
        });
        let api = Api::new(
            Rc::clone(&ctx),
            Rc::clone(&tokens),
            part.limits,
            api::Extras { ui, debug_log: config.log.debug_file },
        );
        let door = Door::new(Rc::clone(&ctx), Rc::clone(&hub), tokens);
        hub.set_application(Rc::clone(&door) as _);

        let public = Public { api, hub: Rc::clone(&hub) };
        let http = Http::new(Rc::new(public), Rc::clone(&turn), part.bodies);
        let (accepting, until_drain) = oneshot::channel();
        let (leave, until_leave) = oneshot::channel();
        if let Some(listener) = part.listener {
            spawn_accept(listener, Rc::clone(&http), Some(until_drain))?;
        }
        if let Some(listener) = part.metrics_listener {
            // It answers to the very end: operators want to see the shutdown.
            let metrics = Metrics { cores: metrics, mailboxes, cluster: cluster.clone() };
            let metrics = Http::new(Rc::new(metrics), Rc::clone(&turn), Budget::new(0));
            spawn_accept(listener, metrics, None)?;
        }

        // With a worker beside it, a process that serves clients writes no presence itself.
        let queue = cluster.clone().filter(|_| config.role == Role::Api);
        let presence_queue = match (part.presence, cluster) {
            (Some(entries), Some(cluster)) => Some(PresenceQueue::start(Rc::clone(&ctx), cluster, entries)),
            _ => None,
        };
        let this = Rc::new(Self {
            hub: Rc::clone(&hub),
            presence: PresenceFlush::start(Rc::clone(&ctx), door.presence(), queue),
            presence_queue,
            door,
            http,
            reports: part.reports,
            accepting: RefCell::new(Some(accepting)),
            leave: RefCell::new(Some(leave)),
        });
        {
            let (turn, hub, metrics) = (Rc::clone(&turn), Rc::clone(&hub), Arc::clone(&own_metrics));
            monoio::spawn(async move {
                turn.flush_loop(|marked| hub.flush(marked), |seconds| metrics.turn(seconds)).await;
            });
        }
        {
            let (turn, hub) = (Rc::clone(&turn), Rc::clone(&hub));
            monoio::spawn(async move {
                let ticked = || {
                    hub.release_overdue();
                    hub.rpc_expire();
                    db.count_connections();
                    own_metrics.gauge_set(Gauge::Connections, turn.connections.get());
                    own_metrics.gauge_set(Gauge::OutboxBytes, turn.outbox_bytes.get().try_into().unwrap_or(i64::MAX));
                };
                turn.timer_loop(|token, at| hub.timer_fired(token, at), ticked).await;
            });
        }
        let ready = hub.reactor.wake_stream().map_err(Error::Cores)?;
        monoio::spawn(websocket_loop(hub, ready));
        let wake = part.inbox.wake_stream().map_err(Error::Cores)?;
        monoio::spawn(Rc::clone(&this).inbox_loop(part.inbox, wake));
        if core == CoreId(0) && config.role != Role::Api {
            worker::start(&ctx, config.changes_cleanup_interval_ms);
        }
        Ok((this, until_leave))
    }

    async fn inbox_loop(self: Rc<Self>, inbox: Inbox<Message>, wake: monoio::net::UnixStream) {
        let mut batch = Vec::new();
        let mut fair = Fair::after(1);
        loop {
            if fair.wait(pin!(wake.readable(false))).await.is_err() {
                log::error!("a core cannot wait for its mailbox any more");
                std::process::abort();
            }
            let overflowed = inbox.take(&mut batch);
            for message in batch.drain(..) {
                self.receive(message);
            }
            if overflowed {
                log::error!("messages of other cores were refused: all clients of this core are disconnected");
                self.hub.overflowed();
            }
        }
    }

    fn receive(self: &Rc<Self>, message: Message) {
        match message {
            Message::Adopt { descriptor, unread, peer } => match fd::adopt(descriptor) {
                Ok(stream) => {
                    monoio::spawn(Rc::clone(&self.http).serve(stream, peer, unread));
                }
                Err(error) => log::warn!("a connection was lost on its way between cores: {error}"),
            },
            Message::Move(moved) => self.hub.take_in(*moved),
            Message::Stop(Stop::Drain) => {
                monoio::spawn(Rc::clone(self).drain());
            }
            Message::Stop(Stop::Leave) => {
                if let Some(leave) = self.leave.borrow_mut().take() {
                    let _ = leave.send(());
                }
            }
            message => self.hub.receive(message),
        }
    }

    /// Accepts nothing more, sends clients elsewhere, and reports when everything that was begun is finished.
    async fn drain(self: Rc<Self>) {
        if let Some(accepting) = self.accepting.borrow_mut().take() {
            let _ = accepting.send(());
        }
        self.http.closing.set(true);
        self.hub.stop();
        // Close frames and last answers leave at the end of this turn; answers to them are not waited for.
        monoio::time::sleep(std::time::Duration::from_millis(5)).await;
        while self.http.active.get() > 0 || !self.door.is_idle() {
            monoio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // Nobody reports any more; what was reported is kept.
        self.presence.flush().await;
        if let Some(queue) = &self.presence_queue {
            queue.flush().await;
        }
        let _ = self.reports.send(Report::Drained);
    }
}

/// The one task behind all websockets of a core. After every turn everybody else has theirs.
async fn websocket_loop(hub: Rc<Hub>, ready: monoio::net::UnixStream) {
    let mut fair = Fair::after(1);
    while fair.wait(pin!(ready.readable(false))).await.is_ok() {
        hub.websockets_turn();
    }
    log::error!("a core cannot wait for its websockets any more");
    std::process::abort();
}

/// Accepts connections until told to stop, or to the end.
fn spawn_accept<S: Service + 'static>(
    listener: std::net::TcpListener,
    http: Rc<Http<S>>,
    stop: Option<oneshot::Receiver<()>>,
) -> Result<(), Error> {
    let listener = TcpListener::from_std(listener).map_err(Error::Cores)?;
    monoio::spawn(async move {
        let accept = listener::accept_loop(listener, |stream, peer: SocketAddr| {
            Rc::clone(&http).serve(stream, peer, Vec::new())
        });
        match stop {
            Some(stop) => {
                race(accept, stop).await;
            }
            None => accept.await,
        }
    });
    Ok(())
}
