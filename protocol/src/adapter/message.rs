//! The thirteen messages and the text in which they travel (`spec/cluster.md` §4).
//!
//! Owns: which members a message has, in which order they are written, which of the two encodings is used.
//! Never: deciding what a message means.
//! Invariant: whatever can be made of the public constructors encodes to the exact shape, and decodes to itself.

use std::borrow::Cow;

use super::msgpack::{self, Value};
use super::name::RequestId;
use crate::base64;
use crate::json::{self, DEPTH_MAX, Kind as JsonKind};
use crate::socketio::packet;

/// Number of a message in the field `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    InitialHeartbeat = 1,
    Heartbeat = 2,
    Broadcast = 3,
    SocketsJoin = 4,
    SocketsLeave = 5,
    DisconnectSockets = 6,
    FetchSockets = 7,
    FetchSocketsResponse = 8,
    ServerSideEmit = 9,
    ServerSideEmitResponse = 10,
    BroadcastClientCount = 11,
    BroadcastAck = 12,
    AdapterClose = 13,
}

impl Kind {
    const ALL: [Self; 13] = [
        Self::InitialHeartbeat,
        Self::Heartbeat,
        Self::Broadcast,
        Self::SocketsJoin,
        Self::SocketsLeave,
        Self::DisconnectSockets,
        Self::FetchSockets,
        Self::FetchSocketsResponse,
        Self::ServerSideEmit,
        Self::ServerSideEmitResponse,
        Self::BroadcastClientCount,
        Self::BroadcastAck,
        Self::AdapterClose,
    ];

    /// The kind with this decimal number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == text)
    }

    /// The decimal number.
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            Self::InitialHeartbeat => "1",
            Self::Heartbeat => "2",
            Self::Broadcast => "3",
            Self::SocketsJoin => "4",
            Self::SocketsLeave => "5",
            Self::DisconnectSockets => "6",
            Self::FetchSockets => "7",
            Self::FetchSocketsResponse => "8",
            Self::ServerSideEmit => "9",
            Self::ServerSideEmitResponse => "10",
            Self::BroadcastClientCount => "11",
            Self::BroadcastAck => "12",
            Self::AdapterClose => "13",
        }
    }

    /// Whether its data may be MessagePack.
    fn may_be_binary(self) -> bool {
        matches!(
            self,
            Self::Broadcast
                | Self::FetchSocketsResponse
                | Self::ServerSideEmit
                | Self::ServerSideEmitResponse
                | Self::BroadcastAck
        )
    }
}

/// A value as its sender wrote it.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload<'a> {
    /// One JSON value.
    Json(Json<'a>),
    /// A value with bytes in it.
    Value(Value),
}

/// Nesting of a payload at most: what is around it in a message must fit as well.
pub const PAYLOAD_DEPTH_MAX: u16 = DEPTH_MAX - 4;

const _: () = assert!(packet::DEPTH_MAX <= PAYLOAD_DEPTH_MAX, "what clients send fits");

/// Text that is known to be exactly one JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    /// Takes a text that is one JSON value, nested at most [`PAYLOAD_DEPTH_MAX`] deep.
    #[must_use]
    pub fn checked(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let text = text.into();
        json::validate(&text, PAYLOAD_DEPTH_MAX).is_ok().then_some(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> Payload<'a> {
    /// A payload of JSON text.
    #[must_use]
    pub fn json(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        Json::checked(text).map(Self::Json)
    }

    /// The value as JSON; see [`Value::write_json`] for bytes.
    #[must_use]
    pub fn into_json(self) -> Cow<'a, str> {
        match self {
            Self::Json(json) => json.0,
            Self::Value(value) => {
                let mut out = Vec::new();
                value.write_json(&mut out);
                Cow::Owned(String::from_utf8(out).unwrap_or_default())
            }
        }
    }

    fn is_array(&self) -> bool {
        match self {
            Self::Json(json) => json::kind(json.as_str()) == JsonKind::Array,
            Self::Value(value) => matches!(value, Value::Array(_)),
        }
    }

    fn has_binary(&self) -> bool {
        matches!(self, Self::Value(value) if value.has_binary())
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(json) => out.extend_from_slice(json.as_str().as_bytes()),
            Self::Value(value) => value.write_json(out),
        }
    }
}

/// An array of values: the name of an event and its arguments, or a list of sockets.
#[derive(Clone, Debug, PartialEq)]
pub struct List<'a>(Payload<'a>);

impl<'a> List<'a> {
    /// Takes a payload that is an array.
    #[must_use]
    pub fn new(payload: Payload<'a>) -> Option<Self> {
        payload.is_array().then_some(Self(payload))
    }

    /// Takes the text of a JSON array.
    #[must_use]
    pub fn json(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        Self::new(Payload::json(text)?)
    }

    /// The array as JSON.
    #[must_use]
    pub fn into_json(self) -> Cow<'a, str> {
        self.0.into_json()
    }
}

/// Modifiers of a broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// How long an acknowledgement is waited for, in milliseconds.
    pub timeout: Option<u64>,
    /// May be dropped for a client that cannot take it right now.
    pub volatile: Option<bool>,
    /// Whether compression is worth while.
    pub compress: Option<bool>,
}

/// Whom a message addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opts<'a> {
    /// Rooms to address; none means every socket.
    pub rooms: Vec<Cow<'a, str>>,
    /// Rooms to leave out. The id of a socket is a room, too.
    pub except: Vec<Cow<'a, str>>,
    /// Modifiers.
    pub flags: Flags,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// A server has come.
    InitialHeartbeat,
    /// A server is there.
    Heartbeat,
    /// An event for the sockets in some rooms; with a request id it is to be acknowledged.
    Broadcast {
        /// The name of the event and its arguments.
        packet: List<'a>,
        /// What counts and acknowledgements refer to.
        request: Option<RequestId>,
        /// For whom.
        opts: Opts<'a>,
    },
    /// Sockets shall join rooms.
    SocketsJoin {
        /// Which sockets.
        opts: Opts<'a>,
        /// Which rooms.
        rooms: Vec<Cow<'a, str>>,
    },
    /// Sockets shall leave rooms.
    SocketsLeave {
        /// Which sockets.
        opts: Opts<'a>,
        /// Which rooms.
        rooms: Vec<Cow<'a, str>>,
    },
    /// Sockets shall be disconnected.
    DisconnectSockets {
        /// Which sockets.
        opts: Opts<'a>,
        /// Whether their transport is closed instead of telling them.
        close: bool,
    },
    /// Asks for sockets.
    FetchSockets {
        /// Which sockets.
        opts: Opts<'a>,
        /// What the answers refer to.
        request: RequestId,
    },
    /// The sockets of one server.
    FetchSocketsResponse {
        /// The request.
        request: RequestId,
        /// Descriptions of sockets.
        sockets: List<'a>,
    },
    /// An event for the servers themselves.
    ServerSideEmit {
        /// The name of the event and its arguments.
        packet: List<'a>,
        /// What the answers refer to, if there shall be any.
        request: Option<RequestId>,
    },
    /// The answer of one server.
    ServerSideEmitResponse {
        /// The request.
        request: RequestId,
        /// The answer.
        packet: Payload<'a>,
    },
    /// How many sockets of one server got an acknowledged broadcast.
    BroadcastClientCount {
        /// The request.
        request: RequestId,
        /// Sockets.
        count: u64,
    },
    /// One socket's acknowledgement.
    BroadcastAck {
        /// The request.
        request: RequestId,
        /// The first argument of the acknowledgement, if it had one.
        packet: Option<Payload<'a>>,
    },
    /// A server leaves.
    AdapterClose,
}

/// Why data is no message of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Neither JSON nor MessagePack in base64.
    Undecodable,
    /// A member is missing, or has the wrong type.
    Shape,
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Undecodable => "neither JSON nor MessagePack in base64",
            Self::Shape => "a member is missing or has the wrong type",
        })
    }
}

// ---- writing ----------------------------------------------------------------------------------------------------

impl Message<'_> {
    /// What the field `type` says.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::InitialHeartbeat => Kind::InitialHeartbeat,
            Self::Heartbeat => Kind::Heartbeat,
            Self::Broadcast { .. } => Kind::Broadcast,
            Self::SocketsJoin { .. } => Kind::SocketsJoin,
            Self::SocketsLeave { .. } => Kind::SocketsLeave,
            Self::DisconnectSockets { .. } => Kind::DisconnectSockets,
            Self::FetchSockets { .. } => Kind::FetchSockets,
            Self::FetchSocketsResponse { .. } => Kind::FetchSocketsResponse,
            Self::ServerSideEmit { .. } => Kind::ServerSideEmit,
            Self::ServerSideEmitResponse { .. } => Kind::ServerSideEmitResponse,
            Self::BroadcastClientCount { .. } => Kind::BroadcastClientCount,
            Self::BroadcastAck { .. } => Kind::BroadcastAck,
            Self::AdapterClose => Kind::AdapterClose,
        }
    }

    /// What the field `data` says; nothing for messages without.
    #[must_use]
    pub fn encode_data(&self) -> Option<String> {
        if self.kind().may_be_binary() && self.payload().is_some_and(Payload::has_binary) {
            let mut packed = Vec::new();
            msgpack::encode(&mut packed, &self.to_value());
            return Some(base64::encode(&packed));
        }
        let mut out = Object::new(128);
        match self {
            Self::InitialHeartbeat | Self::Heartbeat | Self::AdapterClose => return None,
            Self::Broadcast { packet, request, opts } => {
                out.member("packet", |out| {
                    out.extend_from_slice(br#"{"type":2,"data":"#);
                    packet.0.write_json(out);
                    out.push(b'}');
                });
                out.request(request.as_ref());
                out.member("opts", |out| write_opts(out, opts));
            }
            Self::SocketsJoin { opts, rooms } | Self::SocketsLeave { opts, rooms } => {
                out.member("opts", |out| write_opts(out, opts));
                out.member("rooms", |out| write_names(out, rooms));
            }
            Self::DisconnectSockets { opts, close } => {
                out.member("opts", |out| write_opts(out, opts));
                out.member("close", |out| out.extend_from_slice(close.to_string().as_bytes()));
            }
            Self::FetchSockets { opts, request } => {
                out.member("opts", |out| write_opts(out, opts));
                out.request(Some(request));
            }
            Self::FetchSocketsResponse { request, sockets } => {
                out.request(Some(request));
                out.member("sockets", |out| sockets.0.write_json(out));
            }
            Self::ServerSideEmit { packet, request } => {
                out.request(request.as_ref());
                out.member("packet", |out| packet.0.write_json(out));
            }
            Self::ServerSideEmitResponse { request, packet } => {
                out.request(Some(request));
                out.member("packet", |out| packet.write_json(out));
            }
            Self::BroadcastClientCount { request, count } => {
                out.request(Some(request));
                out.member("clientCount", |out| out.extend_from_slice(count.to_string().as_bytes()));
            }
            Self::BroadcastAck { request, packet } => {
                out.request(Some(request));
                if let Some(packet) = packet {
                    out.member("packet", |out| packet.write_json(out));
                }
            }
        }
        Some(out.finish())
    }

    /// The part that may hold bytes.
    fn payload(&self) -> Option<&Payload<'_>> {
        match self {
            Self::Broadcast { packet, .. } | Self::ServerSideEmit { packet, .. } => Some(&packet.0),
            Self::FetchSocketsResponse { sockets, .. } => Some(&sockets.0),
            Self::ServerSideEmitResponse { packet, .. } => Some(packet),
            Self::BroadcastAck { packet, .. } => packet.as_ref(),
            _ => None,
        }
    }

    /// The data of a message with bytes in its payload.
    fn to_value(&self) -> Value {
        let payload = match self.payload() {
            Some(Payload::Value(value)) => value.clone(),
            _ => Value::Null,
        };
        let member = |name: &str, value: Value| (name.to_string(), value);
        let id = |request: &RequestId| member("requestId", Value::Text(request.as_str().to_string()));
        Value::Map(match self {
            Self::Broadcast { request, opts, .. } => {
                let packet = Value::Map(vec![member("type", Value::Unsigned(2)), member("data", payload)]);
                let mut members = vec![member("packet", packet)];
                members.extend(request.as_ref().map(id));
                members.push(member("opts", opts_value(opts)));
                members
            }
            Self::ServerSideEmit { request, .. } => {
                request.as_ref().map(id).into_iter().chain([member("packet", payload)]).collect()
            }
            Self::FetchSocketsResponse { request, .. } => vec![id(request), member("sockets", payload)],
            Self::ServerSideEmitResponse { request, .. } | Self::BroadcastAck { request, .. } => {
                vec![id(request), member("packet", payload)]
            }
            _ => Vec::new(),
        })
    }
}

/// A JSON object in the making.
struct Object(Vec<u8>);

impl Object {
    fn new(capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity);
        out.push(b'{');
        Self(out)
    }

    fn member(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        json::write_string(&mut self.0, name);
        self.0.push(b':');
        write(&mut self.0);
    }

    fn request(&mut self, request: Option<&RequestId>) {
        if let Some(request) = request {
            self.member("requestId", |out| json::write_string(out, request.as_str()));
        }
    }

    fn finish(mut self) -> String {
        self.0.push(b'}');
        // Everything in it was written from text.
        String::from_utf8(self.0).unwrap_or_default()
    }
}

fn write_names(out: &mut Vec<u8>, names: &[Cow<'_, str>]) {
    out.push(b'[');
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::write_string(out, name);
    }
    out.push(b']');
}

fn write_opts(out: &mut Vec<u8>, opts: &Opts<'_>) {
    out.extend_from_slice(br#"{"rooms":"#);
    write_names(out, &opts.rooms);
    out.extend_from_slice(br#","except":"#);
    write_names(out, &opts.except);
    out.extend_from_slice(br#","flags":"#);
    let mut flags = Object::new(24);
    if let Some(timeout) = opts.flags.timeout {
        flags.member("timeout", |out| out.extend_from_slice(timeout.to_string().as_bytes()));
    }
    for (name, flag) in [("volatile", opts.flags.volatile), ("compress", opts.flags.compress)] {
        if let Some(flag) = flag {
            flags.member(name, |out| out.extend_from_slice(flag.to_string().as_bytes()));
        }
    }
    out.extend_from_slice(flags.finish().as_bytes());
    out.push(b'}');
}

fn opts_value(opts: &Opts<'_>) -> Value {
    let names = |names: &[Cow<'_, str>]| Value::Array(names.iter().map(|name| Value::Text(name.to_string())).collect());
    let Flags { timeout, volatile, compress } = opts.flags;
    let flags = [
        timeout.map(|value| ("timeout".to_string(), Value::Unsigned(value))),
        volatile.map(|value| ("volatile".to_string(), Value::Bool(value))),
        compress.map(|value| ("compress".to_string(), Value::Bool(value))),
    ];
    Value::Map(vec![
        ("rooms".to_string(), names(&opts.rooms)),
        ("except".to_string(), names(&opts.except)),
        ("flags".to_string(), Value::Map(flags.into_iter().flatten().collect())),
    ])
}

// ---- reading ----------------------------------------------------------------------------------------------------

/// Reads the data of a message. Members that nobody needs are ignored.
///
/// # Errors
/// What [`Error`] lists. A server skips such an entry.
pub fn decode(kind: Kind, data: Option<&str>) -> Result<Message<'_>, Error> {
    match (kind, data) {
        (Kind::InitialHeartbeat, _) => Ok(Message::InitialHeartbeat),
        (Kind::Heartbeat, _) => Ok(Message::Heartbeat),
        (Kind::AdapterClose, _) => Ok(Message::AdapterClose),
        (_, None) => Err(Error::Shape),
        (_, Some(text)) => {
            let members = Node::of_data(text)?;
            of_members(kind, &members).ok_or(Error::Shape)
        }
    }
}

fn of_members<'a>(kind: Kind, data: &Node<'a>) -> Option<Message<'a>> {
    let request = || data.member("requestId")?.text().as_deref().and_then(RequestId::parse);
    // An id that is there must be one; otherwise an acknowledged broadcast would pass for a plain one.
    let optional_request = || match data.member("requestId") {
        None => Some(None),
        Some(id) if id.is_null() => Some(None),
        Some(id) => Some(Some(RequestId::parse(&id.text()?)?)),
    };
    let opts = || data.member("opts")?.opts();
    Some(match kind {
        Kind::InitialHeartbeat | Kind::Heartbeat | Kind::AdapterClose => return None,
        Kind::Broadcast => Message::Broadcast {
            packet: List::new(data.member("packet")?.member("data")?.payload())?,
            request: optional_request()?,
            opts: opts()?,
        },
        Kind::SocketsJoin => Message::SocketsJoin { opts: opts()?, rooms: data.member("rooms")?.texts()? },
        Kind::SocketsLeave => Message::SocketsLeave { opts: opts()?, rooms: data.member("rooms")?.texts()? },
        Kind::DisconnectSockets => {
            Message::DisconnectSockets { opts: opts()?, close: data.member("close").and_then(|close| close.flag())? }
        }
        Kind::FetchSockets => Message::FetchSockets { opts: opts()?, request: request()? },
        Kind::FetchSocketsResponse => Message::FetchSocketsResponse {
            request: request()?,
            sockets: List::new(data.member("sockets")?.payload())?,
        },
        Kind::ServerSideEmit => Message::ServerSideEmit {
            packet: List::new(data.member("packet")?.payload())?,
            request: optional_request()?,
        },
        Kind::ServerSideEmitResponse => {
            Message::ServerSideEmitResponse { request: request()?, packet: data.member("packet")?.payload() }
        }
        Kind::BroadcastClientCount => {
            Message::BroadcastClientCount { request: request()?, count: data.member("clientCount")?.unsigned()? }
        }
        Kind::BroadcastAck => {
            Message::BroadcastAck { request: request()?, packet: data.member("packet").map(|packet| packet.payload()) }
        }
    })
}

/// A value of either encoding. JSON is raw and has been checked as a whole.
enum Node<'a> {
    Json(&'a str),
    Packed(Value),
}

impl<'a> Node<'a> {
    fn of_data(text: &'a str) -> Result<Self, Error> {
        if text.starts_with('{') {
            json::validate(text, DEPTH_MAX).map_err(|_| Error::Undecodable)?;
            return Ok(Self::Json(text));
        }
        let bytes = base64::decode_strict(text).map_err(|_| Error::Undecodable)?;
        msgpack::decode(&bytes).map(Self::Packed).map_err(|_| Error::Undecodable)
    }

    fn member(&self, name: &str) -> Option<Self> {
        match self {
            // As in JavaScript, the last of several members of one name counts.
            Self::Json(raw) => json::members(raw)
                .filter(|(key, _)| json::literal_is(key, name))
                .last()
                .map(|(_, value)| Self::Json(value)),
            Self::Packed(value) => value.member(name).cloned().map(Self::Packed),
        }
    }

    fn payload(self) -> Payload<'a> {
        match self {
            Self::Json(raw) => Payload::Json(Json(Cow::Borrowed(raw))),
            Self::Packed(value) => Payload::Value(value),
        }
    }

    fn is_null(&self) -> bool {
        match self {
            Self::Json(raw) => json::kind(raw) == JsonKind::Null,
            Self::Packed(value) => *value == Value::Null,
        }
    }

    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Json(raw) if json::kind(raw) == JsonKind::String => json::unescape(raw).ok(),
            Self::Packed(Value::Text(text)) => Some(Cow::Owned(text)),
            _ => None,
        }
    }

    fn texts(self) -> Option<Vec<Cow<'a, str>>> {
        match self {
            Self::Json(raw) if json::kind(raw) == JsonKind::Array => {
                json::elements(raw).map(|element| Self::Json(element).text()).collect()
            }
            Self::Packed(Value::Array(items)) => items.into_iter().map(|item| Self::Packed(item).text()).collect(),
            _ => None,
        }
    }

    fn unsigned(self) -> Option<u64> {
        match self {
            Self::Json(raw) => raw.parse().ok(),
            Self::Packed(Value::Unsigned(value)) => Some(value),
            _ => None,
        }
    }

    fn flag(self) -> Option<bool> {
        match self {
            Self::Json(raw) => raw.parse().ok(),
            Self::Packed(Value::Bool(value)) => Some(value),
            _ => None,
        }
    }

    fn opts(&self) -> Option<Opts<'a>> {
        let flags = self.member("flags");
        let flag = |name: &str| flags.as_ref().and_then(|flags| flags.member(name));
        Some(Opts {
            rooms: self.member("rooms")?.texts()?,
            except: self.member("except").map_or_else(|| Some(Vec::new()), Self::texts)?,
            flags: Flags {
                timeout: flag("timeout").and_then(Self::unsigned),
                volatile: flag("volatile").and_then(Self::flag),
                compress: flag("compress").and_then(Self::flag),
            },
        })
    }
}

/// Reads `opts` from its raw JSON.
pub(super) fn opts_of_json(raw: &str) -> Option<Opts<'_>> {
    Node::Json(raw).opts()
}
