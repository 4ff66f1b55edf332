//! The byte side of one websocket: reading messages, writing frames, closing.
//!
//! A machine without a task: whoever watches its descriptor (`net::reactor`, or a test) tells it what the descriptor is
//! ready for, and it does what can be done now. It works on any stream socket.
//! Owns: the descriptor, the outbox, the state of the closing handshake. Never: what messages mean, or waiting.
//! Invariants: an idle websocket owns no buffer; after a close frame has been queued nothing else is; the receiver hears
//! of the end once, or of the departure, and of nothing afterwards.

use std::cell::{Cell, Ref, RefCell};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use protocol::websocket::frame::{self, Opcode, encode_close};
use protocol::websocket::message::{Decoder, Event, Input};

use super::fd::{self, Received};
use super::frame::Frame;
use super::outbox::{Outbox, Overflow};
use super::turn::{Token, Turn};
use crate::runtime::poller::Readiness;
use crate::runtime::slab::Key;

/// How long a closed websocket waits for the peer's close frame, and for the peer to take what was written before it.
pub const CLOSE_TIMEOUT_MS: u64 = 30_000;

/// After a violation, how long and how much of what the peer still sends is read and forgotten: closing with unread
/// input would reset the connection and take the close frame with it.
pub const LINGER_MS: u64 = 1_000;
const LINGER_BYTES_MAX: u32 = 1 << 20;

/// Full reads in a row before other sockets get their turn. A pair of sockets in a test holds less than four.
pub const READS_PER_TURN: usize = if cfg!(test) { 2 } else { 4 };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// Our close frame is queued or sent; only the peer's close frame is of interest.
    Closing,
    /// The receiver has heard of the end. What is queued still goes out; then the stream is closed, or lingers.
    Finishing {
        linger: bool,
    },
    /// Everything is written; so many bytes have been read and forgotten.
    Lingering(u32),
    /// Nothing is read or written any more.
    Ended,
}

/// What the websockets of a core share.
pub struct Shared {
    pub turn: Rc<Turn>,
    /// Bytes that may wait for one peer.
    pub outbox_bytes_max: usize,
    /// Those with output that is written together ([`Channel::flush_with_others`]).
    pub gathered: RefCell<Vec<Rc<Channel>>>,
}

struct Stream {
    /// None once the connection has left for another core.
    descriptor: Option<OwnedFd>,
    outbox: Outbox,
}

/// A websocket as the session layer holds it.
pub struct Channel {
    shared: Rc<Shared>,
    stream: RefCell<Stream>,
    decoder: RefCell<Decoder>,
    /// The key of this channel in the reactor.
    key: Key,
    /// The client behind it; none for a websocket that nobody wanted.
    owner: Cell<Option<Key>>,
    state: Cell<State>,
    flags: Cell<Flags>,
}

const _: () = assert!(size_of::<Channel>() <= 104);

#[derive(Clone, Copy, Default)]
struct Flags {
    /// The last write was cut short: the peer has to read before the next one.
    draining: bool,
    /// The reader is at work and flushes when it is done, so that whoever pushes meanwhile need not see to it.
    reading: bool,
    /// A flush at the end of this turn has been asked for.
    marked: bool,
    /// It is among those that are written next.
    gathered: bool,
    /// The receiver has heard of the end.
    reported: bool,
}

/// Bytes for one socket that are written together with those for others.
pub struct Offer<'a>(Ref<'a, Stream>);

impl Offer<'_> {
    pub fn call(&self) -> Option<(BorrowedFd<'_>, &[u8])> {
        Some((self.0.descriptor.as_ref()?.as_fd(), self.0.outbox.piece()?))
    }
}

/// What was read together with what was there for others, and where it is.
pub type Early<'a> = (&'a mut [u8], io::Result<Received>);

/// What the session layer wants after a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    Continue,
    /// The connection goes to another core: stop reading and do not end it.
    Leave,
}

/// Everything needed to go on elsewhere.
pub struct Departure {
    pub descriptor: OwnedFd,
    pub decoder: Decoder,
    /// Received and not used.
    pub unread: Vec<u8>,
}

/// Receives what websockets read.
pub trait Receiver {
    fn text(&self, channel: &Rc<Channel>, text: &str) -> Flow;
    fn binary(&self, channel: &Rc<Channel>, bytes: &[u8]);
    /// The peer broke the protocol and is told this close code; the end follows.
    fn violated(&self, channel: &Rc<Channel>, code: u16);
    /// Called once, when nothing more will come; not after [`Flow::Leave`].
    fn ended(&self, channel: &Rc<Channel>);
    /// The connection leaves, and nobody watches it here any more.
    fn left(&self, channel: &Rc<Channel>, departure: Departure);
}

/// What whoever watches the descriptor has to do next.
pub enum Progress {
    /// Tell of the next change.
    Wait,
    /// There may be more input, but others come first: tell again.
    Again,
    /// Stop watching, then give this to the receiver.
    Left(Departure),
    /// Forget the channel.
    Over,
}

impl Channel {
    pub fn new(shared: Rc<Shared>, descriptor: OwnedFd, decoder: Decoder, key: Key) -> Rc<Self> {
        shared.turn.connections.set(shared.turn.connections.get() + 1);
        Rc::new(Self {
            shared,
            stream: RefCell::new(Stream { descriptor: Some(descriptor), outbox: Outbox::default() }),
            decoder: RefCell::new(decoder),
            key,
            owner: Cell::new(None),
            state: Cell::new(State::Open),
            flags: Cell::default(),
        })
    }

    pub fn key(&self) -> Key {
        self.key
    }

    pub fn owner(&self) -> Option<Key> {
        self.owner.get()
    }

    pub fn set_owner(&self, owner: Key) {
        self.owner.set(Some(owner));
    }

    fn flag(&self, set: impl FnOnce(&mut Flags)) {
        let mut flags = self.flags.get();
        set(&mut flags);
        self.flags.set(flags);
    }

    /// Does something with the descriptor, if it is still here.
    pub fn with_descriptor<R>(&self, act: impl FnOnce(BorrowedFd<'_>) -> R) -> Option<R> {
        self.stream.borrow().descriptor.as_ref().map(|descriptor| act(descriptor.as_fd()))
    }

    // ---- output -------------------------------------------------------------------------------------------------

    /// Queues a frame. Returns whether the caller has to see to it that [`Self::flush`] follows in this turn.
    pub fn push(&self, frame: Frame) -> Result<bool, Overflow> {
        if self.state.get() != State::Open {
            return Ok(false);
        }
        self.enqueue(frame)?;
        let Flags { draining, reading, marked, gathered, .. } = self.flags.get();
        let needs_mark = !draining && !reading && !marked && !gathered;
        self.flag(|flags| flags.marked |= needs_mark);
        Ok(needs_mark)
    }

    fn enqueue(&self, frame: Frame) -> Result<(), Overflow> {
        let length = frame.bytes().len();
        let (before, bytes_max) = (self.outbox_bytes(), self.shared.outbox_bytes_max);
        if before > 0 && before + length > bytes_max && !self.flags.get().draining {
            // A large turn is no slow peer: what waits was not offered to the kernel yet.
            self.write().map_err(|_| Overflow)?;
        }
        self.stream.borrow_mut().outbox.push(frame, bytes_max)?;
        self.count(length, 0);
        Ok(())
    }

    /// The last frame: a few bytes, which may exceed the limit that ended the connection.
    fn enqueue_last(&self, frame: Frame) {
        self.count(frame.bytes().len(), 0);
        let _ = self.stream.borrow_mut().outbox.push(frame, usize::MAX);
    }

    /// Keeps the total of the core up to date.
    fn count(&self, more: usize, less: usize) {
        let total = &self.shared.turn.outbox_bytes;
        total.set((total.get() + more).saturating_sub(less));
    }

    pub fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    /// Bytes that wait for the peer.
    pub fn outbox_bytes(&self) -> usize {
        self.stream.borrow().outbox.bytes()
    }

    /// Writes what can be written now; what is left goes out when the peer reads again.
    pub fn flush(&self) {
        self.flag(|flags| flags.marked = false);
        if self.may_write() {
            let written = self.write();
            self.after_write(written);
        }
    }

    /// The same, a little later: when the reactor writes for all that have asked for it.
    pub fn flush_with_others(self: &Rc<Self>) {
        self.flag(|flags| flags.marked = false);
        if self.may_write() && !self.flags.get().gathered {
            self.flag(|flags| flags.gathered = true);
            self.shared.gathered.borrow_mut().push(Rc::clone(self));
        }
    }

    fn may_write(&self) -> bool {
        !self.flags.get().draining && self.state.get() != State::Ended && !self.stream.borrow().outbox.is_empty()
    }

    /// The time has come to write for all that have asked for it, and this is one of them.
    pub fn ungather(&self) {
        self.flag(|flags| flags.gathered = false);
    }

    /// The bytes that wait, if they are in one piece and may go now. What is not offered is for [`Self::flush`].
    pub fn offer(&self) -> Option<Offer<'_>> {
        if !self.may_write() {
            return None;
        }
        let offer = Offer(self.stream.borrow());
        offer.call().is_some().then_some(offer)
    }

    /// What became of the bytes that were offered.
    pub fn sent(&self, result: io::Result<usize>) {
        let result = result.map(|taken| {
            let outbox = &mut self.stream.borrow_mut().outbox;
            let before = outbox.bytes();
            outbox.piece_taken(taken);
            self.count(0, before - outbox.bytes());
        });
        self.after_write(result);
    }

    fn after_write(&self, written: io::Result<()>) {
        match written {
            Ok(()) => {
                let draining = !self.stream.borrow().outbox.is_empty();
                self.flag(|flags| flags.draining = draining);
            }
            Err(_) => self.abort(),
        }
    }

    fn write(&self) -> io::Result<()> {
        let stream = &mut *self.stream.borrow_mut();
        let Some(descriptor) = &stream.descriptor else { return Ok(()) };
        let before = stream.outbox.bytes();
        let written = stream.outbox.drain(|pieces| match pieces {
            [piece] => fd::send(descriptor.as_fd(), piece),
            pieces => fd::send_vectored(descriptor.as_fd(), pieces),
        });
        self.count(0, before - stream.outbox.bytes());
        written
    }

    /// Begins the closing handshake: an empty close frame, or one with a status code.
    pub fn close(&self, code: Option<u16>) {
        if self.state.get() != State::Open {
            return;
        }
        self.enqueue_last(Frame::from_bytes(&encode_close(code, "")));
        self.state.set(State::Closing);
        self.flush();
        // The peer may say nothing any more.
        self.arm(CLOSE_TIMEOUT_MS);
    }

    /// Ends the connection at once, without a word. Whoever watches the descriptor sees its end and tells
    /// [`Self::on_ready`], which reports it.
    pub fn abort(&self) {
        self.state.set(State::Ended);
        self.count(0, self.outbox_bytes());
        self.stream.borrow_mut().outbox = Outbox::default();
        self.with_descriptor(|descriptor| fd::shutdown(descriptor, Shutdown::Both));
    }

    fn arm(&self, ms: u64) {
        let turn = &self.shared.turn;
        turn.arm(turn.now() + ms, Token::Channel(self.key));
    }

    // ---- input --------------------------------------------------------------------------------------------------

    /// The descriptor to read from together with others, if reading it is what readiness asks for.
    pub fn readable(&self, readiness: Readiness) -> Option<Ref<'_, OwnedFd>> {
        let reads = readiness.readable && matches!(self.state.get(), State::Open | State::Closing);
        let readable = Ref::filter_map(self.stream.borrow(), |stream| stream.descriptor.as_ref().filter(|_| reads));
        readable.ok()
    }

    /// The descriptor has become ready. `early` is what was read from it for that reason.
    pub fn on_ready(
        self: &Rc<Self>,
        readiness: Readiness,
        early: Option<Early<'_>>,
        receiver: &impl Receiver,
    ) -> Progress {
        if readiness.writable && self.flags.get().draining {
            self.flag(|flags| flags.draining = false);
            self.flush();
        }
        match self.state.get() {
            State::Open | State::Closing if readiness.readable => {
                let step = self.read(readiness.ended, early, receiver);
                self.conclude(step, receiver)
            }
            State::Open | State::Closing => Progress::Wait,
            State::Finishing { .. } => self.finish(),
            State::Lingering(_) => self.discard(),
            State::Ended => self.end(Verdict::Ended, receiver),
        }
    }

    /// Takes bytes that somebody else has read, as from the descriptor and before anything from there.
    pub fn on_bytes(self: &Rc<Self>, bytes: &mut [u8], receiver: &impl Receiver) -> Progress {
        let step = self.digest(bytes, receiver);
        self.conclude(step, receiver)
    }

    fn conclude(self: &Rc<Self>, step: Step, receiver: &impl Receiver) -> Progress {
        let progress = match step {
            Step::Left(unread) => return self.depart(unread),
            Step::Over(verdict) => return self.end(verdict, receiver),
            Step::Done => Progress::Wait,
            Step::More => Progress::Again,
        };
        self.flush_with_others();
        progress
    }

    /// A timer of this channel has fired, for which there is only one reason: the peer has had its time. One that was set
    /// for an earlier stage of the end may cut a later one short, never an open channel.
    pub fn on_timeout(&self) -> Progress {
        if self.state.get() != State::Open {
            self.abort();
        }
        if self.flags.get().reported { Progress::Over } else { Progress::Wait }
    }

    fn read(self: &Rc<Self>, ended: bool, early: Option<Early<'_>>, receiver: &impl Receiver) -> Step {
        if let Some((buffer, received)) = early {
            match self.take(received, buffer, ended, receiver) {
                Step::More => {}
                step => return step,
            }
        }
        let mut buffer = self.shared.turn.read_buffer.borrow_mut();
        for _ in 0..READS_PER_TURN {
            let received = self.with_descriptor(|descriptor| fd::receive(descriptor, &mut buffer));
            match self.take(received.unwrap_or(Ok(Received::End)), &mut buffer, ended, receiver) {
                Step::More => {}
                step => return step,
            }
        }
        Step::More
    }

    /// Works through the result of one read. `ended`: the end is near, so a read that is short has not emptied the socket.
    fn take(
        self: &Rc<Self>,
        received: io::Result<Received>,
        buffer: &mut [u8],
        ended: bool,
        receiver: &impl Receiver,
    ) -> Step {
        match received {
            Ok(Received::Bytes(n)) => match self.digest(&mut buffer[..n], receiver) {
                Step::Done if n == buffer.len() || ended => Step::More,
                step => step,
            },
            Ok(Received::Empty) => Step::Done,
            Ok(Received::End) | Err(_) => Step::Over(Verdict::Ended),
        }
    }

    /// Works through received bytes.
    fn digest(self: &Rc<Self>, bytes: &mut [u8], receiver: &impl Receiver) -> Step {
        self.flag(|flags| flags.reading = true);
        let step = self.digest_messages(bytes, receiver);
        self.flag(|flags| flags.reading = false);
        step
    }

    fn digest_messages(self: &Rc<Self>, bytes: &mut [u8], receiver: &impl Receiver) -> Step {
        let mut decoder = self.decoder.borrow_mut();
        let mut input = Input::new(bytes);
        loop {
            let flow = match decoder.next(&mut input) {
                Ok(None) => return Step::Done,
                Err(error) => return Step::Over(Verdict::Violation(error.close_code())),
                Ok(Some(Event::Ping(payload))) => {
                    if self.state.get() == State::Open {
                        let pong = Frame::from_bytes(&frame::encode(Opcode::Pong, payload));
                        if self.enqueue(pong).is_err() {
                            return Step::Over(Verdict::Ended);
                        }
                    }
                    Flow::Continue
                }
                Ok(Some(Event::Pong)) => Flow::Continue,
                Ok(Some(Event::Close { code, reason })) => {
                    return Step::Over(Verdict::PeerClosed(Frame::from_bytes(&encode_close(code, reason))));
                }
                // What arrives after our close frame is read and forgotten.
                Ok(Some(_)) if self.state.get() != State::Open => Flow::Continue,
                Ok(Some(Event::Text(text))) => receiver.text(self, text),
                Ok(Some(Event::Binary(bytes))) => {
                    receiver.binary(self, bytes);
                    Flow::Continue
                }
            };
            if flow == Flow::Leave {
                let used = input.consumed();
                return Step::Left(bytes[used..].to_vec());
            }
        }
    }

    // ---- the end ------------------------------------------------------------------------------------------------

    fn depart(&self, unread: Vec<u8>) -> Progress {
        self.flush();
        self.state.set(State::Ended);
        let decoder = std::mem::replace(&mut *self.decoder.borrow_mut(), Decoder::new(0));
        match self.stream.borrow_mut().descriptor.take() {
            Some(descriptor) => Progress::Left(Departure { descriptor, decoder, unread }),
            None => Progress::Over,
        }
    }

    /// Reports the end and sends the last word.
    fn end(self: &Rc<Self>, verdict: Verdict, receiver: &impl Receiver) -> Progress {
        if let Verdict::Violation(code) = verdict {
            receiver.violated(self, code);
        }
        if !self.flags.get().reported {
            self.flag(|flags| flags.reported = true);
            receiver.ended(self);
        }
        let linger = matches!(verdict, Verdict::Violation(_));
        let last_word = match verdict {
            Verdict::Violation(code) => Some(Frame::from_bytes(&encode_close(Some(code), ""))),
            Verdict::PeerClosed(echo) => Some(echo),
            Verdict::Ended => {
                self.abort();
                None
            }
        };
        if let Some(frame) = last_word
            && self.state.get() != State::Ended
        {
            if self.state.get() == State::Open {
                self.enqueue_last(frame);
            }
            self.state.set(State::Finishing { linger });
            self.flush();
            if !self.stream.borrow().outbox.is_empty() {
                self.arm(CLOSE_TIMEOUT_MS);
            }
        }
        self.finish()
    }

    /// After the last word: lets the outbox drain, then closes the stream.
    fn finish(&self) -> Progress {
        match self.state.get() {
            State::Finishing { .. } if !self.stream.borrow().outbox.is_empty() => Progress::Wait,
            State::Finishing { linger: true } => {
                self.with_descriptor(|descriptor| fd::shutdown(descriptor, Shutdown::Write));
                self.state.set(State::Lingering(0));
                self.arm(LINGER_MS);
                self.discard()
            }
            _ => {
                self.abort();
                Progress::Over
            }
        }
    }

    fn discard(&self) -> Progress {
        let mut buffer = self.shared.turn.read_buffer.borrow_mut();
        while let State::Lingering(discarded) = self.state.get() {
            match self.with_descriptor(|descriptor| fd::receive(descriptor, &mut buffer)) {
                Some(Ok(Received::Bytes(n))) if discarded < LINGER_BYTES_MAX => {
                    self.state.set(State::Lingering(discarded.saturating_add(u32::try_from(n).unwrap_or(u32::MAX))));
                }
                Some(Ok(Received::Empty)) => return Progress::Wait,
                _ => self.abort(),
            }
        }
        Progress::Over
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.count(0, self.outbox_bytes());
        let connections = &self.shared.turn.connections;
        connections.set(connections.get() - 1);
    }
}

enum Step {
    /// Everything that is there was used.
    Done,
    /// There may be more to read.
    More,
    Left(Vec<u8>),
    Over(Verdict),
}

enum Verdict {
    /// End of stream or time-out.
    Ended,
    /// The peer broke the protocol; answered with this close code.
    Violation(u16),
    /// The peer's close frame, to be echoed.
    PeerClosed(Frame),
}
