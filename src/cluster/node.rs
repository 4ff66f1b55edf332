//! This process as a member of the cluster: what its cores want, what the stream says, and what follows from both.
//!
//! Owns: the membership, the calls under way in both directions, the directory, the queues. Everything runs on one
//! thread; nothing here waits, what has to wait is a task ([`super::thread`]).

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::adapter::Millis;
use protocol::adapter::entry::{self, Entry};
use protocol::adapter::membership::{Heard, Membership};
use protocol::adapter::message::{Flags, Kind, List, Message, Opts, Payload};
use protocol::adapter::name::{RequestId, Uid};
use protocol::adapter::replies::{Replies, Said};
use protocol::adapter::requests::{Failure, Requests};
use redis::RedisError;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::directory::Directory;
use super::link::Link;
use super::outbox::{self, Given, Item, Outbox};
use super::presence::{REPORTS_MAX, Report};
use super::reader::STALL_MS;
use super::registry::{Operation, Registrations};
use super::rooms::Room;
use super::{
    Answer, Ask, Broadcast, Command, Cores, Found, INBOUND_BYTES_MAX, Inbound, Publication, Shared, Target, Ticket,
    Weight,
};
use crate::model::ids::AccountId;
use crate::observe::metrics::cluster::{ClusterMetrics, Count, Level};
use crate::runtime::cores::CoreId;
use crate::runtime::mailbox::Inbox;

/// How long a call may take (`spec/cluster.md` §8).
const CALL_TIMEOUT_MS: Millis = 30_000;

/// A call that another process has to answer.
struct Asked {
    ticket: Ticket,
    account: AccountId,
    method: String,
    holder: String,
}

struct State {
    membership: Membership,
    requests: Requests,
    asked: HashMap<RequestId, Asked>,
    replies: Replies,
    directory: Directory,
    registrations: Registrations,
    outbox: Outbox,
    operations: Vec<Operation>,
    reports: VecDeque<Report>,
    /// Entries of the presence queue whose rows are written.
    written: Vec<String>,
}

pub(super) struct Node {
    cores: Arc<dyn Cores>,
    shared: Arc<Shared>,
    inbox: Inbox<Command>,
    /// For what is quick: look-ups and changes of the registry.
    pub(super) registry: Link,
    state: RefCell<State>,
    began: Instant,
    /// When the stream was read last.
    read_at: Cell<Millis>,
    stopping: Cell<bool>,
    inbound: Arc<AtomicUsize>,
    /// Something waits to be published, to be changed in the registry, to be given to the presence queue.
    pub(super) to_publish: Notify,
    pub(super) to_register: Notify,
    pub(super) to_report: Notify,
}

impl Node {
    pub(super) fn new(
        uid: Uid,
        cores: Arc<dyn Cores>,
        shared: Arc<Shared>,
        inbox: Inbox<Command>,
        registry: Link,
    ) -> Rc<Self> {
        let state = State {
            membership: Membership::new(uid, 0),
            requests: Requests::default(),
            asked: HashMap::new(),
            replies: Replies::default(),
            directory: Directory::default(),
            registrations: Registrations::default(),
            outbox: Outbox::default(),
            operations: Vec::new(),
            reports: VecDeque::new(),
            written: Vec::new(),
        };
        Rc::new(Self {
            cores,
            shared,
            inbox,
            registry,
            state: RefCell::new(state),
            began: Instant::now(),
            read_at: Cell::new(0),
            stopping: Cell::new(false),
            inbound: Arc::default(),
            to_publish: Notify::new(),
            to_register: Notify::new(),
            to_report: Notify::new(),
        })
    }

    pub(super) fn now(&self) -> Millis {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    pub(super) fn metrics(&self) -> &ClusterMetrics {
        &self.shared.metrics
    }

    pub(super) fn count(&self, count: Count) {
        self.shared.metrics.inc(count);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    // ---- what the cores want ------------------------------------------------------------------------------------

    /// Takes everything that the cores have left.
    pub(super) fn drain(self: &Rc<Self>) {
        let mut commands = Vec::new();
        let overflowed = self.inbox.take(&mut commands);
        for command in commands {
            self.command(command);
        }
        if overflowed {
            // What was refused may have been anything. Those who are connected come again and say who they are.
            log::error!("commands of the cores were refused: all clients are disconnected and catch up");
            self.forget_everybody();
            self.resync();
        }
    }

    /// Everybody whom the cores have named so far is going to be disconnected, and whose end was refused would stay for ever.
    fn forget_everybody(&self) {
        let mut state = self.state.borrow_mut();
        state.directory = Directory::default();
        self.metrics().set(Level::Connections, 0);
        for (account, method, socket) in std::mem::take(&mut state.registrations).into_all() {
            self.operate(&mut state, Operation::Delete { account, method, holder: socket.to_string(), ticket: None });
        }
    }

    fn command(self: &Rc<Self>, command: Command) {
        let mut state = self.state.borrow_mut();
        match command {
            Command::Joined { account, socket, place } => {
                state.directory.join(account, socket, place);
                self.metrics().set(Level::Connections, i64::try_from(state.directory.len()).unwrap_or(i64::MAX));
            }
            Command::Left { socket } => {
                state.directory.leave(socket);
                self.metrics().set(Level::Connections, i64::try_from(state.directory.len()).unwrap_or(i64::MAX));
                for (account, method) in state.registrations.leave(socket) {
                    let holder = socket.to_string();
                    self.operate(&mut state, Operation::Delete { account, method, holder, ticket: None });
                }
            }
            Command::Publish(publication) => self.publish(&mut state, publication),
            Command::Register { account, method, socket, ticket } => {
                if state.directory.place(&socket).is_none() {
                    // It has left before its home knew, and nobody would ever take the entry away.
                    self.cores.post(ticket.core, Inbound::Registered { ticket, done: false });
                    return;
                }
                state.registrations.insert(&account, &method, socket, self.now());
                self.operate(&mut state, Operation::Register { account, method, socket, ticket });
            }
            Command::Unregister { account, method, socket, ticket } => {
                state.registrations.remove(&account, &method, socket);
                let (holder, ticket) = (socket.to_string(), Some(ticket));
                self.operate(&mut state, Operation::Delete { account, method, holder, ticket });
            }
            Command::Find { account, method, grace_ms, ticket } => {
                drop(state);
                tokio::task::spawn_local(super::thread::find(Rc::clone(self), account, method, grace_ms, ticket));
            }
            Command::Ask { account, method, holder, arguments, ticket } => {
                let asked = Asked { ticket, account, method, holder };
                self.ask(&mut state, asked, arguments);
            }
            Command::Counted { request, count } => {
                if state.replies.is_open(&request) {
                    if let Some(said) = state.replies.counted(&request, count) {
                        self.say(&mut state, request, said);
                    }
                } else if count == 0 {
                    // It was counted without having answered, and has nobody to ask after all.
                    self.no_sockets(&mut state, request);
                }
            }
            Command::Acknowledged { request, result } => {
                let bytes = result.as_ref().map_or(0, String::len);
                let packet = result.map(Payload::json);
                if let Some(None) = packet {
                    // It came from a packet that was checked, so this is a mistake of ours. No result is not the result.
                    log::error!("the result of a call is nested too deeply for other replicas");
                    self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
                    return self.no_sockets(&mut state, request);
                }
                let message = Message::BroadcastAck { request, packet: packet.flatten() };
                self.append(&mut state, outbox::Kind::Reply, &message, bytes);
            }
            Command::Withdrawn { request } => {
                if state.replies.withdrew(&request) {
                    self.no_sockets(&mut state, request);
                }
            }
            Command::Seen(reports) => {
                state.reports.extend(reports);
                while state.reports.len() > REPORTS_MAX {
                    state.reports.pop_front();
                    self.count(Count::PresenceDropped);
                }
                self.to_report.notify_one();
            }
            Command::Written(entries) => {
                state.written.extend(entries);
                self.to_report.notify_one();
            }
        }
    }

    fn operate(&self, state: &mut State, operation: Operation) {
        state.operations.push(operation);
        self.to_register.notify_one();
    }

    fn publish(&self, state: &mut State, publication: Publication) {
        let Publication { rooms, except, arguments, durable } = publication;
        let bytes = arguments.len();
        let Some(packet) = List::json(arguments) else {
            // Its text was written by ourselves around content that was checked when it came in, but may be nested as
            // deeply as is allowed there.
            log::error!("an event is nested too deeply for other replicas");
            self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
            return self.count(if durable { Count::DroppedUpdate } else { Count::DroppedEphemeral });
        };
        let opts = Opts {
            rooms: rooms.iter().map(|room| Cow::Owned(room.to_string())).collect(),
            except: except.iter().map(|socket| Cow::Owned(socket.to_string())).collect(),
            flags: Flags::default(),
        };
        let message = Message::Broadcast { packet, request: None, opts };
        let kind = if durable { outbox::Kind::Update } else { outbox::Kind::Ephemeral };
        self.append(state, kind, &message, bytes);
    }

    /// Queues a message of the thread itself.
    fn enqueue(&self, state: &mut State, kind: outbox::Kind, message: &Message<'_>) {
        self.append(state, kind, message, 0);
    }

    /// `bytes` is what already counts against the limit of the queue.
    fn append(&self, state: &mut State, kind: outbox::Kind, message: &Message<'_>, bytes: usize) {
        state.membership.sent(message, self.now());
        let fields = entry::fields(state.membership.uid(), message);
        state.outbox.push(Item { kind, fields, bytes, at: self.now() });
        self.to_publish.notify_one();
    }

    fn ask(&self, state: &mut State, asked: Asked, arguments: String) {
        let bytes = arguments.len();
        if self.metrics().level(Level::RedisUp) == 0 {
            self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
            return self.answer(asked.ticket, Answer::Failed("Redis is not available".to_string()));
        }
        let request = RequestId::from_random(u64::from_le_bytes(crate::crypto::random::bytes()));
        let now = self.now();
        let (Some(packet), true) =
            (List::json(arguments), state.requests.begin(request.clone(), &state.membership, now, CALL_TIMEOUT_MS))
        else {
            self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
            return self.answer(asked.ticket, Answer::Failed("The call cannot be passed on".to_string()));
        };
        let opts = Opts {
            rooms: vec![Cow::Owned(asked.holder.clone())],
            except: Vec::new(),
            flags: Flags { timeout: Some(CALL_TIMEOUT_MS), ..Flags::default() },
        };
        state.asked.insert(request.clone(), asked);
        let kind = outbox::Kind::Request(request.clone());
        self.append(state, kind, &Message::Broadcast { packet, request: Some(request), opts }, bytes);
        self.conclude_in(state);
    }

    fn answer(&self, ticket: Ticket, answer: Answer) {
        self.count(match &answer {
            Answer::Acknowledged(_) => Count::CallsAnswered,
            Answer::NotAvailable => Count::CallsNotAvailable,
            Answer::TimedOut => Count::CallsTimedOut,
            Answer::Failed(_) => Count::CallsFailed,
        });
        self.cores.post(ticket.core, Inbound::Answered { ticket, answer });
    }

    // ---- what the stream says -----------------------------------------------------------------------------------

    /// Takes an entry, in the order of the stream.
    pub(super) fn entry(&self, entry: &Entry<'_>) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if entry.uid == *state.membership.uid() {
            return self.count(Count::EntriesOwn);
        }
        match state.membership.heard(&entry.uid, entry.kind, self.now()) {
            Heard::New { fresh } => {
                log::info!("replica {} is in the cluster ({} now)", entry.uid, state.membership.count());
                if !fresh {
                    state.requests.appeared(&entry.uid);
                }
            }
            Heard::Left => {
                log::info!("replica {} has left the cluster ({} now)", entry.uid, state.membership.count());
                self.gone(state, &entry.uid);
            }
            Heard::Known | Heard::Ignored => {}
        }
        self.transmit(state);
        match entry.kind {
            Kind::Broadcast => self.broadcast(state, entry),
            Kind::InitialHeartbeat | Kind::Heartbeat | Kind::AdapterClose => self.count(Count::EntriesControl),
            _ => match entry.message() {
                Ok(message) => self.control(state, &entry.uid, message),
                Err(_) => self.count(Count::EntriesMalformed),
            },
        }
    }

    fn control(&self, state: &mut State, from: &Uid, message: Message<'_>) {
        self.count(Count::EntriesControl);
        match message {
            Message::BroadcastClientCount { request, count } => {
                state.requests.counted(&request, from, count);
            }
            Message::BroadcastAck { request, packet } => {
                if state.requests.acknowledged(&request)
                    && let Some(asked) = state.asked.remove(&request)
                {
                    let result = packet.map(|packet| packet.into_json().into_owned());
                    self.answer(asked.ticket, Answer::Acknowledged(result));
                }
            }
            // What a replica of ours says when the connection that was asked has gone, or cannot be asked.
            Message::FetchSocketsResponse { request, .. } => {
                if let Some(failure) = state.requests.withdrew(&request, from) {
                    self.fail(state, &request, failure);
                }
            }
            // What a replica of ours says when it could not publish updates; see `lost`. Anything narrower is not said
            // by anybody and would be somebody's tool.
            Message::DisconnectSockets { opts, close: true } if opts.rooms.is_empty() && opts.except.is_empty() => {
                log::error!("replica {from} has lost updates: all clients are disconnected and catch up");
                self.resync();
            }
            // Answered, with an empty list, so that nobody waits; but who is connected is nobody's business.
            Message::FetchSockets { request, .. } => self.no_sockets(state, request),
            _ => {}
        }
    }

    fn broadcast(&self, state: &mut State, entry: &Entry<'_>) {
        // Most broadcasts are for accounts of which nobody is here. That shows before the payload is looked at.
        let mut asked = None;
        if let Some(address) = entry.address() {
            let (targets, ..) = self.route(state, &address.opts);
            if targets.is_empty() {
                self.count(Count::EntriesSkipped);
                if let Some(request) = address.request {
                    self.say(state, request, Said::NOBODY);
                }
                return;
            }
            asked = address.request;
        }
        let Ok(Message::Broadcast { packet, request, opts }) = entry.message() else {
            self.count(Count::EntriesMalformed);
            // Something that a reference server understands and we do not, such as a value that is nested very deeply.
            if let Some(request) = asked {
                self.say(state, request, Said::DECLINED);
            }
            return;
        };
        let (targets, rooms) = self.route(state, &opts);
        let except: Vec<Room> = opts.except.iter().filter_map(|name| Room::parse(name)).collect();
        let arguments = packet.into_json().into_owned();
        self.count(if targets.is_empty() { Count::EntriesSkipped } else { Count::EntriesDelivered });
        match request {
            Some(request) => self.pass_on_ask(state, request, targets, &rooms, &except, &arguments),
            None => self.pass_on(targets, &rooms, &except, arguments),
        }
    }

    /// Whom rooms mean here, by core, and the rooms that mean somebody.
    fn route(&self, state: &State, opts: &Opts<'_>) -> (Vec<(CoreId, Target)>, Vec<Room>) {
        if opts.rooms.is_empty() {
            let cores = (0_u16..).map(CoreId).take(self.cores.count());
            return (cores.map(|core| (core, Target::All)).collect(), Vec::new());
        }
        let rooms: Vec<Room> = opts.rooms.iter().filter_map(|name| Room::parse(name)).collect();
        let mut targets: Vec<(CoreId, Target)> = Vec::new();
        for room in &rooms {
            let account = match room {
                Room::Socket(socket) => state.directory.account(socket),
                room => room.account().filter(|account| state.directory.has_account(account)),
            };
            let Some(account) = account else { continue };
            let target = (self.cores.home_of(account), Target::Home(account.clone()));
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        (targets, rooms)
    }

    fn pass_on(&self, targets: Vec<(CoreId, Target)>, rooms: &[Room], except: &[Room], arguments: String) {
        let is_update = protocol::json::elements(&arguments).next().is_some_and(|name| name == r#""update""#);
        let seq = if is_update { seq_of(&arguments) } else { None };
        let waiting = self.inbound.load(Ordering::Relaxed);
        if waiting > INBOUND_BYTES_MAX || (!is_update && waiting > INBOUND_BYTES_MAX / 2) {
            if is_update {
                log::error!("the cores do not keep up with other replicas: all clients are disconnected and catch up");
                self.resync();
            } else {
                self.count(Count::DroppedEphemeral);
            }
            return;
        }
        let last = targets.len().saturating_sub(1);
        let mut arguments = Some(arguments);
        for (at, (core, target)) in targets.into_iter().enumerate() {
            let arguments = if at == last { arguments.take() } else { arguments.clone() }.unwrap_or_default();
            let weight = Weight::new(arguments.len(), &self.inbound);
            let broadcast =
                Broadcast { target, rooms: rooms.to_vec(), except: except.to_vec(), seq, arguments, weight };
            // A core that refuses it will notice that it has missed something.
            self.cores.post(core, Inbound::Broadcast(broadcast));
        }
    }

    fn pass_on_ask(
        &self,
        state: &mut State,
        request: RequestId,
        targets: Vec<(CoreId, Target)>,
        rooms: &[Room],
        except: &[Room],
        arguments: &str,
    ) {
        let mut by_core: Vec<(CoreId, Vec<Target>)> = Vec::new();
        for (core, target) in targets {
            match by_core.iter_mut().find(|(other, _)| *other == core) {
                Some((_, targets)) => targets.push(target),
                None => by_core.push((core, vec![target])),
            }
        }
        if !by_core.is_empty() && self.inbound.load(Ordering::Relaxed) > INBOUND_BYTES_MAX / 2 {
            log::warn!("a call of another replica is refused: the cores do not keep up");
            return self.say(state, request, Said::DECLINED);
        }
        if let Some(said) = state.replies.begin(&request, by_core.len(), self.now()) {
            return self.say(state, request, said);
        }
        for (core, targets) in by_core {
            let ask = Ask {
                request: request.clone(),
                targets,
                rooms: rooms.to_vec(),
                except: except.to_vec(),
                arguments: arguments.to_string(),
                weight: Weight::new(arguments.len(), &self.inbound),
            };
            if !self.cores.post(core, Inbound::Ask(ask)) {
                // The socket is there, but will not hear of it.
                state.replies.withdrew(&request);
                if let Some(said) = state.replies.counted(&request, 1) {
                    self.say(state, request.clone(), said);
                }
            }
        }
    }

    fn say(&self, state: &mut State, request: RequestId, said: Said) {
        let message = Message::BroadcastClientCount { request: request.clone(), count: said.count };
        self.enqueue(state, outbox::Kind::Count, &message);
        if said.withdrawn {
            self.no_sockets(state, request);
        }
    }

    /// Answers who asks for sockets; or, after a count, says that no acknowledgement will come. That is a message which
    /// servers of both kinds understand and which answers nothing that a reference server has asked, so it ignores it. A
    /// replica of ours need not let its caller wait for the rest of the 30 s.
    fn no_sockets(&self, state: &mut State, request: RequestId) {
        if let Some(sockets) = List::json("[]") {
            let message = Message::FetchSocketsResponse { request, sockets };
            self.enqueue(state, outbox::Kind::Reply, &message);
        }
    }

    fn gone(&self, state: &mut State, uid: &Uid) {
        for (request, failure) in state.requests.left(uid) {
            self.fail(state, &request, failure);
        }
    }

    fn fail(&self, state: &mut State, request: &RequestId, failure: Failure) {
        let Some(Asked { ticket, account, method, holder }) = state.asked.remove(request) else { return };
        match failure {
            Failure::Nobody => {
                self.operate(state, Operation::Delete { account, method, holder, ticket: None });
                self.answer(ticket, Answer::NotAvailable);
            }
            Failure::Gone => {
                self.count(Count::CallsTargetGone);
                // The registration of a process that has gone is of no use to anybody.
                self.operate(state, Operation::Delete { account, method, holder, ticket: None });
                self.cores.post(ticket.core, Inbound::Answered { ticket, answer: Answer::TimedOut });
            }
            // If it has gone its own replica takes the registration away; if it is busy the registration is valid.
            Failure::Withdrawn => {
                self.count(Count::CallsTargetGone);
                self.cores.post(ticket.core, Inbound::Answered { ticket, answer: Answer::TimedOut });
            }
            Failure::TimedOut => self.answer(ticket, Answer::TimedOut),
        }
    }

    /// Ends calls that nobody can answer.
    pub(super) fn conclude(&self) {
        self.conclude_in(&mut self.state.borrow_mut());
    }

    fn conclude_in(&self, state: &mut State) {
        for (request, failure) in state.requests.unanswerable(&state.membership, self.now()) {
            self.fail(state, &request, failure);
        }
    }

    fn transmit(&self, state: &mut State) {
        if let Some(message) = state.membership.poll_transmit(self.now()) {
            self.enqueue(state, outbox::Kind::Control, &message);
        }
    }

    // ---- time and trouble ---------------------------------------------------------------------------------------

    /// Announces this process.
    pub(super) fn announce(&self) {
        self.transmit(&mut self.state.borrow_mut());
    }

    /// Several times a second.
    pub(super) fn tick(&self) {
        let mut state = self.state.borrow_mut();
        let (now, state) = (self.now(), &mut *state);
        let is_current = now.saturating_sub(self.read_at.get()) <= STALL_MS;
        if is_current {
            for uid in state.membership.handle_timeout(now) {
                log::warn!("replica {uid} is silent and counts as gone ({} now)", state.membership.count());
                self.gone(state, &uid);
            }
        } else {
            self.metrics().set(Level::RedisUp, 0);
        }
        self.transmit(state);
        for (request, failure) in state.requests.handle_timeout(now) {
            self.fail(state, &request, failure);
        }
        for (request, said) in state.replies.handle_timeout(now) {
            self.say(state, request, said);
        }
        self.conclude_in(state);
        // A portion with each tick, so that many registrations are not refreshed in one go.
        for operation in state.registrations.due(now, 500) {
            self.operate(state, operation);
        }
        self.metrics().set(Level::Members, i64::try_from(state.membership.count()).unwrap_or(i64::MAX));
        let queued = self.shared.queued.load(Ordering::Relaxed);
        self.metrics().set(Level::QueueBytes, i64::try_from(queued).unwrap_or(i64::MAX));
    }

    /// The stream has just been read.
    pub(super) fn read_at(&self, now: Millis) {
        self.read_at.set(now);
        if self.metrics().level(Level::RedisUp) == 0 {
            self.metrics().set(Level::RedisUp, 1);
        }
    }

    /// The stream cannot be read.
    pub(super) fn deaf(&self, error: &RedisError) {
        if self.metrics().level(Level::RedisUp) == 1 {
            log::error!(
                "Redis does not answer ({error}): clients of this process are served, other replicas are not reached"
            );
            self.count(Count::Disconnects);
        }
        self.metrics().set(Level::RedisUp, 0);
        // Answers that were on their way are likely to be lost, and a caller is better told than left to wait.
        let state = &mut *self.state.borrow_mut();
        for request in state.requests.abandon() {
            if let Some(asked) = state.asked.remove(&request) {
                self.answer(asked.ticket, Answer::Failed("Redis is not available".to_string()));
            }
        }
    }

    /// The stream can be read again, after a while in which it could not.
    pub(super) fn resumed(&self) {
        log::info!("Redis answers again");
        let mut state = self.state.borrow_mut();
        let now = self.now();
        state.membership.resume(now);
        state.registrations.refresh_all();
        self.transmit(&mut state);
    }

    /// How far behind the stream the reader is, from the id of an entry.
    pub(super) fn lag(&self, id: &str) {
        let written: Option<i64> = id.split('-').next().and_then(|ms| ms.parse().ok());
        if let Some(written) = written {
            self.metrics().set(Level::LagMs, (crate::model::time::now_ms() - written).max(0));
        }
    }

    /// Updates were lost: all clients have to come again.
    pub(super) fn resync(&self) {
        self.count(Count::Resyncs);
        for core in (0_u16..).map(CoreId).take(self.cores.count()) {
            self.cores.post(core, Inbound::Resync);
        }
    }

    // ---- for the tasks ------------------------------------------------------------------------------------------

    /// The next pipeline for the stream.
    pub(super) fn batch(&self) -> Vec<Item> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if self.shared.lost.swap(false, Ordering::Relaxed) {
            // Updates of ours never reached the stream. Whoever missed them is told in the one way that servers of both
            // kinds understand: to disconnect their clients, who come again and catch up.
            let message = Message::DisconnectSockets { opts: Opts::default(), close: true };
            self.enqueue(state, outbox::Kind::Control, &message);
        }
        let (batch, given) = state.outbox.batch(self.now());
        self.give_up(state, given);
        batch
    }

    pub(super) fn published(&self, batch: &[Item]) {
        let bytes = batch.iter().map(|item| item.bytes).sum();
        self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
        for item in batch {
            self.count(item.kind.published());
        }
    }

    pub(super) fn refused(&self, batch: Vec<Item>, in_doubt: bool) {
        self.count(Count::PublishFailures);
        let mut state = self.state.borrow_mut();
        let given = state.outbox.refused(batch, in_doubt);
        self.give_up(&mut state, given);
    }

    fn give_up(&self, state: &mut State, given: Given) {
        self.shared.queued.fetch_sub(given.bytes, Ordering::Relaxed);
        given.counts.into_iter().for_each(|count| self.count(count));
        for request in given.requests {
            state.requests.acknowledged(&request);
            if let Some(asked) = state.asked.remove(&request) {
                self.answer(asked.ticket, Answer::Failed("Redis is not available".to_string()));
            }
        }
    }

    pub(super) fn has_to_publish(&self) -> bool {
        !self.state.borrow().outbox.is_empty() || self.shared.lost.load(Ordering::Relaxed)
    }

    pub(super) fn operations(&self, max: usize) -> Vec<Operation> {
        let operations = &mut self.state.borrow_mut().operations;
        let rest = operations.split_off(max.min(operations.len()));
        std::mem::replace(operations, rest)
    }

    /// An operation is done; `answer` is what its last command said.
    pub(super) fn operated(&self, operation: Operation, done: bool, answer: Option<i64>) {
        if let (Operation::Refresh { account, method, socket }, true, Some(0)) = (&operation, done, answer) {
            // A connection elsewhere has registered it since.
            self.state.borrow_mut().registrations.remove(account, method, *socket);
        }
        if let Some(ticket) = operation.ticket() {
            self.cores.post(ticket.core, Inbound::Registered { ticket, done });
        }
    }

    pub(super) fn reports(&self, max: usize) -> Vec<Report> {
        let reports = &mut self.state.borrow_mut().reports;
        let max = max.min(reports.len());
        reports.drain(..max).collect()
    }

    /// Reports that Redis has not taken.
    pub(super) fn reports_back(&self, reports: Vec<Report>) {
        let waiting = &mut self.state.borrow_mut().reports;
        for report in reports.into_iter().rev() {
            waiting.push_front(report);
        }
    }

    pub(super) fn written(&self) -> Vec<String> {
        std::mem::take(&mut self.state.borrow_mut().written)
    }

    pub(super) fn written_back(&self, entries: Vec<String>) {
        self.state.borrow_mut().written.extend(entries);
    }

    /// A connection of this process with an id, if there is one.
    pub(super) fn here(&self, holder: &str) -> Option<Found> {
        let socket = crate::model::ids::SocketId::parse(holder)?;
        self.state.borrow().directory.place(&socket).map(|place| Found::Here(socket, place))
    }

    /// The connection of this process that has registered a method, whatever the registry says.
    pub(super) fn registered_here(&self, account: &AccountId, method: &str) -> Option<Found> {
        let state = self.state.borrow();
        let socket = state.registrations.holder(account, method)?;
        state.directory.place(&socket).map(|place| Found::Here(socket, place))
    }

    pub(super) fn found(&self, ticket: Ticket, found: Found, waited: bool) {
        self.cores.post(ticket.core, Inbound::Found { ticket, found, waited });
    }

    /// From now on nothing is read or answered; what waits may still leave.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.to_publish.notify_one();
        self.to_register.notify_one();
        self.to_report.notify_one();
    }

    /// The last entry of this process.
    pub(super) fn farewell(&self) -> Vec<(&'static str, String)> {
        let mut state = self.state.borrow_mut();
        let message = state.membership.leave();
        entry::fields(state.membership.uid(), &message)
    }
}

/// The cursor in an update: `["update",{"id":…,"seq":57,…}]`.
fn seq_of(arguments: &str) -> Option<i64> {
    let container = protocol::json::elements(arguments).nth(1)?;
    let mut members = protocol::json::members(container);
    members.find(|(name, _)| *name == r#""seq""#).and_then(|(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::cluster::Place;
    use crate::model::ids::SocketId;
    use crate::runtime::mailbox::{Mailbox, mailbox_of};
    use crate::runtime::slab::Slab;

    /// Keeps what the one core would get.
    #[derive(Default)]
    struct Kept(Mutex<Vec<Inbound>>);

    impl Cores for Kept {
        fn count(&self) -> usize {
            1
        }

        fn home_of(&self, _: &AccountId) -> CoreId {
            CoreId(0)
        }

        fn post(&self, _: CoreId, inbound: Inbound) -> bool {
            self.0.lock().unwrap().push(inbound);
            true
        }
    }

    fn node(depth_max: usize) -> (Rc<Node>, Arc<Mailbox<Command>>, Arc<Kept>) {
        let (mailbox, inbox) = mailbox_of(depth_max).unwrap();
        let shared = Shared { queued: AtomicUsize::new(0), lost: AtomicBool::new(false), metrics: Arc::default() };
        let cores = Arc::new(Kept::default());
        let nowhere = redis::Client::open("redis://127.0.0.1:1").unwrap();
        let link = Link::new(nowhere, Duration::from_secs(1));
        (Node::new(Uid::from_random(1), Arc::clone(&cores) as _, Arc::new(shared), inbox, link), mailbox, cores)
    }

    #[test]
    fn nobody_whose_end_was_refused_stays() {
        let (node, mailbox, cores) = node(3);
        let account = AccountId::from("a");
        let ticket = Ticket { core: CoreId(0), number: 1 };
        let join = |socket: SocketId| {
            let place = Place { core: CoreId(0), key: Slab::default().insert(()) };
            Command::Joined { account: account.clone(), socket, place }
        };
        let register = |socket: SocketId| {
            let (account, method) = (account.clone(), "m".to_string());
            Command::Register { account, method, socket, ticket }
        };
        let (early, late) = (SocketId::random(), SocketId::random());
        mailbox.send(join(early)).unwrap();
        mailbox.send(register(early)).unwrap();
        node.drain();
        assert!(matches!(node.registered_here(&account, "m"), Some(Found::Here(holder, _)) if holder == early));
        node.operations(10);

        // One comes with the last that is taken; both ends are refused.
        for command in [Command::Written(Vec::new()), Command::Written(Vec::new()), join(late)] {
            mailbox.send(command).unwrap();
        }
        for socket in [early, late] {
            assert!(mailbox.send(Command::Left { socket }).is_err());
        }
        node.drain();
        assert!(cores.0.lock().unwrap().iter().any(|inbound| matches!(inbound, Inbound::Resync)));
        assert_eq!((node.here(early.as_str()), node.here(late.as_str())), (None, None));
        assert_eq!(node.registered_here(&account, "m"), None);
        assert_eq!(node.metrics().level(Level::Connections), 0);
        let operations = node.operations(10);
        assert!(
            matches!(&operations[..], [Operation::Delete { holder, .. }] if *holder == early.as_str()),
            "{operations:?}"
        );

        // Who comes again is known.
        mailbox.send(join(early)).unwrap();
        mailbox.send(register(early)).unwrap();
        node.drain();
        assert!(node.registered_here(&account, "m").is_some());
    }

    #[test]
    fn calls_and_answers_give_back_what_they_weighed() {
        let (node, mailbox, _) = node(10);
        node.metrics().set(Level::RedisUp, 1);
        let ticket = Ticket { core: CoreId(0), number: 1 };
        let arguments = r#"["rpc-request",{"method":"m"}]"#.to_string();
        let result = "1".repeat(100);
        let weight = arguments.len() + result.len();
        node.shared.queued.fetch_add(weight, Ordering::Relaxed);
        let (account, method, holder) = (AccountId::from("a"), "m".to_string(), SocketId::random().to_string());
        mailbox.send(Command::Ask { account, method, holder, arguments, ticket }).unwrap();
        mailbox.send(Command::Acknowledged { request: RequestId::from_random(1), result: Some(result) }).unwrap();
        node.drain();
        let batch = node.batch();
        assert_eq!(batch.iter().map(|item| item.bytes).sum::<usize>(), weight);
        assert_eq!(node.shared.queued.load(Ordering::Relaxed), weight);
        node.published(&batch);
        assert_eq!(node.shared.queued.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_call_is_declined_while_too_much_of_others_waits_for_the_cores() {
        let (node, mailbox, cores) = node(10);
        let socket = SocketId::random();
        let place = Place { core: CoreId(0), key: Slab::default().insert(()) };
        mailbox.send(Command::Joined { account: AccountId::from("a"), socket, place }).unwrap();
        node.drain();
        let weight = |bytes| Weight::new(bytes, &node.inbound);
        let answers = |number| {
            let request = Some(RequestId::from_random(number));
            let opts = Opts { rooms: vec![socket.to_string().into()], ..Opts::default() };
            let packet = List::json(r#"["rpc-request",{"method":"m"}]"#).unwrap();
            let data = Message::Broadcast { packet, request, opts }.encode_data();
            node.entry(&Entry { uid: Uid::from_random(2), kind: Kind::Broadcast, data: data.as_deref() });
            let kinds: Vec<_> = node.batch().into_iter().map(|item| item.kind).collect();
            kinds.into_iter().filter(|kind| *kind != outbox::Kind::Control).collect::<Vec<_>>()
        };
        let waiting = weight(INBOUND_BYTES_MAX / 2 + 1);
        assert_eq!(answers(1), [outbox::Kind::Count, outbox::Kind::Reply]);
        assert!(cores.0.lock().unwrap().is_empty());
        drop(waiting);
        assert_eq!(answers(2), []);
        assert!(matches!(&cores.0.lock().unwrap()[..], [Inbound::Ask(_)]));
        assert!(node.inbound.load(Ordering::Relaxed) > 0, "it waits for its core");
        cores.0.lock().unwrap().clear();
        assert_eq!(node.inbound.load(Ordering::Relaxed), 0);
    }
}
