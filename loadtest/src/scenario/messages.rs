//! `messages`: stored messages with ack (spec realtime.md §7.1).
//!
//! Checks what the contract promises: every message is acknowledged as stored, and the sequence numbers acknowledged in
//! a session are 1 to n, each once; n is what the session then says.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::client::json;
use crate::client::socket::Scope;
use crate::client::{Account, Failure, Http, Reader, Sender};
use crate::scenario::drive::{Line, Operation, drive};
use crate::scenario::{Context, Scenario, each};
use crate::tally::Recorder;

pub(super) struct Messages {
    accounts: Rc<[Account]>,
    sessions: Rc<[Rc<Session>]>,
    readers: Vec<Reader>,
}

struct Session {
    id: String,
    /// The account that owns it and writes to it.
    account: usize,
    acknowledged: RefCell<Vec<u64>>,
    refused: Cell<u64>,
}

impl Scenario for Messages {
    async fn prepare(context: &Context) -> Result<Self, Failure> {
        let accounts: Rc<[Account]> = context.accounts().await?.into();
        let ids = context.sessions(&accounts, context.own(context.options.sessions)).await?;
        let sessions = ids.into_iter().enumerate().map(|(number, id)| {
            let account = number % accounts.len();
            Rc::new(Session { id, account, acknowledged: RefCell::default(), refused: Cell::new(0) })
        });
        let sessions = sessions.collect();
        Ok(Self { accounts, sessions, readers: Vec::new() })
    }

    async fn connect(&mut self, context: &Context) -> Result<(), Failure> {
        let (sources, accounts) = (Rc::clone(&context.sources), Rc::clone(&self.accounts));
        let sessions = Rc::clone(&self.sessions);
        self.readers = each(context.own(context.options.connections), move |number| {
            let (sources, accounts, sessions) = (Rc::clone(&sources), Rc::clone(&accounts), Rc::clone(&sessions));
            async move {
                let session = &sessions[number % sessions.len()];
                let scope = Scope::Session(session.id.clone());
                Reader::connect(&sources, &accounts[session.account], &scope).await
            }
        })
        .await?;
        Ok(())
    }

    async fn run(self, context: &Context, recorder: &Recorder) -> Result<(), Failure> {
        let ciphertext: Rc<str> = "Q".repeat(context.options.message_bytes).into();
        let lines = self.readers.into_iter().enumerate().map(|(number, reader)| {
            let session = Rc::clone(&self.sessions[number % self.sessions.len()]);
            let local_id = format!("l{}-{}-{number}", context.run, context.share.index);
            let operation = Write { session, ciphertext: Rc::clone(&ciphertext), local_id, written: Cell::new(0) };
            Line { reader, operation }
        });
        drive(lines.collect(), context.own_rate(), recorder).await?;
        // A new connection: those of the preparation may have idled for longer than the server keeps them.
        let mut http = Http::connect(&context.sources)?;
        for session in &*self.sessions {
            let stored = self.accounts[session.account].session_seq(&mut http, &session.id).await?;
            check_session(session, stored, recorder);
        }
        Ok(())
    }
}

/// One socket that writes to one session.
struct Write {
    session: Rc<Session>,
    ciphertext: Rc<str>,
    local_id: String,
    written: Cell<u64>,
}

impl Operation for Write {
    fn begin(&self, sender: &Sender) -> u64 {
        let number = self.written.replace(self.written.get() + 1);
        let (session, message, local_id) = (&self.session.id, &self.ciphertext, &self.local_id);
        let data = format!(r#"{{"sid":"{session}","message":"{message}","localId":"{local_id}-{number}"}}"#);
        sender.queue_event("message", Some(&data))
    }

    fn answered(&self, data: &str) -> Result<(), Failure> {
        match json::integer(data, "seq") {
            Some(seq) if data.starts_with(r#"[{"ok":true"#) => {
                self.session.acknowledged.borrow_mut().push(seq);
                Ok(())
            }
            _ => {
                self.session.refused.set(self.session.refused.get() + 1);
                Err(Failure::new(format!("message answered {data}")))
            }
        }
    }
}

/// Compares what was acknowledged in a session with 1 to n and with what the session says.
fn check_session(session: &Session, stored: u64, recorder: &Recorder) {
    let acknowledged = session.acknowledged.take();
    recorder.add("messages acknowledged", acknowledged.len() as u64);
    recorder.add("messages refused", session.refused.get());
    let mistakes = mistakes(acknowledged, stored);
    for (what, count) in [
        ("seq acknowledged twice", mistakes.repeated),
        ("seq missing", mistakes.missing),
        ("messages stored but not acknowledged", mistakes.not_acknowledged),
        ("messages acknowledged but not stored", mistakes.not_stored),
    ] {
        recorder.add(what, count);
        if count > 0 {
            recorder.tally.borrow_mut().fail_times(what.to_owned(), count);
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Mistakes {
    repeated: u64,
    missing: u64,
    not_acknowledged: u64,
    not_stored: u64,
}

fn mistakes(mut acknowledged: Vec<u64>, stored: u64) -> Mistakes {
    acknowledged.sort_unstable();
    let answers = acknowledged.len() as u64;
    acknowledged.dedup();
    let distinct = acknowledged.len() as u64;
    let last = acknowledged.last().copied().unwrap_or(0);
    Mistakes {
        repeated: answers - distinct,
        missing: last.saturating_sub(distinct),
        not_acknowledged: stored.saturating_sub(last),
        not_stored: last.saturating_sub(stored),
    }
}

#[cfg(test)]
mod tests {
    use super::{Mistakes, mistakes};

    #[test]
    fn every_mistake_is_seen() {
        assert_eq!(mistakes(vec![3, 1, 2], 3), Mistakes::default());
        assert_eq!(mistakes(Vec::new(), 0), Mistakes::default());
        assert_eq!(mistakes(vec![1, 2, 2], 2), Mistakes { repeated: 1, ..Mistakes::default() });
        assert_eq!(mistakes(vec![1, 4], 4), Mistakes { missing: 2, ..Mistakes::default() });
        assert_eq!(mistakes(vec![1], 3), Mistakes { not_acknowledged: 2, ..Mistakes::default() });
        assert_eq!(mistakes(vec![1, 2], 1), Mistakes { not_stored: 1, ..Mistakes::default() });
    }
}
