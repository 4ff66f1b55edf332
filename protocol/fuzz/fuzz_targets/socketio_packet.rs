//! Socket.IO packets, and the layer of one session fed with messages (one a line; a line that begins with `b` is binary).
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::json;
use protocol::socketio::connection::{Connection, Step};
use protocol::socketio::packet::{self, Kind};

const NAMESPACES: &[&str] = &["/", "/custom"];

fuzz_target!(|input: &str| {
    let mut connection = Connection::open(0, 1);
    connection.keep_attachments();
    for line in input.split('\n') {
        if let Ok(packet) = packet::decode(line) {
            let named = packet.event_name().is_some();
            let arguments = packet.arguments().count();
            match packet.data {
                Some(data) => {
                    assert_eq!(json::validate(data, json::DEPTH_MAX), Ok(()));
                    assert_eq!(named, matches!(packet.kind, Kind::Event | Kind::BinaryEvent), "{packet:?}");
                }
                None => assert!(!named && arguments == 0),
            }
        }
        let step = match line.strip_prefix('b') {
            Some(bytes) => connection.receive_binary(bytes.as_bytes()),
            None => connection.receive_text(line, NAMESPACES),
        };
        match step {
            Step::Connect { namespace, .. } => connection.connected_to(namespace),
            Step::Disconnect { namespace } => connection.disconnected_from(namespace),
            Step::Complete(complete) => {
                let packet = complete.packet().expect("it was decoded when it was announced");
                assert_eq!(usize::from(packet.attachments), complete.attachments.len());
                let _ = packet.arguments().filter_map(|raw| complete.attachment(raw)).count();
            }
            Step::Nothing | Step::UnknownNamespace(_) | Step::Packet { .. } => {}
            Step::Violation => return,
        }
        connection.check_invariants();
    }
});
