//! The receiving machine: bytes from the socket become messages and control frames.
//!
//! Owns: frames and messages of which only a part has arrived, the size limit, UTF-8.
//! Never: sends. The caller answers a ping with a pong, a close with its echo, an error with its close code.
//! Invariants: between frames of unfragmented messages it owns no memory but itself; it never holds more than the
//! limit of one message and one control frame (growing in steps may reserve twice that); any cut of the same bytes
//! gives the same events.
//! Implements `spec/socketio.md` §10.

use super::frame::{self, Error, HEADER_BYTES_MAX, Header, Opcode, Role};
use super::{close, mask};

/// Up to here memory for an incomplete frame is reserved at once. Above it grows with what arrives: announcing a large
/// frame must not be enough to make us reserve it.
const RESERVE_AT_ONCE_BYTES: usize = 16_384;

/// What arrived, borrowed from the read buffer or from the decoder until its next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A complete text message.
    Text(&'a str),
    /// A complete binary message.
    Binary(&'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// To be ignored.
    Pong,
    /// The peer closes. To be echoed with the same code and reason; nothing comes after it.
    Close {
        /// The status code, if the frame had one.
        code: Option<u16>,
        /// The reason, empty if there is none.
        reason: &'a str,
    },
}

/// The bytes of one read and how far they are consumed. They are unmasked in place.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
    at: usize,
}

impl<'b> Input<'b> {
    /// An input of which nothing is consumed.
    #[must_use]
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes are consumed. All of them once [`Decoder::next`] returned `None`.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.at
    }

    fn unread(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.unread().len());
        self.at = self.at.saturating_add(count).min(self.bytes.len());
    }

    fn consume_all(&mut self) {
        self.at = self.bytes.len();
    }
}

/// Decodes what one peer sends. Small while idle, since there is one for every connection.
///
/// For every read make an [`Input`] and call [`next`](Self::next) until it returns `None` (everything is consumed, an
/// event that was borrowed from the decoder is released) or an error. After a close or an error the rest is ignored.
#[derive(Debug)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    message_bytes_max: u32,
    role: Role,
    closed: bool,
}

const _: () = assert!(size_of::<Decoder>() <= 32);

/// What is kept while a header, a frame or a message is incomplete.
#[derive(Debug, Default)]
struct Partial {
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// The frame whose payload is incomplete.
    frame: Option<FrameInProgress>,
    /// The type of the fragmented message that has begun.
    message_opcode: Option<Opcode>,
    /// Payloads of the message so far.
    message: Vec<u8>,
    /// Payload of an incomplete control frame; apart, since it may come between the fragments of a message.
    control: Vec<u8>,
    /// What the last event was borrowed from.
    lent: Option<Lent>,
}

#[derive(Clone, Copy, Debug)]
struct FrameInProgress {
    fin: bool,
    opcode: Opcode,
    key: [u8; 4],
    received: u32,
    payload_len: u32,
}

#[derive(Clone, Copy, Debug)]
enum Lent {
    Message,
    Control,
}

/// Where the payload of a complete event is.
enum Located {
    /// In the input, unmasked: this many bytes up to where it is consumed.
    Input { len: usize, opcode: Opcode },
    /// In [`Partial::message`].
    Message { opcode: Opcode },
    /// In [`Partial::control`].
    Control { opcode: Opcode },
}

impl Decoder {
    /// A decoder for the server side. `message_bytes_max` bounds a message, all fragments together.
    #[must_use]
    pub fn new(message_bytes_max: u32) -> Self {
        Self { partial: None, message_bytes_max, role: Role::Server, closed: false }
    }

    /// A decoder for the client side, which expects frames without mask.
    #[must_use]
    pub fn client(message_bytes_max: u32) -> Self {
        Self { role: Role::Client, ..Self::new(message_bytes_max) }
    }

    /// Whether the decoder keeps anything between reads.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// The next event in `input`, or `None` when all of it is consumed.
    ///
    /// # Errors
    /// What the peer broke. The connection is closed with [`Error::close_code`]; further calls return `None`.
    pub fn next<'a>(&'a mut self, input: &'a mut Input<'_>) -> Result<Option<Event<'a>>, Error> {
        self.release_lent();
        if self.closed {
            input.consume_all();
            return Ok(None);
        }
        let located = match self.locate(input) {
            Ok(Some(located)) => located,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.closed = true;
                self.partial = None;
                return Err(error);
            }
        };
        let partial = self.partial.as_deref_mut();
        let (opcode, payload) = match located {
            Located::Input { len, opcode } => {
                (opcode, input.bytes.get(input.at.saturating_sub(len)..input.at).unwrap_or_default())
            }
            Located::Message { opcode } => (opcode, lend(partial, Lent::Message)),
            Located::Control { opcode } => (opcode, lend(partial, Lent::Control)),
        };
        let event = event(opcode, payload);
        self.closed = matches!(event, Err(_) | Ok(Event::Close { .. }));
        event.map(Some)
    }

    /// Frees what the previous event was borrowed from, and the whole partial state if nothing else is in it.
    fn release_lent(&mut self) {
        let Some(partial) = &mut self.partial else { return };
        match partial.lent.take() {
            Some(Lent::Message) => {
                partial.message = Vec::new();
                partial.message_opcode = None;
            }
            Some(Lent::Control) => partial.control = Vec::new(),
            None => {}
        }
        if self.closed || partial.is_empty() {
            self.partial = None;
        }
    }

    /// Consumes bytes until an event is complete.
    fn locate(&mut self, input: &mut Input<'_>) -> Result<Option<Located>, Error> {
        loop {
            let frame = match self.partial.as_ref().and_then(|partial| partial.frame) {
                Some(frame) => frame,
                None => {
                    let Some(header) = self.next_header(input)? else { return Ok(None) };
                    let frame = self.admit(&header)?;
                    // A frame that is here as a whole and needs no joining stays where it is.
                    let alone = frame.opcode.is_control() || (frame.fin && frame.opcode != Opcode::Continuation);
                    let len = usize::try_from(frame.payload_len).unwrap_or(usize::MAX);
                    if alone && let Some(payload) = input.bytes.get_mut(input.at..input.at.saturating_add(len)) {
                        mask::apply(payload, frame.key);
                        input.consume(len);
                        return Ok(Some(Located::Input { len, opcode: frame.opcode }));
                    }
                    frame
                }
            };
            let partial = self.partial.get_or_insert_default();
            if !partial.collect(frame, input) {
                return Ok(None);
            }
            if frame.opcode.is_control() {
                return Ok(Some(Located::Control { opcode: frame.opcode }));
            }
            let opcode = *partial.message_opcode.get_or_insert(frame.opcode);
            if frame.fin {
                return Ok(Some(Located::Message { opcode }));
            }
        }
    }

    /// The next header, across reads if need be.
    fn next_header(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, Error> {
        let in_message = self.partial.as_ref().is_some_and(|partial| partial.message_opcode.is_some());
        if self.partial.as_ref().is_none_or(|partial| partial.header_len == 0) {
            if let Some(header) = frame::decode_header(input.unread(), self.role, in_message)? {
                input.consume(header.header_len);
                return Ok(Some(header));
            }
            if input.unread().is_empty() {
                return Ok(None);
            }
        }
        // A header that is cut by the end of a read: rare, so byte by byte will do.
        let partial = self.partial.get_or_insert_default();
        while let Some(&byte) = input.unread().first() {
            input.consume(1);
            if let Some(header) = partial.push_header_byte(byte, self.role, in_message)? {
                partial.header_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Applies the size limit to a frame before any of its payload is looked at.
    fn admit(&self, header: &Header) -> Result<FrameInProgress, Error> {
        let collected = match &self.partial {
            Some(partial) if !header.opcode.is_control() => u64::try_from(partial.message.len()).unwrap_or(u64::MAX),
            _ => 0,
        };
        // Control frames are bounded by their form, so a small limit for messages does not concern them.
        let limit = if header.opcode.is_control() { u32::MAX } else { self.message_bytes_max };
        if collected.saturating_add(header.payload_len) > u64::from(limit) {
            return Err(Error::MessageTooBig);
        }
        let payload_len = u32::try_from(header.payload_len).map_err(|_| Error::MessageTooBig)?;
        Ok(FrameInProgress { fin: header.fin, opcode: header.opcode, key: header.key, received: 0, payload_len })
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.header_len == 0 && self.frame.is_none() && self.message_opcode.is_none()
    }

    fn push_header_byte(&mut self, byte: u8, role: Role, in_message: bool) -> Result<Option<Header>, Error> {
        if let Some(slot) = self.header.get_mut(usize::from(self.header_len)) {
            *slot = byte;
        }
        self.header_len = self.header_len.saturating_add(1);
        let received = self.header.get(..usize::from(self.header_len)).unwrap_or(&self.header);
        frame::decode_header(received, role, in_message)
    }

    /// Takes what the input has of this frame's payload; whether it is complete now.
    fn collect(&mut self, mut frame: FrameInProgress, input: &mut Input<'_>) -> bool {
        let buffer = if frame.opcode.is_control() { &mut self.control } else { &mut self.message };
        let missing = usize::try_from(frame.payload_len.saturating_sub(frame.received)).unwrap_or(usize::MAX);
        let unread = input.unread();
        let piece = unread.get(..missing).unwrap_or(unread);
        let start = buffer.len();
        if buffer.capacity().saturating_sub(start) < piece.len() {
            if frame.fin && frame.opcode != Opcode::Continuation {
                // In the end exactly the frame; until then at most as much again as has arrived.
                let step = start.max(RESERVE_AT_ONCE_BYTES).min(missing);
                buffer.reserve_exact(step.max(piece.len()));
            } else {
                // More fragments may follow: growing by powers keeps many small ones cheap.
                buffer.reserve(piece.len());
            }
        }
        buffer.extend_from_slice(piece);
        let count = piece.len();
        mask::apply_at(buffer.get_mut(start..).unwrap_or_default(), frame.key, frame.received);
        input.consume(count);
        frame.received = frame.received.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        let complete = frame.received >= frame.payload_len;
        self.frame = (!complete).then_some(frame);
        complete
    }
}

fn lend(partial: Option<&mut Partial>, lent: Lent) -> &[u8] {
    let Some(partial) = partial else { return &[] };
    partial.lent = Some(lent);
    match lent {
        Lent::Message => &partial.message,
        Lent::Control => &partial.control,
    }
}

fn event(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, Error> {
    match opcode {
        Opcode::Text => std::str::from_utf8(payload).map(Event::Text).map_err(|_| Error::TextNotUtf8),
        // Continuations are delivered under the opcode of their message.
        Opcode::Binary | Opcode::Continuation => Ok(Event::Binary(payload)),
        Opcode::Ping => Ok(Event::Ping(payload)),
        Opcode::Pong => Ok(Event::Pong),
        Opcode::Close => close_event(payload),
    }
}

fn close_event(payload: &[u8]) -> Result<Event<'_>, Error> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(Event::Close { code: None, reason: "" }) } else { Err(Error::ClosePayload) };
    };
    let code = u16::from_be_bytes(*code);
    if !close::is_valid(code) {
        return Err(Error::CloseCode);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Error::CloseReasonNotUtf8)?;
    Ok(Event::Close { code: Some(code), reason })
}
