//! Calls across two cores whose messages are carried by hand, so that every order of events can be produced.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use protocol::engineio::session::{Config, Session, Transport};
use protocol::engineio::sid::Sid;

use super::super::application::{Admission, Application, Caller, Incoming};
use super::super::home::Class;
use super::super::hub::Settings;
use super::*;
use crate::cluster::rooms::Room;
use crate::cluster::{Inbound, Target, Weight};
use crate::net::turn::Turn;
use crate::runtime::cores::Driver;
use crate::runtime::mailbox::{DEPTH_MAX, Inbox, mailbox_of};

/// Calls in the tests are made directly, so events have no meaning here.
#[derive(Default)]
struct Quiet {
    reconsidered: RefCell<Vec<Call>>,
}

impl Application for Quiet {
    fn admit(&self, _auth: Option<&str>) -> Result<Admission, &'static str> {
        Err("not asked")
    }

    fn joined(&self, _caller: &Caller<'_>, _class: &Class) {}

    fn event(&self, _caller: &Caller<'_>, _incoming: &Incoming<'_>) {}

    fn reconsider(&self, call: Box<Call>) {
        self.reconsidered.borrow_mut().push(*call);
    }

    fn left(&self, _caller: &Caller<'_>, _class: &Class) {}
}

struct Process {
    hubs: Vec<Rc<Hub>>,
    inboxes: Vec<Inbox<Message>>,
    next_ack: Cell<u64>,
    applications: Vec<Rc<Quiet>>,
    /// What the thread that talks to Redis would get.
    commands: Inbox<Command>,
}

#[derive(Clone)]
struct Client {
    hub: Rc<Hub>,
    key: Key,
    socket: SocketId,
    account: AccountId,
}

impl Process {
    fn new(rpc_grace_ms: u64) -> Self {
        Self::with(rpc_grace_ms, DEPTH_MAX, false)
    }

    fn in_a_cluster() -> Self {
        Self::with(0, DEPTH_MAX, true)
    }

    fn with(rpc_grace_ms: u64, depth_max: usize, in_a_cluster: bool) -> Self {
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| mailbox_of::<Message>(depth_max).unwrap()).unzip();
        let (cluster, commands) = Cluster::detached(DEPTH_MAX);
        let cluster = in_a_cluster.then_some(cluster);
        let mailboxes: Arc<[_]> = mailboxes.into();
        let settings = Settings {
            engine: Config::default(),
            connect_timeout_ms: 20_000,
            outbox_bytes_max: 1 << 20,
            driver: Driver::Epoll,
            rpc_grace_ms,
        };
        let applications = vec![Rc::new(Quiet::default()), Rc::new(Quiet::default())];
        let hub = |core: u16| {
            let hub = Hub::new(
                CoreId(core),
                Turn::new(),
                settings.clone(),
                Arc::clone(&mailboxes),
                cluster.clone(),
                Arc::default(),
            )
            .unwrap();
            hub.set_application(Rc::clone(&applications[usize::from(core)]) as _);
            hub
        };
        Self { hubs: vec![hub(0), hub(1)], inboxes, next_ack: Cell::new(0), applications, commands }
    }

    /// An account that is at home on this core.
    fn account(&self, home: u16) -> AccountId {
        let of = |n: u32| AccountId::from(format!("account {n}"));
        (0..).map(of).find(|account| self.hubs[0].home_of(account) == CoreId(home)).unwrap()
    }

    fn connect(&self, core: usize, account: &AccountId) -> Client {
        let hub = Rc::clone(&self.hubs[core]);
        let sid = Sid::new(hub.core.0, crate::crypto::random::bytes());
        let engine = Session::open(Transport::Polling, hub.turn.now(), &hub.settings.engine);
        let key = hub.insert(sid, engine, None, false);
        hub.connect(key, Admission { account: account.clone(), class: Class::User });
        let socket = hub.sessions.borrow().get(key).unwrap().socket.as_ref().unwrap().id;
        let client = Client { hub, key, socket, account: account.clone() };
        assert!(client.output().starts_with("40{"));
        client
    }

    /// Carries messages between the cores until none is left.
    fn settle(&self) {
        let mut batch = Vec::new();
        loop {
            let mut moved = false;
            for (hub, inbox) in self.hubs.iter().zip(&self.inboxes) {
                inbox.take(&mut batch);
                moved |= !batch.is_empty();
                batch.drain(..).for_each(|message| hub.receive(message));
            }
            if !moved {
                return;
            }
        }
    }

    /// Another replica asks a connection, as the thread that talks to Redis passes it on; how often it is counted and
    /// withdrawn, once all is carried.
    fn ask_for_replica(&self, holder: &Client, number: u64) -> (Vec<u64>, usize) {
        let request = RequestId::from_random(number);
        let home = self.hubs[0].home_of(&holder.account);
        let ask = cluster::Ask {
            request: request.clone(),
            targets: vec![Target::Home(holder.account.clone())],
            rooms: vec![Room::Socket(holder.socket)],
            except: Vec::new(),
            arguments: r#"["rpc-request",{"method":"m","params":[1]}]"#.to_string(),
            weight: Weight::new(0, &Arc::default()),
        };
        self.hubs[home.index()].receive(Message::Cluster(Inbound::Ask(ask)));
        self.settle();
        let (mut counts, mut withdrawn, mut commands) = (Vec::new(), 0, Vec::new());
        self.commands.take(&mut commands);
        for command in commands {
            match command {
                Command::Counted { request: of, count } if of == request => counts.push(count),
                Command::Withdrawn { request: of } if of == request => withdrawn += 1,
                _ => {}
            }
        }
        (counts, withdrawn)
    }

    /// Starts a call; gives the beginning of its acknowledgement.
    fn call(&self, caller: &Client, method: &str) -> String {
        self.call_to(&caller.account, None, caller, method)
    }

    /// The same across accounts.
    fn call_to(&self, account: &AccountId, on_behalf_of: Option<AccountId>, caller: &Client, method: &str) -> String {
        let ack = self.next_ack.get();
        self.next_ack.set(ack + 1);
        caller.hub.rpc_call(Call {
            account: account.clone(),
            on_behalf_of,
            method: method.to_string(),
            params: Some("[1]".to_string()),
            caller: caller.hub.peer(caller.key, caller.socket),
            ack: Some(ack),
        });
        format!("43{ack}")
    }
}

impl Client {
    fn register(&self, method: &str) {
        self.hub.rpc_register(&self.account, method.to_string(), self.key, self.socket);
    }

    fn leave(&self) {
        self.hub.dismiss(self.key);
    }

    /// Everything sent to the client since the last call.
    fn output(&self) -> String {
        let Some(mut answer) = self.hub.poll_begun(self.key) else { return String::new() };
        self.hub.settle(self.key);
        match answer.try_recv() {
            Ok(Some(payload)) => String::from_utf8(payload).unwrap(),
            _ => {
                // Nothing to fetch: the poll must not stay open for the next one.
                drop(answer);
                let mut sessions = self.hub.sessions.borrow_mut();
                let client = sessions.get_mut(self.key).unwrap();
                client.engine.send(Frame::text(|out| out.extend_from_slice(b"4nothing")));
                client.engine.flush();
                drop(sessions);
                self.hub.pump(self.key);
                String::new()
            }
        }
    }

    /// The id of the acknowledgement that the client is asked for, after checking the request.
    fn request(&self, method: &str) -> u64 {
        let output = self.output();
        let (id, rest) = output.strip_prefix("42").unwrap().split_once('[').unwrap();
        assert_eq!(rest, format!(r#""rpc-request",{{"method":"{method}","params":[1]}}]"#));
        id.parse().unwrap()
    }

    fn registered(&self, method: &str) {
        assert_eq!(self.output(), format!(r#"42["rpc-registered",{{"method":"{method}"}}]"#));
    }
}

const NOT_AVAILABLE: &str =
    r#"[{"ok":false,"error":"RPC method not available","errorCode":"RPC_METHOD_NOT_AVAILABLE"}]"#;
const TIMED_OUT: &str = r#"[{"ok":false,"error":"operation has timed out"}]"#;

#[test]
fn a_call_goes_round_wherever_caller_home_and_holder_are() {
    for (home, caller_core, holder_core) in
        [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1)]
    {
        let process = Process::new(0);
        let account = process.account(home);
        let caller = process.connect(caller_core, &account);
        let holder = process.connect(holder_core, &account);
        holder.register("m");
        process.settle();
        holder.registered("m");
        let ack = process.call(&caller, "m");
        process.settle();
        let id = holder.request("m");
        holder.hub.rpc_acknowledged(holder.key, id, Some(r#"{"x": 1}"#));
        // A second answer is one too many.
        holder.hub.rpc_acknowledged(holder.key, id, Some("2"));
        process.settle();
        assert_eq!(caller.output(), format!(r#"{ack}[{{"ok":true,"result":{{"x": 1}}}}]"#));
        assert_eq!(caller.output(), "");
        assert!(process.hubs.iter().all(|hub| hub.calls.borrow().asked_len() == 0));
    }
}

#[test]
fn whoever_leaves_is_not_waited_for() {
    for (home, holder_core) in [(0, 0), (0, 1)] {
        let process = Process::new(0);
        let account = process.account(home);
        let caller = process.connect(0, &account);
        let holder = process.connect(holder_core, &account);
        holder.register("m");
        process.settle();
        holder.registered("m");

        let ack = process.call(&caller, "m");
        process.settle();
        let id = holder.request("m");
        holder.leave();
        process.settle();
        assert_eq!(caller.output(), format!("{ack}{TIMED_OUT}"));
        holder.hub.rpc_acknowledged(holder.key, id, None);
        let ack = process.call(&caller, "m");
        process.settle();
        assert_eq!(caller.output(), format!("{ack}{NOT_AVAILABLE}"));
    }
}

#[test]
fn a_call_that_meets_a_leaving_holder_looks_again() {
    let process = Process::new(0);
    let account = process.account(0);
    let caller = process.connect(0, &account);
    let (first, second) = (process.connect(1, &account), process.connect(1, &account));
    first.register("m");
    process.settle();
    first.registered("m");
    // On its way to the holder while the holder leaves and another one takes over.
    let ack = process.call(&caller, "m");
    first.leave();
    second.register("m");
    process.settle();
    let output = second.output();
    let (registered, request) = output.split_once('\x1e').unwrap();
    assert_eq!(registered, r#"42["rpc-registered",{"method":"m"}]"#);
    let id = request.strip_prefix("42").unwrap().split_once('[').unwrap().0.parse().unwrap();
    second.hub.rpc_acknowledged(second.key, id, None);
    process.settle();
    assert_eq!(caller.output(), format!(r#"{ack}[{{"ok":true}}]"#));
}

#[test]
fn a_caller_that_has_gone_gets_nothing_and_leaves_nothing() {
    let process = Process::new(0);
    let account = process.account(1);
    let (caller, holder) = (process.connect(0, &account), process.connect(1, &account));
    holder.register("m");
    process.settle();
    holder.registered("m");
    process.call(&caller, "m");
    caller.leave();
    process.settle();
    let id = holder.request("m");
    holder.hub.rpc_acknowledged(holder.key, id, Some("1"));
    process.settle();
    assert_eq!(caller.output(), "");
    assert_eq!(holder.hub.calls.borrow().asked_len(), 0);
}

#[test]
fn tables_are_found_again_after_they_were_empty() {
    // R-13: caller stays connected while the holder comes and goes.
    let process = Process::new(0);
    let account = process.account(0);
    let caller = process.connect(1, &account);
    for _ in 0..3 {
        let holder = process.connect(0, &account);
        holder.register("m");
        process.settle();
        holder.registered("m");
        process.call(&caller, "m");
        process.settle();
        holder.request("m");
        holder.leave();
        process.settle();
        assert!(caller.output().ends_with(TIMED_OUT));
    }
}

#[test]
fn with_a_grace_period_a_call_waits_for_its_method() {
    let process = Process::new(60_000);
    let account = process.account(0);
    let (caller, holder) = (process.connect(1, &account), process.connect(1, &account));
    let ack = process.call(&caller, "m");
    process.settle();
    assert_eq!(caller.output(), "");
    holder.register("m");
    process.settle();
    let output = holder.output();
    let (registered, request) = output.split_once('\x1e').unwrap();
    assert_eq!(registered, r#"42["rpc-registered",{"method":"m"}]"#);
    assert!(request.contains(r#"["rpc-request",{"method":"m","params":[1]}]"#));
    holder.leave();
    process.settle();
    assert_eq!(caller.output(), format!("{ack}{TIMED_OUT}"));
}

#[test]
fn a_right_that_a_waiting_call_had_is_looked_at_again() {
    for still in [true, false] {
        let process = Process::new(60_000);
        let (owner, guest) = (process.account(0), process.account(1));
        let (caller, holder) = (process.connect(1, &guest), process.connect(0, &owner));
        let ack = process.call_to(&owner, Some(guest), &caller, "s:permission");
        process.settle();
        holder.register("s:permission");
        process.settle();
        holder.registered("s:permission");
        let call = process.applications[0].reconsidered.borrow_mut().pop().expect("asked again on the home core");
        if still {
            process.hubs[0].rpc_call(call);
            process.settle();
            holder.request("s:permission");
        } else {
            process.hubs[0].rpc_refuse(&call, Outcome::Forbidden);
            process.settle();
            assert_eq!(caller.output(), format!(r#"{ack}[{{"ok":false,"error":"Forbidden"}}]"#));
            assert_eq!(holder.output(), "");
        }
    }
}

#[test]
fn a_method_that_nobody_can_have_registered_is_not_looked_for() {
    let process = Process::new(60_000);
    let account = process.account(0);
    let caller = process.connect(1, &account);
    let ack = process.call(&caller, &"m".repeat(methods::METHOD_BYTES_MAX + 1));
    process.settle();
    assert_eq!(caller.output(), format!("{ack}{NOT_AVAILABLE}"));
}

#[test]
fn a_busy_holder_counts_for_other_replicas_and_is_withdrawn() {
    for (home, holder_core) in [(0, 0), (0, 1)] {
        let process = Process::in_a_cluster();
        let holder = process.connect(holder_core, &process.account(home));
        process.settle();
        let most = u64::try_from(calls::CALLS_PER_TARGET_MAX).unwrap();
        for number in 0..most {
            assert_eq!(process.ask_for_replica(&holder, number), (vec![1], 0));
        }
        assert_eq!(process.ask_for_replica(&holder, most), (vec![1], 1), "0 would take its registration away");
    }
}

#[test]
fn a_holder_that_has_gone_unknown_to_its_home_is_withdrawn() {
    let process = Process::in_a_cluster();
    let account = process.account(0);
    let _other = process.connect(0, &account);
    let holder = process.connect(1, &account);
    process.settle();
    holder.leave();
    assert_eq!(process.ask_for_replica(&holder, 1), (vec![1], 1));
    assert_eq!(process.ask_for_replica(&holder, 2), (vec![0], 0));
}

#[test]
fn a_call_that_a_core_refuses_has_an_outcome() {
    let process = Process::with(0, 4, true);
    let [owner, guest] = [0, 1].map(|home| process.account(home));
    let guest = process.connect(1, &guest);
    let holder = process.connect(0, &owner);
    // Another replica asks, and this process has a connection of the account on a core that does not keep up.
    let elsewhere = process.connect(0, &guest.account);
    process.settle();
    for _ in 0..4 {
        assert!(process.hubs[1].post(CoreId(0), Message::Job(Box::new(|| ()))));
    }
    // Its home does not take it.
    let ack = process.call_to(&owner, Some(guest.account.clone()), &guest, "s:permission");
    assert_eq!(guest.output(), format!("{ack}{NOT_AVAILABLE}"));
    // The core of its holder does not.
    let ack = format!("43{}", process.next_ack.get());
    let call = Box::new(Call {
        account: guest.account.clone(),
        method: "m".to_string(),
        on_behalf_of: None,
        params: None,
        caller: guest.hub.peer(guest.key, guest.socket),
        ack: Some(process.next_ack.get()),
    });
    let holder = holder.hub.peer(holder.key, holder.socket);
    process.hubs[1].rpc_post(CoreId(0), Post::Ask { holder, call });
    assert_eq!(guest.output(), format!("{ack}{NOT_AVAILABLE}"));
    // The core of the connection that another replica asks does not.
    let mut commands = Vec::new();
    process.commands.take(&mut commands);
    let request = RequestId::from_random(1);
    let elsewhere = elsewhere.hub.peer(elsewhere.key, elsewhere.socket);
    assert!(process.hubs[1].rpc_ask_for_replica(elsewhere, &request, "[]"), "it counts");
    commands.clear();
    process.commands.take(&mut commands);
    assert!(matches!(&commands[..], [Command::Withdrawn { request: of }] if *of == request));
}

#[test]
fn a_core_that_has_missed_messages_keeps_no_tombstones() {
    let process = Process::with(0, 2, false);
    let hub = &process.hubs[0];
    let sid = Sid::new(0, crate::crypto::random::bytes());
    hub.sids.borrow_mut().bury(sid);
    // Its end is not taken.
    while process.hubs[1].post(CoreId(0), Message::Job(Box::new(|| ()))) {}
    assert!(!process.hubs[1].post(CoreId(0), Message::Forget(sid)));
    assert!(process.inboxes[0].take(&mut Vec::new()));
    hub.overflowed();
    assert!(hub.is_at_rest());
}

#[test]
fn nobody_calls_himself() {
    let process = Process::new(0);
    let account = process.account(0);
    let client = process.connect(1, &account);
    client.register("m");
    process.settle();
    client.registered("m");
    let ack = process.call(&client, "m");
    process.settle();
    assert_eq!(client.output(), format!(r#"{ack}[{{"ok":false,"error":"Cannot call RPC on the same socket"}}]"#));
}

#[test]
fn arguments_and_acknowledgements() {
    assert_eq!(request_argument("a\"b", None), r#"{"method":"a\"b"}"#);
    assert_eq!(request_argument("m", Some("null")), r#"{"method":"m","params":null}"#);
    assert_eq!(Outcome::Answered(None).acknowledgement(), r#"{"ok":true}"#);
    let result = r#"{"deep" : [1,null]}"#.to_string();
    assert_eq!(Outcome::Answered(Some(result)).acknowledgement(), r#"{"ok":true,"result":{"deep" : [1,null]}}"#);
    use Outcome::{Busy, Failed, Forbidden, NotAvailable, SameSocket, TimedOut};
    for outcome in [NotAvailable, Forbidden, Failed, SameSocket, TimedOut, Busy] {
        let text = outcome.acknowledgement();
        assert!(text.starts_with(r#"{"ok":false,"error":""#), "{text}");
        assert_eq!(protocol::json::validate(&text, 4), Ok(()));
    }
}
