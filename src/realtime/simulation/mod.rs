//! A seeded simulation of the realtime layer: virtual time, several cores, many clients, everything in any order.
//!
//! The real hubs, homes, sessions, websockets and mailboxes run on one thread. A scheduler that draws from one seed decides
//! what happens next: a client connects, speaks, stalls, upgrades, leaves; the database commits on some core and that core
//! hears of it later; a message between two cores is handled; a turn ends; time passes. What clients hear is judged by the
//! [`oracle`]:
//!
//! * no update is lost to a connection that stays, and none comes twice;
//! * nothing reaches a connection of another account, class, session or machine, nor one that joined later, nor one whose
//!   account has lost the session;
//! * cursors rise on every connection, but for two exceptions, stated at `Oracle::check_order`;
//! * an event is answered once, behind the updates it is to be answered behind; a call has one outcome;
//! * when everybody has gone nothing is left: sessions, `sid`s with their tombstones, homes, calls, timers, descriptors.
//!
//! `HAPPIER_SIM_SEED=n` plays one seed again and prints what happened; `HAPPIER_SIM_SEEDS=n` runs so many.

mod client;
mod heartbeats;
mod oracle;
mod random;
mod wire;
mod world;

use std::mem::ManuallyDrop;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use protocol::engineio::session::{Session as Engine, Transport};
use protocol::engineio::sid::Sid;
use serde_json::Value as Json;

use self::client::{Asked, Candidate, Client, Heard, Link, Polling, Session};
use self::oracle::What;
use self::wire::{Arrived, Wire};
use self::world::World;
use super::endpoint::Target;
use super::sids::Whereabouts;
use crate::model::ids::{AccountId, MachineId, SessionId, SocketId};
use crate::runtime::cores::CoreId;

const SEEDS: u64 = 400;

/// Lines of the trace that are shown when a seed fails.
const TRACE_SHOWN: usize = 120;

/// What has happened in the course of a seed, so that a simulation in which it never does is noticed.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    updates: usize,
    moves: usize,
    upgrades: usize,
    calls_answered: usize,
    calls_timed_out: usize,
    slow_peers: usize,
    /// Updates that were not delivered because the account had lost the session.
    withheld: usize,
    /// Cursors that came behind a higher one, by one of the exceptions.
    late: usize,
}

struct Sim {
    seen: Seen,
    world: World,
    clients: Vec<Client>,
    accounts: Vec<AccountId>,
    sessions: Vec<SessionId>,
    machines: Vec<MachineId>,
    calls: Vec<CallRecord>,
    /// Clients may come.
    is_open: bool,
}

/// One call, as the clients saw it.
#[derive(Default)]
struct CallRecord {
    delivered: usize,
    answered: bool,
}

impl Sim {
    fn new(seed: u64) -> Self {
        let mut draw = random::Random::new(!seed);
        let cores = draw.between(1, 8);
        let grace = *draw.pick(&[0, 0, 300, 6_000]);
        let world = World::new(seed, cores, grace);
        let accounts: Vec<_> = (0..draw.between(1, 4)).map(|n| AccountId::from(format!("account {n}"))).collect();
        let sessions: Vec<_> = (0..draw.between(1, 4)).map(|n| SessionId::from(format!("S{n}"))).collect();
        let machines = vec![MachineId::from("M0"), MachineId::from("M1")];
        for (n, session) in sessions.iter().enumerate() {
            let owner = accounts[n % accounts.len()].clone();
            world.shared.borrow_mut().oracle.add_session(session.clone(), owner);
        }
        let clients = (0..draw.between(3, 24)).map(|_| Client::new(Link::None)).collect();
        Self { seen: Seen::default(), world, clients, accounts, sessions, machines, calls: Vec::new(), is_open: true }
    }

    fn below(&self, n: usize) -> usize {
        self.world.shared.borrow_mut().random.below(n)
    }

    fn chance(&self, percent: usize) -> bool {
        self.world.shared.borrow_mut().random.chance(percent)
    }

    fn weighted(&self, weights: &[usize]) -> usize {
        self.world.shared.borrow_mut().random.weighted(weights)
    }

    fn note(&self, line: std::fmt::Arguments<'_>) {
        self.world.shared.borrow_mut().note(line);
    }

    // ---- the scheduler ------------------------------------------------------------------------------------------

    fn step(&mut self) {
        let cores = self.world.hubs.len();
        let core = self.below(cores);
        match self.weighted(&[18, 14, 14, 14, 10, 24, 12]) {
            0 => {
                let most = 1 + self.below(4);
                self.world.deliver(core, most);
            }
            1 => self.world.websockets(core),
            2 => self.world.end_turn(core),
            3 => {
                self.world.run_task();
            }
            4 => {
                let most = [3, 40, 1_500, 20_000][self.weighted(&[85, 11, 3, 1])];
                let ms = self.below(most + 1) as u64;
                self.world.pass(ms);
            }
            5 => {
                let client = self.below(self.clients.len());
                self.exchange(client, false);
            }
            _ => {
                let client = self.below(self.clients.len());
                self.act(client);
            }
        }
    }

    /// Everything that is under way arrives, without anything new being done, for at least so long.
    fn settle(&mut self, ms: u64) {
        let until = self.world.now() + ms;
        while self.world.now() < until || !self.world.is_quiet() {
            for core in 0..self.world.hubs.len() {
                self.world.deliver(core, usize::MAX);
                self.world.websockets(core);
                self.world.end_turn(core);
            }
            while self.world.run_task() {}
            for client in 0..self.clients.len() {
                self.exchange(client, true);
            }
            // Small steps first, then larger ones, so that heartbeats go on.
            let left = until.saturating_sub(self.world.now());
            self.world.pass(if left > 5_000 { 2_500 } else { 7 });
        }
    }

    // ---- what clients do ----------------------------------------------------------------------------------------

    fn act(&mut self, at: usize) {
        self.world.next_step();
        if matches!(self.clients[at].link, Link::None) {
            if self.is_open {
                self.connect(at);
            }
            return;
        }
        if !self.clients[at].is_connected() {
            if !self.clients[at].connecting && self.chance(50) {
                self.join(at);
            }
            return;
        }
        if self.chance(50) && self.answer_request(at) {
            return;
        }
        match self.weighted(&[56, 10, 10, 4, 4, 4, 5, 4]) {
            0 => self.change(at),
            1 => {
                let (name, method) = (if self.chance(85) { "rpc-register" } else { "rpc-unregister" }, self.below(2));
                self.note(format_args!("client {at}: {name} m{method}"));
                self.clients[at].emit(name, &format!(r#"{{"method":"m{method}"}}"#), None);
            }
            2 => {
                let (method, n) = (self.below(2), self.calls.len() as u64);
                self.calls.push(CallRecord::default());
                self.note(format_args!("client {at}: call {n} of m{method}"));
                let data = format!(r#"{{"method":"m{method}","params":{n}}}"#);
                self.clients[at].emit("rpc-call", &data, Some(Asked::Call(n)));
            }
            3 => self.leave(at),
            4 => {
                let client = &mut self.clients[at];
                client.reads = !client.reads;
                let reads = client.reads;
                self.note(format_args!("client {at}: reads {reads}"));
            }
            5 => self.upgrade(at),
            6 => {
                let (core, account) = (self.below(self.world.hubs.len()), self.below(self.accounts.len()));
                let what = self.draw_change(account);
                let pad = self.below(400);
                self.world.request(core, self.accounts[account].clone(), what, pad);
            }
            _ => {
                if self.chance(10) {
                    self.clients[at].answers_pings = false;
                    self.note(format_args!("client {at}: answers no heartbeats any more"));
                }
            }
        }
    }

    fn connect(&mut self, at: usize) {
        let core = self.below(self.world.hubs.len());
        let hub = &self.world.hubs[core];
        let link = if self.chance(60) {
            let (wire, descriptor) = Wire::pair();
            hub.attach(Target::New, descriptor, Vec::new());
            Link::WebSocket(wire)
        } else {
            let sid = Sid::new(hub.core.0, crate::crypto::random::bytes());
            let engine = Engine::open(Transport::Polling, hub.turn.now(), &hub.settings.engine);
            let key = hub.insert(sid, engine, None, false);
            if hub.is_stopping() {
                hub.end_now(key);
            }
            Link::Polling(Polling { sid, poll: None, unsent: Vec::new(), candidate: None })
        };
        let way = if matches!(link, Link::WebSocket(_)) { "websocket" } else { "polling" };
        self.note(format_args!("client {at}: opens {way} on core {core}"));
        let client = &mut self.clients[at];
        client.cut();
        client.link = link;
        client.core = core;
        self.join(at);
    }

    /// Sends CONNECT.
    fn join(&mut self, at: usize) {
        let account = self.below(self.accounts.len());
        let class = match self.below(10) {
            0..5 => "user".to_string(),
            5..8 => format!("session:{}", self.sessions[self.below(self.sessions.len())].as_str()),
            8 => format!("machine:{}", self.machines[self.below(self.machines.len())].as_str()),
            _ => "other".to_string(),
        };
        let token = if self.chance(4) { "" } else { self.accounts[account].as_str() };
        self.note(format_args!("client {at}: CONNECT as {token:?}, {class}"));
        let packet = format!(r#"40{{"token":"{token}","class":"{class}"}}"#);
        let client = &mut self.clients[at];
        (client.account, client.class, client.connecting) = (account, class, true);
        client.say(packet);
    }

    fn draw_change(&self, account: usize) -> What {
        let session = self.sessions[self.below(self.sessions.len())].clone();
        let machine = self.machines[self.below(self.machines.len())].clone();
        let other = self.accounts[(account + 1) % self.accounts.len()].clone();
        match self.weighted(&[50, 10, 8, 8, 5, 6, 1, 8, 6, 1, 8]) {
            0 => What::Message(session),
            1 => What::Own,
            2 => What::Everybody,
            3 => What::Machine(machine),
            4 => What::Twice(machine),
            5 => What::Silent,
            6 => What::Elsewhere,
            7 => What::Share(session, other),
            8 => What::Revoke(session, other),
            9 => What::Delete(session),
            _ => What::Shown,
        }
    }

    fn change(&mut self, at: usize) {
        let what = self.draw_change(self.clients[at].account);
        let data = match &what {
            What::Message(session) => format!(r#""message","session":"{}""#, session.as_str()),
            What::Own => r#""own""#.to_string(),
            What::Everybody => r#""everybody""#.to_string(),
            What::Machine(machine) => format!(r#""machine","machine":"{}""#, machine.as_str()),
            What::Twice(machine) => format!(r#""twice","machine":"{}""#, machine.as_str()),
            What::Silent => r#""silent""#.to_string(),
            What::Elsewhere => r#""elsewhere""#.to_string(),
            What::Share(session, other) => {
                format!(r#""share","session":"{}","account":"{}""#, session.as_str(), other.as_str())
            }
            What::Revoke(session, other) => {
                format!(r#""revoke","session":"{}","account":"{}""#, session.as_str(), other.as_str())
            }
            What::Delete(session) => format!(r#""delete","session":"{}""#, session.as_str()),
            What::Shown => r#""shown""#.to_string(),
        };
        let pad = [60, 600, 7_000][self.weighted(&[75, 13, 12])];
        self.note(format_args!("client {at}: {data}"));
        self.clients[at].emit("change", &format!(r#"{{"what":{data},"pad":{pad}}}"#), Some(Asked::Change));
    }

    /// Answers one call that it was asked to answer, or forgets it. Returns whether there was one.
    fn answer_request(&mut self, at: usize) -> bool {
        let Some(session) = self.clients[at].session() else { return false };
        if session.heard.requests.is_empty() {
            return false;
        }
        let (ack, n) = session.heard.requests.swap_remove(0);
        if self.chance(85) {
            self.note(format_args!("client {at}: answers call {n}"));
            self.calls[usize::try_from(n).expect("small")].answered = true;
            let answer = format!(r#"43{ack}[{{"n":{n}}}]"#);
            self.clients[at].say(answer.clone());
            if self.chance(5) {
                self.clients[at].say(answer);
            }
        }
        true
    }

    fn leave(&mut self, at: usize) {
        let way = self.weighted(&[30, 30, 20, 20]);
        self.note(format_args!("client {at}: leaves, way {way}"));
        let client = &mut self.clients[at];
        match (&mut client.link, way) {
            // DISCONNECT; the session lives on.
            (_, 0) => {
                client.say("41".to_string());
                if let Some(session) = client.session() {
                    session.over = true;
                }
            }
            (Link::WebSocket(wire), 1) => {
                wire.say_close();
                let mut random = random::Random::new(1);
                wire.send(&mut random, true);
                client.cut();
            }
            (Link::Polling(_), 1) => {
                client.say("1".to_string());
                let hubs = self.world.hubs.clone();
                client.exchange(&hubs, &mut random::Random::new(1), true);
                client.cut();
            }
            (Link::Polling(polling), _) => {
                polling.drop_poll(&self.world.hubs);
                client.cut();
            }
            // Gone without a word.
            _ => client.cut(),
        }
    }

    fn upgrade(&mut self, at: usize) {
        let Link::Polling(polling) = &mut self.clients[at].link else { return };
        let hub = &self.world.hubs[CoreId(polling.sid.core()).index()];
        if polling.candidate.is_some() {
            return;
        }
        let target = match hub.find(polling.sid) {
            Some(Whereabouts::Here(key)) => Target::Session(key),
            Some(Whereabouts::Moved) => Target::Moved,
            None => return,
        };
        let (mut wire, descriptor) = Wire::pair();
        hub.attach(target, descriptor, Vec::new());
        wire.say("2probe");
        polling.candidate = Some(Candidate { wire, answered: false });
        self.note(format_args!("client {at}: probes with a websocket"));
    }

    // ---- what clients hear --------------------------------------------------------------------------------------

    fn exchange(&mut self, at: usize, eager: bool) {
        self.world.next_step();
        let arrived = {
            let mut random = random::Random::new(self.world.shared.borrow_mut().random.next());
            self.clients[at].exchange(&self.world.hubs, &mut random, eager)
        };
        for packet in arrived {
            match packet {
                Arrived::Text(text) => self.hear(at, &text),
                Arrived::End => {
                    self.note(format_args!("client {at}: its transport has ended"));
                    self.clients[at].cut();
                    return;
                }
            }
        }
        self.finish_upgrade(at);
    }

    /// Once the probe is answered and the last poll has ended, the client changes over.
    fn finish_upgrade(&mut self, at: usize) {
        let Link::Polling(polling) = &mut self.clients[at].link else { return };
        let is_ready = polling.poll.is_none() && polling.candidate.as_ref().is_some_and(|candidate| candidate.answered);
        if !is_ready {
            return;
        }
        let (unsent, candidate) = (std::mem::take(&mut polling.unsent), polling.candidate.take());
        let Some(Candidate { mut wire, .. }) = candidate else { return };
        wire.say("5");
        for packet in unsent {
            wire.say(&packet);
        }
        self.clients[at].link = Link::WebSocket(wire);
        self.note(format_args!("client {at}: has changed over to its websocket"));
        self.seen.upgrades += 1;
    }

    fn hear(&mut self, at: usize, packet: &str) {
        let client = &mut self.clients[at];
        let Some(message) = packet.strip_prefix('4') else {
            match packet {
                "2" if client.answers_pings => client.say("3".to_string()),
                "1" => client.cut(),
                _ => {}
            }
            return;
        };
        let (kind, rest) = message.split_at(1);
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (id, json) = rest.split_at(digits);
        let json: Json = if json.is_empty() { Json::Null } else { serde_json::from_str(json).expect("JSON") };
        match kind {
            "0" => {
                assert!(client.connecting, "connected without having asked");
                let socket = SocketId::parse(json["sid"].as_str().expect("a sid")).expect("a socket id");
                client.connecting = false;
                client.sessions.push(Session { socket, heard: Heard::default(), over: false });
                self.note(format_args!("client {at}: is {socket}"));
            }
            "1" => {
                if let Some(session) = client.session() {
                    session.over = true;
                }
            }
            "2" => self.hear_event(at, id, &json),
            "3" => self.hear_answer(at, id.parse().expect("an id"), json[0].to_string()),
            other => panic!("a packet of kind {other}"),
        }
    }

    fn hear_event(&mut self, at: usize, id: &str, json: &Json) {
        let argument = &json[1];
        let n = |value: &Json| usize::try_from(value["n"].as_u64().expect("a number")).expect("small");
        let name = json[0].as_str().expect("a name");
        if name == "error" {
            // Refused: this was no connection.
            self.clients[at].sessions.pop();
            return;
        }
        // Behind a DISCONNECT of its own a client hears nothing.
        let Some(session) = self.clients[at].session() else { return };
        let heard = &mut session.heard;
        match name {
            "update" => {
                heard.updates.push((n(&argument["body"]), argument["seq"].as_i64().expect("a cursor")));
                self.seen.updates += 1;
            }
            "ephemeral" => heard.shown.push(n(argument)),
            "rpc-registered" | "rpc-unregistered" => {
                heard.registered.push(argument["method"].as_str().expect("a method").to_string());
            }
            "rpc-request" => {
                let call = argument["params"].as_u64().expect("the number of the call");
                heard.requests.push((id.parse().expect("asked for an answer"), call));
                let record = &mut self.calls[usize::try_from(call).expect("small")];
                record.delivered += 1;
                assert_eq!(record.delivered, 1, "call {call} has been made twice");
                self.note(format_args!("client {at}: is asked to answer call {call}"));
            }
            other => panic!("the event {other}"),
        }
    }

    fn hear_answer(&mut self, at: usize, id: u64, answer: String) {
        self.note(format_args!("client {at}: answer {id}: {answer}"));
        let Some(session) = self.clients[at].session() else { return };
        let heard = &mut session.heard;
        assert!(heard.asked.contains_key(&id), "client {at} has not asked for {id}");
        heard.updates_before.insert(id, heard.updates.len());
        let is_call = matches!(heard.asked[&id], Asked::Call(_));
        self.seen.calls_answered += usize::from(is_call && answer.contains(r#""ok":true"#));
        self.seen.calls_timed_out += usize::from(is_call && answer.contains("timed out"));
        let before = heard.answers.insert(id, answer);
        assert_eq!(before, None, "client {at} was answered twice");
    }

    // ---- judgement ----------------------------------------------------------------------------------------------

    /// `is_complete`: everything is settled, so whoever is connected has heard everything.
    fn check(&self, is_complete: bool) {
        let shared = self.world.shared.borrow();
        let oracle = &shared.oracle;
        for (at, client) in self.clients.iter().enumerate() {
            for session in &client.sessions {
                let Session { socket, heard, over } = session;
                let stays = is_complete && !over && oracle.is_connected(*socket);
                oracle.check_updates(*socket, &heard.updates, stays);
                oracle.check_shown(*socket, &heard.shown);
                for (id, asked) in &heard.asked {
                    let Some(answer) = heard.answers.get(id) else {
                        assert!(!stays, "client {at} waits in vain for {asked:?}, acknowledgement {id}");
                        continue;
                    };
                    self.check_answer(heard, *id, asked, answer, oracle);
                }
            }
        }
    }

    fn check_answer(&self, heard: &Heard, id: u64, asked: &Asked, answer: &str, oracle: &oracle::Oracle) {
        let json: Json = serde_json::from_str(answer).expect("JSON");
        match asked {
            Asked::Change => {
                let Some(n) = json["n"].as_u64() else { return };
                let n = usize::try_from(n).expect("small");
                // A sender that is skipped hears nothing, one of another class neither.
                let Some(position) = heard.updates.iter().position(|(other, _)| *other == n) else { return };
                oracle.check_answered_behind(n, position < heard.updates_before[&id]);
            }
            Asked::Call(n) => {
                if json["ok"] == true {
                    assert_eq!(json["result"]["n"].as_u64(), Some(*n), "the answer to another call");
                    assert!(self.calls[usize::try_from(*n).expect("small")].answered, "an answer nobody gave");
                } else {
                    let known =
                        ["RPC method not available", "Cannot call RPC on the same socket", "operation has timed out"];
                    assert!(known.iter().any(|text| json["error"] == *text), "{answer}");
                }
            }
        }
    }

    /// Everybody goes, or the server does.
    fn end(&mut self) {
        let is_shutdown = self.chance(50);
        self.note(format_args!("{}", if is_shutdown { "the server ends" } else { "everybody leaves" }));
        if is_shutdown {
            let mut left: Vec<usize> = (0..self.world.hubs.len()).collect();
            while !left.is_empty() {
                let core = left.swap_remove(self.below(left.len()));
                self.world.hubs[core].stop();
                for _ in 0..self.below(40) {
                    self.step();
                }
            }
        }
        self.is_open = false;
        for at in 0..self.clients.len() {
            if self.chance(70) && !matches!(self.clients[at].link, Link::None) {
                self.leave(at);
            }
        }
        self.settle(200);
        for client in &mut self.clients {
            client.cut();
        }
        // Polls that were given up with their clients are missed by their heartbeat, and timers run out.
        self.settle(180_000);
        for (core, hub) in self.world.hubs.iter().enumerate() {
            assert!(hub.is_at_rest(), "core {core} remembers somebody");
            assert_eq!(hub.turn.wheel.borrow().len(), 0, "core {core} has timers left");
            assert_eq!(hub.turn.connections.get(), 0, "core {core} has connections left");
            assert_eq!(hub.turn.outbox_bytes.get(), 0, "core {core} has output left");
        }
        let shared = self.world.shared.borrow();
        for socket in shared.oracle.connections.keys() {
            assert!(!shared.oracle.is_connected(*socket), "{socket} has never left");
        }
    }

    fn run(&mut self) {
        let steps = 300 + self.below(1_000);
        for _ in 0..steps {
            self.step();
        }
        self.note(format_args!("nothing new from here on"));
        for client in &mut self.clients {
            (client.reads, client.answers_pings) = (true, true);
        }
        self.settle(500);
        // Longer than any call may take.
        self.settle(45_000);
        self.check(true);
        self.end();
        self.check(false);
        let metrics: Vec<_> = self.world.hubs.iter().map(|hub| Arc::clone(&hub.metrics)).collect();
        let page = crate::observe::metrics::render(&metrics);
        let slow = page.lines().filter_map(|line| line.strip_prefix("happier_slow_peer_disconnects_total{"));
        let shared = self.world.shared.borrow();
        self.seen.slow_peers = slow.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).sum();
        self.seen.moves = self.world.moves.get();
        self.seen.withheld = shared.oracle.withheld.get();
        self.seen.late = shared.oracle.late.get();
    }
}

/// Runs one seed; gives what happened in it, or the trace of a failure.
fn play(seed: u64, is_shown: bool) -> Result<Seen, String> {
    // A world that has failed may fail again while it is taken down, so it is not.
    let mut sim = ManuallyDrop::new(Sim::new(seed));
    let shared = Rc::clone(&sim.world.shared);
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| sim.run()));
    let Ok(mut shared) = shared.try_borrow_mut() else { return Err("the trace is not to be had".to_string()) };
    let trace = std::mem::take(&mut shared.trace);
    drop(shared);
    let shown = if is_shown { trace.len() } else { TRACE_SHOWN.min(trace.len()) };
    let tail = trace[trace.len() - shown..].join("\n");
    match outcome {
        Ok(()) => {
            let seen = sim.seen;
            drop(ManuallyDrop::into_inner(sim));
            if is_shown {
                show(&tail);
            }
            Ok(seen)
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
            Err(format!("{tail}\n{text}\nseed {seed} fails; HAPPIER_SIM_SEED={seed} plays it again"))
        }
    }
}

#[allow(clippy::print_stdout, reason = "a developer has asked for it")]
fn show(text: &str) {
    println!("{text}");
}

#[allow(clippy::disallowed_methods, reason = "how a developer names a seed")]
fn number_in(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text}, expected a whole number")))
}

#[test]
fn whatever_happens_in_whatever_order() {
    if let Some(seed) = number_in("HAPPIER_SIM_SEED") {
        match play(seed, true) {
            Ok(seen) => show(&format!("{seen:?}")),
            Err(trace) => panic!("\n{trace}"),
        }
        return;
    }
    let mut total = Seen::default();
    for seed in 0..number_in("HAPPIER_SIM_SEEDS").unwrap_or(SEEDS) {
        let seen = play(seed, false).unwrap_or_else(|trace| panic!("\n{trace}"));
        total.updates += seen.updates;
        total.moves += seen.moves;
        total.upgrades += seen.upgrades;
        total.calls_answered += seen.calls_answered;
        total.calls_timed_out += seen.calls_timed_out;
        total.slow_peers += seen.slow_peers;
        total.withheld += seen.withheld;
        total.late += seen.late;
    }
    show(&format!("{total:?}"));
    let Seen { updates, moves, upgrades, calls_answered, calls_timed_out, slow_peers, withheld, late } = total;
    let rarest = [updates, moves, upgrades, calls_answered, calls_timed_out, slow_peers, withheld, late];
    assert!(rarest.iter().all(|count| *count >= 3), "something that should happen does not: {total:?}");
}
