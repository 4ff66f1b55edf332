//! A socket.io connection over the websocket transport: handshake, CONNECT with token, packets.
//!
//! Reading answers the server's heartbeat by itself, so a connection stays alive as long as somebody reads it.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, Splitable};
use monoio::net::TcpStream;
use monoio::net::tcp::TcpOwnedReadHalf;

use crate::client::sender::{FIRST_ACK, ack_after};
use crate::client::websocket::{self, Frame, Opcode};
use crate::client::{Account, Failure, Sender, Sources};

const TARGET: &str = "/v1/updates/?EIO=4&transport=websocket";
/// What a connection of the generator holds; grows for larger frames and stays that large.
const READ_BYTES: usize = 1024;

/// A `ping` event with its ack id, and the answer to it, as frames.
pub(crate) const PING_REQUEST_BYTES: usize = 2 + 4 + r#"42100000["ping"]"#.len();
pub(crate) const PING_ANSWER_BYTES: usize = 2 + "43100000[{}]".len();

/// Whom a connection speaks for (spec realtime.md §1).
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    User,
    Session(String),
}

/// A packet from the server that a scenario may care about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    /// The answer to the event with this ack id; the JSON array of its arguments.
    Ack { id: u64, data: &'a str },
    /// An event, with the id of the ack it asks for; the JSON array of name and arguments.
    Event { ack: Option<u64>, data: &'a str },
    /// Anything else: the heartbeat (already answered), CONNECT, the open packet.
    Other,
}

pub(crate) struct Reader {
    half: TcpOwnedReadHalf,
    buffer: Vec<u8>,
    /// Where the unread bytes of `buffer` start.
    start: usize,
    sender: Rc<Sender>,
    /// The ack that the next answer of a server without protocol stands for; `None` with the real protocol.
    raw_ack: Option<u64>,
    pings_answered: u64,
}

impl Reader {
    /// A plain TCP connection to `floor`, which answers every `PING_REQUEST_BYTES` with `PING_ANSWER_BYTES`, in order.
    pub(crate) fn connect_raw(sources: &Sources) -> Result<Self, Failure> {
        Ok(Self { raw_ack: Some(FIRST_ACK), ..Self::over_tcp(sources)? })
    }

    /// The same, and one request has been answered, so that the server has seen the connection in use.
    pub(crate) async fn connect_raw_used(sources: &Sources) -> Result<Self, Failure> {
        let mut reader = Self::connect_raw(sources)?;
        reader.sender.queue_event("ping", None);
        reader.sender.flush().await?;
        reader.next().await?;
        Ok(reader)
    }

    fn over_tcp(sources: &Sources) -> Result<Self, Failure> {
        Ok(Self::over(sources.connect()?))
    }

    fn over(stream: TcpStream) -> Self {
        let (half, write_half) = stream.into_split();
        let sender = Rc::new(Sender::new(write_half));
        Self { half, buffer: Vec::new(), start: 0, sender, raw_ack: None, pings_answered: 0 }
    }

    /// Opens a websocket, connects the namespace and waits until the server has accepted the token.
    pub(crate) async fn connect(sources: &Sources, account: &Account, scope: &Scope) -> Result<Self, Failure> {
        Self::open(Self::over_tcp(sources)?, account, scope).await
    }

    /// The same with server `number` of several.
    pub(crate) async fn connect_to(
        sources: &Sources,
        number: usize,
        account: &Account,
        scope: &Scope,
    ) -> Result<Self, Failure> {
        Self::open(Self::over(sources.connect_to(number)?), account, scope).await
    }

    async fn open(mut reader: Self, account: &Account, scope: &Scope) -> Result<Self, Failure> {
        reader.upgrade().await?;
        reader.sender.queue_text(&connect_packet(&account.token, scope));
        // The server checks the token after it has answered CONNECT and says nothing when it is good, so a `ping`
        // event goes along: its ack proves that the connection was admitted.
        let admitted = reader.admit().await;
        admitted.map_err(|failure| failure.during("connecting the namespace"))?;
        Ok(reader)
    }

    async fn upgrade(&mut self) -> Result<(), Failure> {
        self.sender.queue_bytes(&websocket::upgrade_request(TARGET));
        self.sender.flush().await?;
        let head_bytes = loop {
            if let Some(head_bytes) = websocket::upgrade_response(&self.buffer)? {
                break head_bytes;
            }
            self.fill().await?;
        };
        self.start = head_bytes;
        let open = self.text().await?;
        if self.buffer[open].starts_with(b"0{\"sid\":\"") {
            return Ok(());
        }
        Err(Failure::new("the first packet is not an open packet"))
    }

    async fn admit(&mut self) -> Result<(), Failure> {
        self.sender.flush().await?;
        loop {
            let answer = self.text().await?;
            let answer = &self.buffer[answer];
            // Some servers (socketioxide) begin with a heartbeat.
            if answer == b"2" {
                self.sender.queue_text("3");
                self.sender.flush().await?;
                continue;
            }
            if answer.starts_with(b"40{\"sid\":\"") {
                break;
            }
            let answer = String::from_utf8_lossy(answer);
            return Err(Failure::new(format!("CONNECT was answered by {answer}")));
        }
        let ping = self.sender.queue_event("ping", None);
        self.sender.flush().await?;
        loop {
            match self.next().await? {
                Packet::Ack { id, .. } if id == ping => return Ok(()),
                Packet::Event { data, .. } if data.starts_with("[\"error\"") => {
                    return Err(Failure::new(data.to_owned()));
                }
                _ => {}
            }
        }
    }

    /// Registers a method for calls from other devices and waits until the server has said so.
    pub(crate) async fn register(&mut self, method: &str) -> Result<(), Failure> {
        self.sender.queue_text(&format!(r#"42["rpc-register",{{"method":"{method}"}}]"#));
        self.sender.flush().await?;
        loop {
            match self.next().await? {
                Packet::Event { data, .. } if data.starts_with(r#"["rpc-registered""#) => return Ok(()),
                Packet::Event { data, .. } if data.starts_with(r#"["rpc-error""#) => {
                    return Err(Failure::new(format!("registration answered {data}")));
                }
                _ => {}
            }
        }
    }

    pub(crate) const fn sender(&self) -> &Rc<Sender> {
        &self.sender
    }

    pub(crate) const fn pings_answered(&self) -> u64 {
        self.pings_answered
    }

    /// The next packet. Answers the heartbeat on the way.
    pub(crate) async fn next(&mut self) -> Result<Packet<'_>, Failure> {
        if let Some(id) = self.raw_ack {
            self.skip(PING_ANSWER_BYTES).await?;
            self.raw_ack = Some(ack_after(id));
            return Ok(Packet::Ack { id, data: "" });
        }
        let text = self.text().await?;
        if self.buffer.get(text.clone()) == Some(b"2") {
            self.pings_answered += 1;
            self.sender.queue_text("3");
            self.sender.flush().await?;
            return Ok(Packet::Other);
        }
        let text = std::str::from_utf8(&self.buffer[text]).map_err(|_| Failure::new("packet is not UTF-8"))?;
        parse_packet(text)
    }

    /// Waits for `count` bytes and drops them.
    async fn skip(&mut self, count: usize) -> Result<(), Failure> {
        while self.buffer.len() - self.start < count {
            self.fill().await?;
        }
        self.start += count;
        Ok(())
    }

    /// Closes as a client does: close frame, then waits for the server's and for the end of the connection.
    pub(crate) async fn close(mut self) -> Result<(), Failure> {
        self.sender.queue_frame(Opcode::Close, &[]);
        self.sender.flush().await?;
        while self.frame().await?.opcode != Opcode::Close {}
        Ok(())
    }

    /// Stays for a while without answering the heartbeat, then closes as a client does.
    pub(crate) async fn close_after(mut self, stay: Duration) -> Result<(), Failure> {
        let sender = Rc::clone(&self.sender);
        monoio::spawn(async move {
            monoio::time::sleep(stay).await;
            sender.queue_frame(Opcode::Close, &[]);
            // A failed write shows at the reader.
            let _ = sender.flush().await;
        });
        while self.frame().await?.opcode != Opcode::Close {}
        Ok(())
    }

    /// Where the payload of the next text message is.
    async fn text(&mut self) -> Result<Range<usize>, Failure> {
        loop {
            let frame = self.frame().await?;
            match frame.opcode {
                Opcode::Text => return Ok(frame.payload_at..frame.end),
                Opcode::Close => return Err(Failure::new("the server closed the websocket")),
                Opcode::Ping => {
                    self.sender.queue_frame(Opcode::Pong, &self.buffer[frame.payload_at..frame.end]);
                    self.sender.flush().await?;
                }
                Opcode::Pong | Opcode::Binary => {}
            }
        }
    }

    /// The next frame, its positions relative to the buffer. Valid until the next call.
    async fn frame(&mut self) -> Result<Frame, Failure> {
        loop {
            if let Some(frame) = websocket::decode(&self.buffer[self.start..])? {
                let offset = self.start;
                self.start += frame.end;
                let (payload_at, end) = (offset + frame.payload_at, offset + frame.end);
                return Ok(Frame { opcode: frame.opcode, payload_at, end });
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.drain(..self.start);
        self.start = 0;
        if buffer.capacity() - buffer.len() < READ_BYTES / 2 {
            buffer.reserve(READ_BYTES.max(buffer.len()));
        }
        let filled = buffer.len();
        let (read, buffer) = self.half.read(buffer.slice_mut(filled..)).await;
        self.buffer = buffer.into_inner();
        match read.map_err(|error| Failure::from(error).during("reading"))? {
            0 => Err(Failure::new("the server closed the connection")),
            _ => Ok(()),
        }
    }
}

fn connect_packet(token: &str, scope: &Scope) -> String {
    match scope {
        Scope::User => format!(r#"40{{"token":"{token}","clientType":"user-scoped"}}"#),
        Scope::Session(session) => {
            format!(r#"40{{"token":"{token}","clientType":"session-scoped","sessionId":"{session}"}}"#)
        }
    }
}

fn parse_packet(text: &str) -> Result<Packet<'_>, Failure> {
    if let Some(rest) = text.strip_prefix("42") {
        let (ack, data) = split_id(rest)?;
        return Ok(Packet::Event { ack, data });
    }
    if let Some(rest) = text.strip_prefix("43") {
        let (Some(id), data) = split_id(rest)? else { return Err(Failure::new("ack without id")) };
        return Ok(Packet::Ack { id, data });
    }
    match text.as_bytes() {
        b"41" => Err(Failure::new("the server disconnected the socket")),
        [b'1', ..] => Err(Failure::new("the server closed the session")),
        [b'4', b'4', ..] => Err(Failure::new("the server refused the namespace")),
        _ => Ok(Packet::Other),
    }
}

/// The ack id before the JSON array, if there is one, and the array.
fn split_id(text: &str) -> Result<(Option<u64>, &str), Failure> {
    let array_at = text.find('[').ok_or_else(|| Failure::new("packet without data"))?;
    let (digits, data) = text.split_at(array_at);
    if digits.is_empty() {
        return Ok((None, data));
    }
    let id = digits.parse().map_err(|_| Failure::new("ack id that is no number"))?;
    Ok((Some(id), data))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Packet, parse_packet};

    #[test]
    fn packets() {
        assert_eq!(parse_packet("43100000[{}]").unwrap(), Packet::Ack { id: 100_000, data: "[{}]" });
        assert_eq!(parse_packet(r#"42["update",{}]"#).unwrap(), Packet::Event { ack: None, data: r#"["update",{}]"# });
        let request = Packet::Event { ack: Some(7), data: r#"["rpc-request",{}]"# };
        assert_eq!(parse_packet(r#"427["rpc-request",{}]"#).unwrap(), request);
        assert_eq!(parse_packet("6").unwrap(), Packet::Other);
        for text in ["41", "1", "44{}", "43", "43x[]", "43[]", "42", "42x[]"] {
            assert!(parse_packet(text).is_err(), "{text}");
        }
    }
}
