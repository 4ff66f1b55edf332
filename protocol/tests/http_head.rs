//! Request and response heads: every refusal of `spec/socketio.md` §2.3, cuts, limits, and httparse as oracle.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use protocol::http::head::{Error, Expectation, Framing, HeadParser, Limits, RequestHead, Version};
use protocol::http::response::{ResponseHead, ResponseParser};
use protocol::http::{Method, encode};

fn parse(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, Error> {
    HeadParser::new().parse(bytes, &Limits::default())
}

fn head(text: &str) -> RequestHead {
    parse(text.as_bytes()).unwrap().unwrap().0
}

fn response(text: &str) -> ResponseHead {
    ResponseParser::new().parse(text.as_bytes(), &Limits::default()).unwrap().unwrap().0
}

/// A request with these lines after the request line and `Host`.
fn with(lines: &str) -> String {
    format!("POST /v1/version HTTP/1.1\r\nHost: x\r\n{lines}\r\n")
}

/// Everything a head says, for comparison.
type Summary = (Method, String, Version, Vec<(String, String)>, Framing, bool, Option<String>, Expectation);

fn summary(head: &RequestHead) -> Summary {
    (
        head.method(),
        head.target().to_owned(),
        head.version(),
        head.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        head.framing(),
        head.keep_alive(),
        head.upgrade().map(str::to_owned),
        head.expectation(),
    )
}

/// What a connection sees when the bytes come in these pieces: the head (with its length) or the error.
fn in_pieces(bytes: &[u8], cuts: &[usize], limits: &Limits) -> Result<Option<(Summary, usize)>, Error> {
    let mut parser = HeadParser::new();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.sort_unstable();
    ends.push(bytes.len());
    for end in ends {
        if let Some((head, consumed)) = parser.parse(&bytes[..end], limits)? {
            return Ok(Some((summary(&head), consumed)));
        }
    }
    Ok(None)
}

#[test]
fn an_ordinary_request() {
    let text = "GET /v1/kv/a%20b?x=1 HTTP/1.1\r\nHost: example.org\r\nAuthorization:Bearer t\r\nX-Empty:\r\n\
                Accept: \t a, b\t \r\naccept: c\r\n\r\nleftover";
    let (head, consumed) = parse(text.as_bytes()).unwrap().unwrap();
    assert_eq!(&text[consumed..], "leftover");
    assert_eq!(head.method(), Method::Get);
    assert_eq!(head.target(), "/v1/kv/a%20b?x=1");
    assert_eq!(head.version(), Version::Http11);
    assert_eq!(head.header("authorization"), Some("Bearer t"));
    assert_eq!(head.header("AUTHORIZATION"), Some("Bearer t"));
    assert_eq!(head.header("x-empty"), Some(""));
    assert_eq!(head.header("accept"), Some("a, b"));
    assert_eq!(head.header_all("accept").collect::<Vec<_>>(), ["a, b", "c"]);
    assert_eq!(head.header("x-missing"), None);
    assert_eq!(head.headers().count(), 5);
    assert_eq!(head.framing(), Framing::None);
    assert!(head.keep_alive());
    assert_eq!(head.upgrade(), None);
    assert_eq!(head.expectation(), Expectation::None);
}

#[test]
fn debug_output_carries_no_secrets() {
    let printed =
        format!("{:?}", head("GET /p?token=hidden HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hidden\r\n\r\n"));
    assert!(printed.contains("/p") && !printed.contains("hidden"), "{printed}");
}

/// The list of §2.3, in its order.
#[test]
fn refusals() {
    let cases: &[(&str, String, Error)] = &[
        ("length and coding", with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), Error::FramingConflict),
        ("coding and length", with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), Error::FramingConflict),
        ("two equal lengths", with("Content-Length: 5\r\nContent-Length: 5\r\n"), Error::LengthRepeated),
        ("two lengths", with("Content-Length: 5\r\ncontent-length: 6\r\n"), Error::LengthRepeated),
        ("length with sign", with("Content-Length: +7\r\n"), Error::Length),
        ("negative length", with("Content-Length: -7\r\n"), Error::Length),
        ("list of lengths", with("Content-Length: 7, 7\r\n"), Error::Length),
        ("empty length", with("Content-Length:\r\n"), Error::Length),
        ("hexadecimal length", with("Content-Length: 0x10\r\n"), Error::Length),
        ("length beyond 64 bits", with("Content-Length: 18446744073709551616\r\n"), Error::Length),
        ("unknown coding", with("Transfer-Encoding: xchunked\r\n"), Error::TransferCoding),
        ("chunked not last", with("Transfer-Encoding: chunked, gzip\r\n"), Error::TransferCoding),
        ("gzip, chunked (S-3)", with("Transfer-Encoding: gzip, chunked\r\n"), Error::TransferCoding),
        ("chunked twice", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Error::TransferCoding),
        ("identity", with("Transfer-Encoding: identity\r\n"), Error::TransferCoding),
        ("no coding", with("Transfer-Encoding:\r\n"), Error::TransferCoding),
        ("header line ended by LF", with("X-A: b\n"), Error::BareLineFeed),
        ("request line ended by LF", "GET / HTTP/1.1\nHost: x\r\n\r\n".into(), Error::BareLineFeed),
        ("empty line ended by LF", "GET / HTTP/1.1\r\nHost: x\r\n\n".into(), Error::BareLineFeed),
        ("LF first", "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::BareLineFeed),
        ("CR in a value", with("X-A: b\rX-B: c\r\n"), Error::BareCarriageReturn),
        ("CR CR LF", with("X-A: b\r\r\n"), Error::BareCarriageReturn),
        ("space before the colon", with("X-A : b\r\n"), Error::FieldName),
        ("tab before the colon", with("X-A\t: b\r\n"), Error::FieldName),
        ("folding", with("X-A: b\r\n c\r\n"), Error::Folding),
        ("folding with a tab", with("X-A: b\r\n\tc\r\n"), Error::Folding),
        ("folding of the first line", "GET / HTTP/1.1\r\n Host: x\r\n\r\n".into(), Error::Folding),
        ("NUL in a value", with("X-A: a\0b\r\n"), Error::ControlCharacter),
        ("escape in a value", with("X-A: a\x1bb\r\n"), Error::ControlCharacter),
        ("DEL in a value", with("X-A: a\x7fb\r\n"), Error::ControlCharacter),
        ("empty name", with(": b\r\n"), Error::FieldName),
        ("no colon", with("X-A\r\n"), Error::FieldName),
        ("name that is no token", with("X(A): b\r\n"), Error::FieldName),
        ("name outside ASCII", with("Ä: b\r\n"), Error::FieldName),
        ("unknown method", "BREW / HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::Method),
        ("lower-case method", "get / HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::Method),
        ("no HTTP", "hello\r\n\r\n".into(), Error::Method),
        ("space first", " GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::Method),
        ("HTTP/3.0", "GET / HTTP/3.0\r\nHost: x\r\n\r\n".into(), Error::Version),
        ("HTTP/2.0 (S-2)", "GET / HTTP/2.0\r\nHost: x\r\n\r\n".into(), Error::Version),
        ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: x\r\n\r\n".into(), Error::Version),
        ("lower-case version", "GET / http/1.1\r\nHost: x\r\n\r\n".into(), Error::Version),
        ("no version", "GET /\r\nHost: x\r\n\r\n".into(), Error::StartLine),
        ("no target", "GET\r\nHost: x\r\n\r\n".into(), Error::StartLine),
        ("two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::Target),
        ("space in the target", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::Version),
        ("space behind the version", "GET / HTTP/1.1 \r\nHost: x\r\n\r\n".into(), Error::Version),
        ("target without slash", "GET a HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::Target),
        ("authority as target", "GET host:80 HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::Target),
        ("tab in the target", "GET /a\tb HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::Target),
        ("target outside ASCII", "GET /ä HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::Target),
        ("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), Error::Method),
        ("missing Host", "GET / HTTP/1.1\r\n\r\n".into(), Error::HostMissing),
        ("two Hosts (S-4)", with("Host: x\r\n"), Error::HostRepeated),
        ("CONNECT", "CONNECT host:80 HTTP/1.1\r\nHost: x\r\n\r\n".into(), Error::Connect),
        ("chunks in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), Error::TransferCoding),
    ];
    for (name, text, error) in cases {
        assert_eq!(parse(text.as_bytes()).unwrap_err(), *error, "{name}");
        // Byte by byte the answer is the same.
        let cuts: Vec<usize> = (0..text.len()).collect();
        assert_eq!(in_pieces(text.as_bytes(), &cuts, &Limits::default()).unwrap_err(), *error, "{name}, byte by byte");
        let expected: &[u8] = match error {
            Error::Connect => b"",
            Error::HostMissing => encode::HOST_MISSING,
            _ => encode::BAD_REQUEST,
        };
        assert_eq!(encode::refusal(*error), expected, "{name}");
    }
}

#[test]
fn foreign_protocols_are_refused_at_once() {
    assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01").unwrap_err(), Error::Method);
    assert_eq!(parse(b"\x80").unwrap_err(), Error::Method);
    assert_eq!(parse(b"{").unwrap_err(), Error::Method);
    assert_eq!(parse(b"GET /\0").unwrap_err(), Error::ControlCharacter);
}

#[test]
fn accepted_forms() {
    let (head, consumed) = parse(b"\r\n\r\nGET / HTTP/1.1\r\nHost:\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.target(), consumed), ("/", 29));
    assert_eq!(head.header("host"), Some(""));
    for target in ["*", "http://host/path", "https://host", "/a#b", "/\"<>\\^`{|}~"] {
        assert_eq!(self::head(&format!("OPTIONS {target} HTTP/1.1\r\nHost: x\r\n\r\n")).target(), target);
    }
    let (head, _) = parse(b"GET / HTTP/1.1\r\nHost: x\r\nX-Latin: gr\xfcn\r\nX-Next: \xff!\r\n\r\n").unwrap().unwrap();
    assert_eq!((head.header("x-latin"), head.header("x-next")), (Some("grün"), Some("ÿ!")));
    assert_eq!(self::head(&with("X-Text: grün\r\n")).header("x-text"), Some("grÃ¼n"), "as Node reads it");
    // HTTP/1.0 needs no Host.
    assert_eq!(self::head("GET / HTTP/1.0\r\n\r\n").version(), Version::Http10);
}

#[test]
fn a_head_whose_text_is_too_long_for_its_positions_is_refused() {
    let limits = Limits { head_bytes_max: u16::MAX, ..Limits::default() };
    let head = |count: usize| {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: x\r\nX: ".to_vec();
        bytes.extend(std::iter::repeat_n(0xff, count));
        bytes.extend(b"\r\nY: y\r\n\r\n");
        HeadParser::new().parse(&bytes, &limits)
    };
    let (fits, _) = head(32_000).unwrap().unwrap();
    assert_eq!((fits.header("x").unwrap().chars().count(), fits.header("y")), (32_000, Some("y")));
    assert_eq!(head(40_000).unwrap_err(), Error::TooLarge);
}

#[test]
fn every_method_but_connect_is_accepted() {
    for &method in Method::ALL {
        let parsed = parse(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        match method {
            Method::Connect => assert_eq!(parsed.unwrap_err(), Error::Connect),
            _ => assert_eq!(parsed.unwrap().unwrap().0.method(), method),
        }
    }
}

#[test]
fn framing() {
    assert_eq!(head(&with("")).framing(), Framing::None);
    assert_eq!(head(&with("Content-Length: 0\r\n")).framing(), Framing::None);
    assert_eq!(head(&with("Content-Length: 0042 \r\n")).framing(), Framing::Length(42));
    assert_eq!(head(&with("content-LENGTH:18446744073709551615\r\n")).framing(), Framing::Length(u64::MAX));
    assert_eq!(head(&with("Transfer-Encoding: Chunked\r\n")).framing(), Framing::Chunked);
}

#[test]
fn persistence() {
    assert!(head(&with("")).keep_alive());
    assert!(head(&with("Connection: keep-alive\r\n")).keep_alive());
    assert!(!head(&with("Connection: close\r\n")).keep_alive());
    assert!(!head(&with("Connection: x, \tClose\r\n")).keep_alive());
    assert!(!head(&with("Connection: keep-alive\r\nConnection: close\r\n")).keep_alive());
    assert!(head(&with("Connection: closed\r\n")).keep_alive());
    assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive());
    assert!(head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive());
    assert!(!head("GET / HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n").keep_alive());
}

#[test]
fn upgrade_needs_both_fields() {
    assert_eq!(head(&with("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n")).upgrade(), Some("websocket"));
    assert_eq!(head(&with("Connection: upgrade\r\nUpgrade: h2c\r\n")).upgrade(), Some("h2c"));
    assert_eq!(head(&with("Upgrade: websocket\r\n")).upgrade(), None);
    assert_eq!(head(&with("Connection: Upgrade\r\n")).upgrade(), None);
}

#[test]
fn expectations() {
    assert!(head(&with("Expect: 100-Continue\r\n")).expect_continue());
    assert_eq!(head(&with("Expect: 200-ok\r\n")).expectation(), Expectation::Unsupported);
    assert_eq!(head(&with("Expect: 100-continue\r\nExpect: more\r\n")).expectation(), Expectation::Unsupported);
    assert_eq!(head("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expectation(), Expectation::None);
}

#[test]
fn a_head_may_be_as_long_as_the_limit() {
    let limits = Limits::default();
    let empty = with("X-Large: \r\n").len();
    let fill = usize::from(limits.head_bytes_max) - empty;
    let fits = with(&format!("X-Large: {}\r\n", "x".repeat(fill)));
    assert_eq!(fits.len(), 16_384);
    assert_eq!(parse(fits.as_bytes()).unwrap().unwrap().1, 16_384);
    let exceeds = with(&format!("X-Large: {}\r\n", "x".repeat(fill + 1)));
    assert_eq!(parse(exceeds.as_bytes()).unwrap_err(), Error::TooLarge);
    // The limit is reached before the end is in sight.
    assert_eq!(parse(&fits.as_bytes()[..16_383]).unwrap().map(|(_, consumed)| consumed), None);
    assert_eq!(parse(&exceeds.as_bytes()[..16_384]).unwrap_err(), Error::TooLarge);
    assert_eq!(parse("\r\n".repeat(8_192).as_bytes()).unwrap_err(), Error::TooLarge);
    assert_eq!(Error::TooLarge.status(), Some(431));
    // The largest limit a caller can set works too.
    let widest = Limits { head_bytes_max: u16::MAX, fields_max: u16::MAX };
    let large = with(&format!("X-Large: {}\r\nX-Last: y\r\n", "x".repeat(65_000)));
    let (head, _) = HeadParser::new().parse(large.as_bytes(), &widest).unwrap().unwrap();
    assert_eq!(head.header("x-last"), Some("y"));
    let large = with(&format!("X-Large: {}\r\n", "x".repeat(70_000)));
    assert_eq!(HeadParser::new().parse(large.as_bytes(), &widest).unwrap_err(), Error::TooLarge);
}

#[test]
fn fields_are_counted() {
    let limits = Limits { fields_max: 3, ..Limits::default() };
    let parse = |text: String| HeadParser::new().parse(text.as_bytes(), &limits);
    assert!(parse(with("A: 1\r\nB: 2\r\n")).unwrap().is_some());
    assert_eq!(parse(with("A: 1\r\nB: 2\r\nC: 3\r\n")).unwrap_err(), Error::TooManyFields);
    assert_eq!(Error::TooManyFields.status(), Some(431));
}

#[test]
fn pipelined_requests_use_one_parser() {
    let mut parser = HeadParser::new();
    let bytes = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost: y\r\n\r\nGET /c";
    let (first, consumed) = parser.parse(bytes, &Limits::default()).unwrap().unwrap();
    let rest = &bytes[consumed..];
    let (second, consumed) = parser.parse(rest, &Limits::default()).unwrap().unwrap();
    let rest = &rest[consumed..];
    assert_eq!((first.target(), first.keep_alive()), ("/a", false));
    assert_eq!((second.target(), second.keep_alive()), ("/b", true));
    assert!(parser.is_idle(b"") && parser.is_idle(b"\r\n"));
    assert!(parser.parse(rest, &Limits::default()).unwrap().is_none());
    assert!(!parser.is_idle(rest));
}

#[test]
fn responses() {
    let head = response("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok");
    assert_eq!((head.status(), head.version(), head.keep_alive()), (200, Version::Http11, true));
    assert_eq!(head.framing(Method::Get), Some(Framing::Length(2)));
    assert_eq!(head.framing(Method::Head), Some(Framing::None));
    assert_eq!(head.header("content-length"), Some("2"));
    assert_eq!(head.header_all("connection").count() + head.headers().count(), 3);
    assert_eq!(response("HTTP/1.1 204 No Content\r\n\r\n").framing(Method::Get), Some(Framing::None));
    assert_eq!(response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").framing(Method::Get), Some(Framing::None));
    assert_eq!(response("HTTP/1.1 200 OK\r\n\r\n").framing(Method::Get), None);
    assert_eq!(response("HTTP/1.1 200\r\n\r\n").status(), 200);
    let chunked = response("HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    assert_eq!((chunked.framing(Method::Post), chunked.keep_alive()), (Some(Framing::Chunked), false));
    for malformed in ["HTTP/1.1 20 OK\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1 099 x\r\n", "HTTP/1.1200 OK\r\n", "\r\n"]
    {
        assert_eq!(
            ResponseParser::new().parse(malformed.as_bytes(), &Limits::default()).unwrap_err(),
            Error::StartLine
        );
    }
    assert_eq!(ResponseParser::new().parse(b"HTTP/2.0 200 OK\r\n", &Limits::default()).unwrap_err(), Error::Version);
}

/// Lines that make heads interesting, valid and invalid.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z0-9-]{1,12}: ?[ -~\t]{0,40}\r\n",
        1 => Just("Content-Length: 12\r\n".to_owned()),
        1 => Just("Transfer-Encoding: chunked\r\n".to_owned()),
        1 => Just("Connection: close, upgrade\r\n".to_owned()),
        1 => Just("Upgrade: websocket\r\n".to_owned()),
        1 => Just("Expect: 100-continue\r\n".to_owned()),
        1 => Just("X-Utf: grün\r\n".to_owned()),
        1 => prop_oneof![
            Just(" folded\r\n"), Just("X: y\n"), Just("X: y\r\r\n"), Just("X y\r\n"), Just("X: \0\r\n"), Just("\r\n"),
            Just("Host: z\r\n"), Just(": \r\n"),
        ].prop_map(str::to_owned),
    ]
}

fn head_text() -> impl Strategy<Value = String> {
    let request_line = prop_oneof![
        6 => "(GET|POST|OPTIONS|M-SEARCH) /[!-~]{0,30} HTTP/1\\.[01]\r\n",
        1 => "[ -~]{0,20}\r\n",
        1 => Just("\r\n\r\nGET http://a/b HTTP/1.1\r\n".to_owned()),
    ];
    (request_line, proptest::bool::weighted(0.9), proptest::collection::vec(line(), 0..8)).prop_map(
        |(first, host, lines)| {
            format!("{first}{}{}\r\ntrailing bytes", if host { "Host: x\r\n" } else { "" }, lines.concat())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_head(
        text in head_text(),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
        head_bytes_max in prop_oneof![3 => Just(16_384_u16), 1 => 1..200_u16],
    ) {
        let limits = Limits { head_bytes_max, fields_max: 6 };
        let whole = in_pieces(text.as_bytes(), &[], &limits);
        prop_assert_eq!(&in_pieces(text.as_bytes(), &cuts, &limits), &whole);
        let every: Vec<usize> = (0..text.len()).collect();
        prop_assert_eq!(&in_pieces(text.as_bytes(), &every, &limits), &whole);
    }

    #[test]
    fn values_keep_all_their_bytes(values in proptest::collection::vec("[!-~\u{80}-\u{ff}]{1,30}", 1..5)) {
        let mut bytes = b"GET / HTTP/1.1\r\nHost: x\r\n".to_vec();
        for (n, value) in values.iter().enumerate() {
            bytes.extend(format!("X-{n}: ").bytes());
            bytes.extend(value.chars().map(|character| u8::try_from(u32::from(character)).unwrap()));
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        let (head, consumed) = parse(&bytes).unwrap().unwrap();
        prop_assert_eq!((consumed, head.target()), (bytes.len(), "/"));
        for (n, value) in values.iter().enumerate() {
            prop_assert_eq!(head.header(&format!("x-{n}")), Some(value.as_str()));
        }
    }

    #[test]
    fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..200), cuts in any::<[usize; 3]>()) {
        let whole = in_pieces(&bytes, &[], &Limits::default());
        prop_assert_eq!(in_pieces(&bytes, &cuts, &Limits::default()), whole);
    }

    /// What we accept, httparse accepts, and reads alike.
    #[test]
    fn agrees_with_httparse(text in head_text()) {
        if let Ok(Some((head, consumed))) = parse(text.as_bytes()) {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut oracle = httparse::Request::new(&mut fields);
            prop_assert_eq!(oracle.parse(text.as_bytes()).unwrap(), httparse::Status::Complete(consumed));
            prop_assert_eq!(oracle.method, Some(head.method().as_str()));
            prop_assert_eq!(oracle.path, Some(head.target()));
            prop_assert_eq!(oracle.version, Some(u8::from(head.version() == Version::Http11)));
            let latin = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect::<String>();
            let expected: Vec<_> = oracle.headers.iter()
                .map(|field| (field.name, latin(field.value.trim_ascii())))
                .collect();
            prop_assert_eq!(head.headers().map(|(name, value)| (name, value.to_owned())).collect::<Vec<_>>(), expected);
        }
    }

    /// What httparse accepts of plain requests, we accept as well.
    #[test]
    fn accepts_what_httparse_accepts(
        target in "/[!-~]{0,30}",
        fields in proptest::collection::vec(("x-[a-z0-9]{1,8}", "[!-~]([ -~]{0,30}[!-~])?"), 0..10),
    ) {
        let mut bytes = Vec::new();
        let headers = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        encode::request_head(&mut bytes, Method::Put, &target, [("Host", "h")].into_iter().chain(headers));
        let (head, consumed) = parse(&bytes).unwrap().unwrap();
        prop_assert_eq!(consumed, bytes.len());
        prop_assert_eq!(head.target(), target);
        let expected: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        prop_assert_eq!(head.headers().skip(1).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn responses_round_trip(
        status in 200..600_u16,
        length in proptest::option::of(any::<u64>()),
        close in any::<bool>(),
        fields in proptest::collection::vec(("x-[a-z0-9]{1,8}", "[!-~]([ -~]{0,30}[!-~])?"), 0..10),
        cuts in any::<[usize; 4]>(),
    ) {
        let mut bytes = Vec::new();
        let connection = if close { encode::Connection::Close } else { encode::Connection::KeepAlive };
        let head = encode::ResponseHead { status, date: None, content_length: length, connection };
        encode::response_head(&mut bytes, &head, fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut parser = ResponseParser::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % bytes.len()).collect();
        cuts.sort_unstable();
        for cut in cuts {
            prop_assert!(parser.parse(&bytes[..cut], &Limits::default()).unwrap().is_none());
        }
        let (parsed, consumed) = parser.parse(&bytes, &Limits::default()).unwrap().unwrap();
        prop_assert_eq!((parsed.status(), parsed.keep_alive(), consumed), (status, !close, bytes.len()));
        let expected: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        prop_assert_eq!(parsed.headers().take(fields.len()).collect::<Vec<_>>(), expected);
        let framing = match length {
            _ if status == 204 || status == 304 => Some(Framing::None),
            Some(0) => Some(Framing::None),
            other => other.map(Framing::Length),
        };
        prop_assert_eq!(parsed.framing(Method::Get), framing);
    }
}
