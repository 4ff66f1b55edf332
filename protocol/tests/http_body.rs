//! Bodies: the chunk rows of `spec/socketio.md` §2.3, size limits, cuts, round trips.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use protocol::http::Framing;
use protocol::http::body::{BodyDecoder, Error};

/// Decodes in the given pieces; the bytes of the body, how much was consumed and whether it is complete.
fn in_pieces(framing: Framing, bytes: &[u8], cuts: &[usize], max: u64) -> Result<(Vec<u8>, usize, bool), Error> {
    let mut decoder = BodyDecoder::new(framing, max)?;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    let (mut out, mut at) = (Vec::new(), 0);
    for end in ends {
        let progress = decoder.decode(&bytes[at.min(end)..end], &mut out)?;
        at = at.min(end) + progress.consumed;
        assert!(u64::try_from(out.len()).unwrap() <= max);
        if progress.done {
            assert!(decoder.is_done());
            return Ok((out, at, true));
        }
        assert_eq!(at, end, "an unfinished body leaves nothing behind");
    }
    Ok((out, at, false))
}

fn chunked(bytes: &[u8]) -> Result<(Vec<u8>, usize, bool), Error> {
    in_pieces(Framing::Chunked, bytes, &[], 1000)
}

#[test]
fn counted_bodies() {
    assert_eq!(in_pieces(Framing::None, b"next", &[], 0), Ok((vec![], 0, true)));
    assert_eq!(in_pieces(Framing::Length(0), b"next", &[], 0), Ok((vec![], 0, true)));
    assert_eq!(in_pieces(Framing::Length(4), b"bodynext", &[], 4), Ok((b"body".to_vec(), 4, true)));
    assert_eq!(in_pieces(Framing::Length(9), b"body", &[2], 9), Ok((b"body".to_vec(), 4, false)));
    assert_eq!(BodyDecoder::new(Framing::Length(5), 4).unwrap_err(), Error::TooLarge);
    assert_eq!(BodyDecoder::new(Framing::Length(u64::MAX), 1_000_000).unwrap_err().status(), 413);
}

#[test]
fn chunked_bodies() {
    let check = |bytes: &[u8], body: &[u8], rest: &[u8]| {
        let consumed = bytes.len() - rest.len();
        assert_eq!(chunked(bytes), Ok((body.to_vec(), consumed, true)), "{}", bytes.escape_ascii());
    };
    check(b"0\r\n\r\n", b"", b"");
    check(b"5\r\nhello\r\n0\r\n\r\nGET", b"hello", b"GET");
    check(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world", b"");
    check(b"00A\r\n0123456789\r\n000\r\n\r\n", b"0123456789", b"");
    check(b"a\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n\r\n\r\n\r\n", b"");
    check(b"5;name=value;x=\"y z\"\r\nhello\r\n0;last\r\n\r\n", b"hello", b"");
    check(b"5\r\nhello\r\n0\r\nTrailer: a\r\nX-B:\tc\r\n\r\nrest", b"hello", b"rest");
    // Nothing but the last CRLF is missing.
    assert_eq!(chunked(b"0\r\n\r").map(|(_, _, done)| done), Ok(false));
}

#[test]
fn refusals() {
    let cases: &[(&[u8], Error)] = &[
        (b"zz\r\n", Error::ChunkSize),
        (b"\r\n", Error::ChunkSize),
        (b";x\r\n", Error::ChunkSize),
        (b"-5\r\n", Error::ChunkSize),
        (b"+5\r\n", Error::ChunkSize),
        (b"0x5\r\n", Error::ChunkSize),
        (b" 5\r\n", Error::ChunkSize),
        (b"5 \r\n", Error::ChunkSize),
        (b"5 ;x\r\n", Error::ChunkSize),
        (b"11111111111111111\r\n", Error::ChunkSize),
        (b"00000000000000005\r\n", Error::ChunkSize),
        (b"5\nhello\r\n", Error::ChunkSize),
        (b"5;x\nhello\r\n", Error::Extension),
        (b"5;x\0\r\nhello", Error::Extension),
        (b"5\rhello", Error::LineEnd),
        (b"5\r\nhello\n0\r\n", Error::LineEnd),
        (b"5\r\nhello\rX", Error::LineEnd),
        (b"5\r\nhello!\r\n", Error::LineEnd),
        (b"0\r\n\n", Error::Trailer),
        (b"0\r\n\rX", Error::LineEnd),
        (b"0\r\n folded\r\n", Error::Trailer),
        (b"0\r\nno colon\r\n", Error::Trailer),
        (b"0\r\n: empty\r\n", Error::Trailer),
        (b"0\r\nX: y\n\r\n", Error::Trailer),
        (b"0\r\nX: \0\r\n", Error::Trailer),
        (b"0\r\nX: y\rZ", Error::LineEnd),
        (b"3e9\r\n", Error::TooLarge),
        (b"ffffffffffffffff\r\n", Error::TooLarge),
    ];
    for (bytes, error) in cases {
        assert_eq!(chunked(bytes).unwrap_err(), *error, "{}", bytes.escape_ascii());
        let every: Vec<usize> = (0..bytes.len()).collect();
        let pieces = in_pieces(Framing::Chunked, bytes, &every, 1000);
        assert_eq!(pieces.unwrap_err(), *error, "{}, byte by byte", bytes.escape_ascii());
    }
}

#[test]
fn the_limit_counts_all_chunks() {
    let bytes = b"3\r\nabc\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n";
    assert_eq!(in_pieces(Framing::Chunked, bytes, &[], 6), Ok((b"abcdef".to_vec(), bytes.len(), true)));
    assert_eq!(in_pieces(Framing::Chunked, bytes, &[], 5).unwrap_err(), Error::TooLarge);
}

#[test]
fn what_is_ignored_is_bounded() {
    let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(16_384));
    assert!(chunked(extension.as_bytes()).unwrap().2);
    let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(16_385));
    assert_eq!(chunked(extension.as_bytes()).unwrap_err(), Error::Overhead);
    let trailers = format!("0\r\n{}\r\n", "Name: value\r\n".repeat(4_000));
    assert_eq!(chunked(trailers.as_bytes()).unwrap_err(), Error::Overhead);
    assert_eq!(Error::Overhead.status(), 400);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chunks_round_trip_in_any_cut(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..10),
        extension in "(;[a-z]{0,6}(=[a-z\"\t ]{0,6})?)?",
        trailer in "([A-Za-z-]{1,8}: ?[ -~]{0,8}\r\n){0,2}",
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
    ) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
        let end = bytes.len();
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let expected = (chunks.concat(), end, true);
        prop_assert_eq!(in_pieces(Framing::Chunked, &bytes, &cuts, 400).unwrap(), expected);
    }

    #[test]
    fn any_bytes_in_any_cut(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..100),
            "[0-9a-f;: x\r\n]{0,60}".prop_map(String::into_bytes),
            "([0-3](;x)?\r\n){1,3}[a-z]{0,3}\r\n(0\r\n)?([a-z]:\r\n)?\r\n".prop_map(String::into_bytes),
        ],
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
        length in 0..120_u64,
    ) {
        for framing in [Framing::Chunked, Framing::Length(length)] {
            let whole = in_pieces(framing, &bytes, &[], 100);
            prop_assert_eq!(in_pieces(framing, &bytes, &cuts, 100), whole);
        }
    }
}
