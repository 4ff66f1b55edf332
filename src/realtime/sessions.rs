//! What happens to the sessions of a core: packets in, effects out, timers, the end.

use std::rc::Rc;

use futures_channel::oneshot;
use protocol::engineio::packet::{self, Packet};
use protocol::engineio::session::{Effect, Poll, Reason, Received, Session, Source, Transport};
use protocol::engineio::sid::Sid;
use protocol::socketio::connection::{Connection, Incoming as Meaning};
use protocol::socketio::packet as socketio;

use super::application::{Admission, Caller, Incoming};
use super::client::{Client, Polling, REFUSALS_MAX};
use super::hub::Hub;
use super::message::{Message, Moved};
use crate::model::ids::SocketId;
use crate::net::frame::Frame;
use crate::net::turn::Token;
use crate::net::websocket::{Channel, Departure, Flow, Receiver};
use crate::observe::metrics::Counter;
use crate::runtime::cores::CoreId;
use crate::runtime::slab::Key;
use crate::runtime::timer::Millis;

/// The close code for a message that is larger than it may be.
const TOO_LARGE: u16 = 1009;

impl Hub {
    // ---- the table ----------------------------------------------------------------------------------------------

    pub(super) fn insert(&self, sid: Sid, engine: Session<Frame>, channel: Option<Rc<Channel>>, moved: bool) -> Key {
        let opened_as_websocket = engine.transport() == Transport::WebSocket;
        let polling = (!opened_as_websocket).then(Box::<Polling>::default);
        let client = Client {
            engine,
            socketio: Connection::open(self.turn.now(), self.settings.connect_timeout_ms),
            sid,
            channel,
            polling,
            socket: None,
            timer_at: Millis::MAX,
            opened_as_websocket,
            moved,
            moving: None,
            refusals: 0,
            doomed: false,
        };
        let mut sessions = self.sessions.borrow_mut();
        let key = sessions.insert(client);
        if let Some(channel) = sessions.get(key).and_then(|client| client.channel.as_ref()) {
            channel.set_owner(key);
        }
        self.sids.borrow_mut().insert(sid, key, &sessions);
        drop(sessions);
        self.arm(key);
        key
    }

    /// Everything about a session ends here, whatever the reason.
    fn end(&self, key: Key, reason: Reason) {
        self.dismiss(key);
        let Some(client) = self.sessions.borrow_mut().remove(key) else { return };
        self.sids.borrow_mut().remove(client.sid, key);
        if client.moved {
            self.post(CoreId(client.sid.core()), Message::Forget(client.sid));
        }
        log::debug!("session ended: {reason:?}");
    }

    /// Ends every session of this core; clients reconnect and catch up.
    pub fn end_all(&self) {
        let keys = self.sessions.borrow().keys();
        for key in keys {
            self.end_now(key);
        }
    }

    pub(super) fn end_now(&self, key: Key) {
        self.with_engine(key, |engine, _| engine.abort(Reason::Shutdown));
        self.pump(key);
    }

    fn with_engine<R>(&self, key: Key, act: impl FnOnce(&mut Session<Frame>, Millis) -> R) -> Option<R> {
        let mut sessions = self.sessions.borrow_mut();
        let client = sessions.get_mut(key)?;
        Some(act(&mut client.engine, self.turn.now()))
    }

    // ---- effects ------------------------------------------------------------------------------------------------

    /// Does what the machine of a session asks for, then sees to its timer.
    pub(super) fn pump(&self, key: Key) {
        loop {
            // One effect at a time: acting on it may change the session.
            let mut sessions = self.sessions.borrow_mut();
            let Some(client) = sessions.get_mut(key) else { return };
            let Some(effect) = client.engine.poll_effect() else { break };
            match effect {
                Effect::AnswerPoll(payload) => {
                    if let Some(polling) = &mut client.polling {
                        polling.queued_bytes = 0;
                        if let Some(answer) = polling.answer.take() {
                            // Fails if the request was given up this very moment.
                            let _ = answer.send(payload);
                        }
                    }
                }
                Effect::Send(frame) => self.push(client, key, frame),
                Effect::SendText(text) => self.push(client, key, small_frame(text)),
                Effect::SendCandidate(text) => {
                    if let Some(candidate) = client.polling.as_ref().and_then(|polling| polling.candidate.clone()) {
                        let _ = candidate.push(small_frame(text));
                        candidate.flush();
                    }
                }
                Effect::CloseCandidate => {
                    if let Some(candidate) = client.polling.as_mut().and_then(|polling| polling.candidate.take()) {
                        drop(sessions);
                        candidate.close(None);
                    }
                }
                Effect::Upgraded => {
                    client.channel = client.polling.take().and_then(|polling| polling.candidate);
                }
                Effect::CloseWebSocket => {
                    if let Some(channel) = client.channel.clone() {
                        drop(sessions);
                        channel.close(None);
                    }
                }
                Effect::Closed(reason) => {
                    drop(sessions);
                    return self.end(key, reason);
                }
            }
        }
        self.arm(key);
    }

    fn push(&self, client: &mut Client, key: Key, frame: Frame) {
        let Some(channel) = &client.channel else { return };
        match channel.push(frame) {
            Ok(true) => self.turn.mark(key),
            Ok(false) => {}
            Err(_) => {
                client.doomed = true;
                self.turn.mark(key);
            }
        }
    }

    /// Handles what websockets have become ready for.
    pub fn websockets_turn(&self) {
        self.reactor.turn(self);
    }

    /// The end of the turn for a session that was marked.
    pub(super) fn settle(&self, key: Key) {
        let mut sessions = self.sessions.borrow_mut();
        let Some(client) = sessions.get_mut(key) else { return };
        if client.doomed {
            let channel = client.channel.clone();
            let bytes = channel.as_ref().map_or(0, |channel| channel.outbox_bytes());
            drop(sessions);
            log::warn!("a client does not read what it is sent ({bytes} bytes wait): disconnected");
            let reason = if channel.is_some() { "outbox" } else { "polling" };
            self.metrics.inc(Counter::SlowPeerDisconnect(reason));
            if let Some(channel) = channel {
                channel.abort();
            }
            self.with_engine(key, |engine, _| engine.abort(Reason::TransportError));
            return self.pump(key);
        }
        match &client.channel {
            Some(channel) => {
                channel.flush_with_others();
            }
            None => {
                client.engine.flush();
                drop(sessions);
                self.pump(key);
            }
        }
    }

    // ---- timers -------------------------------------------------------------------------------------------------

    /// Makes sure that the wheel looks at the session in time. A deadline that moves away leaves its entry where it is;
    /// the entry arms the next one when it fires. So each session has one entry, however often its deadline moves.
    pub(super) fn arm(&self, key: Key) {
        let mut sessions = self.sessions.borrow_mut();
        let Some(client) = sessions.get_mut(key) else { return };
        let engine = client.engine.poll_timeout().unwrap_or(Millis::MAX);
        let at = engine.min(client.socketio.poll_timeout().unwrap_or(Millis::MAX));
        // While a pong is awaited the deadline is far away and will come much nearer with the pong.
        let at = at.min(self.turn.now() + self.settings.engine.ping_interval_ms);
        if at < client.timer_at {
            client.timer_at = at;
            self.turn.arm(at, Token::Client(key));
        }
    }

    /// The wheel has reached an entry armed for `at`.
    pub fn timer_fired(&self, token: Token, at: Millis) {
        let key = match token {
            Token::Client(key) => key,
            Token::Channel(channel) => return self.reactor.timer_fired(channel, self),
        };
        match self.sessions.borrow_mut().get_mut(key) {
            Some(client) if client.timer_at == at => client.timer_at = Millis::MAX,
            // The session is gone, or a nearer entry has taken over.
            _ => return,
        }
        self.run_timers(key);
    }

    /// Fires what is due; also called before a request is looked at, so that it never sees a session that has expired.
    pub(super) fn run_timers(&self, key: Key) {
        let now = self.turn.now();
        let mut sessions = self.sessions.borrow_mut();
        let Some(client) = sessions.get_mut(key) else { return };
        client.engine.handle_timeout(now, &self.settings.engine);
        if client.socketio.handle_timeout(now) {
            client.engine.close(now, &self.settings.engine);
        }
        drop(sessions);
        self.pump(key);
    }

    // ---- packets ------------------------------------------------------------------------------------------------

    /// The client of a websocket, and what it is to it; none for one that nobody wanted.
    fn source(&self, channel: &Rc<Channel>) -> Option<(Key, Source)> {
        let key = channel.owner()?;
        let sessions = self.sessions.borrow();
        let client = sessions.get(key)?;
        if client.channel.as_ref().is_some_and(|current| Rc::ptr_eq(current, channel)) {
            return Some((key, Source::Transport));
        }
        let candidate = client.polling.as_ref().and_then(|polling| polling.candidate.as_ref());
        candidate.is_some_and(|candidate| Rc::ptr_eq(candidate, channel)).then_some((key, Source::Candidate))
    }

    fn packet(
        &self,
        key: Key,
        source: Source,
        packet: Result<Packet<'_>, packet::Error>,
        transport: Transport,
    ) -> Flow {
        let packet = match packet {
            Ok(packet) => packet,
            Err(packet::Error) => {
                self.with_engine(key, |engine, _| engine.handle_parse_error(source));
                return Flow::Continue;
            }
        };
        let config = &self.settings.engine;
        let received = self.with_engine(key, |engine, now| engine.handle_packet(source, packet, now, config));
        match received {
            None | Some(Received::Nothing) => Flow::Continue,
            Some(Received::Empty) => {
                self.violation(key);
                Flow::Continue
            }
            Some(Received::Message(text)) => {
                let meaning = match self.sessions.borrow_mut().get_mut(key) {
                    Some(client) => client.socketio.handle_text(text),
                    None => return Flow::Continue,
                };
                self.act(key, meaning, transport)
            }
            Some(Received::Binary(bytes)) => {
                let meaning = match self.sessions.borrow_mut().get_mut(key) {
                    Some(client) => client.socketio.handle_binary(&bytes),
                    None => return Flow::Continue,
                };
                self.act(key, meaning, transport)
            }
        }
    }

    fn violation(&self, key: Key) {
        let config = &self.settings.engine;
        self.dismiss(key);
        self.with_engine(key, |engine, now| engine.close(now, config));
    }

    fn act(&self, key: Key, meaning: Meaning<'_>, transport: Transport) -> Flow {
        match meaning {
            Meaning::Nothing => {}
            Meaning::Violation => self.violation(key),
            Meaning::UnknownNamespace(namespace) => {
                self.emit(key, Frame::text(|out| socketio::encode_connect_error(out, namespace, "Invalid namespace")));
            }
            Meaning::Connect { auth } => return self.connect_asked(key, auth, transport),
            Meaning::Disconnect => {
                self.dismiss(key);
                if let Some(client) = self.sessions.borrow_mut().get_mut(key) {
                    client.socketio.disconnected();
                }
            }
            Meaning::Event { name, argument, ack } => {
                let caller = match self.sessions.borrow().get(key).and_then(|client| client.socket.as_ref()) {
                    Some(socket) => (socket.id, socket.account.clone()),
                    None => return Flow::Continue,
                };
                let caller = Caller { key, socket: caller.0, account: &caller.1 };
                self.application().event(&caller, &Incoming { name: &name, data: argument.as_deref(), ack });
            }
            Meaning::Ack { id, argument } => self.rpc_acknowledged(key, id, argument.as_deref()),
        }
        Flow::Continue
    }

    /// CONNECT: always accepted first; the judgement follows (`spec/realtime.md` §1).
    fn connect_asked(&self, key: Key, auth: Option<&str>, transport: Transport) -> Flow {
        let admission = match self.application().admit(auth) {
            Ok(admission) => admission,
            Err(text) => {
                self.refuse(key, text);
                return Flow::Continue;
            }
        };
        if transport == Transport::WebSocket && self.may_move(key, &admission) {
            if let Some(client) = self.sessions.borrow_mut().get_mut(key) {
                client.moving = Some(Box::new(admission));
            }
            return Flow::Leave;
        }
        self.connect(key, admission);
        Flow::Continue
    }

    /// Answers CONNECT and makes the session a connection of its account.
    pub(super) fn connect(&self, key: Key, admission: Admission) {
        let socket = SocketId::random();
        if let Some(client) = self.sessions.borrow_mut().get_mut(key) {
            client.socketio.connected();
        }
        self.emit(key, Frame::text(|out| socketio::encode_connect(out, "/", socket.as_str())));
        self.admit(key, admission, socket);
    }

    fn refuse(&self, key: Key, text: &str) {
        let socket = SocketId::random();
        self.emit(key, Frame::text(|out| socketio::encode_connect(out, "/", socket.as_str())));
        let mut argument = br#"{"message":"#.to_vec();
        protocol::json::write_string(&mut argument, text);
        argument.push(b'}');
        self.emit_event(key, "error", &String::from_utf8_lossy(&argument));
        self.emit(key, Frame::text(socketio::encode_disconnect));
        if let Some(client) = self.sessions.borrow_mut().get_mut(key) {
            // The client may try again on the same session, without a time limit, but not without end.
            client.socketio.connected();
            client.socketio.disconnected();
            client.refusals += 1;
            if client.refusals == REFUSALS_MAX {
                client.engine.close(self.turn.now(), &self.settings.engine);
            }
        }
    }

    // ---- polling ------------------------------------------------------------------------------------------------

    /// A poll begins. `None`: it is refused.
    pub(super) fn poll_begun(&self, key: Key) -> Option<oneshot::Receiver<Vec<u8>>> {
        let (sender, receiver) = oneshot::channel();
        let mut sessions = self.sessions.borrow_mut();
        let client = sessions.get_mut(key)?;
        let held = client.engine.handle_poll(self.turn.now(), &self.settings.engine) == Poll::Held;
        if held {
            client.polling.get_or_insert_default().answer = Some(sender);
        }
        drop(sessions);
        self.pump(key);
        held.then_some(receiver)
    }

    pub(super) fn poll_dropped(&self, key: Key) {
        self.with_engine(key, |engine, _| engine.handle_poll_dropped());
        self.pump(key);
    }

    /// A POST begins; its connection is dropped when the receiver fires. `None`: another one is being received, which is
    /// the end of both and of the session.
    pub(super) fn post_begun(&self, key: Key) -> Option<oneshot::Receiver<()>> {
        let (cancel, cancelled) = oneshot::channel();
        let mut sessions = self.sessions.borrow_mut();
        let client = sessions.get_mut(key)?;
        let is_first = client.engine.handle_post_begun();
        let before = client.polling.get_or_insert_default().posting.replace(cancel);
        drop(sessions);
        if !is_first && let Some(before) = before {
            let _ = before.send(());
        }
        self.pump(key);
        is_first.then_some(cancelled)
    }

    pub(super) fn post_ended(&self, key: Key) {
        self.with_engine(key, |engine, _| engine.handle_post_ended());
    }

    pub(super) fn post_aborted(&self, key: Key) {
        self.with_engine(key, |engine, _| engine.handle_post_aborted());
        self.pump(key);
    }

    /// The body of a POST: packets in order, up to the first that cannot be read.
    pub(super) fn post_body(&self, key: Key, body: &[u8]) {
        self.post_ended(key);
        let Ok(body) = std::str::from_utf8(body) else {
            self.with_engine(key, |engine, _| engine.handle_parse_error(Source::Transport));
            return self.pump(key);
        };
        for packet in packet::payload(body) {
            let readable = packet.is_ok();
            self.packet(key, Source::Transport, packet, Transport::Polling);
            self.pump(key);
            if !readable {
                break;
            }
        }
    }

    // ---- websockets ---------------------------------------------------------------------------------------------

    /// A websocket attaches to a polling session. `false`: it is one too many.
    pub(super) fn candidate_attached(&self, key: Key, channel: &Rc<Channel>) -> bool {
        let mut sessions = self.sessions.borrow_mut();
        let Some(client) = sessions.get_mut(key) else { return false };
        if !client.engine.handle_candidate(self.turn.now(), &self.settings.engine) {
            return false;
        }
        client.polling.get_or_insert_default().candidate = Some(Rc::clone(channel));
        channel.set_owner(key);
        drop(sessions);
        self.arm(key);
        true
    }

    // ---- moving -------------------------------------------------------------------------------------------------

    fn may_move(&self, key: Key, admission: &Admission) -> bool {
        if self.home_of(&admission.account) == self.core {
            return false;
        }
        let sessions = self.sessions.borrow();
        let Some(client) = sessions.get(key) else { return false };
        let Some(channel) = &client.channel else { return false };
        // A session that was upgraded stays: its `sid` may still be asked for here by requests under way. So does one
        // whose client does not take what was written so far, because half a frame cannot be taken along.
        channel.flush();
        client.opened_as_websocket && client.engine.ping_in_ms(0).is_some() && channel.outbox_bytes() == 0
    }

    /// The reactor has let go of a session that moves.
    fn move_away(&self, key: Key, departure: Departure) {
        let Some(client) = self.sessions.borrow_mut().remove(key) else { return };
        self.sids.borrow_mut().remove(client.sid, key);
        let opened_at = CoreId(client.sid.core());
        let mut sent = false;
        if let Some(admission) = client.moving {
            let to = self.home_of(&admission.account);
            let ping_in_ms = client.engine.ping_in_ms(self.turn.now()).unwrap_or(0);
            let (sid, refusals) = (client.sid, client.refusals);
            let moved = Moved { departure, sid, ping_in_ms, refusals, admission: *admission };
            sent = self.post(to, Message::Move(Box::new(moved)));
        }
        // The tombstone is kept where the session was opened, and nowhere else it came through.
        if sent && opened_at == self.core {
            self.sids.borrow_mut().bury(client.sid);
        } else if !sent && client.moved {
            self.post(opened_at, Message::Forget(client.sid));
        }
    }
}

impl Receiver for Hub {
    fn text(&self, channel: &Rc<Channel>, text: &str) -> Flow {
        let Some((key, source)) = self.source(channel) else { return Flow::Continue };
        let flow = self.packet(key, source, packet::decode(text), Transport::WebSocket);
        self.pump(key);
        flow
    }

    fn binary(&self, channel: &Rc<Channel>, bytes: &[u8]) {
        if let Some((key, source)) = self.source(channel) {
            let packet = Packet::Binary(std::borrow::Cow::Borrowed(bytes));
            self.packet(key, source, Ok(packet), Transport::WebSocket);
            self.pump(key);
        }
    }

    fn violated(&self, channel: &Rc<Channel>, code: u16) {
        if code == TOO_LARGE && channel.owner().is_some() {
            self.payload_too_large("message");
        }
    }

    fn ended(&self, channel: &Rc<Channel>) {
        let Some((key, source)) = self.source(channel) else { return };
        match source {
            Source::Transport => {
                self.with_engine(key, |engine, _| engine.handle_transport_closed());
            }
            Source::Candidate => {
                self.with_engine(key, |engine, _| engine.handle_candidate_closed());
                if let Some(client) = self.sessions.borrow_mut().get_mut(key)
                    && let Some(polling) = &mut client.polling
                {
                    polling.candidate = None;
                }
            }
        }
        self.pump(key);
    }

    fn left(&self, channel: &Rc<Channel>, departure: Departure) {
        if let Some(key) = channel.owner() {
            self.move_away(key, departure);
        }
    }
}

/// Heartbeats and probes.
fn small_frame(text: &str) -> Frame {
    Frame::text(|out| out.extend_from_slice(text.as_bytes()))
}
