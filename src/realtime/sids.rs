//! Which session a `sid` names. Pure.
//!
//! Owns: for every session of this core its key, found by the `sid` that the session itself holds; the `sid`s of sessions
//! that were opened here and have moved away. Never: the sessions, which it is shown where it must look at them.
//! An entry is a key and not a `sid`, since there is one for every connection.

use std::collections::HashSet;

use hashbrown::HashTable;
use protocol::engineio::sid::Sid;

use super::client::Client;
use crate::runtime::slab::{Key, Slab};

/// What becomes of a `sid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    Here(Key),
    /// Opened here as websocket and moved to its account's home.
    Moved,
}

#[derive(Default)]
pub struct Sids {
    here: HashTable<Key>,
    moved: HashSet<Sid>,
}

impl Sids {
    pub fn find(&self, sid: Sid, sessions: &Slab<Client>) -> Option<Whereabouts> {
        let is_it = |key: &Key| sessions.get(*key).is_some_and(|client| client.sid == sid);
        match self.here.find(hash(sid), is_it) {
            Some(key) => Some(Whereabouts::Here(*key)),
            None => self.moved.contains(&sid).then_some(Whereabouts::Moved),
        }
    }

    /// A session has come; it is in `sessions` already.
    pub fn insert(&mut self, sid: Sid, key: Key, sessions: &Slab<Client>) {
        let hash_of = |key: &Key| sessions.get(*key).map_or(0, |client| hash(client.sid));
        self.here.insert_unique(hash(sid), key, hash_of);
    }

    /// A session is gone, or has moved away; see [`Self::bury`].
    pub fn remove(&mut self, sid: Sid, key: Key) {
        if let Ok(entry) = self.here.find_entry(hash(sid), |other| *other == key) {
            entry.remove();
        }
    }

    /// A session of this core has moved away: its `sid` stays known.
    pub fn bury(&mut self, sid: Sid) {
        self.moved.insert(sid);
    }

    /// Whether no `sid` is known, of whatever kind.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.here.is_empty() && self.moved.is_empty()
    }

    /// It has ended there.
    pub fn forget(&mut self, sid: Sid) {
        self.moved.remove(&sid);
    }

    /// All that have moved away. Some may have ended there.
    pub fn forget_all(&mut self) {
        self.moved.clear();
    }
}

/// The `sid`s in the table are random and of our own making, so any mixture of their characters spreads well.
fn hash(sid: Sid) -> u64 {
    let bytes = sid.as_str().as_bytes();
    let half = |at: usize| bytes.get(at..at + 8).and_then(|half| half.try_into().ok()).map_or(0, u64::from_le_bytes);
    let mixed = (half(4) ^ half(12).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_random_ids_spread() {
        let sid = || Sid::new(3, crate::crypto::random::bytes());
        let buckets: HashSet<u64> = (0..4096).map(|_| hash(sid()) % 65_536).collect();
        assert!(buckets.len() > 3_800, "{}", buckets.len());
        // The table tells neighbours apart by the highest bits.
        let tags: HashSet<u64> = (0..4096).map(|_| hash(sid()) >> 57).collect();
        assert_eq!(tags.len(), 128);
    }
}
