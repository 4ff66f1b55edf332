//! The client's side of RFC 6455, as far as a conversation with a server that never fragments needs it.
//!
//! Frames are masked with a key that is not zero, so that the server does the work it does for any client.

use std::fmt::Write as _;

use crate::client::Failure;
use crate::client::http::{head_end, header};

/// The key of the RFC's example; the server's answer to it is known and need not be computed.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// A server that announces a larger frame is out of its mind, or of sync.
const FRAME_BYTES_MAX: usize = 64 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// A frame at the start of the input: its opcode, where its payload is, and where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: Opcode,
    pub(crate) payload_at: usize,
    pub(crate) end: usize,
}

pub(crate) fn upgrade_request(target: &str) -> Vec<u8> {
    let mut text = format!("GET {target} HTTP/1.1\r\nHost: loadtest\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    let _ = write!(text, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n");
    text.into_bytes()
}

/// The length of the response head once it is complete; a failure unless it switches protocols.
pub(crate) fn upgrade_response(input: &[u8]) -> Result<Option<usize>, Failure> {
    let Some(head_bytes) = head_end(input) else { return Ok(None) };
    let head = String::from_utf8_lossy(&input[..head_bytes]);
    if !head.starts_with("HTTP/1.1 101 ") {
        let status_line = head.lines().next().unwrap_or_default();
        return Err(Failure::new(format!("upgrade refused: {status_line}")));
    }
    match header(&head, "sec-websocket-accept") {
        Some(ACCEPT) => Ok(Some(head_bytes)),
        _ => Err(Failure::new("upgrade with a wrong Sec-WebSocket-Accept")),
    }
}

/// Appends a masked frame.
pub(crate) fn encode(opcode: Opcode, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    const FIN: u8 = 0x80;
    const MASKED: u8 = 0x80;
    out.push(FIN | opcode as u8);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => out.push(MASKED | length),
        (_, Ok(length)) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    for (byte, mask) in out[start..].iter_mut().zip(key.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The frame at the start of `input`; `None` while it is incomplete.
pub(crate) fn decode(input: &[u8]) -> Result<Option<Frame>, Failure> {
    let &[first, second, ..] = input else { return Ok(None) };
    let opcode = match first {
        0x81 => Opcode::Text,
        0x82 => Opcode::Binary,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8A => Opcode::Pong,
        _ => return Err(Failure::new(format!("unexpected frame header {first:#04x}"))),
    };
    let (payload_at, payload_bytes) = match second {
        0..=125 => (2, u64::from(second)),
        126 => match input.get(2..4) {
            Some(&[high, low]) => (4, u64::from(u16::from_be_bytes([high, low]))),
            _ => return Ok(None),
        },
        127 => match input.get(2..10).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
            Some(bytes) => (10, u64::from_be_bytes(bytes)),
            None => return Ok(None),
        },
        _ => return Err(Failure::new("the server masked a frame")),
    };
    let payload_bytes = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
    if payload_bytes > FRAME_BYTES_MAX {
        return Err(Failure::new("frame too large"));
    }
    let end = payload_at + payload_bytes;
    Ok((input.len() >= end).then_some(Frame { opcode, payload_at, end }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Frame, Opcode, decode, encode, upgrade_response};

    #[test]
    fn the_example_of_the_rfc() {
        let mut out = Vec::new();
        encode(Opcode::Text, b"Hello", [0x37, 0xFA, 0x21, 0x3D], &mut out);
        assert_eq!(out, [0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58]);
        let frame = decode(&[0x81, 0x05, 0x48, 0x65, 0x6C, 0x6C, 0x6F]).unwrap().unwrap();
        assert_eq!(frame, Frame { opcode: Opcode::Text, payload_at: 2, end: 7 });
    }

    #[test]
    fn lengths_have_three_forms() {
        for (length, header_bytes) in [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut masked = Vec::new();
            encode(Opcode::Text, &vec![b'x'; length], [1, 2, 3, 4], &mut masked);
            assert_eq!(masked.len(), header_bytes + 4 + length);
            // The server's form: the same without mask bit and key.
            let mut unmasked = masked.clone();
            unmasked[1] &= 0x7F;
            unmasked.drain(header_bytes..header_bytes + 4);
            let frame = decode(&unmasked).unwrap().unwrap();
            assert_eq!((frame.payload_at, frame.end), (header_bytes, header_bytes + length));
            assert!(decode(&unmasked[..unmasked.len() - 1]).unwrap().is_none());
        }
    }

    #[test]
    fn broken_frames_are_failures() {
        for input in [[0x01, 0x00], [0x80, 0x00], [0xC1, 0x00], [0x81, 0x80]] {
            assert!(decode(&input).is_err());
        }
        assert!(decode(&[0x82, 0x7F, 1, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn the_upgrade_is_checked() {
        let good = b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(upgrade_response(good).unwrap(), Some(good.len()));
        assert_eq!(upgrade_response(&good[..20]).unwrap(), None);
        assert!(upgrade_response(b"HTTP/1.1 400 Bad Request\r\n\r\n").is_err());
        assert!(upgrade_response(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").is_err());
    }
}
