//! Acknowledged broadcasts of ours that address one socket (`spec/cluster.md` §8, the guidance for a caller).
//!
//! Such a request ends exactly once: with the first acknowledgement, when nobody who could have the socket has it, when
//! the server that has it goes, or after its time. Time is an argument.
//! Limit: [`REQUESTS_MAX`] requests at a time.

use std::collections::{HashMap, HashSet, VecDeque};

use super::Millis;
use super::membership::Membership;
use super::name::{RequestId, Uid};

/// Requests under way.
pub const REQUESTS_MAX: usize = 65_536;

/// Deadlines of requests that are over are kept until there are this many more of them than requests.
const STALE_MAX: usize = 256;

/// Why a request is over without an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody has the socket.
    Nobody,
    /// The server that has the socket has gone.
    Gone,
    /// The server that has the socket says that it will not acknowledge.
    Withdrawn,
    /// Nobody has answered in time.
    TimedOut,
}

struct Request {
    /// Servers that could have the socket and have not said.
    silent: HashSet<Uid>,
    /// Servers that have it.
    holders: HashSet<Uid>,
}

/// The machine.
#[derive(Default)]
pub struct Requests {
    open: HashMap<RequestId, Request>,
    /// All requests have the same time, so the oldest runs out first. May name requests that are over.
    deadlines: VecDeque<(Millis, RequestId)>,
}

impl Requests {
    /// A request is being published. `false`: too many are under way.
    pub fn begin(&mut self, id: RequestId, membership: &Membership, now: Millis, timeout: Millis) -> bool {
        if self.open.len() >= REQUESTS_MAX {
            return false;
        }
        let request = Request { silent: membership.members().cloned().collect(), holders: HashSet::new() };
        self.deadlines.push_back((now.saturating_add(timeout), id.clone()));
        self.open.insert(id, request);
        if self.deadlines.len() > self.open.len().saturating_mul(2).saturating_add(STALE_MAX) {
            let open = &self.open;
            self.deadlines.retain(|(_, id)| open.contains_key(id.as_str()));
        }
        true
    }

    /// A server was heard of for the first time, and it is not one that has only just started: it may have the socket.
    pub fn appeared(&mut self, uid: &Uid) {
        for request in self.open.values_mut() {
            request.silent.insert(uid.clone());
        }
    }

    /// A server has said how many sockets got the request. Returns whether the request is known.
    pub fn counted(&mut self, id: &RequestId, uid: &Uid, count: u64) -> bool {
        let Some(request) = self.open.get_mut(id.as_str()) else { return false };
        request.silent.remove(uid);
        if count > 0 {
            request.holders.insert(uid.clone());
        }
        true
    }

    /// A socket has acknowledged. `true` for the first time: the request is over, and this is its result.
    pub fn acknowledged(&mut self, id: &RequestId) -> bool {
        self.open.remove(id.as_str()).is_some()
    }

    /// A server has said that its socket will not acknowledge. `Some`: no other has said that it has it, the request is over.
    pub fn withdrew(&mut self, id: &RequestId, uid: &Uid) -> Option<Failure> {
        let request = self.open.get_mut(id.as_str())?;
        // A server that has the socket may say so by this alone: what it counted may have been lost on the way.
        let had_it = request.silent.remove(uid) | request.holders.remove(uid);
        let is_over = had_it && request.holders.is_empty();
        if is_over {
            self.open.remove(id.as_str());
        }
        is_over.then_some(Failure::Withdrawn)
    }

    /// A server has gone. Requests that it was to answer are over.
    pub fn left(&mut self, uid: &Uid) -> Vec<(RequestId, Failure)> {
        let mut over = Vec::new();
        for (id, request) in &mut self.open {
            request.silent.remove(uid);
            if request.holders.remove(uid) && request.holders.is_empty() {
                over.push((id.clone(), Failure::Gone));
            }
        }
        for (id, _) in &over {
            self.open.remove(id.as_str());
        }
        over
    }

    /// Requests that nobody can answer any more, of which nothing can be said before the membership is settled.
    pub fn unanswerable(&mut self, membership: &Membership, now: Millis) -> Vec<(RequestId, Failure)> {
        if !membership.is_settled(now) {
            return Vec::new();
        }
        let is_over = |request: &Request| request.silent.is_empty() && request.holders.is_empty();
        self.remove(is_over, Failure::Nobody)
    }

    /// Requests whose time is over.
    pub fn handle_timeout(&mut self, now: Millis) -> Vec<(RequestId, Failure)> {
        let mut over = Vec::new();
        while let Some((at, id)) = self.deadlines.front() {
            let is_open = self.open.contains_key(id.as_str());
            if is_open && *at > now {
                break;
            }
            if let Some((_, id)) = self.deadlines.pop_front()
                && self.open.remove(id.as_str()).is_some()
            {
                over.push((id, Failure::TimedOut));
            }
        }
        over
    }

    /// Ends everything, because nobody can be asked.
    pub fn abandon(&mut self) -> Vec<RequestId> {
        self.deadlines.clear();
        self.open.drain().map(|(id, _)| id).collect()
    }

    /// Requests under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn remove(&mut self, is_over: impl Fn(&Request) -> bool, failure: Failure) -> Vec<(RequestId, Failure)> {
        let over: Vec<RequestId> =
            self.open.iter().filter(|(_, request)| is_over(request)).map(|(id, _)| id.clone()).collect();
        for id in &over {
            self.open.remove(id.as_str());
        }
        over.into_iter().map(|id| (id, failure)).collect()
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::adapter::membership::SETTLED_MS;
    use crate::adapter::message::Kind;

    const LATER: Millis = SETTLED_MS;

    fn uid(n: u64) -> Uid {
        Uid::from_random(n)
    }

    fn with_members(members: impl IntoIterator<Item = u64>) -> Membership {
        let mut membership = Membership::new(uid(0), 0);
        for n in members {
            membership.heard(&uid(n), Kind::Heartbeat, 0);
        }
        membership
    }

    fn begun(membership: &Membership) -> (Requests, RequestId) {
        let (mut requests, id) = (Requests::default(), RequestId::from_random(7));
        assert!(requests.begin(id.clone(), membership, LATER, 30_000));
        (requests, id)
    }

    #[test]
    fn the_first_acknowledgement_is_the_result() {
        let membership = with_members([1, 2]);
        let (mut requests, id) = begun(&membership);
        assert!(requests.counted(&id, &uid(1), 1));
        assert!(requests.acknowledged(&id));
        assert!(!requests.acknowledged(&id));
        assert!(!requests.counted(&id, &uid(2), 0));
        assert!(requests.is_empty());
        assert_eq!(requests.handle_timeout(LATER + 30_000), []);
    }

    #[test]
    fn nobody_has_it_when_everybody_has_said_so_or_has_gone() {
        let membership = with_members([1, 2, 3]);
        let (mut requests, id) = begun(&membership);
        requests.counted(&id, &uid(1), 0);
        requests.counted(&id, &uid(2), 0);
        assert_eq!(requests.unanswerable(&membership, LATER), []);
        assert_eq!(requests.left(&uid(3)), []);
        assert_eq!(requests.unanswerable(&membership, LATER), [(id, Failure::Nobody)]);
    }

    #[test]
    fn alone_there_is_nobody() {
        let membership = with_members([]);
        let (mut requests, id) = begun(&membership);
        assert_eq!(requests.unanswerable(&membership, LATER - 1), [], "it may just not know the others yet");
        assert_eq!(requests.unanswerable(&membership, LATER), [(id, Failure::Nobody)]);
    }

    #[test]
    fn who_appears_is_waited_for() {
        let membership = with_members([]);
        let (mut requests, id) = begun(&membership);
        requests.appeared(&uid(9));
        assert_eq!(requests.unanswerable(&membership, LATER), []);
        requests.counted(&id, &uid(9), 0);
        assert_eq!(requests.unanswerable(&membership, LATER), [(id, Failure::Nobody)]);
    }

    #[test]
    fn a_holder_that_goes_ends_the_request_at_once() {
        let membership = with_members([1, 2]);
        let (mut requests, id) = begun(&membership);
        requests.counted(&id, &uid(1), 1);
        assert_eq!(requests.left(&uid(1)), [(id, Failure::Gone)]);
        assert!(requests.is_empty());
    }

    #[test]
    fn a_holder_that_withdraws_ends_the_request_at_once() {
        let membership = with_members([1, 2]);
        let (mut requests, id) = begun(&membership);
        requests.counted(&id, &uid(1), 1);
        assert_eq!(requests.withdrew(&id, &uid(3)), None, "it never had it");
        // Another one has not said anything yet, and need not.
        assert_eq!(requests.withdrew(&id, &uid(1)), Some(Failure::Withdrawn));
        assert_eq!(requests.withdrew(&id, &uid(1)), None);
    }

    #[test]
    fn a_holder_whose_count_was_lost_may_withdraw_all_the_same() {
        let membership = with_members([1, 2]);
        let (mut requests, id) = begun(&membership);
        assert_eq!(requests.withdrew(&id, &uid(1)), Some(Failure::Withdrawn));
        assert!(requests.is_empty());
    }

    #[test]
    fn time_runs_out() {
        let membership = with_members([1]);
        let (mut requests, id) = begun(&membership);
        assert_eq!(requests.handle_timeout(LATER + 29_999), []);
        assert_eq!(requests.handle_timeout(LATER + 30_000), [(id, Failure::TimedOut)]);
        assert_eq!(requests.len(), 0);
    }

    #[test]
    fn deadlines_of_answered_requests_are_forgotten() {
        let membership = with_members([1]);
        let (mut requests, slow) = begun(&membership);
        for n in 10..10_000 {
            let id = RequestId::from_random(n);
            assert!(requests.begin(id.clone(), &membership, LATER, 30_000));
            assert!(requests.acknowledged(&id));
            assert!(requests.deadlines.len() <= 2 * 2 + STALE_MAX, "{}", requests.deadlines.len());
        }
        assert_eq!(requests.handle_timeout(LATER + 30_000), [(slow, Failure::TimedOut)]);
        assert!(requests.deadlines.is_empty());
    }

    #[test]
    fn requests_are_bounded() {
        let membership = with_members([]);
        let mut requests = Requests::default();
        for n in 0..REQUESTS_MAX as u64 {
            assert!(requests.begin(RequestId::from_random(n), &membership, 0, 1));
        }
        assert!(!requests.begin(RequestId::from_random(u64::MAX), &membership, 0, 1));
        assert_eq!(requests.abandon().len(), REQUESTS_MAX);
    }
}
