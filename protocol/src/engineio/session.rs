//! engine.io session (protocol revision 4): open, heartbeat, upgrade, close (`spec/socketio.md` §4–§8).
//!
//! Owns: the transport in use, the heartbeat deadline, the state of an upgrade, packets not yet fetched by a poll.
//! Never: sockets, clocks, rooms, the Socket.IO layer. Time arrives as `now`, in milliseconds.
//! Invariants: while open, the heartbeat has exactly one deadline; only a polling session queues packets; after
//! [`Effect::Closed`] nothing else comes out.
//!
//! Call order: any `handle_*`, then [`Session::poll_effect`] until it is empty, then [`Session::poll_timeout`].

use std::collections::VecDeque;

use super::packet::Packet;

/// Separates the packets of a polling payload.
pub const SEPARATOR: u8 = 0x1e;

/// How often a pending poll is looked for while a websocket probes.
const PROBE_CHECK_MS: u64 = 100;

/// Timings and sizes; the defaults are those that clients expect (`spec/socketio.md` §1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Time from the opening, or from a pong, to the next ping.
    pub ping_interval_ms: u64,
    /// Time that a pong may take.
    pub ping_timeout_ms: u64,
    /// Time that a websocket may take from attaching to its upgrade packet.
    pub upgrade_timeout_ms: u64,
    /// Largest incoming message or POST body, announced to clients.
    pub payload_bytes_max: u32,
    /// Time that an orderly closing waits for a last poll.
    pub linger_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ping_interval_ms: 15_000,
            ping_timeout_ms: 45_000,
            upgrade_timeout_ms: 10_000,
            payload_bytes_max: 1_000_000,
            linger_ms: 30_000,
        }
    }
}

/// How packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP requests.
    Polling,
    /// One websocket.
    WebSocket,
}

/// Where a packet came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The transport in use.
    Transport,
    /// A websocket that probes.
    Candidate,
}

/// Why a session ended. None of these words appears on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The client closed the transport, or it broke.
    TransportClose,
    /// The client misused the transport.
    TransportError,
    /// A packet could not be read.
    ParseError,
    /// No pong came in time.
    PingTimeout,
    /// The layer above closed it: a violation, or no CONNECT in time.
    ForcedClose,
    /// The server ends.
    Shutdown,
}

/// What a packet means for the layer above.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// Nothing.
    Nothing,
    /// A text message.
    Message(&'a str),
    /// A binary message.
    Binary(std::borrow::Cow<'a, [u8]>),
    /// A message without data: a violation of the layer above, which is to close the session.
    Empty,
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<M> {
    /// Answer the pending poll with status 200 and this payload.
    AnswerPoll(Vec<u8>),
    /// Send a queued packet over the websocket.
    Send(M),
    /// Send this packet over the websocket.
    SendText(&'static str),
    /// Send this packet to the probing websocket.
    SendCandidate(&'static str),
    /// Close the probing websocket; the session goes on.
    CloseCandidate,
    /// The probing websocket has become the transport.
    Upgraded,
    /// Close the websocket in use.
    CloseWebSocket,
    /// Forget the session.
    Closed(Reason),
}

/// What a poll got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// It is pending, or an [`Effect::AnswerPoll`] answers it.
    Held,
    /// Another poll was pending: 400, and the session is over.
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// An orderly closing waits for polls to fetch the rest; given up at the time, once the queue is empty.
    Closing {
        until: u64,
    },
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heartbeat {
    PingDue(u64),
    PongDue(u64),
}

#[derive(Debug)]
enum Queued<M> {
    Text(&'static str),
    Packet(M),
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    until: u64,
    /// When to look for a pending poll again; set by the probe.
    check: Option<u64>,
}

/// What only a session that began with polling needs.
#[derive(Debug)]
struct Polling<M> {
    queue: VecDeque<Queued<M>>,
    pending: bool,
    posting: bool,
    candidate: Option<Candidate>,
}

/// One session. `M` is an encoded packet, shared with others.
#[derive(Debug)]
pub struct Session<M> {
    transport: Transport,
    phase: Phase,
    heartbeat: Heartbeat,
    polling: Option<Box<Polling<M>>>,
    effects: VecDeque<Effect<M>>,
}

impl<M: AsRef<[u8]>> Session<M> {
    /// A session whose open packet has just been sent.
    pub fn open(transport: Transport, now: u64, config: &Config) -> Self {
        let polling = (transport == Transport::Polling)
            .then(|| Box::new(Polling { queue: VecDeque::new(), pending: false, posting: false, candidate: None }));
        let heartbeat = Heartbeat::PingDue(now.saturating_add(config.ping_interval_ms));
        Self { transport, phase: Phase::Open, heartbeat, polling, effects: VecDeque::new() }
    }

    /// A websocket session that was opened elsewhere and goes on here.
    pub fn resume(ping_in_ms: u64, now: u64) -> Self {
        let heartbeat = Heartbeat::PingDue(now.saturating_add(ping_in_ms));
        Self { transport: Transport::WebSocket, phase: Phase::Open, heartbeat, polling: None, effects: VecDeque::new() }
    }

    /// The transport in use.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether packets may go straight to the websocket.
    pub fn is_websocket_open(&self) -> bool {
        self.transport == Transport::WebSocket && self.phase == Phase::Open
    }

    /// Whether the session takes part in anything any more.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Milliseconds until the next ping, for a session that moves; `None` while a pong is awaited.
    pub fn ping_in_ms(&self, now: u64) -> Option<u64> {
        match self.heartbeat {
            Heartbeat::PingDue(at) => Some(at.saturating_sub(now)),
            Heartbeat::PongDue(_) => None,
        }
    }

    // ---- what arrived -------------------------------------------------------------------------------------------

    /// A packet from the transport or the candidate.
    pub fn handle_packet<'a>(&mut self, source: Source, packet: Packet<'a>, now: u64, config: &Config) -> Received<'a> {
        if self.phase != Phase::Open {
            return Received::Nothing;
        }
        if source == Source::Candidate {
            self.handle_candidate_packet(&packet, now, config);
            return Received::Nothing;
        }
        match packet {
            Packet::Message(text) if text.is_empty() => return Received::Empty,
            Packet::Message(text) => return Received::Message(text),
            Packet::Binary(bytes) => return Received::Binary(bytes),
            // Also accepted unasked.
            Packet::Pong(_) => self.heartbeat = Heartbeat::PingDue(now.saturating_add(config.ping_interval_ms)),
            Packet::Ping(_) => self.abort(Reason::TransportError),
            Packet::Close if self.transport == Transport::Polling => {
                self.answer_poll(b"6".to_vec());
                self.finish(Reason::TransportClose);
            }
            // Over a websocket clients close the websocket itself (S-10).
            Packet::Close | Packet::Open | Packet::Upgrade | Packet::Noop => {}
        }
        self.check_invariants();
        Received::Nothing
    }

    /// Something from the transport or the candidate that is no packet.
    pub fn handle_parse_error(&mut self, source: Source) {
        match source {
            Source::Candidate => self.drop_candidate(),
            Source::Transport if self.phase == Phase::Open => self.abort(Reason::ParseError),
            Source::Transport => {}
        }
        self.check_invariants();
    }

    fn handle_candidate_packet(&mut self, packet: &Packet<'_>, now: u64, config: &Config) {
        let Some(candidate) = self.polling.as_mut().and_then(|polling| polling.candidate.as_mut()) else { return };
        match packet {
            Packet::Ping(Some("probe")) => {
                candidate.check = Some(now.saturating_add(PROBE_CHECK_MS));
                self.effects.push_back(Effect::SendCandidate("3probe"));
                self.answer_poll(b"6".to_vec());
            }
            Packet::Upgrade => {
                // What a poll could still fetch goes over the websocket instead.
                self.answer_poll(b"1".to_vec());
                self.transport = Transport::WebSocket;
                self.effects.push_back(Effect::Upgraded);
                if let Some(polling) = self.polling.take() {
                    self.effects.extend(polling.queue.into_iter().map(|queued| match queued {
                        Queued::Text(text) => Effect::SendText(text),
                        Queued::Packet(packet) => Effect::Send(packet),
                    }));
                }
                // A pong that was awaited through polling may be lost with it: the schedule begins anew.
                if matches!(self.heartbeat, Heartbeat::PongDue(_)) {
                    self.heartbeat = Heartbeat::PingDue(now.saturating_add(config.ping_interval_ms));
                }
            }
            _ => self.drop_candidate(),
        }
        self.check_invariants();
    }

    /// A poll. With [`Poll::Held`] it is pending until an effect answers it.
    pub fn handle_poll(&mut self) -> Poll {
        let Some(polling) = &mut self.polling else { return Poll::Refused };
        if polling.pending {
            self.abort(Reason::TransportError);
            self.check_invariants();
            return Poll::Refused;
        }
        polling.pending = true;
        if polling.queue.is_empty() && matches!(self.phase, Phase::Closing { .. }) {
            self.answer_poll(b"6\x1e1".to_vec());
            self.finish(Reason::ForcedClose);
        } else {
            self.flush();
        }
        self.check_invariants();
        Poll::Held
    }

    /// The client has dropped the connection of the pending poll.
    pub fn handle_poll_dropped(&mut self) {
        if let Some(polling) = &mut self.polling {
            polling.pending = false;
        }
        self.end_quietly(Reason::TransportError);
    }

    /// The head of a POST has arrived. `false`: another one is being received, which ends the session; answer 400.
    pub fn handle_post_begun(&mut self) -> bool {
        let Some(polling) = &mut self.polling else { return true };
        let first = !polling.posting;
        polling.posting = true;
        if !first {
            self.abort(Reason::TransportError);
        }
        self.check_invariants();
        first
    }

    /// The body of the POST is complete, or was refused for its size. Its packets follow as [`Self::handle_packet`].
    pub fn handle_post_ended(&mut self) {
        if let Some(polling) = &mut self.polling {
            polling.posting = false;
        }
    }

    /// The body of a POST will not come, or is of a kind that is not understood.
    pub fn handle_post_aborted(&mut self) {
        self.handle_post_ended();
        if self.phase == Phase::Open {
            self.abort(Reason::TransportError);
        }
        self.check_invariants();
    }

    /// A websocket wants to take over. `false`: one has already; close the new one with an empty close frame.
    pub fn handle_candidate(&mut self, now: u64, config: &Config) -> bool {
        match &mut self.polling {
            Some(polling) if polling.candidate.is_none() && self.phase == Phase::Open => {
                polling.candidate =
                    Some(Candidate { until: now.saturating_add(config.upgrade_timeout_ms), check: None });
                true
            }
            _ => false,
        }
    }

    /// The probing websocket has gone.
    pub fn handle_candidate_closed(&mut self) {
        if let Some(polling) = &mut self.polling {
            polling.candidate = None;
        }
    }

    /// The websocket in use has gone.
    pub fn handle_transport_closed(&mut self) {
        self.end_quietly(Reason::TransportClose);
    }

    /// Time has passed: fires whatever is due.
    pub fn handle_timeout(&mut self, now: u64, config: &Config) {
        match (self.phase, self.heartbeat) {
            (Phase::Closed, _) => return,
            (Phase::Closing { until }, _) => {
                if until <= now {
                    self.finish(Reason::ForcedClose);
                }
                return;
            }
            (Phase::Open, Heartbeat::PongDue(at)) if at <= now => return self.abort(Reason::PingTimeout),
            (Phase::Open, Heartbeat::PingDue(at)) if at <= now => {
                // Counted from when it was due, so that a late timer does not grant the client more time.
                self.heartbeat = Heartbeat::PongDue(at.saturating_add(config.ping_timeout_ms));
                match &mut self.polling {
                    Some(polling) => {
                        polling.queue.push_back(Queued::Text("2"));
                        self.flush();
                    }
                    None => self.effects.push_back(Effect::SendText("2")),
                }
            }
            (Phase::Open, _) => {}
        }
        if let Some(candidate) = self.polling.as_mut().and_then(|polling| polling.candidate.as_mut()) {
            if candidate.until <= now {
                self.drop_candidate();
            } else if let Some(check) = &mut candidate.check
                && *check <= now
            {
                *check = now.saturating_add(PROBE_CHECK_MS);
                self.answer_poll(b"6".to_vec());
            }
        }
        self.check_invariants();
    }

    // ---- what is sent -------------------------------------------------------------------------------------------

    /// Queues a packet. On a websocket it comes back as an effect; a polling session keeps it for [`Self::flush`].
    pub fn send(&mut self, packet: M) {
        match (&mut self.polling, self.phase) {
            (_, Phase::Closing { .. } | Phase::Closed) => {}
            (Some(polling), Phase::Open) => polling.queue.push_back(Queued::Packet(packet)),
            (None, Phase::Open) => self.effects.push_back(Effect::Send(packet)),
        }
    }

    /// Answers a pending poll with everything queued. Called at the end of a turn, so that its packets travel together.
    pub fn flush(&mut self) {
        let Some(polling) = &mut self.polling else { return };
        if !polling.pending || polling.queue.is_empty() {
            return;
        }
        let mut payload = Vec::new();
        for queued in polling.queue.drain(..) {
            if !payload.is_empty() {
                payload.push(SEPARATOR);
            }
            payload.extend_from_slice(match &queued {
                Queued::Text(text) => text.as_bytes(),
                Queued::Packet(packet) => packet.as_ref(),
            });
        }
        self.answer_poll(payload);
    }

    /// The layer above closes the session in an orderly way: what waits is still delivered.
    pub fn close(&mut self, now: u64, config: &Config) {
        if self.phase != Phase::Open {
            return;
        }
        self.drop_candidate();
        match &self.polling {
            None => {
                self.effects.push_back(Effect::CloseWebSocket);
                self.finish(Reason::ForcedClose);
            }
            Some(polling) if polling.pending && polling.queue.is_empty() => {
                self.answer_poll(b"1".to_vec());
                self.finish(Reason::ForcedClose);
            }
            Some(_) => {
                self.phase = Phase::Closing { until: now.saturating_add(config.linger_ms) };
                self.flush();
            }
        }
        self.check_invariants();
    }

    /// Ends the session at once: what waits is discarded.
    pub fn abort(&mut self, reason: Reason) {
        if self.phase == Phase::Closed {
            return;
        }
        match self.transport {
            Transport::WebSocket => self.effects.push_back(Effect::CloseWebSocket),
            Transport::Polling => self.answer_poll(b"1".to_vec()),
        }
        self.finish(reason);
        self.check_invariants();
    }

    // ---- what is to be done -------------------------------------------------------------------------------------

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect<M>> {
        let effect = self.effects.pop_front();
        if effect.is_none() && self.effects.capacity() > 0 {
            // An idle session owns no queue.
            self.effects = VecDeque::new();
        }
        effect
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.phase {
            Phase::Closed => None,
            Phase::Closing { until } => Some(until),
            Phase::Open => {
                let (Heartbeat::PingDue(heartbeat) | Heartbeat::PongDue(heartbeat)) = self.heartbeat;
                let candidate = self.polling.as_ref().and_then(|polling| polling.candidate);
                let upgrade = candidate.map_or(u64::MAX, |c| c.until.min(c.check.unwrap_or(u64::MAX)));
                Some(heartbeat.min(upgrade))
            }
        }
    }

    // ---- inside -------------------------------------------------------------------------------------------------

    fn answer_poll(&mut self, payload: Vec<u8>) {
        if let Some(polling) = &mut self.polling
            && polling.pending
        {
            polling.pending = false;
            self.effects.push_back(Effect::AnswerPoll(payload));
        }
    }

    fn drop_candidate(&mut self) {
        if let Some(polling) = &mut self.polling
            && polling.candidate.take().is_some()
        {
            self.effects.push_back(Effect::CloseCandidate);
        }
    }

    /// The transport is gone already: nobody is told.
    fn end_quietly(&mut self, reason: Reason) {
        if self.phase != Phase::Closed {
            self.finish(reason);
        }
        self.check_invariants();
    }

    fn finish(&mut self, reason: Reason) {
        self.drop_candidate();
        self.phase = Phase::Closed;
        self.polling = None;
        self.effects.push_back(Effect::Closed(reason));
    }

    fn check_invariants(&self) {
        debug_assert!(
            self.phase == Phase::Closed || (self.transport == Transport::Polling) == self.polling.is_some(),
            "only a polling session has polling state"
        );
        debug_assert!(
            self.effects.iter().filter(|effect| matches!(effect, Effect::Closed(_))).count() <= 1
                && self.effects.iter().rev().skip(1).all(|effect| !matches!(effect, Effect::Closed(_))),
            "a session is closed once, and that is the last word"
        );
    }
}
