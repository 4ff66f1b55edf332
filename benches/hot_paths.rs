//! What a core does between a frame in and a frame out, without sockets: `cargo bench --bench hot_paths`.
//!
//! The wire formats are in `protocol/benches/codecs.rs`. These are times, for finding out while changing something; what
//! must not get worse unnoticed is counted in instructions (`perf/instructions.sh`).
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use happier_server::crypto::token::{TokenCache, Tokens};
use happier_server::model::ids::{AccountId, SessionId, SocketId};
use happier_server::net::frame::Frame;
use happier_server::realtime::event::{Audience, Body, Ephemeral, Update};
use happier_server::realtime::home::{Class, Home, Member, Notice, Place};
use happier_server::runtime::cores::CoreId;
use happier_server::runtime::mailbox::mailbox;
use happier_server::runtime::slab::Slab;
use happier_server::runtime::timer::{Due, Wheel};

const ACCOUNT: &str = "cm3k2account0000000000001";
const SESSION: &str = "cm3k2session0000000000001";

/// The body of a `new-message` update with 256 bytes of ciphertext.
fn body() -> String {
    let ciphertext = "Q".repeat(256);
    format!(
        r#"{{"t":"new-message","sid":"{SESSION}","id":"{SESSION}","message":{{"id":"m8","seq":8,"content":{{"t":"encrypted","c":"{ciphertext}"}},"localId":"l1","createdAt":1764000000000,"updatedAt":1764000000000}}}}"#
    )
}

/// An account with `sockets` devices, the first of which is bound to the session.
fn home(sockets: usize) -> Home {
    let mut slab = Slab::default();
    let mut home = Home::default();
    for number in 0..sockets {
        let class = if number == 0 { Class::Session(SessionId::from(SESSION.to_owned())) } else { Class::User };
        home.join(Member { place: Place { core: CoreId(0), key: slab.insert(()) }, socket: SocketId::random(), class });
    }
    home
}

/// Order and recipients of an update, one frame for all of them.
fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    for sockets in [4, 100, 1_000] {
        group.throughput(Throughput::Elements(sockets as u64));
        group.bench_function(format!("update to {sockets}"), |bencher| {
            let (mut home, body) = (home(sockets), Body::from(body()));
            let (mut seq, mut due) = (0, Vec::new());
            bencher.iter(|| {
                seq += 1;
                let update = Update {
                    account: AccountId::from(ACCOUNT.to_owned()),
                    seq,
                    audience: Audience::Session(SessionId::from(SESSION.to_owned())),
                    body: body.clone(),
                    skip: None,
                };
                home.offer(update, 0, &mut due);
                for released in due.drain(..) {
                    let Notice::Own(update) = &released.notice else { unreachable!("offered as our own") };
                    let argument = &update.body;
                    let frame = Frame::text(|out| protocol::socketio::packet::encode_event(out, "update", argument));
                    for member in home.recipients_of(&released) {
                        black_box((member.place, frame.clone()));
                    }
                }
            });
        });
        group.bench_function(format!("ephemeral to {sockets}"), |bencher| {
            let home = home(sockets);
            let ephemeral = Ephemeral {
                account: AccountId::from(ACCOUNT.to_owned()),
                audience: Audience::UserScoped,
                body: format!(
                    r#"{{"type":"activity","id":"{SESSION}","active":true,"activeAt":1764000000000,"thinking":false}}"#
                ),
            };
            bencher.iter(|| {
                let body = &black_box(&ephemeral).body;
                let frame = Frame::text(|out| protocol::socketio::packet::encode_event(out, "ephemeral", body));
                for member in home.recipients(&ephemeral.audience) {
                    black_box((member.place, frame.clone()));
                }
            });
        });
    }
    group.finish();
}

/// A batch from one thread to another's inbox, the wake-up included.
fn hand_over(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mailbox");
    for batch in [1_u64, 16, 256] {
        group.throughput(Throughput::Elements(batch));
        group.bench_function(format!("{batch} in a turn"), |bencher| {
            let (mailbox, inbox) = mailbox::<[u64; 8]>().unwrap();
            let mut taken = Vec::new();
            bencher.iter(|| {
                for number in 0..batch {
                    mailbox.send([number; 8]).unwrap();
                }
                inbox.take(&mut taken);
                assert_eq!(taken.len() as u64, batch);
                taken.clear();
            });
        });
    }
    group.finish();
}

fn tokens(criterion: &mut Criterion) {
    let tokens = Tokens::derive("a secret for benchmarks");
    let token = tokens.issue_persistent(&AccountId::from(ACCOUNT.to_owned()), None, 1_764_000_000_000);
    criterion.bench_function("token/verified before", |bencher| {
        let mut cache = TokenCache::default();
        bencher.iter(|| cache.verify(&tokens, black_box(&token), 1_764_000_001_000).unwrap());
    });
    criterion.bench_function("token/first time", |bencher| {
        bencher.iter(|| tokens.verify_persistent(black_box(&token), 1_764_000_001_000).unwrap());
    });
}

/// 20,000 heartbeats spread over 15 s, each armed again when it fires.
fn wheel(criterion: &mut Criterion) {
    const CONNECTIONS: u64 = 20_000;
    const PING_MS: u64 = 15_000;
    let armed = || {
        let mut wheel = Wheel::new(0);
        for connection in 0..CONNECTIONS {
            wheel.arm(connection * PING_MS / CONNECTIONS, Due::Token(connection));
        }
        wheel
    };
    let mut group = criterion.benchmark_group("timer wheel");
    group.throughput(Throughput::Elements(CONNECTIONS));
    group.bench_function("a round of heartbeats", |bencher| {
        bencher.iter_batched_ref(
            armed,
            |wheel| {
                let mut due = Vec::new();
                for now in (0..=PING_MS).step_by(25) {
                    wheel.fire(now, &mut due);
                    for (at, entry) in due.drain(..) {
                        wheel.arm(at + PING_MS, entry);
                    }
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, fanout, hand_over, tokens, wheel);
criterion_main!(benches);
