//! `fanout`: accounts with several devices; a message from one is pushed to the others (spec realtime.md §3, `new-message`).
//!
//! Checks that every receiver of an account sees every message of its session once and in order.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::client::socket::Scope;
use crate::client::{Account, Failure, Packet, Reader, Sender};
use crate::options::Door;
use crate::pace::Pacer;
use crate::scenario::drive::Outstanding;
use crate::scenario::placement::Placement;
use crate::scenario::stamp::{Stamps, delivery};
use crate::scenario::{Context, GRACE, Group, HttpPool, Scenario, each, wait_until};
use crate::signal::Signal;
use crate::tally::Recorder;

pub(super) struct Fanout {
    accounts: Vec<Account>,
    sessions: Vec<String>,
    families: Vec<Family>,
}

/// The sockets of one account.
struct Family {
    /// `None` when messages go in by HTTP.
    sender: Option<Reader>,
    receivers: Vec<Reader>,
}

impl Scenario for Fanout {
    async fn prepare(context: &Context) -> Result<Self, Failure> {
        let accounts = context.accounts().await?;
        let sessions = context.sessions(&accounts, accounts.len()).await?;
        Ok(Self { accounts, sessions, families: Vec::new() })
    }

    async fn connect(&mut self, context: &Context) -> Result<(), Failure> {
        let (receivers, door) = (context.options.receivers, context.options.door);
        let placement = Placement::new(&context.options);
        let places: Rc<[(Account, String)]> =
            self.accounts.iter().cloned().zip(self.sessions.iter().cloned()).collect();
        let sources = Rc::clone(&context.sources);
        self.families = each(self.accounts.len(), move |number| {
            let (sources, places) = (Rc::clone(&sources), Rc::clone(&places));
            async move {
                let (account, session) = &places[number];
                let mut family = Family { sender: None, receivers: Vec::with_capacity(receivers) };
                if door == Door::Socket {
                    let scope = Scope::Session(session.clone());
                    let replica = placement.sender(number);
                    family.sender = Some(Reader::connect_to(&sources, replica, account, &scope).await?);
                }
                for receiver in 0..receivers {
                    let replica = placement.receiver(number, receiver);
                    family.receivers.push(Reader::connect_to(&sources, replica, account, &Scope::User).await?);
                }
                Ok(family)
            }
        })
        .await?;
        Ok(())
    }

    async fn run(self, context: &Context, recorder: &Recorder) -> Result<(), Failure> {
        let stamps = Stamps::new(context.options.message_bytes);
        let mut circles = Vec::with_capacity(self.families.len());
        for ((account, session), family) in self.accounts.into_iter().zip(self.sessions).zip(self.families) {
            let circle = Rc::new(Circle {
                account,
                session,
                receivers: family.receivers.len() as u64,
                stamps,
                pool: context.http_pool(),
                sent: Cell::new(0),
                outstanding: Outstanding::default(),
                acknowledged: Signal::default(),
                delivered: Signal::default(),
                recorder: recorder.clone(),
            });
            for receiver in family.receivers {
                monoio::spawn(receive(receiver, Rc::clone(&circle)));
            }
            let sender = family.sender.map(|reader| {
                let sender = Rc::clone(reader.sender());
                monoio::spawn(acks(reader, Rc::clone(&circle)));
                sender
            });
            circles.push((circle, sender));
        }
        load(&circles, context.own_rate(), recorder).await?;
        let settled = || circles.iter().all(|(circle, _)| circle.missing() == 0 && circle.outstanding.count() == 0);
        wait_until(recorder, settled).await;
        let missing = circles.iter().map(|(circle, _)| circle.missing()).sum();
        let sent = circles.iter().map(|(circle, _)| circle.sent.get()).sum();
        recorder.add("messages sent", sent);
        let unacknowledged = circles.iter().map(|(circle, _)| circle.outstanding.count() as u64).sum();
        recorder.add("deliveries missing", missing);
        if unacknowledged > 0 {
            recorder.tally.borrow_mut().fail_times("messages without answer".to_owned(), unacknowledged);
        }
        if missing > 0 {
            recorder.tally.borrow_mut().fail_times("deliveries missing".to_owned(), missing);
        }
        Ok(())
    }
}

/// One account, the session it writes to, and what has happened there.
struct Circle {
    account: Account,
    session: String,
    receivers: u64,
    stamps: Stamps,
    pool: HttpPool,
    sent: Cell<u64>,
    outstanding: Outstanding,
    acknowledged: Signal,
    delivered: Signal,
    recorder: Recorder,
}

type Source = (Rc<Circle>, Option<Rc<Sender>>);

async fn load(circles: &[Source], rate: Option<f64>, recorder: &Recorder) -> Result<(), Failure> {
    let group = Group::default();
    if let Some(rate) = rate {
        let mut pacer = Pacer::start(rate)?;
        let mut turn = 0;
        while recorder.running() {
            let due = pacer.next().await?;
            let (circle, sender) = circles[turn % circles.len()].clone();
            turn += 1;
            group.spawn(async move { circle.send(sender.as_deref(), due).await });
        }
    } else {
        for (circle, sender) in circles.iter().cloned() {
            group.spawn(closed_loop(circle, sender));
        }
    }
    group.finished(recorder).await;
    Ok(())
}

/// The next message goes out when the last one has reached everybody.
async fn closed_loop(circle: Rc<Circle>, sender: Option<Rc<Sender>>) {
    while circle.recorder.running() {
        circle.send(sender.as_deref(), Instant::now()).await;
        let sent = circle.sent.get();
        let everywhere = async {
            circle.acknowledged.reached(sent).await;
            circle.delivered.reached(sent * circle.receivers).await;
        };
        if monoio::time::timeout(GRACE, everywhere).await.is_err() {
            return;
        }
    }
}

impl Circle {
    async fn send(&self, sender: Option<&Sender>, due: Instant) {
        self.sent.set(self.sent.get() + 1);
        let ciphertext = self.stamps.stamp(due);
        let outcome = match sender {
            Some(sender) => {
                let data = format!(r#"{{"sid":"{}","message":"{ciphertext}"}}"#, self.session);
                let ack = sender.queue_event("message", Some(&data));
                self.outstanding.begin(ack, due);
                sender.flush().await
            }
            None => self.post(&ciphertext, due).await,
        };
        if let Err(failure) = outcome {
            self.recorder.fail(&failure);
        }
    }

    async fn post(&self, ciphertext: &str, due: Instant) -> Result<(), Failure> {
        let mut http = self.pool.take()?;
        let path = format!("/v2/sessions/{}/messages", self.session);
        let body = format!(r#"{{"ciphertext":"{ciphertext}"}}"#);
        let response = http.post(&path, Some(&self.account.token), &body).await?;
        if response.status != 200 {
            return Err(response.unexpected("message"));
        }
        self.pool.give(http);
        self.recorder.operation(due);
        self.acknowledged.raise();
        Ok(())
    }

    fn missing(&self) -> u64 {
        (self.sent.get() * self.receivers).saturating_sub(self.delivered.count())
    }
}

/// Reads the sender's socket.
async fn acks(mut reader: Reader, circle: Rc<Circle>) {
    loop {
        match reader.next().await {
            Ok(Packet::Ack { id, data }) => {
                match circle.outstanding.answer(id) {
                    Some(due) => drop(circle.recorder.operation(due)),
                    None => circle.recorder.fail(&Failure::new("an ack that was not asked for")),
                }
                if !data.starts_with(r#"[{"ok":true"#) {
                    circle.recorder.fail(&Failure::new(format!("message answered {data}")));
                }
                circle.acknowledged.raise();
            }
            Ok(_) => {}
            Err(failure) => return circle.recorder.fail(&failure.during("sender")),
        }
    }
}

async fn receive(mut reader: Reader, circle: Rc<Circle>) {
    let mut last_seq = 0;
    loop {
        let data = match reader.next().await {
            Ok(Packet::Event { data, .. }) => data,
            Ok(_) => continue,
            Err(failure) => return circle.recorder.fail(&failure.during("receiver")),
        };
        match delivery(data) {
            None => circle.recorder.add("other events", 1),
            Some((seq, ciphertext)) => {
                if seq != last_seq + 1 {
                    let text = if seq > last_seq { "delivery skipped messages" } else { "delivery out of order" };
                    circle.recorder.fail(&Failure::new(text));
                }
                last_seq = seq;
                match circle.stamps.age(ciphertext) {
                    Some(age) => circle.recorder.delivery(age),
                    None => circle.recorder.fail(&Failure::new("delivery of a message that was not sent")),
                }
                circle.delivered.raise();
            }
        }
    }
}
