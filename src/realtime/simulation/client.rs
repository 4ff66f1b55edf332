//! A client: what it has asked for, what it has heard, and the transport it uses at the moment.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use futures_channel::oneshot;
use protocol::engineio::sid::Sid;

use super::super::hub::Hub;
use super::super::sids::Whereabouts;
use super::random::Random;
use super::wire::{Arrived, Wire};
use crate::model::ids::SocketId;
use crate::runtime::cores::CoreId;

/// A websocket that probes for a polling session.
pub(super) struct Candidate {
    pub wire: Wire,
    /// The server has answered the probe.
    pub answered: bool,
}

pub(super) struct Polling {
    pub sid: Sid,
    pub poll: Option<oneshot::Receiver<Vec<u8>>>,
    /// Packets for the next POST.
    pub unsent: Vec<String>,
    pub candidate: Option<Candidate>,
}

pub(super) enum Link {
    None,
    WebSocket(Wire),
    Polling(Polling),
}

/// What a connection was told, and what it has asked.
#[derive(Default)]
pub(super) struct Heard {
    /// Numbers of updates and their cursors.
    pub updates: Vec<(usize, i64)>,
    pub shown: Vec<usize>,
    /// Answers by the acknowledgement they were asked for under.
    pub answers: BTreeMap<u64, String>,
    /// Updates that were heard before an answer.
    pub updates_before: HashMap<u64, usize>,
    pub asked: BTreeMap<u64, Asked>,
    pub registered: Vec<String>,
    /// Calls that it was asked to answer: acknowledgement and parameters.
    pub requests: Vec<(u64, u64)>,
}

/// What an acknowledgement was asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Change,
    /// The call with this number.
    Call(u64),
}

/// One connection of a client, from the answer to its CONNECT on.
pub(super) struct Session {
    pub socket: SocketId,
    pub heard: Heard,
    pub over: bool,
}

pub(super) struct Client {
    pub link: Link,
    /// The core that its next connection reaches.
    pub core: usize,
    pub account: usize,
    pub class: String,
    /// A CONNECT is on its way.
    pub connecting: bool,
    pub sessions: Vec<Session>,
    pub next_ack: u64,
    /// Takes what arrives.
    pub reads: bool,
    /// Answers heartbeats.
    pub answers_pings: bool,
}

impl Client {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            core: 0,
            account: 0,
            class: String::new(),
            connecting: false,
            sessions: Vec::new(),
            next_ack: 0,
            reads: true,
            answers_pings: true,
        }
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        self.sessions.last_mut().filter(|session| !session.over)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.sessions.last().is_some_and(|session| !session.over)
    }

    /// The transport is gone, and the connection with it.
    pub(super) fn cut(&mut self) {
        self.link = Link::None;
        self.connecting = false;
        self.reads = true;
        self.answers_pings = true;
        if let Some(session) = self.session() {
            session.over = true;
        }
    }

    pub(super) fn say(&mut self, packet: String) {
        match &mut self.link {
            Link::None => {}
            Link::WebSocket(wire) => wire.say(&packet),
            Link::Polling(polling) => polling.unsent.push(packet),
        }
    }

    /// Sends an event; asks for an acknowledgement if there is something to remember under it.
    pub(super) fn emit(&mut self, name: &str, data: &str, asked: Option<Asked>) {
        let ack = match asked {
            Some(asked) => {
                let ack = self.next_ack;
                self.next_ack += 1;
                if let Some(session) = self.session() {
                    session.heard.asked.insert(ack, asked);
                }
                ack.to_string()
            }
            None => String::new(),
        };
        self.say(format!(r#"42{ack}["{name}",{data}]"#));
    }

    /// Moves bytes: packets out, packets in.
    pub(super) fn exchange(&mut self, hubs: &[Rc<Hub>], random: &mut Random, eager: bool) -> Vec<Arrived> {
        let reads = self.reads;
        match &mut self.link {
            Link::None => Vec::new(),
            Link::WebSocket(wire) => {
                wire.send(random, eager);
                if reads { wire.read() } else { Vec::new() }
            }
            Link::Polling(polling) => polling.exchange(hubs, random, reads, eager),
        }
    }
}

impl Polling {
    /// The session's core, and its key there.
    fn hub<'a>(&self, hubs: &'a [Rc<Hub>]) -> Option<(&'a Rc<Hub>, crate::runtime::slab::Key)> {
        let hub = &hubs[CoreId(self.sid.core()).index()];
        let Some(Whereabouts::Here(key)) = hub.find(self.sid) else { return None };
        // As the endpoint does before it looks at a request.
        hub.run_timers(key);
        hub.find(self.sid)?;
        Some((hub, key))
    }

    fn exchange(&mut self, hubs: &[Rc<Hub>], random: &mut Random, reads: bool, eager: bool) -> Vec<Arrived> {
        let mut arrived = Vec::new();
        if let Some(poll) = &mut self.poll {
            match poll.try_recv() {
                Ok(None) => {}
                Ok(Some(payload)) => {
                    self.poll = None;
                    let payload = String::from_utf8(payload).expect("UTF-8");
                    arrived.extend(payload.split('\u{1e}').map(|packet| Arrived::Text(packet.to_string())));
                }
                Err(oneshot::Canceled) => return vec![Arrived::End],
            }
        }
        if let Some(candidate) = &mut self.candidate {
            candidate.wire.send(random, eager);
            for packet in candidate.wire.read() {
                match packet {
                    Arrived::Text(text) => {
                        assert_eq!(text, "3probe");
                        candidate.answered = true;
                    }
                    Arrived::End => {
                        self.candidate = None;
                        break;
                    }
                }
            }
        }
        if !self.unsent.is_empty() && (eager || random.chance(60)) {
            let Some((hub, key)) = self.hub(hubs) else {
                arrived.push(Arrived::End);
                return arrived;
            };
            let body = std::mem::take(&mut self.unsent).join("\u{1e}");
            if hub.post_begun(key).is_some() {
                hub.post_body(key, body.as_bytes());
            }
        }
        // While a candidate probes the client begins no new poll.
        if self.poll.is_none() && reads && self.candidate.is_none() {
            match self.hub(hubs) {
                None => arrived.push(Arrived::End),
                Some((hub, key)) => self.poll = hub.poll_begun(key),
            }
        }
        arrived
    }

    /// The client drops the connection of its poll.
    pub(super) fn drop_poll(&mut self, hubs: &[Rc<Hub>]) {
        if self.poll.take().is_some()
            && let Some((hub, key)) = self.hub(hubs)
        {
            hub.poll_dropped(key);
        }
    }
}
