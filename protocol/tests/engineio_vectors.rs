//! Packets and payloads against the recorded vectors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::borrow::Cow;

use protocol::engineio::handshake::open_packet;
use protocol::engineio::packet::{self, Packet};
use protocol::engineio::session::{Config, Transport};
use protocol::engineio::sid::Sid;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/engineio.json")).unwrap()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// What a vector says, in our terms. Data that means nothing is not kept.
fn expected(vector: &Value) -> Result<Packet<'_>, packet::Error> {
    if let Some(hex) = vector["dataHex"].as_str() {
        return Ok(Packet::Binary(Cow::Owned(unhex(hex))));
    }
    let data = vector["data"].as_str().filter(|data| !data.is_empty());
    Ok(match vector["type"].as_str().unwrap() {
        "open" => Packet::Open,
        "close" => Packet::Close,
        "ping" => Packet::Ping(data),
        "pong" => Packet::Pong(data),
        "message" => Packet::Message(data.unwrap_or_default()),
        "upgrade" => Packet::Upgrade,
        "noop" => Packet::Noop,
        "error" => return Err(packet::Error),
        other => panic!("unknown type {other}"),
    })
}

#[test]
fn decoding_packets() {
    let vectors = vectors();
    let cases = vectors["packetDecode"].as_array().unwrap();
    assert_eq!(cases.len(), 43);
    for case in cases {
        let input = &case["input"];
        let decoded = match input["text"].as_str() {
            Some(text) => packet::decode(text),
            None => Ok(Packet::Binary(Cow::Owned(unhex(input["hex"].as_str().unwrap())))),
        };
        assert_eq!(decoded, expected(&case["packet"]), "{input}");
    }
}

#[test]
fn encoding_packets() {
    let vectors = vectors();
    let cases = vectors["packetEncode"].as_array().unwrap();
    assert_eq!(cases.len(), 27);
    for case in cases {
        let text = case["polling"]["text"].as_str().unwrap();
        if case["packet"]["type"] == "open" {
            let sid = Sid::parse("lv_VI97HAXpY6yYWAAAC").unwrap();
            assert_eq!(open_packet(&sid, Transport::Polling, &Config::default()), text);
            continue;
        }
        let packet = expected(&case["packet"]).unwrap();
        let mut out = Vec::new();
        packet.encode(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
        // A websocket carries binary messages as they are, everything else in the same form.
        match &packet {
            Packet::Binary(bytes) => assert_eq!(bytes.as_ref(), unhex(case["websocket"]["hex"].as_str().unwrap())),
            _ => assert_eq!(case["websocket"]["text"], text),
        }
    }
}

#[test]
fn decoding_payloads() {
    let vectors = vectors();
    let cases = vectors["payloadDecode"].as_array().unwrap();
    assert_eq!(cases.len(), 19);
    for case in cases {
        let decoded: Vec<_> = packet::payload(case["encoded"].as_str().unwrap()).collect();
        let expected: Vec<_> = case["packets"].as_array().unwrap().iter().map(expected).collect();
        assert_eq!(decoded, expected, "{case}");
    }
}

#[test]
fn encoding_payloads() {
    let vectors = vectors();
    let cases = vectors["payloadEncode"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let mut payload = Vec::new();
        for packet in case["packets"].as_array().unwrap() {
            let mut encoded = Vec::new();
            expected(packet).unwrap().encode(&mut encoded);
            packet::append_to_payload(&mut payload, &encoded);
        }
        assert_eq!(String::from_utf8(payload).unwrap(), case["encoded"].as_str().unwrap());
    }
}

#[test]
fn the_open_packet_has_exactly_five_members() {
    let sid = Sid::new(3, [7; protocol::engineio::sid::RANDOM_BYTES]);
    for (transport, upgrades) in [(Transport::Polling, r#"["websocket"]"#), (Transport::WebSocket, "[]")] {
        let open =
            open_packet(&sid, transport, &Config { ping_interval_ms: 300, ping_timeout_ms: 200, ..Config::default() });
        let json: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 5);
        assert_eq!(json["sid"], sid.as_str());
        assert_eq!(json["upgrades"].to_string(), upgrades);
        assert_eq!((&json["pingInterval"], &json["pingTimeout"]), (&300.into(), &200.into()));
        assert_eq!(json["maxPayload"], 1_000_000);
    }
}
