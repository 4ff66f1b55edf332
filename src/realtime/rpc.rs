//! Remote procedure calls between connections of an account (`spec/realtime.md` §9): registration, the way of a call,
//! its one answer.
//!
//! A call travels from the caller's core to the home core of the account whose registrations count, from there to the
//! core of the registered connection, and its outcome straight back to the caller. Only the core of the registered
//! connection remembers a call; so every call has one owner that answers, times out and gives up, and a caller that has
//! gone costs nothing. Parameters and results are raw JSON and pass through as they are.
//! Never: who may call whom across accounts (`domain::approvals`), the arguments of events (`api::socket`).
//! Invariants: a method has one holder, the latest; entries of a connection vanish with it; every call that was asked
//! for an acknowledgement gets one outcome, unless its caller has gone first.

pub mod calls;
pub mod methods;
pub mod questions;

use super::home::Place;
use super::hub::Hub;
use super::message::Message;
use crate::cluster::{self, Cluster, Command, Found, RequestId, Ticket};
use crate::model::ids::{AccountId, SocketId};
use crate::net::frame::Frame;
use crate::runtime::cores::CoreId;
use crate::runtime::slab::Key;
use methods::Full;
use questions::Question;

/// A connection, wherever it is. What is sent to one that has gone is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub place: Place,
    pub socket: SocketId,
}

/// What a caller wants.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// Whose registrations are looked at.
    pub account: AccountId,
    pub method: String,
    /// The caller's account, if it is another one. Its right was found when the call was made; a call that has waited
    /// since is judged again.
    pub on_behalf_of: Option<AccountId>,
    /// Raw JSON; nothing if the caller sent nothing.
    pub params: Option<String>,
    pub caller: Peer,
    /// The acknowledgement that the caller asked for.
    pub ack: Option<u64>,
}

/// Who has asked a connection something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A connection of this process; the acknowledgement that it asked for.
    Connection(Peer, Option<u64>),
    /// Another process.
    Replica(RequestId),
}

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The raw JSON of the first argument of the target's acknowledgement, if it had one.
    Answered(Option<String>),
    NotAvailable,
    /// The caller's right has been taken away while the call waited.
    Forbidden,
    /// Whether the caller still has the right cannot be found out.
    Failed,
    SameSocket,
    TimedOut,
    /// Too many calls are under way already ([`calls::CALLS_MAX`], [`calls::CALLS_PER_TARGET_MAX`]).
    Busy,
    /// Other processes cannot be reached; why.
    Unreachable(String),
}

impl Outcome {
    /// The argument of the caller's acknowledgement.
    fn acknowledgement(&self) -> String {
        match self {
            Self::Answered(Some(result)) => format!(r#"{{"ok":true,"result":{result}}}"#),
            Self::Answered(None) => r#"{"ok":true}"#.to_string(),
            Self::NotAvailable => {
                r#"{"ok":false,"error":"RPC method not available","errorCode":"RPC_METHOD_NOT_AVAILABLE"}"#.to_string()
            }
            Self::Forbidden => r#"{"ok":false,"error":"Forbidden"}"#.to_string(),
            Self::Failed => r#"{"ok":false,"error":"Internal error"}"#.to_string(),
            Self::SameSocket => r#"{"ok":false,"error":"Cannot call RPC on the same socket"}"#.to_string(),
            Self::TimedOut => r#"{"ok":false,"error":"operation has timed out"}"#.to_string(),
            Self::Busy => r#"{"ok":false,"error":"Too many calls in flight"}"#.to_string(),
            Self::Unreachable(reason) => {
                let mut out = br#"{"ok":false,"error":"#.to_vec();
                protocol::json::write_string(&mut out, reason);
                out.push(b'}');
                String::from_utf8(out).expect("written as UTF-8")
            }
        }
    }
}

/// What cores tell each other about calls.
#[derive(Debug)]
pub enum Post {
    /// To the home core.
    Register { account: AccountId, method: String, by: Peer },
    /// To the home core.
    Unregister { account: AccountId, method: String, by: Peer },
    /// To the home core.
    Call(Box<Call>),
    /// To the core of the registered connection.
    Ask { holder: Peer, call: Box<Call> },
    /// To the core of a connection that another process asks; `arguments` is the JSON array of the event.
    AskForReplica { holder: Peer, request: RequestId, arguments: String },
    /// To the core of the caller.
    Answer { caller: Peer, ack: u64, outcome: Outcome },
    /// To the core of a connection that has registered or unregistered.
    Tell { to: Peer, event: &'static str, argument: String },
}

impl Hub {
    /// Makes a connection of this core the holder of a method; it is told when that is done.
    pub fn rpc_register(&self, account: &AccountId, method: String, key: Key, socket: SocketId) {
        let by = self.peer(key, socket);
        self.rpc_post(self.home_of(account), Post::Register { account: account.clone(), method, by });
    }

    /// Gives a method up, if it is still this connection's; it is told in either case.
    pub fn rpc_unregister(&self, account: &AccountId, method: String, key: Key, socket: SocketId) {
        let by = self.peer(key, socket);
        self.rpc_post(self.home_of(account), Post::Unregister { account: account.clone(), method, by });
    }

    pub fn rpc_call(&self, call: Call) {
        // Nobody can have registered it, and it is not looked for under such a name anywhere.
        if call.method.len() > methods::METHOD_BYTES_MAX {
            return self.rpc_refuse(&call, Outcome::NotAvailable);
        }
        self.rpc_post(self.home_of(&call.account), Post::Call(Box::new(call)));
    }

    /// A connection of this core as the others name it.
    pub fn peer(&self, key: Key, socket: SocketId) -> Peer {
        Peer { place: Place { core: self.core, key }, socket }
    }

    /// The end of a call that is not to be made after all.
    pub fn rpc_refuse(&self, call: &Call, outcome: Outcome) {
        self.answer(call.caller, call.ack, outcome);
    }

    fn rpc_post(&self, to: CoreId, post: Post) {
        if to == self.core {
            self.rpc_receive(post);
        } else if let Some(Message::Rpc(post)) = self.try_post(to, Message::Rpc(post)) {
            self.rpc_refused(post);
        }
    }

    /// A core does not keep up. All clients that are connected or at home there will be disconnected, but a caller may be
    /// neither, and waits without limit.
    fn rpc_refused(&self, post: Post) {
        match post {
            Post::Call(call) | Post::Ask { call, .. } => self.answer(call.caller, call.ack, Outcome::NotAvailable),
            Post::AskForReplica { request, .. } => self.withdraw(request),
            Post::Register { .. } | Post::Unregister { .. } | Post::Answer { .. } | Post::Tell { .. } => {}
        }
    }

    pub(super) fn rpc_receive(&self, post: Post) {
        match post {
            Post::Register { account, method, by } => self.register_here(&account, method, by),
            Post::Unregister { account, method, by } => self.unregister_here(account, method, by),
            Post::Call(call) => match &self.cluster {
                None => self.dispatch(call),
                Some(cluster) => self.find_holder(cluster, call),
            },
            Post::Ask { holder, call } => self.ask(holder, call),
            Post::AskForReplica { holder, request, arguments } => {
                // It is counted already.
                if !self.rpc_ask_for_replica(holder, &request, &arguments) {
                    self.withdraw(request);
                }
            }
            Post::Answer { caller, ack, outcome } => {
                if self.is_connected(caller.place.key, caller.socket) {
                    self.acknowledge(caller.place.key, Some(ack), &outcome.acknowledgement());
                }
            }
            Post::Tell { to, event, argument } => {
                if self.is_connected(to.place.key, to.socket) {
                    self.emit_event(to.place.key, event, &argument);
                }
            }
        }
    }

    // ---- on the home core ---------------------------------------------------------------------------------------

    fn register_here(&self, account: &AccountId, method: String, by: Peer) {
        let registered = match self.homes.borrow_mut().get_mut(account) {
            Some(home) if home.has(by) => home.methods.register(&method, by),
            // It has left in the meantime, and its entries with it.
            _ => return,
        };
        match (registered, &self.cluster) {
            (Ok(()), Some(cluster)) => {
                let question = Question::Register { method: method.clone(), by };
                let Some(ticket) = self.question(question, 0) else {
                    return self.tell(by, "rpc-error", REGISTER_FAILED.to_string());
                };
                cluster.send(Command::Register { account: account.clone(), method, socket: by.socket, ticket });
            }
            (Ok(()), None) => {
                self.tell(by, "rpc-registered", method_argument(&method));
                let waiting = self.calls.borrow_mut().take_waiting(account, &method);
                for call in waiting {
                    if call.on_behalf_of.is_some() {
                        self.application().reconsider(call);
                    } else {
                        self.dispatch(call);
                    }
                }
            }
            (Err(Full), _) => {
                log::warn!("a method is not registered: {} is the limit of an account", methods::METHODS_MAX);
                self.tell(by, "rpc-error", r#"{"type":"register","error":"Too many methods"}"#.to_string());
            }
        }
    }

    fn unregister_here(&self, account: AccountId, method: String, by: Peer) {
        let mut held = false;
        if let Some(home) = self.homes.borrow_mut().get_mut(&account) {
            held = home.methods.holder(&method) == Some(by);
            home.methods.unregister(&method, by);
        }
        if let (true, Some(cluster)) = (held, &self.cluster) {
            let Some(ticket) = self.question(Question::Unregister { method: method.clone(), by }, 0) else {
                return self.tell(by, "rpc-error", UNREGISTER_FAILED.to_string());
            };
            return cluster.send(Command::Unregister { account, method, socket: by.socket, ticket });
        }
        self.tell(by, "rpc-unregistered", method_argument(&method));
    }

    fn dispatch(&self, call: Box<Call>) {
        let holder = self.homes.borrow().get(&call.account).and_then(|home| home.methods.holder(&call.method));
        match holder {
            Some(holder) if holder.socket == call.caller.socket => {
                self.answer(call.caller, call.ack, Outcome::SameSocket)
            }
            Some(holder) => self.rpc_post(holder.place.core, Post::Ask { holder, call }),
            None => {
                let until = self.turn.now() + self.settings.rpc_grace_ms;
                let refused = match self.settings.rpc_grace_ms {
                    0 => Err(call),
                    _ => self.calls.borrow_mut().wait(call, until),
                };
                if let Err(call) = refused {
                    self.answer(call.caller, call.ack, Outcome::NotAvailable);
                }
            }
        }
    }

    // ---- on the core of the registered connection ---------------------------------------------------------------

    fn ask(&self, holder: Peer, call: Box<Call>) {
        let key = holder.place.key;
        if !self.is_connected(key, holder.socket) {
            // Its leaving is on the way to the home core, and to the thread that talks to Redis, or has arrived there. Where it
            // was refused everybody is forgotten. So this cannot go round in circles.
            return self.rpc_post(self.home_of(&call.account), Post::Call(call));
        }
        let asker = Asker::Connection(call.caller, call.ack);
        let asked = self.calls.borrow_mut().ask(key, asker, self.turn.now());
        let Ok(id) = asked else {
            log::warn!("a call is refused: too many are under way");
            return self.answer(call.caller, call.ack, Outcome::Busy);
        };
        let argument = request_argument(&call.method, call.params.as_deref());
        self.emit(
            key,
            Frame::text(|out| {
                protocol::socketio::packet::encode_event_with_ack(out, Some(id), "rpc-request", &argument);
            }),
        );
    }

    /// A connection of this core has answered an event of ours.
    pub(super) fn rpc_acknowledged(&self, key: Key, id: u64, argument: Option<&str>) {
        // What was never asked, or too late, is ignored.
        let asked = self.calls.borrow_mut().answered(key, id);
        match (asked.map(|asked| asked.asker), &self.cluster) {
            (Some(Asker::Connection(caller, ack)), _) => {
                self.answer(caller, ack, Outcome::Answered(argument.map(str::to_string)));
            }
            (Some(Asker::Replica(request)), Some(cluster)) => {
                cluster.acknowledge(request, argument.map(str::to_string));
            }
            _ => {}
        }
    }

    /// A connection of this core has gone: those who wait for it need not wait any longer.
    pub(super) fn rpc_holder_gone(&self, key: Key) {
        let abandoned = self.calls.borrow_mut().gone(key);
        for asked in abandoned {
            match asked.asker {
                Asker::Replica(request) => self.withdraw(request),
                asker => self.give_up(asker),
            }
        }
    }

    /// The time is over. Another process has its own clock, and hears nothing of it.
    fn give_up(&self, asker: Asker) {
        if let Asker::Connection(caller, ack) = asker {
            self.answer(caller, ack, Outcome::TimedOut);
        }
    }

    /// Gives up calls whose time is over. Called with every tick of the wheel.
    pub fn rpc_expire(&self) {
        let now = self.turn.now();
        if !self.questions.borrow().is_empty() {
            let over = self.questions.borrow_mut().expire(now);
            over.into_iter().for_each(|question| self.unanswered(question));
        }
        if self.calls.borrow().is_idle() {
            return;
        }
        let (timed_out, unclaimed) = self.calls.borrow_mut().expire(now);
        for asked in timed_out {
            self.give_up(asked.asker);
        }
        for call in unclaimed {
            self.answer(call.caller, call.ack, Outcome::NotAvailable);
        }
    }

    fn answer(&self, caller: Peer, ack: Option<u64>, outcome: Outcome) {
        if let Some(ack) = ack {
            self.rpc_post(caller.place.core, Post::Answer { caller, ack, outcome });
        }
    }

    fn tell(&self, to: Peer, event: &'static str, argument: String) {
        self.rpc_post(to.place.core, Post::Tell { to, event, argument });
    }
}

// ---- with other processes ---------------------------------------------------------------------------------------
//
// The registry that all processes share says who holds a method, so it is asked for every call; a connection of this
// process is then asked as it always is, and no other process hears of it.

const REGISTER_FAILED: &str = r#"{"type":"register","error":"Internal error"}"#;
const UNREGISTER_FAILED: &str = r#"{"type":"unregister","error":"Internal error"}"#;

impl Hub {
    /// Notes a question to the cluster; nothing if there are too many.
    fn question(&self, question: Question, extra_ms: u64) -> Option<Ticket> {
        match self.questions.borrow_mut().ask(question, self.turn.now(), extra_ms) {
            Ok(number) => Some(Ticket { core: self.core, number }),
            Err(_) => {
                log::warn!("a question to the cluster is refused: too many are under way");
                None
            }
        }
    }

    fn find_holder(&self, cluster: &Cluster, call: Box<Call>) {
        let (account, method) = (call.account.clone(), call.method.clone());
        let (caller, ack, grace_ms) = (call.caller, call.ack, self.settings.rpc_grace_ms);
        match self.question(Question::Find(call), grace_ms) {
            Some(ticket) => cluster.send(Command::Find { account, method, grace_ms, ticket }),
            None => self.answer(caller, ack, Outcome::Busy),
        }
    }

    /// The registry has said who holds a method.
    pub(super) fn rpc_found(&self, ticket: Ticket, found: Found, waited: bool) {
        let Some(Question::Find(call)) = self.questions.borrow_mut().take(ticket.number) else { return };
        let is_there = matches!(found, Found::Here(..) | Found::Elsewhere(_));
        if waited && is_there && call.on_behalf_of.is_some() {
            return self.application().reconsider(call);
        }
        match found {
            Found::Nobody => self.answer(call.caller, call.ack, Outcome::NotAvailable),
            Found::Failed(reason) => self.answer(call.caller, call.ack, Outcome::Unreachable(reason)),
            Found::Here(socket, _) if socket == call.caller.socket => {
                self.answer(call.caller, call.ack, Outcome::SameSocket);
            }
            Found::Here(socket, place) => self.rpc_post(place.core, Post::Ask { holder: Peer { place, socket }, call }),
            Found::Elsewhere(holder) => {
                let Some(cluster) = &self.cluster else { return };
                let argument = request_argument(&call.method, call.params.as_deref());
                let arguments = format!(r#"["rpc-request",{argument}]"#);
                let Call { account, method, caller, ack, .. } = *call;
                let Some(ticket) = self.question(Question::Answer { caller, ack }, 0) else {
                    return self.answer(caller, ack, Outcome::Busy);
                };
                if !cluster.offer(Command::Ask { account, method, holder, arguments, ticket }) {
                    self.questions.borrow_mut().take(ticket.number);
                    self.answer(caller, ack, Outcome::Busy);
                }
            }
        }
    }

    /// Another process has answered a call, or nobody has.
    pub(super) fn rpc_answered(&self, ticket: Ticket, answer: cluster::Answer) {
        let Some(Question::Answer { caller, ack }) = self.questions.borrow_mut().take(ticket.number) else { return };
        let outcome = match answer {
            cluster::Answer::Acknowledged(result) => Outcome::Answered(result),
            cluster::Answer::NotAvailable => Outcome::NotAvailable,
            cluster::Answer::TimedOut => Outcome::TimedOut,
            cluster::Answer::Failed(reason) => Outcome::Unreachable(reason),
        };
        self.answer(caller, ack, outcome);
    }

    /// The registry has been changed, or could not be. The registration in this process stays in either case.
    pub(super) fn rpc_registered(&self, ticket: Ticket, done: bool) {
        let question = self.questions.borrow_mut().take(ticket.number);
        match question {
            Some(Question::Register { method, by }) if done => {
                self.tell(by, "rpc-registered", method_argument(&method))
            }
            Some(Question::Unregister { method, by }) if done => {
                self.tell(by, "rpc-unregistered", method_argument(&method));
            }
            Some(question) => self.unanswered(question),
            None => {}
        }
    }

    fn unanswered(&self, question: Question) {
        match question {
            Question::Register { by, .. } => self.tell(by, "rpc-error", REGISTER_FAILED.to_string()),
            Question::Unregister { by, .. } => self.tell(by, "rpc-error", UNREGISTER_FAILED.to_string()),
            Question::Find(call) => self.answer(call.caller, call.ack, Outcome::TimedOut),
            Question::Answer { caller, ack } => self.answer(caller, ack, Outcome::TimedOut),
        }
    }

    /// Asks a connection for another process, here or on its core; `false` if it has gone. One that is there and cannot be
    /// asked counts: a replica that hears of nobody takes its registration away.
    pub(super) fn rpc_ask_for_replica(&self, holder: Peer, request: &RequestId, arguments: &str) -> bool {
        if holder.place.core != self.core {
            let (request, arguments) = (request.clone(), arguments.to_string());
            self.rpc_post(holder.place.core, Post::AskForReplica { holder, request, arguments });
            return true;
        }
        if !self.is_connected(holder.place.key, holder.socket) {
            return false;
        }
        let asker = Asker::Replica(request.clone());
        let asked = self.calls.borrow_mut().ask(holder.place.key, asker, self.turn.now());
        let Ok(id) = asked else {
            log::warn!("a call of another replica is refused: too many are under way");
            self.withdraw(request.clone());
            return true;
        };
        self.emit(
            holder.place.key,
            Frame::text(|out| {
                out.extend_from_slice(b"42");
                out.extend_from_slice(id.to_string().as_bytes());
                out.extend_from_slice(arguments.as_bytes());
            }),
        );
        true
    }

    /// Tells another process not to wait for an acknowledgement.
    fn withdraw(&self, request: RequestId) {
        if let Some(cluster) = &self.cluster {
            cluster.send(Command::Withdrawn { request });
        }
    }
}

fn method_argument(method: &str) -> String {
    request_argument(method, None)
}

fn request_argument(method: &str, params: Option<&str>) -> String {
    let mut out = Vec::with_capacity(32 + method.len() + params.map_or(0, str::len));
    out.extend_from_slice(br#"{"method":"#);
    protocol::json::write_string(&mut out, method);
    if let Some(params) = params {
        out.extend_from_slice(br#","params":"#);
        out.extend_from_slice(params.as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).expect("written as UTF-8")
}

#[cfg(test)]
mod tests;
