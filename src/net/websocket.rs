//! The byte side of one websocket: reading messages, writing frames, closing.
//!
//! Owns: the stream, the outbox, the state of the closing handshake. Never: what messages mean.
//! Invariants: an idle websocket owns no buffer; after a close frame has been queued nothing else is.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use monoio::net::TcpStream;
use protocol::websocket::frame::{self, Opcode, encode_close};
use protocol::websocket::message::{Decoder, Event, Input};

use super::fd::{self, Received};
use super::frame::Frame;
use super::outbox::{Outbox, Overflow};
use super::turn::Turn;
use crate::runtime::race::race;

/// How long a closed websocket waits for the peer's close frame.
const CLOSE_TIMEOUT_MS: u64 = if cfg!(test) { 50 } else { 30_000 };

/// After a violation, how long and how much of what the peer still sends is read and forgotten: closing with unread
/// input would reset the connection and take the close frame with it.
const LINGER_MS: u64 = 1_000;
const LINGER_BYTES_MAX: usize = 1 << 20;

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
    turn: Rc<Turn>,
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
    /// The peer broke the protocol and is told this close code; the end follows.
    fn violated(&self, code: u16);
    /// Called once, when nothing more will come; not after [`Flow::Leave`].
    fn ended(&self);
    /// The connection leaves: everything needed to go on elsewhere.
    fn leave(&self, descriptor: io::Result<OwnedFd>, decoder: Decoder, unread: Vec<u8>);
}

impl Channel {
    pub fn new(stream: TcpStream, turn: Rc<Turn>, outbox_bytes_max: usize) -> Rc<Self> {
        Rc::new(Self {
            stream,
            turn,
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
        self.enqueue(frame)?;
        Ok(!self.reading.get() && !self.draining.get() && !self.marked.replace(true))
    }

    fn enqueue(&self, frame: Frame) -> Result<(), Overflow> {
        let length = frame.bytes().len();
        let before = self.outbox_bytes();
        if before > 0 && before + length > self.outbox_bytes_max && !self.draining.get() {
            // A large turn is no slow peer: what waits was not offered to the kernel yet.
            self.write().map_err(|_| Overflow)?;
        }
        self.outbox.borrow_mut().push(frame, self.outbox_bytes_max)?;
        self.count(length, 0);
        Ok(())
    }

    /// The last frame: a few bytes, which may exceed the limit that ended the connection.
    fn enqueue_last(&self, frame: Frame) {
        self.count(frame.bytes().len(), 0);
        let _ = self.outbox.borrow_mut().push(frame, usize::MAX);
    }

    /// Keeps the total of the core up to date.
    fn count(&self, more: usize, less: usize) {
        self.turn.outbox_bytes.set((self.turn.outbox_bytes.get() + more).saturating_sub(less));
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
        let before = self.outbox_bytes();
        let written = self.outbox.borrow_mut().drain(|pieces| match pieces {
            [piece] => fd::send(&self.stream, piece),
            pieces => fd::send_vectored(&self.stream, pieces),
        });
        self.count(0, before - self.outbox_bytes());
        written
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
        self.enqueue_last(Frame::from_bytes(&encode_close(code, "")));
        self.state.set(State::Closing);
        self.flush();
        // The reader may be waiting already, for a peer that says nothing any more.
        let (this, timeout) = (Rc::downgrade(self), self.turn.sleep(CLOSE_TIMEOUT_MS));
        monoio::spawn(async move {
            timeout.await;
            if let Some(this) = this.upgrade() {
                this.abort();
            }
        });
    }

    /// Ends the connection at once, without a word. The reader sees it and reports the end.
    pub fn abort(&self) {
        self.state.set(State::Ended);
        self.count(0, self.outbox_bytes());
        *self.outbox.borrow_mut() = Outbox::default();
        fd::shutdown(&self.stream, Shutdown::Both);
    }

    /// Reads until the end. `unread` is what arrived together with the handshake.
    pub async fn read_loop(self: Rc<Self>, mut decoder: Decoder, receiver: impl Receiver, mut unread: Vec<u8>) {
        let _open = self.turn.connection();
        let verdict = loop {
            let step = if unread.is_empty() {
                self.read(&mut decoder, &receiver)
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
        if let Verdict::Violation(code) = verdict {
            receiver.violated(code);
        }
        receiver.ended();
        let mut linger = false;
        match verdict {
            Verdict::Violation(code) => {
                self.close(Some(code));
                linger = true;
            }
            Verdict::PeerClosed(frame) => {
                if self.state.get() == State::Open {
                    self.enqueue_last(frame);
                    self.state.set(State::Closing);
                }
                self.flush();
            }
            Verdict::Ended => {}
        }
        self.finish(linger).await;
    }

    fn read(&self, decoder: &mut Decoder, receiver: &impl Receiver) -> Step {
        for _ in 0..READS_PER_TURN {
            let mut buffer = self.turn.read_buffer.borrow_mut();
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
    async fn finish(self: Rc<Self>, linger: bool) {
        let deadline = self.turn.now() + CLOSE_TIMEOUT_MS;
        while self.draining.get() && self.turn.now() < deadline {
            self.turn.sleep(100).await;
        }
        if linger && self.state.get() != State::Ended {
            fd::shutdown(&self.stream, Shutdown::Write);
            race(self.discard(), self.turn.sleep(LINGER_MS)).await;
        }
        self.abort();
    }

    async fn discard(&self) {
        let mut discarded = 0;
        while discarded < LINGER_BYTES_MAX && self.stream.readable(false).await.is_ok() {
            match fd::receive(&self.stream, &mut self.turn.read_buffer.borrow_mut()) {
                Ok(Received::Bytes(n)) => discarded += n,
                Ok(Received::Empty) => {}
                Ok(Received::End) | Err(_) => return,
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.count(0, self.outbox_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A receiver that counts ends.
    struct Ends(Rc<Cell<u32>>);

    impl Receiver for Ends {
        fn text(&self, _: &str) -> Flow {
            Flow::Continue
        }
        fn binary(&self, _: &[u8]) {}
        fn violated(&self, _: u16) {}
        fn ended(&self) {
            self.0.set(self.0.get() + 1);
        }
        fn leave(&self, _: io::Result<OwnedFd>, _: Decoder, _: Vec<u8>) {}
    }

    /// Runs `test` with a channel and the peer's end of it.
    fn with_channel<F: Future<Output = ()>>(
        bytes_max: usize,
        test: impl FnOnce(Rc<Channel>, std::net::TcpStream) -> F,
    ) {
        let mut runtime =
            monoio::RuntimeBuilder::<monoio::LegacyDriver>::new().enable_timer().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let peer = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
            let (stream, _) = listener.accept().expect("accepted");
            let turn = Turn::new();
            let timers = Rc::clone(&turn);
            monoio::spawn(async move { timers.timer_loop(|_, _| {}, || {}).await });
            let stream = TcpStream::from_std(stream).expect("registered");
            test(Channel::new(stream, turn, bytes_max), peer).await;
        });
    }

    #[test]
    fn a_peer_that_never_answers_our_close_frame_is_given_up() {
        with_channel(1 << 20, |channel, _peer| async move {
            let (ends, turn) = (Rc::new(Cell::new(0)), Rc::clone(&channel.turn));
            let reader = Rc::clone(&channel).read_loop(Decoder::new(1000), Ends(Rc::clone(&ends)), Vec::new());
            let closing = async {
                // The reader waits already when the session layer closes.
                turn.sleep(5).await;
                assert_eq!(turn.connections.get(), 1);
                channel.close(None);
                std::future::pending::<()>().await;
            };
            race(reader, closing).await;
            assert_eq!((ends.get(), turn.connections.get()), (1, 0));
        });
    }

    #[test]
    fn a_large_turn_is_no_slow_peer_and_the_total_is_kept() {
        with_channel(1_000, |channel, mut peer| async move {
            let frame = Frame::text(|out| out.resize(out.len() + 98, b'x'));
            for _ in 0..100 {
                assert!(channel.push(frame.clone()).is_ok());
            }
            assert_eq!(channel.turn.outbox_bytes.get(), channel.outbox_bytes());
            channel.flush();
            assert_eq!(channel.turn.outbox_bytes.get(), 0);
            let mut got = vec![0; 10_000];
            io::Read::read_exact(&mut peer, &mut got).expect("everything was sent");

            // A peer that really does not read is one.
            let large = Frame::text(|out| out.resize(out.len() + 60_000, b'x'));
            assert!((0..1_000).any(|_| channel.push(large.clone()).is_err()));
            assert!(channel.turn.outbox_bytes.get() > 0);
            let turn = Rc::clone(&channel.turn);
            drop(channel);
            assert_eq!(turn.outbox_bytes.get(), 0);
        });
    }
}
