//! The receiving machine: any cut gives the same events, in both roles, and nothing is kept after the last byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::websocket::{Decoder, Error, Event, Input};

#[derive(Debug, PartialEq)]
enum Owned {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>, String),
    Failed(Error),
}

fuzz_target!(|data: (bool, u8, u16, u16, Vec<u8>)| {
    let (client, limit, first_cut, second_cut, bytes) = data;
    let make = || if client { Decoder::client(u32::from(limit)) } else { Decoder::new(u32::from(limit)) };
    let mut cuts = [usize::from(first_cut).min(bytes.len()), usize::from(second_cut).min(bytes.len())];
    cuts.sort_unstable();
    let whole = decode(make(), &[&bytes]);
    let pieces = decode(make(), &[&bytes[..cuts[0]], &bytes[cuts[0]..cuts[1]], &bytes[cuts[1]..]]);
    assert_eq!(whole, pieces);
    for event in whole {
        if let Owned::Binary(bytes) = event {
            assert!(bytes.len() <= usize::from(limit));
        }
    }
});

fn decode(mut decoder: Decoder, pieces: &[&[u8]]) -> Vec<Owned> {
    let mut events = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = Input::new(&mut piece);
        loop {
            match decoder.next(&mut input) {
                Ok(Some(Event::Text(text))) => events.push(Owned::Text(text.to_owned())),
                Ok(Some(Event::Binary(bytes))) => events.push(Owned::Binary(bytes.to_vec())),
                Ok(Some(Event::Ping(bytes))) => events.push(Owned::Ping(bytes.to_vec())),
                Ok(Some(Event::Pong)) => events.push(Owned::Pong),
                Ok(Some(Event::Close { code, reason })) => events.push(Owned::Close(code, reason.to_owned())),
                Ok(None) => break,
                Err(error) => events.push(Owned::Failed(error)),
            }
        }
    }
    if matches!(events.last(), Some(Owned::Close(..) | Owned::Failed(_))) {
        assert!(decoder.is_idle());
    }
    events
}
