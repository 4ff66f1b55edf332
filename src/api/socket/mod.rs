//! The socket door: admission of connections and the events that clients send (`spec/realtime.md` §1, §6–§8).
//!
//! Owns: what an event's arguments and acknowledgement look like. Never: rules (`domain`), delivery (`realtime`).
//! Events are taken in order of arrival. What needs the database runs as a task of its own, so that a slow event does
//! not hold up the next one; only the `message` events of one connection, and its `usage-report` events, wait for each
//! other ([`serial`]). How much of one account may be under way or wait is limited ([`under_way`]).

pub mod access_keys;
pub mod artifacts;
mod class;
pub mod data;
pub mod machines;
pub mod messages;
pub mod presence;
pub mod refusal;
pub mod rpc;
pub mod serial;
pub mod sessions;
pub mod under_way;
pub mod usage;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use serde::Serialize;

use self::data::{Data, truthy};
use self::serial::{Full, Serial};
use self::under_way::{Slot, UnderWay};
use crate::crypto::token::TokenCache;
use crate::domain::Context;
use crate::domain::machines::Part;
use crate::model::ids::{AccountId, MachineId, SocketId};
use crate::observe::metrics::Counter;
use crate::realtime::application::{Admission, Application, Caller, Incoming};
use crate::realtime::home::Class;
use crate::realtime::hub::Hub;
use crate::realtime::presence::Presence;
use crate::realtime::rpc::Call;
use crate::runtime::slab::Key;

/// The door of one core.
pub struct Door {
    this: Weak<Self>,
    pub(super) ctx: Rc<Context>,
    pub(super) hub: Rc<Hub>,
    pub(super) tokens: Rc<RefCell<TokenCache>>,
    pub(super) serial: Serial,
    pub(super) presence: Rc<Presence>,
    pub(super) usage_reports: Serial,
    under_way: UnderWay,
    /// What waits in the lines of connections, or is at work there.
    in_lines: UnderWay,
    /// Tasks of events under way.
    running: Cell<usize>,
}

/// Where an answer goes: one acknowledgement, sent at most once, or nowhere.
pub struct Ack {
    hub: Rc<Hub>,
    key: Key,
    socket: SocketId,
    id: Option<u64>,
}

impl Ack {
    /// Sends `argument`, a JSON text. If the connection has gone the answer is dropped; effects remain.
    pub fn send(self, argument: &str) {
        if self.hub.is_connected(self.key, self.socket) {
            self.hub.acknowledge(self.key, self.id, argument);
        }
    }

    /// Sends `argument` as JSON.
    pub fn answer(self, argument: &impl Serialize) {
        self.send(&json_text(argument));
    }

    /// Sends `argument` as JSON, behind the updates about what the event has changed; `account` is the sender's.
    pub fn answer_behind_updates(self, account: &AccountId, argument: &impl Serialize) {
        if self.hub.is_connected(self.key, self.socket) {
            let from = Caller { key: self.key, socket: self.socket, account };
            self.hub.acknowledge_in_order(&from, self.id, &json_text(argument));
        }
    }
}

fn json_text(argument: &impl Serialize) -> String {
    // Acknowledgements are made of texts and numbers, which JSON can always express.
    sonic_rs::to_string(argument).expect("texts and numbers")
}

/// Who sent an event, for a task that outlives it.
#[derive(Clone)]
pub struct Sender {
    pub key: Key,
    pub socket: SocketId,
    pub account: AccountId,
}

impl Door {
    pub fn new(ctx: Rc<Context>, hub: Rc<Hub>, tokens: Rc<RefCell<TokenCache>>) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            ctx,
            hub,
            tokens,
            serial: Serial::default(),
            presence: Rc::default(),
            usage_reports: Serial::default(),
            under_way: UnderWay::new(under_way::AT_ONCE),
            in_lines: UnderWay::new(under_way::IN_LINES),
            running: Cell::new(0),
        })
    }

    /// What connections of this core have reported of sessions and machines.
    pub fn presence(&self) -> Rc<Presence> {
        Rc::clone(&self.presence)
    }

    /// Whether everything that events have asked for is done.
    pub fn is_idle(&self) -> bool {
        self.serial.is_empty() && self.usage_reports.is_empty() && self.running.get() == 0
    }

    /// A slot for an event whose answer will wait for something. `None`: its account has too much under way already, and
    /// the event is to be refused.
    pub(super) fn enter(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) -> Option<Slot> {
        let slot = self.under_way.enter(caller.account, incoming.data.map_or(0, str::len)).ok();
        if slot.is_none() {
            self.count_refused(incoming.name);
        }
        slot
    }

    /// Runs what an event asks for after what came before it in `line` over the same connection. It holds on to `bytes` of
    /// input. The error: its connection or account has too much waiting already, and the event is to be refused.
    pub(super) fn run_in_line(
        &self,
        line: &Serial,
        caller: &Caller<'_>,
        event: &str,
        bytes: usize,
        job: impl Future<Output = ()> + 'static,
    ) -> Result<(), Full> {
        let queued = self.in_lines.enter(caller.account, bytes).and_then(|slot| {
            line.run(caller.key, bytes, async move {
                job.await;
                drop(slot);
            })
        });
        queued.inspect_err(|Full| self.count_refused(event))
    }

    /// Counts an event that is refused because of what its account has under way.
    fn count_refused(&self, event: &str) {
        // A line of the log for each would let a client fill it.
        log::debug!("an account has too much under way for another event of its kind: {event}");
        let known = WAITING_EVENTS.into_iter().find(|known| *known == event);
        debug_assert!(known.is_some(), "{event} waits and is not listed");
        self.ctx.metrics.inc(Counter::EventRefused(known.unwrap_or("other")));
    }

    /// Runs what an event asks for as a task of its own, which keeps its slot until it is done.
    pub(super) fn spawn(&self, slot: Slot, task: impl Future<Output = ()> + 'static) {
        self.run(async move {
            task.await;
            drop(slot);
        });
    }

    /// Runs a task of its own; shutdown waits for it.
    fn run(&self, task: impl Future<Output = ()> + 'static) {
        let door = self.me();
        door.running.set(door.running.get() + 1);
        monoio::spawn(async move {
            task.await;
            door.running.set(door.running.get() - 1);
        });
    }

    pub(super) fn me(&self) -> Rc<Self> {
        self.this.upgrade().expect("the door is alive while one of its methods runs")
    }

    pub(super) fn ack(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) -> Ack {
        Ack { hub: Rc::clone(&self.hub), key: caller.key, socket: caller.socket, id: incoming.ack }
    }

    fn machine_activity(&self, account: &AccountId, machine: &MachineId, active: bool) {
        crate::domain::presence::announce_machine(&self.ctx, account, machine, active, crate::model::time::now_ms());
    }
}

impl Application for Door {
    fn admit(&self, auth: Option<&str>) -> Result<Admission, &'static str> {
        let auth = Data::new(auth);
        let Some(token) = auth.member("token").filter(|raw| truthy(raw)) else {
            return Err("Missing authentication token");
        };
        let class = class::class(&auth)?;
        let account = data::text(token)
            .and_then(|token| self.tokens.borrow_mut().verify(&self.ctx.tokens, &token, crate::model::time::now_ms()));
        match account {
            Some(account) => Ok(Admission { account, class }),
            None => Err("Invalid authentication token"),
        }
    }

    fn joined(&self, caller: &Caller<'_>, class: &Class) {
        self.ctx.metrics.connected(class::label(class));
        if let Class::Machine(machine) = class {
            self.machine_activity(caller.account, machine, true);
        }
    }

    fn left(&self, caller: &Caller<'_>, class: &Class) {
        self.ctx.metrics.inc(Counter::WebsocketEvent("disconnect"));
        self.ctx.metrics.disconnected(class::label(class));
        if let Class::Machine(machine) = class {
            self.machine_activity(caller.account, machine, false);
        }
    }

    fn reconsider(&self, call: Box<Call>) {
        let session = crate::domain::approvals::session_of(&call.method);
        match (call.on_behalf_of.clone(), session) {
            (Some(caller), Some(session)) => self.run(self.delegated(caller, session, *call)),
            _ => self.hub.rpc_call(*call),
        }
    }

    fn event(&self, caller: &Caller<'_>, incoming: &Incoming<'_>) {
        match incoming.name {
            "message" => self.message(caller, incoming),
            "update-metadata" => self.update_metadata(caller, incoming),
            "update-state" => self.update_state(caller, incoming),
            "session-alive" => self.session_alive(caller, incoming),
            "session-end" => self.session_end(caller, incoming),
            "machine-alive" => self.machine_alive(caller, incoming),
            "rpc-register" => self.rpc_register(caller, incoming),
            "rpc-unregister" => self.rpc_unregister(caller, incoming),
            "rpc-call" => self.rpc_call(caller, incoming),
            "machine-update-metadata" => self.machine_update(caller, incoming, Part::Metadata),
            "machine-update-state" => self.machine_update(caller, incoming, Part::DaemonState),
            "artifact-read" => self.artifact_read(caller, incoming),
            "artifact-create" => self.artifact_create(caller, incoming),
            "artifact-update" => self.artifact_update(caller, incoming),
            "artifact-delete" => self.artifact_delete(caller, incoming),
            "usage-report" => self.usage_report(caller, incoming),
            "access-key-get" => self.access_key_get(caller, incoming),
            "ping" => self.ack(caller, incoming).send("{}"),
            // Unknown events are ignored, without an answer (`spec/realtime.md` §6).
            _ => {}
        }
    }
}

/// The events whose answers wait for the database, as metrics label them.
const WAITING_EVENTS: [&str; 15] = [
    "message",
    "usage-report",
    "update-metadata",
    "update-state",
    "session-alive",
    "session-end",
    "machine-alive",
    "machine-update-metadata",
    "machine-update-state",
    "artifact-read",
    "artifact-create",
    "artifact-update",
    "artifact-delete",
    "access-key-get",
    "rpc-call",
];
