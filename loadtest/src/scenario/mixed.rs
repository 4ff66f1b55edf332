//! `mixed` and `soak`: a day in the life. Most devices only answer the heartbeat; the agents of the active accounts say
//! that they are alive, store messages that reach the other devices, answer calls, and apps ask over HTTP.
//!
//! The loop is always open: operations fall due one after the other over the active accounts, in a fixed order of kinds.
//! Every message must be acknowledged and reach every other device of its account once and in order. In a soak devices
//! also come and go, half of them without a word.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::client::socket::Scope;
use crate::client::{Account, Failure, Packet, Reader, Sender, Sources};
use crate::options::Kind;
use crate::pace::Pacer;
use crate::scenario::drive::Outstanding;
use crate::scenario::stamp::{Stamps, delivery};
use crate::scenario::{Context, GRACE, Group, HttpPool, Scenario, each, wait_until};
use crate::tally::Recorder;
use crate::window::unix_micros;

const METHOD: &str = "loadtest:answer";

/// What falls due, in this order, again and again.
const DAY: [Act; 20] = {
    use Act::{Alive as A, Call as C, Message as M, Request as R};
    [A, M, A, R, M, A, C, A, M, A, R, M, A, C, M, A, R, M, C, A]
};
/// In a soak one in so many operations is a device that comes and goes.
const VISIT_EVERY: usize = 12;

#[derive(Clone, Copy)]
enum Act {
    Alive,
    Message,
    Call,
    Request,
}

pub(super) struct Mixed {
    accounts: Rc<[Account]>,
    /// One for each active account, which are the first ones.
    sessions: Rc<[String]>,
    sockets: Vec<Reader>,
}

impl Scenario for Mixed {
    async fn prepare(context: &Context) -> Result<Self, Failure> {
        let accounts = context.accounts().await?;
        let active = (accounts.len() * context.options.active_percent).div_ceil(100);
        let sessions = context.sessions(&accounts[..active], active).await?;
        Ok(Self { accounts: accounts.into(), sessions: sessions.into(), sockets: Vec::new() })
    }

    /// Socket `n` belongs to account `n` modulo their number. The first of an active account is its agent.
    async fn connect(&mut self, context: &Context) -> Result<(), Failure> {
        let (sources, accounts) = (Rc::clone(&context.sources), Rc::clone(&self.accounts));
        let sessions = Rc::clone(&self.sessions);
        self.sockets = each(context.own(context.options.connections), move |number| {
            let (sources, accounts, sessions) = (Rc::clone(&sources), Rc::clone(&accounts), Rc::clone(&sessions));
            async move {
                let scope = sessions.get(number).map_or(Scope::User, |session| Scope::Session(session.clone()));
                let mut reader = Reader::connect(&sources, &accounts[number % accounts.len()], &scope).await?;
                if number < sessions.len() {
                    let registered = monoio::time::timeout(GRACE, reader.register(METHOD)).await;
                    registered.map_err(|_| Failure::new("registration was not answered"))??;
                }
                Ok(reader)
            }
        })
        .await?;
        Ok(())
    }

    async fn run(self, context: &Context, recorder: &Recorder) -> Result<(), Failure> {
        /// Operations per second and active account.
        const RATE: f64 = 2.0;
        let accounts = self.accounts.len();
        let mut devices: Vec<Vec<Reader>> = (0..accounts).map(|_| Vec::new()).collect();
        for (number, reader) in self.sockets.into_iter().enumerate() {
            devices[number % accounts].push(reader);
        }
        let stamps = Stamps::new(context.options.message_bytes);
        let params = "Q".repeat(context.options.message_bytes);
        let call: Rc<str> = format!(r#"{{"method":"{METHOD}","params":"{params}"}}"#).into();
        let mut homes: Vec<Rc<Home>> = Vec::with_capacity(self.sessions.len());
        for (number, mut readers) in devices.into_iter().enumerate() {
            let Some(session) = self.sessions.get(number) else {
                readers.into_iter().for_each(|reader| drop(monoio::spawn(hold(reader, recorder.clone()))));
                continue;
            };
            let home = Rc::new(Home {
                account: self.accounts[number].clone(),
                session: session.clone(),
                agent: Rc::clone(readers[0].sender()),
                app: Rc::clone(readers[1].sender()),
                receivers: readers.len() as u64 - 1,
                stamps,
                call: Rc::clone(&call),
                sent: Cell::default(),
                delivered: Cell::default(),
                messages: Outstanding::default(),
                calls: Outstanding::default(),
                asked: Cell::default(),
                recorder: recorder.clone(),
            });
            let receivers = readers.split_off(1);
            readers.into_iter().for_each(|reader| drop(monoio::spawn(agent(reader, Rc::clone(&home)))));
            receivers.into_iter().for_each(|reader| drop(monoio::spawn(device(reader, Rc::clone(&home)))));
            homes.push(home);
        }
        #[allow(clippy::cast_precision_loss, reason = "a number of accounts")]
        let rate = context.own_rate().unwrap_or(homes.len() as f64 * RATE);
        let visits = context.options.kind == Kind::Soak;
        let group = load(context, &homes, rate, visits, recorder).await?;
        group.finished(recorder).await;
        wait_until(recorder, || homes.iter().all(|home| home.owed() == 0)).await;
        for home in homes {
            home.judge();
        }
        Ok(())
    }
}

async fn load(
    context: &Context,
    homes: &[Rc<Home>],
    rate: f64,
    visits: bool,
    recorder: &Recorder,
) -> Result<Group, Failure> {
    let group = Group::default();
    let pool = context.http_pool();
    let mut pacer = Pacer::start(rate)?;
    for turn in 0.. {
        if !recorder.running() {
            break;
        }
        let due = pacer.next().await?;
        let home = &homes[turn % homes.len()];
        if visits && turn.is_multiple_of(VISIT_EVERY) {
            let silently = (turn / VISIT_EVERY).is_multiple_of(2);
            group.spawn(visit(Rc::clone(&context.sources), home.account.clone(), due, silently, recorder.clone()));
            continue;
        }
        // A step further each round, so that every account does everything.
        match DAY[(turn + turn / homes.len()) % DAY.len()] {
            Act::Alive => home.say_alive(),
            Act::Message => home.write(due),
            Act::Call => home.call(due),
            Act::Request => group.spawn(request(Rc::clone(home), pool.clone(), due)),
        }
    }
    Ok(group)
}

/// An active account: its agent, its app, further devices.
struct Home {
    account: Account,
    session: String,
    agent: Rc<Sender>,
    app: Rc<Sender>,
    receivers: u64,
    stamps: Stamps,
    call: Rc<str>,
    sent: Cell<u64>,
    delivered: Cell<u64>,
    messages: Outstanding,
    calls: Outstanding,
    asked: Cell<u64>,
    recorder: Recorder,
}

impl Home {
    fn say_alive(&self) {
        let (session, now_ms) = (&self.session, unix_micros() / 1_000);
        self.agent
            .queue_text(&format!(r#"42["session-alive",{{"sid":"{session}","time":{now_ms},"thinking":false}}]"#));
        self.agent.flush_soon();
        self.recorder.add("session-alive sent", 1);
    }

    fn write(&self, due: Instant) {
        self.sent.set(self.sent.get() + 1);
        let data = format!(r#"{{"sid":"{}","message":"{}"}}"#, self.session, self.stamps.stamp(due));
        self.messages.begin(self.agent.queue_event("message", Some(&data)), due);
        self.agent.flush_soon();
    }

    fn call(&self, due: Instant) {
        self.calls.begin(self.app.queue_event("rpc-call", Some(&self.call)), due);
        self.app.flush_soon();
    }

    fn missing(&self) -> u64 {
        (self.sent.get() * self.receivers).saturating_sub(self.delivered.get())
    }

    fn owed(&self) -> u64 {
        self.missing() + self.messages.count() as u64 + self.calls.count() as u64
    }

    fn judge(&self) {
        self.recorder.add("messages sent", self.sent.get());
        for (what, count) in [
            ("messages without answer", self.messages.count() as u64),
            ("calls without answer", self.calls.count() as u64),
            ("deliveries missing", self.missing()),
        ] {
            self.recorder.add(what, count);
            if count > 0 {
                self.recorder.tally.borrow_mut().fail_times(what.to_owned(), count);
            }
        }
    }
}

/// Reads the agent's socket: acks of its messages, calls to answer.
async fn agent(mut reader: Reader, home: Rc<Home>) {
    let failure = loop {
        match reader.next().await {
            Ok(Packet::Ack { id, data }) => {
                let Some(due) = home.messages.answer(id) else { break Failure::new("an ack that was not asked for") };
                if !data.starts_with(r#"[{"ok":true"#) {
                    home.recorder.fail(&Failure::new(format!("message answered {data}")));
                }
                home.recorder.operation_of("message", due);
            }
            Ok(Packet::Event { ack: Some(ack), data }) if data.starts_with(r#"["rpc-request""#) => {
                home.agent.queue_text(&format!(r#"43{ack}["answer"]"#));
                home.agent.flush_soon();
            }
            Ok(_) => {}
            Err(failure) => break failure,
        }
    };
    home.recorder.fail(&failure.during("agent"));
}

/// Reads the socket of an app or another device.
async fn device(mut reader: Reader, home: Rc<Home>) {
    let mut last_seq = 0;
    let failure = loop {
        match reader.next().await {
            Ok(Packet::Ack { id, data }) => {
                let Some(due) = home.calls.answer(id) else { break Failure::new("an ack that was not asked for") };
                if data != r#"[{"ok":true,"result":"answer"}]"# {
                    home.recorder.fail(&Failure::new(format!("call answered {data}")));
                }
                home.recorder.operation_of("call", due);
            }
            Ok(Packet::Event { data, .. }) => match delivery(data) {
                Some((seq, ciphertext)) => {
                    if seq != last_seq + 1 {
                        let text = if seq > last_seq { "delivery skipped messages" } else { "delivery out of order" };
                        home.recorder.fail(&Failure::new(text));
                    }
                    last_seq = seq;
                    match home.stamps.age(ciphertext) {
                        Some(age) => home.recorder.delivery(age),
                        None => home.recorder.fail(&Failure::new("delivery of a message that was not sent")),
                    }
                    home.delivered.set(home.delivered.get() + 1);
                }
                None if data.starts_with(r#"["ephemeral""#) => home.recorder.add("ephemerals received", 1),
                None => home.recorder.add("other updates received", 1),
            },
            Ok(_) => {}
            Err(failure) => break failure,
        }
    };
    home.recorder.fail(&failure.during("device"));
}

/// Reads the socket of a device whose account does nothing.
async fn hold(mut reader: Reader, recorder: Recorder) {
    loop {
        if let Err(failure) = reader.next().await {
            return recorder.fail(&failure.during("idle device"));
        }
    }
}

/// An app asks for its profile, its session or what has changed.
async fn request(home: Rc<Home>, pool: HttpPool, due: Instant) {
    let asked = home.asked.replace(home.asked.get() + 1);
    let path = match asked % 3 {
        0 => "/v1/account/profile".to_owned(),
        1 => format!("/v2/sessions/{}", home.session),
        _ => "/v2/changes?after=0&limit=50".to_owned(),
    };
    let exchange = async {
        let mut http = pool.take()?;
        let response = http.get(&path, Some(&home.account.token)).await?;
        if response.status != 200 {
            return Err(response.unexpected(&path));
        }
        pool.give(http);
        Ok(())
    };
    match exchange.await {
        Ok(()) => drop(home.recorder.operation_of("request", due)),
        Err(failure) => home.recorder.fail(&failure.during("request")),
    }
}

/// A device that connects, stays a moment, and leaves with a closing handshake or silently.
async fn visit(sources: Rc<Sources>, account: Account, due: Instant, silently: bool, recorder: Recorder) {
    const STAY: Duration = Duration::from_secs(2);
    let stay = async {
        let reader = Reader::connect(&sources, &account, &Scope::User).await?;
        recorder.operation_of("connect", due);
        if !silently {
            return reader.close_after(STAY).await;
        }
        monoio::time::sleep(STAY).await;
        Ok(())
    };
    if let Err(failure) = stay.await {
        recorder.fail(&failure.during("visiting device"));
    }
}
