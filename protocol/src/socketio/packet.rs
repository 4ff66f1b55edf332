//! Packets (`spec/socketio.md` §9.1): `<type>[<n>-][<namespace>,][<ack id>][<JSON>]`.

use std::borrow::Cow;

use crate::json::{self, DEPTH_MAX, Kind as JsonKind};

/// Attachments that a packet may announce.
pub const ATTACHMENTS_MAX: u8 = 10;

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

const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// Reads the text of a packet.
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

    /// The name of an event; `None` if its first element cannot be one, or there is none.
    pub fn event_name(&self) -> Option<Name<'a>> {
        let raw = json::elements(self.data?).next()?;
        match json::kind(raw) {
            // A name with half of a surrogate pair matches no handler either.
            JsonKind::String => Some(json::unescape(raw).map_or(Name::Other, Name::Text)),
            JsonKind::Number => Some(Name::Other),
            _ => None,
        }
    }

    /// The raw JSON of the arguments: of an event those behind its name, of an acknowledgement all.
    pub fn arguments(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = usize::from(matches!(self.kind, Kind::Event | Kind::BinaryEvent));
        self.data.map(json::elements).into_iter().flatten().skip(name)
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

/// Whether every placeholder in `data` names one of `attachments` attachments.
pub fn placeholders_fit(data: &str, attachments: u8) -> bool {
    // Depth is bounded by validation, so this walks at most DEPTH_MAX times over any byte.
    let mut left = vec![data];
    while let Some(raw) = left.pop() {
        match json::kind(raw) {
            JsonKind::Array => left.extend(json::elements(raw)),
            JsonKind::Object => {
                let member =
                    |name: &str| json::members(raw).filter(|(key, _)| *key == name).map(|(_, value)| value).last();
                if member("\"_placeholder\"") == Some("true") {
                    let number = member("\"num\"").and_then(|raw| raw.parse::<u8>().ok());
                    if number.is_none_or(|number| number >= attachments) {
                        return false;
                    }
                } else {
                    left.extend(json::members(raw).map(|(_, value)| value));
                }
            }
            _ => {}
        }
    }
    true
}

// ---- encoding ---------------------------------------------------------------------------------------------------
// Each function appends a whole engine.io text packet: the message type `4`, then the Socket.IO packet.

/// The answer to CONNECT.
pub fn encode_connect(out: &mut Vec<u8>, namespace: &str, sid: &str) {
    start(out, b"40", namespace);
    out.extend_from_slice(br#"{"sid":"#);
    json::write_string(out, sid);
    out.push(b'}');
}

/// The refusal of a namespace.
pub fn encode_connect_error(out: &mut Vec<u8>, namespace: &str, message: &str) {
    start(out, b"44", namespace);
    out.extend_from_slice(br#"{"message":"#);
    json::write_string(out, message);
    out.push(b'}');
}

/// A DISCONNECT of the namespace `/`.
pub fn encode_disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(b"41");
}

/// An event with one argument, given as JSON.
pub fn encode_event(out: &mut Vec<u8>, name: &str, argument: &str) {
    encode_event_with_ack(out, None, name, argument);
}

/// An event whose receiver is asked to acknowledge it.
pub fn encode_event_with_ack(out: &mut Vec<u8>, id: Option<u64>, name: &str, argument: &str) {
    out.extend_from_slice(b"42");
    if let Some(id) = id {
        out.extend_from_slice(id.to_string().as_bytes());
    }
    out.push(b'[');
    json::write_string(out, name);
    out.push(b',');
    out.extend_from_slice(argument.as_bytes());
    out.push(b']');
}

/// An acknowledgement with one argument, given as JSON.
pub fn encode_ack(out: &mut Vec<u8>, id: u64, argument: &str) {
    out.extend_from_slice(b"43");
    out.extend_from_slice(id.to_string().as_bytes());
    out.push(b'[');
    out.extend_from_slice(argument.as_bytes());
    out.push(b']');
}

fn start(out: &mut Vec<u8>, kind: &[u8], namespace: &str) {
    out.extend_from_slice(kind);
    if namespace != "/" {
        out.extend_from_slice(namespace.as_bytes());
        out.push(b',');
    }
}
