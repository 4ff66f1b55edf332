//! Packets and polling payloads (`spec/socketio.md` §4).
//!
//! Owns: the text form of packets. Never: what a packet does to a session.
//! Data of `open`, `close`, `upgrade` and `noop` packets means nothing when a client sends it and is dropped.

use std::borrow::Cow;

use crate::base64;

/// Separates the packets of a polling payload. Socket.IO packets never contain it, because JSON escapes it.
pub const SEPARATOR: u8 = 0x1e;

/// One packet as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Packet<'a> {
    Open,
    Close,
    Ping(Option<&'a str>),
    Pong(Option<&'a str>),
    /// A text message; empty if it came without data.
    Message(&'a str),
    /// A binary message.
    Binary(Cow<'a, [u8]>),
    Upgrade,
    Noop,
}

/// The text is no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error;

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the text is no engine.io packet")
    }
}

/// Reads the text form of a packet. A binary websocket message is [`Packet::Binary`] as it is.
///
/// # Errors
/// The first character is no packet type, or the text is empty.
pub fn decode(text: &str) -> Result<Packet<'_>, Error> {
    let mut characters = text.chars();
    let kind = characters.next().ok_or(Error)?;
    let data = characters.as_str();
    let present = (!data.is_empty()).then_some(data);
    Ok(match kind {
        '0' => Packet::Open,
        '1' => Packet::Close,
        '2' => Packet::Ping(present),
        '3' => Packet::Pong(present),
        '4' => Packet::Message(data),
        '5' => Packet::Upgrade,
        '6' => Packet::Noop,
        'b' => Packet::Binary(Cow::Owned(base64::decode_lenient(data))),
        _ => return Err(Error),
    })
}

impl Packet<'_> {
    /// Appends the text form: what a polling payload holds, and what a websocket carries except for
    /// [`Packet::Binary`], whose bytes go there as they are.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, data) = match self {
            Packet::Open => (b'0', ""),
            Packet::Close => (b'1', ""),
            Packet::Ping(data) => (b'2', data.unwrap_or_default()),
            Packet::Pong(data) => (b'3', data.unwrap_or_default()),
            Packet::Message(data) => (b'4', *data),
            Packet::Upgrade => (b'5', ""),
            Packet::Noop => (b'6', ""),
            Packet::Binary(bytes) => {
                out.push(b'b');
                return base64::append_encoded(out, bytes);
            }
        };
        out.push(kind);
        out.extend_from_slice(data.as_bytes());
    }
}

/// The packets of a polling payload, up to the first that cannot be read. An empty payload has one packet, which
/// cannot be read either.
pub fn payload(body: &str) -> impl Iterator<Item = Result<Packet<'_>, Error>> {
    let mut failed = false;
    body.split(char::from(SEPARATOR))
        .map(decode)
        .take_while(move |packet| !std::mem::replace(&mut failed, packet.is_err()))
}

/// Appends one more packet, in its text form, to a polling payload.
pub fn append_to_payload(payload: &mut Vec<u8>, packet: &[u8]) {
    if !payload.is_empty() {
        payload.push(SEPARATOR);
    }
    payload.extend_from_slice(packet);
}
