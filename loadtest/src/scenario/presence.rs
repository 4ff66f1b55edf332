//! `presence`: `session-alive` of coding sessions, pushed as `activity` to the account's apps (spec realtime.md §7.4).
//!
//! Each account has one session socket that says it is alive and some receivers that are told. There is no ack, so the
//! loop is always open; without `--rate` each session speaks every two seconds, as clients do. Latency counts from the
//! intended time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::client::socket::Scope;
use crate::client::{Account, Failure, Packet, Reader, json};
use crate::pace::Pacer;
use crate::scenario::placement::Placement;
use crate::scenario::{Context, Scenario, each, wait_until};
use crate::tally::Recorder;
use crate::window::unix_micros;

pub(super) struct Presence {
    accounts: Vec<Account>,
    sessions: Rc<[String]>,
    speakers: Vec<Reader>,
    receivers: Vec<Reader>,
}

impl Scenario for Presence {
    async fn prepare(context: &Context) -> Result<Self, Failure> {
        let accounts = context.accounts().await?;
        let sessions = context.sessions(&accounts, accounts.len()).await?.into();
        Ok(Self { accounts, sessions, speakers: Vec::new(), receivers: Vec::new() })
    }

    async fn connect(&mut self, context: &Context) -> Result<(), Failure> {
        let receivers = context.options.receivers;
        let placement = Placement::new(&context.options);
        let accounts: Rc<[Account]> = self.accounts.clone().into();
        let (sources, sessions) = (Rc::clone(&context.sources), Rc::clone(&self.sessions));
        let readers = each(accounts.len() * (receivers + 1), move |number| {
            let (sources, accounts, sessions) = (Rc::clone(&sources), Rc::clone(&accounts), Rc::clone(&sessions));
            async move {
                let account = number % accounts.len();
                let (replica, scope) = match (number / accounts.len()).checked_sub(1) {
                    None => (placement.sender(account), Scope::Session(sessions[account].clone())),
                    Some(receiver) => (placement.receiver(account, receiver), Scope::User),
                };
                Reader::connect_to(&sources, replica, &accounts[account], &scope).await
            }
        })
        .await?;
        self.speakers = readers;
        self.receivers = self.speakers.split_off(self.accounts.len());
        Ok(())
    }

    async fn run(self, context: &Context, recorder: &Recorder) -> Result<(), Failure> {
        /// What clients do when nobody says otherwise.
        const SECONDS_BETWEEN: f64 = 2.0;
        let told: Rc<Cell<u64>> = Rc::default();
        let signs: Vec<Rc<LastSign>> = self.speakers.iter().map(|_| Rc::default()).collect();
        for (number, receiver) in self.receivers.into_iter().enumerate() {
            let sign = Rc::clone(&signs[number % signs.len()]);
            monoio::spawn(receive(receiver, sign, Rc::clone(&told), recorder.clone()));
        }
        let mut senders = Vec::with_capacity(self.speakers.len());
        for speaker in self.speakers {
            senders.push(Rc::clone(speaker.sender()));
            monoio::spawn(keep(speaker, recorder.clone()));
        }
        #[allow(clippy::cast_precision_loss, reason = "a number of sockets")]
        let rate = context.own_rate().unwrap_or(senders.len() as f64 / SECONDS_BETWEEN);
        let mut pacer = Pacer::start(rate)?;
        let mut said: u64 = 0;
        for turn in 0.. {
            if !recorder.running() {
                break;
            }
            let due = pacer.next().await?;
            let (sender, session) = (&senders[turn % senders.len()], &self.sessions[turn % senders.len()]);
            let now_ms = unix_micros() / 1_000;
            signs[turn % senders.len()].set(Some((now_ms, due)));
            sender
                .queue_text(&format!(r#"42["session-alive",{{"sid":"{session}","time":{now_ms},"thinking":false}}]"#));
            sender.flush_soon();
            said += 1;
        }
        let expected = said * context.options.receivers as u64;
        wait_until(recorder, || told.get() >= expected).await;
        recorder.add("session-alive sent", said);
        recorder.add("activity received", told.get());
        if told.get() != expected {
            let difference = told.get().abs_diff(expected);
            recorder.tally.borrow_mut().fail_times("activity missing or repeated".to_owned(), difference);
        }
        Ok(())
    }
}

/// The `time` of an account's last sign of life, and the moment when it was due.
type LastSign = Cell<Option<(u64, Instant)>>;

async fn receive(mut reader: Reader, sign: Rc<LastSign>, told: Rc<Cell<u64>>, recorder: Recorder) {
    loop {
        match reader.next().await {
            Ok(Packet::Event { data, .. }) if data.starts_with(r#"["ephemeral",{"type":"activity""#) => {
                told.set(told.get() + 1);
                match sign.get() {
                    Some((time, due)) if json::integer(data, "activeAt") == Some(time) => {
                        recorder.delivery(due.elapsed())
                    }
                    // Overtaken by the next one: nobody knows any more when it was due.
                    _ => recorder.delivery_without_latency(),
                }
            }
            Ok(_) => {}
            Err(failure) => return recorder.fail(&failure.during("receiver")),
        }
    }
}

/// Reads a speaker's socket, so that its heartbeat is answered.
async fn keep(mut reader: Reader, recorder: Recorder) {
    loop {
        if let Err(failure) = reader.next().await {
            return recorder.fail(&failure.during("speaker"));
        }
    }
}
