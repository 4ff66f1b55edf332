//! The model database, and what must be true of everything that clients have heard.
//!
//! The database hands out cursors as the real one does: those of one account in the order of its commits, whichever core
//! asks. The oracle notes when each event reaches the home of its account and when each connection joins and leaves there,
//! and from that alone says what each connection must, may and must not have heard. It knows nothing of how `home` works.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::super::event::{Audience, Event, Update};
use super::super::home::{Class, GAP_WAIT_MS};
use crate::model::ids::{AccountId, MachineId, SessionId, SocketId};
use crate::runtime::timer::Millis;

/// Counts what the scheduler does, one at a time; finer than the clock.
pub(super) type Step = u64;

/// Something that a client asks for.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A message: told to every participant of a session but the connection that sent it.
    Message(SessionId),
    /// Something of the account, for its user-scoped connections.
    Own,
    /// For every connection of the account.
    Everybody,
    Machine(MachineId),
    /// Two updates with one cursor, as when a machine is registered.
    Twice(MachineId),
    /// A cursor of which nobody is told.
    Silent,
    /// A cursor that another replica has allocated, so that this process never hears of it.
    Elsewhere,
    Share(SessionId, AccountId),
    Revoke(SessionId, AccountId),
    Delete(SessionId),
    /// An ephemeral.
    Shown,
}

struct Row {
    owner: AccountId,
    shares: BTreeSet<AccountId>,
}

/// Where something happened on its way.
#[derive(Clone, Copy, Debug)]
struct Moment {
    step: Step,
    at: Millis,
}

#[derive(Debug)]
struct Told {
    update: Update,
    /// When the home of the account got it, if it had one.
    arrived: Option<Moment>,
}

/// A cursor that arrived at the home of its account, with an update or without.
struct Arrival {
    seq: i64,
    moment: Moment,
    /// The home had published nothing before, so it could not know of a predecessor.
    is_first: bool,
}

struct Withdrawal {
    account: AccountId,
    session: SessionId,
    seq: i64,
    arrived: Moment,
}

/// A connection as the server knew it.
#[derive(Debug)]
pub(super) struct Connection {
    pub account: AccountId,
    pub class: Class,
    /// When its home listed it.
    joined: Option<Step>,
    left: Option<Step>,
}

#[derive(Default)]
pub(super) struct Oracle {
    pub step: Step,
    cursors: HashMap<AccountId, i64>,
    rows: BTreeMap<SessionId, Row>,
    /// By the number in its body.
    told: Vec<Told>,
    shown: Vec<AccountId>,
    arrivals: HashMap<AccountId, Vec<Arrival>>,
    withdrawals: Vec<Withdrawal>,
    pub connections: HashMap<SocketId, Connection>,
    /// Updates that a connection must not have heard of because its account had lost the session.
    pub withheld: Cell<usize>,
    /// Cursors that were heard of behind a higher one.
    pub late: Cell<usize>,
}

impl Oracle {
    pub(super) fn add_session(&mut self, session: SessionId, owner: AccountId) {
        self.rows.insert(session, Row { owner, shares: BTreeSet::new() });
    }

    // ---- the database -------------------------------------------------------------------------------------------

    fn cursor(&mut self, account: &AccountId) -> i64 {
        let cursor = self.cursors.entry(account.clone()).or_default();
        *cursor += 1;
        *cursor
    }

    fn update(
        &mut self,
        account: &AccountId,
        seq: i64,
        audience: Audience,
        skip: Option<SocketId>,
        pad: usize,
    ) -> Update {
        let body = format!(r#"{{"n":{},"pad":"{}"}}"#, self.told.len(), "x".repeat(pad));
        let update = Update { account: account.clone(), seq, audience, body: body.into(), skip };
        self.told.push(Told { update: update.clone(), arrived: None });
        update
    }

    fn fresh_update(&mut self, account: &AccountId, audience: Audience, pad: usize) -> Event {
        let seq = self.cursor(account);
        Event::Update(self.update(account, seq, audience, None, pad))
    }

    /// One transaction: what is to be published once its outcome is known. Nothing if it is refused.
    pub(super) fn commit(
        &mut self,
        actor: &AccountId,
        by: Option<SocketId>,
        what: What,
        pad: usize,
    ) -> Option<Vec<Event>> {
        Some(match what {
            What::Message(session) => {
                let row = self.rows.get(&session)?;
                if row.owner != *actor && !row.shares.contains(actor) {
                    return None;
                }
                let participants: Vec<_> = std::iter::once(&row.owner).chain(&row.shares).cloned().collect();
                let mut events = Vec::new();
                for account in participants {
                    let seq = self.cursor(&account);
                    let skip = by.filter(|_| account == *actor);
                    events.push(Event::Update(self.update(
                        &account,
                        seq,
                        Audience::Session(session.clone()),
                        skip,
                        pad,
                    )));
                }
                events
            }
            What::Own => vec![self.fresh_update(actor, Audience::UserScoped, pad)],
            What::Everybody => vec![self.fresh_update(actor, Audience::All, pad)],
            What::Machine(machine) => vec![self.fresh_update(actor, Audience::Machine(machine), pad)],
            What::Twice(machine) => {
                let seq = self.cursor(actor);
                let first = self.update(actor, seq, Audience::UserScoped, None, pad);
                vec![Event::Pair(Box::new([first, self.update(actor, seq, Audience::Machine(machine), None, pad)]))]
            }
            What::Silent => vec![Event::Silent { account: actor.clone(), seq: self.cursor(actor) }],
            What::Elsewhere => {
                self.cursor(actor);
                Vec::new()
            }
            What::Share(session, with) => {
                let row = self.rows.get_mut(&session).filter(|row| row.owner == *actor && row.owner != with)?;
                row.shares.insert(with.clone());
                let silent = Event::Silent { account: with.clone(), seq: self.cursor(&with) };
                vec![silent, self.fresh_update(&with, Audience::All, pad)]
            }
            What::Revoke(session, from) => {
                let row = self.rows.get_mut(&session).filter(|row| row.owner == *actor)?;
                if !row.shares.remove(&from) {
                    return None;
                }
                let seq = self.cursor(&from);
                let withdrawn = Event::Withdrawn { account: from.clone(), session, seq };
                vec![withdrawn, Event::Update(self.update(&from, seq, Audience::All, None, pad))]
            }
            What::Delete(session) => {
                self.rows.get(&session).filter(|row| row.owner == *actor)?;
                let row = self.rows.remove(&session)?;
                let mut events = Vec::new();
                for account in std::iter::once(row.owner).chain(row.shares) {
                    let seq = self.cursor(&account);
                    events.push(Event::Withdrawn { account: account.clone(), session: session.clone(), seq });
                    events.push(Event::Update(self.update(&account, seq, Audience::UserScoped, None, pad)));
                }
                events
            }
            What::Shown => {
                let body = format!(r#"{{"n":{}}}"#, self.shown.len());
                self.shown.push(actor.clone());
                let account = actor.clone();
                vec![Event::Ephemeral(super::super::event::Ephemeral { account, audience: Audience::UserScoped, body })]
            }
        })
    }

    // ---- what happened on the way -------------------------------------------------------------------------------

    /// An event is about to be taken by the home core of its account. `fresh`: whether the home has published nothing yet;
    /// nothing if there is no home.
    pub(super) fn arrives(&mut self, event: &Event, at: Millis, fresh: Option<bool>) {
        let moment = Moment { step: self.step, at };
        let Some(is_first) = fresh else { return };
        let (account, seq) = match event {
            Event::Update(update) => {
                self.told[number(&update.body)].arrived = Some(moment);
                (&update.account, update.seq)
            }
            Event::Pair(pair) => {
                for update in pair.iter() {
                    self.told[number(&update.body)].arrived = Some(moment);
                }
                (&pair[0].account, pair[0].seq)
            }
            Event::Silent { account, seq } => (account, *seq),
            Event::Withdrawn { account, session, seq } => {
                let (account, session) = (account.clone(), session.clone());
                return self.withdrawals.push(Withdrawal { account, session, seq: *seq, arrived: moment });
            }
            Event::Ephemeral(_) => return,
        };
        self.arrivals.entry(account.clone()).or_default().push(Arrival { seq, moment, is_first });
    }

    pub(super) fn connected(&mut self, socket: SocketId, account: AccountId, class: Class) {
        let connection = Connection { account, class, joined: None, left: None };
        assert!(self.connections.insert(socket, connection).is_none(), "a socket id is used once");
    }

    /// The home of its account lists a connection.
    pub(super) fn joined(&mut self, socket: SocketId) {
        let step = self.step;
        self.connections.get_mut(&socket).expect("known").joined = Some(step);
    }

    pub(super) fn left(&mut self, socket: SocketId) {
        let connection = self.connections.get_mut(&socket).expect("known");
        assert!(connection.left.is_none(), "a connection ends once");
        connection.left = Some(self.step);
    }

    pub(super) fn is_connected(&self, socket: SocketId) -> bool {
        self.connections.get(&socket).is_some_and(|connection| connection.left.is_none())
    }

    /// What an update is about, for the trace.
    pub(super) fn describe(&self, n: usize) -> String {
        let Told { update, arrived } = &self.told[n];
        format!(
            "update {n}: {} seq {} to {:?}, at home {:?}",
            update.account.as_str(),
            update.seq,
            update.audience,
            arrived.map(|moment| (moment.step, moment.at))
        )
    }

    // ---- what must be true --------------------------------------------------------------------------------------

    /// Checks everything that one connection has heard: numbers of updates and their cursors, in order. `is_complete`: it
    /// is still connected and has read everything, so what it must hear it has heard.
    pub(super) fn check_updates(&self, socket: SocketId, heard: &[(usize, i64)], is_complete: bool) {
        let connection = &self.connections[&socket];
        let mut seen = HashSet::new();
        for (n, seq) in heard {
            assert!(seen.insert(*n), "{socket} has heard of {} twice", self.describe(*n));
            assert_eq!(self.told[*n].update.seq, *seq, "the cursor of {}", self.describe(*n));
            let verdict = self.verdict(socket, connection, *n);
            assert!(verdict != Verdict::MustNot, "{socket} must not hear of {}; {connection:?}", self.describe(*n));
        }
        if is_complete {
            for n in (0..self.told.len()).filter(|n| self.verdict(socket, connection, *n) == Verdict::Must) {
                assert!(seen.contains(&n), "{socket} has lost {}; {connection:?}", self.describe(n));
            }
        }
        self.check_order(socket, heard);
        self.check_withdrawn(socket, heard);
    }

    fn verdict(&self, socket: SocketId, connection: &Connection, n: usize) -> Verdict {
        let Told { update, arrived } = &self.told[n];
        let hears = match (&update.audience, &connection.class) {
            (Audience::All, _) | (_, Class::User) => true,
            (Audience::Session(about), Class::Session(bound)) => about == bound,
            (Audience::Machine(about), Class::Machine(bound)) => about == bound,
            _ => false,
        };
        let (Some(arrived), Some(joined)) = (arrived, connection.joined) else { return Verdict::MustNot };
        if update.account != connection.account || !hears || update.skip == Some(socket) || arrived.step < joined {
            return Verdict::MustNot;
        }
        let Audience::Session(about) = &update.audience else { return Verdict::Must };
        let lost = self
            .withdrawals
            .iter()
            .filter(|lost| lost.account == update.account && lost.session == *about && update.seq < lost.seq);
        let mut verdict = Verdict::Must;
        for lost in lost {
            if lost.arrived.step < arrived.step {
                // The home that knew of the loss lives as long as somebody was there all the time.
                if joined < lost.arrived.step {
                    self.withheld.set(self.withheld.get() + 1);
                    return Verdict::MustNot;
                }
                verdict = Verdict::May;
            } else if lost.arrived.at <= arrived.at + GAP_WAIT_MS {
                // It may have been held back when the loss became known.
                verdict = Verdict::May;
            }
        }
        verdict
    }

    /// Cursors rise, and equal ones keep the order of their publication. The exceptions: a cursor may come behind a higher
    /// one if it reached the home (1) [`GAP_WAIT_MS`] or more after one that is higher, or (2) after a higher one that was
    /// the first of that home.
    fn check_order(&self, socket: SocketId, heard: &[(usize, i64)]) {
        let mut highest: Option<(usize, i64)> = None;
        for (n, seq) in heard {
            match highest {
                Some((before, top)) if top > *seq => {
                    let update = &self.told[*n].update;
                    let arrived = self.told[*n].arrived.expect("it was heard of");
                    let excused = self.arrivals[&update.account].iter().any(|other| {
                        let is_late = other.moment.at + GAP_WAIT_MS <= arrived.at;
                        let is_behind_first = other.is_first && other.moment.step < arrived.step;
                        other.seq > *seq && (is_late || is_behind_first)
                    });
                    let (late, early) = (self.describe(*n), self.describe(before));
                    self.late.set(self.late.get() + 1);
                    assert!(excused, "{socket} has heard of {late} behind {early}");
                }
                Some((before, top)) if top == *seq => assert!(before < *n, "{socket}: two of one cursor, turned round"),
                _ => highest = Some((*n, *seq)),
            }
        }
    }

    /// Behind the update that tells of the loss of a session nothing follows that happened in it before.
    fn check_withdrawn(&self, socket: SocketId, heard: &[(usize, i64)]) {
        for (at, (n, seq)) in heard.iter().enumerate() {
            let account = &self.told[*n].update.account;
            let Some(lost) = self.withdrawals.iter().find(|lost| lost.account == *account && lost.seq == *seq) else {
                continue;
            };
            for (later, later_seq) in &heard[at..] {
                let about = &self.told[*later].update.audience;
                let is_stale = *about == Audience::Session(lost.session.clone()) && *later_seq < lost.seq;
                assert!(!is_stale, "{socket} has heard of {} after it was told of the loss", self.describe(*later));
            }
        }
    }

    /// An event is answered behind the updates about it; unless they had to wait for another one.
    pub(super) fn check_answered_behind(&self, n: usize, heard_before: bool) {
        let Told { update, arrived } = &self.told[n];
        let Some(arrived) = arrived else { return };
        let known = self.arrivals.get(&update.account);
        let earlier: HashSet<i64> = known
            .into_iter()
            .flatten()
            .filter(|other| other.moment.step < arrived.step)
            .map(|other| other.seq)
            .collect();
        let waited = (1..update.seq).any(|seq| !earlier.contains(&seq));
        assert!(heard_before || waited, "answered before {}", self.describe(n));
    }

    pub(super) fn check_shown(&self, socket: SocketId, shown: &[usize]) {
        let connection = &self.connections[&socket];
        for n in shown {
            assert_eq!(self.shown[*n], connection.account, "{socket} was shown what is somebody else's");
            assert_eq!(connection.class, Class::User);
        }
        assert!(shown.iter().collect::<HashSet<_>>().len() == shown.len(), "{socket} was shown something twice");
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Must,
    May,
    MustNot,
}

/// The number in the body of an update.
pub(super) fn number(body: &str) -> usize {
    let digits = body.strip_prefix(r#"{"n":"#).expect("a body of ours");
    let end = digits.find(|c: char| !c.is_ascii_digit()).expect("an end");
    digits[..end].parse().expect("a number")
}
