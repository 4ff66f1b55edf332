//! Polling payloads: what is decoded is encoded to something that means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::engineio::handshake::Query;
use protocol::engineio::packet::{self, Packet};
use protocol::engineio::sid::Sid;

fuzz_target!(|body: &str| {
    let decoded: Vec<_> = packet::payload(body).collect();
    assert!(!decoded.is_empty());
    let (last, before) = decoded.split_last().expect("there is at least one");
    assert!(before.iter().all(Result::is_ok), "nothing follows the first that cannot be read");
    if last.is_ok() {
        let packets: Vec<Packet<'_>> = decoded.into_iter().flatten().collect();
        let mut payload = Vec::new();
        for packet in &packets {
            let mut encoded = Vec::new();
            packet.encode(&mut encoded);
            packet::append_to_payload(&mut payload, &encoded);
        }
        let payload = String::from_utf8(payload).expect("packets are text");
        let again: Vec<Packet<'_>> = packet::payload(&payload).flatten().collect();
        assert_eq!(again, packets);
    }
    // The other text a client sends with it.
    let query = Query::parse(body);
    if let Some(sid) = query.sid().and_then(Sid::parse) {
        assert_eq!(Some(sid.as_str()), query.sid());
    }
});
