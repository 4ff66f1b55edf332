//! The client's end of a websocket: frames out in pieces of any size, frames in.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use protocol::websocket::frame::{Opcode, encode};

use super::random::Random;

/// What the kernel holds for a peer that does not read; the least it allows is about this.
const KERNEL_BYTES: usize = 4_096;

pub(super) struct Wire {
    stream: UnixStream,
    unsent: Vec<u8>,
    received: Vec<u8>,
}

/// What has come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrived {
    Text(String),
    /// The server has closed, with or without a word.
    End,
}

impl Wire {
    /// Both ends.
    pub(super) fn pair() -> (Self, OwnedFd) {
        let (near, far) = UnixStream::pair().expect("a descriptor");
        rustix::net::sockopt::set_socket_send_buffer_size(&far, KERNEL_BYTES).expect("a smaller buffer");
        near.set_nonblocking(true).expect("a stream");
        (Self { stream: near, unsent: Vec::new(), received: Vec::new() }, far.into())
    }

    /// Queues a packet.
    pub(super) fn say(&mut self, packet: &str) {
        self.unsent.extend(masked(Opcode::Text, packet.as_bytes()));
    }

    pub(super) fn say_close(&mut self) {
        self.unsent.extend(masked(Opcode::Close, &[]));
    }

    /// Sends some of what is queued, cut anywhere; with `whole` all of it.
    pub(super) fn send(&mut self, random: &mut Random, whole: bool) {
        if self.unsent.is_empty() {
            return;
        }
        let most = if whole { self.unsent.len() } else { random.between(1, self.unsent.len()) };
        match self.stream.write(&self.unsent[..most]) {
            Ok(sent) => {
                self.unsent.drain(..sent);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The server has gone; reading finds out.
            Err(_) => self.unsent.clear(),
        }
    }

    /// Everything that has arrived.
    pub(super) fn read(&mut self) -> Vec<Arrived> {
        let mut bytes = [0; 16 * 1024];
        let mut ended = false;
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => ended = true,
                Ok(n) => {
                    self.received.extend_from_slice(&bytes[..n]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => ended = true,
            }
            break;
        }
        let mut arrived = Vec::new();
        while let Some((opcode, payload)) = self.next_frame() {
            match opcode {
                1 => arrived.push(Arrived::Text(String::from_utf8(payload).expect("UTF-8"))),
                8 => ended = true,
                other => panic!("a frame of kind {other}"),
            }
        }
        if ended {
            arrived.push(Arrived::End);
        }
        arrived
    }

    fn next_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.received.get(..2)?;
        assert_eq!(head[0] & 0x80, 0x80, "the server sends whole messages");
        let opcode = head[0] & 0x0f;
        let (header, length) = match head[1] {
            126 => (4, self.received.get(2..4)?.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))),
            127 => (10, self.received.get(2..10)?.iter().fold(0, |n, byte| n << 8 | usize::from(*byte))),
            short => (2, usize::from(short)),
        };
        let payload = self.received.get(header..header + length)?.to_vec();
        self.received.drain(..header + length);
        Some((opcode, payload))
    }
}

/// A frame of a client whose mask is zero.
fn masked(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = encode(opcode, payload);
    let header = frame.len() - payload.len();
    frame[1] |= 0x80;
    frame.splice(header..header, [0; 4]);
    frame
}
