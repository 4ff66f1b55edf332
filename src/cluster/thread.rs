//! The thread that talks to Redis: its start, its tasks, its end.
//!
//! Four connections: one that waits for the stream, one that appends to it, one for look-ups and the registry, and in a
//! worker one that waits for the presence queue. A blocking read never delays anything else (closes C-2).
//! Start: ask for the end of the stream, begin to read, announce. End: what waits is published, then type 13 is, as the
//! very last entry (closes C-4).

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use protocol::adapter::entry::{LENGTH_MAX, STREAM};
use protocol::adapter::name::Uid;
use redis::{Client, RedisError, Value};
use tokio::io::Interest;
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use super::link::Link;
use super::node::Node;
use super::outbox::Item;
use super::presence::{self, Consumer};
use super::{Cluster, Command, Cores, Found, Shared, Ticket, reader, registry};
use crate::model::ids::AccountId;
use crate::model::time::now_ms;
use crate::observe::metrics::cluster::{ClusterMetrics, Count, Level};
use crate::runtime::cores;
use crate::runtime::mailbox::{Inbox, mailbox};

/// How long a read of the stream may take, its waiting included.
const READ_PATIENCE: Duration = Duration::from_secs(5);

/// How long Redis may take to accept what is appended. Long, because what is sent again may arrive twice.
const APPEND_PATIENCE: Duration = Duration::from_secs(15);

/// How long a look-up may take; somebody waits for it.
const REGISTRY_PATIENCE: Duration = Duration::from_secs(3);

const PRESENCE_PATIENCE: Duration = Duration::from_secs(10);

const TICK: Duration = Duration::from_millis(200);

/// Pause between two look-ups of a method that is awaited.
const FIND_AGAIN: Duration = Duration::from_millis(200);

/// Operations and reports of one pipeline.
const PIPELINE_MAX: usize = 500;

pub struct Settings {
    /// `redis://` or `rediss://`.
    pub url: String,
    /// Names the process in the registry.
    pub instance: String,
    pub presence_stream_maxlen: Option<u64>,
    /// Set in a worker.
    pub consumer: Option<Consumer>,
}

/// Why there is no cluster.
#[derive(Debug)]
pub enum Error {
    Url(String),
    Unreachable { address: String, error: String },
    Thread(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => write!(
                f,
                "REDIS_URL cannot be used: {error}; expected redis://[user:password@]host[:port][/database], or rediss:// for TLS"
            ),
            Self::Unreachable { address, error } => write!(
                f,
                "REDIS_URL names {address}, but Redis does not answer there: {error}; expected a Redis 6.2 or later that lets this process in"
            ),
            Self::Thread(error) => write!(f, "cannot start the thread that talks to Redis: {error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Ends the thread.
pub struct Handle {
    stop: Arc<Notify>,
    done: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Publishes what waits and leaves the cluster; gives up when the time is over.
    pub fn stop(self, patience: Duration) {
        self.stop.notify_one();
        if self.done.recv_timeout(patience).is_err() {
            log::warn!(
                "Redis has not taken everything in time: other replicas notice within ten seconds that this one is gone"
            );
            return;
        }
        let _ = self.thread.join();
    }
}

/// Starts the thread; returns when Redis has answered and the process is announced.
pub fn start(settings: Settings, cores: Arc<dyn Cores>) -> Result<(Arc<Cluster>, Handle), Error> {
    let client = Client::open(settings.url.as_str()).map_err(|error| Error::Url(error.to_string()))?;
    let address = client.get_connection_info().addr.to_string();
    let (mailbox, inbox) = mailbox::<Command>().map_err(Error::Thread)?;
    let shared = Arc::new(Shared {
        queued: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
        metrics: Arc::new(ClusterMetrics::default()),
    });
    let cluster = Arc::new(Cluster { mailbox, shared: Arc::clone(&shared) });
    let stop = Arc::new(Notify::new());
    let (started, starting) = channel();
    let (finished, done) = channel();
    let thread = {
        let stop = Arc::clone(&stop);
        cores::background("redis", move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = started.send(Err(Error::Thread(error)));
                    return;
                }
            };
            let parts = Parts { settings, client, address, cores, shared, inbox, stop };
            LocalSet::new().block_on(&runtime, main(parts, started));
            let _ = finished.send(());
        })
        .map_err(Error::Thread)?
    };
    match starting.recv() {
        Ok(Ok(())) => Ok((cluster, Handle { stop, done, thread })),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Thread(std::io::Error::other("it ended while starting"))),
    }
}

struct Parts {
    settings: Settings,
    client: Client,
    address: String,
    cores: Arc<dyn Cores>,
    shared: Arc<Shared>,
    inbox: Inbox<Command>,
    stop: Arc<Notify>,
}

async fn main(parts: Parts, started: Sender<Result<(), Error>>) {
    let Parts { settings, client, address, cores, shared, inbox, stop } = parts;
    let reading = Rc::new(Link::new(client.clone(), READ_PATIENCE));
    let appending = Rc::new(Link::new(client.clone(), APPEND_PATIENCE));
    let position = match begin(&reading).await {
        Ok(position) => position,
        Err(error) => {
            let _ = started.send(Err(Error::Unreachable { address, error: error.to_string() }));
            return;
        }
    };
    let wake = match inbox.wake_std().and_then(tokio::net::UnixStream::from_std) {
        Ok(wake) => wake,
        Err(error) => {
            let _ = started.send(Err(Error::Thread(error)));
            return;
        }
    };
    shared.metrics.set(Level::RedisUp, 1);
    let uid = Uid::from_random(u64::from_le_bytes(crate::crypto::random::bytes()));
    log::info!("member {uid} of the cluster at {address}, instance {}", settings.instance);
    let registry = Link::new(client.clone(), REGISTRY_PATIENCE);
    let node = Node::new(uid, cores, shared, inbox, registry);
    spawn_local(reader::run(Rc::clone(&node), reading, position));
    spawn_local(commands(Rc::clone(&node), wake));
    let publishing = spawn_local(publish(Rc::clone(&node), Rc::clone(&appending)));
    let registering = spawn_local(operate(Rc::clone(&node), settings.instance));
    let reporting = spawn_local(report(Rc::clone(&node), settings.presence_stream_maxlen));
    if let Some(consumer) = settings.consumer {
        let link = Rc::new(Link::new(client, PRESENCE_PATIENCE));
        spawn_local(presence::consume(Rc::clone(&node), link, consumer));
    }
    spawn_local(tick(Rc::clone(&node)));
    node.announce();
    let _ = started.send(Ok(()));

    stop.notified().await;
    node.drain();
    node.stop();
    for task in [registering, reporting, publishing] {
        let _ = task.await;
    }
    farewell(&node, &appending).await;
}

async fn begin(link: &Link) -> Result<reader::Position, RedisError> {
    let mut connection = link.get().await?;
    redis::cmd("PING").query_async::<Value>(&mut connection).await?;
    reader::end(&mut connection).await
}

/// Takes what the cores leave, whenever they leave something.
async fn commands(node: Rc<Node>, wake: tokio::net::UnixStream) {
    while wake.readable().await.is_ok() {
        node.drain();
        // The bytes were taken past the runtime, which has to hear of it.
        let _ = wake.try_io(Interest::READABLE, || Err::<(), _>(std::io::ErrorKind::WouldBlock.into()));
    }
}

async fn tick(node: Rc<Node>) {
    while !node.is_stopping() {
        sleep(TICK).await;
        node.tick();
    }
}

/// Appends to the stream, everything that waits in one pipeline. When the process stops, ends with the queue.
async fn publish(node: Rc<Node>, link: Rc<Link>) {
    loop {
        if !node.has_to_publish() {
            if node.is_stopping() {
                return;
            }
            node.to_publish.notified().await;
            continue;
        }
        let Ok(mut connection) = link.get().await else {
            // Calls are told at once, and nothing else is lost.
            node.refused(node.batch(), false);
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let batch = node.batch();
        if batch.is_empty() {
            continue;
        }
        match append(&batch).query_async::<()>(&mut connection).await {
            Ok(()) => node.published(&batch),
            Err(error) => {
                log::warn!("{} entries were not appended to the stream: {error}", batch.len());
                link.failed(&error).await;
                node.refused(batch, true);
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn append(batch: &[Item]) -> redis::Pipeline {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    for item in batch {
        add_entry(&mut pipeline, &item.fields);
    }
    pipeline
}

fn add_entry(pipeline: &mut redis::Pipeline, fields: &[(&'static str, String)]) {
    pipeline.cmd("XADD").arg(STREAM).arg("MAXLEN").arg("~").arg(LENGTH_MAX).arg("*");
    for (name, value) in fields {
        pipeline.arg(name).arg(value);
    }
    pipeline.ignore();
}

/// Changes the registry. When the process stops, ends with the queue.
async fn operate(node: Rc<Node>, instance: String) {
    loop {
        let batch = node.operations(PIPELINE_MAX);
        if batch.is_empty() {
            if node.is_stopping() {
                return;
            }
            node.to_register.notified().await;
            continue;
        }
        let mut pipeline = redis::pipe();
        let lengths: Vec<usize> =
            batch.iter().map(|operation| operation.add(&mut pipeline, &instance, now_ms())).collect();
        let answers = match node.registry.get().await {
            Ok(mut connection) => pipeline.query_async::<Vec<Value>>(&mut connection).await,
            Err(error) => Err(error),
        };
        let failed = answers.as_ref().err();
        if let Some(error) = failed {
            log::warn!("the registry of methods was not changed: {error}");
            node.registry.failed(error).await;
        }
        let mut answers = answers.ok().map(Vec::into_iter);
        for (operation, length) in batch.into_iter().zip(lengths) {
            let last = answers.as_mut().and_then(|answers| answers.nth(length - 1));
            let number = match last {
                Some(Value::Int(number)) => Some(number),
                _ => None,
            };
            node.operated(operation, answers.is_some(), number);
        }
    }
}

/// Gives signs of life to the presence queue and acknowledges what is written. When the process stops, ends with both.
async fn report(node: Rc<Node>, maxlen: Option<u64>) {
    loop {
        let (reports, written) = (node.reports(PIPELINE_MAX), node.written());
        if reports.is_empty() && written.is_empty() {
            if node.is_stopping() {
                return;
            }
            node.to_report.notified().await;
            continue;
        }
        let mut pipeline = redis::pipe();
        for report in &reports {
            pipeline.add_command(report.append(maxlen)).ignore();
        }
        if !written.is_empty() {
            pipeline.add_command(presence::acknowledge(&written)).ignore();
        }
        let done = match node.registry.get().await {
            Ok(mut connection) => pipeline.query_async::<()>(&mut connection).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => node.metrics().add(Count::PresencePublished, reports.len() as u64),
            Err(error) => {
                node.registry.failed(&error).await;
                node.reports_back(reports);
                node.written_back(written);
                sleep(Duration::from_millis(250)).await;
            }
        }
    }
}

/// Finds out who holds a method.
pub(super) async fn find(node: Rc<Node>, account: AccountId, method: String, grace_ms: u64, ticket: Ticket) {
    let until = Instant::now() + Duration::from_millis(grace_ms);
    let mut waited = false;
    let found = loop {
        let asked = timeout(REGISTRY_PATIENCE, look_up(&node, &account, &method)).await;
        let asked = asked.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        match asked {
            Ok(Some(holder)) => break node.here(&holder).unwrap_or(Found::Elsewhere(holder)),
            Ok(None) => {
                // A reference server that has given up a call has deleted the entry (C-9); the holder is still there.
                if let Some(here) = node.registered_here(&account, &method) {
                    break here;
                }
                if Instant::now() >= until {
                    break Found::Nobody;
                }
            }
            Err(error) => {
                // Without Redis everything works on one process.
                node.registry.failed(&error).await;
                break node
                    .registered_here(&account, &method)
                    .unwrap_or_else(|| Found::Failed("Redis is not available".to_string()));
            }
        }
        waited = true;
        sleep(FIND_AGAIN.min(until.saturating_duration_since(Instant::now()))).await;
    };
    node.found(ticket, found, waited);
}

async fn look_up(node: &Node, account: &AccountId, method: &str) -> Result<Option<String>, RedisError> {
    let mut connection = node.registry.get().await?;
    registry::holder_of(registry::look_up(account, method).query_async::<Value>(&mut connection).await?)
}

/// Says good-bye; nothing follows with this uid.
async fn farewell(node: &Node, link: &Link) {
    let mut pipeline = redis::pipe();
    add_entry(&mut pipeline, &node.farewell());
    let said = match link.get().await {
        Ok(mut connection) => pipeline.query_async::<()>(&mut connection).await,
        Err(error) => Err(error),
    };
    if let Err(error) = said {
        log::warn!("the cluster could not be told that this replica leaves: {error}");
    }
}
