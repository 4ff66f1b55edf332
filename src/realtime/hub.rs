//! The sessions of one core and the homes of the accounts that live on it.
//!
//! Owns: every engine.io session of this core, its socket, its timers; the members of the accounts at home here. All
//! of it is core-local; other cores are reached through their mailboxes. Methods run to completion: nothing here awaits.
//! Invariants: every session is in `sessions` and in `sids`; a socket is a member of its home
//! exactly while it is in its session; nothing of a client is touched after [`Hub::end`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use protocol::engineio::session::Config;

use super::application::{Admission, Application, Caller};
use super::client::{Client, Socket};
use super::event::{Audience, Ephemeral, Event, Publish, Update};
use super::home::{GAP_WAIT_AMONG_REPLICAS_MS, GAP_WAIT_MS, Home, Member, Notice, Place, Released};
use super::message::{Delivery, Message, home_of};
use super::rpc::Peer;
use super::rpc::calls::Calls;
use super::rpc::questions::Questions;
use super::sids::Sids;
use crate::cluster::{Cluster, Command, Publication};
use crate::model::ids::{AccountId, SocketId};
use crate::net::frame::Frame;
use crate::net::reactor::Reactor;
use crate::net::turn::Turn;
use crate::observe::metrics::CoreMetrics;
use crate::runtime::cores::{CoreId, Driver};
use crate::runtime::mailbox::Mailbox;
use crate::runtime::slab::{Key, Slab};
use crate::runtime::timer::Millis;

/// Settings of the realtime endpoint.
#[derive(Clone, Debug)]
pub struct Settings {
    pub engine: Config,
    /// Time from the opening of a session to its first namespace.
    pub connect_timeout_ms: u64,
    pub outbox_bytes_max: usize,
    /// What the core's thread runs on.
    pub driver: Driver,
    /// How long a call waits for its method to be registered.
    pub rpc_grace_ms: u64,
}

/// What one other core gets at the end of the turn.
#[derive(Default)]
struct Outgoing {
    deliveries: Vec<Delivery>,
    /// The frame of the last delivery; others that get the very same one are added to it.
    last: Option<Frame>,
}

pub struct Hub {
    pub core: CoreId,
    pub turn: Rc<Turn>,
    pub settings: Settings,
    /// The websockets of this core.
    pub reactor: Reactor,
    mailboxes: Arc<[Arc<Mailbox<Message>>]>,
    pub(super) application: RefCell<Option<Rc<dyn Application>>>,
    pub(super) sessions: RefCell<Slab<Client>>,
    pub(super) sids: RefCell<Sids>,
    pub(super) homes: RefCell<HashMap<AccountId, Home>>,
    /// Calls that connections of this core have to answer.
    pub(super) calls: RefCell<Calls>,
    /// The way to other processes, if there are any.
    pub(super) cluster: Option<Arc<Cluster>>,
    /// What the cluster has to answer.
    pub(super) questions: RefCell<Questions>,
    /// Deliveries to other cores, collected until the end of the turn.
    outgoing: RefCell<Vec<Outgoing>>,
    /// Homes with updates held back, and until when.
    pub(super) overdue: Cell<Option<Millis>>,
    pub(super) metrics: Arc<CoreMetrics>,
    stopping: Cell<bool>,
}

impl Hub {
    /// Fails if the process has no descriptor left for the websockets' poller.
    pub fn new(
        core: CoreId,
        turn: Rc<Turn>,
        settings: Settings,
        mailboxes: Arc<[Arc<Mailbox<Message>>]>,
        cluster: Option<Arc<Cluster>>,
        metrics: Arc<CoreMetrics>,
    ) -> io::Result<Rc<Self>> {
        let cores = mailboxes.len();
        Ok(Rc::new(Self {
            core,
            reactor: Reactor::new(Rc::clone(&turn), settings.outbox_bytes_max, settings.driver)?,
            turn,
            settings,
            mailboxes,
            application: RefCell::new(None),
            sessions: RefCell::default(),
            sids: RefCell::default(),
            homes: RefCell::default(),
            calls: RefCell::default(),
            cluster,
            questions: RefCell::default(),
            outgoing: RefCell::new((0..cores).map(|_| Outgoing::default()).collect()),
            overdue: Cell::new(None),
            metrics,
            stopping: Cell::new(false),
        }))
    }

    /// The application needs the hub to publish, and the hub the application to ask; so it comes second.
    pub fn set_application(&self, application: Rc<dyn Application>) {
        *self.application.borrow_mut() = Some(application);
    }

    pub(super) fn application(&self) -> Rc<dyn Application> {
        Rc::clone(self.application.borrow().as_ref().expect("set before the first connection is accepted"))
    }

    /// The core on which an account's members are listed.
    pub fn home_of(&self, account: &AccountId) -> CoreId {
        home_of(account, self.mailboxes.len())
    }

    /// Leaves a message for another core, and says whether it was taken. A mailbox that is full refuses it; see
    /// [`Self::overflowed`] for what comes of that.
    pub fn post(&self, to: CoreId, message: Message) -> bool {
        self.try_post(to, message).is_none()
    }

    /// The same for whoever has to deal with what was refused: gives it back.
    pub(super) fn try_post(&self, to: CoreId, message: Message) -> Option<Message> {
        let refused = self.mailboxes[to.index()].send(message).err();
        if refused.is_some() {
            log::error!("core {} does not keep up: its mailbox is full", to.0);
        }
        refused
    }

    pub(super) fn cores_len(&self) -> usize {
        self.mailboxes.len()
    }

    /// Whether nothing is left of any client.
    #[cfg(test)]
    pub(super) fn is_at_rest(&self) -> bool {
        self.sessions.borrow().is_empty()
            && self.sids.borrow().is_empty()
            && self.homes.borrow().is_empty()
            && self.calls.borrow().is_idle()
            && self.outgoing.borrow().iter().all(|batch| batch.deliveries.is_empty())
            && self.reactor.is_empty()
    }

    pub fn sessions_len(&self) -> usize {
        self.sessions.borrow().len()
    }

    // ---- homes --------------------------------------------------------------------------------------------------

    /// Adds a connection to its account's home.
    pub(super) fn join(&self, account: &AccountId, member: Member) {
        let home = self.home_of(account);
        if home == self.core {
            self.homes.borrow_mut().entry(account.clone()).or_default().join(member);
        } else {
            self.post(home, Message::Join { account: account.clone(), member });
        }
    }

    pub(super) fn leave(&self, account: &AccountId, place: Place) {
        let home = self.home_of(account);
        if home != self.core {
            self.post(home, Message::Leave { account: account.clone(), place });
            return;
        }
        if let Entry::Occupied(mut entry) = self.homes.borrow_mut().entry(account.clone()) {
            entry.get_mut().leave(place);
            if entry.get().is_vacant() {
                entry.remove();
            }
        }
    }

    fn publish_here(&self, event: Event) {
        // Nobody of an account without a home is connected to this process: clients catch up when they come back.
        match event {
            Event::Update(update) => {
                if self.homes.borrow().contains_key(&update.account) {
                    let until = self.gap_ends();
                    self.with_home(&update.account.clone(), |home, due| home.offer(update, until, due));
                } else if self.cluster.is_some() {
                    self.tell_replicas(&update.account, &update.audience, update.skip, &encode_update(&update));
                }
            }
            Event::Pair(pair) => {
                if self.homes.borrow().contains_key(&pair[0].account) {
                    let until = self.gap_ends();
                    self.with_home(&pair[0].account.clone(), |home, due| home.offer_pair(*pair, until, due));
                } else if self.cluster.is_some() {
                    for update in pair.iter() {
                        self.tell_replicas(&update.account, &update.audience, update.skip, &encode_update(update));
                    }
                }
            }
            Event::Silent { account, seq } => {
                let until = self.gap_ends();
                self.with_home(&account, |home, due| home.pass(seq, until, due));
            }
            Event::Withdrawn { account, session, seq } => {
                if let Some(home) = self.homes.borrow_mut().get_mut(&account) {
                    home.withdraw(session, seq);
                }
            }
            Event::Ephemeral(ephemeral) => {
                let homes = self.homes.borrow();
                let home = homes.get(&ephemeral.account);
                if home.is_some() || self.cluster.is_some() {
                    let frame = encode_ephemeral(&ephemeral);
                    if let Some(home) = home {
                        self.deliver(home.recipients(&ephemeral.audience), &frame);
                    }
                    self.tell_replicas(&ephemeral.account, &ephemeral.audience, None, &frame);
                }
            }
        }
    }

    /// Until when an update of now waits for those before it.
    pub(super) fn gap_ends(&self) -> Millis {
        let wait_ms = if self.cluster.is_some() { GAP_WAIT_AMONG_REPLICAS_MS } else { GAP_WAIT_MS };
        self.turn.now() + wait_ms
    }

    /// Hands an event over to the other processes, in the form in which it goes to clients.
    fn tell_replicas(&self, account: &AccountId, audience: &Audience, except: Option<SocketId>, frame: &Frame) {
        let Some(cluster) = &self.cluster else { return };
        // The packet is `42` and the event; only the process that encoded it may give it its id.
        let Some(Ok(arguments)) = frame.packet().get(2..).map(std::str::from_utf8) else { return };
        let durable = arguments.starts_with(r#"["update""#);
        let (rooms, arguments) = (audience.rooms(account), arguments.to_string());
        cluster.publish(Publication { rooms, except, arguments, durable });
    }

    pub(super) fn with_home(
        &self,
        account: &AccountId,
        act: impl FnOnce(&mut Home, &mut Vec<Released>) -> Option<Millis>,
    ) {
        let mut homes = self.homes.borrow_mut();
        let Some(home) = homes.get_mut(account) else { return };
        let mut due = Vec::new();
        let wait = act(home, &mut due);
        self.note_overdue(wait);
        for released in &due {
            self.fan_out(home, released);
        }
    }

    fn fan_out(&self, home: &Home, released: &Released) {
        let mut recipients = home.recipients_of(released).peekable();
        match &released.notice {
            Notice::Own(update) => {
                if recipients.peek().is_some() || self.cluster.is_some() {
                    let frame = encode_update(update);
                    self.deliver(recipients, &frame);
                    self.tell_replicas(&update.account, &update.audience, update.skip, &frame);
                }
            }
            Notice::Foreign(foreign) => self.deliver(recipients, &foreign.frame),
        }
    }

    pub(super) fn deliver<'a>(&self, recipients: impl Iterator<Item = &'a Member>, frame: &Frame) {
        for member in recipients {
            self.hand_over(Peer { place: member.place, socket: member.socket }, frame);
        }
    }

    /// Sends a frame to a connection wherever it is, after everything handed over to the same place before it.
    fn hand_over(&self, to: Peer, frame: &Frame) {
        let Peer { place, socket } = to;
        if place.core == self.core {
            return self.emit(place.key, frame.clone());
        }
        let mut outgoing = self.outgoing.borrow_mut();
        let batch = &mut outgoing[place.core.index()];
        if batch.deliveries.is_empty() {
            // The flusher sends batches at the end of the turn; any key wakes it.
            self.turn.mark(place.key);
        }
        match batch.deliveries.last_mut() {
            Some(last) if batch.last.as_ref().is_some_and(|other| other.is_same(frame)) => {
                last.to.push((place.key, socket))
            }
            _ => {
                batch.deliveries.push(Delivery { frame: frame.bytes().to_vec(), to: vec![(place.key, socket)] });
                batch.last = Some(frame.clone());
            }
        }
    }

    fn note_overdue(&self, wait: Option<Millis>) {
        if let Some(at) = wait {
            self.overdue.set(Some(self.overdue.get().map_or(at, |other| other.min(at))));
        }
    }

    /// Lets go of updates whose predecessors have not come in time. Called with every tick of the wheel.
    pub fn release_overdue(&self) {
        let now = self.turn.now();
        if self.overdue.get().is_none_or(|at| at > now) {
            return;
        }
        self.overdue.set(None);
        let mut homes = self.homes.borrow_mut();
        for home in homes.values_mut() {
            let mut due = Vec::new();
            let wait = home.overdue(now, &mut due);
            self.note_overdue(wait);
            for released in &due {
                self.fan_out(home, released);
            }
        }
        homes.retain(|_, home| !home.is_vacant());
    }

    // ---- sockets ------------------------------------------------------------------------------------------------

    /// Turns a session into a connection of an account: it gets its socket id and joins its rooms.
    pub(super) fn admit(&self, key: Key, admission: Admission, socket: SocketId) {
        let Admission { account, class } = admission;
        let place = Place { core: self.core, key };
        if let Some(cluster) = &self.cluster {
            cluster.send(Command::Joined { account: account.clone(), socket, place });
        }
        self.join(&account, Member { place, socket, class: class.clone() });
        if let Some(client) = self.sessions.borrow_mut().get_mut(key) {
            debug_assert!(client.socket.is_none());
            client.socket = Some(Box::new(Socket { id: socket, account: account.clone(), class: class.clone() }));
        }
        self.application().joined(&Caller { key, socket, account: &account }, &class);
    }

    /// Takes the socket of a session away, if it has one.
    pub(super) fn dismiss(&self, key: Key) {
        let socket = self.sessions.borrow_mut().get_mut(key).and_then(|client| client.socket.take());
        if let Some(socket) = socket {
            if let Some(cluster) = &self.cluster {
                cluster.send(Command::Left { socket: socket.id });
            }
            self.leave(&socket.account, Place { core: self.core, key });
            self.rpc_holder_gone(key);
            self.application().left(&Caller { key, socket: socket.id, account: &socket.account }, &socket.class);
        }
    }

    /// Sends an encoded packet to a client; to one that is gone it is dropped.
    pub fn emit(&self, key: Key, frame: Frame) {
        let mut sessions = self.sessions.borrow_mut();
        let Some(client) = sessions.get_mut(key) else { return };
        // Nothing here may reach the homes: an update may be on its way to their members right now. A client that
        // cannot take the frame is therefore only marked, and ended with the turn.
        if client.send(frame).needs_mark() {
            self.turn.mark(key);
        }
    }

    /// Sends an event with one argument, given as JSON.
    pub fn emit_event(&self, key: Key, name: &str, argument: &str) {
        self.emit(key, Frame::text(|out| protocol::socketio::packet::encode_event(out, name, argument)));
    }

    /// Answers an event that asked for it.
    pub fn acknowledge(&self, key: Key, ack: Option<u64>, argument: &str) {
        if let Some(id) = ack {
            self.emit(key, Frame::text(|out| protocol::socketio::packet::encode_ack(out, id, argument)));
        }
    }

    /// Answers an event after the updates of the connection's account that this core has published before, its own among
    /// them. They come by way of the account's home, so for a connection that lives elsewhere the answer does, too.
    pub fn acknowledge_in_order(&self, from: &Caller<'_>, ack: Option<u64>, argument: &str) {
        let Caller { key, socket, account } = *from;
        let home = self.home_of(account);
        if home == self.core {
            return self.acknowledge(key, ack, argument);
        }
        if let Some(id) = ack {
            let frame = Frame::text(|out| protocol::socketio::packet::encode_ack(out, id, argument)).bytes().to_vec();
            self.post(home, Message::Relay { to: self.peer(key, socket), frame });
        }
    }

    /// Whether the connection is still the one it was.
    pub fn is_connected(&self, key: Key, socket: SocketId) -> bool {
        self.sessions.borrow().get(key).and_then(|client| client.socket.as_ref()).is_some_and(|s| s.id == socket)
    }

    // ---- turn ---------------------------------------------------------------------------------------------------

    /// End of turn: writes sockets that have output and sends what was collected for other cores.
    pub fn flush(&self, marked: &mut Vec<Key>) {
        for key in marked.drain(..) {
            self.settle(key);
        }
        self.reactor.write_together();
        for (index, batch) in self.outgoing.borrow_mut().iter_mut().enumerate() {
            if !batch.deliveries.is_empty() {
                let to = CoreId(u16::try_from(index).expect("fewer than 2^16 cores"));
                self.post(to, Message::Deliver(std::mem::take(batch).deliveries));
            }
        }
    }

    /// Messages for this core were refused: frames for its clients, or events and members of the accounts at home here.
    /// All of them are disconnected, wherever they are; they come back and catch up, so nothing is lost in silence.
    pub fn overflowed(&self) {
        self.end_all();
        // Whose leaving was refused is still listed, and so is who moved away and whose end was refused. Requests for those
        // that live on are refused all the same, as of a session that nobody knows.
        self.homes.borrow_mut().clear();
        self.sids.borrow_mut().forget_all();
        for core in (0u16..).map(CoreId).take(self.cores_len()).filter(|core| *core != self.core) {
            self.post(core, Message::Overflowed(self.core));
        }
    }

    fn end_members_of(&self, home: CoreId) {
        let keys = self.sessions.borrow().keys();
        let is_member = |client: &Client| client.socket.as_ref().is_some_and(|s| self.home_of(&s.account) == home);
        for key in keys {
            if self.sessions.borrow().get(key).is_some_and(is_member) {
                self.end_now(key);
            }
        }
    }

    /// Takes a message of another core that concerns members and deliveries.
    pub fn receive(&self, message: Message) {
        match message {
            Message::Publish(event) => self.publish_here(event),
            Message::Join { account, member } => {
                self.homes.borrow_mut().entry(account).or_default().join(member);
            }
            Message::Leave { account, place } => self.leave(&account, place),
            Message::Rpc(post) => self.rpc_receive(post),
            Message::Cluster(inbound) => self.inbound(inbound),
            Message::Deliver(deliveries) => {
                for Delivery { frame, to } in deliveries {
                    let frame = Frame::from_bytes(&frame);
                    for (key, socket) in to {
                        if self.is_connected(key, socket) {
                            self.emit(key, frame.clone());
                        }
                    }
                }
            }
            Message::Overflowed(home) => self.end_members_of(home),
            Message::Relay { to, frame } => self.hand_over(to, &Frame::from_bytes(&frame)),
            Message::Forget(sid) => {
                self.sids.borrow_mut().forget(sid);
            }
            Message::Job(job) => job(),
            Message::Adopt { .. } | Message::Move(_) | Message::Stop(_) => {
                unreachable!("connections are taken by the endpoint and the process is stopped by boot")
            }
        }
    }

    /// Ends every session in an orderly way: clients see a transport that closes and reconnect elsewhere
    /// (`spec/realtime.md` §12).
    pub fn stop(&self) {
        self.stopping.set(true);
        self.end_all();
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }
}

impl Publish for Hub {
    fn reaches_replicas(&self) -> Option<bool> {
        self.cluster.as_ref().map(|cluster| cluster.is_up())
    }

    fn publish(&self, event: Event) {
        let account = event.account();
        let home = self.home_of(account);
        if home == self.core {
            self.publish_here(event);
        } else {
            self.post(home, Message::Publish(event));
        }
    }
}

/// `42["update",{"id":…,"seq":…,"body":…,"createdAt":…}]` (`spec/realtime.md` §3).
fn encode_update(update: &Update) -> Frame {
    use std::io::Write;
    Frame::text(|out| {
        out.reserve(update.body.len() + 128);
        let _ = write!(
            out,
            r#"42["update",{{"id":"{}","seq":{},"body":{},"createdAt":{}}}]"#,
            crate::model::ids::event_id(),
            update.seq,
            &*update.body,
            crate::model::time::now_ms()
        );
    })
}

fn encode_ephemeral(ephemeral: &Ephemeral) -> Frame {
    Frame::text(|out| {
        out.extend_from_slice(br#"42["ephemeral","#);
        out.extend_from_slice(ephemeral.body.as_bytes());
        out.push(b']');
    })
}
