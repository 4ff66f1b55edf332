//! Who is in the stream (`spec/cluster.md` §5).
//!
//! Input: [`Membership::heard`], [`Membership::sent`], [`Membership::handle_timeout`]. Output:
//! [`Membership::poll_transmit`]. Time is an argument.
//! Limit: [`MEMBERS_MAX`] servers; what others claim to be beyond that is not remembered.

use std::collections::HashMap;

use super::Millis;
use super::message::{Kind, Message};
use super::name::Uid;

/// Longest time between two heartbeats, unless something was sent in between that counts as one.
pub const HEARTBEAT_INTERVAL_MS: Millis = 5_000;

/// A server that has been silent for longer is gone.
pub const SILENCE_MS: Millis = 10_000;

/// From then on every server that lives has been heard of: one interval of heartbeats, and time for the last to arrive.
pub const SETTLED_MS: Millis = HEARTBEAT_INTERVAL_MS + 1_000;

/// Servers that are remembered.
pub const MEMBERS_MAX: usize = 4_096;

/// A program that sends and never answers; it is no member.
const EMITTER: &str = "emitter";

/// What an entry means for the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing new.
    Known,
    /// A server that was not known. `fresh`: it has just started, and has read nothing of what was sent before.
    New {
        /// It has announced itself with this very message.
        fresh: bool,
    },
    /// A server has left.
    Left,
    /// Not a member, or ourselves.
    Ignored,
}

/// The machine.
#[derive(Debug)]
pub struct Membership {
    uid: Uid,
    members: HashMap<Uid, Millis>,
    began: Millis,
    /// When a heartbeat is due.
    beat_at: Millis,
    announced: bool,
    asked: bool,
    left: bool,
}

impl Membership {
    /// Begins; an announcement is due at once.
    #[must_use]
    pub fn new(uid: Uid, now: Millis) -> Self {
        Self {
            uid,
            members: HashMap::new(),
            began: now,
            beat_at: now.saturating_add(HEARTBEAT_INTERVAL_MS),
            announced: false,
            asked: false,
            left: false,
        }
    }

    /// Our own name.
    #[must_use]
    pub fn uid(&self) -> &Uid {
        &self.uid
    }

    /// Takes note of an entry, whatever is in it.
    pub fn heard(&mut self, uid: &Uid, kind: Kind, now: Millis) -> Heard {
        if *uid == self.uid || uid.as_str() == EMITTER {
            return Heard::Ignored;
        }
        if kind == Kind::AdapterClose {
            return if self.members.remove(uid).is_some() { Heard::Left } else { Heard::Ignored };
        }
        let fresh = kind == Kind::InitialHeartbeat;
        if fresh {
            self.asked = true;
        }
        if let Some(last) = self.members.get_mut(uid) {
            *last = now;
            return Heard::Known;
        }
        if self.members.len() >= MEMBERS_MAX {
            return Heard::Ignored;
        }
        self.members.insert(uid.clone(), now);
        Heard::New { fresh }
    }

    /// Takes note of a message of ours that is on its way.
    pub fn sent(&mut self, message: &Message<'_>, now: Millis) {
        let counts = match message {
            Message::Broadcast { request, .. } => request.is_some(),
            message => matches!(
                message.kind(),
                Kind::InitialHeartbeat | Kind::Heartbeat | Kind::FetchSockets | Kind::ServerSideEmit
            ),
        };
        if counts {
            self.beat_at = now.saturating_add(HEARTBEAT_INTERVAL_MS);
        }
    }

    /// Forgets servers that have been silent for too long, and names them.
    pub fn handle_timeout(&mut self, now: Millis) -> Vec<Uid> {
        let silent = |last: Millis| now.saturating_sub(last) > SILENCE_MS;
        let gone: Vec<Uid> =
            self.members.iter().filter(|(_, last)| silent(**last)).map(|(uid, _)| uid.clone()).collect();
        for uid in &gone {
            self.members.remove(uid);
        }
        gone
    }

    /// The stream could not be read for a while. Nobody is blamed for a silence that was ours; and whoever came in the
    /// meantime is not known, so everybody is asked to speak up.
    pub fn resume(&mut self, now: Millis) {
        for last in self.members.values_mut() {
            *last = now;
        }
        self.began = now;
        self.announced = false;
    }

    /// What has to be sent for the sake of the membership. One answer serves all announcements since the last look.
    pub fn poll_transmit(&mut self, now: Millis) -> Option<Message<'static>> {
        if self.left {
            return None;
        }
        if !self.announced {
            // Once is enough (C-10).
            self.announced = true;
            return Some(Message::InitialHeartbeat);
        }
        (std::mem::take(&mut self.asked) || now >= self.beat_at).then_some(Message::Heartbeat)
    }

    /// Leaves: the message that has to be the very last one of ours. From now on there are no heartbeats.
    pub fn leave(&mut self) -> Message<'static> {
        self.left = true;
        Message::AdapterClose
    }

    /// The others.
    pub fn members(&self) -> impl Iterator<Item = &Uid> {
        self.members.keys()
    }

    /// How many servers there are, this one included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.members.len().saturating_add(1)
    }

    /// Whether every server that lives must have been heard of by now (closes C-8).
    #[must_use]
    pub fn is_settled(&self, now: Millis) -> bool {
        now.saturating_sub(self.began) >= SETTLED_MS
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn uid(n: u64) -> Uid {
        Uid::from_random(n)
    }

    #[test]
    fn it_announces_itself_once_and_answers_announcements() {
        let mut membership = Membership::new(uid(1), 0);
        assert_eq!(membership.poll_transmit(0), Some(Message::InitialHeartbeat));
        membership.sent(&Message::InitialHeartbeat, 0);
        assert_eq!(membership.poll_transmit(0), None);
        assert_eq!(membership.heard(&uid(2), Kind::InitialHeartbeat, 10), Heard::New { fresh: true });
        assert_eq!(membership.heard(&uid(2), Kind::InitialHeartbeat, 11), Heard::Known);
        assert_eq!(membership.poll_transmit(11), Some(Message::Heartbeat));
        assert_eq!(membership.poll_transmit(11), None, "one answer for both");
        assert_eq!(membership.count(), 2);
    }

    #[test]
    fn only_some_messages_postpone_the_heartbeat() {
        let mut membership = Membership::new(uid(1), 0);
        membership.poll_transmit(0);
        let packet = || super::super::message::List::json("[]").unwrap();
        let plain = Message::Broadcast { packet: packet(), request: None, opts: Default::default() };
        let asking = Message::Broadcast {
            packet: packet(),
            request: Some(super::super::name::RequestId::from_random(1)),
            opts: Default::default(),
        };
        membership.sent(&plain, 4_000);
        assert_eq!(membership.poll_transmit(4_999), None);
        assert_eq!(membership.poll_transmit(5_000), Some(Message::Heartbeat));
        membership.sent(&asking, 5_000);
        assert_eq!(membership.poll_transmit(9_999), None);
        assert_eq!(membership.poll_transmit(10_000), Some(Message::Heartbeat));
    }

    #[test]
    fn members_come_and_go() {
        let mut membership = Membership::new(uid(1), 0);
        assert_eq!(membership.heard(&uid(1), Kind::Heartbeat, 0), Heard::Ignored);
        assert_eq!(membership.heard(&Uid::parse("emitter").unwrap(), Kind::Broadcast, 0), Heard::Ignored);
        assert_eq!(membership.heard(&uid(2), Kind::Broadcast, 0), Heard::New { fresh: false });
        assert_eq!(membership.heard(&uid(3), Kind::Heartbeat, 5_000), Heard::New { fresh: false });
        assert_eq!(membership.handle_timeout(10_000), [], "ten seconds are not too long");
        assert_eq!(membership.handle_timeout(10_001), [uid(2)]);
        assert_eq!(membership.heard(&uid(3), Kind::AdapterClose, 10_001), Heard::Left);
        assert_eq!(membership.heard(&uid(3), Kind::AdapterClose, 10_001), Heard::Ignored);
        assert_eq!(membership.count(), 1);
        assert_eq!(membership.heard(&uid(3), Kind::BroadcastAck, 10_002), Heard::New { fresh: false });
        assert!(!membership.is_settled(5_999) && membership.is_settled(6_000));
    }

    #[test]
    fn a_silence_of_ours_is_nobody_elses() {
        let mut membership = Membership::new(uid(1), 0);
        membership.poll_transmit(0);
        membership.heard(&uid(2), Kind::Heartbeat, 0);
        membership.resume(60_000);
        assert_eq!(membership.handle_timeout(60_000), []);
        assert_eq!(membership.poll_transmit(60_000), Some(Message::InitialHeartbeat));
        assert!(!membership.is_settled(60_000));
        assert_eq!(membership.handle_timeout(70_001), [uid(2)]);
    }

    #[test]
    fn nothing_follows_the_last_message() {
        let mut membership = Membership::new(uid(1), 0);
        membership.heard(&uid(2), Kind::InitialHeartbeat, 0);
        assert_eq!(membership.leave(), Message::AdapterClose);
        assert_eq!(membership.poll_transmit(100_000), None);
    }

    #[test]
    fn the_members_are_bounded() {
        let mut membership = Membership::new(uid(0), 0);
        for n in 1..10_000 {
            membership.heard(&uid(n), Kind::Heartbeat, 0);
        }
        assert_eq!(membership.count(), MEMBERS_MAX + 1);
    }
}
