//! The messages of a core that wait to be stored, and which of them may go now.
//!
//! Owns: a line for each session with messages that wait or are under way; the calls under way.
//! Never: the database, tasks, answers.
//! Invariants: messages of a session go in the order in which they came; a session, and an account that writes, is in at
//! most one call at a time; of two messages of a session with one local id the second goes in a later call. Whoever
//! waits for a call is put aside until it ends, so that finding those that may go takes no longer, however many wait.
//! Limits: [`WAITING_MAX`] messages in the queue, [`BATCH_MAX`] and [`BATCH_BYTES_MAX`] per call.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::NewMessage;

/// Messages per call. Beyond this the function's own work outweighs the commit that is saved.
const BATCH_MAX: usize = 64;
/// Bytes of ciphertext per call, unless a single message has more.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Messages that wait. A core stores some ten thousand a second, so this many would wait for seconds.
pub(super) const WAITING_MAX: usize = 1 << 16;
/// How long a call may take before others are sent beside it: it waits for a row that somebody else has locked.
pub(super) const STALLED_AFTER: Duration = Duration::from_millis(50);

/// Messages that wait, each with what it is to be answered through.
pub(super) struct Queue<A> {
    /// Sessions with messages that wait or are under way.
    lines: HashMap<Rc<str>, Line<A>>,
    /// Sessions whose first message may go as far as is known, each once.
    ready: VecDeque<Sessions>,
    /// Accounts with a call under way, and the sessions whose first message is theirs and waits for that.
    writing: HashMap<Rc<str>, Sessions>,
    /// Messages that wait.
    waiting: usize,
    /// Calls under way, the oldest first.
    calls: Vec<Started>,
    next_call: u64,
}

/// The first messages of several sessions are of the same account.
type Sessions = VecDeque<Rc<str>>;

type Line<A> = VecDeque<Waiting<A>>;

pub(super) struct Waiting<A> {
    pub(super) new: NewMessage,
    pub(super) answer: A,
}

/// There is no room for another message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

struct Started {
    number: u64,
    began: Instant,
}

/// A call under way: what [`Queue::done`] has to know of it.
pub(super) struct Call {
    number: u64,
    sessions: Vec<Rc<str>>,
    accounts: Vec<Rc<str>>,
}

impl<A> Default for Queue<A> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            ready: VecDeque::new(),
            writing: HashMap::new(),
            waiting: 0,
            calls: Vec::new(),
            next_call: 0,
        }
    }
}

impl<A> Queue<A> {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    pub(super) fn push(&mut self, waiting: Waiting<A>) -> Result<(), Full> {
        if self.waiting >= WAITING_MAX {
            return Err(Full);
        }
        self.waiting += 1;
        match self.lines.get_mut(waiting.new.session.as_str()) {
            // It is ready, or put aside, or under way.
            Some(line) => line.push_back(waiting),
            None => {
                let session: Rc<str> = waiting.new.session.as_str().into();
                self.lines.insert(Rc::clone(&session), [waiting].into());
                self.ready.push_back([session].into());
            }
        }
        Ok(())
    }

    /// The next messages to go, unless `calls_max` calls are under way or everything waits for one of them. Calls that
    /// are stalled do not count, up to as many again.
    pub(super) fn take(&mut self, calls_max: usize, now: Instant) -> Option<(Call, Vec<Waiting<A>>)> {
        let is_stalled = |call: &&Started| now.saturating_duration_since(call.began) > STALLED_AFTER;
        let stalled = self.calls.iter().take_while(is_stalled).count();
        if self.calls.len() >= calls_max.saturating_add(stalled.min(calls_max)) {
            return None;
        }
        let mut batch = Batch { messages: Vec::new(), bytes: 0 };
        let mut sessions = Vec::new();
        while let Some(mut group) = self.ready.pop_front() {
            let Some(session) = group.front() else { continue };
            let Some(line) = self.lines.get_mut(session) else { unreachable!("a session that is ready has a line") };
            let Some(first) = line.front() else { unreachable!("a session that is ready has messages") };
            if let Some(aside) = self.writing.get_mut(first.new.account.as_str()) {
                join(aside, group);
                continue;
            }
            let taken = batch.fill(line, |account| self.writing.contains_key(account));
            self.waiting -= taken;
            if taken > 0 {
                sessions.extend(group.pop_front());
            }
            if !group.is_empty() {
                self.ready.push_front(group);
            }
            if taken == 0 {
                // It is full.
                break;
            }
        }
        if batch.messages.is_empty() {
            return None;
        }
        let mut accounts = Vec::new();
        for Waiting { new, .. } in &batch.messages {
            if !self.writing.contains_key(new.account.as_str()) {
                let account: Rc<str> = new.account.as_str().into();
                self.writing.insert(Rc::clone(&account), Sessions::new());
                accounts.push(account);
            }
        }
        let number = self.next_call;
        self.next_call += 1;
        self.calls.push(Started { number, began: now });
        Some((Call { number, sessions, accounts }, batch.messages))
    }

    /// A call has ended: what waited for it may go.
    pub(super) fn done(&mut self, call: Call) {
        // Removed in its place: the oldest come first.
        self.calls.retain(|other| other.number != call.number);
        for account in call.accounts {
            let aside = self.writing.remove(&account).unwrap_or_default();
            if !aside.is_empty() {
                self.ready.push_back(aside);
            }
        }
        for session in call.sessions {
            if self.lines.get(&session).is_some_and(|line| !line.is_empty()) {
                self.ready.push_back([session].into());
            } else {
                self.lines.remove(&session);
            }
        }
    }
}

/// Moves the fewer to the more.
fn join(sessions: &mut Sessions, mut others: Sessions) {
    if others.len() > sessions.len() {
        std::mem::swap(sessions, &mut others);
    }
    sessions.append(&mut others);
}

/// What goes in one call.
struct Batch<A> {
    messages: Vec<Waiting<A>>,
    bytes: usize,
}

impl<A> Batch<A> {
    /// Takes from the front of a session's line what may go; `writes` tells whether an account is in another call.
    /// Returns how many.
    fn fill(&mut self, line: &mut Line<A>, writes: impl Fn(&str) -> bool) -> usize {
        let before = self.messages.len();
        while let Some(Waiting { new, .. }) = line.front() {
            let bytes = self.bytes.saturating_add(new.ciphertext.len());
            let is_full = self.messages.len() == BATCH_MAX || (!self.messages.is_empty() && bytes > BATCH_BYTES_MAX);
            // The second of two with the same local id has to see that the first is stored.
            let same = |one: &Waiting<A>| new.local_id.is_some() && one.new.local_id == new.local_id;
            if is_full || writes(&new.account) || self.messages[before..].iter().any(same) {
                break;
            }
            self.bytes = bytes;
            self.messages.extend(line.pop_front());
        }
        self.messages.len() - before
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(session: &str, account: &str, id: &str) -> Waiting<()> {
        let new = NewMessage {
            account: account.into(),
            session: session.into(),
            ciphertext: "c".into(),
            local_id: None,
            id: id.into(),
            now_ms: 0,
        };
        Waiting { new, answer: () }
    }

    fn ids(batch: &[Waiting<()>]) -> Vec<&str> {
        batch.iter().map(|waiting| waiting.new.id.as_str()).collect()
    }

    #[test]
    fn a_busy_session_holds_up_nobody_else() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.push(message("busy", "first", "first")).unwrap();
        let (call, _) = queue.take(8, now).unwrap();
        for n in 0..10_000 {
            queue.push(message("busy", &format!("writer {n}"), &n.to_string())).unwrap();
        }
        queue.push(message("other", "another", "another")).unwrap();
        let (_, batch) = queue.take(8, now).unwrap();
        assert_eq!(ids(&batch), ["another"]);
        assert!(queue.take(8, now).is_none());
        // Then its own turn comes, in order.
        queue.done(call);
        for from in (0..10_000).step_by(BATCH_MAX) {
            let (call, batch) = queue.take(8, now).unwrap();
            assert_eq!(batch[0].new.id, from.to_string());
            assert!(queue.take(8, now).is_none(), "one call of a session at a time");
            queue.done(call);
        }
        assert!(queue.is_empty());
    }

    #[test]
    fn an_account_that_writes_to_many_sessions_holds_up_nobody_else() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for n in 0..1_000 {
            queue.push(message(&format!("session {n}"), "busy", &n.to_string())).unwrap();
        }
        queue.push(message("other", "another", "another")).unwrap();
        let (first, batch) = queue.take(8, now).unwrap();
        assert_eq!(batch.len(), BATCH_MAX);
        let (_, batch) = queue.take(8, now).unwrap();
        assert_eq!(ids(&batch), ["another"]);
        assert!(queue.take(8, now).is_none());
        queue.done(first);
        assert_eq!(queue.take(8, now).unwrap().1.len(), BATCH_MAX);
        assert!(queue.take(8, now).is_none());
    }

    #[test]
    fn limits_of_a_call_and_of_the_queue() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (session, bytes) in [("a", BATCH_BYTES_MAX + 1), ("a", 1), ("b", BATCH_BYTES_MAX - 1), ("b", 1), ("c", 1)] {
            let mut large = message(session, session, session);
            large.new.ciphertext = "c".repeat(bytes);
            queue.push(large).unwrap();
        }
        let (first, batch) = queue.take(8, now).unwrap();
        assert_eq!(ids(&batch), ["a"], "more than a call takes goes alone");
        assert_eq!(ids(&queue.take(8, now).unwrap().1), ["b", "b"]);
        queue.done(first);
        assert!(queue.take(2, now).is_some_and(|(_, batch)| ids(&batch) == ["c", "a"]));
        for n in 0..WAITING_MAX {
            queue.push(message("d", "d", &n.to_string())).unwrap();
        }
        assert_eq!(queue.push(message("e", "e", "e")), Err(Full));
        // Two calls are under way; only when they are stalled others go beside them.
        assert!(queue.take(2, now + STALLED_AFTER).is_none());
        assert!(queue.take(2, now + 2 * STALLED_AFTER).is_some());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { session: u8, account: u8, local_id: Option<u8> },
        Take { calls_max: usize },
        Done(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..6u8, 0..4u8, prop::option::of(0..3u8))
                .prop_map(|(session, account, local_id)| Step::Push { session, account, local_id }),
            2 => (1..6usize).prop_map(|calls_max| Step::Take { calls_max }),
            1 => (0..6usize).prop_map(Step::Done),
        ]
    }

    proptest! {
        /// Against a model that keeps everything in one list.
        #[test]
        fn everything_goes_once_and_in_order(steps in prop::collection::vec(step(), 0..200)) {
            let (mut queue, now) = (Queue::default(), Instant::now());
            let mut waiting: Vec<NewMessage> = Vec::new();
            let mut under_way: Vec<(Call, Vec<Waiting<()>>)> = Vec::new();
            let mut number = 0;
            // In the end everything is let through.
            let last = std::iter::repeat_with(|| [Step::Done(0), Step::Take { calls_max: 1 }]);
            for step in steps.into_iter().chain(last.take(1_000).flatten()) {
                match step {
                    Step::Push { session, account, local_id } => {
                        let mut pushed = message(&format!("s{session}"), &format!("a{account}"), &number.to_string());
                        pushed.new.local_id = local_id.map(|id| id.to_string());
                        number += 1;
                        waiting.push(pushed.new.clone());
                        queue.push(pushed).unwrap();
                    }
                    Step::Take { calls_max } => {
                        let is_in = |new: &NewMessage, batch: &[Waiting<()>]| {
                            batch.iter().any(|one| one.new.session == new.session || one.new.account == new.account)
                        };
                        let may_go = |new: &NewMessage| under_way.iter().all(|(_, batch)| !is_in(new, batch));
                        let is_first = |at: usize| {
                            waiting[..at].iter().all(|earlier| earlier.session != waiting[at].session)
                        };
                        let expected = under_way.len() < calls_max
                            && (0..waiting.len()).any(|at| is_first(at) && may_go(&waiting[at]));
                        let taken = queue.take(calls_max, now);
                        prop_assert_eq!(taken.is_some(), expected);
                        let Some((call, batch)) = taken else { continue };
                        for (at, Waiting { new, .. }) in batch.iter().enumerate() {
                            prop_assert!(may_go(new));
                            let twin = batch[..at].iter().any(|earlier| {
                                earlier.new.session == new.session
                                    && new.local_id.is_some()
                                    && earlier.new.local_id == new.local_id
                            });
                            prop_assert!(!twin);
                            let next = waiting.iter().position(|one| one.session == new.session);
                            let next = waiting.remove(next.expect("it waits"));
                            prop_assert_eq!(&next, new);
                        }
                        under_way.push((call, batch));
                    }
                    Step::Done(at) if !under_way.is_empty() => {
                        let (call, _) = under_way.remove(at % under_way.len());
                        queue.done(call);
                    }
                    Step::Done(_) => {}
                }
                prop_assert_eq!(queue.is_empty(), waiting.is_empty());
            }
            prop_assert!(waiting.is_empty());
            for (call, _) in under_way {
                queue.done(call);
            }
            prop_assert!(queue.lines.is_empty() && queue.ready.is_empty() && queue.writing.is_empty());
        }
    }
}
