//! The thread that talks to Redis, several times in one process and against a real Redis: events, calls, the registry,
//! the presence queue, and what happens when Redis goes. The cores are played by the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, clippy::indexing_slicing)]

#[path = "../support/redis.rs"]
mod support;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use happier_server::cluster::presence::{Consumer, Received, Report, Subject};
use happier_server::cluster::rooms::Room;
use happier_server::cluster::{
    self, Answer, Ask, Broadcast, Cluster, Command, Cores, Found, Handle, Inbound, Place, Publication, Settings,
    Target, Ticket,
};
use happier_server::model::ids::{AccountId, SessionId, SocketId};
use happier_server::observe::metrics::cluster::{Count, Level};
use happier_server::runtime::cores::CoreId;
use happier_server::runtime::mailbox::{Inbox, mailbox};
use happier_server::runtime::slab::Slab;
use support::Redis;

/// Generous: it bounds a failure, no success waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

const CORES: u16 = 2;

/// Plays the cores.
struct Played(Mutex<Sender<(CoreId, Inbound)>>);

impl Cores for Played {
    fn count(&self) -> usize {
        CORES.into()
    }

    fn home_of(&self, account: &AccountId) -> CoreId {
        CoreId(u16::from(account.as_str().as_bytes()[0]) % CORES)
    }

    fn post(&self, core: CoreId, inbound: Inbound) -> bool {
        self.0.lock().unwrap().send((core, inbound)).is_ok()
    }
}

struct Replica {
    cluster: Arc<Cluster>,
    handle: Option<Handle>,
    inbound: Receiver<(CoreId, Inbound)>,
    tickets: u64,
}

impl Replica {
    fn start(redis: &Redis, name: &str) -> Self {
        Self::start_with(redis, name, None)
    }

    fn start_with(redis: &Redis, name: &str, consumer: Option<Consumer>) -> Self {
        let (sender, inbound) = channel();
        let settings =
            Settings { url: redis.url(), instance: name.to_string(), presence_stream_maxlen: Some(1_000), consumer };
        let (cluster, handle) = cluster::start(settings, Arc::new(Played(Mutex::new(sender)))).unwrap();
        Self { cluster, handle: Some(handle), inbound, tickets: 0 }
    }

    fn join(&self, account: &str) -> SocketId {
        let socket = SocketId::random();
        let place = Place { core: CoreId(0), key: Slab::default().insert(()) };
        self.cluster.send(Command::Joined { account: AccountId::from(account), socket, place });
        socket
    }

    fn publish(&self, account: &str, n: usize) {
        self.publish_except(account, n, None);
    }

    fn publish_except(&self, account: &str, n: usize, except: Option<SocketId>) {
        let account = AccountId::from(account);
        let rooms = vec![Room::Session(SessionId::from("s:1"), account.clone()), Room::UserScoped(account)];
        self.cluster.publish(Publication { rooms, except, arguments: update(n), durable: true });
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket { core: CoreId(1), number: self.tickets }
    }

    fn next(&self) -> Inbound {
        self.inbound.recv_timeout(PATIENCE).expect("something comes").1
    }

    fn broadcast(&self) -> Broadcast {
        match self.next() {
            Inbound::Broadcast(broadcast) => broadcast,
            other => panic!("{other:?}"),
        }
    }

    fn asked(&self) -> Ask {
        match self.next() {
            Inbound::Ask(ask) => ask,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&self) -> Answer {
        match self.next() {
            Inbound::Answered { answer, .. } => answer,
            other => panic!("{other:?}"),
        }
    }

    fn register(&mut self, account: &str, method: &str, socket: SocketId) {
        let ticket = self.ticket();
        let (account, method) = (AccountId::from(account), method.to_string());
        self.cluster.send(Command::Register { account, method, socket, ticket });
        assert!(matches!(self.next(), Inbound::Registered { done: true, .. }));
    }

    fn find(&mut self, account: &str, method: &str, grace_ms: u64) -> Found {
        let ticket = self.ticket();
        let (account, method) = (AccountId::from(account), method.to_string());
        self.cluster.send(Command::Find { account, method, grace_ms, ticket });
        match self.next() {
            Inbound::Found { found, ticket: answered, .. } => {
                assert_eq!(answered, ticket);
                found
            }
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, account: &str, method: &str, holder: &str) {
        let ticket = self.ticket();
        let arguments = format!(r#"["rpc-request",{{"method":"{method}","params":[1.50,"ü"]}}]"#);
        let (account, method, holder) = (AccountId::from(account), method.to_string(), holder.to_string());
        self.cluster.send(Command::Ask { account, method, holder, arguments, ticket });
    }

    fn count(&self, count: Count) -> u64 {
        self.cluster.metrics().count(count)
    }

    fn level(&self, level: Level) -> i64 {
        self.cluster.metrics().level(level)
    }

    fn stop(&mut self) {
        self.handle.take().unwrap().stop(PATIENCE);
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.stop(Duration::from_secs(1));
        }
    }
}

fn update(n: usize) -> String {
    format!(r#"["update",{{"id":"abcdefghijkl","seq":{n},"body":{{"t":"x","n":1.50,"text":"ü€😀"}},"createdAt":1}}]"#)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "not {what} in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn all_know_each_other(replicas: &[&Replica]) {
    let count = i64::try_from(replicas.len()).unwrap();
    until("acquainted", || replicas.iter().all(|replica| replica.level(Level::Members) == count));
}

fn kinds(redis: &Redis) -> Vec<(String, String)> {
    let mut connection = redis.connect();
    let entries: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg("socket.io").arg("-").arg("+").query(&mut connection).unwrap();
    entries.into_iter().map(|(_, fields)| (fields[1].clone(), fields[5].clone())).collect()
}

#[test]
fn an_event_reaches_those_replicas_where_somebody_is() {
    let redis = Redis::start();
    let (a, b, c) = (Replica::start(&redis, "a"), Replica::start(&redis, "b"), Replica::start(&redis, "c"));
    let skipped = SocketId::random();
    b.join("u1");
    c.join("u2");
    a.publish_except("u1", 7, Some(skipped));
    a.publish("u2", 8);
    let heard = b.broadcast();
    assert_eq!(heard.arguments, update(7), "passed through as it is");
    assert_eq!((heard.seq, heard.target), (Some(7), Target::Home(AccountId::from("u1"))));
    let account = AccountId::from("u1");
    assert_eq!(heard.rooms, [Room::Session(SessionId::from("s:1"), account.clone()), Room::UserScoped(account)]);
    assert_eq!(heard.except, [Room::Socket(skipped)]);
    assert_eq!(c.broadcast().arguments, update(8));
    until("read by all", || b.count(Count::EntriesSkipped) == 1 && c.count(Count::EntriesSkipped) == 1);
    assert_eq!(a.count(Count::EntriesDelivered), 0, "its own events come back to nobody");
    assert!(matches!(b.inbound.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout)));
}

#[test]
fn events_keep_their_order_and_whoever_joins_hears_the_next() {
    let redis = Redis::start();
    let (a, b) = (Replica::start(&redis, "a"), Replica::start(&redis, "b"));
    b.join("u1");
    for n in 0..2_000 {
        a.publish("u1", n);
    }
    for n in 0..2_000 {
        assert_eq!(b.broadcast().seq, Some(i64::from(n)));
    }
    b.join("u3");
    a.publish("u3", 1);
    assert_eq!(b.broadcast().target, Target::Home(AccountId::from("u3")));
}

#[test]
fn entries_that_nobody_understands_hold_nothing_up() {
    let redis = Redis::start();
    let (a, b) = (Replica::start(&redis, "a"), Replica::start(&redis, "b"));
    b.join("u1");
    let mut connection = redis.connect();
    let good = r#"{"packet":{"type":2,"data":["e",1]},"opts":{"rooms":["user:u1"],"except":[],"flags":{}}}"#;
    for fields in [
        &["uid", "x", "nsp", "/", "type", "3", "data", "{"][..],
        &["uid", "x", "nsp", "/", "type", "3", "data", r#"{"opts":{"rooms":["user:u1"],"except":[],"flags":{}}}"#],
        &["uid", "x", "nsp", "/", "type", "3"],
        &["uid", "x", "nsp", "/", "type", "99"],
        &["uid", "x", "nsp", "/other", "type", "3", "data", good],
        &["nsp", "/", "type", "3", "data", good],
        &["something", "else"],
        &["uid", "x", "nsp", "/", "type", "12", "data", "////"],
    ] {
        redis::cmd("XADD").arg("socket.io").arg("*").arg(fields).exec(&mut connection).unwrap();
    }
    a.publish("u1", 1);
    assert_eq!(b.broadcast().arguments, update(1));
    assert_eq!(b.count(Count::EntriesMalformed), 8);
}

#[test]
fn a_call_that_is_not_understood_is_answered_all_the_same() {
    let redis = Redis::start();
    let a = Replica::start(&redis, "a");
    let socket = a.join("u1");
    let deep = "[".repeat(200) + &"]".repeat(200);
    let data = format!(
        r#"{{"packet":{{"type":2,"data":["rpc-request",{{"method":"m","params":{deep}}}]}},"requestId":"f1f8ba5116e6ca7e","opts":{{"rooms":["{socket}"],"except":[],"flags":{{"timeout":30000}}}}}}"#
    );
    let mut entry = redis::cmd("XADD");
    entry.arg("socket.io").arg("*").arg(&["uid", "5eda5eb574afacef", "nsp", "/", "type", "3", "data", data.as_str()]);
    entry.exec(&mut redis.connect()).unwrap();
    // It counts, since 0 would take the registration away, and is withdrawn behind it.
    until("answered", || kinds(&redis).iter().any(|(_, kind)| kind == "8"));
    let answers: Vec<String> =
        kinds(&redis).into_iter().map(|(_, kind)| kind).filter(|kind| kind.len() == 2 || kind == "8").collect();
    assert_eq!(answers, ["11", "8"]);
}

#[test]
fn a_busy_connection_keeps_its_registration() {
    let redis = Redis::start();
    let (mut a, mut b) = (Replica::start(&redis, "a"), Replica::start(&redis, "b"));
    all_know_each_other(&[&a, &b]);
    let socket = b.join("u1");
    b.register("u1", "m", socket);
    // Its core says first that the connection cannot be asked: that must not overtake the count.
    a.ask("u1", "m", socket.as_str());
    let asked = b.asked();
    b.cluster.send(Command::Withdrawn { request: asked.request.clone() });
    b.cluster.send(Command::Counted { request: asked.request, count: 1 });
    assert_eq!(a.answer(), Answer::TimedOut);
    // Its core does not even say how many it has asked, and says so much too late.
    a.ask("u1", "m", socket.as_str());
    let asked = b.asked();
    until("counted", || kinds(&redis).iter().filter(|(_, kind)| kind == "11").count() == 2);
    b.cluster.send(Command::Counted { request: asked.request, count: 0 });
    assert_eq!(a.answer(), Answer::TimedOut);
    assert_eq!(a.find("u1", "m", 0), Found::Elsewhere(socket.to_string()));
}

#[test]
fn a_call_is_counted_once_answered_once_and_finds_its_holder() {
    let redis = Redis::start();
    let (mut a, mut b, c) = (Replica::start(&redis, "a"), Replica::start(&redis, "b"), Replica::start(&redis, "c"));
    all_know_each_other(&[&a, &b, &c]);
    let socket = a.join("u1");
    a.register("u1", "m:bash", socket);
    let mut connection = redis.connect();
    let stored: Vec<String> =
        redis::cmd("HMGET").arg("rpc:u1:m:bash").arg(&["instanceId", "socketId"]).query(&mut connection).unwrap();
    assert_eq!(stored, ["a".to_string(), socket.to_string()]);
    let lifetime: i64 = redis::cmd("TTL").arg("rpc:u1:m:bash").query(&mut connection).unwrap();
    assert!((100..=120).contains(&lifetime), "{lifetime}");

    assert!(matches!(a.find("u1", "m:bash", 0), Found::Here(found, _) if found == socket));
    assert_eq!(b.find("u1", "m:bash", 0), Found::Elsewhere(socket.to_string()));
    b.ask("u1", "m:bash", socket.as_str());
    let asked = a.asked();
    assert_eq!(asked.arguments, r#"["rpc-request",{"method":"m:bash","params":[1.50,"ü"]}]"#);
    assert_eq!((asked.rooms, asked.targets), (vec![Room::Socket(socket)], vec![Target::Home(AccountId::from("u1"))]));
    a.cluster.send(Command::Counted { request: asked.request.clone(), count: 1 });
    a.cluster.send(Command::Counted { request: asked.request.clone(), count: 1 });
    a.cluster.send(Command::Acknowledged { request: asked.request, result: Some("1.50".to_string()) });
    assert_eq!(b.answer(), Answer::Acknowledged(Some("1.50".to_string())));
    until("counted", || kinds(&redis).iter().filter(|(_, kind)| kind == "11").count() == 2);

    // The latest registration counts, and only its holder gives it up.
    let other = b.join("u1");
    b.register("u1", "m:bash", other);
    assert_eq!(a.find("u1", "m:bash", 0), Found::Elsewhere(other.to_string()));
    a.cluster.send(Command::Left { socket });
    assert_eq!(a.find("u1", "m:bash", 0), Found::Elsewhere(other.to_string()));
    b.cluster.send(Command::Left { socket: other });
    until("given up", || a.find("u1", "m:bash", 0) == Found::Nobody);
}

#[test]
fn a_registration_that_comes_after_its_connection_has_left_is_refused() {
    let redis = Redis::start();
    let mut a = Replica::start(&redis, "a");
    let socket = a.join("u1");
    a.register("u1", "m", socket);
    // The core of the connection says that it has gone, while another core still passes on what it wanted before.
    a.cluster.send(Command::Left { socket });
    let ticket = a.ticket();
    let (account, method) = (AccountId::from("u1"), "n".to_string());
    a.cluster.send(Command::Register { account, method, socket, ticket });
    assert!(matches!(a.next(), Inbound::Registered { done: false, ticket: answered } if answered == ticket));
    until("given up", || a.find("u1", "m", 0) == Found::Nobody);
    assert_eq!(a.find("u1", "n", 0), Found::Nobody);
    let keys: Vec<String> = redis::cmd("KEYS").arg("rpc:*").query(&mut redis.connect()).unwrap();
    assert_eq!(keys, [""; 0]);
}

#[test]
fn a_method_that_is_awaited_is_found_when_it_comes() {
    let redis = Redis::start();
    let (mut a, mut b) = (Replica::start(&redis, "a"), Replica::start(&redis, "b"));
    let socket = a.join("u1");
    let ticket = b.ticket();
    let (account, method) = (AccountId::from("u1"), "m".to_string());
    b.cluster.send(Command::Find { account, method, grace_ms: 20_000, ticket });
    a.register("u1", "m", socket);
    match b.next() {
        Inbound::Found { found, .. } => assert_eq!(found, Found::Elsewhere(socket.to_string())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_calls_nobody_is_told_so_and_the_registration_goes() {
    let redis = Redis::start();
    let (mut a, b) = (Replica::start(&redis, "a"), Replica::start(&redis, "b"));
    all_know_each_other(&[&a, &b]);
    let mut connection = redis.connect();
    let ghost = SocketId::random();
    redis::cmd("HSET").arg("rpc:u1:m").arg("socketId").arg(ghost.as_str()).exec(&mut connection).unwrap();
    a.ask("u1", "m", ghost.as_str());
    // Not before it can know everybody (C-8).
    assert_eq!(a.answer(), Answer::NotAvailable);
    until("deleted", || a.find("u1", "m", 0) == Found::Nobody);
}

#[test]
fn callers_are_told_at_once_when_the_holder_or_its_replica_goes() {
    let redis = Redis::start();
    let (mut a, mut b) = (Replica::start(&redis, "a"), Replica::start(&redis, "b"));
    all_know_each_other(&[&a, &b]);
    let socket = b.join("u1");
    for leaves in ["holder", "replica"] {
        let begun = Instant::now();
        a.ask("u1", "m", socket.as_str());
        let asked = b.asked();
        b.cluster.send(Command::Counted { request: asked.request.clone(), count: 1 });
        match leaves {
            "holder" => b.cluster.send(Command::Withdrawn { request: asked.request }),
            _ => b.stop(),
        }
        assert_eq!(a.answer(), Answer::TimedOut, "{leaves}");
        assert!(begun.elapsed() < Duration::from_secs(9), "that is no silence of a killed replica");
    }
    let said = kinds(&redis);
    let last = said.iter().rposition(|(_, kind)| kind == "13").expect("a farewell");
    assert!(said[last + 1..].iter().all(|(uid, _)| *uid != said[last].0), "nothing follows it");
    until("alone", || a.level(Level::Members) == 1);
}

#[test]
fn redis_comes_back_empty_and_everything_goes_on() {
    let mut redis = Redis::start();
    let (mut a, mut b) = (Replica::start(&redis, "a"), Replica::start(&redis, "b"));
    all_know_each_other(&[&a, &b]);
    let socket = a.join("u1");
    b.join("u1");
    a.register("u1", "m", socket);
    a.publish("u1", 1);
    assert_eq!(b.broadcast().seq, Some(1));
    redis.kill();
    until("missed", || !a.cluster.is_up() && !b.cluster.is_up());
    a.publish("u1", 2);
    b.ask("u1", "m", socket.as_str());
    assert!(matches!(b.answer(), Answer::Failed(_)), "at once");
    assert!(matches!(b.find("u1", "m", 0), Found::Failed(_)));
    assert!(matches!(a.find("u1", "m", 0), Found::Here(found, _) if found == socket), "its own it finds without Redis");
    redis.resume();
    // Nobody knows what was in it, so the clients of both come again; and the update that waited arrives. The one before it
    // comes a second time if Redis was gone before it had answered.
    let (mut resyncs, mut seen) = (0, None);
    while resyncs < usize::from(CORES) || seen != Some(2) {
        match b.next() {
            Inbound::Resync => resyncs += 1,
            Inbound::Broadcast(broadcast) => seen = broadcast.seq,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(b.count(Count::Gaps), 1);
    until("registered again", || b.find("u1", "m", 0) == Found::Elsewhere(socket.to_string()));
    assert!(a.cluster.is_up() && b.cluster.is_up());
}

#[test]
fn a_replica_that_has_lost_updates_makes_all_clients_come_again() {
    let mut redis = Redis::start();
    let (a, b) = (Replica::start(&redis, "a"), Replica::start(&redis, "b"));
    b.join("u1");
    a.publish("u1", 1);
    b.broadcast();
    redis.kill();
    until("missed", || !a.cluster.is_up());
    let large = format!(r#"["update",{{"seq":2,"body":"{}"}}]"#, "x".repeat(1 << 20));
    let rooms = || vec![Room::User(AccountId::from("u1"))];
    for _ in 0..70 {
        a.cluster.publish(Publication { rooms: rooms(), except: None, arguments: large.clone(), durable: true });
    }
    a.cluster.publish(Publication {
        rooms: rooms(),
        except: None,
        arguments: "[\"ephemeral\",1]".into(),
        durable: false,
    });
    assert!(a.count(Count::DroppedUpdate) >= 6);
    assert_eq!(a.count(Count::DroppedEphemeral), 1, "they go first");
    redis.resume();
    until("told", || kinds(&redis).iter().any(|(_, kind)| kind == "6"));
    until("done", || b.count(Count::Resyncs) >= 2);
}

#[test]
fn signs_of_life_go_through_the_queue_and_stay_until_they_are_written() {
    let redis = Redis::start();
    let consumer = |name: &str| -> (Consumer, Inbox<Received>) {
        let (entries, inbox) = mailbox().unwrap();
        (Consumer { name: name.to_string(), entries }, inbox)
    };
    let (first, inbox) = consumer("first");
    let mut worker = Replica::start_with(&redis, "w", Some(first));
    let api = Replica::start(&redis, "a");
    let mut connection = redis.connect();
    until("a group", || {
        redis::cmd("XINFO").arg("GROUPS").arg("presence:alive:v1").query::<redis::Value>(&mut connection).is_ok()
    });
    let report = |n: i64| Report {
        subject: if n % 2 == 0 { Subject::Session } else { Subject::Machine },
        id: format!("id{n}"),
        account: "u1".to_string(),
        at: 1_795_000_000_000 + n,
    };
    api.cluster.send(Command::Seen((0..10).map(report).collect()));
    redis::cmd("XADD").arg("presence:alive:v1").arg("*").arg(&["kind", "house"]).exec(&mut connection).unwrap();
    let mut received: Vec<Received> = Vec::new();
    let take = |inbox: &Inbox<Received>, received: &mut Vec<Received>, count: usize| {
        until("received", || {
            let mut batch = Vec::new();
            inbox.take(&mut batch);
            received.append(&mut batch);
            received.len() >= count
        });
    };
    take(&inbox, &mut received, 11);
    let reports: Vec<Report> = received.iter().filter_map(|received| received.report.clone()).collect();
    assert_eq!(reports, (0..10).map(report).collect::<Vec<_>>());
    let mut pending = || -> i64 {
        let summary: (i64, redis::Value, redis::Value, redis::Value) =
            redis::cmd("XPENDING").arg("presence:alive:v1").arg("presence-worker").query(&mut connection).unwrap();
        summary.0
    };
    assert_eq!(pending(), 11, "read is not written");
    let written: Vec<String> = received.drain(..4).map(|received| received.entry).collect();
    worker.cluster.send(Command::Written(written));
    until("acknowledged", || pending() == 7);
    worker.stop();
    assert_eq!(pending(), 7, "what was not written stays for the next worker");
}

#[test]
fn a_start_without_redis_names_the_setting_and_no_password() {
    let mut redis = Redis::start();
    let port = redis.url().rsplit(':').next().unwrap().to_string();
    redis.kill();
    for url in [format!("redis://:do-not-print@127.0.0.1:{port}/2"), "http://:do-not-print@localhost".to_string()] {
        let (sender, _inbound) = channel();
        let settings = Settings { url, instance: "x".to_string(), presence_stream_maxlen: None, consumer: None };
        let Err(error) = cluster::start(settings, Arc::new(Played(Mutex::new(sender)))) else { panic!("it started") };
        let text = error.to_string();
        assert!(text.contains("REDIS_URL") && text.contains("expected"), "{text}");
        assert!(!text.contains("do-not-print"), "{text}");
    }
}
