//! Entries of the stream: what is read is written to something that means the same, and the quick look at the rooms of
//! a broadcast says what the whole message says.
//!
//! An input is the number of a kind, a space, and data, as in `seeds/adapter_entry`; all of it is tried as MessagePack, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::adapter::entry::{self, Entry};
use protocol::adapter::message::{Kind, Message};
use protocol::adapter::msgpack;
use protocol::adapter::name::Uid;

fuzz_target!(|input: &[u8]| {
    if let Ok(value) = msgpack::decode(input) {
        let mut out = Vec::new();
        msgpack::encode(&mut out, &value);
        let mut again = Vec::new();
        msgpack::encode(&mut again, &msgpack::decode(&out).expect("written by ourselves"));
        // Compared as bytes, because one NaN is not equal to another.
        assert_eq!(out, again);
    }
    let Some((number, data)) = std::str::from_utf8(input).ok().and_then(|text| text.split_once(' ')) else { return };
    let Some(kind) = Kind::parse(number) else { return };
    let entry = Entry { uid: Uid::from_random(1), kind, data: Some(data) };
    let address = entry.address();
    let Ok(message) = entry.message() else { return };
    if let (Some(address), Message::Broadcast { request, opts, .. }) = (address, &message) {
        assert_eq!((&address.request, &address.opts), (request, opts));
    }
    let fields = entry::fields(&entry.uid, &message);
    let again = Entry::read(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))).expect("complete");
    assert_eq!(entry::fields(&again.uid, &again.message().expect("well-formed")), fields);
});
