//! The byte side of one websocket: reading messages, writing frames, closing.
//!
//! Owns: the stream, the outbox, the state of the closing handshake. Never: what messages mean.
//! Invariants: an idle websocket owns no buffer; after a close frame has been queued nothing else is.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use monoio::net::TcpStream;
use protocol::websocket::frame::{self, Opcode, encode_close};
use protocol::websocket::message::{Decoder, Event, Input};

use super::fd::{self, Received};
use super::frame::Frame;
use super::outbox::{Outbox, Overflow};
use super::turn::Turn;

/// How long a closed websocket waits for the peer's close frame.
const CLOSE_TIMEOUT_MS: u64 = 30_000;

/// Full reads in a row before other sockets get their turn.
const READS_PER_TURN: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// Our close frame is queued or sent; only the peer's close frame is of interest.
    Closing,
    /// Nothing is written any more.
    Ended,
}

/// A websocket as the session layer holds it.
pub struct Channel {
    stream: TcpStream,
    outbox: RefCell<Outbox>,
    state: Cell<State>,
    /// A task waits until the peer reads again.
    draining: Cell<bool>,
    /// The reader is at work and flushes when it is done, so that whoever pushes meanwhile need not see to it.
    reading: Cell<bool>,
    /// A flush at the end of this turn has been asked for.
    marked: Cell<bool>,
    outbox_bytes_max: usize,
}

/// What the session layer wants after a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    Continue,
    /// The connection goes to another core: stop reading and do not end it.
    Leave,
}

/// Receives what a websocket reads.
pub trait Receiver {
    fn text(&self, text: &str) -> Flow;
    fn binary(&self, bytes: &[u8]);
    /// Called once, when nothing more will come; not after [`Flow::Leave`].
    fn ended(&self);
    /// The connection leaves: everything needed to go on elsewhere.
    fn leave(&self, descriptor: io::Result<OwnedFd>, decoder: Decoder, unread: Vec<u8>);
}

impl Channel {
    pub fn new(stream: TcpStream, outbox_bytes_max: usize) -> Rc<Self> {
        Rc::new(Self {
            stream,
            outbox: RefCell::new(Outbox::default()),
            state: Cell::new(State::Open),
            draining: Cell::new(false),
            reading: Cell::new(false),
            marked: Cell::new(false),
            outbox_bytes_max,
        })
    }

    /// Queues a frame. Returns whether the caller has to see to it that [`Self::flush`] follows in this turn.
    pub fn push(&self, frame: Frame) -> Result<bool, Overflow> {
        if self.state.get() != State::Open {
            return Ok(false);
        }
        self.outbox.borrow_mut().push(frame, self.outbox_bytes_max)?;
        Ok(!self.reading.get() && !self.draining.get() && !self.marked.replace(true))
    }

    pub fn is_open(&self) -> bool {
        self.state.get() == State::Open
    }

    /// Bytes that wait for the peer.
    pub fn outbox_bytes(&self) -> usize {
        self.outbox.borrow().bytes()
    }

    /// Writes what can be written now; what is left goes out when the peer reads again.
    pub fn flush(self: &Rc<Self>) {
        self.marked.set(false);
        if self.draining.get() || self.state.get() == State::Ended {
            return;
        }
        if self.write().is_err() {
            self.abort();
        } else if !self.outbox.borrow().is_empty() {
            self.draining.set(true);
            monoio::spawn(Rc::clone(self).drain());
        }
    }

    fn write(&self) -> io::Result<()> {
        self.outbox.borrow_mut().drain(|pieces| match pieces {
            [piece] => fd::send(&self.stream, piece),
            pieces => fd::send_vectored(&self.stream, pieces),
        })
    }

    async fn drain(self: Rc<Self>) {
        while !self.outbox.borrow().is_empty() && self.state.get() != State::Ended {
            if self.stream.writable(false).await.is_err() || self.write().is_err() {
                self.abort();
                break;
            }
        }
        self.draining.set(false);
    }

    /// Begins the closing handshake: an empty close frame, or one with a status code.
    pub fn close(self: &Rc<Self>, code: Option<u16>) {
        if self.state.get() != State::Open {
            return;
        }
        // The close frame is a few bytes; it may exceed the limit that ended the connection.
        let frame = Frame::from_bytes(&encode_close(code, ""));
        let _ = self.outbox.borrow_mut().push(frame, usize::MAX);
        self.state.set(State::Closing);
        self.flush();
        // The reader may be waiting without a deadline, and a peer that is gone says nothing more.
        let closing = Rc::downgrade(self);
        monoio::spawn(async move {
            monoio::time::sleep(Duration::from_millis(CLOSE_TIMEOUT_MS)).await;
            if let Some(channel) = closing.upgrade().filter(|channel| channel.state.get() == State::Closing) {
                channel.abort();
            }
        });
    }

    /// Ends the connection at once, without a word. The reader sees it and reports the end.
    pub fn abort(&self) {
        self.state.set(State::Ended);
        *self.outbox.borrow_mut() = Outbox::default();
        fd::shutdown(&self.stream, Shutdown::Both);
    }

    /// Reads until the end. `unread` is what arrived together with the handshake.
    pub async fn read_loop(
        self: Rc<Self>,
        mut decoder: Decoder,
        receiver: impl Receiver,
        turn: Rc<Turn>,
        unread: Vec<u8>,
    ) {
        let mut unread = unread;
        let verdict = loop {
            let step = if unread.is_empty() {
                self.read(&mut decoder, &receiver, &turn)
            } else {
                let mut bytes = std::mem::take(&mut unread);
                self.digest(&mut bytes, &mut decoder, &receiver)
            };
            match step {
                Step::Again => {}
                Step::Wait => {
                    if !self.outbox.borrow().is_empty() {
                        self.flush();
                    }
                    if self.stream.readable(false).await.is_err() {
                        break Verdict::Ended;
                    }
                }
                Step::Left(rest) => {
                    self.flush();
                    let descriptor = fd::duplicate(&self.stream);
                    self.state.set(State::Ended);
                    receiver.leave(descriptor, decoder, rest);
                    return;
                }
                Step::Over(verdict) => break verdict,
            }
        };
        receiver.ended();
        match verdict {
            Verdict::Violation(code) => self.close(Some(code)),
            Verdict::PeerClosed(frame) => {
                if self.state.get() == State::Open {
                    let _ = self.outbox.borrow_mut().push(frame, usize::MAX);
                }
                self.flush();
            }
            Verdict::Ended => {}
        }
        self.finish(&turn).await;
    }

    fn read(&self, decoder: &mut Decoder, receiver: &impl Receiver, turn: &Turn) -> Step {
        for _ in 0..READS_PER_TURN {
            let mut buffer = turn.read_buffer.borrow_mut();
            match fd::receive(&self.stream, &mut buffer) {
                Ok(Received::Bytes(n)) => {
                    let full = n == buffer.len();
                    match self.digest(&mut buffer[..n], decoder, receiver) {
                        Step::Again if full => {}
                        // A short read has emptied the socket: the next one would find nothing.
                        Step::Again => return Step::Wait,
                        step => return step,
                    }
                }
                Ok(Received::Empty) => return Step::Wait,
                Ok(Received::End) | Err(_) => return Step::Over(Verdict::Ended),
            }
        }
        Step::Wait
    }

    /// Works through received bytes.
    fn digest(&self, bytes: &mut [u8], decoder: &mut Decoder, receiver: &impl Receiver) -> Step {
        self.reading.set(true);
        let step = self.digest_messages(bytes, decoder, receiver);
        self.reading.set(false);
        step
    }

    fn digest_messages(&self, bytes: &mut [u8], decoder: &mut Decoder, receiver: &impl Receiver) -> Step {
        let mut input = Input::new(bytes);
        loop {
            let flow = match decoder.next(&mut input) {
                Ok(None) => return Step::Again,
                Err(error) => return Step::Over(Verdict::Violation(error.close_code())),
                Ok(Some(Event::Ping(payload))) => {
                    if self.state.get() == State::Open {
                        let pong = Frame::from_bytes(&frame::encode(Opcode::Pong, payload));
                        if self.outbox.borrow_mut().push(pong, self.outbox_bytes_max).is_err() {
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
                Ok(Some(Event::Text(text))) => receiver.text(text),
                Ok(Some(Event::Binary(bytes))) => {
                    receiver.binary(bytes);
                    Flow::Continue
                }
            };
            if flow == Flow::Leave {
                let used = input.consumed();
                return Step::Left(bytes[used..].to_vec());
            }
        }
    }

    /// After the last word: lets the outbox drain, then closes the stream.
    async fn finish(self: Rc<Self>, turn: &Turn) {
        if !self.outbox.borrow().is_empty() && self.state.get() != State::Ended {
            let deadline = turn.now() + CLOSE_TIMEOUT_MS;
            while self.draining.get() && turn.now() < deadline {
                turn.sleep(100).await;
            }
        }
        self.abort();
    }
}

enum Step {
    /// Everything was used; there may be more.
    Again,
    Wait,
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
