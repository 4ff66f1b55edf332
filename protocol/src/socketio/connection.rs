//! The Socket.IO layer of one session (`spec/socketio.md` §9.2–§9.4): which namespace is connected, the time allowed
//! until then, packets that wait for their attachments.
//!
//! Owns: the state of the namespace `/`. Never: who may connect; that is the caller's to judge.
//! Call order: [`Connection::handle_text`] or [`Connection::handle_binary`]; act on the result; look at
//! [`Connection::poll_timeout`].

use std::borrow::Cow;

use super::packet::{self, Kind, Name, Packet};

/// What a message means.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// Nothing to do.
    Nothing,
    /// The client wants into the namespace `/`; answer, then call [`Connection::connected`].
    Connect {
        /// The raw JSON object that came with it.
        auth: Option<&'a str>,
    },
    /// The client wants into another namespace, which does not exist.
    UnknownNamespace(&'a str),
    /// The client leaves the namespace; the session stays.
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

/// An event or acknowledgement whose attachments have not all arrived.
#[derive(Debug)]
struct Incomplete {
    text: String,
    missing: u8,
    /// Bytes of attachments so far. They count, but nothing here uses them, so they are not kept.
    bytes: usize,
}

/// The layer's state for one session.
#[derive(Debug)]
pub struct Connection {
    connected: bool,
    /// When the session is closed unless a namespace has been connected.
    connect_by: Option<u64>,
    incomplete: Option<Box<Incomplete>>,
}

impl Connection {
    /// A session that was just opened.
    pub fn open(now: u64, connect_timeout_ms: u64) -> Self {
        Self { connected: false, connect_by: Some(now.saturating_add(connect_timeout_ms)), incomplete: None }
    }

    /// Whether the namespace `/` is connected.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// The caller has answered a CONNECT.
    pub fn connected(&mut self) {
        self.connected = true;
        self.connect_by = None;
    }

    /// The caller has sent a DISCONNECT. The session stays, and so does the client's right to try again.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.incomplete = None;
    }

    /// When to close the session, as long as nothing is connected.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.connect_by
    }

    /// A text message.
    pub fn handle_text<'a>(&mut self, text: &'a str) -> Incoming<'a> {
        if self.incomplete.is_some() {
            // Attachments follow their packet with nothing in between.
            return Incoming::Violation;
        }
        let Ok(packet) = packet::decode(text) else { return Incoming::Violation };
        match packet.kind {
            Kind::Connect if packet.namespace != "/" => Incoming::UnknownNamespace(packet.namespace),
            Kind::Connect if self.connected => Incoming::Violation,
            Kind::Connect => Incoming::Connect { auth: packet.data },
            Kind::ConnectError => Incoming::Violation,
            _ if !self.connected || packet.namespace != "/" => Incoming::Violation,
            Kind::Disconnect => Incoming::Disconnect,
            Kind::Event | Kind::Ack => meaning(&packet),
            Kind::BinaryEvent | Kind::BinaryAck => {
                self.incomplete =
                    Some(Box::new(Incomplete { text: text.to_string(), missing: packet.attachments, bytes: 0 }));
                Incoming::Nothing
            }
        }
    }

    /// A binary message: the next attachment.
    pub fn handle_binary(&mut self, bytes: &[u8]) -> Incoming<'static> {
        let Some(incomplete) = &mut self.incomplete else { return Incoming::Violation };
        incomplete.bytes = incomplete.bytes.saturating_add(bytes.len());
        incomplete.missing = incomplete.missing.saturating_sub(1);
        if incomplete.missing > 0 {
            return Incoming::Nothing;
        }
        let Some(incomplete) = self.incomplete.take() else { return Incoming::Violation };
        let Ok(packet) = packet::decode(&incomplete.text) else { return Incoming::Violation };
        if !packet.data.is_none_or(|data| packet::placeholders_fit(data, packet.attachments)) {
            return Incoming::Violation;
        }
        match meaning(&packet) {
            Incoming::Event { name, argument, ack } => Incoming::Event {
                name: Cow::Owned(name.into_owned()),
                argument: argument.map(|argument| Cow::Owned(argument.into_owned())),
                ack,
            },
            Incoming::Ack { id, argument } => {
                Incoming::Ack { id, argument: argument.map(|argument| Cow::Owned(argument.into_owned())) }
            }
            _ => Incoming::Nothing,
        }
    }
}

fn meaning<'a>(packet: &Packet<'a>) -> Incoming<'a> {
    let argument = packet.arguments().next().map(Cow::Borrowed);
    match packet.kind {
        Kind::Event | Kind::BinaryEvent => match packet.event_name() {
            Some(Name::Text(name)) => Incoming::Event { name, argument, ack: packet.id },
            // An event without JSON, or with a number for a name, is accepted and ignored.
            Some(Name::Other) | None => Incoming::Nothing,
        },
        _ => match packet.id {
            Some(id) => Incoming::Ack { id, argument },
            None => Incoming::Nothing,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn connected() -> Connection {
        let mut connection = Connection::open(0, 20_000);
        assert_eq!(connection.handle_text("0{\"token\":\"t\"}"), Incoming::Connect { auth: Some("{\"token\":\"t\"}") });
        connection.connected();
        connection
    }

    #[test]
    fn life_cycle() {
        let mut connection = Connection::open(5, 20_000);
        assert_eq!(connection.poll_timeout(), Some(20_005));
        assert_eq!(connection.handle_text("0/other,"), Incoming::UnknownNamespace("/other"));
        assert_eq!(connection.poll_timeout(), Some(20_005), "the time runs on");
        assert_eq!(connection.handle_text("0"), Incoming::Connect { auth: None });
        connection.connected();
        assert_eq!(connection.poll_timeout(), None);
        assert_eq!(connection.handle_text("1"), Incoming::Disconnect);
        connection.disconnected();
        assert_eq!(connection.poll_timeout(), None, "no second time-out");
        assert_eq!(connection.handle_text("0"), Incoming::Connect { auth: None });
    }

    #[test]
    fn violations() {
        for text in ["2[\"a\"]", "31[]", "1", "4{}", "x", "51-[\"a\"]"] {
            assert_eq!(Connection::open(0, 1).handle_text(text), Incoming::Violation, "not connected: {text}");
        }
        for text in ["0", "2/other,[\"a\"]", "4\"x\"", "2{", "2[\"connect\"]", "7", ""] {
            assert_eq!(connected().handle_text(text), Incoming::Violation, "connected: {text}");
        }
        assert_eq!(connected().handle_binary(&[1]), Incoming::Violation);
    }

    #[test]
    fn attachments() {
        let mut connection = connected();
        assert_eq!(connection.handle_text("52-7[\"a\",{\"_placeholder\":true,\"num\":1}]"), Incoming::Nothing);
        assert_eq!(connection.handle_binary(&[1]), Incoming::Nothing);
        let argument = Some("{\"_placeholder\":true,\"num\":1}".into());
        assert_eq!(connection.handle_binary(&[2]), Incoming::Event { name: "a".into(), argument, ack: Some(7) });
        assert_eq!(connection.handle_text("51-[\"a\",[{\"_placeholder\":true,\"num\":1}]]"), Incoming::Nothing);
        assert_eq!(connection.handle_binary(&[1]), Incoming::Violation);
        let mut connection = connected();
        assert_eq!(connection.handle_text("51-[\"a\"]"), Incoming::Nothing);
        assert_eq!(connection.handle_text("2[\"b\"]"), Incoming::Violation);
    }

    #[test]
    fn events_and_acks() {
        let mut connection = connected();
        assert_eq!(connection.handle_text("2"), Incoming::Nothing);
        assert_eq!(connection.handle_text("2[5]"), Incoming::Nothing);
        assert_eq!(
            connection.handle_text("2[\"p\",1,2]"),
            Incoming::Event { name: "p".into(), argument: Some("1".into()), ack: None }
        );
        assert_eq!(connection.handle_text("39[]"), Incoming::Ack { id: 9, argument: None });
        assert_eq!(connection.handle_text("3[1]"), Incoming::Nothing);
    }
}
