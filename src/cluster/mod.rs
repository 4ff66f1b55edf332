//! Other processes: what replicas tell each other through Redis, in the format of the reference server, so that both
//! kinds can serve one user base during a migration (`spec/cluster.md`, docs/cluster.md).
//!
//! Owns: one thread with everything that talks to Redis: the stream in ([`reader`]) and out ([`outbox`]), the registry
//! of methods ([`registry`]), the queue of presence ([`presence`]). The rules of the stream are `protocol::adapter`.
//! Never: rules, statements, sockets, frames. It does not know why an event exists.
//! Invariants: a process is one member with one answer, whatever the number of its cores; nothing here ever waits for a
//! core, and no core for Redis; every queue has a limit in bytes or entries.
//!
//! Cores hand over [`Command`]s with [`Cluster`] and get [`Inbound`]s through [`Cores`]. A process without a cluster has
//! no `Cluster` at all.

pub mod directory;
mod link;
mod node;
pub mod outbox;
pub mod presence;
mod reader;
pub mod registry;
pub mod rooms;
mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub use self::thread::{Error, Handle, Settings, start};
use crate::model::ids::{AccountId, SocketId};
use crate::observe::metrics::cluster::{ClusterMetrics, Count, Level};
use crate::runtime::cores::CoreId;
use crate::runtime::mailbox::Mailbox;
#[cfg(test)]
use crate::runtime::mailbox::{Inbox, mailbox_of};
use crate::runtime::slab::Key;
use presence::Report;
pub use protocol::adapter::name::RequestId;
use rooms::Room;

/// Bytes that may wait to be published before ephemerals are dropped; they are out of date soon anyway.
pub const EPHEMERAL_QUEUE_BYTES_MAX: usize = 8 << 20;

/// Bytes that may wait to be published at all: at a thousand updates of 1 KB a second, a minute without Redis. What is
/// dropped beyond is made up for by telling the clients of all replicas to come again.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Bytes that may wait to be published before calls to other replicas, and the answers to theirs, are refused: what is left
/// is for updates.
pub const CALL_QUEUE_BYTES_MAX: usize = 32 << 20;

/// Bytes of events and calls of other replicas that may wait for the cores. Ephemerals are dropped and calls are refused at half
/// of it.
pub const INBOUND_BYTES_MAX: usize = 64 << 20;

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub core: CoreId,
    pub key: Key,
}

/// An event for other replicas.
#[derive(Debug)]
pub struct Publication {
    pub rooms: Vec<Room>,
    /// The connection that is not to hear of it.
    pub except: Option<SocketId>,
    /// The name of the event and its argument: a JSON array.
    pub arguments: String,
    /// Updates may not be lost; ephemerals may.
    pub durable: bool,
}

/// Names a question of a core; the answer carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub core: CoreId,
    pub number: u64,
}

/// What cores want.
#[derive(Debug)]
pub enum Command {
    Joined {
        account: AccountId,
        socket: SocketId,
        place: Place,
    },
    Left {
        socket: SocketId,
    },
    Publish(Publication),
    /// Makes a connection of this process the holder of a method; answered by [`Inbound::Registered`].
    Register {
        account: AccountId,
        method: String,
        socket: SocketId,
        ticket: Ticket,
    },
    /// Gives a method up, if it is still this connection's; answered by [`Inbound::Registered`].
    Unregister {
        account: AccountId,
        method: String,
        socket: SocketId,
        ticket: Ticket,
    },
    /// Who holds a method? Waits up to `grace_ms` for somebody to register it. Answered by [`Inbound::Found`].
    Find {
        account: AccountId,
        method: String,
        grace_ms: u64,
        ticket: Ticket,
    },
    /// Sends an event to a connection of another process and waits for its acknowledgement; `arguments` is the JSON
    /// array of the event. Answered by [`Inbound::Answered`].
    Ask {
        account: AccountId,
        method: String,
        holder: String,
        arguments: String,
        ticket: Ticket,
    },
    /// An [`Ask`] went to so many connections of a core.
    Counted {
        request: RequestId,
        count: u64,
    },
    /// One of them has acknowledged; the raw JSON of the first argument.
    Acknowledged {
        request: RequestId,
        result: Option<String>,
    },
    /// A connection that was asked has gone without an acknowledgement, or one that is counted cannot be asked.
    Withdrawn {
        request: RequestId,
    },
    /// Signs of life for the worker to write.
    Seen(Vec<Report>),
    /// The rows of these entries of the presence queue are written.
    Written(Vec<String>),
}

impl Command {
    /// What it adds to the bytes that wait to be published, and how many there may be for it to be taken.
    fn weight(&self) -> (usize, usize) {
        match self {
            Self::Publish(Publication { arguments, durable: true, .. }) => (arguments.len(), QUEUE_BYTES_MAX),
            Self::Publish(Publication { arguments, .. }) => (arguments.len(), EPHEMERAL_QUEUE_BYTES_MAX),
            Self::Ask { arguments, .. } => (arguments.len(), CALL_QUEUE_BYTES_MAX),
            Self::Acknowledged { result: Some(result), .. } => (result.len(), CALL_QUEUE_BYTES_MAX),
            _ => (0, usize::MAX),
        }
    }
}

/// Who holds a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Nobody,
    /// A connection of this process.
    Here(SocketId, Place),
    /// The id of a connection somewhere else.
    Elsewhere(String),
    /// Redis does not answer; why.
    Failed(String),
}

/// What became of a question to another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The raw JSON of the first argument of the acknowledgement.
    Acknowledged(Option<String>),
    NotAvailable,
    TimedOut,
    /// Redis does not answer; why.
    Failed(String),
}

/// Which connections of a core an event is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Members of an account, at its home.
    Home(AccountId),
    /// Everybody who is at home on this core.
    All,
}

/// An event of another process.
#[derive(Debug)]
pub struct Broadcast {
    pub target: Target,
    pub rooms: Vec<Room>,
    pub except: Vec<Room>,
    /// The account's cursor, if the event is an update.
    pub seq: Option<i64>,
    /// The name of the event and its arguments: a JSON array.
    pub arguments: String,
    /// Returns the bytes to the limit when the core is done with them.
    pub weight: Weight,
}

/// An event of another process that is to be acknowledged.
#[derive(Debug)]
pub struct Ask {
    pub request: RequestId,
    pub targets: Vec<Target>,
    pub rooms: Vec<Room>,
    pub except: Vec<Room>,
    pub arguments: String,
    /// Returns the bytes to the limit when the core is done with them.
    pub weight: Weight,
}

/// What cores are told.
#[derive(Debug)]
pub enum Inbound {
    Broadcast(Broadcast),
    /// Answer with [`Command::Counted`], once and soon.
    Ask(Ask),
    Registered {
        ticket: Ticket,
        done: bool,
    },
    /// `waited`: the method was registered only after the question.
    Found {
        ticket: Ticket,
        found: Found,
        waited: bool,
    },
    Answered {
        ticket: Ticket,
        answer: Answer,
    },
    /// Updates were lost: every client has to come again and catch up.
    Resync,
}

/// The way to the cores.
pub trait Cores: Send + Sync {
    fn count(&self) -> usize;
    /// The core on which an account's members are listed.
    fn home_of(&self, account: &AccountId) -> CoreId;
    /// Leaves something for a core. `false`: it is too far behind.
    fn post(&self, core: CoreId, inbound: Inbound) -> bool;
}

/// Bytes that count against a limit until this is dropped.
#[derive(Debug)]
pub struct Weight {
    bytes: usize,
    total: Arc<AtomicUsize>,
}

impl Weight {
    pub(crate) fn new(bytes: usize, total: &Arc<AtomicUsize>) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Self { bytes, total: Arc::clone(total) }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What the cores and the thread know together.
pub(crate) struct Shared {
    /// Bytes that wait to be published.
    queued: AtomicUsize,
    /// Updates were dropped since the stream was last told.
    lost: AtomicBool,
    metrics: Arc<ClusterMetrics>,
}

/// The way from the cores. Never blocks: what cannot be done is answered so, or counted.
pub struct Cluster {
    mailbox: Arc<Mailbox<Command>>,
    shared: Arc<Shared>,
}

impl Cluster {
    pub fn send(&self, command: Command) {
        self.offer(command);
    }

    /// The same for what has a weight. `false`: it is dropped, because too much waits already.
    pub fn offer(&self, command: Command) -> bool {
        let (bytes, limit) = command.weight();
        let queued = self.shared.queued.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let has_room = queued <= limit;
        let taken = has_room && self.mailbox.send(command).is_ok();
        if !taken {
            self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
        }
        if !taken && has_room {
            // A million commands behind: the thread is not coming back, and neither are its answers.
            log::error!("the thread that talks to Redis does not keep up: a command is dropped");
            self.shared.lost.store(true, Ordering::Relaxed);
        }
        taken
    }

    /// Hands an event over to the other replicas.
    pub fn publish(&self, publication: Publication) {
        let durable = publication.durable;
        if self.offer(Command::Publish(publication)) {
            return;
        }
        self.shared.metrics.inc(if durable { Count::DroppedUpdate } else { Count::DroppedEphemeral });
        if durable && !self.shared.lost.swap(true, Ordering::Relaxed) {
            log::error!("Redis has been away for too long: clients of other replicas miss updates and will be told");
        }
    }

    /// Answers a call of another replica with the raw JSON of the first argument of the acknowledgement. If there is no room
    /// for it, its caller is told not to wait.
    pub fn acknowledge(&self, request: RequestId, result: Option<String>) {
        if !self.offer(Command::Acknowledged { request: request.clone(), result }) {
            log::warn!("the answer to a call of another replica is dropped: too much waits to be published");
            self.shared.metrics.inc(Count::DroppedReply);
            self.send(Command::Withdrawn { request });
        }
    }

    /// One without a thread: what is sent stays in the inbox.
    #[cfg(test)]
    pub fn detached(depth_max: usize) -> (Arc<Self>, Inbox<Command>) {
        let (mailbox, inbox) = mailbox_of(depth_max).expect("a socket pair");
        let shared = Shared { queued: AtomicUsize::new(0), lost: AtomicBool::new(false), metrics: Arc::default() };
        (Arc::new(Self { mailbox, shared: Arc::new(shared) }), inbox)
    }

    pub fn metrics(&self) -> &Arc<ClusterMetrics> {
        &self.shared.metrics
    }

    /// Whether Redis answers.
    pub fn is_up(&self) -> bool {
        self.shared.metrics.level(Level::RedisUp) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(cluster: &Cluster) -> usize {
        cluster.shared.queued.load(Ordering::Relaxed)
    }

    fn waiting(inbox: &Inbox<Command>) -> Vec<Command> {
        let mut commands = Vec::new();
        inbox.take(&mut commands);
        commands
    }

    fn publication(arguments: String) -> Publication {
        Publication { rooms: Vec::new(), except: None, arguments, durable: true }
    }

    #[test]
    fn calls_and_their_answers_wait_for_redis_within_a_limit_in_bytes() {
        let (cluster, inbox) = Cluster::detached(100);
        let ask = |bytes: usize| Command::Ask {
            account: AccountId::from("a"),
            method: "m".to_string(),
            holder: "h".to_string(),
            arguments: "x".repeat(bytes),
            ticket: Ticket { core: CoreId(0), number: 0 },
        };
        let request = RequestId::from_random(1);
        assert!(cluster.offer(ask(CALL_QUEUE_BYTES_MAX / 2)));
        assert!(!cluster.offer(ask(CALL_QUEUE_BYTES_MAX / 2 + 1)));
        cluster.acknowledge(request.clone(), Some("x".repeat(CALL_QUEUE_BYTES_MAX / 2)));
        assert_eq!(queued(&cluster), CALL_QUEUE_BYTES_MAX);
        assert!(matches!(&waiting(&inbox)[..], [Command::Ask { .. }, Command::Acknowledged { .. }]));
        cluster.acknowledge(request.clone(), Some("1".to_string()));
        assert!(matches!(&waiting(&inbox)[..], [Command::Withdrawn { request: of }] if *of == request));
        assert_eq!(cluster.metrics().count(Count::DroppedReply), 1);
        // What has no weight, and updates, are taken all the same.
        cluster.acknowledge(request, None);
        cluster.publish(publication("[]".to_string()));
        assert_eq!((waiting(&inbox).len(), queued(&cluster)), (2, CALL_QUEUE_BYTES_MAX + 2));
        assert!(!cluster.shared.lost.load(Ordering::Relaxed));
    }

    #[test]
    fn what_the_thread_does_not_take_does_not_count_as_waiting() {
        let (cluster, inbox) = Cluster::detached(1);
        cluster.publish(publication("[1]".to_string()));
        cluster.publish(publication("[22]".to_string()));
        assert_eq!(queued(&cluster), 3);
        assert_eq!(cluster.metrics().count(Count::DroppedUpdate), 1);
        assert!(cluster.shared.lost.load(Ordering::Relaxed), "others have to be told");
        assert_eq!(waiting(&inbox).len(), 1);
    }
}
