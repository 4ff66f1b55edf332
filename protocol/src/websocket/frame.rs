//! Frames: headers in both directions, complete frames to send.
//!
//! Owns: the layout of RFC 6455 §5.2 and what makes a single header invalid.
//! Never: keeps state between frames (see `message`).
//! Invariants: frames are sent unfragmented with the shortest length form, unmasked by a server and masked by a client.
//! A header is judged by its bytes in order, so a partly received one already gives the error the whole one would.

use std::fmt;

use super::{close, mask};

/// Longest frame header: flags and length, 64-bit length, masking key.
pub const HEADER_BYTES_MAX: usize = 14;
/// Longest payload of a control frame.
pub const CONTROL_BYTES_MAX: usize = 125;

/// Lengths above 2^53 - 1 are refused before anything else about the size is looked at.
const LENGTH_MAX: u64 = (1 << 53) - 1;

/// Which side we are: servers get masked frames, clients get unmasked ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We accepted the connection.
    Server,
    /// We opened the connection.
    Client,
}

/// The frame types of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment of a message.
    Continuation,
    /// A text message or its first fragment.
    Text,
    /// A binary message or its first fragment.
    Binary,
    /// The closing handshake.
    Close,
    /// A request for a pong.
    Ping,
    /// The answer to a ping, or unasked.
    Pong,
}

impl Opcode {
    const fn decode(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Continuation),
            1 => Some(Self::Text),
            2 => Some(Self::Binary),
            8 => Some(Self::Close),
            9 => Some(Self::Ping),
            10 => Some(Self::Pong),
            _ => None,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    /// Whether frames of this type may stand between the fragments of a message.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// What the peer broke. Every error ends the connection with the close code it maps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A frame from a client without mask.
    Unmasked,
    /// A frame from a server with mask.
    Masked,
    /// RSV1, RSV2 or RSV3 set although no extension was agreed on.
    ReservedBits,
    /// Opcode 3 to 7 or 11 to 15.
    ReservedOpcode,
    /// A continuation without a started message.
    ContinuationWithoutMessage,
    /// A new data frame inside a fragmented message.
    MessageWithinMessage,
    /// A control frame in fragments.
    ControlFragmented,
    /// A control frame above [`CONTROL_BYTES_MAX`].
    ControlTooLong,
    /// A close frame with a payload of one byte.
    ClosePayload,
    /// A close code that may not be sent.
    CloseCode,
    /// A close reason that is not UTF-8.
    CloseReasonNotUtf8,
    /// A text message that is not UTF-8.
    TextNotUtf8,
    /// A message beyond the limit.
    MessageTooBig,
}

impl Error {
    /// The code of the close frame that answers it.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Unmasked
            | Self::Masked
            | Self::ReservedBits
            | Self::ReservedOpcode
            | Self::ContinuationWithoutMessage
            | Self::MessageWithinMessage
            | Self::ControlFragmented
            | Self::ControlTooLong
            | Self::ClosePayload
            | Self::CloseCode => close::PROTOCOL_ERROR,
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 => close::INVALID_PAYLOAD,
            Self::MessageTooBig => close::MESSAGE_TOO_BIG,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unmasked => "unmasked frame from a client",
            Self::Masked => "masked frame from a server",
            Self::ReservedBits => "reserved bit set",
            Self::ReservedOpcode => "reserved opcode",
            Self::ContinuationWithoutMessage => "continuation without a started message",
            Self::MessageWithinMessage => "data frame inside a fragmented message",
            Self::ControlFragmented => "fragmented control frame",
            Self::ControlTooLong => "control frame too long",
            Self::ClosePayload => "close frame with one byte",
            Self::CloseCode => "invalid close code",
            Self::CloseReasonNotUtf8 => "close reason is not UTF-8",
            Self::TextNotUtf8 => "text message is not UTF-8",
            Self::MessageTooBig => "message too big",
        })
    }
}

impl std::error::Error for Error {}

/// A decoded frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether this is the last fragment of its message.
    pub fin: bool,
    /// The frame type.
    pub opcode: Opcode,
    /// The masking key; zero changes nothing, so unmasked frames have it too.
    pub key: [u8; 4],
    /// Length of the payload.
    pub payload_len: u64,
    /// Length of the header itself.
    pub header_len: usize,
}

/// Decodes the header at the beginning of `bytes`; `None` if more bytes are needed.
/// `in_message` says whether a fragmented message has begun and not ended.
///
/// # Errors
/// What the peer broke, as soon as the bytes show it.
pub fn decode_header(bytes: &[u8], role: Role, in_message: bool) -> Result<Option<Header>, Error> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Error::ReservedBits);
    }
    let opcode = Opcode::decode(first & 0x0f).ok_or(Error::ReservedOpcode)?;
    let fin = first & 0x80 != 0;
    match opcode {
        Opcode::Text | Opcode::Binary if in_message => return Err(Error::MessageWithinMessage),
        Opcode::Continuation if !in_message => return Err(Error::ContinuationWithoutMessage),
        Opcode::Close | Opcode::Ping | Opcode::Pong if !fin => return Err(Error::ControlFragmented),
        _ => {}
    }
    let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
    match (role, second & 0x80) {
        (Role::Server, 0) => return Err(Error::Unmasked),
        (Role::Client, 0x80) => return Err(Error::Masked),
        _ => {}
    }
    let short = second & 0x7f;
    if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
        return Err(Error::ControlTooLong);
    }
    let (payload_len, rest, header_len) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 4_usize),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest, 10),
            None => return Ok(None),
        },
        _ => (u64::from(short), rest, 2),
    };
    if payload_len > LENGTH_MAX {
        return Err(Error::MessageTooBig);
    }
    match (role, rest.first_chunk::<4>()) {
        (Role::Client, _) => Ok(Some(Header { fin, opcode, key: [0; 4], payload_len, header_len })),
        (Role::Server, Some(&key)) => {
            Ok(Some(Header { fin, opcode, key, payload_len, header_len: header_len.wrapping_add(4) }))
        }
        (Role::Server, None) => Ok(None),
    }
}

/// Writes the header of an unfragmented, unmasked frame and returns its length.
pub fn encode_header(opcode: Opcode, payload_len: usize, header: &mut [u8; 10]) -> usize {
    let first = 0x80 | opcode.bits();
    let length = u64::try_from(payload_len).unwrap_or(u64::MAX);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => {
            *header = [first, short, 0, 0, 0, 0, 0, 0, 0, 0];
            2
        }
        (_, Ok(medium)) => {
            let [a, b] = medium.to_be_bytes();
            *header = [first, 126, a, b, 0, 0, 0, 0, 0, 0];
            4
        }
        _ => {
            let [a, b, c, d, e, f, g, h] = length.to_be_bytes();
            *header = [first, 127, a, b, c, d, e, f, g, h];
            10
        }
    }
}

/// Appends a complete unfragmented frame, as servers send it.
pub fn append(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let mut header = [0; 10];
    let header_len = encode_header(opcode, payload.len(), &mut header);
    out.extend_from_slice(header.get(..header_len).unwrap_or_default());
    out.extend_from_slice(payload);
}

/// A complete text frame in an allocation of its exact size. The text must be UTF-8; bytes are taken because frames
/// are put together from pieces.
#[must_use]
pub fn encode_text(text: &[u8]) -> Vec<u8> {
    encode(Opcode::Text, text)
}

/// A complete frame in an allocation of its exact size.
#[must_use]
pub fn encode(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; 10];
    let header_len = encode_header(opcode, payload.len(), &mut header);
    let mut out = Vec::with_capacity(header_len.saturating_add(payload.len()));
    out.extend_from_slice(header.get(..header_len).unwrap_or_default());
    out.extend_from_slice(payload);
    out
}

/// A complete close frame. A code that may not stand on the wire is left out, and the reason with it; a reason that is
/// too long is cut at a character.
#[must_use]
pub fn encode_close(code: Option<u16>, reason: &str) -> Vec<u8> {
    encode(Opcode::Close, &close_payload(code, reason))
}

/// The close frame with empty payload, with which the server ends a session.
pub const CLOSE_EMPTY: [u8; 2] = [0x88, 0x00];

/// The payload of a close frame, for [`encode_close`] and clients.
#[must_use]
pub fn close_payload(code: Option<u16>, reason: &str) -> Vec<u8> {
    let Some(code) = code.filter(|&code| close::is_valid(code)) else { return Vec::new() };
    let reason = reason.get(..reason.floor_char_boundary(CONTROL_BYTES_MAX.saturating_sub(2))).unwrap_or_default();
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// Appends a masked frame, as clients send it. The key should be unpredictable.
pub fn append_masked(out: &mut Vec<u8>, fin: bool, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    let mut header = [0; 10];
    let header_len = encode_header(opcode, payload.len(), &mut header);
    header[0] = opcode.bits() | if fin { 0x80 } else { 0 };
    header[1] |= 0x80;
    out.reserve(header_len.saturating_add(payload.len()).saturating_add(4));
    out.extend_from_slice(header.get(..header_len).unwrap_or_default());
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask::apply(out.get_mut(start..).unwrap_or_default(), key);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn headers_use_the_shortest_length() {
        let check = |payload_len: usize, expected: &[u8]| {
            let mut header = [0xee; 10];
            let header_len = encode_header(Opcode::Text, payload_len, &mut header);
            assert_eq!(&header[..header_len], expected, "{payload_len}");
            let decoded = decode_header(&header[..header_len], Role::Client, false).unwrap().unwrap();
            assert_eq!((decoded.payload_len, decoded.header_len), (u64::try_from(payload_len).unwrap(), header_len));
        };
        check(0, &[0x81, 0]);
        check(125, &[0x81, 125]);
        check(126, &[0x81, 126, 0, 126]);
        check(255, &[0x81, 126, 0, 255]);
        check(256, &[0x81, 126, 1, 0]);
        check(65_535, &[0x81, 126, 255, 255]);
        check(65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn complete_frames() {
        assert_eq!(encode_text(b"2"), [0x81, 1, b'2']);
        assert_eq!(encode_text(&[b'x'; 300]).capacity(), 304);
        assert_eq!(encode(Opcode::Pong, b"ab"), [0x8a, 2, b'a', b'b']);
        assert_eq!(encode_close(None, ""), CLOSE_EMPTY);
        assert_eq!(encode_close(None, "lost"), CLOSE_EMPTY);
        assert_eq!(encode_close(Some(1000), ""), [0x88, 2, 0x03, 0xe8]);
        assert_eq!(encode_close(Some(1009), "no"), [0x88, 4, 0x03, 0xf1, b'n', b'o']);
        for unsendable in [1004, 1005, 1006, 1015, 0, 5000] {
            assert_eq!(encode_close(Some(unsendable), "x"), CLOSE_EMPTY);
        }
        // 123 bytes of reason fit; a character of two bytes is not torn apart.
        assert_eq!(encode_close(Some(1001), &"é".repeat(80)).len(), 2 + 2 + 122);
        assert_eq!(encode_close(Some(1001), &"e".repeat(200)).len(), 2 + 2 + 123);
    }

    #[test]
    fn masked_frames() {
        let mut out = Vec::new();
        // The example of RFC 6455 §5.7.
        append_masked(&mut out, true, Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let header = decode_header(&out, Role::Server, false).unwrap().unwrap();
        assert_eq!((header.fin, header.opcode, header.payload_len, header.header_len), (true, Opcode::Text, 5, 6));
    }

    #[test]
    fn opcodes_round_trip() {
        for bits in 0..16 {
            if let Some(opcode) = Opcode::decode(bits) {
                assert_eq!(opcode.bits(), bits);
                assert_eq!(opcode.is_control(), bits >= 8);
            }
        }
    }
}
