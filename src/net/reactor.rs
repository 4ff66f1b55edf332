//! The websockets of one core: a table of machines, and the poller that says which of them have something to do.
//!
//! Owns: the channels, from the end of their handshake until their descriptor is closed or leaves, also those whose
//! session has ended already. Never: what messages mean ([`Receiver`]), or waiting (`boot` waits for the poller).
//! Invariant: a channel is watched exactly while it is in the table.

use std::array::from_fn;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use protocol::websocket::message::Decoder;

use super::bulk::{Bulk, CALLS_MAX};
use super::turn::Turn;
use super::websocket::{Channel, Early, Progress, Receiver, Shared};
use crate::runtime::cores::Driver;
use crate::runtime::poller::{Poller, Readiness};
use crate::runtime::slab::{Key, Slab};

/// What is read of each socket when several are read together. Most messages are shorter; a read that fills it is
/// followed by others into the buffer of the core.
const EARLY_BYTES: usize = 4096;

/// Fewer sockets than this are served one by one: a submission is not cheaper than so few system calls.
const BULK_MIN: usize = if cfg!(test) { 1 } else { 8 };

pub struct Reactor {
    shared: Rc<Shared>,
    poller: Poller,
    channels: RefCell<Slab<Rc<Channel>>>,
    /// The way to serve many sockets at once, if there is one.
    bulk: Option<RefCell<Bulk>>,
    /// One piece for each socket of a [`Bulk::receive`]; empty without one, or while it is lent.
    early: Cell<Vec<u8>>,
    /// Vectors that are used again and again.
    spare: Cell<Vec<(Key, Readiness)>>,
    written: Cell<Vec<Rc<Channel>>>,
}

impl Reactor {
    /// `outbox_bytes_max`: bytes that may wait for one peer. `driver`: what the core's thread runs on; call this there.
    /// Fails if the process has no descriptor left.
    pub fn new(turn: Rc<Turn>, outbox_bytes_max: usize, driver: Driver) -> io::Result<Self> {
        let bulk = Bulk::on(driver)?;
        let early = if bulk.is_some() { vec![0; CALLS_MAX * EARLY_BYTES] } else { Vec::new() };
        Ok(Self {
            shared: Rc::new(Shared { turn, outbox_bytes_max, gathered: RefCell::default() }),
            poller: Poller::new()?,
            channels: RefCell::default(),
            bulk: bulk.map(RefCell::new),
            early: Cell::new(early),
            spare: Cell::default(),
            written: Cell::default(),
        })
    }

    /// Takes over a stream that has become a websocket. Its events begin with the next [`Self::turn`].
    pub fn attach(&self, descriptor: OwnedFd, decoder: Decoder) -> io::Result<Rc<Channel>> {
        let mut channels = self.channels.borrow_mut();
        let make = |key| Channel::new(Rc::clone(&self.shared), descriptor, decoder, key);
        let key = channels.insert_with(make);
        let channel = Rc::clone(channels.get(key).expect("inserted just now"));
        match channel.with_descriptor(|descriptor| self.poller.add(descriptor, key)) {
            Some(Ok(())) => Ok(channel),
            Some(Err(error)) => {
                channels.remove(key);
                Err(error)
            }
            None => unreachable!("a new channel has its descriptor"),
        }
    }

    /// Websockets of this core, with those that are only being closed.
    pub fn len(&self) -> usize {
        self.channels.borrow().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Handles what is ready now, without waiting. More may be ready afterwards; the poller stays readable then.
    pub fn turn(&self, receiver: &impl Receiver) {
        let mut reports = self.spare.take();
        self.poller.take(&mut reports);
        for some in reports.chunks(CALLS_MAX) {
            match &self.bulk {
                Some(bulk) if some.len() >= BULK_MIN => self.read_together(bulk, some, receiver),
                _ => some.iter().for_each(|(key, readiness)| {
                    if let Some(channel) = self.channel(*key) {
                        self.on_ready(&channel, *readiness, None, receiver);
                    }
                }),
            }
            // What was just encoded is still in the cache.
            self.write_together();
        }
        reports.clear();
        self.spare.set(reports);
    }

    fn on_ready(
        &self,
        channel: &Rc<Channel>,
        readiness: Readiness,
        early: Option<Early<'_>>,
        receiver: &impl Receiver,
    ) {
        let progress = channel.on_ready(readiness, early, receiver);
        self.see_to(channel, progress, receiver);
    }

    /// Reads what there is for the first [`CALLS_MAX`] of `reports` in one call, then handles it.
    fn read_together(&self, bulk: &RefCell<Bulk>, reports: &[(Key, Readiness)], receiver: &impl Receiver) {
        let mut buffers = self.early.take();
        let channels: [_; CALLS_MAX] = from_fn(|n| reports.get(n).and_then(|(key, _)| self.channel(*key)));
        let mut received = {
            let sockets: [_; CALLS_MAX] = from_fn(|n| channels[n].as_ref()?.readable(reports.get(n)?.1));
            let mut pieces = buffers.chunks_mut(EARLY_BYTES);
            bulk.borrow_mut().receive(from_fn(|n| {
                // Each place has its piece, also where nothing is read.
                let piece = pieces.next()?;
                Some((sockets[n].as_ref()?.as_fd(), piece))
            }))
        };
        let pieces = buffers.chunks_mut(EARLY_BYTES);
        for (((channel, (_, readiness)), received), piece) in
            channels.iter().zip(reports).zip(&mut received).zip(pieces)
        {
            let Some(channel) = channel else { continue };
            let early = received.take().map(|received| (piece, received));
            self.on_ready(channel, *readiness, early, receiver);
        }
        self.early.set(buffers);
    }

    /// Writes for every channel that asked for it ([`Channel::flush_with_others`]).
    pub fn write_together(&self) {
        let mut channels = std::mem::replace(&mut *self.shared.gathered.borrow_mut(), self.written.take());
        channels.iter().for_each(|channel| channel.ungather());
        for some in channels.chunks(CALLS_MAX) {
            match &self.bulk {
                Some(bulk) if some.len() >= BULK_MIN => {
                    let mut results = {
                        let offers: [_; CALLS_MAX] = from_fn(|n| some.get(n).and_then(|channel| channel.offer()));
                        bulk.borrow_mut().send(from_fn(|n| offers[n].as_ref()?.call()))
                    };
                    for (channel, result) in some.iter().zip(&mut results) {
                        match result.take() {
                            Some(result) => channel.sent(result),
                            None => channel.flush(),
                        }
                    }
                }
                _ => some.iter().for_each(|channel| channel.flush()),
            }
        }
        channels.clear();
        self.written.set(channels);
    }

    /// Handles bytes that were read before the channel was attached.
    pub fn feed(&self, channel: &Rc<Channel>, mut bytes: Vec<u8>, receiver: &impl Receiver) {
        if !bytes.is_empty() {
            let progress = channel.on_bytes(&mut bytes, receiver);
            self.see_to(channel, progress, receiver);
            self.write_together();
        }
    }

    /// A timer of a channel has fired. The channel may be gone.
    pub fn timer_fired(&self, key: Key, receiver: &impl Receiver) {
        if let Some(channel) = self.channel(key) {
            let progress = channel.on_timeout();
            self.see_to(&channel, progress, receiver);
        }
    }

    fn channel(&self, key: Key) -> Option<Rc<Channel>> {
        self.channels.borrow().get(key).cloned()
    }

    fn see_to(&self, channel: &Rc<Channel>, progress: Progress, receiver: &impl Receiver) {
        match progress {
            Progress::Wait => {}
            Progress::Again => {
                // An edge is told once; asking anew puts the socket behind all others that are ready.
                let reminded = channel.with_descriptor(|descriptor| self.poller.remind(descriptor, channel.key()));
                if !matches!(reminded, Some(Ok(()))) {
                    channel.abort();
                }
            }
            Progress::Left(departure) => {
                // Before the other core has it: afterwards its number may belong to another connection.
                self.poller.remove(departure.descriptor.as_fd());
                self.channels.borrow_mut().remove(channel.key());
                receiver.left(channel, departure);
            }
            Progress::Over => {
                channel.with_descriptor(|descriptor| self.poller.remove(descriptor));
                self.channels.borrow_mut().remove(channel.key());
            }
        }
    }

    /// A stream of the runtime that is readable while [`Self::turn`] has something to do.
    pub fn wake_stream(&self) -> io::Result<monoio::net::UnixStream> {
        self.poller.wake_stream()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::UnixStream;

    use protocol::websocket::frame::{Opcode, encode};

    use super::super::frame::Frame;
    use super::super::turn::READ_BYTES;
    use super::super::websocket::{CLOSE_TIMEOUT_MS, Departure, Flow, LINGER_MS, READS_PER_TURN};
    use super::*;
    use crate::runtime::cores::drivers;
    use crate::runtime::timer::Millis;

    /// Counts what arrives; the text "leave" makes its connection leave.
    #[derive(Default)]
    struct Log {
        texts: RefCell<Vec<(Key, usize)>>,
        ended: RefCell<Vec<Key>>,
        departures: RefCell<Vec<Departure>>,
    }

    impl Receiver for Log {
        fn text(&self, channel: &Rc<Channel>, text: &str) -> Flow {
            self.texts.borrow_mut().push((channel.key(), text.len()));
            if text == "leave" { Flow::Leave } else { Flow::Continue }
        }
        fn binary(&self, _: &Rc<Channel>, _: &[u8]) {}
        fn violated(&self, _: &Rc<Channel>, _: u16) {}
        fn ended(&self, channel: &Rc<Channel>) {
            self.ended.borrow_mut().push(channel.key());
        }
        fn left(&self, _: &Rc<Channel>, departure: Departure) {
            self.departures.borrow_mut().push(departure);
        }
    }

    /// A core without a runtime: its time is moved by hand.
    struct Core {
        clock: Rc<Cell<Millis>>,
        turn: Rc<Turn>,
        reactor: Reactor,
        log: Log,
    }

    impl Core {
        fn new(outbox_bytes_max: usize, driver: Driver) -> Self {
            let clock = Rc::new(Cell::new(0));
            let turn = Turn::with_clock(Rc::clone(&clock));
            let reactor = Reactor::new(Rc::clone(&turn), outbox_bytes_max, driver).unwrap();
            Self { clock, turn, reactor, log: Log::default() }
        }

        fn connect(&self) -> (Rc<Channel>, UnixStream) {
            let (near, far) = UnixStream::pair().unwrap();
            far.set_nonblocking(true).unwrap();
            (self.reactor.attach(near.into(), Decoder::new(1 << 20)).unwrap(), far)
        }

        fn turn(&self) {
            self.reactor.turn(&self.log);
        }

        fn pass(&self, ms: u64) {
            self.clock.set(self.clock.get() + ms);
            self.turn.fire(|token, _| match token {
                super::super::turn::Token::Channel(key) => self.reactor.timer_fired(key, &self.log),
                super::super::turn::Token::Client(_) => unreachable!("there are no clients"),
            });
            self.turn();
        }
    }

    /// Socket by socket, and all together.
    fn on_each_driver(test: impl Fn(Driver)) {
        drivers().into_iter().for_each(test);
    }

    /// A frame of a client whose mask is zero.
    fn masked(text: &str) -> Vec<u8> {
        let mut frame = encode(Opcode::Text, text.as_bytes());
        let header = frame.len() - text.len();
        frame[1] |= 0x80;
        frame.splice(header..header, [0; 4]);
        frame
    }

    fn read_all(peer: &mut UnixStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        match peer.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        bytes
    }

    #[test]
    fn a_peer_that_never_answers_our_close_frame_is_given_up() {
        on_each_driver(|driver| {
            let core = Core::new(1 << 20, driver);
            let (channel, mut peer) = core.connect();
            core.turn();
            channel.close(None);
            core.pass(CLOSE_TIMEOUT_MS - 1);
            assert_eq!((core.reactor.len(), core.log.ended.borrow().len()), (1, 0));
            core.pass(3);
            assert_eq!((core.reactor.len(), core.log.ended.borrow().len()), (0, 1));
            assert_eq!(read_all(&mut peer), [0x88, 0]);
            drop(channel);
            assert_eq!(core.turn.connections.get(), 0);
            core.pass(10 * CLOSE_TIMEOUT_MS);
            assert_eq!(core.log.ended.borrow().len(), 1);
        });
    }

    #[test]
    fn a_close_frame_is_echoed_and_the_end_is_told_once() {
        on_each_driver(|driver| {
            let core = Core::new(1 << 20, driver);
            let (channel, mut peer) = core.connect();
            peer.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).unwrap();
            core.turn();
            assert_eq!(read_all(&mut peer), [0x88, 2, 0x03, 0xe8]);
            assert_eq!((core.reactor.len(), core.log.ended.take()), (0, vec![channel.key()]));
            assert!(core.turn.wheel.borrow().is_empty(), "nothing is left to wait for");
            drop(channel);
            assert_eq!(core.turn.connections.get(), 0);
        });
    }

    #[test]
    fn whoever_breaks_the_protocol_is_told_so_and_may_go_on_sending_for_a_while() {
        on_each_driver(|driver| {
            let core = Core::new(1 << 20, driver);
            let (_, mut peer) = core.connect();
            // Without a mask.
            peer.write_all(&[0x81, 1, b'x']).unwrap();
            core.turn();
            assert_eq!(core.log.ended.borrow().len(), 1);
            peer.write_all(&[0; 1000]).unwrap();
            core.turn();
            assert_eq!(read_all(&mut peer), [0x88, 2, 0x03, 0xea]);
            assert_eq!(core.reactor.len(), 1, "lingers");
            core.pass(LINGER_MS + 3);
            assert_eq!((core.reactor.len(), core.log.ended.borrow().len()), (0, 1));
            let (_, mut endless) = core.connect();
            endless.write_all(&[0x81, 1, b'x']).unwrap();
            core.turn();
            let mut sent = 0;
            while endless.write_all(&[0; 10_000]).is_ok() {
                sent += 10_000;
                assert!(sent < 2 << 20, "not for ever");
                core.turn();
            }
            assert_eq!(core.reactor.len(), 0);
        });
    }

    #[test]
    fn a_large_turn_is_no_slow_peer_and_the_total_is_kept() {
        on_each_driver(|driver| {
            let core = Core::new(1_000, driver);
            let (channel, mut peer) = core.connect();
            let frame = Frame::text(|out| out.resize(out.len() + 98, b'x'));
            for _ in 0..100 {
                assert!(channel.push(frame.clone()).is_ok());
            }
            assert_eq!(core.turn.outbox_bytes.get(), channel.outbox_bytes());
            channel.flush();
            assert_eq!(core.turn.outbox_bytes.get(), 0);
            assert_eq!(read_all(&mut peer).len(), 10_000);

            // A peer that really does not read is one.
            let large = Frame::text(|out| out.resize(out.len() + 60_000, b'x'));
            assert!((0..1_000).any(|_| channel.push(large.clone()).is_err()));
            assert!(core.turn.outbox_bytes.get() > 0);
            drop((channel, core.reactor));
            assert_eq!(core.turn.outbox_bytes.get(), 0);
        });
    }

    #[test]
    fn what_a_slow_peer_could_not_take_follows_when_it_reads() {
        on_each_driver(|driver| {
            let core = Core::new(64 << 20, driver);
            let (channel, mut peer) = core.connect();
            core.turn();
            let mut expected = Vec::new();
            for n in 0..200u8 {
                let frame = Frame::text(|out| out.resize(out.len() + 20_000 + usize::from(n), n));
                expected.extend_from_slice(frame.bytes());
                channel.push(frame).unwrap();
            }
            channel.flush();
            assert!(channel.outbox_bytes() > 1_000_000);
            assert_eq!(channel.push(Frame::text(|_| ())), Ok(false), "it leaves by itself");
            expected.extend_from_slice(Frame::text(|_| ()).bytes());
            channel.close(None);
            expected.extend_from_slice(&[0x88, 0]);
            let mut got = Vec::new();
            while got.len() < expected.len() {
                let some = read_all(&mut peer);
                assert!(!some.is_empty(), "nothing comes any more after {} bytes", got.len());
                got.extend(some);
                core.turn();
            }
            assert!(got == expected);
        });
    }

    #[test]
    fn a_socket_that_never_stops_sending_delays_nobody() {
        on_each_driver(|driver| {
            let core = Core::new(1 << 20, driver);
            let ((loud, mut loud_peer), (quiet, mut quiet_peer)) = (core.connect(), core.connect());
            core.turn();
            let frame = masked(&"x".repeat(1_000));
            // In one piece, as every piece takes room of its own.
            let sent = loud_peer.write(&frame.repeat(1_000)).unwrap();
            quiet_peer.write_all(&masked("hello")).unwrap();
            core.turn();
            let texts = core.log.texts.take();
            let mut heard = texts.iter().filter(|(key, _)| *key == loud.key()).count();
            assert!(sent > READS_PER_TURN * READ_BYTES, "{sent} bytes are no flood");
            let read = READS_PER_TURN * READ_BYTES;
            assert!((read / frame.len()..=(read + EARLY_BYTES) / frame.len()).contains(&heard), "{heard}");
            assert!(texts.contains(&(quiet.key(), 5)));
            // The rest comes without another word of the peer.
            for _ in 0..=sent / (READS_PER_TURN * READ_BYTES) {
                core.turn();
                heard += core.log.texts.take().len();
            }
            assert_eq!(heard, sent / frame.len());
        });
    }

    #[test]
    fn what_is_read_together_goes_to_whom_it_belongs() {
        on_each_driver(|driver| {
            let core = Core::new(1 << 20, driver);
            let mut all: Vec<_> = (0..3 * CALLS_MAX).map(|_| core.connect()).collect();
            let mut expected = Vec::new();
            // In the first round all are also reported as writable. Every third has something to say, some of it more
            // than is read early.
            for round in 0..3 {
                for (n, (channel, peer)) in all.iter_mut().enumerate().filter(|(n, _)| n % 3 == round) {
                    let length = 1 + n * 100;
                    peer.write_all(&masked(&"x".repeat(length))).unwrap();
                    channel.push(Frame::text(|out| out.resize(out.len() + n, b'y'))).unwrap();
                    expected.push((channel.key(), length));
                }
                core.turn();
                let mut texts = core.log.texts.take();
                texts.sort_by_key(|(key, _)| key.to_bits());
                expected.sort_by_key(|(key, _)| key.to_bits());
                assert_eq!(texts, std::mem::take(&mut expected));
            }
            // What was pushed has left with the answers, each to its own peer.
            for (n, (_, peer)) in all.iter_mut().enumerate() {
                assert_eq!(read_all(peer), Frame::text(|out| out.resize(out.len() + n, b'y')).bytes(), "{n}");
            }
        });
    }

    #[test]
    fn a_connection_leaves_with_everything_that_was_read() {
        on_each_driver(|driver| {
            let (old, new) = (Core::new(1 << 20, driver), Core::new(1 << 20, driver));
            let (channel, mut peer) = old.connect();
            let mut bytes = masked("leave");
            bytes.extend(masked("behind"));
            bytes.extend(&masked("in two pieces")[..8]);
            peer.write_all(&bytes).unwrap();
            old.turn();
            let departure = old.log.departures.take().pop().unwrap();
            assert_eq!((old.reactor.len(), old.log.ended.borrow().len()), (0, 0));
            drop(channel);
            let channel = new.reactor.attach(departure.descriptor, departure.decoder).unwrap();
            new.reactor.feed(&channel, departure.unread, &new.log);
            peer.write_all(&masked("in two pieces")[8..]).unwrap();
            new.turn();
            old.turn();
            assert_eq!(*new.log.texts.borrow(), [(channel.key(), 6), (channel.key(), 13)]);
            assert_eq!(old.log.texts.borrow().len(), 1);
            channel.push(Frame::text(|out| out.push(b'!'))).unwrap();
            channel.flush();
            assert_eq!(read_all(&mut peer), [0x81, 1, b'!']);
            assert_eq!((old.turn.connections.get(), new.turn.connections.get()), (0, 1));
        });
    }

    #[test]
    fn bytes_and_the_end_that_come_together_are_both_heard() {
        on_each_driver(|driver| {
            let core = Core::new(1 << 20, driver);
            let (channel, mut peer) = core.connect();
            peer.write_all(&masked("last")).unwrap();
            drop(peer);
            core.turn();
            assert_eq!(core.log.texts.take(), [(channel.key(), 4)]);
            assert_eq!((core.log.ended.borrow().len(), core.reactor.len()), (1, 0));
        });
    }

    #[test]
    fn a_broken_connection_is_reported_even_if_we_notice_while_writing() {
        on_each_driver(|driver| {
            let core = Core::new(1 << 20, driver);
            let (channel, peer) = core.connect();
            core.turn();
            drop(peer);
            channel.push(Frame::text(|out| out.push(b'!'))).unwrap();
            channel.flush();
            assert_eq!(core.log.ended.borrow().len(), 0, "whoever writes is not called back");
            core.turn();
            assert_eq!((core.log.ended.borrow().len(), core.reactor.len()), (1, 0));
        });
    }
}
