//! Times of the wire formats: `cargo bench -p protocol`. Instructions of the same work are counted, and held against a
//! baseline, by `perf/instructions.sh`.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use protocol::engineio::packet as engineio;
use protocol::http::Limits;
use protocol::http::head::HeadParser;
use protocol::json;
use protocol::socketio::connection::Connection;
use protocol::socketio::packet as socketio;
use protocol::websocket::frame::{self, Opcode};
use protocol::websocket::mask;
use protocol::websocket::message::{Decoder, Input};

/// A request as an app sends it, with a bearer token of the usual length.
const REQUEST: &str = "GET /v1/account/profile HTTP/1.1\r\nHost: api.happier.example\r\nConnection: keep-alive\r\n\
    Authorization: Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJjbHh5ejEyMzQ1Njc4OTAiLCJpYXQiOjE3NjQwMDAwMDB9.c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJl\r\n\
    Accept: application/json, text/plain, */*\r\nUser-Agent: happier-cli/0.11.2\r\nAccept-Encoding: gzip, deflate, br\r\n\r\n";

fn message(bytes: usize) -> String {
    format!(r#"42100000["message",{{"sid":"cm3k2session000","message":"{}","localId":"l1764-17"}}]"#, "Q".repeat(bytes))
}

fn http(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("request head", |bencher| {
        bencher.iter(|| HeadParser::new().parse(black_box(REQUEST).as_bytes(), &Limits::default()).unwrap().unwrap());
    });
    group.finish();
}

fn websocket(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("websocket");
    for bytes in [16, 256, 4_096, 65_536] {
        let payload = vec![b'x'; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("unmask {bytes}"), |bencher| {
            let mut payload = payload.clone();
            bencher.iter(|| mask::apply(black_box(&mut payload), [1, 2, 3, 4]));
        });
        let mut masked = Vec::new();
        frame::append_masked(&mut masked, true, Opcode::Text, &payload, [1, 2, 3, 4]);
        group.bench_function(format!("decode {bytes}"), |bencher| {
            let mut decoder = Decoder::new(1_000_000);
            bencher.iter_batched_ref(
                || masked.clone(),
                |bytes| {
                    let mut input = Input::new(bytes);
                    assert!(decoder.next(&mut input).unwrap().is_some());
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("encode {bytes}"), |bencher| {
            bencher.iter(|| frame::encode_text(black_box(&payload)));
        });
    }
    group.finish();
}

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packets");
    for (name, text) in [
        ("ping", r#"42100000["ping"]"#.to_owned()),
        ("message of 256", message(256)),
        ("message of 16k", message(16_384)),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("decode {name}"), |bencher| {
            let mut connection = Connection::open(0, 20_000);
            connection.connected();
            bencher.iter(|| {
                let Ok(engineio::Packet::Message(text)) = engineio::decode(black_box(&text)) else { unreachable!() };
                black_box(connection.handle_text(text));
            });
        });
        group.bench_function(format!("check JSON of {name}"), |bencher| {
            let data = &text[text.find('[').unwrap()..];
            bencher.iter(|| json::validate(black_box(data), 64).unwrap());
        });
    }
    group.finish();
    // The throughput above is that of what is read.
    let mut group = criterion.benchmark_group("packets written");
    group.bench_function("event", |bencher| {
        let mut out = Vec::with_capacity(1_024);
        bencher.iter(|| {
            out.clear();
            socketio::encode_event(&mut out, "ephemeral", black_box(r#"{"type":"activity","active":true}"#));
        });
    });
    group.bench_function("ack", |bencher| {
        let mut out = Vec::with_capacity(1_024);
        bencher.iter(|| {
            out.clear();
            socketio::encode_ack(&mut out, black_box(100_000), black_box(r#"{"ok":true,"seq":8}"#));
        });
    });
    group.finish();
}

criterion_group!(benches, http, websocket, packets);
criterion_main!(benches);
