//! A process of several cores on one thread: their hubs and mailboxes, the clock, and what the application stands for.
//!
//! Nothing happens by itself: [`World`] carries every message between cores, runs every task, fires every timer and ends
//! every turn, one at a time and when it is told to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use protocol::engineio::session::Config;
use serde_json::Value as Json;

use super::super::application::{Admission, Application, Caller, Incoming};
use super::super::event::{Event, Publish};
use super::super::home::Class;
use super::super::hub::{Hub, Settings};
use super::super::message::Message;
use super::super::rpc::Call;
use super::oracle::{Oracle, What, number};
use super::random::Random;
use crate::model::ids::{AccountId, MachineId, SessionId, SocketId};
use crate::net::turn::Turn;
use crate::runtime::cores::{self, CoreId, DriverChoice};
use crate::runtime::mailbox::{Inbox, mailbox};
use crate::runtime::slab::Key;
use crate::runtime::timer::Millis;

/// Work of the application that is under way on a core.
struct Task {
    at: Millis,
    core: usize,
    act: Act,
}

/// Where the answer to an event goes.
#[derive(Clone)]
pub(super) struct Sender {
    key: Key,
    socket: SocketId,
    account: AccountId,
    ack: Option<u64>,
    /// Behind the updates, not before them.
    behind: bool,
}

enum Act {
    /// The database takes a change.
    Commit { actor: AccountId, sender: Option<Sender>, what: What, pad: usize },
    /// The core has heard of it.
    Publish { events: Option<Vec<Event>>, sender: Option<Sender> },
}

/// What the cores of the simulation share, which those of a server do not.
pub(super) struct Shared {
    pub oracle: Oracle,
    pub random: Random,
    pub clock: Rc<Cell<Millis>>,
    pub trace: Vec<String>,
    tasks: Vec<Task>,
}

impl Shared {
    pub(super) fn note(&mut self, line: std::fmt::Arguments<'_>) {
        self.trace.push(format!("{:>6} {:>8} ms  {line}", self.oracle.step, self.clock.get()));
    }

    fn start(&mut self, core: usize, act: Act) {
        let at = self.clock.get() + self.random.latency_ms();
        self.tasks.push(Task { at, core, act });
    }
}

/// The application of one core.
struct Door {
    core: usize,
    hub: RefCell<Weak<Hub>>,
    shared: Rc<RefCell<Shared>>,
}

pub(super) fn class(text: &str) -> Class {
    match text.split_once(':') {
        Some(("session", id)) => Class::Session(SessionId::from(id)),
        Some(("machine", id)) => Class::Machine(MachineId::from(id)),
        _ if text == "user" => Class::User,
        _ => Class::Other,
    }
}

fn text<'a>(json: &'a Json, member: &str) -> &'a str {
    json[member].as_str().unwrap_or_default()
}

impl Application for Door {
    fn admit(&self, auth: Option<&str>) -> Result<Admission, &'static str> {
        let auth: Json = serde_json::from_str(auth.unwrap_or("null")).expect("JSON");
        match text(&auth, "token") {
            "" => Err("Invalid authentication token"),
            account => Ok(Admission { account: AccountId::from(account), class: class(text(&auth, "class")) }),
        }
    }

    fn joined(&self, caller: &Caller<'_>, class: &Class) {
        let hub = self.hub.borrow().upgrade().expect("it calls us");
        let oracle = &mut self.shared.borrow_mut().oracle;
        oracle.connected(caller.socket, caller.account.clone(), class.clone());
        if hub.home_of(caller.account) == hub.core {
            oracle.joined(caller.socket);
        }
    }

    fn event(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        let hub = self.hub.borrow().upgrade().expect("it calls us");
        let data: Json = serde_json::from_str(incoming.data.unwrap_or("null")).expect("JSON");
        let method = || text(&data, "method").to_string();
        match incoming.name {
            "change" => {
                let session = || SessionId::from(text(&data, "session"));
                let machine = || MachineId::from(text(&data, "machine"));
                let other = || AccountId::from(text(&data, "account"));
                let what = match text(&data, "what") {
                    "message" => What::Message(session()),
                    "own" => What::Own,
                    "everybody" => What::Everybody,
                    "machine" => What::Machine(machine()),
                    "twice" => What::Twice(machine()),
                    "silent" => What::Silent,
                    "elsewhere" => What::Elsewhere,
                    "share" => What::Share(session(), other()),
                    "revoke" => What::Revoke(session(), other()),
                    "delete" => What::Delete(session()),
                    "shown" => What::Shown,
                    other => panic!("{other} is no change"),
                };
                let sender = Sender {
                    key: caller.key,
                    socket: caller.socket,
                    account: caller.account.clone(),
                    ack: incoming.ack,
                    behind: !matches!(what, What::Message(_)),
                };
                let pad = usize::try_from(data["pad"].as_u64().unwrap_or_default()).expect("small");
                let actor = caller.account.clone();
                self.shared.borrow_mut().start(self.core, Act::Commit { actor, sender: Some(sender), what, pad });
            }
            "rpc-register" => hub.rpc_register(caller.account, method(), caller.key, caller.socket),
            "rpc-unregister" => hub.rpc_unregister(caller.account, method(), caller.key, caller.socket),
            "rpc-call" => hub.rpc_call(Call {
                account: caller.account.clone(),
                method: method(),
                on_behalf_of: None,
                params: Some(data["params"].to_string()),
                caller: hub.peer(caller.key, caller.socket),
                ack: incoming.ack,
            }),
            other => panic!("{other} is no event"),
        }
    }

    fn reconsider(&self, _call: Box<Call>) {
        unreachable!("nobody calls across accounts")
    }

    fn left(&self, caller: &Caller<'_>, _class: &Class) {
        self.shared.borrow_mut().oracle.left(caller.socket);
    }
}

struct Core {
    inbox: Inbox<Message>,
    /// Taken from the inbox, not handled yet.
    waiting: VecDeque<Message>,
}

pub(super) struct World {
    pub hubs: Vec<Rc<Hub>>,
    cores: Vec<Core>,
    pub shared: Rc<RefCell<Shared>>,
    clock: Rc<Cell<Millis>>,
    /// Websockets that have changed their core.
    pub moves: Cell<usize>,
}

/// Bytes that may wait for one client.
pub(super) const OUTBOX_BYTES_MAX: usize = 12 * 1024;

impl World {
    pub(super) fn new(seed: u64, cores: usize, rpc_grace_ms: u64) -> Self {
        let clock = Rc::new(Cell::new(0));
        let shared = Shared {
            oracle: Oracle::default(),
            random: Random::new(seed),
            clock: Rc::clone(&clock),
            trace: Vec::new(),
            tasks: Vec::new(),
        };
        let shared = Rc::new(RefCell::new(shared));
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) =
            (0..cores).map(|_| mailbox::<Message>().expect("descriptors")).unzip();
        let mailboxes: Arc<[_]> = mailboxes.into();
        // What is read and written for many sockets at once must mean the same as socket by socket.
        let choice = if seed.is_multiple_of(2) { DriverChoice::Auto } else { DriverChoice::Epoll };
        let (driver, _) = cores::choose(choice).expect("epoll always works");
        let settings = Settings {
            engine: Config::default(),
            connect_timeout_ms: 20_000,
            outbox_bytes_max: OUTBOX_BYTES_MAX,
            driver,
            rpc_grace_ms,
        };
        let hub = |core: usize| {
            let turn = Turn::with_clock(Rc::clone(&clock));
            let id = CoreId(u16::try_from(core).expect("a few"));
            let hub = Hub::new(id, turn, settings.clone(), Arc::clone(&mailboxes), None, Arc::default())
                .expect("descriptors");
            let hub_of = RefCell::new(Rc::downgrade(&hub));
            hub.set_application(Rc::new(Door { core, hub: hub_of, shared: Rc::clone(&shared) }));
            hub
        };
        let hubs = (0..cores).map(hub).collect();
        let cores = inboxes.into_iter().map(|inbox| Core { inbox, waiting: VecDeque::new() }).collect();
        Self { hubs, cores, shared, clock, moves: Cell::new(0) }
    }

    /// Nothing after this is simultaneous with anything before it.
    pub(super) fn next_step(&self) {
        self.shared.borrow_mut().oracle.step += 1;
    }

    // ---- messages -----------------------------------------------------------------------------------------------

    /// Handles up to `most` messages of a core. Returns how many there were.
    pub(super) fn deliver(&mut self, core: usize, most: usize) -> usize {
        let Core { inbox, waiting } = &mut self.cores[core];
        let mut taken = Vec::new();
        assert!(!inbox.take(&mut taken), "no mailbox runs over");
        waiting.extend(taken);
        let batch: Vec<_> = waiting.drain(..most.min(waiting.len())).collect();
        let count = batch.len();
        for message in batch {
            self.next_step();
            self.receive(core, message);
        }
        count
    }

    fn receive(&self, core: usize, message: Message) {
        let hub = &self.hubs[core];
        match message {
            Message::Move(moved) => {
                self.moves.set(self.moves.get() + 1);
                hub.take_in(*moved);
            }
            Message::Publish(event) => {
                self.arrives(hub, &event);
                hub.receive(Message::Publish(event));
            }
            Message::Join { account, member } => {
                let socket = member.socket;
                hub.receive(Message::Join { account, member });
                self.shared.borrow_mut().oracle.joined(socket);
            }
            message => hub.receive(message),
        }
    }

    /// An event is about to be handled by its home.
    fn arrives(&self, home: &Hub, event: &Event) {
        let fresh = home.homes.borrow().get(event.account()).map(super::super::home::Home::is_fresh);
        let mut shared = self.shared.borrow_mut();
        let now = self.clock.get();
        shared.oracle.arrives(event, now, fresh);
        let core = home.core.0;
        let updates = match event {
            Event::Update(update) => std::slice::from_ref(update),
            Event::Pair(pair) => &pair[..],
            other => return shared.note(format_args!("home {core}: {other:?}")),
        };
        for update in updates {
            let description = shared.oracle.describe(number(&update.body));
            shared.note(format_args!("home {core}: {description}"));
        }
    }

    // ---- tasks --------------------------------------------------------------------------------------------------

    /// A request over HTTP, on any core.
    pub(super) fn request(&self, core: usize, actor: AccountId, what: What, pad: usize) {
        self.shared.borrow_mut().start(core, Act::Commit { actor, sender: None, what, pad });
    }

    /// Runs one task that is due, any of them. Returns whether there was one.
    pub(super) fn run_task(&self) -> bool {
        self.next_step();
        let mut shared = self.shared.borrow_mut();
        let now = self.clock.get();
        let due: Vec<_> = (0..shared.tasks.len()).filter(|at| shared.tasks[*at].at <= now).collect();
        if due.is_empty() {
            return false;
        }
        let chosen = *shared.random.pick(&due);
        let Task { core, act, .. } = shared.tasks.swap_remove(chosen);
        match act {
            Act::Commit { actor, sender, what, pad } => {
                let by = sender.as_ref().map(|sender| sender.socket);
                let is_refused = |events: &Option<Vec<Event>>| if events.is_none() { ", refused" } else { "" };
                let line = format!("core {core}: {} commits {what:?}", actor.as_str());
                let events = shared.oracle.commit(&actor, by, what, pad);
                let refused = is_refused(&events);
                shared.note(format_args!("{line}{refused}"));
                shared.start(core, Act::Publish { events, sender });
            }
            Act::Publish { events, sender } => {
                drop(shared);
                self.publish(core, events, sender);
            }
        }
        true
    }

    fn publish(&self, core: usize, events: Option<Vec<Event>>, sender: Option<Sender>) {
        let hub = &self.hubs[core];
        let first = events.iter().flatten().find_map(|event| match event {
            Event::Update(update) => Some(number(&update.body)),
            Event::Pair(pair) => Some(number(&pair[0].body)),
            _ => None,
        });
        let argument = match (&events, first) {
            (None, _) => r#"{"ok":false}"#.to_string(),
            (_, None) => r#"{"ok":true}"#.to_string(),
            (_, Some(n)) => format!(r#"{{"ok":true,"n":{n}}}"#),
        };
        let answer = |sender: &Sender| {
            let Sender { key, socket, account, ack, behind } = sender;
            if !hub.is_connected(*key, *socket) {
                return;
            }
            if *behind {
                hub.acknowledge_in_order(&Caller { key: *key, socket: *socket, account }, *ack, &argument);
            } else {
                hub.acknowledge(*key, *ack, &argument);
            }
        };
        let (before, behind) = match sender {
            Some(sender) if sender.behind => (None, Some(sender)),
            sender => (sender, None),
        };
        before.iter().for_each(answer);
        for event in events.into_iter().flatten() {
            if hub.home_of(event.account()) == hub.core {
                self.arrives(hub, &event);
            }
            hub.publish(event);
        }
        behind.iter().for_each(answer);
    }

    // ---- turns --------------------------------------------------------------------------------------------------

    pub(super) fn websockets(&self, core: usize) {
        self.next_step();
        self.hubs[core].websockets_turn();
    }

    pub(super) fn end_turn(&self, core: usize) {
        self.next_step();
        let hub = &self.hubs[core];
        hub.turn.end(|marked| hub.flush(marked));
    }

    /// Lets time pass and fires the timers of all cores.
    pub(super) fn pass(&self, ms: u64) {
        self.clock.set(self.clock.get() + ms);
        for hub in &self.hubs {
            self.next_step();
            hub.turn.fire(|token, at| hub.timer_fired(token, at));
            hub.release_overdue();
            hub.rpc_expire();
        }
    }

    pub(super) fn now(&self) -> Millis {
        self.clock.get()
    }

    /// Whether nothing is under way between cores or in the application.
    pub(super) fn is_quiet(&mut self) -> bool {
        for core in &mut self.cores {
            let mut taken = Vec::new();
            core.inbox.take(&mut taken);
            core.waiting.extend(taken);
        }
        self.cores.iter().all(|core| core.waiting.is_empty()) && self.shared.borrow().tasks.is_empty()
    }
}
