//! Random lists of operations on a session: invariants hold, nothing is lost or reordered, every poll is answered once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use protocol::engineio::packet;
use protocol::engineio::session::{Config, Effect, Poll, Reason, Received, Session, Source, Transport};

#[derive(Clone, Debug)]
enum Op {
    Packet(Source, &'static str),
    Poll,
    PollDropped,
    PostBegun,
    PostEnded,
    PostAborted,
    Attach,
    CandidateClosed,
    TransportClosed,
    Send,
    Flush,
    Close,
    Abort,
    Advance(u64),
}

fn operation() -> impl Strategy<Value = Op> {
    let packet = prop_oneof![
        Just("3"),
        Just("4a"),
        Just("4"),
        Just("2"),
        Just("2probe"),
        Just("1"),
        Just("5"),
        Just("6"),
        Just("x")
    ];
    let source = prop_oneof![Just(Source::Transport), Just(Source::Candidate)];
    prop_oneof![
        2 => (source, packet).prop_map(|(source, packet)| Op::Packet(source, packet)),
        2 => Just(Op::Packet(Source::Transport, "3")),
        1 => prop_oneof![Just(Op::Packet(Source::Candidate, "2probe")), Just(Op::Packet(Source::Candidate, "5"))],
        4 => Just(Op::Poll),
        6 => Just(Op::Send),
        4 => Just(Op::Flush),
        3 => (0u64..40_000).prop_map(Op::Advance),
        2 => Just(Op::Attach),
        1 => prop_oneof![
            Just(Op::PollDropped), Just(Op::PostBegun), Just(Op::PostEnded), Just(Op::PostAborted), Just(Op::CandidateClosed),
            Just(Op::TransportClosed), Just(Op::Close), Just(Op::Abort),
        ],
    ]
}

/// A caller, and what it may rely on.
struct Shell {
    session: Session<Vec<u8>>,
    config: Config,
    now: u64,
    sent: u64,
    /// Packets that came out, whichever way; each is the next one.
    delivered: u64,
    poll_held: bool,
    candidate: bool,
    closed: bool,
}

impl Shell {
    fn new(transport: Transport) -> Self {
        let config = Config::default();
        let session = Session::open(transport, 0, &config);
        Self { session, config, now: 0, sent: 0, delivered: 0, poll_held: false, candidate: false, closed: false }
    }

    fn act(&mut self, op: &Op) {
        match op {
            Op::Packet(source, text) => self.packet(*source, text),
            Op::Poll => {
                if self.session.handle_poll(self.now, &self.config) == Poll::Held {
                    assert!(!self.poll_held, "one poll at a time");
                    self.poll_held = true;
                }
            }
            Op::PollDropped => {
                self.poll_held = false;
                self.session.handle_poll_dropped();
            }
            Op::PostBegun => drop(self.session.handle_post_begun()),
            Op::PostEnded => self.session.handle_post_ended(),
            Op::PostAborted => self.session.handle_post_aborted(),
            Op::Attach => {
                if self.session.handle_candidate(self.now, &self.config) {
                    assert!(!self.candidate, "one candidate at a time");
                    self.candidate = true;
                }
            }
            Op::CandidateClosed => {
                self.candidate = false;
                self.session.handle_candidate_closed();
            }
            Op::TransportClosed => self.session.handle_transport_closed(),
            // The only operation after which effects wait, as they do for the end of a turn.
            Op::Send => return self.send(),
            Op::Flush => self.session.flush(),
            Op::Close => self.session.close(self.now, &self.config),
            Op::Abort => self.session.abort(Reason::Shutdown),
            Op::Advance(by) => {
                self.now += by;
                self.session.handle_timeout(self.now, &self.config);
            }
        }
        self.drain();
    }

    fn packet(&mut self, source: Source, text: &str) {
        let Ok(packet) = packet::decode(text) else { return self.session.handle_parse_error(source) };
        let open = self.session.is_open();
        match self.session.handle_packet(source, packet, self.now, &self.config) {
            Received::Nothing => {}
            Received::Empty => self.session.close(self.now, &self.config),
            Received::Message(_) | Received::Binary(_) => {
                assert!(open && source == Source::Transport, "only an open transport speaks to the layer above");
            }
        }
    }

    fn send(&mut self) {
        if !self.session.is_open() {
            return self.session.send(b"4lost".to_vec());
        }
        if self.session.is_websocket_open() {
            self.deliver(self.sent);
        } else {
            self.session.send(format!("4{}", self.sent).into_bytes());
        }
        self.sent += 1;
    }

    fn deliver(&mut self, number: u64) {
        assert_eq!(number, self.delivered, "nothing is lost, doubled or reordered");
        self.delivered += 1;
    }

    fn drain(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            assert!(!self.closed, "the closing is the last word");
            self.session.check_invariants();
            match effect {
                Effect::AnswerPoll(payload) => {
                    assert!(std::mem::take(&mut self.poll_held), "a poll is answered once");
                    assert!(!payload.is_empty());
                    for packet in packet::payload(std::str::from_utf8(&payload).unwrap()) {
                        if let packet::Packet::Message(number) = packet.unwrap() {
                            self.deliver(number.parse().unwrap());
                        }
                    }
                }
                Effect::Send(packet) => {
                    assert_eq!(self.session.transport(), Transport::WebSocket);
                    self.deliver(std::str::from_utf8(&packet).unwrap().strip_prefix('4').unwrap().parse().unwrap());
                }
                Effect::SendText(text) => {
                    assert_eq!((text, self.session.transport()), ("2", Transport::WebSocket));
                }
                Effect::SendCandidate(text) => assert!(text == "3probe" && self.candidate),
                Effect::CloseCandidate | Effect::Upgraded => assert!(std::mem::take(&mut self.candidate)),
                Effect::CloseWebSocket => assert_eq!(self.session.transport(), Transport::WebSocket),
                Effect::Closed(_) => {
                    assert!(!self.poll_held && !self.candidate, "nobody is left waiting");
                    self.closed = true;
                }
            }
        }
        self.session.check_invariants();
        assert_eq!(self.session.poll_timeout().is_none(), self.closed, "a live session wakes by itself");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn operations_keep_every_promise(polling in any::<bool>(), ops in proptest::collection::vec(operation(), 0..80)) {
        let mut shell = Shell::new(if polling { Transport::Polling } else { Transport::WebSocket });
        for op in &ops {
            shell.act(op);
        }
        // Left alone, every session ends.
        for _ in 0..4 {
            if let Some(at) = shell.session.poll_timeout() {
                shell.act(&Op::Advance(at.saturating_sub(shell.now)));
                shell.act(&Op::Advance(60_000));
            }
        }
        prop_assert!(shell.closed);
    }
}
