//! The receiving machine: every row of `spec/socketio.md` §10, cuts, memory, and tungstenite as oracle.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use protocol::websocket::frame::{self, append_masked};
use protocol::websocket::{Decoder, Error, Event, Input, Opcode};

const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const MESSAGE_BYTES_MAX: u32 = 1_000_000;

/// An event that outlives its buffers.
#[derive(Clone, Debug, PartialEq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>, String),
    Failed(Error),
}

impl From<Event<'_>> for Owned {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Self::Ping(bytes.to_vec()),
            Event::Pong => Self::Pong,
            Event::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// Feeds one read; what came out of it, an error last.
fn read(decoder: &mut Decoder, bytes: &[u8]) -> Vec<Owned> {
    let mut bytes = bytes.to_vec();
    let mut input = Input::new(&mut bytes);
    let mut events = Vec::new();
    loop {
        match decoder.next(&mut input) {
            Ok(Some(event)) => events.push(event.into()),
            Ok(None) => break,
            Err(error) => {
                events.push(Owned::Failed(error));
                // Whoever goes on after an error gets nothing more.
                assert_eq!(decoder.next(&mut input), Ok(None));
                break;
            }
        }
    }
    assert_eq!(input.consumed(), bytes.len());
    events
}

fn in_pieces(mut decoder: Decoder, bytes: &[u8], cuts: &[usize]) -> Vec<Owned> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    let (mut events, mut start) = (Vec::new(), 0);
    for end in ends {
        events.extend(read(&mut decoder, &bytes[start..end]));
        start = end;
    }
    events
}

fn server() -> Decoder {
    Decoder::new(MESSAGE_BYTES_MAX)
}

fn masked(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append_masked(&mut out, fin, opcode, payload, KEY);
    out
}

/// The frame with these bits set in its first byte.
fn with_bits(mut frame: Vec<u8>, bits: u8) -> Vec<u8> {
    frame[0] |= bits;
    frame
}

fn text(text: &str) -> Owned {
    Owned::Text(text.to_owned())
}

/// Decodes as a whole and byte by byte; both must give the same.
#[track_caller]
fn check(bytes: &[u8], expected: &[Owned]) {
    assert_eq!(in_pieces(server(), bytes, &[]), expected, "as a whole");
    let every: Vec<usize> = (0..bytes.len()).collect();
    assert_eq!(in_pieces(server(), bytes, &every), expected, "byte by byte");
}

#[track_caller]
fn check_failure(bytes: &[u8], error: Error, code: u16) {
    // What follows a violation is ignored.
    let bytes = [bytes, &masked(true, Opcode::Text, b"later")].concat();
    check(&bytes, &[Owned::Failed(error)]);
    assert_eq!(error.close_code(), code);
}

#[test]
fn row_unmasked_frame() {
    check_failure(&frame::encode_text(b"x"), Error::Unmasked, 1002);
    check_failure(&frame::encode(Opcode::Ping, b""), Error::Unmasked, 1002);
}

#[test]
fn row_reserved_bits() {
    for bit in [0x40, 0x20, 0x10] {
        check_failure(&with_bits(masked(true, Opcode::Text, b"x"), bit), Error::ReservedBits, 1002);
        check_failure(&with_bits(masked(true, Opcode::Ping, b"x"), bit), Error::ReservedBits, 1002);
    }
}

#[test]
fn row_reserved_opcode() {
    for bits in (3..=7).chain(11..=15) {
        let mut frame = masked(true, Opcode::Continuation, b"x");
        frame[0] = 0x80 | bits;
        check_failure(&frame, Error::ReservedOpcode, 1002);
    }
}

#[test]
fn row_misplaced_continuation() {
    check_failure(&masked(true, Opcode::Continuation, b"x"), Error::ContinuationWithoutMessage, 1002);
    check_failure(&masked(false, Opcode::Continuation, b"x"), Error::ContinuationWithoutMessage, 1002);
    for opcode in [Opcode::Text, Opcode::Binary] {
        let bytes = [masked(false, Opcode::Text, b"a"), masked(true, opcode, b"b")].concat();
        check_failure(&bytes, Error::MessageWithinMessage, 1002);
    }
    // After the last fragment the message is over.
    let mut bytes = masked(false, Opcode::Text, b"a");
    bytes.extend(masked(true, Opcode::Continuation, b"b"));
    bytes.extend(masked(true, Opcode::Continuation, b"c"));
    check(&bytes, &[text("ab"), Owned::Failed(Error::ContinuationWithoutMessage)]);
}

#[test]
fn row_control_frames() {
    for opcode in [Opcode::Close, Opcode::Ping, Opcode::Pong] {
        check_failure(&masked(false, opcode, b""), Error::ControlFragmented, 1002);
        check_failure(&masked(true, opcode, &[b'x'; 126]), Error::ControlTooLong, 1002);
        check_failure(&masked(true, opcode, &[b'x'; 70_000]), Error::ControlTooLong, 1002);
    }
    check(&masked(true, Opcode::Ping, &[b'x'; 125]), &[Owned::Ping(vec![b'x'; 125])]);
}

#[test]
fn row_close_payload() {
    check_failure(&masked(true, Opcode::Close, b"x"), Error::ClosePayload, 1002);
}

#[test]
fn row_close_code() {
    for code in 0..=u16::MAX {
        let valid = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let frame = masked(true, Opcode::Close, &code.to_be_bytes());
        let expected = if valid { Owned::Close(Some(code), String::new()) } else { Owned::Failed(Error::CloseCode) };
        assert_eq!(in_pieces(server(), &frame, &[]), [expected]);
    }
    check_failure(&masked(true, Opcode::Close, &1005_u16.to_be_bytes()), Error::CloseCode, 1002);
}

#[test]
fn row_close_reason() {
    check_failure(&masked(true, Opcode::Close, b"\x03\xe8\xc3"), Error::CloseReasonNotUtf8, 1007);
}

#[test]
fn row_text_is_utf8() {
    for invalid in [&b"\xff"[..], b"ab\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"] {
        check_failure(&masked(true, Opcode::Text, invalid), Error::TextNotUtf8, 1007);
        check(&masked(true, Opcode::Binary, invalid), &[Owned::Binary(invalid.to_vec())]);
    }
    // Checked on the whole message: a character may be cut by fragments.
    let bytes = [masked(false, Opcode::Text, b"\xc3"), masked(true, Opcode::Continuation, b"\xbc")].concat();
    check(&bytes, &[text("ü")]);
    let bytes = [masked(false, Opcode::Text, b"a\xc3"), masked(true, Opcode::Continuation, b"b")].concat();
    check_failure(&bytes, Error::TextNotUtf8, 1007);
}

#[test]
fn row_message_size() {
    let largest = vec![b'x'; 1_000_000];
    assert_eq!(
        in_pieces(server(), &masked(true, Opcode::Binary, &largest), &[7, 500_000]),
        [Owned::Binary(largest.clone())]
    );
    // The announcement alone is too much, and one byte beyond the limit is.
    let announcement = masked(true, Opcode::Binary, &[&largest[..], b"x"].concat())[..14].to_vec();
    check(&announcement, &[Owned::Failed(Error::MessageTooBig)]);
    assert_eq!(Error::MessageTooBig.close_code(), 1009);
    // The fragments are summed up.
    let mut bytes = masked(false, Opcode::Binary, &largest[..999_999]);
    bytes.extend(masked(false, Opcode::Continuation, b"x"));
    bytes.extend(masked(true, Opcode::Continuation, b""));
    assert_eq!(in_pieces(server(), &bytes, &[]), [Owned::Binary(largest.clone())]);
    let mut bytes = masked(false, Opcode::Binary, &largest[..999_999]);
    bytes.extend(&masked(true, Opcode::Continuation, b"xy")[..6]);
    assert_eq!(in_pieces(server(), &bytes, &[]), [Owned::Failed(Error::MessageTooBig)]);
    // A small limit does not concern control frames.
    let pings = masked(true, Opcode::Ping, b"12345678");
    assert_eq!(in_pieces(Decoder::new(4), &pings, &[5, 9]), [Owned::Ping(b"12345678".to_vec())]);
    assert_eq!(
        in_pieces(Decoder::new(4), &masked(true, Opcode::Text, b"12345"), &[]),
        [Owned::Failed(Error::MessageTooBig)]
    );
}

#[test]
fn row_length_beyond_53_bits() {
    for length in [1_u64 << 53, 1 << 63, u64::MAX] {
        let bytes = [&[0x82, 0xff][..], &length.to_be_bytes(), &KEY].concat();
        check_failure(&bytes, Error::MessageTooBig, 1009);
    }
}

#[test]
fn row_ping_and_pong() {
    check(&masked(true, Opcode::Ping, b"echo me"), &[Owned::Ping(b"echo me".to_vec())]);
    check(&masked(true, Opcode::Ping, b""), &[Owned::Ping(vec![])]);
    check(&masked(true, Opcode::Pong, b"ignored"), &[Owned::Pong]);
    let mut bytes = masked(false, Opcode::Text, b"first ");
    bytes.extend(masked(true, Opcode::Ping, b"in between"));
    bytes.extend(masked(true, Opcode::Pong, b""));
    bytes.extend(masked(true, Opcode::Continuation, b"last"));
    check(&bytes, &[Owned::Ping(b"in between".to_vec()), Owned::Pong, text("first last")]);
}

#[test]
fn row_close_is_echoed_and_the_last_word() {
    let later = masked(true, Opcode::Text, b"later");
    let check_close = |payload: &[u8], code: Option<u16>, reason: &str| {
        let bytes = [masked(true, Opcode::Close, payload), later.clone(), b"garbage".to_vec()].concat();
        check(&bytes, &[Owned::Close(code, reason.to_owned())]);
        let echo = frame::encode_close(code, reason);
        assert_eq!(&echo[2..], payload);
    };
    check_close(b"", None, "");
    check_close(&[0x03, 0xe8], Some(1000), "");
    check_close(b"\x0f\xa0bye \xc3\xbc", Some(4000), "bye ü");
}

#[test]
fn row_accepted_forms() {
    // Empty fragments.
    let mut bytes = masked(false, Opcode::Text, b"");
    for _ in 0..3 {
        bytes.extend(masked(false, Opcode::Continuation, b""));
    }
    bytes.extend(masked(true, Opcode::Continuation, b""));
    check(&bytes, &[text("")]);
    check(&masked(true, Opcode::Text, b""), &[text("")]);
    // Long forms of a short length.
    let payload: Vec<u8> = b"abc".iter().zip(KEY).map(|(byte, key)| byte ^ key).collect();
    let medium = [&[0x81, 0xfe, 0, 3][..], &KEY, &payload].concat();
    let long = [&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 3][..], &KEY, &payload].concat();
    check(&[medium, long].concat(), &[text("abc"), text("abc")]);
    // A mask of zeros.
    check(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i'], &[text("hi")]);
}

#[test]
fn row_end_without_close_frame() {
    // Nothing is made up of what is incomplete.
    let frame = masked(true, Opcode::Text, b"incomplete");
    for end in 0..frame.len() {
        assert_eq!(in_pieces(server(), &frame[..end], &[]), []);
    }
}

#[test]
fn client_role() {
    let bytes = [frame::encode_text(b"2"), frame::encode(Opcode::Binary, &[7; 200]), vec![0x88, 0]].concat();
    let every: Vec<usize> = (0..bytes.len()).collect();
    let expected = [text("2"), Owned::Binary(vec![7; 200]), Owned::Close(None, String::new())];
    assert_eq!(in_pieces(Decoder::client(1000), &bytes, &[]), expected);
    assert_eq!(in_pieces(Decoder::client(1000), &bytes, &every), expected);
    assert_eq!(
        in_pieces(Decoder::client(1000), &masked(true, Opcode::Text, b"x"), &[]),
        [Owned::Failed(Error::Masked)]
    );
    assert_eq!(Error::Masked.close_code(), 1002);
}

#[test]
fn an_idle_decoder_is_small_and_owns_nothing() {
    fn movable<T: Send + 'static>(_: &T) {}
    assert!(size_of::<Decoder>() <= 32, "{}", size_of::<Decoder>());
    let mut decoder = server();
    movable(&decoder);
    assert!(decoder.is_idle());
    let frame = masked(true, Opcode::Text, &[b'x'; 1000]);
    // Whole frames leave nothing behind, not even while they are handed out.
    let mut bytes = frame.clone();
    let mut input = Input::new(&mut bytes);
    assert!(matches!(decoder.next(&mut input), Ok(Some(Event::Text(_)))));
    assert!(decoder.is_idle());
    // Cut anywhere, the memory is gone with the read that completes the frame.
    for cut in [1, 2, 3, 7, 8, 9, 500, frame.len() - 1] {
        assert_eq!(read(&mut decoder, &frame[..cut]), []);
        assert!(!decoder.is_idle());
        assert_eq!(read(&mut decoder, &frame[cut..]).len(), 1);
        assert!(decoder.is_idle(), "cut at {cut}");
    }
    // The same for fragments and for control frames.
    let fragments = [masked(false, Opcode::Text, b"a"), masked(true, Opcode::Ping, b"pp")].concat();
    assert_eq!(read(&mut decoder, &fragments[..fragments.len() - 1]), []);
    assert_eq!(read(&mut decoder, &fragments[fragments.len() - 1..]), [Owned::Ping(b"pp".to_vec())]);
    assert!(!decoder.is_idle());
    assert_eq!(read(&mut decoder, &masked(true, Opcode::Continuation, b"b")), [text("ab")]);
    assert!(decoder.is_idle());
    // And after an error or a close.
    assert_eq!(read(&mut decoder, &masked(false, Opcode::Text, b"kept")), []);
    assert_eq!(read(&mut decoder, &[0xff]), [Owned::Failed(Error::ReservedBits)]);
    assert!(decoder.is_idle());
}

#[test]
fn whole_frames_are_borrowed_from_the_read_buffer() {
    let mut bytes = masked(true, Opcode::Text, b"in place");
    let range = bytes.as_ptr_range();
    let mut input = Input::new(&mut bytes);
    let mut decoder = server();
    let Ok(Some(Event::Text(text))) = decoder.next(&mut input) else { panic!("no text") };
    assert_eq!(text, "in place");
    assert!(range.contains(&text.as_ptr()));
}

/// A frame of a stream, valid or nearly so.
#[derive(Clone, Debug)]
struct Sent {
    fin: bool,
    opcode: Opcode,
    payload: Vec<u8>,
    key: [u8; 4],
}

fn sent() -> impl Strategy<Value = Sent> {
    let opcode = prop_oneof![
        4 => Just(Opcode::Text),
        2 => Just(Opcode::Binary),
        4 => Just(Opcode::Continuation),
        1 => Just(Opcode::Ping),
        1 => Just(Opcode::Pong),
    ];
    let payload = prop_oneof![
        4 => "[a-zü🦀]{0,40}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..300),
    ];
    (proptest::bool::weighted(0.7), opcode, payload, any::<[u8; 4]>()).prop_map(|(fin, opcode, payload, key)| Sent {
        fin,
        opcode,
        payload,
        key,
    })
}

/// Makes a stream valid: continuations only inside messages, control frames short and whole.
fn valid(frames: Vec<Sent>) -> Vec<Sent> {
    let mut in_message = false;
    frames
        .into_iter()
        .map(|mut frame| {
            if frame.opcode.is_control() {
                frame.fin = true;
                frame.payload.truncate(125);
            } else {
                if in_message {
                    frame.opcode = Opcode::Continuation;
                } else if frame.opcode == Opcode::Continuation {
                    frame.opcode = Opcode::Binary;
                }
                in_message = !frame.fin;
            }
            frame
        })
        .collect()
}

fn stream(frames: &[Sent]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        append_masked(&mut bytes, frame.fin, frame.opcode, &frame.payload, frame.key);
    }
    bytes
}

/// What a plain reading of the standard makes of valid frames.
fn model(frames: &[Sent]) -> Vec<Owned> {
    let mut events = Vec::new();
    let mut message: Option<(Opcode, Vec<u8>)> = None;
    for frame in frames {
        match frame.opcode {
            Opcode::Ping => events.push(Owned::Ping(frame.payload.clone())),
            Opcode::Pong => events.push(Owned::Pong),
            Opcode::Close => unreachable!("not generated"),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                let (opcode, mut payload) = message.take().unwrap_or((frame.opcode, vec![]));
                payload.extend_from_slice(&frame.payload);
                if !frame.fin {
                    message = Some((opcode, payload));
                } else if opcode == Opcode::Binary {
                    events.push(Owned::Binary(payload));
                } else if let Ok(text) = String::from_utf8(payload) {
                    events.push(Owned::Text(text));
                } else {
                    events.push(Owned::Failed(Error::TextNotUtf8));
                    return events;
                }
            }
        }
    }
    events
}

/// An in-memory socket for the oracle.
struct Memory(std::io::Cursor<Vec<u8>>);

impl std::io::Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Write for Memory {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How the oracle ended.
#[derive(Debug, PartialEq)]
enum End {
    /// With a close frame or the end of the bytes.
    Read,
    /// With a fragment that is not UTF-8. It judges fragments, we judge the whole message.
    NotUtf8,
    /// With a refusal.
    Refused,
}

/// What tungstenite makes of a stream.
fn oracle(bytes: &[u8]) -> (Vec<Owned>, End) {
    use tungstenite::{Error as Problem, Message, WebSocket, protocol::Role};
    let socket = Memory(std::io::Cursor::new(bytes.to_vec()));
    let mut socket = WebSocket::from_raw_socket(socket, Role::Server, None);
    let mut events = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => events.push(Owned::Text(text.as_str().to_owned())),
            Ok(Message::Binary(bytes)) => events.push(Owned::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => events.push(Owned::Ping(bytes.to_vec())),
            Ok(Message::Pong(_)) => events.push(Owned::Pong),
            Ok(Message::Close(frame)) => {
                let code = frame.as_ref().map(|frame| frame.code.into());
                let reason = frame.map(|frame| frame.reason.as_str().to_owned());
                events.push(Owned::Close(code, reason.unwrap_or_default()));
                return (events, End::Read);
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            // The end of the bytes.
            Err(Problem::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                return (events, End::Read);
            }
            Err(Problem::Utf8(_)) => return (events, End::NotUtf8),
            Err(_) => return (events, End::Refused),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn valid_streams_in_any_cut(
        frames in proptest::collection::vec(sent(), 0..12),
        cuts in proptest::collection::vec(any::<usize>(), 0..16),
    ) {
        let frames = valid(frames);
        let bytes = stream(&frames);
        let expected = model(&frames);
        prop_assert_eq!(&in_pieces(server(), &bytes, &[]), &expected);
        prop_assert_eq!(&in_pieces(server(), &bytes, &cuts), &expected);
    }

    #[test]
    fn any_stream_in_any_cut_and_as_the_oracle_reads_it(
        frames in proptest::collection::vec(sent(), 0..6),
        close in proptest::option::of((prop_oneof![Just(1000_u16), 0..5100_u16], "[a-zü]{0,20}")),
        damage in proptest::option::weighted(0.5, (any::<usize>(), any::<u8>())),
        cuts in proptest::collection::vec(any::<usize>(), 0..10),
        limit in prop_oneof![Just(MESSAGE_BYTES_MAX), 0..200_u32],
    ) {
        let mut bytes = stream(&frames);
        if let Some((code, reason)) = close {
            let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
            append_masked(&mut bytes, true, Opcode::Close, &payload, KEY);
        }
        if let (Some((at, value)), false) = (damage, bytes.is_empty()) {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let whole = in_pieces(Decoder::new(limit), &bytes, &[]);
        prop_assert_eq!(&in_pieces(Decoder::new(limit), &bytes, &cuts), &whole);

        let ours = in_pieces(server(), &bytes, &[]);
        let (theirs, end) = oracle(&bytes);
        let before_failure = match ours.split_last() {
            Some((Owned::Failed(_), before)) => before,
            _ => &ours[..],
        };
        if before_failure.len() == ours.len() && end != End::NotUtf8 {
            prop_assert_eq!(end, End::Read, "{:?}", ours);
            prop_assert_eq!(&ours, &theirs);
        } else {
            // tungstenite judges frames when they are complete and lets some close codes pass that may not be sent, so
            // of a stream that either refuses only what came before is comparable. That we refuse nothing valid is
            // tested above.
            let comparable = before_failure.len().min(theirs.len());
            prop_assert_eq!(&before_failure[..comparable], &theirs[..comparable]);
        }
    }

    #[test]
    fn any_bytes_in_any_cut(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(0x81), Just(0x01), Just(0x80)], 0..120),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        for decoder in [Decoder::new, Decoder::client] {
            let whole = in_pieces(decoder(50), &bytes, &[]);
            prop_assert_eq!(in_pieces(decoder(50), &bytes, &cuts), whole);
        }
    }

    /// Frames we send are read by the oracle's client and by our own.
    #[test]
    fn what_a_server_sends_comes_back(payload in "[a-z🦀]{0,100}", repeat in prop_oneof![Just(1_usize), 500..900_usize]) {
        let payload = payload.repeat(repeat);
        let bytes = frame::encode_text(payload.as_bytes());
        prop_assert_eq!(bytes.capacity(), bytes.len());
        let decoder = Decoder::client(MESSAGE_BYTES_MAX);
        prop_assert_eq!(in_pieces(decoder, &bytes, &[3, 1000]), [text(&payload)]);
        let socket = Memory(std::io::Cursor::new(bytes));
        let mut socket = tungstenite::WebSocket::from_raw_socket(socket, tungstenite::protocol::Role::Client, None);
        let message = socket.read().unwrap().into_text().unwrap();
        prop_assert_eq!(message.as_str(), payload);
    }
}
