//! Calls that this core is responsible for: those its connections have been asked and have not answered, and those that
//! wait for a method to be registered. Pure: time is an argument.
//!
//! Invariants: ids of acknowledgements are never used twice on a core, so they are unique for every socket; an asked
//! call leaves by exactly one of [`Calls::answered`], [`Calls::gone`] and [`Calls::expire`]; entries of a connection end
//! with it. Limits: [`CALLS_MAX`], [`CALLS_PER_TARGET_MAX`], [`WAITING_MAX`] and [`WAITING_BYTES_MAX`].

use std::collections::{HashMap, VecDeque};

use super::{Asker, Call};
use crate::model::ids::AccountId;
use crate::runtime::slab::Key;
use crate::runtime::timer::Millis;

/// How long a target may take.
pub const TIMEOUT_MS: u64 = 30_000;

/// Calls under way to connections of one core.
pub const CALLS_MAX: usize = 65_536;

/// Calls under way to one connection.
pub const CALLS_PER_TARGET_MAX: usize = 4_096;

/// Calls of one core that wait for a registration, and the bytes of their parameters.
pub const WAITING_MAX: usize = 1_024;
pub const WAITING_BYTES_MAX: usize = 32 << 20;

/// Deadlines of calls that have been answered are kept until there are this many more of them than calls.
const STALE_MAX: usize = 256;

/// Who waits for the answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    id: u64,
    pub asker: Asker,
}

/// Too many calls are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

struct Waiting {
    call: Box<Call>,
    until: Millis,
}

#[derive(Default)]
pub struct Calls {
    next_id: u64,
    /// By the connection that was asked; of each the oldest first, so ids ascend.
    asked: HashMap<Key, Vec<Asked>>,
    in_flight: usize,
    /// All calls have the same time, so the oldest is the first to run out. May name calls that are over.
    deadlines: VecDeque<(Millis, Key, u64)>,
    /// In the order of their end.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

impl Calls {
    /// Notes that a connection is asked now; gives the id of its acknowledgement.
    pub fn ask(&mut self, target: Key, asker: Asker, now: Millis) -> Result<u64, Busy> {
        if self.in_flight >= CALLS_MAX {
            return Err(Busy);
        }
        let of_target = self.asked.entry(target).or_default();
        if of_target.len() >= CALLS_PER_TARGET_MAX {
            return Err(Busy);
        }
        let id = self.next_id;
        self.next_id += 1;
        debug_assert!(of_target.last().is_none_or(|last| last.id < id));
        of_target.push(Asked { id, asker });
        self.in_flight += 1;
        self.deadlines.push_back((now + TIMEOUT_MS, target, id));
        if self.deadlines.len() > 2 * self.in_flight + STALE_MAX {
            let asked = &self.asked;
            self.deadlines.retain(|(_, target, id)| position(asked, *target, *id).is_some());
        }
        self.check_invariants();
        Ok(id)
    }

    /// A connection has acknowledged; nothing if it was not asked, or its time is over.
    pub fn answered(&mut self, target: Key, id: u64) -> Option<Asked> {
        let at = position(&self.asked, target, id)?;
        let of_target = self.asked.get_mut(&target)?;
        let asked = of_target.remove(at);
        if of_target.is_empty() {
            self.asked.remove(&target);
        }
        self.in_flight -= 1;
        self.check_invariants();
        Some(asked)
    }

    /// A connection has gone; everything it was asked.
    pub fn gone(&mut self, target: Key) -> Vec<Asked> {
        let abandoned = self.asked.remove(&target).unwrap_or_default();
        self.in_flight -= abandoned.len();
        self.check_invariants();
        abandoned
    }

    /// Keeps a call whose method is not registered; gives it back if too many are kept already.
    pub fn wait(&mut self, call: Box<Call>, until: Millis) -> Result<(), Box<Call>> {
        let bytes = bytes(&call);
        if self.waiting.len() >= WAITING_MAX || self.waiting_bytes + bytes > WAITING_BYTES_MAX {
            return Err(call);
        }
        debug_assert!(self.waiting.back().is_none_or(|last| last.until <= until));
        self.waiting_bytes += bytes;
        self.waiting.push_back(Waiting { call, until });
        Ok(())
    }

    /// The calls that waited for this method, in the order in which they came.
    pub fn take_waiting(&mut self, account: &AccountId, method: &str) -> Vec<Box<Call>> {
        let mut claimed = Vec::new();
        let mut at = 0;
        while at < self.waiting.len() {
            let call = &self.waiting[at].call;
            if call.account == *account && call.method == method {
                claimed.extend(self.waiting.remove(at).map(|waiting| waiting.call));
            } else {
                at += 1;
            }
        }
        self.waiting_bytes -= claimed.iter().map(|call| bytes(call)).sum::<usize>();
        claimed
    }

    /// Calls that have been asked and not answered.
    pub fn asked_len(&self) -> usize {
        self.in_flight
    }

    /// Whether nothing can run out.
    pub fn is_idle(&self) -> bool {
        self.deadlines.is_empty() && self.waiting.is_empty()
    }

    /// Everything that has run out: calls that were not answered, and calls whose method nobody has registered.
    pub fn expire(&mut self, now: Millis) -> (Vec<Asked>, Vec<Box<Call>>) {
        let mut timed_out = Vec::new();
        while let Some((at, target, id)) = self.deadlines.front().copied() {
            let is_over = position(&self.asked, target, id).is_none();
            if !is_over && at > now {
                break;
            }
            self.deadlines.pop_front();
            timed_out.extend(self.answered(target, id));
        }
        let mut unclaimed = Vec::new();
        while self.waiting.front().is_some_and(|first| first.until <= now) {
            if let Some(Waiting { call, .. }) = self.waiting.pop_front() {
                self.waiting_bytes -= bytes(&call);
                unclaimed.push(call);
            }
        }
        (timed_out, unclaimed)
    }

    fn check_invariants(&self) {
        debug_assert!(self.in_flight <= CALLS_MAX);
        debug_assert!(self.asked.len() <= self.in_flight, "a connection without calls has no entry");
        debug_assert!(self.deadlines.len() <= 2 * CALLS_MAX + STALE_MAX);
    }
}

fn position(asked: &HashMap<Key, Vec<Asked>>, target: Key, id: u64) -> Option<usize> {
    asked.get(&target)?.binary_search_by_key(&id, |asked| asked.id).ok()
}

/// What a call weighs while it waits.
pub fn bytes(call: &Call) -> usize {
    call.method.len() + call.params.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::SocketId;
    use crate::realtime::home::Place;
    use crate::realtime::rpc::Peer;
    use crate::runtime::cores::CoreId;
    use crate::runtime::slab::Slab;

    fn peer(key: Key) -> Peer {
        Peer { place: Place { core: CoreId(0), key }, socket: SocketId::random() }
    }

    fn keys() -> [Key; 3] {
        let mut slab = Slab::default();
        [(); 3].map(|()| slab.insert(()))
    }

    fn call(method: &str, caller: Key) -> Box<Call> {
        let account = AccountId::from("a");
        Box::new(Call {
            account,
            method: method.to_string(),
            on_behalf_of: None,
            params: None,
            caller: peer(caller),
            ack: Some(1),
        })
    }

    #[test]
    fn a_call_is_answered_once_and_only_by_whom_it_asked() {
        let [caller, target, other] = keys();
        let mut calls = Calls::default();
        let caller = peer(caller);
        let first = calls.ask(target, Asker::Connection(caller, Some(7)), 0).unwrap();
        let second = calls.ask(other, Asker::Connection(caller, None), 0).unwrap();
        assert_ne!(first, second);
        assert_eq!(calls.answered(other, first), None);
        assert_eq!(calls.answered(target, second), None);
        assert_eq!(calls.answered(target, first).map(|asked| asked.asker), Some(Asker::Connection(caller, Some(7))));
        assert_eq!(calls.answered(target, first), None);
        assert_eq!(calls.gone(target), []);
        assert_eq!(calls.gone(other).len(), 1);
        assert_eq!(calls.in_flight, 0);
    }

    #[test]
    fn time_runs_out_in_order_and_late_answers_are_ignored() {
        let [caller, target, _] = keys();
        let mut calls = Calls::default();
        let first = calls.ask(target, Asker::Connection(peer(caller), Some(1)), 1_000).unwrap();
        let second = calls.ask(target, Asker::Connection(peer(caller), Some(2)), 1_500).unwrap();
        assert_eq!(calls.expire(1_000 + TIMEOUT_MS - 1).0, []);
        assert_eq!(calls.expire(1_000 + TIMEOUT_MS).0.iter().map(|asked| asked.id).collect::<Vec<_>>(), [first]);
        assert_eq!(calls.answered(target, first), None);
        assert!(calls.answered(target, second).is_some());
        assert!(!calls.is_idle());
        assert_eq!(calls.expire(2_000).0, []);
        assert!(calls.is_idle(), "the deadline of an answered call goes with the next look");
    }

    #[test]
    fn a_target_has_a_limit_and_old_deadlines_are_forgotten() {
        let [caller, target, other] = keys();
        let mut calls = Calls::default();
        let slow = calls.ask(other, Asker::Connection(peer(caller), None), 0).unwrap();
        for now in 0..10_000 {
            let id = calls.ask(target, Asker::Connection(peer(caller), Some(1)), now).unwrap();
            assert!(calls.answered(target, id).is_some());
        }
        assert!(calls.deadlines.len() <= 2 + STALE_MAX, "{}", calls.deadlines.len());
        for _ in 0..CALLS_PER_TARGET_MAX {
            calls.ask(target, Asker::Connection(peer(caller), Some(1)), 10_000).unwrap();
        }
        assert_eq!(calls.ask(target, Asker::Connection(peer(caller), Some(1)), 10_000), Err(Busy));
        assert!(calls.ask(other, Asker::Connection(peer(caller), Some(1)), 10_000).is_ok());
        assert_eq!(calls.expire(TIMEOUT_MS).0.iter().map(|asked| asked.id).collect::<Vec<_>>(), [slow]);
        assert_eq!(calls.expire(10_000 + TIMEOUT_MS).0.len(), CALLS_PER_TARGET_MAX + 1);
        assert_eq!(calls.in_flight, 0);
    }

    #[test]
    fn calls_wait_for_their_method_and_not_for_ever() {
        let [caller, ..] = keys();
        let mut calls = Calls::default();
        for (method, until) in [("m", 100), ("n", 110), ("m", 120), ("m", 130)] {
            assert!(calls.wait(call(method, caller), until).is_ok());
        }
        assert_eq!(calls.expire(100).1.len(), 1);
        assert_eq!(calls.take_waiting(&AccountId::from("b"), "m").len(), 0);
        assert_eq!(calls.take_waiting(&AccountId::from("a"), "m").len(), 2);
        assert_eq!(calls.expire(200).1.iter().map(|call| call.method.as_str()).collect::<Vec<_>>(), ["n"]);
        assert_eq!((calls.waiting_bytes, calls.is_idle()), (0, true));
        for _ in 0..WAITING_MAX {
            assert!(calls.wait(call("m", caller), 300).is_ok());
        }
        assert!(calls.wait(call("m", caller), 300).is_err());
        let mut large = call("m", caller);
        assert_eq!(calls.expire(300).1.len(), WAITING_MAX);
        large.params = Some("x".repeat(WAITING_BYTES_MAX));
        assert!(calls.wait(large, 400).is_err());
    }
}
