//! The Socket.IO layer of one session (`spec/socketio.md` §9.2–§9.4): which namespaces are connected, the time allowed
//! until the first is, packets that wait for their attachments.
//!
//! Owns: that state, and what is a violation of it. Never: who may connect (the caller judges), or closing the session
//! after a violation (that is [`Session::close`](crate::engineio::session::Session::close)).
//! Invariant: the connect timer runs until the first namespace is connected, or until it fires, and never again.
//!
//! Methods by kind, in the order to call them:
//! 1. what arrived: [`Connection::handle_text`] and [`Connection::handle_binary`], or their forms for several namespaces,
//!    [`Connection::receive_text`] and [`Connection::receive_binary`];
//! 2. what the caller did about it: [`Connection::connected`], [`Connection::disconnected`], before the next message, so
//!    that an event directly behind a CONNECT is accepted (S-14);
//! 3. when to be woken: [`Connection::poll_timeout`], for [`Connection::handle_timeout`].

use std::borrow::Cow;

use super::attachments::{Complete, Incomplete, Keep};
use super::packet::{self, Kind, Name, Packet};

/// The namespaces of the server: only one.
pub const NAMESPACES: &[&str] = &["/"];

/// Namespaces that a server may have: one bit each.
pub const NAMESPACES_MAX: usize = 32;

/// What a message means to a server with one namespace.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// Nothing to do.
    Nothing,
    /// The client wants into the namespace `/`; answer, then call [`Connection::connected`].
    Connect {
        /// The raw JSON object that came with it.
        auth: Option<&'a str>,
    },
    /// The client wants into another namespace, which does not exist. The session stays, and so does the time limit.
    UnknownNamespace(&'a str),
    /// The client leaves the namespace; the session stays. Call [`Connection::disconnected`].
    Disconnect,
    /// An event with a name and, if it came with one, the raw JSON of its first argument.
    Event {
        /// The name.
        name: Cow<'a, str>,
        /// The first argument.
        argument: Option<Cow<'a, str>>,
        /// The acknowledgement asked for.
        ack: Option<u64>,
    },
    /// The answer to an event of ours, with the raw JSON of its first argument.
    Ack {
        /// Which event.
        id: u64,
        /// The first argument.
        argument: Option<Cow<'a, str>>,
    },
    /// The client broke the protocol: close the session in an orderly way.
    Violation,
}

/// What a message means to a server with several namespaces. `namespace` is the position in the list of them.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing to do.
    Nothing,
    /// The client wants in; answer, then call [`Connection::connected_to`].
    Connect {
        /// Where to.
        namespace: usize,
        /// The raw JSON object that came with it.
        auth: Option<&'a str>,
    },
    /// The client wants into a namespace that does not exist.
    UnknownNamespace(&'a str),
    /// The client leaves; call [`Connection::disconnected_from`].
    Disconnect {
        /// Which one.
        namespace: usize,
    },
    /// An event or acknowledgement without attachments.
    Packet {
        /// Where to.
        namespace: usize,
        /// The packet.
        packet: Packet<'a>,
    },
    /// An event or acknowledgement whose last attachment this was.
    Complete(Complete),
    /// The client broke the protocol: close the session in an orderly way.
    Violation,
}

/// The layer's state for one session.
#[derive(Debug)]
pub struct Connection {
    /// When the session is closed unless a namespace has been connected.
    connect_by: Option<u64>,
    incomplete: Option<Box<Incomplete>>,
    /// One bit for each namespace.
    connected: u32,
    keep: Keep,
}

impl Connection {
    /// A session that was just opened.
    pub fn open(now: u64, connect_timeout_ms: u64) -> Self {
        let connect_by = Some(now.saturating_add(connect_timeout_ms));
        Self { connect_by, incomplete: None, connected: 0, keep: Keep::Nothing }
    }

    /// Makes [`Step::Complete`] carry the bytes of attachments, for applications that use binary data.
    pub fn keep_attachments(&mut self) {
        self.keep = Keep::Bytes;
    }

    /// Whether the namespace `/` is connected.
    pub fn is_connected(&self) -> bool {
        self.is_connected_to(0)
    }

    /// Whether a namespace is connected.
    pub fn is_connected_to(&self, namespace: usize) -> bool {
        self.connected & bit(namespace) != 0
    }

    /// The caller has answered a CONNECT.
    pub fn connected(&mut self) {
        self.connected_to(0);
    }

    /// The caller has answered a CONNECT to a namespace.
    pub fn connected_to(&mut self, namespace: usize) {
        self.connected |= bit(namespace);
        self.connect_by = None;
        self.check_invariants();
    }

    /// A DISCONNECT has come or gone. The session stays, and so does the client's right to try again.
    pub fn disconnected(&mut self) {
        self.disconnected_from(0);
    }

    /// A DISCONNECT has come from a namespace, or gone to it.
    pub fn disconnected_from(&mut self, namespace: usize) {
        self.connected &= !bit(namespace);
        if self.connected == 0 {
            self.incomplete = None;
        }
        self.check_invariants();
    }

    /// Time has passed. `true`: nothing was connected in time; close the session in an orderly way. Said only once.
    pub fn handle_timeout(&mut self, now: u64) -> bool {
        let due = self.connect_by.is_some_and(|at| at <= now);
        if due {
            self.connect_by = None;
        }
        due
    }

    /// When to call [`Self::handle_timeout`], as long as nothing has been connected.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.connect_by
    }

    /// A text message to a server with the namespace `/`.
    pub fn handle_text<'a>(&mut self, text: &'a str) -> Incoming<'a> {
        match self.receive_text(text, NAMESPACES) {
            Step::Connect { auth, .. } => Incoming::Connect { auth },
            Step::UnknownNamespace(namespace) => Incoming::UnknownNamespace(namespace),
            Step::Disconnect { .. } => Incoming::Disconnect,
            Step::Packet { packet, .. } => meaning(&packet),
            Step::Nothing | Step::Complete(_) => Incoming::Nothing,
            Step::Violation => Incoming::Violation,
        }
    }

    /// A binary message to a server with the namespace `/`.
    pub fn handle_binary(&mut self, bytes: &[u8]) -> Incoming<'static> {
        match self.receive_binary(bytes) {
            Step::Complete(complete) => {
                complete.packet().map_or(Incoming::Violation, |packet| meaning(&packet).into_owned())
            }
            Step::Violation => Incoming::Violation,
            _ => Incoming::Nothing,
        }
    }

    /// A text message to a server with these namespaces. Names are compared literally.
    pub fn receive_text<'a>(&mut self, text: &'a str, namespaces: &[&str]) -> Step<'a> {
        debug_assert!(namespaces.len() <= NAMESPACES_MAX);
        if self.incomplete.is_some() {
            // Attachments follow their packet with nothing in between.
            return Step::Violation;
        }
        let Ok(packet) = packet::decode(text) else { return Step::Violation };
        let found = namespaces.iter().take(NAMESPACES_MAX).position(|name| *name == packet.namespace);
        let Some(namespace) = found else {
            return match packet.kind {
                Kind::Connect => Step::UnknownNamespace(packet.namespace),
                _ => Step::Violation,
            };
        };
        match (packet.kind, self.is_connected_to(namespace)) {
            (Kind::Connect, false) => Step::Connect { namespace, auth: packet.data },
            (Kind::Disconnect, true) => Step::Disconnect { namespace },
            (Kind::Event | Kind::Ack, true) => Step::Packet { namespace, packet },
            (Kind::BinaryEvent | Kind::BinaryAck, true) => {
                self.incomplete = Some(Box::new(Incomplete::new(text, &packet, self.keep)));
                Step::Nothing
            }
            // A second CONNECT, a CONNECT_ERROR from a client, anything to a namespace that is not connected.
            (Kind::Connect | Kind::ConnectError, _) | (_, false) => Step::Violation,
        }
    }

    /// A binary message: the next attachment.
    pub fn receive_binary(&mut self, bytes: &[u8]) -> Step<'static> {
        let Some(incomplete) = &mut self.incomplete else { return Step::Violation };
        match incomplete.push(bytes) {
            Ok(false) => Step::Nothing,
            Ok(true) => match self.incomplete.take().map(|incomplete| incomplete.finish()) {
                Some(Ok(complete)) => Step::Complete(complete),
                _ => Step::Violation,
            },
            Err(_) => {
                self.incomplete = None;
                Step::Violation
            }
        }
    }

    /// Called by every method that changes what is connected; costs nothing in a release build.
    pub fn check_invariants(&self) {
        debug_assert!(self.connected == 0 || self.connect_by.is_none(), "the timer ends with the first namespace");
        debug_assert!(self.connected != 0 || self.incomplete.is_none(), "only a connected namespace has packets");
    }
}

/// The bit of a namespace; none for one beyond the limit.
fn bit(namespace: usize) -> u32 {
    u32::try_from(namespace).ok().and_then(|namespace| 1u32.checked_shl(namespace)).unwrap_or(0)
}

fn meaning<'a>(packet: &Packet<'a>) -> Incoming<'a> {
    match packet.kind {
        Kind::Event | Kind::BinaryEvent => match packet.event() {
            Some((Name::Text(name), argument)) => {
                Incoming::Event { name, argument: argument.map(Cow::Borrowed), ack: packet.id }
            }
            // An event without JSON, or with a number for a name, is accepted and ignored.
            Some((Name::Other, _)) | None => Incoming::Nothing,
        },
        _ => match packet.id {
            Some(id) => Incoming::Ack { id, argument: packet.arguments().next().map(Cow::Borrowed) },
            None => Incoming::Nothing,
        },
    }
}

impl Incoming<'_> {
    /// For a packet whose text does not live on. Only events and acknowledgements come with attachments.
    fn into_owned(self) -> Incoming<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Self::Event { name, argument, ack } => {
                Incoming::Event { name: owned(name), argument: argument.map(owned), ack }
            }
            Self::Ack { id, argument } => Incoming::Ack { id, argument: argument.map(owned) },
            _ => Incoming::Nothing,
        }
    }
}
