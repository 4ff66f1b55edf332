//! Receiving messages: frames in, messages and control frames out (RFC 6455 §5.4–§5.6, §6.2, §8.1).
//!
//! Owns: fragments and incomplete frames. Never: what to answer; a ping or a close frame is reported.
//! Invariants: nothing is allocated for a frame that is complete in the input and not fragmented; bytes of an
//! incomplete frame are kept in an allocation that dies with the frame; a message larger than the limit is refused from
//! its announced length, before its payload arrives.

use super::close;
use super::frame::{HEADER_BYTES_MAX, Header, Malformed, Opcode, decode_header};
use super::mask;

/// What was received.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete text message.
    Text(&'a str),
    /// A complete binary message.
    Binary(&'a [u8]),
    /// To be answered with a pong that carries the same bytes.
    Ping(&'a [u8]),
    /// Nothing to do.
    Pong,
    /// The peer closes; to be echoed.
    Close {
        /// None for an empty close frame.
        code: Option<u16>,
        /// UTF-8, possibly empty.
        reason: &'a str,
    },
}

/// How the peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A frame that must not be.
    Protocol,
    /// A text or a close reason that is not UTF-8.
    Encoding,
    /// A message larger than the limit.
    TooLarge,
}

impl Error {
    /// The code to close with.
    pub fn close_code(self) -> u16 {
        match self {
            Self::Protocol => close::PROTOCOL_ERROR,
            Self::Encoding => close::INVALID_DATA,
            Self::TooLarge => close::TOO_LARGE,
        }
    }
}

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        Self::Protocol
    }
}

/// What is kept between reads, while a frame or a message is incomplete.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes of the head of a frame.
    head: Vec<u8>,
    /// The frame whose payload is being received, how much of it is missing, and what has come of a control frame.
    frame: Option<Frame>,
    /// The message so far.
    message: Option<Message>,
}

#[derive(Debug)]
struct Frame {
    header: Header,
    missing: usize,
    /// Payload of a control frame; data goes to the message at once.
    control: Vec<u8>,
}

#[derive(Debug)]
struct Message {
    is_text: bool,
    bytes: Vec<u8>,
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.head.is_empty() && self.frame.is_none() && self.message.is_none()
    }
}

/// The receiving side of one websocket.
#[derive(Debug)]
pub struct Decoder {
    message_bytes_max: u32,
    is_server: bool,
    partial: Option<Box<Partial>>,
    /// What an event borrows when it does not lie in the input.
    scratch: Vec<u8>,
}

impl Decoder {
    /// For a server: frames must be masked.
    pub fn new(message_bytes_max: u32) -> Self {
        Self { message_bytes_max, is_server: true, partial: None, scratch: Vec::new() }
    }

    /// For a client: frames must not be masked.
    pub fn client(message_bytes_max: u32) -> Self {
        Self { is_server: false, ..Self::new(message_bytes_max) }
    }

    /// Takes the next event from the input and moves `input` behind what was used. `None` when all of it has been.
    ///
    /// The input is unmasked in place. After an error the connection is over.
    pub fn next<'a>(&'a mut self, input: &mut &'a mut [u8]) -> Result<Option<Event<'a>>, Error> {
        self.scratch = Vec::new();
        loop {
            if input.is_empty() {
                return Ok(None);
            }
            if self.partial.is_none() {
                match self.whole_frame(input)? {
                    Some(range) => return self.borrowed(input, range).map(Some),
                    None => self.partial = Some(Box::default()),
                }
            }
            if let Some(kind) = self.piecewise(input)? {
                if self.partial.as_ref().is_some_and(|partial| partial.is_idle()) {
                    self.partial = None;
                }
                return event(kind, &self.scratch).map(Some);
            }
            if self.partial.as_ref().is_some_and(|partial| partial.is_idle()) {
                self.partial = None;
            }
        }
    }

    /// Whether a frame that needs nothing kept lies in the input.
    fn whole_frame(&self, input: &[u8]) -> Result<Option<(Header, usize)>, Error> {
        let Some((header, used)) = decode_header(input)? else { return Ok(None) };
        self.check(&header, None)?;
        let is_whole = header.is_final && header.opcode != Opcode::Continuation;
        let available = input.len().saturating_sub(used) as u64;
        Ok((is_whole && header.length <= available).then_some((header, used)))
    }

    fn borrowed<'a>(&self, input: &mut &'a mut [u8], (header, used): (Header, usize)) -> Result<Event<'a>, Error> {
        let whole = std::mem::take(input);
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let Some((frame, rest)) = whole.split_at_mut_checked(used.saturating_add(length)) else {
            return Err(Error::Protocol);
        };
        *input = rest;
        let payload = frame.get_mut(used..).unwrap_or_default();
        if let Some(key) = header.mask {
            mask::apply(payload, key, 0);
        }
        event(Kind::of(header.opcode), payload)
    }

    /// The rules that a head alone can break.
    fn check(&self, header: &Header, message: Option<&Message>) -> Result<(), Error> {
        if header.mask.is_some() != self.is_server {
            return Err(Error::Protocol);
        }
        if header.opcode.is_control() {
            return Ok(());
        }
        if (header.opcode == Opcode::Continuation) != message.is_some() {
            return Err(Error::Protocol);
        }
        let before = message.map_or(0, |message| message.bytes.len() as u64);
        if before.saturating_add(header.length) > u64::from(self.message_bytes_max) {
            return Err(Error::TooLarge);
        }
        Ok(())
    }

    /// Takes what the input has of the current frame. The kind of an event whose bytes are in `scratch`.
    fn piecewise(&mut self, input: &mut &mut [u8]) -> Result<Option<Kind>, Error> {
        let Some(partial) = self.partial.as_deref_mut() else { return Ok(None) };
        if partial.frame.is_none() {
            let Some(header) = take_head(&mut partial.head, input)? else { return Ok(None) };
            let message = partial.message.take();
            let checked = self.check(&header, message.as_ref());
            let Some(partial) = self.partial.as_deref_mut() else { return Ok(None) };
            partial.message = message;
            checked?;
            let missing = usize::try_from(header.length).map_err(|_| Error::TooLarge)?;
            match header.opcode {
                Opcode::Text | Opcode::Binary => {
                    let is_text = header.opcode == Opcode::Text;
                    // Exact for an unfragmented message; the limit was checked, and the peer has to send it all.
                    let capacity = if header.is_final { missing } else { 0 };
                    partial.message = Some(Message { is_text, bytes: Vec::with_capacity(capacity.min(64 * 1024)) });
                }
                _ => {}
            }
            partial.frame = Some(Frame { header, missing, control: Vec::new() });
        }
        let Some(partial) = self.partial.as_deref_mut() else { return Ok(None) };
        let Some(frame) = &mut partial.frame else { return Ok(None) };
        let taken = frame.missing.min(input.len());
        let (payload, rest) = std::mem::take(input).split_at_mut(taken);
        *input = rest;
        let length = usize::try_from(frame.header.length).unwrap_or(usize::MAX);
        if let Some(key) = frame.header.mask {
            mask::apply(payload, key, length.saturating_sub(frame.missing));
        }
        frame.missing = frame.missing.saturating_sub(taken);
        let is_control = frame.header.opcode.is_control();
        match (&mut partial.message, is_control) {
            (_, true) => frame.control.extend_from_slice(payload),
            (Some(message), false) => message.bytes.extend_from_slice(payload),
            (None, false) => {}
        }
        if frame.missing > 0 {
            return Ok(None);
        }
        let Some(frame) = partial.frame.take() else { return Ok(None) };
        if is_control {
            self.scratch = frame.control;
            return Ok(Some(Kind::of(frame.header.opcode)));
        }
        if !frame.header.is_final {
            return Ok(None);
        }
        Ok(partial.message.take().map(|message| {
            self.scratch = message.bytes;
            if message.is_text { Kind::Text } else { Kind::Binary }
        }))
    }
}

/// Collects the bytes of a head until it is complete.
fn take_head(head: &mut Vec<u8>, input: &mut &mut [u8]) -> Result<Option<Header>, Error> {
    while head.len() < HEADER_BYTES_MAX {
        if let Some((header, _)) = decode_header(head)? {
            *head = Vec::new();
            return Ok(Some(header));
        }
        let Some((byte, rest)) = std::mem::take(input).split_first_mut() else { return Ok(None) };
        head.push(*byte);
        *input = rest;
    }
    let header = decode_header(head)?.map(|(header, _)| header);
    *head = Vec::new();
    Ok(header)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    Ping,
    Pong,
    Close,
}

impl Kind {
    fn of(opcode: Opcode) -> Self {
        match opcode {
            Opcode::Text => Self::Text,
            Opcode::Binary | Opcode::Continuation => Self::Binary,
            Opcode::Ping => Self::Ping,
            Opcode::Pong => Self::Pong,
            Opcode::Close => Self::Close,
        }
    }
}

fn event(kind: Kind, payload: &[u8]) -> Result<Event<'_>, Error> {
    Ok(match kind {
        Kind::Text => Event::Text(std::str::from_utf8(payload).map_err(|_| Error::Encoding)?),
        Kind::Binary => Event::Binary(payload),
        Kind::Ping => Event::Ping(payload),
        Kind::Pong => Event::Pong,
        Kind::Close => match payload.split_first_chunk::<2>() {
            None if payload.is_empty() => Event::Close { code: None, reason: "" },
            None => return Err(Error::Protocol),
            Some((code, reason)) => {
                let code = u16::from_be_bytes(*code);
                if !close::is_valid(code) {
                    return Err(Error::Protocol);
                }
                let reason = std::str::from_utf8(reason).map_err(|_| Error::Encoding)?;
                Event::Close { code: Some(code), reason }
            }
        },
    })
}
