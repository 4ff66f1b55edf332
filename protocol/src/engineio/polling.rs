//! What a session needs only while it is on polling (`spec/socketio.md` §5, §7).
//!
//! Owns: packets no poll has fetched yet, which requests are under way, the websocket that probes.
//! Never: what the session does about them; that is [`super::session`].
//! Kept in a box of its own, because an idle websocket needs none of it.

use std::collections::VecDeque;

use super::packet;

/// How often a pending poll is looked for while a websocket probes.
pub(super) const PROBE_CHECK_MS: u64 = 100;

/// An outgoing packet.
#[derive(Debug)]
pub(super) enum Queued<M> {
    /// One of the session's own.
    Text(&'static str),
    /// One of the layer above, encoded.
    Packet(M),
}

/// A websocket that wants to take over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// When it has taken too long.
    pub(super) until: u64,
    /// When to look for a pending poll again; set by the probe.
    pub(super) check_at: Option<u64>,
}

impl Candidate {
    pub(super) fn deadline(&self) -> u64 {
        self.check_at.map_or(self.until, |at| at.min(self.until))
    }
}

#[derive(Debug)]
pub(super) struct Polling<M> {
    pub(super) queue: VecDeque<Queued<M>>,
    /// A poll waits for its answer.
    pub(super) pending: bool,
    /// A POST is being received.
    pub(super) posting: bool,
    pub(super) candidate: Option<Candidate>,
    /// When an orderly closing is given up; set once everything that waited has been fetched.
    pub(super) linger_until: Option<u64>,
}

impl<M> Default for Polling<M> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), pending: false, posting: false, candidate: None, linger_until: None }
    }
}

impl<M: AsRef<[u8]>> Polling<M> {
    /// Everything that waits, as one payload.
    pub(super) fn take_payload(&mut self) -> Vec<u8> {
        let mut payload = Vec::new();
        for queued in std::mem::take(&mut self.queue) {
            match queued {
                Queued::Text(text) => packet::append_to_payload(&mut payload, text.as_bytes()),
                Queued::Packet(encoded) => packet::append_to_payload(&mut payload, encoded.as_ref()),
            }
        }
        payload
    }
}
