//! Packets (`spec/socketio.md` §9.1): `<type>[<n>-][<namespace>,][<ack id>][<JSON>]`.
//!
//! Owns: the grammar, and which JSON each type may carry. Never: whether a packet is allowed now
//! ([`super::connection`]), or what is in its attachments ([`super::attachments`]).
//! Invariant: the JSON of a decoded packet is valid and of the type that its kind asks for, so that whoever reads it
//! afterwards finds members without checking again.
//!
//! Stricter than the reference server where no client can notice: counts of attachments are plain digits from 1 to
//! [`ATTACHMENTS_MAX`], and an ack id fits 64 bits.

use std::borrow::Cow;

use crate::json::{self, Kind as JsonKind};

/// Attachments that a packet may announce at most; more is a violation.
pub const ATTACHMENTS_MAX: u8 = 10;

/// Nesting of a packet's JSON at most. What a client sends to another one goes through messages between servers if need be
/// ([`crate::adapter`]), and must fit there with what is around it.
pub const DEPTH_MAX: u16 = json::DEPTH_MAX - 4;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Connect,
    Disconnect,
    Event,
    Ack,
    ConnectError,
    BinaryEvent,
    BinaryAck,
}

/// A packet as it was received; everything borrows from its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is for.
    pub kind: Kind,
    /// `/` if none is written.
    pub namespace: &'a str,
    /// The acknowledgement asked for or given.
    pub id: Option<u64>,
    /// Binary messages that follow.
    pub attachments: u8,
    /// Validated JSON, nested [`DEPTH_MAX`] deep at most.
    pub data: Option<&'a str>,
}

/// Why a text is no packet. All of these are violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The first character is no type.
    UnknownType,
    /// The number of attachments is missing, or not from 1 to [`ATTACHMENTS_MAX`].
    Attachments,
    /// The ack id does not fit 64 bits.
    Id,
    /// The JSON is malformed, or of a type that the packet cannot carry.
    Payload,
    /// The event has a name that is reserved, or none.
    EventName,
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownType => "unknown packet type",
            Self::Attachments => "illegal number of attachments",
            Self::Id => "ack id out of range",
            Self::Payload => "invalid payload",
            Self::EventName => "illegal event name",
        })
    }
}

const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Reads the text of a packet.
///
/// # Errors
/// The text breaks the protocol, for which the session is closed.
pub fn decode(text: &str) -> Result<Packet<'_>, Error> {
    let mut characters = text.chars();
    let kind = match characters.next() {
        Some('0') => Kind::Connect,
        Some('1') => Kind::Disconnect,
        Some('2') => Kind::Event,
        Some('3') => Kind::Ack,
        Some('4') => Kind::ConnectError,
        Some('5') => Kind::BinaryEvent,
        Some('6') => Kind::BinaryAck,
        _ => return Err(Error::UnknownType),
    };
    let mut rest = characters.as_str();
    let mut attachments = 0;
    if matches!(kind, Kind::BinaryEvent | Kind::BinaryAck) {
        let (count, behind) = rest.split_once('-').ok_or(Error::Attachments)?;
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Error::Attachments);
        }
        attachments = count.parse().ok().filter(|n| (1..=ATTACHMENTS_MAX).contains(n)).ok_or(Error::Attachments)?;
        rest = behind;
    }
    let mut namespace = "/";
    if rest.starts_with('/') {
        (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (id, rest) = rest.split_at_checked(digits).unwrap_or(("", rest));
    let id = if id.is_empty() { None } else { Some(id.parse().map_err(|_| Error::Id)?) };
    let data = if rest.is_empty() { None } else { Some(rest) };
    let packet = Packet { kind, namespace, id, attachments, data };
    packet.check()?;
    Ok(packet)
}

impl<'a> Packet<'a> {
    fn check(&self) -> Result<(), Error> {
        let Some(data) = self.data else { return Ok(()) };
        json::validate(data, DEPTH_MAX).map_err(|_| Error::Payload)?;
        match (self.kind, json::kind(data)) {
            (Kind::Connect, JsonKind::Object) | (Kind::ConnectError, JsonKind::Object | JsonKind::String) => Ok(()),
            (Kind::Ack | Kind::BinaryAck, JsonKind::Array) => Ok(()),
            (Kind::Event | Kind::BinaryEvent, JsonKind::Array) => match self.event_name() {
                Some(Name::Text(name)) if RESERVED.contains(&name.as_ref()) => Err(Error::EventName),
                Some(Name::Text(_) | Name::Other) => Ok(()),
                None => Err(Error::EventName),
            },
            _ => Err(Error::Payload),
        }
    }

    /// Whether it is an event, with attachments or without.
    pub fn is_event(&self) -> bool {
        matches!(self.kind, Kind::Event | Kind::BinaryEvent)
    }

    /// The name of an event; `None` if its first element cannot be one, or there is none.
    pub fn event_name(&self) -> Option<Name<'a>> {
        if !self.is_event() {
            return None;
        }
        Name::read(json::elements(self.data?).next()?)
    }

    /// Name and raw first argument of an event, found in one go.
    pub(super) fn event(&self) -> Option<(Name<'a>, Option<&'a str>)> {
        if !self.is_event() {
            return None;
        }
        let mut elements = json::elements(self.data?);
        let name = Name::read(elements.next()?)?;
        Some((name, elements.next()))
    }

    /// The raw JSON of the arguments: of an event those behind its name, of an acknowledgement all.
    pub fn arguments(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.data.map(json::elements).into_iter().flatten().skip(usize::from(self.is_event()))
    }
}

/// What an event is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// A number, which is tolerated and matches no handler.
    Other,
}

impl<'a> Name<'a> {
    fn read(raw: &'a str) -> Option<Self> {
        match json::kind(raw) {
            // A name with half of a surrogate pair matches no handler either.
            JsonKind::String => Some(json::unescape(raw).map_or(Self::Other, Self::Text)),
            JsonKind::Number => Some(Self::Other),
            _ => None,
        }
    }
}

// ---- encoding ---------------------------------------------------------------------------------------------------
// Each function appends a whole engine.io text packet: the message type `4`, then the Socket.IO packet. JSON is given
// as text and goes out as it is.

/// Where an event or acknowledgement belongs, and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Of an event: the acknowledgement asked for. Of an acknowledgement: the event it answers.
    pub id: Option<u64>,
    /// Binary messages that follow; not 0 makes it a binary packet.
    pub attachments: u8,
}

impl Default for Envelope<'_> {
    fn default() -> Self {
        Self { namespace: "/", id: None, attachments: 0 }
    }
}

impl Envelope<'_> {
    fn start(&self, out: &mut Vec<u8>, text: &[u8], binary: &[u8]) {
        if self.attachments == 0 {
            out.extend_from_slice(text);
        } else {
            out.extend_from_slice(binary);
            append_number(out, u64::from(self.attachments));
            out.push(b'-');
        }
        append_namespace(out, self.namespace);
        if let Some(id) = self.id {
            append_number(out, id);
        }
        out.push(b'[');
    }
}

/// The answer to CONNECT.
pub fn encode_connect(out: &mut Vec<u8>, namespace: &str, sid: &str) {
    out.extend_from_slice(b"40");
    append_namespace(out, namespace);
    out.extend_from_slice(br#"{"sid":"#);
    json::write_string(out, sid);
    out.push(b'}');
}

/// The refusal of a namespace.
pub fn encode_connect_error(out: &mut Vec<u8>, namespace: &str, message: &str) {
    out.extend_from_slice(b"44");
    append_namespace(out, namespace);
    out.extend_from_slice(br#"{"message":"#);
    json::write_string(out, message);
    out.push(b'}');
}

/// A DISCONNECT of the namespace `/`.
pub fn encode_disconnect(out: &mut Vec<u8>) {
    encode_disconnect_of(out, "/");
}

/// A DISCONNECT of any namespace.
pub fn encode_disconnect_of(out: &mut Vec<u8>, namespace: &str) {
    out.extend_from_slice(b"41");
    append_namespace(out, namespace);
}

/// An event with one argument, given as JSON.
pub fn encode_event(out: &mut Vec<u8>, name: &str, argument: &str) {
    encode_event_in(out, &Envelope::default(), name, [argument]);
}

/// An event whose receiver is asked to acknowledge it.
pub fn encode_event_with_ack(out: &mut Vec<u8>, id: Option<u64>, name: &str, argument: &str) {
    encode_event_in(out, &Envelope { id, ..Envelope::default() }, name, [argument]);
}

/// An event with any number of arguments, given as JSON.
pub fn encode_event_in<'a>(
    out: &mut Vec<u8>,
    envelope: &Envelope<'_>,
    name: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) {
    envelope.start(out, b"42", b"45");
    json::write_string(out, name);
    for argument in arguments {
        out.push(b',');
        out.extend_from_slice(argument.as_bytes());
    }
    out.push(b']');
}

/// An acknowledgement with one argument, given as JSON; an empty text stands for none.
pub fn encode_ack(out: &mut Vec<u8>, id: u64, argument: &str) {
    let arguments = (!argument.is_empty()).then_some(argument);
    encode_ack_in(out, &Envelope { id: Some(id), ..Envelope::default() }, arguments);
}

/// An acknowledgement with any number of arguments, given as JSON.
pub fn encode_ack_in<'a>(out: &mut Vec<u8>, envelope: &Envelope<'_>, arguments: impl IntoIterator<Item = &'a str>) {
    envelope.start(out, b"43", b"46");
    let mut separator: &[u8] = b"";
    for argument in arguments {
        out.extend_from_slice(separator);
        out.extend_from_slice(argument.as_bytes());
        separator = b",";
    }
    out.push(b']');
}

fn append_namespace(out: &mut Vec<u8>, namespace: &str) {
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
}

/// Decimal digits without a detour over the heap: acknowledgements are on the hot path.
fn append_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0'.saturating_add(u8::try_from(number % 10).unwrap_or(0));
        number /= 10;
        start = at;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}
