//! The endpoint `/v1/updates/`: engine.io over HTTP requests and websockets (`spec/socketio.md` §3, §5–§7).
//!
//! Owns: finding the session of a request, holding polls, attaching websockets, moving sessions to their home core.
//! Never: what packets mean (`protocol::engineio`, `protocol::socketio`), what events mean (`Application`).

use std::any::Any;
use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use protocol::engineio::handshake::{self, Query, Refusal};
use protocol::engineio::session::{Session, Transport};
use protocol::engineio::sid::{RANDOM_BYTES, Sid};
use protocol::http::Method;
use protocol::http::head::RequestHead;
use protocol::websocket::handshake as upgrade;
use protocol::websocket::message::Decoder;

use super::hub::Hub;
use super::message::{Message, Moved};
use super::sids::Whereabouts;
use crate::net::service::{Admission, Answer, BodyRefusal, Incoming, Liveness, Outcome, Response};
use crate::net::websocket::Channel;
use crate::observe::metrics::Counter;
use crate::runtime::cores::CoreId;
use crate::runtime::race::{Either, race};
use crate::runtime::slab::Key;

/// Every target that begins like this belongs to the endpoint, whatever follows in the path (S-6).
pub const PREFIX: &str = "/v1/updates/";

const CORS: [(&str, Cow<'static, str>); 2] =
    [("Access-Control-Allow-Origin", Cow::Borrowed("*")), ("Access-Control-Allow-Credentials", Cow::Borrowed("true"))];

/// A POST that is being received. Dropped before its body came, it ends the session (`spec/socketio.md` §5.3).
struct Posting {
    hub: Rc<Hub>,
    key: Key,
    received: bool,
}

impl Drop for Posting {
    fn drop(&mut self) {
        if !self.received {
            self.hub.post_aborted(self.key);
        }
    }
}

fn respond(status: u16, content_type: Option<&'static str>, body: Vec<u8>) -> Response {
    let mut fields = CORS.to_vec();
    if let Some(content_type) = content_type {
        fields.insert(0, ("Content-Type", Cow::Borrowed(content_type)));
    }
    Response { status, fields, body, rest: None, close: false }
}

fn refusal(refusal: Refusal) -> Response {
    respond(400, Some("application/json"), refusal.json().into_bytes())
}

impl Hub {
    /// The core whose session a request names, if it is another one.
    fn other_core(&self, head: &RequestHead) -> Option<CoreId> {
        let query = Query::parse(head.target());
        let sid = Sid::parse(query.sid()?)?;
        let core = CoreId(sid.core());
        (core != self.core && core.index() < self.cores_len()).then_some(core)
    }

    /// What to do with a request to the endpoint.
    pub fn admit_request(self: &Rc<Self>, head: &RequestHead) -> Admission {
        if let Some(core) = self.other_core(head) {
            return Admission::HandOff(core);
        }
        let bytes_max = u64::from(self.settings.engine.payload_bytes_max);
        // Packets name their sender themselves.
        let open_bytes_max = bytes_max;
        if head.method() != Method::Post || head.upgrade().is_some() {
            return Admission::Body { bytes_max, open_bytes_max, ticket: None, cancel: None };
        }
        let query = Query::parse(head.target());
        // Whatever else is wrong with the request, the checks of the handler say so.
        let Ok(Target::Session(key)) = self.check(head, &query, false) else {
            return Admission::Body { bytes_max, open_bytes_max, ticket: None, cancel: None };
        };
        if head.header("content-type") == Some("application/octet-stream") {
            // Binary bodies belong to an older revision of the protocol (S-11).
            self.post_aborted(key);
            return Admission::Respond(Response { close: true, ..respond(400, None, Vec::new()) });
        }
        let Some(cancel) = self.post_begun(key) else {
            return Admission::Respond(respond(400, None, Vec::new()));
        };
        let posting = Posting { hub: Rc::clone(self), key, received: false };
        Admission::Body { bytes_max, open_bytes_max, ticket: Some(Box::new(posting)), cancel: Some(cancel) }
    }

    pub fn refuse_body(&self, ticket: Option<Box<dyn Any>>, why: BodyRefusal) -> Response {
        if why == BodyRefusal::NoRoom {
            // What was to be told is lost, and so the session ends with the ticket.
            return respond(503, None, Vec::new());
        }
        self.payload_too_large("request");
        // The session lives on.
        if let Some(Ok(mut posting)) = ticket.map(|ticket| ticket.downcast::<Posting>()) {
            posting.received = true;
            self.post_ended(posting.key);
        }
        respond(413, None, Vec::new())
    }

    pub(super) fn payload_too_large(&self, what: &str) {
        let bytes_max = self.settings.engine.payload_bytes_max;
        log::warn!("a {what} to the realtime endpoint exceeds {bytes_max} bytes (HAPPIER_SOCKET_PAYLOAD_BYTES_MAX)");
        self.metrics.inc(Counter::PayloadTooLarge);
    }

    pub fn handle_request(self: Rc<Self>, incoming: Incoming, liveness: Liveness) -> Answer {
        Box::pin(async move {
            let Incoming { head, body, ticket, .. } = incoming;
            if head.upgrade().is_some() {
                return if head.method() == Method::Options { Outcome::Drop } else { self.upgrade(&head) };
            }
            if head.method() == Method::Options {
                let mut response = respond(204, None, Vec::new());
                response.fields.extend([
                    ("Access-Control-Allow-Methods", Cow::Borrowed("GET,POST,OPTIONS")),
                    ("Access-Control-Allow-Headers", Cow::Borrowed("*")),
                ]);
                return Outcome::Respond(response);
            }
            Outcome::Respond(self.plain(&head, body, ticket, liveness).await)
        })
    }

    async fn plain(
        self: &Rc<Self>,
        head: &RequestHead,
        body: Vec<u8>,
        ticket: Option<Box<dyn Any>>,
        liveness: Liveness,
    ) -> Response {
        let query = Query::parse(head.target());
        let key = match self.check(head, &query, false) {
            Ok(Target::Session(key)) => key,
            Ok(Target::New) => return self.open_polling(head),
            // A plain request on a session that moved: it is a websocket.
            Ok(Target::Moved) => return refusal(Refusal::BadRequest),
            Err(reason) => return refusal(reason),
        };
        match head.method() {
            Method::Get => self.poll(key, head, liveness).await,
            Method::Post => {
                if let Some(Ok(mut posting)) = ticket.map(|ticket| ticket.downcast::<Posting>()) {
                    posting.received = true;
                }
                self.post_body(key, &body);
                let mut response = respond(200, Some("text/html"), b"ok".to_vec());
                response.fields.push(("cache-control", Cow::Borrowed("no-store")));
                response
            }
            _ => respond(500, None, Vec::new()),
        }
    }

    /// The checks of `spec/socketio.md` §3.3, in their order.
    fn check(&self, head: &RequestHead, query: &Query, upgrade: bool) -> Result<Target, Refusal> {
        let transport = query.transport().ok_or(Refusal::TransportUnknown)?;
        let Some(sid) = query.sid() else {
            query.check_open(transport, head.method() == Method::Get, upgrade)?;
            return Ok(Target::New);
        };
        let key = match Sid::parse(sid).and_then(|sid| self.find(sid)) {
            None => return Err(Refusal::SessionUnknown),
            Some(Whereabouts::Moved) => return Ok(Target::Moved),
            Some(Whereabouts::Here(key)) => key,
        };
        // A session that has expired is not there any more, even if its timer has not been looked at yet.
        self.run_timers(key);
        let sessions = self.sessions.borrow();
        let client = sessions.get(key).ok_or(Refusal::SessionUnknown)?;
        // A plain request on a websocket session would never be answered in the reference (S-15).
        if !upgrade && (transport, client.engine.transport()) != (Transport::Polling, Transport::Polling) {
            return Err(Refusal::BadRequest);
        }
        Ok(Target::Session(key))
    }

    pub(super) fn find(&self, sid: Sid) -> Option<Whereabouts> {
        self.sids.borrow().find(sid, &self.sessions.borrow())
    }

    fn new_sid(&self) -> Sid {
        Sid::new(self.core.0, crate::crypto::random::bytes::<RANDOM_BYTES>())
    }

    // ---- polling ------------------------------------------------------------------------------------------------

    fn open_polling(self: &Rc<Self>, head: &RequestHead) -> Response {
        let sid = self.new_sid();
        let engine = Session::open(Transport::Polling, self.turn.now(), &self.settings.engine);
        self.insert(sid, engine, None, false);
        let open = handshake::open_packet(&sid, Transport::Polling, &self.settings.engine);
        poll_response(head, open.into_bytes())
    }

    async fn poll(self: &Rc<Self>, key: Key, head: &RequestHead, liveness: Liveness) -> Response {
        let Some(answer) = self.poll_begun(key) else { return respond(400, None, Vec::new()) };
        match race(answer, liveness.gone()).await {
            Either::First(Ok(payload)) => poll_response(head, payload),
            Either::First(Err(_)) => respond(400, None, Vec::new()),
            Either::Second(()) => {
                self.poll_dropped(key);
                Response { close: true, ..respond(400, None, Vec::new()) }
            }
        }
    }

    // ---- websocket ----------------------------------------------------------------------------------------------

    fn upgrade(self: Rc<Self>, head: &RequestHead) -> Outcome {
        let query = Query::parse(head.target());
        let target = match self.check(head, &query, true) {
            Ok(target) => target,
            Err(reason) => return Outcome::Raw(reason.raw_response()),
        };
        if query.transport() != Some(Transport::WebSocket) {
            return Outcome::Raw(Refusal::BadRequest.raw_response());
        }
        let mut response = Vec::new();
        match upgrade::check(head) {
            Ok(accepted) => accepted.append_response(&mut response),
            Err(refused) => {
                refused.append_response(&mut response);
                return Outcome::Raw(response);
            }
        }
        Outcome::Upgrade {
            response,
            attach: Box::new(move |descriptor, unread| self.attach(target, descriptor, unread)),
        }
    }

    /// A connection has become a websocket. `unread` followed the handshake.
    pub(super) fn attach(&self, target: Target, descriptor: OwnedFd, unread: Vec<u8>) {
        let decoder = Decoder::new(self.settings.engine.payload_bytes_max);
        let channel = match self.reactor.attach(descriptor, decoder) {
            Ok(channel) => channel,
            Err(error) => return log::warn!("a websocket cannot be watched: {error}"),
        };
        let key = match target {
            Target::New => Some(self.open_websocket(&channel)),
            Target::Session(key) if self.candidate_attached(key, &channel) => Some(key),
            // There is one already: accepted and closed at once (`spec/socketio.md` §7, S-16).
            Target::Session(_) | Target::Moved => None,
        };
        match key {
            None => channel.close(None),
            Some(key) if self.is_stopping() => self.end_now(key),
            Some(_) => {}
        }
        self.reactor.feed(&channel, unread, self);
    }

    fn open_websocket(&self, channel: &Rc<Channel>) -> Key {
        let sid = self.new_sid();
        let engine = Session::open(Transport::WebSocket, self.turn.now(), &self.settings.engine);
        let key = self.insert(sid, engine, Some(Rc::clone(channel)), false);
        let open = handshake::open_packet(&sid, Transport::WebSocket, &self.settings.engine);
        self.emit(key, crate::net::frame::Frame::text(|out| out.extend_from_slice(open.as_bytes())));
        key
    }

    // ---- moving -------------------------------------------------------------------------------------------------

    /// Takes in a websocket session that was opened on another core.
    pub fn take_in(&self, moved: Moved) {
        let Moved { departure, sid, ping_in_ms, refusals, admission } = moved;
        let channel = match self.reactor.attach(departure.descriptor, departure.decoder) {
            Ok(channel) => channel,
            Err(error) => {
                log::warn!("a connection was lost on its way between cores: {error}");
                self.post(CoreId(sid.core()), Message::Forget(sid));
                return;
            }
        };
        let engine = Session::resume(ping_in_ms, self.turn.now());
        let key = self.insert(sid, engine, Some(Rc::clone(&channel)), true);
        if let Some(client) = self.sessions.borrow_mut().get_mut(key) {
            client.refusals = refusals;
        }
        self.connect(key, admission);
        channel.flush();
        self.reactor.feed(&channel, departure.unread, self);
        if self.is_stopping() {
            // It was on its way when everybody else was told to go.
            self.end_now(key);
        }
    }
}

/// Which session a request is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    New,
    Session(Key),
    /// A websocket session that was opened here and lives on another core now.
    Moved,
}

fn poll_response(head: &RequestHead, payload: Vec<u8>) -> Response {
    let mut response = respond(200, Some("text/plain; charset=UTF-8"), payload);
    response.fields.push(("cache-control", Cow::Borrowed("no-store")));
    if head.header("user-agent").is_some_and(|agent| agent.contains(";MSIE") || agent.contains("Trident/")) {
        response.fields.push(("X-XSS-Protection", Cow::Borrowed("0")));
    }
    response
}
