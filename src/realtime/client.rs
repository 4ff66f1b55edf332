//! One engine.io session with everything that hangs on it.

use std::rc::Rc;

use protocol::engineio::session::Session;
use protocol::engineio::sid::Sid;
use protocol::socketio::connection::Connection;

use super::application::Admission;
use super::home::Class;
use crate::model::ids::{AccountId, SocketId};
use crate::net::frame::Frame;
use crate::net::websocket::Channel;
use crate::runtime::timer::Millis;

/// Output that may wait for a polling client between two polls. As with the outbox of a websocket, a client that does
/// not fetch it is given up as a whole.
pub const POLLING_QUEUE_BYTES_MAX: usize = 8 << 20;

/// A session whose CONNECT has been refused so often is closed: every one of them takes the check of a signature, and
/// clients do not repeat them by themselves.
pub const REFUSALS_MAX: u8 = 16;

/// An admitted connection.
pub struct Socket {
    pub id: SocketId,
    pub account: AccountId,
    pub class: Class,
}

/// Answers a held poll with its payload.
pub type PollAnswer = futures_channel::oneshot::Sender<Vec<u8>>;

/// Kept apart, because an idle websocket needs none of it.
#[derive(Default)]
pub struct Polling {
    pub answer: Option<PollAnswer>,
    pub candidate: Option<Rc<Channel>>,
    /// Drops the connection of the POST that is being received.
    pub posting: Option<futures_channel::oneshot::Sender<()>>,
    /// Bytes queued for the next poll.
    pub queued_bytes: usize,
}

pub struct Client {
    pub engine: Session<Frame>,
    pub socketio: Connection,
    pub sid: Sid,
    /// The websocket in use.
    pub channel: Option<Rc<Channel>>,
    pub polling: Option<Box<Polling>>,
    pub socket: Option<Box<Socket>>,
    /// When the timer wheel will look at this session next.
    pub timer_at: Millis,
    /// Only such a session may move to another core.
    pub opened_as_websocket: bool,
    /// Opened on another core, which keeps a tombstone for the `sid`.
    pub moved: bool,
    /// About to move: who it will be there.
    pub moving: Option<Box<Admission>>,
    /// How often a CONNECT was refused; see [`REFUSALS_MAX`].
    pub refusals: u8,
    /// To be ended with the turn, because it cannot take what it was sent.
    pub doomed: bool,
}

/// What has to happen at the end of the turn after something was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Nothing: the output leaves by itself, or waits for a poll.
    Quiet,
    Mark,
}

impl Sent {
    pub fn needs_mark(self) -> bool {
        self == Self::Mark
    }
}

impl Client {
    /// Queues an encoded packet.
    pub fn send(&mut self, frame: Frame) -> Sent {
        if self.doomed {
            return Sent::Quiet;
        }
        if let (true, Some(channel)) = (self.engine.is_websocket_open(), &self.channel) {
            return match channel.push(frame) {
                Ok(true) => Sent::Mark,
                Ok(false) => Sent::Quiet,
                Err(_) => self.doom(),
            };
        }
        let polling = self.polling.get_or_insert_default();
        polling.queued_bytes += frame.packet().len();
        if polling.queued_bytes > POLLING_QUEUE_BYTES_MAX {
            return self.doom();
        }
        self.engine.send(frame);
        // A held poll is answered with the turn, so that everything of the turn goes into one payload.
        if polling.answer.is_some() { Sent::Mark } else { Sent::Quiet }
    }

    fn doom(&mut self) -> Sent {
        self.doomed = true;
        Sent::Mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::home::{Home, Member};

    /// What an idle, admitted websocket keeps on its core, and an account at its home: see `perf/BUDGETS.md`. Whoever
    /// makes one of these larger pays for it with every connection.
    #[test]
    fn bytes_of_an_idle_connection() {
        let sizes = [
            ("Channel", size_of::<Channel>(), 104),
            ("Client", size_of::<Client>(), 128),
            ("Session", size_of::<Session<Frame>>(), 32),
            ("Connection", size_of::<Connection>(), 32),
            ("Socket", size_of::<Socket>(), 96),
            ("Member", size_of::<Member>(), 72),
            ("Home", size_of::<Home>(), 104),
            ("AccountId", size_of::<AccountId>(), 32),
            ("Key", size_of::<Option<crate::runtime::slab::Key>>(), 8),
        ];
        assert_eq!(sizes.map(|(name, size, _)| (name, size)), sizes.map(|(name, _, bytes)| (name, bytes)));
    }
}
