//! Who has been heard of lately: the memory between a client that reports itself alive every other second and a row that
//! is written twice a minute (`spec/realtime.md` §10.1–10.2). Pure: time is an argument.
//!
//! Owns: which account may report for which session or machine (positive answers only, for [`VALID_MS`]), and which
//! times wait to be written. Never: statements, events.
//! Invariants: a time is recorded only for an entry that a row has vouched for; what waits is taken exactly once. One
//! cache never holds more than [`ENTRIES_MAX`] entries; beyond that reports are shown and not written.
//!
//! Sessions start from their row as machines do (closes R-15), and a time that waits survives the renewal of its entry.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;

use crate::model::ids::{AccountId, MachineId, SessionId};

/// How long the answer of the database counts.
pub const VALID_MS: i64 = 30_000;

/// A row that is at most this old is not written again.
pub const WRITTEN_EVERY_MS: i64 = 30_000;

/// Reports from further back are ignored, and rows that have not been heard of for so long become inactive.
pub const SILENCE_MS: i64 = 600_000;

/// Entries of one cache. A core with more active sessions than this has too few cores beside it.
pub const ENTRIES_MAX: usize = 1 << 18;

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub last_active_at: i64,
    pub active: bool,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It will be written with the next flush.
    Pending,
    /// The row is recent enough.
    Skipped,
    /// There is no entry: the cache is full.
    Unknown,
}

/// A time to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<Id> {
    pub id: Id,
    pub account: AccountId,
    pub at: i64,
}

struct Entry {
    account: AccountId,
    valid_until: i64,
    /// The newest time that the row has, or is about to have.
    last_sent: i64,
    active: bool,
    pending: Option<i64>,
    /// Whether the entry is in `Cache::queue`.
    queued: bool,
}

/// Entries by session or machine and, within, by account: one for the owner, and one for each guest of a session.
pub struct Cache<Id> {
    entries: HashMap<Id, Vec<Entry>>,
    len: usize,
    /// Entries that have a time waiting, or had one.
    queue: Vec<(Id, AccountId)>,
}

impl<Id> Default for Cache<Id> {
    fn default() -> Self {
        Self { entries: HashMap::new(), len: 0, queue: Vec::new() }
    }
}

impl<Id: Clone + Ord + Hash> Cache<Id> {
    /// Whether the account is known to be allowed to report.
    pub fn is_valid(&self, id: &Id, account: &AccountId, now: i64) -> bool {
        // A clock that was set back must not make an answer count for longer.
        self.find(id, account).is_some_and(|entry| (1..=VALID_MS).contains(&(entry.valid_until - now)))
    }

    /// Takes in what the database has answered. `false`: there is no room.
    pub fn admit(&mut self, id: &Id, account: &AccountId, standing: Standing, now: i64) -> bool {
        let valid_until = now + VALID_MS;
        let Standing { last_active_at: last_sent, active } = standing;
        if let Some(entry) = self.find_mut(id, account) {
            // What waits to be written is newer than the row, unless the session was ended by way of another core.
            let active = active || entry.pending.is_some_and(|at| at > last_sent);
            let account = entry.account.clone();
            let (pending, queued) = (entry.pending, entry.queued);
            *entry = Entry { account, valid_until, last_sent, active, pending, queued };
            return true;
        }
        if self.len >= ENTRIES_MAX {
            self.sweep(now);
            if self.len >= ENTRIES_MAX {
                return false;
            }
        }
        let entry = Entry { account: account.clone(), valid_until, last_sent, active, pending: None, queued: false };
        self.entries.entry(id.clone()).or_default().push(entry);
        self.len += 1;
        true
    }

    /// Notes that something was alive at a time.
    pub fn record(&mut self, id: &Id, account: &AccountId, at: i64) -> Recorded {
        let Some(entry) = self.find_mut(id, account) else { return Recorded::Unknown };
        if entry.active && (at - entry.last_sent).abs() <= WRITTEN_EVERY_MS {
            return Recorded::Skipped;
        }
        entry.active = true;
        entry.pending = Some(at);
        if !entry.queued {
            entry.queued = true;
            self.queue.push((id.clone(), account.clone()));
        }
        Recorded::Pending
    }

    /// It was said to have ended: what waits to be written is no longer true, and the next sign of life is news.
    pub fn end(&mut self, id: &Id) {
        for entry in self.entries.get_mut(id).into_iter().flatten() {
            entry.pending = None;
            entry.active = false;
        }
    }

    /// Takes everything that waits: for each session or machine one time of each account that reported it, the latest
    /// last. Who of them may still report is for the database to say.
    pub fn take_pending(&mut self) -> Vec<Seen<Id>> {
        let mut seen: Vec<Seen<Id>> = Vec::with_capacity(self.queue.len());
        for (id, account) in std::mem::take(&mut self.queue) {
            let Some(entry) = self.find_mut(&id, &account) else { continue };
            debug_assert!(entry.queued);
            entry.queued = false;
            if let Some(at) = entry.pending.take() {
                entry.last_sent = at;
                seen.push(Seen { id, account, at });
            }
        }
        seen.sort_unstable_by(|a, b| a.id.cmp(&b.id).then(a.at.cmp(&b.at)));
        seen
    }

    /// Forgets what is no longer valid, except for what waits to be written.
    pub fn sweep(&mut self, now: i64) {
        self.entries.retain(|_, of_id| {
            of_id.retain(|entry| entry.valid_until > now || entry.queued);
            !of_id.is_empty()
        });
        self.len = self.entries.values().map(Vec::len).sum();
        if self.entries.capacity() > 4 * self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn find(&self, id: &Id, account: &AccountId) -> Option<&Entry> {
        self.entries.get(id)?.iter().find(|entry| entry.account == *account)
    }

    fn find_mut(&mut self, id: &Id, account: &AccountId) -> Option<&mut Entry> {
        self.entries.get_mut(id)?.iter_mut().find(|entry| entry.account == *account)
    }
}

/// The caches of one core.
#[derive(Default)]
pub struct Presence {
    pub sessions: RefCell<Cache<SessionId>>,
    pub machines: RefCell<Cache<MachineId>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000;

    fn ids() -> (SessionId, AccountId, AccountId) {
        (SessionId::from("s"), AccountId::from("owner"), AccountId::from("guest"))
    }

    fn active_since(last_active_at: i64) -> Standing {
        Standing { last_active_at, active: true }
    }

    fn taken(cache: &mut Cache<SessionId>) -> Vec<(String, i64)> {
        cache.take_pending().into_iter().map(|seen| (seen.id.into(), seen.at)).collect()
    }

    #[test]
    fn an_answer_counts_for_thirty_seconds_and_for_one_account() {
        let (s, owner, guest) = ids();
        let mut cache = Cache::default();
        assert!(!cache.is_valid(&s, &owner, NOW));
        assert!(cache.admit(&s, &owner, active_since(NOW), NOW));
        assert!(cache.is_valid(&s, &owner, NOW) && cache.is_valid(&s, &owner, NOW + VALID_MS - 1));
        assert!(!cache.is_valid(&s, &owner, NOW + VALID_MS));
        assert!(!cache.is_valid(&s, &owner, NOW - 1), "a clock that was set back");
        assert!(!cache.is_valid(&s, &guest, NOW));
        assert_eq!(cache.record(&s, &guest, NOW), Recorded::Unknown);
    }

    #[test]
    fn a_live_session_is_written_every_thirty_seconds() {
        let (s, owner, _) = ids();
        let mut cache = Cache::default();
        let mut row = active_since(NOW);
        let mut writes = 0;
        for now in (NOW..NOW + 600_000).step_by(2_000) {
            if !cache.is_valid(&s, &owner, now) {
                assert!(cache.admit(&s, &owner, row, now));
            }
            cache.record(&s, &owner, now);
            if now % 5_000 == 0 {
                for (_, at) in taken(&mut cache) {
                    assert!(at - row.last_active_at > WRITTEN_EVERY_MS);
                    row = active_since(at);
                    writes += 1;
                }
            }
        }
        // in the reference server this is zero.
        assert!((14..=20).contains(&writes), "{writes}");
        assert!(NOW + 600_000 - row.last_active_at < 60_000);
    }

    #[test]
    fn recent_rows_are_not_written_and_inactive_ones_at_once() {
        let (s, owner, _) = ids();
        let mut cache = Cache::default();
        cache.admit(&s, &owner, active_since(NOW), NOW);
        assert_eq!(cache.record(&s, &owner, NOW + WRITTEN_EVERY_MS), Recorded::Skipped);
        assert_eq!(cache.record(&s, &owner, NOW - WRITTEN_EVERY_MS), Recorded::Skipped);
        assert_eq!(cache.record(&s, &owner, NOW - WRITTEN_EVERY_MS - 1), Recorded::Pending, "clocks that lag");
        assert_eq!(taken(&mut cache), [("s".to_string(), NOW - WRITTEN_EVERY_MS - 1)]);
        assert_eq!(taken(&mut cache), []);
        cache.admit(&s, &owner, Standing { last_active_at: NOW, active: false }, NOW);
        assert_eq!(cache.record(&s, &owner, NOW), Recorded::Pending);
        assert_eq!(cache.record(&s, &owner, NOW + 1), Recorded::Skipped);
        assert_eq!(taken(&mut cache), [("s".to_string(), NOW)]);
    }

    #[test]
    fn what_waits_survives_renewal_and_sweep_but_not_the_end() {
        let (s, owner, _) = ids();
        let mut cache = Cache::default();
        let stale = Standing { last_active_at: NOW - 100_000, active: false };
        cache.admit(&s, &owner, stale, NOW);
        cache.record(&s, &owner, NOW);
        cache.admit(&s, &owner, stale, NOW + VALID_MS);
        cache.sweep(NOW + 10 * VALID_MS);
        assert_eq!(taken(&mut cache), [("s".to_string(), NOW)]);
        cache.sweep(NOW + 10 * VALID_MS);
        assert!(cache.is_empty());

        // Ended by way of another core: what waits is from before.
        cache.admit(&s, &owner, stale, NOW);
        cache.record(&s, &owner, NOW);
        cache.admit(&s, &owner, Standing { last_active_at: NOW, active: false }, NOW + VALID_MS);
        assert_eq!(cache.record(&s, &owner, NOW + 1), Recorded::Pending, "alive again after its end elsewhere");
        assert_eq!(taken(&mut cache), [("s".to_string(), NOW + 1)]);

        cache.admit(&s, &owner, stale, NOW);
        cache.record(&s, &owner, NOW);
        cache.end(&s);
        assert_eq!(taken(&mut cache), []);
        assert_eq!(cache.record(&s, &owner, NOW + 1), Recorded::Pending, "alive again after its end");
        assert_eq!(taken(&mut cache), [("s".to_string(), NOW + 1)]);
    }

    #[test]
    fn every_account_that_reported_is_taken_and_the_latest_last() {
        let (s, owner, guest) = ids();
        let other = SessionId::from("t");
        let mut cache = Cache::default();
        let stale = active_since(NOW - 100_000);
        for (session, account, at) in [(&s, &guest, NOW + 3), (&s, &owner, NOW + 1), (&other, &owner, NOW + 2)] {
            cache.admit(session, account, stale, NOW);
            assert_eq!(cache.record(session, account, at), Recorded::Pending);
        }
        let seen = |id: SessionId, account, at| Seen { id, account, at };
        let expected = [seen(s.clone(), owner.clone(), NOW + 1), seen(s, guest, NOW + 3), seen(other, owner, NOW + 2)];
        assert_eq!(cache.take_pending(), expected);
    }

    #[test]
    fn a_cache_is_bounded_and_makes_room() {
        let (_, owner, _) = ids();
        let mut cache = Cache::default();
        for n in 0..ENTRIES_MAX {
            assert!(cache.admit(&SessionId::from(n.to_string()), &owner, active_since(NOW), NOW));
        }
        let one_more = SessionId::from("one more");
        assert!(!cache.admit(&one_more, &owner, active_since(NOW), NOW));
        assert_eq!(cache.record(&one_more, &owner, NOW + 100_000), Recorded::Unknown);
        let later = NOW + VALID_MS;
        assert!(cache.admit(&one_more, &owner, active_since(later), later));
        assert_eq!(cache.len(), 1);
    }
}
