//! The codecs on fixed inputs. Each case is a function of its own that does its work [`TIMES`] times; callgrind counts
//! the instructions of each, and `perf/instructions.sh` compares them with the committed baseline.
//!
//! A case must not depend on time, chance or addresses.

use std::hint::black_box;

use protocol::engineio::packet as engineio;
use protocol::http::Limits;
use protocol::http::encode::{Connection, ResponseHead, response_head};
use protocol::http::head::HeadParser;
use protocol::socketio::connection::Connection as SocketIo;
use protocol::socketio::packet as socketio;
use protocol::websocket::frame::{self, Opcode};
use protocol::websocket::message::{Decoder, Input};
use protocol::{adapter, base64, http, json, websocket};

/// So that what surrounds the work does not show.
const TIMES: usize = 100;

const GET: &str = "GET /v1/account/profile HTTP/1.1\r\nHost: api.happier.example\r\nConnection: keep-alive\r\n\
    Authorization: Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjbHh5ejEyMzQ1Njc4OTAiLCJpYXQiOjE3NjQwMDAwMDAsIm5iZiI6MTc2NDAwMDAwMCwiaXNzIjoiaGFuZHkifQ.c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJl\r\n\
    Accept: application/json, text/plain, */*\r\nUser-Agent: happier-cli/0.11.2 (linux; x64)\r\nAccept-Encoding: gzip, deflate, br\r\n\r\n";

const UPGRADE: &str = "GET /v1/updates/?EIO=4&transport=websocket HTTP/1.1\r\nHost: api.happier.example\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://app.happier.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\nCache-Control: no-cache\r\nPragma: no-cache\r\n\r\n";

/// Runs the work again and again, hiding from the compiler that it is always the same.
#[inline(always)]
fn repeat<T>(mut work: impl FnMut() -> T) {
    for _ in 0..TIMES {
        black_box(work());
    }
}

/// Declares the cases: functions of their own, and the list of them.
macro_rules! cases {
    ($($name:ident($input:ident: $type:ty) = $prepared:expr => $work:block)*) => {
        // The name makes functions differ that would otherwise be merged into one.
        $(#[inline(never)] fn $name($input: $type) { black_box(stringify!($name)); $work })*
        fn main() { $(eprintln!(stringify!($name)); $name(black_box($prepared));)* }
    };
}

cases! {
    case_http_head_get(input: &str) = GET => {
        repeat(|| HeadParser::new().parse(black_box(input).as_bytes(), &Limits::default()).is_ok_and(|head| head.is_some()))
    }
    case_http_head_upgrade(input: &str) = UPGRADE => {
        repeat(|| HeadParser::new().parse(black_box(input).as_bytes(), &Limits::default()).is_ok_and(|head| head.is_some()))
    }
    case_http_response_head(out: Vec<u8>) = Vec::with_capacity(1024) => {
        let mut out = out;
        let date = http::date::format(1_764_000_000);
        let head = ResponseHead { status: 200, date: Some(&date), content_length: Some(1_234), connection: Connection::KeepAlive };
        repeat(|| { out.clear(); response_head(&mut out, black_box(&head), [("Content-Type", "application/json; charset=utf-8")]); })
    }
    case_http_query(input: &str) = "EIO=4&transport=polling&t=PK3x&sid=AAECAwQFBgcICQoLDA0O&b64=1" => {
        repeat(|| http::uri::query(black_box(input)).count())
    }
    case_websocket_accept_key(input: &str) = "dGhlIHNhbXBsZSBub25jZQ==" => {
        repeat(|| websocket::handshake::accept_key(black_box(input)))
    }
    case_websocket_decode_ping(input: Vec<u8>) = masked(r#"42100000["ping"]"#) => { decode(&input) }
    case_websocket_decode_message(input: Vec<u8>) = masked(&message_event()) => { decode(&input) }
    case_websocket_decode_16k(input: Vec<u8>) = masked(&"x".repeat(16_000)) => { decode(&input) }
    case_websocket_encode_update(input: String) = update_event() => {
        repeat(|| frame::encode_text(black_box(&input).as_bytes()))
    }
    case_engineio_decode(input: String) = format!("4{}", message_event()) => {
        repeat(|| engineio::decode(black_box(&input)).is_ok())
    }
    case_engineio_payload(input: String) = ["2", "3", &format!("4{}", message_event()), "6"].join("\x1e") => {
        repeat(|| engineio::payload(black_box(&input)).filter(|packet| packet.is_ok()).count())
    }
    case_socketio_decode_ping(input: &str) = r#"2100000["ping"]"# => { receive(input) }
    case_socketio_decode_message(input: String) = message_event().split_off(1) => { receive(&input) }
    case_socketio_encode_event(out: Vec<u8>) = Vec::with_capacity(4096) => {
        let (mut out, argument) = (out, r#"{"type":"activity","id":"cm3session","active":true,"activeAt":1764000000000,"thinking":false}"#);
        repeat(|| { out.clear(); socketio::encode_event(&mut out, "ephemeral", black_box(argument)); })
    }
    case_socketio_encode_ack(out: Vec<u8>) = Vec::with_capacity(4096) => {
        let mut out = out;
        repeat(|| { out.clear(); socketio::encode_ack(&mut out, black_box(100_000), black_box(r#"{"ok":true,"id":"m8","seq":812}"#)); })
    }
    case_json_validate(input: String) = update_event() => {
        repeat(|| json::validate(black_box(&input[2..]), 64).is_ok())
    }
    case_json_members(input: String) = update_event() => {
        let argument = json::elements(&input[2..]).nth(1).unwrap_or_default().to_owned();
        repeat(|| json::members(black_box(&argument)).count())
    }
    case_json_write_string(out: Vec<u8>) = Vec::with_capacity(4096) => {
        let (mut out, text) = (out, "A line with \"quotes\", a \\ backslash,\na new line and ünïcödé. ".repeat(8));
        repeat(|| { out.clear(); json::write_string(&mut out, black_box(&text)); })
    }
    case_base64_encode(input: Vec<u8>) = vec![0xA5; 300] => { repeat(|| base64::encode(black_box(&input))) }
    case_base64_decode(input: String) = base64::encode(&[0xA5; 300]) => {
        repeat(|| base64::decode_strict(black_box(&input)).is_ok())
    }
    case_adapter_encode(input: adapter::msgpack::Value) = adapter::msgpack::decode(&packed()).unwrap_or(adapter::msgpack::Value::Null) => {
        let mut out = Vec::with_capacity(4096);
        repeat(|| { out.clear(); adapter::msgpack::encode(&mut out, black_box(&input)); })
    }
    case_adapter_decode(input: Vec<u8>) = packed() => {
        repeat(|| adapter::msgpack::decode(black_box(&input)).is_ok())
    }
}

fn decode(input: &[u8]) {
    let mut decoder = Decoder::new(1_000_000);
    let mut bytes = input.to_vec();
    repeat(|| {
        // The decoder unmasks in place; it wants fresh bytes each time.
        bytes.copy_from_slice(input);
        let mut input = Input::new(black_box(&mut bytes));
        let mut events = 0;
        while let Ok(Some(event)) = decoder.next(&mut input) {
            black_box(event);
            events += 1;
        }
        assert_eq!(events, 1, "the frame is a message");
    });
}

fn receive(input: &str) {
    let mut connection = SocketIo::open(0, 20_000);
    connection.connected();
    repeat(|| {
        black_box(connection.handle_text(black_box(input)));
    });
}

fn masked(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frame::append_masked(&mut out, true, Opcode::Text, text.as_bytes(), [0x5A, 0xC3, 0x17, 0xE9]);
    out
}

/// What a client sends to store a message.
fn message_event() -> String {
    format!(r#"42100000["message",{{"sid":"cm3k2session000","message":"{}","localId":"l1764-0-17"}}]"#, "Q".repeat(256))
}

/// What its devices get.
fn update_event() -> String {
    let (head, tail) = (
        r#"42["update",{"id":"Vt3kq8","seq":31,"body":{"t":"new-message","sid":"cm3k2session000","message":{"id":"m8","seq":8,"content":{"t":"encrypted","c":""#,
        r#""},"localId":"l1764-0-17","createdAt":1764000000000,"updatedAt":1764000000000}},"createdAt":1764000000001}]"#,
    );
    format!("{head}{}{tail}", "Q".repeat(256))
}

/// The same as replicas exchange it: a map with a nested array and a long text, in MessagePack.
fn packed() -> Vec<u8> {
    let text = "Q".repeat(200);
    let mut bytes = vec![0x82, 0xA4];
    bytes.extend_from_slice(b"opts\x82\xA5rooms\x93");
    for room in ["user:cm3k2account", "session:cm3k2sess", "machine:cm3k2mach"] {
        bytes.push(0xB1);
        bytes.extend_from_slice(format!("{room:<17.17}").as_bytes());
    }
    bytes.extend_from_slice(b"\xA6except\x90\xA6packet\x83\xA4type\x02\xA3nsp\xA1/\xA4data\x92\xA6update\xD9");
    bytes.push(200);
    bytes.extend_from_slice(text.as_bytes());
    assert!(adapter::msgpack::decode(&bytes).is_ok(), "the example is MessagePack");
    bytes
}
