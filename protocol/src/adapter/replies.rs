//! Acknowledged broadcasts of others: one count for each, whatever comes (`spec/cluster.md` §8, as callee).
//!
//! A process answers once although several of its parts have to look: their counts are added up. Only parts are asked that
//! have the socket, so one that does not answer in time counts as 1, and the answer is never missing (closes C-6): a server
//! that says 0 says that the registration is of no use. A socket that will not acknowledge after all is counted and
//! withdrawn, in this order. The acknowledgements themselves are not remembered here: whoever delivers the event knows whom
//! it came from.
//! Limit: [`REPLIES_MAX`] at a time; one more is counted and withdrawn at once.

use std::collections::{HashMap, VecDeque};

use super::Millis;
use super::name::RequestId;

/// Broadcasts whose parts have not all answered.
pub const REPLIES_MAX: usize = 65_536;

/// How long a part may take. Other servers wait with everything they do for the answer to a call.
pub const PART_MS: Millis = 1_000;

struct Reply {
    missing: u64,
    sum: u64,
    withdrawn: bool,
}

impl Reply {
    fn said(&self) -> Said {
        Said { count: self.sum.saturating_add(self.missing), withdrawn: self.withdrawn }
    }
}

/// What is to be published about a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// Sockets that have it.
    pub count: u64,
    /// Whether to say behind the count that one of them will not acknowledge.
    pub withdrawn: bool,
}

impl Said {
    /// Nobody has it.
    pub const NOBODY: Self = Self { count: 0, withdrawn: false };
    /// Somebody has it, but is not asked.
    pub const DECLINED: Self = Self { count: 1, withdrawn: true };
}

/// The machine.
#[derive(Default)]
pub struct Replies {
    open: HashMap<RequestId, Reply>,
    deadlines: VecDeque<(Millis, RequestId)>,
}

impl Replies {
    /// A broadcast was given to so many parts. `Some`: publish this, because there is nothing to wait for.
    pub fn begin(&mut self, id: &RequestId, parts: usize, now: Millis) -> Option<Said> {
        if parts == 0 || self.open.contains_key(id.as_str()) {
            return Some(Said::NOBODY);
        }
        if self.open.len() >= REPLIES_MAX {
            return Some(Said::DECLINED);
        }
        let missing = u64::try_from(parts).unwrap_or(u64::MAX);
        self.open.insert(id.clone(), Reply { missing, sum: 0, withdrawn: false });
        self.deadlines.push_back((now.saturating_add(PART_MS), id.clone()));
        None
    }

    /// Whether the count is still to be published.
    #[must_use]
    pub fn is_open(&self, id: &RequestId) -> bool {
        self.open.contains_key(id.as_str())
    }

    /// A part has delivered the broadcast to so many sockets. `Some`: that was the last one, publish this.
    pub fn counted(&mut self, id: &RequestId, count: u64) -> Option<Said> {
        let reply = self.open.get_mut(id.as_str())?;
        reply.sum = reply.sum.saturating_add(count);
        reply.missing = reply.missing.saturating_sub(1);
        if reply.missing > 0 {
            return None;
        }
        self.open.remove(id.as_str()).map(|reply| reply.said())
    }

    /// A socket that is counted, or will be, does not acknowledge. `true`: its count is published already, say so now.
    pub fn withdrew(&mut self, id: &RequestId) -> bool {
        match self.open.get_mut(id.as_str()) {
            Some(reply) => {
                reply.withdrawn = true;
                false
            }
            None => true,
        }
    }

    /// Broadcasts of which a part has not answered, with what to publish.
    pub fn handle_timeout(&mut self, now: Millis) -> Vec<(RequestId, Said)> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.deadlines.front() {
            if self.open.contains_key(id.as_str()) && *at > now {
                break;
            }
            if let Some((_, id)) = self.deadlines.pop_front()
                && let Some(reply) = self.open.remove(id.as_str())
            {
                due.push((id, reply.said()));
            }
        }
        due
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn id(n: u64) -> RequestId {
        RequestId::from_random(n)
    }

    const fn plain(count: u64) -> Said {
        Said { count, withdrawn: false }
    }

    #[test]
    fn counts_are_added_up_and_said_once() {
        let mut replies = Replies::default();
        assert_eq!(replies.begin(&id(1), 0, 0), Some(Said::NOBODY));
        assert_eq!(replies.begin(&id(2), 2, 0), None);
        assert_eq!(replies.counted(&id(2), 1), None);
        assert!(replies.is_open(&id(2)));
        assert_eq!(replies.counted(&id(2), 2), Some(plain(3)));
        assert!(!replies.is_open(&id(2)));
        assert_eq!(replies.counted(&id(2), 1), None);
        assert_eq!(replies.handle_timeout(PART_MS), []);
    }

    #[test]
    fn a_part_that_keeps_silent_does_not_hold_up_the_answer() {
        let mut replies = Replies::default();
        replies.begin(&id(1), 2, 0);
        replies.begin(&id(2), 1, 10);
        replies.counted(&id(1), 0);
        assert_eq!(replies.handle_timeout(PART_MS - 1), []);
        assert_eq!(replies.handle_timeout(PART_MS), [(id(1), plain(1))]);
        assert_eq!(replies.handle_timeout(PART_MS + 10), [(id(2), plain(1))], "its socket is still there");
        assert_eq!(replies.counted(&id(2), 1), None, "too late");
    }

    #[test]
    fn a_socket_that_is_withdrawn_is_counted_first() {
        let mut replies = Replies::default();
        replies.begin(&id(1), 1, 0);
        assert!(!replies.withdrew(&id(1)));
        assert_eq!(replies.counted(&id(1), 1), Some(Said { count: 1, withdrawn: true }));
        assert!(replies.withdrew(&id(1)), "the count is out");
    }

    #[test]
    fn replies_are_bounded() {
        let mut replies = Replies::default();
        for n in 0..REPLIES_MAX as u64 {
            assert_eq!(replies.begin(&id(n), 1, 0), None);
        }
        assert_eq!(replies.begin(&id(u64::MAX), 1, 0), Some(Said::DECLINED), "the socket is there all the same");
    }
}
