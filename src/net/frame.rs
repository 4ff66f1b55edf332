//! One outgoing message, encoded once and shared by everybody who gets it.

use std::rc::Rc;

use protocol::websocket::frame::{Opcode, encode_header};

/// A complete unfragmented websocket frame. Its payload is the engine.io packet, which is what a polling session sends.
#[derive(Clone)]
pub struct Frame(Rc<[u8]>);

impl Frame {
    /// A text frame around an engine.io packet that `write` appends.
    pub fn text(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        // The longest header is written first and the frame then starts where the shortest fitting one begins.
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 10]);
        write(&mut bytes);
        let mut header = [0; 10];
        let length = encode_header(Opcode::Text, bytes.len() - 10, &mut header);
        let start = 10 - length;
        bytes[start..10].copy_from_slice(&header[..length]);
        Self(Rc::from(&bytes[start..]))
    }

    /// A frame made elsewhere: the bytes another core sent, or a control frame.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        debug_assert!(bytes.len() >= 2);
        Self(Rc::from(bytes))
    }

    /// Whether both are the one frame, shared; frames that merely look alike are not.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// The frame as it goes over a websocket.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The engine.io packet in it.
    pub fn packet(&self) -> &[u8] {
        let header = match self.0[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        &self.0[header..]
    }
}

impl AsRef<[u8]> for Frame {
    /// The packet: this is what a polling session queues.
    fn as_ref(&self) -> &[u8] {
        self.packet()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lengths() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let frame = Frame::text(|out| out.resize(out.len() + length, b'x'));
            assert_eq!(frame.packet().len(), length);
            assert_eq!(frame.bytes()[0], 0x81);
            let header = frame.bytes().len() - length;
            assert_eq!(
                header,
                if length < 126 {
                    2
                } else if length < 65_536 {
                    4
                } else {
                    10
                }
            );
            assert_eq!(Frame::from_bytes(frame.bytes()).packet(), frame.packet());
        }
    }
}
