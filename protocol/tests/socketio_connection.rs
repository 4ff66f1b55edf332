//! The Socket.IO layer, row by row of the contract (`spec/socketio.md` §9.2–§9.4), and the application that the public
//! protocol suite assumes (§12).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use proptest::prelude::*;
use protocol::socketio::attachments::{ATTACHMENTS_BYTES_MAX, placeholder};
use protocol::socketio::connection::{Connection, Incoming, Step};
use protocol::socketio::packet::{self, Envelope, Kind, Name};

fn fresh() -> Connection {
    Connection::open(0, 20_000)
}

fn connected() -> Connection {
    let mut connection = fresh();
    assert_eq!(connection.handle_text("0"), Incoming::Connect { auth: None });
    connection.connected();
    connection
}

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Connection>() <= 48, "{}", size_of::<Connection>());
}

// ---- §9.2 ---------------------------------------------------------------------------------------------------------

#[test]
fn the_time_limit_ends_with_the_first_connect() {
    let mut connection = Connection::open(5, 20_000);
    assert_eq!(connection.poll_timeout(), Some(20_005));
    assert_eq!(connection.handle_text("0{\"token\":\"t\"}"), Incoming::Connect { auth: Some("{\"token\":\"t\"}") });
    assert_eq!(connection.poll_timeout(), Some(20_005), "not before it is answered");
    connection.connected();
    assert_eq!(connection.poll_timeout(), None);
}

#[test]
fn without_a_connect_the_time_runs_out_once() {
    let mut connection = fresh();
    assert!(!connection.handle_timeout(19_999));
    assert!(connection.handle_timeout(20_000));
    // The session may still linger for polls; it is not to be woken for this again.
    assert_eq!(connection.poll_timeout(), None);
    assert!(!connection.handle_timeout(30_000));
    assert!(!connected().handle_timeout(30_000));
}

#[test]
fn an_event_directly_behind_connect_is_accepted() {
    // S-14: the reference server would close.
    assert!(matches!(connected().handle_text("2[\"ping\"]"), Incoming::Event { .. }));
}

#[test]
fn other_namespaces_are_refused_and_the_time_runs_on() {
    let mut connection = fresh();
    for (text, name) in [("0/other,", "/other"), ("0/other", "/other"), ("0/?x=1,{}", "/?x=1"), ("0//,", "//")] {
        assert_eq!(connection.handle_text(text), Incoming::UnknownNamespace(name));
    }
    assert_eq!(connection.poll_timeout(), Some(20_000));
    assert_eq!(connection.handle_text("0"), Incoming::Connect { auth: None });
    // Also once something is connected.
    assert_eq!(connected().handle_text("0/other,"), Incoming::UnknownNamespace("/other"));
}

#[test]
fn a_client_may_leave_and_come_back() {
    let mut connection = connected();
    assert_eq!(connection.handle_text("1"), Incoming::Disconnect);
    connection.disconnected();
    assert_eq!(connection.poll_timeout(), None, "no second time limit");
    assert_eq!(connection.handle_text("0{}"), Incoming::Connect { auth: Some("{}") });
    connection.connected();
    assert!(connection.is_connected());
}

#[test]
fn what_was_incomplete_goes_with_the_namespace() {
    let mut connection = connected();
    assert_eq!(connection.handle_text("51-[\"a\"]"), Incoming::Nothing);
    connection.disconnected();
    assert_eq!(connection.handle_text("0"), Incoming::Connect { auth: None });
    connection.connected();
    assert_eq!(connection.handle_binary(&[1]), Incoming::Violation);
}

// ---- §9.3 ---------------------------------------------------------------------------------------------------------

#[test]
fn acknowledgements() {
    let mut connection = connected();
    assert_eq!(connection.handle_text("39[]"), Incoming::Ack { id: 9, argument: None });
    assert_eq!(connection.handle_text("39"), Incoming::Ack { id: 9, argument: None });
    let argument = Some("{\"a\":1}".into());
    assert_eq!(connection.handle_text("3/,0[{\"a\":1},2]"), Incoming::Ack { id: 0, argument });
    assert_eq!(connection.handle_text("3[1]"), Incoming::Nothing, "without an id it answers nothing");
    // Only events have names.
    let packet = packet::decode("31[\"connect\",2]").unwrap();
    assert_eq!((packet.event_name(), packet.arguments().count()), (None, 2));
    let largest = (1u64 << 53) - 1;
    let Incoming::Event { ack, .. } = connection.handle_text(&format!("2{largest}[\"e\"]")) else { panic!() };
    assert_eq!(ack, Some(largest));
}

#[test]
fn events() {
    let mut connection = connected();
    let event = |name: &'static str, argument: Option<&'static str>, ack| Incoming::Event {
        name: name.into(),
        argument: argument.map(Into::into),
        ack,
    };
    assert_eq!(connection.handle_text("2[\"a\"]"), event("a", None, None));
    assert_eq!(connection.handle_text("27[\"a\",{},1]"), event("a", Some("{}"), Some(7)));
    assert_eq!(connection.handle_text("2[ \"\\u0061\" , null ]"), event("a", Some("null"), None));
    assert_eq!(connection.handle_text("2[\"\"]"), event("", None, None));
    // Accepted and ignored: no JSON, a number or half of a surrogate pair for a name.
    for text in ["2", "212", "2[5]", "2[5,\"a\"]", "2[\"\\ud800\"]"] {
        assert_eq!(connection.handle_text(text), Incoming::Nothing, "{text}");
    }
}

#[test]
fn attachments() {
    let mut connection = connected();
    assert_eq!(connection.handle_text("52-7[\"a\",{\"_placeholder\":true,\"num\":1}]"), Incoming::Nothing);
    assert_eq!(connection.handle_binary(&[1]), Incoming::Nothing);
    let argument = Some("{\"_placeholder\":true,\"num\":1}".into());
    assert_eq!(connection.handle_binary(&[2]), Incoming::Event { name: "a".into(), argument, ack: Some(7) });
    assert_eq!(connection.handle_text("61-3[1]"), Incoming::Nothing);
    assert_eq!(connection.handle_binary(&[]), Incoming::Ack { id: 3, argument: Some("1".into()) });
}

#[test]
fn attachments_that_are_kept_have_a_limit() {
    let mut connection = connected();
    connection.keep_attachments();
    let half = vec![0; ATTACHMENTS_BYTES_MAX / 2];
    for _ in 0..2 {
        assert_eq!(connection.receive_text("53-[\"a\"]", &["/"]), Step::Nothing);
        assert_eq!(connection.receive_binary(&half), Step::Nothing);
        assert_eq!(connection.receive_binary(&half), Step::Nothing);
        assert_eq!(connection.receive_binary(&[1]), Step::Violation);
    }
}

// ---- §9.4 ---------------------------------------------------------------------------------------------------------

#[test]
fn undecodable_packets() {
    for text in
        ["x", "7", "", "2{", "2{}", "2[\"connect\"]", "2[\"conn\\u0065ct\"]", "0[]", "1{}", "51[\"a\"]", "511-[\"a\"]"]
    {
        assert_eq!(fresh().handle_text(text), Incoming::Violation, "{text}");
        assert_eq!(connected().handle_text(text), Incoming::Violation, "{text}");
    }
    let deep = format!("2[\"a\",{}{}]", "[".repeat(1_000), "]".repeat(1_000));
    assert_eq!(connected().handle_text(&deep), Incoming::Violation);
    assert_eq!(connected().handle_text(&format!("2{}", "[".repeat(1_000_000))), Incoming::Violation);
}

#[test]
fn packets_for_a_namespace_that_is_not_connected() {
    for text in ["2[\"a\"]", "31[]", "1", "51-[\"a\"]", "61-1[]"] {
        assert_eq!(fresh().handle_text(text), Incoming::Violation, "{text}");
        let mut connection = connected();
        connection.disconnected();
        assert_eq!(connection.handle_text(text), Incoming::Violation, "{text}");
    }
    for text in ["2/other,[\"a\"]", "3/other,1[]", "1/other,", "5/other,1-[\"a\"]"] {
        assert_eq!(connected().handle_text(text), Incoming::Violation, "{text}");
    }
}

#[test]
fn a_second_connect() {
    assert_eq!(connected().handle_text("0"), Incoming::Violation);
    assert_eq!(connected().handle_text("0{}"), Incoming::Violation);
}

#[test]
fn a_connect_error_from_the_client() {
    for text in ["4", "4{\"message\":\"x\"}", "4\"x\""] {
        assert_eq!(fresh().handle_text(text), Incoming::Violation, "{text}");
        assert_eq!(connected().handle_text(text), Incoming::Violation, "{text}");
    }
}

#[test]
fn attachments_out_of_place() {
    assert_eq!(connected().handle_binary(&[1]), Incoming::Violation);
    for text in ["2[\"b\"]", "0", "1", "51-[\"a\"]", "x"] {
        let mut connection = connected();
        assert_eq!(connection.handle_text("51-[\"a\"]"), Incoming::Nothing);
        assert_eq!(connection.handle_text(text), Incoming::Violation, "{text}");
    }
    for number in ["1", "-1", "\"0\"", "null"] {
        let mut connection = connected();
        let text = format!("51-[\"a\",[{{\"_placeholder\":true,\"num\":{number}}}]]");
        assert_eq!(connection.handle_text(&text), Incoming::Nothing);
        assert_eq!(connection.handle_binary(&[1]), Incoming::Violation, "{number}");
    }
}

// ---- §12 ----------------------------------------------------------------------------------------------------------

/// The application of the public protocol suite: two namespaces; `auth` on connect; `message` comes back as
/// `message-back`, and `message-with-ack` is acknowledged, with the same arguments, binary ones included.
struct Application {
    connection: Connection,
    out: Vec<Sent>,
    closed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    Text(String),
    Binary(Vec<u8>),
}

const NAMESPACES: &[&str] = &["/", "/custom"];

impl Application {
    fn new() -> Self {
        let mut connection = Connection::open(0, 1_000);
        connection.keep_attachments();
        Self { connection, out: Vec::new(), closed: false }
    }

    fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.out.push(Sent::Text(String::from_utf8(out).unwrap()));
    }

    fn step(&mut self, step: Step<'_>) {
        match step {
            Step::Nothing => {}
            Step::Connect { namespace, auth } => {
                self.connection.connected_to(namespace);
                let envelope = Envelope { namespace: NAMESPACES[namespace], ..Envelope::default() };
                self.text(|out| packet::encode_connect(out, envelope.namespace, "SID"));
                self.text(|out| packet::encode_event_in(out, &envelope, "auth", [auth.unwrap_or("{}")]));
            }
            Step::UnknownNamespace(name) => {
                self.text(|out| packet::encode_connect_error(out, name, "Invalid namespace"));
            }
            Step::Disconnect { namespace } => self.connection.disconnected_from(namespace),
            Step::Packet { packet, .. } => self.answer(&packet, &[]),
            Step::Complete(complete) => self.answer(&complete.packet().unwrap(), &complete.attachments),
            Step::Violation => self.closed = true,
        }
    }

    fn answer(&mut self, packet: &packet::Packet<'_>, attachments: &[Vec<u8>]) {
        let attachments_count = u8::try_from(attachments.len()).unwrap();
        let envelope = Envelope { namespace: packet.namespace, id: packet.id, attachments: attachments_count };
        match packet.event_name() {
            Some(Name::Text(name)) if name == "message" => {
                let envelope = Envelope { id: None, ..envelope };
                self.text(|out| packet::encode_event_in(out, &envelope, "message-back", packet.arguments()));
            }
            Some(Name::Text(name)) if name == "message-with-ack" => {
                self.text(|out| packet::encode_ack_in(out, &envelope, packet.arguments()));
            }
            _ => return,
        }
        self.out.extend(attachments.iter().cloned().map(Sent::Binary));
    }

    fn receive_text(&mut self, text: &str) {
        let step = self.connection.receive_text(text, NAMESPACES);
        self.step(step);
    }

    fn receive_binary(&mut self, bytes: &[u8]) {
        let step = self.connection.receive_binary(bytes);
        self.step(step);
    }

    fn take(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.out)
    }
}

fn texts(texts: &[&str]) -> Vec<Sent> {
    texts.iter().map(|text| Sent::Text((*text).to_string())).collect()
}

#[test]
fn the_protocol_suite_connects() {
    let mut application = Application::new();
    application.receive_text("0");
    assert_eq!(application.take(), texts(&["40{\"sid\":\"SID\"}", "42[\"auth\",{}]"]));
    application.receive_text("0/custom,{\"token\":\"123\"}");
    let expected = ["40/custom,{\"sid\":\"SID\"}", "42/custom,[\"auth\",{\"token\":\"123\"}]"];
    assert_eq!(application.take(), texts(&expected));
    application.receive_text("0/random");
    assert_eq!(application.take(), texts(&["44/random,{\"message\":\"Invalid namespace\"}"]));
    assert!(!application.closed);
    // Without the trailing comma.
    let mut application = Application::new();
    application.receive_text("0/custom");
    assert_eq!(application.take(), texts(&["40/custom,{\"sid\":\"SID\"}", "42/custom,[\"auth\",{}]"]));
    assert_eq!(application.connection.poll_timeout(), None);
}

#[test]
fn the_protocol_suite_disconnects() {
    let mut application = Application::new();
    application.receive_text("0");
    application.receive_text("0/custom");
    application.take();
    application.receive_text("1/custom");
    application.receive_text("2[\"message\",\"message to main namespace\"]");
    assert_eq!(application.take(), texts(&["42[\"message-back\",\"message to main namespace\"]"]));
    application.receive_text("2/custom,[\"message\",\"gone\"]");
    assert!(application.closed);
}

#[test]
fn the_protocol_suite_sends_and_acknowledges() {
    let mut application = Application::new();
    application.receive_text("0");
    application.take();
    application.receive_text("2[\"message\",1,\"2\",{\"3\":[true]}]");
    assert_eq!(application.take(), texts(&["42[\"message-back\",1,\"2\",{\"3\":[true]}]"]));
    application.receive_text("2456[\"message-with-ack\",1,\"2\",{\"3\":[false]}]");
    assert_eq!(application.take(), texts(&["43456[1,\"2\",{\"3\":[false]}]"]));
    let placeholders = "{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}";
    application.receive_text(&format!("52-[\"message\",{placeholders}]"));
    application.receive_binary(&[1, 2, 3]);
    application.receive_binary(&[4, 5, 6]);
    let mut expected = texts(&[&format!("452-[\"message-back\",{placeholders}]")]);
    expected.extend([Sent::Binary(vec![1, 2, 3]), Sent::Binary(vec![4, 5, 6])]);
    assert_eq!(application.take(), expected);
    application.receive_text(&format!("52-789[\"message-with-ack\",{placeholders}]"));
    application.receive_binary(&[1]);
    application.receive_binary(&[2]);
    let mut expected = texts(&[&format!("462-789[{placeholders}]")]);
    expected.extend([Sent::Binary(vec![1]), Sent::Binary(vec![2])]);
    assert_eq!(application.take(), expected);
    for text in ["4abc", "2{}", "3abc", "9"] {
        let mut application = Application::new();
        application.receive_text("0");
        application.receive_text(text);
        assert!(application.closed, "{text}");
    }
}

#[test]
fn a_complete_packet_hands_out_its_attachments() {
    let mut connection = connected();
    connection.keep_attachments();
    connection.receive_text("52-[\"a\",{\"_placeholder\":true,\"num\":1},{\"_placeholder\":true,\"num\":0}]", &["/"]);
    connection.receive_binary(&[1]);
    let Step::Complete(complete) = connection.receive_binary(&[2]) else { panic!() };
    let packet = complete.packet().unwrap();
    assert_eq!(packet.kind, Kind::BinaryEvent);
    let found: Vec<_> = packet.arguments().map(|raw| complete.attachment(raw)).collect();
    assert_eq!(found, [Some([2].as_slice()), Some([1].as_slice())]);
    assert_eq!(placeholder("{\"num\":1}"), None);
}

// ---- operation lists ----------------------------------------------------------------------------------------------

proptest! {
    #[test]
    fn any_messages_keep_the_invariants(
        messages in proptest::collection::vec(
            prop_oneof![
                prop_oneof![Just("0"), Just("0/custom,{}"), Just("1"), Just("1/custom"), Just("2[\"a\",1]"), Just("31[]"),
                    Just("51-[\"a\"]"), Just("52-/custom,[\"a\"]"), Just("0/no"), Just("4"), Just("x")].prop_map(|text| Some(text.to_string())),
                Just(None),
                "\\PC{0,10}".prop_map(Some),
            ],
            0..30,
        )
    ) {
        let mut application = Application::new();
        for message in &messages {
            match message {
                Some(text) => application.receive_text(text),
                None => application.receive_binary(&[1, 2]),
            }
            application.connection.check_invariants();
            if application.closed {
                break;
            }
        }
        for sent in application.take() {
            if let Sent::Text(text) = sent {
                prop_assert!(packet::decode(text.strip_prefix('4').unwrap()).is_ok(), "{}", text);
            }
        }
    }
}
