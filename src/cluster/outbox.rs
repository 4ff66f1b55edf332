//! What waits to be appended to the stream, in order. Pure: time is an argument.
//!
//! Everything that waits when the thread gets to it goes out in one pipeline. What Redis has not taken stays in front
//! of the queue if it may be sent again: an update that arrives twice is harmless, a call is not.

use std::collections::VecDeque;

use protocol::adapter::Millis;
use protocol::adapter::name::RequestId;

use crate::observe::metrics::cluster::Count;

/// Entries of one pipeline, and their bytes.
const BATCH_MAX: usize = 512;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// An ephemeral or a reply that has waited for so long helps nobody.
const EPHEMERAL_AGE_MAX_MS: Millis = 5_000;
const REPLY_AGE_MAX_MS: Millis = 30_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Update,
    Ephemeral,
    /// An acknowledged broadcast of ours.
    Request(RequestId),
    /// The count of an acknowledged broadcast. Sent twice it breaks the arithmetic of a reference server.
    Count,
    /// An acknowledgement, or another answer.
    Reply,
    /// Membership, and what follows a loss.
    Control,
}

impl Kind {
    pub fn published(&self) -> Count {
        match self {
            Self::Update => Count::PublishedUpdate,
            Self::Ephemeral => Count::PublishedEphemeral,
            Self::Request(_) => Count::PublishedRequest,
            Self::Count | Self::Reply => Count::PublishedReply,
            Self::Control => Count::PublishedHeartbeat,
        }
    }

    fn dropped(&self) -> Option<Count> {
        match self {
            Self::Update => Some(Count::DroppedUpdate),
            Self::Ephemeral => Some(Count::DroppedEphemeral),
            Self::Count | Self::Reply => Some(Count::DroppedReply),
            // The caller is told; a heartbeat follows of itself.
            Self::Request(_) | Self::Control => None,
        }
    }
}

#[derive(Debug)]
pub struct Item {
    pub kind: Kind,
    /// Fields and values of the entry.
    pub fields: Vec<(&'static str, String)>,
    /// What it counts against the limit of the queue.
    pub bytes: usize,
    pub at: Millis,
}

/// What became of items that are not published.
#[derive(Debug, Default)]
pub struct Given {
    /// Bytes that no longer wait.
    pub bytes: usize,
    pub counts: Vec<Count>,
    /// Requests whose callers have to be told.
    pub requests: Vec<RequestId>,
}

impl Given {
    fn up(&mut self, item: Item) {
        self.bytes += item.bytes;
        self.counts.extend(item.kind.dropped());
        if let Kind::Request(id) = item.kind {
            self.requests.push(id);
        }
    }
}

#[derive(Default)]
pub struct Outbox {
    queue: VecDeque<Item>,
}

impl Outbox {
    pub fn push(&mut self, item: Item) {
        self.queue.push_back(item);
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next pipeline, and what is too old for it.
    pub fn batch(&mut self, now: Millis) -> (Vec<Item>, Given) {
        let (mut batch, mut given, mut bytes) = (Vec::new(), Given::default(), 0);
        while batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let Some(item) = self.queue.pop_front() else { break };
            let age = now.saturating_sub(item.at);
            let is_stale = match item.kind {
                Kind::Ephemeral => age > EPHEMERAL_AGE_MAX_MS,
                Kind::Request(_) | Kind::Count | Kind::Reply => age > REPLY_AGE_MAX_MS,
                Kind::Update | Kind::Control => false,
            };
            if is_stale {
                given.up(item);
                continue;
            }
            bytes += item.bytes;
            batch.push(item);
        }
        (batch, given)
    }

    /// Redis has not accepted a batch. `in_doubt`: it may have seen it all the same, so only what may arrive twice is
    /// sent again.
    pub fn refused(&mut self, batch: Vec<Item>, in_doubt: bool) -> Given {
        let mut given = Given::default();
        let mut has_control = self.queue.iter().any(|item| item.kind == Kind::Control);
        for item in batch.into_iter().rev() {
            let again = match item.kind {
                Kind::Update => true,
                // One heartbeat is as good as several.
                Kind::Control => !std::mem::replace(&mut has_control, true),
                // A caller is better told at once than in half a minute.
                Kind::Request(_) => false,
                Kind::Ephemeral | Kind::Count | Kind::Reply => !in_doubt,
            };
            if again {
                self.queue.push_front(item);
            } else {
                given.up(item);
            }
        }
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: Kind, at: Millis) -> Item {
        Item { kind, fields: Vec::new(), bytes: 10, at }
    }

    fn kinds(batch: &[Item]) -> Vec<Kind> {
        batch.iter().map(|item| item.kind.clone()).collect()
    }

    #[test]
    fn a_pipeline_takes_what_waits_in_order_and_leaves_out_what_is_stale() {
        let mut outbox = Outbox::default();
        for (kind, at) in [(Kind::Ephemeral, 0), (Kind::Update, 0), (Kind::Reply, 0), (Kind::Ephemeral, 9_000)] {
            outbox.push(item(kind, at));
        }
        let (batch, given) = outbox.batch(10_000);
        assert_eq!(kinds(&batch), [Kind::Update, Kind::Reply, Kind::Ephemeral]);
        assert_eq!((given.bytes, given.counts), (10, vec![Count::DroppedEphemeral]));
        assert!(outbox.is_empty());
    }

    #[test]
    fn pipelines_are_bounded() {
        let mut outbox = Outbox::default();
        for _ in 0..BATCH_MAX + 1 {
            outbox.push(item(Kind::Update, 0));
        }
        assert_eq!((outbox.batch(0).0.len(), outbox.batch(0).0.len()), (BATCH_MAX, 1));
        for _ in 0..3 {
            outbox.push(Item { bytes: BATCH_BYTES_MAX, ..item(Kind::Update, 0) });
        }
        assert_eq!(outbox.batch(0).0.len(), 1);
    }

    #[test]
    fn updates_are_sent_again_and_calls_are_not() {
        let id = RequestId::from_random(1);
        let all = [Kind::Update, Kind::Ephemeral, Kind::Request(id.clone()), Kind::Count, Kind::Reply, Kind::Control];
        let mut outbox = Outbox::default();
        outbox.push(item(Kind::Update, 1));
        let given = outbox.refused(all.iter().map(|kind| item(kind.clone(), 0)).collect(), true);
        assert_eq!((given.bytes, given.requests), (40, vec![id.clone()]));
        assert_eq!(kinds(&outbox.batch(0).0), [Kind::Update, Kind::Control, Kind::Update]);
        let given = outbox.refused(all.iter().map(|kind| item(kind.clone(), 0)).collect(), false);
        assert_eq!((given.bytes, given.requests), (10, vec![id]));
        assert_eq!(kinds(&outbox.batch(0).0), [Kind::Update, Kind::Ephemeral, Kind::Count, Kind::Reply, Kind::Control]);
    }
}
