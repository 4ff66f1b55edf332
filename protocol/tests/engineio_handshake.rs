//! Queries, the checks of `spec/socketio.md` §3.3, session ids.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::collections::HashSet;

use proptest::prelude::*;
use protocol::engineio::handshake::{Query, Refusal};
use protocol::engineio::session::Transport;
use protocol::engineio::sid::{RANDOM_BYTES, Sid};

/// What a request is, besides its target.
#[derive(Clone, Copy)]
enum Form {
    Get,
    Post,
    Upgrade,
}

/// The checks in the order in which the endpoint makes them; `live` is the transport of the session that `sid` names.
fn refused(target: &str, form: Form, live: Option<Transport>) -> Option<Refusal> {
    let query = Query::parse(target);
    let is_upgrade = matches!(form, Form::Upgrade);
    let check = || {
        let transport = query.transport().ok_or(Refusal::TransportUnknown)?;
        match query.sid() {
            Some(_) => query.check_session(transport, live.ok_or(Refusal::SessionUnknown)?, is_upgrade),
            None => query.check_open(transport, !matches!(form, Form::Post), is_upgrade),
        }
    };
    check().err()
}

#[test]
fn checks_in_order() {
    use Form::{Get, Post, Upgrade};
    use Transport::{Polling, WebSocket};
    let check = |query: &str, form, live, expected: Option<Refusal>| {
        let target = format!("/v1/updates/?{query}");
        assert_eq!(refused(&target, form, live), expected, "{query}");
    };
    // 1: the transport, before everything else.
    for query in ["", "EIO=4", "EIO=4&transport=", "EIO=4&transport=webtransport", "transport=WebSocket&sid=none"] {
        for form in [Get, Post, Upgrade] {
            check(query, form, None, Some(Refusal::TransportUnknown));
        }
    }
    // 3: the session.
    check("EIO=4&transport=polling&sid=none", Get, None, Some(Refusal::SessionUnknown));
    check("transport=websocket&sid=none", Upgrade, None, Some(Refusal::SessionUnknown));
    check("transport=polling&sid=none", Post, None, Some(Refusal::SessionUnknown));
    // 4: a transport that is not in use.
    check("transport=polling&sid=s", Get, Some(WebSocket), Some(Refusal::BadRequest));
    check("transport=polling&sid=s", Post, Some(WebSocket), Some(Refusal::BadRequest));
    check("transport=websocket&sid=s", Get, Some(Polling), Some(Refusal::BadRequest));
    // S-15: the reference server never answers this one.
    check("transport=websocket&sid=s", Get, Some(WebSocket), Some(Refusal::BadRequest));
    // Revision and method do not matter once there is a session.
    check("EIO=3&transport=polling&sid=s", Get, Some(Polling), None);
    check("transport=polling&sid=s", Post, Some(Polling), None);
    check("transport=websocket&sid=s", Upgrade, Some(Polling), None);
    // Whether it can take over is the session's to say; the upgrade is accepted first (§7).
    check("transport=websocket&sid=s", Upgrade, Some(WebSocket), None);
    // 5: the method, before the revision.
    check("EIO=4&transport=polling", Post, None, Some(Refusal::BadHandshakeMethod));
    check("EIO=3&transport=websocket", Post, None, Some(Refusal::BadHandshakeMethod));
    // 6: a plain request for a websocket, before the revision.
    check("EIO=3&transport=websocket", Get, None, Some(Refusal::BadRequest));
    // 7: the revision.
    for query in ["transport=polling", "EIO=3&transport=polling", "EIO=&transport=polling", "EIO=04&transport=polling"]
    {
        check(query, Get, None, Some(Refusal::UnsupportedRevision));
    }
    check("EIO=3&transport=websocket", Upgrade, None, Some(Refusal::UnsupportedRevision));
    // S-9: an upgrade to polling.
    check("EIO=4&transport=polling", Upgrade, None, Some(Refusal::BadRequest));
    check("transport=polling&sid=s", Upgrade, Some(Polling), Some(Refusal::BadRequest));
    // And what is right.
    check("EIO=4&transport=polling", Get, None, None);
    check("EIO=4&transport=websocket", Upgrade, None, None);
    check("EIO=4&transport=polling&sid=", Get, None, None);
}

#[test]
fn refusals_on_the_wire() {
    let check = |refusal: Refusal, json: &str| {
        assert_eq!(refusal.json(), json);
        let message = refusal.message();
        let expected = format!(
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-type: text/html\r\nContent-Length: {}\r\n\r\n{message}",
            message.len()
        );
        assert_eq!(String::from_utf8(refusal.raw_response()).unwrap(), expected);
    };
    check(Refusal::TransportUnknown, r#"{"code":0,"message":"Transport unknown"}"#);
    check(Refusal::SessionUnknown, r#"{"code":1,"message":"Session ID unknown"}"#);
    check(Refusal::BadHandshakeMethod, r#"{"code":2,"message":"Bad handshake method"}"#);
    check(Refusal::BadRequest, r#"{"code":3,"message":"Bad request"}"#);
    check(Refusal::UnsupportedRevision, r#"{"code":5,"message":"Unsupported protocol version"}"#);
    assert!(String::from_utf8(Refusal::SessionUnknown.raw_response()).unwrap().contains("Content-Length: 18\r\n"));
}

#[test]
fn queries() {
    // Of a repeated name the last counts; names and values are percent-decoded; unknown names do not matter.
    let query = Query::parse("/v1/updates/x/y?sid=a&t=1&transport=polling&transport=web%73ocket&s%69d=b");
    assert_eq!((query.transport(), query.sid()), (Some(Transport::WebSocket), Some("b")));
    assert_eq!(Query::parse("/v1/updates/?sid=a+b").sid(), Some("a b"));
    assert_eq!(Query::parse("/v1/updates/?sid=a&sid=").sid(), None);
    assert_eq!(Query::parse("/v1/updates/"), Query::default());
}

#[test]
fn session_ids() {
    for text in [
        "",
        "x",
        "lv_VI97HAXpY6yYWAAA",
        "lv_VI97HAXpY6yYWAAAC0",
        "lv_VI97HAXpY6yYWAA=C",
        "lv_VI97HAXpY6yYWA\u{e9}",
        " v_VI97HAXpY6yYWAAAC",
    ] {
        assert_eq!(Sid::parse(text), None, "{text}");
    }
    let sid = Sid::parse("lv_VI97HAXpY6yYWAAAC").unwrap();
    assert_eq!(sid.as_str(), "lv_VI97HAXpY6yYWAAAC");
    assert!(!format!("{sid:?}").contains("VI97"), "a secret of its client");
    assert_eq!(size_of::<Sid>(), 20);
}

#[test]
fn session_ids_carry_at_least_96_random_bits() {
    // Every random byte that differs in the bits that are used gives another id.
    let mut seen = HashSet::new();
    for at in 0..RANDOM_BYTES {
        for bits in 0..64 {
            let mut random = [0; RANDOM_BYTES];
            *random.get_mut(at).unwrap() = bits;
            seen.insert(Sid::new(0, random));
        }
    }
    assert_eq!(seen.len(), RANDOM_BYTES * 63 + 1);
    const { assert!(RANDOM_BYTES * 6 >= 96) };
}

proptest! {
    #[test]
    fn session_ids_round_trip(core in any::<u16>(), random in any::<[u8; RANDOM_BYTES]>()) {
        let sid = Sid::new(core, random);
        prop_assert_eq!(sid.core(), core);
        prop_assert_eq!(Sid::parse(sid.as_str()), Some(sid));
        prop_assert!(sid.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }

    #[test]
    fn any_query_is_read_without_panic(target in "\\PC{0,40}|/\\?((EIO|transport|sid|t)(=[a-z0-9%+]{0,6})?&?){0,5}") {
        let query = Query::parse(&target);
        let _ = (query.transport(), query.sid().and_then(Sid::parse).map(|sid| sid.core()));
    }
}
