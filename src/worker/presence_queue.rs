//! Writes what the processes that serve clients have put into the presence queue (`spec/realtime.md` §10.3).
//!
//! Invariant: an entry is acknowledged only after its row is written, so a worker that is killed loses nothing: another
//! one, or the same one after its restart, claims the entry. Of each session or machine the latest time is written, of
//! those whose account may still report.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::presence::{Received, Report, Subject, UNWRITTEN_MAX};
use crate::cluster::{Cluster, Command};
use crate::domain::{Context, presence};
use crate::model::ids::{AccountId, MachineId, SessionId};
use crate::realtime::presence::Seen;
use crate::runtime::mailbox::Inbox;
use crate::storage::Error;

pub const INTERVAL_MS: u64 = 5_000;

pub struct PresenceQueue {
    ctx: Rc<Context>,
    cluster: Arc<Cluster>,
    entries: Inbox<Received>,
    /// Read, and not written yet.
    unwritten: RefCell<Unwritten>,
    running: Cell<bool>,
}

/// Pure.
#[derive(Default)]
struct Unwritten {
    /// The latest time that each account has reported, by account and identifier.
    sessions: HashMap<(String, String), i64>,
    machines: HashMap<(String, String), i64>,
    /// Entries whose times these are.
    entries: Vec<String>,
}

impl Unwritten {
    fn take_in(&mut self, received: Received) {
        self.entries.push(received.entry);
        let Some(Report { subject, id, account, at }) = received.report else { return };
        let latest = match subject {
            Subject::Session => &mut self.sessions,
            Subject::Machine => &mut self.machines,
        };
        let latest = latest.entry((account, id)).or_insert(at);
        *latest = (*latest).max(at);
    }

    fn sessions(&self) -> Vec<Seen<SessionId>> {
        seen(&self.sessions)
    }

    fn machines(&self) -> Vec<Seen<MachineId>> {
        seen(&self.machines)
    }
}

/// In the order in which they are to be written.
fn seen<Id: Ord + for<'a> From<&'a str>>(latest: &HashMap<(String, String), i64>) -> Vec<Seen<Id>> {
    let seen = latest.iter().map(|((account, id), at)| Seen {
        id: Id::from(id.as_str()),
        account: AccountId::from(account.as_str()),
        at: *at,
    });
    let mut seen: Vec<Seen<Id>> = seen.collect();
    seen.sort_unstable_by(|a, b| a.id.cmp(&b.id).then(a.at.cmp(&b.at)));
    seen
}

impl PresenceQueue {
    /// Starts the loop.
    pub fn start(ctx: Rc<Context>, cluster: Arc<Cluster>, entries: Inbox<Received>) -> Rc<Self> {
        let this = Rc::new(Self { ctx, cluster, entries, unwritten: RefCell::default(), running: Cell::new(false) });
        let repeated = Rc::clone(&this);
        monoio::spawn(async move {
            loop {
                monoio::time::sleep(Duration::from_millis(INTERVAL_MS)).await;
                repeated.flush().await;
            }
        });
        this
    }

    /// Writes everything that was read, then has it acknowledged. What cannot be written stays and is tried again. Also
    /// called when the process ends.
    pub async fn flush(&self) {
        while self.running.get() {
            monoio::time::sleep(Duration::from_millis(5)).await;
        }
        self.running.set(true);
        let mut unwritten = self.unwritten.take();
        // While the database is away what was read waits, and nothing more is taken; then nothing more is read either.
        if unwritten.entries.len() < UNWRITTEN_MAX {
            let mut received = Vec::new();
            self.entries.take(&mut received);
            received.into_iter().for_each(|received| unwritten.take_in(received));
        }
        if !unwritten.entries.is_empty() {
            match self.write(&unwritten).await {
                Ok(()) => self.cluster.send(Command::Written(unwritten.entries)),
                Err(Error::Invalid(text)) => {
                    // It would be refused again and hold up all others; the next signs of life follow soon.
                    log::error!("the presence of {} entries cannot be written: {text}", unwritten.entries.len());
                    self.cluster.send(Command::Written(unwritten.entries));
                }
                Err(error) => {
                    log::error!("the presence of {} entries is not written yet: {error}", unwritten.entries.len());
                    *self.unwritten.borrow_mut() = unwritten;
                }
            }
        }
        self.running.set(false);
    }

    async fn write(&self, unwritten: &Unwritten) -> Result<(), Error> {
        presence::store_sessions(&self.ctx, &unwritten.sessions()).await?;
        presence::store_machines(&self.ctx, &unwritten.machines()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_time_is_written_and_every_entry_acknowledged() {
        let mut unwritten = Unwritten::default();
        let report = |subject, id: &str, account: &str, at| {
            Some(Report { subject, id: id.to_string(), account: account.to_string(), at })
        };
        let reports = [
            report(Subject::Session, "s", "a", 5),
            report(Subject::Session, "s", "b", 9),
            report(Subject::Session, "s", "a", 7),
            report(Subject::Session, "s", "a", 6),
            None,
            report(Subject::Machine, "m", "a", 3),
            report(Subject::Machine, "m", "b", 2),
        ];
        for (n, report) in reports.into_iter().enumerate() {
            unwritten.take_in(Received { entry: n.to_string(), report });
        }
        assert_eq!(unwritten.entries, ["0", "1", "2", "3", "4", "5", "6"]);
        let seen = |account: &str, at| Seen { id: SessionId::from("s"), account: AccountId::from(account), at };
        assert_eq!(unwritten.sessions(), [seen("a", 7), seen("b", 9)], "either account may have lost its access");
        let seen = |account: &str, at| Seen { id: MachineId::from("m"), account: AccountId::from(account), at };
        assert_eq!(unwritten.machines(), [seen("b", 2), seen("a", 3)]);
    }
}
