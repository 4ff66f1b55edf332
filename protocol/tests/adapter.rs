//! Messages between servers against the recorded entries, and what is decoded of what is encoded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::borrow::Cow;

use proptest::prelude::*;
use protocol::adapter::entry::{self, Entry};
use protocol::adapter::message::{self, Flags, Kind, List, Message, Opts, Payload};
use protocol::adapter::msgpack::{self, Value};
use protocol::adapter::name::{RequestId, Uid};
use protocol::socketio::packet;
use serde_json::{Value as Json, json};

#[test]
fn whatever_a_client_may_send_reaches_a_client_of_another_server() {
    let nested = |depth: u16| "[".repeat(depth.into()) + &"]".repeat(depth.into());
    let opts = Opts { rooms: vec!["s".into()], ..Opts::default() };
    // An object inside an array is around the parameters, an array around the result.
    let call = |depth: u16| format!(r#"20["rpc-call",{{"method":"m","params":{}}}]"#, nested(depth));
    let (deepest, too_deep) = (call(packet::DEPTH_MAX - 2), call(packet::DEPTH_MAX - 1));
    assert_eq!(packet::decode(&too_deep), Err(packet::Error::Payload));
    let params = packet::decode(&deepest).unwrap().arguments().next().unwrap();
    let request = List::json(format!(r#"["rpc-request",{params}]"#)).unwrap();
    let result = format!("30[{}]", nested(packet::DEPTH_MAX - 1));
    let result = packet::decode(&result).unwrap().arguments().next().unwrap();
    let request_id = RequestId::from_random(1);
    for message in [
        Message::Broadcast { packet: request, request: Some(request_id.clone()), opts },
        Message::BroadcastAck { request: request_id, packet: Some(Payload::json(result).unwrap()) },
    ] {
        assert_eq!(message::decode(message.kind(), message.encode_data().as_deref()), Ok(message));
    }
}

fn recorded() -> Vec<(String, Vec<String>, Json)> {
    let vectors: Json = serde_json::from_str(include_str!("../../tests/vectors/redis-streams.json")).unwrap();
    let mut entries = Vec::new();
    for scenario in vectors["scenarios"].as_array().unwrap() {
        for entry in scenario["entries"].as_array().unwrap() {
            let fields = entry["fields"].as_array().unwrap().iter().map(|field| field.as_str().unwrap().to_string());
            entries.push((scenario["name"].to_string(), fields.collect(), entry["decoded"].clone()));
        }
    }
    entries
}

fn read(fields: &[String]) -> Option<Entry<'_>> {
    Entry::read(fields.chunks(2).map(|pair| (pair[0].as_bytes(), pair[1].as_bytes())))
}

/// A value of the vectors, in which bytes are written as `{"$hex": …}`.
fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => number
            .as_u64()
            .map(Value::Unsigned)
            .or_else(|| number.as_i64().map(Value::Negative))
            .unwrap_or_else(|| Value::Float(number.as_f64().unwrap())),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(value_of).collect()),
        Json::Object(members) => match members.get("$hex").and_then(Json::as_str) {
            Some(hex) => Value::Binary(
                (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect(),
            ),
            None => Value::Map(members.iter().map(|(key, value)| (key.clone(), value_of(value))).collect()),
        },
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Map(members) => {
            let mut members: Vec<_> = members.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Map(members)
        }
        value => value,
    }
}

/// What a payload means, whichever encoding it came in.
fn meaning(payload: &Payload<'_>) -> Value {
    sorted(match payload {
        Payload::Json(json) => value_of(&serde_json::from_str(json.as_str()).unwrap()),
        Payload::Value(value) => value.clone(),
    })
}

#[test]
fn recorded_entries_decode_to_their_meaning_and_encode_to_their_text() {
    let entries = recorded();
    assert!(entries.len() > 40, "{}", entries.len());
    let mut kinds = std::collections::HashSet::new();
    for (scenario, fields, decoded) in &entries {
        let entry = read(fields).unwrap_or_else(|| panic!("{scenario}"));
        kinds.insert(entry.kind);
        assert_eq!(entry.uid.as_str(), decoded["uid"], "{scenario}");
        assert_eq!(entry.kind.number(), decoded["type"].to_string(), "{scenario}");
        let message = entry.message().unwrap_or_else(|error| panic!("{scenario}: {error}"));
        check_meaning(scenario, &message, &decoded["data"]);
        let written: Vec<String> = entry::fields(&entry.uid, &message)
            .into_iter()
            .flat_map(|(name, value)| [name.to_string(), value])
            .collect();
        assert_eq!(&written, fields, "{scenario}");
        match (entry.address(), &message) {
            (Some(address), Message::Broadcast { request, opts, .. }) => {
                assert_eq!((&address.request, &address.opts), (request, opts), "{scenario}");
            }
            (None, Message::Broadcast { .. }) => assert!(!entry.data.unwrap().starts_with('{'), "{scenario}"),
            (address, _) => assert_eq!(address, None, "{scenario}"),
        }
    }
    assert_eq!(kinds.len(), 13, "every kind is recorded");
}

fn check_meaning(scenario: &str, message: &Message<'_>, data: &Json) {
    let expect = |payload: &Payload<'_>, at: &Json| assert_eq!(meaning(payload), sorted(value_of(at)), "{scenario}");
    let names = |names: &[Cow<'_, str>]| json!(names);
    let same_opts = |opts: &Opts<'_>| {
        assert_eq!(names(&opts.rooms), data["opts"]["rooms"], "{scenario}");
        assert_eq!(names(&opts.except), data["opts"]["except"], "{scenario}");
        assert_eq!(opts.flags.timeout, data["opts"]["flags"]["timeout"].as_u64(), "{scenario}");
        assert_eq!(opts.flags.volatile, data["opts"]["flags"]["volatile"].as_bool(), "{scenario}");
        assert_eq!(opts.flags.compress, data["opts"]["flags"]["compress"].as_bool(), "{scenario}");
    };
    let same_request = |request: Option<&RequestId>| {
        assert_eq!(request.map(RequestId::as_str), data["requestId"].as_str(), "{scenario}");
    };
    let list = |list: &List<'_>| Payload::json(list.clone().into_json().into_owned()).unwrap();
    match message {
        Message::InitialHeartbeat | Message::Heartbeat | Message::AdapterClose => assert_eq!(data, &Json::Null),
        Message::Broadcast { packet, request, opts } => {
            same_opts(opts);
            same_request(request.as_ref());
            assert_eq!(data["packet"]["type"], 2);
            if !data["packet"].to_string().contains("$hex") {
                expect(&list(packet), &data["packet"]["data"]);
            }
        }
        Message::SocketsJoin { opts, rooms } | Message::SocketsLeave { opts, rooms } => {
            same_opts(opts);
            assert_eq!(names(rooms), data["rooms"]);
        }
        Message::DisconnectSockets { opts, close } => {
            same_opts(opts);
            assert_eq!(Some(*close), data["close"].as_bool());
        }
        Message::FetchSockets { opts, request } => {
            same_opts(opts);
            same_request(Some(request));
        }
        Message::FetchSocketsResponse { request, sockets } => {
            same_request(Some(request));
            expect(&list(sockets), &data["sockets"]);
        }
        Message::ServerSideEmit { packet, request } => {
            same_request(request.as_ref());
            expect(&list(packet), &data["packet"]);
        }
        Message::ServerSideEmitResponse { request, packet } => {
            same_request(Some(request));
            expect(packet, &data["packet"]);
        }
        Message::BroadcastClientCount { request, count } => {
            same_request(Some(request));
            assert_eq!(Some(*count), data["clientCount"].as_u64());
        }
        Message::BroadcastAck { request, packet } => {
            same_request(Some(request));
            match packet {
                Some(packet) => expect(packet, &data["packet"]),
                None => assert_eq!(data.get("packet"), None),
            }
        }
    }
}

#[test]
fn a_broadcast_with_bytes_reads_as_recorded() {
    let entries = recorded();
    let (_, fields, decoded) =
        entries.iter().find(|(name, ..)| name.contains("broadcast with binary value")).expect("it is recorded");
    let Message::Broadcast { packet, .. } = read(fields).unwrap().message().unwrap() else { panic!() };
    let text = packet.into_json();
    let json: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(json[1], json!({"type": "Buffer", "data": [1, 2, 3, 255]}));
    assert_eq!(json[2], decoded["data"]["packet"]["data"][2]);
}

fn entry_of(kind: Kind, data: &str) -> Entry<'_> {
    Entry { uid: Uid::from_random(1), kind, data: Some(data) }
}

#[test]
fn what_is_malformed_is_skipped() {
    for (kind, data) in [
        (Kind::Broadcast, ""),
        (Kind::Broadcast, "{"),
        (Kind::Broadcast, "{}"),
        (Kind::Broadcast, r#"{"packet":{"type":2,"data":[]}}"#),
        (Kind::Broadcast, r#"{"opts":{"rooms":[],"except":[],"flags":{}}}"#),
        (Kind::Broadcast, r#"{"packet":{"type":2,"data":{}},"opts":{"rooms":[],"except":[],"flags":{}}}"#),
        (
            Kind::Broadcast,
            r#"{"packet":{"type":2,"data":[]},"requestId":7,"opts":{"rooms":[],"except":[],"flags":{}}}"#,
        ),
        (Kind::Broadcast, r#"{"packet":{"type":2,"data":[]},"opts":{"rooms":[1],"except":[],"flags":{}}}"#),
        (Kind::Broadcast, "gA=="),
        (Kind::Broadcast, "wQ=="),
        (Kind::Broadcast, "not base64!"),
        (Kind::BroadcastClientCount, r#"{"requestId":"x","clientCount":-1}"#),
        (Kind::BroadcastClientCount, r#"{"requestId":"","clientCount":1}"#),
        (Kind::BroadcastAck, "{}"),
        (Kind::DisconnectSockets, r#"{"opts":{"rooms":[],"except":[],"flags":{}}}"#),
        (Kind::ServerSideEmit, r#"{"packet":1}"#),
    ] {
        assert!(entry_of(kind, data).message().is_err(), "{kind:?} {data}");
    }
    assert!(message::decode(Kind::Broadcast, None).is_err());
    assert!(message::decode(Kind::Heartbeat, Some("whatever")).is_ok());
    let deep = format!(r#"{{"requestId":"x","packet":{}1{}}}"#, "[".repeat(4_000), "]".repeat(4_000));
    assert!(entry_of(Kind::BroadcastAck, &deep).message().is_err());
    for (uid, nsp, kind) in [("", "/", "3"), ("u", "/other", "3"), ("u", "/", "14"), ("u", "/", "03"), ("u", "/", "")] {
        let fields = [("uid", uid), ("nsp", nsp), ("type", kind)];
        assert_eq!(Entry::read(fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()))), None);
    }
    assert_eq!(Entry::read([(&b"uid"[..], &b"\xff"[..]), (b"nsp", b"/"), (b"type", b"2")]), None);
}

#[test]
fn texts_that_look_like_members_do_not_change_the_address() {
    let inner = r#"x\",\"opts\":{\"rooms\":[\"evil\"],\"except\":[],\"flags\":{}}}"#;
    let nested = r#"{"a":1,"opts":{"rooms":["evil"],"except":[],"flags":{}}}"#;
    for argument in [format!("\"{inner}\""), nested.to_string(), r#"{"requestId":"evil"}"#.to_string()] {
        let data = format!(
            r#"{{"packet":{{"type":2,"data":["e",{argument}]}},"opts":{{"rooms":["good"],"except":[],"flags":{{}}}}}}"#
        );
        let address = entry_of(Kind::Broadcast, &data).address().unwrap();
        assert_eq!((address.opts.rooms, address.request), (vec![Cow::Borrowed("good")], None), "{data}");
    }
    // The member that looks like the last is not the outermost one, or is followed by another.
    for data in [
        r#"{"opts":{"rooms":["good"],"except":[],"flags":{}},"packet":{"type":2,"data":[{"a":1,"opts":{"rooms":["evil"],"except":[],"flags":{}}}]}}"#,
        r#"{"packet":{"type":2,"data":[1]},"opts":{"rooms":["evil"],"except":[],"flags":{}},"opts":{"rooms":["good"],"except":[],"flags":{}},"requestId":"r"}"#,
    ] {
        let entry = entry_of(Kind::Broadcast, data);
        assert_eq!(entry.address(), None, "{data}");
        let Ok(Message::Broadcast { opts, .. }) = entry.message() else { panic!("{data}") };
        assert_eq!(opts.rooms, ["good"]);
    }
}

#[test]
fn lengths_that_lie_cost_nothing() {
    for bytes in [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0xc6, 0xff, 0xff, 0xff, 0xff]]
    {
        assert_eq!(msgpack::decode(bytes), Err(msgpack::Error::End));
    }
    let deep = vec![0x91; 10_000];
    assert_eq!(msgpack::decode(&deep), Err(msgpack::Error::TooLarge));
    let mut wide = vec![0xdd, 0x00, 0x10, 0x00, 0x00];
    wide.resize(wide.len() + (1 << 20), 0xc0);
    assert_eq!(msgpack::decode(&wide), Err(msgpack::Error::TooLarge));
    assert_eq!(msgpack::decode(&[0xc0, 0xc0]), Err(msgpack::Error::Trailing));
}

#[test]
fn numbers_take_their_smallest_form_and_others_are_read() {
    for (value, bytes) in [
        (Value::Unsigned(127), &[0x7f][..]),
        (Value::Unsigned(128), &[0xcc, 0x80]),
        (Value::Unsigned(256), &[0xcd, 1, 0]),
        (Value::Unsigned(65_536), &[0xce, 0, 1, 0, 0]),
        (Value::Unsigned(1 << 32), &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
        (Value::Negative(-32), &[0xe0]),
        (Value::Negative(-33), &[0xd0, 0xdf]),
        (Value::Negative(-129), &[0xd1, 0xff, 0x7f]),
        (Value::Negative(-32_769), &[0xd2, 0xff, 0xff, 0x7f, 0xff]),
        (Value::Negative(i64::MIN), &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0]),
        (Value::Float(1.5), &[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0]),
    ] {
        let mut out = Vec::new();
        msgpack::encode(&mut out, &value);
        assert_eq!(out, bytes, "{value:?}");
        assert_eq!(msgpack::decode(bytes), Ok(value));
    }
    assert_eq!(msgpack::decode(&[0xd1, 0, 5]), Ok(Value::Unsigned(5)), "not the smallest form");
    assert_eq!(msgpack::decode(&[0xca, 0x3f, 0xc0, 0, 0]), Ok(Value::Float(1.5)));
    assert_eq!(msgpack::decode(&[0xd4, 0, 0]), Ok(Value::Null), "undefined");
    assert_eq!(msgpack::decode(&[0xc7, 2, 5, 1, 2]), Ok(Value::Null));
}

// ---- properties -------------------------------------------------------------------------------------------------

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z:\"\\\\{}\\[\\],]{0,24}", any::<String>()]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::Unsigned),
        (i64::MIN..0).prop_map(Value::Negative),
        prop::num::f64::NORMAL.prop_map(Value::Float),
        text().prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(Value::Binary),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            prop::collection::vec((text(), inner), 0..20).prop_map(Value::Map),
        ]
    })
}

/// A payload in the form in which it is read again: MessagePack only if there are bytes in it.
fn payload(value: Value) -> Payload<'static> {
    if value.has_binary() {
        return Payload::Value(value);
    }
    let mut out = Vec::new();
    value.write_json(&mut out);
    Payload::json(String::from_utf8(out).unwrap()).unwrap()
}

fn opts() -> impl Strategy<Value = Opts<'static>> {
    let names = || prop::collection::vec(text().prop_map(Cow::Owned), 0..4);
    let flags = (any::<Option<u64>>(), any::<Option<bool>>(), any::<Option<bool>>());
    (names(), names(), flags).prop_map(|(rooms, except, (timeout, volatile, compress))| Opts {
        rooms,
        except,
        flags: Flags { timeout, volatile, compress },
    })
}

fn any_message() -> impl Strategy<Value = Message<'static>> {
    let id = || any::<u64>().prop_map(RequestId::from_random);
    let list =
        || prop::collection::vec(value(), 0..4).prop_map(|items| List::new(payload(Value::Array(items))).unwrap());
    let rooms = || prop::collection::vec(text().prop_map(Cow::Owned), 0..4);
    prop_oneof![
        Just(Message::InitialHeartbeat),
        Just(Message::Heartbeat),
        Just(Message::AdapterClose),
        (list(), prop::option::of(id()), opts()).prop_map(|(packet, request, opts)| Message::Broadcast {
            packet,
            request,
            opts
        }),
        (opts(), rooms()).prop_map(|(opts, rooms)| Message::SocketsJoin { opts, rooms }),
        (opts(), rooms()).prop_map(|(opts, rooms)| Message::SocketsLeave { opts, rooms }),
        (opts(), any::<bool>()).prop_map(|(opts, close)| Message::DisconnectSockets { opts, close }),
        (opts(), id()).prop_map(|(opts, request)| Message::FetchSockets { opts, request }),
        (id(), list()).prop_map(|(request, sockets)| Message::FetchSocketsResponse { request, sockets }),
        (list(), prop::option::of(id())).prop_map(|(packet, request)| Message::ServerSideEmit { packet, request }),
        (id(), value())
            .prop_map(|(request, value)| Message::ServerSideEmitResponse { request, packet: payload(value) }),
        (id(), any::<u64>()).prop_map(|(request, count)| Message::BroadcastClientCount { request, count }),
        (id(), prop::option::of(value()))
            .prop_map(|(request, value)| Message::BroadcastAck { request, packet: value.map(payload) }),
    ]
}

proptest! {
    #[test]
    fn values_survive(value in value()) {
        let mut out = Vec::new();
        msgpack::encode(&mut out, &value);
        prop_assert_eq!(msgpack::decode(&out), Ok(value));
    }

    #[test]
    fn messages_survive(message in any_message(), uid in any::<u64>()) {
        let uid = Uid::from_random(uid);
        let fields = entry::fields(&uid, &message);
        let entry = Entry::read(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))).unwrap();
        prop_assert_eq!(&entry.uid, &uid);
        prop_assert_eq!(&entry.message().unwrap(), &message);
        if let Some(address) = entry.address() {
            let Message::Broadcast { request, opts, .. } = message else { panic!("only broadcasts have an address") };
            prop_assert_eq!((address.request, address.opts), (request, opts));
        } else if let Message::Broadcast { .. } = message {
            prop_assert!(!entry.data.unwrap().starts_with('{'), "the usual form can always be addressed");
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = msgpack::decode(&bytes);
    }

    #[test]
    fn any_text_is_a_message_or_an_error(kind in 1..14_u8, text in text()) {
        let kind = Kind::parse(&kind.to_string()).unwrap();
        let _ = entry_of(kind, &text).message();
        let _ = entry_of(kind, &text).address();
    }
}
