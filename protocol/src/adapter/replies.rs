//! Acknowledged broadcasts of others: one count for each, whatever comes (`spec/cluster.md` §8, as callee).
//!
//! A process answers once although several of its parts have to look: their counts are added up. A part that does not
//! answer in time counts as 0, so the answer is never missing (closes C-6). The acknowledgements themselves are not
//! remembered here: whoever delivers the event knows whom it came from.
//! Limit: [`REPLIES_MAX`] at a time; one more is answered with 0 at once.

use std::collections::{HashMap, VecDeque};

use super::Millis;
use super::name::RequestId;

/// Broadcasts whose parts have not all answered.
pub const REPLIES_MAX: usize = 65_536;

/// How long a part may take. Other servers wait with everything they do for the answer to a call.
pub const PART_MS: Millis = 1_000;

struct Reply {
    missing: usize,
    sum: u64,
}

/// The machine.
#[derive(Default)]
pub struct Replies {
    open: HashMap<RequestId, Reply>,
    deadlines: VecDeque<(Millis, RequestId)>,
}

impl Replies {
    /// A broadcast was given to so many parts. `Some`: this is the count to publish, because there is nothing to wait for.
    pub fn begin(&mut self, id: &RequestId, parts: usize, now: Millis) -> Option<u64> {
        if parts == 0 || self.open.len() >= REPLIES_MAX || self.open.contains_key(id.as_str()) {
            return Some(0);
        }
        self.open.insert(id.clone(), Reply { missing: parts, sum: 0 });
        self.deadlines.push_back((now.saturating_add(PART_MS), id.clone()));
        None
    }

    /// A part has delivered the broadcast to so many sockets. `Some`: that was the last one, publish this count.
    pub fn counted(&mut self, id: &RequestId, count: u64) -> Option<u64> {
        let reply = self.open.get_mut(id.as_str())?;
        reply.sum = reply.sum.saturating_add(count);
        reply.missing = reply.missing.saturating_sub(1);
        if reply.missing > 0 {
            return None;
        }
        self.open.remove(id.as_str()).map(|reply| reply.sum)
    }

    /// Broadcasts of which a part has not answered, with the counts to publish.
    pub fn handle_timeout(&mut self, now: Millis) -> Vec<(RequestId, u64)> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.deadlines.front() {
            if self.open.contains_key(id.as_str()) && *at > now {
                break;
            }
            if let Some((_, id)) = self.deadlines.pop_front()
                && let Some(reply) = self.open.remove(id.as_str())
            {
                due.push((id, reply.sum));
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

    #[test]
    fn counts_are_added_up_and_said_once() {
        let mut replies = Replies::default();
        assert_eq!(replies.begin(&id(1), 0, 0), Some(0));
        assert_eq!(replies.begin(&id(2), 2, 0), None);
        assert_eq!(replies.counted(&id(2), 1), None);
        assert_eq!(replies.counted(&id(2), 2), Some(3));
        assert_eq!(replies.counted(&id(2), 1), None);
        assert_eq!(replies.handle_timeout(PART_MS), []);
    }

    #[test]
    fn a_part_that_keeps_silent_does_not_hold_up_the_answer() {
        let mut replies = Replies::default();
        replies.begin(&id(1), 2, 0);
        replies.begin(&id(2), 1, 10);
        replies.counted(&id(1), 4);
        assert_eq!(replies.handle_timeout(PART_MS - 1), []);
        assert_eq!(replies.handle_timeout(PART_MS), [(id(1), 4)]);
        assert_eq!(replies.handle_timeout(PART_MS + 10), [(id(2), 0)]);
        assert_eq!(replies.counted(&id(2), 1), None, "too late");
    }

    #[test]
    fn replies_are_bounded() {
        let mut replies = Replies::default();
        for n in 0..REPLIES_MAX as u64 {
            assert_eq!(replies.begin(&id(n), 1, 0), None);
        }
        assert_eq!(replies.begin(&id(u64::MAX), 1, 0), Some(0));
    }
}
