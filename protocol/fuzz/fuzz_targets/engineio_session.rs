//! The session machine under lists of operations, one byte each. Invariants hold, what is sent comes out once and in
//! order, polls are answered once, and a session left alone ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::engineio::packet::{self, Packet};
use protocol::engineio::session::{Config, Effect, Poll, Reason, Received, Session, Source, Transport};

const PACKETS: [&str; 10] = ["3", "4a", "4", "2", "2probe", "1", "5", "6", "x", "bAQI="];

struct Shell {
    session: Session<Vec<u8>>,
    config: Config,
    now: u64,
    sent: u64,
    delivered: u64,
    poll_held: bool,
    candidate: bool,
    closed: bool,
}

impl Shell {
    fn act(&mut self, operation: u8) {
        let (now, config) = (self.now, &self.config);
        match operation {
            0..=39 => {
                let source = if operation < 20 { Source::Transport } else { Source::Candidate };
                self.packet(source, PACKETS[usize::from(operation % 10)]);
            }
            40..=69 => {
                if self.session.handle_poll(now, config) == Poll::Held {
                    assert!(!self.poll_held, "one poll at a time");
                    self.poll_held = true;
                }
            }
            70..=119 => return self.send(),
            120..=139 => self.session.flush(),
            140..=149 => {
                if self.session.handle_candidate(now, config) {
                    assert!(!self.candidate, "one candidate at a time");
                    self.candidate = true;
                }
            }
            150..=154 => {
                self.candidate = false;
                self.session.handle_candidate_closed();
            }
            155..=159 => {
                self.poll_held = false;
                self.session.handle_poll_dropped();
            }
            160..=169 => drop(self.session.handle_post_begun()),
            170..=179 => self.session.handle_post_ended(),
            180..=184 => self.session.handle_post_aborted(),
            185..=189 => self.session.handle_transport_closed(),
            190..=194 => self.session.close(now, config),
            195..=199 => self.session.abort(Reason::Shutdown),
            200..=255 => {
                // From 1 ms to 36 minutes.
                self.now += 1 << ((operation - 200) / 3 + 3);
                self.session.handle_timeout(self.now, &self.config);
            }
        }
        self.drain();
    }

    fn packet(&mut self, source: Source, text: &str) {
        let Ok(packet) = packet::decode(text) else { return self.session.handle_parse_error(source) };
        match self.session.handle_packet(source, packet, self.now, &self.config) {
            Received::Nothing => {}
            Received::Empty => self.session.close(self.now, &self.config),
            Received::Message(_) | Received::Binary(_) => {
                assert!(self.session.is_open() && source == Source::Transport)
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

    fn deliver_packet(&mut self, packet: &[u8]) {
        let text = std::str::from_utf8(packet).expect("packets are text");
        self.deliver(text.strip_prefix('4').and_then(|number| number.parse().ok()).expect("a packet of ours"));
    }

    fn drain(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            assert!(!self.closed, "the closing is the last word");
            self.session.check_invariants();
            match effect {
                Effect::AnswerPoll(payload) => {
                    assert!(std::mem::take(&mut self.poll_held), "a poll is answered once");
                    for packet in packet::payload(std::str::from_utf8(&payload).expect("payloads are text")) {
                        if let Packet::Message(number) = packet.expect("payloads are made of packets") {
                            self.deliver_packet(format!("4{number}").as_bytes());
                        }
                    }
                }
                Effect::Send(packet) => self.deliver_packet(&packet),
                Effect::SendText(_) | Effect::CloseWebSocket => {
                    assert_eq!(self.session.transport(), Transport::WebSocket);
                }
                Effect::SendCandidate(_) => assert!(self.candidate),
                Effect::CloseCandidate | Effect::Upgraded => assert!(std::mem::take(&mut self.candidate)),
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

fuzz_target!(|input: &[u8]| {
    let Some((first, operations)) = input.split_first() else { return };
    let transport = if first & 1 == 0 { Transport::Polling } else { Transport::WebSocket };
    let config = Config::default();
    let session = Session::open(transport, 0, &config);
    let mut shell =
        Shell { session, config, now: 0, sent: 0, delivered: 0, poll_held: false, candidate: false, closed: false };
    for operation in operations {
        shell.act(*operation);
    }
    for _ in 0..4 {
        shell.act(255);
    }
    assert!(shell.closed);
});
