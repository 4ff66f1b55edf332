//! The session machine, row by row of the contract (`spec/socketio.md` §4, §5.2, §5.3, §7, §8).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::rc::Rc;

use protocol::engineio::packet;
use protocol::engineio::session::{self, Config, Effect, Reason, Received, Session, Source, Transport};

/// One thing that happens to a session.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A packet in its text form, from the transport in use.
    Packet(&'static str),
    /// The same from the candidate.
    Candidate(&'static str),
    /// A whole POST with this body.
    Post(&'static str),
    PostBegun,
    PostEnded,
    PostAborted,
    Poll,
    PollDropped,
    Attach,
    CandidateClosed,
    TransportClosed,
    Send(&'static str),
    /// The layer above closes.
    Close,
    Abort(Reason),
    /// Time becomes this, and every deadline on the way fires when it is due.
    At(u64),
    /// Time becomes this at once, as after the process was held up.
    Jump(u64),
}

use Op::*;

/// A session under virtual time; everything that comes out of it is written down as short texts.
struct Driver {
    session: Session<&'static str>,
    config: Config,
    now: u64,
    log: Vec<String>,
}

impl Driver {
    fn new(transport: Transport) -> Self {
        let config = Config::default();
        Self { session: Session::open(transport, 0, &config), config, now: 0, log: Vec::new() }
    }

    fn packet(&mut self, source: Source, text: &str) {
        match packet::decode(text) {
            Ok(packet) => match self.session.handle_packet(source, packet, self.now, &self.config) {
                Received::Nothing => {}
                Received::Message(text) => self.log.push(format!("message {text}")),
                Received::Binary(bytes) => self.log.push(format!("binary {}", bytes.len())),
                // As the layer above does with any violation.
                Received::Empty => self.session.close(self.now, &self.config),
            },
            Err(packet::Error) => self.session.handle_parse_error(source),
        }
    }

    fn fire(&mut self) {
        self.session.handle_timeout(self.now, &self.config);
    }

    fn act(&mut self, op: Op) {
        match op {
            Packet(text) => self.packet(Source::Transport, text),
            Candidate(text) => self.packet(Source::Candidate, text),
            Post(body) => {
                assert!(self.session.handle_post_begun());
                self.session.handle_post_ended();
                for packet in body.split('\u{1e}') {
                    self.packet(Source::Transport, packet);
                    if packet::decode(packet).is_err() {
                        break;
                    }
                }
            }
            PostBegun => {
                if !self.session.handle_post_begun() {
                    self.log.push("post refused".to_string());
                }
            }
            PostEnded => self.session.handle_post_ended(),
            PostAborted => self.session.handle_post_aborted(),
            Poll => {
                if self.session.handle_poll(self.now, &self.config) == session::Poll::Refused {
                    self.log.push("poll refused".to_string());
                }
            }
            PollDropped => self.session.handle_poll_dropped(),
            Attach => {
                if !self.session.handle_candidate(self.now, &self.config) {
                    self.log.push("candidate refused".to_string());
                }
            }
            CandidateClosed => self.session.handle_candidate_closed(),
            TransportClosed => self.session.handle_transport_closed(),
            Send(text) => {
                self.session.send(text);
                self.session.flush();
            }
            Close => self.session.close(self.now, &self.config),
            Abort(reason) => self.session.abort(reason),
            At(at) => {
                while let Some(due) = self.session.poll_timeout().filter(|due| *due <= at) {
                    assert!(due > self.now || due == 0, "a deadline fires once");
                    self.now = due;
                    self.fire();
                    self.drain();
                }
                self.now = at;
                self.fire();
            }
            Jump(at) => {
                self.now = at;
                self.fire();
            }
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            self.session.check_invariants();
            self.log.push(match effect {
                Effect::AnswerPoll(payload) => {
                    format!("poll {}", String::from_utf8(payload).unwrap().replace('\u{1e}', "|"))
                }
                Effect::Send(packet) => format!("send {packet}"),
                Effect::SendText(text) => format!("send {text}"),
                Effect::SendCandidate(text) => format!("candidate {text}"),
                Effect::CloseCandidate => "close candidate".to_string(),
                Effect::Upgraded => "upgraded".to_string(),
                Effect::CloseWebSocket => "close websocket".to_string(),
                Effect::Closed(reason) => format!("closed {reason:?}"),
            });
        }
        self.session.check_invariants();
    }
}

/// Runs operations on a fresh session and compares everything that came out.
fn check(transport: Transport, ops: &[Op], expected: &[&str]) -> Driver {
    let mut driver = Driver::new(transport);
    for op in ops {
        driver.act(*op);
    }
    assert_eq!(driver.log, expected, "{ops:?}");
    driver
}

fn polling(ops: &[Op], expected: &[&str]) -> Driver {
    check(Transport::Polling, ops, expected)
}

fn websocket(ops: &[Op], expected: &[&str]) -> Driver {
    check(Transport::WebSocket, ops, expected)
}

#[test]
fn an_idle_websocket_session_is_small() {
    assert!(size_of::<Session<Rc<[u8]>>>() <= 48, "{}", size_of::<Session<Rc<[u8]>>>());
    assert_eq!(size_of::<Session<Rc<[u8]>>>(), size_of::<Session<u8>>(), "packets are never inside");
}

// ---- §4: incoming packets of an established session ---------------------------------------------------------------

#[test]
fn messages_go_to_the_layer_above() {
    polling(&[Post("4a\u{1e}4b"), Packet("bAQI=")], &["message a", "message b", "binary 2"]);
    websocket(&[Packet("40"), Packet("bAQI="), Packet("4\u{e9}")], &["message 0", "binary 2", "message \u{e9}"]);
}

#[test]
fn a_message_without_data_is_a_violation() {
    polling(&[Poll, Post("4")], &["poll 1", "closed ForcedClose"]);
    websocket(&[Packet("4")], &["close websocket", "closed ForcedClose"]);
}

#[test]
fn a_ping_from_the_client_is_a_transport_error() {
    polling(&[Poll, Post("2")], &["poll 1", "closed TransportError"]);
    polling(&[Post("2probe")], &["closed TransportError"]);
    websocket(&[Packet("2")], &["close websocket", "closed TransportError"]);
}

#[test]
fn a_close_packet_ends_polling_and_is_ignored_on_a_websocket() {
    polling(&[Poll, Post("4a\u{1e}1\u{1e}4b")], &["message a", "poll 6", "closed TransportClose"]);
    polling(&[Post("1")], &["closed TransportClose"]);
    websocket(&[Packet("1"), Packet("4a")], &["message a"]);
}

#[test]
fn open_upgrade_and_noop_are_ignored() {
    for packet in ["0", "0{}", "5", "6", "6x"] {
        polling(&[Packet(packet), Packet("4a")], &["message a"]);
        websocket(&[Packet(packet), Packet("4a")], &["message a"]);
    }
}

#[test]
fn a_parse_error_closes() {
    for text in ["", "7", "x", " 4"] {
        polling(&[Poll, Packet(text)], &["poll 1", "closed ParseError"]);
        websocket(&[Packet(text)], &["close websocket", "closed ParseError"]);
    }
}

#[test]
fn a_closed_session_ignores_everything() {
    let rest = [
        Packet("4a"),
        Packet("2"),
        Packet("x"),
        Candidate("5"),
        Send("4x"),
        PostBegun,
        PostAborted,
        CandidateClosed,
        TransportClosed,
        Close,
        Abort(Reason::Shutdown),
        At(1_000_000),
    ];
    let ops = |first| std::iter::once(first).chain(rest).collect::<Vec<_>>();
    let driver = websocket(&ops(TransportClosed), &["closed TransportClose"]);
    assert_eq!(driver.session.poll_timeout(), None);
    let driver = polling(&ops(PostAborted), &["closed TransportError"]);
    assert_eq!(driver.session.poll_timeout(), None);
    polling(&[PostAborted, Poll, Attach], &["closed TransportError", "poll refused", "candidate refused"]);
}

// ---- §5.2: polls --------------------------------------------------------------------------------------------------

#[test]
fn a_poll_gets_everything_that_waits_in_one_payload() {
    polling(&[Send("4a"), Send("4b"), Poll, Poll, Send("4c")], &["poll 4a|4b", "poll 4c"]);
}

#[test]
fn a_poll_is_held_until_there_is_something() {
    polling(&[Poll, At(14_999)], &[]);
    polling(&[Poll, At(15_000)], &["poll 2"]);
}

#[test]
fn packets_of_one_turn_travel_together() {
    let mut driver = polling(&[Poll], &[]);
    driver.session.send("4a");
    driver.session.send("4b");
    driver.drain();
    assert!(driver.log.is_empty(), "not before the end of the turn");
    driver.session.flush();
    driver.drain();
    assert_eq!(driver.log, ["poll 4a|4b"]);
}

#[test]
fn a_second_poll_ends_the_session() {
    polling(&[Poll, Poll], &["poll refused", "poll 1", "closed TransportError"]);
}

#[test]
fn a_dropped_poll_ends_the_session() {
    polling(&[Poll, PollDropped], &["closed TransportError"]);
    // Its answer was on the way already.
    polling(&[Poll, Send("4a"), PollDropped, Poll], &["poll 4a"]);
}

#[test]
fn a_closing_session_delivers_what_waits_and_then_says_goodbye() {
    polling(&[Send("4a"), Close, Poll, Poll, Poll], &["poll 4a", "poll 6|1", "closed ForcedClose", "poll refused"]);
    polling(&[Close, Poll], &["poll 6|1", "closed ForcedClose"]);
    polling(&[Close, Send("4a"), Poll], &["poll 6|1", "closed ForcedClose"]);
}

// ---- §5.3: POSTs --------------------------------------------------------------------------------------------------

#[test]
fn an_empty_body_is_a_parse_error() {
    polling(&[Post("")], &["closed ParseError"]);
}

#[test]
fn packets_are_processed_up_to_the_first_parse_error() {
    polling(&[Post("4a\u{1e}x\u{1e}4b")], &["message a", "closed ParseError"]);
    polling(&[Post("4a\u{1e}")], &["message a", "closed ParseError"]);
}

#[test]
fn a_body_that_is_too_large_leaves_the_session_alone() {
    polling(&[PostBegun, PostEnded, Post("4a")], &["message a"]);
}

#[test]
fn a_second_post_ends_the_session() {
    polling(&[Poll, PostBegun, PostBegun], &["post refused", "poll 1", "closed TransportError"]);
}

#[test]
fn a_broken_post_ends_the_session() {
    polling(&[Poll, PostBegun, PostAborted], &["poll 1", "closed TransportError"]);
}

#[test]
fn packets_of_a_closing_session_are_ignored() {
    polling(&[Close, Post("4a\u{1e}2\u{1e}1"), Post(""), Poll], &["poll 6|1", "closed ForcedClose"]);
}

#[test]
fn what_is_answered_in_the_turn_of_an_error_still_goes_out() {
    let mut driver = polling(&[Poll], &[]);
    driver.session.send("43[]");
    driver.act(Packet("x"));
    assert_eq!(driver.log, ["poll 43[]", "closed ParseError"]);
}

// ---- §7: upgrade --------------------------------------------------------------------------------------------------

#[test]
fn a_probe_and_an_upgrade() {
    let driver = polling(
        &[Poll, Attach, Candidate("2probe"), Send("4a"), Candidate("5"), Send("4b"), Packet("4c")],
        &["candidate 3probe", "poll 6", "upgraded", "send 4a", "send 4b", "message c"],
    );
    assert!(driver.session.is_websocket_open());
    assert_eq!(driver.session.transport(), Transport::WebSocket);
    assert_eq!(driver.session.poll_timeout(), Some(15_000), "the schedule of pings goes on");
}

#[test]
fn packets_go_straight_to_the_websocket_only_behind_what_waited() {
    let mut driver = polling(&[Send("4a"), Attach], &[]);
    driver.packet(Source::Candidate, "5");
    assert!(!driver.session.is_websocket_open(), "what waited goes first");
    driver.session.send("4b");
    driver.drain();
    assert!(driver.session.is_websocket_open());
    assert_eq!(driver.log, ["upgraded", "send 4a", "send 4b"]);
}

#[test]
fn an_upgrade_without_a_probe_is_accepted() {
    polling(&[Send("4a"), Attach, Candidate("5")], &["upgraded", "send 4a"]);
}

#[test]
fn any_other_packet_closes_the_candidate() {
    for packet in ["2", "2x", "3probe", "4a", "4", "1", "0", "6", "bAQI=", "x", ""] {
        let driver = polling(&[Attach, Candidate(packet), Packet("4z")], &["close candidate", "message z"]);
        assert!(driver.session.is_open());
    }
}

#[test]
fn pending_polls_are_ended_while_the_probe_lasts() {
    polling(
        &[
            Attach,
            Candidate("2probe"),
            At(50),
            Poll,
            At(99),
            At(100),
            Poll,
            At(199),
            At(200),
            Send("4a"),
            Poll,
            At(300),
        ],
        &["candidate 3probe", "poll 6", "poll 6", "poll 4a"],
    );
    // Before the probe a poll is held as ever.
    polling(&[Attach, Poll, At(9_999)], &[]);
}

#[test]
fn a_poll_that_is_pending_when_the_upgrade_comes_is_closed() {
    polling(&[Attach, Candidate("2probe"), Poll, Candidate("5")], &["candidate 3probe", "poll 1", "upgraded"]);
}

#[test]
fn an_upgrade_clears_the_deadline_of_the_pong() {
    let driver = polling(&[Poll, At(15_000), At(20_000), Attach, Candidate("5"), At(34_999)], &["poll 2", "upgraded"]);
    assert_eq!(driver.session.poll_timeout(), Some(35_000));
    // A ping that no poll has fetched goes over the websocket.
    polling(&[At(16_000), Attach, Candidate("5"), Packet("3"), At(31_000)], &["upgraded", "send 2", "send 2"]);
}

#[test]
fn a_candidate_that_goes_away_makes_room_for_another() {
    let ops = [Attach, Candidate("2probe"), CandidateClosed, Poll, At(500), Attach, Candidate("5")];
    polling(&ops, &["candidate 3probe", "poll 1", "upgraded"]);
}

#[test]
fn a_candidate_has_ten_seconds() {
    polling(&[At(1), Attach, At(10_000)], &[]);
    polling(&[At(1), Attach, At(10_001), Attach, Packet("4a")], &["close candidate", "message a"]);
    polling(&[Attach, Candidate("2probe"), At(9_999)], &["candidate 3probe"]);
    polling(&[Attach, Candidate("2probe"), At(10_000)], &["candidate 3probe", "close candidate"]);
}

#[test]
fn one_candidate_at_a_time_and_none_for_a_websocket() {
    polling(&[Attach, Attach, Candidate("5"), Attach], &["candidate refused", "upgraded", "candidate refused"]);
    // S-16: a session opened as websocket is not taken over either.
    websocket(&[Attach, Candidate("5"), Packet("4a")], &["candidate refused", "message a"]);
}

#[test]
fn requests_that_outlive_polling_do_not_hurt() {
    let ops = [PostBegun, Poll, Attach, Candidate("5"), PollDropped, PostAborted, PostEnded, Poll, Packet("4a")];
    polling(&ops, &["poll 1", "upgraded", "poll refused", "message a"]);
}

#[test]
fn the_end_of_a_session_closes_its_candidate() {
    for (op, closed) in [
        (Abort(Reason::Shutdown), "closed Shutdown"),
        (PostAborted, "closed TransportError"),
        (Packet("x"), "closed ParseError"),
        (Packet("1"), "closed TransportClose"),
    ] {
        polling(&[Attach, Candidate("2probe"), op], &["candidate 3probe", "close candidate", closed]);
    }
    // An orderly closing does so at its beginning.
    polling(&[Attach, Close, Poll], &["close candidate", "poll 6|1", "closed ForcedClose"]);
}

// ---- §8: heartbeat ------------------------------------------------------------------------------------------------

#[test]
fn pings_follow_opening_and_pongs() {
    let ops = [At(15_000), At(20_000), Packet("3"), At(34_999), At(35_000), At(79_999)];
    let driver = websocket(&ops, &["send 2", "send 2"]);
    assert_eq!(driver.session.poll_timeout(), Some(80_000));
}

#[test]
fn a_missing_pong_closes() {
    websocket(&[At(59_999)], &["send 2"]);
    websocket(&[At(60_000)], &["send 2", "close websocket", "closed PingTimeout"]);
    polling(&[Poll, At(60_000)], &["poll 2", "closed PingTimeout"]);
    polling(&[Poll, At(15_000), Poll, At(60_000)], &["poll 2", "poll 1", "closed PingTimeout"]);
    // Nobody fetched the ping: it is discarded, and the next request finds no session.
    polling(&[At(60_000), Poll], &["closed PingTimeout", "poll refused"]);
}

#[test]
fn only_pongs_count() {
    let ops = [At(15_000), Packet("4a"), Packet("6"), Packet("bAQI="), At(59_000), Packet("4b"), At(60_000)];
    let expected = ["send 2", "message a", "binary 2", "message b", "close websocket", "closed PingTimeout"];
    websocket(&ops, &expected);
}

#[test]
fn an_unasked_pong_moves_the_next_ping() {
    let driver = websocket(&[At(10_000), Packet("3"), At(24_999)], &[]);
    assert_eq!(driver.session.poll_timeout(), Some(25_000));
    websocket(&[At(10_000), Packet("3probe"), At(25_000)], &["send 2"]);
}

#[test]
fn coarse_timers_do_not_add_up() {
    // Noticed 20 ms late: the pong is due as if the ping had been in time.
    let driver = websocket(&[Jump(15_020)], &["send 2"]);
    assert_eq!(driver.session.poll_timeout(), Some(60_000));
    // Short intervals, noticed only when everything is over.
    let mut driver = Driver::new(Transport::Polling);
    driver.config = Config { ping_interval_ms: 300, ping_timeout_ms: 200, ..Config::default() };
    driver.session = Session::open(Transport::Polling, 0, &driver.config);
    driver.act(Jump(500));
    assert_eq!(driver.log, ["closed PingTimeout"]);
}

#[test]
fn a_process_that_was_held_up_grants_the_whole_time() {
    let driver = websocket(&[Jump(70_000)], &["send 2"]);
    assert_eq!(driver.session.poll_timeout(), Some(115_000));
}

#[test]
fn a_session_that_moved_keeps_its_schedule() {
    let first = websocket(&[At(4_000)], &[]);
    let ping_in_ms = first.session.ping_in_ms(4_000).unwrap();
    assert_eq!(ping_in_ms, 11_000);
    let second: Session<&'static str> = Session::resume(ping_in_ms, 100_000);
    assert_eq!((second.poll_timeout(), second.is_websocket_open()), (Some(111_000), true));
    assert_eq!(websocket(&[At(15_000)], &["send 2"]).session.ping_in_ms(15_000), None, "not while a pong is awaited");
}

// ---- §8: closing --------------------------------------------------------------------------------------------------

#[test]
fn closing_by_the_server() {
    websocket(&[Close], &["close websocket", "closed ForcedClose"]);
    websocket(&[Abort(Reason::Shutdown)], &["close websocket", "closed Shutdown"]);
    polling(&[Poll, Close], &["poll 1", "closed ForcedClose"]);
    polling(&[Poll, Abort(Reason::Shutdown)], &["poll 1", "closed Shutdown"]);
    // No poll pending: what the layer above closes ends in order, everything else at once.
    polling(&[Send("4a"), Abort(Reason::Shutdown), Poll], &["closed Shutdown", "poll refused"]);
    polling(&[Send("4a"), Post("x"), Poll], &["closed ParseError", "poll refused"]);
    polling(&[Send("4a"), Close], &[]);
}

#[test]
fn an_orderly_closing_is_given_up_30_seconds_after_everything_was_fetched() {
    polling(&[Close, At(29_999)], &[]);
    polling(&[Close, At(30_000), Poll], &["closed ForcedClose", "poll refused"]);
    polling(&[Send("4a"), Close, At(40_000), Poll, At(69_999)], &["poll 4a"]);
    polling(&[Send("4a"), Close, At(40_000), Poll, At(70_000)], &["poll 4a", "closed ForcedClose"]);
    // Nobody fetches anything: the heartbeat ends it, without a further ping.
    polling(&[Send("4a"), Close, At(59_999), Poll], &["poll 4a"]);
    polling(&[Send("4a"), Close, At(60_000)], &["closed PingTimeout"]);
}

#[test]
fn closing_by_the_client() {
    websocket(&[TransportClosed], &["closed TransportClose"]);
    websocket(&[At(15_000), TransportClosed], &["send 2", "closed TransportClose"]);
    polling(&[Attach, Candidate("5"), TransportClosed], &["upgraded", "closed TransportClose"]);
    // There is no connection that a polling session could lose in this way.
    polling(&[TransportClosed, Packet("4a")], &["message a"]);
}

#[test]
fn a_ping_that_was_not_taken_does_not_outlive_the_session() {
    let mut driver = websocket(&[], &[]);
    driver.now = 15_000;
    driver.fire();
    driver.act(TransportClosed);
    assert_eq!(driver.log, ["closed TransportClose"]);
}
