//! engine.io session (protocol revision 4): open, heartbeat, upgrade, close (`spec/socketio.md` §4–§8).
//!
//! Owns: the transport in use, the heartbeat deadline, the state of an upgrade, packets not yet fetched by a poll.
//! Never: sockets, clocks, rooms, the Socket.IO layer. Time arrives as `now`, in milliseconds.
//! Invariants: while open, the heartbeat has exactly one deadline; only a polling session has polling state; a session
//! that is not open has no candidate; [`Effect::Closed`] comes once and is the last word.
//!
//! Methods by kind, in the order to call them:
//! 1. what arrived: `handle_*`, [`Session::send`], [`Session::close`], [`Session::abort`];
//! 2. at the end of a turn [`Session::flush`], so that the packets of a turn travel together;
//! 3. what is to be done: [`Session::poll_effect`], until it is empty;
//! 4. when to be woken: [`Session::poll_timeout`].
//!
//! An open websocket needs none of this for sending: while [`Session::is_websocket_open`], packets may go straight to
//! the socket.

use std::collections::VecDeque;

use super::packet::Packet;
use super::polling::{Candidate, PROBE_CHECK_MS, Polling, Queued};

/// A ping that goes out later than this after it was due restarts the time for its pong, because then the process was
/// held up and the client must not pay for it. Below that the deadline counts from when the ping was due, so that
/// coarse timers do not add up.
const PING_LATENESS_MS_MAX: u64 = 1_000;

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
    /// An orderly closing of a polling session: polls still fetch what waits.
    Closing,
    Closed,
}

/// What the heartbeat's deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// Sending the next ping.
    Ping,
    /// Receiving the pong; missing it closes the session.
    Pong,
}

/// One session. `M` is an encoded packet, shared with others.
#[derive(Debug)]
pub struct Session<M> {
    heartbeat_at: u64,
    awaited: Awaited,
    transport: Transport,
    phase: Phase,
    /// A ping is to be sent over the websocket. Apart from `effects`, so that a heartbeat allocates nothing.
    ping_owed: bool,
    /// Present exactly while the session is on polling and not closed.
    polling: Option<Box<Polling<M>>>,
    /// Present only until the caller has taken them.
    #[expect(clippy::box_collection, reason = "rarely there, and 24 bytes less for every idle session")]
    effects: Option<Box<VecDeque<Effect<M>>>>,
}

impl<M: AsRef<[u8]>> Session<M> {
    /// A session whose open packet has just been sent.
    pub fn open(transport: Transport, now: u64, config: &Config) -> Self {
        Self {
            heartbeat_at: now.saturating_add(config.ping_interval_ms),
            awaited: Awaited::Ping,
            transport,
            phase: Phase::Open,
            ping_owed: false,
            polling: (transport == Transport::Polling).then(Box::default),
            effects: None,
        }
    }

    /// A websocket session that was opened elsewhere and goes on here.
    pub fn resume(ping_in_ms: u64, now: u64) -> Self {
        Self {
            heartbeat_at: now.saturating_add(ping_in_ms),
            awaited: Awaited::Ping,
            transport: Transport::WebSocket,
            phase: Phase::Open,
            ping_owed: false,
            polling: None,
            effects: None,
        }
    }

    /// The transport in use.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether packets may go straight to the websocket. Not before the effects of an upgrade have been taken: what
    /// waited for polls goes first.
    pub fn is_websocket_open(&self) -> bool {
        self.transport == Transport::WebSocket && self.phase == Phase::Open && self.effects.is_none()
    }

    /// Whether the session takes part in anything any more.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Milliseconds until the next ping, for a session that moves; `None` while a pong is awaited.
    pub fn ping_in_ms(&self, now: u64) -> Option<u64> {
        (self.awaited == Awaited::Ping).then(|| self.heartbeat_at.saturating_sub(now))
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
            Packet::Message("") => return Received::Empty,
            Packet::Message(text) => return Received::Message(text),
            Packet::Binary(bytes) => return Received::Binary(bytes),
            // Also accepted unasked. Nothing but a pong is a sign of life.
            Packet::Pong(_) => self.expect_ping(now, config),
            Packet::Ping(_) => self.abort(Reason::TransportError),
            Packet::Close if self.transport == Transport::Polling => {
                self.flush();
                self.answer_poll(b"6");
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
                candidate.check_at = Some(now.saturating_add(PROBE_CHECK_MS));
                self.push(Effect::SendCandidate("3probe"));
                // The client waits for its poll to end before it upgrades.
                self.flush();
                self.answer_poll(b"6");
            }
            Packet::Upgrade => self.upgrade(now, config),
            _ => self.drop_candidate(),
        }
        self.check_invariants();
    }

    fn upgrade(&mut self, now: u64, config: &Config) {
        // What this poll could still fetch goes over the websocket instead.
        self.answer_poll(b"1");
        self.transport = Transport::WebSocket;
        self.push(Effect::Upgraded);
        let queue = self.polling.take().map(|polling| polling.queue).unwrap_or_default();
        for queued in queue {
            self.push(match queued {
                Queued::Text(text) => Effect::SendText(text),
                Queued::Packet(packet) => Effect::Send(packet),
            });
        }
        if self.awaited == Awaited::Pong {
            // The pong may have been lost with the old transport, so its deadline goes, and the schedule begins anew.
            self.expect_ping(now, config);
        }
    }

    /// A poll. With [`Poll::Held`] it is pending until an effect answers it.
    pub fn handle_poll(&mut self, now: u64, config: &Config) -> Poll {
        // The websocket has taken over, or the session is closed: not for this session to answer.
        let Some(polling) = &mut self.polling else { return Poll::Refused };
        if polling.pending {
            self.abort(Reason::TransportError);
            self.check_invariants();
            return Poll::Refused;
        }
        polling.pending = true;
        if self.phase == Phase::Closing {
            self.handle_poll_while_closing(now, config);
        } else {
            self.flush();
        }
        self.check_invariants();
        Poll::Held
    }

    fn handle_poll_while_closing(&mut self, now: u64, config: &Config) {
        if self.polling.as_ref().is_some_and(|polling| polling.queue.is_empty()) {
            self.answer_poll(b"6\x1e1");
            self.finish(Reason::ForcedClose);
        } else {
            // What waited travels in a payload of its own.
            self.flush();
            self.linger(now, config);
        }
    }

    /// The client has dropped the connection of a poll. One that has been answered meanwhile does not matter.
    pub fn handle_poll_dropped(&mut self) {
        if let Some(polling) = &mut self.polling
            && polling.pending
        {
            polling.pending = false;
            self.finish(Reason::TransportError);
        }
        self.check_invariants();
    }

    /// The head of a POST has arrived. `false`: another one is being received, which ends the session; answer this one
    /// 400 and drop the connection of the other.
    pub fn handle_post_begun(&mut self) -> bool {
        let Some(polling) = &mut self.polling else { return true };
        let first = !std::mem::replace(&mut polling.posting, true);
        if !first {
            self.abort(Reason::TransportError);
        }
        self.check_invariants();
        first
    }

    /// The body of the POST is complete, or was refused for its size. Its packets follow as [`Self::handle_packet`],
    /// up to the first that cannot be read, which is [`Self::handle_parse_error`]. Whatever comes of them, the answer
    /// is 200 `ok` (S-12).
    pub fn handle_post_ended(&mut self) {
        if let Some(polling) = &mut self.polling {
            polling.posting = false;
        }
    }

    /// The body of a POST will not come, or is of a kind that is not understood.
    pub fn handle_post_aborted(&mut self) {
        self.handle_post_ended();
        // A request that outlived its transport harms nobody.
        if self.phase == Phase::Open && self.transport == Transport::Polling {
            self.abort(Reason::TransportError);
        }
        self.check_invariants();
    }

    /// A websocket wants to take over. `false`: one has already, or the session is not to be taken over (S-16); close
    /// the new one with an empty close frame.
    pub fn handle_candidate(&mut self, now: u64, config: &Config) -> bool {
        match &mut self.polling {
            Some(polling) if polling.candidate.is_none() && self.phase == Phase::Open => {
                let until = now.saturating_add(config.upgrade_timeout_ms);
                polling.candidate = Some(Candidate { until, check_at: None });
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
        if self.transport == Transport::WebSocket && self.phase != Phase::Closed {
            self.finish(Reason::TransportClose);
        }
        self.check_invariants();
    }

    /// Time has passed: fires whatever is due.
    pub fn handle_timeout(&mut self, now: u64, config: &Config) {
        let linger_until = self.polling.as_ref().and_then(|polling| polling.linger_until);
        if linger_until.is_some_and(|until| until <= now) {
            self.finish(Reason::ForcedClose);
        }
        // Twice at most: a ping that was due so long ago that its pong is due as well.
        while self.phase != Phase::Closed && linger_until.is_none() && self.heartbeat_at <= now {
            self.handle_heartbeat(now, config);
        }
        self.handle_candidate_timeout(now);
        self.check_invariants();
    }

    fn handle_heartbeat(&mut self, now: u64, config: &Config) {
        if self.awaited == Awaited::Pong {
            return self.abort(Reason::PingTimeout);
        }
        let due = self.heartbeat_at;
        let sent = if now.saturating_sub(due) <= PING_LATENESS_MS_MAX { due } else { now };
        self.awaited = Awaited::Pong;
        self.heartbeat_at = sent.saturating_add(config.ping_timeout_ms);
        if self.phase != Phase::Open {
            // A closing session is not pinged any more, but neither does it wait for a poll forever.
            return;
        }
        match &mut self.polling {
            Some(polling) => {
                polling.queue.push_back(Queued::Text("2"));
                self.flush();
            }
            None => self.ping_owed = true,
        }
    }

    fn handle_candidate_timeout(&mut self, now: u64) {
        let Some(candidate) = self.polling.as_mut().and_then(|polling| polling.candidate.as_mut()) else { return };
        if candidate.until <= now {
            self.drop_candidate();
        } else if candidate.check_at.is_some_and(|at| at <= now) {
            candidate.check_at = Some(now.saturating_add(PROBE_CHECK_MS));
            self.flush();
            self.answer_poll(b"6");
        }
    }

    // ---- what is sent -------------------------------------------------------------------------------------------

    /// Queues a packet. On a websocket it comes back as an effect; a polling session keeps it for [`Self::flush`].
    pub fn send(&mut self, packet: M) {
        match (&mut self.polling, self.phase) {
            (_, Phase::Closing | Phase::Closed) => {}
            (Some(polling), Phase::Open) => polling.queue.push_back(Queued::Packet(packet)),
            (None, Phase::Open) => self.push(Effect::Send(packet)),
        }
    }

    /// Answers a pending poll with everything queued.
    pub fn flush(&mut self) {
        if let Some(polling) = &mut self.polling
            && polling.pending
            && !polling.queue.is_empty()
        {
            polling.pending = false;
            let payload = polling.take_payload();
            self.push(Effect::AnswerPoll(payload));
        }
    }

    /// The layer above closes the session in an orderly way (a violation of its rules, no CONNECT in time): what waits
    /// for a poll is still delivered.
    pub fn close(&mut self, now: u64, config: &Config) {
        if self.phase != Phase::Open {
            return;
        }
        self.flush();
        self.drop_candidate();
        match &self.polling {
            None => {
                self.push(Effect::CloseWebSocket);
                self.finish(Reason::ForcedClose);
            }
            Some(polling) if polling.pending => {
                self.answer_poll(b"1");
                self.finish(Reason::ForcedClose);
            }
            Some(polling) => {
                let fetched = polling.queue.is_empty();
                self.phase = Phase::Closing;
                if fetched {
                    self.linger(now, config);
                }
            }
        }
        self.check_invariants();
    }

    /// Ends the session at once: what waits for a poll is discarded, unless one is pending.
    pub fn abort(&mut self, reason: Reason) {
        if self.phase == Phase::Closed {
            return;
        }
        match self.transport {
            Transport::WebSocket => self.push(Effect::CloseWebSocket),
            Transport::Polling => {
                self.flush();
                self.answer_poll(b"1");
            }
        }
        self.finish(reason);
        self.check_invariants();
    }

    // ---- what is to be done -------------------------------------------------------------------------------------

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect<M>> {
        if let Some(effect) = self.effects.as_mut().and_then(|effects| effects.pop_front()) {
            return Some(effect);
        }
        // An idle session owns no queue.
        self.effects = None;
        std::mem::take(&mut self.ping_owed).then_some(Effect::SendText("2"))
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    pub fn poll_timeout(&self) -> Option<u64> {
        let polling = self.polling.as_ref();
        match self.phase {
            Phase::Closed => None,
            Phase::Closing => Some(polling.and_then(|polling| polling.linger_until).unwrap_or(self.heartbeat_at)),
            Phase::Open => {
                let candidate = polling.and_then(|polling| polling.candidate);
                Some(candidate.map_or(self.heartbeat_at, |candidate| candidate.deadline().min(self.heartbeat_at)))
            }
        }
    }

    // ---- inside -------------------------------------------------------------------------------------------------

    fn push(&mut self, effect: Effect<M>) {
        self.effects.get_or_insert_default().push_back(effect);
    }

    fn expect_ping(&mut self, now: u64, config: &Config) {
        self.awaited = Awaited::Ping;
        self.heartbeat_at = now.saturating_add(config.ping_interval_ms);
    }

    fn linger(&mut self, now: u64, config: &Config) {
        if let Some(polling) = &mut self.polling {
            polling.linger_until = Some(now.saturating_add(config.linger_ms));
        }
    }

    fn answer_poll(&mut self, payload: &'static [u8]) {
        if let Some(polling) = &mut self.polling
            && polling.pending
        {
            polling.pending = false;
            self.push(Effect::AnswerPoll(payload.to_vec()));
        }
    }

    fn drop_candidate(&mut self) {
        if let Some(polling) = &mut self.polling
            && polling.candidate.take().is_some()
        {
            self.push(Effect::CloseCandidate);
        }
    }

    fn finish(&mut self, reason: Reason) {
        self.drop_candidate();
        self.phase = Phase::Closed;
        self.polling = None;
        self.ping_owed = false;
        self.push(Effect::Closed(reason));
    }

    /// Called at the end of every method that changes the phase or the transport; costs nothing in a release build.
    pub fn check_invariants(&self) {
        debug_assert_eq!(
            self.polling.is_some(),
            self.phase != Phase::Closed && self.transport == Transport::Polling,
            "a session has polling state exactly while it is on polling"
        );
        debug_assert!(
            self.phase != Phase::Closing || self.transport == Transport::Polling,
            "a websocket closes at once"
        );
        debug_assert_eq!(self.poll_timeout().is_some(), self.phase != Phase::Closed, "a live session has a deadline");
        if let Some(polling) = &self.polling {
            debug_assert!(polling.candidate.is_none() || self.phase == Phase::Open, "only an open session is probed");
            debug_assert!(!polling.pending || self.phase == Phase::Open, "a closing session answers polls at once");
            debug_assert!(
                polling.linger_until.is_none() || (self.phase == Phase::Closing && polling.queue.is_empty()),
                "a session lingers once everything has been fetched"
            );
        }
        let closed = |effect: &Effect<M>| matches!(effect, Effect::Closed(_));
        let effects = || self.effects.iter().flat_map(|effects| effects.iter());
        debug_assert!(
            effects().rev().skip(1).all(|effect| !closed(effect)) && (!self.ping_owed || !effects().any(closed)),
            "the closing is the last word"
        );
    }
}
