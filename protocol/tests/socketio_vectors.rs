//! Packets against the recorded vectors, and what is decoded of what is encoded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use proptest::prelude::*;
use protocol::json;
use protocol::socketio::attachments::{self, Complete};
use protocol::socketio::connection::{Connection, Step};
use protocol::socketio::packet::{self, Envelope, Kind, Name, Packet};
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(&patched(include_str!("vectors/socketio.json"))).unwrap()
}

/// The oracle's reader refuses half of a surrogate pair; a mark takes its place, in texts and in what they mean.
fn patched(vectors: &str) -> String {
    assert_eq!(vectors.matches(r"\ud800").count(), 4);
    vectors.replace(r"\\ud800", "LONE").replace(r"\ud800", "LONE")
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn code(kind: Kind) -> u64 {
    match kind {
        Kind::Connect => 0,
        Kind::Disconnect => 1,
        // The reference decoder reports binary packets like others.
        Kind::Event | Kind::BinaryEvent => 2,
        Kind::Ack | Kind::BinaryAck => 3,
        Kind::ConnectError => 4,
    }
}

/// Puts attachments in the place of their placeholders, as the vectors write them.
fn with_attachments(value: &mut Value, attachments: &[Vec<u8>]) {
    if value["_placeholder"] == true {
        let index = usize::try_from(value["num"].as_u64().unwrap()).unwrap();
        let hex: String = attachments[index].iter().map(|byte| format!("{byte:02x}")).collect();
        *value = json!({ "$hex": hex });
        return;
    }
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(|element| with_attachments(element, attachments)),
        Value::Object(members) => members.values_mut().for_each(|member| with_attachments(member, attachments)),
        _ => {}
    }
}

/// A packet in the form of the vectors.
fn report(packet: &Packet<'_>, complete: Option<&Complete>) -> Value {
    let mut report = json!({ "type": code(packet.kind), "nsp": packet.namespace });
    if let Some(id) = packet.id {
        report["id"] = id.into();
    }
    if let Some(data) = packet.data {
        report["data"] = serde_json::from_str(data).unwrap();
        if let Some(complete) = complete {
            with_attachments(&mut report["data"], &complete.attachments);
        }
    }
    json!({ "packets": [report] })
}

/// What decoding the frames of a case gives, in the form of the vectors; texts of errors are informative only.
fn results(frames: &[Value]) -> Vec<Value> {
    // Every namespace of the vectors is connected, so that only syntax counts.
    let namespaces = ["/", "/admin"];
    let mut connection = Connection::open(0, 1);
    connection.keep_attachments();
    let mut results = Vec::new();
    for frame in frames {
        let result = match frame["text"].as_str() {
            Some(text) => match packet::decode(text) {
                Err(_) => json!({ "error": "" }),
                Ok(packet) if packet.attachments == 0 => {
                    // Whether anything is awaited is the connection's to know.
                    connection.connected_to(0);
                    match connection.receive_text("2[\"x\"]", &namespaces) {
                        Step::Violation => json!({ "error": "" }),
                        _ => report(&packet, None),
                    }
                }
                Ok(packet) => {
                    connection.connected_to(0);
                    connection.connected_to(1);
                    assert_eq!(connection.receive_text(text, &namespaces), Step::Nothing, "{}", packet.namespace);
                    json!({ "pending": true })
                }
            },
            None => match connection.receive_binary(&unhex(frame["hex"].as_str().unwrap())) {
                Step::Nothing => json!({ "pending": true }),
                Step::Complete(complete) => report(&complete.packet().unwrap(), Some(&complete)),
                Step::Violation => json!({ "error": "" }),
                other => panic!("{other:?}"),
            },
        };
        let failed = result.get("error").is_some();
        results.push(result);
        if failed {
            break;
        }
    }
    results
}

#[test]
fn decoding() {
    let vectors = vectors();
    let cases = vectors["decode"].as_array().unwrap();
    assert_eq!(cases.len(), 98);
    let mut refused = Vec::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let mut expected = case["result"].as_array().unwrap().clone();
        for result in &mut expected {
            if result.get("error").is_some() {
                *result = json!({ "error": "" });
            }
        }
        let mut actual = results(case["frames"].as_array().unwrap());
        if name == "event, big integer becomes a double" {
            // We hand the text on; what a number becomes is the reader's affair.
            actual[0]["packets"][0]["data"][1] = json!(9_007_199_254_740_992_u64);
        }
        if name == "connect, space before payload is read as an ack id" {
            // White space around JSON is tolerated, and without digits there is no id.
            expected[0]["packets"][0].as_object_mut().unwrap().remove("id");
        }
        if actual == expected {
            continue;
        }
        // A stricter reading is allowed where the vectors say so, and must then be an error.
        assert_eq!(case["mayReject"], true, "{name}: {actual:?}");
        assert!(actual.last().unwrap().get("error").is_some(), "{name}: {actual:?}");
        refused.push(name);
    }
    // Everything that is refused without need is listed, so that none is added unseen.
    assert_eq!(
        refused,
        [
            "event, space in ack id",
            "event, huge ack id",
            "binary event, placeholder number fractional",
            "binary event, zero attachments",
            "binary event, zero attachments then text",
            "binary event, eleven attachments",
            "binary event, no count",
            "binary event, fractional count",
            "binary event, hexadecimal count",
            "binary event, space count",
            "empty text",
            "space",
        ]
    );
}

#[test]
fn half_a_surrogate_pair_is_valid_and_matches_no_handler() {
    let text = r#"2["a","\ud800"]"#;
    let packet = packet::decode(text).unwrap();
    let argument = packet.arguments().next().unwrap();
    assert_eq!(argument, r#""\ud800""#);
    assert_eq!(json::unescape(argument), Err(json::LoneSurrogate));
    assert_eq!(packet::decode(r#"2["\ud800"]"#).unwrap().event_name(), Some(Name::Other));
}

/// Takes attachments out of a value and leaves placeholders, in the order in which the reference server counts them.
fn take_attachments(value: &mut Value, frames: &mut Vec<String>) {
    if let Some(hex) = value.get("$hex").and_then(Value::as_str) {
        frames.push(hex.to_string());
        let placeholder = json!({ "_placeholder": true, "num": frames.len() - 1 });
        *value = placeholder;
        return;
    }
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(|element| take_attachments(element, frames)),
        Value::Object(members) => members.values_mut().for_each(|member| take_attachments(member, frames)),
        _ => {}
    }
}

#[test]
fn encoding() {
    let vectors = vectors();
    let cases = vectors["encode"].as_array().unwrap();
    assert_eq!(cases.len(), 22);
    for case in cases {
        let packet = &case["packet"];
        let mut data = packet["data"].clone();
        let mut frames = Vec::new();
        take_attachments(&mut data, &mut frames);
        let envelope = Envelope {
            namespace: packet["nsp"].as_str().unwrap(),
            id: packet["id"].as_u64(),
            attachments: u8::try_from(frames.len()).unwrap(),
        };
        let texts: Vec<String> = data.as_array().into_iter().flatten().map(Value::to_string).collect();
        let arguments = texts.iter().map(String::as_str);
        let mut out = Vec::new();
        match packet["type"].as_u64().unwrap() {
            // A server never sends CONNECT without its answer.
            0 if data.is_null() => continue,
            0 => packet::encode_connect(&mut out, envelope.namespace, data["sid"].as_str().unwrap()),
            1 => packet::encode_disconnect_of(&mut out, envelope.namespace),
            2 => packet::encode_event_in(&mut out, &envelope, data[0].as_str().unwrap(), arguments.skip(1)),
            3 => packet::encode_ack_in(&mut out, &envelope, arguments),
            4 => packet::encode_connect_error(&mut out, envelope.namespace, data["message"].as_str().unwrap()),
            other => panic!("unknown type {other}"),
        }
        let text = String::from_utf8(out).unwrap();
        let expected = case["frames"][0]["text"].as_str().unwrap();
        // How the oracle prints numbers and orders members is its own affair; the frame is compared by what it means.
        let split = |text: &str| {
            let at = text.find(['[', '{']).unwrap_or(text.len());
            (text[..at].to_string(), serde_json::from_str::<Value>(&text[at..]).ok())
        };
        assert_eq!(split(text.strip_prefix('4').unwrap()), split(expected), "{}", case["name"]);
        let sent: Vec<_> =
            case["frames"].as_array().unwrap()[1..].iter().map(|frame| frame["hex"].as_str().unwrap()).collect();
        assert_eq!(frames, sent);
    }
}

#[test]
fn short_forms() {
    let check = |write: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let mut out = b"before".to_vec();
        write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap().strip_prefix("before").unwrap(), expected);
    };
    check(&|out| packet::encode_connect(out, "/", "abc"), r#"40{"sid":"abc"}"#);
    check(&packet::encode_disconnect, "41");
    check(&|out| packet::encode_event(out, "a\"b", "{}"), r#"42["a\"b",{}]"#);
    check(&|out| packet::encode_event_with_ack(out, Some(0), "e", "1"), r#"420["e",1]"#);
    check(&|out| packet::encode_event_with_ack(out, Some(u64::MAX), "e", "1"), r#"4218446744073709551615["e",1]"#);
    check(&|out| packet::encode_ack(out, 12, "null"), "4312[null]");
    check(&|out| packet::encode_ack(out, 1_000_000, ""), "431000000[]");
    check(
        &|out| packet::encode_connect_error(out, "/x", "Invalid namespace"),
        r#"44/x,{"message":"Invalid namespace"}"#,
    );
}

proptest! {
    #[test]
    fn decoding_never_panics(text in "[0-6]?[0-9-]{0,3}(/[a-z]{0,3},)?[0-9]{0,3}[\\[\\]{}\",:a-z0-9\\\\]{0,20}|\\PC{0,30}") {
        if let Ok(packet) = packet::decode(&text) {
            if let Some(data) = packet.data {
                prop_assert!(json::validate(data, json::DEPTH_MAX).is_ok());
                prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(data).is_ok());
            }
            let _ = packet.event_name();
            let _ = packet.arguments().map(attachments::placeholder).count();
        }
    }

    #[test]
    fn events_round_trip(
        namespace in "/[a-z0-9?=]{0,8}", id in proptest::option::of(any::<u64>()), attachments in 0u8..=10,
        name in "\\PC{0,12}|[\u{0}-\u{30}]{0,4}", texts in proptest::collection::vec("\\PC{0,12}", 0..4),
    ) {
        let reserved = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];
        prop_assume!(!reserved.contains(&name.as_str()));
        let arguments: Vec<String> = texts.iter().map(|text| json!([text, null]).to_string()).collect();
        let envelope = Envelope { namespace: &namespace, id, attachments };
        let mut out = Vec::new();
        packet::encode_event_in(&mut out, &envelope, &name, arguments.iter().map(String::as_str));
        let text = String::from_utf8(out).unwrap();
        let packet = packet::decode(text.strip_prefix('4').unwrap()).unwrap();
        prop_assert_eq!(packet.kind, if attachments == 0 { Kind::Event } else { Kind::BinaryEvent });
        prop_assert_eq!((packet.namespace, packet.id, packet.attachments), (namespace.as_str(), id, attachments));
        prop_assert_eq!(packet.event_name(), Some(Name::Text(name.into())));
        prop_assert_eq!(packet.arguments().collect::<Vec<_>>(), arguments);
    }

    #[test]
    fn acks_round_trip(id in any::<u64>(), values in proptest::collection::vec(any::<i32>(), 0..4)) {
        let arguments: Vec<String> = values.iter().map(ToString::to_string).collect();
        let mut out = Vec::new();
        let envelope = Envelope { id: Some(id), ..Envelope::default() };
        packet::encode_ack_in(&mut out, &envelope, arguments.iter().map(String::as_str));
        let text = String::from_utf8(out).unwrap();
        let packet = packet::decode(text.strip_prefix('4').unwrap()).unwrap();
        prop_assert_eq!((packet.kind, packet.id), (Kind::Ack, Some(id)));
        prop_assert_eq!(packet.arguments().collect::<Vec<_>>(), arguments);
    }
}
