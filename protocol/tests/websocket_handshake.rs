//! The opening handshake: both sides of the second table of `spec/socketio.md` §3.3.
#![allow(missing_docs, clippy::unwrap_used)]

use proptest::prelude::*;
use protocol::http::Method;
use protocol::http::head::{Framing, HeadParser, Limits, RequestHead};
use protocol::http::response::ResponseParser;
use protocol::websocket::handshake::{self, Refusal};

/// The key of RFC 6455 §1.3 and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const TARGET: &str = "/v1/updates/?EIO=4&transport=websocket";

fn parse(text: &str) -> RequestHead {
    HeadParser::new().parse(text.as_bytes(), &Limits::default()).unwrap().unwrap().0
}

/// A request with these fields.
fn request(fields: &[(&str, &str)]) -> RequestHead {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    parse(&format!("GET {TARGET} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"))
}

/// A good request in which one field is replaced, or left out if there is no value, or added.
fn altered(name: &str, value: Option<&str>) -> RequestHead {
    let mut fields = vec![
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
    ];
    fields.retain(|(field, _)| *field != name);
    fields.extend(value.map(|value| (name, value)));
    request(&fields)
}

#[test]
fn accept_key() {
    assert_eq!(&handshake::accept_key(KEY), ACCEPT);
}

#[test]
fn success() {
    let head = altered("X-Nothing", None);
    let accepted = handshake::check(&head).unwrap();
    let mut out = Vec::new();
    accepted.append_response(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
         Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\r\n"
    );
    for (name, value) in [("Upgrade", "WebSocket"), ("Sec-WebSocket-Version", "8"), ("Connection", "upgrade")] {
        assert!(handshake::check(&altered(name, Some(value))).is_ok(), "{name}");
    }
}

#[test]
fn the_first_subprotocol_is_echoed() {
    let first = |value: &str| {
        let head = altered("Sec-WebSocket-Protocol", Some(value));
        handshake::check(&head).map(|accepted| accepted.protocol.map(str::to_owned))
    };
    assert_eq!(first("chat"), Ok(Some("chat".to_owned())));
    assert_eq!(first("chat, super.chat\t,x"), Ok(Some("chat".to_owned())));
    for malformed in ["", ",", "chat,", ",chat", "a b", "a;b", "\"a\"", "chat, chat", "ä"] {
        assert_eq!(first(malformed), Err(Refusal::Protocol), "{malformed}");
    }
    let many: Vec<String> = (0..100).map(|number| format!("p{number}")).collect();
    assert_eq!(first(&many.join(",")), Err(Refusal::Protocol));
    let two = request(&[
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Protocol", "a"),
        ("Sec-WebSocket-Protocol", "b"),
    ]);
    let accepted = handshake::check(&two).unwrap();
    assert_eq!(accepted.protocol, Some("a"));
    let mut out = Vec::new();
    accepted.append_response(&mut out);
    assert!(String::from_utf8(out).unwrap().contains("\r\nSec-WebSocket-Protocol: a\r\n"));
}

#[test]
fn refusals() {
    let key_too_short = "dGhlIHNhbXBsZSBub25j";
    let cases: &[(RequestHead, Refusal)] = &[
        (altered("Upgrade", None), Refusal::Upgrade),
        (altered("Upgrade", Some("h2c")), Refusal::Upgrade),
        (altered("Upgrade", Some("websocket2")), Refusal::Upgrade),
        (altered("Connection", None), Refusal::Upgrade),
        (altered("Sec-WebSocket-Key", None), Refusal::Key),
        (altered("Sec-WebSocket-Key", Some("")), Refusal::Key),
        (altered("Sec-WebSocket-Key", Some(key_too_short)), Refusal::Key),
        (altered("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZQ=")), Refusal::Key),
        (altered("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25jZQ")), Refusal::Key),
        (altered("Sec-WebSocket-Key", Some("dGhlIHNhbXBsZSBub25j-Q==")), Refusal::Key),
        (altered("Sec-WebSocket-Version", None), Refusal::Version),
        (altered("Sec-WebSocket-Version", Some("7")), Refusal::Version),
        (altered("Sec-WebSocket-Version", Some("13, 8")), Refusal::Version),
        (parse("POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), Refusal::Method),
    ];
    for (head, refusal) in cases {
        assert_eq!(handshake::check(head), Err(*refusal), "{head:?}");
    }
}

#[test]
fn answers_to_refusals() {
    let cases = [
        (Refusal::Method, 405, "Invalid HTTP method"),
        (Refusal::Upgrade, 400, "Invalid Upgrade header"),
        (Refusal::Key, 400, "Missing or invalid Sec-WebSocket-Key header"),
        (Refusal::Version, 400, "Missing or invalid Sec-WebSocket-Version header"),
        (Refusal::Protocol, 400, "Invalid Sec-WebSocket-Protocol header"),
    ];
    for (refusal, status, body) in cases {
        let mut out = Vec::new();
        refusal.append_response(&mut out);
        let (head, consumed) = ResponseParser::new().parse(&out, &Limits::default()).unwrap().unwrap();
        assert_eq!(out.get(consumed..).unwrap(), body.as_bytes());
        assert_eq!((head.status(), head.keep_alive()), (status, false));
        assert_eq!(head.framing(Method::Get), Some(Framing::Length(u64::try_from(body.len()).unwrap())));
        assert_eq!(head.header("content-type"), Some("text/html"));
        let versions = (refusal == Refusal::Version).then_some("13, 8");
        assert_eq!(head.header("sec-websocket-version"), versions);
        assert_eq!(head.header("access-control-allow-origin"), None);
    }
}

/// The bytes of §3.3 for a failed check before the WebSocket level.
#[test]
fn refusal_of_the_endpoint() {
    let mut out = Vec::new();
    handshake::append_refusal(&mut out, 400, "Session ID unknown");
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: 18\r\n\r\n\
         Session ID unknown"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn our_client_is_accepted(nonce in any::<[u8; 16]>()) {
        let key = handshake::client_key(nonce);
        let mut bytes = Vec::new();
        handshake::append_request(&mut bytes, "localhost:3005", TARGET, &key, [("Origin", "x")]);
        let (head, consumed) = HeadParser::new().parse(&bytes, &Limits::default()).unwrap().unwrap();
        prop_assert_eq!((consumed, head.target(), head.header("origin")), (bytes.len(), TARGET, Some("x")));
        let accepted = handshake::check(&head).unwrap();
        prop_assert_eq!(accepted.accept, handshake::accept_key(&key));
        let mut response = Vec::new();
        accepted.append_response(&mut response);
        let (response, _) = ResponseParser::new().parse(&response, &Limits::default()).unwrap().unwrap();
        prop_assert_eq!(response.status(), 101);
        prop_assert_eq!(response.header("sec-websocket-accept").unwrap().as_bytes(), &accepted.accept[..]);
    }
}
